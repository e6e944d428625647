//! Which blobs live, and which were released and since when (architecture §6).
//!
//! Invariant: a blob that an event names has a row; a live one is never in the list of the released.
//! Elsewhere: the removal itself (`workers::sweep`).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{fetch, put};
use crate::base::Stamp;
use crate::blob::Lake;
use crate::tables::keys::Key;
use crate::tables::{Batch, Error, Read};

/// What the fold knows of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobState {
    /// A live instance has it.
    Live,
    /// Refused, replaced or deleted at this feed time.
    Released(Stamp),
    /// It was named in a `BlobsRemoved` that held.
    Removed,
}

fn row_key(version: Uuid) -> Vec<u8> {
    Key::of(b'B').bytes(version.as_bytes()).build()
}

fn list_key(since: Stamp, version: Uuid) -> Vec<u8> {
    Key::of(b'R').number(ticks(since)).bytes(version.as_bytes()).build()
}

fn ticks(stamp: Stamp) -> u64 {
    u64::try_from(stamp.0).unwrap_or(0)
}

/// What is known of the blob under `key`; `None` when no event named it.
///
/// # Errors
/// The table is damaged.
pub fn state(rows: &impl Read, key: &str) -> Result<Option<BlobState>, Error> {
    match Lake::version_of(key) {
        Some(version) => fetch(rows, &row_key(version)),
        None => Ok(None),
    }
}

/// Keys of blobs released before `before`, oldest first, at most `limit`.
///
/// # Errors
/// The table is damaged.
pub fn before(rows: &impl Read, before: Stamp, limit: usize) -> Result<Vec<String>, Error> {
    let end = Key::of(b'R').number(ticks(before)).build();
    let from = Key::of(b'R').build();
    rows.range(std::ops::Bound::Included(&from), std::ops::Bound::Excluded(&end))
        .take(limit)
        .map(|row| Ok(String::from_utf8_lossy(&row?.1).into_owned()))
        .collect()
}

pub(crate) fn now_lives(batch: &mut Batch<'_>, key: &str) {
    if let Some(version) = Lake::version_of(key) {
        put(batch, row_key(version), &BlobState::Live);
    }
}

pub(crate) fn release(batch: &mut Batch<'_>, key: &str, since: Stamp) {
    if let Some(version) = Lake::version_of(key) {
        put(batch, row_key(version), &BlobState::Released(since));
        batch.put(list_key(since, version), key.as_bytes().to_vec());
    }
}

/// Drops a released blob from the list; a live or unknown one stays as it is.
pub(crate) fn removed(batch: &mut Batch<'_>, key: &str) -> Result<(), Error> {
    if let (Some(version), Some(BlobState::Released(since))) = (Lake::version_of(key), state(batch, key)?) {
        put(batch, row_key(version), &BlobState::Removed);
        batch.delete(list_key(since, version));
    }
    Ok(())
}
