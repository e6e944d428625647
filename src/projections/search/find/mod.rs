//! Answers a query from one moment of the view, within its budget.
//!
//! Order is newest first throughout: records by id, instances by version (contract `studies.md` §4.9).
//! ```text
//! records named by UID       looked up, or their members listed
//! no filter                  a page of the order's rows; what is skipped is counted
//! a filter many satisfy      the order's rows are judged, as long as few fill the page
//! other filters              the index names candidates, their rows are judged; dirty studies from their rows alone
//! a value of instances       its rows name candidates (`by_value`)
//! ```
//! Invariant: every record of an answer was judged by `matching`, on the rows of this moment.
//! Invariant: every loop counts what it looks at, and ends when the budget does.
//! Elsewhere: which attributes of a hit are shown (`answer`).

use std::sync::Arc;

use self::asked::Asked;
pub(super) use self::moment::Moment;
use self::records::Records;
use super::attributes::Level;
use super::budget::{Budget, Spent};
use super::counts::Order;
use super::index::{self, candidates};
use super::matching::{Test, judge};
use super::query::SearchQuery;
use super::rows::{Id, SeriesRow, StudyRow, decode, key};
use crate::base::Position;
use crate::dicom::uid::Uid;
use crate::tables::{self, Read};

mod asked;
mod by_value;
mod instances;
mod moment;
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
    /// SOP classes of the study's live instances, if they were asked for.
    pub(super) classes: Option<Arc<[Uid]>>,
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
    #[error(transparent)]
    Spent(#[from] Spent),
}

/// One page of a query, from one moment.
///
/// # Errors
/// [`FindError`]
pub(super) fn find(
    moment: &Moment<'_>,
    query: &SearchQuery,
    budget: &Budget,
) -> Result<Vec<Hit>, FindError> {
    let Some(filters) = asked::numbered(&moment.rows, &query.filters)? else { return Ok(Vec::new()) };
    let asked = Asked { moment, query, partition: &query.partition, filters: &filters, budget };
    let mut records = Records::default();
    let records = &mut records;
    match query.resource.item() {
        Level::Study => asked.study_hits(asked.studies(records)?, records),
        Level::Series => asked.series_hits(asked.series(records)?, records),
        Level::Instance => asked.instance_hits(asked.instances(records)?, records),
    }
}

