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
//! Elsewhere: one view as it runs (`view`), its replacement (`beside`), following the commits (`runner`), parameters and status codes on the wire (`http`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::beside::{Place, Views};
use self::budget::BROAD;
use super::CommitSource;
use super::runner::{self, Behind};
use crate::base::Position;
use crate::tables::Keeping;

mod answer;
mod attributes;
mod beside;
mod budget;
mod counts;
mod dump;
mod find;
mod folding;
mod glob;
mod index;
mod instance_values;
mod matching;
mod names;
mod overlay;
mod plan;
mod query;
mod rooms;
mod rows;
mod sort;
mod value;
mod view;

pub use answer::{BadMetadata, ByMetadata, Fields, Version, compose, fields_for};
pub use attributes::Attributes;
pub use find::Hit;
pub use index::IndexSizes;
pub use overlay::IndexStatus;
pub use query::{Asking, DEFAULT_LIMIT, MAX_LIMIT, QueryError, Resource, SearchQuery, Wants};
pub use rows::SearchRows;

/// The matches of one page, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// At most the query's limit.
    pub items: Vec<Hit>,
}

/// Why a query has no answer now. All but the last pass by themselves.
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
    /// More would have to be looked at than a query may. This one does not pass by itself.
    #[error(
        "too much would have to be looked at: {looked_at} of {of} were when the search was given up; {narrow}"
    )]
    TooBroad {
        /// Records looked at.
        looked_at: u64,
        /// Records there are.
        of: u64,
        /// What would help.
        narrow: &'static str,
    },
}

/// The views there are, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// The one that answers.
    pub answers: u64,
    /// The one that answered before, until it is dropped.
    pub keeps: Option<u64>,
}

/// How far the view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The rows: what a write waits for.
    pub rows: runner::Status,
    /// The index beside them.
    pub index: IndexStatus,
    /// How far the rows are that will take their place, while such are made.
    pub successor: Option<runner::Status>,
    /// Which view answers, and which is kept.
    pub generations: Generations,
}

/// The search view. Clones are cheap; it ends when the last is dropped, or one is closed.
#[derive(Clone)]
pub struct Search(Arc<Views>);

impl Search {
    /// The view of the log `log`, in folders of `folder` (`beside`). What cannot be used there is made again;
    /// [`Self::status`] tells. `keeping` says how the rows are kept.
    ///
    /// # Errors
    /// The system gives no threads, or the folder cannot be read.
    pub fn open(
        folder: &Path,
        log: Uuid,
        keeping: Keeping,
        source: Arc<dyn CommitSource>,
    ) -> std::io::Result<Self> {
        Self::open_within(folder, log, keeping, BROAD.time, source)
    }

    /// The same, where one query may take as long as `longest`.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_within(
        folder: &Path,
        log: Uuid,
        keeping: Keeping,
        longest: Duration,
        source: Arc<dyn CommitSource>,
    ) -> std::io::Result<Self> {
        let place = Place::Folder { path: folder.to_owned(), log, keeping };
        Views::open(place, source).map(|views| Self(Arc::new(views.within(longest))))
    }

    /// The same without files.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn in_memory(source: Arc<dyn CommitSource>) -> std::io::Result<Self> {
        Views::open(Place::Memory, source).map(|views| Self(Arc::new(views)))
    }

    /// What can be searched now; a query is parsed by it.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        self.0.current().attributes().clone()
    }

    /// One page of matches.
    ///
    /// # Errors
    /// [`SearchError`]
    pub async fn query(&self, query: SearchQuery) -> Result<Hits, SearchError> {
        let search = self.clone();
        let answer = self.0.rooms().answer(move |budget| search.0.current().answer(&query, budget)).await?;
        Ok(Hits { items: answer.page() })
    }

    /// As [`Self::query`], on this thread, without waiting for others to end.
    ///
    /// # Errors
    /// [`SearchError`]
    pub fn query_now(&self, query: &SearchQuery) -> Result<Hits, SearchError> {
        let answer = self.0.rooms().answer_now(|budget| self.0.current().answer(query, budget))?;
        Ok(Hits { items: answer.page() })
    }

    /// How many matches a query has that wants to know that ([`Wants::Count`]).
    ///
    /// # Errors
    /// [`SearchError`]
    pub async fn count(&self, query: SearchQuery) -> Result<u64, SearchError> {
        let search = self.clone();
        let answer = self.0.rooms().answer(move |budget| search.0.current().answer(&query, budget)).await?;
        Ok(answer.count())
    }

    /// How far the rows were when they were opened; waits until they are.
    pub async fn found(&self) -> Position {
        self.0.current().found().await
    }

    /// Waits until a query shows the commit at `position`.
    ///
    /// # Errors
    /// [`Behind`] when that took longer than `within`.
    pub async fn reached(&self, position: Position, within: Duration) -> Result<(), Behind> {
        // The one that answers now is followed to its end, and its successor is never behind it.
        self.0.current().reached(position, within).await
    }

    /// How far the view is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Bytes on disk of the view that answers: its rows, its index. Blocking.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        self.0.bytes()
    }

    /// Makes the view again from the first commit, beside the one that answers, and then puts it in its place.
    /// The one that was replaced is kept, until the next rebuild or [`Self::drop_kept`].
    ///
    /// # Errors
    /// In words: it is being made again already, or cannot be.
    pub fn rebuild(&self) -> Result<(), String> {
        Views::rebuild(&self.0)
    }

    /// Puts the view that is kept in the place of the one that answers, once it has caught up; that one is kept
    /// then.
    ///
    /// # Errors
    /// In words: none is kept, or one is being made.
    pub fn back(&self) -> Result<(), String> {
        Views::back(&self.0)
    }

    /// Removes the view that is kept.
    ///
    /// # Errors
    /// In words: none is kept, or one is being made.
    pub fn drop_kept(&self) -> Result<(), String> {
        self.0.drop_kept()
    }

    /// How far the rows are and their digest: equal on all nodes at one position. The index follows from them.
    /// Blocking.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub fn digest(&self) -> Result<(Position, [u8; 32]), String> {
        self.0.current().digest()
    }

    /// Writes the index now. Blocking.
    pub fn flush(&self) {
        self.0.current().flush();
    }

    /// Stops following the log; what is there is made durable. Blocking.
    pub fn close(&self) {
        self.0.close();
    }

    /// The whole state of the view as sorted text, the index written first. Blocking.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub fn dump(&self) -> Result<String, String> {
        self.0.current().dump()
    }
}

#[cfg(test)]
mod tests;
