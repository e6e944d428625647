//! When studies expire (`studies.md` §2.10): one moment for each study that does, and the order of these moments.
//!
//! Invariant: a study that expires has at least one live instance, and its moment stands in both kinds of row.
//! Elsewhere: what sets and cancels it (`fold`).

use std::ops::Bound;
use std::time::Duration;

use super::{Meta, fetch, put};
use crate::base::{Partition, Stamp};
use crate::dicom::uid::Uid;
use crate::tables::keys::{Key, Parts};
use crate::tables::{Batch, Error, Read};

/// A study that expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// When, in feed time.
    pub due: Stamp,
    /// Its partition.
    pub partition: Partition,
    /// The study.
    pub study: Uid,
}

fn study_key(partition: &Partition, study: &Uid) -> Vec<u8> {
    Key::of(b'S').text(partition.as_str()).text(study.as_str()).build()
}

fn due_key(due: Stamp, partition: &Partition, study: &Uid) -> Vec<u8> {
    Key::of(b'D').number(ticks(due)).text(partition.as_str()).text(study.as_str()).build()
}

fn ticks(stamp: Stamp) -> u64 {
    u64::try_from(stamp.0).unwrap_or(0)
}

/// When a study expires, if it does.
///
/// # Errors
/// The table is damaged.
pub fn of_study(rows: &impl Read, partition: &Partition, study: &Uid) -> Result<Option<Stamp>, Error> {
    fetch(rows, &study_key(partition, study))
}

/// The studies that are due at `until` or before, the first one first, at most `limit`.
///
/// # Errors
/// The table is damaged.
pub fn due(rows: &impl Read, until: Stamp, limit: usize) -> Result<Vec<Expiring>, Error> {
    let from = Key::of(b'D').build();
    let end = Key::of(b'D').number(ticks(until).saturating_add(1)).build();
    let due = rows.range(Bound::Included(&from), Bound::Excluded(&end)).take(limit);
    due.map(|row| read_key(&row?.0)).collect()
}

fn read_key(key: &[u8]) -> Result<Expiring, Error> {
    let mut parts = Parts::of(key);
    let mut read = || {
        let due = Stamp(i64::try_from(parts.number()?).ok()?);
        let partition = Partition::parse(parts.text()?).ok()?;
        Some(Expiring { due, partition, study: Uid::parse(parts.text()?).ok()? })
    };
    read().ok_or_else(|| Error::Damaged {
        table: "archive".to_owned(),
        what: "the key of a study that expires cannot be read".to_owned(),
    })
}

/// A study was stored to: it expires so long from now, or no more.
pub(crate) fn set(
    batch: &mut Batch<'_>,
    meta: &mut Meta,
    partition: &Partition,
    study: &Uid,
    after_ms: Option<u64>,
) -> Result<(), Error> {
    cancel(batch, meta, partition, study)?;
    if let Some(after_ms) = after_ms {
        let due = meta.time.plus(Duration::from_millis(after_ms));
        put(batch, study_key(partition, study), &due);
        batch.put(due_key(due, partition, study), Vec::new());
        meta.expiring += 1;
    }
    Ok(())
}

/// A study expires no more.
pub(crate) fn cancel(
    batch: &mut Batch<'_>,
    meta: &mut Meta,
    partition: &Partition,
    study: &Uid,
) -> Result<(), Error> {
    // Where nothing expires, nothing is looked up for each store.
    if meta.expiring == 0 {
        return Ok(());
    }
    if let Some(due) = of_study(batch, partition, study)? {
        batch.delete(study_key(partition, study));
        batch.delete(due_key(due, partition, study));
        meta.expiring -= 1;
    }
    Ok(())
}
