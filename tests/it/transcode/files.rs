//! Whole files: one, and several (`studies.md` §3.3, §3.4).

use axum::http::Method;
use dicom_core::Tag;
use dicom_core::value::Value as DicomValue;

use super::{
    FILES, GREY8, GREY16, IMAGES, INSTANCE, JPEG_2000, JPEG_LS, LOSSLESS, RGB, RLE, described, file_in,
    in_rle, pictures, rle, unpacked,
};
use crate::kit::dicom::{
    DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, Element, IMPLICIT_LITTLE, Image, Instance, Offsets, PIXEL_DATA,
    Value,
};
use crate::kit::served::{Answer, Served};
use crate::reencode::{flat, read, scanned};

const NATIVE: [&str; 4] = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED];

/// Replaces the only instance.
async fn put(archive: &Served, file: &[u8]) {
    let answer = archive.put("/v2/studies").dicom(file).send().await;
    assert!([200, 202].contains(&answer.status), "{answer:?}");
}

async fn asked(archive: &Served, syntax: &str) -> Answer {
    archive.get(INSTANCE).accept(&file_in(syntax)).send().await
}

/// Its fragments; there is an empty Basic Offset Table, and no other.
fn fragments(file: &[u8]) -> Vec<Vec<u8>> {
    let object = read(file);
    for table in [0x0001, 0x0002, 0x0003] {
        assert!(object.element(Tag(0x7FE0, table)).is_err());
    }
    let pixels = object.element(Tag(0x7FE0, 0x0010)).expect("it has pixels");
    let DicomValue::PixelSequence(pixels) = pixels.value() else { panic!("native pixels") };
    assert!(pixels.offset_table().is_empty());
    pixels.fragments().to_vec()
}

/// All but the pixels and what says how they lie.
fn rest(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut elements = Vec::new();
    flat(&read(file), "", &mut elements);
    let encoding = ["/(0028,0004)", "/(0028,0006)", "/(7FE0,0001)", "/(7FE0,0002)", "/(7FE0,0010)"];
    elements.retain(|(path, _)| !encoding.contains(&path.as_str()));
    elements
}

#[tokio::test]
async fn an_rle_file_becomes_what_would_have_been_written_in_explicit_little_endian() {
    let archive = Served::start().await;
    for (image, count) in IMAGES {
        let frames = pictures(image, count);
        let wanted = described("1.4").frames(image, &frames).part10();
        for offsets in [Offsets::Absent, Offsets::Basic, Offsets::Extended] {
            let stored = in_rle(described("1.4"), image, &frames, offsets);
            // By plane as it may be said of RLE, or not at all.
            let by_plane = stored.clone().element(0x0028_0006, "US", 1_u16);
            for stored in [stored.clone(), if image.samples > 1 { by_plane } else { stored }] {
                put(&archive, &stored.part10()).await;
                let got = asked(&archive, EXPLICIT_LITTLE).await;
                assert_eq!(got.status, 200, "{image:?} {offsets:?}: {got:?}");
                assert_eq!(got.header("content-type"), Some(file_in(EXPLICIT_LITTLE).as_str()));
                // Also an odd number of bytes is padded as the kit does.
                assert!(got.bytes() == wanted, "{image:?} {offsets:?}");
            }
        }
    }
}

