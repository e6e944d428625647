//! Frames as the scanner finds them in whole files (`studies.md` §3.5).

use super::*;
use crate::dicom::frames::FrameSource;

/// The bytes of a frame, of the inflated stream if `source` counts in that.
fn bytes_of(index: &FrameIndex, number: u32, source: &[u8]) -> Option<Vec<u8>> {
    match index.frame(number)? {
        FrameSource::Bytes(ranges) => {
            Some(ranges.iter().flat_map(|r| &source[r.start as usize..r.end as usize]).copied().collect())
        }
        FrameSource::Bits { .. } => panic!("bytes are expected"),
    }
}

fn geometry(w: &mut Writer, frames: &str, bits: u16) {
    w.shorts(0x0028_0002, "US", &[1]).text(0x0028_0004, "CS", "MONOCHROME2 ").text(0x0028_0008, "IS", frames);
    w.shorts(0x0028_0010, "US", &[2]).shorts(0x0028_0011, "US", &[3]).shorts(0x0028_0100, "US", &[bits]);
}

#[test]
fn native_frames_lie_one_after_the_other_in_every_syntax() {
    for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED] {
        let mut w = Writer::new(syntax);
        geometry(&mut w, "3 ", 8);
        w.bytes(0x7FE0_0010, "OB", b"aaaaaabbbbbbcc");
        let dataset = w.bytes;
        let file =
            if syntax == DEFLATED { part10(syntax, &deflated(&dataset)) } else { part10(syntax, &dataset) };
        let index = scan(&file).unwrap().frames;
        let source = if index.inflated() { &dataset } else { &file };
        assert_eq!(index.inflated(), syntax == DEFLATED);
        assert_eq!(index.count(), 3);
        assert_eq!(bytes_of(&index, 1, source).unwrap(), b"aaaaaa");
        assert_eq!(bytes_of(&index, 2, source).unwrap(), b"bbbbbb");
        // The element is complete, but shorter than its geometry says.
        assert_eq!(index.frame(3), None);
        assert_eq!((index.frame(0), index.frame(4)), (None, None));
    }
}

#[test]
fn fragments_are_found_where_they_are() {
    let mut w = Writer::new(JPEG);
    geometry(&mut w, "2", 8);
    w.fragments(&[0, 22], &[b"one ", b"ab", b"two"]);
    let file = part10(JPEG, &w.bytes);
    let index = scan(&file).unwrap().frames;
    assert_eq!(bytes_of(&index, 1, &file).unwrap(), b"one ab");
    assert_eq!(bytes_of(&index, 2, &file).unwrap(), b"two");
}

#[test]
fn an_extended_offset_table_is_used() {
    let mut w = Writer::new(JPEG);
    geometry(&mut w, "2", 8);
    let numbers = |all: [u64; 2]| all.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    w.bytes(0x7FE0_0001, "OV", &numbers([0, 22])).bytes(0x7FE0_0002, "OV", &numbers([6, 3]));
    w.fragments(&[], &[b"one ", b"ab", b"two"]);
    let file = part10(JPEG, &w.bytes);
    let scanned = scan(&file).unwrap();
    assert_eq!(bytes_of(&scanned.frames, 1, &file).unwrap(), b"one ab");
    assert_eq!(bytes_of(&scanned.frames, 2, &file).unwrap(), b"two");
    assert_eq!(scanned.bulk.len(), 3);
}

#[test]
fn without_tables_the_starts_of_images_tell_the_frames() {
    for fragments in [
        [b"\xFF\xD8\xFF\xE0".as_slice(), b"rest", b"\xFF\xD8\xFF\xE1"],
        [b"\xFF\x4F\xFF\x51\0".as_slice(), b"\xFF\xD8", b"\xFF\x4F\xFF\x51\0"],
    ] {
        let mut w = Writer::new(JPEG);
        geometry(&mut w, "2", 8);
        w.fragments(&[], &fragments);
        let file = part10(JPEG, &w.bytes);
        let index = scan(&file).unwrap().frames;
        assert_eq!(bytes_of(&index, 1, &file).unwrap(), [fragments[0], fragments[1]].concat());
        assert_eq!(bytes_of(&index, 2, &file).unwrap(), fragments[2]);
    }
}

