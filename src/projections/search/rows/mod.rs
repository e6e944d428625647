//! The rows of the search view: merged study and series records, the orders they are listed in, and the
//! look-ups. All that a search answers follows from them; the index beside them only finds faster.
//!
//! Layout (`schemas/views.md`): `id` is the sequence of the change that made a record, newest first in keys.
//! ```text
//! S partition study      -> id          the study's live record
//! o partition id         -> StudyRow    studies, newest first
//! E study-id series      -> id          the series' live record
//! p partition id         -> SeriesRow   series, newest first
//! i series-id version    -> InstanceRow instances of a series, newest first
//! v partition version    -> VersionRow  instances of a partition, newest first
//! u partition instance series-id -> version
//! n uid                  -> number      SOP classes and transfer syntaxes (`names`)
//! N number               -> uid
//! t position mod RING    -> Deleted     studies a commit deleted from, while the slot is not taken again
//! c order partition length stretch -> records in it (`counts`)
//! a partition attribute form version -> series-id   instances by value (`instance_values`)
//! h partition attribute fence -> Fence   rows of `a` from there to the next
//! X                      kept for attributes of studies and series that come and go
//! ```
//! Invariant: a record exists exactly while an instance of it is live; its counts are those of live ones.
//! Invariant: the latest value that was not missing wins, and a delete recomputes no value (`studies.md` §2.8, §4.8).
//! Elsewhere: what a commit alters (`fold`), reading pages (`find`), the tantivy index (`index`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::fold::Work;
use super::attributes::{Attributes, Extracted, Values, extracted};
use super::instance_values::Hints;
use super::names::{Classes, InstanceKind, Name, Numbers};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::event::{Action, Commit};
use crate::projections::Projection;
use crate::tables::keys::Key;
use crate::tables::{self, Batch, Read, Table};

mod fold;

/// Slots for commits that deleted: how far the index may lag and still be caught up from the rows.
pub(super) const RING: u64 = 16_384;

/// Number of a record: the sequence of the change that made it.
pub(super) type Id = u64;

/// The newest live instance of a record: its representative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    pub(super) version: u64,
    /// Of the event that holds its metadata.
    pub(super) position: Position,
}

/// A merged study record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StudyRow {
    pub(super) uid: Uid,
    pub(super) values: Values,
    pub(super) series: u64,
    pub(super) instances: u64,
    pub(super) newest: Newest,
    /// Modalities of the live series, each with the number of series that have it.
    pub(super) modalities: BTreeMap<String, u64>,
}

/// A merged series record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeriesRow {
    pub(super) study: Id,
    pub(super) uid: Uid,
    pub(super) values: Values,
    pub(super) instances: u64,
    pub(super) newest: Newest,
    pub(super) classes: Classes,
}

/// A live instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstanceRow {
    pub(super) uid: Uid,
    pub(super) position: Position,
    /// (0008,0016).
    pub(super) class: Name,
    /// What it is stored in.
    pub(super) syntax: Name,
    pub(super) values: Values,
}

/// All records of a live study.
pub(super) struct StudyRecords {
    pub(super) id: Id,
    pub(super) study: StudyRow,
    pub(super) series: Vec<(Id, SeriesRow)>,
}

/// An instance in the order of its partition. Positions ascend with versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionRow {
    pub(super) series: Id,
    pub(super) position: Position,
    pub(super) class: Name,
}

/// What one commit deleted from. What it stored is found by position among the versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deleted {
    pub(super) position: Position,
    pub(super) studies: BTreeSet<(Partition, Uid)>,
}

/// The keys, one function for each kind of row.
pub(super) mod key {
    use super::{Id, Key, Partition, Position, RING, Uid};

    pub(crate) fn study_id(partition: &Partition, study: &Uid) -> Vec<u8> {
        Key::of(b'S').text(partition.as_str()).text(study.as_str()).build()
    }
    pub(crate) fn studies(partition: &Partition) -> Vec<u8> {
        Key::of(b'o').text(partition.as_str()).build()
    }
    pub(crate) fn study(partition: &Partition, id: Id) -> Vec<u8> {
        Key::of(b'o').text(partition.as_str()).newest_first(id).build()
    }
    pub(crate) fn series_id(study: Id, series: &Uid) -> Vec<u8> {
        Key::of(b'E').number(study).text(series.as_str()).build()
    }
    pub(crate) fn series(partition: &Partition, id: Id) -> Vec<u8> {
        Key::of(b'p').text(partition.as_str()).newest_first(id).build()
    }
    pub(crate) fn series_of_study(study: Id) -> Vec<u8> {
        Key::of(b'E').number(study).build()
    }
    pub(crate) fn instances_of_series(series: Id) -> Vec<u8> {
        Key::of(b'i').number(series).build()
    }
    pub(crate) fn instance(series: Id, version: u64) -> Vec<u8> {
        Key::of(b'i').number(series).newest_first(version).build()
    }
    pub(crate) fn versions(partition: &Partition) -> Vec<u8> {
        Key::of(b'v').text(partition.as_str()).build()
    }
    pub(crate) fn version(partition: &Partition, version: u64) -> Vec<u8> {
        Key::of(b'v').text(partition.as_str()).newest_first(version).build()
    }
    pub(crate) fn places(partition: &Partition, instance: &Uid) -> Vec<u8> {
        Key::of(b'u').text(partition.as_str()).text(instance.as_str()).build()
    }
    pub(crate) fn place(partition: &Partition, instance: &Uid, series: Id) -> Vec<u8> {
        Key::of(b'u').text(partition.as_str()).text(instance.as_str()).number(series).build()
    }
    pub(crate) fn deleted(position: Position) -> Vec<u8> {
        Key::of(b't').number(position.0 % RING).build()
    }
}

