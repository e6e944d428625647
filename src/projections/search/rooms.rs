//! Where queries are answered: many narrow ones at once, few broad ones, so that neither waits for the other.
//!
//! A query begins in the narrow room. If its budget there is spent it leaves, and begins again in the broad one.
//! Invariant: at most [`NARROW_AT_ONCE`] and [`BROAD_AT_ONCE`] are answered at once, each within its limits.
//! Invariant: a query whose client has left ends within some steps, and frees its place then.
//! Elsewhere: what is counted (`budget`), how a query is answered (`view`).

use std::sync::Arc;
use std::time::{Duration, Instant};

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
    name: &'static str,
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
        let room = |name, places, limits| Room { name, places: Arc::new(Semaphore::new(places)), limits };
        let narrow = room("narrow", NARROW_AT_ONCE, NARROW);
        Self { narrow, broad: room("broad", BROAD_AT_ONCE, broad), wait: WAIT }
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
        let answered = match self.answer_in(&self.narrow, Arc::clone(&answer)).await {
            Err(SearchError::TooBroad { .. }) => self.answer_in(&self.broad, answer).await,
            answered => answered,
        };
        if matches!(answered, Err(SearchError::TooBroad { .. })) {
            metrics::counter!("kymo_search_too_broad_total").increment(1);
        }
        answered
    }

    async fn answer_in<T: Send + 'static>(
        &self,
        room: &Room,
        answer: Arc<impl Fn(&Budget) -> Result<T, SearchError> + Send + Sync + 'static>,
    ) -> Result<T, SearchError> {
        let place = tokio::time::timeout(self.wait, Arc::clone(&room.places).acquire_owned());
        let Ok(Ok(place)) = place.await else { return Err(SearchError::Busy) };
        let (client, limits, name) = (Client::default(), room.limits, room.name);
        let left = client.0.clone();
        let answering = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let answer = answer(&Budget::until_left(limits, left));
            let took = began.elapsed().as_secs_f64();
            metrics::histogram!("kymo_search_query_seconds", "room" => name).record(took);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);
    const ENDLESS: Limits =
        Limits { time: Duration::from_secs(3_600), rows: u64::MAX, terms: u64::MAX, ids: u64::MAX };

    fn rooms(wait: Duration) -> Arc<Rooms> {
        Arc::new(Rooms { wait, ..Rooms::new(ENDLESS) })
    }

    fn too_broad() -> SearchError {
        SearchError::TooBroad { looked_at: 0, of: 0, narrow: "" }
    }

    /// Looks at rows until the budget is spent; tells each time it begins.
    fn endless(begun: mpsc::UnboundedSender<()>) -> impl Fn(&Budget) -> Result<(), SearchError> {
        move |budget| {
            begun.send(()).unwrap();
            while budget.row().is_ok() {}
            Err(too_broad())
        }
    }

    #[tokio::test]
    async fn a_query_that_spends_its_narrow_budget_begins_again_in_the_broad_room() {
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let answer = move |budget: &Budget| {
            counted.fetch_add(1, Ordering::Relaxed);
            (0..100_000).try_for_each(|_| budget.row()).map_err(|_| too_broad())
        };
        rooms(SOON).answer(answer).await.unwrap();
        assert_eq!(rounds.load(Ordering::Relaxed), 2);
        let narrow = rooms(SOON).answer(|budget| budget.row().map_err(|_| too_broad())).await;
        assert_eq!(narrow, Ok(()));
        assert_eq!(rooms(SOON).answer(|_| Err::<(), _>(too_broad())).await, Err(too_broad()));
    }

    #[tokio::test]
    async fn broad_queries_wait_for_each_other_and_narrow_ones_for_none_of_them() {
        let rooms = rooms(Duration::from_millis(1));
        let (begun, mut begins) = mpsc::unbounded_channel();
        let ask = || {
            let (rooms, answer) = (Arc::clone(&rooms), endless(begun.clone()));
            tokio::spawn(async move { rooms.answer(answer).await })
        };
        let held: Vec<_> = (0..BROAD_AT_ONCE).map(|_| ask()).collect();
        // Each begins twice.
        for _ in 0..2 * BROAD_AT_ONCE {
            begins.recv().await.unwrap();
        }
        assert_eq!(rooms.broad.places.available_permits(), 0);
        assert_eq!(ask().await.unwrap(), Err(SearchError::Busy));
        for _ in 0..2 * NARROW_AT_ONCE {
            assert_eq!(rooms.answer(|_| Ok(())).await, Ok(()));
        }
        held.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_its_query_and_frees_its_place() {
        let rooms = rooms(SOON);
        let (begun, mut begins) = mpsc::unbounded_channel();
        let asked = tokio::spawn({
            let (rooms, answer) = (Arc::clone(&rooms), endless(begun));
            async move { rooms.answer(answer).await }
        });
        begins.recv().await.unwrap();
        begins.recv().await.unwrap();
        assert_eq!(rooms.broad.places.available_permits(), BROAD_AT_ONCE - 1);
        asked.abort();
        let all = rooms.broad.places.acquire_many(BROAD_AT_ONCE as u32);
        assert!(tokio::time::timeout(SOON, all).await.is_ok());
    }
}
