//! A log moved from a node's own files to a topic and back: the same records, whatever interrupts it.

use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use kymo::base::Position;
use kymo::log::Record;
use kymo::log::embedded::follow::SegmentReader;
use rdkafka::message::{Header, OwnedHeaders};

use crate::kit::dicom::{Instance, blue_circle, red_triangle};
use crate::kit::history::{Answers, answers, assert_same, happen, send};
use crate::kit::kafka::{broker, new_topic};
use crate::kit::process::{Process, kymo, ran};

use super::{flags, wait_for_health};

fn records(data: &Path) -> Vec<Record> {
    let mut reader = SegmentReader::new(&data.join("log"), Position(0));
    let mut records = Vec::new();
    loop {
        let more = reader.read(usize::MAX).expect("the segments can be read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// An archive with a log of its own and a history; what it answers, and its records.
fn lived(data: &Path, flags: &[&str]) -> (Answers, Vec<Record>) {
    let node = Process::start(data, flags);
    happen(&node);
    let answers = answers(&node);
    assert!(node.stop().success());
    (answers, records(data))
}

fn arguments<'a>(data: &'a Path, to: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let data = data.to_str().expect("text");
    [&["log", "copy", "--to", to, "--data", data], flags].concat()
}

fn copied(data: &Path, to: &str, flags: &[&str]) -> String {
    let done = ran(&arguments(data, to, flags));
    assert!(done.status.success(), "{}", said(&done));
    said(&done)
}

fn said(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

fn started(data: &Path, to: &str, flags: &[&str]) -> Child {
    let mut command = kymo();
    command.args(arguments(data, to, flags)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program can be run")
}

/// A write to a node whose log is sealed, or is not whole yet.
fn refused(node: &Process) {
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let file = Instance::new("2.25.9", "2.25.9.1", "2.25.9.1.1").part10();
    let stored = node.ask("POST", "/v2/studies", &headers, &file);
    let study = node.get("/v2/changefeed?limit=1").json()[0]["studyInstanceUid"].clone();
    let path = format!("/v2/studies/{}", study.as_str().expect("a study"));
    for answer in [stored, node.ask("DELETE", &path, &[], b"")] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
}

#[test]
fn to_a_topic_and_back_it_stays_what_it_was() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let [data, other, lake] = ["one", "two", "lake"].map(|name| folder.path().join(name));
    let alone = ["--blobs", lake.to_str().expect("text")];
    let flags = [&flags(&address, &topic), &alone[..]].concat();
    let (before, first) = lived(&data, &alone);

    let told = copied(&data, "kafka", &flags);
    assert!(told.contains("the log is in the topic now"), "{told}");
    let told = copied(&data, "kafka", &flags);
    assert!(told.contains("the log was there already"), "{told}");
    let node = Process::start(&data, &flags);
    assert_same(&before, &answers(&node), "in the topic");
    send(&mut node.connect(), "PUT", &blue_circle().patient("KYMO-0003", "Moved^Once"));
    let there = answers(&node);
    // A node that has nothing but the topic comes to the same.
    let second = Process::start(&other, &flags);
    assert_same(&there, &answers(&second), "on another node");
    assert!(node.stop().success());
    let moved = records(&data);
    assert_eq!(moved[..first.len()], first[..], "positions, stamps, bytes and chain");
    assert!(moved.len() > first.len() + 2, "sealed, opened, and one more");

    let told = copied(&data, "folder", &flags);
    assert!(told.contains("the log is in this node's files now"), "{told}");
    assert!(copied(&data, "folder", &alone).contains("there already"));
    let node = Process::start(&data, &alone);
    assert_same(&there, &answers(&node), "back again");
    send(&mut node.connect(), "PUT", &red_triangle().patient("KYMO-0004", "Moved^Back"));
    // The nodes that are left behind answer what was true until then, and take nothing.
    let health = wait_for_health(&second, "archive", |status, _| status == "Degraded");
    assert!(health.contains("sealed"), "{health}");
    refused(&second);
    assert_same(&there, &answers(&second), "left behind");
    assert!(node.stop().success());
    let back = records(&data);
    assert_eq!(back[..moved.len()], moved[..]);
    let verified = ran(&[&["verify", "--data", data.to_str().expect("text")], &alone[..]].concat());
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn killed_at_any_moment_it_is_simply_run_again() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let flags = flags(&address, &topic);
    let data = folder.path().join("one");
    let (before, first) = lived(&data, &[]);
    for to in ["kafka", "folder"] {
        let (mut kills, mut after) = (0, Duration::from_millis(20));
        loop {
            let mut child = started(&data, to, &flags);
            std::thread::sleep(after);
            if let Some(status) = child.try_wait().expect("its state can be asked") {
                assert!(status.success(), "to {to}, after {kills} kills");
                break;
            }
            child.kill().and_then(|()| child.wait()).expect("it can be killed");
            kills += 1;
            after = after * 5 / 4;
        }
        assert!(kills > 2, "to {to}: it was never caught");
        copied(&data, to, &flags);
        let after = records(&data);
        assert_eq!(after[..first.len()], first[..], "to {to}");
        let node = Process::start(&data, if to == "kafka" { &flags } else { &[] });
        assert_same(&before, &answers(&node), to);
        assert!(node.stop().success());
    }
}

/// Half of a log in a topic, as an interrupted copy leaves it.
#[test]
fn while_it_is_only_partly_there_nobody_writes() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let [data, early, stranger, lake] = ["one", "two", "three", "lake"].map(|name| folder.path().join(name));
    let alone = ["--blobs", lake.to_str().expect("text")];
    let flags = [&flags(&address, &topic), &alone[..]].concat();
    let (before, all) = lived(&data, &alone);
    let name = SegmentReader::new(&data.join("log"), Position(0)).log_id().expect("readable").expect("named");
    broker.client().create(&topic, 1, 1, &crate::kit::kafka::GOOD);
    for record in &all[..all.len() / 2] {
        let (name, stamp) = (name.to_string(), record.stamp.0.to_string());
        let headers = [("kymo-log", name.as_str()), ("kymo-format", "1"), ("kymo-stamp", stamp.as_str())];
        let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        broker.client().produce(&topic, headers, Some(&record.bytes));
    }
    let waiting = Process::start(&early, &flags);
    wait_for_health(&waiting, "log", |_, how| how.contains("still being copied"));
    refused(&waiting);
    // Another archive has no business in that topic.
    let node = Process::start(&stranger, &[]);
    send(&mut node.connect(), "POST", &red_triangle());
    assert!(node.stop().success());
    let done = ran(&arguments(&stranger, "kafka", &flags));
    assert!(!done.status.success() && said(&done).contains("it holds the log"), "{}", said(&done));
    let node = Process::start(&stranger, &[]);
    refused(&node);
    drop(node);
    copied(&stranger, "folder", &[]);
    let node = Process::start(&stranger, &[]);
    send(&mut node.connect(), "PUT", &red_triangle());

    assert!(copied(&data, "kafka", &flags).contains("the log is in the topic now"));
    wait_for_health(&waiting, "log", |status, _| status == "Healthy");
    assert_same(&before, &answers(&waiting), "on the node that was early");
    send(&mut waiting.connect(), "PUT", &red_triangle().patient("KYMO-0005", "Early^Bird"));
}
