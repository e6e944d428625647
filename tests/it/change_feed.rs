//! The change feed (`change-feed.md` §1–§8).

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::kit::dicom::Instance;
use crate::kit::served::Served;

fn file(n: u32) -> Vec<u8> {
    Instance::new("1.2", "1.2.1", &format!("1.2.1.{n}")).part10()
}

async fn rows(archive: &Served, path: &str) -> Vec<Value> {
    let answer = archive.get(path).send().await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json().as_array().expect("an array").clone()
}

fn sequences(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["sequence"].as_u64().expect("a number")).collect()
}

#[tokio::test]
async fn an_empty_feed_is_an_empty_list_and_has_no_latest() {
    let archive = Served::start().await;
    for version in ["v1", "v2", "v1.0-prerelease"] {
        assert_eq!(rows(&archive, &format!("/{version}/changefeed")).await, Vec::<Value>::new());
        let latest = archive.get(&format!("/{version}/changefeed/latest")).send().await;
        assert_eq!((latest.status, latest.bytes()), (204, &b""[..]));
    }
}

#[tokio::test]
async fn pages_are_windows_of_sequence_in_v1_and_of_time_in_v2() {
    let archive = Served::start().await;
    for n in 0..12 {
        archive.stored(&file(n)).await;
    }
    let v1 = |query: &str| format!("/v1/changefeed?includeMetadata=false&{query}");
    assert_eq!(sequences(&rows(&archive, &v1("")).await), (1..=10).collect::<Vec<_>>());
    assert_eq!(sequences(&rows(&archive, &v1("offset=10&limit=100")).await), [11, 12]);
    assert_eq!(sequences(&rows(&archive, &v1("offset=9223372036854775807")).await), [0; 0]);

    let v2 = |query: &str| format!("/v2/changefeed?includeMetadata=false&{query}");
    let all = rows(&archive, &v2("")).await;
    assert_eq!(sequences(&all), (1..=12).collect::<Vec<_>>());
    assert_eq!(sequences(&rows(&archive, &v2("offset=5&limit=3")).await), [6, 7, 8]);
    let time = |n: usize| all[n]["timestamp"].as_str().expect("a time").replace('+', "%2B");
    let window = format!("startTime={}&endTime={}", time(3), time(6));
    assert_eq!(sequences(&rows(&archive, &v2(&window)).await), [4, 5, 6]);
    assert_eq!(sequences(&rows(&archive, &v2(&format!("{window}&offset=2"))).await), [6]);
    let open = format!("startTime={}", time(10));
    assert_eq!(sequences(&rows(&archive, &v2(&open)).await), [11, 12]);
    let latest = archive.get("/v2/changefeed/latest?includeMetadata=false").send().await.json();
    assert_eq!((&latest["sequence"], latest.get("metadata")), (&json!(12), None));
}

#[tokio::test]
async fn a_window_whose_end_has_come_never_grows() {
    let archive = Served::start().await;
    archive.stored(&file(1)).await;
    archive.clock.advance(Duration::from_secs(60));
    let now = archive.archive.now().to_string().replace('+', "%2B");
    let path = format!("/v2/changefeed?endTime={now}");
    assert_eq!(sequences(&rows(&archive, &path).await), [1]);
    // A clock that goes back cannot put a row inside it.
    archive.clock.set(crate::kit::served::START);
    archive.stored(&file(2)).await;
    assert_eq!(sequences(&rows(&archive, &path).await), [1]);
    assert_eq!(sequences(&rows(&archive, "/v2/changefeed").await), [1, 2]);
}

#[tokio::test]
async fn rows_show_the_version_alive_now() {
    let archive = Served::start().await;
    let instance = Instance::new("1.2", "1.2.1", "1.2.1.1");
    archive.stored(&instance.clone().patient("P-1", "Old").part10()).await;
    let old_path = archive.feed().await[0]["filePath"].clone();
    let replaced = instance.patient("P-1", "New").part10();
    assert_eq!(archive.put("/v2/studies").dicom(&replaced).send().await.status, 200);
    let feed = archive.feed().await;
    let view = |row: &Value| (row["action"].clone(), row["state"].clone());
    assert_eq!(view(&feed[0]), (json!("Create"), json!("Replaced")));
    assert_eq!(view(&feed[1]), (json!("Update"), json!("Current")));
    for row in &feed {
        assert_eq!(row["metadata"]["00100010"]["Value"][0]["Alphabetic"], json!("New"));
        assert_eq!(row["filePath"], feed[1]["filePath"]);
        assert_eq!(row["partitionName"], json!("Microsoft.Default"));
    }
    assert_ne!(feed[1]["filePath"], old_path);
}

#[tokio::test]
async fn errors_are_400_and_the_rest_is_as_routed() {
    let archive = Served::start().await;
    for query in
        ["limit=0", "limit=101", "offset=-1", "offset=92233720368547758070", "includeMetadata=yes", "a=%3C"]
    {
        let answer = archive.get(&format!("/v1/changefeed?{query}")).send().await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let answer = archive.get("/v2/changefeed?limit=201").send().await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("The query parameter 'limit' is invalid."), "{answer:?}");
    let answer = archive.get("/v2/changefeed?startTime=2023-05-03T10:58:00").send().await;
    assert_eq!(answer.status, 400);
    assert_eq!(archive.get("/v2/changefeed/latest?includeMetadata=1").send().await.status, 400);
    assert_eq!(archive.get("/v2/changefeed?unknown=1&limit=&startTime=").send().await.status, 200);
    assert_eq!(archive.get("/v2/partitions/a/changefeed").send().await.status, 404);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let answer = archive.request(method, "/v2/changefeed").send().await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")));
    }
}
