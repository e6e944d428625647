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
//! ```
//! Invariant: a record exists exactly while an instance of it is live; its counts are those of live ones.
//! Invariant: the latest value that was not missing wins, and a delete recomputes no value (`studies.md` §2.8, §4.8).
//! Elsewhere: reading pages (`find`), the tantivy index (`index`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::attributes::{Attributes, Extracted, MODALITY, Values, extracted, places};
use super::counts::{self, Order};
use super::names::{Classes, InstanceKind, Name};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::event::{Action, Change, Commit};
use crate::projections::Projection;
use crate::tables::keys::Key;
use crate::tables::{self, Batch, Read};

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
    #[serde(with = "places::of_study")]
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
    #[serde(with = "places::of_series")]
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
    #[serde(skip)]
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
#[derive(Clone, Debug, Default)]
pub struct SearchRows(Attributes);

impl SearchRows {
    /// The rows of instances searched by these.
    #[must_use]
    pub fn of(attributes: Attributes) -> Self {
        Self(attributes)
    }

    /// What is kept of an instance.
    pub(super) fn attributes(&self) -> &Attributes {
        &self.0
    }
}

impl Projection for SearchRows {
    const FORMAT: &str = "search-rows-6";

    fn apply(&self, commit: &Commit, batch: &mut Batch<'_>) -> Result<(), tables::Error> {
        let changes = commit.changes();
        if changes.is_empty() {
            return Ok(());
        }
        let stored = changes.iter().any(|change| change.action != Action::Delete);
        let extracted = if stored { extracted(commit, &self.0) } else { Extracted::default() };
        let kind = if stored { InstanceKind::of(commit, batch)? } else { InstanceKind::default() };
        let mut work = Work::on(batch);
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

struct Open<T> {
    id: Id,
    row: T,
    /// The representative is gone; another is found when the commit is through.
    headless: bool,
}

/// The records one commit works on.
struct Work<'w, 't> {
    batch: &'w mut Batch<'t>,
    studies: BTreeMap<(Partition, Uid), Open<StudyRow>>,
    series: BTreeMap<(Partition, Uid, Uid), Open<SeriesRow>>,
}

impl<'w, 't> Work<'w, 't> {
    fn on(batch: &'w mut Batch<'t>) -> Self {
        Self { batch, studies: BTreeMap::new(), series: BTreeMap::new() }
    }

    /// Loads the records of an instance that are not loaded yet, if they exist.
    fn load(&mut self, change: &Change) -> Result<(), tables::Error> {
        let partition = &change.partition;
        let study_key = (partition.clone(), change.key.study.clone());
        if !self.studies.contains_key(&study_key) {
            let Some(id) = read(self.batch, &key::study_id(partition, &change.key.study))? else {
                return Ok(());
            };
            let row = read(self.batch, &key::study(partition, id))?
                .ok_or_else(|| damaged("a study has no record"))?;
            self.studies.insert(study_key.clone(), Open { id, row, headless: false });
        }
        let series_key = (partition.clone(), change.key.study.clone(), change.key.series.clone());
        if !self.series.contains_key(&series_key) {
            let study = self.studies[&study_key].id;
            let Some(id) = read(self.batch, &key::series_id(study, &change.key.series))? else {
                return Ok(());
            };
            let row = read(self.batch, &key::series(partition, id))?
                .ok_or_else(|| damaged("a series has no record"))?;
            self.series.insert(series_key, Open { id, row, headless: false });
        }
        Ok(())
    }

    fn store(
        &mut self,
        change: &Change,
        extracted: &Extracted,
        InstanceKind { class, syntax }: InstanceKind,
    ) -> Result<(), tables::Error> {
        self.load(change)?;
        let Self { batch, studies, series } = self;
        let (partition, keys) = (&change.partition, &change.key);
        let study = match studies.entry((partition.clone(), keys.study.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                batch.put(key::study_id(partition, &keys.study), encode(&change.sequence));
                counts::came(batch, Order::Studies, partition, change.sequence)?;
                let row = StudyRow::new(keys.study.clone());
                new.insert(Open { id: change.sequence, row, headless: false })
            }
        };
        let series = match series.entry((partition.clone(), keys.study.clone(), keys.series.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                batch.put(key::series_id(study.id, &keys.series), encode(&change.sequence));
                counts::came(batch, Order::Series, partition, change.sequence)?;
                study.row.series += 1;
                let row = SeriesRow::new(study.id, keys.series.clone());
                new.insert(Open { id: change.sequence, row, headless: false })
            }
        };
        study.row.values.merge(&extracted.study);
        let before = series.row.values.first(MODALITY).map(str::to_owned);
        let unchanged = series.row.instances > 0 && before.as_deref() == extracted.series.first(MODALITY);
        series.row.values.merge(&extracted.series);
        if !unchanged {
            if series.row.instances > 0 {
                study.row.modality_gone(before.as_deref());
            }
            study.row.modality_came(series.row.values.first(MODALITY));
        }

        let place = key::place(partition, &keys.instance, series.id);
        let replaced = if change.action == Action::Update { read::<u64>(*batch, &place)? } else { None };
        if let Some(replaced) = replaced {
            batch.delete(key::instance(series.id, replaced));
            batch.delete(key::version(partition, replaced));
            counts::went(batch, Order::Instances, partition, replaced)?;
        } else {
            series.row.instances += 1;
            study.row.instances += 1;
        }
        let newest = Newest { version: change.version, position: change.position };
        (study.row.newest, series.row.newest) = (newest, newest);
        (study.headless, series.headless) = (false, false);
        series.row.classes.add(class);
        let position = change.position;
        let row = InstanceRow {
            uid: keys.instance.clone(),
            position,
            class,
            syntax,
            values: extracted.instance.clone(),
        };
        batch.put(key::instance(series.id, change.version), encode(&row));
        let listed = VersionRow { series: series.id, position, class };
        batch.put(key::version(partition, change.version), encode(&listed));
        counts::came(batch, Order::Instances, partition, change.version)?;
        batch.put(place, encode(&change.version));
        Ok(())
    }

    /// A delete of what is not here alters nothing.
    fn remove(&mut self, change: &Change) -> Result<(), tables::Error> {
        self.load(change)?;
        let Self { batch, studies, series } = self;
        let (partition, keys) = (&change.partition, &change.key);
        let series_key = (partition.clone(), keys.study.clone(), keys.series.clone());
        let study_key = (partition.clone(), keys.study.clone());
        let study = studies.get_mut(&study_key);
        let (Some(study), Some(open)) = (study, series.get_mut(&series_key)) else { return Ok(()) };
        let place = key::place(partition, &keys.instance, open.id);
        let Some(version) = read::<u64>(*batch, &place)? else { return Ok(()) };
        batch.delete(key::instance(open.id, version));
        batch.delete(key::version(partition, version));
        counts::went(batch, Order::Instances, partition, version)?;
        batch.delete(place);

        open.headless |= open.row.newest.version == version;
        study.headless |= study.row.newest.version == version;
        open.row.instances -= 1;
        study.row.instances -= 1;
        if open.row.instances == 0 {
            study.row.modality_gone(open.row.values.first(MODALITY));
            study.row.series -= 1;
            batch.delete(key::series_id(study.id, &keys.series));
            batch.delete(key::series(partition, open.id));
            counts::went(batch, Order::Series, partition, open.id)?;
            series.remove(&series_key);
        }
        if study.row.instances == 0 {
            batch.delete(key::study_id(partition, &keys.study));
            batch.delete(key::study(partition, study.id));
            counts::went(batch, Order::Studies, partition, study.id)?;
            studies.remove(&study_key);
        }
        Ok(())
    }

    /// Writes the records back.
    fn finish(self) -> Result<(), tables::Error> {
        let Self { batch, studies, series } = self;
        for ((partition, ..), mut open) in series {
            if open.headless {
                open.row.newest = newest_of_series(batch, open.id)?;
            }
            batch.put(key::series(&partition, open.id), encode(&open.row));
        }
        for ((partition, _), mut open) in studies {
            if open.headless {
                open.row.newest = newest_of_study(batch, &partition, open.id)?;
            }
            batch.put(key::study(&partition, open.id), encode(&open.row));
        }
        Ok(())
    }
}

fn newest_of_series(rows: &impl Read, series: Id) -> Result<Newest, tables::Error> {
    let first = rows.prefix(&key::instances_of_series(series)).next();
    let (row_key, value) = first.ok_or_else(|| damaged("a series has no instance"))??;
    let row: InstanceRow = decode(&value)?;
    Ok(Newest { version: last_number(&row_key)?, position: row.position })
}

fn newest_of_study(rows: &impl Read, partition: &Partition, study: Id) -> Result<Newest, tables::Error> {
    let mut newest = Newest::default();
    for row in rows.prefix(&key::series_of_study(study)) {
        let series = read::<SeriesRow>(rows, &key::series(partition, decode(&row?.1)?))?
            .ok_or_else(|| damaged("a series has no record"))?;
        if series.newest.version > newest.version {
            newest = series.newest;
        }
    }
    Ok(newest)
}

/// The number, stored newest first, in which a key ends.
pub(super) fn last_number(row_key: &[u8]) -> Result<u64, tables::Error> {
    let (_, number) = row_key.split_last_chunk().ok_or_else(|| damaged("a key is too short"))?;
    Ok(!u64::from_be_bytes(*number))
}

impl StudyRow {
    pub(super) fn new(uid: Uid) -> Self {
        let (values, newest) = (Values::default(), Newest::default());
        Self { uid, values, series: 0, instances: 0, newest, modalities: BTreeMap::new() }
    }

    fn modality_came(&mut self, modality: Option<&str>) {
        if let Some(modality) = modality {
            *self.modalities.entry(modality.to_owned()).or_insert(0) += 1;
        }
    }

    fn modality_gone(&mut self, modality: Option<&str>) {
        let Some(modality) = modality else { return };
        if let Some(series) = self.modalities.get_mut(modality) {
            *series -= 1;
            if *series == 0 {
                self.modalities.remove(modality);
            }
        }
    }
}

impl SeriesRow {
    pub(super) fn new(study: Id, uid: Uid) -> Self {
        let (values, newest) = (Values::default(), Newest::default());
        Self { study, uid, values, instances: 0, newest, classes: Classes::These(BTreeSet::new()) }
    }
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
