//! The dirty studies and the searcher that does not know them.
//!
//! Elsewhere: when they change (`overlay`).

use super::dirty::Dirty;
use crate::base::Position;
use crate::projections::search::index::Searcher;

/// What a query looks at besides the rows.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) dirty: Dirty,
    /// `None` while the index is being made again.
    pub(super) searcher: Option<Searcher>,
    /// Cursor of the searcher.
    pub(super) cursor: Position,
    /// Merges of the index so far, and whether one is being made.
    pub(super) merges: (u64, bool),
}
