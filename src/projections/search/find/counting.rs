//! How many records satisfy filters, without a page of them.
//!
//! Invariant: a count is what the length of the whole answer would be at this moment.
//! Elsewhere: which way is exact and cheapest (`plan`).

use super::FindError;
use super::asked::Asked;
use super::records::Records;
use crate::projections::search::attributes::Level;
use crate::projections::search::counts::{self, Order};
use crate::projections::search::index::{self, Counted};
use crate::projections::search::plan::CountBy;
use crate::projections::search::query::SearchQuery;

impl Asked<'_> {
    pub(super) fn counted(&self, by: &CountBy, records: &mut Records) -> Result<u64, FindError> {
        let item = self.query.resource.item();
        match by {
            CountBy::Stretches => {
                let order = match item {
                    Level::Study => Order::Studies,
                    Level::Series => Order::Series,
                    Level::Instance => Order::Instances,
                };
                Ok(counts::all(&self.moment.rows, order, self.partition)?)
            }
            CountBy::Documents => Ok(self.documents(item, records)?.records),
            CountBy::Weights => Ok(self.documents(Level::Series, records)?.instances),
            CountBy::Judged(plan) => {
                let all = SearchQuery { order: Vec::new(), ..self.everything() };
                let all = Asked { query: &all, ..*self };
                let found = match item {
                    Level::Study | Level::Series => all.records_by(plan, records)?.len(),
                    Level::Instance => all.instances_by(plan, records)?.len(),
                };
                Ok(found as u64)
            }
        }
    }

    /// The query for a page that holds all.
    pub(super) fn everything(&self) -> SearchQuery {
        SearchQuery { offset: 0, limit: usize::MAX, ..self.query.clone() }
    }

    /// What the index counts exactly, but for dirty studies, and their records.
    fn documents(&self, level: Level, records: &mut Records) -> Result<Counted, FindError> {
        let (mut conditions, _) = self.conditions(level);
        conditions.but.push(self.dirty());
        let mut counted = index::count(self.searcher()?, &conditions, self.budget)?;
        for id in self.matching_dirty(level, records)? {
            counted.records += 1;
            counted.instances += match level {
                Level::Study => records.study(self, id)?.instances,
                Level::Series | Level::Instance => records.series(self, id)?.1.instances,
            };
        }
        Ok(counted)
    }
}
