//! Submit, follow and the commits for views, over logs in memory and on disk; stores are told without files.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::submit::system;
use super::*;
use crate::base::SteppedClock;
use crate::blob::faulty::{Faulty, PutFault, ReadFault};
use crate::dicom::uid::Uid;
use crate::event::codec::Sections;
use crate::event::{
    self, Commit, InstanceKey, Outcome, Payload, ReceivedInstance, Refusal, Scope, StoreMode, StoredFile,
};
use crate::log::embedded::{self, EmbeddedLog};
use crate::log::faulty::{Fault, FaultyLog, Plan};
use crate::log::memory::MemoryLog;

const START: Stamp = Stamp(17_392_617_300_000_000);

fn clock() -> Arc<SteppedClock> {
    Arc::new(SteppedClock::at(START))
}

fn parts(log: Arc<dyn Log>, clock: Arc<SteppedClock>) -> Parts {
    Parts {
        log,
        blobs: Blobs::in_memory(),
        lake: Lake { workspace: "w".to_owned(), service: "s".to_owned() },
        clock,
        ids: Arc::new(Ids::seeded(1)),
        node: Uuid::from_u128(7),
        state: Table::memory(),
        // So long that a wait which is not ended by an event ends no test.
        settings: Settings { outcome_wait: Duration::from_secs(1_000_000), ..Settings::default() },
    }
}

fn in_memory() -> (Archive, Arc<MemoryLog>, Arc<SteppedClock>) {
    let clock = clock();
    let log = Arc::new(MemoryLog::new(clock.clone()));
    (Archive::open(parts(log.clone(), clock.clone())).unwrap(), log, clock)
}

fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

fn study() -> Scope {
    Scope { study: uid("1.1"), series: None, instance: None }
}

/// A store of instance `n` of the study.
fn stored(archive: &Archive, n: u8, mode: StoreMode) -> Payload {
    let key = InstanceKey { study: uid("1.1"), series: uid("2.1"), instance: uid(&format!("3.{n}")) };
    let partition = Partition::default();
    let file =
        archive.lake().instance_key(&partition, &key.study, &key.series, &key.instance, archive.new_id());
    Payload::InstanceStored {
        instance: ReceivedInstance {
            key,
            received: [None, None, None],
            sop_class: "1.2.840.10008.5.1.4.1.1.7".to_owned(),
            transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
            file: StoredFile { key: file, length_bytes: 1, sha256: [0; 32] },
            dataset_offset: 0,
            warnings: Vec::new(),
            derived_by: 1,
            expires_after_ms: None,
        },
        mode,
    }
}

/// Appends the event and gives its outcome.
async fn tell(archive: &Archive, payload: Payload) -> Outcome {
    let head = archive.head(&system(), payload);
    let submitted = archive.submit(&head, &Sections::default()).await.unwrap();
    submitted.decided().await.unwrap().outcome
}

async fn caught_up(archive: &Archive) {
    let tail = archive.0.parts.log.tail();
    if tail > Position(0) {
        archive.reached(Position(tail.0 - 1), Duration::from_secs(60)).await.unwrap();
    }
}

