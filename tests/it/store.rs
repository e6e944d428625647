//! Store and upsert (`studies.md` §2, §9; `real-clients.md`).

use axum::body::Body;
use futures_util::stream;
use serde_json::{Value, json};

use crate::kit::dicom::{
    Instance, PATIENT_ID, SOP_CLASS_UID, STUDY, blue_circle, green_square, red_triangle,
};
use crate::kit::served::{Answer, Served};

fn count(answer: &Answer, sequence: &str) -> usize {
    answer.json().pointer(&format!("/{sequence}/Value")).and_then(Value::as_array).map_or(0, Vec::len)
}

fn reasons(answer: &Answer) -> Vec<u64> {
    let body = answer.json();
    let failed = body.pointer("/00081198/Value").and_then(Value::as_array).cloned().unwrap_or_default();
    failed.iter().map(|item| item["00081197"]["Value"][0].as_u64().expect("a reason")).collect()
}

#[tokio::test]
async fn the_tutorials_commands_store_and_replace() {
    let archive = Served::start().await;
    let (red, blue, green) = (red_triangle().part10(), blue_circle().part10(), green_square().part10());

    let first = archive.post("/v2/studies").multipart(&[&red]).send().await;
    assert_eq!((first.status, count(&first, "00081199")), (200, 1), "{first:?}");
    assert_eq!(first.json().get("00081190"), None);

    let second = archive.post(&format!("/v2/studies/{STUDY}")).multipart(&[&blue]).send().await;
    assert_eq!(second.status, 200);
    let url = format!("http://archive.example:8080/v2/studies/{STUDY}");
    assert_eq!(second.json()["00081190"], json!({"vr":"UR","Value":[url]}));

    assert_eq!(archive.post("/v2/studies").dicom(&green).send().await.status, 200);
    let again = archive.put("/v2/studies").multipart(&[&red]).send().await;
    assert_eq!((again.status, count(&again, "00081198")), (200, 0));
    assert_eq!(archive.put(&format!("/v2/studies/{STUDY}")).multipart(&[&blue]).send().await.status, 200);
    assert_eq!(archive.put("/v2/studies").dicom(&green).send().await.status, 200);
    assert_eq!(archive.feed().await.len(), 6);
}

#[tokio::test]
async fn what_real_clients_send_is_taken() {
    let archive = Served::start().await;
    let file = |n: u32| Instance::new("1.2", "1.2.1", &format!("1.2.1.{n}")).part10();
    let framed = |head: &str, file: &[u8]| {
        [head.as_bytes(), file, b"\r\n--------------------------abc--\r\n"].concat()
    };

    let curl = "--------------------------abc\r\nContent-Disposition: attachment; name=\"file1\"; \
        filename=\"red\r\n.dcm\"\r\nContent-Type: application/dicom\r\n\r\n";
    let curl = curl.replace("red\r\n", "red");
    let kind = "multipart/related; type=\"application/dicom\"; boundary=------------------------abc";
    let answer = archive.post("/v2/studies").body(kind, framed(&curl, &file(1))).send().await;
    assert_eq!(answer.status, 200, "curl: {answer:?}");

    let python = "--------------------------abc\r\nContent-Disposition: form-data; name=\"dicomfile\"; \
        filename=\"x\"\r\nContent-Type: application/dicom\r\n\r\n";
    let untyped = "multipart/related; boundary=------------------------abc";
    let answer = archive.post("/v2/studies").body(untyped, framed(python, &file(2))).send().await;
    assert_eq!(answer.status, 200, "python requests: {answer:?}");

    let bare = "--------------------------abc\r\n\r\n";
    let answer = archive.post("/v2/studies").body(kind, framed(bare, &file(3))).send().await;
    assert_eq!(answer.status, 200, "a part without headers, type given by the request: {answer:?}");
    let answer = archive.post("/v2/studies").body(untyped, framed(bare, &file(4))).send().await;
    assert_eq!(answer.status, 415, "a part that nobody says the type of: {answer:?}");

    let whole = file(5);
    let pieces: Vec<_> = whole.chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let chunked = Body::from_stream(stream::iter(pieces));
    let answer = archive.post("/v2/studies").accept("*/*").body("application/dicom", chunked).send().await;
    assert_eq!(answer.status, 200, "a body of unknown length: {answer:?}");
}

#[tokio::test]
async fn checks_are_made_in_the_order_of_the_contract() {
    let archive = Served::start().await;
    let file = red_triangle().part10();
    let post = |path: &str| archive.post(path).dicom(&file);
    let cases = [
        (
            "foreign type before Accept",
            post("/v2/studies").header("content-type", "text/plain").accept("a/b"),
            415,
        ),
        ("Accept before a missing type", post("/v2/studies").without("content-type").accept("a/b"), 406),
        ("no Accept", post("/v2/studies").without("accept"), 406),
        ("Accept before the study", post("/v2/studies/nonsense").accept("application/json"), 406),
        ("the study before a missing type", post("/v2/studies/1.2a").without("content-type"), 400),
        ("a missing type", post("/v2/studies").without("content-type"), 415),
        ("type before partition", post("/v2/partitions/a/studies").header("content-type", "text/plain"), 415),
        ("partition before Accept", post("/v2/partitions/a/studies").accept("a/b"), 400),
        (
            "start",
            archive.post("/v2/studies").body("multipart/related; boundary=b; start=\"<1>\"", "--b--"),
            400,
        ),
        (
            "no boundary",
            archive.post("/v2/studies").body("multipart/related; type=\"application/dicom\"", ""),
            415,
        ),
        ("no parts", archive.post("/v2/studies").body("multipart/related; boundary=b", "--b--"), 204),
        ("no framing", archive.post("/v2/studies").body("multipart/related; boundary=b", "nothing"), 400),
        ("an empty body", archive.post("/v2/studies").body("application/dicom", ""), 409),
    ];
    for (what, ask, status) in cases {
        let answer = ask.send().await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(answer.header("kymo-position").is_some(), "{what}: every answer to a write has a position");
    }
    assert!(archive.feed().await.is_empty());
}

