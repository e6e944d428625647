//! What holds for every request: versions, guard, headers, positions, CORS, health (`studies.md` §1, §7.4, §7.6).

use std::time::Duration;

use axum::http::Method;
use kymo::http::{Cors, Settings};
use kymo::ops::health::Status;
use serde_json::json;

use crate::kit::dicom::red_triangle;
use crate::kit::served::Served;

#[tokio::test]
async fn versions_and_unknown_paths_have_their_statuses() {
    let archive = Served::start().await;
    for (path, status) in [
        ("/v1/changefeed", 200),
        ("/V2/ChangeFeed/", 200),
        ("/v1.0-PRERELEASE/changefeed", 200),
        ("/changefeed", 404),
        ("/", 404),
        ("/v2", 404),
        ("/v2/", 404),
        ("/v2/nothing", 404),
        ("/v2/studies1.2.3/series/1/metadata", 404),
        ("/v2/partitions", 400),
        ("/v2/changefeed?a=%3cscript", 400),
        ("/nowhere?a=%3C", 400),
        ("/Health/Check", 200),
        ("/health/check/", 404),
    ] {
        let answer = archive.get(path).send().await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
        if path[1..].starts_with(['v', 'V']) {
            assert_eq!(answer.header("api-supported-versions"), Some("1.0-prerelease, 1, 2"), "{path}");
        }
    }
    let unknown = archive.get("/v99/studies").send().await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.json()["error"]["code"], json!("UnsupportedApiVersion"));
    assert_eq!(unknown.json()["error"]["innerError"], json!(null));
    let long = archive.get(&format!("/v2/changefeed?a={}", "x".repeat(50 << 10))).send().await;
    assert_eq!(long.status, 414);
}

#[tokio::test]
async fn a_request_id_comes_back_when_it_is_harmless() {
    let archive = Served::start().await;
    let echoed = archive.get("/v2/changefeed").header("x-request-id", "abc-1").send().await;
    assert_eq!(echoed.header("x-request-id"), Some("abc-1"));
    let replaced = archive.get("/v2/changefeed").header("x-request-id", "a b").send().await;
    assert_ne!(replaced.header("x-request-id"), Some("a b"));
}

#[tokio::test]
async fn a_position_given_can_be_waited_for() {
    let settings = Settings { position_time: Duration::from_secs(1), ..Settings::default() };
    let archive = Served::with(settings).await;
    let stored = archive.stored(&red_triangle().part10()).await;
    let position: u64 =
        stored.header("kymo-position").and_then(|text| text.parse().ok()).expect("a position");
    let ask = |value: String| archive.get("/v2/changefeed").header("kymo-min-position", &value).send();
    assert_eq!(ask(position.to_string()).await.status, 200);
    let ahead = ask((position + 1).to_string()).await;
    assert_eq!(ahead.status, 503);
    assert!(ahead.header("retry-after").is_some());
    for bad in ["x", "-1", ""] {
        assert_eq!(ask(bad.to_owned()).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn cors_is_off_unless_configured() {
    let archive = Served::start().await;
    let answer = archive.get("/v2/changefeed").header("origin", "https://viewer.example").send().await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));

    let origins = ["https://viewer.example".to_owned()];
    let cors = Cors::parse(&origins, &[], &[], Duration::from_secs(600), true).expect("a policy");
    let archive = Served::with(Settings { cors: Some(cors), ..Settings::default() }).await;
    let preflight = archive
        .request(Method::OPTIONS, "/v2/studies/1.2")
        .header("origin", "https://viewer.example")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization")
        .send()
        .await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://viewer.example"));
    assert!(preflight.header("access-control-allow-methods").is_some_and(|list| list.contains("DELETE")));
    assert!(
        preflight.header("access-control-allow-headers").is_some_and(|list| list.contains("authorization"))
    );
    assert_eq!(preflight.header("access-control-max-age"), Some("600"));

    let answer = archive.get("/v2/changefeed").header("origin", "https://viewer.example").send().await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://viewer.example"));
    let exposed = answer.header("access-control-expose-headers").expect("exposed headers");
    for name in
        ["etag", "warning", "erroneous-dicom-attributes", "content-range", "accept-ranges", "kymo-position"]
    {
        assert!(exposed.contains(name), "{name}");
    }
    assert_eq!(answer.header("vary"), Some("Origin, Accept"));
    let foreign = archive.get("/v2/changefeed").header("origin", "https://evil.example").send().await;
    assert_eq!(foreign.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn health_is_200_until_something_is_unhealthy() {
    let archive = Served::start().await;
    archive.health.set("LogHealthCheck", Status::Degraded, "slow");
    let answer = archive.get("/health/check").send().await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "overallStatus": "Degraded",
        "details": [{"name": "LogHealthCheck", "status": "Degraded", "description": "slow"}]
    });
    assert_eq!(answer.json(), expected);
    archive.health.set("LogHealthCheck", Status::Unhealthy, "stopped");
    assert_eq!(archive.get("/health/check").send().await.status, 503);
}
