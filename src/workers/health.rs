//! The health of the blob store: every so often a small file is written, read and deleted there
//! (contract `bulk-update-export.md` §4.3).
//!
//! Invariant: what the store's owner did (access withdrawn, lake gone) is degraded; all else that fails is
//! unhealthy.
//! Elsewhere: the registry of checks (`ops::health`), to which `app` carries what is found here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::base::{Clock, Ids};
use crate::blob::{self, Blobs, Lake};

/// Between two probes (contract `bulk-update-export.md` §4.3).
pub const PROBE_EVERY: Duration = Duration::from_secs(30);

/// A probe that takes longer has failed.
const PROBE_WITHIN: Duration = Duration::from_secs(20);

/// How the blob store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Written, read and deleted.
    Healthy,
    /// Its owner has to act; why.
    Degraded(String),
    /// It does not work; why.
    Unhealthy(String),
}

/// Probes the blob store every [`PROBE_EVERY`] until `stop`, and reports what it found.
pub async fn watch(
    blobs: Blobs,
    lake: Lake,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    report: impl Fn(Found),
) {
    super::every("blob health", PROBE_EVERY, stop, async || {
        report(probe(&blobs, &lake, &ids, &clock).await);
        Ok::<(), Infallible>(())
    })
    .await;
}

/// Probes the blob store once.
pub async fn probe(blobs: &Blobs, lake: &Lake, ids: &Ids, clock: &Arc<dyn Clock>) -> Found {
    let id = ids.next(clock.now());
    match tokio::time::timeout(PROBE_WITHIN, blobs.probe(lake, id)).await {
        Ok(Ok(())) => Found::Healthy,
        Ok(Err(error @ (blob::Error::Missing { .. } | blob::Error::Refused { .. }))) => {
            Found::Degraded(error.to_string())
        }
        Ok(Err(
            error @ (blob::Error::Changed { .. } | blob::Error::Unavailable(_) | blob::Error::Full(_)),
        )) => Found::Unhealthy(error.to_string()),
        Err(_) => Found::Unhealthy(format!("the store did not answer within {} s", PROBE_WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::base::{Stamp, SteppedClock};
    use crate::blob::faulty::{Faulty, PutFault, ReadFault};

    #[tokio::test(start_paused = true)]
    async fn a_probe_comes_every_thirty_seconds() {
        let lake = Lake { workspace: "w".into(), service: "s".into() };
        let (ids, clock) = (Arc::new(Ids::seeded(1)), Arc::new(SteppedClock::at(Stamp(0))));
        let (stop, reports) = (CancellationToken::new(), Mutex::new(0));
        let begun = tokio::time::Instant::now();
        watch(Blobs::in_memory(), lake, ids, clock, stop.clone(), |found| {
            assert_eq!(found, Found::Healthy);
            *reports.lock() += 1;
            if *reports.lock() == 3 {
                stop.cancel();
            }
        })
        .await;
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test]
    async fn what_the_owner_did_is_told_from_what_broke() {
        let faulty = Faulty::new();
        let blobs = Blobs::over(faulty.clone());
        let lake = Lake { workspace: "w".into(), service: "s".into() };
        let (ids, clock) = (Ids::seeded(1), Arc::new(SteppedClock::at(Stamp(0))) as Arc<dyn Clock>);
        assert_eq!(probe(&blobs, &lake, &ids, &clock).await, Found::Healthy);

        faulty.plan_reads(ReadFault::Refused);
        assert!(
            matches!(probe(&blobs, &lake, &ids, &clock).await, Found::Degraded(why) if why.contains("refuse"))
        );
        faulty.plan_reads(ReadFault::Unavailable);
        assert!(matches!(probe(&blobs, &lake, &ids, &clock).await, Found::Unhealthy(_)));
        faulty.plan_reads(ReadFault::None);
        faulty.plan_puts([PutFault::Full]);
        assert!(
            matches!(probe(&blobs, &lake, &ids, &clock).await, Found::Unhealthy(why) if why.contains("full"))
        );
        assert_eq!(probe(&blobs, &lake, &ids, &clock).await, Found::Healthy);
    }
}
