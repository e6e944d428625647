//! The search view made again while the archive serves: stores, deletes and searches go on, and the process is
//! killed at any moment of a rebuild, of a way back, of a drop. After the restart search says what it must.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;

use crate::kit::dicom::Instance;
use crate::kit::process::{Connection, PATIENCE, Process, ran};

const SEED: u64 = 0x6C69_7665;
/// Times the process is killed; with `KYMO_TEST_LONG` more often.
const KILLS: (u64, u64) = (12, 100);
/// Studies before the first kill, so that a rebuild takes its time.
const STUDIES: u64 = 400;
const JSON: [(&str, &str); 1] = [("accept", "application/dicom+json")];
const DICOM: [(&str, &str); 2] =
    [("accept", "application/dicom+json"), ("content-type", "application/dicom")];

fn study(number: u64) -> String {
    format!("2.25.77.{number}")
}

fn file(number: u64) -> Vec<u8> {
    let study = study(number);
    let patient = format!("P{number}");
    Instance::new(&study, &format!("{study}.1"), &format!("{study}.1.1"))
        .patient(&patient, "Doe^Jane")
        .part10()
}

/// What is known of the archive: studies that are there, and the one of which that is not known.
#[derive(Clone, Debug, Default)]
struct Known {
    live: BTreeSet<u64>,
    doubtful: Option<u64>,
}

/// Stores, deletes and looks until the connection breaks.
fn work(address: SocketAddr, mut known: Known, mut random: StdRng, numbers: &AtomicU64) -> Known {
    let Ok(mut connection) = Connection::to(address) else { return known };
    loop {
        let any = known.live.iter().nth(random.random_range(0..known.live.len())).copied();
        let any = any.expect("there are always some");
        let done = match random.random_range(0..4) {
            0 if known.live.len() > 100 => {
                known.doubtful = Some(any);
                connection.ask("DELETE", &format!("/v2/studies/{}", study(any)), &[], b"").map(|answer| {
                    assert_eq!(answer.status, 204, "{answer:?}");
                    known.live.remove(&any);
                })
            }
            1 | 2 => {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                known.doubtful = Some(number);
                connection.ask("POST", "/v2/studies", &DICOM, &file(number)).map(|answer| {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    known.live.insert(number);
                })
            }
            _ => {
                known.doubtful = None;
                connection.ask("GET", &format!("/v2/studies?PatientID=P{any}"), &JSON, b"").map(|answer| {
                    assert_eq!(answer.status, 200, "P{any} is not found: {answer:?}");
                })
            }
        };
        if done.is_err() {
            return known;
        }
        known.doubtful = None;
    }
}

/// All studies that search knows, page by page.
fn found(process: &Process) -> BTreeSet<u64> {
    let (mut found, mut connection) = (BTreeSet::new(), process.connect());
    loop {
        let path = format!("/v2/studies?limit=200&offset={}", found.len());
        let answer = connection.ask("GET", &path, &JSON, b"").expect("it answers");
        if answer.status == 204 {
            return found;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let uid = |json: &Json| json["0020000D"]["Value"][0].as_str().expect("a UID").to_owned();
        let number = |uid: String| uid.rsplit('.').next().expect("a part").parse::<u64>().expect("a number");
        let before = found.len();
        let page = answer.json();
        found.extend(page.as_array().expect("an array").iter().map(uid).map(number));
        assert!(found.len() > before, "a page repeats another");
    }
}

struct Operator {
    admin: SocketAddr,
}

impl Operator {
    fn of(process: &Process) -> Self {
        let admin = std::fs::read_to_string(process.data().join("admin")).expect("its address for commands");
        Self { admin: admin.trim().parse().expect("an address") }
    }

    /// Status of the order; none if the process is not there any more.
    fn order(&self, order: &str) -> Option<u16> {
        let asked = Connection::to(self.admin).ok()?.ask("POST", &format!("/{order}?view=search"), &[], b"");
        asked.ok().map(|answer| answer.status)
    }

    fn search(&self) -> Option<Json> {
        let asked = Connection::to(self.admin).ok()?.ask("GET", "/status", &[], b"").ok()?;
        asked.body.is_ok().then(|| asked.json()["search"].clone())
    }

    /// Which view answers, and which is kept, once none is being made.
    fn settled(&self) -> (u64, Option<u64>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let search = self.search().expect("it answers");
            if search["successor"].is_null() {
                return (search["answers"].as_u64().expect("a number"), search["keeps"].as_u64());
            }
            assert!(Instant::now() < deadline, "a successor is never done: {search}");
            sleep(Duration::from_millis(5));
        }
    }

    /// One after the other, each as soon as it is taken, until the process is killed.
    fn give(&self, orders: &[&str]) {
        for order in orders.iter().cycle() {
            match self.order(order) {
                None => return,
                Some(202) => {}
                // Another one is under way, or there is nothing to go back to.
                Some(503) => sleep(Duration::from_millis(2)),
                Some(other) => panic!("{order}: {other}"),
            }
        }
    }
}

