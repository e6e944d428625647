//! Bulk data and the links to them (`studies.md` §3.6.2): the setting `bulk-data-uri`.

use std::path::Path;
use std::process::Command;

use axum::http::Method;
use kymo::http::Settings;
use serde_json::{Value as Json, json};

use crate::kit::dicom::{
    DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, Element, IMPLICIT_LITTLE, Instance, PIXEL_DATA, Value, families,
};
use crate::kit::process::Process;
use crate::kit::served::Served;

const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const URL: &str = "http://archive.example:8080/v2/studies/1.2/series/1.3/instances/1.4/bulkdata/";

async fn linking() -> Served {
    Served::with(Settings { bulk_data_uri: true, ..Settings::default() }).await
}

/// Bulk at three depths, in items that hold nothing else, and one without a byte.
fn instance() -> Instance {
    let palette = || Element::new(0x0028_1201, "OW", Value::Words((0..16).collect()));
    let inner = vec![Element::new(0x5400_1010, "OW", Value::Words(vec![1, 2, 3, 4]))];
    let outer = vec![
        Element::new(0x0008_0100, "SH", "C"),
        Element::new(0x0009_0010, "LO", "KYMO"),
        Element::new(0x0009_1001, "UN", vec![1, 2, 3]),
        Element::new(0x0040_A730, "SQ", Value::Sequence(vec![Vec::new(), inner])),
    ];
    Instance::new("1.2", "1.3", "1.4")
        .element(0x0008_1115, "SQ", Value::Sequence(vec![vec![palette()], outer]))
        .element(0x0028_1202, "OW", Vec::new())
        .element(0x0066_0016, "OF", Value::F32(vec![1.5, -2.0]))
        .element(0x6000_3000, "OB", vec![5, 6, 7, 8])
        .element(PIXEL_DATA, "OW", Value::Words((0..32).collect()))
}

