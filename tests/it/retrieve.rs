//! Retrieve of files, metadata and frames (`studies.md` §3; `bulk-update-export.md` §4.2).

use axum::http::Method;
use serde_json::Value;

use crate::kit::dicom::{
    EXPLICIT_LITTLE, GE_IMPLICIT, Instance, SERIES, STUDY, blue_circle, families, green_square, red_triangle,
};
use crate::kit::served::Served;

const ANY_FILES: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
const ANY_FRAMES: &str = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";

/// The three instances of the tutorial, stored.
async fn shapes() -> Served {
    let archive = Served::start().await;
    let files = [red_triangle().part10(), green_square().part10(), blue_circle().part10()];
    let answer = archive.post("/v2/studies").multipart(&[&files[0], &files[1], &files[2]]).send().await;
    assert_eq!(answer.status, 200);
    archive
}

fn sop(archive_answer: &Value) -> String {
    archive_answer["00080018"]["Value"][0].as_str().expect("a UID").to_owned()
}

#[tokio::test]
async fn files_come_back_byte_for_byte() {
    let archive = shapes().await;
    let study = archive.get(&format!("/v2/studies/{STUDY}")).accept(ANY_FILES).send().await;
    assert_eq!(study.status, 200);
    let kind = study.header("content-type").expect("a type");
    assert!(kind.starts_with("multipart/related; type=\"application/dicom\"; boundary="), "{kind}");
    let mut parts: Vec<_> = study
        .parts()
        .into_iter()
        .map(|(kind, bytes)| {
            assert_eq!(kind, format!("application/dicom; transfer-syntax={EXPLICIT_LITTLE}"));
            bytes
        })
        .collect();
    let mut expected = vec![red_triangle().part10(), green_square().part10(), blue_circle().part10()];
    parts.sort();
    expected.sort();
    assert!(parts == expected);

    let series = archive.get(&format!("/v2/studies/{STUDY}/series/{SERIES}")).accept("*/*").send().await;
    assert_eq!((series.status, series.parts().len()), (200, 2));

    let metadata = archive.get(&format!("/v2/studies/{STUDY}/series/{SERIES}/metadata"));
    let metadata = metadata.accept("application/dicom+json").send().await.json();
    let instance = format!("/v2/studies/{STUDY}/series/{SERIES}/instances/{}", sop(&metadata[0]));
    let single = archive.get(&instance).accept("application/dicom; transfer-syntax=*").send().await;
    assert_eq!(single.status, 200);
    let kind = format!("application/dicom; transfer-syntax={EXPLICIT_LITTLE}");
    assert_eq!(single.header("content-type"), Some(kind.as_str()));
    assert_eq!(single.header("content-length"), Some(single.bytes().len().to_string().as_str()));
    assert!(expected.iter().any(|file| file == single.bytes()));
    assert_eq!(single.header("cache-control"), Some("private, no-cache"));
    for accept in ["application/dicom", "*/*"] {
        let sent = archive.get(&instance).accept(accept).send().await;
        let tag = sent.header("etag").expect("an entity tag").to_owned();
        let known = archive.get(&instance).accept(accept).header("if-none-match", &tag).send().await;
        assert_eq!((known.status, known.header("etag")), (304, Some(tag.as_str())), "{accept}");
    }
}

#[tokio::test]
async fn several_instances_in_a_named_syntax_are_served_when_all_are_stored_so() {
    let archive = shapes().await;
    let path = format!("/v2/studies/{STUDY}");
    let plain = "multipart/related; type=\"application/dicom\"";
    assert_eq!(archive.get(&path).accept(plain).send().await.status, 200);
    let private = Instance::new(STUDY, SERIES, "1.2.3.4.5").syntax(GE_IMPLICIT).part10();
    archive.stored(&private).await;
    assert_eq!(archive.get(&path).accept(plain).send().await.status, 406);
    assert_eq!(archive.get(&path).accept(ANY_FILES).send().await.parts().len(), 4);
    let instance = format!("{path}/series/{SERIES}/instances/1.2.3.4.5");
    assert_eq!(archive.get(&instance).accept("application/dicom").send().await.status, 406);
}

#[tokio::test]
async fn more_instances_than_a_page_come_complete() {
    let archive = Served::start().await;
    let files: Vec<_> = (0..300)
        .map(|n| Instance::new("1.2", &format!("1.2.{}", n % 7), &format!("1.2.9.{n}")).part10())
        .collect();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    assert_eq!(archive.post("/v2/studies").multipart(&files).send().await.status, 200);
    let parts = archive.get("/v2/studies/1.2").accept(ANY_FILES).send().await.parts();
    let mut got: Vec<&[u8]> = parts.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let mut wanted = files.clone();
    got.sort_unstable();
    wanted.sort_unstable();
    assert!(got == wanted);
    let metadata = archive.get("/v2/studies/1.2/metadata").accept("application/dicom+json").send().await;
    assert_eq!(metadata.json().as_array().map(Vec::len), Some(300));
    assert_eq!(metadata.header("etag"), Some("\"300-300\""));
}

