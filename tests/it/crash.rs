//! Power loss under the whole archive: its log lies on a disk that forgets whatever was not synced.
//!
//! A history of stores, upserts and deletes in two partitions, of studies some of which expire, is played once for every write, sync and rename that it does,
//! and meets its end there: everything stops, or the disk answers with an error. What was answered until
//! then must be there after the power is back, and the feed that a reader saw must be its beginning.
//! Elsewhere: the log alone, over far more histories (unit tests of `log::embedded`); kill -9 (`model`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kymo::archive::{Archive, Expiring, KnownPartition, Parts, SubmitError};
use kymo::base::{Ids, Partition, Position, Stamp, SteppedClock};
use kymo::blob::Blobs;
use kymo::blob::faulty::Faulty;
use kymo::dicom::uid::Uid;
use kymo::event::{Change, Scope, StoreMode};
use kymo::log::Log;
use kymo::log::embedded::simdisk::{SimDisk, Trouble};
use kymo::log::embedded::{EmbeddedLog, OpenError, Settings};
use kymo::tables::Table;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::kit::archive::{
    LOG, PATIENCE, START, asking_in, feed, file, lake, live, metadata, settings, store_in,
};
use crate::kit::dicom::Instance;
use crate::kit::seeds;

#[derive(Clone, Debug)]
enum Request {
    /// Files of one request, each with its patient, who is nowhere else, and when their study expires.
    Store(Partition, StoreMode, Option<u64>, Vec<(String, Vec<u8>)>),
    Delete(Partition, Scope),
}

/// What the world knows of an archive that has met its end.
#[derive(Default)]
struct Known {
    /// The feed as it was read after the last answer.
    feed: Vec<Change>,
    /// The partitions and the studies that expire, as they were read with it.
    partitions: Vec<KnownPartition>,
    expiring: Vec<Expiring>,
    /// Positions that were answered are below this.
    passed: Position,
    /// Most rows that the request without an answer may have made.
    unanswered_rows: usize,
}

struct World {
    disk: SimDisk,
    lake: Arc<Faulty>,
    clock: Arc<SteppedClock>,
    ids: Arc<Ids>,
    files: BTreeMap<String, Vec<u8>>,
}

fn history(seed: u64) -> Vec<Request> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut patients = 0;
    let mut request = || {
        let mut uid = |level: u8| format!("1.{level}.{}", random.random_range(0..2));
        let (study, series, instance) = (uid(2), uid(3), uid(4));
        let partition = match random.random_bool(0.5) {
            true => Partition::parse("Ward_7").expect("it is a name"),
            false => Partition::default(),
        };
        if random.random_bool(0.25) {
            let study = Uid::parse(&study).expect("digits and dots");
            return Request::Delete(partition, Scope { study, series: None, instance: None });
        }
        let mut files = Vec::new();
        for part in 0..random.random_range(1..4) {
            patients += 1;
            let patient = format!("P-{patients}");
            let instance = Instance::new(&study, &series, &format!("{instance}.{part}"));
            files.push((patient.clone(), instance.patient(&patient, "Doe^Jane").part10()));
        }
        let mode = if random.random_bool(0.5) { StoreMode::Create } else { StoreMode::Upsert };
        let expires_after_ms = random.random_bool(0.5).then(|| random.random_range(1..1_000_000));
        Request::Store(partition, mode, expires_after_ms, files)
    };
    (0..4).map(|_| request()).collect()
}

impl World {
    fn new(seed: u64, history: &[Request]) -> Self {
        let stored = history.iter().filter_map(|request| match request {
            Request::Store(_, _, _, files) => Some(files.clone()),
            Request::Delete(..) => None,
        });
        Self {
            disk: SimDisk::seeded(seed),
            lake: Faulty::new(),
            clock: Arc::new(SteppedClock::at(START)),
            ids: Arc::new(Ids::seeded(seed)),
            files: stored.flatten().collect(),
        }
    }

