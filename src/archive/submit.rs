//! Submit: append an event once, then wait for what the fold decides of it.
//!
//! Invariant: the request is registered under the event's id before the append, so no outcome is missed.
//! Invariant: an event is never sent twice, not even after an error.
//! Elsewhere: the decisions (`fold`), who tells the outcomes (`follow`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::state::Meta;
use super::{Archive, Asking, SubmitError};
use crate::base::{Position, Stamp};
use crate::event::codec::{self, Sections};
use crate::event::{self, Actor, Commit, Head, Outcome, Payload, Refusal, Scope};
use crate::log::{AppendError, Appending};

/// Requests that wait for the outcome of an event, by its id.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<Uuid, oneshot::Sender<Decided>>>);

/// What was decided of an event, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) position: Position,
    pub(super) outcome: Outcome,
}

impl Waiting {
    /// Registers an event; whoever holds what is given hears of it.
    fn register(archive: &Archive, id: Uuid) -> Registered {
        let (tell, outcome) = oneshot::channel();
        archive.0.outcomes.0.lock().insert(id, tell);
        Registered { archive: archive.clone(), id, outcome }
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Lets everyone know that no outcome will come.
    pub(super) fn give_up(&self) {
        self.0.lock().clear();
    }

    /// Tells everyone whose event is among `commits`.
    pub(super) fn tell(&self, commits: &[Arc<Commit>]) {
        let mut waiting = self.0.lock();
        if waiting.is_empty() {
            return;
        }
        for commit in commits {
            let Some(event) = &commit.event else { continue };
            // A repetition says nothing new: the first appearance has told already.
            if commit.outcome == Outcome::Refused(Refusal::Repeated) {
                continue;
            }
            if let Some(waiter) = waiting.remove(&event.head.id) {
                let decided = Decided { position: commit.position, outcome: commit.outcome.clone() };
                drop(waiter.send(decided)); // Nobody may be waiting any more.
            }
        }
    }
}

/// A place among those that wait; let go, nobody waits any more.
struct Registered {
    archive: Archive,
    id: Uuid,
    outcome: oneshot::Receiver<Decided>,
}

/// An event on its way: its place is taken, its outcome not known yet.
pub(super) struct Submitted {
    registered: Registered,
    until: Stamp,
    appending: Appending,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.archive.0.outcomes.0.lock().remove(&self.id);
    }
}

impl Submitted {
    /// Waits, within the bound of the settings, until the fold has decided.
    pub(super) async fn decided(mut self) -> Result<Decided, SubmitError> {
        let wait = self.registered.archive.0.parts.settings.outcome_wait;
        let until = self.until;
        let both = async {
            match (&mut self.appending).await {
                // Where it is not known whether the record lies in the log, the fold tells if it ever passes it.
                Ok(_) | Err(AppendError::Unknown(_)) => {
                    (&mut self.registered.outcome).await.map_err(|_| SubmitError::Unknown { until })
                }
                Err(AppendError::TooLarge { length_bytes, limit_bytes }) => {
                    Err(SubmitError::TooLarge { length_bytes, limit_bytes })
                }
                // The record may lie in the log all the same: only the fold can tell, and it has stopped too.
                Err(AppendError::Stopped(_) | AppendError::Busy) => Err(SubmitError::Unknown { until }),
            }
        };
        tokio::time::timeout(wait, both).await.unwrap_or(Err(SubmitError::Unknown { until }))
    }
}

impl Archive {
    /// A head for a new event.
    pub(super) fn head(&self, asking: &Asking, payload: Payload) -> Head {
        let now = self.0.parts.clock.now();
        Head {
            id: self.0.parts.ids.next(now),
            node: self.0.parts.node,
            valid_until: now.max(self.progress().time).plus(self.0.parts.settings.validity),
            request_id: asking.request_id.clone(),
            trace_id: asking.trace_id.clone(),
            actor: asking.actor.clone(),
            cause: None,
            partition: asking.partition.clone(),
            payload,
        }
    }

