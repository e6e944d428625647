//! The segments of a node as every log on this node has them: read by position, and written by whoever has
//! the one [`Copier`].
//!
//! Invariant: there is one way to read and one way to write a record, whichever log the record came by.
//! Elsewhere: appends of callers (`queue`), records copied from elsewhere (`log::kafka`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::super::tail::{READ_AHEAD_BYTES, follow as follow_tail};
use super::super::{ReadError, Record};
use super::disk::{Disk, RealDisk};
use super::durable::Durable;
use super::layout::{INDEX_SUFFIX, SEGMENT_SUFFIX, named_position};
use super::recovery::{self, Opened};
use super::writer::Writer;
use super::{OpenError, OpenReport};
use crate::base::{Position, Stamp};

/// The folder beside the segments where replaced ones are kept.
const REPLACED_FOLDER: &str = "replaced";

/// The durable records of this node.
#[derive(Clone)]
pub(in crate::log) struct Segments(Arc<Durable>);

impl Segments {
    pub(super) fn new(durable: Arc<Durable>) -> Self {
        Self(durable)
    }

    /// The log's name, from the headers.
    pub(in crate::log) fn log_id(&self) -> Uuid {
        self.0.log()
    }

    /// As [`super::super::Log::get`].
    pub(in crate::log) async fn get(&self, position: Position) -> Result<Record, ReadError> {
        let durable = self.0.clone();
        on_blocking_pool(move || durable.get(position)).await
    }

    /// The same, blocking.
    pub(in crate::log) fn get_now(&self, position: Position) -> Result<Record, ReadError> {
        self.0.get(position)
    }

    /// As [`super::super::Log::read`].
    pub(in crate::log) fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>> {
        let durable = self.0.clone();
        follow_tail(durable.progress(), from, move |from, to| {
            let durable = durable.clone();
            on_blocking_pool(move || durable.batch(from, to, READ_AHEAD_BYTES))
        })
    }

    /// As [`super::super::Log::read_batch`].
    pub(in crate::log) fn batch(
        &self,
        from: Position,
        to: Position,
        limit_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.0.batch(from, to, limit_bytes)
    }

    /// The first position that is not durable.
    pub(in crate::log) fn tail(&self) -> Position {
        self.0.tail()
    }

    /// Waits until every position before `tail` is durable, or until none will follow.
    pub(in crate::log) async fn reached(&self, tail: Position) {
        let mut progress = self.0.progress();
        // An error would say that the sender is gone, which `self` holds.
        progress.wait_for(|now| now.tail >= tail || now.closed).await.map(|_| ()).unwrap_or_default();
    }

    /// Waits until no record will follow.
    pub(in crate::log) async fn closed(&self) {
        self.reached(Position(u64::MAX)).await;
    }

    /// Ends the streams once they have given everything.
    pub(in crate::log) fn close(&self) {
        self.0.close();
    }
}

/// The one who writes records that were ordered and stamped elsewhere.
pub(in crate::log) struct Copier(Writer);

impl Copier {
    /// Appends records as one durable block; answers the position of the first.
    ///
    /// # Errors
    /// The disk's first failure; nothing is appended any more.
    pub(in crate::log) fn append(&mut self, records: Vec<(Stamp, Bytes)>) -> Result<Position, String> {
        self.0.append_block(records)
    }

    /// Shows the last block to those who read the files beside this process.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub(in crate::log) fn mark(&mut self) -> Result<(), String> {
        self.0.mark()
    }
}

/// Segments opened as a copy: what is torn or damaged will come again from where it was copied.
pub(in crate::log) struct Copy {
    pub(in crate::log) copier: Copier,
    pub(in crate::log) segments: Segments,
    pub(in crate::log) report: OpenReport,
}

/// Opens the segments in `folder` as the copy of log `log`, which begins if there are none. A damaged or
/// missing segment is put aside with all that follow it, from where they will be copied again.
///
/// # Errors
/// [`OpenError`], but neither damage nor a missing segment.
pub(in crate::log) fn open_copy(folder: &Path, segment_bytes: u64, log: Uuid) -> Result<Copy, OpenError> {
    loop {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let error = match recovery::open(disk, folder, segment_bytes, log, &[]) {
            Ok(Opened { writer, durable, report }) => {
                return Ok(Copy { copier: Copier(writer), segments: Segments(durable), report });
            }
            Err(error) => error,
        };
        let from = match &error {
            OpenError::Damaged { file, position, .. } => {
                named_position(file, SEGMENT_SUFFIX).unwrap_or(*position)
            }
            OpenError::MissingSegment { from, .. } => *from,
            OpenError::Locked(_)
            | OpenError::Io { .. }
            | OpenError::ForeignLog { .. }
            | OpenError::FutureVersion { .. }
            | OpenError::CursorBeyondEnd { .. } => return Err(error),
        };
        tracing::warn!(%error, %from, "the copied log is damaged, and copied again from here on");
        if put_aside(folder, from)? == 0 {
            return Err(error);
        }
    }
}

/// Moves the segment that begins at `from` and all that follow out of the way, with their indexes and that of
/// the segment before them, which has none while it grows; answers how many files that were.
pub(in crate::log) fn put_aside(folder: &Path, from: Position) -> Result<usize, OpenError> {
    let disk = RealDisk;
    let io = |error| OpenError::io(folder, &error);
    let names = disk.list(folder).map_err(io)?;
    let firsts = |suffix| names.iter().filter_map(move |name| Some((named_position(name, suffix)?, name)));
    let last = firsts(SEGMENT_SUFFIX).map(|(first, _)| first).filter(|first| *first < from).max();
    let mut concerned: Vec<_> = firsts(SEGMENT_SUFFIX).filter(|(first, _)| *first >= from).collect();
    concerned.extend(firsts(INDEX_SUFFIX).filter(|(first, _)| Some(*first) >= last));
    if concerned.is_empty() {
        return Ok(0);
    }
    // The last first: a crash in between leaves segments that follow each other.
    concerned.sort_by(|a, b| b.cmp(a));
    let aside = free_folder(&disk, folder).map_err(io)?;
    for (_, name) in &concerned {
        disk.rename(&folder.join(name), &aside.join(name)).map_err(io)?;
        disk.sync_folder(folder).map_err(io)?;
    }
    disk.sync_folder(&aside).map_err(io)?;
    Ok(concerned.len())
}

fn free_folder(disk: &RealDisk, folder: &Path) -> std::io::Result<PathBuf> {
    let replaced = folder.join(REPLACED_FOLDER);
    disk.create_folder(&replaced)?;
    let taken = disk.list(&replaced)?.len();
    let free = (0..=taken).map(|number| replaced.join(number.to_string())).find(|path| !path.exists());
    let aside = free.expect("one more name than there are folders is free");
    disk.create_folder(&aside)?;
    Ok(aside)
}

async fn on_blocking_pool<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    spawn_blocking(read).await.unwrap_or_else(|error| Err(ReadError::Io(error.to_string())))
}
