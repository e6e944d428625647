//! The log in a Kafka topic of one partition, shared by any number of nodes (architecture §5).
//!
//! The broker orders and stamps. Each node copies the topic into its own segment files and reads nothing but
//! those, so that a record has the same position, stamp, bytes and chain on every node.
//!
//! Invariant: an append resolves when the record is durable on the brokers *and* in this node's segments.
//! Invariant: we send a record once. Whether it arrived may remain unknown; it is then found when it is copied,
//! and where it lies twice all the same (`producer`), the fold passes over the second by its id.
//! Invariant: a topic that is not, or no longer, the one that was copied ends everything: nothing is answered.
//! Elsewhere: segments (`embedded`), what is asked of the topic (`look`), settings (`settings`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::embedded::local::{self, Segments};
use super::embedded::{self, OpenReport};
use super::{AppendError, Appending, Condition, Log, ReadError, Record};
use crate::base::{Clock, Position};

mod context;
mod create;
mod follower;
mod look;
mod moving;
mod offsets;
mod producer;
mod record;
pub mod settings;
mod shared;
mod watch;

pub use create::Created;
pub use look::Fault;
pub use moving::{Moved, Source, copy};
pub use settings::Settings;

use context::{Bulk, Delivery};
use follower::Follower;
use look::Looker;
use offsets::{Offsets, OffsetsError};
use producer::Producer;
use shared::Shared;
use watch::Watch;

/// Between two tries to reach a broker at the start: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long closing waits for what was sent.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Why a log in Kafka cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The topic.
    #[error(transparent)]
    Topic(#[from] Fault),
    /// librdkafka does not take the settings.
    #[error("the settings for Kafka cannot be used: {0}")]
    Client(String),
    /// The copy on this node.
    #[error(transparent)]
    Copy(#[from] embedded::OpenError),
    /// The file beside the copy.
    #[error("the copy of the log: {0}")]
    Offsets(String),
    /// There are segments, and they are no copy of a topic.
    #[error(
        "{0} holds a log of its own, not the copy of a topic: begin in another folder, or go on without \
         'kafka-brokers'"
    )]
    NotACopy(PathBuf),
}

impl From<KafkaError> for OpenError {
    fn from(error: KafkaError) -> Self {
        Self::Client(error.to_string())
    }
}

/// Whether the segments in `folder` are the copy of a topic.
#[must_use]
pub fn is_copy(folder: &Path) -> bool {
    folder.join(offsets::FILE).exists()
}

/// Makes the segments in `folder` the copy of a topic that holds the same records at the same offsets.
///
/// # Errors
/// The file system's.
pub fn become_copy(folder: &Path) -> std::io::Result<()> {
    Offsets::open(folder, Position(0)).map(drop).map_err(|error| std::io::Error::other(error.to_string()))
}

/// Makes a copy of a topic a log of its own.
///
/// # Errors
/// The file system's.
pub fn become_own(folder: &Path) -> std::io::Result<()> {
    std::fs::remove_file(folder.join(offsets::FILE))?;
    std::fs::File::open(folder)?.sync_all()
}

