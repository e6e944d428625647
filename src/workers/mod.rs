//! What follows from events outside the log: the sweep of the blob store, and its health.
//!
//! Invariant: a worker changes the archive only by appending events, like everyone else.
//! Invariant: whatever a worker does may be done twice; a run that was broken off is simply done again.
//! Elsewhere: the decisions (`archive::fold`), where results are shown (`ops`, wired by `app`).

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub mod health;
pub mod sweep;

/// Runs `work` at once and then every `interval`, until `stop` is cancelled. A run that takes longer than the
/// interval delays the next one; a run under way when `stop` comes is dropped. A failure is logged, under the
/// worker's name, and the next run comes at its time.
pub async fn every<W, R, E>(worker: &'static str, interval: Duration, stop: CancellationToken, mut work: W)
where
    W: FnMut() -> R,
    R: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let runs = async {
        loop {
            ticks.tick().await;
            if let Err(error) = work().await {
                tracing::warn!(worker, %error, "a worker's run failed; it is tried again at its time");
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = runs => unreachable!("the loop has no end"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn runs_come_at_their_times_failed_or_not_until_stopped() {
        let (runs, stop) = (AtomicU32::new(0), CancellationToken::new());
        let begun = tokio::time::Instant::now();
        every("test", Duration::from_secs(30), stop.clone(), async || {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            if run == 3 {
                stop.cancel();
            }
            if run == 1 { Err("as planned") } else { Ok(()) }
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 4);
        assert_eq!(begun.elapsed(), Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_hangs_does_not_keep_the_archive_from_stopping() {
        let stop = CancellationToken::new();
        let hanging = every("test", Duration::from_secs(30), stop.clone(), async || {
            std::future::pending::<()>().await;
            Ok::<(), String>(())
        });
        let stopped = async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            stop.cancel();
        };
        tokio::join!(hanging, stopped);
    }
}
