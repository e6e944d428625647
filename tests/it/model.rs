//! Random histories against a model that is a `BTreeMap`: stores, upserts, deletes on three levels in two partitions,
//! studies that expire, sweeps, crashes, rebuilds and faults are steps like the others (architecture §7, promises 1 to 5).
//!
//! After every step: the live set, the feed and its states, the partitions and what expires are the model's; rows
//! once read stay as they were; the log holds as many records as were appended; what is live reads as it was stored. After a crash
//! or a rebuild every view is what it was.
//! Invariant: after an append of unknown outcome the model takes either, and learns which from the archive.
//! Elsewhere: several nodes and late events (`simulation`), power loss (`crash`).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kymo::archive::{Expiring, FeedState, PartOutcome, PartRefusal, Stored, SubmitError};
use kymo::base::{Partition, Position, Stamp};
use kymo::blob::faulty::PutFault;
use kymo::dicom::uid::Uid;
use kymo::event::{Action, Change, InstanceKey, Outcome, Refusal, Scope, StoreMode};
use kymo::log::faulty::Fault;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::kit::archive::{Stores, TestArchive, asking_in, store_in};
use crate::kit::dicom::Instance;
use crate::kit::ground::{Ground, on_every_ground};
use crate::kit::seeds;

/// Study, series and instance, each from a few.
type Place = (u8, u8, u8);

/// A partition and a place in it.
type Spot = (u8, Place);

const PARTITIONS: [&str; 2] = [Partition::DEFAULT_NAME, "Ward_7"];

#[derive(Clone)]
enum Step {
    Store {
        mode: StoreMode,
        partition: u8,
        expires_after_ms: Option<u64>,
        parts: Vec<(Place, Size)>,
    },
    /// A request whose body breaks off.
    Abandon(Place),
    Delete {
        spot: Spot,
        depth: u8,
    },
    /// Released files are removed.
    Sweep,
    /// Time passes, and a mark says so.
    Mark,
    FailNextAppend(Fault),
    FailNextPut(PutFault),
    Crash,
    Rebuild,
}

/// One line for each step, so that a history that fails can be read.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { mode, partition, expires_after_ms, parts } => {
                let parts: Vec<_> =
                    parts.iter().map(|((a, b, c), size)| format!("{a}/{b}/{c} {size:?}")).collect();
                write!(f, "Store {mode:?} {partition}: {}, expires {expires_after_ms:?}", parts.join(", "))
            }
            Self::Abandon((study, series, instance)) => write!(f, "Abandon {study}/{series}/{instance}"),
            Self::Delete { spot: (partition, (study, series, instance)), depth } => {
                write!(f, "Delete {partition}: {study}/{series}/{instance}, depth {depth}")
            }
            Self::Sweep => f.write_str("Sweep"),
            Self::Mark => f.write_str("Mark"),
            Self::FailNextAppend(fault) => write!(f, "FailNextAppend({fault:?})"),
            Self::FailNextPut(fault) => write!(f, "FailNextPut({fault:?})"),
            Self::Crash => f.write_str("Crash"),
            Self::Rebuild => f.write_str("Rebuild"),
        }
    }
}

/// How large a file is.
#[derive(Clone, Copy, Debug)]
enum Size {
    Small,
    /// More than one checksummed chunk.
    Large,
}

