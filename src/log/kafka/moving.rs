//! Copying a log into a topic: every record with its position, bytes and stamp, so that nodes go on there.
//!
//! Invariant: the topic holds the beginning of the log and nothing else until all of it is there and was read
//! back; only then does a record without our stamp follow, which opens it.
//! Invariant: what was interrupted goes on where the topic ends.
//! Elsewhere: who seals the log before and marks the segments afterwards (`app::moving`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::super::{Log, Record};
use super::context::Bulk;
use super::look::{Fault, Looker, PARTITION};
use super::settings::Settings;
use super::{OpenError, blocking, look_patiently, make_sure, record};
use crate::base::Position;

/// Bytes read of the log, sent and acknowledged at once.
const BATCH_BYTES: usize = 8 << 20;

/// What is copied.
pub struct Source {
    /// The log, which takes no records any more.
    pub log: Arc<dyn Log>,
    /// Its name.
    pub name: Uuid,
    /// Makes the record that opens it at its new place.
    pub opening: Box<dyn Fn() -> Result<Bytes, String> + Send>,
    /// Whether a record is such a one.
    pub opens: fn(&Bytes) -> bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The topic has it now.
    Now {
        /// Records sent this time.
        sent: u64,
    },
    /// The topic had it, and it was opened there.
    Before,
}

/// Copies a log into the topic, which is empty or holds the beginning of it; `tell` hears how many records are
/// there, and of how many.
///
/// # Errors
/// [`OpenError`]: the topic holds something else, or no broker answers; then it can be run again.
pub async fn copy(
    settings: &Settings,
    source: Source,
    tell: impl Fn(u64, u64) + Send + 'static,
) -> Result<Moved, OpenError> {
    let (settings, runtime) = (settings.clone(), Handle::current());
    blocking(move || {
        let looker = Looker::new(&settings, runtime.clone())?;
        make_sure(&looker, &settings, &runtime)?;
        Moving { looker, settings, source }.run(&tell)
    })
    .await
}

struct Moving {
    settings: Settings,
    looker: Looker,
    source: Source,
}

impl Moving {
    fn run(&self, tell: &dyn Fn(u64, u64)) -> Result<Moved, OpenError> {
        let tail = self.source.log.tail().0;
        let there = look_patiently(&self.looker, &self.settings)?.end;
        if let Some(name) = self.looker.first_name(there)?
            && name != self.source.name
        {
            let ours = self.source.name;
            return Err(self.other(&format!("it holds the log {name}, and this archive is the log {ours}")));
        }
        self.compare(0, there.min(tail))?;
        if there > tail {
            return match self.looker.record_at(tail, self.source.name)? {
                Some(next) if !next.copied && (self.source.opens)(&next.bytes) => Ok(Moved::Before),
                Some(_) | None => Err(self.other("it holds more records than this log")),
            };
        }
        let producer = self.producer()?;
        let mut next = Position(there);
        while next.0 < tail {
            tell(next.0, tail);
            let batch = self.read(next, Position(tail))?;
            next = batch.back().map_or(Position(tail), |last| last.position.next());
            for record in &batch {
                let headers = record::copied(self.source.name, record.stamp);
                self.send(&producer, headers, &record.bytes)?;
            }
            self.flush(&producer)?;
        }
        self.compare(there, tail)?;
        tell(tail, tail);
        let opening = (self.source.opening)().map_err(Fault::Refused)?;
        self.send(&producer, record::headers(self.source.name), &opening)?;
        self.flush(&producer)?;
        match self.looker.record_at(tail, self.source.name)? {
            Some(next) if next.bytes == opening => Ok(Moved::Now { sent: tail - there }),
            Some(_) | None => Err(self.other("somebody else writes to it")),
        }
    }

    fn producer(&self) -> Result<BaseProducer<Bulk>, OpenError> {
        let mut config = self.settings.producing();
        // A record that cannot be sent must keep back those behind it.
        config.set("enable.gapless.guarantee", "true");
        Ok(BaseProducer::from_config_and_context(&config, Bulk::new(&self.settings))?)
    }

    fn send(
        &self,
        producer: &BaseProducer<Bulk>,
        headers: OwnedHeaders,
        bytes: &[u8],
    ) -> Result<(), OpenError> {
        let record = BaseRecord::<'_, (), [u8]>::to(&self.settings.topic)
            .partition(PARTITION)
            .headers(headers)
            .payload(bytes);
        producer.send(record).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let length = bytes.len();
                self.other(&format!(
                    "a record has {length} bytes; set 'max-record' to as much, and the topic's \
                     max.message.bytes to 64 KiB more"
                ))
            }
            Some(_) | None => Fault::Away(error.to_string()).into(),
        })
    }

    /// Waits until the brokers have everything.
    fn flush(&self, producer: &BaseProducer<Bulk>) -> Result<(), OpenError> {
        let flushed = producer.flush(self.settings.delivery_wait);
        let why = match (producer.client().fatal_error(), flushed) {
            (Some((_, why)), _) => why,
            (None, Err(error)) => error.to_string(),
            (None, Ok(())) => return Ok(()),
        };
        let why = producer.context().take_error().unwrap_or(why);
        Err(Fault::Away(format!("the brokers do not take the records: {why}; run it again to go on")).into())
    }

    fn read(&self, from: Position, to: Position) -> Result<VecDeque<Record>, Fault> {
        let batch = self.source.log.read_batch(from, to, BATCH_BYTES);
        batch.map(Into::into).map_err(|error| Fault::Refused(format!("the log cannot be read: {error}")))
    }

    /// Whether the topic holds the records from `from` to before `to`, at these offsets.
    fn compare(&self, from: u64, to: u64) -> Result<(), OpenError> {
        let (mut next, mut ours) = (from, VecDeque::new());
        self.looker.walk(from, to, &mut |message| {
            let found =
                record::read(message, self.source.name).map_err(|error| Fault::Refused(error.to_string()))?;
            if ours.is_empty() {
                ours = self.read(Position(next), Position(to))?;
            }
            let same = ours.pop_front().is_some_and(|ours| {
                // A log that came from a topic was stamped there, and raised here where clocks went back.
                found.offset == next && found.bytes == ours.bytes && found.stamp <= ours.stamp
            });
            if !same {
                return Err(self.unequal(next));
            }
            next += 1;
            Ok(next == to)
        })?;
        if next == to { Ok(()) } else { Err(self.unequal(next).into()) }
    }

    fn unequal(&self, offset: u64) -> Fault {
        self.refusal(&format!("at offset {offset} is not what this log has at that position"))
    }

    fn other(&self, what: &str) -> OpenError {
        self.refusal(what).into()
    }

    fn refusal(&self, what: &str) -> Fault {
        let topic = &self.settings.topic;
        Fault::Refused(format!(
            "the log cannot be copied to the topic '{topic}': {what}; name an empty topic"
        ))
    }
}