#[tokio::test]
async fn native_files_of_every_encoding_become_rle_with_one_fragment_a_frame_and_an_empty_offset_table() {
    let archive = Served::start().await;
    for (image, count) in IMAGES {
        let frames = pictures(image, count);
        for syntax in NATIVE {
            let stored = described("1.4").frames(image, &frames).syntax(syntax).part10();
            put(&archive, &stored).await;
            let got = asked(&archive, RLE).await;
            assert_eq!(got.status, 200, "{image:?} {syntax}: {got:?}");
            assert_eq!(got.header("content-type"), Some(file_in(RLE).as_str()));
            let unpacked: Vec<_> =
                fragments(got.bytes()).iter().map(|frame| unpacked(image, frame)).collect();
            assert!(unpacked == frames, "{image:?} {syntax}");
            // UIDs, what is said of lossy compression, and everything else.
            let plain = described("1.4").frames(image, &frames).part10();
            assert_eq!(rest(got.bytes()), rest(&plain), "{image:?} {syntax}");
            let object = read(got.bytes());
            let photometric = object.element(Tag(0x0028, 0x0004)).expect("it is there");
            assert_eq!(photometric.to_str().expect("a text").trim_end(), image.photometric);
            assert_eq!(object.element(Tag(0x0028, 0x0006)).is_ok(), image.samples > 1);
            assert_eq!(scanned(got.bytes()).transfer_syntax, RLE);
            // And back again.
            put(&archive, got.bytes()).await;
            let back = asked(&archive, EXPLICIT_LITTLE).await;
            assert!(back.bytes() == plain, "{image:?} {syntax}: there and back");
        }
    }
}

/// There and back again by way of every encoding, whatever the file was stored in.
#[tokio::test]
async fn lossless_encodings_round_trip_exactly() {
    let archive = Served::start().await;
    // What the dictionary has as US or SS would change its VR with the sign.
    let signed = |frames: &[Vec<u8>]| {
        let file = described("1.4").without(0x0028_0106).without(0x0028_0107);
        file.frames(GREY16, frames).element(0x0028_0103, "US", 1_u16)
    };
    let twelve = |file: Instance| file.element(0x0028_0101, "US", 12_u16).element(0x0028_0102, "US", 11_u16);
    let mut files: Vec<_> = IMAGES
        .into_iter()
        .map(|(image, count)| (image, described("1.4").frames(image, &pictures(image, count))))
        .collect();
    let right = |bytes: &[u8]| [bytes[0], if bytes[1] & 8 == 0 { bytes[1] & 7 } else { bytes[1] | 0xF8 }];
    let extended: Vec<_> = pictures(GREY16, 2)
        .iter()
        .map(|frame| frame.chunks(2).flat_map(right).collect::<Vec<u8>>())
        .collect();
    // Also with bits above those stored, where overlays once lay.
    files.push((GREY16, twelve(signed(&pictures(GREY16, 2)))));
    files.push((GREY16, twelve(signed(&extended))));
    files.push((GREY16, signed(&pictures(GREY16, 2))));
    for (number, (image, file)) in files.into_iter().enumerate() {
        let plain = file.clone().part10();
        for (wanted, syntax) in LOSSLESS.into_iter().zip([EXPLICIT_BIG, DEFLATED, IMPLICIT_LITTLE]) {
            for stored in [EXPLICIT_LITTLE, syntax] {
                put(&archive, &file.clone().syntax(stored).part10()).await;
                let got = asked(&archive, wanted).await;
                assert_eq!(got.status, 200, "{number} {image:?} {stored} {wanted}: {got:?}");
                let facts = scanned(got.bytes());
                assert_eq!(facts.transfer_syntax, wanted);
                assert_eq!(
                    fragments(got.bytes()).len(),
                    facts.frames.count() as usize,
                    "one fragment a frame"
                );
                assert_eq!(rest(got.bytes()), rest(&plain), "{number} {image:?} {wanted}");
                put(&archive, got.bytes()).await;
                let back = asked(&archive, EXPLICIT_LITTLE).await;
                assert!(back.bytes() == plain, "{number} {image:?} {stored} {wanted}: there and back");
            }
        }
    }
}

/// One encoding becomes the other without a native file between.
#[tokio::test]
async fn one_lossless_encoding_becomes_another() {
    let archive = Served::start().await;
    for (image, count) in IMAGES {
        let frames = pictures(image, count);
        let plain = described("1.4").frames(image, &frames).part10();
        let mut chain = in_rle(described("1.4"), image, &frames, Offsets::Basic).part10();
        for wanted in [JPEG_LS, JPEG_2000, RLE, JPEG_2000, JPEG_LS, EXPLICIT_LITTLE] {
            put(&archive, &chain).await;
            let got = asked(&archive, wanted).await;
            assert_eq!(got.status, 200, "{image:?} {wanted}: {got:?}");
            chain = got.bytes().to_vec();
        }
        assert!(chain == plain, "{image:?}");
    }
}

