//! What readers see: the records that are durable, found by position.
//!
//! Invariant: nothing comes in here before its fsync; nothing ever goes.
//! Invariant: a record is given out only with its checksum right; an index that leads astray is made again
//! from its segment once, and only then is the segment called damaged.
//! Elsewhere: who puts records in (`writer`, `recovery`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;
use uuid::Uuid;

use super::super::tail::Progress;
use super::super::{ReadError, Record};
use super::disk::{Disk, DiskFile};
use super::layout::{RECORD_HEADER, SegmentHeader, decode_record, index_name, segment_name};
use super::{index, scan};
use crate::base::Position;

/// The durable part of a log.
pub(super) struct Durable {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    log: Uuid,
    parts: RwLock<Parts>,
    progress: watch::Sender<Progress>,
}

struct Parts {
    sealed: Vec<Arc<Sealed>>,
    active: Active,
}

/// A segment that will not change.
pub(super) struct Sealed {
    pub(super) header: SegmentHeader,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) offsets: RwLock<Offsets>,
}

/// Where the offsets of a sealed segment are.
pub(super) enum Offsets {
    /// In its index file.
    Filed,
    /// Here, where the file could not be written or was found wrong.
    Kept(Arc<[u64]>),
}

/// The segment that grows.
pub(super) struct Active {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn DiskFile>,
    /// Of its durable records.
    pub(super) offsets: Vec<u64>,
    /// Durable bytes.
    pub(super) bytes: u64,
}

/// Some records that follow each other in one segment.
struct Run {
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    from: Position,
    /// Offset of each, and where the last ends at the latest.
    offsets: Vec<u64>,
}

impl Durable {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        sealed: Vec<Arc<Sealed>>,
        active: Active,
    ) -> Arc<Self> {
        let (log, tail) = (active.header.log, active.tail());
        let (progress, _) = watch::channel(Progress { tail, closed: false });
        Arc::new(Self { disk, folder, log, parts: RwLock::new(Parts { sealed, active }), progress })
    }

    pub(super) fn log(&self) -> Uuid {
        self.log
    }

    pub(super) fn tail(&self) -> Position {
        self.progress.borrow().tail
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Shows the records of a block that is durable now.
    pub(super) fn show(&self, offsets: &[u64], bytes: u64) {
        let tail = {
            let active = &mut self.parts.write().active;
            active.offsets.extend_from_slice(offsets);
            active.bytes = bytes;
            active.tail()
        };
        self.progress.send_modify(|progress| progress.tail = tail);
    }

    /// Seals the growing segment, whose index `filed` says is written, and lets `next` grow.
    pub(super) fn roll(&self, next: Active, filed: bool) {
        let mut parts = self.parts.write();
        let full = std::mem::replace(&mut parts.active, next);
        let count = full.offsets.len() as u64;
        let offsets = if filed { Offsets::Filed } else { Offsets::Kept(full.offsets.into()) };
        let sealed = Sealed { header: full.header, count, bytes: full.bytes, offsets: RwLock::new(offsets) };
        parts.sealed.push(Arc::new(sealed));
    }

    /// Offsets of the growing segment's records.
    pub(super) fn active_offsets(&self) -> Vec<u64> {
        self.parts.read().active.offsets.clone()
    }

    /// No record will follow.
    pub(super) fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    pub(super) fn get(&self, position: Position) -> Result<Record, ReadError> {
        let tail = self.tail();
        if position >= tail {
            return Err(ReadError::BeyondEnd { position, tail });
        }
        let mut records = self.run_of(position, position.next(), 0)?;
        Ok(records.pop().expect("a run holds at least one record"))
    }

    pub(super) fn batch(
        &self,
        from: Position,
        to: Position,
        limit_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let tail = self.tail();
        if from > tail {
            return Err(ReadError::BeyondEnd { position: from, tail });
        }
        let (mut next, to) = (from, to.min(tail));
        let mut records: Vec<Record> = Vec::new();
        let mut left = limit_bytes;
        while next < to {
            let run = self.run_of(next, to, left)?;
            let bytes: usize = run.iter().map(|record| record.bytes.len() + RECORD_HEADER).sum();
            if bytes > left && !records.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            next = run.last().expect("a run holds at least one record").position.next();
            records.extend(run);
            if left == 0 {
                break;
            }
        }
        Ok(records)
    }

    /// Records from `from` on, before `to`, of one segment: one at least, else at most `limit_bytes`.
    fn run_of(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        let wanted =
            usize::try_from(to.0 - from.0).unwrap_or(usize::MAX).min(limit_bytes / RECORD_HEADER + 1);
        let sealed = {
            let parts = self.parts.read();
            if from >= parts.active.header.first {
                let run = parts.active.run(from, wanted);
                drop(parts);
                return run.records(limit_bytes).map_err(|error| error.into_read_error(&run));
            }
            let behind = parts.sealed.partition_point(|sealed| sealed.header.first <= from);
            parts.sealed[behind - 1].clone()
        };
        let at_once =
            self.sealed_run(&sealed, from, wanted).ok().and_then(|run| run.records(limit_bytes).ok());
        if let Some(records) = at_once {
            return Ok(records);
        }
        self.index_again(&sealed)?;
        let run = self.sealed_run(&sealed, from, wanted)?;
        run.records(limit_bytes).map_err(|error| error.into_read_error(&run))
    }

    fn sealed_run(&self, sealed: &Sealed, from: Position, wanted: usize) -> io::Result<Run> {
        let first = sealed.header.first;
        let at = from.0 - first.0;
        let left = sealed.count - at;
        let take = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        // One more than asked for shows where the last one ends, unless it is the segment's last.
        let more = usize::from((take as u64) < left);
        let kept = match &*sealed.offsets.read() {
            Offsets::Kept(offsets) => Some(offsets.clone()),
            Offsets::Filed => None,
        };
        let mut offsets = match kept {
            Some(kept) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                kept[at..at + take + more].to_vec()
            }
            None => index::offsets(&*self.disk.open(&self.folder.join(index_name(first)))?, at, take + more)?,
        };
        if more == 0 {
            offsets.push(sealed.bytes);
        }
        if !offsets.is_sorted() || offsets.last() > Some(&sealed.bytes) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the index is wrong"));
        }
        let file = self.disk.open(&self.folder.join(segment_name(first)))?;
        Ok(Run { header: sealed.header.clone(), file, from, offsets })
    }

    /// Makes the offsets of a sealed segment again from the segment itself.
    fn index_again(&self, sealed: &Sealed) -> Result<(), ReadError> {
        let name = segment_name(sealed.header.first);
        let file = self.disk.open(&self.folder.join(&name))?;
        let found = scan::scan(&*file, &sealed.header)?;
        if let Some(bad) = found.bad {
            return Err(ReadError::Damaged {
                file: name,
                offset: bad.offset,
                position: bad.position,
                what: bad.what,
            });
        }
        if found.offsets.len() as u64 != sealed.count {
            let position = found.walk.position;
            let what = "the segment holds another number of records than when it was opened".to_owned();
            return Err(ReadError::Damaged { file: name, offset: found.end, position, what });
        }
        tracing::warn!(file = name, "the index of a segment of the log was wrong and is made again");
        *sealed.offsets.write() = Offsets::Kept(found.offsets.into());
        Ok(())
    }
}

