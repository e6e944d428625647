//! Single frames and lists of them (`studies.md` §3.3, §3.5).

use axum::http::Method;

use super::{
    GREY8, GREY16, IMAGES, INSTANCE, JPEG_2000, JPEG_LS, LOSSLESS, RLE, described, in_rle, pictures, rle,
    unpacked,
};
use crate::kit::dicom::{
    DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Image, Instance, Offsets, PIXEL_DATA, Value,
};
use crate::kit::served::{Answer, Served};

const RAW: &str = "application/octet-stream";
const RAWS: &str = "multipart/related; type=\"application/octet-stream\"";

async fn put(archive: &Served, file: &Instance) {
    let answer = archive.put("/v2/studies").dicom(&file.part10()).send().await;
    assert!([200, 202].contains(&answer.status), "{answer:?}");
}

async fn frame(archive: &Served, list: &str, accept: &str) -> Answer {
    archive.get(&format!("{INSTANCE}/frames/{list}")).accept(accept).send().await
}

/// Media type of a lossless encoding.
fn media(syntax: &str) -> &'static str {
    match syntax {
        JPEG_2000 => "image/jp2",
        JPEG_LS => "image/jls",
        RLE => "image/dicom-rle",
        other => panic!("{other} is no such encoding"),
    }
}

#[tokio::test]
async fn frames_in_rle_come_as_samples_and_back() {
    let archive = Served::start().await;
    for (image, count) in IMAGES {
        let frames = pictures(image, count);
        put(&archive, &in_rle(described("1.4"), image, &frames, Offsets::Basic)).await;
        for (index, wanted) in frames.iter().enumerate() {
            let got = frame(&archive, &(index + 1).to_string(), RAW).await;
            assert_eq!(got.status, 200, "{image:?}: {got:?}");
            assert!(got.bytes() == wanted, "{image:?} frame {}", index + 1);
            let kind = format!("{RAW}; transfer-syntax={EXPLICIT_LITTLE}");
            assert_eq!(got.header("content-type"), Some(kind.as_str()));
            assert_eq!(got.header("content-length"), Some(wanted.len().to_string().as_str()));
        }
        for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED] {
            put(&archive, &described("1.4").frames(image, &frames).syntax(syntax)).await;
            for (index, wanted) in frames.iter().enumerate() {
                let got = frame(&archive, &(index + 1).to_string(), "image/dicom-rle").await;
                assert_eq!(got.status, 200, "{image:?} {syntax}: {got:?}");
                assert!(unpacked(image, got.bytes()) == *wanted, "{image:?} {syntax}");
                assert_eq!(
                    got.header("content-type"),
                    Some("image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5")
                );
            }
        }
    }
}

#[tokio::test]
async fn a_list_of_frames_is_transcoded_in_its_order() {
    let archive = Served::start().await;
    let frames = pictures(GREY16, 9);
    put(&archive, &in_rle(described("1.4"), GREY16, &frames, Offsets::Absent)).await;
    let order = [9, 1, 1, 2, 8, 3, 7, 4, 6, 5];
    let list = order.map(|number: usize| number.to_string()).join(",");
    let parts = frame(&archive, &list, RAWS).await.parts();
    assert_eq!(parts.len(), order.len());
    for ((kind, bytes), number) in parts.iter().zip(order) {
        assert_eq!(*kind, format!("{RAW}; transfer-syntax={EXPLICIT_LITTLE}"));
        assert!(*bytes == frames[number - 1], "frame {number}");
    }
    // Of a deflated file in order, and to and fro.
    put(&archive, &described("1.4").frames(GREY16, &frames).syntax(DEFLATED)).await;
    let rle = "multipart/related; type=\"image/dicom-rle\"";
    for ((_, bytes), number) in frame(&archive, &list, rle).await.parts().iter().zip(order) {
        assert!(unpacked(GREY16, bytes) == frames[number - 1], "frame {number}");
    }
    let to_and_fro = "2,1,".repeat(17) + "1";
    assert_eq!(frame(&archive, &to_and_fro, rle).await.status, 400);
}

#[tokio::test]
async fn every_lossless_encoding_can_be_asked_for_by_media_type_and_by_name() {
    let archive = Served::start().await;
    put(&archive, &described("1.4").frames(GREY16, &pictures(GREY16, 2))).await;
    for syntax in LOSSLESS {
        let media = media(syntax);
        for parameter in [String::new(), format!("; transfer-syntax={syntax}")] {
            let kind = format!("{media}; transfer-syntax={syntax}");
            let single = frame(&archive, "2", &format!("{media}{parameter}")).await;
            assert_eq!(
                (single.status, single.header("content-type")),
                (200, Some(kind.as_str())),
                "{single:?}"
            );
            let accept = format!("multipart/related; type=\"{media}\"{parameter}");
            let several = frame(&archive, "2,1", &accept).await;
            let outer = several.header("content-type").expect("a type").to_owned();
            assert!(outer.starts_with(&format!("multipart/related; type=\"{media}\"; boundary=")), "{outer}");
            let parts = several.parts();
            assert_eq!(parts.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), [&kind, &kind]);
            assert!(parts[0].1 == single.bytes(), "the same frame alone and in a list");
        }
    }
}

