//! The image that stands for a frame, an instance, a series or a study (`studies.md` §3.7).

use std::time::Instant;

use super::{GREY, png};
use crate::kit::dicom::{Image, Instance, Offsets, Value};
use crate::kit::served::Served;

const SIZE: Image = Image { rows: 10, columns: 20, ..GREY };

/// An image of one level of grey, known from all others by its window of all values.
fn image(series: &str, sop: &str, level: u8) -> Instance {
    Instance::new("1.2", series, sop)
        .frames(SIZE, &[vec![level; 200]])
        .element(0x0028_1050, "DS", "128")
        .element(0x0028_1051, "DS", "256")
}

fn numbered(series: &str, sop: &str, number: &str, level: u8) -> Instance {
    image(series, sop, level).element(0x0020_0013, "IS", number)
}

async fn store(archive: &Served, instances: &[Instance]) {
    for instance in instances {
        archive.stored(&instance.part10()).await;
    }
}

/// The level that a thumbnail shows.
async fn level(archive: &Served, path: &str) -> u8 {
    let answer = archive.get(&format!("/v2/studies/1.2{path}/thumbnail")).accept("image/png").send().await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let shown = png(answer.bytes());
    let first = shown.samples[0];
    assert!(shown.samples.iter().all(|sample| *sample == first), "one level");
    first
}

