//! The log in a Kafka topic, against real brokers: what every log promises, what is refused, what is survived.

mod changed;
mod checker;
mod conformance;
mod faults;
mod many;
mod moved;
mod nodes;
mod partitions;
mod refused;
mod security;
mod served;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::kit::process::{PATIENCE, Process, kymo};

/// What a server is told to have its log in `topic`.
fn flags<'a>(address: &'a str, topic: &'a str) -> Vec<&'a str> {
    vec!["--kafka-brokers", address, "--kafka-topic", topic, "--kafka-create-topic"]
}

/// What a server says that does not start; it has `within` for that.
fn refusal(data: &Path, flags: &[&str], within: Duration) -> String {
    let mut child = kymo()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let began = Instant::now();
    while child.try_wait().expect("its state can be asked").is_none() {
        if began.elapsed() > within {
            drop((child.kill(), child.wait()));
            panic!("it was not refused");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = child.wait_with_output().expect("it has ended");
    assert!(!said.status.success());
    String::from_utf8(said.stderr).expect("text")
}

/// The detail of one health check, as soon as `fits` likes its status and description.
fn wait_for_health(archive: &Process, name: &str, fits: impl Fn(&str, &str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let report = archive.get("/health/check").json();
        let details = report["details"].as_array().expect("an array");
        let found = details.iter().find(|detail| detail["name"] == name);
        let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned();
        if fits(&text("status"), &text("description")) {
            return text("description");
        }
        assert!(began.elapsed() < PATIENCE, "{report}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
