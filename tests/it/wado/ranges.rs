//! `Range` on single-part answers (RFC 9110 §14): instances, frames and bulk data.

use axum::http::Method;

use crate::kit::dicom::{DEFLATED, EXPLICIT_LITTLE, Image, Instance, Offsets, PIXEL_DATA, Value};
use crate::kit::served::Served;

const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const FILE: &str = "application/dicom; transfer-syntax=*";
const FRAME: &str = "application/octet-stream; transfer-syntax=*";
/// So large that a file has several chunks with a checksum of their own.
const IMAGE: Image = Image { rows: 300, columns: 500, samples: 1, bits: 16, photometric: "MONOCHROME2" };

fn pixels(seed: usize) -> Vec<u8> {
    (0..300_000).map(|n| ((n * 7 + seed + n / 251) % 253) as u8).collect()
}

/// Whatever the resource, the same ranges of it: `whole` is its body.
async fn ranged(archive: &Served, path: &str, accept: &str, whole: &[u8]) {
    let length = whole.len();
    let plain = archive.get(path).accept(accept).send().await;
    assert!(plain.status == 200 && plain.bytes() == whole, "{path}");
    assert_eq!(plain.header("accept-ranges"), Some("bytes"), "{path}");
    let tag = plain.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with('"'), "a strong one: {tag}");
    let middle = length / 2;
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        (format!("bytes={middle}-{}", middle + 9), middle, middle + 10),
        (format!("bytes={middle}-"), middle, length),
        ("bytes=-7".to_owned(), length - 7, length),
        (format!("bytes=-{}", length * 2), 0, length),
        (format!("bytes=3-{}", length * 2), 3, length),
    ] {
        let got = archive.get(path).accept(accept).header("range", &range).send().await;
        assert_eq!(got.status, 206, "{path} {range}");
        assert!(got.bytes() == &whole[from..to], "{path} {range}");
        let said = format!("bytes {from}-{}/{length}", to - 1);
        assert_eq!(got.header("content-range"), Some(said.as_str()));
        assert_eq!(got.header("content-length"), Some((to - from).to_string().as_str()));
        assert_eq!(got.header("content-type"), plain.header("content-type"));
        assert_eq!(got.header("etag"), Some(tag.as_str()));
        let head = archive.request(Method::HEAD, path).accept(accept).header("range", &range).send().await;
        assert_eq!((head.status, head.bytes()), (206, &b""[..]), "{path} {range}");
        for name in ["content-range", "content-length", "accept-ranges", "etag", "content-type"] {
            assert_eq!(head.header(name), got.header(name), "{path} {range} {name}");
        }
    }
    for range in [format!("bytes={length}-"), format!("bytes={length}-{}", length + 5), "bytes=-0".to_owned()]
    {
        let got = archive.get(path).accept(accept).header("range", &range).send().await;
        assert_eq!(got.status, 416, "{path} {range}");
        assert_eq!(got.header("content-range"), Some(format!("bytes */{length}").as_str()));
    }
    for range in ["bytes=0-1,4-5", "bytes=5-4", "frames=1-2", "bytes=x"] {
        let got = archive.get(path).accept(accept).header("range", range).send().await;
        assert!(got.status == 200 && got.bytes() == whole, "{path} {range}: the whole is served");
        assert_eq!(got.header("content-range"), None);
    }
    for (condition, status) in [
        (tag.as_str(), 206),
        ("\"other\"", 200),
        (&format!("W/{tag}"), 200),
        ("Sat, 29 Oct 1994 19:43:31 GMT", 200),
    ] {
        let got = archive.get(path).accept(accept).header("range", "bytes=1-2").header("if-range", condition);
        assert_eq!(got.send().await.status, status, "{path} If-Range: {condition}");
    }
    let known = archive.get(path).accept(accept).header("range", "bytes=1-2").header("if-none-match", &tag);
    assert_eq!(known.send().await.status, 304, "{path}: the tag is looked at before the range");
}

#[tokio::test]
async fn an_instance_a_native_frame_and_a_value_can_be_had_in_part() {
    let archive = Served::start().await;
    let frames = [pixels(1), pixels(2)];
    let file = Instance::new("1.2", "1.3", "1.4").frames(IMAGE, &frames).part10();
    archive.stored(&file).await;
    ranged(&archive, INSTANCE, FILE, &file).await;
    ranged(&archive, INSTANCE, "application/dicom", &file).await;
    ranged(&archive, &format!("{INSTANCE}/frames/2"), FRAME, &frames[1]).await;
    ranged(&archive, &format!("{INSTANCE}/bulkdata/7FE00010"), "*/*", &frames.concat()).await;
}

