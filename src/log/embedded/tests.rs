//! The embedded log as a whole: conformance, crashes, its thread and queue, readers beside it, the stored sample.
//!
//! Invariant: what was acknowledged is read again, whatever the disk does.
//! Elsewhere: what every log promises (`super::super::conformance`), damaged folders (`damage_tests`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, io};

use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;

use super::crashes::explore;
use super::disk::{DiskFile, Lock};
use super::simdisk::{SimDisk, Trouble};
use super::verify::verify;
use super::*;
use crate::base::{Stamp, SteppedClock};
use crate::log::conformance::{self, append, everything};
use crate::log::embedded::follow::SegmentReader;
use crate::log::memory::MemoryLog;

const LOG: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
const FOLDER: &str = "/log";

fn clock() -> Arc<dyn Clock> {
    Arc::new(SteppedClock::at(Stamp(17_392_617_300_000_000)))
}

fn tiny() -> Settings {
    // No marks but at the end, so that nothing depends on time.
    let mark_after = Duration::from_secs(3600);
    Settings { segment_bytes: 3_000, record_limit_bytes: 4096, mark_after, ..Settings::default() }
}

fn open_sim(disk: &SimDisk, settings: Settings) -> Result<(EmbeddedLog, OpenReport), OpenError> {
    EmbeddedLog::open_on(Arc::new(disk.clone()), Path::new(FOLDER), settings, clock(), LOG, &[])
}

fn open_real(folder: &Path) -> (EmbeddedLog, OpenReport) {
    EmbeddedLog::open(folder, tiny(), clock(), LOG, &[]).expect("it opens")
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let explored = explore(0..200).expect("the promise holds");
    assert!(explored.crashes > 2000 && explored.second_crashes > 1000, "{explored:?}");
    assert!(explored.torn > 100 && explored.unacknowledged_kept > 100, "{explored:?}");
}

#[test]
fn the_same_seed_explores_the_same() {
    assert_eq!(explore(7..12), explore(7..12));
}