/// Everything `commits` gives, page by page.
fn all_commits(archive: &Archive) -> Vec<Arc<Commit>> {
    let mut all: Vec<Arc<Commit>> = Vec::new();
    loop {
        let page = archive.commits(Position(all.len() as u64)).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

#[tokio::test]
async fn commits_put_together_again_are_those_that_were() {
    let (archive, log, clock) = in_memory();
    for n in 0..40 {
        let mode = if n % 3 == 0 { StoreMode::Upsert } else { StoreMode::Create };
        let payload = stored(&archive, n % 7, mode);
        tell(&archive, payload).await;
        if n % 10 == 9 {
            tell(&archive, Payload::Deleted { scope: study() }).await;
            tell(&archive, Payload::Deleted { scope: study() }).await;
            tell(&archive, Payload::TimeMarked).await;
            log.append(bytes::Bytes::from_static(b"foreign")).await.unwrap().await.unwrap();
        }
    }
    caught_up(&archive).await;
    let live = all_commits(&archive);
    assert_eq!(live.len() as u64, log.tail().0);

    // A node that opens a state which is already there has nothing in memory.
    let state = Table::memory();
    fold::fold(&state, &log.read_batch(Position(0), log.tail(), usize::MAX).unwrap(), None).unwrap();
    let again = Archive::open(Parts { state, ..parts(log.clone(), clock) }).unwrap();
    let told = |commit: &Arc<Commit>| {
        let id = commit.event.as_ref().map(|event| event.head.id);
        (commit.position, commit.time, id, commit.changes().to_vec())
    };
    for (old, new) in live.iter().zip(all_commits(&again)) {
        assert_eq!(told(old), told(&new));
        let (was, is) = (&old.outcome, &new.outcome);
        match was {
            // Why is no longer told, but that.
            Outcome::Refused(Refusal::AlreadyStored | Refusal::NothingMatches) => {
                assert_eq!(is, &Outcome::Refused(Refusal::Untold));
            }
            Outcome::Refused(_) | Outcome::Accepted(_) => assert_eq!(is, was),
        }
    }
    // From anywhere, old ones and new ones meet without a gap.
    tell(&again, Payload::TimeMarked).await;
    for from in [0, 1, 17, live.len() as u64 - 1, live.len() as u64] {
        let first = again.commits(Position(from)).unwrap();
        assert_eq!(first.first().map(|commit| commit.position), Some(Position(from)));
    }
    assert!(again.commits(again.progress().next).unwrap().is_empty());
}

#[tokio::test]
async fn a_delete_of_nothing_appends_nothing() {
    let (archive, log, _) = in_memory();
    let refused = (None, Outcome::Refused(Refusal::NothingMatches));
    assert_eq!(archive.delete(&system(), study()).await, Ok(refused.clone()));
    assert_eq!(log.tail(), Position(0));
    let payload = stored(&archive, 1, StoreMode::Create);
    tell(&archive, payload).await;
    let (position, outcome) = archive.delete(&system(), study()).await.unwrap();
    assert_eq!(position, Some(Position(1)));
    assert!(matches!(outcome, Outcome::Accepted(changes) if changes.len() == 1));
    assert_eq!(archive.delete(&system(), study()).await, Ok(refused));
    assert_eq!(log.tail(), Position(2));
}

#[tokio::test]
async fn when_the_fold_stops_those_who_wait_are_told_and_nothing_is_answered() {
    let (archive, log, _) = in_memory();
    let payload = stored(&archive, 1, StoreMode::Create);
    tell(&archive, payload).await;
    // An event of a newer program. The wait for it would last for days if the stop did not end it.
    let head = archive.head(&system(), Payload::FormatEnabled { version: event::VERSION + 1 });
    let submitted = archive.submit(&head, &Sections::default()).await.unwrap();
    assert_eq!(submitted.decided().await.map(drop), Err(SubmitError::Unknown { until: head.valid_until }));
    let why = archive.stopped().expect("the fold has stopped");
    assert!(why.contains("install a newer Kymo"), "{why}");
    assert_eq!(archive.ready(), Err(ReadError::Stopped(why.clone())));
    assert_eq!(archive.feed_window(0, 10), Err(ReadError::Stopped(why.clone())));
    assert_eq!(archive.delete(&system(), study()).await, Err(SubmitError::Unavailable(why)));
    assert_eq!(log.tail(), Position(2));
    assert!(archive.0.outcomes.is_empty());
}

#[tokio::test]
async fn a_request_given_up_waits_for_nothing_any_more() {
    let (archive, _, _) = in_memory();
    for _ in 0..3 {
        let head = archive.head(&system(), Payload::TimeMarked);
        drop(archive.submit(&head, &Sections::default()).await.unwrap());
    }
    assert!(archive.0.outcomes.is_empty());
}

#[tokio::test]
async fn an_archive_that_is_let_go_lets_its_log_go() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let (settings, id) = (embedded::Settings::default(), Uuid::from_u128(3));
        EmbeddedLog::open(folder.path(), settings, clock(), id, &[]).map(|(log, _)| Arc::new(log))
    };
    let log = open().unwrap();
    let archive = Archive::open(parts(log.clone(), clock())).unwrap();
    let payload = stored(&archive, 1, StoreMode::Create);
    tell(&archive, payload).await;
    let held = Arc::downgrade(&log);
    drop((archive, log));
    // The fold's thread may still be on its way out of its last run.
    while held.strong_count() > 0 {
        std::thread::yield_now();
    }
    let again = loop {
        match open() {
            Ok(log) => break log,
            Err(embedded::OpenError::Locked(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(again.tail(), Position(1));
}

#[tokio::test]
async fn a_state_ahead_of_the_log_means_that_acknowledged_data_is_missing() {
    let (archive, log, clock) = in_memory();
    tell(&archive, Payload::TimeMarked).await;
    let state = Table::memory();
    fold::fold(&state, &log.read_batch(Position(0), log.tail(), usize::MAX).unwrap(), None).unwrap();
    let shorter = Arc::new(MemoryLog::new(clock.clone()));
    let refused = Archive::open(Parts { state, ..parts(shorter, clock) }).map(drop);
    let wanted = crate::log::ReadError::BeyondEnd { position: Position(1), tail: Position(0) };
    assert_eq!(refused, Err(ReadError::Log(wanted)));
}

/// A clock ran ahead for a day and was set right: feed time stays ahead. A file stored now must not look
/// abandoned to the sweep, which compares its version id with feed time.
#[tokio::test]
async fn version_ids_are_never_older_than_feed_time() {
    let (archive, _, clock) = in_memory();
    clock.set(START.plus(Duration::from_secs(100_000)));
    let ahead = archive.mark_time().await.unwrap();
    clock.set(START);
    let (seconds, _) = archive.new_id().get_timestamp().unwrap().to_unix();
    assert!(seconds * 1000 >= ahead.unix_millis() / 1000 * 1000, "{seconds} s is before {ahead}");
}

#[tokio::test]
async fn files_may_go_unless_they_live() {
    let (archive, _, _) = in_memory();
    let mut files = Vec::new();
    for mode in [StoreMode::Create, StoreMode::Create, StoreMode::Upsert] {
        let payload = stored(&archive, 1, mode);
        let Payload::InstanceStored { instance, .. } = &payload else { unreachable!() };
        files.push(instance.file.key.clone());
        tell(&archive, payload).await;
    }
    let may_go = archive.remove_blobs(files.clone()).await.unwrap();
    // Replaced and refused ones go.
    assert_eq!(may_go, files[..2]);
    assert_eq!(
        files.iter().map(|key| archive.keeps_blob(key).unwrap()).collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[tokio::test]
async fn no_file_may_go_when_its_removal_was_refused() {
    // The log's clock is far ahead of this node's, so that whatever the node appends comes too late.
    let ahead = Arc::new(SteppedClock::at(START.plus(Duration::from_secs(3600))));
    let log = Arc::new(MemoryLog::new(ahead));
    let archive = Archive::open(parts(log, clock())).unwrap();
    let refused = archive.remove_blobs(vec!["a".to_owned()]).await;
    assert!(matches!(refused, Err(SubmitError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_window_that_has_ended_is_closed_by_one_mark() {
    let (archive, log, clock) = in_memory();
    let end = START.plus(Duration::from_secs(10));
    // Still to come: nothing has to be done.
    archive.close_window(end).await.unwrap();
    assert_eq!(log.tail(), Position(0));
    clock.set(end.plus(Duration::from_secs(1)));
    archive.close_window(end).await.unwrap();
    assert_eq!(log.tail(), Position(1));
    assert!(archive.progress().time >= end);
    archive.close_window(end).await.unwrap();
    assert_eq!(log.tail(), Position(1));
    let payload = stored(&archive, 1, StoreMode::Create);
    tell(&archive, payload).await;
    let inside = archive.feed_between(Stamp(0)..end, 0, 10).unwrap();
    assert_eq!(inside, []);
    assert_eq!(archive.feed_latest().unwrap().map(|row| row.change.sequence), Some(1));
}

#[tokio::test]
async fn the_beginning_of_a_log_is_written_once() {
    let (archive, log, clock) = in_memory();
    let id = Uuid::from_u128(3);
    archive.begin_log(id).await.unwrap();
    archive.begin_log(id).await.unwrap();
    assert_eq!(log.tail(), Position(2));
    let other = Archive::open(parts(log.clone(), clock)).unwrap();
    caught_up(&other).await;
    other.begin_log(id).await.unwrap();
    assert_eq!(log.tail(), Position(2));
    assert_eq!(other.dump(), archive.dump());
}

/// A window that the log's clock has not closed yet may still grow: it must not be answered.
#[tokio::test]
async fn a_window_the_log_has_not_come_to_is_not_closed() {
    let ahead = clock();
    ahead.set(START.plus(Duration::from_secs(60)));
    let log_clock = clock();
    let archive = Archive::open(parts(Arc::new(MemoryLog::new(log_clock.clone())), ahead)).unwrap();
    let end = START.plus(Duration::from_secs(30));
    let refused = archive.close_window(end).await;
    assert!(matches!(refused, Err(SubmitError::Unavailable(_))), "{refused:?}");
    log_clock.set(end);
    // The mark before was less than a second ago, so this one waits a little.
    assert_eq!(archive.close_window(end).await, Ok(()));
    assert!(archive.progress().time >= end);
}

/// Whose readers panic.
struct Panicking(MemoryLog);

#[async_trait::async_trait]
impl Log for Panicking {
    async fn append(&self, record: bytes::Bytes) -> Result<log::Appending, log::AppendError> {
        self.0.append(record).await
    }

    async fn get(&self, position: Position) -> Result<log::Record, log::ReadError> {
        self.0.get(position).await
    }

    fn read(&self, from: Position) -> BoxStream<'static, Result<log::Record, log::ReadError>> {
        self.0.read(from).map(|_| panic!("on purpose")).boxed()
    }

    fn read_batch(
        &self,
        from: Position,
        to: Position,
        limit_bytes: usize,
    ) -> Result<Vec<log::Record>, log::ReadError> {
        self.0.read_batch(from, to, limit_bytes)
    }

    fn tail(&self) -> Position {
        self.0.tail()
    }

    fn stopped(&self) -> Option<String> {
        self.0.stopped()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test]
async fn a_fold_that_panics_stops_the_archive_instead_of_letting_it_hang() {
    let clock = clock();
    let log = Arc::new(Panicking(MemoryLog::new(clock.clone())));
    let archive = Archive::open(parts(log, clock)).unwrap();
    let head = archive.head(&system(), Payload::TimeMarked);
    let submitted = archive.submit(&head, &Sections::default()).await.unwrap();
    assert_eq!(submitted.decided().await.map(drop), Err(SubmitError::Unknown { until: head.valid_until }));
    assert_eq!(archive.stopped(), Some("the fold has panicked".to_owned()));
}

/// Bytes that do not compress.
fn noise(length: u32) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_section_lies_elsewhere_and_the_fold_waits_until_it_is_here() {
    let (clock, lake) = (clock(), Faulty::new());
    let log = Arc::new(MemoryLog::new(clock.clone()));
    let with = |log: Arc<MemoryLog>| {
        let parts = parts(log, clock.clone());
        let settings = Settings { record_bytes: 4096, ..parts.settings };
        Parts { blobs: Blobs::over(lake.clone()), settings, ..parts }
    };
    let archive = Archive::open(with(log.clone())).unwrap();
    archive.begin_log(Uuid::from_u128(5)).await.unwrap();
    let metadata = noise(100_000);
    let mut sections = Sections::default();
    sections.push(event::Section::Metadata, &metadata).unwrap();
    let head = archive.head(&system(), stored(&archive, 1, StoreMode::Create));
    let decided = archive.submit(&head, &sections).await.unwrap().decided().await.unwrap();
    assert!(matches!(decided.outcome, Outcome::Accepted(_)));
    assert!(log.get(decided.position).await.unwrap().bytes.len() < 4096);
    assert!(archive.metadata(decided.position).await.unwrap() == metadata);
    let commits = archive.commits(decided.position).unwrap();
    let event = commits[0].event.as_ref().unwrap();
    assert!(event.section(event::Section::Metadata).unwrap().unwrap() == metadata);
    let keys: Vec<_> = archive.blobs().list("kymo").collect().await;
    let (key, length) = keys[0].clone().unwrap();
    assert!(key.starts_with("kymo/00000000-0000-0000-0000-000000000005/bodies/"), "{key}");
    assert_eq!((keys.len(), length), (1, 100_000));

    // A node that has nothing but the log, while the store is away and then while the body is another one.
    let body = lake.get_bytes(&key).await;
    lake.plan_reads(ReadFault::Unavailable);
    let other = Archive::open(with(Arc::new(log.reopened()))).unwrap();
    while other.awaited().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(other.ready(), Err(ReadError::Behind { .. })));
    assert_eq!(other.progress().next, Position(0));
    lake.replace(&key, noise(99_999).into()).await;
    lake.plan_reads(ReadFault::None);
    while !other.awaited().is_some_and(|why| why.contains("is not what was stored")) {
        tokio::task::yield_now().await;
    }
    lake.replace(&key, body).await;
    other.reached(decided.position, Duration::from_secs(1_000)).await.unwrap();
    assert_eq!(other.awaited(), None);
    assert!(other.metadata(decided.position).await.unwrap() == metadata);
    assert_eq!(other.dump().unwrap(), archive.dump().unwrap());
}

#[tokio::test]
async fn without_its_large_sections_made_durable_nothing_is_appended() {
    let (clock, lake) = (clock(), Faulty::new());
    let log = Arc::new(MemoryLog::new(clock.clone()));
    let parts = parts(log.clone(), clock.clone());
    let settings = Settings { record_bytes: 4096, ..parts.settings };
    let archive = Archive::open(Parts { blobs: Blobs::over(lake.clone()), settings, ..parts }).unwrap();
    archive.begin_log(Uuid::from_u128(5)).await.unwrap();
    let tail = log.tail();
    let mut sections = Sections::default();
    sections.push(event::Section::Metadata, &noise(100_000)).unwrap();
    let head = archive.head(&system(), stored(&archive, 1, StoreMode::Create));
    lake.plan_puts([PutFault::Before, PutFault::Full]);
    for _ in 0..2 {
        assert!(matches!(archive.submit(&head, &sections).await, Err(SubmitError::Blob(_))));
    }
    assert_eq!(log.tail(), tail);
    // The same body twice is kept once, and a head that alone is too large is refused by the log.
    for n in 1..=2 {
        let head = archive.head(&system(), stored(&archive, n, StoreMode::Create));
        archive.submit(&head, &sections).await.unwrap().decided().await.unwrap();
    }
    assert_eq!(archive.blobs().list("kymo").count().await, 1);
}

/// A log begun by an older program, which knows no partitions; it was upgraded, and then partitions came.
#[tokio::test]
async fn the_first_partition_enables_the_format_that_has_it() {
    let (clock, partition) = (clock(), Partition::parse("Ward_7").unwrap());
    let log = Arc::new(MemoryLog::new(clock.clone()));
    let archive = Archive::open(parts(log.clone(), clock.clone())).unwrap();
    let begin = [Payload::LogCreated { log: Uuid::from_u128(5) }, Payload::FormatEnabled { version: 2 }];
    for payload in begin {
        let head = archive.head(&system(), payload);
        archive.submit(&head, &Sections::default()).await.unwrap().decided().await.unwrap();
    }
    let asking = Asking { partition: partition.clone(), ..system() };
    for _ in 0..2 {
        archive.create_partition(&asking).await.unwrap();
        assert_eq!(archive.has_partition(&partition), Ok(true));
    }
    archive.create_partition(&system()).await.unwrap();
    let payloads: Vec<Payload> = archive
        .commits(Position(2))
        .unwrap()
        .iter()
        .map(|commit| commit.event.as_ref().unwrap().head.payload.clone())
        .collect();
    let enabled = Payload::FormatEnabled { version: event::VERSION };
    assert_eq!(payloads, [enabled, Payload::PartitionCreated], "once, and what older programs stop at first");
    assert_eq!(archive.partition_count(), Ok(2));
}

/// An event of a version that may have sections elsewhere, but has none, needs no name of the log to be folded.
#[tokio::test]
async fn a_log_without_a_name_takes_a_partition() {
    let (archive, log, _) = in_memory();
    let partition = Partition::parse("Ward_7").unwrap();
    assert_eq!(archive.has_partition(&Partition::default()), Ok(true));
    archive.create_partition(&system()).await.unwrap();
    assert_eq!(log.tail(), Position(0), "the default one is not made");
    archive.create_partition(&Asking { partition: partition.clone(), ..system() }).await.unwrap();
    assert_eq!(archive.has_partition(&partition), Ok(true));
}

#[tokio::test]
async fn a_partition_that_cannot_be_made_is_an_error_and_is_not_there() {
    let (clock, partition) = (clock(), Partition::parse("Ward_7").unwrap());
    let log = MemoryLog::new(clock.clone());
    let log = Arc::new(FaultyLog::new(log, Plan::default()));
    let archive = Archive::open(parts(log.clone(), clock.clone())).unwrap();
    archive.begin_log(Uuid::from_u128(5)).await.unwrap();
    let asking = Asking { partition: partition.clone(), ..system() };
    log.fail_next(Fault::Before);
    let failed = archive.create_partition(&asking).await;
    assert!(matches!(failed, Err(SubmitError::Unavailable(_))), "{failed:?}");
    assert_eq!(archive.has_partition(&partition), Ok(false));
    archive.create_partition(&asking).await.unwrap();
    archive.seal_log().await.unwrap();
    let other = Asking { partition: Partition::parse("b").unwrap(), ..system() };
    assert_eq!(archive.create_partition(&other).await, Err(SubmitError::Sealed));
    archive.create_partition(&asking).await.expect("it is there already");
    assert_eq!(archive.partition_count(), Ok(2));
}

/// A log begun by an older program, which writes no events with sections that lie elsewhere.
#[tokio::test]
async fn the_first_large_section_enables_the_format_that_has_it() {
    let (clock, lake) = (clock(), Faulty::new());
    let log = Arc::new(MemoryLog::new(clock.clone()));
    let parts = parts(log.clone(), clock.clone());
    let settings = Settings { record_bytes: 4096, ..parts.settings };
    let archive = Archive::open(Parts { blobs: Blobs::over(lake), settings, ..parts }).unwrap();
    let begin = [Payload::LogCreated { log: Uuid::from_u128(5) }, Payload::FormatEnabled { version: 1 }];
    for payload in begin {
        let head = archive.head(&system(), payload);
        archive.submit(&head, &Sections::default()).await.unwrap().decided().await.unwrap();
    }
    for n in 1..=2 {
        let mut sections = Sections::default();
        sections.push(event::Section::Metadata, &noise(100_000)).unwrap();
        let head = archive.head(&system(), stored(&archive, n, StoreMode::Create));
        let decided = archive.submit(&head, &sections).await.unwrap().decided().await.unwrap();
        assert!(matches!(decided.outcome, Outcome::Accepted(_)));
    }
    let commits = archive.commits(Position(0)).unwrap();
    let enabled = |commit: &&Arc<Commit>| {
        let payload = &commit.event.as_ref().unwrap().head.payload;
        // Not the newest: programs that know no newer one go on.
        matches!(payload, Payload::FormatEnabled { version: 2 })
    };
    assert_eq!(commits.iter().filter(enabled).count(), 1, "once, and before the event that needs it");
    assert_eq!(commits.len(), 5);
}
