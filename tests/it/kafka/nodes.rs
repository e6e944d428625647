//! Nodes of one archive compared while they run: equal at any position, and found out where they are not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use kymo::archive::state::FORMAT;
use kymo::base::Position;
use kymo::log::embedded::follow::SegmentReader;
use kymo::tables::{Keeping, Table};

use crate::kit::dicom::{Instance, red_triangle};
use crate::kit::history::{PARTITIONED, happen, send, send_to};
use crate::kit::kafka::{broker, new_topic};
use crate::kit::process::{Process, ran};

use super::flags;

/// Exit code and words of `kymo verify --node … --against …`.
pub(super) fn compared(node: &Path, against: &Path) -> (bool, String) {
    let admin = |data: &Path| std::fs::read_to_string(data.join("admin")).expect("its address for commands");
    let (node, against) = (format!("http://{}/", admin(node)), admin(against));
    let done = ran(&["verify", "--node", &node, "--against", &against]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), said)
}

#[test]
fn they_are_equal_while_they_are_written_to_and_after() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let flags = [flags(&address, &topic), vec![PARTITIONED]].concat();
    let data = ["one", "two"].map(|name| folder.path().join(name));
    let nodes = data.each_ref().map(|data| Process::start(data, &flags));
    happen(&nodes[0]);
    let stop = AtomicBool::new(false);
    scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                let mut connection = node.connect();
                for instance in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let uid = format!("2.25.5{number}.{instance}");
                    let base = format!("/v2/partitions/P-{}", instance % 3);
                    let after = [("msdicom-expiry-time-milliseconds", "100000000")];
                    let more = if instance % 2 == 0 { &after[..] } else { &[] };
                    let file = Instance::new("2.25.5", "2.25.5.0", &uid);
                    send_to(&mut connection, "POST", &base, more, &file);
                }
            });
        }
        let results: Vec<_> = (0..3).map(|_| compared(&data[0], &data[1])).collect();
        stop.store(true, Ordering::Relaxed);
        for (equal, said) in results {
            assert!(equal, "{said}");
        }
    });
    let (equal, said) = compared(&data[1], &data[0]);
    assert!(equal, "{said}");
    for what in ["chain", "change feed", "view archive", "view search"] {
        assert!(said.contains(&format!("{what}: equal")), "{said}");
    }
}

#[test]
fn a_row_too_many_and_another_archive_are_found_out() {
    let Some(broker) = broker() else { return };
    let (folder, topic, address) = (tempfile::tempdir().expect("a folder"), new_topic(), broker.address());
    let flags = flags(&address, &topic);
    let data = ["one", "two", "other"].map(|name| folder.path().join(name));
    let one = Process::start(&data[0], &flags);
    let two = Process::start(&data[1], &flags);
    send(&mut one.connect(), "POST", &red_triangle());
    assert!(two.stop().success());
    let log =
        SegmentReader::new(&data[1].join("log"), Position(0)).log_id().expect("a log").expect("its name");
    let state = Table::open(&data[1].join("archive"), FORMAT, log, Keeping::default()).expect("the state");
    let cursor = state.cursor().expect("its cursor");
    let mut batch = state.batch();
    batch.put(b"Lnobody".to_vec(), b"knows of this row".to_vec());
    state.apply(batch.into_changes(), cursor).expect("it is written");
    state.flush().expect("it is durable");
    drop(state);

    let two = Process::start(&data[1], &flags);
    let (equal, said) = compared(&data[0], &data[1]);
    assert!(!equal && said.contains("wrong: view archive") && said.contains("view search: equal"), "{said}");
    assert!(said.contains("chain: equal") && said.contains("change feed: equal"), "{said}");

    let other = Process::start(&data[2], &[]);
    send(&mut other.connect(), "POST", &red_triangle());
    let (equal, said) = compared(&data[0], &data[2]);
    assert!(!equal && said.contains("two archives"), "{said}");
    drop((one, two, other));
    let (equal, said) = compared(&data[0], &data[1]);
    assert!(!equal && said.contains("kymo:"), "{said}");
}
