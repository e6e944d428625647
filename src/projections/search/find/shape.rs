//! The shape of a query at a moment: what it asks for, and how much each filter leaves.
//!
//! Invariant: an estimate is never too low; documents of other partitions and deleted ones count.
//! Elsewhere: what follows from the shape (`plan`).

use super::FindError;
use super::asked::Asked;
use crate::projections::search::attributes::Level;
use crate::projections::search::index;
use crate::projections::search::matching::{Filter, On, Test};
use crate::projections::search::plan::{Estimate, Facet, Named, OrderShape, Shape, Wants};
use crate::projections::search::query::{self, By};

/// Terms of a filter whose documents are counted, in each segment.
const COUNTED_TERMS: u64 = 256;

impl Asked<'_> {
    /// The shape of the query.
    ///
    /// # Errors
    /// [`FindError`]
    pub(super) fn shape(&self) -> Result<Shape, FindError> {
        let query = self.query;
        let [studies, series, instances] =
            [Level::Study, Level::Series, Level::Instance].map(|level| self.uids(level).is_some());
        let named = Named { studies, series, instances };
        let mut facets = Vec::new();
        for filter in self.filters {
            facets.push(self.facet(filter, named.studies || named.instances)?);
        }
        let wants = match query.wants {
            query::Wants::Page => Wants::Page { offset: query.offset as u64, limit: query.limit as u64 },
            query::Wants::Count => Wants::Count,
        };
        let item = query.resource.item();
        Ok(Shape { item, wants, hopeless: false, named, facets, order: self.order_shape()? })
    }

    /// What a filter is to a plan; how much it leaves is not asked when records are looked up.
    fn facet(&self, filter: &Filter, looked_up: bool) -> Result<Facet, FindError> {
        let sought = index::sought(filter, self.filters, self.partition);
        let listed = filter.level == Level::Instance && filter.on.attribute().is_some();
        let mut estimate = Estimate::Unknown;
        if !looked_up {
            if let Some(candidates) = self.candidates_of(filter)? {
                estimate = Estimate::Documents(candidates.instances);
            }
            for condition in &sought.conditions {
                let (documents, all) =
                    index::frequency(self.searcher()?, condition, COUNTED_TERMS, self.budget)?;
                let found = if all { Estimate::Documents(documents) } else { Estimate::AtLeast(documents) };
                estimate = lesser(estimate, found);
            }
        }
        Ok(Facet { level: filter.level, exact: sought.exact, estimate, listed })
    }

    fn order_shape(&self) -> Result<OrderShape, FindError> {
        if self.query.order.iter().any(|by| matches!(by.by, By::Stored(_))) {
            return Err(FindError::Unindexed);
        }
        let Some(first) = self.query.order.first() else { return Ok(OrderShape::Newest) };
        let By::On(on) = first.by else { return Ok(OrderShape::Unindexed) };
        let is_range = |filter: &Filter| filter.on == on && matches!(filter.test, Test::Between(..));
        let alone = self.filters.iter().all(is_range);
        let listed = first.level == Level::Instance && matches!(on, On::Value(_));
        Ok(match index::order_prefix(on, self.partition) {
            Some(_) if listed || first.level != Level::Instance => {
                OrderShape::Value { level: first.level, alone }
            }
            _ => OrderShape::Unindexed,
        })
    }
}

/// The one that says more.
fn lesser(one: Estimate, other: Estimate) -> Estimate {
    match (one, other) {
        (Estimate::Documents(a), Estimate::Documents(b)) => Estimate::Documents(a.min(b)),
        (Estimate::Documents(_), _) => one,
        (_, Estimate::Documents(_)) => other,
        (Estimate::AtLeast(a), Estimate::AtLeast(b)) => Estimate::AtLeast(a.min(b)),
        (Estimate::AtLeast(_), Estimate::Unknown) => one,
        (Estimate::Unknown, _) => other,
    }
}
