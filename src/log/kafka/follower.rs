//! Copies the topic into the segments of this node: one thread, in blocks, each durable before it is shown.
//!
//! Invariant: positions are counted from offset 0, one for each record that can be read, whoever wrote it.
//! Invariant: it resumes behind what is durable here, so a crash at any moment repeats and skips nothing.
//! Invariant: nothing is copied between an error and the next look at the topic that finds it unchanged.
//! Elsewhere: the looks (`watch`), where records lay (`offsets`), the segments (`embedded::local`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use uuid::Uuid;

use super::super::embedded::local::{Copier, Segments};
use super::context::{Context, Role};
use super::look::assign;
use super::record::{self, Found};
use super::settings::Settings;
use super::shared::{Gate, Shared, Turn};

/// A block takes no further record beyond this.
const BLOCK_BYTES: usize = 8 << 20;
/// Nor beyond this number.
const BLOCK_RECORDS: usize = 16_384;
/// How long the thread waits before it looks whether the log was closed.
const LOOK_UP: Duration = Duration::from_millis(50);
/// After how long without records a mark is written behind the last block.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// Between two lines about progress.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// After an error of the consumer.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Follower {
    pub(super) settings: Settings,
    pub(super) log: Uuid,
    pub(super) copier: Copier,
    pub(super) segments: Segments,
    pub(super) shared: Arc<Shared>,
}

/// Why the thread leaves its consumer.
enum Left {
    /// Something went wrong; with a new one it goes on.
    Again,
    /// The log is closed, or nothing can be copied any more.
    End,
}

/// What one wait for records brought.
struct Taken {
    records: Vec<Found>,
    /// The topic ends behind them.
    at_end: bool,
    left: Option<Left>,
}

impl Follower {
    /// Copies until the log is closed or refused.
    pub(super) fn run(mut self) {
        loop {
            match self.shared.turn(LOOK_UP) {
                Turn::End => break,
                Turn::Wait => continue,
                Turn::Go => {}
            }
            match self.consumer() {
                Ok(consumer) => {
                    if matches!(self.follow(&consumer), Left::End) {
                        break;
                    }
                }
                Err(error) => tracing::warn!(%error, "the topic cannot be read; it is tried again"),
            }
            self.shared.pause(PAUSE);
        }
        // A failure of the disk has been told, and the next start finds what it finds.
        self.copier.mark().unwrap_or_default();
        let Self { copier, segments, .. } = self;
        drop(copier);
        segments.close();
    }

    fn consumer(&self) -> Result<BaseConsumer<Context>, KafkaError> {
        let context = Context::new(Role::Following(self.shared.clone()), &self.settings);
        let consumer = BaseConsumer::from_config_and_context(&self.settings.following("log"), context)?;
        assign(&consumer, &self.settings.topic, self.shared.next_offset())?;
        Ok(consumer)
    }

    fn follow(&mut self, consumer: &BaseConsumer<Context>) -> Left {
        let (mut told, mut since) = (Instant::now(), self.segments.tail());
        let mut last_block: Option<Instant> = None;
        loop {
            let taken = self.take(consumer);
            if !taken.records.is_empty() {
                if !self.wait_for_gate() {
                    return Left::End;
                }
                if let Err(why) = self.copy(taken.records) {
                    self.shared.refuse(why);
                    return Left::End;
                }
                last_block = Some(Instant::now());
            }
            if taken.at_end {
                self.shared.at_end();
            }
            if let Some(left) = taken.left {
                return left;
            }
            if self.shared.turn(Duration::ZERO) == Turn::End {
                return Left::End;
            }
            if last_block.is_some_and(|at| at.elapsed() >= MARK_AFTER) {
                last_block = None;
                if let Err(why) = self.copier.mark() {
                    self.shared.refuse(why);
                    return Left::End;
                }
            }
            if told.elapsed() >= TELL_EVERY {
                self.tell(since.0, told.elapsed());
                (told, since) = (Instant::now(), self.segments.tail());
            }
        }
    }

    /// Everything that has come, up to a block; waits a moment for the first.
    fn take(&self, consumer: &BaseConsumer<Context>) -> Taken {
        let mut taken = Taken { records: Vec::new(), at_end: false, left: None };
        let (mut bytes, mut wait) = (0, LOOK_UP);
        while bytes < BLOCK_BYTES && taken.records.len() < BLOCK_RECORDS {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => match record::read(&message, self.log) {
                    Ok(found) => {
                        taken.at_end = false;
                        bytes += found.bytes.len();
                        taken.records.push(found);
                    }
                    Err(error) => {
                        self.shared.refuse(error.to_string());
                        taken.left = Some(Left::End);
                        break;
                    }
                },
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    taken.at_end = true;
                    break;
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "an error while the topic is read");
                    self.shared.want_check(Gate::Shut);
                    taken.left = Some(Left::Again);
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        taken
    }

    /// Whether the topic was found unchanged since the last error; waits for that.
    fn wait_for_gate(&self) -> bool {
        loop {
            match self.shared.turn(LOOK_UP) {
                Turn::Go => return true,
                Turn::Wait => {}
                Turn::End => return false,
            }
        }
    }

    fn copy(&mut self, mut records: Vec<Found>) -> Result<(), String> {
        let next = self.shared.next_offset();
        records.retain(|found| found.offset >= next);
        let Some(last) = records.last().map(|found| found.offset) else { return Ok(()) };
        let ordered = records.windows(2).all(|two| two[0].offset < two[1].offset);
        assert!(ordered, "a consumer gives the records of one partition in order");
        let first = self.segments.tail();
        for found in records.iter().filter(|found| found.foreign) {
            metrics::counter!("kymo_log_foreign_records_total").increment(1);
            let offset = found.offset;
            tracing::warn!(offset, "a record of the topic is not of this log and is passed over");
        }
        let places = records.iter().map(|found| (found.offset, !found.foreign));
        let noted = self.shared.note(first, places);
        noted.map_err(|error| format!("the offsets of the copied log cannot be written: {error}"))?;
        let partly = records.iter().rfind(|found| !found.foreign).is_some_and(|found| found.copied);
        let block = records.into_iter().map(|found| (found.stamp, found.bytes)).collect();
        let began = self.copier.append(block).map_err(|why| format!("the copy of the log: {why}"))?;
        assert_eq!(began, first, "this thread alone writes");
        self.shared.copied(self.segments.tail(), last, partly);
        Ok(())
    }

    /// A line for whoever watches a node catch up.
    fn tell(&self, since: u64, took: Duration) {
        let tail = self.segments.tail();
        if let Some(end) = self.shared.catching_up() {
            #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
            let rate = (tail.0 - since) as f64 / took.as_secs_f64();
            tracing::info!(%tail, %end, per_second = rate.round(), "the log is being copied");
        }
    }
}