/// A log in Kafka. Its threads end with it.
pub struct KafkaLog {
    settings: Settings,
    segments: Segments,
    shared: Arc<Shared>,
    producer: Arc<Producer>,
    /// Asks for the log's end.
    looker: Arc<Looker>,
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Makes the topic with the settings a log needs, unless it is there.
///
/// # Errors
/// [`OpenError`], also when no broker answers.
pub async fn create_topic(settings: &Settings) -> Result<Created, OpenError> {
    let (settings, runtime) = (settings.clone(), Handle::current());
    blocking(move || {
        let looker = Looker::new(&settings, runtime.clone())?;
        let created = create::create(&looker, &settings, &runtime)?;
        look_patiently(&looker, &settings)?;
        Ok(created)
    })
    .await
}

/// The name of the log in the topic, or `None` if it has none yet. Waits for a broker as long as it takes,
/// telling `waiting` why.
///
/// # Errors
/// [`OpenError`] when the topic cannot be a log.
pub async fn name_of(
    settings: &Settings,
    waiting: impl Fn(&str) + Send + 'static,
) -> Result<Option<Uuid>, OpenError> {
    let (settings, runtime) = (settings.clone(), Handle::current());
    blocking(move || {
        let looker = Looker::new(&settings, runtime.clone())?;
        let mut retry = RETRY.0;
        loop {
            let made = make_sure(&looker, &settings, &runtime);
            let fault = match made.and_then(|seen| looker.first_name(seen.end)) {
                Ok(name) => return Ok(name),
                Err(fault) => fault,
            };
            let Fault::Away(why) = &fault else { return Err(fault.into()) };
            waiting(why);
            tracing::warn!(why, brokers = settings.brokers, "no broker can be asked; it is tried again");
            std::thread::sleep(retry);
            retry = (retry * 2).min(RETRY.1);
        }
    })
    .await
}

/// Begins log `log` in a topic without a name by appending `record`; the name answered is that of whoever came
/// first.
///
/// # Errors
/// [`OpenError`]; the record may have been appended.
pub async fn begin(settings: &Settings, log: Uuid, record: Bytes) -> Result<Uuid, OpenError> {
    let (settings, runtime) = (settings.clone(), Handle::current());
    blocking(move || {
        let producer: BaseProducer<Bulk> =
            BaseProducer::from_config_and_context(&settings.producing(), Bulk::new(&settings))?;
        let first = BaseRecord::<'_, (), [u8]>::to(&settings.topic)
            .partition(look::PARTITION)
            .headers(record::beginning(log))
            .payload(&record);
        producer.send(first).map_err(|(error, _)| error)?;
        if let Err(error) = producer.flush(settings.delivery_wait) {
            return Err(Fault::Away(format!("the log could not be begun: {error}")).into());
        }
        let looker = Looker::new(&settings, runtime)?;
        let seen = look_patiently(&looker, &settings)?;
        let name = looker.first_name(seen.end)?;
        name.ok_or_else(|| {
            Fault::Away("the log could not be begun: its first record is not there".into()).into()
        })
    })
    .await
}

/// Looks at the topic, which is made if it is missing and may be made.
fn make_sure(looker: &Looker, settings: &Settings, runtime: &Handle) -> Result<look::Seen, Fault> {
    match looker.topic() {
        Err(Fault::Missing(_)) if settings.creation == settings::Creation::IfMissing => {
            let created = create::create(looker, settings, runtime)?;
            tracing::info!(?created, topic = settings.topic, "the topic is made");
            look_patiently(looker, settings)
        }
        seen => seen,
    }
}

/// A look just after a change: brokers may need a moment to know of it.
fn look_patiently(looker: &Looker, settings: &Settings) -> Result<look::Seen, Fault> {
    let until = std::time::Instant::now() + settings.delivery_wait;
    loop {
        match looker.topic() {
            Err(Fault::Away(_) | Fault::Missing(_)) if std::time::Instant::now() < until => {
                std::thread::sleep(RETRY.0);
            }
            seen => return seen,
        }
    }
}

impl KafkaLog {
    /// Opens the copy in `folder` of log `log`, and begins to follow the topic. `cursors` are the stored
    /// cursors of the views; if one lies beyond the copy, waits until that is there again.
    ///
    /// # Errors
    /// [`OpenError`]; later troubles are told by [`Log::condition`] and [`Log::stopped`].
    pub async fn open(
        folder: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        log: Uuid,
        cursors: &[Position],
    ) -> Result<(Self, OpenReport), OpenError> {
        let runtime = Handle::current();
        let (folder, opening) = (folder.to_owned(), settings.clone());
        let (copy, offsets) = blocking(move || open_copy(&folder, &opening, log)).await?;
        let (segments, report) = (copy.segments, copy.report);
        let shared = Arc::new(Shared::new(offsets, report.tail));
        let looker = Looker::new(&settings, runtime.clone())?;
        let watch = Watch {
            settings: settings.clone(),
            log: report.log,
            looker: Looker::new(&settings, runtime)?,
            segments: segments.clone(),
            shared: shared.clone(),
        };
        let follower = Follower {
            settings: settings.clone(),
            log: report.log,
            copier: copy.copier,
            segments: segments.clone(),
            shared: shared.clone(),
        };
        let producer = Producer::new(settings.clone(), report.log, shared.clone(), clock.clone())?;
        let ending = || Ending(shared.clone(), segments.clone());
        let threads = vec![
            thread("kymo-kafka-look", ending(), move || watch.run())?,
            thread("kymo-kafka-log", ending(), move || follower.run())?,
        ];
        let opened = Self {
            room: Arc::new(Semaphore::new(settings.queue_bytes.clamp(1, 1 << 30))),
            settings,
            segments,
            shared,
            producer: Arc::new(producer),
            looker: Arc::new(looker),
            clock,
            threads: Mutex::new(threads),
        };
        if let Some(cursor) = cursors.iter().max().filter(|cursor| **cursor > report.tail) {
            tracing::info!(%cursor, tail = %report.tail, "the views are ahead of the copied log, which is fetched again");
            opened.segments.reached(*cursor).await;
            opened.refused()?;
        }
        Ok((opened, report))
    }

