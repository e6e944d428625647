//! Where queries are answered: many narrow ones at once, few broad ones, so that neither waits for the other.
//!
//! A query begins in the narrow room. If its budget there is spent it leaves, and begins again in the broad one.
//! Invariant: at most [`NARROW_AT_ONCE`] and [`BROAD_AT_ONCE`] are answered at once, each within its limits.
//! Invariant: a query whose client has left ends within some steps, and frees its place then.
//! Elsewhere: what is counted (`budget`), how a query is answered (`view`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::SearchError;
use super::budget::{Budget, Left, Limits, NARROW};

/// Narrow queries answered at once; more wait.
const NARROW_AT_ONCE: usize = 8;
/// Broad ones.
const BROAD_AT_ONCE: usize = 2;
/// Longest wait for one of them to end.
const WAIT: Duration = Duration::from_secs(10);

/// The two rooms.
pub(super) struct Rooms {
    narrow: Room,
    broad: Room,
    wait: Duration,
}

struct Room {
    places: Arc<Semaphore>,
    limits: Limits,
}

/// Waits for an answer until dropped.
#[derive(Default)]
struct Client(Left);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Rooms {
    /// Whose broad queries have these limits.
    pub(super) fn new(broad: Limits) -> Self {
        let room = |places, limits| Room { places: Arc::new(Semaphore::new(places)), limits };
        Self { narrow: room(NARROW_AT_ONCE, NARROW), broad: room(BROAD_AT_ONCE, broad), wait: WAIT }
    }

    /// Answers on a thread for blocking work, in the room it takes.
    ///
    /// # Errors
    /// Those of `answer`, and [`SearchError::Busy`].
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        answer: impl Fn(&Budget) -> Result<T, SearchError> + Send + Sync + 'static,
    ) -> Result<T, SearchError> {
        let answer = Arc::new(answer);
        match self.answer_in(&self.narrow, Arc::clone(&answer)).await {
            Err(SearchError::TooBroad { .. }) => self.answer_in(&self.broad, answer).await,
            answered => answered,
        }
    }

    async fn answer_in<T: Send + 'static>(
        &self,
        room: &Room,
        answer: Arc<impl Fn(&Budget) -> Result<T, SearchError> + Send + Sync + 'static>,
    ) -> Result<T, SearchError> {
        let place = tokio::time::timeout(self.wait, Arc::clone(&room.places).acquire_owned());
        let Ok(Ok(place)) = place.await else { return Err(SearchError::Busy) };
        let (client, limits) = (Client::default(), room.limits);
        let left = client.0.clone();
        let answering = tokio::task::spawn_blocking(move || {
            let answer = answer(&Budget::until_left(limits, left));
            drop(place);
            answer
        });
        let answered = answering.await;
        drop(client);
        answered.unwrap_or_else(|error| Err(SearchError::NotReady(error.to_string())))
    }

    /// As [`Self::answer`], on this thread and at once.
    ///
    /// # Errors
    /// Those of `answer`.
    pub(super) fn answer_now<T>(
        &self,
        answer: impl Fn(&Budget) -> Result<T, SearchError>,
    ) -> Result<T, SearchError> {
        let within = |room: &Room| answer(&Budget::of(room.limits));
        match within(&self.narrow) {
            Err(SearchError::TooBroad { .. }) => within(&self.broad),
            answered => answered,
        }
    }
}
