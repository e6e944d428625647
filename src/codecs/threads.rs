//! Work on pixels of our own, on a bounded number of threads.
//!
//! Invariant: a panic is an error of that frame, never of the server.
//! Elsewhere: codecs in C (`pool`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Error;

pub(super) struct Threads(Arc<Semaphore>);

impl Threads {
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Runs to its end even if nobody waits for it any more; until then its thread counts as busy.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        wait: Duration,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let Ok(permit) = tokio::time::timeout(wait, Arc::clone(&self.0).acquire_owned()).await else {
            return Err(Error::Busy);
        };
        let permit = permit.expect("the semaphore is never closed");
        let running = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            catch_unwind(AssertUnwindSafe(run))
        });
        match running.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(Error::Corrupt("they led to a failure that should not be possible".to_owned())),
            Err(_) => Err(Error::Stopped("the archive is stopping".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_its_thread() {
        let threads = Threads::new(1);
        let wait = Duration::from_secs(60);
        for _ in 0..3 {
            let failed = threads.run(wait, || panic!("an index")).await;
            assert!(matches!(failed, Err::<(), _>(Error::Corrupt(_))), "{failed:?}");
        }
        assert_eq!(threads.run(wait, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn whoever_finds_all_threads_busy_is_refused() {
        let threads = Arc::new(Threads::new(1));
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let long = Arc::clone(&threads);
        let running = tokio::spawn(async move {
            let work = move || {
                began.send(()).unwrap();
                gone.recv().unwrap();
            };
            long.run(Duration::from_secs(60), work).await
        });
        begun.await.unwrap();
        assert_eq!(threads.run(Duration::ZERO, || 7).await, Err(Error::Busy));
        // Nobody waits for it any more, and yet it is at work.
        running.abort();
        assert_eq!(threads.run(Duration::ZERO, || 7).await, Err(Error::Busy));
        go.send(()).unwrap();
        assert_eq!(threads.run(Duration::from_secs(60), || 7).await, Ok(7));
    }
}
