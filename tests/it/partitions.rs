//! Data partitions (`studies.md` §6, and what §1.2, §2.1, §3.1, §4 and §5 say of them).
//!
//! Elsewhere: how the fold decides them (`archive::fold`), several nodes (`kafka::partitions`), random histories with
//! partitions in them (`model`, `crash`, `kill`).

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use futures_util::future::join_all;
use kymo::archive::Asking;
use kymo::base::Partition;
use kymo::event::{Actor, Payload};
use kymo::http::Settings;
use serde_json::{Value, json};

use crate::kit::dicom::{Instance, PIXEL_DATA, Value as Element};
use crate::kit::folder::name;
use crate::kit::process::{PATIENCE, Process, kymo, ran};
use crate::kit::served::{Answer, Served};

const DEFAULT: &str = "Microsoft.Default";
const JSON: &str = "application/dicom+json";
const ANY_FILE: &str = "application/dicom; transfer-syntax=*";
const INSTANCE: &str = "studies/1.2/series/1.2.1/instances/1.2.1.1";

async fn partitioned() -> Served {
    Served::with(Settings { partitions: true, ..Settings::default() }).await
}

/// The same three UIDs for every patient.
fn file(patient: &str) -> Vec<u8> {
    let pixels = patient.bytes().cycle().take(8).collect();
    Instance::new("1.2", "1.2.1", "1.2.1.1")
        .patient(patient, "Doe^Jane")
        .modality("CT")
        .element(0x0028_0002, "US", Element::U16(vec![1]))
        .element(0x0028_0010, "US", Element::U16(vec![2]))
        .element(0x0028_0011, "US", Element::U16(vec![2]))
        .element(0x0028_0100, "US", Element::U16(vec![16]))
        .element(PIXEL_DATA, "OW", Element::Words(pixels))
        .part10()
}

