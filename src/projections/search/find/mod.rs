//! Answers a query from one moment of the view: rows, searcher and dirty studies as they were together.
//!
//! Order is newest first throughout: records by id, instances by version (contract `studies.md` §4.9).
//! Without a filter a page is a scan of the order rows, and so it is with a filter that many records
//! satisfy, as long as few rows fill the page. Otherwise the index names candidates and the rows judge
//! them; dirty studies are judged from their rows alone.
//! Invariant: every record of an answer was judged by `matching`, on the rows of this moment.
//! Elsewhere: instances (`instances`), which attributes of a hit are shown (`answer`).

use std::ops::Bound;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use self::records::Records;
use super::attributes::{Attributes, Level};
use super::counts::{self, Order};
use super::index::{self, candidates};
use super::matching::{Filter, On, Test, judge};
use super::names;
use super::overlay::Seen;
use super::query::SearchQuery;
use super::rows::{self, Id, SeriesRow, StudyRow, decode, key, last_number, read};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::tables::{self, Read, Reader};

mod instances;
mod records;

/// Candidates asked of the index beyond those wanted, for dirty ones among them.
const SPARE_CANDIDATES: usize = 16;
/// A filter that more documents satisfy is broad: walking the order may find a page sooner.
const BROAD_DOCUMENTS: u64 = 1_000;
/// Rows of an order judged for a page of a broad filter, for each record wanted and besides.
const ROWS_PER_WANTED: usize = 4;
const SPARE_ROWS: usize = 64;

/// One item of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub(super) study: Arc<StudyRow>,
    /// For series and instances.
    pub(super) series: Option<Arc<SeriesRow>>,
    /// For instances.
    pub(super) instance: Option<Uid>,
    /// The transfer syntax an instance is stored in.
    pub(super) syntax: Option<Uid>,
    /// Of the event with the metadata of the instance, or of the newest one of the study or series.
    pub(super) position: Position,
}

impl Hit {
    /// Where the metadata lies that stands for this item: the instance's own, or that of the newest live
    /// instance of the study or series (contract `studies.md` §4.8).
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Study Instance UID.
    #[must_use]
    pub fn study(&self) -> &Uid {
        &self.study.uid
    }

    /// Series Instance UID, for series and instances.
    #[must_use]
    pub fn series(&self) -> Option<&Uid> {
        self.series.as_ref().map(|series| &series.uid)
    }

    /// SOP Instance UID, for instances.
    #[must_use]
    pub fn instance(&self) -> Option<&Uid> {
        self.instance.as_ref()
    }
}

/// Why a query found nothing to answer with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FindError {
    #[error(transparent)]
    Rows(#[from] tables::Error),
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error("the search index is being made again")]
    NoIndex,
}

/// One page of a query, from one moment.
///
/// # Errors
/// [`FindError`]
pub(super) fn find(
    attributes: &Attributes,
    reader: &Reader<'_>,
    seen: &Seen,
    query: &SearchQuery,
) -> Result<Vec<Hit>, FindError> {
    let Some(filters) = numbered(reader, &query.filters)? else { return Ok(Vec::new()) };
    let moment = Moment { attributes, reader, seen, partition: &query.partition, filters: &filters };
    match query.resource.item() {
        Level::Study => moment.studies(query),
        Level::Series => moment.series(query),
        Level::Instance => moment.instances(query),
    }
}

/// The filters with numbers for the UIDs that rows hold as numbers; `None` when there is no such UID.
fn numbered(reader: &Reader<'_>, filters: &[Filter]) -> Result<Option<Vec<Filter>>, FindError> {
    let mut numbered = filters.to_vec();
    for filter in numbered.iter_mut().filter(|filter| filter.on == On::SopClass) {
        let wanted = match &filter.test {
            Test::Form(uid) => std::slice::from_ref(uid),
            Test::AnyOf(uids) => uids.as_slice(),
            _ => continue,
        };
        let known = wanted.iter().map(|uid| names::known(reader, uid.as_str()));
        let classes: Vec<_> = known.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if classes.is_empty() {
            return Ok(None);
        }
        filter.test = Test::Classes(classes);
    }
    Ok(Some(numbered))
}

pub(super) struct Moment<'q> {
    attributes: &'q Attributes,
    pub(super) reader: &'q Reader<'q>,
    seen: &'q Seen,
    pub(super) partition: &'q Partition,
    pub(super) filters: &'q [Filter],
}