#[tokio::test]
async fn a_part_of_another_type_or_a_cut_body_stores_nothing() {
    let archive = Served::start().await;
    let file = red_triangle().part10();
    let good = [b"--b\r\nContent-Type: application/dicom\r\n\r\n", &file[..], b"\r\n"].concat();
    let kind = "multipart/related; type=\"application/dicom\"; boundary=b";
    for (rest, status) in [
        ("--b\r\nContent-Type: application/dicom+json\r\n\r\n{}\r\n--b--", 415),
        ("--b\r\nContent-Type: application/dicom\r\n\r\ncut", 400),
        ("", 400),
        ("--b\n--b--", 400),
    ] {
        let body = [&good[..], rest.as_bytes()].concat();
        let answer = archive.post("/v2/studies").body(kind, body).send().await;
        assert_eq!(answer.status, status, "{rest:?}: {answer:?}");
    }
    let broken = stream::iter([Ok(good), Err(std::io::Error::other("the client went away"))]);
    let answer = archive.post("/v2/studies").body(kind, Body::from_stream(broken)).send().await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(archive.feed().await.is_empty() && archive.files().await.is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let settings = kymo::http::Settings { body_bytes: 1000, ..Default::default() };
    let archive = Served::with(settings).await;
    let answer = archive.post("/v2/studies").dicom(&red_triangle().part10()).send().await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("1000"), "{answer:?}");
    assert!(archive.files().await.is_empty());
}

#[tokio::test]
async fn duplicates_and_bad_parts_fail_alone() {
    let archive = Served::start().await;
    let (red, blue) = (red_triangle().part10(), blue_circle().part10());
    let answer = archive.post("/v2/studies").multipart(&[&red, &red, b"no DICOM", &blue]).send().await;
    assert_eq!((answer.status, count(&answer, "00081199")), (202, 2), "{answer:?}");
    assert_eq!(reasons(&answer), [45070, 43264]);

    let answer = archive.post("/v2/studies").multipart(&[&red, &blue]).send().await;
    assert_eq!((answer.status, reasons(&answer)), (409, vec![45070, 45070]));

    let answer = archive.post("/v2/studies/1.2.3").dicom(&green_square().part10()).send().await;
    assert_eq!((answer.status, reasons(&answer)), (409, vec![43264]));
    let comment =
        answer.json()["00081198"]["Value"][0]["00741048"]["Value"][0]["00000902"]["Value"][0].clone();
    assert!(comment.as_str().is_some_and(|text| text.starts_with("DICOM100: (0020,000d) - ")), "{comment}");
    assert_eq!(archive.feed().await.len(), 2);
}

#[tokio::test]
async fn versions_differ_in_status_and_form() {
    let archive = Served::start().await;
    let nameless =
        |n: u32| Instance::new("1.3", "1.3.1", &format!("1.3.1.{n}")).element(PATIENT_ID, "LO", "");
    let v2 = archive.post("/v2/studies").dicom(&nameless(1).part10()).send().await;
    assert_eq!(v2.status, 202, "{v2:?}");
    let item = &v2.json()["00081199"]["Value"][0];
    assert_eq!(item["00081196"], json!({"vr":"US","Value":[1]}));
    let comment = "DICOM100: (0010,0020) - The required tag '(0010,0020)' is missing.";
    assert_eq!(item["00741048"]["Value"][0]["00000902"], json!({"vr":"LO","Value":[comment]}));

    let v1 = archive.post("/v1/studies").dicom(&nameless(2).part10()).send().await;
    assert_eq!((v1.status, reasons(&v1)), (409, vec![43264]));

    let file = Instance::new("1.3", "1.3.1", "1.3.1.3").part10();
    let v1 = archive.post("/v1.0-Prerelease/studies").dicom(&file).send().await;
    assert_eq!(v1.status, 200);
    let item = &v1.json()["00081199"]["Value"][0];
    assert_eq!(item.get("00741048"), None);
    let url = item["00081190"]["Value"][0].as_str().expect("a URL").to_owned();
    assert_eq!(url, "http://archive.example:8080/v1.0-prerelease/studies/1.3/series/1.3.1/instances/1.3.1.3");
}

#[tokio::test]
async fn an_upsert_keeps_the_old_file_when_the_new_one_is_bad() {
    let archive = Served::start().await;
    let file = Instance::new("1.4", "1.4.1", "1.4.1.1");
    archive.stored(&file.part10()).await;
    let bad = file.without(SOP_CLASS_UID).part10();
    let answer = archive.put("/v2/studies").dicom(&bad).send().await;
    assert_eq!((answer.status, reasons(&answer)), (409, vec![43264]));
    let feed = archive.feed().await;
    assert_eq!((feed.len(), &feed[0]["state"]), (1, &json!("Current")));
}
