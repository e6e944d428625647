//! A history with something of everything, and questions whose answers tell whether an archive still has it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dicom::{Instance, SERIES, STUDY, blue_circle, green_square, red_triangle};
use super::process::{Connection, PATIENCE, Process};

/// Status, entity tag and body of each answer.
pub(crate) type Answers = BTreeMap<String, (u16, Option<String>, String)>;

/// Studies besides that of the tutorial; every fifth of them is deleted.
const STUDIES: usize = 25;

/// Stores, replaces and deletes.
pub(crate) fn happen(archive: &Process) {
    let mut connection = archive.connect();
    for file in [red_triangle(), green_square(), blue_circle()] {
        send(&mut connection, "POST", &file);
    }
    for number in 0..STUDIES {
        let study = format!("2.25.{}", 4000 + number);
        let patient = (format!("P-{}", number % 7), format!("Doe^Person{number}"));
        for instance in 1..=2 {
            let file = Instance::new(&study, &format!("{study}.1"), &format!("{study}.1.{instance}"))
                .patient(&patient.0, &patient.1)
                .modality(["CT", "MR", "US"][number % 3])
                .element(0x0008_0020, "DA", format!("202401{:02}", number + 1).as_str());
            send(&mut connection, "POST", &file);
        }
        if number % 5 == 0 {
            delete(&mut connection, &format!("/v2/studies/{study}"));
        }
    }
    send(&mut connection, "PUT", &red_triangle().patient("KYMO-0002", "Shapes^Renamed"));
    delete(&mut connection, "/v2/studies/2.25.4001/series/2.25.4001.1/instances/2.25.4001.1.1");
}

pub(crate) fn send(connection: &mut Connection, method: &str, file: &Instance) {
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let answer = connection.ask(method, "/v2/studies", &headers, &file.part10()).expect("it answers");
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub(crate) fn delete(connection: &mut Connection, path: &str) {
    let answer = connection.ask("DELETE", path, &[], b"").expect("it answers");
    assert_eq!(answer.status, 204, "{path}: {answer:?}");
}

/// Asks for all of it, in every way.
pub(crate) fn answers(archive: &Process) -> Answers {
    let mut paths = vec![
        format!("/v2/studies/{STUDY}/metadata"),
        format!("/v1/studies/{STUDY}/series/{SERIES}/metadata"),
        format!("/v2/studies/{STUDY}/series?includefield=all"),
        format!("/v2/studies/{STUDY}/series/{SERIES}/instances"),
    ];
    for path in [
        "/v2/studies?limit=200&includefield=00081030,ModalitiesInStudy,NumberOfStudyRelatedInstances",
        "/v1/studies?includefield=all",
        "/v2/series?limit=200",
        "/v2/instances?limit=200",
        "/v2/instances?limit=7&offset=11",
        "/v2/studies?PatientID=P-3",
        "/v2/studies?StudyDate=20240105-20240112",
        "/v2/studies?PatientName=renam&fuzzymatching=true",
        "/v2/studies?PatientName=doe%20person1&fuzzymatching=true",
        "/v2/series?Modality=MR",
        "/v2/studies?StudyDescription=Three%20shapes",
        "/v2/studies/2.25.4001/series/2.25.4001.1/instances/2.25.4001.1.2",
        "/v2/studies/2.25.4005/metadata",
        "/v1/changefeed?limit=100",
        "/v2/changefeed?limit=200",
        "/v2/changefeed/latest",
    ] {
        paths.push(path.to_owned());
    }
    let mut connection = archive.connect();
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
    asked.collect()
}

/// That the answers are the same; of those that are not, the first is shown.
#[track_caller]
pub(crate) fn assert_same(before: &Answers, after: &Answers, when: &str) {
    for (path, answer) in before {
        assert_eq!(after.get(path), Some(answer), "{when}: {path}");
    }
}
