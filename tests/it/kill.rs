//! kill -9 of the real process at random moments, with writers and readers at work; then a restart and a look
//! at everything that was acknowledged (architecture §7, promises 1, 2 and 4).
//!
//! Each writer has studies of its own, so that it knows at any time what must be there. Of what it was doing
//! when the process was killed it knows nothing: that may have happened or not. The studies lie in three data
//! partitions, where the same UIDs belong to several writers, and some of them expire. One study belongs to all of
//! them; of it the change feed must tell every acknowledged write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;

use crate::kit::dicom::{Instance, PIXEL_DATA, Value};
use crate::kit::ground::{Ground, on_every_ground};
use crate::kit::history::PARTITIONED;
use crate::kit::process::{Connection, Process};
use crate::kit::served::Answer;

/// Of all that is random here, unless `KYMO_TEST_SEED` gives another.
const SEED: u64 = 0x6B79_6D6F;
/// Times the process is killed while it serves; less often where each start speaks to other servers.
const KILLS: (u32, u32) = (50, 6);
const WRITERS: u64 = 5;
const STUDIES: u64 = 2;
const INSTANCES: u64 = 3;
/// Small segments, so that they are sealed under way; released files go at once, so that the sweep is at work.
const FLAGS: [&str; 7] =
    ["--log-segment", "64KiB", "--keep-released", "0s", "--sweep-every", "50ms", PARTITIONED];
/// Owners take turns with them.
const PARTITIONS: [&str; 3] = ["Microsoft.Default", "Ward_7", "ward_7"];
const IN_PARTITIONS: u64 = PARTITIONS.len() as u64;

/// One instance: whose it is (`WRITERS` stands for all), which study, which instance in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    owner: u64,
    study: u64,
    instance: u64,
}

impl Key {
    fn partition(self) -> &'static str {
        PARTITIONS[(self.owner % IN_PARTITIONS) as usize]
    }

    fn base(self) -> String {
        format!("/v2/partitions/{}", self.partition())
    }

    fn study_uid(self) -> String {
        format!("2.25.9{}.{}", self.owner / IN_PARTITIONS, self.study)
    }

    fn uid(self) -> String {
        format!("{}.1.{}", self.study_uid(), self.instance)
    }

    fn study_path(self) -> String {
        format!("{}/studies/{}", self.base(), self.study_uid())
    }

    fn path(self) -> String {
        format!("{}/series/{}.1/instances/{}", self.study_path(), self.study_uid(), self.uid())
    }

    /// The file that carries the number of its write.
    fn file(self, number: u64) -> Vec<u8> {
        let study = self.study_uid();
        let pixels = vec![number as u8; (number as usize * 7919) % 60_000 * 2];
        Instance::new(&study, &format!("{study}.1"), &self.uid())
            .element(0x0020_0013, "IS", number.to_string().as_str())
            .element(PIXEL_DATA, "OW", Value::Words(pixels))
            .part10()
    }
}

fn keys_of(owner: u64) -> Vec<Key> {
    let studies = if owner == WRITERS { 1 } else { STUDIES };
    let study = |study| (1..=INSTANCES).map(move |instance| Key { owner, study, instance });
    (1..=studies).flat_map(study).collect()
}

/// What is stored under each key: the number of the write, none if nothing is.
type Live = BTreeMap<Key, u64>;

/// What one writer knows.
#[derive(Debug, Default)]
struct Written {
    live: Live,
    /// What was under way at the end: for each key the other thing that may be there now.
    doubtful: BTreeMap<Key, Option<u64>>,
    /// Whether the doubtful keys change together or not at all.
    together: bool,
    /// Acknowledged stores of the study of all, and those under way.
    shared: Vec<Key>,
    shared_doubtful: Vec<Key>,
    acknowledged: u64,
    /// The greatest position of an acknowledged write.
    position: u64,
}

struct Writer<'a> {
    number: u64,
    random: StdRng,
    connection: Connection,
    numbers: &'a AtomicU64,
    written: Written,
}

