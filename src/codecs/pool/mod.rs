//! Codecs' processes: as many as allowed, each with one frame at a time.
//!
//! A job waits for a process, which is started when none is idle, and runs to its end even if nobody waits for it
//! any more. A process that breaks down or takes too long is killed and replaced at the next job.
//!
//! Invariant: there are never more processes than allowed, and never more jobs waiting than allowed.
//! Invariant: a job is given to one process once; one that broke a process is not tried again.
//! Elsewhere: one process (`child`), the layout (`wire`), what runs in it (`worker`).

mod child;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::{counter, gauge, histogram};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::wire::{Codec, Request};
use super::{Error, Room, Settings, Status};
use child::{Child, Failure, Left};

/// Frames decoded or encoded by processes; labels `codec`, `outcome`.
const JOBS: &str = "kymo_codec_jobs_total";
/// Time from giving a frame to a process until its answer is there; label `codec`.
const SECONDS: &str = "kymo_codec_seconds";
/// Processor time of the codec alone; label `codec`.
const CPU_SECONDS: &str = "kymo_codec_cpu_seconds";
/// Time a frame waits for a process.
const WAIT_SECONDS: &str = "kymo_codec_wait_seconds";
/// Processes at work.
const BUSY: &str = "kymo_codec_busy";
/// Processes that broke down or were killed.
const RESTARTS: &str = "kymo_codec_restarts_total";

/// So many processes that end within [`MANY_WITHIN`] make the next one wait for [`BREATH`].
const MANY_DEATHS: usize = 3;
const MANY_WITHIN: Duration = Duration::from_secs(1);
const BREATH: Duration = Duration::from_millis(250);

/// The processes. Clones are the same.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    settings: Settings,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    jobs: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Child>,
    processes: BTreeSet<u32>,
    restarts: u64,
    deaths: VecDeque<Instant>,
    /// Why the last process could not be started.
    trouble: Option<String>,
    stopped: bool,
}

/// What a frame is to be done with; the rest of the [`Request`] is the pool's.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) frame: Bytes,
    /// Held until the job has ended.
    pub(super) room: Room,
}

impl Pool {
    pub(super) fn new(settings: Settings) -> Self {
        let free = Arc::new(Semaphore::new(settings.children.min(Semaphore::MAX_PERMITS)));
        let (waiting, jobs) = (AtomicUsize::new(0), AtomicU64::new(1));
        Self(Arc::new(Inner { settings, free, waiting, jobs, state: Mutex::default() }))
    }

