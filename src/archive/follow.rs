//! Follows the log: one thread folds what becomes durable and tells everyone who waits.
//!
//! Invariant: a commit is told only after the state holds it.
//! Invariant: when the fold cannot go on, nothing more is answered; the state is marked for a rebuild
//! if it is damaged, and what was not folded stays in the log.
//! Elsewhere: the decisions (`fold`), commits for views (`commits`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::fold::{self, FoldError};
use super::headers::Headers;
use super::state::Meta;
use super::{Archive, Inner, Parts, ReadError, StaleReads, bodies, commits, submit};
use crate::base::{Position, Stamp};
use crate::event::codec::{self, Bodies};
use crate::log::Record;

/// Most records folded in one write at the tail.
const RUN_RECORDS: usize = 512;
/// Most bytes of records folded in one write while catching up.
const RUN_BYTES: usize = 4 << 20;

/// How far this node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first position not yet folded.
    pub next: Position,
    /// Feed time.
    pub time: Stamp,
    /// The greatest sequence number of the change feed.
    pub sequence: u64,
    /// Whether the log is sealed: the archive goes on elsewhere.
    pub sealed: bool,
}

/// The fold has stopped; why was told by [`Archive::stop`].
struct Stopped;

/// Stops the archive if the fold's thread ends by a panic, so that nobody waits for it.
struct Ending(Weak<Inner>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(inner) = self.0.upgrade()
        {
            Archive(inner).stop("the fold has panicked");
        }
    }
}

