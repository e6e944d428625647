//! The description of the routes against the routes themselves, and against a judge (`studies.md` §1.1, §1.2).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use axum::http::Method;
use serde_json::Value;

use crate::kit::dicom::red_triangle;
use crate::kit::process::Process;
use crate::kit::served::{Ask, Served};

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];

async fn document(archive: &Served, version: &str) -> Value {
    let answer = archive.get(&format!("/{version}/api.json")).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The path with the identifiers of the one instance that is there.
fn filled(path: &str, row: &Value) -> String {
    let uid = |name: &str| row[name].as_str().expect("a UID").to_owned();
    let path =
        path.replace("{study}", &uid("studyInstanceUid")).replace("{series}", &uid("seriesInstanceUid"));
    path.replace("{instance}", &uid("sopInstanceUid")).replace("{frames}", "1").replace("{path}", "7FE00010")
}

/// The first of the media types that an operation answers with 200 in.
fn media(operation: &Value) -> Vec<String> {
    let content = operation["responses"]["200"]["content"].as_object();
    content.map(|content| content.keys().cloned().collect()).unwrap_or_default()
}

fn with_body<'a>(ask: Ask<'a>, operation: &Value, file: &[u8]) -> Ask<'a> {
    match operation["requestBody"]["content"].get("application/dicom") {
        Some(_) => ask.dicom(file),
        None => ask,
    }
}

#[tokio::test]
async fn every_operation_that_is_described_answers_as_it_is_described() {
    for version in ["v1.0-prerelease", "v1", "v2"] {
        let archive = Served::start().await;
        let description = document(&archive, version).await;
        let file = red_triangle().part10();
        for (path, item) in description["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path item") {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                if !METHODS.contains(&method) {
                    continue;
                }
                // What an operation before it may have deleted.
                let stored = archive.put("/v2/studies").dicom(&file).send().await;
                assert_eq!(stored.status, 200, "{stored:?}");
                let row = archive.feed().await.pop().expect("a row");
                let below = if item.get("servers").is_some() { String::new() } else { format!("/{version}") };
                let path = format!("{below}{}", filled(path, &row));
                let ask = with_body(archive.request(method.clone(), &path).accept("*/*"), operation, &file);
                let answer = ask.send().await;
                let told = &operation["responses"][answer.status.to_string()];
                assert!(told.is_object(), "{method} {path} answers {}, which is not told", answer.status);
                // What is off is refused in words; nothing that is told is missing.
                assert!(answer.status != 405, "{method} {path}");
                assert!(answer.status != 404 || path == "/metrics", "{method} {path}");
                if method == Method::HEAD || answer.status == 204 {
                    continue;
                }
                let kind = answer.header("content-type").unwrap_or_default();
                let known = told["content"].as_object().map(|content| content.keys().collect::<Vec<_>>());
                let fits =
                    known.is_none_or(|known| known.iter().any(|media| kind.starts_with(media.as_str())));
                assert!(fits, "{method} {path}: {kind}");
            }
        }
    }
}

#[tokio::test]
async fn every_media_type_that_is_described_can_be_asked_for() {
    let archive = Served::start().await;
    archive.stored(&red_triangle().part10()).await;
    let row = archive.feed().await.pop().expect("a row");
    let description = document(&archive, "v2").await;
    for (path, item) in description["paths"].as_object().expect("paths") {
        for media in media(&item["get"]).iter().filter(|_| path.starts_with("/studies/{study}")) {
            let accept = match media.as_str() {
                "multipart/related" if path.ends_with("{frames}") || path.ends_with("{path}") => {
                    "multipart/related; type=\"application/octet-stream\"".to_owned()
                }
                "multipart/related" => "multipart/related; type=\"application/dicom\"".to_owned(),
                single => single.to_owned(),
            };
            let answer = archive.get(&format!("/v2{}", filled(path, &row))).accept(&accept).send().await;
            // Frames and values come in what they are stored in, or can become; pictures in all that is told.
            let picture = path.ends_with("/rendered") || path.ends_with("/thumbnail");
            if !picture && (media.starts_with("image/") || media == "application/pdf") && answer.status == 406
            {
                continue;
            }
            assert_eq!(answer.status, 200, "{path} {accept}: {answer:?}");
            assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with(media.as_str())));
        }
    }
}

