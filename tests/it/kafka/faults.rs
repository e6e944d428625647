//! Brokers and connections that fail under load: what was acknowledged is there once, what was not is there
//! once or never, and the archive works again when they do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::kit::dicom::{Instance, red_triangle};
use crate::kit::folder::name;
use crate::kit::history::send;
use crate::kit::kafka::{Broker, Cluster, free_port, jars, new_topic};
use crate::kit::process::{Connection, PATIENCE, Process, kymo};
use crate::kit::toxiproxy::Proxy;

use super::{flags, wait_for_health};

/// Requests give up soon here, and events are refused soon.
pub(super) const SHORT: [&str; 6] =
    ["--validity", "2s", "--outcome-wait", "3s", "--kafka-delivery-wait", "2500ms"];
const CLIENTS: u64 = 4;

/// What clients were told of each instance they stored once: its number, and the status.
type Told = BTreeMap<u64, u16>;

/// Tells the clients to stop, also when a test fails.
pub(super) struct Stopping<'a>(pub(super) &'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Stores instances, each once, until told to stop.
fn store(address: SocketAddr, stop: &AtomicBool, acknowledged: &AtomicU64) -> Told {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let mut told = Told::new();
    let mut connection = Connection::to(address).expect("it takes connections");
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    while !stop.load(Ordering::Relaxed) {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let uid = format!("2.25.77.{number}");
        let file = Instance::new("2.25.77", "2.25.77.0", &uid).part10();
        let answer = connection.ask("POST", "/v2/studies", &headers, &file).expect("it answers");
        // 409 with the reason 272 says that it came too late and had no effect.
        let fine =
            matches!(answer.status, 200 | 503) || answer.status == 409 && answer.text().contains("[272]");
        assert!(fine, "{answer:?}");
        if answer.status == 200 {
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        told.insert(number, answer.status);
    }
    told
}

/// Lets clients store while `fault` happens, and then checks what they were told.
fn under(archive: &Process, before: &mut Told, fault: impl FnOnce(&dyn Fn(u64))) -> Told {
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = scope(|scope| {
        let stopping = Stopping(&stop);
        let client = || store(archive.address(), &stop, &acknowledged);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        // Waits until so many more stores are acknowledged.
        let more = |count: u64| {
            let (from, began) = (acknowledged.load(Ordering::Relaxed), Instant::now());
            while acknowledged.load(Ordering::Relaxed) < from + count {
                let said = || archive.errors();
                assert!(began.elapsed() < PATIENCE, "stores do not succeed again: {}", said());
                sleep(Duration::from_millis(2));
            }
        };
        fault(&more);
        drop(stopping);
        clients.into_iter().flat_map(|client| client.join().expect("no wrong answer")).collect::<Told>()
    });
    // What was not acknowledged may still take effect until its validity is over.
    settle(archive);
    before.extend(&told);
    check(archive, before);
    told
}

/// Waits until an event sent after all others is there: what is sent behind it comes after it.
fn settle(archive: &Process) {
    wait_for_health(archive, "log", |status, _| status == "Healthy");
    send(&mut archive.connect(), "PUT", &red_triangle());
}

/// Every acknowledged instance has one row, every other one or none.
fn check(archive: &Process, told: &Told) {
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut connection, mut offset) = (archive.connect(), 0);
    loop {
        let path = format!("/v1/changefeed?includeMetadata=false&limit=100&offset={offset}");
        let answer = connection.ask("GET", &path, &[], b"").expect("it answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        let page = page.as_array().expect("an array");
        if page.is_empty() {
            break;
        }
        for row in page {
            offset += 1;
            assert_eq!(row["sequence"].as_u64(), Some(offset), "the feed is dense");
            let uid = row["sopInstanceUid"].as_str().expect("a UID");
            if let Some(number) = uid.strip_prefix("2.25.77.").and_then(|number| number.parse().ok()) {
                *rows.entry(number).or_default() += 1;
            }
        }
    }
    for (number, status) in told {
        let found = rows.remove(number).unwrap_or_default();
        match status {
            200 => assert_eq!(found, 1, "instance {number} was acknowledged"),
            409 => assert_eq!(found, 0, "instance {number} was refused"),
            _ => assert!(found <= 1, "instance {number} has {found} rows"),
        }
    }
    assert!(rows.is_empty(), "nobody stored {rows:?}");
}

fn unacknowledged(told: &Told) -> usize {
    told.values().filter(|status| **status != 200).count()
}

#[test]
fn a_broker_that_is_killed_paused_or_restarted_costs_nothing_acknowledged() {
    let Some(jars) = jars() else { return };
    let mut broker = Broker::start(&jars);
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let data = folder.path().join("data");
    let flags = [&flags(&address, &topic)[..], &SHORT].concat();
    let mut archive = Process::start(&data, &flags);
    let mut all = Told::new();

    // kill -9 in the middle of a batch.
    under(&archive, &mut all, |more| {
        more(50);
        broker.node().kill();
        let away = wait_for_health(&archive, "log", |status, _| status == "Degraded");
        assert!(away.contains("no broker can be asked since"), "{away}");
        // Reads go on.
        assert_eq!(archive.get("/v2/changefeed/latest").status, 200);
        broker.node().restart();
        more(50);
    });

    // Silent for longer than an event is valid.
    let told = under(&archive, &mut all, |more| {
        more(50);
        broker.node().signal("STOP");
        sleep(Duration::from_secs(5));
        broker.node().signal("CONT");
        more(50);
    });
    assert!(unacknowledged(&told) >= 1, "nobody waited for the paused broker: {told:?}");

    // The node itself dies while the broker is away, and comes back first.
    broker.node().kill();
    let position = archive.get("/v2/changefeed/latest").text().to_owned();
    archive.kill();
    archive = Process::start_unready(&data, &flags, &[]);
    wait_for_health(&archive, "log", |status, what| {
        status == "Unhealthy" && what.contains("no broker can be asked")
    });
    assert_eq!(archive.get("/v2/changefeed/latest").status, 503);
    broker.node().restart();
    wait_for_health(&archive, "log", |status, _| status == "Healthy");
    assert_eq!(archive.get("/v2/changefeed/latest").text(), position);
    archive.kill();

    // The same with stale reads allowed.
    broker.node().kill();
    archive = Process::start_unready(&data, &[&flags[..], &["--allow-stale-reads"]].concat(), &[]);
    assert_eq!(archive.get("/v2/changefeed/latest").text(), position);
    assert!(archive.get("/v2/studies").status < 300);
    wait_for_health(&archive, "archive", |status, _| status == "Degraded");
    broker.node().restart();
    wait_for_health(&archive, "archive", |status, _| status == "Healthy");
    send(&mut archive.connect(), "PUT", &red_triangle());
}

/// A node that has nothing of the log yet waits for a broker, and says so to whoever asks.
#[test]
fn a_new_node_waits_for_a_broker_and_says_so() {
    let Some(jars) = jars() else { return };
    let mut broker = Broker::start(&jars);
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    broker.node().kill();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut child = kymo()
        .args(["serve", "--listen", &listen, "--data", name(folder.path())])
        .args(flags(&address, &topic))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be run");
    let listen: SocketAddr = listen.parse().expect("an address");
    let until = |path: &str, fits: &dyn Fn(u16, &str) -> bool| {
        let began = Instant::now();
        loop {
            let asked = Connection::to(listen).and_then(|mut way| way.ask("GET", path, &[], b""));
            if asked.as_ref().is_ok_and(|answer| fits(answer.status, answer.text())) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{asked:?}");
            sleep(Duration::from_millis(20));
        }
    };
    until("/health/check", &|status, text| {
        status == 503 && text.contains("Unhealthy") && text.contains("no broker can be asked")
    });
    until("/v2/changefeed", &|status, _| status == 503);
    broker.node().restart();
    until("/v2/changefeed", &|status, _| status == 200);
    drop((child.kill(), child.wait()));
}

#[test]
fn cuts_in_either_direction_and_resets_cost_nothing_acknowledged() {
    let Some(jars) = jars() else { return };
    if std::env::var_os("KYMO_TEST_TOXIPROXY").is_none() {
        eprintln!("skipped: KYMO_TEST_TOXIPROXY names no toxiproxy; tests/run sets it up");
        return;
    }
    // The broker names the proxy as its address, so that no client finds a way around it.
    let (proxied, way) = (free_port(), free_port());
    let broker = Broker::proxied(&jars, &[(proxied, way)], "");
    let Some(proxy) = Proxy::start(way, &format!("127.0.0.1:{proxied}")) else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), proxy.address());
    let flags = [&flags(&address, &topic)[..], &SHORT].concat();
    let archive = Process::start(&folder.path().join("data"), &flags);
    let mut all = Told::new();
    for (kind, stream, attributes, time) in [
        // Nothing comes through any more, one way or the other; nobody is told.
        ("timeout", "upstream", r#"{"timeout":0}"#, 5),
        ("timeout", "downstream", r#"{"timeout":0}"#, 5),
        ("reset_peer", "downstream", r#"{"timeout":0}"#, 1),
        ("limit_data", "upstream", r#"{"bytes":20000}"#, 2),
        ("limit_data", "downstream", r#"{"bytes":2000}"#, 2),
        ("latency", "downstream", r#"{"latency":300,"jitter":200}"#, 2),
    ] {
        under(&archive, &mut all, |more| {
            more(20);
            proxy.poison(kind, stream, attributes);
            sleep(Duration::from_secs(time));
            proxy.heal();
            more(20);
        });
    }
    drop(broker);
}

#[test]
fn three_brokers_survive_the_loss_of_any_one_and_stop_at_two() {
    let Some(jars) = jars() else { return };
    let mut cluster = Cluster::start(&jars);
    let (folder, topic) = (tempfile::tempdir().expect("a folder"), new_topic());
    let address = cluster.address().to_owned();
    let flags = [&flags(&address, &topic)[..], &["--outcome-wait", "40s"]].concat();
    let archive = Process::start(&folder.path().join("data"), &flags);
    let mut all = Told::new();
    for lost in 0..3 {
        let told = under(&archive, &mut all, |more| {
            more(30);
            cluster.nodes[lost].kill();
            more(30);
            cluster.nodes[lost].restart();
            more(30);
        });
        assert_eq!(unacknowledged(&told), 0, "with one broker lost all stores succeed");
        cluster.settled(&topic);
    }
    archive.kill();
    let short = [&super::flags(&address, &topic)[..], &SHORT].concat();
    let archive = Process::start(&folder.path().join("data"), &short);
    let told = under(&archive, &mut all, |more| {
        more(30);
        cluster.nodes[0].kill();
        cluster.nodes[1].kill();
        sleep(Duration::from_secs(8));
        cluster.nodes[0].restart();
        cluster.nodes[1].restart();
        more(30);
    });
    assert!(unacknowledged(&told) >= 1, "with two brokers lost stores are not acknowledged");
}
