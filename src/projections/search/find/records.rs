//! Records that are read again and again, each kept after the first time, and the hits of a page.
//!
//! Elsewhere: which records (`find`, `instances`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::asked::{Asked, Listed};
use super::{FindError, Hit};
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::SOP_CLASSES_IN_STUDY;
use crate::projections::search::matching::judge;
use crate::projections::search::names::{self, Classes, Name};
use crate::projections::search::query::TagPath;
use crate::projections::search::rows::{Id, InstanceRow, SeriesRow, StudyRow, decode, key};
use crate::tables::Read;

/// Records of a level kept at once.
const KEPT: usize = 4_096;
/// Verdicts on series kept at once.
const KEPT_VERDICTS: usize = 65_536;

/// Records read so far, the last of them at least.
#[derive(Default)]
pub(crate) struct Records {
    studies: HashMap<Id, Arc<StudyRow>>,
    series: HashMap<Id, Arc<SeriesRow>>,
    names: HashMap<Name, Option<Uid>>,
    /// Whether a series satisfies the filters on it and on its study.
    verdicts: HashMap<Id, bool>,
}

/// What is kept under `id`, got by `get` if it is not.
fn kept<T>(
    all: &mut HashMap<Id, Arc<T>>,
    id: Id,
    get: impl FnOnce() -> Result<T, FindError>,
) -> Result<Arc<T>, FindError> {
    if let Some(known) = all.get(&id) {
        return Ok(Arc::clone(known));
    }
    let got = Arc::new(get()?);
    keep(all, id, Arc::clone(&got));
    Ok(got)
}

fn keep<T>(all: &mut HashMap<Id, Arc<T>>, id: Id, row: Arc<T>) {
    if all.len() >= KEPT {
        all.clear();
    }
    all.insert(id, row);
}

impl Records {
    pub(crate) fn study(&mut self, asked: &Asked<'_>, id: Id) -> Result<Arc<StudyRow>, FindError> {
        kept(&mut self.studies, id, || asked.study_row(id))
    }

    /// A series with its study.
    pub(crate) fn series(
        &mut self,
        asked: &Asked<'_>,
        id: Id,
    ) -> Result<(Arc<StudyRow>, Arc<SeriesRow>), FindError> {
        let series = kept(&mut self.series, id, || asked.series_row(id))?;
        Ok((self.study(asked, series.study)?, series))
    }

    /// Takes a study that was read.
    pub(super) fn keep_study(&mut self, id: Id, row: StudyRow) {
        keep(&mut self.studies, id, Arc::new(row));
    }

    /// Takes a series that was read.
    pub(super) fn keep_series(&mut self, id: Id, row: SeriesRow) {
        keep(&mut self.series, id, Arc::new(row));
    }

    /// Whether a series satisfies the filters on it and on its study.
    pub(super) fn is_match(&mut self, asked: &Asked<'_>, series: Id) -> Result<bool, FindError> {
        if let Some(verdict) = self.verdicts.get(&series) {
            return Ok(*verdict);
        }
        let (study, row) = self.series(asked, series)?;
        let verdict = judge(asked.filters, &study, Some(&row), None);
        if self.verdicts.len() >= KEPT_VERDICTS {
            self.verdicts.clear();
        }
        self.verdicts.insert(series, verdict);
        Ok(verdict)
    }

    pub(super) fn name(&mut self, asked: &Asked<'_>, name: Name) -> Result<Option<Uid>, FindError> {
        if let Some(uid) = self.names.get(&name) {
            return Ok(uid.clone());
        }
        let uid = names::uid(&asked.moment.rows, name)?;
        Ok(self.names.entry(name).or_insert(uid).clone())
    }
}

impl Asked<'_> {
    pub(super) fn study_hits(&self, studies: Vec<Id>, records: &mut Records) -> Result<Vec<Hit>, FindError> {
        let mut classes = ClassesOfStudies::of(self);
        let hit = |id| {
            let study = records.study(self, id)?;
            let position = study.newest.position;
            let classes = classes.of_study(self, id, records)?;
            Ok(Hit { study, series: None, instance: None, syntax: None, classes, position })
        };
        studies.into_iter().map(hit).collect()
    }

    pub(super) fn series_hits(&self, series: Vec<Id>, records: &mut Records) -> Result<Vec<Hit>, FindError> {
        let mut classes = ClassesOfStudies::of(self);
        let hit = |id| {
            let (study, series) = records.series(self, id)?;
            let position = series.newest.position;
            let classes = classes.of_study(self, series.study, records)?;
            Ok(Hit { study, series: Some(series), instance: None, syntax: None, classes, position })
        };
        series.into_iter().map(hit).collect()
    }

    pub(super) fn instance_hits(
        &self,
        instances: Vec<Listed>,
        records: &mut Records,
    ) -> Result<Vec<Hit>, FindError> {
        let mut classes = ClassesOfStudies::of(self);
        let hit = |listed: Listed| {
            let row = self.instance_row(listed)?;
            let (study, series) = records.series(self, listed.series)?;
            let syntax = records.name(self, row.syntax)?;
            let classes = classes.of_study(self, series.study, records)?;
            let (series, instance) = (Some(series), Some(row.uid));
            Ok(Hit { study, series, instance, syntax, classes, position: row.position })
        };
        instances.into_iter().map(hit).collect()
    }
}

/// The SOP classes of the studies of a page, if they are asked for.
struct ClassesOfStudies(Option<HashMap<Id, Arc<[Uid]>>>);

impl ClassesOfStudies {
    fn of(asked: &Asked<'_>) -> Self {
        let wanted = asked.query.includes.contains(&TagPath::from(SOP_CLASSES_IN_STUDY));
        Self(wanted.then(HashMap::new))
    }

    /// Those of the study's live instances, in the order of their UIDs.
    fn of_study(
        &mut self,
        asked: &Asked<'_>,
        study: Id,
        records: &mut Records,
    ) -> Result<Option<Arc<[Uid]>>, FindError> {
        let Some(known) = &mut self.0 else { return Ok(None) };
        if let Some(classes) = known.get(&study) {
            return Ok(Some(Arc::clone(classes)));
        }
        let mut numbers = BTreeSet::new();
        for row in asked.moment.rows.prefix(&key::series_of_study(study)) {
            let id = decode(&row?.1)?;
            match asked.series_row(id)?.classes {
                Classes::These(classes) => numbers.extend(classes.into_keys()),
                // Too many to be counted: told by the instances themselves.
                Classes::Any => {
                    for row in asked.moment.rows.prefix(&key::instances_of_series(id)) {
                        asked.budget.row()?;
                        numbers.insert(decode::<InstanceRow>(&row?.1)?.class);
                    }
                }
            }
        }
        let uids =
            numbers.into_iter().map(|number| records.name(asked, number)).filter_map(Result::transpose);
        let mut uids = uids.collect::<Result<Vec<_>, _>>()?;
        uids.sort_unstable();
        Ok(Some(Arc::clone(known.entry(study).or_insert(uids.into()))))
    }
}
