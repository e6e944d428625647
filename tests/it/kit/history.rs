//! A history with something of everything, and questions whose answers tell whether an archive still has it.
//!
//! Where studies lie in partitions, it happens in two of them, with the same UIDs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dicom::{Instance, SERIES, STUDY, blue_circle, green_square, red_triangle};
use super::process::{Connection, PATIENCE, Process};

/// Status, entity tag and body of each answer.
pub(crate) type Answers = BTreeMap<String, (u16, Option<String>, String)>;

/// Studies besides that of the tutorial; every fifth of them is deleted.
const STUDIES: usize = 25;

/// Switches partitions on.
pub(crate) const PARTITIONED: &str = "--partitions=true";
/// Where the history happens if they are.
const PARTITIONS: [&str; 2] = ["Microsoft.Default", "Ward_7"];

/// What the paths of studies begin with.
fn bases(connection: &mut Connection) -> Vec<String> {
    let answer = connection.ask("GET", "/v2/partitions", &[], b"").expect("it answers");
    match answer.status {
        400 => vec!["/v2".to_owned()],
        _ => PARTITIONS.iter().map(|name| format!("/v2/partitions/{name}")).collect(),
    }
}

/// Stores, replaces and deletes; some studies expire, in years.
pub(crate) fn happen(archive: &Process) {
    let mut connection = archive.connect();
    for base in bases(&mut connection) {
        happen_in(&mut connection, &base);
    }
}

fn happen_in(connection: &mut Connection, base: &str) {
    for file in [red_triangle(), green_square(), blue_circle()] {
        send_to(connection, "POST", base, &[], &file);
    }
    for number in 0..STUDIES {
        let study = format!("2.25.{}", 4000 + number);
        let patient = (format!("P-{}", number % 7), format!("Doe^Person{number}"));
        for instance in 1..=2 {
            let file = Instance::new(&study, &format!("{study}.1"), &format!("{study}.1.{instance}"))
                .patient(&patient.0, &patient.1)
                .modality(["CT", "MR", "US"][number % 3])
                .element(0x0008_0020, "DA", format!("202401{:02}", number + 1).as_str());
            // The second instance of every other of them takes it back.
            let expires = number % 3 == 0 && (instance == 1 || number % 2 == 0);
            let after = (1_000_000_000_000 + number).to_string();
            let headers = [("msdicom-expiry-time-milliseconds", after.as_str())];
            send_to(connection, "POST", base, if expires { &headers } else { &[] }, &file);
        }
        if number % 5 == 0 {
            delete(connection, &format!("{base}/studies/{study}"));
        }
    }
    send_to(connection, "PUT", base, &[], &red_triangle().patient("KYMO-0002", "Shapes^Renamed"));
    delete(connection, &format!("{base}/studies/2.25.4001/series/2.25.4001.1/instances/2.25.4001.1.1"));
}

pub(crate) fn send(connection: &mut Connection, method: &str, file: &Instance) {
    send_to(connection, method, "/v2", &[], file);
}

/// The same where the paths of studies begin with `base`, with more headers.
pub(crate) fn send_to(
    connection: &mut Connection,
    method: &str,
    base: &str,
    more: &[(&str, &str)],
    file: &Instance,
) {
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let headers = [&headers[..], more].concat();
    let path = format!("{base}/studies");
    let answer = connection.ask(method, &path, &headers, &file.part10()).expect("it answers");
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub(crate) fn delete(connection: &mut Connection, path: &str) {
    let answer = connection.ask("DELETE", path, &[], b"").expect("it answers");
    assert_eq!(answer.status, 204, "{path}: {answer:?}");
}

/// Asks for all of it, in every way.
pub(crate) fn answers(archive: &Process) -> Answers {
    let mut connection = archive.connect();
    let mut paths: Vec<String> =
        ["/v2/partitions", "/v1/changefeed?limit=100", "/v2/changefeed?limit=200", "/v2/changefeed/latest"]
            .map(ToOwned::to_owned)
            .into();
    for base in bases(&mut connection) {
        let first = base.replacen("/v2", "/v1", 1);
        paths.extend([
            format!("{base}/studies/{STUDY}/metadata"),
            format!("{first}/studies/{STUDY}/series/{SERIES}/metadata"),
            format!("{base}/studies/{STUDY}/series?includefield=all"),
            format!("{base}/studies/{STUDY}/series/{SERIES}/instances"),
            format!("{first}/studies?includefield=all"),
        ]);
        for path in [
            "studies?limit=200&includefield=00081030,ModalitiesInStudy,NumberOfStudyRelatedInstances",
            "series?limit=200",
            "instances?limit=200",
            "instances?limit=7&offset=11",
            "studies?PatientID=P-3",
            "studies?StudyDate=20240105-20240112",
            "studies?PatientName=renam&fuzzymatching=true",
            "studies?PatientName=doe%20person1&fuzzymatching=true",
            "series?Modality=MR",
            "studies?StudyDescription=Three%20shapes",
            "studies/2.25.4001/series/2.25.4001.1/instances/2.25.4001.1.2",
            "studies/2.25.4005/metadata",
        ] {
            paths.push(format!("{base}/{path}"));
        }
    }
    let accept = "application/dicom+json, application/dicom; transfer-syntax=*";
    let began = Instant::now();
    let asked = paths.into_iter().map(|path| {
        let answer = loop {
            let answer = connection.ask("GET", &path, &[("accept", accept)], b"").expect("it answers");
            // A view that is being made says so, and to come again.
            if answer.status != 503 || answer.header("retry-after").is_none() || began.elapsed() > PATIENCE {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let body = answer.bytes().escape_ascii().to_string();
        (path, (answer.status, answer.header("etag").map(ToOwned::to_owned), body))
    });
    let mut answers: Answers = asked.collect();
    answers.insert("what expires".to_owned(), (200, None, expiry(archive)));
    answers
}

/// How many studies expire, and when the first of them does; only operators can ask.
fn expiry(archive: &Process) -> String {
    let admin = std::fs::read_to_string(archive.data().join("admin")).expect("its address for commands");
    let mut admin = Connection::to(admin.trim().parse().expect("an address")).expect("it listens");
    let status = admin.ask("GET", "/status", &[], b"").expect("it answers").json();
    assert!(status["expiry"]["studies"].as_u64().is_some_and(|studies| studies > 0), "{status}");
    status["expiry"].to_string()
}

/// That the answers are the same; of those that are not, the first is shown.
#[track_caller]
pub(crate) fn assert_same(before: &Answers, after: &Answers, when: &str) {
    for (path, answer) in before {
        assert_eq!(after.get(path), Some(answer), "{when}: {path}");
    }
}
