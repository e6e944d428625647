//! An archive in a test: over stores in memory or in a temporary folder, with faults on order.
//!
//! Reads like what a user does: store, upsert, delete, look at the feed; and like what the world does to
//! it: crash, restart, lose every view. A crash on disk is played as kill -9 leaves things: the folders are
//! copied as they lie while everything is still open, and the copy is opened.
//!
//! Invariant: a stepped clock and seeded ids, so the same calls give the same log.
//! Elsewhere: files to store (`dicom`), what must hold (`model`, `simulation`, `crash`).

use std::collections::BTreeMap;
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
use kymo::log::memory::MemoryLog;
use kymo::projections::CommitSource;
use kymo::projections::search::Search;
use kymo::tables::Table;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

/// 2025-02-11T08:15:30Z.
pub(crate) const START: Stamp = Stamp(17_392_617_300_000_000);
pub(crate) const LOG: Uuid = Uuid::from_u128(0x0195_0000_0000_7000_8000_0000_0000_0001);
/// Longer than any machine takes for what a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const CACHE_BYTES: u64 = 4 << 20;

/// What an archive of a test stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stores {
    Memory,
    Disk,
}

enum Ground {
    Memory { log: Arc<FaultyLog<MemoryLog>>, lake: Arc<Faulty> },
    Disk { log: Arc<FaultyLog<EmbeddedLog>>, folder: TempDir },
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
    ground: Ground,
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
        let ground = match stores {
            Stores::Memory => {
                let log = MemoryLog::new(clock.clone());
                let log = Arc::new(FaultyLog::new(log, Plan::default()));
                Ground::Memory { log, lake: Faulty::new() }
            }
            Stores::Disk => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let log = open_log(&boot_folder(folder.path(), 0), &clock);
                Ground::Disk { log, folder }
            }
        };
        let ids = Arc::new(Ids::seeded(7));
        let (archive, search) = boot(&ground, 0, &clock, &ids, searching, Found::Nothing);
        archive.begin_log(LOG).await.expect("a new log takes its beginning");
        let started = Self { ground, clock, ids, boots: 0, archive, search };
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
        match &self.ground {
            Ground::Memory { log, .. } => &**log,
            Ground::Disk { log, .. } => &**log,
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
        let Some(last) = self.tail().0.checked_sub(1).map(Position) else { return };
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
        match &self.ground {
            Ground::Memory { log, .. } => log.fail_next(fault),
            Ground::Disk { log, .. } => log.fail_next(fault),
        }
    }

    /// The next file to be made durable meets a fault; only in memory can that be ordered.
    pub(crate) fn fail_next_put(&self, fault: PutFault) {
        if let Ground::Memory { lake, .. } = &self.ground {
            lake.plan_puts([fault]);
        }
    }

    /// The lake of an archive in memory, to do to it what its owner might.
    pub(crate) fn lake(&self) -> &Faulty {
        match &self.ground {
            Ground::Memory { lake, .. } => lake,
            Ground::Disk { .. } => panic!("its lake is a folder"),
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
        let ground = match &self.ground {
            Ground::Memory { log, lake } => {
                lake.crash().await;
                let log = Arc::new(FaultyLog::new(log.inner().reopened(), Plan::default()));
                Ground::Memory { log, lake: lake.clone() }
            }
            Ground::Disk { folder, .. } => {
                let root = folder.path();
                let (old, new) = (boot_folder(root, from), boot_folder(root, self.boots));
                copy_folder(&old.join("log"), &new.join("log"));
                for part in MADE_AGAIN {
                    if found != Found::Nothing && found != Found::AllBut(part) {
                        copy_folder(&old.join(part), &new.join(part));
                    }
                    if found == Found::Damaged(part) {
                        damage(&new.join(part));
                    }
                }
                let log = open_log(&new, &self.clock);
                let empty = tempfile::tempdir().expect("a temporary folder");
                let Ground::Disk { folder, .. } =
                    std::mem::replace(&mut self.ground, Ground::Disk { log: log.clone(), folder: empty })
                else {
                    unreachable!("it stands on disk")
                };
                Ground::Disk { log, folder }
            }
        };
        if let Some(search) = &self.search {
            search.close();
        }
        let searching = self.search.is_some();
        let (archive, search) = boot(&ground, self.boots, &self.clock, &self.ids, searching, found);
        (self.ground, self.archive, self.search) = (ground, archive, search);
        self.settle().await;
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
    let partition = Partition::default();
    Asking { request_id: "a-test".to_owned(), trace_id: None, actor: Actor::Anonymous, partition }
}

/// The whole feed, oldest row first.
pub(crate) fn feed(archive: &Archive) -> Vec<FeedRow> {
    archive.feed_window(0, u64::MAX).expect("the feed can be read")
}

/// Every live instance of the default partition that the feed knows of, in the order of its key.
pub(crate) fn live(archive: &Archive) -> Vec<LiveInstance> {
    let mut studies: Vec<Uid> = feed(archive).into_iter().map(|row| row.change.key.study).collect();
    studies.sort();
    studies.dedup();
    let mut live = Vec::new();
    for study in studies {
        let scope = Scope { study, series: None, instance: None };
        let found = archive.instances(&Partition::default(), &scope, None, usize::MAX);
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
    const PIECE_BYTES: usize = 50_000;
    let mut ingest = archive.ingest(asking(), mode, Rules::V2, None);
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
    ground: &Ground,
    boot: u32,
    clock: &Arc<SteppedClock>,
    ids: &Arc<Ids>,
    searching: bool,
    found: Found,
) -> (Archive, Option<Search>) {
    let (log, blobs, state, views): (Arc<dyn Log>, _, _, _) = match ground {
        Ground::Memory { log, lake } => (log.clone(), Blobs::over(lake.clone()), Table::memory(), None),
        Ground::Disk { log, folder } => {
            let root = folder.path();
            let blobs = Blobs::open_local(&root.join("lake"), &root.join("staging")).expect("a lake");
            let here = boot_folder(root, boot);
            let (state, why) = Table::open_or_begin_again(&here.join("state"), &FORMAT, LOG, CACHE_BYTES)
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
            Some(folder) => Search::open(&folder, LOG, CACHE_BYTES, source),
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

fn open_log(folder: &Path, clock: &Arc<SteppedClock>) -> Arc<FaultyLog<EmbeddedLog>> {
    // Small segments, so that a history of a few events rolls; a mark only when it is needed.
    let settings = embedded::Settings { segment_bytes: 8 << 10, ..embedded::Settings::default() };
    let (log, _) = EmbeddedLog::open(&folder.join("log"), settings, clock.clone(), LOG, &[])
        .expect("what a crash leaves of the log can be opened");
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
