//! What is accepted and what is sent for it (`studies.md` §3.1–3.3, §3.9).

use axum::http::Method;

use crate::kit::dicom::{
    DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, Family, IMPLICIT_LITTLE, Instance, families,
};
use crate::kit::served::Served;
use crate::transcode::{LOSSLESS, RLE};

/// Path of the only instance of a family.
fn path(number: usize) -> String {
    let study = format!("2.25.7001{number:03}");
    format!("/v2/studies/{study}/series/{study}.1/instances/{study}.1.1")
}

/// The rows of frames as they are stored, the default of each first.
const IMAGES: [(&str, &[&str]); 5] = [
    (
        "image/jpeg",
        &[
            "1.2.840.10008.1.2.4.70",
            "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.1.2.4.51",
            "1.2.840.10008.1.2.4.57",
        ],
    ),
    ("image/jls", &["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"]),
    ("image/jp2", &["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"]),
    ("image/dicom-rle", &["1.2.840.10008.1.2.5"]),
    ("image/jphc", &["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"]),
];

/// Whether frames that are stored so are encoded in this syntax. Other codestreams of the kit are made up.
fn is_transcoded(stored: &str, asked: &str) -> bool {
    let decodable = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, RLE].contains(&stored);
    decodable && stored != asked && LOSSLESS.contains(&asked)
}

/// One family of each syntax, with its number.
fn one_of_each() -> Vec<(usize, Family)> {
    let mut seen = Vec::new();
    let families = families().into_iter().enumerate();
    families
        .filter(|(_, family)| {
            let new = !seen.contains(&family.transfer_syntax) && !family.frames.is_empty();
            seen.extend(new.then(|| family.transfer_syntax.clone()));
            new
        })
        .collect()
}

/// A whole-slide client asks one media type after another and reads a 406 as "not offered".
#[tokio::test]
async fn frames_can_be_had_in_the_media_type_they_are_stored_in_and_406_tells_of_the_others() {
    let archive = Served::start().await;
    let mut offered = 0;
    for (number, family) in one_of_each() {
        archive.stored(&family.part10).await;
        let frame = format!("{}/frames/1", path(number));
        let stored = family.transfer_syntax.as_str();
        for (media, syntaxes) in IMAGES {
            for (index, syntax) in syntaxes.iter().enumerate() {
                let mut parameters = vec![format!("; transfer-syntax={syntax}")];
                if index == 0 {
                    parameters.push(String::new());
                }
                for parameter in parameters {
                    let transcoded = is_transcoded(stored, syntax);
                    let status = if stored == *syntax || transcoded { 200 } else { 406 };
                    let single = archive.get(&frame).accept(&format!("{media}{parameter}")).send().await;
                    assert_eq!(single.status, status, "{media}{parameter} of {stored}: {single:?}");
                    let several = format!("multipart/related; type=\"{media}\"{parameter}");
                    let several = archive.get(&frame).accept(&several).send().await;
                    assert_eq!(several.status, status, "multipart {media}{parameter} of {stored}");
                    if status == 406 {
                        continue;
                    }
                    let kind = format!("{media}; transfer-syntax={syntax}");
                    if transcoded {
                        assert_eq!(several.parts(), [(kind, single.bytes().to_vec())]);
                        continue;
                    }
                    offered += 1;
                    assert_eq!(single.header("content-type"), Some(kind.as_str()));
                    assert!(single.bytes() == family.frames[0]);
                    let outer = several.header("content-type").expect("a type");
                    assert!(outer.starts_with(&format!("multipart/related; type=\"{media}\"; boundary=")));
                    assert_eq!(several.parts(), [(kind, family.frames[0].clone())]);
                }
            }
        }
        for never in
            ["video/mp4", "multipart/related; type=\"video/mp4\"", "image/gif", "image/*", "application/*"]
        {
            assert_eq!(archive.get(&frame).accept(never).send().await.status, 406, "{never}");
        }
    }
    // Each syntax by its name, and five by default.
    assert_eq!(offered, 12 + 5);
}