impl Moment<'_> {
    fn studies(&self, query: &SearchQuery) -> Result<Vec<Hit>, FindError> {
        let hit = |study: StudyRow| {
            let position = study.newest.position;
            Hit { study: Arc::new(study), series: None, instance: None, syntax: None, position }
        };
        if self.filters.is_empty() {
            let studies = self.page_of_rows(Order::Studies, query)?;
            return Ok(studies.into_iter().map(|(_, study)| hit(study)).collect());
        }
        let ids = if let Some(uid) = self.equal_to(On::Uid(Level::Study)) {
            let id = self.study_id(uid)?.map(|id| self.judged_study(id)).transpose()?.flatten();
            page(id.into_iter().collect(), query)
        } else {
            page(self.matching(Level::Study, query.need())?, query)
        };
        ids.into_iter().map(|id| Ok(hit(self.study_row(id)?))).collect()
    }

    fn series(&self, query: &SearchQuery) -> Result<Vec<Hit>, FindError> {
        let mut records = Records::default();
        let ids = if let Some(study) = self.one_study(query)? {
            let Some(study) = study else { return Ok(Vec::new()) };
            page(self.series_of_study(study, None, query.need())?, query)
        } else if self.filters.is_empty() {
            let rows = self.page_of_rows(Order::Series, query)?;
            records.series.extend(rows.iter().map(|(id, row): &(_, SeriesRow)| (*id, Arc::new(row.clone()))));
            rows.into_iter().map(|(id, _)| id).collect()
        } else {
            page(self.matching(Level::Series, query.need())?, query)
        };
        let hit = |id| {
            let (study, series) = records.of(self, id)?;
            let position = series.newest.position;
            Ok(Hit { study, series: Some(series), instance: None, syntax: None, position })
        };
        ids.into_iter().map(hit).collect()
    }

    /// The id of the study the URL or a filter names; `None` when none does, `Some(None)` when there is none.
    pub(super) fn one_study(&self, query: &SearchQuery) -> Result<Option<Option<Id>>, FindError> {
        let uid = query.resource.study().map(Uid::as_str);
        let Some(uid) = uid.or_else(|| self.equal_to(On::Uid(Level::Study))) else { return Ok(None) };
        Ok(Some(self.study_id(uid)?))
    }

    fn study_id(&self, uid: &str) -> Result<Option<Id>, FindError> {
        let Ok(uid) = Uid::parse(uid) else { return Ok(None) };
        Ok(read(self.reader, &key::study_id(self.partition, &uid))?)
    }

    pub(super) fn equal_to(&self, on: On) -> Option<&str> {
        self.filters.iter().find_map(|filter| match &filter.test {
            Test::Form(value) if filter.on == on => Some(value.as_str()),
            _ => None,
        })
    }

    pub(super) fn study_row(&self, id: Id) -> Result<StudyRow, tables::Error> {
        read(self.reader, &key::study(self.partition, id))?
            .ok_or_else(|| rows::damaged("a study has no record"))
    }

    pub(super) fn series_row(&self, id: Id) -> Result<SeriesRow, tables::Error> {
        read(self.reader, &key::series(self.partition, id))?
            .ok_or_else(|| rows::damaged("a series has no record"))
    }

    /// One page of an order, nothing filtered.
    pub(super) fn page_of_rows<T: DeserializeOwned>(
        &self,
        order: Order,
        query: &SearchQuery,
    ) -> Result<Vec<(Id, T)>, FindError> {
        let Some((from, left)) = counts::page_start(self.reader, order, self.partition, query.offset)? else {
            return Ok(Vec::new());
        };
        let rows = self.reader.prefix_from(&order.rows(self.partition).build(), Bound::Included(&from));
        rows.skip(left)
            .take(query.limit)
            .map(|row| {
                let (row_key, value) = row?;
                Ok((last_number(&row_key)?, decode(&value)?))
            })
            .collect()
    }

    /// The newest `need` records of a level that satisfy the filters.
    fn matching(&self, level: Level, need: usize) -> Result<Vec<Id>, FindError> {
        if self.is_broad()? {
            let order = if level == Level::Study { Order::Studies } else { Order::Series };
            let judge = |id, row: &[u8]| {
                let matches = match level {
                    Level::Study => judge(self.filters, &decode(row)?, None, None),
                    Level::Series | Level::Instance => self.judged_series(&decode(row)?)?,
                };
                Ok(matches.then_some(id))
            };
            if let Some(found) = self.walked(order, 0, need, budget(need), judge)? {
                return Ok(found);
            }
        }
        self.indexed(level, need)
    }

    /// Whether many records may satisfy the filters, as far as the index can tell at once.
    pub(super) fn is_broad(&self) -> Result<bool, FindError> {
        let searcher = self.seen.searcher.as_ref().ok_or(FindError::NoIndex)?;
        let rarest = index::rarest_frequency(self.attributes, searcher, self.partition, self.filters)?;
        let fuzzy =
            self.filters.iter().any(|filter| matches!(filter.test, Test::Words(_) | Test::AnyWords(_)));
        Ok(rarest.map_or(!fuzzy, |documents| documents > BROAD_DOCUMENTS))
    }

    /// The same, from the index and the dirty studies.
    pub(super) fn indexed(&self, level: Level, need: usize) -> Result<Vec<Id>, FindError> {
        let mut dirty = self.matching_dirty(level)?;
        dirty.sort_unstable_by(|a, b| b.cmp(a));
        dirty.truncate(need);
        let clean = self.matching_clean(level, need)?;
        let mut found = Vec::with_capacity(dirty.len() + clean.len());
        let (mut dirty, mut clean) = (dirty.into_iter().peekable(), clean.into_iter().peekable());
        while found.len() < need {
            let next = if dirty.peek() > clean.peek() { dirty.next() } else { clean.next() };
            let Some(id) = next else { break };
            found.push(id);
        }
        Ok(found)
    }

    fn matching_dirty(&self, level: Level) -> Result<Vec<Id>, FindError> {
        let mut found = Vec::new();
        for uid in self.seen.dirty_in(self.partition) {
            let Some(id) = read::<Id>(self.reader, &key::study_id(self.partition, uid))? else { continue };
            match level {
                Level::Study => found.extend(self.judged_study(id)?),
                Level::Series | Level::Instance => {
                    found.extend(self.series_of_study(id, None, usize::MAX)?);
                }
            }
        }
        Ok(found)
    }

    fn matching_clean(&self, level: Level, need: usize) -> Result<Vec<Id>, FindError> {
        let searcher = self.seen.searcher.as_ref().ok_or(FindError::NoIndex)?;
        let mut found = Vec::new();
        let (mut judged, mut ask) = (0, need + SPARE_CANDIDATES);
        loop {
            let ids = candidates(self.attributes, searcher, level, self.partition, self.filters, ask)?;
            for id in ids.iter().skip(judged) {
                if self.is_clean_match(level, *id)? {
                    found.push(*id);
                }
                if found.len() == need {
                    return Ok(found);
                }
            }
            if ids.len() < ask {
                return Ok(found);
            }
            judged = ids.len();
            ask = ask.saturating_mul(4);
        }
    }

    /// Whether a record found by the index is there, is what the index takes it for, and matches.
    fn is_clean_match(&self, level: Level, id: Id) -> Result<bool, FindError> {
        if level == Level::Study {
            let study: Option<StudyRow> = read(self.reader, &key::study(self.partition, id))?;
            return Ok(study.is_some_and(|study| {
                !self.seen.is_dirty(self.partition, &study.uid) && judge(self.filters, &study, None, None)
            }));
        }
        let Some(series) = read::<SeriesRow>(self.reader, &key::series(self.partition, id))? else {
            return Ok(false);
        };
        let study = self.study_row(series.study)?;
        Ok(!self.seen.is_dirty(self.partition, &study.uid)
            && judge(self.filters, &study, Some(&series), None))
    }

    pub(super) fn judged_series(&self, series: &SeriesRow) -> Result<bool, FindError> {
        Ok(judge(self.filters, &self.study_row(series.study)?, Some(series), None))
    }

    fn judged_study(&self, id: Id) -> Result<Option<Id>, FindError> {
        let study = self.study_row(id)?;
        Ok(judge(self.filters, &study, None, None).then_some(id))
    }

    /// The newest `need` series of a study that satisfy the filters, and are `only` if that is given.
    pub(super) fn series_of_study(
        &self,
        study: Id,
        only: Option<&Uid>,
        need: usize,
    ) -> Result<Vec<Id>, FindError> {
        let record = self.study_row(study)?;
        if let Some(only) = only {
            let Some(id) = read::<Id>(self.reader, &key::series_id(study, only))? else {
                return Ok(Vec::new());
            };
            let matches = judge(self.filters, &record, Some(&self.series_row(id)?), None);
            return Ok(matches.then_some(id).into_iter().collect());
        }
        let rows = self.reader.prefix(&key::series_of_study(study));
        let mut ids = rows.map(|row| decode(&row?.1)).collect::<Result<Vec<Id>, _>>()?;
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let mut found = Vec::new();
        for id in ids {
            if judge(self.filters, &record, Some(&self.series_row(id)?), None) {
                found.push(id);
            }
            if found.len() == need {
                break;
            }
        }
        Ok(found)
    }

    /// A page of what `judge` makes of an order's rows; `None` when `budget` rows did not fill it and there
    /// are more.
    pub(super) fn walked<T>(
        &self,
        order: Order,
        offset: usize,
        limit: usize,
        budget: usize,
        mut judge: impl FnMut(u64, &[u8]) -> Result<Option<T>, FindError>,
    ) -> Result<Option<Vec<T>>, FindError> {
        let (mut found, mut skipped) = (Vec::new(), 0);
        for (walked, row) in self.reader.prefix(&order.rows(self.partition).build()).enumerate() {
            if walked == budget {
                return Ok(None);
            }
            let (row_key, row) = row?;
            match judge(last_number(&row_key)?, &row)? {
                None => {}
                Some(_) if skipped < offset => skipped += 1,
                Some(item) => found.push(item),
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(Some(found))
    }
}

pub(super) fn budget(wanted: usize) -> usize {
    wanted.saturating_mul(ROWS_PER_WANTED).saturating_add(SPARE_ROWS)
}

pub(super) fn page<T>(found: Vec<T>, query: &SearchQuery) -> Vec<T> {
    found.into_iter().skip(query.offset).take(query.limit).collect()
}