/// The contract's table of routes (§1.2), as far as it is built, and what else there is.
#[tokio::test]
async fn every_method_of_every_route_is_described() {
    let archive = Served::start().await;
    let description = document(&archive, "v2").await;
    let paths = description["paths"].as_object().expect("paths");
    let series = "/studies/{study}/series/{series}";
    let instance = format!("{series}/instances/{{instance}}");
    let routes = [
        ("/studies".to_owned(), "GET POST PUT"),
        ("/series".to_owned(), "GET"),
        ("/instances".to_owned(), "GET"),
        ("/studies/count".to_owned(), "GET"),
        ("/series/count".to_owned(), "GET"),
        ("/instances/count".to_owned(), "GET"),
        ("/studies/{study}/series".to_owned(), "GET"),
        ("/studies/{study}/instances".to_owned(), "GET"),
        (format!("{series}/instances"), "GET"),
        ("/studies/{study}".to_owned(), "GET POST PUT DELETE"),
        (series.to_owned(), "GET DELETE"),
        (instance.clone(), "GET DELETE"),
        ("/studies/{study}/metadata".to_owned(), "GET"),
        (format!("{series}/metadata"), "GET"),
        (format!("{instance}/metadata"), "GET"),
        (format!("{instance}/frames/{{frames}}"), "GET"),
        ("/partitions".to_owned(), "GET"),
        ("/changefeed".to_owned(), "GET"),
        ("/changefeed/latest".to_owned(), "GET"),
        ("/api.yaml".to_owned(), "GET"),
        ("/api.json".to_owned(), "GET"),
        ("/health/check".to_owned(), "GET"),
        ("/metrics".to_owned(), "GET"),
    ];
    for (path, methods) in routes {
        let item = paths.get(&path).unwrap_or_else(|| panic!("{path} is not described"));
        let told: BTreeSet<_> =
            METHODS.iter().map(Method::as_str).filter(|m| item.get(m.to_lowercase()).is_some()).collect();
        let wanted: BTreeSet<_> =
            METHODS.iter().map(Method::as_str).filter(|m| format!("{methods} HEAD").contains(m)).collect();
        assert_eq!(told, wanted, "{path}");
    }
    // Whatever a route does beyond its description would be allowed without being told.
    for (path, item) in paths {
        let below = if item.get("servers").is_some() { "" } else { "/v2" };
        let path = path.replace("{study}", "1.2").replace("{series}", "1.3").replace("{instance}", "1.4");
        let path = format!("{below}{}", path.replace("{frames}", "1"));
        let answer = archive.request(Method::PATCH, &path).send().await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed: BTreeSet<_> =
            answer.header("allow").expect("methods").split(',').map(str::to_lowercase).collect();
        let told: BTreeSet<_> =
            METHODS.iter().map(|m| m.as_str().to_lowercase()).filter(|m| item.get(m).is_some()).collect();
        assert_eq!(allowed, told, "{path}");
    }
}

#[test]
fn openapi_spec_validator_finds_nothing_wrong() {
    let Some(python) = std::env::var_os("KYMO_TEST_PYTHON") else {
        eprintln!(
            "skipped: KYMO_TEST_PYTHON names no Python with openapi-spec-validator; tests/run sets it up"
        );
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/openapi.py");
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    for version in ["v1.0-prerelease", "v1", "v2"] {
        let mut judge = Command::new(&python);
        let judge = judge.arg(&script).arg(format!("{}/{version}", archive.url())).env("NO_PROXY", "*");
        let ran = judge.output().expect("KYMO_TEST_PYTHON can be run");
        let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{version}: {said}{errors}");
    }
}