impl Writer<'_> {
    /// Writes until the connection breaks.
    fn run(mut self) -> Written {
        loop {
            let done = match self.random.random_range(0..10) {
                0..=4 => self.store(),
                5 => self.store_shared(),
                6 => self.delete_study(),
                7 => self.delete_instance(),
                _ => self.look(),
            };
            if done.is_err() {
                return self.written;
            }
        }
    }

    fn any_key(&mut self) -> Key {
        let keys = keys_of(self.number);
        keys[self.random.random_range(0..keys.len())]
    }

    /// One to three instances in one POST or PUT.
    fn store(&mut self) -> std::io::Result<()> {
        let method = if self.random.random() { "POST" } else { "PUT" };
        let keys: BTreeSet<Key> = (0..self.random.random_range(1..=3)).map(|_| self.any_key()).collect();
        let files: Vec<(Key, u64)> =
            keys.into_iter().map(|key| (key, self.numbers.fetch_add(1, Ordering::Relaxed))).collect();
        let accepted = |live: &Live, key: &Key| method == "PUT" || !live.contains_key(key);
        let expected = files.iter().filter(|(key, _)| accepted(&self.written.live, key)).copied();
        let expected: Vec<(Key, u64)> = expected.collect();
        self.written.doubtful = expected.iter().map(|(key, number)| (*key, Some(*number))).collect();
        let answer = self.send(method, &files)?;
        let status = match (expected.len(), files.len() - expected.len()) {
            (0, _) => 409,
            (_, 0) => 200,
            _ => 202,
        };
        assert_eq!(answer.status, status, "{method} of {files:?} with {:?}: {answer:?}", self.written.live);
        self.written.live.extend(expected);
        self.acknowledge(&answer);
        Ok(())
    }

    /// PUT into the study of all.
    fn store_shared(&mut self) -> std::io::Result<()> {
        let keys = keys_of(WRITERS);
        let key = keys[self.random.random_range(0..keys.len())];
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.written.shared_doubtful = vec![key];
        let answer = self.send("PUT", &[(key, number)])?;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.written.shared_doubtful.clear();
        self.written.shared.push(key);
        self.acknowledge(&answer);
        Ok(())
    }

    fn send(&mut self, method: &str, files: &[(Key, u64)]) -> std::io::Result<Answer> {
        let mut body = Vec::new();
        for (key, number) in files {
            body.extend(b"\r\n--xyz\r\nContent-Type: application/dicom\r\n\r\n");
            body.extend(key.file(*number));
        }
        body.extend(b"\r\n--xyz--");
        let mut headers =
            vec![("content-type", "multipart/related; boundary=xyz"), ("accept", "application/dicom+json")];
        let expires_after = self.random.random_range(10_000_000_000..20_000_000_000_u64).to_string();
        if self.random.random_ratio(1, 3) {
            headers.push(("msdicom-expiry-time-milliseconds", &expires_after));
        }
        let path = format!("{}/studies", files[0].0.base());
        self.connection.ask(method, &path, &headers, &body)
    }

    fn delete_instance(&mut self) -> std::io::Result<()> {
        let key = self.any_key();
        self.delete(&key.path(), |other| other == key)
    }

    fn delete_study(&mut self) -> std::io::Result<()> {
        let key = self.any_key();
        self.delete(&key.study_path(), |other| other.study == key.study)
    }

    fn delete(&mut self, path: &str, concerns: impl Fn(Key) -> bool) -> std::io::Result<()> {
        let gone: Vec<Key> = self.written.live.keys().copied().filter(|key| concerns(*key)).collect();
        self.written.doubtful = gone.iter().map(|key| (*key, None)).collect();
        self.written.together = true;
        let answer = self.connection.ask("DELETE", path, &[], b"")?;
        let status = match gone.is_empty() {
            true if is_unknown_partition(&answer) => 400,
            true => 404,
            false => 204,
        };
        assert_eq!(answer.status, status, "{path} with {:?}: {answer:?}", self.written.live);
        self.written.live.retain(|key, _| !gone.contains(key));
        self.acknowledge(&answer);
        Ok(())
    }

    /// What was written is there at once, in retrieve and in search.
    fn look(&mut self) -> std::io::Result<()> {
        let key = self.any_key();
        let expected = self.written.live.get(&key).copied();
        expect_file(&mut self.connection, key, expected)?;
        let query = format!("includefield=00200013&StudyInstanceUID={}", key.study_uid());
        let found: Live = found(&mut self.connection, key.partition(), &query)?;
        let live = self.written.live.iter().filter(|(other, _)| other.study == key.study);
        assert_eq!(found, live.map(|(key, number)| (*key, *number)).collect(), "{query}");
        Ok(())
    }

    fn acknowledge(&mut self, answer: &Answer) {
        let position = answer.header("kymo-position").expect("every answer to a write has a position");
        self.written.position = self.written.position.max(position.parse().expect("a number"));
        self.written.acknowledged += 1;
        self.written.doubtful.clear();
        self.written.together = false;
    }
}