#[tokio::test]
async fn files_can_be_had_in_the_syntax_they_are_stored_in_by_name() {
    let archive = Served::start().await;
    let each = one_of_each();
    for (number, family) in &each {
        archive.stored(&family.part10).await;
        for (_, other) in &each {
            let (stored, asked) = (family.transfer_syntax.as_str(), other.transfer_syntax.as_str());
            // Explicit VR Little Endian is more than a name: see `reencode`.
            if asked == EXPLICIT_LITTLE || asked.starts_with("1.2.826.") {
                continue;
            }
            let status = if asked == stored || is_transcoded(stored, asked) { 200 } else { 406 };
            let single = format!("application/dicom; transfer-syntax={asked}");
            let answer = archive.get(&path(*number)).accept(&single).send().await;
            assert_eq!(answer.status, status, "{asked} of {stored}: {answer:?}");
            let study = path(*number).split("/series/").next().expect("a study").to_owned();
            let several = format!("multipart/related; type=\"application/dicom\"; transfer-syntax={asked}");
            let parts = archive.get(&study).accept(&several).send().await;
            assert_eq!(parts.status, status, "{asked} of {stored}");
            if asked == stored {
                assert!(answer.bytes() == family.part10);
                assert_eq!(parts.parts(), [(single, family.part10.clone())]);
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_stored_so_gives_way_to_the_next_entry() {
    let archive = Served::start().await;
    let each = one_of_each();
    let (number, family) = &each[0];
    assert_eq!(family.transfer_syntax, EXPLICIT_LITTLE);
    archive.stored(&family.part10).await;
    let frame = format!("{}/frames/1", path(*number));
    let raw = "multipart/related; type=application/octet-stream";
    for first in ["image/jls", "multipart/related; type=image/jpeg", "image/jphc", "image/dicom-rle;q=0.9"] {
        let answer = archive.get(&frame).accept(&format!("{first}, {raw};q=0.5")).send().await;
        assert_eq!(answer.status, 200, "{first}");
        assert!(answer.parts()[0].0.starts_with("application/octet-stream"));
    }
    // A type of the reference's own table is chosen, whatever is stored.
    let answer = archive.get(&frame).accept(&format!("multipart/related; type=image/jp2, {raw};q=0.5"));
    assert_eq!(answer.send().await.parts()[0].0, "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90");
}

#[tokio::test]
async fn an_unacceptable_accept_shows_before_an_unknown_resource_on_every_level() {
    let archive = Served::start().await;
    archive.stored(&Instance::new("1.2", "1.3", "1.4").part10()).await;
    let any_file = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    for (path, good) in [
        ("/v2/studies/9", any_file),
        ("/v2/studies/1.2/series/9", any_file),
        ("/v2/studies/1.2/series/1.3/instances/9", any_file),
        ("/v2/studies/1.2/series/1.3/instances/9/frames/1", "*/*"),
        ("/v2/studies/9/metadata", "application/dicom+json"),
        ("/v2/studies/1.2/series/9/metadata", "application/dicom+json"),
        ("/v2/studies/1.2/series/1.3/instances/9/metadata", "application/dicom+json"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            for (accept, status) in [("image/png", 406), ("", 406), (good, 404)] {
                let answer = archive.request(method.clone(), path).accept(accept).send().await;
                assert_eq!(answer.status, status, "{method} {path} {accept:?}: {answer:?}");
            }
            assert_eq!(archive.request(method.clone(), path).send().await.status, 406, "{path}: none");
        }
    }
}

#[tokio::test]
async fn an_ill_formed_uid_shows_before_accept_but_behind_it_on_metadata() {
    let archive = Served::start().await;
    let long = "1".repeat(65);
    for bad in ["1.2x", "1.2.", "a", "..%2F1", "%20", long.as_str()] {
        for (path, status) in [
            (format!("/v2/studies/{bad}"), 400),
            (format!("/v2/studies/1.2/series/{bad}"), 400),
            (format!("/v2/studies/1.2/series/1.3/instances/{bad}"), 400),
            (format!("/v2/studies/1.2/series/1.3/instances/{bad}/frames/1"), 400),
            (format!("/v2/studies/{bad}/metadata"), 406),
            (format!("/v2/studies/1.2/series/{bad}/metadata"), 406),
            (format!("/v2/studies/1.2/series/1.3/instances/{bad}/metadata"), 406),
        ] {
            let answer = archive.get(&path).accept("image/png").send().await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(archive.get(&path).accept("*/*").send().await.status, 400, "{path}");
        }
    }
    for padded in ["1.2%20", "1.2%20%20%20"] {
        assert_eq!(archive.get(&format!("/v2/studies/{padded}")).accept("*/*").send().await.status, 404);
    }
}

#[tokio::test]
async fn a_multipart_body_has_the_form_of_the_contract() {
    let archive = Served::start().await;
    let file = Instance::new("1.2", "1.3", "1.4").part10();
    archive.stored(&file).await;
    for path in ["/v2/studies/1.2", "/v2/studies/1.2/series/1.3", "/v2/studies/1.2/series/1.3/instances/1.4"]
    {
        let answer = archive.get(path).accept("*/*").send().await;
        let kind = answer.header("content-type").expect("a type").to_owned();
        let (before, boundary) = kind.split_once("boundary=").expect("a boundary");
        assert_eq!(before, "multipart/related; type=\"application/dicom\"; ");
        assert!(boundary.bytes().all(|byte| byte.is_ascii_alphanumeric()), "an unquoted token: {boundary}");
        let expected = [
            format!(
                "--{boundary}\r\nContent-Type: application/dicom; transfer-syntax={EXPLICIT_LITTLE}\r\n\r\n"
            )
            .as_bytes(),
            &file,
            format!("\r\n--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        assert!(answer.bytes() == expected, "{path}");
        let again = archive.get(path).accept("*/*").send().await;
        assert_ne!(again.header("content-type"), Some(kind.as_str()), "each answer has its own boundary");
    }
    let single =
        archive.get("/v2/studies/1.2/series/1.3/instances/1.4").accept("application/dicom").send().await;
    let kind = format!("application/dicom; transfer-syntax={EXPLICIT_LITTLE}");
    assert_eq!((single.header("content-type"), single.bytes()), (Some(kind.as_str()), file.as_slice()));
}
