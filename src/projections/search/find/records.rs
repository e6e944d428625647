//! The records of one page, each read once.
//!
//! Elsewhere: which records (`find`).

use std::collections::HashMap;
use std::sync::Arc;

use super::{FindError, Moment};
use crate::dicom::uid::Uid;
use crate::projections::search::names::{self, Name};
use crate::projections::search::rows::{Id, SeriesRow, StudyRow};

/// The records of one page, each read once.
#[derive(Default)]
pub(super) struct Records {
    studies: HashMap<Id, Arc<StudyRow>>,
    pub(super) series: HashMap<Id, Arc<SeriesRow>>,
    names: HashMap<Name, Option<Uid>>,
}

impl Records {
    pub(super) fn of(
        &mut self,
        moment: &Moment<'_>,
        id: Id,
    ) -> Result<(Arc<StudyRow>, Arc<SeriesRow>), FindError> {
        let series = match self.series.get(&id) {
            Some(series) => Arc::clone(series),
            None => Arc::clone(self.series.entry(id).or_insert(Arc::new(moment.series_row(id)?))),
        };
        let study = match self.studies.get(&series.study) {
            Some(study) => Arc::clone(study),
            None => {
                let study = Arc::new(moment.study_row(series.study)?);
                Arc::clone(self.studies.entry(series.study).or_insert(study))
            }
        };
        Ok((study, series))
    }

    pub(super) fn name(&mut self, moment: &Moment<'_>, name: Name) -> Result<Option<Uid>, FindError> {
        if let Some(uid) = self.names.get(&name) {
            return Ok(uid.clone());
        }
        let uid = names::uid(moment.reader, name)?;
        Ok(self.names.entry(name).or_insert(uid).clone())
    }
}
