//! A record of the topic and what becomes of it here.
//!
//! Ours have the headers `kymo-log` (the log's name) and `kymo-format` (`1`) and lie in the segments as they
//! are. One that was copied from another place brings its stamp with it (`kymo-stamp`). All others take a position too: the segments hold [`MARK`] and then their value, the same on every
//! node, which is an event of nobody.
//!
//! Invariant: what is stored of a record depends on the record and the log's name alone.
//! Elsewhere: where it lay (`offsets`), what events are (`event`).

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::{Timestamp, message::BorrowedHeaders};
use uuid::Uuid;

use super::context::stamp_of;
use crate::base::Stamp;

/// Header with the log's name.
const LOG: &str = "kymo-log";
/// Header with the stamp that a record had where it was copied from.
const STAMP: &str = "kymo-stamp";
/// Header with the form of the record.
const FORMAT: &str = "kymo-format";
/// Header of a record that would begin a log.
const BEGIN: &str = "kymo-begin";
/// The form this program writes and reads.
const THIS_FORMAT: &str = "1";
/// What a record that is not ours begins with in the segments.
pub(super) const MARK: &[u8] = b"\0not of this log\n";

/// A record as it is stored here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: u64,
    /// The broker's; the beginning of time if it stamped none, so that the one before counts.
    pub(super) stamp: Stamp,
    pub(super) bytes: Bytes,
    /// Not ours, nor one that lost the race to begin the log.
    pub(super) foreign: bool,
    /// It was copied to here: unless it opens the log, more must follow before anybody may write.
    pub(super) copied: bool,
}

/// One of ours in a form this program does not know.
#[derive(Debug, thiserror::Error)]
#[error(
    "the record at offset {offset} has the form '{found}' and this program reads '{THIS_FORMAT}': install a newer Kymo"
)]
pub(super) struct FromTheFuture {
    offset: i64,
    found: String,
}

/// The headers of a record of `log`.
pub(super) fn headers(log: Uuid) -> OwnedHeaders {
    let name = log.to_string();
    OwnedHeaders::new_with_capacity(3)
        .insert(Header { key: LOG, value: Some(&name) })
        .insert(Header { key: FORMAT, value: Some(THIS_FORMAT) })
}

/// The headers of a record of `log` that is copied from another place, where it was stamped.
pub(super) fn copied(log: Uuid, stamp: Stamp) -> OwnedHeaders {
    headers(log).insert(Header { key: STAMP, value: Some(&stamp.0.to_string()) })
}

/// The headers of a record that begins `log`, unless another one comes first.
pub(super) fn beginning(log: Uuid) -> OwnedHeaders {
    headers(log).insert(Header { key: BEGIN, value: Some("") })
}

/// The log a record belongs to, if it has our headers.
pub(super) fn log_of(message: &BorrowedMessage<'_>) -> Option<Uuid> {
    let headers = message.headers()?;
    text(headers, FORMAT)?;
    text(headers, LOG)?.parse().ok()
}

/// What is stored of a record of the log named `log`.
pub(super) fn read(message: &BorrowedMessage<'_>, log: Uuid) -> Result<Found, FromTheFuture> {
    let ours = log_of(message) == Some(log);
    if ours
        && let Some(found) = message.headers().and_then(|headers| text(headers, FORMAT))
        && found != THIS_FORMAT
    {
        return Err(FromTheFuture { offset: message.offset(), found: found.to_owned() });
    }
    let brought = message.headers().filter(|_| ours).and_then(|headers| text(headers, STAMP)?.parse().ok());
    let stamp = match (brought, message.timestamp()) {
        (Some(ticks), _) => Stamp(ticks),
        (None, Timestamp::LogAppendTime(millis)) => stamp_of(millis),
        (None, Timestamp::CreateTime(_) | Timestamp::NotAvailable) => Stamp(0),
    };
    let late_beginning =
        message.headers().is_some_and(|headers| log_of(message).is_some() && text(headers, BEGIN).is_some());
    let bytes = match message.payload() {
        Some(value) if ours => Bytes::copy_from_slice(value),
        value => [MARK, value.unwrap_or_default()].concat().into(),
    };
    Ok(Found {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        stamp,
        copied: brought.is_some(),
        foreign: !late_beginning && (!ours || message.payload().is_none()),
        bytes,
    })
}

fn text<'a>(headers: &'a BorrowedHeaders, name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}
