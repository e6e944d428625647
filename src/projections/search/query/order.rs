//! What an answer is ordered by (contract `studies.md` §4.11).
//!
//! Elsewhere: how an order is followed (`find`, `index`).

use crate::projections::search::attributes::{Compared, Level, Tag};
use crate::projections::search::matching::On;

/// One attribute an answer is ordered by; those after it order what is equal in it. What lacks the value
/// comes last in either direction, and ties are newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct OrderBy {
    pub(in super::super) by: By,
    /// Of the attribute; at most the level of the items.
    pub(in super::super) level: Level,
    pub(in super::super) compared: Compared,
    pub(in super::super) descending: bool,
}

/// Where the value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum By {
    /// In the records.
    On(On),
    /// It is computed from them.
    Computed(Tag),
    /// In the metadata of the instance that stands for the item.
    Stored(Tag),
}