async fn metadata(archive: &Served, path: &str) -> Json {
    let answer = archive.get(&format!("{path}/metadata")).accept("application/dicom+json").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn without_the_setting_metadata_say_nothing_of_bulk_but_the_route_is_there() {
    let archive = Served::start().await;
    archive.stored(&instance().part10()).await;
    let text = metadata(&archive, INSTANCE).await.to_string();
    assert!(!text.contains("BulkDataURI") && !text.contains("InlineBinary") && !text.contains("7FE00010"));
    let value = archive.get(&format!("{INSTANCE}/bulkdata/60003000")).accept("*/*").send().await;
    assert_eq!((value.status, value.bytes()), (200, &[5, 6, 7, 8][..]));
}

#[tokio::test]
async fn with_it_every_value_left_out_has_a_link_at_its_depth() {
    let archive = linking().await;
    archive.stored(&instance().part10()).await;
    let link = |vr: &str, path: &str| json!({"vr": vr, "BulkDataURI": format!("{URL}{path}")});
    let dataset = metadata(&archive, INSTANCE).await[0].clone();
    assert_eq!(dataset["60003000"], link("OB", "60003000"));
    assert_eq!(dataset["7FE00010"], link("OW", "7FE00010"));
    assert_eq!(dataset["00660016"], link("OF", "00660016"));
    assert_eq!(dataset.get("00281202"), None, "nothing is there to be fetched");
    let items = &dataset["00081115"]["Value"];
    assert_eq!(items[0], json!({"00281201": link("OW", "00081115/1/00281201")}));
    assert_eq!(items[1]["00091001"], link("UN", "00081115/2/00091001"));
    assert_eq!(items[1]["00080100"]["Value"][0], "C");
    let deepest = &items[1]["0040A730"]["Value"];
    assert_eq!(deepest, &json!([{}, {"54001010": link("OW", "00081115/2/0040A730/2/54001010")}]));

    // Keys stay in order, and without the links it is what it is without the setting.
    let answer = archive.get(&format!("{INSTANCE}/metadata")).accept("*/*").send().await;
    let plain = Served::start().await;
    plain.stored(&instance().part10()).await;
    let mut stripped = answer.json();
    strip(&mut stripped);
    assert_eq!(stripped, metadata(&plain, INSTANCE).await);
    // What the links begin with is told from what has none.
    let tag = answer.header("etag").expect("a tag");
    assert!(tag.starts_with("\"1-") && tag.len() == 12, "{tag}");
    let head = archive.request(Method::HEAD, &format!("{INSTANCE}/metadata")).accept("*/*").send().await;
    assert_eq!((head.status, head.header("etag")), (200, Some(tag)));
}

fn strip(json: &mut Json) {
    match json {
        Json::Array(values) => values.iter_mut().for_each(strip),
        Json::Object(members) => {
            members.retain(|_, member| member.get("BulkDataURI").is_none());
            members.values_mut().for_each(strip);
        }
        _ => {}
    }
}

/// Every link below `json`.
fn links(json: &Json, out: &mut Vec<(String, String)>) {
    match json {
        Json::Array(values) => values.iter().for_each(|value| links(value, out)),
        Json::Object(members) => {
            if let Some(link) = members.get("BulkDataURI") {
                let vr = members["vr"].as_str().expect("a VR").to_owned();
                out.push((link.as_str().expect("a text").to_owned(), vr));
            }
            members.values().for_each(|member| links(member, out));
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_link_leads_to_the_value_in_little_endian_whatever_it_is_stored_in() {
    let archive = linking().await;
    let expected = [
        ("00081115/1/00281201", (0..16).collect::<Vec<u8>>()),
        ("00081115/2/00091001", vec![1, 2, 3, 0]),
        ("00081115/2/0040A730/2/54001010", vec![1, 2, 3, 4]),
        ("00660016", [1.5_f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect()),
        ("60003000", vec![5, 6, 7, 8]),
        ("7FE00010", (0..32).collect()),
    ];
    for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED] {
        let put = archive.put("/v2/studies").dicom(&instance().syntax(syntax).part10()).send().await;
        assert!([200, 202].contains(&put.status), "{put:?}");
        let mut found = Vec::new();
        links(&metadata(&archive, INSTANCE).await, &mut found);
        let mut paths: Vec<&str> =
            found.iter().map(|(link, _)| link.strip_prefix(URL).expect("an absolute URL")).collect();
        paths.sort_unstable();
        assert_eq!(paths, expected.iter().map(|(path, _)| *path).collect::<Vec<_>>(), "{syntax}");
        for (path, value) in &expected {
            let single = archive.get(&format!("{INSTANCE}/bulkdata/{path}")).accept("*/*").send().await;
            assert_eq!(single.status, 200, "{syntax} {path}");
            assert_eq!(single.bytes(), value, "{syntax} {path}");
            assert_eq!(single.header("content-type"), Some("application/octet-stream"));
            let length = value.len().to_string();
            assert_eq!(single.header("content-length"), Some(length.as_str()));
            let several = archive.get(&format!("{INSTANCE}/bulkdata/{path}"));
            let several = several.accept("multipart/related; type=\"application/octet-stream\"").send().await;
            let kind = several.header("content-type").expect("a type");
            assert!(kind.starts_with("multipart/related; type=\"application/octet-stream\"; boundary="));
            assert_eq!(several.parts(), [("application/octet-stream".to_owned(), value.clone())]);
        }
    }
}

#[tokio::test]
async fn links_of_a_study_are_those_of_each_instance() {
    let archive = linking().await;
    for number in 0..200 {
        let file =
            Instance::new("1.2", "1.3", &format!("1.4.{number}")).element(0x6000_3000, "OB", vec![1, number]);
        archive.stored(&file.part10()).await;
    }
    let answer = archive.get("/v2/studies/1.2/metadata").accept("*/*").send().await;
    let mut found = Vec::new();
    links(&answer.json(), &mut found);
    assert_eq!(found.len(), 200);
    for dataset in answer.json().as_array().expect("an array") {
        let sop = dataset["00080018"]["Value"][0].as_str().expect("a UID");
        let link = dataset["60003000"]["BulkDataURI"].as_str().expect("a link");
        assert!(link.ends_with(&format!("/instances/{sop}/bulkdata/60003000")), "{link}");
        let value = archive.get(&link["http://archive.example:8080".len()..]).accept("*/*").send().await;
        let number: u8 = sop.rsplit('.').next().and_then(|n| n.parse().ok()).expect("a number");
        assert_eq!(value.bytes(), [1, number]);
    }
}

#[tokio::test]
async fn links_begin_as_every_url_does() {
    let public = Some("https://images.example/dicom".to_owned());
    let archive =
        Served::with(Settings { bulk_data_uri: true, public_url: public, ..Settings::default() }).await;
    archive.stored(&instance().part10()).await;
    let answer = archive.get("/v1/studies/1.2/metadata").accept("*/*").send().await;
    let expected = "https://images.example/dicom/v1/studies/1.2/series/1.3/instances/1.4/bulkdata/7FE00010";
    assert_eq!(answer.json()[0]["7FE00010"]["BulkDataURI"], expected);
    // What is no name of a host never comes into a link, one that would end the text it stands in least of all.
    let archive = linking().await;
    archive.stored(&instance().part10()).await;
    let hostile = archive.get("/v2/studies/1.2/metadata").accept("*/*").header("host", "a\"}],\\");
    let answer = hostile.send().await;
    let link = answer.json()[0]["7FE00010"]["BulkDataURI"].clone();
    assert!(link.as_str().expect("a text").starts_with("http://localhost/v2/studies/"), "{link}");
}

#[tokio::test]
async fn a_value_is_asked_for_as_frames_are() {
    let archive = Served::start().await;
    archive.stored(&instance().part10()).await;
    let at = |path: &str| format!("{INSTANCE}/bulkdata/{path}");
    let unknown = "/v2/studies/1.2/series/1.3/instances/1.9/bulkdata/7FE00010".to_owned();
    for (path, accept, status) in [
        (at("7FE00010"), "*/*", 200),
        (at("7fe00010"), "application/octet-stream", 200),
        (at("00081115/2/0040a730/2/54001010"), "*/*", 200),
        (at("00081115%2F1%2F00281201"), "*/*", 200),
        (at("7FE00010/"), "*/*", 200),
        (at("7FE00010"), "application/octet-stream; transfer-syntax=*", 200),
        (at("7FE00010"), "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", 200),
        (at("7FE00010"), "multipart/related; type=\"*/*\"", 200),
        (at("7FE00010"), "application/pdf", 406),
        (at("7FE00010"), "image/jpeg", 406),
        (at("7FE00010"), "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50", 406),
        // Nothing is there: no such element, item or instance, an element that is in the metadata, no byte.
        (at("00281203"), "*/*", 404),
        (at("00081115/3/00281201"), "*/*", 404),
        (at("00081115"), "*/*", 404),
        (at("00100010"), "*/*", 404),
        (at("00281202"), "*/*", 404),
        (unknown.clone(), "*/*", 404),
        // Ill-formed comes before Accept, Accept before existence.
        (at("PixelData"), "image/png", 400),
        (at("7FE0001"), "*/*", 400),
        (at("00081115/1"), "*/*", 400),
        (at("00081115/0/00281201"), "*/*", 400),
        (at("00081115/x/00281201"), "*/*", 400),
        (at("7FE00010//7FE00010"), "*/*", 400),
        ("/v2/studies/1.2/series/1.3/instances/1.x/bulkdata/7FE00010".to_owned(), "*/*", 400),
        (unknown, "image/png", 406),
        (at(""), "*/*", 404),
    ] {
        let answer = archive.get(&path).accept(accept).send().await;
        assert_eq!(answer.status, status, "{path} {accept}: {answer:?}");
    }
    assert_eq!(archive.get(&at("7FE00010")).send().await.status, 406, "no Accept");
    let loud = "/v2/STUDIES/1.2/Series/1.3/INSTANCES/1.4/BulkData/60003000";
    assert_eq!(archive.get(loud).accept("*/*").send().await.status, 200);
    let wrong = archive.request(Method::DELETE, &at("7FE00010")).send().await;
    assert_eq!(wrong.status, 405);
    let tag = archive.get(&at("7FE00010")).accept("*/*").send().await;
    let tag = tag.header("etag").expect("a tag").to_owned();
    let known = archive.get(&at("7FE00010")).accept("*/*").header("if-none-match", &tag).send().await;
    assert_eq!((known.status, known.header("etag")), (304, Some(tag.as_str())));
}

#[tokio::test]
async fn a_document_is_served_as_what_the_dataset_says_it_is() {
    let archive = linking().await;
    let pdf = b"%PDF-1.4 of a kind\n".to_vec();
    for (kind, single, as_pdf) in
        [("application/pdf", "application/pdf", 200), ("text/xml", "application/octet-stream", 406)]
    {
        let file = Instance::new("1.2", "1.3", "1.4")
            .element(0x0042_0011, "OB", pdf.clone())
            .element(0x0042_0012, "LO", kind)
            .part10();
        assert_eq!(archive.put("/v2/studies").dicom(&file).send().await.status, 200);
        let path = format!("{INSTANCE}/bulkdata/00420011");
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for accept in ["*/*", browser] {
            let answer = archive.get(&path).accept(accept).send().await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(single)), "{accept}");
            assert!(answer.bytes().starts_with(&pdf));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
        let answer = archive.get(&path).accept("application/pdf").send().await;
        assert_eq!(answer.status, as_pdf, "{kind}");
        let raw = archive.get(&path).accept("application/octet-stream").send().await;
        assert_eq!((raw.status, raw.header("content-type")), (200, Some("application/octet-stream")));
        let several = archive.get(&path).accept("multipart/related; type=\"application/pdf\"").send().await;
        assert_eq!(several.status, as_pdf, "{kind}");
        if as_pdf == 200 {
            assert_eq!(several.parts()[0].0, "application/pdf");
        }
    }
}

#[test]
fn links_and_values_outlive_a_restart() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data = scratch.path().join("data");
    let archive = Process::start(&data, &["--bulk-data-uri"]);
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let families = families();
    for family in &families {
        let stored = archive.ask("POST", "/v2/studies", &headers, &family.part10).status;
        assert!([200, 202].contains(&stored), "{}", family.name);
    }
    let seen = |archive: &Process| {
        let mut seen = Vec::new();
        for number in 0..families.len() {
            let study = format!("/v2/studies/2.25.7001{number:03}/metadata");
            let mut found = Vec::new();
            links(&archive.get(&study).json(), &mut found);
            assert_eq!(found.iter().filter(|(link, _)| link.ends_with("/7FE00010")).count(), 1);
            for (link, _) in found {
                let path = link["http://archive.example".len()..].to_owned();
                let value = archive.get(&path);
                assert_eq!(value.status, 200, "{path}");
                seen.push((path, value.bytes().to_vec()));
            }
        }
        seen
    };
    let before = seen(&archive);
    archive.kill();
    let archive = Process::start(&data, &["--bulk-data-uri", "true"]);
    assert!(seen(&archive) == before);
    assert!(archive.stop().success());
    let archive = Process::start(&data, &[]);
    assert!(!archive.get("/v2/studies/2.25.7001000/metadata").text().contains("BulkDataURI"));
}

#[test]
fn the_python_client_follows_every_link_of_real_files() {
    let python = std::env::var_os("KYMO_TEST_PYTHON");
    let files = std::env::var_os("KYMO_TEST_DICOM_FILES");
    let (Some(python), Some(files)) = (python, files) else {
        eprintln!("skipped: KYMO_TEST_PYTHON and KYMO_TEST_DICOM_FILES are not set; tests/run sets them");
        return;
    };
    let scratch = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&scratch.path().join("data"), &["--bulk-data-uri"]);
    let ran = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/bulkdata.py"))
        .arg(archive.url())
        .arg(&files)
        .env("NO_PROXY", "*")
        .output()
        .expect("KYMO_TEST_PYTHON can be run");
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{errors}");
    eprintln!("{said}");
}