async fn stored(archive: &Served, partition: &str, patient: &str) -> Answer {
    let answer =
        archive.post(&format!("/v2/partitions/{partition}/studies")).dicom(&file(patient)).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn list(archive: &Served) -> Vec<Value> {
    let answer = archive.get("/v2/partitions").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
    answer.json().as_array().expect("an array").clone()
}

async fn names(archive: &Served) -> Vec<String> {
    list(archive).await.iter().map(|row| row["partitionName"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn switched_on_the_routes_of_studies_need_the_segment_and_the_others_have_none() {
    let archive = partitioned().await;
    stored(&archive, DEFAULT, "P").await;
    for version in ["v1", "v2", "v1.0-prerelease"] {
        for path in [
            "studies",
            "series",
            "instances",
            "studies/1.2",
            "studies/1.2/metadata",
            "studies/1.2/series",
            "studies/1.2/instances",
            "studies/1.2/series/1.2.1",
            "studies/1.2/series/1.2.1/metadata",
            "studies/1.2/series/1.2.1/instances",
            INSTANCE,
            &format!("{INSTANCE}/metadata"),
            &format!("{INSTANCE}/frames/1"),
        ] {
            let missing = archive.get(&format!("/{version}/{path}")).accept("*/*").send().await;
            assert_eq!(missing.status, 400, "GET {path}: {missing:?}");
            assert!(missing.text().contains("partition"), "{missing:?}");
            let there = format!("/{version}/partitions/{DEFAULT}/{path}");
            let accept = match path {
                _ if path.ends_with("metadata") || path.ends_with('s') => JSON,
                _ if path.contains("frames") => {
                    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*"
                }
                _ => "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
            };
            let there = archive.get(&there).accept(accept).send().await;
            assert_eq!(there.status, 200, "GET {path}: {there:?}");
        }
    }
    let body = file("Q");
    for path in ["/v2/studies", "/v2/studies/1.2", "/v1/studies"] {
        assert_eq!(archive.post(path).dicom(&body).send().await.status, 400, "POST {path}");
        assert_eq!(archive.put(path).dicom(&body).send().await.status, 400, "PUT {path}");
    }
    for path in ["studies/1.2", "studies/1.2/series/1.2.1", INSTANCE] {
        assert_eq!(archive.delete(&format!("/v2/{path}")).await.status, 400, "DELETE {path}");
    }
    for path in ["/v1/changefeed", "/v2/changefeed", "/v2/changefeed/latest", "/v1/partitions"] {
        assert_eq!(archive.get(path).send().await.status, 200, "{path}");
    }
    assert_ne!(archive.get("/health/check").send().await.status, 404);
    for path in ["changefeed", "changefeed/latest", "partitions", "health/check", ""] {
        let below = archive.get(&format!("/v2/partitions/{DEFAULT}/{path}")).send().await;
        assert_eq!(below.status, 404, "{path}");
    }
    assert_eq!(archive.feed().await.len(), 1);
}

#[tokio::test]
async fn switched_off_any_segment_and_the_list_are_refused() {
    let archive = Served::start().await;
    archive.stored(&file("P")).await;
    for partition in [DEFAULT, "a", ".", "%20"] {
        let base = format!("/v2/partitions/{partition}");
        for path in ["studies", "studies/1.2/metadata", INSTANCE] {
            let answer = archive.get(&format!("{base}/{path}")).accept("*/*").send().await;
            assert_eq!((answer.status, answer.text()), (400, "Data partitions are not enabled."), "{path}");
        }
        let posted = archive.post(&format!("{base}/studies")).dicom(&file("Q")).send().await;
        assert_eq!((posted.status, posted.text()), (400, "Data partitions are not enabled."));
        assert_eq!(archive.put(&format!("{base}/studies")).dicom(&file("Q")).send().await.status, 400);
        assert_eq!(archive.delete(&format!("{base}/studies/1.2")).await.status, 400);
    }
    for version in ["v1", "v2"] {
        let list = archive.get(&format!("/{version}/partitions")).send().await;
        assert_eq!((list.status, list.text()), (400, "Data partitions are not enabled."));
    }
    assert_eq!(archive.archive.partition_count(), Ok(1));
    assert_eq!(archive.feed().await.len(), 1);
}

#[tokio::test]
async fn a_name_has_1_to_64_of_the_legal_characters() {
    let archive = partitioned().await;
    let longest = "x".repeat(64);
    let good = ["a", "Ward_7", "-", "_", "...", ".hidden", "a.b-c_D9", &longest, "healthCheck", "%41%2e"];
    for name in good {
        stored(&archive, name, "P").await;
    }
    let mut wanted: Vec<&str> = vec![DEFAULT];
    wanted.extend(&good[..good.len() - 1]);
    wanted.push("A.");
    assert_eq!(names(&archive).await, wanted);
    let long = "x".repeat(65);
    for bad in [
        "", ".", "..", "%2e%2E", "%20", "a%20b", "a%00", "a%2fb", "..%2f..", "%C3%A4", "%ff", "a+b", "a:b",
        "a~", &long,
    ] {
        let base = format!("/v2/partitions/{bad}");
        let posted = archive.post(&format!("{base}/studies")).dicom(&file("Q")).send().await;
        assert_eq!(posted.status, 400, "'{bad}': {posted:?}");
        assert_eq!(archive.put(&format!("{base}/studies/1.2")).dicom(&file("Q")).send().await.status, 400);
        for path in ["studies", "studies/1.2", "studies/1.2/metadata"] {
            assert_eq!(
                archive.get(&format!("{base}/{path}")).accept("*/*").send().await.status,
                400,
                "'{bad}'"
            );
        }
        assert_eq!(archive.delete(&format!("{base}/studies/1.2")).await.status, 400, "'{bad}'");
    }
    assert_eq!(names(&archive).await, wanted);
}

#[tokio::test]
async fn names_differ_by_the_case_of_their_letters_and_the_literal_does_not() {
    let archive = partitioned().await;
    for (name, patient) in [("ward", "P-1"), ("Ward", "P-2"), ("microsoft.default", "P-3")] {
        stored(&archive, name, patient).await;
    }
    assert_eq!(names(&archive).await, [DEFAULT, "ward", "Ward", "microsoft.default"]);
    for (path, patient) in [("/V2/PARTITIONS/ward/Studies", "P-1"), ("/v2/Partitions/Ward/studies", "P-2")] {
        let found = archive.get(path).accept(JSON).send().await;
        assert_eq!(found.json()[0]["00100020"]["Value"][0], patient, "{path}");
    }
    assert_eq!(archive.get("/v2/partitions/WARD/studies").accept(JSON).send().await.status, 400);
}

#[tokio::test]
async fn a_partition_comes_to_be_by_a_store_and_by_nothing_else() {
    let archive = partitioned().await;
    for path in [
        "studies",
        "series",
        "instances",
        "studies/1.2",
        "studies/1.2/metadata",
        "studies/1.2/series",
        INSTANCE,
    ] {
        let answer = archive.get(&format!("/v2/partitions/none/{path}")).accept("*/*").send().await;
        assert_eq!(answer.status, 400, "GET {path}: an unknown partition is not 404");
        assert!(answer.text().contains("'none'"), "{answer:?}");
        assert_eq!(
            archive
                .request(axum::http::Method::HEAD, &format!("/v2/partitions/none/{path}"))
                .accept("*/*")
                .send()
                .await
                .status,
            400
        );
    }
    for path in ["studies/1.2", "studies/1.2/series/1.2.1", INSTANCE] {
        assert_eq!(archive.delete(&format!("/v2/partitions/none/{path}")).await.status, 400, "DELETE {path}");
    }
    assert_eq!(names(&archive).await, [DEFAULT]);
    let body = file("P");
    for (partition, ask) in [
        ("a", archive.post("/v2/partitions/a/studies")),
        ("b", archive.post("/v1/partitions/b/studies/1.2")),
        ("c", archive.put("/v2/partitions/c/studies")),
        ("d", archive.put("/v1.0-prerelease/partitions/d/studies/1.2")),
    ] {
        let answer = ask.dicom(&body).send().await;
        assert_eq!(answer.status, 200, "{partition}: {answer:?}");
    }
    assert_eq!(names(&archive).await, [DEFAULT, "a", "b", "c", "d"]);
    // There, but empty: as anywhere.
    assert_eq!(
        archive.get(&format!("/v2/partitions/{DEFAULT}/studies")).accept(JSON).send().await.status,
        204
    );
    let gone =
        archive.get(&format!("/v2/partitions/{DEFAULT}/studies/1.2/metadata")).accept(JSON).send().await;
    assert_eq!(gone.status, 404);
    assert_eq!(archive.delete(&format!("/v2/partitions/{DEFAULT}/studies/1.2")).await.status, 404);
}

/// `studies.md` §2.1: what comes before the partition leaves none, what comes after it leaves one.
#[tokio::test]
async fn a_partition_stays_though_the_store_fails_behind_it() {
    let archive = partitioned().await;
    let body = file("P");
    let post = |path: &'static str| archive.post(path).dicom(&body);
    let broken = "multipart/related; boundary=b";
    for (ask, status) in [
        (post("/v2/partitions/before1/studies").header("content-type", "text/plain"), 415),
        (post("/v2/partitions/before2/studies").header("content-type", "text/plain").accept("a/b"), 415),
        (post("/v99/partitions/before3/studies"), 400),
        (post("/v2/partitions/before4/studies?a=%3C"), 400),
        (post("/v2/partitions/a1/studies").accept("a/b"), 406),
        (post("/v2/partitions/a2/studies").without("accept"), 406),
        (post("/v2/partitions/a3/studies/1.2a"), 400),
        (post("/v2/partitions/a4/studies").without("content-type"), 415),
        (post("/v2/partitions/a5/studies").header("msdicom-expiry-time-milliseconds", "0"), 400),
        (archive.post("/v2/partitions/a6/studies").body(broken, "nothing"), 400),
        (archive.post("/v2/partitions/a7/studies").body(broken, "--b--"), 204),
        (archive.post("/v2/partitions/a8/studies").body("application/dicom", "no DICOM"), 409),
        (archive.put("/v2/partitions/a9/studies/9.9").dicom(&body), 409),
        (archive.put("/v2/partitions/a%20b/studies").dicom(&body).accept("a/b"), 400),
    ] {
        let answer = ask.send().await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(names(&archive).await, [DEFAULT, "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"]);
    assert!(archive.feed().await.is_empty() && archive.files().await.is_empty());
}

/// `studies.md` §3.1: the partition comes before `Accept`, identifiers and existence.
#[tokio::test]
async fn reads_and_searches_check_the_partition_first() {
    let archive = partitioned().await;
    stored(&archive, "a", "P").await;
    for path in
        ["studies/1.2/metadata", "studies/1.2a/metadata", "studies/1.2a", "studies", "studies?limit=x"]
    {
        for (partition, named) in [("none", "'none'"), ("a%20b", "'a b'")] {
            let answer =
                archive.get(&format!("/v2/partitions/{partition}/{path}")).accept("a/b").send().await;
            assert_eq!(answer.status, 400, "{path}: {answer:?}");
            assert!(answer.text().contains(named), "{path}: {answer:?}");
        }
        let missing = archive.get(&format!("/v2/{path}")).accept("a/b").send().await;
        assert!(missing.status == 400 && missing.text().contains("must name one"), "{path}: {missing:?}");
    }
    for (path, accept, status) in [
        ("studies/1.2a/metadata", "a/b", 406),
        ("studies/1.2a/metadata", JSON, 400),
        ("studies/9.9", "a/b", 406),
        ("studies/9.9/metadata", JSON, 404),
        ("studies", "a/b", 406),
    ] {
        let answer = archive.get(&format!("/v2/partitions/a/{path}")).accept(accept).send().await;
        assert_eq!(answer.status, status, "{path} as {accept}: {answer:?}");
    }
}

#[tokio::test]
async fn the_list_has_every_partition_with_its_number_and_date() {
    let archive = partitioned().await;
    let fresh = list(&archive).await;
    assert_eq!(fresh.len(), 1, "the default one is always there: {fresh:?}");
    stored(&archive, "Ward_7", "P").await;
    stored(&archive, "b", "P").await;
    assert_eq!(archive.put("/v2/partitions/Ward_7/studies").dicom(&file("Q")).send().await.status, 200);
    let rows = list(&archive).await;
    assert_eq!(rows[0], fresh[0], "a row stays as it is");
    let records = archive.archive.commits(kymo::base::Position(0)).expect("commits");
    let made = |name: &str| {
        let commit = records.iter().find(|commit| {
            let head = commit.event.as_ref().map(|event| &event.head);
            head.is_some_and(|head| {
                head.payload == Payload::PartitionCreated && head.partition.as_str() == name
            })
        });
        commit.expect("an event made it").time.to_string()
    };
    let first = records[0].time.to_string();
    assert_eq!(
        rows,
        [
            json!({"partitionKey": 1, "partitionName": DEFAULT, "createdDate": first}),
            json!({"partitionKey": 2, "partitionName": "Ward_7", "createdDate": made("Ward_7")}),
            json!({"partitionKey": 3, "partitionName": "b", "createdDate": made("b")}),
        ]
    );
    assert!(first.starts_with("2025-02-11T08:15:30.") && first.ends_with("+00:00"), "{first}");
    let head = archive.request(axum::http::Method::HEAD, "/v1/partitions").send().await;
    assert_eq!((head.status, head.bytes()), (200, &b""[..]));
    for method in [axum::http::Method::POST, axum::http::Method::PUT, axum::http::Method::DELETE] {
        assert_eq!(
            archive.request(method, "/v2/partitions").send().await.status,
            405,
            "no explicit creation"
        );
    }
    assert_eq!(archive.delete("/v2/partitions/b").await.status, 404, "nor deletion");
}

#[tokio::test]
async fn a_long_list_comes_whole_and_in_order() {
    const MANY: usize = 2_000;
    let archive = partitioned().await;
    for number in 1..MANY {
        let partition = Partition::parse(&format!("p{number}")).expect("a name");
        let asking = Asking { request_id: String::new(), trace_id: None, actor: Actor::System, partition };
        archive.archive.create_partition(&asking).await.expect("it comes to be");
    }
    let rows = list(&archive).await;
    assert_eq!(rows.len(), MANY);
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row["partitionKey"], number);
    }
    assert_eq!(rows[MANY - 1]["partitionName"], format!("p{}", MANY - 1));
}

#[tokio::test]
async fn stores_at_once_into_a_new_partition_make_one() {
    let archive = partitioned().await;
    let stores = (0..24).map(|number| {
        let instance = Instance::new("1.2", "1.2.1", &format!("1.2.1.{number}")).part10();
        let path = format!("/v2/partitions/{}/studies", if number % 2 == 0 { "even" } else { "odd" });
        let archive = &archive;
        async move { archive.post(&path).dicom(&instance).send().await }
    });
    for answer in join_all(stores).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut names = names(&archive).await;
    names.sort();
    assert_eq!(names, [DEFAULT, "even", "odd"]);
    assert_eq!(archive.feed().await.len(), 24);
}

#[tokio::test]
async fn the_same_uids_live_in_many_partitions_and_know_nothing_of_each_other() {
    let archive = partitioned().await;
    let patients = [(DEFAULT, "P-1"), ("a", "P-2"), ("b", "P-3")];
    for (partition, patient) in patients {
        stored(&archive, partition, patient).await;
        let again =
            archive.post(&format!("/v2/partitions/{partition}/studies")).dicom(&file("P-9")).send().await;
        assert_eq!(again.status, 409, "there it is a duplicate: {again:?}");
    }
    each_has(&archive, &patients).await;
    // Replaced, deleted and stored anew in one of them.
    let put = archive.put("/v2/partitions/a/studies").dicom(&file("P-4")).send().await;
    assert_eq!(put.status, 200, "{put:?}");
    each_has(&archive, &[(DEFAULT, "P-1"), ("a", "P-4"), ("b", "P-3")]).await;
    assert_eq!(archive.delete(&format!("/v2/partitions/{DEFAULT}/{INSTANCE}")).await.status, 204);
    assert_eq!(archive.delete("/v2/partitions/b/studies/1.2/series/1.2.1").await.status, 204);
    each_has(&archive, &[("a", "P-4")]).await;
    stored(&archive, "b", "P-5").await;
    assert_eq!(archive.delete("/v2/partitions/a/studies/1.2").await.status, 204);
    assert_eq!(archive.delete("/v2/partitions/a/studies/1.2").await.status, 404);
    each_has(&archive, &[("b", "P-5")]).await;
}

/// Each partition of the three has just its patient, on every route.
async fn each_has(archive: &Served, patients: &[(&str, &str)]) {
    for partition in [DEFAULT, "a", "b"] {
        let base = format!("/v2/partitions/{partition}");
        let patient = patients.iter().find(|(name, _)| *name == partition).map(|(_, patient)| *patient);
        let instance = archive.get(&format!("{base}/{INSTANCE}")).accept(ANY_FILE).send().await;
        let frame = archive.get(&format!("{base}/{INSTANCE}/frames/1"));
        let frame = frame.accept("application/octet-stream; transfer-syntax=*").send().await;
        match patient {
            Some(patient) => {
                assert!(
                    instance.status == 200 && instance.bytes() == file(patient),
                    "{partition}: {instance:?}"
                );
                let pixels: Vec<u8> = patient.bytes().cycle().take(8).collect();
                assert_eq!((frame.status, frame.bytes()), (200, &pixels[..]), "{partition}");
            }
            None => assert_eq!((instance.status, frame.status), (404, 404), "{partition}"),
        }
        for path in ["studies/1.2", "studies/1.2/series/1.2.1"] {
            let several = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
            let files = archive.get(&format!("{base}/{path}")).accept(several).send().await;
            match patient {
                Some(patient) => {
                    let parts = files.parts();
                    assert!(parts.len() == 1 && parts[0].1 == file(patient), "{partition}: {path}");
                }
                None => assert_eq!(files.status, 404, "{partition}: {path}"),
            }
        }
        for path in ["studies/1.2", "studies/1.2/series/1.2.1", INSTANCE] {
            let metadata = archive.get(&format!("{base}/{path}/metadata")).accept(JSON).send().await;
            match patient {
                Some(patient) => {
                    let all = metadata.json();
                    assert_eq!(all.as_array().map(Vec::len), Some(1), "{partition}: {path}");
                    assert_eq!(all[0]["00100020"]["Value"][0], patient, "{partition}: {path}");
                }
                None => assert_eq!(metadata.status, 404, "{partition}: {path}"),
            }
        }
        for path in [
            "studies",
            "series",
            "instances",
            "studies/1.2/series",
            "studies/1.2/instances",
            "studies/1.2/series/1.2.1/instances",
        ] {
            let query = "includefield=PatientID,NumberOfStudyRelatedInstances";
            let found = archive.get(&format!("{base}/{path}?{query}")).accept(JSON).send().await;
            match patient {
                Some(patient) => {
                    let all = found.json();
                    assert_eq!(all.as_array().map(Vec::len), Some(1), "{partition}: {path}");
                    assert_eq!(all[0]["00100020"]["Value"][0], patient, "{partition}: {path}");
                }
                None => assert_eq!(found.status, 204, "{partition}: {path}"),
            }
        }
        for other in ["P-1", "P-2", "P-3", "P-4", "P-5"] {
            let found = archive.get(&format!("{base}/studies?PatientID={other}")).accept(JSON).send().await;
            assert_eq!(found.status, if patient == Some(other) { 200 } else { 204 }, "{partition}: {other}");
        }
    }
}

#[tokio::test]
async fn urls_in_answers_name_the_partition_and_lead_there() {
    let archive = partitioned().await;
    let answer = archive.post("/v1/partitions/Ward%5f7/studies/1.2").dicom(&file("P")).send().await;
    let json = answer.json();
    let base = "http://archive.example:8080/v1/partitions/Ward_7";
    assert_eq!(json["00081190"]["Value"][0], format!("{base}/studies/1.2"));
    let url = json["00081199"]["Value"][0]["00081190"]["Value"][0].as_str().expect("a URL");
    assert_eq!(url, format!("{base}/{INSTANCE}"));
    let path = url.strip_prefix("http://archive.example:8080").expect("it begins with the host");
    let there = archive.get(path).accept(ANY_FILE).send().await;
    assert!(there.status == 200 && there.bytes() == file("P"), "{there:?}");
    let stored = stored(&archive, DEFAULT, "Q").await.json();
    let url = &stored["00081199"]["Value"][0]["00081190"]["Value"][0];
    assert_eq!(*url, format!("http://archive.example:8080/v2/partitions/{DEFAULT}/{INSTANCE}"));
}

#[tokio::test]
async fn one_feed_tells_of_all_partitions_by_name() {
    let archive = partitioned().await;
    stored(&archive, "a", "P-1").await;
    stored(&archive, DEFAULT, "P-2").await;
    archive.put("/v2/partitions/a/studies").dicom(&file("P-3")).send().await;
    archive.delete(&format!("/v2/partitions/{DEFAULT}/studies/1.2")).await;
    let feed = archive.feed().await;
    let rows: Vec<_> =
        feed.iter().map(|row| json!([row["partitionName"], row["action"], row["state"]])).collect();
    assert_eq!(
        rows,
        [
            json!(["a", "Create", "Replaced"]),
            json!([DEFAULT, "Create", "Deleted"]),
            json!(["a", "Update", "Current"]),
            json!([DEFAULT, "Delete", "Deleted"]),
        ]
    );
    let path = |row: &Value| row["filePath"].as_str().expect("a path").to_owned();
    assert!(path(&feed[1]).starts_with("AHDS/ws/dicom/svc/Microsoft.Default/1.2/1.2.1/1.2.1.1_"));
    assert!(path(&feed[2]).starts_with("AHDS/ws/dicom/svc/a/1.2/1.2.1/1.2.1.1_"));
    assert!(archive.files().await.contains(&path(&feed[2])));
    assert_eq!(feed[2]["metadata"]["00100020"]["Value"][0], "P-3");
}

fn serve(data: &Path, flags: &[&str]) -> std::process::Child {
    let mut command = kymo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data", name(data)]).args(flags);
    let streams = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    streams.spawn().expect("the program can be run")
}

/// What `serve` says, which must end by itself.
fn refused(data: &Path, flags: &[&str]) -> String {
    let mut child = serve(data, flags);
    let began = Instant::now();
    while child.try_wait().expect("its state can be asked").is_none() {
        if began.elapsed() > PATIENCE {
            drop((child.kill(), child.wait()));
            panic!("it serves although it must be refused");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let Output { status, stderr, .. } = child.wait_with_output().expect("it has ended");
    let said = String::from_utf8(stderr).expect("text");
    assert!(!status.success(), "{said}");
    said
}

fn post(archive: &Process, partition: &str) -> Answer {
    let headers = [("content-type", "application/dicom"), ("accept", JSON)];
    archive.ask("POST", &format!("/v2/partitions/{partition}/studies"), &headers, &file(partition))
}

#[test]
fn they_can_be_switched_on_later_and_off_only_while_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let off = Process::start(&data, &[]);
    let headers = [("content-type", "application/dicom"), ("accept", JSON)];
    assert_eq!(off.ask("POST", "/v2/studies", &headers, &file("old")).status, 200);
    assert!(off.stop().success());
    // What was stored while they were off lies in the default one.
    let on = Process::start(&data, &["--partitions"]);
    let old = on.get(&format!("/v2/partitions/{DEFAULT}/studies/1.2/metadata"));
    assert_eq!(old.json()[0]["00100020"]["Value"][0], "old", "{old:?}");
    assert_eq!(post(&on, DEFAULT).status, 409);
    assert!(on.stop().success());
    let off = Process::start(&data, &["--partitions=false"]);
    assert_eq!(off.get("/v2/studies/1.2/metadata").status, 200, "nothing is lost by going back");
    assert!(off.stop().success());
    let on = Process::start_in(&data, &[], &[("KYMO_PARTITIONS".to_owned(), "true".to_owned())]);
    assert_eq!(post(&on, "b").status, 200);
    let list = on.get("/v2/partitions").json();
    on.kill();
    for flags in [&[][..], &["--partitions=false"]] {
        let said = refused(&data, flags);
        assert!(said.contains("'partitions'") && said.contains("2 data partitions"), "{said}");
    }
    // The state that says so is made again from the log.
    std::fs::remove_dir_all(data.join("archive")).expect("it is there");
    let said = refused(&data, &[]);
    assert!(said.contains("2 data partitions"), "{said}");
    let file = folder.path().join("kymo.toml");
    std::fs::write(&file, "partitions = true\n").expect("a file");
    let on = Process::start(&data, &["--config", name(&file)]);
    assert_eq!(on.get("/v2/partitions").json(), list);
    assert_eq!(on.get("/v2/partitions/b/studies/1.2/metadata").json()[0]["00100020"]["Value"][0], "b");
    // Deleting all that is in one does not delete it.
    assert_eq!(on.ask("DELETE", "/v2/partitions/b/studies/1.2", &[], b"").status, 204);
    assert!(on.stop().success());
    assert!(refused(&data, &[]).contains("2 data partitions"));
    let verified = ran(&["verify", "--data", name(&data)]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn import_takes_a_partition_when_they_are_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, path) = (folder.path().join("data"), folder.path().join("one.dcm"));
    std::fs::write(&path, file("P")).expect("a file");
    let import = |flags: &[&str]| {
        let done = ran(&[&["import", "--data", name(&data), name(&path)], flags].concat());
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).expect("text"))
    };
    let (taken, said) = import(&["--partition", "Ward_7"]);
    assert!(!taken && said.contains("'partitions'"), "{said}");
    let (taken, said) = import(&["--partition", "a/b", "--partitions"]);
    assert!(!taken && said.contains("'a/b' is no partition name"), "{said}");
    for (flags, told) in [
        (&["--partition", "Ward_7", "--partitions"][..], "stored 1 instances"),
        (&["--partitions"], "stored 1 instances"),
        (&["--partition", DEFAULT], "already there 1"),
        (&["--partition", "Ward_7", "--partitions"], "already there 1"),
    ] {
        let (taken, said) = import(flags);
        assert!(taken && said.contains(told), "{flags:?}: {said}");
    }
    let archive = Process::start(&data, &["--partitions"]);
    let names: Vec<_> = archive
        .get("/v2/partitions")
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["partitionName"].clone())
        .collect();
    assert_eq!(names, [DEFAULT, "Ward_7"]);
    assert_eq!(archive.get("/v2/partitions/Ward_7/studies/1.2/metadata").status, 200);
    assert!(archive.stop().success());
}
