//! Pictures of files that lie: palettes, tables, sizes, floods of requests. Each is a picture or a 406, never more.

use std::time::Duration;

use futures_util::future::join_all;
use kymo::http::Settings;
use kymo::{archive, codecs};

use super::{GREY, INSTANCE, WORDS, jpeg, le, new, rendered, samples};
use crate::kit::dicom::{Element, Image, Instance, Offsets, Value};
use crate::kit::served::{Served, codecs as settings_of_codecs};

fn palette(descriptors: [&[u16]; 3]) -> Instance {
    let image = new().frames(Image { photometric: "PALETTE COLOR", ..GREY }, &[vec![0, 1, 2, 255]]);
    (0x0028_1101..)
        .zip(descriptors)
        .fold(image, |image, (tag, descriptor)| image.element(tag, "US", Value::U16(descriptor.to_vec())))
}

fn tables(image: Instance, first: u32, table: &[u8]) -> Instance {
    (first..first + 3).fold(image, |image, tag| image.element(tag, "OW", table.to_vec()))
}

#[tokio::test]
async fn palettes_that_lie_are_406() {
    let archive = Served::start().await;
    let three: [&[u16]; 3] = [&[3, 0, 8]; 3];
    let good = tables(palette(three), 0x0028_1201, &[1, 2, 3, 0]);
    assert_eq!(samples(&archive, &good, "").await, [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3]);
    for (what, image) in [
        ("no table", palette(three)),
        (
            "no descriptor",
            tables(
                new().frames(Image { photometric: "PALETTE COLOR", ..GREY }, &[vec![0; 4]]),
                0x0028_1201,
                &[1, 2, 3, 0],
            ),
        ),
        ("no entries", tables(palette(three), 0x0028_1201, &[])),
        ("too few entries", tables(palette(three), 0x0028_1201, &[1, 2])),
        (
            "65,536 entries, and only three",
            tables(palette([&[0, 0, 16]; 3]), 0x0028_1201, &[1, 2, 3, 0, 0, 0]),
        ),
        ("no bits", tables(palette([&[3, 0, 0]; 3]), 0x0028_1201, &[1, 2, 3, 0])),
        ("too many bits", tables(palette([&[3, 0, 17]; 3]), 0x0028_1201, &[1, 2, 3, 0])),
        ("a descriptor of two", tables(palette([&[3, 0]; 3]), 0x0028_1201, &[1, 2, 3, 0])),
        (
            "one table without entries",
            tables(palette([&[3, 0, 8], &[3, 0, 8], &[9, 0, 8]]), 0x0028_1201, &[1, 2, 3, 0]),
        ),
        ("segments that end", tables(palette(three), 0x0028_1221, &[0, 9, 1, 2])),
        ("segments of nothing", tables(palette(three), 0x0028_1221, &[0, 0, 0, 0, 0, 0])),
        (
            "segments that are copies of copies",
            tables(palette(three), 0x0028_1221, &[0, 1, 9, 2, 255, 3, 0, 0, 0, 0]),
        ),
        ("a copy from beyond", tables(palette(three), 0x0028_1221, &[0, 1, 9, 2, 1, 255, 255, 255, 255, 0])),
        ("a line from nowhere", tables(palette(three), 0x0028_1221, &[1, 3, 9, 0])),
    ] {
        let answer = rendered(&archive, &image, "").await;
        assert_eq!(answer.status, 406, "{what}: {answer:?}");
    }
    // More than there should be does no harm: what is beyond is not read.
    let long = tables(palette(three), 0x0028_1201, &[7; 300_000]);
    assert_eq!(samples(&archive, &long, "").await, [7; 12]);
}

#[tokio::test]
async fn tables_that_lie_are_406() {
    let archive = Served::start().await;
    let image = || new().frames(WORDS, &[le(&[0, 1, 2, 3])]);
    let item = |descriptor: Vec<u16>, data: Option<Vec<u8>>| {
        let mut item = vec![Element::new(0x0028_3002, "US", Value::U16(descriptor))];
        item.extend(data.map(|data| Element::new(0x0028_3006, "OW", data)));
        Value::Sequence(vec![item])
    };
    for sequence in [0x0028_3000, 0x0028_3010] {
        for (what, table) in [
            ("no data", item(vec![2, 0, 16], None)),
            ("too little data", item(vec![2, 0, 16], Some(vec![1, 2]))),
            ("65,536 entries", item(vec![0, 0, 16], Some(vec![1, 2]))),
            ("bits", item(vec![2, 0, 99], Some(vec![1, 2, 3, 4]))),
            ("no descriptor", item(Vec::new(), Some(vec![1, 2, 3, 4]))),
        ] {
            let answer = rendered(&archive, &image().element(sequence, "SQ", table), "").await;
            assert_eq!(answer.status, 406, "{sequence:08X} {what}: {answer:?}");
        }
        let empty = image().element(sequence, "SQ", Value::Sequence(Vec::new()));
        assert_eq!(rendered(&archive, &empty, "").await.status, 200, "no item is no table");
    }
}

