//! Nodes of one archive under load from clients who go from one to another, while at random nodes are killed
//! and paused, brokers are killed and paused, and connections are cut.
//!
//! Everything that clients asked and were told is kept. When all is healed, the nodes are compared with one
//! another, and `checker` holds what was told against their logs and feeds.
//! Invariant: the seed, which is printed, decides what is asked and done; the machine decides when.
//! Elsewhere: one node with each fault by itself (`faults`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use kymo::base::Position;
use kymo::dicom::uid::Uid;
use kymo::event::{Head, Payload, StoreMode, codec};
use kymo::log::Record;
use kymo::log::embedded::follow::SegmentReader;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::kit::dicom::Instance;
use crate::kit::folder::name;
use crate::kit::kafka::{Broker, Cluster, NERVOUS, free_port, jars, new_topic};
use crate::kit::process::{Connection, Process};
use crate::kit::seeds;
use crate::kit::served::Answer;
use crate::kit::toxiproxy::Proxy;

use super::checker::{
    Action, Ask, Entry, Event, Node, Operation, Place, Row, State, Study, Told, check, count,
};
use super::faults::{SHORT, Stopping};
use super::nodes::compared;
use super::{flags, wait_for_health};

/// Of all that is random here, unless `KYMO_TEST_SEED` gives another.
const SEED: u64 = 0x6D61_6E79;
/// How long faults happen.
const TROUBLE: Duration = Duration::from_secs(20);
const CLIENTS_OF_A_NODE: usize = 2;
const STUDIES: u8 = 3;
const INSTANCES: u8 = 3;
/// How long an event is valid by [`SHORT`].
const VALIDITY: Duration = Duration::from_secs(2);
/// Longer than any node takes that is not paused.
const GIVE_UP: Duration = Duration::from_secs(6);
/// Files that were replaced or deleted go at once, on all nodes.
const SWEEP: [&str; 4] = ["--keep-released", "0s", "--sweep-every", "200ms"];
const REQUEST: &str = "many-";

fn study_uid(study: u8) -> String {
    format!("2.25.80.{study}")
}

fn uid((study, instance): Place) -> String {
    format!("2.25.80.{study}.0.{instance}")
}

fn path(place: Place) -> String {
    let study = study_uid(place.0);
    format!("/v2/studies/{study}/series/{study}.0/instances/{}", uid(place))
}

fn study_of(uid: &str) -> u8 {
    uid.strip_prefix("2.25.80.").and_then(|number| number.parse().ok()).expect("one of our studies")
}

fn place_of(uid: &str) -> Place {
    let (study, instance) = uid.rsplit_once(".0.").expect("one of our instances");
    (study_of(study), instance.parse().expect("one of our instances"))
}

/// The file of a request, unlike that of any other.
fn file(place: Place, number: u64) -> Vec<u8> {
    let study = study_uid(place.0);
    Instance::new(&study, &format!("{study}.0"), &uid(place))
        .element(0x0020_0013, "IS", number.to_string().as_str())
        .part10()
}

/// What clients share.
struct World {
    began: Instant,
    stop: AtomicBool,
    numbers: AtomicU64,
    /// The greatest position that anybody was told.
    told: AtomicU64,
    /// Where each node listens, if it does.
    addresses: Mutex<Vec<Option<SocketAddr>>>,
}

impl World {
    fn of(nodes: &[Member]) -> Self {
        Self {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
            told: AtomicU64::new(0),
            addresses: Mutex::new(nodes.iter().map(|node| Some(node.process().address())).collect()),
        }
    }

    /// Notes what is done to whom.
    fn note(&self, what: &str) {
        println!("{:>9.3} s: {what}", self.began.elapsed().as_secs_f64());
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("tests are shorter")
    }
}

/// Somebody who stores, deletes and looks.
struct Client<'a> {
    world: &'a World,
    home: usize,
    random: StdRng,
    ways: Vec<Option<(SocketAddr, Connection)>>,
    /// The greatest position it was told.
    position: u64,
    operations: Vec<Operation>,
}

impl<'a> Client<'a> {
    fn of(world: &'a World, home: usize, seed: u64) -> Self {
        let ways = world.addresses.lock().iter().map(|_| None).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { world, home, random, ways, position: 0, operations: Vec::new() }
    }

