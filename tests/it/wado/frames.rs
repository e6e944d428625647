//! The list of frames, and frames of every kind as they are stored (`studies.md` §3.5).

use crate::kit::dicom::{DEFLATED, EXPLICIT_LITTLE, Image, Instance, Offsets, PIXEL_DATA, Value};
use crate::kit::process::Process;
use crate::kit::served::Served;

const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const UNKNOWN: &str = "/v2/studies/1.2/series/1.3/instances/9.9";
const SINGLE: &str = "application/octet-stream; transfer-syntax=*";
const SEVERAL: &str = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
const GREY: Image = Image { rows: 3, columns: 5, samples: 1, bits: 8, photometric: "MONOCHROME2" };

fn new() -> Instance {
    Instance::new("1.2", "1.3", "1.4")
}

fn pixels(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 5 + seed * 37) % 249) as u8).collect()
}

/// Stores it and asks for its first frames, and that there is none behind them.
async fn has_frames(instance: &Instance, frames: &[Vec<u8>], name: &str) {
    let archive = Served::start().await;
    archive.stored(&instance.part10()).await;
    for (index, frame) in frames.iter().enumerate() {
        let got = archive.get(&format!("{INSTANCE}/frames/{}", index + 1)).accept(SINGLE).send().await;
        assert_eq!((got.status, got.bytes()), (200, frame.as_slice()), "{name}, frame {}", index + 1);
    }
    let beyond = archive.get(&format!("{INSTANCE}/frames/{}", frames.len() + 1)).accept(SINGLE).send().await;
    assert_eq!(beyond.status, 404, "{name}");
}

#[tokio::test]
async fn a_list_of_frames_is_looked_at_before_accept_and_existence() {
    let archive = Served::start().await;
    archive.stored(&new().frames(GREY, &[pixels(15, 1), pixels(15, 2)]).part10()).await;
    for bad in ["0", "-1", "%20", "a", "1,", ",1", "1,,2", "1.5", "1,0", "1,-2", "1;2", "0x1", "1%2C", "%2C"]
    {
        for instance in [INSTANCE, UNKNOWN] {
            for accept in [SEVERAL, "image/png"] {
                let answer = archive.get(&format!("{instance}/frames/{bad}")).accept(accept).send().await;
                assert_eq!(answer.status, 400, "{instance} {bad:?} {accept}: {answer:?}");
            }
            assert_eq!(archive.get(&format!("{instance}/frames/{bad}")).send().await.status, 400, "{bad:?}");
        }
    }
    assert_eq!(archive.get(&format!("{UNKNOWN}/frames/1")).accept("image/png").send().await.status, 406);
    assert_eq!(archive.get(&format!("{UNKNOWN}/frames/1")).accept(SEVERAL).send().await.status, 404);
    assert_eq!(archive.get(&format!("{INSTANCE}/frames/3")).accept("image/png").send().await.status, 406);
    assert_eq!(archive.get(&format!("{INSTANCE}/frames/3")).accept(SEVERAL).send().await.status, 404);
    assert_eq!(archive.get(&format!("{INSTANCE}/frames/1,3")).accept(SEVERAL).send().await.status, 404);
    assert_eq!(
        archive.get(&format!("{INSTANCE}/frames/4294967295")).accept(SEVERAL).send().await.status,
        404
    );
    assert_eq!(
        archive.get(&format!("{INSTANCE}/frames/")).accept(SEVERAL).send().await.status,
        404,
        "no route"
    );
}

#[tokio::test]
async fn frames_come_in_the_order_asked_for_as_often_as_asked_for() {
    let archive = Served::start().await;
    let frames: Vec<Vec<u8>> = (1..=3).map(|n| pixels(15, n)).collect();
    archive.stored(&new().frames(GREY, &frames).part10()).await;
    for (list, order) in
        [("3,1,1,2", &[3, 1, 1, 2][..]), ("2%2C1", &[2, 1]), ("2%2c3,2", &[2, 3, 2]), ("1", &[1])]
    {
        let answer = archive.get(&format!("{INSTANCE}/frames/{list}")).accept(SEVERAL).send().await;
        let got: Vec<_> = answer.parts().into_iter().map(|(_, bytes)| bytes).collect();
        let wanted: Vec<_> = order.iter().map(|n| frames[n - 1].clone()).collect();
        assert_eq!(got, wanted, "{list}");
    }
}

