//! SKETCH of the archive room's public face; moves into its files as they are written.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use crate::base::{Partition, Position, Stamp};
use crate::blob;
use crate::dicom::frames::FrameIndex;
use crate::dicom::scan::BulkElement;
use crate::dicom::uid::Uid;
use crate::dicom::validate::{Finding, Invalid, Rules};
use crate::event::{Actor, Change, InstanceKey, Outcome, Scope, StoreMode};
use crate::tables;

/// Who asks, and in which request.
#[derive(Clone, Debug)]
pub struct Asking {
    pub request_id: String,
    pub trace_id: Option<String>,
    pub actor: Actor,
    pub partition: Partition,
}

/// Why a write has no outcome to tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nothing was appended, and nothing of this request will take effect.
    #[error("nothing can be written now: {0}")]
    Unavailable(String),
    /// It may still take effect, until the moment given.
    #[error("the outcome is not known yet; it may still take effect until {until}")]
    Unknown { until: Stamp },
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// The limit on non-bulk bytes over all running requests was not freed in time.
    #[error("too many large headers are being read at once")]
    Busy,
    /// More parts than one request may have.
    #[error("more than {limit} parts in one request")]
    TooManyParts { limit: usize },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] tables::Error),
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    State(#[from] tables::Error),
    #[error(transparent)]
    Log(#[from] crate::log::ReadError),
    #[error(transparent)]
    Blob(#[from] blob::Error),
    #[error("the event at position {0} cannot be read: {1}")]
    Event(Position, String),
    /// A bounded wait ended (views or fold still behind).
    #[error("position {wanted} was not reached in time; this node is at {reached}")]
    Behind { wanted: Position, reached: Position },
}

/// What became of one part of a store request, in the order of the parts.
#[derive(Clone, Debug)]
pub enum PartOutcome {
    Stored {
        key: InstanceKey,
        sop_class: String,
        sop_instance: String,
        change: Change,
        warning: Option<u16>,
        findings: Vec<Finding>,
    },
    Refused {
        sop_class: Option<String>,
        sop_instance: Option<String>,
        why: PartRefusal,
    },
}
/// Why one part was refused.
#[derive(Clone, Debug)]
pub enum PartRefusal {
    /// No dataset could be read (offset in the text).
    Unreadable(String),
    Invalid(Invalid),
    AlreadyStored,
    /// Read or storage error before the event was appended (272).
    Failed(String),
}
/// The whole request's outcome.
#[derive(Clone, Debug)]
pub struct Stored {
    pub parts: Vec<PartOutcome>,
    /// Positions passed: `Kymo-Position`. `None` when nothing was appended.
    pub position: Option<Position>,
}

/// One store request being received. Dropped without `commit`, everything staged goes.
pub struct Ingest {}
impl Ingest {
    /// Begins the next part. The part before must have been ended.
    pub async fn part(&mut self) -> Result<(), SubmitError> {
        todo!()
    }
    /// Bytes of the current part. What is wrong with the file is remembered for its outcome, not returned.
    pub async fn write(&mut self, _bytes: Bytes) -> Result<(), SubmitError> {
        todo!()
    }
    /// Ends the current part.
    pub async fn end_part(&mut self) -> Result<(), SubmitError> {
        todo!()
    }
    /// The body is complete: blobs are made durable, events appended, outcomes awaited.
    pub async fn commit(self) -> Result<Stored, SubmitError> {
        todo!()
    }
}

/// What was decided of an event.
#[derive(Clone, Debug)]
pub struct Decided {
    pub position: Position,
    pub outcome: Outcome,
}

/// A live instance: enough to find everything about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveInstance {
    pub key: InstanceKey,
    pub version: u64,
    /// Of the event that wrote this version.
    pub position: Position,
    pub transfer_syntax: String,
    pub file: crate::event::StoredFile,
}
/// What metadata ETags are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub highest_version: u64,
    pub count: u64,
}

