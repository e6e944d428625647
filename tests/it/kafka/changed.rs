//! A topic that changes behind a running node, and strangers' records in it.

use rdkafka::message::OwnedHeaders;

use crate::kit::dicom::{blue_circle, green_square, red_triangle};
use crate::kit::history::send;
use crate::kit::kafka::{Client, GOOD, broker, new_topic};
use crate::kit::process::{PATIENCE, Process};

use super::{flags, refusal, wait_for_health};

/// Runs a node with something in it, changes the topic, and gives what the node then says; it must answer
/// nothing any more.
fn after(change: impl Fn(&Client, &str, &Process)) -> Option<String> {
    let broker = broker()?;
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let data = folder.path().join("data");
    let flags = [&flags(&address, &topic)[..], &["--kafka-check-every", "1s"]].concat();
    let archive = Process::start(&data, &flags);
    send(&mut archive.connect(), "POST", &red_triangle());
    send(&mut archive.connect(), "POST", &green_square());
    change(&broker.client(), &topic, &archive);
    let said = wait_for_health(&archive, "log", |status, _| status == "Unhealthy");
    wait_for_health(&archive, "archive", |status, _| status == "Unhealthy");
    for path in ["/v2/studies", "/v2/changefeed", "/v2/instances"] {
        assert_eq!(archive.get(path).status, 503, "{path}");
    }
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let refused = archive.ask("POST", "/v2/studies", &headers, &blue_circle().part10());
    assert_eq!(refused.status, 503, "{refused:?}");
    archive.kill();
    // At the next start the same is said.
    let again = refusal(&data, &flags, PATIENCE);
    assert!(again.contains(&topic), "{again}");
    Some(said)
}

#[test]
fn a_deleted_topic_is_noticed() {
    let Some(said) = after(|client, topic, _| client.delete(topic)) else { return };
    assert!(said.contains("it was deleted") || said.contains("is not the one"), "{said}");
}

#[test]
fn a_topic_that_was_made_again_is_noticed() {
    let said = after(|client, topic, _| {
        client.delete(topic);
        client.create(topic, 1, 1, &GOOD);
    });
    let Some(said) = said else { return };
    assert!(said.contains("deleted") && said.contains("made again") || said.contains("gone"), "{said}");
}

#[test]
fn a_topic_that_was_made_again_and_has_grown_further_is_noticed() {
    let said = after(|client, topic, _| {
        client.delete(topic);
        client.create(topic, 1, 1, &GOOD);
        for _ in 0..20 {
            client.produce(topic, OwnedHeaders::new(), Some(b"of another time"));
        }
    });
    let Some(said) = said else { return };
    assert!(said.contains("is another one") || said.contains("gone") || said.contains("it ends"), "{said}");
}

#[test]
fn a_shortened_topic_is_noticed() {
    let Some(said) = after(|client, topic, _| client.delete_before(topic, 2)) else { return };
    assert!(said.contains("it begins at offset 2, and must begin at offset 0"), "{said}");
}

#[test]
fn a_setting_that_was_altered_is_noticed() {
    let said = after(|client, topic, _| {
        let altered: Vec<_> =
            GOOD.into_iter().map(|(n, v)| (n, if n == "retention.ms" { "3600000" } else { v })).collect();
        client.alter(topic, &altered);
    });
    let Some(said) = said else { return };
    assert!(said.contains("'retention.ms' is '3600000', and must be '-1'"), "{said}");
}

#[test]
fn records_of_strangers_are_passed_over_and_reported() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let archive = Process::start(&folder.path().join("data"), &flags(&address, &topic));
    send(&mut archive.connect(), "POST", &red_triangle());
    let (_, offset) = broker.client().ends(&topic);
    broker.client().produce(&topic, OwnedHeaders::new(), Some(b"stranger"));
    send(&mut archive.connect(), "POST", &green_square());
    let said = wait_for_health(&archive, "log", |status, _| status == "Degraded");
    assert!(said.contains("1 records of the topic are not this log's"), "{said}");
    assert!(said.contains(&format!("the last at offset {offset}")), "{said}");
    assert_eq!(archive.get("/v2/changefeed").json().as_array().map(Vec::len), Some(2));
    assert!(archive.get("/metrics").text().contains("kymo_log_foreign_records_total 1"));
    assert!(archive.errors().contains("is not of this log"), "{}", archive.errors());
}
