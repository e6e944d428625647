//! An archive in a test: over stores in memory or on any ground, with faults on order.
//!
//! Reads like what a user does: store, upsert, delete, look at the feed; and like what the world does to
//! it: crash, restart, lose every view. A crash on disk is played as kill -9 leaves things: the folders are
//! copied as they lie while everything is still open, and the copy is opened.
//!
//! Invariant: a stepped clock and seeded ids, so the same calls give the same log.
//! Elsewhere: files to store (`dicom`), what must hold (`model`, `simulation`, `crash`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use kymo::archive::state::FORMAT;
use kymo::archive::{Archive, Asking, FeedRow, Ingest, LiveInstance, Parts, Settings, Stored, SubmitError};
use kymo::base::{Ids, Partition, Position, Stamp, SteppedClock};
use kymo::blob::faulty::{Faulty, PutFault};
use kymo::blob::{Blobs, Lake};
use kymo::dicom::uid::Uid;
use kymo::dicom::validate::Rules;
use kymo::event::{Actor, Commit, Outcome, Scope, StoreMode};
use kymo::log::Log;
use kymo::log::embedded::{self, EmbeddedLog};
use kymo::log::faulty::{Fault, FaultyLog, Plan};
use kymo::log::kafka::settings::Creation;
use kymo::log::kafka::{self, KafkaLog};
use kymo::log::memory::MemoryLog;
use kymo::projections::CommitSource;
use kymo::projections::search::Search;
use kymo::tables::{Engine, Keeping, Table};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::ground::Ground;

/// 2025-02-11T08:15:30Z.
pub(crate) const START: Stamp = Stamp(17_392_617_300_000_000);
pub(crate) const LOG: Uuid = Uuid::from_u128(0x0195_0000_0000_7000_8000_0000_0000_0001);
/// Longer than any machine takes for what a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const KEEPING: Keeping = Keeping { engine: Engine::Fjall, cache_bytes: 4 << 20 };

/// What an archive of a test stands on.
#[derive(Clone)]
pub(crate) enum Stores {
    Memory,
    /// What is this node's own lies in a temporary folder.
    On(Arc<Ground>),
}

/// A log that can be told to fail.
trait Failing: Log {
    fn fail_next(&self, fault: Fault);
}

impl<L: Log> Failing for FaultyLog<L> {
    fn fail_next(&self, fault: Fault) {
        FaultyLog::fail_next(self, fault);
    }
}

enum Standing {
    Memory { log: Arc<FaultyLog<MemoryLog>>, lake: Arc<Faulty> },
    Disk { log: Arc<dyn Failing>, folder: TempDir, ground: Arc<Ground> },
}

