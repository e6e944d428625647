//! The surface of every route: paths, versions, common headers, errors, guard, URLs, CORS (`studies.md` §1,
//! §7.6), preambles (§2.7), and the searches of whole-slide clients (§4.11).
//!
//! Elsewhere: the description of the routes (`openapi`), the first look at the same (`requests`).

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{Method, Request};
use kymo::archive;
use kymo::base::{Partition, Stamp, SteppedClock};
use kymo::dicom::preamble::Preambles;
use kymo::dicom::uid::Uid;
use kymo::event::Scope;
use kymo::http::{Cors, Deprecated, Settings};
use kymo::ops::health::Health;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::kit::dicom::{Instance, SERIES, STUDY, red_triangle};
use crate::kit::process::Process;
use crate::kit::served::{Answer, Served};

const RED: &str = "1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395";
const SUPPORTED: &str = "1.0-prerelease, 1, 2";

async fn with_red() -> Served {
    let archive = Served::start().await;
    archive.stored(&red_triangle().part10()).await;
    archive
}

fn instance() -> String {
    format!("/v2/studies/{STUDY}/series/{SERIES}/instances/{RED}")
}

/// One way of asking for each status below a version.
async fn answers_of_every_kind(archive: &Served) -> Vec<(u16, Answer)> {
    let study = format!("/v2/studies/{STUDY}");
    let file = red_triangle().part10();
    let no_part = "--b--\r\n";
    let multipart = "multipart/related; type=\"application/dicom\"; boundary=b";
    vec![
        (200, archive.get(&format!("{study}/metadata")).accept("*/*").send().await),
        (200, archive.get(&instance()).accept("*/*").send().await),
        (200, archive.get("/v2/api.json").send().await),
        (204, archive.get("/v1/studies?PatientID=nobody").accept("*/*").send().await),
        (204, archive.post("/v2/studies").body(multipart, no_part).send().await),
        (400, archive.get("/v2/studies?PatientID=").accept("*/*").send().await),
        (400, archive.get("/v2/studies?a=%3c").send().await),
        (400, archive.get("/v2/studies/x").accept("*/*").send().await),
        (400, archive.get("/v99/studies").send().await),
        (400, archive.get("/v2/changefeed?limit=0").send().await),
        (404, archive.get("/v2/nothing").send().await),
        (404, archive.get("/v2/studies/1.2").accept("*/*").send().await),
        (404, archive.delete("/v2/studies/1.2").await),
        (405, archive.put("/v2/changefeed").send().await),
        (406, archive.get("/v2/studies").accept("application/json").send().await),
        (406, archive.post("/v2/studies").accept("text/html").dicom(&file).send().await),
        (409, archive.post("/v2/studies").dicom(&file).send().await),
        (414, archive.get(&format!("/v2/studies?a={}", "x".repeat(50 << 10))).send().await),
        (415, archive.post("/v2/studies").body("text/plain", "x").send().await),
        (503, archive.get("/v2/changefeed").header("kymo-min-position", "99999").send().await),
    ]
}

fn impatient() -> Settings {
    Settings { position_time: Duration::from_millis(1), ..Settings::default() }
}

#[tokio::test]
async fn an_unknown_version_is_400_with_a_json_object() {
    let archive = Served::start().await;
    for path in ["/v99/studies", "/v3/changefeed", "/V2.1/studies", "/v0"] {
        let answer = archive.get(path).send().await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        let error = &answer.json()["error"];
        assert_eq!(error["code"], json!("UnsupportedApiVersion"));
        assert!(error["message"].is_string());
        assert_eq!(error["innerError"], Value::Null);
        assert_eq!(answer.header("api-supported-versions"), Some(SUPPORTED));
    }
}

#[tokio::test]
async fn without_a_version_there_is_no_route() {
    let archive = with_red().await;
    for path in ["/studies", "/changefeed", "/api.json", "/v/studies", "/partitions/a/studies", "/"] {
        let answer = archive.get(path).accept("*/*").send().await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("api-supported-versions"), None, "{path}");
    }
    // Health is there without one, and only so.
    assert_eq!(archive.get("/health/check").send().await.status, 200);
    assert_eq!(archive.get("/v2/health/check").send().await.status, 404);
}

