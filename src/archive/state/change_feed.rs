//! The change feed: one row for each change of one instance, in log order (`change-feed.md`).
//!
//! `sequence` is counted by the fold, densely from 1, so a rebuild gives the same numbers.
//! `state` is not stored: it is found when read, by comparing the row's version with the live one.
//!
//! Invariant: a row is readable only when every row with a smaller sequence is.
//! Invariant: the rows of one delete become readable together; times never decrease along the sequence.
//! Elsewhere: JSON shape and parameters (`http::change_feed`).

use std::ops::{Bound, Range};

use serde::{Deserialize, Serialize};

use super::instances::{self, LiveInstance};
use super::{Meta, decode, fetch, put};
use crate::base::{Partition, Position, Stamp};
use crate::event::{Action, Change, InstanceKey};
use crate::tables::keys::{Key, Parts};
use crate::tables::{Batch, Error, Read, Row};

/// A row of the feed and what is true of its instance at the moment of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRow {
    /// The row itself, for ever the same.
    pub change: Change,
    /// `Current`, `Replaced` or `Deleted`.
    pub state: FeedState,
    /// The instance alive now under the row's identifiers.
    pub live: Option<LiveInstance>,
}

/// What became of the version a row wrote (`change-feed.md` §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// The version is live.
    Current,
    /// Another version is.
    Replaced,
    /// The instance is gone.
    Deleted,
}

#[derive(Serialize, Deserialize)]
struct Value {
    action: Action,
    partition: Partition,
    key: InstanceKey,
    version: u64,
    time: Stamp,
    position: Position,
    file: Option<String>,
}

fn key(sequence: u64) -> Vec<u8> {
    Key::of(b'F').number(sequence).build()
}

/// The beginning of the keys of all rows.
pub(crate) fn prefix() -> Vec<u8> {
    Key::of(b'F').build()
}

pub(crate) fn append(batch: &mut Batch<'_>, change: &Change) {
    let Change { sequence, action, partition, key: instance, version, time, position, file } = change.clone();
    put(batch, key(sequence), &Value { action, partition, key: instance, version, time, position, file });
}

fn change(sequence: u64, value: Value) -> Change {
    let Value { action, partition, key, version, time, position, file } = value;
    Change { sequence, action, partition, key, version, time, position, file }
}

fn read_row((key, value): Row) -> Result<Change, Error> {
    let sequence = Parts::of(&key).number().ok_or_else(|| Error::Damaged {
        table: "archive".to_owned(),
        what: "the key of a feed row cannot be read".to_owned(),
    })?;
    Ok(change(sequence, decode(&value)?))
}

/// The rows with sequence numbers in `range`, ascending.
pub fn rows(from: &impl Read, range: Range<u64>) -> impl Iterator<Item = Result<Change, Error>> + '_ {
    let (first, end) = (key(range.start), key(range.end));
    from.range(Bound::Included(&first), Bound::Excluded(&end)).map(|row| read_row(row?))
}

/// What is true of a row's instance now.
///
/// # Errors
/// The table is damaged.
pub fn state_now(rows: &impl Read, change: Change) -> Result<FeedRow, Error> {
    let live = instances::live(rows, &change.partition, &change.key)?;
    let state = match &live {
        None => FeedState::Deleted,
        Some(live) if live.version == change.version => FeedState::Current,
        Some(_) => FeedState::Replaced,
    };
    Ok(FeedRow { change, state, live })
}

/// The first sequence number whose row does not satisfy `before`, which must hold for a beginning of
/// the feed and for nothing behind it.
///
/// # Errors
/// The table is damaged, a missing row included.
pub fn first_not(rows: &impl Read, before: impl Fn(&Change) -> bool) -> Result<u64, Error> {
    let (mut low, mut high) = (1, Meta::load(rows)?.sequence + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let value: Value = fetch(rows, &key(middle))?.ok_or_else(|| Error::Damaged {
            table: "archive".to_owned(),
            what: format!("row {middle} of the change feed is missing"),
        })?;
        if before(&change(middle, value)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