    /// Opens the archive with nothing but log and files; `passed` is what a lost view had passed.
    async fn open(&self, passed: Position) -> Result<Archive, OpenError> {
        let settings_of_log = Settings {
            segment_bytes: 6 << 10,
            // A mark only at the end: by the clock it would come at another write each time.
            mark_after: PATIENCE * 1000,
            ..Settings::default()
        };
        let (disk, folder) = (Arc::new(self.disk.clone()), Path::new("/log"));
        let (log, _) =
            EmbeddedLog::open_on(disk, folder, settings_of_log, self.clock.clone(), LOG, &[passed])?;
        let log = Arc::new(log);
        let archive = Archive::open(Parts {
            log: log.clone(),
            blobs: Blobs::over(self.lake.clone()),
            lake: lake(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            node: Uuid::from_u128(1),
            state: Table::memory(),
            settings: settings(),
        });
        let archive = archive.expect("the archive opens over a log that has opened");
        if let Some(last) = log.tail().0.checked_sub(1) {
            archive.reached(Position(last), PATIENCE).await.expect("the fold reaches the log's end");
        }
        Ok(archive)
    }

    /// Plays until the end or until something fails.
    async fn play(&self, history: &[Request]) -> Result<Known, Known> {
        let mut known = Known::default();
        let Ok(archive) = self.open(Position(0)).await else { return Err(known) };
        if archive.begin_log(LOG).await.is_err() {
            return Err(known);
        }
        known.passed = archive.progress().next;
        for request in history {
            let (answered, rows) = ask(&archive, request).await;
            if let Err(error) = answered {
                let unknown = matches!(error, SubmitError::Unknown { .. });
                assert!(unknown || matches!(error, SubmitError::Unavailable(_)), "{error:?}");
                known.unanswered_rows = if unknown { rows } else { 0 };
                // Once the disk has failed, nothing is acknowledged any more.
                let (refused, _) = ask(&archive, &extra()).await;
                assert!(matches!(refused, Err(SubmitError::Unavailable(_))), "{refused:?}");
                assert!(archive.stopped().is_some());
                return Err(known);
            }
            known.passed = archive.progress().next;
            known.feed = feed(&archive).into_iter().map(|row| row.change).collect();
            (known.partitions, known.expiring) = partitions_and_expiry(&archive);
        }
        Ok(known)
    }

    /// Looks at all that is there; gives the feed.
    async fn look(&self, archive: &Archive) -> Vec<Change> {
        let rows = feed(archive);
        for (row, sequence) in rows.iter().zip(1..) {
            assert_eq!(row.change.sequence, sequence);
        }
        for live in live(archive) {
            let metadata = metadata(archive, &live).await;
            let patient = metadata["00100020"]["Value"][0].as_str().expect("a patient");
            assert!(file(archive, &live).await == self.files[patient], "{:?} reads otherwise", live.key);
        }
        rows.into_iter().map(|row| row.change).collect()
    }

    /// After the end: what was answered is there, and what is seen now stays.
    async fn recover(&self, known: Known) {
        self.lake.crash().await;
        let archive = self.open(known.passed).await.expect("the log opens after any crash");
        let rows = self.look(&archive).await;
        assert!(rows.starts_with(&known.feed), "rows that were read are gone");
        let more = rows.len() - known.feed.len();
        assert!(more <= known.unanswered_rows, "{more} rows that nobody asked for");
        let (partitions, expiring) = partitions_and_expiry(&archive);
        assert!(partitions.starts_with(&known.partitions), "partitions that were there are gone");
        assert!(more > 0 || expiring == known.expiring, "{expiring:?} expire, not {:?}", known.expiring);
        let (answered, _) = ask(&archive, &extra()).await;
        answered.expect("it takes stores again");
        let passed = archive.progress().next;
        let rows = feed(&archive);
        assert_eq!(rows.len(), known.feed.len() + more + 1);
        self.disk.power_cycle();
        let again = self.open(passed).await.expect("the log opens after any crash");
        assert_eq!(feed(&again), rows);
        assert_eq!(partitions_and_expiry(&again), partitions_and_expiry(&archive));
    }
}

/// A store that no history holds and that makes a row whatever is there.
fn extra() -> Request {
    let file = Instance::new("1.9", "1.9", "1.9").patient("P-0", "Doe^Jane").part10();
    Request::Store(Partition::default(), StoreMode::Upsert, None, vec![("P-0".to_owned(), file)])
}

/// All partitions, and all studies that expire.
fn partitions_and_expiry(archive: &Archive) -> (Vec<KnownPartition>, Vec<Expiring>) {
    let partitions = archive.partitions(0, usize::MAX).expect("the state can be read");
    (partitions, archive.expiring(Stamp(i64::MAX), usize::MAX).expect("the state can be read"))
}

/// Asks, and says how many rows of the feed that may make.
async fn ask(archive: &Archive, request: &Request) -> (Result<(), SubmitError>, usize) {
    match request {
        Request::Store(partition, mode, expires_after_ms, files) => {
            let rows = files.len();
            let files: Vec<Vec<u8>> = files.iter().map(|(_, file)| file.clone()).collect();
            let stored = store_in(archive, partition.clone(), *mode, *expires_after_ms, &files).await;
            (stored.map(drop), rows)
        }
        Request::Delete(partition, scope) => {
            let rows = live(archive).iter().filter(|live| live.key.study == scope.study).count();
            (archive.delete(&asking_in(partition.clone()), scope.clone()).await.map(drop), rows)
        }
    }
}

/// Names the history and the place of its end if something fails there.
struct Place(u64, u64);

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("history {} has failed with trouble at operation {}", self.0, self.1);
        }
    }
}

#[test]
fn what_was_answered_survives_a_power_loss_at_every_write() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ends = 0;
    for seed in 0..u64::from(seeds(20)) {
        let history = history(seed);
        let operations = runtime.block_on(async {
            let world = World::new(seed, &history);
            assert!(world.play(&history).await.is_ok(), "nothing disturbs it");
            world.disk.operations()
        });
        for stop_at in 0..operations {
            let _named = Place(seed, stop_at);
            let world = World::new(seed, &history);
            let trouble = if stop_at % 3 == 2 { Trouble::Error } else { Trouble::Halt };
            world.disk.trouble_at(stop_at, trouble);
            runtime.block_on(async {
                let known = world.play(&history).await.unwrap_or_else(|known| known);
                world.disk.power_cycle();
                world.recover(known).await;
            });
            ends += 1;
        }
    }
    println!("{ends} ends");
    assert!(ends > 20 * 15, "only {ends} ends");
}
