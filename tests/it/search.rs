//! Search over HTTP (`studies.md` §4, §9; `real-clients.md`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use kymo::archive::{self, Archive};
use kymo::base::{Ids, Position, SteppedClock};
use kymo::blob::{Blobs, Lake};
use kymo::codecs::Codecs;
use kymo::event::Commit;
use kymo::http::{self, App, Settings};
use kymo::log::memory::MemoryLog;
use kymo::ops::health::Health;
use kymo::projections::CommitSource;
use kymo::projections::search::Search;
use kymo::tables::Table;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;
use uuid::Uuid;

use crate::kit::dicom::{self, Element, Instance, SERIES, STUDY, blue_circle, green_square, red_triangle};
use crate::kit::process::{PATIENCE, Process};
use crate::kit::served::{Answer, START, Served, codecs};

const JSON: &str = "application/dicom+json";

async fn shapes() -> Served {
    let archive = Served::start().await;
    let files = [red_triangle().part10(), green_square().part10(), blue_circle().part10()];
    let answer = archive.post("/v2/studies").multipart(&[&files[0], &files[1], &files[2]]).send().await;
    assert_eq!(answer.status, 200);
    archive
}

async fn ask(archive: &Served, path: &str) -> Answer {
    archive.get(path).accept(JSON).send().await
}

async fn found(archive: &Served, path: &str) -> Vec<Value> {
    let answer = ask(archive, path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(JSON)), "{path}: {answer:?}");
    answer.json().as_array().expect("an array").clone()
}

#[tokio::test]
async fn the_tutorials_searches_find_one_item_each() {
    let archive = shapes().await;
    let red = archive.feed().await[0]["sopInstanceUid"].as_str().expect("a UID").to_owned();
    let series = format!("/v2/studies/{STUDY}/series/{SERIES}");
    for path in [
        format!("/v2/studies?StudyInstanceUID={STUDY}"),
        format!("/v2/series?SeriesInstanceUID={SERIES}"),
        format!("/v2/studies/{STUDY}/series?SeriesInstanceUID={SERIES}"),
        format!("/v2/instances?SOPInstanceUID={red}"),
        format!("/v2/studies/{STUDY}/instances?SOPInstanceUID={red}"),
        format!("{series}/instances?SOPInstanceUID={red}"),
    ] {
        assert_eq!(found(&archive, &path).await.len(), 1, "{path}");
    }
    assert_eq!(found(&archive, "/v2/Instances").await.len(), 3);
    assert_eq!(found(&archive, &format!("/v2/studies/{STUDY}/series")).await.len(), 2);
    assert_eq!(found(&archive, &format!("{series}/instances")).await.len(), 2);
}

#[tokio::test]
async fn a_viewers_study_list_is_answered() {
    let archive = shapes().await;
    let path = "/v2/studies?00100020=KYMO-0001&limit=101&offset=0&fuzzymatching=true\
                &includefield=00081030%2C00080060%2C00201208";
    let study = &found(&archive, path).await[0];
    assert_eq!(study["0020000D"], json!({"vr":"UI","Value":[STUDY]}));
    assert_eq!(study["00081030"], json!({"vr":"LO","Value":["Three shapes"]}));
    assert_eq!(study["00201208"], json!({"vr":"IS","Value":[3]}));
    let all = archive.get("/v1/studies").accept("*/*").send().await;
    assert_eq!(all.json()[0]["00080005"], json!({"vr":"CS","Value":["ISO_IR 100"]}));
}

#[tokio::test]
async fn statuses_follow_the_contract() {
    let archive = shapes().await;
    for (path, status) in [
        ("/v2/studies?PatientID=nobody", 204),
        ("/v2/studies?offset=10", 204),
        ("/v2/studies/1.2.3/series", 204),
        ("/v2/studies?limit=0", 400),
        ("/v2/studies?limit=201", 400),
        ("/v2/studies?Modality=CT", 400),
        ("/v2/studies?Nonsense=1", 400),
        ("/v2/studies?PatientID=", 400),
        ("/v2/studies?StudyDate=20241301", 400),
        ("/v2/studies?PatientName=%3cb", 400),
        ("/v2/studies/1.2x/series", 400),
        ("/v2/studies/1.2/series/1.2x/instances", 400),
        ("/v2/partitions/a/studies", 400),
    ] {
        assert_eq!(ask(&archive, path).await.status, status, "{path}");
    }
    let refused = ask(&archive, "/v2/studies?Nonsense=1").await;
    assert!(refused.text().contains("Nonsense"), "{refused:?}");
    for accept in ["application/json", "application/dicom", "text/html"] {
        assert_eq!(archive.get("/v2/studies/1.2x/series").accept(accept).send().await.status, 406);
    }
    assert_eq!(archive.get("/v2/studies").send().await.status, 406);
    let head = archive.request(Method::HEAD, "/v2/studies").accept(JSON).send().await;
    assert_eq!((head.status, head.bytes()), (200, &b""[..]));
    let nothing = archive.request(Method::HEAD, "/v2/studies?PatientID=nobody").accept(JSON).send().await;
    assert_eq!(nothing.status, 204);
    let foreign = archive.request(Method::DELETE, "/v2/series").send().await;
    assert_eq!((foreign.status, foreign.header("allow")), (405, Some("GET,HEAD")));
}

