//! Metadata too large for a record of the log: they lie in the store of files, and a copy in the data folder.

use super::{feed, folder, stored};
use crate::kit::dicom::Instance;
use crate::kit::folder::{files, name};
use crate::kit::kafka::{broker, new_topic};
use crate::kit::process::{Process, kymo};
use crate::kit::proxy::Fault;
use crate::kit::stores::Far;

const INSTANCE: &str = "/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.9";

/// An instance with 20 MB of text that does not compress well.
fn wordy() -> (Vec<u8>, String) {
    let mut state = 7u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + 2 + (state >> 33) as u8 % 80)
    };
    let text: String = (0..20_000_000).map(|_| letter()).filter(|c| *c != '\\').collect();
    let text = if text.len() % 2 == 1 { text + "x" } else { text };
    let instance = Instance::new("1.2.3", "1.2.3.4", "1.2.3.4.9").private(0x0009_1001, "KYMO", "UT", &*text);
    (instance.part10(), text)
}

fn metadata(process: &Process) -> String {
    let answer =
        process.ask("GET", &format!("{INSTANCE}/metadata"), &[("accept", "application/dicom+json")], b"");
    assert_eq!(answer.status, 200, "{:?}", answer.status);
    let json = answer.json();
    json[0]["00091001"]["Value"][0].as_str().expect("the text").to_owned()
}

#[test]
fn metadata_of_20_mb_go_by_the_store_and_come_back_on_a_node_that_has_lost_them() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let flags = ["--max-record", "64KiB", "--blob-timeout", "10s"];
        let process = far.serve(&data, &flags);
        let (file, text) = wordy();
        stored(&process, &file);
        assert!(metadata(&process) == text);
        let bodies: Vec<_> = far.keys().into_iter().filter(|key| key.starts_with("kymo/")).collect();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        let copies = files(&data.join("bodies"));
        assert_eq!(copies.len(), 1);
        assert!(std::fs::read(&copies[0]).expect("a copy") == far.get(&bodies[0]));
        let log: u64 =
            files(&data.join("log")).iter().map(|path| path.metadata().expect("a file").len()).sum();
        assert!(log < 1 << 20, "the log has {log} bytes");

        // A damaged copy is had again, and a lost one too.
        std::fs::write(&copies[0], "other").expect("it is written");
        assert!(metadata(&process) == text);
        std::fs::remove_file(&copies[0]).expect("it is there");
        assert!(metadata(&process) == text);
        assert!(process.stop().success());

        // Everything but the log is lost, and the store does not answer at first.
        for made_again in ["bodies", "archive", "views"] {
            std::fs::remove_dir_all(data.join(made_again)).expect("it is there");
        }
        far.proxy.lines();
        far.proxy.plan(Fault::Answer(503, "ServerBusy"), "/bodies/", 9);
        let process = far.serve(&data, &flags);
        assert!(far.proxy.lines().iter().filter(|line| line.contains("/bodies/")).count() > 9);
        assert!(metadata(&process) == text);
        let found = process.ask("GET", "/v2/studies?StudyInstanceUID=1.2.3", &[("accept", "*/*")], b"");
        assert_eq!(found.json().as_array().map(Vec::len), Some(1));
        assert_eq!(process.ask("DELETE", INSTANCE, &[], b"").status, 204);
        assert_eq!(feed(&process).len(), 2);
        assert!(process.stop().success());

        let verify = || {
            let mut command = kymo();
            command.args(["verify", "--data", name(&data), "--blobs", &far.place()]).envs(far.environment());
            let output = command.output().expect("it runs");
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (well, said) = verify();
        assert!(well, "{said}");
        let body = far.get(&bodies[0]);
        far.put(&bodies[0], body.slice(1..));
        let (well, said) = verify();
        assert!(!well && said.contains("large sections of position 2"), "{said}");
    }
}

/// With the limit that every log has by default, below what brokers take.
#[test]
fn metadata_of_20_mb_are_on_every_node_of_a_log_in_kafka() {
    let Some(broker) = broker() else { return };
    let (_folder, data) = folder();
    let (lake, other, topic, address) =
        (data.with_extension("lake"), data.with_extension("other"), new_topic(), broker.address());
    let flags = [
        "--kafka-brokers",
        &address,
        "--kafka-topic",
        &topic,
        "--kafka-create-topic",
        "--blobs",
        name(&lake),
    ];
    let process = Process::start(&data, &flags);
    let (file, text) = wordy();
    stored(&process, &file);
    assert!(metadata(&process) == text);
    assert_eq!(files(&lake.join("kymo")).len(), 1);
    let second = Process::start(&other, &flags);
    assert!(metadata(&second) == text);
    assert_eq!(files(&other.join("bodies")).len(), 1);
}