/// What a restart finds of what can be made again from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All of it, as it was.
    Everything,
    Nothing,
    /// Nothing in this folder, all in the others.
    AllBut(&'static str),
    /// All of it, the files in this folder overwritten from the middle on.
    Damaged(&'static str),
}

/// The folders of what can be made again: the fold's state, and the views.
pub(crate) const MADE_AGAIN: [&str; 2] = ["state", "views"];

pub(crate) struct TestArchive {
    standing: Standing,
    clock: Arc<SteppedClock>,
    ids: Arc<Ids>,
    boots: u32,
    archive: Archive,
    search: Option<Search>,
}

impl TestArchive {
    /// Memory log, memory blobs, every view.
    pub(crate) async fn start() -> Self {
        Self::with(Stores::Memory, true).await
    }

    pub(crate) async fn with(stores: Stores, searching: bool) -> Self {
        let clock = Arc::new(SteppedClock::at(START));
        let standing = match stores {
            Stores::Memory => {
                let log = MemoryLog::new(clock.clone());
                let log = Arc::new(FaultyLog::new(log, Plan::default()));
                Standing::Memory { log, lake: Faulty::new() }
            }
            Stores::On(ground) => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let log = open_log(&ground, &boot_folder(folder.path(), 0), &clock).await;
                Standing::Disk { log, folder, ground }
            }
        };
        let ids = Arc::new(Ids::seeded(7));
        let (archive, search) = boot(&standing, 0, &clock, &ids, searching, Found::Nothing);
        archive.begin_log(LOG).await.expect("a new log takes its beginning");
        let started = Self { standing, clock, ids, boots: 0, archive, search };
        started.settle().await;
        started
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    pub(crate) fn clock(&self) -> &SteppedClock {
        &self.clock
    }

    fn log(&self) -> &dyn Log {
        match &self.standing {
            Standing::Memory { log, .. } => &**log,
            Standing::Disk { log, .. } => &**log,
        }
    }

    pub(crate) fn tail(&self) -> Position {
        self.log().tail()
    }

    /// POST of these files in one request.
    pub(crate) async fn store(&self, files: &[Vec<u8>]) -> Result<Stored, SubmitError> {
        self.receive(StoreMode::Create, files).await?.commit().await
    }

    /// PUT of these files in one request.
    pub(crate) async fn upsert(&self, files: &[Vec<u8>]) -> Result<Stored, SubmitError> {
        self.receive(StoreMode::Upsert, files).await?.commit().await
    }

    /// The body of a request up to its end, nothing of it done yet.
    pub(crate) async fn receive(&self, mode: StoreMode, files: &[Vec<u8>]) -> Result<Ingest, SubmitError> {
        receive(&self.archive, mode, files).await
    }

    pub(crate) async fn delete(&self, scope: Scope) -> Result<(Option<Position>, Outcome), SubmitError> {
        self.archive.delete(&asking(), scope).await
    }

    /// Waits until fold and views have passed all that the log holds.
    pub(crate) async fn settle(&self) {
        let end = self.log().end().await.expect("the log's end can be asked for");
        let Some(last) = end.0.checked_sub(1).map(Position) else { return };
        self.archive.reached(last, PATIENCE).await.expect("the fold reaches the log's end");
        if let Some(search) = &self.search {
            search.reached(last, PATIENCE).await.expect("the view reaches the log's end");
        }
    }

    pub(crate) fn feed(&self) -> Vec<FeedRow> {
        feed(&self.archive)
    }

    pub(crate) fn live(&self) -> Vec<LiveInstance> {
        live(&self.archive)
    }

    pub(crate) async fn metadata(&self, live: &LiveInstance) -> serde_json::Value {
        metadata(&self.archive, live).await
    }

    pub(crate) async fn file(&self, live: &LiveInstance) -> Vec<u8> {
        file(&self.archive, live).await
    }

    /// Everything that is made from the log, by name, to compare with what is made again. A view that comes
    /// to be is one more line here.
    pub(crate) fn views(&self) -> Vec<(&'static str, Vec<String>)> {
        let state = self.archive.dump().expect("the state can be read");
        let mut views = vec![("archive", state), ("commits", self.commits())];
        if let Some(search) = &self.search {
            let dump = search.dump().expect("the view can be read");
            views.push(("search", dump.lines().map(ToOwned::to_owned).collect()));
        }
        views
    }

    /// What views are given, page by page.
    fn commits(&self) -> Vec<String> {
        let (mut next, mut lines) = (Position(0), Vec::new());
        loop {
            let page = self.archive.commits(next).expect("commits can be had");
            let Some(last) = page.last() else { return lines };
            next = last.position.next();
            for commit in page {
                let Commit { position, time, event, .. } = &*commit;
                let id = event.as_ref().map(|event| event.head.id);
                lines.push(format!("{position} {time} {id:?} {:?}", commit.changes()));
            }
        }
    }

    /// The next append meets a fault.
    pub(crate) fn fail_next_append(&self, fault: Fault) {
        match &self.standing {
            Standing::Memory { log, .. } => log.fail_next(fault),
            Standing::Disk { log, .. } => log.fail_next(fault),
        }
    }

    /// The next file to be made durable meets a fault; only in memory can that be ordered.
    pub(crate) fn fail_next_put(&self, fault: PutFault) {
        if let Standing::Memory { lake, .. } = &self.standing {
            lake.plan_puts([fault]);
        }
    }

    /// The lake of an archive in memory, to do to it what its owner might.
    pub(crate) fn lake(&self) -> &Faulty {
        match &self.standing {
            Standing::Memory { lake, .. } => lake,
            Standing::Disk { .. } => panic!("its lake is a folder"),
        }
    }

    /// The process ends in the middle of whatever it does, and another one starts.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.boot_again(Found::Everything).await;
    }

    /// Everything but log and files is lost; what a start makes of that.
    pub(crate) async fn rebuild(&mut self) {
        self.boot_again(Found::Nothing).await;
    }

    /// A restart that finds so much.
    pub(crate) async fn boot_again(&mut self, found: Found) {
        let from = self.boots;
        self.boots += 1;
        let standing = match &self.standing {
            Standing::Memory { log, lake } => {
                lake.crash().await;
                let log = Arc::new(FaultyLog::new(log.inner().reopened(), Plan::default()));
                Standing::Memory { log, lake: lake.clone() }
            }
            Standing::Disk { folder, ground, .. } => {
                let root = folder.path();
                let (old, new) = (boot_folder(root, from), boot_folder(root, self.boots));
                // The copy of a topic can be had again, too.
                if found != Found::Nothing || ground.topic().is_none() {
                    copy_folder(&old.join("log"), &new.join("log"));
                }
                for part in MADE_AGAIN {
                    if found != Found::Nothing && found != Found::AllBut(part) {
                        copy_folder(&old.join(part), &new.join(part));
                    }
                    if found == Found::Damaged(part) {
                        damage(&new.join(part));
                    }
                }
                let log = open_log(ground, &new, &self.clock).await;
                self.opened_again(log)
            }
        };
        if let Some(search) = &self.search {
            search.close();
        }
        let searching = self.search.is_some();
        let (archive, search) = boot(&standing, self.boots, &self.clock, &self.ids, searching, found);
        (self.standing, self.archive, self.search) = (standing, archive, search);
        self.settle().await;
    }

    /// The same folder with another log in it; what it was is of no use any more.
    fn opened_again(&mut self, log: Arc<dyn Failing>) -> Standing {
        let Standing::Disk { folder, ground, .. } = &mut self.standing else { panic!("it stands on disk") };
        let empty = tempfile::tempdir().expect("a temporary folder");
        Standing::Disk { log, folder: std::mem::replace(folder, empty), ground: ground.clone() }
    }
}

