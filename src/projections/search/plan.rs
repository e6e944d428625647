//! Which view answers a query, and how: a pure function of its shape and of what is there.
//!
//! Elsewhere: what the views find (`find`, `index`), what a query may look at (`budget`).

#![expect(dead_code, reason = "the interface, before its users")]

use super::attributes::Level;
use super::counts::Order;

/// What of a query matters for the way to answer it: no values, no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) item: Level,
    pub(super) wants: Wants,
    /// What the URL names.
    pub(super) url: Option<Level>,
    /// UIDs that a filter names, the lowest level of them.
    pub(super) ids: Option<Ids>,
    /// One for each filter.
    pub(super) filters: Vec<Facet>,
    pub(super) order: OrderShape,
    pub(super) sizes: Sizes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Page { offset: u64, limit: u64 },
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) level: Level,
    pub(super) named: usize,
}

/// What a filter is to a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facet {
    pub(super) level: Level,
    /// The index finds exactly what satisfies it.
    pub(super) exact: bool,
    pub(super) estimate: Estimate,
}

/// How many records satisfy a filter; only ever too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Estimate {
    Documents(u64),
    AtLeast(u64),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderShape {
    Newest,
    /// By a value of this level.
    Value {
        level: Level,
        /// The only filter is a range of that value.
        range_is_only_filter: bool,
    },
    /// By something that only metadata say.
    Stored,
}

/// What is there, in the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Of the item's level.
    pub(super) records: u64,
    pub(super) studies: u64,
    pub(super) series: u64,
    pub(super) dirty_studies: u64,
}

/// The way to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// There is nothing to find.
    Nothing,
    /// UIDs name the records.
    Lookup,
    /// The records below the study or series that URL or filter name.
    Beneath,
    /// A page of the newest, nothing filtered.
    Page,
    /// A page in the order of a value, nothing filtered but its range.
    Ranked,
    /// Records are judged in their order till the page is full; after so many rows otherwise.
    Walk { order: Order, rows: u64, otherwise: Option<Box<Plan>> },
    /// The index names records, and the rows judge them.
    Candidates { order: Order },
    /// Instances of matching series.
    Merged { series: u64 },
    /// Instances by a value of their own.
    Values,
    /// How many there are.
    Counted(CountBy),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountBy {
    Stretches,
    Frequencies,
    Weights,
    Judged,
}
