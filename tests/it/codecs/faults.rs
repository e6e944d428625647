//! Processes that die, hang, lie or are not there; queues that are full; callers that go away.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(60);

/// Waits until the codecs are so.
async fn until(codecs: &Codecs, what: &str, fine: impl Fn(&kymo::codecs::Status) -> bool) {
    let began = Instant::now();
    while !fine(&codecs.status()) {
        assert!(began.elapsed() < LONG, "{what}: {:?}", codecs.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether such a process is there, even if only as a zombie.
fn exists(process: u32) -> bool {
    fs::metadata(format!("/proc/{process}")).is_ok()
}

fn kill(process: u32) {
    let process = Pid::from_raw(process.cast_signed()).expect("an id");
    kill_process(process, Signal::KILL).expect("it is ours");
}

fn slow(codecs: &Codecs) -> tokio::task::JoinHandle<Result<Bytes, Error>> {
    let codecs = codecs.clone();
    tokio::spawn(async move { codecs.encode(slow_frame(), Encoding::Jpeg2000Lossless).await })
}

async fn still_works(codecs: &Codecs) {
    let native = frame(&shape(16, 16, 1, 16, 12), 1);
    for wanted in Encoding::ALL {
        assert_eq!(there_and_back(codecs, &native, wanted).await.as_ref(), Ok(&native), "{wanted:?}");
    }
}

#[tokio::test]
async fn a_process_killed_at_work_costs_its_frame_and_nothing_else() {
    let codecs = Codecs::new(Settings { children: 1, ..codecs() });
    let running = slow(&codecs);
    until(&codecs, "a process is at work", |status| status.busy == 1 && status.processes.len() == 1).await;
    let process = codecs.status().processes[0];
    kill(process);
    assert_eq!(running.await.expect("no panic"), Err(Error::Died));
    assert!(!exists(process), "nothing of it is left");
    still_works(&codecs).await;
    let status = codecs.status();
    assert_eq!((status.restarts, status.busy, status.waiting), (1, 0, 0));
    assert_eq!(status.processes.len(), 1);
    assert_ne!(status.processes[0], process);
}

/// Its pipes are closed when the last of its threads is gone; the first may be before.
fn is_ending(process: u32) -> bool {
    let runs = fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    runs || fs::read_dir(format!("/proc/{process}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// One that died with nothing to do is found out before it gets a frame.
#[tokio::test]
async fn a_process_killed_while_idle_is_replaced_unseen() {
    let codecs = Codecs::new(Settings { children: 1, ..codecs() });
    for _ in 0..3 {
        still_works(&codecs).await;
        let process = codecs.status().processes[0];
        kill(process);
        let began = Instant::now();
        while is_ending(process) {
            assert!(began.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    still_works(&codecs).await;
}

#[tokio::test]
async fn a_frame_that_takes_too_long_is_given_up() {
    let codecs = Codecs::new(Settings { children: 1, time: Duration::from_millis(100), ..codecs() });
    // So that the start of the process does not count.
    let began = Instant::now();
    assert_eq!(slow(&codecs).await.expect("no panic"), Err(Error::TimedOut));
    assert!(began.elapsed() < LONG);
    let status = codecs.status();
    assert_eq!((status.processes.len(), status.restarts), (0, 1), "it was killed");
}

/// The library or the process fails; the archive does not, and the next frame is another one's.
#[tokio::test]
async fn a_frame_that_takes_too_much_memory_is_given_up() {
    let codecs = Codecs::new(Settings { children: 1, memory_bytes: 192 << 20, ..codecs() });
    still_works(&codecs).await;
    let large = frame(&shape(4000, 4000, 1, 16, 16), 1);
    let failed = codecs.encode(large, Encoding::Jpeg2000Lossless).await;
    assert!(matches!(failed, Err(Error::Died | Error::Corrupt(_))), "{failed:?}");
    still_works(&codecs).await;
}

/// What allocators keep for later counts: a process that holds much of its memory makes way for a new one.
#[tokio::test]
async fn a_process_that_has_grown_is_replaced_before_it_fails() {
    let codecs = Codecs::new(Settings { children: 1, memory_bytes: 1 << 30, ..codecs() });
    let large = frame(&shape(4000, 4000, 1, 16, 16), 1);
    for _ in 0..4 {
        let stream = codecs.encode(large.clone(), Encoding::JpegLsLossless).await;
        assert!(stream.is_ok(), "{:?}", stream.err());
        still_works(&codecs).await;
    }
    assert_eq!(codecs.status().restarts, 0, "none broke down");
}

#[tokio::test]
async fn whoever_finds_the_queue_full_is_refused_at_once() {
    let codecs = Codecs::new(Settings { children: 1, queue: 1, in_flight_bytes: 1 << 30, ..codecs() });
    let first = slow(&codecs);
    until(&codecs, "the first is at work", |status| status.busy == 1).await;
    let second = slow(&codecs);
    until(&codecs, "the second waits", |status| status.waiting == 1).await;
    let small = frame(&shape(4, 4, 1, 8, 8), 1);
    let third = codecs.encode(small.clone(), Encoding::Jpeg2000Lossless).await;
    assert_eq!(third, Err(Error::Busy));
    // What waits and is given up makes room.
    second.abort();
    drop(second.await);
    until(&codecs, "nobody waits", |status| status.waiting == 0).await;
    assert!(first.await.expect("no panic").is_ok());
    still_works(&codecs).await;
}

#[tokio::test]
async fn whoever_waits_too_long_is_refused() {
    let wait = Duration::from_millis(50);
    let codecs =
        Codecs::new(Settings { children: 1, queue_wait: wait, in_flight_bytes: 1 << 30, ..codecs() });
    let first = slow(&codecs);
    until(&codecs, "the first is at work", |status| status.busy == 1).await;
    let small = frame(&shape(4, 4, 1, 8, 8), 1);
    assert_eq!(codecs.encode(small, Encoding::JpegLsLossless).await, Err(Error::Busy));
    assert!(first.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn memory_of_all_frames_is_bounded_and_given_back() {
    let all = 40 << 20;
    let settings = Settings { children: 2, queue: 200, in_flight_bytes: all, queue_wait: LONG, ..codecs() };
    let codecs = Codecs::new(settings);
    // Each takes 16 MiB: two have room, the others wait for it.
    let shape = shape(2000, 2000, 1, 16, 16);
    let native = frame(&shape, 1);
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let (codecs, native) = (codecs.clone(), native.clone());
            tokio::spawn(async move { codecs.encode(native, Encoding::Rle).await })
        })
        .collect();
    tokio::task::yield_now().await;
    // Their callers go away, some at work, most waiting.
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    for one in asked {
        drop(one.await);
    }
    // One that needs all of it comes through only if everything was given back.
    let whole = frame(&super::shape(3000, 3000, 1, 16, 16), 1);
    assert!(codecs.encode(whole, Encoding::Rle).await.is_ok());
    still_works(&codecs).await;
}

#[tokio::test]
async fn callers_that_go_away_leave_no_process_behind() {
    let codecs = Codecs::new(Settings { children: 2, ..codecs() });
    let native = frame(&shape(400, 400, 1, 16, 12), 1);
    for _ in 0..100 {
        let (codecs, native) = (codecs.clone(), native.clone());
        let asked = tokio::spawn(async move { codecs.encode(native, Encoding::Jpeg2000Lossless).await });
        tokio::task::yield_now().await;
        asked.abort();
    }
    until(&codecs, "all work is done", |status| status.busy == 0 && status.waiting == 0).await;
    let status = codecs.status();
    assert!(status.processes.len() <= 2, "{status:?}");
    assert_eq!(status.restarts, 0);
    still_works(&codecs).await;
    codecs.stop().await;
    for process in status.processes {
        assert!(!exists(process));
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_before_anything_is_started() {
    let codecs = Codecs::new(Settings { frame_bytes: 1000, ..codecs() });
    let large = Description { rows: 65535, columns: 65535, ..shape(1, 1, 1, 16, 16) };
    for syntax in ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1"] {
        let refused = decode(&codecs, syntax, &large, b"a few bytes").await;
        assert!(matches!(refused, Err(Error::TooLarge { most: 1000, .. })), "{refused:?}");
    }
    assert!(codecs.status().processes.is_empty());
}

#[tokio::test]
async fn without_processes_only_compressed_pixels_are_refused() {
    let codecs = Codecs::new(Settings { children: 0, ..codecs() });
    let native = frame(&shape(16, 16, 1, 16, 12), 1);
    assert_eq!(there_and_back(&codecs, &native, Encoding::Rle).await.as_ref(), Ok(&native));
    let refused = codecs.encode(native, Encoding::Jpeg2000Lossless).await;
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_or_talks_nonsense_is_no_codec() {
    let codecs = Codecs::new(Settings { program: "/nonexistent/kymo".into(), ..codecs() });
    let native = frame(&shape(16, 16, 1, 16, 12), 1);
    let failed = codecs.encode(native.clone(), Encoding::Jpeg2000Lossless).await;
    assert!(matches!(failed, Err(Error::Stopped(_))), "{failed:?}");
    assert!(codecs.status().trouble.is_some());
    for program in ["/bin/echo", "/bin/true"] {
        let codecs = Codecs::new(Settings { program: program.into(), children: 1, ..super::codecs() });
        for _ in 0..4 {
            let failed = codecs.encode(native.clone(), Encoding::Jpeg2000Lossless).await;
            assert_eq!(failed, Err(Error::Died), "{program}");
        }
        let status = codecs.status();
        assert_eq!((status.restarts, status.processes.len()), (4, 0));
    }
}

#[tokio::test]
async fn after_the_stop_there_are_no_processes() {
    let codecs = Codecs::new(codecs());
    let native = frame(&shape(16, 16, 1, 16, 12), 1);
    still_works(&codecs).await;
    let processes = codecs.status().processes;
    assert!(!processes.is_empty());
    codecs.stop().await;
    assert!(processes.iter().all(|process| !exists(*process)));
    let refused = codecs.encode(native, Encoding::Jpeg2000Lossless).await;
    assert!(matches!(refused, Err(Error::Stopped(_))), "{refused:?}");
}

/// Whatever a codec is made to do: there is nothing to take and nowhere to write.
#[tokio::test]
async fn a_process_has_nothing_but_its_limits() {
    let codecs = Codecs::new(Settings { children: 1, memory_bytes: 1 << 30, ..codecs() });
    still_works(&codecs).await;
    let folder = format!("/proc/{}", codecs.status().processes[0]);
    assert_eq!(fs::read(format!("{folder}/environ")).expect("readable"), b"");
    assert_eq!(fs::read_link(format!("{folder}/cwd")).expect("readable").to_str(), Some("/"));
    // What whoever started these tests left open to every program is open to this one, too.
    let left_open = |number: &String| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
        i64::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & 0o2_000_000 == 0)
    };
    let open = fs::read_dir(format!("{folder}/fd")).expect("readable");
    let open = open.map(|entry| entry.expect("an entry").file_name().into_string().expect("a number"));
    let own: Vec<_> = open.filter(|number| !left_open(number)).collect();
    assert!(own.iter().all(|number| ["0", "1", "2"].contains(&number.as_str())), "{own:?}");
    let limits = fs::read_to_string(format!("{folder}/limits")).expect("readable");
    for (name, most) in [
        ("Max address space", "1073741824"),
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "16"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
        let found: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(found, [most, most], "{line}");
    }
}

#[test]
fn a_process_ends_with_its_input_and_with_nonsense() {
    for (input, fine) in [(&b""[..], true), (&[7; 40], false), (&[7; 3], false)] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kymo"))
            .args(["codec", "--memory", "1000000000", "--time", "1000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        process.stdin.take().expect("piped").write_all(input).expect("it reads");
        let output = process.wait_with_output().expect("it ends");
        assert_eq!((output.status.success(), output.stdout.len()), (fine, 0), "{input:?}");
    }
}