impl Asked<'_> {
    /// The page of studies.
    fn studies(&self, records: &mut Records) -> Result<Vec<Id>, FindError> {
        if let Some(studies) = self.named_studies(records)? {
            return Ok(self.newest_page(studies));
        }
        if !self.filters.is_empty() {
            return self.matching(Level::Study, records);
        }
        let page = self.page_of_rows(Order::Studies)?.into_iter().map(|(id, row)| {
            records.keep_study(id, decode(&row)?);
            Ok(id)
        });
        page.collect()
    }

    /// The page of series.
    fn series(&self, records: &mut Records) -> Result<Vec<Id>, FindError> {
        if let Some(studies) = self.named_studies(records)? {
            return Ok(self.newest_page(self.series_beneath(&studies, records)?));
        }
        if !self.filters.is_empty() {
            return self.matching(Level::Series, records);
        }
        let page = self.page_of_rows(Order::Series)?.into_iter().map(|(id, row)| {
            records.keep_series(id, decode(&row)?);
            Ok(id)
        });
        page.collect()
    }

    /// The page of records of a level that satisfy the filters.
    fn matching(&self, level: Level, records: &mut Records) -> Result<Vec<Id>, FindError> {
        if self.is_broad()? {
            let order = if level == Level::Study { Order::Studies } else { Order::Series };
            let most = Some(rows_for(self.query.need()));
            let judged = |id, row: &[u8]| Ok(self.judged(level, id, row, records)?.then_some(id));
            if let Some(page) = self.walked(order, most, judged)? {
                return Ok(page);
            }
        }
        let found = self.indexed(level, self.query.need(), records)?;
        Ok(found.into_iter().skip(self.query.offset).collect())
    }

    /// Whether a record satisfies the filters; one that does is kept.
    fn judged(&self, level: Level, id: Id, row: &[u8], records: &mut Records) -> Result<bool, FindError> {
        if level == Level::Study {
            let study = decode(row)?;
            let matches = judge(self.filters, &study, None, None);
            if matches {
                records.keep_study(id, study);
            }
            return Ok(matches);
        }
        let series: SeriesRow = decode(row)?;
        let study = records.study(self, series.study)?;
        let matches = judge(self.filters, &study, Some(&series), None);
        if matches {
            records.keep_series(id, series);
        }
        Ok(matches)
    }

    /// Whether many records may satisfy the filters, as far as the index can tell at once.
    fn is_broad(&self) -> Result<bool, FindError> {
        let Moment { searcher, attributes, .. } = self.moment;
        let searcher = searcher.as_ref().ok_or(FindError::NoIndex)?;
        let rarest = index::rarest_frequency(attributes, searcher, self.partition, self.filters)?;
        let fuzzy = self.filters.iter().any(|filter| matches!(filter.test, Test::Words(_) | Test::AnyWords(_)));
        Ok(rarest.map_or(!fuzzy, |documents| documents > BROAD_DOCUMENTS))
    }

    /// The newest `need` records of a level that satisfy the filters, from the index and the dirty studies.
    fn indexed(&self, level: Level, need: usize, records: &mut Records) -> Result<Vec<Id>, FindError> {
        let mut dirty = self.matching_dirty(level, records)?;
        dirty.sort_unstable_by(|a, b| b.cmp(a));
        dirty.truncate(need);
        let clean = self.matching_clean(level, need, records)?;
        let mut found = Vec::with_capacity(dirty.len() + clean.len());
        let (mut dirty, mut clean) = (dirty.into_iter().peekable(), clean.into_iter().peekable());
        while found.len() < need {
            let next = if dirty.peek() > clean.peek() { dirty.next() } else { clean.next() };
            let Some(id) = next else { break };
            found.push(id);
        }
        Ok(found)
    }

    fn matching_dirty(&self, level: Level, records: &mut Records) -> Result<Vec<Id>, FindError> {
        let mut found = Vec::new();
        for uid in self.moment.dirty.of(self.partition) {
            let Some(id) = self.study_id(uid)? else { continue };
            match level {
                Level::Study => {
                    if judge(self.filters, &*records.study(self, id)?, None, None) {
                        found.push(id);
                    }
                }
                Level::Series | Level::Instance => found.extend(self.series_of_study(id, records)?),
            }
        }
        Ok(found)
    }

    fn matching_clean(
        &self,
        level: Level,
        need: usize,
        records: &mut Records,
    ) -> Result<Vec<Id>, FindError> {
        let Moment { searcher, attributes, .. } = self.moment;
        let searcher = searcher.as_ref().ok_or(FindError::NoIndex)?;
        let mut found = Vec::new();
        let (mut judged, mut ask) = (0, need.saturating_add(SPARE_CANDIDATES));
        loop {
            let ids = candidates(attributes, searcher, level, self.partition, self.filters, ask)?;
            self.budget.ids(ids.len() as u64)?;
            for id in ids.iter().skip(judged) {
                if self.is_clean_match(level, *id, records)? {
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
    fn is_clean_match(&self, level: Level, id: Id, records: &mut Records) -> Result<bool, FindError> {
        self.budget.row()?;
        let key = match level {
            Level::Study => key::study(self.partition, id),
            Level::Series | Level::Instance => key::series(self.partition, id),
        };
        let Some(row) = self.moment.rows.get(&key)? else { return Ok(false) };
        if !self.judged(level, id, &row, records)? {
            return Ok(false);
        }
        let study = match level {
            Level::Study => records.study(self, id)?,
            Level::Series | Level::Instance => records.series(self, id)?.0,
        };
        Ok(!self.moment.dirty.contains(self.partition, &study.uid))
    }
}

/// Rows worth judging for so many records.
fn rows_for(wanted: usize) -> usize {
    wanted.saturating_mul(ROWS_PER_WANTED).saturating_add(SPARE_ROWS)
}