    fn run(mut self) -> Vec<Operation> {
        while !self.world.stop.load(Ordering::Relaxed) {
            let nodes = self.ways.len();
            let node =
                if self.random.random_bool(0.7) { self.home } else { self.random.random_range(0..nodes) };
            let ask = self.something();
            let at_least = match ask {
                Ask::See(_) | Ask::Find(_) => match self.random.random_range(0..3) {
                    0 => Some(self.position),
                    1 => Some(self.world.told.load(Ordering::Relaxed)),
                    _ => None,
                },
                _ => None,
            };
            self.ask(node, at_least, ask);
        }
        self.operations
    }

    fn something(&mut self) -> Ask {
        let study = self.random.random_range(0..STUDIES);
        let place = (study, self.random.random_range(0..INSTANCES));
        match self.random.random_range(0..20) {
            0..=5 => Ask::Create(place),
            6..=10 => Ask::Replace(place),
            11 | 12 => Ask::Delete(study),
            13..=16 => Ask::See(place),
            _ => Ask::Find(study),
        }
    }

    /// Asks a node that listens, and keeps what it is told.
    fn ask(&mut self, node: usize, at_least: Option<u64>, ask: Ask) -> Option<Told> {
        let mut way = self.way(node)?;
        let number = self.world.numbers.fetch_add(1, Ordering::Relaxed);
        let began = self.world.now();
        let answer = sent(&mut way.1, number, at_least, ask);
        let ended = self.world.now();
        let told = match answer {
            Ok(answer) if answer.body.is_ok() => {
                self.ways[node] = Some(way);
                told(ask, &answer)?
            }
            _ if matches!(ask, Ask::See(_) | Ask::Find(_)) => return None,
            _ => Told::Unknown,
        };
        if told == Told::Failed {
            // It asks to be left alone for a while.
            sleep(Duration::from_millis(10));
        }
        if let Told::Done(position) | Told::Hidden(position) = told {
            self.position = self.position.max(position);
            self.world.told.fetch_max(position, Ordering::Relaxed);
        }
        self.operations.push(Operation { number, node, at_least, ask, told: told.clone(), began, ended });
        Some(told)
    }

    fn way(&mut self, node: usize) -> Option<(SocketAddr, Connection)> {
        let address = self.world.addresses.lock()[node];
        let kept = self.ways[node].take().filter(|(to, _)| Some(*to) == address);
        let way = kept.or_else(|| {
            let mut way = Connection::to(address?).ok()?;
            way.give_up_after(GIVE_UP);
            Some((address?, way))
        });
        if way.is_none() {
            // The node is away, and says nobody when it is back.
            sleep(Duration::from_millis(2));
        }
        way
    }
}

fn sent(way: &mut Connection, number: u64, at_least: Option<u64>, ask: Ask) -> std::io::Result<Answer> {
    let (request, at_least) = (format!("{REQUEST}{number}"), at_least.map(|position| position.to_string()));
    let mut headers = vec![("accept", "application/dicom+json"), ("x-request-id", &request)];
    headers.extend(at_least.iter().map(|position| ("kymo-min-position", position.as_str())));
    let dicom = ("content-type", "application/dicom");
    match ask {
        Ask::Create(place) => {
            way.ask("POST", "/v2/studies", &[&headers[..], &[dicom]].concat(), &file(place, number))
        }
        Ask::Replace(place) => {
            way.ask("PUT", "/v2/studies", &[&headers[..], &[dicom]].concat(), &file(place, number))
        }
        Ask::Delete(study) => way.ask("DELETE", &format!("/v2/studies/{}", study_uid(study)), &headers, b""),
        Ask::See(place) => way.ask("GET", &format!("{}/metadata", path(place)), &headers, b""),
        Ask::Find(study) => {
            let query = format!("/v2/instances?includefield=00200013&StudyInstanceUID={}", study_uid(study));
            way.ask("GET", &query, &headers, b"")
        }
    }
}

