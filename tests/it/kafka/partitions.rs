//! Data partitions of an archive of several nodes (`studies.md` §6).

use std::path::Path;
use std::sync::Barrier;
use std::thread::scope;

use serde_json::Value as Json;

use crate::kit::dicom::Instance;
use crate::kit::history::{PARTITIONED, send, send_to};
use crate::kit::kafka::{broker, new_topic};
use crate::kit::process::{PATIENCE, Process};

use super::nodes::compared;
use super::{flags, refusal};

/// As a node knows it that has passed what `position` says.
fn list(node: &Process, position: &str) -> Vec<Json> {
    let answer = node.ask("GET", "/v2/partitions", &[("kymo-min-position", position)], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().expect("a list").clone()
}

fn file(number: usize) -> Instance {
    Instance::new("2.25.6", "2.25.6.1", &format!("2.25.6.1.{number}"))
}

#[test]
fn first_stores_at_once_on_two_nodes_make_one_partition() {
    const ROUNDS: usize = 12;
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let flags = [flags(&address, &topic), vec![PARTITIONED]].concat();
    let data = ["one", "two"].map(|name| folder.path().join(name));
    let nodes = data.each_ref().map(|data| Process::start(data, &flags));
    let together = Barrier::new(nodes.len());
    scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            let together = &together;
            scope.spawn(move || {
                let mut connection = node.connect();
                for round in 0..ROUNDS {
                    together.wait();
                    let base = format!("/v2/partitions/round-{round}");
                    send_to(&mut connection, "POST", &base, &[], &file(number));
                }
            });
        }
    });
    let status = nodes[0].ask("DELETE", "/v2/partitions/round-0/studies/2.25.6", &[], b"");
    assert_eq!(status.status, 204, "{status:?}");
    let position = status.header("kymo-position").expect("a position").to_owned();
    let rows = list(&nodes[0], &position);
    assert_eq!(rows, list(&nodes[1], &position));
    assert_eq!(rows.len(), ROUNDS + 1, "{rows:?}");
    for (at, row) in rows.iter().enumerate() {
        let name = if at == 0 { "Microsoft.Default".to_owned() } else { format!("round-{}", at - 1) };
        assert_eq!((&row["partitionKey"], &row["partitionName"]), (&(at + 1).into(), &name.into()));
    }
    let (equal, said) = compared(&data[0], &data[1]);
    assert!(equal, "{said}");
}

#[test]
fn what_was_stored_on_one_node_can_be_deleted_on_another_at_once() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let flags = [flags(&address, &topic), vec![PARTITIONED]].concat();
    let nodes = ["one", "two"].map(|name| Process::start(&folder.path().join(name), &flags));
    for round in 0..10 {
        let base = format!("/v2/partitions/round-{round}");
        send_to(&mut nodes[round % 2].connect(), "POST", &base, &[], &file(1));
        // Neither 400 nor 404: the other node looks what there is before it says that there is nothing.
        let path = format!("{base}/studies/2.25.6");
        let deleted = nodes[1 - round % 2].ask("DELETE", &path, &[], b"");
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
    let unknown = nodes[0].ask("DELETE", "/v2/partitions/none/studies/2.25.6", &[], b"");
    assert_eq!(unknown.status, 400, "{unknown:?}");
}

#[test]
fn a_node_without_the_setting_is_refused_once_there_are_two() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let without = flags(&address, &topic);
    let with = [&without[..], &[PARTITIONED]].concat();
    let data = ["one", "two", "new"].map(|name| folder.path().join(name));
    // While there is only the default one, nodes with and without the setting are one archive.
    let (one, two) = (Process::start(&data[0], &with), Process::start(&data[1], &without));
    send(&mut two.connect(), "POST", &file(1));
    assert!(two.stop().success());
    send_to(&mut one.connect(), "POST", "/v2/partitions/b", &[], &file(1));
    let refused = |data: &Path| {
        let said = refusal(data, &without, PATIENCE);
        assert!(said.contains("'partitions'") && said.contains("2 data partitions"), "{said}");
    };
    // One that was away meanwhile, and one that knows nothing yet: the log decides.
    refused(&data[1]);
    refused(&data[2]);
    let two = Process::start(&data[1], &with);
    let position = one.ask("DELETE", "/v2/partitions/b/studies/2.25.6", &[], b"");
    let position = position.header("kymo-position").expect("a position").to_owned();
    assert_eq!(list(&one, &position), list(&two, &position));
}