/// The settings of tests: waits as long as the slowest machine may need.
pub(crate) fn settings() -> Settings {
    Settings { outcome_wait: PATIENCE, headers_wait: PATIENCE, ..Settings::default() }
}

pub(crate) fn lake() -> Lake {
    Lake { workspace: "test".to_owned(), service: "kymo".to_owned() }
}

pub(crate) fn asking() -> Asking {
    asking_in(Partition::default())
}

pub(crate) fn asking_in(partition: Partition) -> Asking {
    Asking { request_id: "a-test".to_owned(), trace_id: None, actor: Actor::Anonymous, partition }
}

/// The whole feed, oldest row first.
pub(crate) fn feed(archive: &Archive) -> Vec<FeedRow> {
    archive.feed_window(0, u64::MAX).expect("the feed can be read")
}

/// Every live instance that the feed knows of, in the order of partition and key.
pub(crate) fn live(archive: &Archive) -> Vec<LiveInstance> {
    let rows = feed(archive).into_iter().map(|row| (row.change.partition, row.change.key.study));
    let mut live = Vec::new();
    for (partition, study) in rows.collect::<BTreeSet<(Partition, Uid)>>() {
        let scope = Scope { study, series: None, instance: None };
        let found = archive.instances(&partition, &scope, None, usize::MAX);
        live.extend(found.expect("the state can be read"));
    }
    live
}

pub(crate) async fn metadata(archive: &Archive, live: &LiveInstance) -> serde_json::Value {
    let json = archive.metadata(live.position).await.expect("the metadata is there");
    serde_json::from_slice(&json).expect("the metadata is JSON")
}

/// The whole file as it is given out.
pub(crate) async fn file(archive: &Archive, live: &LiveInstance) -> Vec<u8> {
    let file = archive.file(live).await.expect("the event is there");
    let pieces = archive.blobs().read(&file, 0..file.length_bytes).await.expect("the file is there");
    let whole: BytesMut = pieces.try_collect().await.expect("the file is what was stored");
    whole.to_vec()
}

/// The body of a store request up to its end.
pub(crate) async fn receive(
    archive: &Archive,
    mode: StoreMode,
    files: &[Vec<u8>],
) -> Result<Ingest, SubmitError> {
    receive_for(archive, asking(), mode, files).await
}

/// A store request as its routes make it: the partition comes to be before all else.
pub(crate) async fn store_in(
    archive: &Archive,
    partition: Partition,
    mode: StoreMode,
    expires_after_ms: Option<u64>,
    files: &[Vec<u8>],
) -> Result<Stored, SubmitError> {
    let asking = asking_in(partition);
    archive.create_partition(&asking).await?;
    receive_for(archive, asking, mode, files).await?.expiring(expires_after_ms).commit().await
}

async fn receive_for(
    archive: &Archive,
    asking: Asking,
    mode: StoreMode,
    files: &[Vec<u8>],
) -> Result<Ingest, SubmitError> {
    const PIECE_BYTES: usize = 50_000;
    let mut ingest = archive.ingest(asking, mode, Rules::V2, None);
    for file in files {
        ingest.part().await?;
        for piece in file.chunks(PIECE_BYTES) {
            ingest.write(Bytes::copy_from_slice(piece)).await?;
        }
        ingest.end_part().await?;
    }
    Ok(ingest)
}