#[test]
fn an_icon_leaves_the_frames_alone() {
    let mut w = Writer::new(JPEG);
    geometry(&mut w, "2", 8);
    w.sequence(
        0x0088_0200,
        false,
        &[&|item| {
            item.text(0x0028_0008, "IS", "9 ").shorts(0x0028_0010, "US", &[9]).shorts(
                0x0028_0100,
                "US",
                &[1],
            );
            item.fragments(&[0], &[b"icon", b"icon"]);
        }],
    );
    let mut encapsulated = w.clone();
    encapsulated.fragments(&[], &[b"one ", b"two "]);
    let file = part10(JPEG, &encapsulated.bytes);
    let scanned = scan(&file).unwrap();
    assert_eq!(scanned.bulk[0].path, "00880200/1/7FE00010");
    assert_eq!(scanned.frames.count(), 2);
    assert_eq!(bytes_of(&scanned.frames, 2, &file).unwrap(), b"two ");

    // The icon alone is no pixel data.
    assert_eq!(scan(&part10(JPEG, &w.bytes)).unwrap().frames, FrameIndex::default());
}

#[test]
fn encapsulated_bulk_reaches_from_the_first_item_through_the_delimiter() {
    let mut w = Writer::new(JPEG);
    w.fragments(&[0], &[b"abcd"]);
    let file = part10(JPEG, &w.bytes);
    let bulk = scan(&file).unwrap().bulk.remove(0);
    assert_eq!((bulk.offset, bulk.length), (file.len() as u64 - 32, 32));
}

#[test]
fn a_video_of_many_frames_is_one_stream() {
    for (frames, present) in [("2", false), ("1", true)] {
        let mut w = Writer::new(EXPLICIT);
        geometry(&mut w, frames, 8);
        w.fragments(&[], &[b"ab", b"cd"]);
        for syntax in ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.102.1"] {
            let index = scan(&part10(syntax, &w.bytes)).unwrap().frames;
            assert_eq!(index.frame(1).is_some(), present, "{syntax}");
        }
    }
}

#[test]
fn geometry_that_makes_no_sense_has_no_frames_but_is_stored() {
    let spoil: [fn(&mut Writer); 6] = [
        |w| {
            w.shorts(0x0028_0010, "US", &[0])
                .shorts(0x0028_0011, "US", &[3])
                .shorts(0x0028_0100, "US", &[8])
                .done()
        },
        |w| {
            w.text(0x0028_0010, "LO", "2 ")
                .shorts(0x0028_0011, "US", &[3])
                .shorts(0x0028_0100, "US", &[8])
                .done()
        },
        |w| {
            w.shorts(0x0028_0010, "US", &[2])
                .shorts(0x0028_0011, "US", &[3])
                .shorts(0x0028_0100, "US", &[12])
                .done()
        },
        |w| {
            w.shorts(0x0028_0010, "US", &[2, 2])
                .shorts(0x0028_0011, "US", &[3])
                .shorts(0x0028_0100, "US", &[8])
                .done()
        },
        |w| {
            w.shorts(0x0028_0002, "US", &[65535]).shorts(0x0028_0010, "US", &[65535]);
            w.shorts(0x0028_0011, "US", &[65535]).shorts(0x0028_0100, "US", &[64]);
        },
        |w| w.shorts(0x0028_0010, "US", &[2]).done(),
    ];
    for spoil in spoil {
        let mut w = Writer::new(EXPLICIT);
        spoil(&mut w);
        w.bytes(0x7FE0_0010, "OB", b"aaaaaa");
        let index = scan(&part10(EXPLICIT, &w.bytes)).unwrap().frames;
        assert_eq!((index.count(), index.frame(1)), (1, None));
    }
}

#[test]
fn float_pixels_count_as_pixel_data() {
    for (tag, vr, bytes) in [(0x7FE0_0008, "OF", 24_usize), (0x7FE0_0009, "OD", 48)] {
        let mut w = Writer::new(EXPLICIT);
        w.shorts(0x0028_0010, "US", &[2]).shorts(0x0028_0011, "US", &[3]);
        w.bytes(tag, vr, &vec![7; bytes]);
        let file = part10(EXPLICIT, &w.bytes);
        assert_eq!(bytes_of(&scan(&file).unwrap().frames, 1, &file).unwrap().len(), bytes);
    }
}
