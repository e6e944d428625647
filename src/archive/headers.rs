//! Memory for the headers of files being received, shared by all requests (`studies.md` §2.12).
//!
//! A short header never waits. A longer one takes a place among a bounded number of its kind; a long one, which
//! may take what a single file may, waits until no other long one is being received, and one that needs the
//! share of the middling ones as well waits until they are through. Those of them that wait for its place in turn
//! give up before it does, so that one always comes to its end.
//!
//! Invariant: beside what is free, the headers of all requests take no more than the limit (or than one file may,
//! where that is more).
//! Elsewhere: what a single file may take (`dicom::scan::Limits`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A header up to this is short.
const SHORT_BYTES: u64 = 64 << 10;
/// One beyond this is long.
const LONG_BYTES: u64 = 1 << 20;

/// The places for headers.
#[derive(Debug)]
pub(super) struct Headers {
    middling: Arc<Semaphore>,
    /// Number of places for middling headers, which take a quarter of the limit.
    middlings: u32,
    /// What a long header may take beside them.
    long_bytes: u64,
    long: Arc<Semaphore>,
    wait: Duration,
}

/// The places that one request has.
#[derive(Debug, Default)]
pub(super) struct Places {
    middling: Option<OwnedSemaphorePermit>,
    long: Option<OwnedSemaphorePermit>,
    all: Option<OwnedSemaphorePermit>,
}

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Headers {
    /// Places for a header of `bytes` and some more; nobody waits for one longer than `wait`.
    pub(super) fn new(bytes: usize, wait: Duration) -> Self {
        let bytes = bytes as u64;
        let middlings = u32::try_from((bytes / 4 / LONG_BYTES).clamp(1, 1024)).expect("a small number");
        let long_bytes = bytes.saturating_sub(u64::from(middlings) * LONG_BYTES);
        let middling = Arc::new(Semaphore::new(middlings as usize));
        Self { middling, middlings, long_bytes, long: Arc::new(Semaphore::new(1)), wait }
    }

    /// Makes room for a header that has grown to `bytes`.
    pub(super) async fn hold(&self, places: &mut Places, bytes: u64) -> Result<(), Full> {
        if bytes > SHORT_BYTES && places.middling.is_none() {
            places.middling = Some(place(&self.middling, 1, self.wait).await?);
        }
        if bytes > LONG_BYTES && places.long.is_none() {
            places.long = Some(place(&self.long, 1, self.wait).await?);
        }
        if bytes > self.long_bytes.max(LONG_BYTES) && places.all.is_none() {
            // Longer than anyone waits for the place this request has.
            places.all = Some(place(&self.middling, self.middlings - 1, 2 * self.wait).await?);
        }
        Ok(())
    }
}

async fn place(of: &Arc<Semaphore>, places: u32, wait: Duration) -> Result<OwnedSemaphorePermit, Full> {
    let place = timeout(wait, Arc::clone(of).acquire_many_owned(places)).await;
    place.ok().and_then(Result::ok).ok_or(Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> Headers {
        Headers::new(16 << 20, Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_header_never_waits() {
        let headers = headers();
        let mut others: [Places; 4] = Default::default();
        for places in &mut others {
            headers.hold(places, LONG_BYTES).await.expect("a place");
        }
        headers.hold(&mut others[0], 12 << 20).await.expect("the place for a long one");
        let mut places = Places::default();
        headers.hold(&mut places, SHORT_BYTES).await.expect("no place is needed");
        assert_eq!(headers.hold(&mut places, SHORT_BYTES + 1).await, Err(Full));
        assert_eq!(headers.hold(&mut others[1], LONG_BYTES + 1).await, Err(Full));
        drop(others);
        headers.hold(&mut places, 16 << 20).await.expect("places are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_waits_for_the_share_of_the_others() {
        let headers = Arc::new(headers());
        let (mut longest, mut other) = (Places::default(), Places::default());
        headers.hold(&mut longest, 12 << 20).await.expect("the place for a long one");
        headers.hold(&mut other, LONG_BYTES).await.expect("a place");
        let waiting = {
            let headers = Arc::clone(&headers);
            tokio::spawn(async move { headers.hold(&mut longest, (12 << 20) + 1).await })
        };
        // It has the place the other wants, and the other has what it waits for: the other gives up.
        assert_eq!(headers.hold(&mut other, LONG_BYTES + 1).await, Err(Full));
        drop(other);
        assert_eq!(waiting.await.expect("no panic"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_grow_side_by_side_all_come_to_their_end() {
        let headers = Arc::new(headers());
        let growing: Vec<_> = (0..20)
            .map(|_| {
                let headers = Arc::clone(&headers);
                tokio::spawn(async move {
                    let mut places = Places::default();
                    for kib in [1, 65, 900, 2000, 12_000] {
                        tokio::task::yield_now().await;
                        headers.hold(&mut places, kib << 10).await?;
                    }
                    Ok::<_, Full>(())
                })
            })
            .collect();
        for one in growing {
            assert_eq!(one.await.expect("no panic"), Ok(()));
        }
    }
}
