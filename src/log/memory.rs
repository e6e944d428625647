//! A log that lives as long as the process: for tests and simulations.
//!
//! Invariant: an append is in its place, "durable" and readable, before [`Log::append`] returns.
//! Elsewhere: faults (`faulty`), what every log promises (`conformance`).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::tail::{Progress, READ_AHEAD_BYTES, follow};
use super::{AppendError, Appending, Log, ReadError, Record, chain};
use crate::base::{Clock, Position, Stamp};

/// The largest record taken unless another limit is given.
pub const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// A log in memory.
pub struct MemoryLog {
    clock: Arc<dyn Clock>,
    record_limit_bytes: usize,
    records: Arc<RwLock<Vec<Record>>>,
    progress: watch::Sender<Progress>,
}

impl MemoryLog {
    /// An empty log whose records are stamped by `clock`, which is looked at once for each.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_record_limit(clock, RECORD_LIMIT_BYTES)
    }

    /// An empty log that takes records of up to `record_limit_bytes`.
    #[must_use]
    pub fn with_record_limit(clock: Arc<dyn Clock>, record_limit_bytes: usize) -> Self {
        let (progress, _) = watch::channel(Progress::default());
        Self { clock, record_limit_bytes, records: Arc::default(), progress }
    }

    /// A log that holds what this one holds and takes records again: what a restart finds.
    #[must_use]
    pub fn reopened(&self) -> Self {
        let records = self.records.read().clone();
        let tail = Position(records.len() as u64);
        let (progress, _) = watch::channel(Progress { tail, closed: false });
        Self {
            clock: self.clock.clone(),
            record_limit_bytes: self.record_limit_bytes,
            records: Arc::new(RwLock::new(records)),
            progress,
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, record: Bytes) -> Result<Appending, AppendError> {
        let (length_bytes, limit_bytes) = (record.len(), self.record_limit_bytes);
        if length_bytes > limit_bytes {
            return Err(AppendError::TooLarge { length_bytes, limit_bytes });
        }
        let position = {
            let mut records = self.records.write();
            if let Some(reason) = self.stopped() {
                return Err(AppendError::Stopped(reason));
            }
            let (last_stamp, last_chain) =
                records.last().map_or((Stamp(i64::MIN), chain::START), |last| (last.stamp, last.chain));
            let stamp = self.clock.now().max(last_stamp);
            let chain = chain::link(&last_chain, stamp, &record);
            let position = Position(records.len() as u64);
            records.push(Record { position, stamp, chain, bytes: record });
            self.progress.send_modify(|progress| progress.tail = position.next());
            position
        };
        Ok(Box::pin(std::future::ready(Ok(position))))
    }

    async fn get(&self, position: Position) -> Result<Record, ReadError> {
        let found = usize::try_from(position.0).ok().and_then(|at| self.records.read().get(at).cloned());
        found.ok_or_else(|| ReadError::BeyondEnd { position, tail: self.tail() })
    }

    fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>> {
        let records = self.records.clone();
        follow(self.progress.subscribe(), from, move |from, to| {
            let some = batch(&records.read(), from, to, READ_AHEAD_BYTES);
            std::future::ready(Ok(some))
        })
    }

    fn read_batch(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        let tail = self.tail();
        if from > tail {
            return Err(ReadError::BeyondEnd { position: from, tail });
        }
        Ok(batch(&self.records.read(), from, to.min(tail), limit_bytes))
    }

    fn tail(&self) -> Position {
        self.progress.borrow().tail
    }

    fn stopped(&self) -> Option<String> {
        self.progress.borrow().closed.then(|| super::CLOSED.to_owned())
    }

    async fn close(&self) {
        let _no_append_half_done = self.records.write();
        self.progress.send_modify(|progress| progress.closed = true);
    }
}

fn batch(records: &[Record], from: Position, to: Position, limit_bytes: usize) -> Vec<Record> {
    let mut taken: Vec<Record> = Vec::new();
    let mut bytes = 0;
    let skipped = usize::try_from(from.0).unwrap_or(usize::MAX);
    for record in records.iter().skip(skipped).take_while(|record| record.position < to) {
        bytes += record.bytes.len();
        if !taken.is_empty() && bytes > limit_bytes {
            break;
        }
        taken.push(record.clone());
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SteppedClock;
    use crate::log::conformance;

    #[tokio::test]
    async fn the_memory_log_keeps_what_every_log_promises() {
        let limit_bytes = 4096;
        conformance::all(limit_bytes, || async move {
            let clock = Arc::new(SteppedClock::at(Stamp(1000)));
            Arc::new(MemoryLog::with_record_limit(clock, limit_bytes)) as Arc<dyn Log>
        })
        .await;
    }

    #[tokio::test]
    async fn a_clock_set_back_does_not_set_stamps_back() {
        let clock = Arc::new(SteppedClock::at(Stamp(1000)));
        let log = MemoryLog::new(clock.clone());
        conformance::append(&log, "a").await;
        clock.set(Stamp(5));
        conformance::append(&log, "b").await;
        assert_eq!(log.get(Position(1)).await.expect("it is there").stamp, Stamp(1000));
    }

    #[tokio::test]
    async fn a_reopened_log_holds_the_same_and_goes_on() {
        let log = MemoryLog::new(Arc::new(SteppedClock::at(Stamp(0))));
        conformance::append(&log, "a").await;
        log.close().await;
        let again = log.reopened();
        assert_eq!(conformance::append(&again, "b").await, Position(1));
        assert_eq!(again.get(Position(0)).await, log.get(Position(0)).await);
        assert_eq!(log.tail(), Position(1));
    }
}
