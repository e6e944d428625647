//! How many records an order holds, by stretches of ids, so that a far page costs no walk to it.
//!
//! An order (studies, series or instances of a partition, newest first) is cut into stretches of ids, those
//! into shorter ones, three times ([`LENGTHS`]); a row for each that holds something counts its records. To
//! skip is to pass whole long stretches, then shorter ones, then single rows.
//! Invariant: a stretch's row is the number of the order's rows within it, and is gone when that is 0.
//! Elsewhere: the orders themselves (`rows`), who skips (`find`).

use super::rows::{Id, damaged, last_number, read};
use crate::base::Partition;
use crate::tables::keys::Key;
use crate::tables::{self, Batch, Read};

/// Ids in a stretch, longest first. A page start reads some sixteen rows of each at most in the mean.
const LENGTHS: [u64; 3] = [32 * 1024, 1024, 32];

/// Which order: its letter in [`super::rows::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Studies,
    Series,
    Instances,
}

impl Order {
    fn letter(self) -> u8 {
        match self {
            Self::Studies => b'o',
            Self::Series => b'p',
            Self::Instances => b'v',
        }
    }

    /// The beginning of the keys of the order's rows.
    pub(super) fn rows(self, partition: &Partition) -> Key {
        Key::of(self.letter()).text(partition.as_str())
    }

    fn stretches(self, partition: &Partition, length: u64) -> Key {
        Key::of(b'c').bytes(&[self.letter()]).text(partition.as_str()).number(length)
    }
}

/// Counts a record that came.
pub(super) fn came(
    batch: &mut Batch<'_>,
    order: Order,
    partition: &Partition,
    id: Id,
) -> Result<(), tables::Error> {
    for length in LENGTHS {
        let key = order.stretches(partition, length).newest_first(id / length).build();
        let count: u64 = read(batch, &key)?.unwrap_or(0);
        batch.put(key, super::rows::encode(&(count + 1)));
    }
    Ok(())
}

/// Counts a record that went.
pub(super) fn went(
    batch: &mut Batch<'_>,
    order: Order,
    partition: &Partition,
    id: Id,
) -> Result<(), tables::Error> {
    for length in LENGTHS {
        let key = order.stretches(partition, length).newest_first(id / length).build();
        match read::<u64>(batch, &key)? {
            Some(count) if count > 1 => batch.put(key, super::rows::encode(&(count - 1))),
            Some(_) => batch.delete(key),
            None => return Err(damaged("a record was never counted")),
        }
    }
    Ok(())
}

/// How many records an order holds.
pub(super) fn all(rows: &impl Read, order: Order, partition: &Partition) -> Result<u64, tables::Error> {
    let stretches = rows.prefix(&order.stretches(partition, LENGTHS[0]).build());
    stretches.map(|row| super::rows::decode::<u64>(&row?.1)).sum()
}

/// Where a page begins that leaves out the `offset` newest records: the key to read the order from, and how
/// many rows from there are still to be skipped. `None` when the order has no more.
pub(super) fn page_start(
    rows: &impl Read,
    order: Order,
    partition: &Partition,
    offset: usize,
) -> Result<Option<(Vec<u8>, usize)>, tables::Error> {
    let (mut left, mut newest) = (offset as u64, u64::MAX);
    for (level, length) in LENGTHS.into_iter().enumerate() {
        match pass(rows, order, partition, length, newest / length, &mut left)? {
            Some(stretch) => newest = newest.min((stretch * length).saturating_add(length - 1)),
            None if level == 0 => return Ok(None),
            None => return Err(damaged("counts contradict each other")),
        }
    }
    let left = usize::try_from(left).map_err(|_| damaged("a stretch holds too many records"))?;
    Ok(Some((order.rows(partition).newest_first(newest).build(), left)))
}

/// Passes stretches from the number `newest` on that `left` can leave out whole; gives the first it cannot.
fn pass(
    rows: &impl Read,
    order: Order,
    partition: &Partition,
    length: u64,
    newest: u64,
    left: &mut u64,
) -> Result<Option<u64>, tables::Error> {
    let prefix = order.stretches(partition, length).build();
    let from = order.stretches(partition, length).newest_first(newest).build();
    for row in rows.prefix_from(&prefix, std::ops::Bound::Included(&from)) {
        let (key, value) = row?;
        let count: u64 = super::rows::decode(&value)?;
        if count > *left {
            return Ok(Some(last_number(&key)?));
        }
        *left -= count;
    }
    Ok(None)
}
