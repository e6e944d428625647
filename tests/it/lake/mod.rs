//! The lake in real object stores: what a user does, what an owner does behind the archive's back, and what
//! happens on the way there.
//!
//! Elsewhere: a lake in a folder (`damage`, `blob::tests`), one in memory (`retrieve`).

mod bodies;
mod cached;
mod faults;
mod large;
mod owner;
mod stored;

use std::path::PathBuf;

use crate::kit::process::Process;
use crate::kit::served::Answer;

/// A folder for one test, and the name of the data folder in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    (folder, data)
}

fn post(process: &Process, file: &[u8]) -> Answer {
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    process.ask("POST", "/v2/studies", &headers, file)
}

fn stored(process: &Process, file: &[u8]) {
    let answer = post(process, file);
    assert!([200, 202].contains(&answer.status), "{answer:?}, {}", process.errors());
}

/// The whole change feed.
fn feed(process: &Process) -> Vec<serde_json::Value> {
    let answer = process.get("/v2/changefeed?limit=200");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().expect("an array").clone()
}

/// Keys of the files that the feed names, in its order.
fn paths(process: &Process) -> Vec<String> {
    feed(process).iter().filter_map(|row| row["filePath"].as_str().map(ToOwned::to_owned)).collect()
}

/// The file of an instance.
fn file(process: &Process, instance: &str) -> Answer {
    let accept = [("accept", "application/dicom; transfer-syntax=*")];
    process.ask("GET", instance, &accept, b"")
}

/// Status and description of the blob store's check, and the status of the answer.
fn health(process: &Process) -> (u16, String, String) {
    let answer = process.get("/health/check");
    let json = answer.json();
    let check = json["details"].as_array().expect("checks").iter().find(|check| check["name"] == "blobs");
    let text =
        |name: &str| check.and_then(|check| check[name].as_str()).unwrap_or("not checked yet").to_owned();
    (answer.status, text("status"), text("description"))
}
