//! The vocabulary: what the archive is told (events) and what follows from it (commits and changes).
//!
//! An event says what was received or asked; whether it was accepted is the fold's to say.
//! Invariant: variants are added, never altered; what an older form means is decided once, in [`upcast`].
//! Elsewhere: the bytes of a record ([`codec`]), the decisions (`archive::fold`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::{Partition, Position, Stamp};
use crate::dicom::uid::Uid;

pub mod codec;
pub mod upcast;

/// The newest event version this code writes and reads. Of 2 are events with a section that lies elsewhere, and
/// those that seal and open a log; of 3 those that create a partition; all others are still written as 1.
pub const VERSION: u16 = 3;

/// The small part of an event, all that the fold decodes (architecture §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// UUIDv7; seen again it has no effect.
    pub id: Uuid,
    /// The node that appended it.
    pub node: Uuid,
    /// The fold refuses the event once feed time is past this.
    pub valid_until: Stamp,
    /// The request it came with, as in the `x-request-id` header; empty when there was none.
    pub request_id: String,
    /// W3C trace id, when the request carried one.
    pub trace_id: Option<String>,
    /// Who asked.
    pub actor: Actor,
    /// The event or operation it follows from.
    pub cause: Option<Uuid>,
    /// The data partition it belongs to.
    pub partition: Partition,
    /// What was received or asked.
    pub payload: Payload,
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// The archive itself.
    System,
    /// A caller nobody asked for a name.
    Anonymous,
    /// An authenticated caller.
    Caller {
        /// Who vouches for the subject.
        issuer: String,
        /// The person or service.
        subject: String,
        /// The program used.
        client: String,
    },
}

/// One thing the archive was told, in log order.
#[expect(clippy::large_enum_variant, reason = "nearly every event is an InstanceStored")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The first valid one names the log.
    LogCreated {
        /// The log's name for ever.
        log: Uuid,
    },
    /// From here on nodes may write events of this version.
    FormatEnabled {
        /// The event version.
        version: u16,
    },
    /// A file was received; it is durable in the blob room before this event exists.
    InstanceStored {
        /// The instance.
        instance: ReceivedInstance,
        /// Whether it may replace one that is there.
        mode: StoreMode,
    },
    /// Everything in a scope is to go.
    Deleted {
        /// Study, series or instance.
        scope: Scope,
    },
    /// Released or unnamed files are about to be removed from the blob store.
    BlobsRemoved {
        /// Their keys; those that live again are dropped by the fold.
        keys: Vec<String>,
    },
    /// Nothing but the stamp: carries feed time forward.
    TimeMarked,
    /// The archive goes on in another log: every event behind this one is refused, until `LogOpened`.
    LogSealed,
    /// The log that was copied to here takes events again.
    LogOpened,
    /// The data partition of the head comes to be, if it is not there.
    PartitionCreated,
}

impl Payload {
    /// The oldest version whose readers know it.
    #[must_use]
    pub fn version(&self) -> u16 {
        match self {
            Self::PartitionCreated => 3,
            Self::LogSealed | Self::LogOpened => 2,
            Self::LogCreated { .. }
            | Self::FormatEnabled { .. }
            | Self::InstanceStored { .. }
            | Self::Deleted { .. }
            | Self::BlobsRemoved { .. }
            | Self::TimeMarked => 1,
        }
    }
}

/// Whether a store may replace what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreMode {
    /// POST: an instance that is there stays.
    Create,
    /// PUT: an instance that is there is replaced.
    Upsert,
}

/// The three UIDs of an instance, canonical (`studies.md` §2.7). With the partition, its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceKey {
    /// Study Instance UID (0020,000D).
    pub study: Uid,
    /// Series Instance UID (0020,000E).
    pub series: Uid,
    /// SOP Instance UID (0008,0018).
    pub instance: Uid,
}