/// Reads a value this view wrote.
///
/// # Errors
/// It is none: the table is damaged.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, tables::Error> {
    match bincode::serde::decode_from_slice(bytes, bincode::config::standard()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok(_) => Err(damaged("a row is too long")),
        Err(error) => Err(damaged(&format!("a row cannot be read: {error}"))),
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("plain structs of numbers and texts can always be encoded")
}

/// Rows that contradict each other or cannot be read.
pub(super) fn damaged(what: &str) -> tables::Error {
    tables::Error::Damaged { table: SearchRows::FORMAT.to_owned(), what: what.to_owned() }
}

/// The row under `key`, if there is one.
pub(super) fn read<T: DeserializeOwned>(rows: &impl Read, key: &[u8]) -> Result<Option<T>, tables::Error> {
    rows.get(key)?.map(|bytes| decode(&bytes)).transpose()
}

/// The part of the search view that is a pure function of the commits.
#[derive(Debug, Default)]
pub struct SearchRows {
    attributes: Attributes,
    hints: Hints,
    numbers: Numbers,
}

impl SearchRows {
    /// The rows of instances searched by these.
    #[must_use]
    pub fn of(attributes: Attributes) -> Self {
        Self { attributes, ..Self::default() }
    }

    /// What is kept of an instance.
    pub(super) fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

impl Projection for SearchRows {
    const FORMAT: &str = "search-rows-7";

    fn opened(&self, _table: &Arc<Table>) -> Result<(), tables::Error> {
        self.numbers.forget();
        Ok(())
    }

    fn apply(&self, commit: &Commit, batch: &mut Batch<'_>) -> Result<(), tables::Error> {
        let changes = commit.changes();
        if changes.is_empty() {
            return Ok(());
        }
        let stored = changes.iter().any(|change| change.action != Action::Delete);
        let extracted = if stored { extracted(commit, &self.attributes) } else { Extracted::default() };
        let kind =
            if stored { InstanceKind::of(commit, batch, &self.numbers)? } else { InstanceKind::default() };
        let mut work = Work::on(batch, self);
        for change in changes {
            match change.action {
                Action::Create | Action::Update => work.store(change, &extracted, kind)?,
                Action::Delete => work.remove(change)?,
            }
        }
        work.finish()?;
        let deletes = changes.iter().filter(|change| change.action == Action::Delete);
        let studies: BTreeSet<_> =
            deletes.map(|change| (change.partition.clone(), change.key.study.clone())).collect();
        if !studies.is_empty() {
            batch.put(key::deleted(commit.position), encode(&Deleted { position: commit.position, studies }));
        }
        Ok(())
    }
}

/// The number, stored newest first, in which a key ends.
pub(super) fn last_number(row_key: &[u8]) -> Result<u64, tables::Error> {
    let (_, number) = row_key.split_last_chunk().ok_or_else(|| damaged("a key is too short"))?;
    Ok(!u64::from_be_bytes(*number))
}

impl StudyRecords {
    /// The records of the study, if it is live.
    ///
    /// # Errors
    /// The table is damaged.
    pub(super) fn read(
        rows: &impl Read,
        partition: &Partition,
        uid: &Uid,
    ) -> Result<Option<Self>, tables::Error> {
        let Some(id) = read::<Id>(rows, &key::study_id(partition, uid))? else { return Ok(None) };
        let study = read(rows, &key::study(partition, id))?;
        let study = study.ok_or_else(|| damaged("a study has no record"))?;
        Self::of(rows, partition, id, study).map(Some)
    }

    /// The records of a study whose own is known.
    ///
    /// # Errors
    /// The table is damaged.
    pub(super) fn of(
        rows: &impl Read,
        partition: &Partition,
        id: Id,
        study: StudyRow,
    ) -> Result<Self, tables::Error> {
        let mut series = Vec::new();
        for row in rows.prefix(&key::series_of_study(id)) {
            let id = decode(&row?.1)?;
            let row = read(rows, &key::series(partition, id))?;
            series.push((id, row.ok_or_else(|| damaged("a series has no record"))?));
        }
        Ok(Self { id, study, series })
    }
}
