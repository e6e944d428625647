//! The data partitions: their names, their numbers, and when they came to be (`studies.md` §6).
//!
//! Invariant: numbers are dense from 1, in the order in which the log made the partitions; 1 is the default one,
//! which is as old as the log's first record.
//! Elsewhere: when one comes to be (`fold`), their list (`http::partitions`).

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{Meta, decode, put};
use crate::base::{Partition, Stamp};
use crate::tables::keys::{Key, Parts};
use crate::tables::{Batch, Error, Read, Row};

/// A data partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPartition {
    /// Counted by the fold, from 1.
    pub number: u64,
    /// Its name.
    pub partition: Partition,
    /// Feed time at the record that made it.
    pub created: Stamp,
}

#[derive(Serialize, Deserialize)]
struct Value {
    partition: Partition,
    created: Stamp,
}

fn name_key(partition: &Partition) -> Vec<u8> {
    Key::of(b'N').text(partition.as_str()).build()
}

fn number_key(number: u64) -> Vec<u8> {
    Key::of(b'P').number(number).build()
}

/// Whether there is such a partition.
///
/// # Errors
/// The table is damaged.
pub fn exists(rows: &impl Read, partition: &Partition) -> Result<bool, Error> {
    Ok(rows.get(&name_key(partition))?.is_some())
}

/// The partitions in the order of their numbers, from behind the number `after` on.
pub fn behind(rows: &impl Read, after: u64) -> impl Iterator<Item = Result<KnownPartition, Error>> + '_ {
    let prefix = Key::of(b'P').build();
    rows.prefix_from(&prefix, Bound::Excluded(&number_key(after))).map(|row| read_row(row?))
}

fn read_row((key, value): Row) -> Result<KnownPartition, Error> {
    let number = Parts::of(&key).number().ok_or_else(|| Error::Damaged {
        table: "archive".to_owned(),
        what: "the key of a partition cannot be read".to_owned(),
    })?;
    let Value { partition, created } = decode(&value)?;
    Ok(KnownPartition { number, partition, created })
}

/// Makes a partition unless it is there.
pub(crate) fn create(batch: &mut Batch<'_>, meta: &mut Meta, partition: &Partition) -> Result<(), Error> {
    if exists(batch, partition)? {
        return Ok(());
    }
    meta.partitions += 1;
    put(batch, name_key(partition), &meta.partitions);
    let value = Value { partition: partition.clone(), created: meta.time };
    put(batch, number_key(meta.partitions), &value);
    Ok(())
}