/// What is stored so, and what the reference offers, goes before what is only added.
#[tokio::test]
async fn an_encoding_that_is_added_counts_only_where_nothing_else_is_left() {
    let archive = Served::start().await;
    put(&archive, &described("1.4").frames(GREY16, &pictures(GREY16, 1))).await;
    let kind = |answer: Answer| answer.parts()[0].0.split(';').next().map(str::to_owned);
    let rle = "multipart/related; type=image/dicom-rle";
    assert_eq!(kind(frame(&archive, "1", &format!("{rle}, {RAWS};q=0.1")).await).as_deref(), Some(RAW));
    let never = "multipart/related; type=image/jpeg";
    assert_eq!(
        kind(frame(&archive, "1", &format!("{never}, {rle};q=0.1")).await).as_deref(),
        Some("image/dicom-rle")
    );
    put(&archive, &in_rle(described("1.4"), GREY16, &pictures(GREY16, 1), Offsets::Absent)).await;
    assert_eq!(
        kind(frame(&archive, "1", &format!("{RAWS};q=0.5, {rle};q=0.9")).await).as_deref(),
        Some("image/dicom-rle")
    );
}

/// A slide viewer takes 406 for "not offered" and goes on; anything else stops it.
#[tokio::test]
async fn a_lossy_frame_of_lossless_pixels_is_406() {
    let archive = Served::start().await;
    let frames = pictures(GREY8, 1);
    for file in
        [described("1.4").frames(GREY8, &frames), in_rle(described("1.4"), GREY8, &frames, Offsets::Absent)]
    {
        put(&archive, &file).await;
        for never in [
            "image/jpeg",
            "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
            "image/jls; transfer-syntax=1.2.840.10008.1.2.4.81",
            "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91",
            "image/jphc",
        ] {
            let (media, parameter) = never.split_once(';').unwrap_or((never, ""));
            let several = format!("multipart/related; type=\"{media}\";{parameter}");
            for accept in [never, several.trim_end_matches(';')] {
                let answer = frame(&archive, "1", accept).await;
                assert_eq!(answer.status, 406, "{accept}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_corrupt_frame_is_406_and_in_a_list_breaks_the_answer_off() {
    let archive = Served::start().await;
    let frames = pictures(GREY8, 2);
    let fragments = [vec![rle(GREY8, &frames[0])], vec![vec![255; 80]], vec![rle(GREY8, &frames[1])]];
    put(&archive, &described("1.4").fragments(GREY8, &fragments, Offsets::Basic).syntax(RLE)).await;
    for (list, status) in [("1", 200), ("2", 406), ("2,1", 406), ("3", 200), ("4", 404)] {
        assert_eq!(frame(&archive, list, RAWS).await.status, status, "{list}");
    }
    let broken = frame(&archive, "1,3,2,1", RAWS).await;
    assert!(broken.status == 200 && broken.body.is_err(), "{broken:?}");
    let stored = frame(&archive, "1,3,2,1", &format!("{RAWS}; transfer-syntax=*")).await;
    assert_eq!(stored.parts().len(), 4, "as stored they are what they are");
}

#[tokio::test]
async fn a_frame_of_another_encoding_has_another_tag_and_no_ranges() {
    let archive = Served::start().await;
    let frames = pictures(GREY16, 1);
    put(&archive, &in_rle(described("1.4"), GREY16, &frames, Offsets::Absent)).await;
    let path = format!("{INSTANCE}/frames/1");
    let stored = frame(&archive, "1", "image/dicom-rle").await;
    let native = frame(&archive, "1", RAW).await;
    assert_ne!(stored.header("etag"), native.header("etag"));
    let tag = native.header("etag").expect("a tag");
    assert_eq!(archive.get(&path).accept(RAW).header("if-none-match", tag).send().await.status, 304);
    let ranged = archive.get(&path).accept(RAW).header("range", "bytes=0-3").send().await;
    assert_eq!((ranged.status, ranged.bytes()), (200, &frames[0][..]));
    for (accept, length) in [(RAW, Some("30")), ("image/dicom-rle", stored.header("content-length"))] {
        let head = archive.request(Method::HEAD, &path).accept(accept).send().await;
        assert_eq!(
            (head.status, head.header("content-length"), head.bytes()),
            (200, length, &b""[..]),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn frames_that_cannot_be_transcoded_are_406_and_those_that_are_not_there_404() {
    let archive = Served::start().await;
    let bits = Image { bits: 1, ..GREY8 };
    let float = described("1.4")
        .frames(Image { bits: 32, ..GREY8 }, &[Vec::new()])
        .without(PIXEL_DATA)
        .element(0x7FE0_0008, "OF", Value::F32(vec![1.0; 15]));
    for file in [described("1.4").frames(bits, &[vec![0x55, 0x2A]]), float] {
        put(&archive, &file).await;
        assert_eq!(frame(&archive, "1", RAW).await.status, 200);
        let refused = frame(&archive, "1", "image/dicom-rle").await;
        assert_eq!(refused.status, 406, "{refused:?}");
        assert_eq!(frame(&archive, "2", "image/dicom-rle").await.status, 404);
    }
}