    /// Appends an event; calls of one caller keep their order.
    pub(super) async fn submit(&self, head: &Head, sections: &Sections) -> Result<Submitted, SubmitError> {
        if let Some(why) = self.stopped() {
            return Err(SubmitError::Unavailable(why));
        }
        if self.progress().sealed && head.payload != Payload::LogOpened {
            return Err(SubmitError::Sealed);
        }
        let encoded = |sections: &Sections| {
            codec::encode(head, sections).map_err(|error| SubmitError::Unavailable(error.to_string()))
        };
        let mut record = encoded(sections)?;
        let limit = self.0.parts.settings.record_bytes;
        if record.len() > limit && !sections.is_empty() {
            let around = record.len() - sections.length_bytes();
            let sections = self.put_elsewhere(sections, limit.saturating_sub(around)).await?;
            record = encoded(&sections)?;
        }
        let registered = Waiting::register(self, head.id);
        let appending = self.0.parts.log.append(record).await.map_err(|error| match error {
            AppendError::TooLarge { length_bytes, limit_bytes } => {
                SubmitError::TooLarge { length_bytes, limit_bytes }
            }
            AppendError::Unknown(_) => SubmitError::Unknown { until: head.valid_until },
            AppendError::Stopped(_) | AppendError::Busy => SubmitError::Unavailable(error.to_string()),
        })?;
        if self.0.stopped.borrow().is_some() {
            // Stopped meanwhile: whether this registration was given up with the others is not known.
            self.0.outcomes.give_up();
        }
        Ok(Submitted { registered, until: head.valid_until, appending })
    }

    /// Appends an event without sections and waits for its outcome.
    pub(super) async fn tell(&self, asking: &Asking, payload: Payload) -> Result<Decided, SubmitError> {
        let head = self.head(asking, payload);
        self.submit(&head, &Sections::default()).await?.decided().await
    }