/// Waits until the bodies of all events of a run are here; not so if the archive ends before.
async fn brought(following: &Weak<Inner>, run: &[Result<Record, crate::log::ReadError>]) -> bool {
    const LOOK_AGAIN: Duration = Duration::from_secs(1);
    let records = || run.iter().map_while(|record| record.as_ref().ok());
    if !records().any(|record| codec::may_have_bodies(&record.bytes)) {
        return true;
    }
    let records: Vec<Record> = records().cloned().collect();
    let mut told = false;
    loop {
        let Some(inner) = following.upgrade() else { return false };
        let Err(error) = inner.bring_all(&records).await else {
            inner.awaited.lock().take();
            return true;
        };
        if !told {
            tracing::error!(%error, "a large section of an event cannot be had; the fold waits for it");
            told = true;
        }
        *inner.awaited.lock() = Some(format!("a large section of an event cannot be had: {error}"));
        if inner.parts.log.stopped().is_some() {
            return false;
        }
        drop(inner);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Archive {
    /// Starts to follow the log from the state's cursor on.
    ///
    /// # Errors
    /// The state is damaged, or ahead of the log: acknowledged data is missing.
    pub fn open(parts: Parts) -> Result<Self, ReadError> {
        let (next, tail) = (parts.state.cursor()?, parts.log.tail());
        if next > tail {
            return Err(ReadError::Log(crate::log::ReadError::BeyondEnd { position: next, tail }));
        }
        let meta = Meta::load(&parts.state.reader())?;
        let progress = Progress { next, time: meta.time, sequence: meta.sequence, sealed: meta.sealed };
        let settings = &parts.settings;
        let headers = Headers::new(settings.headers_in_flight_bytes, settings.headers_wait);
        let metadata = Semaphore::new(settings.metadata_in_flight_bytes / 1024);
        let bodies = bodies::Here::open(settings.bodies.as_deref());
        let bodies = bodies.map_err(|error| ReadError::Stopped(format!("the folder of bodies: {error}")))?;
        let bodies = Arc::new(bodies);
        let archive = Self(Arc::new(Inner {
            outcomes: submit::Waiting::default(),
            recent: Mutex::new(commits::Recent::default()),
            progress: watch::Sender::new(progress),
            head: watch::Sender::new(next),
            stopped: watch::Sender::new(None),
            start_tail: tail,
            bodies,
            awaited: Mutex::new(None),
            headers,
            metadata: Arc::new(metadata),
            framed: super::framed::Kept::default(),
            still: super::still::Still::default(),
            last_mark: tokio::sync::Mutex::new(None),
            parts,
        }));
        let following = Arc::downgrade(&archive.0);
        // The thread holds neither archive nor log: when they are let go, its stream ends.
        let mut records = archive.0.parts.log.read(next).ready_chunks(RUN_RECORDS);
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("kymo-fold".to_owned())
            .spawn(move || {
                let _ending = Ending(following.clone());
                while let Some(run) = runtime.block_on(records.next()) {
                    if !runtime.block_on(brought(&following, &run)) {
                        return;
                    }
                    let Some(inner) = following.upgrade() else { return };
                    if Self(inner).fold_run(run).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| ReadError::Stopped(format!("the fold's thread cannot start: {error}")))?;
        Ok(archive)
    }

    /// Folds one run from the log's stream, in writes of bounded size.
    fn fold_run(&self, run: Vec<Result<Record, crate::log::ReadError>>) -> Result<(), Stopped> {
        let mut records = Vec::with_capacity(run.len());
        let mut bytes = 0;
        for record in run {
            match record {
                Ok(record) => {
                    bytes += record.bytes.len();
                    records.push(record);
                }
                Err(error) => {
                    self.fold_some(&records)?;
                    self.stop(&error.to_string());
                    return Err(Stopped);
                }
            }
            if bytes >= RUN_BYTES {
                self.fold_some(&records)?;
                records.clear();
                bytes = 0;
            }
        }
        self.fold_some(&records)
    }

    /// Folds records, those behind a line where the fold is to stand still when that is gone.
    fn fold_some(&self, records: &[Record]) -> Result<(), Stopped> {
        let mut left = records;
        loop {
            let (now, later) = self.0.still.split(left);
            self.fold_now(now)?;
            if later.is_empty() {
                return Ok(());
            }
            self.0.still.wait();
            left = later;
        }
    }

    fn fold_now(&self, records: &[Record]) -> Result<(), Stopped> {
        let Some(last) = records.last() else { return Ok(()) };
        let bodies = Arc::clone(&self.0.bodies) as Arc<dyn Bodies>;
        match fold::fold(&self.0.parts.state, records, Some(&bodies)) {
            Ok((commits, meta)) => {
                let next = last.position.next();
                self.0.recent.lock().push(&commits);
                let Meta { time, sequence, sealed, .. } = meta;
                self.0.progress.send_replace(Progress { next, time, sequence, sealed });
                self.0.head.send_replace(next);
                self.0.outcomes.tell(&commits);
                Ok(())
            }
            Err(error) => {
                if let FoldError::State(_) = &error {
                    self.0.parts.state.mark_damaged(&error.to_string());
                }
                self.stop(&error.to_string());
                Err(Stopped)
            }
        }
    }

    fn stop(&self, why: &str) {
        tracing::error!(%why, "the fold has stopped; nothing is answered until a restart");
        self.0.stopped.send_replace(Some(why.to_owned()));
        self.0.outcomes.give_up();
    }

    /// What the fold cannot go on without, if it waits for something: a large section of an event that is not
    /// to be had from the blob store.
    #[must_use]
    pub fn awaited(&self) -> Option<String> {
        self.0.awaited.lock().clone()
    }

    /// How far this node is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.0.progress.borrow()
    }

    /// The first position not yet folded; changes as the fold goes on.
    #[must_use]
    pub fn head_position(&self) -> watch::Receiver<Position> {
        self.0.head.subscribe()
    }

    /// The log's end as it was when this node started, as far as that is known.
    #[must_use]
    pub fn start_tail(&self) -> Position {
        self.0.parts.log.start_end(self.0.start_tail).unwrap_or(self.0.start_tail)
    }

    /// Why nothing can be written, or nothing at all be answered, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.0.stopped.borrow().clone().or_else(|| self.0.parts.log.stopped())
    }

    /// Whether the fold has reached the log's end as it was at the start, or need not have.
    ///
    /// # Errors
    /// [`ReadError::Behind`] or [`ReadError::EndUnknown`] while it has not, [`ReadError::Stopped`] when it never
    /// will.
    pub fn ready(&self) -> Result<(), ReadError> {
        if let Some(why) = self.0.stopped.borrow().clone() {
            return Err(ReadError::Stopped(why));
        }
        match self.0.parts.settings.stale_reads {
            StaleReads::Allowed => Ok(()),
            StaleReads::Refused => self.up_to_date(),
        }
    }

    /// Whether the fold has reached the log's end as it was at the start.
    ///
    /// # Errors
    /// [`ReadError::Behind`], [`ReadError::EndUnknown`]
    pub fn up_to_date(&self) -> Result<(), ReadError> {
        let reached = self.progress().next;
        let wanted = self.0.parts.log.start_end(self.0.start_tail).ok_or(ReadError::EndUnknown)?;
        if reached >= wanted { Ok(()) } else { Err(ReadError::Behind { wanted, reached }) }
    }

    /// Waits until the fold has passed `position`.
    ///
    /// # Errors
    /// [`ReadError::Behind`] when `within` is over.
    pub async fn reached(&self, position: Position, within: Duration) -> Result<(), ReadError> {
        let mut head = self.head_position();
        let waited = tokio::time::timeout(within, head.wait_for(|next| *next > position)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReadError::Behind { wanted: position, reached: self.progress().next }),
        }
    }

    /// Makes the state durable before a clean stop.
    ///
    /// # Errors
    /// The state is damaged.
    pub fn flush(&self) -> Result<(), ReadError> {
        Ok(self.0.parts.state.flush()?)
    }
}
