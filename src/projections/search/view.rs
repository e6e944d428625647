//! One search view as it runs: rows that follow the commits, and the index that follows the rows.
//!
//! Invariant: what it answers is of one moment, and nothing is answered before it has caught up.
//! Elsewhere: which view answers, when there are two (`beside`).

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::attributes::{Attributes, Level};
use super::budget::Budget;
use super::counts::{self, Order};
use super::find::{self, Answer, FindError, Moment};
use super::overlay::{IndexStatus, Overlay};
use super::query::SearchQuery;
use super::rows::SearchRows;
use super::{SearchError, dump, index};
use crate::base::Position;
use crate::projections::CommitSource;
use crate::projections::runner::{self, Behind, Running, State};
use crate::tables::Table;

/// An offset above this is what makes a query broad.
const FAR: usize = 10_000;

/// A running view; it ends when it is dropped or closed.
pub(super) struct View {
    running: Running<Overlay>,
    overlay: Arc<Overlay>,
    indexer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Drop for View {
    fn drop(&mut self) {
        self.overlay.close();
    }
}

impl View {
    /// Starts to follow the commits.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn start(
        rows: runner::Place,
        index: index::Place,
        source: Arc<dyn CommitSource>,
    ) -> std::io::Result<Self> {
        let overlay = Arc::new(Overlay::new(SearchRows::default(), index));
        let running = runner::start(Arc::clone(&overlay), rows, source)?;
        let (tended, complain) = (Arc::clone(&overlay), running.complaints());
        let indexer = thread::Builder::new()
            .name("search-index".to_owned())
            .spawn(move || tended.tend(complain))
            .inspect_err(|_| running.close())?;
        Ok(Self { running, overlay, indexer: Mutex::new(Some(indexer)) })
    }

    /// One page of matches, or their number.
    pub(super) fn answer(&self, query: &SearchQuery, budget: &Budget) -> Result<Answer, SearchError> {
        self.ask(query, budget, |moment| find::find(moment, query, budget))
    }

    /// What `answer` makes of this moment. Whatever time it takes, nobody waits for it.
    pub(super) fn ask<T>(
        &self,
        query: &SearchQuery,
        budget: &Budget,
        answer: impl FnOnce(&Moment<'_>) -> Result<T, FindError>,
    ) -> Result<T, SearchError> {
        let Self { running, overlay, .. } = self;
        let table = self.ready()?;
        let moment = overlay.moment(&table);
        answer(&moment).map_err(|error| match error {
            FindError::NoIndex => SearchError::NotReady(error.to_string()),
            FindError::Rows(error) => {
                running.complain(&error);
                SearchError::Damaged(error.to_string())
            }
            FindError::Index(error) => {
                overlay.complain(&error);
                SearchError::Damaged(error.to_string())
            }
            FindError::Spent(_) => too_broad(&moment, query, budget),
            FindError::Unindexed => SearchError::TooBroad {
                looked_at: 0,
                of: 0,
                narrow: "an order by attributes that are searched would help, or an extended query tag",
            },
        })
    }

    pub(super) fn attributes(&self) -> &Attributes {
        self.overlay.attributes()
    }

    fn ready(&self) -> Result<Arc<Table>, SearchError> {
        let status = self.running.status();
        let not_ready = |what: &str| {
            Err(SearchError::NotReady(format!("{what}, at position {} of {}", status.next, status.head)))
        };
        match &status.state {
            State::Live => self.running.table().map_or_else(|| not_ready("opening"), Ok),
            State::CatchingUp => not_ready("catching up with the log"),
            State::Rebuilding { why } => not_ready(&format!("rebuilding ({why})")),
            State::Failed { why } => not_ready(why),
            State::Closed => not_ready("closed"),
        }
    }

    pub(super) async fn found(&self) -> Position {
        self.running.found().await
    }

    pub(super) async fn reached(&self, position: Position, within: Duration) -> Result<(), Behind> {
        self.running.reached(position, within).await
    }

    pub(super) fn rows(&self) -> runner::Status {
        self.running.status()
    }

    pub(super) fn index(&self) -> IndexStatus {
        self.overlay.status()
    }

    pub(super) fn digest(&self) -> Result<(Position, [u8; 32]), String> {
        let table = self.ready().map_err(|error| error.to_string())?;
        let reader = table.reader();
        let digest = reader.cursor().and_then(|cursor| Ok((cursor, reader.digest(&[])?)));
        digest.map_err(|error| error.to_string())
    }

    pub(super) fn flush(&self) {
        self.overlay.flush();
    }

    pub(super) fn close(&self) {
        self.overlay.close();
        self.running.close();
        if let Some(indexer) = self.indexer.lock().take() {
            // A panic of the thread was reported when it happened; there is nothing left to stop.
            drop(indexer.join());
        }
    }

    pub(super) fn dump(&self) -> Result<String, String> {
        let table = self.ready().map_err(|error| error.to_string())?;
        self.flush();
        dump::dump(&self.overlay.moment(&table))
    }
}

/// Says what would have to be looked at, and what would help.
fn too_broad(moment: &Moment<'_>, query: &SearchQuery, budget: &Budget) -> SearchError {
    let order = match query.resource.item() {
        Level::Study => Order::Studies,
        Level::Series => Order::Series,
        Level::Instance => Order::Instances,
    };
    let narrow = match query.filters.is_empty() {
        _ if query.offset > FAR => "a smaller offset would help",
        true => "a filter would help",
        false => "PatientID, a shorter range of StudyDate or the beginning of PatientName would help",
    };
    // An answer about too much to look at is given although it cannot be counted.
    let of = counts::all(&moment.rows, order, &query.partition).unwrap_or_default();
    SearchError::TooBroad { looked_at: budget.rows(), of, narrow }
}
