//! Search (QIDO-RS): which studies, series and instances are there, and what is said of them.
//!
//! Two views with two cursors, asked together: rows (order, counts, exact look-ups, merged records) that
//! show a commit at once, and a tantivy index beside them that is written for many commits together.
//!
//! How a request is answered, in this order:
//! 1. [`SearchQuery::parse`]; an error is the client's mistake.
//! 2. [`Search::query`]; no hits is the empty answer.
//! 3. [`fields_for`] once, then [`compose`] for each hit in order, with the metadata at [`Hit::position`]
//!    exactly when [`Fields::need_metadata`]. An instance that changed since may have new metadata, but
//!    what a position holds never changes.
//!
//! Invariant: an answer shows one moment of the view; a commit that [`Search::reached`] told of is in it.
//! Invariant: the view is a function of the commits; damaged, it is deleted and made again from them.
//! Elsewhere: following the commits (`runner`), parameters and status codes on the wire (`http`).

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::find::FindError;
use self::overlay::Overlay;
use super::CommitSource;
use super::runner::{self, Behind, Running, State};
use crate::base::Position;

mod answer;
mod attributes;
mod counts;
mod dump;
mod find;
mod folding;
mod index;
mod matching;
mod overlay;
mod query;
mod rows;

pub use answer::{BadMetadata, Fields, Version, compose, fields_for};
pub use find::Hit;
pub use overlay::IndexStatus;
pub use query::{DEFAULT_LIMIT, MAX_LIMIT, QueryError, Resource, SearchQuery};
pub use rows::SearchRows;

/// Queries answered at once; more wait.
const QUERIES_AT_ONCE: usize = 8;
/// Longest wait for one of them to end.
const QUERY_WAIT: Duration = Duration::from_secs(10);

/// The matches of one page, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// At most the query's limit.
    pub items: Vec<Hit>,
}

/// Why a query has no answer now. All of them pass by themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The view, or the index it needs for this query, is not complete yet.
    #[error("search is not ready: {0}")]
    NotReady(String),
    /// Too many queries are being answered.
    #[error("too many searches at once")]
    Busy,
    /// The view was found damaged while it was asked; it is being made again.
    #[error("search is being rebuilt: {0}")]
    Damaged(String),
}

/// How far the view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The rows: what a write waits for.
    pub rows: runner::Status,
    /// The index beside them.
    pub index: IndexStatus,
}

/// The search view. Clones are cheap; it ends when the last is dropped, or one is closed.
#[derive(Clone)]
pub struct Search(Arc<Parts>);

struct Parts {
    running: Running<Overlay>,
    overlay: Arc<Overlay>,
    permits: Arc<Semaphore>,
    indexer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.overlay.close();
    }
}

impl Search {
    /// The view of the log `log`, in the folders `search-rows` and `search-index` of `folder`. What cannot
    /// be used there is made again; [`Self::status`] tells. `cache_bytes` bounds the page cache of the rows.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn open(
        folder: &Path,
        log: Uuid,
        cache_bytes: u64,
        source: Arc<dyn CommitSource>,
    ) -> std::io::Result<Self> {
        let rows = runner::Place::Folder { path: folder.join("search-rows"), log, cache_bytes };
        Self::start(rows, index::Place::Folder { path: folder.join("search-index"), log }, source)
    }

    /// The same without files.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn in_memory(source: Arc<dyn CommitSource>) -> std::io::Result<Self> {
        Self::start(runner::Place::Memory, index::Place::Memory, source)
    }

    fn start(
        rows: runner::Place,
        index: index::Place,
        source: Arc<dyn CommitSource>,
    ) -> std::io::Result<Self> {
        let overlay = Arc::new(Overlay::new(index));
        let running = runner::start(Arc::clone(&overlay), rows, source)?;
        let (tended, complain) = (Arc::clone(&overlay), running.complaints());
        let indexer = thread::Builder::new()
            .name("search-index".to_owned())
            .spawn(move || tended.tend(complain))
            .inspect_err(|_| running.close())?;
        let permits = Arc::new(Semaphore::new(QUERIES_AT_ONCE));
        Ok(Self(Arc::new(Parts { running, overlay, permits, indexer: Mutex::new(Some(indexer)) })))
    }

    /// One page of matches.
    ///
    /// # Errors
    /// [`SearchError`]
    pub async fn query(&self, query: SearchQuery) -> Result<Hits, SearchError> {
        let permit = tokio::time::timeout(QUERY_WAIT, Arc::clone(&self.0.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(SearchError::Busy) };
        let search = self.clone();
        let answer = move || {
            let answer = search.query_now(&query);
            drop(permit);
            answer
        };
        match tokio::task::spawn_blocking(answer).await {
            Ok(answer) => answer,
            Err(error) => Err(SearchError::NotReady(error.to_string())),
        }
    }

    /// As [`Self::query`], on this thread.
    ///
    /// # Errors
    /// [`SearchError`]
    pub fn query_now(&self, query: &SearchQuery) -> Result<Hits, SearchError> {
        let Parts { running, overlay, .. } = &*self.0;
        let table = self.ready()?;
        let found = find::find(&table.reader(), &overlay.seen(), query);
        found.map(|items| Hits { items }).map_err(|error| match error {
            FindError::NoIndex => SearchError::NotReady(error.to_string()),
            FindError::Rows(error) => {
                running.complain(&error);
                SearchError::Damaged(error.to_string())
            }
            FindError::Index(error) => {
                overlay.complain(&error);
                SearchError::Damaged(error.to_string())
            }
        })
    }

    fn ready(&self) -> Result<Arc<crate::tables::Table>, SearchError> {
        let status = self.0.running.status();
        let not_ready = |what: &str| {
            Err(SearchError::NotReady(format!("{what}, at position {} of {}", status.next, status.head)))
        };
        match &status.state {
            State::Live => self.0.running.table().map_or_else(|| not_ready("opening"), Ok),
            State::CatchingUp => not_ready("catching up with the log"),
            State::Rebuilding { why } => not_ready(&format!("rebuilding ({why})")),
            State::Failed { why } => not_ready(why),
            State::Closed => not_ready("closed"),
        }
    }

    /// How far the rows were when they were opened; waits until they are.
    pub async fn found(&self) -> Position {
        self.0.running.found().await
    }

    /// Waits until a query shows the commit at `position`.
    ///
    /// # Errors
    /// [`Behind`] when that took longer than `within`.
    pub async fn reached(&self, position: Position, within: Duration) -> Result<(), Behind> {
        self.0.running.reached(position, within).await
    }

    /// How far the view is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { rows: self.0.running.status(), index: self.0.overlay.status() }
    }

    /// Throws the view away and makes it again from the first commit, in the background.
    pub fn rebuild(&self, why: &str) {
        self.0.running.rebuild(why);
    }

    /// Writes the index now. Blocking.
    pub fn flush(&self) {
        self.0.overlay.flush();
    }

    /// Stops following the log; what is there is made durable. Blocking.
    pub fn close(&self) {
        self.0.overlay.close();
        self.0.running.close();
        if let Some(indexer) = self.0.indexer.lock().take() {
            // A panic of the thread was reported when it happened; there is nothing left to stop.
            drop(indexer.join());
        }
    }

    /// The whole state of the view as sorted text, the index written first. Blocking.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub fn dump(&self) -> Result<String, String> {
        let table = self.ready().map_err(|error| error.to_string())?;
        self.flush();
        let (reader, seen) = (table.reader(), self.0.overlay.seen());
        dump::dump(&reader, &seen)
    }
}

#[cfg(test)]
mod tests;
