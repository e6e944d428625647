//! What two nodes of one archive compare: everything that must be the same at one position.
//!
//! Invariant: all that is told is of one position: the fold stands still while it is read.
//! Elsewhere: how the fold is held (`archive::still`), who compares (`kymo verify --node`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::archive::Archive;
use crate::archive::still::NotHeld;
use crate::base::Position;
use crate::projections::search::Search;

/// Longest wait for the fold to come to the position.
const COME_WITHIN: Duration = Duration::from_secs(5);

/// One node at one position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// The first position that was not folded.
    pub position: Position,
    /// The log's name.
    pub log: Option<Uuid>,
    /// Chain value of the last record, hexadecimal as all that follow.
    pub chain: String,
    /// The greatest sequence number of the change feed.
    pub sequence: u64,
    /// SHA-256 over the rows of the change feed.
    pub feed: String,
    /// Over the whole state.
    pub archive: String,
    /// Over the rows of the search view.
    pub search: String,
}

/// Why a node cannot tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// The position is behind it.
    #[error("position {0} was passed")]
    Passed(Position),
    /// Anything else, in words.
    #[error("{0}")]
    NotNow(String),
}

/// Reads a node that stands still at `at`.
///
/// # Errors
/// [`Untold`]
pub async fn digests(archive: &Archive, search: &Search, at: Position) -> Result<Digests, Untold> {
    let not_now = |error: &dyn std::fmt::Display| Untold::NotNow(error.to_string());
    let held = archive.hold(at, COME_WITHIN).await.map_err(|error| match error {
        NotHeld::Passed(next) => Untold::Passed(next),
        NotHeld::NotThere(_) | NotHeld::Busy => not_now(&error),
    })?;
    if let Some(last) = at.0.checked_sub(1) {
        search.reached(Position(last), COME_WITHIN).await.map_err(|error| not_now(&error))?;
    }
    let (log, chain) = archive.chain_before(at).await.map_err(|error| not_now(&error))?;
    let (state, view) = (archive.clone(), search.clone());
    let read = tokio::task::spawn_blocking(move || (state.digests(), view.digest())).await;
    let (state, view) = read.map_err(|error| not_now(&error))?;
    let ((archive_digest, feed), (seen, search_digest)) =
        (state.map_err(|error| not_now(&error))?, view.map_err(Untold::NotNow)?);
    let sequence = archive.progress().sequence;
    if !held.holds() || seen != at {
        return Err(Untold::NotNow("reading the views took longer than the fold can wait".to_owned()));
    }
    let [chain, feed, archive, search] = [chain, feed, archive_digest, search_digest].map(hex::encode);
    Ok(Digests { position: at, log, chain, sequence, feed, archive, search })
}
