//! Builds the rooms and hands them to each other; the one file that knows them all.
//!
//! In the data folder: `log/` and `lake/` (or what `--blobs` names instead) are the archive and all that a
//! backup needs; `archive/` and `views/` are made from them; `bodies/` has copies of large sections of
//! events; `staging/` holds uploads that are still running; `lock` keeps a second
//! process out, `node` names this node.
//! Invariant: nothing is served before the log is open; nothing is answered before the fold has caught up.
//! Elsewhere: what the rooms do; how the log is opened (`opening`), how health is told (`watching`); the command line (`main`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::archive::{self, Archive, ReadError, SubmitError};
use crate::base::{Clock, Ids, Partition, Position, Stamp, SystemClock};
use crate::blob::{self, Blobs, Lake, Location};
use crate::codecs::Codecs;
use crate::config::{self, Config, Keep};
use crate::event::Commit;
use crate::http;
use crate::log::{self, Log, embedded, kafka};
use crate::ops::health::Health;
use crate::ops::metrics;
use crate::projections::CommitSource;
use crate::projections::runner::State;
use crate::projections::search::Search;
use crate::tables::{self, Table};
use crate::workers::{self, sweep};

pub use opening::Waiting;
use opening::{Name, Opener};

pub mod agree;
pub mod moving;
mod opening;
mod watching;

/// Between two looks at how far a node is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why an archive does not start. Nothing was lost; the text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has it.
    #[error("the archive in {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// There are files, and no log that says what they are.
    #[error(
        "{log} holds no log, but the blob store holds {file}: put the log back, or begin a new archive in another \
         folder"
    )]
    NoLog {
        /// Where the log should be.
        log: PathBuf,
        /// One of the files.
        file: String,
    },
    /// The file system failed.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] embedded::OpenError),
    /// The log in Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::OpenError),
    /// The log lies elsewhere, and this is what a node keeps of it.
    #[error("{0} holds the copy of a Kafka topic: name the brokers with 'kafka-brokers'")]
    CopyOfTopic(PathBuf),
    /// The log is to be moved to or from brokers that nobody named.
    #[error("name the brokers with 'kafka-brokers'")]
    NoBrokers,
    /// The log refuses to be read.
    #[error(transparent)]
    Unread(#[from] log::ReadError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// A table that can neither be opened nor begun again.
    #[error(transparent)]
    Table(#[from] tables::Error),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// The beginning of the log could not be written.
    #[error(transparent)]
    Begin(#[from] SubmitError),
    /// The search view.
    #[error("the search view gets no threads: {0}")]
    Search(std::io::Error),
    /// There are studies that could not be reached.
    #[error(
        "the setting 'partitions' is off, but the archive has {0} data partitions, and only \
         '{default}' could be reached: switch it on",
        default = Partition::DEFAULT_NAME
    )]
    PartitionsOff(u64),
}

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Folders(PathBuf);

impl Folders {
    /// The folders below `data`.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self(data.to_owned())
    }

    /// Segment files of the log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Files of the instances.
    #[must_use]
    pub fn lake(&self) -> PathBuf {
        self.0.join("lake")
    }

    /// The fold's state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.join("archive")
    }

    /// The views.
    #[must_use]
    pub fn views(&self) -> PathBuf {
        self.0.join("views")
    }

    /// Where the address for commands is written while the archive runs.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        self.0.join("admin")
    }
}

/// An open archive with its views.
pub struct Node {
    /// What is true.
    pub archive: Archive,
    /// What is found.
    pub search: Search,
    /// What works on pixels.
    pub codecs: Codecs,
    /// The log under it.
    pub log: Arc<dyn Log>,
    /// What was found when the log was opened.
    pub report: embedded::OpenReport,
    /// How it is.
    pub health: Health,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    _lock: File,
}