#[tokio::test]
async fn checks_are_made_in_the_order_of_the_contract() {
    let archive = shapes().await;
    let study = format!("/v2/studies/{STUDY}");
    for (path, accept, status) in [
        ("/v2/studies/1.2.3".to_owned(), ANY_FILES, 404),
        ("/v2/studies/1.2.3".to_owned(), "image/png", 406),
        ("/v2/studies/1.2x".to_owned(), "image/png", 400),
        ("/v2/studies/1.2x/metadata".to_owned(), "image/png", 406),
        ("/v2/studies/1.2x/metadata".to_owned(), "*/*", 400),
        ("/v2/studies/1.2.3/metadata".to_owned(), "*/*", 404),
        (study.clone(), "application/dicom", 406),
        (format!("{study}/metadata"), "application/json", 406),
        (format!("/v2/partitions/p/studies/{STUDY}"), ANY_FILES, 400),
        (format!("{study}/series/1.2.3"), ANY_FILES, 404),
        (format!("{study}/series/{SERIES}/instances/1/frames/0"), "image/png", 400),
        (format!("{study}/series/{SERIES}/instances/1/frames/1,x"), ANY_FRAMES, 400),
        (format!("{study}/series/{SERIES}/instances/1/frames/1"), "image/png", 406),
        (format!("{study}/series/{SERIES}/instances/1/frames/1"), ANY_FRAMES, 404),
        (format!("{study}/series/{SERIES}/instances/1/frames/1,2"), "application/octet-stream", 400),
        (format!("{study}/rendered"), "image/jpeg", 404),
    ] {
        let answer = archive.get(&path).accept(accept).send().await;
        assert_eq!(answer.status, status, "{path} {accept}: {answer:?}");
    }
    assert_eq!(archive.get(&study).send().await.status, 406, "no Accept");
    let padded = format!("/v2/Studies/{STUDY}%20%20");
    assert_eq!(archive.get(&padded).accept(ANY_FILES).send().await.status, 200);
}

#[tokio::test]
async fn metadata_are_tagged_and_not_sent_twice() {
    let archive = shapes().await;
    let path = format!("/v2/studies/{STUDY}/metadata");
    let first = archive.get(&path).accept("application/dicom+json").send().await;
    assert_eq!((first.status, first.header("etag")), (200, Some("\"3-3\"")));
    assert_eq!(first.json().as_array().map(Vec::len), Some(3));
    let known = archive.get(&path).accept("*/*").header("if-none-match", "W/\"3-3\"").send().await;
    assert_eq!((known.status, known.header("etag"), known.bytes()), (304, Some("\"3-3\""), &b""[..]));

    let red = format!("/v2/studies/{STUDY}/series/{SERIES}");
    let one = archive.get(&format!("{red}/metadata")).accept("*/*").send().await;
    assert_eq!(one.header("etag"), Some("\"2-2\""));
    assert_eq!(archive.put("/v2/studies").dicom(&red_triangle().part10()).send().await.status, 200);
    let after = archive.get(&path).accept("*/*").header("if-none-match", "\"3-3\"").send().await;
    assert_eq!((after.status, after.header("etag")), (200, Some("\"4-3\"")));
    assert_eq!(
        archive
            .get("/v2/studies/1.2.3/metadata")
            .accept("*/*")
            .header("if-none-match", "*")
            .send()
            .await
            .status,
        404
    );
}

/// Path of the only instance of a family.
fn path(number: usize) -> String {
    let study = format!("2.25.7001{number:03}");
    format!("/v2/studies/{study}/series/{study}.1/instances/{study}.1.1")
}

#[tokio::test]
async fn frames_of_every_family_come_as_stored() {
    let archive = Served::start().await;
    for (number, family) in families().iter().enumerate() {
        archive.stored(&family.part10).await;
        let path = path(number);
        let count = family.frames.len();
        let beyond =
            archive.get(&format!("{path}/frames/{}", count.max(30) + 1)).accept(ANY_FRAMES).send().await;
        assert_eq!(beyond.status, 404, "{}", family.name);
        if count == 0 {
            continue;
        }
        // Backwards, and the last one twice.
        let order: Vec<usize> = (1..=count).rev().chain([count]).collect();
        let list = order.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
        let answer = archive.get(&format!("{path}/frames/{list}")).accept(ANY_FRAMES).send().await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", family.name);
        let parts = answer.parts();
        assert_eq!(parts.len(), order.len(), "{}", family.name);
        for ((kind, bytes), wanted) in parts.iter().zip(&order) {
            assert!(*bytes == family.frames[wanted - 1], "{} frame {wanted}", family.name);
            let delivered = match family.transfer_syntax.as_str() {
                "1.2.840.10008.1.2.1.99" => EXPLICIT_LITTLE,
                stored => stored,
            };
            assert_eq!(*kind, format!("application/octet-stream; transfer-syntax={delivered}"));
        }
        let single =
            archive.get(&format!("{path}/frames/1")).accept("application/octet-stream; transfer-syntax=*");
        let single = single.send().await;
        assert_eq!(single.status, 200, "{}", family.name);
        assert!(single.bytes() == family.frames[0], "{}", family.name);
        assert_eq!(single.header("content-length"), Some(family.frames[0].len().to_string().as_str()));
    }
}

