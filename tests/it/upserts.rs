//! Who is who, and what a store does to what is there (`studies.md` §2.7 to §2.9).

use serde_json::{Value, json};

use crate::kit::dicom::Instance;
use crate::kit::served::{Answer, Served};

fn of_patient(uid: &str, patient: &str) -> Vec<u8> {
    Instance::new("1.6", "1.6.1", uid).patient(patient, "Doe^Jane").part10()
}

fn items(answer: &Answer, sequence: &str) -> usize {
    answer.json().pointer(&format!("/{sequence}/Value")).and_then(Value::as_array).map_or(0, Vec::len)
}

async fn rows(archive: &Served) -> Vec<(String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
    archive.feed().await.iter().map(|row| (text(row, "action"), text(row, "state"))).collect()
}

fn named(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(action, state)| ((*action).to_owned(), (*state).to_owned())).collect()
}

async fn patient(archive: &Served, uid: &str) -> Value {
    let path = format!("/v2/studies/1.6/series/1.6.1/instances/{uid}/metadata");
    archive.get(&path).accept("application/dicom+json").send().await.json()[0]["00100020"]["Value"][0].clone()
}

#[tokio::test]
async fn an_upsert_creates_what_is_unknown_and_replaces_what_is_there() {
    let archive = Served::start().await;
    let metadata = "/v2/studies/1.6/metadata";
    let created = archive.put("/v2/studies").dicom(&of_patient("1.6.1.1", "A")).send().await;
    assert_eq!((created.status, items(&created, "00081199")), (200, 1), "{created:?}");
    let tag = archive.get(metadata).accept("*/*").send().await.header("etag").map(str::to_owned);
    let replaced = archive.put("/v2/studies/1.6").dicom(&of_patient("1.6.1.1", "B")).send().await;
    assert_eq!((replaced.status, items(&replaced, "00081198")), (200, 0), "{replaced:?}");
    assert_eq!(rows(&archive).await, named(&[("Create", "Replaced"), ("Update", "Current")]));
    assert_eq!(patient(&archive, "1.6.1.1").await, json!("B"));
    let changed = archive.get(metadata).accept("*/*").send().await.header("etag").map(str::to_owned);
    assert!(tag.is_some() && tag != changed, "{tag:?}");
    // What is in conflict with the study is taken over.
    let found = archive.get("/v2/studies?PatientID=B").accept("application/dicom+json").send().await;
    assert_eq!(found.json().as_array().map(Vec::len), Some(1));
    let original = archive.get("/v2/studies/1.6/series/1.6.1/instances/1.6.1.1").accept("*/*");
    let original = original.header("msdicom-request-original", "true").send().await;
    assert_eq!(original.parts()[0].1, of_patient("1.6.1.1", "B"));
}

#[tokio::test]
async fn of_the_same_instance_twice_a_put_keeps_the_last_and_a_post_the_first() {
    let archive = Served::start().await;
    let (a, b) = (of_patient("1.6.1.1", "A"), of_patient("1.6.1.1", "B"));
    let put = archive.put("/v2/studies").multipart(&[&a, &b]).send().await;
    assert_eq!((put.status, items(&put, "00081199"), items(&put, "00081198")), (200, 2, 0), "{put:?}");
    assert_eq!(patient(&archive, "1.6.1.1").await, json!("B"));

    let (a, b) = (of_patient("1.6.1.2", "A"), of_patient("1.6.1.2", "B"));
    let post = archive.post("/v2/studies").multipart(&[&a, &b]).send().await;
    assert_eq!((post.status, items(&post, "00081199"), items(&post, "00081198")), (202, 1, 1), "{post:?}");
    assert_eq!(patient(&archive, "1.6.1.2").await, json!("A"));
}

#[tokio::test]
async fn of_stores_at_once_one_post_wins_and_every_put_gives_its_row() {
    const AT_ONCE: usize = 6;
    let archive = Served::start().await;
    let files: Vec<_> = (0..AT_ONCE).map(|n| of_patient("1.6.1.1", &format!("P{n}"))).collect();
    let posts = files.iter().map(|file| archive.post("/v2/studies").dicom(file).send());
    let posts = futures_util::future::join_all(posts).await;
    let stored = posts.iter().filter(|answer| answer.status == 200).count();
    let refused = posts.iter().filter(|answer| {
        answer.status == 409 && answer.json()["00081198"]["Value"][0]["00081197"]["Value"][0] == json!(45070)
    });
    assert_eq!((stored, refused.count()), (1, AT_ONCE - 1));

    let puts = files.iter().map(|file| archive.put("/v2/studies").dicom(file).send());
    for answer in futures_util::future::join_all(puts).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let rows = rows(&archive).await;
    assert_eq!(rows.len(), 1 + AT_ONCE);
    let current = rows.iter().filter(|(_, state)| state == "Current").count();
    assert_eq!((current, rows[AT_ONCE].1.as_str()), (1, "Current"));
}

/// Blanks that pad a UID count for nothing in an identity, and stay in file and metadata.
#[tokio::test]
async fn padded_uids_name_the_same_instance_and_keep_their_padding() {
    let archive = Served::start().await;
    let padded = Instance::new("1.6", "1.6.1", "1.6.1.1").element(0x0020_000D, "UI", "1.6 ").part10();
    assert_eq!(archive.post("/v2/studies/1.6").dicom(&padded).send().await.status, 200);
    let again = archive.post("/v2/studies").dicom(&of_patient("1.6.1.1", "A")).send().await;
    assert_eq!(again.status, 409, "{again:?}");
    let path = "/v2/studies/1.6%20%20/series/1.6.1/instances/1.6.1.1%20";
    let file = archive.get(path).accept("application/dicom; transfer-syntax=*").send().await;
    assert_eq!((file.status, file.bytes()), (200, &padded[..]));
    assert_eq!(archive.delete(path).await.status, 204);
    assert_eq!(archive.post("/v2/studies").dicom(&of_patient("1.6.1.1", "A")).send().await.status, 200);
    assert_eq!(rows(&archive).await.last().map(|row| row.1.clone()), Some("Current".to_owned()));
}

/// The latest value that is there wins; a missing or empty one overwrites nothing.
#[tokio::test]
async fn records_of_studies_are_merged_from_their_instances() {
    let archive = Served::start().await;
    let file = |uid: &str| Instance::new("1.6", "1.6.1", uid).patient("A", "Doe^Jane");
    archive.stored(&file("1.6.1.1").element(0x0008_1030, "LO", "first").part10()).await;
    archive.stored(&file("1.6.1.2").part10()).await;
    let nameless = file("1.6.1.3").element(0x0010_0020, "LO", "").part10();
    assert_eq!(archive.post("/v2/studies").dicom(&nameless).send().await.status, 202);
    let found = "/v2/studies?PatientID=A&StudyDescription=first";
    let count = async || {
        let answer = archive.get(found).accept("application/dicom+json").send().await;
        answer.json().as_array().map_or(0, Vec::len)
    };
    assert_eq!(count().await, 1);
    archive.stored(&file("1.6.1.4").element(0x0008_1030, "LO", "second").part10()).await;
    let answer = archive.get(found).accept("application/dicom+json").send().await;
    assert_eq!(answer.status, 204);
}