#[tokio::test]
async fn a_wrong_method_is_405_and_names_the_right_ones() {
    let archive = Served::start().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v2/studies", "GET,HEAD,POST,PUT"),
        (Method::PATCH, "/v2/studies/1.2", "GET,HEAD,POST,PUT,DELETE"),
        (Method::PUT, "/v2/studies/1.2/series/1.3", "GET,HEAD,DELETE"),
        (Method::POST, "/v2/studies/1.2/series/1.3/instances/1.4", "GET,HEAD,DELETE"),
        (Method::DELETE, "/v1/studies/1.2/metadata", "GET,HEAD"),
        (Method::POST, "/v2/instances", "GET,HEAD"),
        (Method::POST, "/v2/changefeed", "GET,HEAD"),
        (Method::DELETE, "/v2/api.yaml", "GET,HEAD"),
        (Method::OPTIONS, "/v2/series", "GET,HEAD"),
        (Method::POST, "/v2/studies/count", "GET,HEAD"),
        (Method::DELETE, "/v2/studies/COUNT", "GET,HEAD"),
        (Method::PUT, "/v2/instances/count", "GET,HEAD"),
        (Method::POST, "/health/check", "GET,HEAD"),
    ] {
        let answer = archive.request(method.clone(), path).send().await;
        assert_eq!(answer.status, 405, "{method} {path}");
        let told: BTreeSet<_> =
            answer.header("allow").expect("what is allowed").split(',').map(str::trim).collect();
        assert_eq!(told, allowed.split(',').collect(), "{method} {path}");
    }
}

#[tokio::test]
async fn literals_match_in_any_letter_case_and_values_only_as_they_are() {
    let archive = with_red().await;
    for path in [
        instance()
            .replace("studies", "STUDIES")
            .replace("series", "Series")
            .replace("instances", "iNSTANCES"),
        instance().replace("/v2", "/V2") + "/METADATA",
        instance() + "/Frames/1",
        "/V1.0-Prerelease/Studies".to_owned(),
        format!("/v2/Studies/{STUDY}/SERIES"),
        "/v2/ChangeFeed/Latest".to_owned(),
        "/v2/API.json".to_owned(),
        // What is percent-encoded is the same.
        instance().replacen("1.2.826", "1%2e2%2E826", 1),
    ] {
        assert_eq!(archive.get(&path).accept("*/*").send().await.status, 200, "{path}");
    }
    // A name of a partition is taken as it is: there are none.
    let named = archive.get("/v2/Partitions/Ward_7/studies").accept("*/*").send().await;
    assert_eq!(named.status, 400);
}

#[tokio::test]
async fn blanks_behind_a_uid_in_the_path_do_not_count() {
    let archive = with_red().await;
    let padded = format!("/v2/studies/{STUDY}%20%20/series/{SERIES}%20/instances/{RED}%20");
    for path in [
        padded.clone(),
        format!("{padded}/metadata"),
        format!("{padded}/frames/1"),
        format!("/v2/studies/{STUDY}%20"),
        format!("/v2/studies/{STUDY}%20/instances"),
        format!("/v1/studies/{STUDY}%20/series/{SERIES}%20%20%20/metadata"),
    ] {
        assert_eq!(archive.get(&path).accept("*/*").send().await.status, 200, "{path}");
    }
    let again = archive.post(&format!("/v2/studies/{STUDY}%20")).dicom(&red_triangle().part10()).send().await;
    assert_eq!(again.json()["00081198"]["Value"][0]["00081197"]["Value"][0], json!(45070), "of this study");
    assert_eq!(archive.get(&padded.replace("%20", "x")).accept("*/*").send().await.status, 400);
    assert_eq!(archive.delete(&padded).await.status, 204);
}

#[tokio::test]
async fn every_answer_below_a_version_names_the_versions_and_is_not_to_be_sniffed() {
    let archive = Served::with(impatient()).await;
    archive.stored(&red_triangle().part10()).await;
    for (status, answer) in answers_of_every_kind(&archive).await {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("api-supported-versions"), Some(SUPPORTED), "{answer:?}");
        assert_eq!(answer.header("api-deprecated-versions"), None);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"), "{answer:?}");
        assert_eq!(answer.header("vary"), Some("Origin, Accept"), "{answer:?}");
    }
    for path in ["/", "/studies", "/health/check", "/metrics"] {
        let answer = archive.get(path).send().await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("api-supported-versions"), None, "{path}");
    }
}

