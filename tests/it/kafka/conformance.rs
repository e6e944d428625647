//! What every log promises, and what a copy of a topic does besides.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kymo::base::{Clock, Position, Stamp, SteppedClock, SystemClock};
use kymo::log::conformance::{self, append, everything};
use kymo::log::kafka::settings::{Creation, Settings};
use kymo::log::kafka::{self, KafkaLog};
use kymo::log::{Condition, Log};
use parking_lot::Mutex;
use rdkafka::message::{Header, OwnedHeaders};
use uuid::Uuid;

use crate::kit::kafka::{broker, new_topic};

fn settings(address: &str, topic: &str) -> Settings {
    let creation = Creation::IfMissing;
    Settings { brokers: address.to_owned(), topic: topic.to_owned(), creation, ..Settings::default() }
}

/// A node's log, opened as `app` does but for its first record, which is not appended.
async fn open(settings: &Settings, folder: &Path, name: Uuid) -> KafkaLog {
    let found = kafka::name_of(settings, |why| panic!("{why}")).await.expect("the topic can be a log");
    let log = found.unwrap_or(name);
    let opened = KafkaLog::open(folder, settings.clone(), Arc::new(SystemClock), log, &[]).await;
    let (log, _) = opened.expect("it can be opened");
    log.checked().await.expect("the topic can be a log");
    log
}