impl Node {
    /// Opens the archive in the folder of `config`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        Self::open_telling(config, Arc::new(|_| ())).await
    }

    /// The same, telling `waiting` why it takes long, if it does.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn open_telling(config: &Config, waiting: Waiting) -> Result<Self, StartError> {
        let folders = Folders::of(&config.data);
        let lock = lock(&config.data)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids = Arc::new(Ids::from_os());
        let node = node_id(&config.data, ids.next(clock.now()))?;
        let blobs = Blobs::open(&blob_settings(config, node))?;
        let opener =
            Opener { config, folders: &folders, clock: &clock, ids: &ids, node, blobs: &blobs, waiting };
        let Name { log: name, here } = opener.name().await?;
        // The state is opened first: its cursor says how far the log must reach.
        let (state, why) =
            Table::open_or_begin_again(&folders.state(), archive::state::FORMAT, name, config.tables)?;
        let cursors = [state.cursor()?];
        if let Some(why) = why {
            tracing::warn!(%why, "the archive's state is thrown away and folded again from the log");
        } else if here && cursors == [Position(0)] {
            tracing::warn!("the archive's state is not there or empty, and is folded again from the log");
        }
        let (log, report) = opener.open(name, &cursors).await?;
        let archive = Archive::open(archive::Parts {
            log: Arc::clone(&log),
            blobs: blobs.clone(),
            lake: config.lake.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            node,
            state,
            settings: archive_settings(config),
        })?;
        opener.begin(&archive, &report).await?;
        let source = Arc::new(Commits(archive.clone()));
        let search =
            Search::open_within(&folders.views(), report.log, config.tables, config.search_time, source)
                .map_err(StartError::Search)?;
        let found = search.found().await;
        match found.0.checked_sub(1).map(Position).filter(|_| found > report.tail) {
            None => {}
            Some(_) if config.kafka.is_none() => {
                return Err(embedded::OpenError::CursorBeyondEnd { cursor: found, tail: report.tail }.into());
            }
            // What is missing here of the copy is fetched again.
            Some(last) => archive.reached(last, Duration::MAX).await?,
        }
        let health = Health::new(Arc::clone(&clock));
        let codecs = Codecs::new(config.codecs.clone());
        Ok(Self { archive, search, codecs, log, report, health, ids, clock, _lock: lock })
    }

    /// Waits until the fold and every view have passed all that the log held when it was opened.
    ///
    /// # Errors
    /// The fold or a view has stopped.
    pub async fn caught_up(&self, mut progress: impl FnMut(Position, Position)) -> Result<(), ReadError> {
        loop {
            let wanted = self.archive.start_tail();
            let known = !matches!(self.archive.up_to_date(), Err(ReadError::EndUnknown));
            match self.archive.ready() {
                Ok(()) | Err(ReadError::Behind { .. } | ReadError::EndUnknown) => {}
                Err(error) => return Err(error),
            }
            let view = self.search.status().rows;
            let reached = view.next.min(self.archive.progress().next);
            progress(reached, wanted);
            if known && reached >= wanted {
                return Ok(());
            }
            if let State::Failed { why } = view.state {
                return Err(ReadError::Stopped(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the settings go with the partitions there are, as far as the log was folded.
    ///
    /// # Errors
    /// [`StartError::PartitionsOff`]
    pub fn partitions_fit(&self, settings: &http::Settings) -> Result<(), StartError> {
        let count = self.archive.partition_count()?;
        if !settings.partitions && count > 1 { Err(StartError::PartitionsOff(count)) } else { Ok(()) }
    }

    /// The same once the fold has reached the log's end of the start, or before that if they do not.
    ///
    /// # Errors
    /// [`StartError::PartitionsOff`]
    pub async fn partitions_fit_at_last(&self, settings: &http::Settings) -> Result<(), StartError> {
        let mut head = self.archive.head_position();
        loop {
            let all = self.archive.up_to_date().is_ok();
            self.partitions_fit(settings)?;
            if all {
                return Ok(());
            }
            // The end may become known without anything to fold.
            drop(tokio::time::timeout(LOOK_EVERY, head.changed()).await);
        }
    }

    /// What the public router needs.
    #[must_use]
    pub fn http(&self, settings: http::Settings, metrics: metrics::Metrics) -> http::App {
        let (archive, search) = (self.archive.clone(), self.search.clone());
        http::App::new(archive, search, self.codecs.clone(), self.health.clone(), Some(metrics), settings)
    }

    /// Starts what works in the background until `stop`.
    pub fn start_workers(&self, config: &Config, metrics: metrics::Metrics, stop: &CancellationToken) {
        tokio::spawn(watching::file_away(metrics, stop.clone()));
        let source = Arc::new(Sweeping(self.archive.clone()));
        let (blobs, lake) = (self.archive.blobs().clone(), self.archive.lake().clone());
        if let Keep::For(retention) = config.keep_released {
            let (source, blobs) = (Arc::clone(&source), blobs.clone());
            tokio::spawn(workers::every("sweep", config.sweep_every, stop.clone(), move || {
                let (source, blobs) = (Arc::clone(&source), blobs.clone());
                async move {
                    let swept = sweep::sweep_released(&*source, &blobs, retention).await?;
                    metrics::blobs_removed(swept.removed);
                    Ok::<_, sweep::Error>(())
                }
            }));
        }
        let probed = (blobs.clone(), lake.clone());
        let clock = Arc::clone(&self.clock);
        tokio::spawn(workers::every(
            "sweep of unnamed files",
            sweep::UNNAMED_EVERY,
            stop.clone(),
            move || {
                let (source, blobs, lake) = (Arc::clone(&source), blobs.clone(), lake.clone());
                let now = clock.now();
                async move {
                    blobs.abort_abandoned().await?;
                    let swept = sweep::sweep_unnamed(&*source, &blobs, &lake, now).await?;
                    metrics::blobs_removed(swept.removed);
                    Ok::<_, sweep::Error>(())
                }
            },
        ));
        let (ids, clock) = (Arc::clone(&self.ids), Arc::clone(&self.clock));
        let (health, stopped) = (self.health.clone(), stop.clone());
        tokio::spawn(async move {
            let (blobs, lake) = probed;
            workers::health::watch(blobs, lake, ids, clock, stopped, |found| {
                watching::report_blobs(&health, found)
            })
            .await;
        });
        tokio::spawn(watching::observe(
            self.archive.clone(),
            self.search.clone(),
            self.codecs.clone(),
            Arc::clone(&self.log),
            self.health.clone(),
            stop.clone(),
        ));
    }

    /// Finishes what runs and makes everything durable.
    pub async fn close(self) {
        self.codecs.stop().await;
        self.log.close().await;
        let search = self.search.clone();
        drop(tokio::task::spawn_blocking(move || search.close()).await);
        if let Err(error) = self.archive.flush() {
            tracing::error!(%error, "the state could not be flushed; it will be folded again where needed");
        }
    }
}

/// The archive's commits, for the views.
pub struct Commits(pub Archive);

impl CommitSource for Commits {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        self.0.commits(from).map_err(|error| error.to_string())
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.0.head_position()
    }
}

/// The archive as the sweep asks it.
struct Sweeping(Archive);

#[async_trait]
impl sweep::SweepSource for Sweeping {
    async fn released(&self, before: Stamp, limit: usize) -> Result<Vec<String>, String> {
        self.0.released(before, limit).map_err(|error| error.to_string())
    }

    async fn names(&self, key: &str) -> Result<bool, String> {
        self.0.keeps_blob(key).map_err(|error| error.to_string())
    }

    async fn remove_blobs(&self, keys: Vec<String>) -> Result<Vec<String>, String> {
        self.0.remove_blobs(keys).await.map_err(|error| error.to_string())
    }

    async fn mark_time(&self) -> Result<Stamp, String> {
        self.0.mark_time().await.map_err(|error| error.to_string())
    }
}

fn archive_settings(config: &Config) -> archive::Settings {
    archive::Settings { bodies: Some(config.data.join("bodies")), ..config.archive.clone() }
}

/// In a folder that nodes share, each has a staging folder of its own, since files are linked from there.
fn blob_settings(config: &Config, node: Uuid) -> blob::Settings {
    let (location, staging) = match &config.blobs.location {
        None => (Location::Folder(Folders::of(&config.data).lake()), config.data.join("staging")),
        Some(Location::Folder(root)) => {
            let staging = root.join(".staging").join(node.to_string());
            (Location::Folder(root.clone()), staging)
        }
        Some(far) => (far.clone(), config.data.join("staging")),
    };
    let config::Blobs { reach, etag, cache, .. } = config.blobs.clone();
    let environment = blob::Environment::of_process();
    blob::Settings { location, staging, reach, environment, etag, cache }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> StartError + '_ {
    |error| StartError::Io { path: path.to_owned(), error }
}

/// The name of a stored file, if there is any. A log is durable before the first of them, so none may be there
/// without one; a new log would have them all swept away.
async fn any_instance(blobs: &Blobs, lake: &Lake) -> Result<Option<String>, blob::Error> {
    let mut files = blobs.list(&lake.prefix());
    while let Some((key, _)) = files.next().await.transpose()? {
        if Lake::version_of(&key).is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Keeps every other process out of the folder for as long as the file lives.
fn lock(data: &Path) -> Result<File, StartError> {
    std::fs::create_dir_all(data).map_err(io(data))?;
    let path = data.join("lock");
    let file = File::options().create(true).append(true).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse(data.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(StartError::Io { path, error }),
    }
}

/// The node's name, made once.
fn node_id(data: &Path, new: Uuid) -> Result<Uuid, StartError> {
    let path = data.join("node");
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(id) = text.trim().parse()
    {
        return Ok(id);
    }
    std::fs::write(&path, format!("{new}\n")).map_err(io(&path))?;
    Ok(new)
}

/// A fold of the whole log from its first record, in memory: what the state must be.
///
/// # Errors
/// The log cannot be read or folded.
pub fn scratch(log: Arc<dyn Log>, config: &Config) -> Result<Archive, ReadError> {
    Archive::open(archive::Parts {
        log,
        blobs: Blobs::in_memory(),
        lake: config.lake.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(Ids::from_os()),
        node: Uuid::nil(),
        state: Table::memory(),
        settings: archive_settings(config),
    })
}