/// A study, a series of it, or an instance of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The study.
    pub study: Uid,
    /// Narrows to a series.
    pub series: Option<Uid>,
    /// Narrows to an instance; only with a series.
    pub instance: Option<Uid>,
}

/// What is known of a received file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedInstance {
    /// The UIDs in canonical form.
    pub key: InstanceKey,
    /// The study, series and instance UID as received, padding kept; `None` where equal to the canonical form.
    pub received: [Option<String>; 3],
    /// SOP Class UID (0008,0016) as received.
    pub sop_class: String,
    /// Transfer Syntax UID (0002,0010) without padding.
    pub transfer_syntax: String,
    /// The file.
    pub file: StoredFile,
    /// Offset in the file of the first byte behind group 0002; where a deflated dataset begins.
    pub dataset_offset: u64,
    /// Codes of (0008,1196) given with the answer.
    pub warnings: Vec<u16>,
    /// Version of the code that derived the metadata.
    pub derived_by: u16,
    /// Milliseconds after receipt at which the study expires (`studies.md` §2.10).
    pub expires_after_ms: Option<u64>,
}

/// A file in the blob store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Key in the blob store, the `filePath` of the change feed.
    pub key: String,
    /// Length in bytes.
    pub length_bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
}

/// A part of an event beside its head, decoded only by its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Section {
    /// DICOM JSON of everything that is not bulk.
    Metadata = 1,
    /// Every element left out of the metadata: bincode of `Vec<dicom::scan::BulkElement>`.
    Bulk = 2,
    /// Where the frames lie: `dicom::frames::FrameIndex::encode`.
    Frames = 3,
    /// CRC32C of each 128 KiB of the file, little endian.
    Chunks = 4,
    /// The `ETag` that the store gave the file when it was put; absent where it gives none.
    Etag = 5,
}

/// What the fold made of one record.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Where it lies.
    pub position: Position,
    /// Feed time at it: the greatest stamp passed, its own included.
    pub time: Stamp,
    /// The event; `None` for a foreign record, which takes a position and is passed over.
    pub event: Option<Arc<codec::Event>>,
    /// What was decided.
    pub outcome: Outcome,
}

impl Commit {
    /// The changes it made; none when it was refused.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        match &self.outcome {
            Outcome::Accepted(changes) => changes,
            Outcome::Refused(_) => &[],
        }
    }
}

/// What the fold decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds, with these rows of the change feed (none for events that touch no instance).
    Accepted(Vec<Change>),
    /// It does not.
    Refused(Refusal),
}

/// Why the fold refused an event. Our words, never a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A create of an instance that is there.
    #[error("the instance is already stored")]
    AlreadyStored,
    /// A delete that matches nothing.
    #[error("nothing matches")]
    NothingMatches,
    /// Feed time was past `valid_until`.
    #[error("the event came too late")]
    TooLate,
    /// The log was sealed: the archive goes on elsewhere.
    #[error("the log is sealed; the archive was moved")]
    Sealed,
    /// The same event id was applied before.
    #[error("the event was applied before")]
    Repeated,
    /// The record is not one of this log's.
    #[error("the record is foreign to this log")]
    Foreign,
    /// It was refused long ago; why is no longer told.
    #[error("the event was refused")]
    Untold,
}

/// One row of the change feed (`change-feed.md` §3). `state` is not here: it is found when read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Dense from 1, counted by the fold.
    pub sequence: u64,
    /// What happened.
    pub action: Action,
    /// The data partition.
    pub partition: Partition,
    /// The instance.
    pub key: InstanceKey,
    /// Sequence of the change that wrote the version concerned: this row's own for a create or update, that
    /// of the version removed for a delete.
    pub version: u64,
    /// Feed time.
    pub time: Stamp,
    /// Where the event lies.
    pub position: Position,
    /// Key of the file written; `None` for a delete.
    pub file: Option<String>,
}

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// It came to be.
    Create,
    /// It was replaced.
    Update,
    /// It went.
    Delete,
}