    /// Waits until the topic was looked at, and found right or wrong.
    ///
    /// # Errors
    /// [`OpenError::Topic`] when it cannot be the log, or is not the one that was copied.
    pub async fn checked(&self) -> Result<(), OpenError> {
        let mut known = self.shared.known();
        // An error would say that the sender is gone, which `self` holds.
        known.wait_for(|known| known.checked || known.over).await.map(|_| ()).unwrap_or_default();
        self.refused()
    }

    fn refused(&self) -> Result<(), OpenError> {
        match self.shared.refusal() {
            Some(why) => Err(Fault::Refused(why).into()),
            None => Ok(()),
        }
    }

    fn readable(&self) -> Result<(), ReadError> {
        self.shared.refusal().map_or(Ok(()), |why| Err(ReadError::Refused(why)))
    }
}

/// Opens segments and offsets; what is damaged of them is put aside and will be copied again. Blocking.
fn open_copy(folder: &Path, settings: &Settings, log: Uuid) -> Result<(local::Copy, Offsets), OpenError> {
    let begun = embedded::follow::SegmentReader::new(folder, Position(0));
    if folder.is_dir() && !is_copy(folder) && begun.log_id()?.is_some() {
        return Err(OpenError::NotACopy(folder.to_owned()));
    }
    let io = |error: std::io::Error| OpenError::Offsets(error.to_string());
    std::fs::create_dir_all(folder).map_err(io)?;
    if !is_copy(folder) {
        // Before the first segment, so that a crash in between leaves no segments of unknown origin.
        Offsets::open(folder, Position(0)).map_err(|error| OpenError::Offsets(error.to_string()))?;
    }
    let copy = local::open_copy(folder, settings.segment_bytes, log)?;
    match Offsets::open(folder, copy.report.tail) {
        Ok(offsets) => Ok((copy, offsets)),
        Err(error @ OffsetsError::Io(..)) => Err(OpenError::Offsets(error.to_string())),
        Err(OffsetsError::Damaged(path)) => {
            tracing::warn!(path = %path.display(), "the offsets of the copied log are damaged: all is copied again");
            drop(copy);
            local::put_aside(folder, Position(0))?;
            std::fs::write(&path, b"").map_err(io)?;
            let copy = local::open_copy(folder, settings.segment_bytes, log)?;
            let offsets = Offsets::open(folder, copy.report.tail);
            Ok((copy, offsets.map_err(|error| OpenError::Offsets(error.to_string()))?))
        }
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn append(&self, record: Bytes) -> Result<Appending, AppendError> {
        let (length_bytes, limit_bytes) = (record.len(), self.settings.record_limit_bytes);
        if length_bytes > limit_bytes {
            return Err(AppendError::TooLarge { length_bytes, limit_bytes });
        }
        // A small record takes some room too, so that their number is bounded.
        const LEAST_BYTES: usize = 1024;
        let share = length_bytes.clamp(LEAST_BYTES, self.settings.queue_bytes.clamp(LEAST_BYTES, 1 << 30));
        let share = u32::try_from(share).expect("the queue is bounded to 1 GiB");
        let room = self.room.clone().acquire_many_owned(share);
        let room = tokio::time::timeout(self.settings.queue_wait, room).await;
        let room = room.map_err(|_| AppendError::Busy)?.expect("the queue's room is never closed");
        // Until then nobody knows whether this log takes events at all.
        let mut known = self.shared.known();
        let started = known.wait_for(|known| known.started || known.over);
        if tokio::time::timeout(self.settings.queue_wait, started).await.is_err() {
            return Err(AppendError::Stopped("the log is not read to its end yet".to_owned()));
        }
        if let Some(why) = self.shared.stopped().or_else(|| self.shared.partly()) {
            return Err(AppendError::Stopped(why));
        }
        let (reply, outcome) = oneshot::channel();
        let (sent, known) = (self.clock.now(), self.shared.next_offset());
        let delivery = Delivery { reply, sent, known, length_bytes, limit_bytes, _room: room };
        self.producer.send(&record, Box::new(delivery))?;
        metrics::counter!("kymo_log_appends_total").increment(1);
        metrics::counter!("kymo_log_appended_bytes_total").increment(length_bytes as u64);
        Ok(Box::pin(async move {
            outcome.await.unwrap_or_else(|_| Err(AppendError::Unknown("the log has ended".to_owned())))
        }))
    }

    async fn get(&self, position: Position) -> Result<Record, ReadError> {
        self.readable()?;
        self.segments.get(position).await
    }

    fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>> {
        if let Err(error) = self.readable() {
            return stream::once(async move { Err(error) }).boxed();
        }
        let shared = self.shared.clone();
        let end = stream::once(async move { shared.refusal() });
        let end = end.filter_map(async |why| why.map(|why| Err(ReadError::Refused(why))));
        self.segments.read(from).chain(end).boxed()
    }

    fn read_batch(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        self.readable()?;
        self.segments.batch(from, to, limit_bytes)
    }

    fn tail(&self) -> Position {
        self.segments.tail()
    }

    fn start_end(&self, _: Position) -> Option<Position> {
        self.shared.start_end()
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.readable()?;
        let looker = self.looker.clone();
        let ends = spawn_blocking(move || looker.ends()).await;
        let (_, end) = ends
            .map_err(|error| ReadError::Io(error.to_string()))?
            .map_err(|fault| ReadError::Away(fault.to_string()))?;
        Ok(self.shared.position_before(end))
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }

    fn stopped(&self) -> Option<String> {
        self.shared.stopped()
    }

    async fn close(&self) {
        self.shared.close();
        let (producer, shared) = (self.producer.clone(), self.shared.clone());
        let finished = spawn_blocking(move || {
            producer.flush(CLOSE_WITHIN);
            shared.wait_answered(CLOSE_WITHIN);
            shared.end();
        });
        if finished.await.is_err() {
            self.shared.end();
        }
        self.segments.closed().await;
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log in Kafka has panicked");
            }
        }
    }
}

/// Ends the log if a thread ends by a panic, so that nobody waits for it.
struct Ending(Arc<Shared>, Segments);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.refuse("a thread of the log has panicked".to_owned());
            self.1.close();
        }
    }
}

fn thread(
    name: &str,
    ending: Ending,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let work = move || {
        let _ending = ending;
        work();
    };
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| OpenError::Client(format!("a thread cannot start: {error}")))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(OpenError::Client(error.to_string())))
}
