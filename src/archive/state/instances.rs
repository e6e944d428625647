//! The live instances: one row each, study and series membership by the order of the keys.
//!
//! Invariant: `version` is the sequence of the change that wrote the row.
//! Elsewhere: attributes (the log, by position), search (`projections::search`).

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{decode, fetch, put};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::event::{InstanceKey, Scope, StoredFile};
use crate::tables::keys::{Key, Parts};
use crate::tables::{Batch, Error, Read, Row};

/// A live instance: enough to find everything about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveInstance {
    /// The UIDs.
    pub key: InstanceKey,
    /// Sequence of the change that wrote it.
    pub version: u64,
    /// Position of the event that wrote it.
    pub position: Position,
    /// Transfer Syntax UID as stored.
    pub transfer_syntax: String,
    /// The file.
    pub file: StoredFile,
}

/// What metadata ETags are made of (`studies.md` §3.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The highest version among the live instances.
    pub highest_version: u64,
    /// Number of live instances.
    pub count: u64,
}

#[derive(Serialize, Deserialize)]
struct Value {
    version: u64,
    position: Position,
    transfer_syntax: String,
    file: StoredFile,
}

fn key(partition: &Partition, instance: &InstanceKey) -> Vec<u8> {
    prefix(partition, &instance.study).text(instance.series.as_str()).text(instance.instance.as_str()).build()
}

fn prefix(partition: &Partition, study: &Uid) -> Key {
    Key::of(b'L').text(partition.as_str()).text(study.as_str())
}

fn scope_prefix(partition: &Partition, scope: &Scope) -> Vec<u8> {
    let mut prefix = prefix(partition, &scope.study);
    for uid in [&scope.series, &scope.instance].into_iter().flatten() {
        prefix = prefix.text(uid.as_str());
    }
    prefix.build()
}

fn read_row((key, value): Row) -> Result<LiveInstance, Error> {
    let damaged = || Error::Damaged {
        table: "archive".to_owned(),
        what: "the key of a live instance cannot be read".to_owned(),
    };
    let mut parts = Parts::of(&key);
    parts.text().ok_or_else(damaged)?; // The partition.
    let mut uid = || parts.text().and_then(|text| Uid::parse(text).ok()).ok_or_else(damaged);
    let key = InstanceKey { study: uid()?, series: uid()?, instance: uid()? };
    Ok(with_key(key, decode(&value)?))
}

fn with_key(key: InstanceKey, value: Value) -> LiveInstance {
    LiveInstance {
        key,
        version: value.version,
        position: value.position,
        transfer_syntax: value.transfer_syntax,
        file: value.file,
    }
}

/// The live instance under a key.
///
/// # Errors
/// The table is damaged.
pub fn live(
    rows: &impl Read,
    partition: &Partition,
    instance: &InstanceKey,
) -> Result<Option<LiveInstance>, Error> {
    let value: Option<Value> = fetch(rows, &key(partition, instance))?;
    Ok(value.map(|value| with_key(instance.clone(), value)))
}

/// The live instances of a scope in the order of their keys, from behind `after` on.
pub fn within<'a>(
    rows: &'a impl Read,
    partition: &Partition,
    scope: &Scope,
    after: Option<&InstanceKey>,
) -> impl Iterator<Item = Result<LiveInstance, Error>> + 'a {
    let prefix = scope_prefix(partition, scope);
    let from = after.map_or_else(|| prefix.clone(), |after| key(partition, after));
    let from = if after.is_some() { Bound::Excluded(&from[..]) } else { Bound::Included(&from[..]) };
    rows.prefix_from(&prefix, from).map(|row| read_row(row?))
}

pub(crate) fn insert(batch: &mut Batch<'_>, partition: &Partition, live: &LiveInstance) {
    let value = Value {
        version: live.version,
        position: live.position,
        transfer_syntax: live.transfer_syntax.clone(),
        file: live.file.clone(),
    };
    put(batch, key(partition, &live.key), &value);
}

pub(crate) fn remove(batch: &mut Batch<'_>, partition: &Partition, instance: &InstanceKey) {
    batch.delete(key(partition, instance));
}