fn step() -> impl Strategy<Value = Step> {
    let place = (0..2u8, 0..2u8, 0..3u8);
    let part = (place.clone(), prop_oneof![8 => Just(Size::Small), 1 => Just(Size::Large)]);
    let parts = prop_oneof![
        3 => prop::collection::vec(part.clone(), 1),
        1 => prop::collection::vec(part, 2..5),
    ];
    let mode = prop_oneof![Just(StoreMode::Create), Just(StoreMode::Upsert)];
    let append = prop_oneof![Just(Fault::Before), Just(Fault::After), Just(Fault::Twice)];
    let put = prop_oneof![Just(PutFault::Before), Just(PutFault::Unacknowledged), Just(PutFault::Full)];
    let partition = prop_oneof![3 => Just(0_u8), 2 => Just(1)];
    let expires = prop_oneof![3 => Just(None), 1 => (1..4u64).prop_map(|hours| Some(hours * 3_600_000))];
    let store = (mode, partition.clone(), expires, parts);
    let store = store.prop_map(|(mode, partition, expires_after_ms, parts)| Step::Store {
        mode,
        partition,
        expires_after_ms,
        parts,
    });
    prop_oneof![
        10 => store,
        1 => place.clone().prop_map(Step::Abandon),
        4 => ((partition, place), 1..4u8).prop_map(|(spot, depth)| Step::Delete { spot, depth }),
        1 => Just(Step::Sweep),
        1 => Just(Step::Mark),
        2 => append.prop_map(Step::FailNextAppend),
        2 => put.prop_map(Step::FailNextPut),
        1 => Just(Step::Crash),
        1 => Just(Step::Rebuild),
    ]
}

/// One row of the feed as far as the model can know it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    action: Action,
    spot: Spot,
    version: u64,
}

#[derive(Clone, Debug)]
struct Held {
    version: u64,
    file: Vec<u8>,
    patient: String,
}

/// What must be true.
#[derive(Clone, Debug)]
struct Model {
    live: BTreeMap<Spot, Held>,
    feed: Vec<Row>,
    /// In the order in which they came to be.
    partitions: Vec<u8>,
    /// By partition and study: the version that decided it, and so many milliseconds after that.
    expiring: BTreeMap<(u8, u8), (u64, u64)>,
    records: u64,
    append_fault: Option<Fault>,
    put_faults: VecDeque<PutFault>,
    /// Files made so far; each is another one.
    files: u32,
}

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appended {
    Yes,
    No,
    Unknown,
}

/// One part of a request as the model foresees it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Stored(u64, Action),
    AlreadyStored,
    Failed,
}

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Parts(Vec<Told>),
    /// Nothing took effect.
    Nothing,
    Unknown,
}

impl Model {
    fn new(records: u64) -> Self {
        Self {
            live: BTreeMap::new(),
            feed: Vec::new(),
            partitions: vec![0],
            expiring: BTreeMap::new(),
            records,
            append_fault: None,
            put_faults: VecDeque::new(),
            files: 0,
        }
    }

    /// A file nobody has stored yet, and the patient in it.
    fn file(&mut self, place: Place, size: Size) -> (Vec<u8>, String) {
        self.files += 1;
        let (key, patient) = (key(place), format!("P-{}", self.files));
        let instance = Instance::new(key.study.as_str(), key.series.as_str(), key.instance.as_str());
        let instance = instance.patient(&patient, "Doe^Jane");
        let instance = match size {
            Size::Small => instance,
            Size::Large => {
                let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
                instance.private(0x0029_1010, "KYMO TEST", "OB", bytes)
            }
        };
        (instance.part10(), patient)
    }

    fn row(&mut self, action: Action, spot: Spot, replaced: Option<u64>) -> u64 {
        let sequence = self.feed.len() as u64 + 1;
        self.feed.push(Row { action, spot, version: replaced.unwrap_or(sequence) });
        sequence
    }

    fn append(&mut self) -> Appended {
        let (records, appended) = match self.append_fault.take() {
            None | Some(Fault::Delay(_)) => (1, Appended::Yes),
            Some(Fault::Before) => (0, Appended::No),
            Some(Fault::After) => (1, Appended::Unknown),
            Some(Fault::Twice) => (2, Appended::Yes),
        };
        self.records += records;
        appended
    }

