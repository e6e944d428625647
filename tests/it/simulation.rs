//! Several nodes on one log, with everything that a network and bad clocks do to them, from a seed.
//!
//! Real archives ingest, append, fold and answer; clocks, ids, the network and the order of all things are
//! the seed's. Appends come late, twice, past their validity or not at all; acknowledgements are lost; nodes
//! read with a lag, crash with requests under way and fold again from nothing; strangers write to the log.
//!
//! At the end: all nodes hold the same state, byte for byte, and so does a fold of the log in one run; every
//! answer is what the log says; what any reader ever saw is a beginning of the feed; every live file reads
//! as it was stored. The same seed gives the same trace.
//! Elsewhere: one node against a model (`model`), power loss (`crash`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kymo::archive::state::instances::{self, LiveInstance};
use kymo::archive::{Archive, PartOutcome, PartRefusal, Parts, ReadError, SubmitError, fold};
use kymo::base::{Ids, Partition, Position, Stamp, SteppedClock};
use kymo::blob::Blobs;
use kymo::dicom::uid::Uid;
use kymo::event::codec;
use kymo::event::{Change, Commit, InstanceKey, Outcome, Refusal, Scope, StoreMode};
use kymo::tables::Table;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::kit::archive::{PATIENCE, START, asking, file, lake, receive, settings};
use crate::kit::dicom::Instance;
use crate::kit::network::{Network, NodeLog};
use crate::kit::seeds;

/// Steps of one simulation.
const STEPS: usize = 70;

/// What was asked of a node.
#[derive(Clone, Debug)]
enum Request {
    Store { mode: StoreMode, key: InstanceKey, file: Vec<u8> },
    Delete(Scope),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Decided(Outcome),
    Unknown,
}

struct Pending {
    /// Number of its append, to find its event.
    sent: u64,
    answer: JoinHandle<Result<Answer, SubmitError>>,
}

struct Node {
    /// Grows with every crash, over all nodes.
    life: u64,
    archive: Archive,
    log: Arc<NodeLog>,
    sends: mpsc::UnboundedReceiver<u64>,
    clock: Arc<SteppedClock>,
    pending: Vec<Pending>,
}

/// How often the remarkable came to pass, so that a simulation in which nothing happens is noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    stored: u32,
    decided_duplicate: u32,
    predicted: u32,
    too_late: u32,
    repeated: u32,
    unknown: u32,
    crashes: u32,
    behind: u32,
}