#[tokio::test]
async fn the_embedded_log_keeps_what_every_log_promises() {
    let folders = tempfile::tempdir().expect("there is room");
    let number = std::sync::atomic::AtomicU32::new(0);
    let base = folders.path();
    conformance::all(tiny().record_limit_bytes, || {
        let folder = base.join(number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
        async move { Arc::new(open_real(&folder).0) as Arc<dyn Log> }
    })
    .await;
}

#[tokio::test]
async fn chains_are_the_same_in_every_kind_of_log() {
    let disk = SimDisk::seeded(1);
    let (embedded, _) = open_sim(&disk, tiny()).expect("it opens");
    let memory = MemoryLog::new(clock());
    for length in [0, 10, 2000, 3000, 1] {
        append(&embedded, vec![7; length]).await;
        append(&memory, vec![7; length]).await;
    }
    assert_eq!(everything(&embedded), everything(&memory));
}

#[tokio::test]
async fn a_reopened_log_holds_the_same_through_many_segments() {
    let folder = tempfile::tempdir().expect("there is room");
    let (log, report) = open_real(folder.path());
    assert!(report.created);
    for number in 0..40u8 {
        append(&log, vec![number; 500]).await;
    }
    let records = everything(&log);
    log.close().await;
    // The thread let the folder go, though the closed log is still read from.
    let (again, report) = open_real(folder.path());
    assert_eq!((report.created, report.tail, report.segments), (false, Position(40), 10));
    assert_eq!((report.copied_bytes, report.remade_indexes, report.torn), (0, 0, None));
    assert_eq!(everything(&again), records);
    assert_eq!(again.get(Position(17)).await, log.get(Position(17)).await);
    assert_eq!(again.log_id(), LOG);
    let last = append(&again, "more").await;
    assert_eq!(again.get(last).await.expect("readable").bytes, "more");
    let mut problems = Vec::new();
    let counts = verify(&RealDisk, folder.path(), &mut |finding| problems.push(finding)).expect("readable");
    assert_eq!((counts.problems, counts.records, counts.log), (0, 41, Some(LOG)));
    assert_eq!(problems.len() as u64, counts.segments);
}

#[test]
fn a_folder_is_opened_once() {
    let folder = tempfile::tempdir().expect("there is room");
    let (_log, _) = open_real(folder.path());
    let second = EmbeddedLog::open(folder.path(), tiny(), clock(), LOG, &[]).err();
    assert_eq!(second, Some(OpenError::Locked(folder.path().to_owned())));
}

#[tokio::test]
async fn a_failed_fsync_stops_the_log_until_it_is_opened_again() {
    let disk = SimDisk::seeded(3);
    let (log, _) = open_sim(&disk, tiny()).expect("it opens");
    append(&log, "kept").await;
    let mut stream = log.read(Position(1));
    // The first operation of an append is the write, the next its fsync.
    disk.trouble_at(disk.operations() + 1, Trouble::Error);
    let failed = log.append(Bytes::from_static(b"lost")).await.expect("there is room").await;
    assert!(matches!(failed, Err(AppendError::Stopped(_))), "{failed:?}");
    assert!(log.stopped().expect("it says why").contains("the disk answers with an error"));
    assert!(matches!(log.append(Bytes::from_static(b"no")).await.err(), Some(AppendError::Stopped(_))));
    assert_eq!(log.tail(), Position(1));
    assert!(log.get(Position(1)).await.is_err());
    assert!(stream.next().now_or_never().is_none());
    let operations = disk.operations();
    log.close().await;
    assert_eq!(disk.operations(), operations, "after a failure the disk is left alone");

    drop((log, stream));
    disk.power_cycle();
    let (log, _) = open_sim(&disk, tiny()).expect("it opens");
    assert_eq!(everything(&log)[0].bytes, "kept");
    assert_eq!(log.stopped(), None);
    append(&log, "goes on").await;
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_room_lets_it_go_on() {
    let disk = SimDisk::seeded(4);
    disk.set_capacity(6_000);
    let (log, _) = open_sim(&disk, tiny()).expect("it opens");
    let mut acknowledged = 0;
    let stopped = loop {
        match log.append(vec![1; 700].into()).await.expect("there is room in the queue").await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(stopped, AppendError::Stopped(_)));
    assert!((3..9).contains(&acknowledged));
    drop(log);
    disk.set_capacity(u64::MAX);
    disk.kill();
    let (log, report) = open_sim(&disk, tiny()).expect("it opens");
    assert!(report.tail >= Position(acknowledged));
    assert_eq!(append(&log, "there is room").await, report.tail);
}

#[tokio::test]
async fn a_stamp_never_goes_back_even_over_a_restart() {
    let disk = SimDisk::seeded(5);
    let (log, _) = open_sim(&disk, tiny()).expect("it opens");
    append(&log, "a").await;
    log.close().await;
    let early = Arc::new(SteppedClock::at(Stamp(5)));
    let opened = EmbeddedLog::open_on(Arc::new(disk), Path::new(FOLDER), tiny(), early, LOG, &[]);
    let log = opened.expect("it opens").0;
    append(&log, "b").await;
    let records = everything(&log);
    assert_eq!(records[0].stamp, records[1].stamp);
}

/// A disk whose fsyncs wait until the test lets them pass.
struct Gated {
    disk: SimDisk,
    gate: Arc<Gate>,
}

struct Gate {
    arrived: Mutex<Sender<()>>,
    pass: Mutex<Receiver<()>>,
}

struct GatedFile(Arc<dyn DiskFile>, Arc<Gate>);

impl Gated {
    /// The disk, what tells of an fsync that waits, and what lets one pass (or, dropped, all).
    fn new() -> (Self, Receiver<()>, Sender<()>) {
        let ((arrived, arrives), (passes, pass)) = (channel(), channel());
        let gate = Arc::new(Gate { arrived: Mutex::new(arrived), pass: Mutex::new(pass) });
        (Self { disk: SimDisk::seeded(6), gate }, arrives, passes)
    }

    fn gated(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GatedFile(file?, self.gate.clone())))
    }
}

