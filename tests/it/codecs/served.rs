//! Codecs under the real server: killed while it answers, all of them busy, asked by clients that go away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;
use crate::kit::dicom::{Image, Instance, Offsets};
use crate::kit::process::Process;

const STORE: [(&str, &str); 2] =
    [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const EXPLICIT: &str = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1";
const SAMPLES: &str = "application/octet-stream";
/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(60);

fn grey(side: u16) -> Image {
    Image { rows: side, columns: side, samples: 1, bits: 16, photometric: "MONOCHROME2" }
}

/// An instance of these frames in JPEG 2000.
fn in_jpeg_2000(side: u16, streams: &[Vec<u8>]) -> Vec<u8> {
    let fragments: Vec<_> = streams.iter().map(|stream| vec![stream.clone()]).collect();
    let instance = Instance::new("1.2", "1.3", "1.4").fragments(grey(side), &fragments, Offsets::Basic);
    instance.syntax(Encoding::Jpeg2000Lossless.uid()).part10()
}

async fn stream(side: u16, seed: u64) -> Vec<u8> {
    let codecs = Codecs::new(codecs());
    let frame = frame(&shape(side, side, 1, 16, 16), seed);
    codecs.encode(frame, Encoding::Jpeg2000Lossless).await.expect("encoded").to_vec()
}

/// The codecs' processes of a server.
fn processes(archive: &Process) -> Vec<u32> {
    let parent = format!(" {} ", archive.id());
    let numbers = std::fs::read_dir("/proc")
        .expect("a system of processes")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok());
    let child = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // Behind the name in brackets: state, then the parent.
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.get(2..).is_some_and(|rest| rest.starts_with(&parent)))
    };
    numbers.filter(child).collect()
}

fn metric(archive: &Process, name: &str) -> u64 {
    let answer = archive.get("/metrics");
    let line = answer.text().lines().find(|line| line.split(' ').next() == Some(name)).map(str::to_owned);
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0)
}

fn send(archive: &Process, path: &str, accept: &str) -> TcpStream {
    let mut socket = TcpStream::connect(archive.address()).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    socket
}

#[tokio::test]
async fn codecs_killed_while_an_answer_streams_break_that_answer_only() {
    const SIDE: u16 = 300;
    let stream = stream(SIDE, 1).await;
    let file = in_jpeg_2000(SIDE, &vec![stream; 150]);
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &["--codecs", "1"]);
    assert_eq!(archive.ask("POST", "/v2/studies", &STORE, &file).status, 200);
    let whole = archive.ask("GET", INSTANCE, &[("accept", EXPLICIT)], b"");
    assert_eq!((whole.status, processes(&archive).len()), (200, 1));
    let mut socket = send(&archive, INSTANCE, EXPLICIT);
    let mut said = vec![0; 100_000];
    socket.read_exact(&mut said).expect("the answer begins");
    assert!(said.starts_with(b"HTTP/1.1 200"));
    let reading = std::thread::spawn(move || {
        let mut rest = Vec::new();
        // Whether the end is a reset is the system's to say.
        drop(socket.read_to_end(&mut rest));
        rest
    });
    // One that is idle at this moment is replaced unseen, so that it may take several.
    while !reading.is_finished() {
        for process in processes(&archive) {
            let id = rustix::process::Pid::from_raw(process.cast_signed()).expect("an id");
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let rest = reading.join().expect("no panic");
    assert!(said.len() + rest.len() < whole.bytes().len(), "it broke off");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "and looks so");
    let again = archive.ask("GET", INSTANCE, &[("accept", EXPLICIT)], b"");
    assert!(again.bytes() == whole.bytes());
    assert!(metric(&archive, "kymo_codec_restarts_total") > 0);
    assert_eq!(processes(&archive).len(), 1);
    let health = archive.get("/health/check");
    assert!(health.text().contains("\"codecs\""), "{health:?}");
}

#[test]
fn requests_beyond_the_queue_are_told_to_come_again() {
    const SIDE: u16 = 1600;
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--codecs", "1", "--codec-queue", "1", "--codec-wait", "60s"];
    let archive = Process::start(&folder.path().join("data"), &flags);
    let file = Instance::new("1.2", "1.3", "1.4").frames(grey(SIDE), &[slow_frame().bytes]).part10();
    assert_eq!(archive.ask("POST", "/v2/studies", &STORE, &file).status, 200);
    let frame = format!("{INSTANCE}/frames/1");
    let asked = || archive.ask("GET", &frame, &[("accept", "image/jp2")], b"");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(asked)).collect();
        asking.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(count(200) + count(503), 8, "{answers:?}");
    assert!(count(200) > 0 && count(503) > 0, "{} and {}", count(200), count(503));
    assert!(answers.iter().all(|answer| (answer.status == 503) == (answer.header("retry-after").is_some())));
    assert_eq!(asked().status, 200);
}

#[tokio::test]
async fn clients_that_go_away_leave_nothing_behind() {
    const SIDE: u16 = 400;
    let file = in_jpeg_2000(SIDE, &[stream(SIDE, 2).await]);
    let folder = tempfile::tempdir().expect("a folder");
    // Room for two of these frames at once.
    let flags = ["--codecs", "2", "--pixel-memory", "1MiB"];
    let archive = Process::start(&folder.path().join("data"), &flags);
    assert_eq!(archive.ask("POST", "/v2/studies", &STORE, &file).status, 200);
    let frame = format!("{INSTANCE}/frames/1");
    for _ in 0..100 {
        drop(send(&archive, &frame, SAMPLES));
    }
    assert_eq!(archive.ask("GET", &frame, &[("accept", SAMPLES)], b"").status, 200);
    let began = Instant::now();
    while metric(&archive, "kymo_codec_busy") > 0 {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(processes(&archive).len() <= 2);
    assert_eq!(metric(&archive, "kymo_codec_restarts_total"), 0);
}

/// Bad frames cost neither memory nor descriptors, however many there are.
#[tokio::test]
async fn thousands_of_bad_frames_leave_the_server_as_it_was() {
    const SIDE: u16 = 64;
    let good = stream(SIDE, 3).await;
    let mut random = StdRng::seed_from_u64(8);
    let spoilt: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            let mut bad = good.clone();
            let from = usize::try_from(random.next_u32()).expect("a number") % (bad.len() - 120) + 110;
            random.fill_bytes(&mut bad[from..]);
            bad
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    assert_eq!(archive.ask("POST", "/v2/studies", &STORE, &in_jpeg_2000(SIDE, &spoilt)).status, 200);
    let mut connection = archive.connect();
    let mut refused = 0;
    let mut round = || {
        for number in 1..=spoilt.len() {
            let frame = format!("{INSTANCE}/frames/{number}");
            let answer = connection.ask("GET", &frame, &[("accept", SAMPLES)], b"").expect("it answers");
            assert!([200, 406].contains(&answer.status), "{answer:?}");
            refused += usize::from(answer.status == 406);
        }
    };
    // What is kept for speed is there after the first.
    round();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", archive.id())).expect("readable").count();
    let (before, open) = (archive.memory_kib().0, descriptors());
    (0..9).for_each(|_| round());
    let (after, still) = (archive.memory_kib().0, descriptors());
    assert!(refused > 500, "most are bad: {refused}");
    assert!(after < before + (20 << 10), "{before} KiB became {after}");
    assert!(still <= open + 8, "{open} descriptors became {still}");
}