/// What an answer says; a read that says nothing is none.
fn told(ask: Ask, answer: &Answer) -> Option<Told> {
    let position = || {
        let position = answer.header("kymo-position").expect("every answer to a write has a position");
        position.parse().expect("a number")
    };
    let number = |json: &Json| json["00200013"]["Value"][0].as_u64().expect("a number");
    let text = || String::from_utf8_lossy(answer.bytes()).into_owned();
    match (ask, answer.status) {
        (Ask::See(_) | Ask::Find(_), 503) => None,
        (Ask::See(_), 200) => Some(Told::Seen(Some(number(&answer.json()[0])))),
        (Ask::See(_), 404) => Some(Told::Seen(None)),
        (Ask::Find(_), 204) => Some(Told::Found(Study::new())),
        (Ask::Find(_), 200) => {
            let instance = |json: &Json| {
                let uid = json["00080018"]["Value"][0].as_str().expect("a UID");
                (place_of(uid).1, number(json))
            };
            Some(Told::Found(answer.json().as_array().expect("an array").iter().map(instance).collect()))
        }
        (Ask::Create(_) | Ask::Replace(_), 200) | (Ask::Delete(_), 204) => Some(Told::Done(position())),
        // 272 says that it came too late; 45070 that the instance is there.
        (Ask::Create(_) | Ask::Replace(_), 409) if text().contains("[272]") => Some(Told::Failed),
        (Ask::Create(_), 409) if text().contains("[45070]") => Some(Told::Refused(position())),
        (Ask::Delete(_), 404) => Some(Told::Refused(position())),
        (_, 503) if text().contains("may still take effect") => Some(Told::Unknown),
        (_, 503) => match text().split_once("took effect at position ") {
            Some((_, rest)) => {
                let position = rest.split(',').next().and_then(|position| position.parse().ok());
                Some(Told::Hidden(position.expect("a position")))
            }
            None => Some(Told::Failed),
        },
        _ => panic!("{ask:?}: {answer:?}"),
    }
}

/// A node of the archive.
struct Member {
    number: usize,
    data: PathBuf,
    flags: Vec<String>,
    process: Option<Process>,
    /// A proxy between it and its broker.
    way: Option<Proxy>,
}

impl Member {
    fn start(number: usize, folder: &Path, brokers: &str, topic: &str, way: Option<Proxy>) -> Self {
        let (data, blobs) = (folder.join(format!("node{number}")), folder.join("blobs"));
        let flags = [&flags(brokers, topic)[..], &SHORT, &SWEEP, &["--blobs", name(&blobs)]].concat();
        let process = Some(Process::start(&data, &flags));
        Self { number, data, flags: flags.into_iter().map(ToOwned::to_owned).collect(), process, way }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs but while it is killed")
    }

    fn kill(&mut self, world: &World, away: Duration) {
        world.addresses.lock()[self.number] = None;
        self.process.take().expect("it runs").kill();
        sleep(away);
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let process = self.process.insert(Process::start_unready(&self.data, &flags, &[]));
        world.addresses.lock()[self.number] = Some(process.address());
    }

    fn pause(&self, away: Duration) {
        self.process().signal("STOP");
        sleep(away);
        self.process().signal("CONT");
    }