impl Disk for Gated {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.create_folder(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.gated(self.disk.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.gated(self.disk.open(path))
    }
    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.gated(self.disk.open_to_write(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
    fn lock(&self, folder: &Path) -> io::Result<Option<Lock>> {
        self.disk.lock(folder)
    }
}

impl DiskFile for GatedFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.arrived.lock().send(()).unwrap_or_default();
        self.1.pass.lock().recv().unwrap_or_default();
        self.0.sync()
    }
}

#[tokio::test]
async fn until_its_fsync_a_record_is_not_there_and_what_waits_shares_the_next() {
    let (disk, arrives, passes) = Gated::new();
    let sim = disk.disk.clone();
    passes.send(()).unwrap();
    let settings = Settings { queue_bytes: 1000, queue_wait: Duration::from_millis(1), ..tiny() };
    let opened = EmbeddedLog::open_on(Arc::new(disk), Path::new(FOLDER), settings, clock(), LOG, &[]);
    let log = opened.unwrap().0;
    arrives.recv().unwrap();
    let mut stream = log.read(Position(0));

    let mut first = log.append(Bytes::from_static(b"first")).await.unwrap();
    arrives.recv().unwrap();
    assert_eq!(log.tail(), Position(0));
    assert!(log.get(Position(0)).await.is_err());
    assert!((&mut first).now_or_never().is_none());
    assert!(stream.next().now_or_never().is_none());
    let mut beside = SegmentReader::on(Arc::new(sim.clone()), Path::new(FOLDER), Position(0));
    assert_eq!(beside.read(usize::MAX), Ok(Vec::new()));

    let second = log.append(vec![2; 400].into()).await.unwrap();
    let third = log.append(vec![3; 500].into()).await.unwrap();
    assert_eq!(log.append(vec![4; 200].into()).await.err(), Some(AppendError::Busy));
    passes.send(()).unwrap();
    assert_eq!(first.await, Ok(Position(0)));
    assert_eq!(stream.next().await.unwrap().unwrap().bytes, "first");
    arrives.recv().unwrap();
    assert_eq!(log.tail(), Position(1));
    passes.send(()).unwrap();
    // The one fsync made both durable.
    assert_eq!((second.await, third.await), (Ok(Position(1)), Ok(Position(2))));
    assert!(arrives.try_recv().is_err());
    drop(passes);
}

#[tokio::test]
async fn who_reads_beside_the_server_gets_everything_in_the_end_and_nothing_early() {
    let disk = SimDisk::seeded(8);
    let mut beside = SegmentReader::on(Arc::new(disk.clone()), Path::new(FOLDER), Position(2));
    assert_eq!((beside.read(100), beside.log_id()), (Ok(Vec::new()), Ok(None)));
    let (log, _) = open_sim(&disk, tiny()).unwrap();
    let mut got = Vec::new();
    for number in 0..30u8 {
        append(&log, vec![number; 400]).await;
        got.extend(beside.read(1).unwrap());
        // The newest block is not covered by any mark yet.
        assert!(got.last().is_none_or(|last: &Record| last.position < Position(u64::from(number))));
    }
    log.close().await;
    loop {
        let more = beside.read(1).unwrap();
        if more.is_empty() {
            break;
        }
        got.extend(more);
    }
    assert_eq!(got, everything(&log)[2..]);
    assert_eq!(beside.log_id(), Ok(Some(LOG)));
    assert!(disk.operations() > 60);
}

#[tokio::test]
async fn a_damaged_index_leads_nobody_astray() {
    let disk = SimDisk::seeded(9);
    let (log, _) = open_sim(&disk, tiny()).unwrap();
    for number in 0..20u8 {
        append(&log, vec![number; 400]).await;
    }
    let expected = everything(&log);
    let index = PathBuf::from(FOLDER).join(layout::index_name(Position(0)));
    let length = disk.peek(&index).unwrap().len();
    for at in 0..length {
        let copy = disk.fork();
        copy.poke(&index, |bytes| bytes[at] ^= 0x10);
        // At the next start it is found and made again.
        let (again, report) = open_sim(&copy, tiny()).unwrap();
        assert_eq!((report.remade_indexes, everything(&again)), (1, expected.clone()), "byte {at}");
        drop(again);
        assert_eq!(copy.peek(&index), disk.peek(&index));
    }
    // While the log is open it is noticed by whoever reads through it.
    disk.poke(&index, |bytes| bytes[length - 6] ^= 0x10);
    assert_eq!(everything(&log), expected);
    disk.poke(&index, Vec::clear);
    assert_eq!(log.get(Position(3)).await.as_ref(), Ok(&expected[3]));
}

/// What `fixtures/log` holds: two segments, an index, and a mark at the end.
async fn write_sample(folder: &Path) -> Vec<Record> {
    let settings = Settings { segment_bytes: 600, ..tiny() };
    let (log, _) = EmbeddedLog::open(folder, settings, clock(), LOG, &[]).expect("it opens");
    for text in ["LogCreated", "", "a record of the sample", &"long ".repeat(60), "the last one"] {
        append(&log, text.to_owned()).await;
    }
    log.close().await;
    everything(&log)
}

/// Once written, the sample is never written again: a new layout gets a sample of its own. (`KYMO_WRITE_SAMPLE`
/// names the folder into which it is written when there is none yet.)
#[tokio::test]
async fn the_stored_sample_is_read_and_still_written_the_same() {
    if let Some(folder) = std::env::var_os("KYMO_WRITE_SAMPLE") {
        write_sample(Path::new(&folder)).await;
    }
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/log");
    let folders = tempfile::tempdir().unwrap();
    let (copied, written) = (folders.path().join("copied"), folders.path().join("written"));
    let expected = write_sample(&written).await;
    fs::create_dir(&copied).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&sample).expect("fixtures/log is there") {
        let name = entry.unwrap().file_name();
        fs::copy(sample.join(&name), copied.join(&name)).unwrap();
        assert_eq!(fs::read(sample.join(&name)).unwrap(), fs::read(written.join(&name)).unwrap(), "{name:?}");
        names.push(name);
    }
    assert_eq!(names.len(), 3);
    let counts = verify(&RealDisk, &copied, &mut |_| {}).unwrap();
    assert_eq!((counts.problems, counts.records, counts.segments), (0, 5, 2));
    let (log, report) = open_real(&copied);
    assert_eq!(everything(&log), expected);
    assert_eq!((report.remade_indexes, report.copied_bytes, report.log), (0, 0, LOG));
    // The chain pins down stamps and bytes of the whole sample.
    let chain = "74fa96867707e1e6d0105482dfa43ee065e9e60f76260e7f899742e0e890102e";
    assert_eq!(hex::encode(expected[4].chain), chain);
}
