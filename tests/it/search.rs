//! Search over HTTP (`studies.md` §4, §9; `real-clients.md`).

use axum::http::Method;
use serde_json::{Value, json};

use crate::kit::dicom::{Instance, SERIES, STUDY, blue_circle, green_square, red_triangle};
use crate::kit::served::{Answer, Served};

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
