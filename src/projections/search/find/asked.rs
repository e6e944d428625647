//! What is asked, of which moment: the rows a query reads, each counted.
//!
//! Elsewhere: which rows are read for which query (`find`, `instances`, `by_value`).

use std::collections::BTreeSet;
use std::ops::Bound;

use serde::de::DeserializeOwned;

use super::records::Records;
use super::{FindError, Moment};
use crate::base::Partition;
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::Level;
use crate::projections::search::budget::Budget;
use crate::projections::search::counts::{self, Order};
use crate::projections::search::matching::{Filter, On, Test, judge};
use crate::projections::search::names;
use crate::projections::search::query::SearchQuery;
use crate::projections::search::rows::{
    Id, InstanceRow, SeriesRow, StudyRow, damaged, decode, key, last_number, read,
};
use crate::tables::Read;

/// A query, and what it is asked of.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'q> {
    pub(crate) moment: &'q Moment<'q>,
    pub(crate) query: &'q SearchQuery,
    pub(crate) partition: &'q Partition,
    /// With numbers for the UIDs that rows hold as numbers.
    pub(crate) filters: &'q [Filter],
    pub(crate) budget: &'q Budget,
}

/// An instance in the order of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) version: u64,
    pub(crate) series: Id,
}

/// The filters with numbers for the UIDs that rows hold as numbers; `None` when there is no such UID.
pub(super) fn numbered(rows: &impl Read, filters: &[Filter]) -> Result<Option<Vec<Filter>>, FindError> {
    let mut numbered = filters.to_vec();
    for filter in numbered.iter_mut().filter(|filter| filter.on == On::SopClass) {
        let wanted = match &filter.test {
            Test::Form(uid) => std::slice::from_ref(uid),
            Test::AnyOf(uids) => uids.as_slice(),
            _ => continue,
        };
        let known = wanted.iter().map(|uid| names::known(rows, uid.as_str()));
        let classes: Vec<_> = known.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if classes.is_empty() {
            return Ok(None);
        }
        filter.test = Test::Classes(classes);
    }
    Ok(Some(numbered))
}

