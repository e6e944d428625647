//! A log that fails on purpose: wraps another one, for simulations of what callers must survive.
//!
//! Invariant: the same plan over the same appends meets the same faults.
//! Invariant: without a fault an append is the wrapped log's own.
//! Elsewhere: faults of the disk below a log (`embedded::simdisk`).

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{AppendError, Appending, Condition, Log, ReadError, Record};
use crate::base::Position;

/// What happens to one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller gets `Busy`; nothing was appended.
    Before,
    /// The record is there; the caller gets `Stopped`, as after a failure with unknown outcome.
    After,
    /// The append waits so long (tokio's clock) before it takes its place.
    Delay(Duration),
    /// The record is appended twice; the caller gets the position of the first.
    Twice,
}

/// Which appends meet which fault.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    scripted: BTreeMap<u64, Fault>,
    seeded: Option<(StdRng, Chances)>,
}

/// How many appends of a thousand meet each fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chances {
    /// Of [`Fault::Before`].
    pub before: u32,
    /// Of [`Fault::After`].
    pub after: u32,
    /// Of [`Fault::Twice`].
    pub twice: u32,
    /// Of [`Fault::Delay`], by up to [`Self::longest_delay`].
    pub delay: u32,
    /// The longest delay; whole milliseconds are drawn.
    pub longest_delay: Duration,
}

impl Plan {
    /// Faults at the appends with these numbers, counted from 0.
    #[must_use]
    pub fn scripted(faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self { scripted: faults.into_iter().collect(), seeded: None }
    }

    /// Faults drawn from `seed`.
    #[must_use]
    pub fn seeded(seed: u64, chances: Chances) -> Self {
        Self { scripted: BTreeMap::new(), seeded: Some((StdRng::seed_from_u64(seed), chances)) }
    }

    fn draw(&mut self, number: u64) -> Option<Fault> {
        if let Some(fault) = self.scripted.remove(&number) {
            return Some(fault);
        }
        let (random, chances) = self.seeded.as_mut()?;
        let mut left = random.random_range(0..1000u32);
        let longest_ms = u64::try_from(chances.longest_delay.as_millis()).unwrap_or(u64::MAX);
        let delay = Fault::Delay(Duration::from_millis(random.random_range(0..=longest_ms)));
        let faults = [
            (chances.before, Fault::Before),
            (chances.after, Fault::After),
            (chances.twice, Fault::Twice),
            (chances.delay, delay),
        ];
        for (chance, fault) in faults {
            if left < chance {
                return Some(fault);
            }
            left -= chance;
        }
        None
    }
}

/// The wrapped log and the plan.
pub struct FaultyLog<L> {
    inner: L,
    plan: Mutex<(u64, Plan)>,
}

impl<L: Log> FaultyLog<L> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: L, plan: Plan) -> Self {
        Self { inner, plan: Mutex::new((0, plan)) }
    }

    /// The wrapped log.
    #[must_use]
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// Meets the next append not drawn yet with `fault`.
    pub fn fail_next(&self, fault: Fault) {
        let mut plan = self.plan.lock();
        let next = plan.0;
        plan.1.scripted.insert(next, fault);
    }

    fn draw(&self) -> Option<Fault> {
        let mut plan = self.plan.lock();
        let number = plan.0;
        plan.0 += 1;
        plan.1.draw(number)
    }
}

#[async_trait]
impl<L: Log> Log for FaultyLog<L> {
    async fn append(&self, record: Bytes) -> Result<Appending, AppendError> {
        match self.draw() {
            None => self.inner.append(record).await,
            Some(Fault::Before) => Err(AppendError::Busy),
            Some(Fault::After) => {
                let appending = self.inner.append(record).await?;
                Ok(Box::pin(async move {
                    appending.await?;
                    Err(AppendError::Stopped("a fault on purpose, after the append".to_owned()))
                }))
            }
            Some(Fault::Delay(by)) => {
                tokio::time::sleep(by).await;
                self.inner.append(record).await
            }
            Some(Fault::Twice) => {
                let first = self.inner.append(record.clone()).await?;
                let second = self.inner.append(record).await?;
                Ok(Box::pin(async move {
                    let position = first.await?;
                    second.await?;
                    Ok(position)
                }))
            }
        }
    }

    async fn get(&self, position: Position) -> Result<Record, ReadError> {
        self.inner.get(position).await
    }

    fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>> {
        self.inner.read(from)
    }

    fn read_batch(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.read_batch(from, to, limit_bytes)
    }

    fn tail(&self) -> Position {
        self.inner.tail()
    }

    fn start_end(&self, found: Position) -> Option<Position> {
        self.inner.start_end(found)
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.inner.end().await
    }

    fn condition(&self) -> Condition {
        self.inner.condition()
    }

    fn stopped(&self) -> Option<String> {
        self.inner.stopped()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::{Stamp, SteppedClock};
    use crate::log::memory::MemoryLog;

    async fn outcome(log: &dyn Log, text: &'static str) -> Result<Position, AppendError> {
        log.append(Bytes::from_static(text.as_bytes())).await?.await
    }

    fn memory() -> MemoryLog {
        MemoryLog::new(Arc::new(SteppedClock::at(Stamp(0))))
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_does_what_it_says() {
        let delay = Fault::Delay(Duration::from_secs(3));
        let plan = Plan::scripted([(1, Fault::Before), (2, Fault::After), (3, Fault::Twice), (4, delay)]);
        let log = FaultyLog::new(memory(), plan);
        assert_eq!(outcome(&log, "a").await, Ok(Position(0)));
        assert_eq!(outcome(&log, "b").await, Err(AppendError::Busy));
        assert!(matches!(outcome(&log, "c").await, Err(AppendError::Stopped(_))));
        assert_eq!(outcome(&log, "d").await, Ok(Position(2)));
        let before = tokio::time::Instant::now();
        assert_eq!(outcome(&log, "e").await, Ok(Position(4)));
        assert_eq!(before.elapsed(), Duration::from_secs(3));
        let records = log.read_batch(Position(0), log.tail(), usize::MAX).expect("it is all there");
        let texts: Vec<_> = records.iter().map(|record| &record.bytes[..]).collect();
        assert_eq!(texts, [b"a", b"c", b"d", b"d", b"e"]);
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_faults() {
        let chances = Chances { before: 200, after: 200, twice: 200, ..Chances::default() };
        let mut runs = Vec::new();
        for seed in [1, 1, 2] {
            let log = FaultyLog::new(memory(), Plan::seeded(seed, chances));
            let mut outcomes = Vec::new();
            for _ in 0..100 {
                outcomes.push(outcome(&log, "x").await);
            }
            runs.push(outcomes);
        }
        assert_eq!(runs[0], runs[1]);
        assert_ne!(runs[0], runs[2]);
    }
}