struct World {
    random: StdRng,
    network: Network,
    clock: Arc<SteppedClock>,
    blobs: Blobs,
    nodes: Vec<Node>,
    lives: u64,
    files: u32,
    /// What was asked, by the number of its append.
    asked: BTreeMap<u64, (Uuid, Request)>,
    answers: Vec<(u64, Answer)>,
    /// Where a delivered append lies.
    places: BTreeMap<u64, Position>,
    /// What readers saw of the feed, each with the node's clock of the moment for the trace.
    seen: Vec<Vec<Change>>,
    /// The fold of all that is in the log.
    truth: Table,
    commits: Vec<Arc<Commit>>,
    trace: Vec<String>,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(SteppedClock::at(START));
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            network: Network::new(clock.clone()),
            clock,
            blobs: Blobs::in_memory(),
            nodes: Vec::new(),
            lives: 0,
            files: 0,
            asked: BTreeMap::new(),
            answers: Vec::new(),
            places: BTreeMap::new(),
            seen: Vec::new(),
            truth: Table::memory(),
            commits: Vec::new(),
            trace: Vec::new(),
            counts: Counts::default(),
        };
        for _ in 0..world.random.random_range(2..5) {
            // Clocks of nodes are up to twenty minutes off.
            let skew = world.random.random_range(-1200..1200) * Stamp::TICKS_PER_SECOND;
            let clock = Arc::new(SteppedClock::at(Stamp(START.0 + skew)));
            let node = world.start(clock, Position(0));
            world.nodes.push(node);
        }
        world
    }

    /// A node that knows nothing and has been shown the log up to `shown`.
    fn start(&mut self, clock: Arc<SteppedClock>, shown: Position) -> Node {
        self.lives += 1;
        let life = self.lives;
        let (log, sends) = self.network.join(life, shown);
        let archive = Archive::open(Parts {
            log: log.clone(),
            blobs: self.blobs.clone(),
            lake: lake(),
            clock: clock.clone(),
            ids: Arc::new(Ids::seeded(life)),
            node: Uuid::from_u128(u128::from(life)),
            state: Table::memory(),
            settings: settings(),
        });
        let archive = archive.expect("a node starts");
        Node { life, archive, log, sends, clock, pending: Vec::new() }
    }

    async fn step(&mut self) {
        let at = self.random.random_range(0..self.nodes.len());
        match self.random.random_range(0..100) {
            0..40 => self.ask(at).await,
            40..65 => self.deliver(),
            65..82 => {
                let shown = self.nodes[at].log.shown().0;
                let to = self.random.random_range(shown..=self.network.tail().0);
                self.show(at, Position(to)).await;
            }
            82..88 => self.pass_time(),
            88..92 => self.lose(),
            92..97 => self.crash(at).await,
            _ => {
                let bytes = *[&b"not one of ours"[..], b"", b"KYM"].choose(&mut self.random).expect("three");
                let position = self.network.append(Bytes::from_static(bytes));
                self.tell(format!("a stranger writes at {position}"));
            }
        }
        self.fold_truth();
    }

    fn tell(&mut self, what: String) {
        self.trace.push(what);
    }

    /// A file nobody has stored yet, of one of a few instances, or the deletion of one of a few scopes.
    fn request(&mut self) -> Request {
        let mut uid = |level: u8, of: u8| {
            let number = self.random.random_range(0..of);
            Uid::parse(&format!("1.{level}.{number}")).expect("digits and dots")
        };
        let key = InstanceKey { study: uid(2, 2), series: uid(3, 2), instance: uid(4, 2) };
        match self.random.random_range(0..10) {
            kind @ 0..8 => {
                self.files += 1;
                let instance = Instance::new(key.study.as_str(), key.series.as_str(), key.instance.as_str());
                let file = instance.patient(&format!("P-{}", self.files), "Doe^Jane").part10();
                let mode = if kind < 5 { StoreMode::Create } else { StoreMode::Upsert };
                Request::Store { mode, key, file }
            }
            depth => {
                let InstanceKey { study, series, instance } = key;
                let (series, instance) =
                    if depth == 8 { (None, None) } else { (Some(series), Some(instance)) };
                Request::Delete(Scope { study, series, instance })
            }
        }
    }

    /// Asks a node, until its append is on its way or it has answered without one.
    async fn ask(&mut self, at: usize) {
        let request = self.request();
        let archive = self.nodes[at].archive.clone();
        let asked = request.clone();
        let mut answer = tokio::spawn(async move { carry_out(&archive, asked).await });
        let sent = tokio::select! {
            biased;
            sent = self.nodes[at].sends.recv() => Some(sent.expect("the node lives")),
            _ = &mut answer => None,
        };
        let short = match &request {
            Request::Store { mode, key, .. } => {
                format!("{mode:?} {}/{}/{}", key.study, key.series, key.instance)
            }
            Request::Delete(scope) => format!("{scope:?}"),
        };
        self.tell(format!("node {at} is asked for {short}: append {sent:?}"));
        match sent {
            Some(sent) => {
                let event = self.event_flying(sent);
                self.asked.insert(sent, (event, request));
                self.nodes[at].pending.push(Pending { sent, answer });
            }
            // Answered early: that must be true of the log as it is.
            None => {
                self.counts.predicted += 1;
                assert_eq!(self.nodes[at].archive.progress().next, self.network.tail());
                let live = self.truly_live();
                let there = match request {
                    Request::Store { key, .. } => !live.iter().any(|live| live.key == key),
                    Request::Delete(scope) => live.iter().any(|live| within(&live.key, &scope)),
                };
                assert!(!there, "a refusal was predicted that would not have been decided");
            }
        }
    }

    /// The id of the event in an append on its way.
    fn event_flying(&mut self, number: u64) -> Uuid {
        let at = self.network.flying() - 1;
        let sent = self.network.peek(at);
        assert_eq!(sent.0, number, "the newest is last");
        codec::decode(sent.1).expect("it is one of ours").head.id
    }

    /// An append on its way arrives, and may fly on to arrive once more.
    fn deliver(&mut self) {
        if self.network.flying() == 0 {
            return;
        }
        let sent = self.network.take(self.random.random_range(0..self.network.flying()));
        let position = self.network.append(sent.bytes.clone());
        self.places.entry(sent.number).or_insert(position);
        self.tell(format!("append {} arrives at {position}", sent.number));
        if self.random.random_bool(0.2) {
            let again = self.network.send_again(sent.bytes, sent.sender);
            self.tell(format!("append {} flies on as {again}", sent.number));
        }
        if let Some(tell) = sent.tell
            && self.random.random_bool(0.95)
        {
            // The sender may have gone meanwhile.
            drop(tell.send(Ok(position)));
        }
    }

    /// An append is lost on its way.
    fn lose(&mut self) {
        if self.network.flying() > 0 {
            let sent = self.network.take(self.random.random_range(0..self.network.flying()));
            self.tell(format!("append {} is lost", sent.number));
        }
    }

    /// Time passes, for the log and everyone: mostly a little, sometimes longer than an event is valid.
    fn pass_time(&mut self) {
        let seconds = if self.random.random_bool(0.7) { 60 } else { 1200 };
        let by = Duration::from_secs(self.random.random_range(0..seconds));
        self.clock.advance(by);
        for node in &self.nodes {
            node.clock.advance(by);
        }
        self.tell(format!("{by:?} pass"));
    }

    /// A node is shown the log up to `to`; it folds that, and answers those whose events lie there.
    async fn show(&mut self, at: usize, to: Position) {
        let node = &mut self.nodes[at];
        node.log.show(to);
        if to > Position(0) {
            node.archive.reached(Position(to.0 - 1), PATIENCE).await.expect("a node folds what it is shown");
        }
        let (ready, waiting) = std::mem::take(&mut node.pending)
            .into_iter()
            .partition(|pending| self.places.get(&pending.sent).is_some_and(|place| *place < to));
        node.pending = waiting;
        let archive = node.archive.clone();
        self.tell(format!("node {at} is shown the log up to {to}"));
        let ready: Vec<Pending> = ready;
        for pending in ready {
            self.settle(pending).await;
        }
        match archive.feed_window(0, u64::MAX) {
            Ok(rows) => self.seen.push(rows.into_iter().map(|row| row.change).collect()),
            // A node that has crashed shows nothing until it is as far as the log was when it started.
            Err(ReadError::Behind { wanted, .. }) => {
                assert!(wanted == archive.start_tail() && to < wanted);
                self.counts.behind += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn settle(&mut self, pending: Pending) {
        let answer = pending.answer.await.expect("no request panics").expect("the archive works");
        self.tell(format!("append {} is answered {answer:?}", pending.sent));
        self.answers.push((pending.sent, answer));
    }

    /// A node crashes and starts from nothing.
    async fn crash(&mut self, at: usize) {
        self.counts.crashes += 1;
        self.network.forget(self.nodes[at].life);
        let clock = self.nodes[at].clock.clone();
        let shown = Position(self.random.random_range(0..=self.network.tail().0));
        let node = self.start(clock, shown);
        let crashed = std::mem::replace(&mut self.nodes[at], node);
        for pending in crashed.pending {
            pending.answer.abort();
        }
        self.tell(format!("node {at} crashes"));
        self.show(at, shown).await;
    }

    fn fold_truth(&mut self) {
        let next = self.truth.cursor().expect("a table in memory");
        let records = self.network.records(next);
        let (commits, _) = fold::fold(&self.truth, &records, None).expect("what is in the log can be folded");
        self.commits.extend(commits);
    }

    fn truly_live(&self) -> Vec<LiveInstance> {
        let reader = self.truth.reader();
        let study = |number: u8| Uid::parse(&format!("1.2.{number}")).expect("digits and dots");
        let mut live = Vec::new();
        for study in [study(0), study(1)] {
            let scope = Scope { study, series: None, instance: None };
            let found = instances::within(&reader, &Partition::default(), &scope, None);
            live.extend(found.map(|live| live.expect("a table in memory")));
        }
        live
    }

    /// Everything on its way arrives, everyone sees everything.
    async fn come_to_rest(&mut self) {
        while self.network.flying() > 0 {
            self.deliver();
        }
        self.fold_truth();
        for at in 0..self.nodes.len() {
            self.show(at, self.network.tail()).await;
            // What still waits was lost.
            for pending in std::mem::take(&mut self.nodes[at].pending) {
                self.settle(pending).await;
            }
        }
    }

    async fn check(&mut self) {
        let truth = self.truth.dump().expect("a table in memory");
        let whole = Table::memory();
        let folded =
            fold::fold(&whole, &self.network.records(Position(0)), None).expect("it was folded before");
        assert_eq!(whole.dump().expect("a table in memory"), truth, "a fold in one run");
        assert_eq!(folded.0.len(), self.commits.len());
        for (at, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.archive.dump().expect("a table in memory"), truth, "node {at} agrees");
        }
        let feed: Vec<Change> = self.commits.iter().flat_map(|commit| commit.changes().to_vec()).collect();
        for seen in &self.seen {
            assert!(feed.starts_with(seen), "a reader saw what is no beginning of the feed");
        }
        for (row, sequence) in feed.iter().zip(1..) {
            assert_eq!(row.sequence, sequence);
        }
        self.check_answers();
        self.check_files().await;
        let last = self.network.records(Position(self.network.tail().0.saturating_sub(1)));
        self.tell(format!("chain {:?}", last.last().map(|record| record.chain)));
        self.trace.extend(truth);
    }

    /// Every answer is what the log says of the event.
    fn check_answers(&mut self) {
        let mut decided: BTreeMap<Uuid, Outcome> = BTreeMap::new();
        for commit in &self.commits {
            let Some(event) = &commit.event else { continue };
            match &commit.outcome {
                Outcome::Refused(Refusal::Repeated) => self.counts.repeated += 1,
                outcome => {
                    self.counts.too_late += u32::from(*outcome == Outcome::Refused(Refusal::TooLate));
                    // Only a repetition long after can follow, and has no effect.
                    let before = decided.get(&event.head.id);
                    assert!(before.is_none() || *outcome == Outcome::Refused(Refusal::TooLate));
                    decided.entry(event.head.id).or_insert_with(|| outcome.clone());
                }
            }
        }
        for (sent, answer) in &self.answers {
            let (event, _) = &self.asked[sent];
            match answer {
                Answer::Decided(outcome) => {
                    self.counts.stored += u32::from(matches!(outcome, Outcome::Accepted(_)));
                    let duplicate = *outcome == Outcome::Refused(Refusal::AlreadyStored);
                    self.counts.decided_duplicate += u32::from(duplicate);
                    assert_eq!(decided.get(event), Some(outcome), "append {sent} was answered otherwise");
                }
                Answer::Unknown => self.counts.unknown += 1,
            }
        }
    }

    /// What lives can be read, from every node, as the request had it whose event lies there.
    async fn check_files(&self) {
        let files: BTreeMap<Uuid, &Vec<u8>> = self
            .asked
            .values()
            .filter_map(|(event, request)| match request {
                Request::Store { file, .. } => Some((*event, file)),
                Request::Delete(_) => None,
            })
            .collect();
        for live in self.truly_live() {
            for node in &self.nodes {
                let event = node.archive.event(live.position).await.expect("the event is there");
                let found = file(&node.archive, &live).await;
                assert!(found == *files[&event.head.id], "{:?} reads otherwise", live.key);
            }
        }
    }
}

async fn carry_out(archive: &Archive, request: Request) -> Result<Answer, SubmitError> {
    let answered = match request {
        Request::Store { mode, file, .. } => {
            let stored = receive(archive, mode, &[file]).await?.commit().await;
            stored.map(|mut stored| match stored.parts.pop().expect("one part, one outcome") {
                PartOutcome::Stored { change, .. } => Outcome::Accepted(vec![change]),
                PartOutcome::Refused { why: PartRefusal::AlreadyStored, .. } => {
                    Outcome::Refused(Refusal::AlreadyStored)
                }
                PartOutcome::Refused { why: PartRefusal::Failed(why), .. } => {
                    assert_eq!(why, Refusal::TooLate.to_string());
                    Outcome::Refused(Refusal::TooLate)
                }
                PartOutcome::Refused { why, .. } => panic!("the file is right, yet {why:?}"),
            })
        }
        Request::Delete(scope) => archive.delete(&asking(), scope).await.map(|(_, outcome)| outcome),
    };
    match answered {
        Ok(outcome) => Ok(Answer::Decided(outcome)),
        Err(SubmitError::Unknown { .. }) => Ok(Answer::Unknown),
        Err(error) => Err(error),
    }
}

fn within(key: &InstanceKey, scope: &Scope) -> bool {
    key.study == scope.study
        && scope.series.as_ref().is_none_or(|series| *series == key.series)
        && scope.instance.as_ref().is_none_or(|instance| *instance == key.instance)
}

/// Plays one seed; gives its trace.
fn simulate(seed: u64, counts: &mut Counts) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (trace, found) = runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.come_to_rest().await;
        world.check().await;
        (world.trace, world.counts)
    });
    let Counts { stored, decided_duplicate, predicted, too_late, repeated, unknown, crashes, behind } = found;
    counts.stored += stored;
    counts.decided_duplicate += decided_duplicate;
    counts.predicted += predicted;
    counts.too_late += too_late;
    counts.repeated += repeated;
    counts.unknown += unknown;
    counts.crashes += crashes;
    counts.behind += behind;
    trace
}

/// Names the seed if the simulation of it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation with seed {} has failed", self.0);
        }
    }
}

#[test]
fn nodes_agree_whatever_network_and_clocks_do() {
    let mut counts = Counts::default();
    for seed in 0..u64::from(seeds(300)) {
        let _named = Seed(seed);
        simulate(seed, &mut counts);
    }
    println!("{counts:?}");
    let Counts { stored, decided_duplicate, predicted, too_late, repeated, unknown, crashes, behind } =
        counts;
    for count in [stored, decided_duplicate, predicted, too_late, repeated, unknown, crashes, behind] {
        assert!(count > 50, "too little of something happens: {counts:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let _named = Seed(seed);
        let mut counts = Counts::default();
        let (first, second) = (simulate(seed, &mut counts), simulate(seed, &mut counts));
        assert_eq!(first, second);
        assert_ne!(first, simulate(seed + 1, &mut counts));
    }
}
