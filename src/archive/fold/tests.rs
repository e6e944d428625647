//! Decisions as tables: given records, when a record, then outcome.
//!
//! A record is written as `post 1/2/3`, `put B:1/2/3` or `delete 1/2`: a verb, the partition if it is not
//! the default one, then study, series and instance; `post 1/2/3 in 500` if the study is to expire in 500 ms.
//! `make B` creates a partition.

use proptest::prelude::*;

use super::super::state::expiry::{self, Expiring};
use super::super::state::instances::{self, LiveInstance};
use super::super::state::partitions::{self, KnownPartition};
use super::super::state::released::{self, BlobState};
use super::super::state::{FORMAT, change_feed};
use super::*;
use crate::blob::Lake;
use crate::dicom::uid::Uid;
use crate::event::codec::Sections;
use crate::event::{Action, Actor, Head, InstanceKey, ReceivedInstance, Scope, StoreMode, StoredFile};
use crate::tables::{Engine, Keeping};

/// How long an event of these tests may take effect.
const VALIDITY: i64 = 1_000;
/// When the log's clock begins.
const START: i64 = 1_000_000;
/// Ticks in a millisecond.
const MS: i64 = 10_000;

/// A log under construction and the state that follows from it.
struct World {
    table: Table,
    records: Vec<Record>,
    /// The log's clock.
    now: i64,
    made: u64,
}

impl World {
    fn new() -> Self {
        Self { table: Table::memory(), records: Vec::new(), now: START, made: 0 }
    }

    /// A world in which `history` has happened.
    fn given(history: &str) -> Self {
        let mut world = Self::new();
        for text in history.split("; ").filter(|text| !text.is_empty()) {
            world.when(text);
        }
        world
    }