    /// A store, in the order of §2 of the architecture: its partition, predictions, files, appends, decisions.
    fn store(&mut self, store: &Store) -> Answer {
        let Store { mode, partition, expires_after_ms, ref parts } = *store;
        if !self.partitions.contains(&partition) {
            let appended = self.append();
            if appended == Appended::No {
                return Answer::Nothing;
            }
            self.partitions.push(partition);
            if appended == Appended::Unknown {
                return Answer::Unknown;
            }
        }
        let predicted: Vec<bool> = parts
            .iter()
            .map(|(place, ..)| mode == StoreMode::Create && self.live.contains_key(&(partition, *place)))
            .collect();
        let placed: Vec<bool> = predicted
            .iter()
            .map(|predicted| {
                !*predicted && self.put_faults.pop_front().unwrap_or(PutFault::None) == PutFault::None
            })
            .collect();
        let appended: Vec<Appended> =
            placed.iter().map(|placed| if *placed { self.append() } else { Appended::No }).collect();
        let anything = appended.iter().any(|appended| *appended != Appended::No);
        let mut told = Vec::new();
        for (at, (place, file, patient)) in parts.iter().enumerate() {
            told.push(match (predicted[at], appended[at]) {
                (true, _) => Ok(Told::AlreadyStored),
                (false, Appended::No) if anything => Ok(Told::Failed),
                (false, Appended::No) => Err(Answer::Nothing),
                (false, Appended::Yes) => {
                    Ok(self.decide(mode, (partition, *place), expires_after_ms, file, patient))
                }
                (false, Appended::Unknown) => {
                    self.decide(mode, (partition, *place), expires_after_ms, file, patient);
                    Err(Answer::Unknown)
                }
            });
        }
        told.into_iter().collect::<Result<_, _>>().map_or_else(|answer| answer, Answer::Parts)
    }

    fn decide(
        &mut self,
        mode: StoreMode,
        spot: Spot,
        expires_after_ms: Option<u64>,
        file: &[u8],
        patient: &str,
    ) -> Told {
        let action = match (self.live.contains_key(&spot), mode) {
            (true, StoreMode::Create) => return Told::AlreadyStored,
            (true, StoreMode::Upsert) => Action::Update,
            (false, _) => Action::Create,
        };
        let version = self.row(action, spot, None);
        let study = (spot.0, spot.1.0);
        match expires_after_ms {
            Some(after_ms) => drop(self.expiring.insert(study, (version, after_ms))),
            None => drop(self.expiring.remove(&study)),
        }
        self.live.insert(spot, Held { version, file: file.to_vec(), patient: patient.to_owned() });
        Told::Stored(version, action)
    }

    /// A delete; gives the rows it makes, in the order in which the versions came.
    fn delete(&mut self, spot: Spot, depth: u8) -> Result<Vec<u64>, Answer> {
        let mut gone: Vec<(u64, Spot)> = self
            .live
            .iter()
            .filter(|(held, _)| held.0 == spot.0 && within(held.1, spot.1, depth))
            .map(|(spot, held)| (held.version, *spot))
            .collect();
        gone.sort_unstable();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let appended = self.append();
        if appended == Appended::No {
            return Err(Answer::Nothing);
        }
        let rows = gone.into_iter().map(|(version, spot)| {
            self.live.remove(&spot);
            self.row(Action::Delete, spot, Some(version))
        });
        let rows = rows.collect();
        let study = (spot.0, spot.1.0);
        if !self.live.keys().any(|(partition, place)| (*partition, place.0) == study) {
            self.expiring.remove(&study);
        }
        if appended == Appended::Unknown { Err(Answer::Unknown) } else { Ok(rows) }
    }

    fn state(&self, row: &Row) -> FeedState {
        match self.live.get(&row.spot) {
            None => FeedState::Deleted,
            Some(held) if held.version == row.version => FeedState::Current,
            Some(_) => FeedState::Replaced,
        }
    }
}

/// A store request.
struct Store {
    mode: StoreMode,
    partition: u8,
    expires_after_ms: Option<u64>,
    /// Each with its file and the patient in it.
    parts: Vec<(Place, Vec<u8>, String)>,
}

fn partition(number: u8) -> Partition {
    Partition::parse(PARTITIONS[usize::from(number)]).expect("it is a name")
}