#[tokio::test]
async fn planes_become_pixels_before_they_are_encoded() {
    let archive = Served::start().await;
    let frames = pictures(RGB, 2);
    let by_plane: Vec<Vec<u8>> = frames
        .iter()
        .map(|frame| (0..3).flat_map(|sample| frame.iter().skip(sample).step_by(3).copied()).collect())
        .collect();
    for syntax in NATIVE {
        let stored = described("1.4").frames(RGB, &by_plane).element(0x0028_0006, "US", 1_u16).syntax(syntax);
        put(&archive, &stored.part10()).await;
        let got = asked(&archive, RLE).await;
        let got_frames: Vec<_> = fragments(got.bytes()).iter().map(|frame| unpacked(RGB, frame)).collect();
        assert!(got_frames == frames, "{syntax}");
        let planar = read(got.bytes()).element(Tag(0x0028, 0x0006)).expect("it is there").to_int::<u16>();
        assert_eq!(planar.expect("a number"), 0, "{syntax}");
    }
}

#[tokio::test]
async fn colour_shared_by_two_pixels_is_given_to_each() {
    let image = Image { rows: 2, columns: 4, samples: 3, bits: 8, photometric: "YBR_FULL_422" };
    let shared: Vec<u8> = (10..26).collect();
    let archive = Served::start().await;
    put(&archive, &described("1.4").frames(image, std::slice::from_ref(&shared)).part10()).await;
    let got = asked(&archive, RLE).await;
    let whole: Vec<u8> =
        shared.chunks(4).flat_map(|two| [two[0], two[2], two[3], two[1], two[2], two[3]]).collect();
    assert_eq!(unpacked(image, &fragments(got.bytes())[0]), whole);
    let photometric =
        read(got.bytes()).element(Tag(0x0028, 0x0004)).expect("it is there").to_str().map(String::from);
    assert_eq!(photometric.expect("a text").trim_end(), "YBR_FULL");
}

/// Nothing becomes lossy, whatever is asked: 406 is what a client takes for "not offered".
#[tokio::test]
async fn a_lossy_syntax_goes_out_only_as_it_is_stored() {
    let archive = Served::start().await;
    let frames = pictures(GREY16, 2);
    for stored in
        [described("1.4").frames(GREY16, &frames), in_rle(described("1.4"), GREY16, &frames, Offsets::Absent)]
    {
        put(&archive, &stored.part10()).await;
        for never in [
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.1.2.4.51",
            "1.2.840.10008.1.2.4.57",
            "1.2.840.10008.1.2.4.70",
            "1.2.840.10008.1.2.4.81",
            "1.2.840.10008.1.2.4.91",
            "1.2.840.10008.1.2.4.201",
            "1.2.840.10008.1.2.4.203",
        ] {
            let answer = asked(&archive, never).await;
            assert_eq!(answer.status, 406, "{never}: {answer:?}");
            let study = archive.get("/v2/studies/1.2").accept(&format!("{FILES}; transfer-syntax={never}"));
            assert_eq!(study.send().await.status, 406, "{never}");
        }
    }
}

