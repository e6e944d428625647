//! The original version, and what tells one version of metadata from another (`studies.md` §3.6.3, §3.8).

use axum::http::Method;

use crate::kit::dicom::{Image, Instance};
use crate::kit::served::{Answer, Served};

const STUDY: &str = "/v2/studies/1.2";
const SERIES: &str = "/v2/studies/1.2/series/1.3";
const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const ANY_FILE: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

fn instance(sop: &str) -> Instance {
    let image = Image { rows: 3, columns: 5, samples: 1, bits: 8, photometric: "MONOCHROME2" };
    Instance::new("1.2", "1.3", sop).frames(image, &[vec![7; 15]])
}

#[tokio::test]
async fn an_instance_never_updated_yields_its_only_version() {
    let archive = Served::start().await;
    let file = instance("1.4").part10();
    archive.stored(&file).await;
    for value in ["true", "TRUE", "True", "false", "", "yes", "1"] {
        for path in [STUDY, SERIES, INSTANCE] {
            let asked = archive.get(path).accept(ANY_FILE).header("msdicom-request-original", value);
            let answer = asked.send().await;
            assert_eq!(answer.status, 200, "{path} {value:?}");
            assert!(answer.parts()[0].1 == file);
            let asked = archive.get(&format!("{path}/metadata")).accept("*/*");
            let answer = asked.header("msdicom-request-original", value).send().await;
            assert_eq!(
                (answer.status, answer.json()[0]["00080018"]["Value"][0].as_str()),
                (200, Some("1.4"))
            );
        }
        // Together with another transfer syntax, too.
        let asked =
            archive.get(INSTANCE).accept("application/dicom").header("msdicom-request-original", value);
        assert!(asked.send().await.bytes() == file);
    }
}

async fn tag(archive: &Served, path: &str) -> String {
    let answer = archive.get(&format!("{path}/metadata")).accept("*/*").send().await;
    assert_eq!(answer.status, 200, "{path}");
    answer.header("etag").expect("a tag").to_owned()
}

async fn known(archive: &Served, path: &str, tags: &str) -> Answer {
    let path = format!("{path}/metadata");
    archive.get(&path).accept("*/*").header("if-none-match", tags).send().await
}

#[tokio::test]
async fn a_metadata_tag_is_version_and_count_and_changes_with_everything_beneath() {
    let archive = Served::start().await;
    archive.stored(&instance("1.4").part10()).await;
    archive.stored(&instance("1.5").part10()).await;
    archive.stored(&Instance::new("1.2", "1.9", "1.6").part10()).await;
    assert_eq!(tag(&archive, STUDY).await, "\"3-3\"");
    assert_eq!(tag(&archive, SERIES).await, "\"2-2\"");
    assert_eq!(tag(&archive, INSTANCE).await, "\"1\"");
    // An upsert.
    assert_eq!(archive.put("/v2/studies").dicom(&instance("1.4").part10()).send().await.status, 200);
    assert_eq!(tag(&archive, STUDY).await, "\"4-3\"");
    assert_eq!(tag(&archive, SERIES).await, "\"4-2\"");
    assert_eq!(tag(&archive, INSTANCE).await, "\"4\"");
    assert_eq!(tag(&archive, "/v2/studies/1.2/series/1.9").await, "\"3-1\"", "nothing changed beneath it");
    // A deletion, of the highest version even.
    assert_eq!(archive.delete(INSTANCE).await.status, 204);
    assert_eq!(tag(&archive, STUDY).await, "\"3-2\"");
    assert_eq!(tag(&archive, SERIES).await, "\"2-1\"");
    // An addition.
    archive.stored(&instance("1.7").part10()).await;
    assert_ne!(tag(&archive, STUDY).await, "\"3-3\"");
    assert_eq!(known(&archive, STUDY, "\"3-3\"").await.status, 200);
}

#[tokio::test]
async fn if_none_match_is_understood_in_every_form() {
    let archive = Served::start().await;
    archive.stored(&instance("1.4").part10()).await;
    for (path, tag) in [(STUDY, "1-1"), (SERIES, "1-1"), (INSTANCE, "1")] {
        for form in [
            format!("\"{tag}\""),
            tag.to_owned(),
            format!("W/\"{tag}\""),
            format!("\"x\", \"{tag}\""),
            format!("W/\"y\",W/\"{tag}\""),
            "*".to_owned(),
        ] {
            let answer = known(&archive, path, &form).await;
            assert_eq!((answer.status, answer.bytes()), (304, &b""[..]), "{path} {form}");
            assert_eq!(answer.header("etag"), Some(format!("\"{tag}\"").as_str()), "repeated on 304");
            let head = archive.request(Method::HEAD, &format!("{path}/metadata")).accept("*/*");
            assert_eq!(head.header("if-none-match", &form).send().await.status, 304);
        }
        for form in ["\"2-1\"", "\"\"", "1-1-1", "\"1-2\""] {
            assert_eq!(known(&archive, path, form).await.status, 200, "{path} {form}");
        }
    }
    for unknown in ["/v2/studies/9", "/v2/studies/1.2/series/9", "/v2/studies/1.2/series/1.3/instances/9"] {
        for form in ["*", "\"1-1\"", "\"1\""] {
            assert_eq!(known(&archive, unknown, form).await.status, 404, "{unknown} {form}");
        }
    }
}
