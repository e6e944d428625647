//! Each refusal at the start, with the text an operator sees.

use std::time::Duration;

use crate::kit::folder::name;
use crate::kit::kafka::{Client, GOOD, broker, new_topic};
use crate::kit::process::{PATIENCE, Process};

use super::{flags, refusal};

fn with<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = GOOD.into_iter().filter(|(name, _)| changed.iter().all(|(other, _)| name != other));
    kept.chain(changed.iter().copied()).collect()
}

#[test]
fn a_topic_that_cannot_be_a_log_is_refused_with_what_was_found_and_what_is_needed() {
    let Some(broker) = broker() else { return };
    let (client, address) = (broker.client(), broker.address());
    for (settings, partitions, text) in [
        (with(&[]), 3, "it has 3 partitions, and must have 1"),
        (with(&[("cleanup.policy", "compact")]), 1, "'cleanup.policy' is 'compact', and must be 'delete'"),
        (with(&[("retention.ms", "60000")]), 1, "'retention.ms' is '60000', and must be '-1'"),
        (with(&[("retention.bytes", "1000000")]), 1, "'retention.bytes' is '1000000', and must be '-1'"),
        (
            with(&[("message.timestamp.type", "CreateTime")]),
            1,
            "'message.timestamp.type' is 'CreateTime', and must be 'LogAppendTime'",
        ),
        (
            with(&[("max.message.bytes", "500000")]),
            1,
            "'max.message.bytes' is '500000', and must be at least 987136",
        ),
    ] {
        let (folder, topic) = (tempfile::tempdir().expect("a folder"), new_topic());
        client.create(&topic, partitions, 1, &settings);
        let said = refusal(&folder.path().join("data"), &flags(&address, &topic), PATIENCE);
        assert!(said.contains(&format!("the topic '{topic}' cannot be the log: {text}")), "{said}");
    }
}

#[test]
fn a_topic_that_is_not_there_or_has_lost_its_beginning_is_refused() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let bare = ["--kafka-brokers", &address, "--kafka-topic", &topic];
    let said = refusal(&folder.path().join("data"), &bare, PATIENCE);
    assert!(said.contains(&format!("there is no topic '{topic}' ('kafka-topic')")), "{said}");
    assert!(said.contains("kymo log create"), "{said}");
    let client = broker.client();
    client.create(&topic, 1, 1, &GOOD);
    for _ in 0..3 {
        client.produce(&topic, rdkafka::message::OwnedHeaders::new(), Some(b"stranger"));
    }
    client.delete_before(&topic, 2);
    let said = refusal(&folder.path().join("data"), &bare, PATIENCE);
    assert!(said.contains("it begins at offset 2, and must begin at offset 0"), "{said}");
}

#[test]
fn a_folder_is_either_a_log_or_the_copy_of_one() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let (own, copy) = (folder.path().join("own"), folder.path().join("copy"));
    Process::start(&own, &[]).kill();
    let said = refusal(&own, &flags(&address, &topic), PATIENCE);
    assert!(said.contains("holds a log of its own, not the copy of a topic"), "{said}");
    Process::start(&copy, &flags(&address, &topic)).kill();
    let said = refusal(&copy, &[], PATIENCE);
    assert!(
        said.contains("holds the copy of a Kafka topic: name the brokers with 'kafka-brokers'"),
        "{said}"
    );
}

#[test]
fn options_that_break_a_promise_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--kafka-brokers", "127.0.0.1:1", "--kafka-option", "acks=1"];
    let said = refusal(&folder.path().join("data"), &flags, Duration::from_secs(10));
    assert!(said.contains("'kafka.options'") && said.contains("'acks' cannot be set"), "{said}");
}

#[test]
fn a_node_is_not_pointed_at_the_topic_of_another_archive() {
    let Some(broker) = broker() else { return };
    let (folder, address) = (tempfile::tempdir().expect("a folder"), broker.address());
    let topics = [new_topic(), new_topic()];
    let data = topics.each_ref().map(|topic| folder.path().join(topic));
    for (data, topic) in data.iter().zip(&topics) {
        Process::start(data, &flags(&address, topic)).kill();
    }
    let said = refusal(&data[0], &flags(&address, &topics[1]), PATIENCE);
    assert!(said.contains("is not the one this node has copied"), "{} {said}", name(&data[0]));
    assert!(said.contains("belongs to another archive"), "{said}");
    // Nothing was changed by that.
    Process::start(&data[0], &flags(&address, &topics[0]));
    drop(Client::new(&address));
}