    /// The bytes of the answer, as many as the request allows at most.
    pub(super) async fn run(&self, job: Job) -> Result<Vec<u8>, Error> {
        let inner = &self.0;
        if inner.settings.children == 0 {
            return Err(Error::Unsupported("compressed pixels are neither decoded nor encoded here"));
        }
        let came = Instant::now();
        let permit = match Arc::clone(&inner.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = Place::take(inner)?;
                let acquired = Arc::clone(&inner.free).acquire_owned();
                match tokio::time::timeout(inner.settings.queue_wait, acquired).await {
                    Ok(Ok(permit)) => permit,
                    Ok(Err(_)) => return Err(stopping()),
                    Err(_) => return Err(Error::Busy),
                }
            }
        };
        histogram!(WAIT_SECONDS).record(came.elapsed().as_secs_f64());
        let pool = self.clone();
        // Whoever asked may go away; the process finishes, and is there for others.
        let running = tokio::spawn(async move {
            let _permit = permit;
            let _busy = Busy::begin();
            let Job { request, frame, room } = job;
            let done = pool.run_one(request, frame).await;
            drop(room);
            done
        });
        running.await.unwrap_or_else(|_| Err(stopping()))
    }

    async fn run_one(&self, request: Request, frame: Bytes) -> Result<Vec<u8>, Error> {
        let codec = request.codec;
        let job = self.0.jobs.fetch_add(1, Ordering::Relaxed);
        let request = Request { job, body_bytes: frame.len() as u64, ..request };
        let child = self.child().await?;
        let (process, began) = (child.id(), Instant::now());
        let (left, done) = child.work(&request, &frame, self.0.settings.time).await;
        histogram!(SECONDS, "codec" => codec.name()).record(began.elapsed().as_secs_f64());
        match left {
            Left::Ready(child) => self.ready(*child).await,
            Left::Ended => drop(self.0.state.lock().processes.remove(&process)),
            Left::Lost => self.lost(process),
        }
        let outcome = match done {
            Ok(answer) => {
                histogram!(CPU_SECONDS, "codec" => codec.name()).record(answer.cpu.as_secs_f64());
                Ok(answer.bytes)
            }
            Err(Failure::Refused(why)) => Err(Error::Corrupt(why)),
            Err(Failure::TimedOut) => Err(Error::TimedOut),
            Err(Failure::Died) => Err(Error::Died),
        };
        counted(codec, &outcome);
        outcome
    }

    /// An idle process, or a new one.
    async fn child(&self) -> Result<Child, Error> {
        let idle = || self.0.state.lock().idle.pop();
        while let Some(mut child) = idle() {
            if child.is_alive() {
                return Ok(child);
            }
            // It ended while it had nothing to do.
            self.lost(child.id());
        }
        let many = {
            let state = self.0.state.lock();
            if state.stopped {
                return Err(stopping());
            }
            let recent = state.deaths.iter().filter(|death| death.elapsed() < MANY_WITHIN);
            recent.count() >= MANY_DEATHS
        };
        if many {
            tokio::time::sleep(BREATH).await;
        }
        let started = Child::start(&self.0.settings);
        let mut state = self.0.state.lock();
        match started {
            Ok(child) => {
                state.trouble = None;
                state.processes.insert(child.id());
                Ok(child)
            }
            Err(error) => {
                let why = format!("no process can be started: {error}");
                tracing::error!(%error, "a codec's process cannot be started");
                state.trouble = Some(why.clone());
                Err(Error::Stopped(why))
            }
        }
    }

    /// A process waits for the next job, unless there is none.
    async fn ready(&self, child: Child) {
        let child = {
            let mut state = self.0.state.lock();
            if !state.stopped {
                return state.idle.push(child);
            }
            state.processes.remove(&child.id());
            child
        };
        child.end().await;
    }

    /// A process broke down or was killed.
    fn lost(&self, process: u32) {
        counter!(RESTARTS).increment(1);
        tracing::warn!(process, "a codec's process has ended and will be replaced");
        let mut state = self.0.state.lock();
        state.processes.remove(&process);
        state.restarts += 1;
        state.deaths.push_back(Instant::now());
        if state.deaths.len() > MANY_DEATHS {
            state.deaths.pop_front();
        }
    }

    pub(super) fn status(&self) -> Status {
        let state = self.0.state.lock();
        Status {
            processes: state.processes.iter().copied().collect(),
            busy: self.0.settings.children.saturating_sub(self.0.free.available_permits()),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            restarts: state.restarts,
            trouble: state.trouble.clone(),
        }
    }

    /// Ends the idle processes; those at work end with their job.
    pub(super) async fn stop(&self) {
        let idle = {
            let mut state = self.0.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.idle)
        };
        self.0.free.close();
        for child in idle {
            let process = child.id();
            child.end().await;
            self.0.state.lock().processes.remove(&process);
        }
    }
}

fn stopping() -> Error {
    Error::Stopped("the archive is stopping".to_owned())
}

fn counted(codec: Codec, outcome: &Result<Vec<u8>, Error>) {
    let outcome = match outcome {
        Ok(_) => "done",
        Err(Error::Died) => "died",
        Err(Error::TimedOut) => "timed_out",
        Err(_) => "refused",
    };
    counter!(JOBS, "codec" => codec.name(), "outcome" => outcome).increment(1);
}

/// A place in the queue, given back when the wait is over, however it ends.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(inner: &'a Inner) -> Result<Self, Error> {
        let one_more = |waiting: usize| (waiting < inner.settings.queue).then_some(waiting + 1);
        match inner.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Self(&inner.waiting)),
            Err(_) => Err(Error::Busy),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A process at work, as the gauge shows it.
struct Busy(());

impl Busy {
    fn begin() -> Self {
        gauge!(BUSY).increment(1.0);
        Self(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        gauge!(BUSY).decrement(1.0);
    }
}
