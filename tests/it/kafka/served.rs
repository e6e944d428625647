//! The real program over a broker: a history, restarts, a second node, the commands.

use crate::kit::dicom::{blue_circle, red_triangle};
use crate::kit::folder::name;
use crate::kit::history::{PARTITIONED, answers, assert_same, happen, send};
use crate::kit::kafka::{broker, new_topic};
use crate::kit::process::{Process, ran};

use super::flags;

#[test]
fn a_history_is_the_same_after_a_restart_a_kill_and_the_loss_of_all_copies() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let (data, mut flags) = (folder.path().join("data"), flags(&address, &topic));
    flags.push(PARTITIONED);
    let archive = Process::start(&data, &flags);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());

    let archive = Process::start(&data, &flags);
    assert_same(&before, &answers(&archive), "after a clean stop");
    archive.kill();
    let archive = Process::start(&data, &flags);
    assert_same(&before, &answers(&archive), "after a kill");
    archive.kill();
    // Only the files are the node's own here; log, state and views are made again.
    for part in ["log", "archive", "views"] {
        std::fs::remove_dir_all(data.join(part)).expect("a folder");
    }
    let archive = Process::start(&data, &flags);
    assert_same(&before, &answers(&archive), "after the loss of the copy");
    archive.kill();
    // The copy alone is lost: the views are ahead of it, and wait.
    std::fs::remove_dir_all(data.join("log")).expect("a folder");
    let archive = Process::start(&data, &flags);
    assert_same(&before, &answers(&archive), "after the loss of the segments");
    assert!(archive.stop().success());

    for command in [&["verify"][..], &["rebuild"]] {
        let done = ran(&[command, &["--data", name(&data)], &flags].concat());
        assert!(done.status.success(), "{done:?}");
    }
    let archive = Process::start(&data, &flags);
    assert_same(&before, &answers(&archive), "after a rebuild");
}

#[test]
fn two_nodes_have_the_same_feed_and_search() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let flags = flags(&address, &topic);
    let one = Process::start(&folder.path().join("one"), &flags);
    let two = Process::start(&folder.path().join("two"), &flags);
    send(&mut one.connect(), "POST", &red_triangle());
    send(&mut two.connect(), "POST", &blue_circle());
    // The same instance, stored on the other node: its refusal knows of the first.
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let again = two.ask("POST", "/v2/studies", &headers, &red_triangle().part10());
    assert_eq!(again.status, 409, "{again:?}");
    let position = again.header("kymo-position").expect("a position").to_owned();
    let ask = |node: &Process, path: &str| {
        let accept = [("accept", "application/dicom+json"), ("kymo-min-position", position.as_str())];
        let answer = node.ask("GET", path, &accept, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        // Links name the node that was asked.
        answer.text().replace(&node.address().to_string(), "node")
    };
    for path in ["/v2/changefeed?limit=200", "/v2/instances", "/v2/studies?includefield=all"] {
        assert_eq!(ask(&one, path), ask(&two, path), "{path}");
    }
    assert_eq!(ask(&one, "/v2/changefeed?limit=200").matches("\"sequence\"").count(), 2);
    // The logs are the same to the last chain value.
    assert!(one.stop().success() && two.stop().success());
    let logs = ["one", "two"].map(|node| {
        let printed = ran(&["log", "--data", name(&folder.path().join(node))]);
        assert!(printed.status.success(), "{printed:?}");
        String::from_utf8(printed.stdout).expect("text")
    });
    let shorter = logs.iter().map(|log| log.lines().count()).min().expect("two logs");
    assert!(shorter >= 4);
    assert!(logs[0].lines().take(shorter).eq(logs[1].lines().take(shorter)));
}

#[test]
fn the_command_makes_a_topic_that_passes_every_check() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let create = ["log", "create", "--kafka-brokers", &address, "--kafka-topic", &topic];
    let made = ran(&create);
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8(made.stdout).expect("text");
    assert_eq!(said, format!("the topic '{topic}' is made, with 1 replicas\n"));
    let again = ran(&create);
    assert!(String::from_utf8(again.stdout).expect("text").contains("was there already"));
    // No leave to make topics is needed now.
    let archive =
        Process::start(&folder.path().join("data"), &["--kafka-brokers", &address, "--kafka-topic", &topic]);
    send(&mut archive.connect(), "POST", &red_triangle());
    let metrics = archive.get("/metrics");
    for name in ["kymo_log_round_trip_seconds_count", "kymo_log_lag_records 0", "kymo_log_appends_total"] {
        assert!(metrics.text().contains(name), "{name}: {}", metrics.text());
    }
}
