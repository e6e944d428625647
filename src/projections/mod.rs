//! What else is asked: views of the commits, each with a cursor of its own.
//!
//! Invariant: a view is a function of the commits, in order; view and cursor change in one write.
//! Invariant: no clock, no randomness, no call to another room inside [`Projection::apply`].
//! Elsewhere: where commits come from (`archive`, handed in by `app`).

use std::sync::Arc;

use tokio::sync::watch;

use crate::base::Position;
use crate::event::Commit;
use crate::tables::{self, Batch, Table};

pub mod runner;
pub mod search;

/// Where a view's commits come from.
pub trait CommitSource: Send + Sync + 'static {
    /// Some commits (at least one if there is one, bounded in number and bytes) from `from` on, in order.
    /// Blocking.
    ///
    /// # Errors
    /// Why they cannot be had, in words.
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String>;

    /// The first position not yet folded; changes as the fold goes on.
    fn head(&self) -> watch::Receiver<Position>;
}

/// A view of the commits.
pub trait Projection: Send + Sync + 'static {
    /// Names the stored cursor and the form of the rows. A new name rebuilds the view from the first event.
    const FORMAT: &str;

    /// Puts into `batch` what `commit` alters.
    ///
    /// # Errors
    /// The table under the view is damaged.
    fn apply(&self, commit: &Commit, batch: &mut Batch<'_>) -> Result<(), tables::Error>;

    /// The runner has put `table` under the view: at start, and again after damage. No commit is applied
    /// to it before this returns.
    ///
    /// # Errors
    /// The table is damaged.
    fn opened(&self, _table: &Arc<Table>) -> Result<(), tables::Error> {
        Ok(())
    }

    /// `commits` have been put into a batch and are about to become visible, in one step.
    fn about_to_show(&self, _commits: &[Arc<Commit>]) {}

    /// The runner stops; the table is sound, and no longer to be used.
    fn stopped(&self) {
        self.lost();
    }

    /// The table is damaged; the view lets go of it.
    fn lost(&self) {}
}