fn key((study, series, instance): Place) -> InstanceKey {
    let uid = |text: String| Uid::parse(&text).expect("digits and dots");
    // Series and instance repeat below other studies and series, as no real UID would.
    InstanceKey {
        study: uid(format!("1.2.{study}")),
        series: uid(format!("1.3.{series}")),
        instance: uid(format!("1.4.{instance}")),
    }
}

fn within(held: Place, place: Place, depth: u8) -> bool {
    held.0 == place.0 && (depth < 2 || held.1 == place.1) && (depth < 3 || held.2 == place.2)
}

fn scope(place: Place, depth: u8) -> Scope {
    let InstanceKey { study, series, instance } = key(place);
    Scope { study, series: (depth > 1).then_some(series), instance: (depth > 2).then_some(instance) }
}

/// An archive, what must be true of it, and every row its feed has shown.
struct History {
    archive: TestArchive,
    model: Model,
    seen: Vec<Change>,
}

impl History {
    async fn play(stores: &Stores, searching: bool, steps: &[Step]) {
        let archive = TestArchive::with(stores.clone(), searching).await;
        let model = Model::new(archive.tail().0);
        let mut history = Self { archive, model, seen: Vec::new() };
        for step in steps {
            history.step(stores, step).await;
            history.archive.settle().await;
            history.check().await;
        }
        let before = history.archive.views();
        history.archive.rebuild().await;
        assert_eq!(history.archive.views(), before, "views made again are the ones that were");
    }

    async fn step(&mut self, stores: &Stores, step: &Step) {
        match step {
            Step::Store { mode, partition, expires_after_ms, parts } => {
                self.store(*mode, *partition, *expires_after_ms, parts).await;
            }
            Step::Abandon(place) => {
                let (file, _) = self.model.file(*place, Size::Small);
                let body = self.archive.receive(StoreMode::Upsert, &[file]).await;
                drop(body.expect("a body can be received"));
            }
            Step::Delete { spot, depth } => self.delete(*spot, *depth).await,
            Step::Sweep => self.sweep().await,
            Step::Mark => {
                self.archive.clock().advance(Duration::from_secs(200));
                let told = self.archive.archive().mark_time().await;
                match self.model.append() {
                    Appended::Yes => assert!(told.is_ok(), "{told:?}"),
                    Appended::No => assert!(matches!(told, Err(SubmitError::Unavailable(_))), "{told:?}"),
                    Appended::Unknown => {
                        assert!(matches!(told, Err(SubmitError::Unknown { .. })), "{told:?}");
                    }
                }
            }
            Step::FailNextAppend(fault) => {
                self.archive.fail_next_append(*fault);
                self.model.append_fault = Some(*fault);
            }
            Step::FailNextPut(fault) if matches!(stores, Stores::Memory) => {
                self.archive.fail_next_put(*fault);
                self.model.put_faults.push_back(*fault);
            }
            Step::FailNextPut(_) => {}
            Step::Crash | Step::Rebuild => {
                let before = self.archive.views();
                if matches!(step, Step::Crash) {
                    self.archive.crash_and_restart().await;
                } else {
                    self.archive.rebuild().await;
                }
                self.model.append_fault = None;
                self.model.put_faults.clear();
                assert_eq!(self.archive.views(), before, "{step:?} changes no view");
            }
        }
    }

    async fn store(
        &mut self,
        mode: StoreMode,
        into: u8,
        expires_after_ms: Option<u64>,
        parts: &[(Place, Size)],
    ) {
        let parts: Vec<_> = parts
            .iter()
            .map(|(place, size)| {
                let (file, patient) = self.model.file(*place, *size);
                (*place, file, patient)
            })
            .collect();
        let files: Vec<_> = parts.iter().map(|(_, file, _)| file.clone()).collect();
        let archive = self.archive.archive();
        let answer = store_in(archive, partition(into), mode, expires_after_ms, &files).await;
        let mut without = self.model.clone();
        let store = Store { mode, partition: into, expires_after_ms, parts };
        let foreseen = self.model.store(&store);
        assert_eq!(told(answer), foreseen, "{mode:?} of {} parts", store.parts.len());
        if foreseen == Answer::Unknown {
            without.append_fault = Some(Fault::Before);
            without.store(&store);
            self.learn(without).await;
        }
    }