#[tokio::test]
async fn versions_marked_deprecated_are_told_with_every_answer_below_a_version() {
    let deprecated = Deprecated::parse(&["v1".to_owned(), "v1.0-prerelease".to_owned()]).expect("known ones");
    let archive = Served::with(Settings { deprecated, ..impatient() }).await;
    archive.stored(&red_triangle().part10()).await;
    for (_, answer) in answers_of_every_kind(&archive).await {
        assert_eq!(answer.header("api-deprecated-versions"), Some("1.0-prerelease, 1"), "{answer:?}");
        assert_eq!(answer.header("api-supported-versions"), Some(SUPPORTED));
    }
    assert_eq!(archive.get("/health/check").send().await.header("api-deprecated-versions"), None);
}

#[tokio::test]
async fn an_archive_that_is_being_opened_marks_its_answers_too() {
    let clock = std::sync::Arc::new(SteppedClock::at(Stamp(0)));
    let router = kymo::http::starting(Health::new(clock), Settings::default());
    for (path, versions) in [("/v2/studies", Some(SUPPORTED)), ("/health/check", None), ("/", None)] {
        let request = Request::get(path).body(axum::body::Body::empty()).expect("a request");
        let answer = router.clone().oneshot(request).await.expect("a router always answers");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("api-supported-versions"), versions, "{path}");
    }
}