    fn cut(&self, random: &mut StdRng, away: Duration) {
        let way = self.way.as_ref().expect("it has a way that can be cut");
        let stream = if random.random() { "upstream" } else { "downstream" };
        let (kind, attributes) = match random.random_range(0..3) {
            0 => ("timeout", r#"{"timeout":0}"#),
            1 => ("reset_peer", r#"{"timeout":0}"#),
            _ => ("limit_data", r#"{"bytes":3000}"#),
        };
        way.poison(kind, stream, attributes);
        sleep(away);
        way.heal();
    }
}

/// So many milliseconds, most often few.
fn moment(random: &mut StdRng, longest: u64) -> Duration {
    let longest = random.random_range(1..=longest);
    Duration::from_millis(random.random_range(0..=longest))
}

/// One thing after the other happens to nodes.
fn trouble_nodes(world: &World, nodes: &mut [Member], mut random: StdRng) -> usize {
    let (began, mut faults) = (Instant::now(), 0);
    while began.elapsed() < TROUBLE {
        sleep(moment(&mut random, 1000));
        let node = random.random_range(0..nodes.len());
        let node = &mut nodes[node];
        let (number, away) = (node.number, moment(&mut random, 4000));
        match random.random_range(0..5) {
            0 | 1 => {
                world.note(&format!("node {number} is killed, for {away:?}"));
                node.kill(world, away);
            }
            kind if kind == 2 || node.way.is_none() => {
                world.note(&format!("node {number} is paused for {away:?}"));
                node.pause(away);
            }
            _ => {
                world.note(&format!("node {number} is cut off for {away:?}"));
                node.cut(&mut random, away);
            }
        }
        world.note(&format!("node {number} is back"));
        faults += 1;
    }
    faults
}

/// What is between the nodes.
enum Brokers {
    One(Broker),
    Three(Cluster, String),
}

impl Brokers {
    fn trouble(&mut self, world: &World, mut random: StdRng) -> usize {
        let (began, mut faults) = (Instant::now(), 0);
        while began.elapsed() < TROUBLE {
            sleep(Duration::from_secs(2) + moment(&mut random, 4000));
            let away = moment(&mut random, 5000);
            match self {
                Self::One(broker) if random.random() => {
                    world.note(&format!("the broker is killed, for {away:?}"));
                    broker.node().kill();
                    sleep(away);
                    broker.node().restart();
                    broker.ready();
                }
                Self::One(broker) => {
                    world.note(&format!("the broker is paused for {away:?}"));
                    broker.node().signal("STOP");
                    sleep(away);
                    broker.node().signal("CONT");
                }
                Self::Three(cluster, topic) => {
                    let first = random.random_range(0..3);
                    let also = random.random_bool(0.3).then_some((first + 1) % 3);
                    let these = || std::iter::once(first).chain(also);
                    let killed: bool = random.random();
                    let what = if killed { "killed, for" } else { "paused for" };
                    world.note(&format!("brokers {:?} are {what} {away:?}", these().collect::<Vec<_>>()));
                    if killed {
                        these().for_each(|node| cluster.nodes[node].kill());
                        sleep(away);
                        these().for_each(|node| cluster.nodes[node].restart());
                    } else {
                        these().for_each(|node| cluster.nodes[node].signal("STOP"));
                        sleep(away);
                        these().for_each(|node| cluster.nodes[node].signal("CONT"));
                    }
                    cluster.settled(topic);
                }
            }
            world.note("the brokers are back");
            faults += 1;
        }
        faults
    }
}

/// What a record of the log asks, if a client asked for it.
fn asked(head: &Head) -> Option<(u64, Ask)> {
    let number = head.request_id.strip_prefix(REQUEST)?.parse().ok()?;
    let ask = match &head.payload {
        Payload::InstanceStored { instance, mode } => {
            let place = place_of(instance.key.instance.as_str());
            if *mode == StoreMode::Create { Ask::Create(place) } else { Ask::Replace(place) }
        }
        Payload::Deleted { scope } => Ask::Delete(study_of(Uid::as_str(&scope.study))),
        other => panic!("no client asks for {other:?}"),
    };
    Some((number, ask))
}

fn entry(record: &Record) -> Entry {
    let event = codec::decode(record.bytes.clone()).ok().map(|event| Event {
        id: event.head.id.as_u128(),
        valid_until: event.head.valid_until.0,
        asked: asked(&event.head),
    });
    Entry { chain: record.chain, stamp: record.stamp.0, event }
}

/// The log as a stopped node holds it.
fn log(data: &Path) -> Vec<Entry> {
    let (mut reader, mut log) = (SegmentReader::new(&data.join("log"), Position(0)), Vec::new());
    loop {
        let more = reader.read(1 << 20).expect("the segments can be read");
        if more.is_empty() {
            return log;
        }
        log.extend(more.iter().map(entry));
    }
}

/// Reads on in the feed; how many rows there were.
fn more(way: &mut Connection, position: u64, rows: &mut Vec<Row>) -> std::io::Result<usize> {
    let path = format!("/v1/changefeed?includeMetadata=false&limit=100&offset={}", rows.len());
    let answer = way.ask("GET", &path, &[("kymo-min-position", &position.to_string())], b"")?;
    if answer.status == 503 || answer.body.is_err() {
        return Err(std::io::ErrorKind::WouldBlock.into());
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let page = page.as_array().expect("an array");
    for json in page {
        assert_eq!(json["sequence"].as_u64(), Some(rows.len() as u64 + 1), "the feed is dense");
        rows.push(row(json));
    }
    Ok(page.len())
}

/// The whole feed as a node gives it that has passed `position`.
fn feed(node: &Process, position: u64) -> Vec<Row> {
    let (mut way, mut rows) = (node.connect(), Vec::new());
    while more(&mut way, position, &mut rows).expect("it answers") > 0 {}
    rows
}

/// Reads on in the feed, now of this node and now of that one: it is one and the same.
fn follow(world: &World, seed: u64) -> Vec<Row> {
    let (mut follower, mut rows) = (Client::of(world, 0, seed), Vec::new());
    while !world.stop.load(Ordering::Relaxed) {
        let node = follower.random.random_range(0..follower.ways.len());
        let Some(mut way) = follower.way(node) else { continue };
        match more(&mut way.1, 0, &mut rows) {
            // Nobody tells when there is more.
            Ok(0) => sleep(Duration::from_millis(10)),
            Ok(_) => {}
            Err(_) => continue,
        }
        follower.ways[node] = Some(way);
    }
    rows
}

fn row(json: &Json) -> Row {
    let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{name} of {json}")).to_lowercase();
    let time = OffsetDateTime::parse(&text("timestamp").to_uppercase(), &Rfc3339).expect("a time");
    Row {
        action: match text("action").as_str() {
            "create" => Action::Create,
            "update" => Action::Update,
            "delete" => Action::Delete,
            other => panic!("{other}"),
        },
        place: place_of(&text("sopInstanceUid")),
        time: i64::try_from(time.unix_timestamp_nanos() / 100).expect("a time of ours"),
        state: match text("state").as_str() {
            "current" => State::Current,
            "replaced" => State::Replaced,
            "deleted" => State::Deleted,
            other => panic!("{other}"),
        },
    }
}

/// Clients at work while `nodes` and `brokers` are in trouble: what they asked and were told, and the feed as
/// it was followed.
fn under_trouble(
    world: &World,
    nodes: &mut [Member],
    brokers: &mut Brokers,
    seed: u64,
) -> (Vec<Operation>, Vec<Row>) {
    let mut random = StdRng::seed_from_u64(seed);
    let homes: Vec<usize> = (0..nodes.len() * CLIENTS_OF_A_NODE).map(|client| client % nodes.len()).collect();
    scope(|scope| {
        let stopping = Stopping(&world.stop);
        let clients: Vec<_> = homes
            .into_iter()
            .map(|home| {
                let client = Client::of(world, home, random.random());
                scope.spawn(move || client.run())
            })
            .collect();
        let follower = random.random();
        let follower = scope.spawn(move || follow(world, follower));
        let [mine, theirs] = [random.random(), random.random()].map(StdRng::seed_from_u64);
        let theirs = scope.spawn(move || brokers.trouble(world, theirs));
        let mine = trouble_nodes(world, nodes, mine);
        let theirs = theirs.join().expect("brokers come back");
        println!("{mine} faults of nodes and their connections, {theirs} of brokers");
        drop(stopping);
        let told = clients.into_iter().flat_map(|client| client.join().expect("no wrong answer")).collect();
        (told, follower.join().expect("no wrong answer"))
    })
}

/// Waits until nothing that was sent can have an effect any more, and looks at everything on each node. The
/// position up to which all of them know the log.
fn settle(world: &World, nodes: &[Member], operations: &mut Vec<Operation>) -> u64 {
    sleep(VALIDITY);
    for node in nodes {
        wait_for_health(node.process(), "log", |status, _| status == "Healthy");
        node.process().wait_until_ready();
        let mut last = Client::of(world, node.number, 0);
        let told = last.ask(node.number, None, Ask::Replace((0, 0)));
        assert!(matches!(told, Some(Told::Done(_))), "{told:?}: {}", node.process().errors());
        operations.extend(last.operations);
    }
    let end = world.told.load(Ordering::Relaxed);
    for node in nodes {
        let mut last = Client::of(world, node.number, 0);
        for study in 0..STUDIES {
            assert!(last.ask(node.number, Some(end), Ask::Find(study)).is_some());
            for place in (0..INSTANCES).map(|instance| (study, instance)) {
                let seen = last.ask(node.number, Some(end), Ask::See(place));
                let Some(Told::Seen(number)) = seen else { panic!("{seen:?}") };
                let accept = [("accept", "application/dicom; transfer-syntax=*")];
                let answer = node.process().ask("GET", &path(place), &accept, b"");
                assert_eq!(answer.status, if number.is_some() { 200 } else { 404 }, "{answer:?}");
                assert!(number.is_none_or(|number| *answer.bytes() == file(place, number)), "{place:?}");
            }
        }
        operations.extend(last.operations);
    }
    end
}

/// Plays one history, and holds it against what must be.
fn play(mut nodes: Vec<Member>, mut brokers: Brokers, seed: u64) {
    let world = World::of(&nodes);
    let (mut operations, followed) = under_trouble(&world, &mut nodes, &mut brokers, seed);
    let end = settle(&world, &nodes, &mut operations);
    for other in &nodes[1..] {
        let (equal, said) = compared(&nodes[0].data, &other.data);
        assert!(equal, "seed {seed}: {said}");
    }
    let feeds: Vec<_> = nodes.iter().map(|node| feed(node.process(), end)).collect();
    let stopped = |mut node: Member| {
        assert!(node.process.take().expect("it runs").stop().success());
        log(&node.data)
    };
    let mut logs: Vec<_> = nodes.into_iter().map(stopped).collect();
    // Behind the end the archive itself may have appended, and not every node have heard of it.
    let known = logs.iter().map(Vec::len).min().expect("there are nodes");
    assert!(known as u64 > end, "seed {seed}: a log ends at {known}");
    logs.iter_mut().for_each(|log| log.truncate(known));
    let nodes: Vec<_> = logs.into_iter().zip(feeds).map(|(log, feed)| Node { log, feed }).collect();
    let counts = count(&nodes, &operations);
    println!(
        "seed {seed}: {known} records, {} rows, {} of them followed; {counts:?}",
        nodes[0].feed.len(),
        followed.len()
    );
    let violations = check(&nodes, std::slice::from_ref(&followed), &operations);
    for violation in &violations {
        eprintln!("{violation:?}");
    }
    assert_eq!(violations, [], "seed {seed}");
    assert!(counts.acknowledged > 20 && counts.bound_reads > 10, "seed {seed}: too little: {counts:?}");
}

/// The seeds to be played.
fn chosen() -> Vec<u64> {
    let seed = std::env::var("KYMO_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    (0..u64::from(seeds(1))).map(|number| seed + number).collect()
}

#[test]
fn three_nodes_on_one_broker_are_one_archive_whatever_fails() {
    let Some(jars) = jars() else { return };
    if std::env::var_os("KYMO_TEST_TOXIPROXY").is_none() {
        eprintln!("skipped: KYMO_TEST_TOXIPROXY names no toxiproxy; tests/run sets it up");
        return;
    }
    for seed in chosen() {
        println!("seed {seed}");
        // Each node has a way of its own to the broker, and finds no other.
        let ways = [(); 3].map(|()| (free_port(), free_port()));
        let broker = Broker::proxied(&jars, &ways, NERVOUS);
        let (folder, topic) = (tempfile::tempdir().expect("a folder"), new_topic());
        let nodes = ways.into_iter().enumerate().map(|(number, (own, way))| {
            let way = Proxy::start(way, &format!("127.0.0.1:{own}")).expect("there is toxiproxy");
            let address = way.address();
            Member::start(number, folder.path(), &address, &topic, Some(way))
        });
        play(nodes.collect(), Brokers::One(broker), seed);
    }
}

#[test]
fn two_nodes_on_three_brokers_are_one_archive_whatever_fails() {
    let Some(jars) = jars() else { return };
    for seed in chosen() {
        println!("seed {seed}");
        let cluster = Cluster::with(&jars, NERVOUS);
        let (folder, topic, address) =
            (tempfile::tempdir().expect("a folder"), new_topic(), cluster.address());
        let nodes = (0..2).map(|number| Member::start(number, folder.path(), address, &topic, None));
        let nodes = nodes.collect();
        play(nodes, Brokers::Three(cluster, topic), seed);
    }
}
