//! Answers a query from one moment of the view, within its budget.
//!
//! A query's shape (`shape`) gives a plan (`plan`), and the plan is carried out (`steps`): records are looked
//! up, walked in their order, named by the index (`candidates`), or taken in the order of their values
//! (`ordered`); or they are only counted (`counting`). Order is newest first unless asked otherwise: records
//! by id, instances by version (contract `studies.md` §4.9).
//! Invariant: every record of an answer was judged by `matching` on the rows of this moment, or named by
//! conditions of the index that are exact, its study not having changed since.
//! Invariant: every loop counts what it looks at, and ends when the budget does.
//! Elsewhere: which attributes of a hit are shown (`answer`).

use std::sync::Arc;

use self::asked::Asked;
pub(super) use self::moment::Moment;
use self::records::Records;
use super::attributes::Level;
use super::budget::{Budget, Spent};
use super::index;
use super::plan::{Plan, Shape, plan};
use super::query::{SearchQuery, Wants};
use super::rows::{SeriesRow, StudyRow};
use crate::base::Position;
use crate::dicom::uid::Uid;
use crate::tables;

mod asked;
mod by_value;
mod candidates;
mod counting;
mod instances;
mod moment;
mod ordered;
mod records;
mod shape;
mod steps;

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
    Index(index::Error),
    #[error("the search index is being made again")]
    NoIndex,
    #[error(transparent)]
    Spent(#[from] Spent),
    #[error("an answer is ordered only by attributes that are indexed")]
    Unindexed,
}

impl From<index::Error> for FindError {
    fn from(error: index::Error) -> Self {
        match error {
            index::Error::Spent(spent) => Self::Spent(spent),
            error => Self::Index(error),
        }
    }
}

/// What a query finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Page(Vec<Hit>),
    Count(u64),
}

impl Answer {
    /// The page, if one was asked for.
    pub(super) fn page(self) -> Vec<Hit> {
        match self {
            Self::Page(hits) => hits,
            Self::Count(_) => Vec::new(),
        }
    }

    /// The number of all matches, or of those on a page.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Page(hits) => hits.len() as u64,
            Self::Count(count) => *count,
        }
    }
}

/// What a query finds at one moment.
///
/// # Errors
/// [`FindError`]
pub(super) fn find(moment: &Moment<'_>, query: &SearchQuery, budget: &Budget) -> Result<Answer, FindError> {
    find_by(moment, query, budget, plan)
}

/// The same by the plan that `choose` names.
///
/// # Errors
/// [`FindError`]
pub(super) fn find_by(
    moment: &Moment<'_>,
    query: &SearchQuery,
    budget: &Budget,
    choose: impl FnOnce(&Shape) -> Plan,
) -> Result<Answer, FindError> {
    let filters = asked::numbered(&moment.rows, &query.filters)?;
    let hopeless = filters.is_none();
    let filters = filters.unwrap_or_default();
    let asked = Asked { moment, query, partition: &query.partition, filters: &filters, budget };
    let plan = if hopeless { Plan::Nothing } else { choose(&asked.shape()?) };
    metrics::counter!("kymo_search_queries_total", "plan" => plan.name()).increment(1);
    asked.answer(&plan)
}

impl Asked<'_> {
    fn answer(&self, plan: &Plan) -> Result<Answer, FindError> {
        let records = &mut Records::default();
        Ok(match (plan, self.query.wants) {
            (Plan::Counted(by), _) => Answer::Count(self.counted(by, records)?),
            (_, Wants::Count) => Answer::Count(0),
            (_, Wants::Page) => Answer::Page(match self.query.resource.item() {
                Level::Study => self.study_hits(self.records_by(plan, records)?, records)?,
                Level::Series => self.series_hits(self.records_by(plan, records)?, records)?,
                Level::Instance => self.instance_hits(self.instances_by(plan, records)?, records)?,
            }),
        })
    }
}