/// Nothing was stored in that partition yet.
fn is_unknown_partition(answer: &Answer) -> bool {
    let says = |body: &bytes::Bytes| body.ends_with(b"does not exist.");
    answer.status == 400 && answer.body.as_ref().is_ok_and(says)
}

/// The file under `key` is the one of write `number`, byte for byte.
fn expect_file(connection: &mut Connection, key: Key, number: Option<u64>) -> std::io::Result<()> {
    let accept = [("accept", "application/dicom; transfer-syntax=*")];
    let answer = connection.ask("GET", &key.path(), &accept, b"")?;
    match number {
        None if is_unknown_partition(&answer) => {}
        None => assert_eq!(answer.status, 404, "{key:?} is deleted: {:?}", answer.headers),
        Some(number) => {
            let Ok(bytes) = &answer.body else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
            assert_eq!(answer.status, 200, "{key:?} is stored: {answer:?}");
            assert!(*bytes == key.file(number), "{key:?} is another file than that of write {number}");
        }
    }
    Ok(())
}

/// What a search for instances finds.
fn found(connection: &mut Connection, partition: &str, query: &str) -> std::io::Result<Live> {
    let path = format!("/v2/partitions/{partition}/instances?{query}");
    let answer = connection.ask("GET", &path, &[("accept", "application/dicom+json")], b"")?;
    let nothing = answer.status == 204 || is_unknown_partition(&answer);
    assert!(answer.status == 200 || nothing, "{path}: {answer:?}");
    if nothing {
        return Ok(Live::new());
    }
    if answer.body.is_err() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let instance = |json: &Json| {
        let uid = json["00080018"]["Value"][0].as_str().expect("an instance has a UID").to_owned();
        let number = json["00200013"]["Value"][0].as_u64().expect("an instance has a number");
        (key_of(partition, &uid), number)
    };
    Ok(answer.json().as_array().expect("an array").iter().map(instance).collect())
}

fn key_of(partition: &str, uid: &str) -> Key {
    let key = (0..=WRITERS).flat_map(keys_of).find(|key| key.partition() == partition && key.uid() == uid);
    key.unwrap_or_else(|| panic!("nobody stored {uid} in {partition}"))
}

/// What never changes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    action: String,
    key: Key,
    timestamp: String,
}

fn text(json: &Json, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("{name} of {json}")).to_owned()
}

/// Rows behind the first `offset`, one page.
fn page(connection: &mut Connection, offset: usize) -> std::io::Result<Vec<Row>> {
    let path = format!("/v1/changefeed?includeMetadata=false&limit=100&offset={offset}");
    let answer = connection.ask("GET", &path, &[], b"")?;
    assert_eq!(answer.status, 200, "{answer:?}");
    if answer.body.is_err() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let rows = answer.json();
    let rows = rows.as_array().expect("an array").iter().enumerate();
    let row = |(n, row): (usize, &Json)| {
        assert_eq!(row["sequence"].as_u64(), Some((offset + n + 1) as u64), "the feed is dense");
        let key = key_of(&text(row, "partitionName"), &text(row, "sopInstanceUid"));
        assert_eq!(text(row, "studyInstanceUid"), key.study_uid());
        Row { action: text(row, "action"), key, timestamp: text(row, "timestamp") }
    };
    Ok(rows.map(row).collect())
}