#[tokio::test]
async fn several_instances_are_transcoded_when_all_can_be_and_each_part_says_so() {
    let archive = Served::start().await;
    let mut wanted = Vec::new();
    for (number, syntax) in [EXPLICIT_LITTLE, RLE, IMPLICIT_LITTLE, RLE].into_iter().enumerate() {
        let (frames, sop) = (pictures(GREY16, 1 + number), format!("1.4.{number}"));
        let native = described(&sop).frames(GREY16, &frames);
        let stored = match syntax {
            RLE => in_rle(described(&sop), GREY16, &frames, Offsets::Absent),
            _ => native.clone().syntax(syntax),
        };
        archive.stored(&stored.part10()).await;
        wanted.push((native.part10(), frames));
    }
    // A report among them has no pixels.
    archive.stored(&described("1.5").syntax(RLE).part10()).await;
    wanted.push((described("1.5").part10(), Vec::new()));
    for path in ["/v2/studies/1.2", "/v2/studies/1.2/series/1.3"] {
        let answer = archive.get(path).accept(FILES).send().await;
        let parts = answer.parts();
        assert_eq!(parts.len(), 5);
        for ((kind, bytes), (wanted, _)) in parts.iter().zip(&wanted) {
            assert_eq!(*kind, file_in(EXPLICIT_LITTLE));
            assert!(bytes == wanted, "{path}");
        }
        let answer = archive.get(path).accept(&format!("{FILES}; transfer-syntax={RLE}")).send().await;
        for ((kind, bytes), (_, frames)) in answer.parts().iter().zip(&wanted) {
            assert_eq!(*kind, file_in(RLE));
            if !frames.is_empty() {
                let got: Vec<_> = fragments(bytes).iter().map(|frame| unpacked(GREY16, frame)).collect();
                assert!(got == *frames);
            }
        }
    }
}

/// The 200th of 200, behind the first page, and nothing has been sent.
#[tokio::test]
async fn one_instance_that_cannot_be_transcoded_refuses_all_before_the_first_byte() {
    let archive = Served::start().await;
    let frames = pictures(GREY8, 1);
    let files: Vec<_> = (100..299)
        .map(|n| {
            in_rle(Instance::new("1.2", "1.3", &format!("1.4.{n}")), GREY8, &frames, Offsets::Absent).part10()
        })
        .collect();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    assert_eq!(archive.post("/v2/studies").multipart(&files).send().await.status, 200);
    let study = |accept: String| archive.get("/v2/studies/1.2").accept(&accept).send();
    assert_eq!(study(FILES.to_owned()).await.parts().len(), 199);
    let fragment = [vec![b"\xFF\x4F\xFF\x51\x00\x06KYMO".to_vec()]];
    let wavelets = Instance::new("1.2", "1.3", "1.4.999").fragments(GREY8, &fragment, Offsets::Absent);
    archive.stored(&wavelets.syntax("1.2.840.10008.1.2.4.92").part10()).await;
    for syntax in [EXPLICIT_LITTLE, LOSSLESS[0]] {
        let refused = study(format!("{FILES}; transfer-syntax={syntax}")).await;
        assert_eq!(refused.status, 406, "{refused:?}");
        assert!(refused.text().contains("transfer-syntax=*"), "{refused:?}");
    }
    assert_eq!(study(format!("{FILES}; transfer-syntax=*")).await.parts().len(), 200);
}

#[tokio::test]
async fn a_corrupt_first_frame_is_406() {
    let archive = Served::start().await;
    let good = pictures(GREY16, 2).iter().map(|frame| vec![rle(GREY16, frame)]).collect::<Vec<_>>();
    let empty = described("1.4").fragments(GREY16, &[vec![Vec::new()], vec![Vec::new()]], Offsets::Absent);
    put(&archive, &empty.syntax(RLE).part10()).await;
    assert_eq!(asked(&archive, EXPLICIT_LITTLE).await.status, 406, "frames without a byte");
    for bad in [vec![0; 64], vec![1, 2], good[0][0][..70].to_vec(), vec![]] {
        let fragments = [vec![bad], good[1].clone()];
        put(&archive, &described("1.4").fragments(GREY16, &fragments, Offsets::Basic).syntax(RLE).part10())
            .await;
        let answer = asked(&archive, EXPLICIT_LITTLE).await;
        assert_eq!(answer.status, 406, "{answer:?}");
        assert!(
            answer.text().contains("transfer-syntax=*") && answer.text().contains("pixels"),
            "{answer:?}"
        );
        assert_eq!(archive.get("/v2/studies/1.2").accept(FILES).send().await.status, 406);
        assert_eq!(asked(&archive, "*").await.status, 200);
    }
}

