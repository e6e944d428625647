//! The log: opaque records in one durable order (architecture §5).
//!
//! Invariant: a record is readable only once it is durable, and then for ever, at the same position.
//! Invariant: every record carries the chain value SHA-256(previous chain ‖ stamp ‖ bytes), the same in
//! every implementation.
//! Elsewhere: what the bytes mean (`event`).

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::base::{Position, Stamp};

pub mod chain;
pub mod conformance;
pub mod embedded;
pub mod faulty;
pub mod kafka;
pub mod memory;
mod tail;

/// Why a log that was closed takes no more records.
const CLOSED: &str = "it was closed";

/// The largest record written unless a setting says otherwise: with what a batch adds it is below the 1 MiB
/// that Kafka takes by default, so that any log can be moved there.
pub const RECORD_BYTES: usize = 900 << 10;

/// One durable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub position: Position,
    /// When it was appended, as the log says.
    pub stamp: Stamp,
    /// SHA-256(previous chain ‖ stamp as 8 bytes little endian ‖ bytes); before position 0 the chain is 32 zero bytes.
    pub chain: [u8; 32],
    /// What was appended.
    pub bytes: Bytes,
}

/// Why a record was not, or may not have been, appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too large for a record; nothing was appended.
    #[error("the record has {length_bytes} bytes, over the limit of {limit_bytes}")]
    TooLarge {
        /// Its length.
        length_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The log stopped taking records after a failure and will until it is opened again. If this very
    /// append met the failure, the record may still turn out to be there.
    #[error("the log has stopped: {0}")]
    Stopped(String),
    /// The queue is full; nothing was appended.
    #[error("too many appends are waiting")]
    Busy,
    /// It was sent, and whether it arrived is not known: it may lie in the log, or never will.
    #[error("whether the record was appended is not known: {0}")]
    Unknown(String),
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such record yet.
    #[error("position {position} is beyond the end of the log, {tail}")]
    BeyondEnd {
        /// Asked for.
        position: Position,
        /// The first position not yet durable.
        tail: Position,
    },
    /// What lies there is not what was written.
    #[error("the log is damaged: {file} at offset {offset}, position {position}: {what}")]
    Damaged {
        /// File name.
        file: String,
        /// Offset in it, bytes.
        offset: u64,
        /// The record concerned, or the first that may be.
        position: Position,
        /// What was found.
        what: String,
    },
    /// The file system failed.
    #[error("the log cannot be read: {0}")]
    Io(String),
    /// What lies behind the log is not, or no longer, what it was: nothing is read from it any more.
    #[error("{0}")]
    Refused(String),
    /// The server that holds the log does not answer.
    #[error("the log's end cannot be asked for: {0}")]
    Away(String),
}

/// How a log is, for those who look after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Well(String),
    /// It works in part, or somebody has to look.
    Troubled(String),
    /// It does not work.
    Broken(String),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Resolves to the record's position once it is durable.
pub type Appending = Pin<Box<dyn Future<Output = Result<Position, AppendError>> + Send>>;

/// An immutable, totally ordered, durable sequence of records.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Gives `record` its place in the order (calls of one caller keep theirs, whether or not it waits
    /// between them); what is answered resolves when the record is durable. Waits while the queue is full,
    /// within a bound.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    async fn append(&self, record: Bytes) -> Result<Appending, AppendError>;

    /// The record at `position`.
    ///
    /// # Errors
    /// [`ReadError`], never other bytes than were appended.
    async fn get(&self, position: Position) -> Result<Record, ReadError>;

    /// Durable records from `from` (inclusive), in order; at the tail the stream waits for more, and
    /// ends when the log was closed. A `from` beyond the tail is the error [`ReadError::BeyondEnd`] at once.
    /// After an error the stream ends.
    fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>>;

    /// Up to `limit_bytes` (at least one record) of the durable records in `from..to`, in order, at once:
    /// the bulk read of rebuilds. Blocking. The records may share one buffer: copy the bytes of one that is to
    /// be kept for long.
    ///
    /// # Errors
    /// [`ReadError`]
    fn read_batch(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError>;

    /// The first position that is not yet durable here.
    fn tail(&self) -> Position;

    /// How far a reader that found the tail at `found` when it began has to go before it knows all that had been
    /// acknowledged by then; `None` while that cannot be told. It may turn out to be less, never more.
    fn start_end(&self, found: Position) -> Option<Position> {
        Some(found)
    }

    /// The log's end now, beyond which nothing had been acknowledged when this was asked; at least [`Self::tail`].
    ///
    /// # Errors
    /// [`ReadError::Away`] where another has to be asked and does not answer.
    async fn end(&self) -> Result<Position, ReadError> {
        Ok(self.tail())
    }

    /// How it is.
    fn condition(&self) -> Condition {
        match self.stopped() {
            Some(why) => Condition::Troubled(format!("nothing can be written: {why}")),
            None => Condition::Well(format!("{} records", self.tail())),
        }
    }

    /// Why the log takes no more records, if it stopped.
    fn stopped(&self) -> Option<String>;

    /// Finishes what is queued, then takes no more; reading goes on.
    async fn close(&self);
}