    async fn delete(&mut self, spot: Spot, depth: u8) {
        let asking = asking_in(partition(spot.0));
        let answer = self.archive.archive().delete(&asking, scope(spot.1, depth)).await;
        let mut without = self.model.clone();
        without.append_fault = None;
        match (self.model.delete(spot, depth), answer) {
            (Ok(rows), Ok((position, Outcome::Refused(Refusal::NothingMatches)))) => {
                assert!(rows.is_empty() && position.is_none());
            }
            (Ok(rows), Ok((Some(_), Outcome::Accepted(changes)))) => {
                let sequences: Vec<u64> = changes.iter().map(|change| change.sequence).collect();
                assert_eq!(sequences, rows);
            }
            (Err(Answer::Nothing), Err(SubmitError::Unavailable(_))) => {}
            (Err(Answer::Unknown), Err(SubmitError::Unknown { .. })) => self.learn(without).await,
            (foreseen, answer) => panic!("foreseen {foreseen:?}, answered {answer:?}"),
        }
    }

    /// The outcome of an append is unknown: the archive says which of the two models is true.
    async fn learn(&mut self, mut without: Model) {
        // The answer came before other parts of the request were durable; a mark behind them is not.
        self.archive.archive().mark_time().await.expect("nothing is in its way");
        self.model.append();
        without.append();
        self.archive.settle().await;
        if self.archive.tail() == Position(without.records) {
            self.model = without;
        }
    }

    async fn sweep(&mut self) {
        let archive = self.archive.archive();
        let keys = archive.released(Stamp(i64::MAX), usize::MAX).expect("the state can be read");
        let may_go = archive.remove_blobs(keys.clone()).await;
        match (self.model.append(), may_go) {
            (Appended::Yes, Ok(may_go)) => {
                assert_eq!(may_go, keys);
                for key in may_go {
                    archive.blobs().remove(&key).await.expect("a file can be removed");
                }
            }
            (Appended::No, Err(SubmitError::Unavailable(_)))
            | (Appended::Unknown, Err(SubmitError::Unknown { .. })) => {}
            (appended, answer) => panic!("{appended:?}, answered {answer:?}"),
        }
    }

    /// Compares everything that can be asked with what must be true.
    async fn check(&mut self) {
        let (archive, model) = (&self.archive, &self.model);
        assert_eq!(archive.tail(), Position(model.records), "records in the log");
        assert_eq!(archive.archive().progress().next, archive.tail());
        assert_eq!(archive.archive().blobs().staged_bytes(), 0, "nothing is left in staging");
        let feed = archive.feed();
        assert_eq!(feed.len(), model.feed.len(), "rows of the feed");
        for (at, (found, wanted)) in feed.iter().zip(&model.feed).enumerate() {
            let change = &found.change;
            assert_eq!(change.sequence, at as u64 + 1);
            let same = (change.action, &change.partition, &change.key, change.version);
            let (into, place) = wanted.spot;
            assert_eq!(same, (wanted.action, &partition(into), &key(place), wanted.version));
            assert_eq!(found.state, model.state(wanted), "row {}", change.sequence);
            assert_eq!(change.file.is_some(), change.action != Action::Delete);
        }
        assert!(feed.is_sorted_by_key(|row| (row.change.time, row.change.position)));
        let rows: Vec<Change> = feed.into_iter().map(|row| row.change).collect();
        assert_eq!(rows[..self.seen.len()], self.seen, "rows once read stay as they were");
        let live = archive.live();
        let found: Vec<_> = live.iter().map(|live| (live.key.clone(), live.version)).collect();
        let wanted: Vec<_> = model.live.iter().map(|(spot, held)| (key(spot.1), held.version)).collect();
        assert_eq!(found, wanted, "live instances");
        for (live, held) in live.iter().zip(model.live.values()) {
            assert!(archive.file(live).await == held.file, "the file of {:?} is another one", live.key);
            let metadata = archive.metadata(live).await;
            assert_eq!(metadata["00100020"]["Value"][0], held.patient.as_str());
            assert_eq!(metadata["00080018"]["Value"][0], live.key.instance.as_str());
        }
        self.check_partitions_and_expiry(&rows);
        self.seen = rows;
    }