#[tokio::test]
async fn a_range_of_a_compressed_frame_goes_over_its_fragments() {
    let archive = Served::start().await;
    let fragments: Vec<Vec<u8>> =
        [&b"\xFF\xD8\xFF"[..], &pixels(3)].concat().chunks(40_000).map(<[u8]>::to_vec).collect();
    let frame = fragments.concat();
    let file = Instance::new("1.2", "1.3", "1.4")
        .fragments(IMAGE, &[fragments], Offsets::Absent)
        .syntax("1.2.840.10008.1.2.4.50")
        .part10();
    archive.stored(&file).await;
    // An odd fragment is padded.
    let frame = [frame.as_slice(), if frame.len() % 2 == 1 { b"\0" } else { b"" }].concat();
    let whole = archive.get(&format!("{INSTANCE}/frames/1")).accept(FRAME).send().await;
    assert!(frame.starts_with(whole.bytes()) || whole.bytes().starts_with(&frame));
    ranged(&archive, &format!("{INSTANCE}/frames/1"), FRAME, whole.bytes()).await;
    let jpeg = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50";
    ranged(&archive, &format!("{INSTANCE}/frames/1"), jpeg, whole.bytes()).await;
}

#[tokio::test]
async fn a_range_inside_a_deflated_dataset_is_inflated() {
    let archive = Served::start().await;
    let frames = [pixels(4), pixels(5)];
    let file = Instance::new("1.2", "1.3", "1.4").frames(IMAGE, &frames).syntax(DEFLATED).part10();
    archive.stored(&file).await;
    ranged(&archive, INSTANCE, FILE, &file).await;
    ranged(&archive, &format!("{INSTANCE}/frames/2"), FRAME, &frames[1]).await;
    ranged(&archive, &format!("{INSTANCE}/bulkdata/7FE00010"), "*/*", &frames.concat()).await;
}

#[tokio::test]
async fn a_bit_packed_frame_and_a_multipart_answer_are_always_whole() {
    let archive = Served::start().await;
    let image = Image { rows: 3, columns: 5, bits: 1, ..IMAGE };
    let file = Instance::new("1.2", "1.3", "1.4")
        .frames(image, &[vec![0xA5, 0x5A, 0xFF, 0x00, 0x81, 0x18]])
        .element(0x0028_0008, "IS", "3")
        .part10();
    archive.stored(&file).await;
    let frame = format!("{INSTANCE}/frames/2");
    for (path, accept) in [
        (frame.as_str(), FRAME),
        (&frame, "*/*"),
        (INSTANCE, "*/*"),
        ("/v2/studies/1.2", "*/*"),
        (&format!("{INSTANCE}/metadata"), "*/*"),
    ] {
        let got = archive.get(path).accept(accept).header("range", "bytes=0-0").send().await;
        assert_eq!((got.status, got.header("content-range")), (200, None), "{path} {accept}");
        assert_eq!(got.header("accept-ranges"), None, "{path} {accept}");
    }
}

#[tokio::test]
async fn the_bytes_of_a_range_are_checked_before_they_are_sent() {
    let archive = Served::start().await;
    let file = Instance::new("1.2", "1.3", "1.4").frames(IMAGE, &[pixels(6)]).part10();
    archive.stored(&file).await;
    let path = archive.feed().await[0]["filePath"].as_str().expect("a path").to_owned();
    // The last byte is another one now; the first chunk is what it was.
    archive.tamper(&path).await;
    let first = archive.get(INSTANCE).accept(FILE).header("range", "bytes=0-99").send().await;
    assert_eq!((first.status, first.bytes()), (206, &file[..100]));
    let last = archive.get(INSTANCE).accept(FILE).header("range", "bytes=-1").send().await;
    assert_eq!(last.status, 424);
    let value = archive.get(&format!("{INSTANCE}/bulkdata/7FE00010")).accept("*/*");
    assert_eq!(value.header("range", "bytes=-1").send().await.status, 424);
}

#[tokio::test]
async fn a_value_of_words_is_ranged_in_the_order_it_is_sent() {
    let archive = Served::start().await;
    for syntax in [EXPLICIT_LITTLE, "1.2.840.10008.1.2.2"] {
        let words = pixels(7);
        let file = Instance::new("1.2", "1.3", "1.4")
            .element(PIXEL_DATA, "OW", Value::Words(words.clone()))
            .syntax(syntax)
            .part10();
        assert_eq!(archive.put("/v2/studies").dicom(&file).send().await.status, 200);
        ranged(&archive, &format!("{INSTANCE}/bulkdata/7FE00010"), "*/*", &words).await;
    }
}
