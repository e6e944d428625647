//! What is true: instances come in, the fold decides, and its state answers.
//!
//! Invariant: an answer to a write is given only when this node's own fold has passed it.
//! Invariant: an event is appended once; an append whose outcome is unknown is found again by its id.
//! Elsewhere: search (`projections`), the form of requests and answers (`http`).

mod bodies;
mod commits;
mod derive;
pub mod fold;
mod follow;
mod framed;
mod headers;
pub mod ingest;
mod partitions;
mod reads;
mod spool;
pub mod state;
pub mod still;
mod submit;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::base::{Clock, Ids, Partition, Position, Stamp};
use crate::blob::{self, Blobs, Lake};
use crate::dicom::preamble::Preambles;
use crate::dicom::scan::Limits;
use crate::event::Actor;
use crate::log::{self, Log};
use crate::tables::{self, Table};

pub use follow::Progress;
pub use framed::Framed;
pub use ingest::{Ingest, PartOutcome, PartRefusal, Stored};
pub use reads::{Located, expected};
pub use state::change_feed::{FeedRow, FeedState};
pub use state::expiry::Expiring;
pub use state::instances::{LiveInstance, Summary};
pub use state::partitions::KnownPartition;

/// Settings of the archive room; every one a named bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of the scanner for one file.
    pub scan: Limits,
    /// About the most bytes of headers held by all running requests together (`studies.md` §2.12).
    pub headers_in_flight_bytes: usize,
    /// How long a request waits for a place for its header.
    pub headers_wait: Duration,
    /// Most bytes of large metadata held by all running requests together.
    pub metadata_in_flight_bytes: usize,
    /// Most parts of one store request.
    pub parts: usize,
    /// What is done about the preambles of files.
    pub preambles: Preambles,
    /// How long after the later of clock and feed time an event may still take effect.
    pub validity: Duration,
    /// How long a request waits for its outcome.
    pub outcome_wait: Duration,
    /// Whether reads are answered before this node knows all that was acknowledged before its start.
    pub stale_reads: StaleReads,
    /// Largest record; sections that do not fit in lie in the blob store.
    pub record_bytes: usize,
    /// Folder of the copies of such sections; without one they are kept in memory.
    pub bodies: Option<PathBuf>,
    /// Encoded events of a request kept in memory before they go to a temporary file.
    pub spool_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scan: Limits::default(),
            headers_in_flight_bytes: 128 << 20,
            headers_wait: Duration::from_secs(30),
            metadata_in_flight_bytes: 128 << 20,
            parts: 20_000,
            preambles: Preambles::Keep,
            validity: Duration::from_secs(300),
            outcome_wait: Duration::from_secs(60),
            stale_reads: StaleReads::Refused,
            record_bytes: log::RECORD_BYTES,
            bodies: None,
            spool_bytes: 1 << 20,
        }
    }
}

/// Reads of a node that has not caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReads {
    /// Answered 503.
    Refused,
    /// Answered with what this node knows.
    Allowed,
}

/// Who asks, and in which request.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The request's id, for the event's head.
    pub request_id: String,
    /// W3C trace id, when one came.
    pub trace_id: Option<String>,
    /// The caller.
    pub actor: Actor,
    /// The data partition of the route.
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
    Unknown {
        /// The event's `valid_until`.
        until: Stamp,
    },
    /// The log is sealed; nothing was appended.
    #[error("the log is sealed: the archive was moved to another one")]
    Sealed,
    /// The event is larger than the log takes.
    #[error(
        "what is known of the instance makes an event of {length_bytes} bytes, over the log's limit of {limit_bytes}"
    )]
    TooLarge {
        /// Bytes of the record.
        length_bytes: usize,
        /// The log's limit.
        limit_bytes: usize,
    },
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// The limit on header bytes over all running requests was not freed in time.
    #[error("too many large headers are being read at once")]
    Busy,
    /// More parts than one request may have.
    #[error("more than {limit} parts in one request")]
    TooManyParts {
        /// The limit.
        limit: usize,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] tables::Error),
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The limit on large metadata over all running requests was not freed in time.
    #[error("too many large metadata are being read at once")]
    Busy,
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] tables::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] log::ReadError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// An event of ours cannot be read.
    #[error("the event at position {0} cannot be read: {1}")]
    Event(Position, String),
    /// A bounded wait ended while the fold was still behind.
    #[error("position {wanted} was not reached in time; this node is at {reached}")]
    Behind {
        /// The position waited for.
        wanted: Position,
        /// The first position not yet folded.
        reached: Position,
    },
    /// The log's end is not known yet: what is missing here cannot be told.
    #[error("the log's end is not known yet")]
    EndUnknown,
    /// The fold stopped and will not go on until the archive is started again.
    #[error("the archive has stopped: {0}")]
    Stopped(String),
}

/// What an archive is made of.
pub struct Parts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The files.
    pub blobs: Blobs,
    /// Names of the files.
    pub lake: Lake,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// The one source of ids.
    pub ids: Arc<Ids>,
    /// This node.
    pub node: Uuid,
    /// The state, a table of the format [`state::FORMAT`].
    pub state: Table,
    /// Bounds.
    pub settings: Settings,
}

struct Inner {
    parts: Parts,
    outcomes: submit::Waiting,
    recent: Mutex<commits::Recent>,
    progress: watch::Sender<Progress>,
    head: watch::Sender<Position>,
    stopped: watch::Sender<Option<String>>,
    /// This node's part of the log as it was at the start.
    start_tail: Position,
    bodies: Arc<bodies::Here>,
    /// What the fold waits for before it goes on.
    awaited: Mutex<Option<String>>,
    headers: headers::Headers,
    metadata: Arc<Semaphore>,
    framed: framed::Kept,
    still: still::Still,
    last_mark: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

/// The archive; clones are cheap and are the same archive.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

#[cfg(test)]
mod tests;