fn boot(
    standing: &Standing,
    boot: u32,
    clock: &Arc<SteppedClock>,
    ids: &Arc<Ids>,
    searching: bool,
    found: Found,
) -> (Archive, Option<Search>) {
    let (log, blobs, state, views): (Arc<dyn Log>, _, _, _) = match standing {
        Standing::Memory { log, lake } => (log.clone(), Blobs::over(lake.clone()), Table::memory(), None),
        Standing::Disk { log, folder, ground } => {
            let root = folder.path();
            let blobs = match ground.far() {
                Some(far) => far.blobs(&root.join("staging")),
                None => Blobs::open_local(&root.join("lake"), &root.join("staging")).expect("a lake"),
            };
            let here = boot_folder(root, boot);
            let (state, why) = Table::open_or_begin_again(&here.join("state"), FORMAT, LOG, KEEPING)
                .expect("a state can be begun");
            let damaged = found == Found::Damaged("state");
            assert_eq!(why.is_some(), damaged, "what a crash leaves of the state can be opened: {why:?}");
            (log.clone(), blobs, state, Some(here.join("views")))
        }
    };
    let (clock, ids) = (clock.clone(), ids.clone());
    let (lake, settings) = (lake(), settings());
    let parts = Parts { log, blobs, lake, clock, ids, node: Uuid::from_u128(1), state, settings };
    let archive = Archive::open(parts).expect("the archive opens");
    let search = searching.then(|| {
        let source = Arc::new(Commits(archive.clone()));
        match views {
            None => Search::in_memory(source),
            Some(folder) => Search::open(&folder, LOG, KEEPING, source),
        }
        .expect("the view opens")
    });
    (archive, search)
}

/// The commits of an archive, for its views.
struct Commits(Archive);

impl CommitSource for Commits {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        self.0.commits(from).map_err(|error| error.to_string())
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.0.head_position()
    }
}

fn boot_folder(root: &Path, boot: u32) -> PathBuf {
    root.join(format!("boot-{boot}"))
}

async fn open_log(ground: &Ground, folder: &Path, clock: &Arc<SteppedClock>) -> Arc<dyn Failing> {
    let (folder, clock) = (folder.join("log"), clock.clone());
    // Small segments, so that a history of a few events rolls; a mark only when it is needed.
    const SEGMENT_BYTES: u64 = 8 << 10;
    let Some((brokers, topic)) = ground.topic() else {
        let settings = embedded::Settings { segment_bytes: SEGMENT_BYTES, ..embedded::Settings::default() };
        let (log, _) = EmbeddedLog::open(&folder, settings, clock, LOG, &[])
            .expect("what a crash leaves of the log can be opened");
        return Arc::new(FaultyLog::new(log, Plan::default()));
    };
    let settings = kafka::Settings {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        creation: Creation::IfMissing,
        segment_bytes: SEGMENT_BYTES,
        ..kafka::Settings::default()
    };
    let name = kafka::name_of(&settings, |why| panic!("{why}")).await.expect("the topic can be a log");
    assert!(name.is_none_or(|name| name == LOG), "the topic is this archive's");
    let (log, _) = KafkaLog::open(&folder, settings, clock, LOG, &[]).await.expect("it can be opened");
    log.checked().await.expect("the topic can be a log");
    Arc::new(FaultyLog::new(log, Plan::default()))
}

/// Overwrites every file from its middle on.
fn damage(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            damage(&path);
            continue;
        }
        let mut bytes = std::fs::read(&path).expect("the file can be read");
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xA5);
        std::fs::write(&path, bytes).expect("the file can be written");
    }
}

/// Copies what a crash would leave: all files as they are at one moment, though their owner may still write.
fn copy_folder(from: &Path, to: &Path) {
    let mut seen = files(from);
    loop {
        let again = files(from);
        if again == seen {
            break;
        }
        seen = again;
    }
    for (path, bytes) in seen {
        let target = to.join(path.strip_prefix(from).expect("it lies in the folder"));
        std::fs::create_dir_all(target.parent().expect("it lies in a folder")).expect("a folder");
        std::fs::write(target, bytes).expect("the copy can be written");
    }
}

/// All files of a folder, if there is one.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.expect("the folder can be listed");
        if entry.path().is_dir() {
            found.append(&mut files(&entry.path()));
            continue;
        }
        // A temporary file may go while it is read, as it may have gone just before a crash.
        match std::fs::read(entry.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            Err(_) => {}
            Ok(bytes) => drop(found.insert(entry.path(), bytes)),
        }
    }
    found
}