#[tokio::test]
async fn frames_of_a_deflated_file_come_in_any_order_but_not_to_and_fro_without_end() {
    let archive = Served::start().await;
    let frames: Vec<Vec<u8>> = (1..=40).map(|n| pixels(15, n)).collect();
    archive.stored(&new().frames(GREY, &frames).syntax(DEFLATED).part10()).await;
    let to_and_fro = |turns: usize| "2,1,".repeat(turns) + "40";
    let several = |list: String| archive.get(&format!("{INSTANCE}/frames/{list}")).accept(SEVERAL).send();
    for list in ["1,2,2,40".to_owned(), "40,39,1".to_owned(), to_and_fro(16)] {
        let answer = several(list.clone()).await;
        let got: Vec<_> = answer.parts().into_iter().map(|(_, bytes)| bytes).collect();
        let numbers = list.split(',').map(|number| number.parse::<usize>().unwrap());
        let wanted: Vec<_> = numbers.map(|number| frames[number - 1].clone()).collect();
        assert_eq!(got, wanted, "{list}");
    }
    let refused = several(to_and_fro(17)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("ascending"), "{refused:?}");
}

#[tokio::test]
async fn several_frames_in_a_single_part_are_400_with_a_hint() {
    let archive = Served::start().await;
    archive.stored(&new().frames(GREY, &[pixels(15, 1), pixels(15, 2)]).part10()).await;
    for path in
        [format!("{INSTANCE}/frames/1,2"), format!("{INSTANCE}/frames/1,1"), format!("{UNKNOWN}/frames/1,2")]
    {
        let answer = archive.get(&path).accept(SINGLE).send().await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains("multipart"), "{answer:?}");
    }
    let both = format!("{SINGLE};q=0.5, {SEVERAL}");
    assert_eq!(archive.get(&format!("{INSTANCE}/frames/1,2")).accept(&both).send().await.parts().len(), 2);
}

#[tokio::test]
async fn an_instance_without_pixels_has_no_frame() {
    has_frames(&new(), &[], "no pixel data").await;
    has_frames(&new().element(0x0028_0008, "IS", "3"), &[], "frames without pixel data").await;
}

#[tokio::test]
async fn the_pad_byte_of_the_element_is_no_part_of_a_frame() {
    let frame = pixels(15, 1);
    has_frames(&new().frames(GREY, std::slice::from_ref(&frame)), &[frame], "15 bytes in 16").await;
}

#[tokio::test]
async fn pixel_data_without_a_number_of_frames_are_one() {
    let frame = pixels(15, 1);
    let image = new().frames(GREY, std::slice::from_ref(&frame)).without(0x0028_0008);
    has_frames(&image, &[frame], "native").await;
    let fragments = vec![b"\xFF\xD8\xFF\xE0".to_vec(), pixels(20, 2), b"\xFF\xD9".to_vec()];
    let jpeg = new()
        .fragments(GREY, std::slice::from_ref(&fragments), Offsets::Absent)
        .syntax("1.2.840.10008.1.2.4.50")
        .without(0x0028_0008);
    has_frames(&jpeg, &[fragments.concat()], "compressed").await;
}

#[tokio::test]
async fn bits_are_shifted_out_and_padded_with_zeros() {
    // Three frames of 15 bits, the lowest bit of each byte first: all ones, all zeros, all ones.
    let packed = vec![0xFF, 0x7F, 0x00, 0xC0, 0xFF, 0x1F];
    let image = new().frames(Image { bits: 1, ..GREY }, &[packed]).element(0x0028_0008, "IS", "3");
    has_frames(&image, &[vec![0xFF, 0x7F], vec![0, 0], vec![0xFF, 0x7F]], "15 bits").await;
}

#[tokio::test]
async fn native_ybr_full_422_takes_two_bytes_a_pixel() {
    let image = Image { rows: 2, columns: 4, samples: 3, bits: 8, photometric: "YBR_FULL_422" };
    let frames = [pixels(16, 1), pixels(16, 2)];
    has_frames(&new().frames(image, &frames), &frames, "4:2:2").await;
}

#[tokio::test]
async fn float_and_double_float_pixels_are_pixels() {
    let described =
        |bits: u16| new().frames(Image { bits, ..GREY }, &[vec![0; 15], vec![0; 15]]).without(PIXEL_DATA);
    let floats: Vec<f32> = (0_u8..30).map(|n| f32::from(n) / 3.0).collect();
    let bytes: Vec<u8> = floats.iter().flat_map(|number| number.to_le_bytes()).collect();
    let image = described(32).element(0x7FE0_0008, "OF", Value::F32(floats));
    has_frames(&image, &[bytes[..60].to_vec(), bytes[60..].to_vec()], "float").await;
    let doubles: Vec<f64> = (0_u8..30).map(|n| f64::from(n) / 7.0).collect();
    let bytes: Vec<u8> = doubles.iter().flat_map(|number| number.to_le_bytes()).collect();
    let image = described(64).element(0x7FE0_0009, "OD", Value::F64(doubles));
    has_frames(&image, &[bytes[..120].to_vec(), bytes[120..].to_vec()], "double").await;
}

