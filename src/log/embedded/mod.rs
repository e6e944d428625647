//! The log in segment files of this node: no server, one folder, one process (architecture §5).
//!
//! Segments `{first position}.kylog` hold blocks, one for each group commit; `.index` files beside them say
//! where each record lies; `torn/` keeps what was cut off. Layout: `schemas/log-segment.md`.
//!
//! Invariant: an append resolves after the fsync of its block; readers see the record no earlier.
//! Invariant: after the first failure of the disk nothing is appended until the folder is opened again.
//! Invariant: one process at a time has the folder open for appending.
//! Elsewhere: what it shares with logs that are copied here (`local`), what a crash leaves (`recovery`), reading beside a running server (`follow`), checking every
//! byte (`verify`), the disk that forgets (`simdisk`) and the proof by it (`crashes`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use self::disk::{Disk, RealDisk};
use self::local::Segments;
use self::queue::{Queue, Waiting};
use super::{AppendError, Appending, Log, ReadError, Record};
use crate::base::{Clock, Position};

pub mod crashes;
pub mod disk;
mod durable;
pub mod follow;
mod index;
mod layout;
pub(in crate::log) mod local;
mod queue;
mod recovery;
mod scan;
pub mod simdisk;
pub mod verify;
mod writer;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A segment that would grow longer is sealed (one block longer than this stands alone).
    pub segment_bytes: u64,
    /// The largest record taken; at most 1 GiB.
    pub record_limit_bytes: usize,
    /// Bytes of appends that wait or are being written; at most 1 GiB.
    pub queue_bytes: usize,
    /// Number of them.
    pub queue_records: usize,
    /// How long an append waits for room in the queue before it is `Busy`.
    pub queue_wait: Duration,
    /// After how long without appends a mark is written behind the last block.
    pub mark_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            record_limit_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            queue_records: 65_536,
            queue_wait: Duration::from_secs(5),
            mark_after: Duration::from_millis(50),
        }
    }
}

/// Why a folder cannot be opened as a log. Nothing in it was changed, except after `Io`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the log in {0} is open in another process")]
    Locked(PathBuf),
    /// The file system failed.
    #[error("{path}: {what}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        what: String,
    },
    /// Bytes that had been durable are not what was written.
    #[error("the log is damaged: {file} at offset {offset}, position {position}: {what}")]
    Damaged {
        /// File name.
        file: String,
        /// Offset in it, bytes.
        offset: u64,
        /// The first position that may be concerned.
        position: Position,
        /// What was found.
        what: String,
    },
    /// A segment is not there.
    #[error("the log lacks a segment: nothing holds the positions from {from} to before {to}")]
    MissingSegment {
        /// The first position missing.
        from: Position,
        /// The first one not known to be missing.
        to: Position,
    },
    /// Segments of two logs lie in the folder.
    #[error("{file} belongs to log {found}, the first segment to log {expected}")]
    ForeignLog {
        /// The segment that does not belong.
        file: String,
        /// Its log.
        found: Uuid,
        /// The log of the first segment.
        expected: Uuid,
    },
    /// A newer program wrote it.
    #[error("{file} has format version {version}, this program knows {known}")]
    FutureVersion {
        /// File name.
        file: String,
        /// Its version.
        version: u32,
        /// The newest this program reads.
        known: u32,
    },
    /// A view has passed records that are not there: acknowledged data is missing.
    #[error(
        "a view has passed position {cursor}, but the log ends at {tail}: acknowledged records are missing"
    )]
    CursorBeyondEnd {
        /// The greatest stored cursor: the first position its view has not passed.
        cursor: Position,
        /// The first position not in the log.
        tail: Position,
    },
}

impl OpenError {
    fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { path: path.to_owned(), what: error.to_string() }
    }
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The log's name.
    pub log: Uuid,
    /// The folder was empty, and the log begins now.
    pub created: bool,
    /// The first position not in the log.
    pub tail: Position,
    /// Number of segments.
    pub segments: usize,
    /// Index files that were missing or wrong and were made again.
    pub remade_indexes: usize,
    /// Bytes of the last segment that were copied to a fresh file; 0 when nothing was in doubt.
    pub copied_bytes: u64,
    /// What was cut off the end.
    pub torn: Option<Torn>,
}