#[tokio::test]
async fn frames_that_cannot_be_decoded_are_offered_only_in_what_they_are_stored_in() {
    let archive = Served::start().await;
    for (number, family) in families().iter().enumerate().filter(|(_, family)| !family.frames.is_empty()) {
        archive.stored(&family.part10).await;
        let frame = format!("{}/frames/1", path(number));
        let native = [EXPLICIT_LITTLE, "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];
        let syntax = family.transfer_syntax.as_str();
        let plain = if native.contains(&syntax) || syntax == crate::transcode::RLE { 200 } else { 406 };
        assert_eq!(
            archive.get(&frame).accept("application/octet-stream").send().await.status,
            plain,
            "{}",
            family.name
        );
        let jp2 = archive.get(&frame).accept("multipart/related; type=\"image/jp2\"").send().await;
        let stored_so = family.transfer_syntax == "1.2.840.10008.1.2.4.90";
        let offered = stored_so || (plain == 200 && !family.name.contains("1 bit"));
        assert_eq!(jp2.status, if offered { 200 } else { 406 }, "{}", family.name);
        if offered {
            assert_eq!(jp2.parts()[0].0, "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90");
        }
        let jpeg = archive.get(&frame).accept("multipart/related; type=\"image/jpeg\"").send().await;
        let stored_so = family.transfer_syntax == "1.2.840.10008.1.2.4.70";
        assert_eq!(jpeg.status, if stored_so { 200 } else { 406 }, "{}", family.name);
    }
}

#[tokio::test]
async fn what_happened_behind_our_back_is_424() {
    for (steal, text) in [(true, "BlobNotFound"), (false, "ConditionNotMet")] {
        let archive = shapes().await;
        let file = archive.feed().await[0]["filePath"].as_str().expect("a path").to_owned();
        if steal {
            archive.steal(&file).await
        } else {
            archive.tamper(&file).await
        }
        let metadata = format!("/v2/studies/{STUDY}/metadata");
        let metadata = archive.get(&metadata).accept("*/*").send().await;
        assert_eq!(metadata.status, 200, "metadata are not in the file");
        let row = &archive.feed().await[0];
        let uid = |name: &str| row[name].as_str().expect("a UID").to_owned();
        let (series, sop) = (uid("seriesInstanceUid"), uid("sopInstanceUid"));
        let path = format!("/v2/studies/{STUDY}/series/{series}/instances/{sop}");
        for (path, accept) in [
            (path.clone(), "application/dicom; transfer-syntax=*"),
            (path.clone(), ANY_FILES),
            (format!("{path}/frames/1"), ANY_FRAMES),
        ] {
            let answer = archive.get(&path).accept(accept).send().await;
            assert_eq!(answer.status, 424, "{path} {accept}: {answer:?}");
            assert!(answer.text().contains(text) && !answer.text().contains("AHDS"), "{answer:?}");
        }
        let study = archive.get(&format!("/v2/studies/{STUDY}")).accept(ANY_FILES).send().await;
        assert!(study.status == 424 || study.body.is_err(), "never wrong bytes: {study:?}");
        assert_eq!(archive.delete(&path).await.status, 204);
    }
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let archive = shapes().await;
    let study = format!("/v2/studies/{STUDY}");
    for (path, accept) in [
        (study.clone(), ANY_FILES),
        (format!("{study}/metadata"), "*/*"),
        (format!("{study}/metadata"), "image/png"),
        ("/v2/studies/1.2".to_owned(), ANY_FILES),
        ("/v2/changefeed".to_owned(), "*/*"),
    ] {
        let got = archive.get(&path).accept(accept).send().await;
        let head = archive.request(Method::HEAD, &path).accept(accept).send().await;
        assert_eq!((head.status, head.bytes()), (got.status, &b""[..]), "{path}");
        assert_eq!(head.header("etag"), got.header("etag"), "{path}");
        assert_eq!(head.header("content-length"), got.header("content-length"), "{path}");
    }
}
