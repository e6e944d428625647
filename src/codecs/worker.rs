//! A codec's process: one frame in, one frame out, until its input ends.
//!
//! It has no files, no environment and nothing to lose; limits of memory and time end it, and the archive starts
//! another.
//!
//! Invariant: a request is read whole before it is answered, and answered before the next is read.
//! Invariant: it does not outlive its parent: it ends with its input, and with a job that takes twice its time.
//! Elsewhere: the parent's side (`pool`), the layout (`wire`).

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::foreign;
use super::wire::{REQUEST_BYTES, Reply, Request, Status, TEXT_BYTES};

/// Between two jobs no more than this is kept.
const KEPT_BYTES: usize = 16 << 20;
/// It only waits.
const WATCHDOG_STACK_BYTES: usize = 64 << 10;
/// Standard input, output and error, and whatever a library opens for a moment.
const DESCRIPTORS: u64 = 16;

/// Works until standard input ends, with so much memory and so much time for one frame.
#[must_use]
pub fn run(memory_bytes: u64, time: Duration) -> ExitCode {
    match work(memory_bytes, time) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work(memory_bytes: u64, time: Duration) -> io::Result<()> {
    let watchdog = Watchdog::start(time.saturating_mul(2))?;
    limit(memory_bytes)?;
    let enough = used_bytes().midpoint(memory_bytes);
    // What a panic would say leads nowhere.
    std::panic::set_hook(Box::new(|_| ()));
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut body = Vec::new();
    while let Some(request) = next(&mut input)? {
        watchdog.begin();
        body.clear();
        if body.capacity() > KEPT_BYTES {
            body = Vec::new();
        }
        let length = usize::try_from(request.body_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        body.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if input.by_ref().take(request.body_bytes).read_to_end(&mut body)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = cpu_micros();
        let done = catch_unwind(AssertUnwindSafe(|| foreign::perform(&request, &body)));
        let took = cpu_micros().saturating_sub(before);
        let (status, result) = match done {
            Ok(Ok(frame)) if frame.len() as u64 <= request.most_bytes => (Status::Done, frame),
            Ok(Ok(_)) => (Status::Refused, b"the result is too long".to_vec()),
            Ok(Err(why)) => (Status::Refused, plain(&why)),
            Err(_) => (Status::Refused, b"the codec failed".to_vec()),
        };
        let last = used_bytes() > enough;
        let reply =
            Reply { status, job: request.job, body_bytes: result.len() as u64, cpu_micros: took, last };
        output.write_all(&reply.bytes())?;
        output.write_all(&result)?;
        output.flush()?;
        watchdog.end();
        if last {
            break;
        }
    }
    Ok(())
}

/// The next request; `None` when there is none any more.
fn next(input: &mut impl Read) -> io::Result<Option<Request>> {
    let mut head = [0; REQUEST_BYTES];
    let first = input.read(&mut head)?;
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[first..])?;
    Request::of(&head).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn limit(memory_bytes: u64) -> io::Result<()> {
    for (resource, most) in [
        (Resource::As, memory_bytes),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, DESCRIPTORS),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Of the memory that is limited: what allocators keep for later counts, and would be missing at the next frame.
fn used_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.as_deref().and_then(|pages| pages.split(' ').next()?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// A codec's text as it may be told: short, and nothing but plain letters.
fn plain(text: &str) -> Vec<u8> {
    let bytes = text.trim().bytes().map(|byte| if (b' '..=b'~').contains(&byte) { byte } else { b' ' });
    bytes.take(usize::try_from(TEXT_BYTES).expect("a text is short")).collect()
}

fn cpu_micros() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// Ends this process when a job takes too long, in case nobody else does.
struct Watchdog(mpsc::Sender<bool>);

impl Watchdog {
    fn start(most: Duration) -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let watch = move || {
            let mut working = false;
            loop {
                let heard = if working {
                    told.recv_timeout(most)
                } else {
                    told.recv().map_err(|_| RecvTimeoutError::Disconnected)
                };
                match heard {
                    Ok(now) => working = now,
                    Err(RecvTimeoutError::Timeout) => std::process::abort(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new().stack_size(WATCHDOG_STACK_BYTES).spawn(watch)?;
        Ok(Self(tell))
    }

    fn begin(&self) {
        self.tell(true);
    }

    fn end(&self) {
        self.tell(false);
    }

    fn tell(&self, working: bool) {
        self.0.send(working).expect("the watchdog listens as long as this is there");
    }
}