/// The folders of views are those that are named as in use.
fn expect_folders(data: &Path, (answers, keeps): (u64, Option<u64>)) {
    let named = |kind: &str, n: u64| if n == 0 { kind.to_owned() } else { format!("{kind}-{n}") };
    let used = keeps.into_iter().chain([answers]);
    let used: BTreeSet<String> =
        used.flat_map(|n| ["search-rows", "search-index"].map(|kind| named(kind, n))).collect();
    let there = std::fs::read_dir(data.join("views"))
        .expect("the views")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let there: BTreeSet<String> = there.filter(|name| !name.starts_with("search-generation")).collect();
    assert_eq!(there, used);
}

#[test]
fn a_kill_at_any_moment_of_a_live_rebuild_leaves_an_archive_that_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let seed = std::env::var("KYMO_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let kills = if std::env::var_os("KYMO_TEST_LONG").is_some() { KILLS.1 } else { KILLS.0 };
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut process = Process::start(&data, &[]);
    let mut known = Known::default();
    let mut connection = process.connect();
    for number in 0..STUDIES {
        let answer = connection.ask("POST", "/v2/studies", &DICOM, &file(number)).expect("it answers");
        assert_eq!(answer.status, 200);
        known.live.insert(number);
    }
    drop(connection);
    let numbers = AtomicU64::new(STUDIES);
    let mut seen = BTreeSet::new();
    for round in 0..kills {
        let (address, operator) = (process.address(), Operator::of(&process));
        let orders: &[&str] =
            [&["rebuild"][..], &["rebuild", "back"], &["rebuild", "drop", "back"]][(round % 3) as usize];
        let writer = StdRng::seed_from_u64(random.random());
        let life = Duration::from_millis(random.random_range(0..600));
        known = scope(|scope| {
            let working = scope.spawn(|| work(address, known, writer, &numbers));
            let ordering = scope.spawn(|| operator.give(orders));
            sleep(life);
            process.kill();
            ordering.join().expect("every order is answered");
            working.join().expect("no wrong answer")
        });
        process = Process::start(&data, &[]);
        let mut found = found(&process);
        if let Some(doubtful) = known.doubtful.take() {
            match found.contains(&doubtful) {
                true => known.live.insert(doubtful),
                false => known.live.remove(&doubtful),
            };
        }
        assert_eq!(found, known.live, "round {round}");
        found.clear();
        let settled = Operator::of(&process).settled();
        expect_folders(&data, settled);
        seen.insert(settled);
    }
    assert!(seen.len() > 2, "no rebuild ever came to its end: {seen:?}");
    assert!(process.stop().success());
    let verified = ran(&["verify", "--data", data.to_str().expect("a name")]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_live_rebuild_is_asked_of_the_running_archive_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let name = data.to_str().expect("a name").to_owned();
    let said = |arguments: &[&str]| {
        let ran = ran(&[&["rebuild"], arguments, &["--data", &name]].concat());
        let text = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let process = Process::start(&data, &[]);
    assert_eq!(process.ask("POST", "/v2/studies", &DICOM, &file(1)).status, 200);
    let operator = Operator::of(&process);
    for order in ["--back", "--drop"] {
        let (done, why) = said(&["search", order]);
        assert!(!done && why.contains("no search view is kept"), "{why}");
    }
    assert!(said(&["search", "--live"]).0);
    let wait = |wanted: (u64, Option<u64>)| {
        let deadline = Instant::now() + PATIENCE;
        while operator.settled() != wanted {
            assert!(Instant::now() < deadline, "{wanted:?}: {:?}", operator.search());
            sleep(Duration::from_millis(5));
        }
    };
    wait((1, Some(0)));
    let deadline = Instant::now() + PATIENCE;
    while !process.get("/health/check").text().contains("keeps generation 0") {
        assert!(Instant::now() < deadline, "health does not tell");
        sleep(Duration::from_millis(20));
    }
    // The thread that replaced it may still wait for those who use the old one.
    while !said(&["--back"]).0 {
        assert!(Instant::now() < deadline, "it cannot go back");
    }
    wait((0, Some(1)));
    while !said(&["search", "--drop"]).0 {
        assert!(Instant::now() < deadline, "what is kept cannot be dropped");
    }
    wait((0, None));
    expect_folders(&data, (0, None));
    assert_eq!(found(&process), BTreeSet::from([1]));
    let (done, why) = said(&["archive", "--live"]);
    assert!(!done && why.contains("only the search view"), "{why}");
    assert!(process.stop().success());
    let (done, why) = said(&["search", "--live"]);
    assert!(!done && why.contains("no archive runs"), "{why}");
}