#[tokio::test]
async fn a_corrupt_later_frame_breaks_the_answer_off() {
    let archive = Served::start().await;
    let good = pictures(GREY16, 2).iter().map(|frame| vec![rle(GREY16, frame)]).collect::<Vec<_>>();
    let fragments = [good[0].clone(), vec![vec![9; 64]], good[1].clone()];
    put(&archive, &described("1.4").fragments(GREY16, &fragments, Offsets::Basic).syntax(RLE).part10()).await;
    let answer = asked(&archive, EXPLICIT_LITTLE).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_err(), "no short file is ever complete: {answer:?}");
    let several = archive.get("/v2/studies/1.2").accept(FILES).send().await;
    assert!(several.status == 200 && several.body.is_err(), "{several:?}");
    // The frames by themselves are as good as they are.
    let frame =
        |n: u8| archive.get(&format!("{INSTANCE}/frames/{n}")).accept("application/octet-stream").send();
    for (number, status) in [(1, 200), (2, 406), (3, 200)] {
        assert_eq!(frame(number).await.status, status, "frame {number}");
    }
}

#[tokio::test]
async fn another_syntax_has_another_tag_and_the_same_again_is_304() {
    let archive = Served::start().await;
    put(&archive, &described("1.4").frames(GREY16, &pictures(GREY16, 2)).syntax(IMPLICIT_LITTLE).part10())
        .await;
    let mut tags = Vec::new();
    for syntax in ["*", EXPLICIT_LITTLE].into_iter().chain(LOSSLESS) {
        let answer = asked(&archive, syntax).await;
        let tag = answer.header("etag").expect("a tag").to_owned();
        let again = archive.get(INSTANCE).accept(&file_in(syntax)).header("if-none-match", &tag).send().await;
        assert_eq!((again.status, again.bytes()), (304, &b""[..]), "{syntax}");
        assert!(asked(&archive, syntax).await.bytes() == answer.bytes(), "the same bytes again");
        assert_eq!(answer.header("accept-ranges"), (syntax == "*").then_some("bytes"));
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 2 + LOSSLESS.len(), "{tags:?}");
}

#[tokio::test]
async fn head_answers_as_get_would() {
    let archive = Served::start().await;
    put(&archive, &in_rle(described("1.4"), GREY16, &pictures(GREY16, 2), Offsets::Absent).part10()).await;
    for (accept, status) in [(file_in(EXPLICIT_LITTLE), 200), (file_in("1.2.840.10008.1.2.4.50"), 406)] {
        let got = archive.get(INSTANCE).accept(&accept).send().await;
        let head = archive.request(Method::HEAD, INSTANCE).accept(&accept).send().await;
        assert_eq!((head.status, got.status), (status, status));
        assert_eq!(head.bytes(), b"");
        for name in ["content-type", "etag"] {
            assert_eq!(head.header(name).is_some(), got.header(name).is_some(), "{name}");
        }
        assert_eq!(head.header("etag"), got.header("etag"));
    }
}

