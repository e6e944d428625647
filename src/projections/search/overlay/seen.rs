//! The dirty studies and the searcher that does not know them.
//!
//! Elsewhere: when they change (`overlay`).

use tantivy::Searcher;

use super::dirty::Dirty;
use crate::base::Position;

/// What a query looks at besides the rows.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) dirty: Dirty,
    /// `None` while the index is being made again.
    pub(super) searcher: Option<Searcher>,
    /// Cursor of the searcher.
    pub(super) cursor: Position,
}