/// The remains of a write that a crash cut short. It was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment it was cut from.
    pub file: String,
    /// Where it began.
    pub offset: u64,
    /// The position it would have had.
    pub position: Position,
    /// How many bytes were cut.
    pub length_bytes: u64,
    /// Where they are kept.
    pub kept: PathBuf,
}

/// A log in segment files.
pub struct EmbeddedLog {
    segments: Segments,
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    settings: Settings,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedLog {
    /// Opens the log in `folder`, which is made if it is not there; if no log is in it, one named `new_log`
    /// begins. `cursors` are the stored cursors of the views, each the first position its view has not
    /// passed. Blocking; in the worst case the last segment is read, copied and fsynced.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(
        folder: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        new_log: Uuid,
        cursors: &[Position],
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::open_on(Arc::new(RealDisk), folder, settings, clock, new_log, cursors)
    }

    /// The same on another disk.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        new_log: Uuid,
        cursors: &[Position],
    ) -> Result<(Self, OpenReport), OpenError> {
        const GIB: usize = 1 << 30;
        let settings = Settings {
            record_limit_bytes: settings.record_limit_bytes.min(GIB),
            queue_bytes: settings.queue_bytes.clamp(1, GIB),
            queue_records: settings.queue_records.max(1),
            ..settings
        };
        let opened = recovery::open(disk, folder, settings.segment_bytes, new_log, cursors)?;
        let queue = Arc::new(Queue::default());
        let (writer, waiting, mark_after) = (opened.writer, queue.clone(), settings.mark_after);
        let thread = std::thread::Builder::new()
            .name("kymo-log".to_owned())
            .spawn(move || queue::serve(writer, &*clock, &waiting, mark_after))
            .map_err(|error| OpenError::io(folder, &error))?;
        let room = Arc::new(Semaphore::new(settings.queue_bytes));
        let thread = Mutex::new(Some(thread));
        let segments = Segments::new(opened.durable);
        Ok((Self { segments, queue, room, settings, thread }, opened.report))
    }

    /// The log's name, from the headers of its segments.
    #[must_use]
    pub fn log_id(&self) -> Uuid {
        self.segments.log_id()
    }

    /// Part of the queue's room a record takes, so that both bytes and number are bounded.
    fn room_for(&self, record: &Bytes) -> u32 {
        let (bytes, records) = (self.settings.queue_bytes, self.settings.queue_records);
        let share = record.len().max(bytes.div_ceil(records)).clamp(1, bytes);
        u32::try_from(share).expect("the queue is bounded to 1 GiB")
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, record: Bytes) -> Result<Appending, AppendError> {
        let (length_bytes, limit_bytes) = (record.len(), self.settings.record_limit_bytes);
        if length_bytes > limit_bytes {
            return Err(AppendError::TooLarge { length_bytes, limit_bytes });
        }
        let room = self.room.clone().acquire_many_owned(self.room_for(&record));
        let room = tokio::time::timeout(self.settings.queue_wait, room).await;
        let room = room.map_err(|_| AppendError::Busy)?.expect("the queue's room is never closed");
        let (done, outcome) = oneshot::channel();
        self.queue.push(Waiting { record, done, _room: room })?;
        Ok(Box::pin(async move {
            outcome.await.unwrap_or_else(|_| Err(AppendError::Stopped("its thread has ended".to_owned())))
        }))
    }

    async fn get(&self, position: Position) -> Result<Record, ReadError> {
        self.segments.get(position).await
    }

    fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>> {
        self.segments.read(from)
    }

    fn read_batch(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        self.segments.batch(from, to, limit_bytes)
    }

    fn tail(&self) -> Position {
        self.segments.tail()
    }

    fn stopped(&self) -> Option<String> {
        self.queue.stopped()
    }

    async fn close(&self) {
        self.queue.close();
        self.segments.closed().await;
    }
}

impl Drop for EmbeddedLog {
    /// Writes what waits and lets the folder go, so that it can be opened again at once.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(Err(_)) = self.thread.lock().take().map(JoinHandle::join) {
            tracing::error!("the thread that writes the log has panicked");
        }
    }
}
