//! Delete (`studies.md` §5).

use serde_json::json;

use crate::kit::dicom::{Instance, SERIES, STUDY, blue_circle, green_square, red_triangle};
use crate::kit::served::Served;

#[tokio::test]
async fn deletes_reach_as_far_as_their_path_and_no_further() {
    let archive = Served::start().await;
    for file in [red_triangle(), green_square(), blue_circle()] {
        archive.stored(&file.part10()).await;
    }
    let red = archive.feed().await[0]["sopInstanceUid"].as_str().expect("a UID").to_owned();
    let study = format!("/v2/studies/{STUDY}");
    let instance = format!("{study}/series/{SERIES}/instances/{red}");
    let gone = archive.delete(&instance).await;
    assert_eq!((gone.status, gone.bytes()), (204, &b""[..]));
    let again = archive.delete(&instance).await;
    assert_eq!(again.status, 404);
    assert!(again.header("kymo-position").is_some());
    assert_eq!(archive.delete(&format!("{study}/series/{SERIES}")).await.status, 204);
    assert_eq!(archive.delete(&format!("{study}/series/{SERIES}")).await.status, 404);
    assert_eq!(archive.delete(&study).await.status, 204);
    assert_eq!(archive.delete(&study).await.status, 404);
    assert_eq!(archive.get(&format!("{study}/metadata")).accept("*/*").send().await.status, 404);

    let feed = archive.feed().await;
    let actions: Vec<_> = feed.iter().map(|row| row["action"].as_str().expect("an action")).collect();
    assert_eq!(actions, ["Create", "Create", "Create", "Delete", "Delete", "Delete"]);
    assert!(feed.iter().all(|row| row["state"] == json!("Deleted")));
    for row in &feed {
        let dead = row["action"] == json!("Create");
        assert_eq!(row.get("filePath").is_some(), dead, "{row}");
        assert_eq!(row.get("metadata"), None, "{row}");
    }
}

#[tokio::test]
async fn a_deleted_instance_can_come_back_at_once() {
    let archive = Served::start().await;
    let file = Instance::new("1.2", "1.2.1", "1.2.1.1").part10();
    archive.stored(&file).await;
    assert_eq!(archive.delete("/v2/studies/1.2").await.status, 204);
    archive.stored(&file).await;
    let states: Vec<_> = archive.feed().await.iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, [json!("Replaced"), json!("Replaced"), json!("Current")]);
    for (path, status) in [
        ("/v2/studies/1.2x", 400),
        ("/v2/studies/1.3", 404),
        ("/v2/studies/1.2/series/1.3", 404),
        ("/v2/partitions/a/studies/1.2", 400),
        ("/v2/studies", 405),
    ] {
        assert_eq!(archive.delete(path).await.status, status, "{path}");
    }
}