impl Asked<'_> {
    /// A row that must be there if the rows do not contradict each other.
    fn row<T: DeserializeOwned>(&self, key: &[u8], what: &str) -> Result<T, FindError> {
        self.budget.row()?;
        Ok(read(&self.moment.rows, key)?.ok_or_else(|| damaged(what))?)
    }

    pub(crate) fn study_row(&self, id: Id) -> Result<StudyRow, FindError> {
        self.row(&key::study(self.partition, id), "a study has no record")
    }

    pub(crate) fn series_row(&self, id: Id) -> Result<SeriesRow, FindError> {
        self.row(&key::series(self.partition, id), "a series has no record")
    }

    pub(crate) fn instance_row(&self, Listed { version, series }: Listed) -> Result<InstanceRow, FindError> {
        self.row(&key::instance(series, version), "an instance has no row")
    }

    /// The UIDs of a level that the URL or a filter names; `None` when neither does.
    pub(super) fn uids(&self, level: Level) -> Option<BTreeSet<Uid>> {
        let of_url = match level {
            Level::Study => self.query.resource.study(),
            Level::Series => self.query.resource.series(),
            Level::Instance => None,
        };
        if let Some(uid) = of_url {
            return Some(BTreeSet::from([uid.clone()]));
        }
        let filter = self.filters.iter().find(|filter| filter.on == On::Uid(level))?;
        let forms = match &filter.test {
            Test::Form(form) => std::slice::from_ref(form),
            Test::AnyOf(forms) => forms.as_slice(),
            _ => return None,
        };
        Some(forms.iter().filter_map(|form| Uid::parse(form.as_str()).ok()).collect())
    }

    /// The studies that the URL or a filter names, if one does, of those that satisfy the filters.
    pub(super) fn named_studies(&self, records: &mut Records) -> Result<Option<Vec<Id>>, FindError> {
        let Some(uids) = self.uids(Level::Study) else { return Ok(None) };
        let mut studies = Vec::new();
        for uid in uids {
            let Some(id) = self.study_id(&uid)? else { continue };
            if judge(self.filters, &*records.study(self, id)?, None, None) {
                studies.push(id);
            }
        }
        Ok(Some(studies))
    }

    pub(super) fn study_id(&self, uid: &Uid) -> Result<Option<Id>, FindError> {
        self.budget.row()?;
        Ok(read(&self.moment.rows, &key::study_id(self.partition, uid))?)
    }

    /// The series of some studies that satisfy URL and filters, in no order.
    pub(super) fn series_beneath(&self, studies: &[Id], records: &mut Records) -> Result<Vec<Id>, FindError> {
        let mut series = Vec::new();
        for study in studies {
            series.extend(self.series_of_study(*study, records)?);
        }
        Ok(series)
    }

    /// The series of a study that satisfy URL and filters, in no order.
    pub(super) fn series_of_study(&self, study: Id, records: &mut Records) -> Result<Vec<Id>, FindError> {
        let (record, rows) = (records.study(self, study)?, &self.moment.rows);
        let named = self.uids(Level::Series);
        let ids: Vec<Id> = match &named {
            Some(uids) if (uids.len() as u64) < record.series => {
                let ids = uids.iter().map(|uid| {
                    self.budget.row()?;
                    Ok(read(rows, &key::series_id(study, uid))?)
                });
                ids.filter_map(Result::transpose).collect::<Result<_, FindError>>()?
            }
            Some(_) | None => {
                let ids = rows.prefix(&key::series_of_study(study)).map(|row| decode(&row?.1));
                ids.collect::<Result<_, _>>()?
            }
        };
        let mut found = Vec::new();
        for id in ids {
            let series = self.series_row(id)?;
            let is_named = named.as_ref().is_none_or(|uids| uids.contains(&series.uid));
            if is_named && judge(self.filters, &record, Some(&series), None) {
                records.keep_series(id, series);
                found.push(id);
            }
        }
        Ok(found)
    }

    /// The page of what is there, newest first.
    pub(super) fn newest_page<T: Ord>(&self, mut all: Vec<T>) -> Vec<T> {
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.into_iter().skip(self.query.offset).take(self.query.limit).collect()
    }

    /// One page of an order, nothing filtered: its keys' numbers and its rows.
    pub(super) fn page_of_rows(&self, order: Order) -> Result<Vec<(u64, Vec<u8>)>, FindError> {
        let (rows, query) = (&self.moment.rows, self.query);
        let Some((from, left)) = counts::page_start(rows, order, self.partition, query.offset)? else {
            return Ok(Vec::new());
        };
        let page = rows.prefix_from(&order.rows(self.partition).build(), Bound::Included(&from));
        let page = page.skip(left).take(query.limit).map(|row| {
            self.budget.row()?;
            let (row_key, value) = row?;
            Ok((last_number(&row_key)?, value))
        });
        page.collect()
    }

    /// The page of what `judge` makes of an order's rows; `None` when `most` rows did not fill it and there
    /// are more.
    pub(super) fn walked<T>(
        &self,
        order: Order,
        most: Option<usize>,
        mut judge: impl FnMut(u64, &[u8]) -> Result<Option<T>, FindError>,
    ) -> Result<Option<Vec<T>>, FindError> {
        let (mut page, mut skipped) = (Vec::new(), 0);
        let rows = self.moment.rows.prefix(&order.rows(self.partition).build());
        for (walked, row) in rows.enumerate() {
            if most.is_some_and(|most| walked == most) {
                return Ok(None);
            }
            self.budget.row()?;
            let (row_key, row) = row?;
            match judge(last_number(&row_key)?, &row)? {
                None => {}
                Some(_) if skipped < self.query.offset => skipped += 1,
                Some(item) => page.push(item),
            }
            if page.len() == self.query.limit {
                break;
            }
        }
        Ok(Some(page))
    }
}
