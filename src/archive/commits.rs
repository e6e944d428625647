//! Commits for the views: the newest from memory, older ones put together again from log and feed.
//!
//! Invariant: for each event the same changes come out, from memory or put together.
//! Elsewhere: who reads them (`projections::runner`, connected by `app`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::state::change_feed;
use super::{Archive, ReadError};
use crate::base::Position;
use crate::event::codec::DecodeError;
use crate::event::{Commit, Outcome, Payload, Refusal};

/// Most bytes of events kept for views that follow closely.
const RECENT_BYTES: usize = 16 << 20;
/// Most commits given at once.
const AT_ONCE: usize = 1024;
/// Most bytes of events read from the log at once.
const READ_BYTES: usize = 8 << 20;

/// The newest commits, in order and without gaps.
#[derive(Debug, Default)]
pub(super) struct Recent {
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
}

impl Recent {
    pub(super) fn push(&mut self, commits: &[Arc<Commit>]) {
        for commit in commits {
            self.bytes += weight(commit);
            self.commits.push_back(Arc::clone(commit));
        }
        while self.bytes > RECENT_BYTES {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.bytes -= weight(&oldest);
        }
    }

    fn from(&self, position: Position) -> Option<Vec<Arc<Commit>>> {
        let first = self.commits.front()?.position;
        let skip = usize::try_from(position.0.checked_sub(first.0)?).ok()?;
        Some(self.commits.iter().skip(skip).take(AT_ONCE).cloned().collect())
    }
}

fn weight(commit: &Commit) -> usize {
    256 + commit.event.as_ref().map_or(0, |event| event.length_bytes())
}

impl Archive {
    /// Some commits from `from` on, in order: at least one if the fold has passed `from`, bounded in
    /// number and bytes. Why an older event was refused is no longer told. Blocking.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, ReadError> {
        let head = self.progress().next;
        if from >= head {
            return Ok(Vec::new());
        }
        if let Some(recent) = self.0.recent.lock().from(from) {
            return Ok(recent);
        }
        self.commits_again(from, head)
    }

    /// An instance event holds exactly if the feed has a row at its position.
    fn commits_again(&self, from: Position, head: Position) -> Result<Vec<Arc<Commit>>, ReadError> {
        let to = Position(head.0.min(from.0.saturating_add(AT_ONCE as u64)));
        let records = self.0.parts.log.read_batch(from, to, READ_BYTES)?;
        let reader = self.0.parts.state.reader();
        let first = change_feed::first_not(&reader, |change| change.position < from)?;
        let mut rows = change_feed::rows(&reader, first..u64::MAX).peekable();
        let mut commits = Vec::with_capacity(records.len());
        for record in records {
            let position = record.position;
            let mut changes = Vec::new();
            while let Some(row) =
                rows.next_if(|row| row.as_ref().map_or(true, |change| change.position == position))
            {
                changes.push(row?);
            }
            let event = match self.decode(record.bytes) {
                Ok(event) => Some(Arc::new(event)),
                Err(DecodeError::Foreign) => None,
                Err(error) => return Err(ReadError::Event(position, error.to_string())),
            };
            let time = changes.first().map_or(record.stamp, |change| change.time);
            let outcome = match event.as_ref().map(|event| &event.head.payload) {
                None => Outcome::Refused(Refusal::Foreign),
                Some(Payload::InstanceStored { .. } | Payload::Deleted { .. }) if changes.is_empty() => {
                    Outcome::Refused(Refusal::Untold)
                }
                Some(_) => Outcome::Accepted(changes),
            };
            commits.push(Arc::new(Commit { position, time, event, outcome }));
        }
        Ok(commits)
    }
}