async fn caught_up(log: &KafkaLog) {
    let last = log.end().await.expect("the broker answers").0.checked_sub(1);
    if let Some(last) = last {
        let mut stream = log.read(Position(0));
        use futures_util::StreamExt;
        while let Some(record) = stream.next().await {
            if record.expect("readable").position.0 == last {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_promises_what_every_log_promises() {
    let Some(broker) = broker() else { return };
    let folders = Mutex::new(Vec::new());
    let limit_bytes = Settings::default().record_limit_bytes;
    conformance::all(limit_bytes, async || {
        let folder = tempfile::tempdir().expect("a folder");
        let log = open(&settings(&broker.address(), &new_topic()), folder.path(), Uuid::from_u128(1)).await;
        folders.lock().push(folder);
        Arc::new(log) as Arc<dyn Log>
    })
    .await;
}

/// Positions count the records that can be read, in the same way on every node and at every start.
#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_the_same_log_with_gaps_and_records_of_others() {
    let Some(broker) = broker() else { return };
    let (folder, topic) = (tempfile::tempdir().expect("a folder"), new_topic());
    let settings = settings(&broker.address(), &topic);
    let name = Uuid::from_u128(7);
    let one = open(&settings, &folder.path().join("one"), name).await;
    append(&one, "first").await;
    let others = Uuid::from_u128(8).to_string();
    let (topic_name, address) = (topic.clone(), broker.address());
    // The operator's client has a runtime of its own.
    std::thread::spawn(move || {
        let client = crate::kit::kafka::Client::new(&address);
        client.produce(&topic_name, OwnedHeaders::new(), Some(b"no headers"));
        let headers = OwnedHeaders::new()
            .insert(Header { key: "kymo-log", value: Some(&others) })
            .insert(Header { key: "kymo-format", value: Some("1") });
        client.produce(&topic_name, headers, Some(b"KYMO of another log"));
        client.produce(&topic_name, OwnedHeaders::new(), None);
        client.produce_in_transaction(&topic_name, &[b"a", b"b", b"c"]);
    })
    .join()
    .expect("the stranger succeeds");
    assert_eq!(append(&one, "second").await, Position(7));
    caught_up(&one).await;
    let Condition::Troubled(why) = one.condition() else { panic!("{:?}", one.condition()) };
    assert!(why.contains("6 records of the topic are not this log's"), "{why}");

    let two = open(&settings, &folder.path().join("two"), Uuid::from_u128(9)).await;
    assert_eq!(append(&two, "third").await, Position(8));
    caught_up(&one).await;
    let records = everything(&one);
    assert_eq!(records, everything(&two));
    assert_eq!(records.len(), 9);
    for (position, record) in records.iter().enumerate() {
        let ours = [0, 7, 8].contains(&position);
        assert_eq!(record.bytes.starts_with(b"\0not of this log\n"), !ours, "{record:?}");
    }
    drop(one);
    let again = open(&settings, &folder.path().join("one"), name).await;
    assert_eq!(everything(&again), records);
    assert_eq!(append(&again, "fourth").await, Position(9));
    assert!(matches!(again.condition(), Condition::Troubled(why) if why.contains("6 records")));
}

/// Two nodes that begin a log at once agree on its name.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_first_names_the_log() {
    let Some(broker) = broker() else { return };
    let topic = new_topic();
    let settings = settings(&broker.address(), &topic);
    assert_eq!(kafka::name_of(&settings, |_| ()).await.expect("it is made"), None);
    let begin = |number: u128| kafka::begin(&settings, Uuid::from_u128(number), "beginning".into());
    let (one, two) = tokio::join!(begin(1), begin(2));
    let (one, two) = (one.expect("it is begun"), two.expect("it is begun"));
    assert_eq!(one, two);
    assert_eq!(kafka::name_of(&settings, |_| ()).await.expect("it is there"), Some(one));
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(&settings, folder.path(), Uuid::from_u128(3)).await;
    caught_up(&log).await;
    assert_eq!(log.tail(), Position(2));
    let began = std::time::Instant::now();
    while !matches!(log.condition(), Condition::Well(_)) {
        assert!(began.elapsed() < crate::kit::process::PATIENCE, "{:?}", log.condition());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// `valid_until` rests on clocks that agree.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told() {
    let Some(broker) = broker() else { return };
    let (folder, topic) = (tempfile::tempdir().expect("a folder"), new_topic());
    let settings = settings(&broker.address(), &topic);
    drop(open(&settings, &folder.path().join("first"), Uuid::from_u128(1)).await);
    let now = SystemClock.now();
    for (ahead, text) in [(false, "s behind the broker's"), (true, "s ahead of the broker's")] {
        let hour = Duration::from_secs(3600);
        let start = if ahead { now.plus(hour) } else { Stamp(now.0 - Stamp::TICKS_PER_SECOND * 3600) };
        let (copy, clock) = (folder.path().join(text), Arc::new(SteppedClock::at(start)));
        let opened = KafkaLog::open(&copy, settings.clone(), clock, Uuid::from_u128(1), &[]).await;
        let (log, _) = opened.expect("it can be opened");
        log.checked().await.expect("the topic can be a log");
        append(&log, "event").await;
        caught_up(&log).await;
        let Condition::Troubled(why) = log.condition() else { panic!("{:?}", log.condition()) };
        assert!(why.contains(text), "{why}");
        let seconds: u64 = why
            .split("clock is ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .expect("a figure");
        assert!((3500..3700).contains(&seconds), "{why}");
    }
}

/// What a crash tore off comes again, and what was damaged is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn torn_and_damaged_segments_are_copied_again() {
    let Some(broker) = broker() else { return };
    let (folder, topic) = (tempfile::tempdir().expect("a folder"), new_topic());
    let settings = Settings { segment_bytes: 4096, ..settings(&broker.address(), &topic) };
    let name = Uuid::from_u128(4);
    let log = open(&settings, folder.path(), name).await;
    for number in 0..20u8 {
        append(&log, vec![number; 1000]).await;
    }
    let records = everything(&log);
    log.close().await;
    drop(log);
    let segments = || {
        let mut found: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "kylog"))
            .collect();
        found.sort();
        found
    };
    // The tail is torn.
    let last = segments().pop().expect("there are segments");
    let bytes = std::fs::read(&last).expect("a segment");
    std::fs::write(&last, &bytes[..bytes.len() - 70]).expect("it is cut");
    let log = open(&settings, folder.path(), name).await;
    caught_up(&log).await;
    assert_eq!(everything(&log), records);
    drop(log);
    // A segment in the middle is damaged, and its index gone.
    let second = segments()[1].clone();
    let mut bytes = std::fs::read(&second).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&second, bytes).expect("it is damaged");
    std::fs::remove_file(second.with_extension("index")).expect("an index");
    // A view has passed everything: the log is not there before that.
    let opened =
        KafkaLog::open(folder.path(), settings.clone(), Arc::new(SystemClock), name, &[Position(20)]);
    let (log, report) = opened.await.expect("it can be opened");
    assert!(report.tail < Position(20));
    assert_eq!(everything(&log), records);
    drop(log);
    // A segment is gone.
    std::fs::remove_file(&segments()[2]).expect("a segment");
    let log = open(&settings, folder.path(), name).await;
    caught_up(&log).await;
    assert_eq!(everything(&log), records);
    assert!(folder.path().join("replaced").is_dir());
}
