//! Opening the log: in this node's own files, or in a Kafka topic of which it keeps a copy.
//!
//! Invariant: the log's name is known before any table is opened: a table belongs to one log.
//! Invariant: a log is begun only where no file says that there was one.
//! Elsewhere: the logs themselves (`log`), what is opened over them (`app`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Folders, StartError, any_instance};
use crate::archive::Archive;
use crate::base::{Clock, Ids, Partition, Position};
use crate::blob::Blobs;
use crate::config::Config;
use crate::event::codec::{self, Sections};
use crate::event::{Actor, Head, Payload};
use crate::log::Log;
use crate::log::embedded::follow::SegmentReader;
use crate::log::embedded::{EmbeddedLog, OpenReport};
use crate::log::kafka::{self, KafkaLog};

/// How long a start waits for a broker before it goes on with what this node has.
const CHECK_WITHIN: Duration = Duration::from_secs(10);

/// Whoever wants to know why a start waits.
pub type Waiting = Arc<dyn Fn(&str) + Send + Sync>;

/// Who opens.
pub(super) struct Opener<'a> {
    pub(super) config: &'a Config,
    pub(super) folders: &'a Folders,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) ids: &'a Ids,
    pub(super) node: Uuid,
    pub(super) blobs: &'a Blobs,
    /// Told why a start waits.
    pub(super) waiting: Waiting,
}

/// The name of the log.
pub(super) struct Name {
    pub(super) log: Uuid,
    /// Whether there is anything of it on this node.
    pub(super) here: bool,
}

impl Opener<'_> {
    /// The log's name; begins a log in an empty topic.
    pub(super) async fn name(&self) -> Result<Name, StartError> {
        let folder = self.folders.log();
        let here = match folder.is_dir() {
            true => SegmentReader::new(&folder, Position(0)).log_id()?,
            false => None,
        };
        if let Some(log) = here {
            return match (&self.config.kafka, kafka::is_copy(&folder)) {
                (None, true) => Err(StartError::CopyOfTopic(folder)),
                (Some(_), false) => Err(kafka::OpenError::NotACopy(folder).into()),
                (None, false) | (Some(_), true) => Ok(Name { log, here: true }),
            };
        }
        let new = self.ids.next(self.clock.now());
        let Some(settings) = &self.config.kafka else {
            self.no_files(folder).await?;
            return Ok(Name { log: new, here: false });
        };
        let waiting = Arc::clone(&self.waiting);
        let log = match kafka::name_of(settings, move |why| waiting(why)).await? {
            Some(log) => log,
            None => {
                self.no_files(PathBuf::from(format!("the topic '{}'", settings.topic))).await?;
                kafka::begin(settings, new, self.beginning(new)?).await?
            }
        };
        Ok(Name { log, here: false })
    }

    async fn no_files(&self, log: PathBuf) -> Result<(), StartError> {
        match any_instance(self.blobs, &self.config.lake).await? {
            Some(file) => Err(StartError::NoLog { log, file }),
            None => Ok(()),
        }
    }

    /// The event that names a log.
    fn beginning(&self, log: Uuid) -> Result<bytes::Bytes, StartError> {
        let now = self.clock.now();
        let head = Head {
            id: self.ids.next(now),
            node: self.node,
            valid_until: now.plus(self.config.archive.validity),
            request_id: String::new(),
            trace_id: None,
            actor: Actor::System,
            cause: None,
            partition: Partition::default(),
            payload: Payload::LogCreated { log },
        };
        codec::encode(&head, &Sections::default())
            .map_err(|error| StartError::Begin(crate::archive::SubmitError::Unavailable(error.to_string())))
    }

    /// The log named `name`, from which nothing that `cursors` have passed is missing.
    pub(super) async fn open(
        &self,
        name: Uuid,
        cursors: &[Position],
    ) -> Result<(Arc<dyn Log>, OpenReport), StartError> {
        let folder = self.folders.log();
        let Some(settings) = &self.config.kafka else {
            let clock = Arc::clone(self.clock);
            let (log, report) = EmbeddedLog::open(&folder, self.config.log, clock, name, cursors)?;
            return Ok((Arc::new(log), report));
        };
        let clock = Arc::clone(self.clock);
        let (log, report) = KafkaLog::open(&folder, settings.clone(), clock, name, cursors).await?;
        match tokio::time::timeout(CHECK_WITHIN, log.checked()).await {
            Ok(checked) => checked?,
            Err(_) => {
                tracing::warn!("the start goes on without a broker, with what this node has of the log")
            }
        }
        Ok((Arc::new(log), report))
    }

    /// Sees to what every log begins with. Where other nodes may have done so, the log is read first: at once
    /// if it is new, else while the archive serves.
    pub(super) async fn begin(&self, archive: &Archive, report: &OpenReport) -> Result<(), StartError> {
        let log = report.log;
        if self.config.kafka.is_none() {
            if report.tail < Position(2) {
                archive.begin_log(log).await?;
            }
            return Ok(());
        }
        let archive = archive.clone();
        let new = archive.up_to_date().is_ok() || archive.start_tail() < Position(2);
        let beginning = async move {
            while let Err(error) = archive.up_to_date() {
                if archive.stopped().is_some() {
                    return Err(error.into());
                }
                let mut head = archive.head_position();
                drop(tokio::time::timeout(Duration::from_secs(1), head.changed()).await);
            }
            archive.begin_log(log).await.map_err(StartError::from)
        };
        if new {
            return beginning.await;
        }
        tokio::spawn(async move {
            if let Err(error) = beginning.await {
                tracing::warn!(%error, "what a log begins with could not be looked for");
            }
        });
        Ok(())
    }
}