    /// Writes what every log begins with, unless it is there: its name, and the event version to write.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn begin_log(&self, log: Uuid) -> Result<(), SubmitError> {
        let meta = Meta::load(&self.0.parts.state.reader())?;
        if meta.log.is_none() {
            self.tell(&system(), Payload::LogCreated { log }).await?;
        }
        if meta.format == 0 {
            self.enable_format(event::VERSION).await?;
        }
        Ok(())
    }

    /// Seals the log: nothing that is appended behind has an effect, on whatever node.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn seal_log(&self) -> Result<(), SubmitError> {
        if self.progress().sealed {
            return Ok(());
        }
        self.enable_format(Payload::LogSealed.version()).await?;
        self.tell(&system(), Payload::LogSealed).await.map(drop)
    }

    /// Opens a log that was sealed and copied here.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn open_log(&self) -> Result<(), SubmitError> {
        if !self.progress().sealed {
            return Ok(());
        }
        self.tell(&system(), Payload::LogOpened).await.map(drop)
    }

    /// The record that opens this log at another place, once it is copied there.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub fn opening(&self) -> Result<Bytes, SubmitError> {
        let head = self.head(&system(), Payload::LogOpened);
        codec::encode(&head, &Sections::default())
            .map_err(|error| SubmitError::Unavailable(error.to_string()))
    }

    /// Lets nodes write events of this version from here on, if they may not yet; an older program stops at the
    /// event that says so. No newer version than is needed, so that nodes can be upgraded one by one.
    pub(super) async fn enable_format(&self, version: u16) -> Result<(), SubmitError> {
        let format = Meta::load(&self.0.parts.state.reader())?.format;
        if format >= version {
            return Ok(());
        }
        // Boxed, since it submits an event itself, one without sections.
        Box::pin(self.tell(&system(), Payload::FormatEnabled { version })).await.map(drop)
    }

    /// Deletes a study, a series or an instance; says where the event lies, if one was needed.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn delete(
        &self,
        asking: &Asking,
        scope: Scope,
    ) -> Result<(Option<Position>, Outcome), SubmitError> {
        // What other nodes have appended meanwhile is looked for only when it matters, and before the answer.
        let nothing = self.first_live(&asking.partition, &scope)?.is_none();
        if nothing && self.has_passed_the_end().await && self.first_live(&asking.partition, &scope)?.is_none()
        {
            return Ok((None, Outcome::Refused(Refusal::NothingMatches)));
        }
        let archive = self.clone();
        let asking = asking.clone();
        // Told to the end even if the client goes away in between.
        let telling = tokio::spawn(async move { archive.tell(&asking, Payload::Deleted { scope }).await });
        let decided = finished(telling).await??;
        Ok((Some(decided.position), decided.outcome))
    }

    /// Whether the fold has passed the log's end as asked for now: only then may a refusal be predicted.
    pub(super) async fn has_passed_the_end(&self) -> bool {
        match self.0.parts.log.end().await {
            Ok(end) => self.progress().next >= end,
            Err(error) => {
                tracing::debug!(%error, "no refusal can be predicted");
                false
            }
        }
    }

    /// Says that files are about to be removed; gives those that may go.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn remove_blobs(&self, keys: Vec<String>) -> Result<Vec<String>, SubmitError> {
        let decided = self.tell(&system(), Payload::BlobsRemoved { keys: keys.clone() }).await?;
        if let Outcome::Refused(refusal) = decided.outcome {
            return Err(SubmitError::Unavailable(refusal.to_string()));
        }
        let mut may_go = Vec::new();
        for key in keys {
            if !self.blob_lives(&key)? {
                may_go.push(key);
            }
        }
        Ok(may_go)
    }

    /// Appends a mark of time and gives feed time once the fold has passed it.
    ///
    /// # Errors
    /// [`SubmitError`]
    pub async fn mark_time(&self) -> Result<Stamp, SubmitError> {
        self.tell(&system(), Payload::TimeMarked).await?;
        Ok(self.progress().time)
    }

    /// Makes sure that no row can appear before `end` any more, unless `end` is still to come: carries
    /// feed time there with a mark, shared by all who wait, at most one a second (architecture §4).
    ///
    /// # Errors
    /// [`SubmitError`]; also when the log's clock is behind this node's and has not come to `end` yet.
    pub async fn close_window(&self, end: Stamp) -> Result<(), SubmitError> {
        const BETWEEN_MARKS: std::time::Duration = std::time::Duration::from_secs(1);
        if end > self.0.parts.clock.now() || self.progress().time >= end {
            return Ok(());
        }
        let mut last_mark = self.0.last_mark.lock().await;
        if self.progress().time >= end {
            return Ok(());
        }
        if let Some(last) = *last_mark {
            // Whatever is appended meanwhile carries feed time there as well.
            let mut progress = self.0.progress.subscribe();
            let there = progress.wait_for(|progress| progress.time >= end);
            drop(tokio::time::timeout_at(last + BETWEEN_MARKS, there).await);
        }
        if self.progress().time < end {
            *last_mark = Some(tokio::time::Instant::now());
            if self.mark_time().await? < end {
                return Err(SubmitError::Unavailable("the log's clock is behind this node's".to_owned()));
            }
        }
        Ok(())
    }
}

/// Waits for a task that finishes what a request began.
pub(super) async fn finished<T>(task: tokio::task::JoinHandle<T>) -> Result<T, SubmitError> {
    task.await.map_err(|error| SubmitError::Unavailable(format!("the request's task failed: {error}")))
}

/// The archive asking itself.
pub(super) fn system() -> Asking {
    Asking {
        request_id: String::new(),
        trace_id: None,
        actor: Actor::System,
        partition: crate::base::Partition::default(),
    }
}