#[tokio::test]
async fn attributes_of_the_look_that_are_nonsense_do_no_harm() {
    let archive = Served::start().await;
    let image = || new().frames(GREY, &[vec![0, 1, 2, 255]]);
    for (tag, vr, value) in [
        (0x0028_1050, "DS", "nan"),
        (0x0028_1051, "DS", "1e999"),
        (0x0028_1052, "DS", "-1e308"),
        (0x0028_1053, "DS", "1e308"),
        (0x0028_1053, "DS", "0"),
        (0x0028_1053, "DS", "x"),
        (0x0028_1056, "CS", "CUBIC"),
        (0x0028_0120, "US", "12"),
        (0x5200_9230, "LO", "no sequence"),
        (0x0028_3010, "LO", "no sequence"),
    ] {
        let nonsense = image().element(0x0028_1050, "DS", "1").element(tag, vr, value);
        let answer = rendered(&archive, &nonsense, "").await;
        assert_eq!(answer.status, 200, "{tag:08X} {value}: {answer:?}");
    }
}

/// What is set aside follows from the bytes that are there and from limits, not from what is said.
#[tokio::test]
async fn sizes_without_the_bytes_for_them_are_refused_before_anything_is_set_aside() {
    let archive = Served::start().await;
    let huge = |syntax: &str, samples: u16, photometric: &'static str| {
        let image = Image { rows: 65_535, columns: 65_535, samples, bits: 16, photometric };
        let few = vec![vec![b"\xFF\xD8\xFF\xE0few bytes".to_vec()]];
        new().fragments(image, &few, Offsets::Absent).syntax(syntax)
    };
    for syntax in
        ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"]
    {
        for (samples, photometric) in [(1, "MONOCHROME2"), (3, "RGB")] {
            let answer = rendered(&archive, &huge(syntax, samples, photometric), "").await;
            assert_eq!(answer.status, 406, "{syntax}: {answer:?}");
            let thumbnail = archive.get(&format!("{INSTANCE}/thumbnail")).send().await;
            assert_eq!(thumbnail.status, 406, "{syntax}");
        }
    }
    let native = Image { rows: 65_535, columns: 65_535, ..GREY };
    assert_eq!(rendered(&archive, &new().frames(native, &[vec![1, 2, 3, 4]]), "").await.status, 406);
    // RLE within the limit, whose bytes do not suffice.
    let large = Image { rows: 8000, columns: 8000, ..GREY };
    let few = new().fragments(large, &[vec![vec![1, 0, 0, 0, 64, 0, 0, 0, 9, 9]]], Offsets::Absent);
    assert_eq!(rendered(&archive, &few.syntax("1.2.840.10008.1.2.5"), "").await.status, 406);
}

/// As many large pictures at once as nobody has memory for are made one after the other, or refused as busy.
#[tokio::test]
async fn large_viewports_are_bounded_one_by_one_and_together() {
    let archive = Served::start().await;
    let grey = new().frames(Image { rows: 4, columns: 4, ..GREY }, &[(0..16).collect()]);
    let largest = rendered(&archive, &grey, "?viewport=2000,2000").await;
    assert_eq!(largest.status, 200);
    let colour = Image { rows: 4, columns: 4, samples: 3, photometric: "RGB", ..GREY };
    let colour = new().frames(colour, &[(0..48).collect()]);
    assert_eq!(
        rendered(&archive, &colour, "?viewport=8192,8192").await.status,
        406,
        "more than a frame may have"
    );
    let path = format!("{INSTANCE}/rendered?viewport=1000,1000&quality=10");
    let answers = join_all((0..20).map(|_| archive.get(&path).send())).await;
    for answer in answers {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        if answer.status == 200 {
            assert_eq!(jpeg(answer.bytes()), (1000, 1000, 3));
        }
    }
    let thin = new().frames(Image { rows: 1, columns: 60_000, ..GREY }, &[vec![3; 60_000]]);
    assert_eq!(rendered(&archive, &thin, "").await.status, 200);
    for viewport in ["1,1", "8192,1", "1,8192", "500,500,59999,0,1,1"] {
        let answer = rendered(&archive, &thin, &format!("?viewport={viewport}")).await;
        assert_eq!(answer.status, 200, "{viewport}");
    }
}

/// Nobody waits any more: what has begun ends, what has not does not begin, and all room is free again.
#[tokio::test]
async fn clients_that_go_away_leave_nothing_taken() {
    let pixels = codecs::Settings { in_flight_bytes: 1 << 20, ..settings_of_codecs() };
    let archive = Served::decoding(Settings::default(), archive::Settings::default(), pixels).await;
    let grey = new().frames(Image { rows: 4, columns: 4, ..GREY }, &[(0..16).collect()]);
    assert_eq!(rendered(&archive, &grey, "").await.status, 200);
    // Four of these take all there is.
    let path = format!("{INSTANCE}/rendered?viewport=500,500&quality=10");
    let mut gone = 0;
    for milliseconds in 0..40 {
        let patience = Duration::from_millis(milliseconds / 2);
        gone += u32::from(tokio::time::timeout(patience, archive.get(&path).send()).await.is_err());
    }
    assert!(gone >= 10, "{gone} have gone");
    for answer in join_all((0..8).map(|_| archive.get(&path).send())).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(jpeg(answer.bytes()), (500, 500, 1));
    }
}
