//! One moment of the view: rows, dirty studies and searcher as they were together.
//!
//! Invariant: what the searcher says of a study that is not dirty is what the rows say.
//! Invariant: nobody waits for who holds one, where the rows keep their moment (`tables`).
//! Elsewhere: how it is taken (`overlay`), what is asked of it (`find`).

use crate::projections::search::attributes::Attributes;
use crate::projections::search::index::Searcher;
use crate::projections::search::overlay::Dirty;
use crate::tables::Reader;

/// What a query sees. It holds up the removal of old rows: it must not outlive the query.
pub(crate) struct Moment<'t> {
    pub(crate) rows: Reader<'t>,
    /// Studies that the searcher does not know as they are.
    pub(crate) dirty: Dirty,
    /// `None` while the index is being made again.
    pub(crate) searcher: Option<Searcher>,
    /// What can be searched by its value.
    pub(crate) attributes: Attributes,
}