/// Reads on in the feed until the connection breaks. What it saw.
fn follow(address: SocketAddr, from: usize) -> Vec<Row> {
    let mut seen = Vec::new();
    let Ok(mut connection) = Connection::to(address) else { return seen };
    while let Ok(rows) = page(&mut connection, from + seen.len()) {
        seen.extend(rows);
    }
    seen
}

/// What is known after any number of kills.
#[derive(Default)]
struct Known {
    live: Live,
    feed: Vec<Row>,
    partitions: Vec<Json>,
    /// Writes into the study of all: acknowledged, and perhaps done.
    shared: BTreeMap<Key, (usize, usize)>,
    acknowledged: u64,
}

/// Lets writers and readers work for a while, then kills the process.
fn under_load(
    seed: u64,
    process: Process,
    round: u64,
    known: &Known,
    numbers: &AtomicU64,
) -> (Vec<Written>, Vec<Vec<Row>>) {
    let address = process.address();
    let mut random = StdRng::seed_from_u64(seed ^ round);
    scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let live = known.live.iter().filter(|(key, _)| key.owner == number);
                let writer = Writer {
                    number,
                    random: StdRng::seed_from_u64(random.random()),
                    connection: Connection::to(address).expect("it takes connections"),
                    numbers,
                    written: Written { live: live.map(|(k, n)| (*k, *n)).collect(), ..Written::default() },
                };
                scope.spawn(move || writer.run())
            })
            .collect();
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| follow(address, known.feed.len()))).collect();
        sleep(Duration::from_micros(random.random_range(10_000..400_000)));
        assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer ended before the kill");
        process.kill();
        let join =
            |handle: std::thread::ScopedJoinHandle<'_, Written>| handle.join().expect("no wrong answer");
        let written = writers.into_iter().map(join).collect();
        let seen = readers.into_iter().map(|reader| reader.join().expect("no wrong answer")).collect();
        (written, seen)
    })
}

impl Known {
    /// Looks at everything after a restart.
    fn check(&mut self, process: &Process, written: &[Written], seen: &[Vec<Row>]) {
        let mut connection = process.connect();
        let position = written.iter().map(|written| written.position).max().unwrap_or_default();
        let least = [("kymo-min-position", &*position.to_string()), ("accept", "application/dicom+json")];
        let answer = connection
            .ask("GET", "/v2/partitions/Microsoft.Default/studies", &least, b"")
            .expect("it answers");
        assert!([200, 204].contains(&answer.status), "position {position} is passed: {answer:?}");

        let list = connection.ask("GET", "/v2/partitions", &[], b"").expect("it answers").json();
        let list = list.as_array().expect("a list").clone();
        assert!(list.starts_with(&self.partitions), "a partition has changed: {list:?}");
        self.partitions = list;
        let mut search = Live::new();
        for partition in PARTITIONS {
            let all = found(&mut connection, partition, "includefield=00200013&limit=200");
            search.extend(all.expect("it answers"));
        }
        let shared: Live = search.extract_if(.., |key, _| key.owner == WRITERS).collect();
        self.live = search;
        for (owner, written) in (0..).zip(written) {
            self.check_writer(&mut connection, owner, written);
        }
        self.check_feed(&mut connection, seen);
        self.check_shared(&mut connection, written, &shared);
        self.acknowledged += written.iter().map(|written| written.acknowledged).sum::<u64>();
    }

    /// `self.live` is what search says; the writer knows better.
    fn check_writer(&self, connection: &mut Connection, owner: u64, written: &Written) {
        let mut changed = BTreeSet::new();
        for key in keys_of(owner) {
            let (found, expected) = (self.live.get(&key).copied(), written.live.get(&key).copied());
            match written.doubtful.get(&key) {
                Some(other) => {
                    assert!(found == expected || found == *other, "{key:?} is {found:?}: {written:?}");
                    changed.insert(found == *other);
                }
                None => assert_eq!(found, expected, "{key:?}: {written:?}"),
            }
            expect_file(connection, key, found).expect("it answers");
        }
        assert!(!written.together || changed.len() < 2, "a study is half deleted: {written:?}");
    }

