//! What a commit alters in the rows.
//!
//! Invariant: rows are a function of the commits alone; how many of them come in one batch does not matter.
//! Elsewhere: the rows (`rows`), what is picked out of an instance (`attributes`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Id, InstanceRow, Newest, SearchRows, SeriesRow, StudyRow, VersionRow, damaged, decode, encode, key,
    last_number, read,
};
use crate::base::Partition;
use crate::dicom::uid::Uid;
use crate::event::{Action, Change};
use crate::projections::search::attributes::{AttributeId, Attributes, Extracted, MODALITY, Values};
use crate::projections::search::counts::{self, Order};
use crate::projections::search::instance_values::{ByValue, Valued};
use crate::projections::search::names::{Classes, InstanceKind};
use crate::projections::search::value::{Form, form};
use crate::tables::{self, Batch, Read};

/// A record that a commit works on.
struct Open<T> {
    id: Id,
    row: T,
    /// The representative is gone; another is found when the commit is through.
    headless: bool,
}

/// The records one commit works on.
pub(super) struct Work<'w, 't> {
    batch: &'w mut Batch<'t>,
    rows: &'w SearchRows,
    studies: BTreeMap<(Partition, Uid), Open<StudyRow>>,
    series: BTreeMap<(Partition, Uid, Uid), Open<SeriesRow>>,
}

impl<'w, 't> Work<'w, 't> {
    pub(super) fn on(batch: &'w mut Batch<'t>, rows: &'w SearchRows) -> Self {
        Self { batch, rows, studies: BTreeMap::new(), series: BTreeMap::new() }
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

    pub(super) fn store(
        &mut self,
        change: &Change,
        extracted: &Extracted,
        InstanceKind { class, syntax }: InstanceKind,
    ) -> Result<(), tables::Error> {
        self.load(change)?;
        let Self { batch, rows, studies, series } = self;
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
        merge(&mut study.row, &mut series.row, extracted);

        let place = key::place(partition, &keys.instance, series.id);
        let replaced = if change.action == Action::Update { read::<u64>(*batch, &place)? } else { None };
        if let Some(replaced) = replaced {
            let gone =
                instance_went(batch, rows, partition, Valued { version: replaced, series: series.id })?;
            series.row.classes.went(gone.class)?;
        } else {
            series.row.instances += 1;
            study.row.instances += 1;
        }
        let newest = Newest { version: change.version, position: change.position };
        (study.row.newest, series.row.newest) = (newest, newest);
        (study.headless, series.headless) = (false, false);
        series.row.classes.came(class);
        let (uid, position) = (keys.instance.clone(), change.position);
        let row = InstanceRow { uid, position, class, syntax, values: extracted.instance.clone() };
        let valued = Valued { version: change.version, series: series.id };
        instance_came(batch, rows, partition, valued, &row)?;
        batch.put(place, encode(&change.version));
        Ok(())
    }

    /// A delete of what is not here alters nothing.
    pub(super) fn remove(&mut self, change: &Change) -> Result<(), tables::Error> {
        self.load(change)?;
        let Self { batch, rows, studies, series } = self;
        let (partition, keys) = (&change.partition, &change.key);
        let series_key = (partition.clone(), keys.study.clone(), keys.series.clone());
        let study_key = (partition.clone(), keys.study.clone());
        let study = studies.get_mut(&study_key);
        let (Some(study), Some(open)) = (study, series.get_mut(&series_key)) else { return Ok(()) };
        let place = key::place(partition, &keys.instance, open.id);
        let Some(version) = read::<u64>(*batch, &place)? else { return Ok(()) };
        let gone = instance_went(batch, rows, partition, Valued { version, series: open.id })?;
        open.row.classes.went(gone.class)?;
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
    pub(super) fn finish(self) -> Result<(), tables::Error> {
        let Self { batch, rows: _, studies, series } = self;
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

/// Takes over the values of an instance that was stored into the records it is of.
fn merge(study: &mut StudyRow, series: &mut SeriesRow, stored: &Extracted) {
    study.values.merge(&stored.study);
    let before = series.values.first(MODALITY).map(str::to_owned);
    let unchanged = series.instances > 0 && before.as_deref() == stored.series.first(MODALITY);
    series.values.merge(&stored.series);
    if unchanged {
        return;
    }
    if series.instances > 0 {
        study.modality_gone(before.as_deref());
    }
    study.modality_came(series.values.first(MODALITY));
}

fn instance_came(
    batch: &mut Batch<'_>,
    rows: &SearchRows,
    partition: &Partition,
    valued: Valued,
    row: &InstanceRow,
) -> Result<(), tables::Error> {
    let Valued { version, series } = valued;
    batch.put(key::instance(series, version), encode(row));
    let listed = VersionRow { series, position: row.position, class: row.class };
    batch.put(key::version(partition, version), encode(&listed));
    counts::came(batch, Order::Instances, partition, version)?;
    for (attribute, forms) in forms_of(&rows.attributes, &row.values) {
        for form in forms {
            ByValue::of(partition, attribute).came(batch, &rows.hints, form.as_str(), valued)?;
        }
    }
    Ok(())
}

fn instance_went(
    batch: &mut Batch<'_>,
    rows: &SearchRows,
    partition: &Partition,
    Valued { version, series }: Valued,
) -> Result<InstanceRow, tables::Error> {
    let row: Option<InstanceRow> = read(batch, &key::instance(series, version))?;
    let row = row.ok_or_else(|| damaged("an instance has no row"))?;
    batch.delete(key::instance(series, version));
    batch.delete(key::version(partition, version));
    counts::went(batch, Order::Instances, partition, version)?;
    for (attribute, forms) in forms_of(&rows.attributes, &row.values) {
        for form in forms {
            ByValue::of(partition, attribute).went(batch, &rows.hints, form.as_str(), version)?;
        }
    }
    Ok(row)
}

/// The values of an instance as they are compared: of each attribute, each once.
fn forms_of<'v>(
    attributes: &'v Attributes,
    values: &'v Values,
) -> impl Iterator<Item = (AttributeId, BTreeSet<Form>)> + 'v {
    values.iter().filter_map(|(id, items)| {
        let compared = attributes.get(id)?.compared();
        Some((id, items.iter().flatten().filter_map(|item| form(compared, item)).collect()))
    })
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

impl StudyRow {
    pub(crate) fn new(uid: Uid) -> Self {
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
    pub(crate) fn new(study: Id, uid: Uid) -> Self {
        let (values, newest) = (Values::default(), Newest::default());
        Self { study, uid, values, instances: 0, newest, classes: Classes::These(BTreeMap::new()) }
    }
}
