//! The fold held still at one position, while somebody compares this node with another.
//!
//! Invariant: while it is held, the state is the fold of exactly the records before the position; what is appended
//! meanwhile waits, no longer than [`LONGEST`].
//! Elsewhere: who asks for it (`kymo verify --node`, by way of `app`), the fold's thread (`follow`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Archive, Inner};
use crate::base::Position;
use crate::log::Record;

/// After this the fold goes on, whoever still looks.
pub const LONGEST: Duration = Duration::from_secs(30);

/// Why the fold is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// It is further already.
    #[error("the fold is at position {0} already")]
    Passed(Position),
    /// It did not come there in time.
    #[error("the fold has only come to position {0}")]
    NotThere(Position),
    /// Somebody else holds it.
    #[error("the fold is held by somebody else")]
    Busy,
}

/// Where the fold is to stand still.
#[derive(Debug, Default)]
pub(super) struct Still {
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    at: Option<Position>,
    /// Everything before this is folded or just being folded.
    begun: Position,
}

impl Still {
    /// The records that may be folded now, and those behind the line.
    pub(super) fn split<'r>(&self, records: &'r [Record]) -> (&'r [Record], &'r [Record]) {
        let mut line = self.line.lock();
        let before =
            line.at.map_or(records.len(), |at| records.partition_point(|record| record.position < at));
        let (now, later) = records.split_at(before);
        if let Some(last) = now.last() {
            line.begun = last.position.next();
        }
        (now, later)
    }

    /// Waits until there is no line any more.
    pub(super) fn wait(&self) {
        let (mut line, deadline) = (self.line.lock(), Instant::now() + LONGEST);
        while line.at.is_some() {
            if self.changed.wait_until(&mut line, deadline).timed_out() {
                line.at = None;
            }
        }
    }
}

/// The fold is held; let go, it goes on.
pub struct Held {
    archive: Arc<Inner>,
    at: Position,
}

impl Held {
    /// Whether it was held until now: else what was read since may be of different moments.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.archive.still.line.lock().at == Some(self.at)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut line = self.archive.still.line.lock();
        if line.at == Some(self.at) {
            line.at = None;
        }
        self.archive.still.changed.notify_all();
    }
}

impl Archive {
    /// Holds the fold still when it has folded exactly the records before `at`.
    ///
    /// # Errors
    /// [`NotHeld`]
    pub async fn hold(&self, at: Position, within: Duration) -> Result<Held, NotHeld> {
        let begun = {
            let mut line = self.0.still.line.lock();
            if line.at.is_some() {
                return Err(NotHeld::Busy);
            }
            line.at = Some(at);
            line.begun.max(self.progress().next)
        };
        let held = Held { archive: Arc::clone(&self.0), at };
        if begun > at {
            return Err(NotHeld::Passed(begun));
        }
        let mut head = self.head_position();
        let there = tokio::time::timeout(within, head.wait_for(|next| *next >= at)).await;
        match there {
            Ok(Ok(_)) => Ok(held),
            Ok(Err(_)) | Err(_) => Err(NotHeld::NotThere(self.progress().next)),
        }
    }
}