/// An icon of its own encoding would be unreadable in a file of another.
#[tokio::test]
async fn a_native_icon_stays_and_a_compressed_one_is_406() {
    let archive = Served::start().await;
    let frames = pictures(GREY8, 1);
    let icon = |pixels: Value| {
        Value::Sequence(vec![vec![
            Element::new(0x0028_0002, "US", 1_u16),
            Element::new(0x0028_0004, "CS", "MONOCHROME2"),
            Element::new(0x0028_0010, "US", 1_u16),
            Element::new(0x0028_0011, "US", 4_u16),
            Element::new(0x0028_0100, "US", 8_u16),
            Element::new(PIXEL_DATA, "OB", pixels),
        ]])
    };
    let native = || icon(Value::Bytes(vec![1, 2, 3, 4]));
    let compressed = || icon(Value::Fragments { basic: Vec::new(), fragments: vec![rle(GREY8, &frames[0])] });
    let with = |icon: Value| described("1.4").element(0x0088_0200, "SQ", icon);
    put(&archive, &in_rle(with(native()), GREY8, &frames, Offsets::Absent).part10()).await;
    let wanted = with(native()).frames(GREY8, &frames).part10();
    assert!(asked(&archive, EXPLICIT_LITTLE).await.bytes() == wanted);
    put(&archive, &wanted).await;
    assert_eq!(
        asked(&archive, RLE).await.status,
        200,
        "a native icon in a file of compressed pixels is legal"
    );
    for file in [in_rle(with(compressed()), GREY8, &frames, Offsets::Absent), with(compressed()).syntax(RLE)]
    {
        put(&archive, &file.part10()).await;
        let refused = asked(&archive, EXPLICIT_LITTLE).await;
        assert_eq!(refused.status, 406, "{refused:?}");
        assert!(refused.text().contains("icon"), "{refused:?}");
    }
    // Without pixels of its own, but a native icon.
    put(&archive, &with(native()).syntax(RLE).part10()).await;
    assert!(asked(&archive, EXPLICIT_LITTLE).await.bytes() == with(native()).part10());
}

#[tokio::test]
async fn what_the_attributes_rule_out_is_406_before_any_pixel_is_read() {
    let archive = Served::start().await;
    let frames = pictures(GREY8, 2);
    let good = in_rle(described("1.4"), GREY8, &frames, Offsets::Absent);
    let native = described("1.4").frames(GREY8, &frames);
    for (file, wanted, why) in [
        (good.clone().element(0x0028_0008, "IS", "3"), EXPLICIT_LITTLE, "as many frames"),
        (good.clone().without(0x0028_0004), EXPLICIT_LITTLE, "Photometric"),
        (good.clone().element(0x0028_0004, "CS", "HSV"), EXPLICIT_LITTLE, "Photometric"),
        (good.clone().element(0x0028_0002, "US", 3_u16), EXPLICIT_LITTLE, "Samples"),
        (good.clone().element(0x0028_0010, "US", 0_u16), EXPLICIT_LITTLE, "Rows"),
        (good.clone().element(0x0028_0101, "US", 9_u16), EXPLICIT_LITTLE, "Bits"),
        (good.clone().element(0x0028_0100, "US", 12_u16), EXPLICIT_LITTLE, "Bits"),
        (good.clone().syntax("1.2.840.10008.1.2.4.102"), EXPLICIT_LITTLE, "ask for"),
        (good.clone().syntax("1.2.3.4"), EXPLICIT_LITTLE, "ask for"),
        // Named as compressed, and native; and the other way.
        (native.clone().syntax(RLE), EXPLICIT_LITTLE, "not such as"),
        (good.syntax(EXPLICIT_LITTLE), RLE, "not such as"),
        (native.clone().element(0x0028_0008, "IS", "3"), RLE, "as many frames"),
        (native.element(0x0028_0100, "US", 1_u16).element(0x0028_0101, "US", 1_u16), RLE, "Bits"),
        (
            described("1.4").frames(Image { bits: 32, ..GREY8 }, &pictures(Image { bits: 32, ..GREY8 }, 1)),
            JPEG_2000,
            "Bits",
        ),
        (
            described("1.4").frames(Image { bits: 32, ..GREY8 }, &[Vec::new()]).without(PIXEL_DATA).element(
                0x7FE0_0008,
                "OF",
                Value::F32(vec![1.0; 15]),
            ),
            RLE,
            "floating",
        ),
    ] {
        put(&archive, &file.part10()).await;
        let answer = asked(&archive, wanted).await;
        assert_eq!(answer.status, 406, "{why}: {answer:?}");
        assert!(
            answer.text().contains(why) && answer.text().contains("transfer-syntax=*"),
            "{why}: {answer:?}"
        );
        let stored = asked(&archive, "*").await;
        assert!(stored.bytes() == file.part10(), "{why}");
    }
}