    fn check_partitions_and_expiry(&self, rows: &[Change]) {
        let (archive, model) = (&self.archive, &self.model);
        let listed = archive.archive().partitions(0, usize::MAX).expect("the state can be read");
        let listed: Vec<_> = listed.into_iter().map(|known| (known.number, known.partition)).collect();
        let wanted: Vec<_> = (1..).zip(model.partitions.iter().map(|number| partition(*number))).collect();
        assert_eq!(listed, wanted, "partitions");
        let found = archive.archive().expiring(Stamp(i64::MAX), usize::MAX).expect("the state can be read");
        let mut wanted: Vec<_> = model.expiring.iter().collect();
        wanted.sort_by_key(|(_, (version, after_ms))| due(rows, *version, *after_ms));
        let wanted = wanted.into_iter().map(|((into, study), (version, after_ms))| Expiring {
            due: due(rows, *version, *after_ms),
            partition: partition(*into),
            study: key((*study, 0, 0)).study,
        });
        assert_eq!(found, wanted.collect::<Vec<_>>(), "studies that expire");
    }
}

/// So long after the row that wrote `version`.
fn due(rows: &[Change], version: u64, after_ms: u64) -> Stamp {
    let at = usize::try_from(version - 1).expect("rows are few");
    rows[at].time.plus(Duration::from_millis(after_ms))
}

fn told(answer: Result<Stored, SubmitError>) -> Answer {
    let stored = match answer {
        Ok(stored) => stored,
        Err(SubmitError::Unknown { .. }) => return Answer::Unknown,
        Err(SubmitError::Unavailable(_) | SubmitError::Blob(_)) => return Answer::Nothing,
        Err(error) => panic!("{error}"),
    };
    let part = |part: PartOutcome| match part {
        PartOutcome::Stored { change, .. } => Told::Stored(change.sequence, change.action),
        PartOutcome::Refused { why: PartRefusal::AlreadyStored, .. } => Told::AlreadyStored,
        PartOutcome::Refused { why: PartRefusal::Failed(_), .. } => Told::Failed,
        PartOutcome::Refused { why, .. } => panic!("the file is right, yet {why:?}"),
    };
    Answer::Parts(stored.parts.into_iter().map(part).collect())
}

/// How many histories are played, and how long they may be.
struct Bounds {
    cases: u32,
    longest: usize,
    /// Every so manieth has search beside it.
    search_every: u32,
    /// Tries to make smaller what fails.
    shrinks: u32,
}

/// Plays random histories, each on new stores; one that fails is made smaller and printed.
fn play(bounds: &Bounds, stores: impl Fn() -> Stores) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let Bounds { cases, longest, search_every, shrinks } = *bounds;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: shrinks, ..Config::default() };
    let played = std::cell::Cell::new(0_u32);
    let histories = prop::collection::vec(step(), 1..longest);
    let run = TestRunner::new(config).run(&histories, |steps| {
        played.set(played.get() + 1);
        let searching = played.get().is_multiple_of(search_every);
        let stores = stores();
        runtime.block_on(History::play(&stores, searching, &steps));
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
    assert!(played.get() >= cases);
}

#[test]
fn histories_in_memory_are_those_of_the_model() {
    let bounds = Bounds { cases: seeds(1_000), longest: 16, search_every: 20, shrinks: 400 };
    play(&bounds, || Stores::Memory);
}

on_every_ground! { histories_are_those_of_the_model }

fn histories_are_those_of_the_model(ground: &Ground) {
    let (cases, shrinks) = (seeds(ground.times(50, 5)), ground.times(400, 20));
    let bounds = Bounds { cases, longest: 20, search_every: ground.times(5, 2), shrinks };
    play(&bounds, || Stores::On(Arc::new(ground.another())));
}