#[tokio::test]
async fn counts_are_those_of_all_pages() {
    let archive = shapes().await;
    let counted = async |path: &str| {
        let answer = archive.get(path).accept("*/*").send().await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
        answer.json()
    };
    for (path, count) in [
        ("/v2/studies/count", 1),
        ("/v2/series/count", 2),
        ("/v1/Instances/COUNT", 3),
        ("/v2/instances/count?PatientID=nobody", 0),
        ("/v2/studies/count?PatientID=KYMO-0001", 1),
    ] {
        assert_eq!(counted(path).await, json!({ "count": count }), "{path}");
    }
    let series = format!("/v2/instances/count?SeriesInstanceUID={SERIES}");
    assert_eq!(counted(&series).await, json!({ "count": 2 }));
    for query in ["limit=1", "offset=1", "orderby=StudyDate", "Modality=CT", "PatientID="] {
        let refused = archive.get(&format!("/v2/studies/count?{query}")).send().await;
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
    }
    let head = archive.request(Method::HEAD, "/v2/studies/count").send().await;
    assert_eq!((head.status, head.bytes()), (200, &b""[..]));
    for path in ["/v2/studies/count/series", "/v2/partitions/a/studies/count"] {
        assert_eq!(archive.get(path).accept("*/*").send().await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn urls_availability_and_counts_are_told_on_request_alone() {
    let archive = shapes().await;
    let plain = &found(&archive, "/v1/studies").await[0];
    for tag in ["00081190", "00080056", "00201206"] {
        assert_eq!(plain.get(tag), None, "{tag}");
    }
    let includes = "includefield=RetrieveURL,InstanceAvailability,NumberOfStudyRelatedSeries";
    let url = |item: &Value| item["00081190"]["Value"][0].as_str().expect("a URL").to_owned();
    for version in ["v1", "v2"] {
        let study = &found(&archive, &format!("/{version}/studies?{includes}")).await[0];
        assert!(url(study).ends_with(&format!("/{version}/studies/{STUDY}")), "{study}");
        assert_eq!(study["00080056"], json!({"vr":"CS","Value":["ONLINE"]}));
        assert_eq!(study["00201206"], json!({"vr":"IS","Value":[2]}));
    }
    let instance = &found(&archive, &format!("/v2/studies/{STUDY}/instances?{includes}")).await[0];
    let path = url(instance);
    let path = &path[path.find("/v2/").expect("a path")..];
    assert_eq!(archive.get(path).accept("application/dicom").send().await.status, 200, "{path}");
    // It says something of the study, which is not returned here.
    assert_eq!(instance.get("00201206"), None);
}

#[tokio::test]
async fn elements_of_sequences_are_returned_by_their_path() {
    let archive = Served::start().await;
    let item = |id: &str| {
        let step = Element::new(0x0040_0009, "SH", id);
        vec![step, Element::new(0x0040_1001, "SH", "R1")]
    };
    let sequence = dicom::Value::Sequence(vec![item("S1"), item("S2")]);
    archive.stored(&red_triangle().element(0x0040_0275, "SQ", sequence).part10()).await;
    let path = "/v2/series?includefield=00400275.00400009";
    let series = &found(&archive, path).await[0];
    assert_eq!(
        series["00400275"],
        json!({"vr":"SQ","Value":[{"00400009":{"vr":"SH","Value":["S1"]}},{"00400009":{"vr":"SH","Value":["S2"]}}]})
    );
    let named = "/v2/series?includefield=RequestAttributesSequence.ScheduledProcedureStepID,00400275";
    assert_eq!(found(&archive, named).await[0]["00400275"]["Value"][1]["00401001"]["Value"], json!(["R1"]));
    assert_eq!(found(&archive, "/v2/series?includefield=00400275.00400010").await[0].get("00400275"), None);
}

/// The view does not hold them; each match's own metadata are read.
#[tokio::test]
async fn an_order_by_attributes_that_are_returned_and_not_searched_is_followed() {
    let archive = Served::start().await;
    let thick = [Some("10"), Some("9.5"), Some("2"), None, Some("2.0")];
    for (number, thickness) in (1..).zip(thick) {
        let uid = format!("2.25.10{number}");
        let instance = Instance::new("2.25.1", &format!("2.25.{}", 11 + number % 2), &uid)
            .patient("ORDER", "Order")
            .element(0x0020_0013, "IS", number.to_string().as_str());
        let instance = match thickness {
            Some(thickness) => instance.element(0x0018_0050, "DS", thickness),
            None => instance,
        };
        archive.stored(&instance.part10()).await;
    }
    for (query, wanted) in [
        ("orderby=SliceThickness", "5 3 2 1 4"),
        ("orderby=-00180050", "1 2 5 3 4"),
        ("orderby=SliceThickness,InstanceNumber", "3 5 2 1 4"),
        ("orderby=-SliceThickness,-InstanceNumber", "1 2 5 3 4"),
        ("orderby=SeriesInstanceUID,SliceThickness", "2 4 5 3 1"),
        ("orderby=SliceThickness&limit=2&offset=1", "3 2"),
        ("orderby=SliceThickness&offset=5", ""),
        ("orderby=-SliceThickness&InstanceNumber=3", "3"),
    ] {
        let path = format!("/v2/studies/2.25.1/instances?includefield=SliceThickness,InstanceNumber&{query}");
        let answer = ask(&archive, &path).await;
        assert!([200, 204].contains(&answer.status), "{path}: {answer:?}");
        let items = if answer.status == 204 { json!([]) } else { answer.json() };
        let numbers =
            items.as_array().expect("an array").iter().map(|item| item["00200013"]["Value"][0].to_string());
        assert_eq!(numbers.collect::<Vec<_>>().join(" "), wanted, "{query}");
    }
    let unknown = ask(&archive, "/v2/studies/2.25.1/instances?orderby=SliceThickness").await;
    assert_eq!(unknown.status, 400, "it is not returned: {unknown:?}");
}

/// By the names that dashboards hold on to.
#[test]
fn the_search_view_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(&folder.path().join("data"), &[]);
    let headers = [("content-type", "application/dicom"), ("accept", JSON)];
    assert_eq!(process.ask("POST", "/v2/studies", &headers, &red_triangle().part10()).status, 200);
    assert_eq!(process.ask("GET", "/v2/studies?PatientName=*hap*", &[("accept", JSON)], b"").status, 200);
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok())
    };
    let began = Instant::now();
    loop {
        let text = process.get("/metrics").text().to_owned();
        let least = [
            ("kymo_search_rows_bytes", 1.0),
            ("kymo_search_index_bytes", 1.0),
            ("kymo_search_segments", 1.0),
            ("kymo_search_documents", 2.0),
            ("kymo_search_deleted_documents", 0.0),
            ("kymo_search_dirty_studies", 0.0),
            ("kymo_search_index_lag_milliseconds", 0.0),
            ("kymo_search_commit_seconds_count", 1.0),
            ("kymo_search_query_seconds_count{room=\"narrow\"}", 1.0),
            ("kymo_search_successor_lag_events", 0.0),
            ("kymo_search_kept_generation", 0.0),
        ];
        let told = least.iter().all(|(name, least)| value(&text, name).is_some_and(|told| told >= *least));
        if told && text.contains("kymo_search_queries_total{plan=") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Version 1 refuses what breaks an indexed attribute (§2.5.3). What is searched beyond those is none of them.
#[tokio::test]
async fn what_is_searched_in_addition_is_not_checked_as_indexed() {
    let archive = Served::start().await;
    let long = "x".repeat(40);
    let broken = |tag: u32, vr: &'static str, value: &str| red_triangle().element(tag, vr, value).part10();
    let refused = archive.post("/v1/studies").dicom(&broken(0x0008_0050, "SH", &long)).send().await;
    assert_eq!(refused.status, 409, "{refused:?}");
    for (tag, vr, value) in [
        (0x0008_0030, "TM", "99"),
        (0x0020_0010, "SH", &*long),
        (0x0020_0011, "IS", "one"),
        (0x0008_103E, "LO", &"x".repeat(80)),
        (0x0040_0245, "TM", "99"),
        (0x0020_0013, "IS", "1.5"),
    ] {
        let answer = archive.post("/v1/studies").dicom(&broken(tag, vr, value)).send().await;
        assert_eq!(answer.status, 200, "{tag:08X}: {answer:?}");
        assert_eq!(archive.delete(&format!("/v1/studies/{STUDY}")).await.status, 204);
    }
}

/// The fold's commits as far as the test lets a view see them.
struct Gated {
    archive: Archive,
    head: watch::Sender<Position>,
}

impl CommitSource for Gated {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        let commits = self.archive.commits(from).map_err(|error| error.to_string())?;
        let head = *self.head.borrow();
        Ok(commits.into_iter().filter(|commit| commit.position < head).collect())
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
}

/// After a start with empty views the fold and search both begin at 0. Search came to the head that the fold had
/// at that moment, took itself for live, and answered 204 about studies that were stored long before.
#[tokio::test]
async fn search_is_silent_until_it_has_passed_what_the_log_held_at_the_start() {
    let clock = Arc::new(SteppedClock::at(START));
    let ids = Arc::new(Ids::seeded(7));
    let (log, store) = (Arc::new(MemoryLog::new(clock.clone())), Arc::new(InMemory::new()));
    let open = || {
        let archive = Archive::open(archive::Parts {
            log: log.clone(),
            blobs: Blobs::over(store.clone()),
            lake: Lake { workspace: "ws".to_owned(), service: "svc".to_owned() },
            clock: clock.clone(),
            node: ids.next(START),
            ids: ids.clone(),
            state: Table::memory(),
            settings: archive::Settings::default(),
        });
        archive.expect("it opens")
    };
    let router = |archive: &Archive, search: &Search| {
        let settings = Settings { position_time: Duration::ZERO, ..Settings::default() };
        let codecs = Codecs::new(codecs());
        let health = Health::new(clock.clone());
        http::router(App::new(archive.clone(), search.clone(), codecs, health, None, settings))
    };
    let search = |archive: &Archive, head: &watch::Sender<Position>| {
        let source = Gated { archive: archive.clone(), head: head.clone() };
        Search::in_memory(Arc::new(source)).expect("there are threads")
    };
    let long = Duration::from_secs(60);
    let status = async |router: &Router, method: &str, path: &str, body: Vec<u8>| {
        let request = Request::builder().method(method).uri(path).header("accept", JSON);
        let request = request.header("content-type", "application/dicom").body(Body::from(body));
        let answer = router.clone().oneshot(request.expect("a request")).await.expect("it answers");
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };

    let first = open();
    first.begin_log(Uuid::from_u128(1)).await.expect("the log begins");
    let unseen = watch::Sender::new(Position(1));
    // Search sees none of it; the store takes effect all the same.
    let blind = search(&first, &unseen);
    blind.reached(Position(0), long).await.expect("the view comes to where it may");
    let blind = router(&first, &blind);
    assert_eq!(status(&blind, "POST", "/v2/studies", red_triangle().part10()).await, (503, true));
    assert_eq!(first.progress().sequence, 1);

    let again = open();
    again.reached(Position(2), long).await.expect("the fold goes on");
    assert_eq!(again.start_tail(), Position(3));
    let head = watch::Sender::new(Position(2));
    let search = search(&again, &head);
    search.reached(Position(1), long).await.expect("the view comes to where it may");
    let router = router(&again, &search);
    assert_eq!(status(&router, "GET", "/v2/studies", Vec::new()).await, (503, true));
    head.send_replace(Position(3));
    search.reached(Position(2), long).await.expect("the view goes on");
    assert_eq!(status(&router, "GET", "/v2/studies", Vec::new()).await, (200, false));
}

#[tokio::test]
async fn a_write_answered_is_a_write_found() {
    let archive = Served::start().await;
    for n in 0..20 {
        let study = format!("1.2.{n}");
        let file = Instance::new(&study, &format!("{study}.1"), &format!("{study}.1.1")).part10();
        archive.stored(&file).await;
        assert_eq!(found(&archive, &format!("/v2/studies?StudyInstanceUID={study}")).await.len(), 1);
        assert_eq!(archive.delete(&format!("/v2/studies/{study}")).await.status, 204);
        assert_eq!(ask(&archive, &format!("/v2/studies?StudyInstanceUID={study}")).await.status, 204);
    }
}