#[tokio::test]
async fn float_pixels_of_a_big_endian_file_are_turned_around_when_asked() {
    let archive = Served::start().await;
    let floats: Vec<f32> = (0_u8..30).map(|n| f32::from(n) / 3.0).collect();
    let little: Vec<u8> = floats.iter().flat_map(|number| number.to_le_bytes()).collect();
    let big: Vec<u8> = floats.iter().flat_map(|number| number.to_be_bytes()).collect();
    let image = new()
        .frames(Image { bits: 32, ..GREY }, &[vec![0; 15], vec![0; 15]])
        .without(PIXEL_DATA)
        .element(0x7FE0_0008, "OF", Value::F32(floats))
        .syntax("1.2.840.10008.1.2.2");
    archive.stored(&image.part10()).await;
    let frame = format!("{INSTANCE}/frames/2");
    let stored = archive.get(&frame).accept(SINGLE).send().await;
    assert_eq!(stored.bytes(), &big[60..]);
    assert_eq!(
        stored.header("content-type"),
        Some("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2")
    );
    let turned = archive.get(&frame).accept("application/octet-stream").send().await;
    assert_eq!(turned.bytes(), &little[60..]);
    let kind = format!("application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}");
    assert_eq!(turned.header("content-type"), Some(kind.as_str()));
    assert_ne!(turned.header("etag"), stored.header("etag"));
}

#[tokio::test]
async fn frames_of_more_fragments_than_frames_are_told_apart_by_the_offset_table() {
    let frame = |n: usize| vec![b"\xFF\xD8\xFF\xE0".to_vec(), pixels(20 + 2 * n, n), pixels(10, n + 9)];
    let frames: Vec<Vec<Vec<u8>>> = (0..3).map(frame).collect();
    let whole: Vec<Vec<u8>> = frames.iter().map(|frame| frame.concat()).collect();
    for offsets in [Offsets::Basic, Offsets::Extended, Offsets::Absent] {
        let file = new().fragments(GREY, &frames, offsets).syntax("1.2.840.10008.1.2.4.50");
        has_frames(&file, &whole, &format!("{offsets:?}")).await;
    }
}

#[tokio::test]
async fn a_frame_is_not_affected_by_the_original_being_asked_for() {
    let archive = Served::start().await;
    let frame = pixels(15, 1);
    archive.stored(&new().frames(GREY, std::slice::from_ref(&frame)).part10()).await;
    let asked = archive.get(&format!("{INSTANCE}/frames/1")).accept(SINGLE);
    let answer = asked.header("msdicom-request-original", "true").send().await;
    assert_eq!((answer.status, answer.bytes()), (200, frame.as_slice()));
}

/// As a whole-slide image has them: the table of its frames is far larger than what one frame needs of it.
#[test]
fn any_frame_of_a_great_many_is_found_after_a_restart_too() {
    const FRAMES: u32 = 190_000;
    // Each its own length, and its number in it.
    let frame = |n: u32| {
        let tail = vec![0x5A; 2 + 2 * (n % 90) as usize];
        [&b"\xFF\xD8\xFF\xE0"[..], &n.to_le_bytes(), &tail].concat()
    };
    let fragments: Vec<Vec<Vec<u8>>> = (1..=FRAMES).map(|n| vec![frame(n)]).collect();
    let file = new().fragments(GREY, &fragments, Offsets::Absent).syntax("1.2.840.10008.1.2.4.50").part10();
    drop(fragments);
    let scratch = tempfile::tempdir().expect("a folder");
    let data = scratch.path().join("data");
    let archive = Process::start(&data, &[]);
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    assert_eq!(archive.ask("POST", "/v2/studies", &headers, &file).status, 200);
    let right = |archive: &Process| {
        let mut connection = archive.connect();
        let mut ask = |list: String, accept| {
            connection
                .ask("GET", &format!("{INSTANCE}/frames/{list}"), &[("accept", accept)], b"")
                .expect("an answer")
        };
        for n in [FRAMES, 1, 2, 63, 64, 65, 95_000, 123_456, FRAMES - 1] {
            let began = std::time::Instant::now();
            let answer = ask(n.to_string(), SINGLE);
            assert_eq!((answer.status, answer.bytes()), (200, frame(n).as_slice()), "frame {n}");
            eprintln!("frame {n} after {:?}", began.elapsed());
        }
        let several = ask(format!("{FRAMES},7,100000"), SEVERAL).parts();
        let wanted = [frame(FRAMES), frame(7), frame(100_000)];
        assert!(several.iter().map(|(_, bytes)| bytes).eq(&wanted));
        assert_eq!(ask((FRAMES + 1).to_string(), SINGLE).status, 404);
    };
    right(&archive);
    archive.kill();
    let archive = Process::start(&data, &[]);
    right(&archive);
    // Another one in its place has its own frames.
    let other = new().frames(GREY, &[pixels(15, 1)]).part10();
    assert_eq!(archive.ask("PUT", "/v2/studies", &headers, &other).status, 200);
    let answer = archive.ask("GET", &format!("{INSTANCE}/frames/1"), &[("accept", SINGLE)], b"");
    assert_eq!(answer.bytes(), pixels(15, 1));
}