/// A row of the feed and what is true of its instance at the moment of reading.
#[derive(Clone, Debug)]
pub struct FeedRow {
    pub change: Change,
    pub state: FeedState,
    pub live: Option<LiveInstance>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    Current,
    Replaced,
    Deleted,
}

/// How far this node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub next: Position,
    pub time: Stamp,
    pub sequence: u64,
}

/// Handle; clones are cheap.
#[derive(Clone)]
pub struct Archive(Arc<()>);
impl Archive {
    /// `study`: the study of the URL.
    pub fn ingest(&self, _asking: Asking, _mode: StoreMode, _rules: Rules, _study: Option<Uid>) -> Ingest {
        todo!()
    }
    /// Deletes. `Refused(NothingMatches)` when nothing matches; `None` position if decided without an append.
    pub async fn delete(
        &self,
        _asking: Asking,
        _scope: Scope,
    ) -> Result<(Option<Position>, Outcome), SubmitError> {
        todo!()
    }

    /// Live instances of a scope in key order, at most `limit`, after `after`. Blocking but short.
    pub fn instances(
        &self,
        _partition: &Partition,
        _scope: &Scope,
        _after: Option<&InstanceKey>,
        _limit: usize,
    ) -> Result<Vec<LiveInstance>, ReadError> {
        todo!()
    }
    /// `None` when nothing is live there.
    pub fn summary(&self, _partition: &Partition, _scope: &Scope) -> Result<Option<Summary>, ReadError> {
        todo!()
    }
    /// DICOM JSON of the version written at `position`.
    pub async fn metadata(&self, _position: Position) -> Result<Bytes, ReadError> {
        todo!()
    }
    /// What a read of the file must check.
    pub async fn file(&self, _live: &LiveInstance) -> Result<blob::Expected, ReadError> {
        todo!()
    }
    pub async fn frames(&self, _live: &LiveInstance) -> Result<(blob::Expected, FrameIndex), ReadError> {
        todo!()
    }
    pub async fn bulk(&self, _live: &LiveInstance) -> Result<Vec<BulkElement>, ReadError> {
        todo!()
    }
    /// Bytes of a range of the *inflated* dataset stream are not offered: deflated files are inflated by the reader.
    pub fn blobs(&self) -> &blob::Blobs {
        todo!()
    }

    /// v1: rows with `offset < sequence <= offset + limit`.
    pub fn feed_window(&self, _offset: u64, _limit: u64) -> Result<Vec<FeedRow>, ReadError> {
        todo!()
    }
    /// v2: rows with `times.start <= time < times.end`, `offset` skipped, at most `limit`.
    pub fn feed_between(
        &self,
        _times: Range<Stamp>,
        _offset: u64,
        _limit: usize,
    ) -> Result<Vec<FeedRow>, ReadError> {
        todo!()
    }
    pub fn feed_latest(&self) -> Result<Option<FeedRow>, ReadError> {
        todo!()
    }
    /// Makes sure that no row can appear before `end` any more, if `end` is not in the future (appends a shared time mark if need be).
    pub async fn close_window(&self, _end: Stamp) -> Result<(), SubmitError> {
        todo!()
    }

    pub fn progress(&self) -> Progress {
        todo!()
    }
    pub fn head(&self) -> watch::Receiver<Position> {
        todo!()
    }
    /// Waits until the fold has passed `position` (bounded).
    pub async fn reached(&self, _position: Position, _within: Duration) -> Result<(), ReadError> {
        todo!()
    }
    /// Ok when this node's fold has reached the log's end as of its start.
    pub fn ready(&self) -> Result<(), ReadError> {
        todo!()
    }
    pub fn now(&self) -> Stamp {
        todo!()
    }
    pub fn new_id(&self) -> Uuid {
        todo!()
    }
    /// Why nothing can be written, if so.
    pub fn stopped(&self) -> Option<String> {
        todo!()
    }
}