impl Active {
    fn tail(&self) -> Position {
        Position(self.header.first.0 + self.offsets.len() as u64)
    }

    fn run(&self, from: Position, wanted: usize) -> Run {
        let at = usize::try_from(from.0 - self.header.first.0).expect("the offsets are in memory");
        let end = at.saturating_add(wanted).min(self.offsets.len());
        let mut offsets = self.offsets[at..end].to_vec();
        offsets.push(self.offsets.get(end).copied().unwrap_or(self.bytes));
        Run { header: self.header.clone(), file: self.file.clone(), from, offsets }
    }
}

/// Why a run could not be read.
enum Astray {
    Io(io::Error),
    Record(u64, Position, &'static str),
}

impl Astray {
    fn into_read_error(self, run: &Run) -> ReadError {
        match self {
            Self::Io(error) => error.into(),
            Self::Record(offset, position, what) => {
                let file = segment_name(run.header.first);
                ReadError::Damaged { file, offset, position, what: what.to_owned() }
            }
        }
    }
}

impl Run {
    /// As many of the records as `limit_bytes` allow, at least one; all in one read.
    fn records(&self, limit_bytes: usize) -> Result<Vec<Record>, Astray> {
        let start = self.offsets[0];
        let fit = self.offsets[1..].partition_point(|end| end - start <= limit_bytes as u64).max(1);
        let length =
            usize::try_from(self.offsets[fit] - start).map_err(|e| Astray::Io(io::Error::other(e)))?;
        let mut bytes = vec![0; length];
        self.file.read_at(start, &mut bytes).map_err(Astray::Io)?;
        let bytes = Bytes::from(bytes);
        let mut records = Vec::with_capacity(fit);
        for (number, pair) in self.offsets[..=fit].windows(2).enumerate() {
            let position = Position(self.from.0 + number as u64);
            let at = |offset: u64| usize::try_from(offset - start).expect("it lies within the bytes read");
            let record = decode_record(&bytes.slice(at(pair[0])..at(pair[1])), position)
                .map_err(|what| Astray::Record(pair[0], position, what))?;
            records.push(record);
        }
        Ok(records)
    }
}