    /// The feed has grown, and nothing in it has changed.
    fn check_feed(&mut self, connection: &mut Connection, seen: &[Vec<Row>]) {
        let mut feed = Vec::new();
        loop {
            let rows = page(connection, feed.len()).expect("it answers");
            if rows.is_empty() {
                break;
            }
            feed.extend(rows);
        }
        let before = std::mem::replace(&mut self.feed, feed);
        assert!(self.feed.starts_with(&before), "rows served before have changed");
        for seen in seen {
            let behind = &self.feed[before.len()..];
            assert!(behind.starts_with(seen), "a reader saw {seen:?}, and now there is {behind:?}");
        }
        assert!(self.feed.is_sorted_by_key(|row| &row.timestamp), "feed time went back");
        // What lives is what the feed says.
        let mut live = BTreeSet::new();
        for row in &self.feed {
            match (row.action.as_str(), live.contains(&row.key)) {
                ("Create", false) => drop(live.insert(row.key)),
                ("Update", true) => {}
                ("Delete", true) => drop(live.remove(&row.key)),
                (action, is_live) => panic!("{action} of {:?}, which is live: {is_live}", row.key),
            }
        }
        live.retain(|key| key.owner < WRITERS);
        assert_eq!(live, self.live.keys().copied().collect());
    }

    fn check_shared(&mut self, connection: &mut Connection, written: &[Written], found: &Live) {
        for written in written {
            for key in &written.shared {
                let (sure, perhaps) = self.shared.entry(*key).or_default();
                (*sure, *perhaps) = (*sure + 1, *perhaps + 1);
            }
            for key in &written.shared_doubtful {
                self.shared.entry(*key).or_default().1 += 1;
            }
        }
        for key in keys_of(WRITERS) {
            let (sure, perhaps) = self.shared.get(&key).copied().unwrap_or_default();
            let rows = self.feed.iter().filter(|row| row.key == key).count();
            assert!(
                (sure..=perhaps).contains(&rows),
                "{rows} rows of {key:?} for {sure} to {perhaps} writes"
            );
            assert_eq!(found.contains_key(&key), rows > 0, "{key:?}");
            expect_file(connection, key, found.get(&key).copied()).expect("it answers");
        }
    }
}

/// Kills the process while it starts.
fn killed_at_start(ground: &Ground, data: &Path, after: Duration) {
    let mut command = ground.command("serve", data);
    let streams =
        command.args(["--listen", "127.0.0.1:0"]).args(FLAGS).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = streams.spawn().expect("the program can be run");
    sleep(after);
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
}

fn verify(ground: &Ground, data: &Path) {
    let verified = ground.ran("verify", data, &[]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

on_every_ground! { nothing_acknowledged_is_lost_when_the_process_is_killed }

fn nothing_acknowledged_is_lost_when_the_process_is_killed(ground: &Ground) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let seed = std::env::var("KYMO_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let kills = u64::from(ground.times(KILLS.0, KILLS.1));
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut known, numbers) = (Known::default(), AtomicU64::new(1));
    let mut process = ground.start(&data, &FLAGS);
    let mut at_start = 0;
    for round in 1..=kills {
        let (written, seen) = under_load(seed, process, round, &known, &numbers);
        if round % 5 == 0 {
            killed_at_start(ground, &data, Duration::from_micros(random.random_range(0..150_000)));
            at_start += 1;
        }
        if round == kills / 2 {
            verify(ground, &data);
        }
        process = ground.start(&data, &FLAGS);
        known.check(&process, &written, &seen);
    }
    assert!(process.stop().success());
    assert_eq!(known.partitions.len(), PARTITIONS.len(), "{:?}", known.partitions);
    verify(ground, &data);
    println!(
        "{kills} kills under load, {at_start} at the start; {} writes acknowledged, {} rows in the feed",
        known.acknowledged,
        known.feed.len()
    );
}