#[tokio::test]
async fn thumbnails_are_there_on_four_levels_in_a_box_of_128() {
    let archive = Served::start().await;
    store(&archive, &[image("1.3", "1.4", 7)]).await;
    for path in ["", "/series/1.3", "/series/1.3/instances/1.4", "/series/1.3/instances/1.4/frames/1"] {
        let at = format!("/v2/studies/1.2{path}/thumbnail");
        let plain = archive.get(&at).send().await;
        assert_eq!((plain.status, plain.header("content-type")), (200, Some("image/jpeg")), "{path}");
        assert_eq!(super::jpeg(plain.bytes()), (128, 64, 1), "{path}");
        for (query, width, height) in [("?viewport=10,100", 10, 5), ("?viewport=100,10", 20, 10)] {
            let answer = archive.get(&format!("{at}{query}")).accept("image/png").send().await;
            let shown = png(answer.bytes());
            assert_eq!((shown.width, shown.height), (width, height), "{path}{query}");
        }
        for (query, accept, status) in [
            ("?viewport=0,1", "image/png", 400),
            ("?viewport=8,8,0,0,4,4", "image/png", 400),
            ("?quality=0", "image/png", 400),
            ("", "image/gif", 406),
            ("?window=1", "image/png", 200),
        ] {
            let answer = archive.get(&format!("{at}{query}")).accept(accept).send().await;
            assert_eq!(answer.status, status, "{path}{query}");
        }
    }
    for (path, status) in [
        ("/v2/studies/9.9/thumbnail", 404),
        ("/v2/studies/1.2/series/9.9/thumbnail", 404),
        ("/v2/studies/1.2/series/1.3/instances/9.9/thumbnail", 404),
        ("/v2/studies/1.2/series/1.3/instances/1.4/frames/2/thumbnail", 404),
        ("/v2/studies/1.2/series/1.3/instances/1.4/frames/0/thumbnail", 400),
        ("/v2/studies/1.2x/thumbnail", 400),
    ] {
        assert_eq!(archive.get(path).send().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn what_has_no_pixels_has_no_thumbnail() {
    let archive = Served::start().await;
    let report = Instance::new("1.2", "1.3", "1.4").modality("SR");
    // It says that it is an image, and has no pixels.
    let empty = image("1.3", "1.5", 7).without(0x7FE0_0010);
    store(&archive, &[report, empty]).await;
    for path in ["", "/series/1.3", "/series/1.3/instances/1.4", "/series/1.3/instances/1.5"] {
        let answer = archive.get(&format!("/v2/studies/1.2{path}/thumbnail")).send().await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_study_is_shown_by_its_first_series_with_pixels() {
    let archive = Served::start().await;
    let report = Instance::new("1.2", "1.1", "1.1.1").modality("SR").element(0x0020_0011, "IS", "1");
    let ninth = image("1.4", "1.4.1", 90).element(0x0020_0011, "IS", "9");
    let tenth = image("1.3", "1.3.1", 100).element(0x0020_0011, "IS", "10");
    let unnumbered = image("1.2", "1.2.1", 200);
    store(&archive, &[report, unnumbered, tenth, ninth]).await;
    assert_eq!(level(&archive, "").await, 90, "by number, not by text or UID");
    assert_eq!(archive.delete("/v2/studies/1.2/series/1.4").await.status, 204);
    assert_eq!(level(&archive, "").await, 100);
    assert_eq!(archive.delete("/v2/studies/1.2/series/1.3").await.status, 204);
    assert_eq!(level(&archive, "").await, 200, "without a number it comes last");
    assert_eq!(archive.delete("/v2/studies/1.2/series/1.2").await.status, 204);
    assert_eq!(archive.get("/v2/studies/1.2/thumbnail").send().await.status, 404);
}

#[tokio::test]
async fn a_series_is_shown_by_its_middle_image() {
    let archive = Served::start().await;
    // In the order of UIDs and of texts it would be another one.
    let images =
        [("1.9", "8", 80), ("1.8", "9", 90), ("1.7", "10", 100), ("1.6", "11", 110), ("1.5", "100", 120)];
    store(&archive, &images.map(|(sop, number, level)| numbered("1.3", sop, number, level))).await;
    assert_eq!(level(&archive, "/series/1.3").await, 100);
    assert_eq!(level(&archive, "").await, 100);
    // Those without a number come last, by their UIDs; what is no image does not count.
    let more = [image("1.3", "1.1", 10), image("1.3", "1.4", 40)];
    store(&archive, &more).await;
    store(&archive, &[Instance::new("1.2", "1.3", "1.0").element(0x0020_0013, "IS", "1")]).await;
    assert_eq!(level(&archive, "/series/1.3").await, 110, "8, 9, 10, 11, 100, then two without a number");
    store(&archive, &["2.1", "2.2", "2.3", "2.4"].map(|sop| image("1.3", sop, 20))).await;
    assert_eq!(level(&archive, "/series/1.3").await, 10);
}

#[tokio::test]
async fn an_instance_is_shown_by_the_frame_that_represents_it() {
    let archive = Served::start().await;
    let frames = |count: u8| (1..=count).map(|n| vec![n * 10; 200]).collect::<Vec<_>>();
    let several =
        |sop: &str, count: u8| image("1.3", sop, 0).without(0x7FE0_0010).frames(SIZE, &frames(count));
    store(&archive, &[several("1.1", 5), several("1.2", 4), several("1.3", 2)]).await;
    store(&archive, &[several("1.4", 5).element(0x0028_6010, "US", 5_u16)]).await;
    store(&archive, &[several("1.5", 5).element(0x0028_6010, "US", 6_u16)]).await;
    for (sop, expected) in [("1.1", 30), ("1.2", 30), ("1.3", 20), ("1.4", 50), ("1.5", 30)] {
        assert_eq!(level(&archive, &format!("/series/1.3/instances/{sop}")).await, expected, "{sop}");
    }
    assert_eq!(level(&archive, "/series/1.3/instances/1.4/frames/2").await, 20);
}

#[tokio::test]
async fn a_thumbnail_is_tagged_by_what_lies_beneath() {
    let archive = Served::start().await;
    store(&archive, &[numbered("1.3", "1.1", "1", 10), numbered("1.3", "1.2", "2", 20)]).await;
    let path = "/v2/studies/1.2/thumbnail";
    let first = archive.get(path).send().await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("\"2-2-"), "{tag}");
    let again = archive.get(path).send().await;
    assert_eq!((again.header("etag"), again.bytes()), (Some(tag.as_str()), first.bytes()));
    for file in archive.files().await {
        archive.steal(&file).await;
    }
    let known = archive.get(path).header("if-none-match", &tag).send().await;
    assert_eq!((known.status, known.bytes()), (304, &b""[..]), "nothing was read");
    let other = archive.get(&format!("{path}?viewport=9,9")).header("if-none-match", &tag).send().await;
    assert_eq!(other.status, 424);
    store(&archive, &[numbered("1.3", "1.3", "3", 30), numbered("1.3", "1.4", "4", 40)]).await;
    let after = archive.get(path).accept("image/png").header("if-none-match", &tag).send().await;
    assert_eq!((after.status, png(after.bytes()).samples[0]), (200, 30));
    assert!(after.header("etag").is_some_and(|tag| tag.starts_with("\"4-4-")), "{after:?}");
}

#[tokio::test]
async fn where_the_middle_image_cannot_be_shown_a_neighbour_is() {
    let archive = Served::start().await;
    let undecodable = |sop: &str, number: &str| {
        numbered("1.3", sop, number, 0)
            .fragments(SIZE, &[vec![b"\xFF\x4F\xFF\x51nothing of the kind".to_vec()]], Offsets::Absent)
            .syntax("1.2.840.10008.1.2.4.92")
    };
    let corrupt = |sop: &str, number: &str| {
        numbered("1.3", sop, number, 0)
            .fragments(SIZE, &[vec![vec![9; 80]]], Offsets::Absent)
            .syntax("1.2.840.10008.1.2.5")
    };
    let empty = |sop: &str, number: &str| numbered("1.3", sop, number, 0).without(0x7FE0_0010);
    store(&archive, &[numbered("1.3", "1.1", "1", 10), empty("1.2", "2"), undecodable("1.3", "3")]).await;
    store(&archive, &[corrupt("1.4", "4"), numbered("1.3", "1.5", "5", 50)]).await;
    assert_eq!(level(&archive, "/series/1.3").await, 50, "3, 4, 2, then 5 before 1");
    assert_eq!(level(&archive, "").await, 50);
    // What was chosen is found again.
    assert_eq!(level(&archive, "/series/1.3").await, 50);
    // Nothing near can be shown.
    let far: Vec<Instance> = (6..40).map(|n| undecodable(&format!("1.{n}"), &n.to_string())).collect();
    store(&archive, &far).await;
    let answer = archive.get("/v2/studies/1.2/series/1.3/thumbnail").send().await;
    assert_eq!(answer.status, 406, "{answer:?}");
    let study = archive.get("/v2/studies/1.2/thumbnail").send().await;
    assert_eq!(study.status, 406, "{study:?}");
}

/// The whole of it is looked at once; whoever asks next is told what was found.
#[tokio::test]
async fn the_middle_of_many_is_found_and_then_known() {
    const COUNT: u32 = 400;
    let archive = Served::start().await;
    for chunk in (1..=COUNT).collect::<Vec<_>>().chunks(100) {
        let files: Vec<Vec<u8>> = chunk
            .iter()
            .map(|n| {
                // UIDs in the other order than numbers.
                let sop = format!("1.{}", 1000 - n);
                let level = if *n == COUNT / 2 + 1 { 200 } else { 100 };
                numbered("1.3", &sop, &n.to_string(), level)
                    .element(0x0008_0018, "UI", Value::from(sop.as_str()))
                    .part10()
            })
            .collect();
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let stored = archive.post("/v2/studies").multipart(&files).send().await;
        assert_eq!(stored.status, 200, "{stored:?}");
    }
    for what in ["the first time", "again"] {
        let began = Instant::now();
        assert_eq!(level(&archive, "").await, 200, "{what}");
        eprintln!("thumbnail of {COUNT} instances, {what}: {:?}", began.elapsed());
    }
    // Another box of the same scope is of the same image.
    let other = archive.get("/v2/studies/1.2/thumbnail?viewport=2,2").accept("image/png").send().await;
    assert_eq!(png(other.bytes()).samples[0], 200);
}