    /// A number nobody else has.
    fn fresh(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// The event a text says, as a node would make it now.
    fn event(&mut self, text: &str) -> Head {
        let (text, expires) = match text.split_once(" in ") {
            Some((text, ms)) => (text, Some(ms.parse().unwrap())),
            None => (text, None),
        };
        let (verb, place) = text.split_once(' ').expect("a verb and a place");
        if verb == "make" {
            let partition = Partition::parse(place).unwrap();
            return Head { partition, ..self.head(Payload::PartitionCreated) };
        }
        let (partition, path) = match place.split_once(':') {
            Some((name, path)) => (Partition::parse(name).unwrap(), path),
            None => (Partition::default(), place),
        };
        let payload = match verb {
            "post" => self.stored(&partition, path, StoreMode::Create, expires),
            "put" => self.stored(&partition, path, StoreMode::Upsert, expires),
            "delete" => Payload::Deleted { scope: scope(path) },
            _ => panic!("no such verb: {verb}"),
        };
        Head { partition, ..self.head(payload) }
    }

    fn stored(
        &mut self,
        partition: &Partition,
        path: &str,
        mode: StoreMode,
        expires_after_ms: Option<u64>,
    ) -> Payload {
        let (key, number) = (key(path), self.fresh());
        let version = uuid::Builder::from_unix_timestamp_millis(number, &[7; 10]).into_uuid();
        let lake = Lake { workspace: "w".into(), service: "s".into() };
        let file = lake.instance_key(partition, &key.study, &key.series, &key.instance, version);
        let instance = ReceivedInstance {
            key,
            received: [None, None, None],
            sop_class: "1.2.840.10008.5.1.4.1.1.7".to_owned(),
            transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
            file: StoredFile { key: file, length_bytes: number, sha256: [0; 32] },
            dataset_offset: 0,
            warnings: Vec::new(),
            derived_by: 1,
            expires_after_ms,
        };
        Payload::InstanceStored { instance, mode }
    }

    fn head(&mut self, payload: Payload) -> Head {
        Head {
            id: Uuid::from_u128(u128::from(self.fresh())),
            node: Uuid::from_u128(7),
            valid_until: Stamp(self.now + VALIDITY),
            request_id: String::new(),
            trace_id: None,
            actor: Actor::Anonymous,
            cause: None,
            partition: Partition::default(),
            payload,
        }
    }

    /// The next record of the log, stamped by its clock.
    fn record(&self, bytes: bytes::Bytes) -> Record {
        let position = Position(self.records.len() as u64);
        Record { position, stamp: Stamp(self.now), chain: [0; 32], bytes }
    }

    fn try_append(&mut self, bytes: bytes::Bytes) -> Result<Arc<Commit>, FoldError> {
        let record = self.record(bytes);
        let (commits, _) = fold(&self.table, std::slice::from_ref(&record), None)?;
        self.records.push(record);
        self.now += 1;
        Ok(Arc::clone(&commits[0]))
    }

    fn append(&mut self, head: &Head) -> Arc<Commit> {
        self.try_append(encoded(head)).unwrap()
    }

    /// Appends what a text says and tells what became of it.
    fn when(&mut self, text: &str) -> String {
        let event = self.event(text);
        told(&self.append(&event).outcome)
    }

    fn meta(&self) -> Meta {
        Meta::load(&self.table.reader()).unwrap()
    }

    fn feed(&self) -> Vec<Change> {
        change_feed::rows(&self.table.reader(), 0..u64::MAX).collect::<Result<_, _>>().unwrap()
    }

    fn live(&self, partition: &Partition, path: &str) -> Vec<LiveInstance> {
        let reader = self.table.reader();
        instances::within(&reader, partition, &scope(path), None).collect::<Result<_, _>>().unwrap()
    }

    fn blob(&self, head: &Head) -> Option<BlobState> {
        released::state(&self.table.reader(), file_of(head).unwrap()).unwrap()
    }

    fn released(&self) -> Vec<String> {
        released::before(&self.table.reader(), Stamp(i64::MAX), usize::MAX).unwrap()
    }

    /// The partitions with their numbers, and which record made each.
    fn partitions(&self) -> String {
        let reader = self.table.reader();
        let rows = partitions::behind(&reader, 0).map(|row| {
            let KnownPartition { number, partition, created } = row.unwrap();
            assert!(partitions::exists(&reader, &partition).unwrap());
            format!("{number} {partition} by {}", created.0 - START)
        });
        let rows: Vec<String> = rows.collect();
        assert_eq!(rows.len() as u64, self.meta().partitions);
        rows.join(", ")
    }

    /// The studies that expire, the next one first, so many milliseconds after which record.
    fn expiring(&self) -> String {
        let reader = self.table.reader();
        let rows = expiry::due(&reader, Stamp(i64::MAX), usize::MAX).unwrap();
        assert_eq!(rows.len() as u64, self.meta().expiring);
        let row = |Expiring { due, partition, study }: Expiring| {
            assert_eq!(expiry::of_study(&reader, &partition, &study), Ok(Some(due)));
            let place =
                if partition == Partition::default() { String::new() } else { format!("{partition}:") };
            let (record, ms) = ((due.0 - START) % MS, (due.0 - START) / MS);
            format!("{place}{} {ms} after {record}", &study.as_str()[2..])
        };
        rows.into_iter().map(row).collect::<Vec<_>>().join(", ")
    }

    /// Feed and live instances, without what moves with every record.
    fn truth(&self) -> Vec<String> {
        let rows = self.table.dump().unwrap();
        rows.into_iter().filter(|row| row.starts_with(['F', 'L', 'B', 'R', 'N', 'P', 'S', 'D'])).collect()
    }
}

fn uid(prefix: &str, number: &str) -> Uid {
    Uid::parse(&format!("{prefix}.{number}")).unwrap()
}

fn key(path: &str) -> InstanceKey {
    let parts: Vec<&str> = path.split('/').collect();
    InstanceKey { study: uid("1", parts[0]), series: uid("2", parts[1]), instance: uid("3", parts[2]) }
}

fn scope(path: &str) -> Scope {
    let parts: Vec<&str> = path.split('/').collect();
    Scope {
        study: uid("1", parts[0]),
        series: parts.get(1).map(|number| uid("2", number)),
        instance: parts.get(2).map(|number| uid("3", number)),
    }
}

fn path(key: &InstanceKey) -> String {
    let number = |uid: &Uid| uid.as_str()[2..].to_owned();
    format!("{}/{}/{}", number(&key.study), number(&key.series), number(&key.instance))
}

fn encoded(head: &Head) -> bytes::Bytes {
    codec::encode(head, &Sections::default()).unwrap()
}

fn file_of(head: &Head) -> Option<&str> {
    match &head.payload {
        Payload::InstanceStored { instance, .. } => Some(&instance.file.key),
        _ => None,
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refusal) => format!("{refusal:?}"),
        Outcome::Accepted(changes) if changes.is_empty() => "accepted".to_owned(),
        Outcome::Accepted(changes) => {
            let row = |change: &Change| {
                let Change { sequence, action, partition, key, version, .. } = change;
                let place = if *partition == Partition::default() {
                    path(key)
                } else {
                    format!("{partition}:{}", path(key))
                };
                format!("{sequence} {action:?} {place} v{version}")
            };
            changes.iter().map(row).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn stores_and_deletes_are_decided_in_log_order() {
    const THREE: &str = "post 1/1/1; post 1/1/2; post 1/2/1";
    for (given, when, then) in [
        // Create.
        ("", "post 1/1/1", "1 Create 1/1/1 v1"),
        ("post 1/1/1", "post 1/1/2", "2 Create 1/1/2 v2"),
        ("post 1/1/1", "post 1/1/1", "AlreadyStored"),
        ("put 1/1/1", "post 1/1/1", "AlreadyStored"),
        ("post 1/1/1", "post 1/2/1", "2 Create 1/2/1 v2"),
        ("post 1/1/1", "post 2/1/1", "2 Create 2/1/1 v2"),
        ("post 1/1/1", "post B:1/1/1", "2 Create B:1/1/1 v2"),
        // Create after a delete, of whatever width.
        ("post 1/1/1; delete 1/1/1", "post 1/1/1", "3 Create 1/1/1 v3"),
        ("post 1/1/1; delete 1", "post 1/1/1", "3 Create 1/1/1 v3"),
        ("post 1/1/1; delete 1; put 1/1/1", "post 1/1/1", "AlreadyStored"),
        // A refusal takes no number.
        ("post 1/1/1; post 1/1/1; delete 9; post 1/1/1", "post 1/1/2", "2 Create 1/1/2 v2"),
        // Upsert.
        ("", "put 1/1/1", "1 Create 1/1/1 v1"),
        ("post 1/1/1", "put 1/1/1", "2 Update 1/1/1 v2"),
        ("put 1/1/1; put 1/1/1", "put 1/1/1", "3 Update 1/1/1 v3"),
        ("put 1/1/1; delete 1/1", "put 1/1/1", "3 Create 1/1/1 v3"),
        // Delete: a row for each live instance, in the order in which they came, of the version that goes.
        ("post 1/1/1", "delete 1/1/1", "2 Delete 1/1/1 v1"),
        ("post 1/1/1; put 1/1/1", "delete 1/1/1", "3 Delete 1/1/1 v2"),
        (THREE, "delete 1/1", "4 Delete 1/1/1 v1, 5 Delete 1/1/2 v2"),
        (THREE, "delete 1", "4 Delete 1/1/1 v1, 5 Delete 1/1/2 v2, 6 Delete 1/2/1 v3"),
        ("post 1/1/2; post 1/1/1; put 1/1/2", "delete 1", "4 Delete 1/1/1 v2, 5 Delete 1/1/2 v3"),
        // Delete of nothing.
        ("", "delete 1", "NothingMatches"),
        (THREE, "delete 1/3", "NothingMatches"),
        (THREE, "delete 1/2/2", "NothingMatches"),
        (THREE, "delete B:1", "NothingMatches"),
        ("post 1/1/1; delete 1", "delete 1", "NothingMatches"),
        // A UID that begins like another one is another one; so is that of another study or partition.
        ("post 1/1/1; post 11/1/1; post 1.1/1/1", "delete 1", "4 Delete 1/1/1 v1"),
        ("post 1/1/1; post 1/11/1; post 2/1/1", "delete 1/1", "4 Delete 1/1/1 v1"),
        ("post 1/1/1; post 1/1/11", "delete 1/1/1", "3 Delete 1/1/1 v1"),
        ("post 1/1/1; post B:1/1/1", "delete B:1", "3 Delete B:1/1/1 v2"),
    ] {
        assert_eq!(World::given(given).when(when), then, "given '{given}', when '{when}'");
    }
}

/// `studies.md` §6: the first creation wins and is counted; nothing that is refused makes a partition.
#[test]
fn partitions_come_to_be_in_log_order() {
    const DEFAULT: &str = "1 Microsoft.Default by 0";
    for (history, then) in [
        ("", ""),
        ("post 1/1/1", DEFAULT),
        ("delete 1", DEFAULT),
        ("make Microsoft.Default", DEFAULT),
        ("post 1/1/1; make Microsoft.Default; post 1/1/2", DEFAULT),
        ("post 1/1/1; make B", "1 Microsoft.Default by 0, 2 B by 1"),
        ("make B", "1 Microsoft.Default by 0, 2 B by 0"),
        ("make B; make B; make A; make B", "1 Microsoft.Default by 0, 2 B by 0, 3 A by 2"),
        // Names are told apart by the case of their letters.
        (
            "make B; make b; make microsoft.default",
            "1 Microsoft.Default by 0, 2 B by 0, 3 b by 1, 4 microsoft.default by 2",
        ),
        // A store into a partition that nobody made makes it, with its number in its turn.
        ("post 1/1/1; post B:1/1/1; make B", "1 Microsoft.Default by 0, 2 B by 1"),
        ("put C:1/1/1; make B; post C:1/1/1", "1 Microsoft.Default by 0, 2 C by 0, 3 B by 1"),
        ("delete B:1; post C:1/1/1", "1 Microsoft.Default by 0, 2 C by 1"),
        // It stays when it is empty.
        ("post B:1/1/1; delete B:1", "1 Microsoft.Default by 0, 2 B by 0"),
    ] {
        assert_eq!(World::given(history).partitions(), then, "given '{history}'");
    }
}

#[test]
fn the_default_partition_is_as_old_as_the_first_record_whatever_that_is() {
    let mut world = World::new();
    world.try_append(bytes::Bytes::from_static(b"not ours")).unwrap();
    world.when("make B");
    assert_eq!(world.partitions(), "1 Microsoft.Default by 0, 2 B by 1");
}

#[test]
fn what_is_refused_makes_no_partition_and_no_study_expire() {
    for text in ["make B", "post B:1/1/1 in 5", "put B:1/1/1 in 5"] {
        let mut world = World::given("post 1/1/1 in 9");
        let late = world.event(text);
        world.now = late.valid_until.0 + 1;
        assert_eq!(told(&world.append(&late).outcome), "TooLate");
        let seal = world.head(Payload::LogSealed);
        world.append(&seal);
        assert_eq!(world.when(text), "Sealed");
        assert_eq!(world.partitions(), "1 Microsoft.Default by 0");
        assert_eq!(world.expiring(), "1 9 after 0");
    }
}

#[test]
fn a_partition_keeps_its_number_when_its_creation_is_repeated_or_comes_again() {
    let mut world = World::given("make A");
    let make = world.event("make B");
    assert_eq!(told(&world.append(&make).outcome), "accepted");
    assert_eq!(told(&world.append(&make).outcome), "Repeated");
    assert_eq!(world.when("make B"), "accepted");
    assert_eq!(world.partitions(), "1 Microsoft.Default by 0, 2 A by 0, 3 B by 1");
    assert!(world.feed().is_empty(), "the feed tells of instances only");
}

/// `studies.md` §2.10: the last store that holds decides for its study.
#[test]
fn the_last_store_decides_when_a_study_expires() {
    for (history, then) in [
        ("post 1/1/1", ""),
        ("post 1/1/1 in 500", "1 500 after 0"),
        ("put 1/1/1 in 500", "1 500 after 0"),
        // The next store of the study decides anew, be it another instance, series or method.
        ("post 1/1/1 in 500; post 1/1/2 in 70", "1 70 after 1"),
        ("post 1/1/1 in 500; post 1/1/2 in 500", "1 500 after 1"),
        ("post 1/1/1 in 500; put 1/1/1 in 900", "1 900 after 1"),
        ("post 1/1/1 in 500; post 1/1/2", ""),
        ("post 1/1/1 in 500; post 1/2/1", ""),
        ("post 1/1/1 in 500; put 1/1/1", ""),
        ("post 1/1/1 in 500; post 1/1/2; put 1/1/2 in 6", "1 6 after 2"),
        // One that is refused decides nothing.
        ("post 1/1/1 in 500; post 1/1/1", "1 500 after 0"),
        ("post 1/1/1 in 500; post 1/1/1 in 9", "1 500 after 0"),
        ("post 1/1/1; post 1/1/1 in 9", ""),
        // Each study by itself, the next one first; that of another partition is another one.
        ("post 1/1/1 in 500; post 2/1/1", "1 500 after 0"),
        ("post 1/1/1 in 500; post 2/1/1 in 5; post 3/1/1 in 50", "2 5 after 1, 3 50 after 2, 1 500 after 0"),
        ("post 1/1/1 in 500; post B:1/1/1 in 5", "B:1 5 after 1, 1 500 after 0"),
        ("post 1/1/1 in 500; post B:1/1/1", "1 500 after 0"),
        ("post 1/1/1 in 5; post B:1/1/1 in 5; delete 1", "B:1 5 after 1"),
        // A study that is gone expires no more; one of which something is left does.
        ("post 1/1/1 in 500; delete 1", ""),
        ("post 1/1/1 in 500; delete 1/1", ""),
        ("post 1/1/1 in 500; delete 1/1/1", ""),
        ("post 1/1/1; post 1/2/1 in 500; delete 1/1", "1 500 after 1"),
        ("post 1/1/1; post 1/1/2 in 500; delete 1/1/1", "1 500 after 1"),
        ("post 1/1/1 in 500; delete 2", "1 500 after 0"),
        ("post 1/1/1 in 500; delete 1; post 1/1/1", ""),
        ("post 1/1/1 in 500; delete 1; post 1/1/1 in 3", "1 3 after 2"),
    ] {
        assert_eq!(World::given(history).expiring(), then, "given '{history}'");
    }
}

#[test]
fn what_is_due_is_found_by_feed_time_and_nothing_else() {
    let world = World::given("post 1/1/1 in 30; post 2/1/1 in 10; post 3/1/1 in 20; post 4/1/1 in 10");
    let due = |until: i64, limit| {
        let rows = expiry::due(&world.table.reader(), Stamp(START + until), limit).unwrap();
        rows.iter().map(|row| row.study.as_str()[2..].to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(due(10 * MS, 9), "", "the store of study 2 lies at record 1");
    assert_eq!(due(10 * MS + 1, 9), "2");
    assert_eq!(due(10 * MS + 3, 9), "2 4");
    assert_eq!(due(29 * MS, 9), "2 4 3");
    assert_eq!(due(30 * MS, 9), "2 4 3 1");
    assert_eq!(due(30 * MS, 2), "2 4");
    // Feed time, not the record's own stamp: a clock that went back makes nothing expire sooner.
    let mut world = World::given("post 1/1/1");
    world.now -= 50;
    world.when("post 2/1/1 in 10");
    assert_eq!(world.expiring(), "2 10 after 0");
    // The longest time there is does not go round to the beginning.
    world.when(&format!("post 3/1/1 in {}", u64::MAX));
    let rows = expiry::due(&world.table.reader(), Stamp(i64::MAX), 9).unwrap();
    assert_eq!(rows.last().map(|row| row.due), Some(Stamp(i64::MAX)));
    assert_eq!(rows.len(), 2);
}

#[test]
fn rows_say_what_the_feed_shows() {
    let mut world = World::new();
    let (post, put, delete) =
        (world.event("post 1/1/1"), world.event("put 1/1/1"), world.event("delete 1/1/1"));
    for event in [&post, &put, &delete] {
        world.append(event);
    }
    let row = |sequence, action, version, position: u64, file: Option<&str>| Change {
        sequence,
        action,
        partition: Partition::default(),
        key: key("1/1/1"),
        version,
        time: world.records[usize::try_from(position).unwrap()].stamp,
        position: Position(position),
        file: file.map(ToOwned::to_owned),
    };
    let wanted = [
        row(1, Action::Create, 1, 0, file_of(&post)),
        row(2, Action::Update, 2, 1, file_of(&put)),
        row(3, Action::Delete, 2, 2, None),
    ];
    assert_eq!(world.feed(), wanted);
}

/// The worked sequences of `change-feed.md` §5.
#[test]
fn states_follow_the_version_that_lives() {
    use super::super::state::change_feed::FeedState::{Current, Deleted, Replaced};
    for (history, wanted) in [
        ("post 1/1/1", vec![Current]),
        ("post 1/1/1; delete 1", vec![Deleted, Deleted]),
        ("post 1/1/1; delete 1; post 1/1/1", vec![Replaced, Replaced, Current]),
        ("post 1/1/1; put 1/1/1", vec![Replaced, Current]),
        ("post 1/1/1; put 1/1/1; put 1/1/1", vec![Replaced, Replaced, Current]),
        ("post 1/1/1; put 1/1/1; delete 1/1", vec![Deleted, Deleted, Deleted]),
        ("post 1/1/1; post B:1/1/1; delete 1", vec![Deleted, Current, Deleted]),
    ] {
        let world = World::given(history);
        let reader = world.table.reader();
        let states: Vec<_> = change_feed::rows(&reader, 1..100)
            .map(|row| change_feed::state_now(&reader, row.unwrap()).unwrap().state)
            .collect();
        assert_eq!(states, wanted, "{history}");
    }
}

#[test]
fn a_replaced_deleted_or_refused_file_is_released_and_the_live_one_is_not() {
    let mut world = World::new();
    let (first, second, third) =
        (world.event("post 1/1/1"), world.event("post 1/1/1"), world.event("put 1/1/1"));
    world.append(&first);
    assert_eq!(world.blob(&first), Some(BlobState::Live));
    assert_eq!(world.blob(&second), None);
    world.append(&second);
    assert_eq!(world.blob(&second), Some(BlobState::Released(world.meta().time)));
    world.append(&third);
    assert_eq!(world.blob(&first), Some(BlobState::Released(world.meta().time)));
    assert_eq!(world.blob(&third), Some(BlobState::Live));
    world.when("delete 1/1");
    assert_eq!(world.blob(&third), Some(BlobState::Released(world.meta().time)));
    // Oldest first, which the sweep relies on.
    let files = [&second, &first, &third].map(|event| file_of(event).unwrap().to_owned());
    assert_eq!(world.released(), files);
    let before = world.meta().time;
    let older = released::before(&world.table.reader(), before, 10).unwrap();
    assert_eq!(older, files[..2]);
    assert_eq!(released::before(&world.table.reader(), before, 1).unwrap(), files[..1]);
}

#[test]
fn removal_takes_released_files_and_leaves_live_ones() {
    let mut world = World::new();
    let (gone, lives) = (world.event("post 1/1/1"), world.event("put 1/1/1"));
    world.append(&gone);
    world.append(&lives);
    let stranger = world.event("post 9/9/9");
    let keys = [&gone, &lives, &stranger].map(|event| file_of(event).unwrap().to_owned());
    let removal = world.head(Payload::BlobsRemoved { keys: keys.to_vec() });
    assert_eq!(told(&world.append(&removal).outcome), "accepted");
    assert_eq!(world.blob(&gone), Some(BlobState::Removed));
    assert_eq!(world.blob(&lives), Some(BlobState::Live));
    assert_eq!(world.blob(&stranger), None);
    assert!(world.released().is_empty());
    assert_eq!(world.live(&Partition::default(), "1").len(), 1);
    // Said once more, it changes nothing.
    let before = world.truth();
    let again = world.head(Payload::BlobsRemoved { keys: keys.to_vec() });
    world.append(&again);
    assert_eq!(world.truth(), before);
}

#[test]
fn an_event_past_its_validity_is_refused_and_its_file_released() {
    for (late_by, then) in [(0, "1 Create 1/1/1 v1"), (1, "TooLate"), (1_000_000, "TooLate")] {
        let mut world = World::new();
        let event = world.event("post 1/1/1");
        world.now = event.valid_until.0 + late_by;
        assert_eq!(told(&world.append(&event).outcome), then, "{late_by} late");
        let wanted = if late_by == 0 { BlobState::Live } else { BlobState::Released(world.meta().time) };
        assert_eq!(world.blob(&event), Some(wanted));
    }
}

#[test]
fn feed_time_makes_an_event_late_even_if_its_own_stamp_does_not() {
    let mut world = World::given("post 1/1/1");
    let delete = world.event("delete 1");
    world.now += VALIDITY + 1;
    let mark = world.head(Payload::TimeMarked);
    assert_eq!(told(&world.append(&mark).outcome), "accepted");
    world.now -= VALIDITY;
    assert_eq!(told(&world.append(&delete).outcome), "TooLate");
    assert_eq!(world.live(&Partition::default(), "1").len(), 1);
}

#[test]
fn a_sealed_log_refuses_everything_until_it_is_opened() {
    let mut world = World::given("post 1/1/1");
    let seal = world.head(Payload::LogSealed);
    assert_eq!(told(&world.append(&seal).outcome), "accepted");
    let before = world.truth();
    for payload in [
        Payload::TimeMarked,
        Payload::BlobsRemoved { keys: Vec::new() },
        Payload::LogSealed,
        Payload::PartitionCreated,
    ] {
        let event = world.head(payload);
        assert_eq!(told(&world.append(&event).outcome), "Sealed");
    }
    for text in ["post 2/2/2", "put 1/1/1", "delete 1"] {
        let event = world.event(text);
        assert_eq!(told(&world.append(&event).outcome), "Sealed", "{text}");
        if text != "delete 1" {
            assert_eq!(world.blob(&event), Some(BlobState::Released(world.meta().time)));
        }
    }
    assert_eq!(world.live(&Partition::default(), "1").len(), 1);
    assert_eq!(world.live(&Partition::default(), "2").len(), 0);
    assert_eq!(world.meta().sequence, 1, "{before:?}");
    let open = world.head(Payload::LogOpened);
    assert_eq!(told(&world.append(&open).outcome), "accepted");
    assert_eq!(world.when("delete 1"), "2 Delete 1/1/1 v1");
}

#[test]
fn every_kind_of_event_can_come_too_late() {
    for payload in [
        Payload::LogCreated { log: Uuid::from_u128(5) },
        Payload::FormatEnabled { version: 1 },
        Payload::Deleted { scope: scope("1") },
        Payload::BlobsRemoved { keys: Vec::new() },
        Payload::TimeMarked,
        Payload::LogSealed,
        Payload::LogOpened,
        Payload::PartitionCreated,
    ] {
        let mut world = World::given("post 1/1/1");
        let event = world.head(payload);
        world.now = event.valid_until.0 + 1;
        let before = (world.truth(), world.meta().log, world.meta().format);
        assert_eq!(told(&world.append(&event).outcome), "TooLate", "{event:?}");
        assert_eq!((world.truth(), world.meta().log, world.meta().format), before);
    }
}

/// The producer of a broker may repeat a record long after its event held: the file lives, and must go on
/// living, though that repetition is refused.
#[test]
fn a_late_repetition_does_not_release_the_live_file() {
    let mut world = World::new();
    let event = world.event("post 1/1/1");
    world.append(&event);
    world.now = event.valid_until.0 + 1;
    assert_eq!(told(&world.append(&event).outcome), "TooLate");
    assert_eq!(world.blob(&event), Some(BlobState::Live));
    assert!(world.released().is_empty());
    // Nor does it move the moment since when a file is released, or bring back one that was removed.
    let since = world.now;
    world.when("delete 1");
    world.append(&event);
    assert_eq!(world.blob(&event), Some(BlobState::Released(Stamp(since))));
    let removal = world.head(Payload::BlobsRemoved { keys: world.released() });
    world.append(&removal);
    world.append(&event);
    assert_eq!(world.blob(&event), Some(BlobState::Removed));
}

#[test]
fn an_event_seen_again_has_no_effect() {
    for text in ["post 1/1/1", "put 1/1/1", "delete 2/1/1"] {
        let mut world = World::given("post 2/1/1");
        let event = world.event(text);
        world.append(&event);
        let before = world.truth();
        assert_eq!(told(&world.append(&event).outcome), "Repeated", "{text}");
        assert_eq!(world.truth(), before);
        // Not even when it would be accepted if it were new.
        world.when("delete 1");
        world.when("put 2/1/1");
        let before = world.truth();
        world.now = event.valid_until.0;
        assert_eq!(told(&world.append(&event).outcome), "Repeated", "{text}");
        assert_eq!(world.truth(), before);
    }
}

#[test]
fn a_refused_event_stays_refused_when_it_comes_again() {
    let mut world = World::given("post 1/1/1");
    let event = world.event("post 1/1/1");
    assert_eq!(told(&world.append(&event).outcome), "AlreadyStored");
    world.when("delete 1");
    assert_eq!(told(&world.append(&event).outcome), "Repeated");
    assert!(world.live(&Partition::default(), "1").is_empty());
}

#[test]
fn ids_are_remembered_as_long_as_they_matter() {
    let ids = |world: &World| world.table.dump().unwrap().iter().filter(|row| row.starts_with('E')).count();
    let mut world = World::new();
    for n in 0..10 {
        world.when(&format!("post 1/1/{n}"));
    }
    assert_eq!(ids(&world), 10);
    world.now += VALIDITY - 1;
    world.when("post 1/1/99");
    // The last of the ten is valid to the very moment; the new one is remembered too.
    assert_eq!(ids(&world), 2);
}

#[test]
fn a_foreign_record_takes_a_position_and_is_passed_over() {
    for bytes in [&b""[..], b"K", b"hello, this is not a record of ours", &[0xff; 64]] {
        let mut world = World::given("post 1/1/1");
        let before = world.truth();
        let commit = world.try_append(bytes::Bytes::copy_from_slice(bytes)).unwrap();
        assert_eq!(commit.position, Position(1));
        assert!(commit.event.is_none());
        assert_eq!(commit.outcome, Outcome::Refused(Refusal::Foreign));
        assert_eq!(world.truth(), before);
        assert_eq!(world.when("post 1/1/2"), "2 Create 1/1/2 v2");
    }
}

#[test]
fn a_format_from_the_future_stops_the_fold_with_a_message_that_names_it() {
    let mut world = World::given("post 1/1/1");
    let event = world.head(Payload::FormatEnabled { version: event::VERSION + 1 });
    let before = world.table.dump().unwrap();
    let error = world.try_append(encoded(&event)).unwrap_err();
    let message = error.to_string();
    for part in ["position 1", "version 4", "up to 3", "install a newer Kymo"] {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    assert_eq!(world.table.dump().unwrap(), before);
    let event = world.head(Payload::FormatEnabled { version: event::VERSION });
    assert_eq!(told(&world.append(&event).outcome), "accepted");
    assert_eq!(world.meta().format, event::VERSION);
}

#[test]
fn an_event_of_the_future_or_one_that_is_broken_stops_the_fold() {
    let mut world = World::given("post 1/1/1");
    let event = world.event("post 1/1/2");
    let (mut newer, mut broken) = (encoded(&event).to_vec(), encoded(&event).to_vec());
    newer[4] = 4;
    broken.truncate(broken.len() - 1);
    for (bytes, parts) in [
        (newer, ["position 1", "version 4", "up to 3", "install a newer Kymo"]),
        (broken, ["position 1", "cannot be read", "cut off", "stops"]),
    ] {
        let before = world.table.dump().unwrap();
        let message = world.try_append(bytes.into()).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        assert_eq!(world.table.dump().unwrap(), before);
    }
    assert_eq!(told(&world.append(&event).outcome), "2 Create 1/1/2 v2");
}

#[test]
fn the_first_valid_name_of_the_log_stays() {
    let mut world = World::new();
    let named = |world: &mut World, log: u128, late: bool| {
        let event = world.head(Payload::LogCreated { log: Uuid::from_u128(log) });
        if late {
            world.now += VALIDITY + 1;
        }
        told(&world.append(&event).outcome)
    };
    assert_eq!(named(&mut world, 4, true), "TooLate");
    assert_eq!(named(&mut world, 5, false), "accepted");
    assert_eq!(named(&mut world, 6, false), "Foreign");
    assert_eq!(named(&mut world, 5, false), "accepted");
    assert_eq!(world.meta().log, Some(Uuid::from_u128(5)));
}

#[test]
fn records_out_of_order_are_not_folded() {
    let mut world = World::given("post 1/1/1");
    let bytes = {
        let event = world.event("post 1/1/2");
        encoded(&event)
    };
    for given in [0, 2] {
        let record = Record { position: Position(given), ..world.record(bytes.clone()) };
        let refused = fold(&world.table, &[record], None).map(drop);
        let wanted = FoldError::OutOfOrder { wanted: Position(1), given: Position(given) };
        assert_eq!(refused, Err(wanted));
    }
    let run = [world.record(bytes.clone()), world.record(bytes)];
    assert!(matches!(fold(&world.table, &run, None), Err(FoldError::OutOfOrder { .. })));
    assert_eq!(world.table.cursor(), Ok(Position(1)));
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Tell(String),
    /// The event made so many steps ago once more, if there is one.
    Repeat(usize),
    /// An event made now that reaches the log at the end of the history.
    Delay(String),
    Remove,
    Mark,
    Foreign,
}

fn step() -> impl Strategy<Value = (Step, i64)> {
    let place = (0..2u8, 1..3u8, 1..3u8, 1..4u8);
    let place = place.prop_map(|(partition, study, series, instance)| {
        format!("{}{study}/{series}/{instance}", if partition == 0 { "" } else { "B:" })
    });
    let store = (prop_oneof![Just("post"), Just("put")], place.clone())
        .prop_map(|(verb, place)| format!("{verb} {place}"));
    let delete = (place, 1..4usize).prop_map(|(place, depth)| {
        let parts: Vec<&str> = place.split('/').take(depth).collect();
        format!("delete {}", parts.join("/"))
    });
    let expiring = (store.clone(), 1..4u64).prop_map(|(store, ms)| format!("{store} in {ms}"));
    let make = (0..3u8).prop_map(|n| format!("make {}", ["B", "C", "Microsoft.Default"][usize::from(n)]));
    let tell = prop_oneof![9 => store, 3 => expiring, 4 => delete, 1 => make];
    let step = prop_oneof![
        12 => tell.clone().prop_map(Step::Tell),
        2 => (0..20usize).prop_map(Step::Repeat),
        1 => tell.prop_map(Step::Delay),
        1 => Just(Step::Remove),
        1 => Just(Step::Mark),
        1 => Just(Step::Foreign),
    ];
    // The log's clock goes back now and then, and sometimes far ahead.
    let passes = prop_oneof![6 => 0..50i64, 2 => -300..0i64, 1 => VALIDITY..3 * VALIDITY];
    (step, passes)
}

/// Plays a history record by record; gives the world, the commits and every file named.
fn play(steps: &[(Step, i64)]) -> (World, Vec<Arc<Commit>>, Vec<String>) {
    let mut world = World::new();
    let (mut commits, mut heads, mut delayed) = (Vec::new(), Vec::<Head>::new(), Vec::new());
    for (step, passes) in steps {
        world.now += passes;
        let head = match step {
            Step::Tell(text) => world.event(text),
            Step::Repeat(ago) if *ago < heads.len() => heads[heads.len() - 1 - ago].clone(),
            Step::Repeat(_) | Step::Mark => world.head(Payload::TimeMarked),
            Step::Delay(text) => {
                delayed.push(world.event(text));
                continue;
            }
            Step::Remove => {
                let keys = heads.iter().filter_map(file_of).map(ToOwned::to_owned).collect();
                world.head(Payload::BlobsRemoved { keys })
            }
            Step::Foreign => {
                commits.push(world.try_append(bytes::Bytes::from_static(b"not ours")).unwrap());
                continue;
            }
        };
        commits.push(world.append(&head));
        heads.push(head);
    }
    for head in delayed {
        commits.push(world.append(&head));
        heads.push(head);
    }
    let files = heads.iter().filter_map(file_of).map(ToOwned::to_owned).collect();
    (world, commits, files)
}

proptest! {
    #[test]
    fn the_feed_is_dense_and_its_times_never_decrease(steps in prop::collection::vec(step(), 1..60)) {
        let (world, commits, _) = play(&steps);
        let feed = world.feed();
        let told: Vec<Change> = commits.iter().flat_map(|commit| commit.changes().to_vec()).collect();
        prop_assert_eq!(&feed, &told);
        for (row, number) in feed.iter().zip(1..) {
            prop_assert_eq!(row.sequence, number);
            prop_assert!(row.action == Action::Delete || row.version == number);
            // The greatest stamp passed, the row's own included.
            let passed = &world.records[..=usize::try_from(row.position.0).unwrap()];
            prop_assert_eq!(Some(row.time), passed.iter().map(|record| record.stamp).max());
        }
        prop_assert!(feed.is_sorted_by_key(|row| (row.time, row.position)));
        prop_assert_eq!(world.meta().sequence, feed.len() as u64);
    }

    #[test]
    fn live_rows_and_files_follow_from_the_feed(steps in prop::collection::vec(step(), 1..60)) {
        let (world, _, files) = play(&steps);
        let mut wanted = std::collections::BTreeMap::new();
        for row in world.feed() {
            match row.action {
                Action::Create | Action::Update => {
                    let before = wanted.insert((row.partition, row.key), (row.version, row.file.unwrap()));
                    prop_assert_eq!(before.is_some(), row.action == Action::Update);
                }
                Action::Delete => {
                    let before = wanted.remove(&(row.partition, row.key));
                    prop_assert_eq!(before.map(|(version, _)| version), Some(row.version));
                }
            }
        }
        let mut found = std::collections::BTreeMap::new();
        for partition in [Partition::default(), Partition::parse("B").unwrap()] {
            for live in ["1", "2"].iter().flat_map(|study| world.live(&partition, study)) {
                found.insert((partition.clone(), live.key), (live.version, live.file.key));
            }
        }
        prop_assert_eq!(&found, &wanted);
        let lives: Vec<&String> = wanted.values().map(|(_, file)| file).collect();
        let listed = world.released();
        for file in &files {
            let state = released::state(&world.table.reader(), file).unwrap();
            prop_assert!(state.is_some(), "{} was named", file);
            prop_assert_eq!(state == Some(BlobState::Live), lives.contains(&file));
            prop_assert_eq!(matches!(state, Some(BlobState::Released(_))), listed.contains(file));
        }
    }

    #[test]
    fn partitions_and_expiry_follow_from_what_held(steps in prop::collection::vec(step(), 1..60)) {
        let (world, commits, _) = play(&steps);
        let mut made = vec![(Partition::default(), commits[0].time)];
        let mut due = std::collections::BTreeMap::new();
        for commit in &commits {
            let (Some(event), Outcome::Accepted(changes)) = (&commit.event, &commit.outcome) else { continue };
            let partition = &event.head.partition;
            let makes = !changes.is_empty() || event.head.payload == Payload::PartitionCreated;
            if makes && made.iter().all(|(known, _)| known != partition) {
                made.push((partition.clone(), commit.time));
            }
            if let Payload::InstanceStored { instance, .. } = &event.head.payload {
                let study = (partition.clone(), instance.key.study.clone());
                match instance.expires_after_ms {
                    Some(ms) => drop(due.insert(study, commit.time.0 + i64::try_from(ms).unwrap() * MS)),
                    None => drop(due.remove(&study)),
                }
            }
        }
        due.retain(|(partition, study), _| !world.live(partition, &study.as_str()[2..]).is_empty());
        let reader = world.table.reader();
        let known: Vec<_> = partitions::behind(&reader, 0).collect::<Result<_, _>>().unwrap();
        prop_assert!(known.iter().zip(1..).all(|(known, number)| known.number == number));
        let known: Vec<_> = known.into_iter().map(|known| (known.partition, known.created)).collect();
        prop_assert_eq!(known, made);
        let found = expiry::due(&reader, Stamp(i64::MAX), usize::MAX).unwrap();
        prop_assert!(found.is_sorted_by_key(|row| row.due));
        let found: std::collections::BTreeMap<_, _> =
            found.into_iter().map(|row| ((row.partition, row.study), row.due.0)).collect();
        prop_assert_eq!(found, due);
    }

    #[test]
    fn however_the_log_is_cut_into_runs_the_result_is_the_same(
        steps in prop::collection::vec(step(), 1..60),
        cuts in prop::collection::vec(1..9usize, 60),
    ) {
        let (world, commits, _) = play(&steps);
        let wanted = (world.table.dump().unwrap(), printed(&commits));
        let whole = Table::memory();
        let folded = fold(&whole, &world.records, None).unwrap();
        prop_assert_eq!(&(whole.dump().unwrap(), printed(&folded.0)), &wanted);
        prop_assert_eq!(folded.1, world.meta());
        let (cut, mut rest, mut folded) = (Table::memory(), &world.records[..], Vec::new());
        for length in cuts {
            let (run, behind) = rest.split_at(length.min(rest.len()));
            folded.extend(fold(&cut, run, None).unwrap().0);
            rest = behind;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&(cut.dump().unwrap(), printed(&folded)), &wanted);
    }
}

fn printed(commits: &[Arc<Commit>]) -> Vec<String> {
    let line = |commit: &Arc<Commit>| format!("{} {:?} {:?}", commit.position, commit.time, commit.outcome);
    commits.iter().map(line).collect()
}

#[test]
fn a_table_on_disk_holds_what_one_in_memory_holds() {
    let world = World::given(
        "post 1/1/1; put 1/1/1 in 7; post 1/1/2; delete 1/1/1; make C; post 1/1/1 in 7; post B:1/1/1 in 8",
    );
    for engine in [Engine::Fjall, Engine::Sled] {
        let folder = tempfile::tempdir().unwrap();
        let keeping = Keeping::by(engine);
        let table = Table::open(&folder.path().join("t"), FORMAT, Uuid::nil(), keeping).unwrap();
        for run in world.records.chunks(4) {
            fold(&table, run, None).unwrap();
        }
        assert_eq!(table.dump().unwrap(), world.table.dump().unwrap());
    }
}