#[tokio::test]
async fn errors_are_plain_text_but_for_the_version_and_the_store() {
    let archive = Served::with(impatient()).await;
    archive.stored(&red_triangle().part10()).await;
    for (status, answer) in answers_of_every_kind(&archive).await {
        let kind = answer.header("content-type").unwrap_or_default();
        match status {
            200 | 204 => {}
            // Nothing was looked at but the path.
            404 | 405 if answer.bytes().is_empty() => {}
            400 if kind.starts_with("application/json") => assert!(answer.json()["error"].is_object()),
            409 => assert_eq!(kind, "application/dicom+json"),
            _ => {
                assert_eq!(kind, "text/plain; charset=utf-8", "{answer:?}");
                assert!(!answer.text().starts_with(['{', '"']) && !answer.text().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_query_with_a_tag_sign_is_refused_before_its_route_is_looked_for() {
    let archive = with_red().await;
    for query in ["PatientName=%3cb%3e", "%3C", "limit=1&x=a%3Cb"] {
        for path in
            ["/v2/studies", "/v2/nothing", "/v99/studies", "/nowhere", "/health/check", "/v2/studies/1.2"]
        {
            for method in [Method::GET, Method::POST, Method::DELETE, Method::PATCH] {
                let answer = archive.request(method.clone(), &format!("{path}?{query}")).send().await;
                assert_eq!(answer.status, 400, "{method} {path}?{query}");
            }
        }
    }
    assert_eq!(archive.get("/v2/studies?PatientID=%253c").accept("*/*").send().await.status, 204);
    let named = archive.get("/v2/studies?limit=x").accept("*/*").send().await;
    assert!(named.status == 400 && named.text().contains("limit"), "{named:?}");
}

/// Plain, which no client library sends.
#[test]
fn a_tag_sign_as_it_is_is_refused_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    for path in ["/v2/studies?PatientID=<b>", "/nowhere?<"] {
        assert_eq!(archive.get(path).status, 400, "{path}");
    }
}

/// What the answer to a store begins its URLs with, at a running program.
fn stored_under(archive: &Process, headers: &[(&str, &str)], sop: &str) -> String {
    let file = Instance::new("1.2", "1.3", sop).part10();
    let own = [("accept", "application/dicom+json"), ("content-type", "application/dicom")];
    let answer = archive.ask("POST", "/v1/studies", &[&own[..], headers].concat(), &file);
    let json = answer.json();
    let url = json["00081199"]["Value"][0]["00081190"]["Value"][0].as_str();
    let url = url.unwrap_or_else(|| panic!("{answer:?}"));
    url.strip_suffix(&format!("/v1/studies/1.2/series/1.3/instances/{sop}")).expect("its own URL").to_owned()
}

#[test]
fn forwarded_headers_are_believed_only_from_trusted_proxies() {
    let folder = tempfile::tempdir().expect("a folder");
    let forwarded = [
        ("x-forwarded-host", "gate.example"),
        ("x-forwarded-prefix", "/dicom"),
        ("x-forwarded-proto", "https"),
    ];
    let data = folder.path().join("data");
    for (proxies, expected) in [
        (None, "http://archive.example"),
        (Some("192.0.2.0/24"), "http://archive.example"),
        (Some("192.0.2.1,127.0.0.0/8"), "https://gate.example/dicom"),
    ] {
        let flags = proxies.map(|proxies| ["--trusted-proxies", proxies]);
        let archive = Process::start(&data, flags.as_ref().map_or(&[][..], |flags| &flags[..]));
        let sop = format!("1.4.{}", proxies.map_or(0, str::len));
        assert_eq!(stored_under(&archive, &forwarded, &sop), expected);
        if proxies == Some("192.0.2.1,127.0.0.0/8") {
            assert_eq!(stored_under(&archive, &forwarded[..1], "1.4.1"), "http://gate.example");
            assert_eq!(stored_under(&archive, &forwarded[1..2], "1.4.2"), "http://archive.example/dicom");
            let evil = [("x-forwarded-host", "evil/\"><script>"), ("x-forwarded-prefix", "/../x?")];
            assert_eq!(stored_under(&archive, &evil, "1.4.3"), "http://archive.example");
        }
        archive.stop();
    }
}

/// The Python dicomweb-client leaves the port out of `Host`.
#[test]
fn urls_lead_back_to_a_client_that_left_its_port_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    let file = Instance::new("1.2", "1.3", "1.4").part10();
    for (host, back) in
        [("127.0.0.1", archive.url()), ("localhost", archive.url().replace("127.0.0.1", "localhost"))]
    {
        let mut connection = archive.connect();
        let head = format!(
            "PUT /v2/studies/1.2 HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nContent-Type: application/dicom\r\n\
             Content-Length: {}\r\n\r\n",
            file.len()
        );
        connection.write(&[head.as_bytes(), &file].concat()).expect("it takes requests");
        let answer = connection.answer_to("PUT").expect("it answers");
        let url = answer.json()["00081190"]["Value"][0].clone();
        assert_eq!(url, json!(format!("{back}/v2/studies/1.2")), "{answer:?}");
    }
}

async fn with_cors(origins: &[&str]) -> Served {
    let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
    let cors = Cors::parse(&origins, &[], &[], Duration::from_secs(600), false).expect("a policy");
    Served::with(Settings { cors: Some(cors), ..Settings::default() }).await
}

#[tokio::test]
async fn a_preflight_is_answered_before_anything_else_is_looked_at() {
    let archive = with_cors(&["https://viewer.example"]).await;
    for path in
        ["/v2/studies", "/v99/studies", "/nowhere", "/v2/studies/bad?a=%3c", "/v2/partitions/x/studies"]
    {
        let answer = archive
            .request(Method::OPTIONS, path)
            .header("origin", "https://viewer.example")
            .header("access-control-request-method", "DELETE")
            .header("access-control-request-headers", "authorization,content-type")
            .header("kymo-min-position", "nonsense")
            .send()
            .await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://viewer.example"), "{path}");
        let methods = answer.header("access-control-allow-methods").expect("methods");
        assert_eq!(methods, "GET,HEAD,POST,PUT,DELETE");
        assert!(answer.bytes().is_empty());
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_read_six_headers_and_no_more() {
    let archive = with_cors(&["*"]).await;
    for path in ["/v2/changefeed", "/v2/studies/x", "/v99/studies"] {
        let answer = archive.get(path).header("origin", "https://viewer.example").send().await;
        let exposed = answer.header("access-control-expose-headers").expect("exposed headers").to_lowercase();
        let exposed: BTreeSet<_> = exposed.split(',').map(str::trim).map(str::to_owned).collect();
        let wanted = "etag,warning,erroneous-dicom-attributes,content-range,accept-ranges,kymo-position";
        assert_eq!(exposed, wanted.split(',').map(str::to_owned).collect(), "{path}");
        assert_eq!(answer.header("vary"), Some("Origin, Accept"), "{path}");
    }
}

/// Values that differ from answer to answer, or that only a body's length could tell.
fn comparable(answer: &Answer) -> Vec<(String, String)> {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date", "content-length"].contains(&name.as_str()))
        .map(|(name, value)| {
            let value = value.to_str().expect("a readable header");
            (name.to_string(), value.split("; boundary=").next().unwrap_or_default().to_owned())
        })
        .collect();
    headers.sort();
    headers
}

#[tokio::test]
async fn a_head_has_the_status_and_the_headers_of_the_get() {
    let archive = with_red().await;
    let tag = archive.get(&instance()).accept("application/dicom").send().await;
    let tag = tag.header("etag").expect("a tag").to_owned();
    let study = format!("/v2/studies/{STUDY}");
    for (path, accept) in [
        (study.clone(), "multipart/related; type=\"application/dicom\""),
        (format!("{study}/series/{SERIES}"), "*/*"),
        (instance(), "application/dicom"),
        (instance(), "*/*"),
        (format!("{study}/metadata"), "application/dicom+json"),
        (instance() + "/metadata", "*/*"),
        (instance() + "/frames/1", "application/octet-stream"),
        (instance() + "/frames/1", "*/*"),
        (instance() + "/frames/9", "*/*"),
        ("/v2/studies".to_owned(), "*/*"),
        ("/v2/studies?PatientID=nobody".to_owned(), "*/*"),
        ("/v1/series?Modality=OT".to_owned(), "*/*"),
        ("/v2/studies?limit=0".to_owned(), "*/*"),
        ("/v2/studies".to_owned(), "text/html"),
        ("/v2/studies/1.2/metadata".to_owned(), "*/*"),
        ("/v2/studies/x".to_owned(), "*/*"),
        ("/v2/changefeed".to_owned(), "*/*"),
        ("/v2/changefeed/latest".to_owned(), "*/*"),
        ("/v2/partitions".to_owned(), "*/*"),
        ("/v2/api.json".to_owned(), "*/*"),
        ("/v2/api.yaml".to_owned(), "*/*"),
        ("/v99/studies".to_owned(), "*/*"),
        ("/health/check".to_owned(), "*/*"),
        ("/nothing".to_owned(), "*/*"),
    ] {
        for known in ["\"other\"", tag.as_str()] {
            let ask =
                |method| archive.request(method, &path).accept(accept).header("if-none-match", known).send();
            let (get, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
            assert_eq!(head.status, get.status, "{path} {accept}");
            assert_eq!(comparable(&head), comparable(&get), "{path} {accept}");
            assert!(head.bytes().is_empty(), "{path}");
            // A length that is told is that of the body.
            if let Some(length) = head.header("content-length") {
                assert_eq!(length, get.bytes().len().to_string(), "{path} {accept}");
            }
        }
    }
}

/// (0008,1197) and (0008,1198) apart: what became of the only file of a store.
async fn failure(archive: &Served, file: &[u8]) -> Value {
    let answer = archive.post("/v2/studies").dicom(file).send().await;
    assert_eq!(answer.status, 409, "{answer:?}");
    answer.json()["00081198"]["Value"][0]["00081197"]["Value"][0].clone()
}

fn beginning(with: &[u8]) -> [u8; 128] {
    let mut preamble = [7; 128];
    preamble[..with.len()].copy_from_slice(with);
    preamble
}

#[tokio::test]
async fn a_preamble_is_kept_unless_told_otherwise() {
    let archive = Served::start().await;
    for (number, magic) in [&b"II*\0"[..], b"MZ", b"#!/bin/sh"].into_iter().enumerate() {
        let sop = format!("1.4.{number}");
        let file = Instance::new("1.2", "1.3", &sop).preamble(beginning(magic)).part10();
        archive.stored(&file).await;
        let path = format!("/v2/studies/1.2/series/1.3/instances/{sop}");
        let got = archive.get(&path).accept("application/dicom; transfer-syntax=*").send().await;
        assert_eq!(got.bytes(), file);
    }
}

#[tokio::test]
async fn preambles_are_zeroed_before_the_digest_where_the_operator_says_so() {
    let settings = archive::Settings { preambles: Preambles::Zero, ..archive::Settings::default() };
    let archive = Served::storing(Settings::default(), settings).await;
    let file = Instance::new("1.2", "1.3", "1.4").preamble(beginning(b"MZ")).part10();
    // In pieces that do not end where the preamble does.
    let pieces: Vec<_> = file.chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
    let stored = archive.post("/v2/studies").body("application/dicom", body).send().await;
    assert_eq!(stored.status, 200, "{stored:?}");
    let zeroed = [&[0; 128], &file[128..]].concat();
    let path = "/v2/studies/1.2/series/1.3/instances/1.4";
    let got = archive.get(path).accept("application/dicom; transfer-syntax=*").send().await;
    assert_eq!(got.bytes(), zeroed);
    let scope = Scope { study: Uid::parse("1.2").expect("a UID"), series: None, instance: None };
    let live = archive.archive.instances(&Partition::default(), &scope, None, 2).expect("its state is there");
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].file.sha256, <[u8; 32]>::from(Sha256::digest(&zeroed)));
}

#[tokio::test]
async fn programs_in_a_preamble_are_refused_where_the_operator_says_so() {
    let settings =
        archive::Settings { preambles: Preambles::RefuseExecutable, ..archive::Settings::default() };
    let archive = Served::storing(Settings::default(), settings).await;
    for magic in
        [&b"MZ"[..], b"\x7fELF", b"#!/bin/sh", b"\xfe\xed\xfa\xce", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
    {
        let file = Instance::new("1.2", "1.3", "1.4").preamble(beginning(magic)).part10();
        assert_eq!(failure(&archive, &file).await, json!(43264), "{magic:?}");
    }
    for (number, magic) in [&b"II*\0"[..], b"MM\0*", b""].into_iter().enumerate() {
        let file = Instance::new("1.2", "1.3", &format!("1.5.{number}")).preamble(beginning(magic)).part10();
        archive.stored(&file).await;
    }
    assert_eq!(archive.files().await.len(), 3, "nothing of what was refused is left");
}

/// What wsidicom sends when a slide is opened.
#[tokio::test]
async fn a_whole_slide_client_finds_the_instances_of_a_slide_and_their_transfer_syntax() {
    const SLIDE: &str = "1.2.840.10008.5.1.4.1.1.77.1.6";
    const ANNOTATIONS: &str = "1.2.840.10008.5.1.4.1.1.91.1";
    let archive = Served::start().await;
    for (sop, class, syntax) in [
        ("1.4.1", SLIDE, "1.2.840.10008.1.2.1"),
        ("1.4.2", SLIDE, "1.2.840.10008.1.2"),
        ("1.4.3", ANNOTATIONS, "1.2.840.10008.1.2.1"),
    ] {
        let file = Instance::new("1.2", "1.3", sop).modality("SM").syntax(syntax);
        archive.stored(&file.element(0x0008_0016, "UI", class).part10()).await;
    }
    let other = Instance::new("1.2", "1.9", "1.4.4").modality("SM").element(0x0008_0016, "UI", SLIDE);
    archive.stored(&other.part10()).await;
    let filters = "00080016=1.2.840.10008.5.1.4.1.1.77.1.6&0020000E=1.3&00080060=SM";
    for resource in ["/v2/studies/1.2/instances", "/v2/instances", "/v1/studies/1.2/instances"] {
        let path = format!("{resource}?{filters}&includefield=AvailableTransferSyntaxUID");
        let answer = archive.get(&path).accept("application/dicom+json").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let found = answer.json();
        let value = |item: &Value, tag: &str| item[tag]["Value"].clone();
        let told: Vec<_> = found
            .as_array()
            .expect("an array")
            .iter()
            .map(|item| {
                assert_eq!(item["00083002"]["vr"], json!("UI"));
                assert_eq!(value(item, "00080016"), json!([SLIDE]));
                assert_eq!(value(item, "0020000E"), json!(["1.3"]));
                (value(item, "00080018"), value(item, "00083002"))
            })
            .collect();
        let newest_first = [
            (json!(["1.4.2"]), json!(["1.2.840.10008.1.2"])),
            (json!(["1.4.1"]), json!(["1.2.840.10008.1.2.1"])),
        ];
        assert_eq!(told, newest_first, "{path}");
    }
    for (path, status) in [
        ("/v2/studies/1.2/series/1.3/instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.91.1", 200),
        ("/v2/instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.2", 204),
        ("/v2/instances?SOPClassUID=", 400),
        ("/v2/instances?SOPClassUID=1.2&00080016=1.2", 400),
        ("/v2/series?SOPClassUID=1.2", 400),
        ("/v2/studies?00080016=1.2", 400),
    ] {
        assert_eq!(archive.get(path).accept("*/*").send().await.status, status, "{path}");
    }
    // A frame in a syntax it is not in is 406, and nothing else.
    archive.stored(&red_triangle().part10()).await;
    let row = archive.feed().await.pop().expect("a row");
    let sop = row["sopInstanceUid"].as_str().expect("a UID");
    let frame = archive.get(&format!("/v2/studies/{STUDY}/series/{SERIES}/instances/{sop}/frames/1"));
    assert_eq!(frame.accept("multipart/related; type=\"image/jpeg\"").send().await.status, 406);
}
