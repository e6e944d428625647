//! Datasets whose pixels give way to others (`dicom::reencode::Transcoder`), without an archive and without codecs:
//! what comes out is what the kit would have written.

use bytes::Bytes;
use kymo::dicom::frames::FrameCutter;
use kymo::dicom::reencode::{Edits, Piece, PixelHeader, Source, Transcoder, fragment, meta};

use crate::kit::dicom::{
    DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, Element, GE_IMPLICIT, IMPLICIT_LITTLE, Image, Instance, Offsets,
    PIXEL_DATA, Value,
};
use crate::reencode::{GREY16, rich, scanned};

const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const GREY8: Image = Image { bits: 8, ..GREY16 };
const RGB: Image = Image { samples: 3, photometric: "RGB", ..GREY8 };
const MONO: &str = "MONOCHROME2";

fn encapsulated(photometric: &'static str, planar: Option<u16>) -> Edits {
    Edits { photometric, planar, pixels: PixelHeader::Encapsulated }
}

fn native(image: Image, frames: &[Vec<u8>]) -> Edits {
    let length = u32::try_from(frames.concat().len()).expect("small frames");
    let pixels = PixelHeader::Native { bits_allocated: u8::try_from(image.bits).expect("few bits"), length };
    let planar = (image.samples > 1).then_some(0);
    Edits { photometric: image.photometric, planar, pixels }
}

/// The file in `syntax`, fed in slices of `step` bytes, its frames put in again as they are.
fn transcoded(file: &[u8], syntax: &str, edits: Edits, step: usize) -> Vec<u8> {
    let facts = scanned(file);
    let start = usize::try_from(facts.dataset_offset).expect("a small file");
    let source = Source::of_any(&facts.transfer_syntax);
    let (dataset, begin) = match source {
        Source::Deflated => (inflated(&file[start..]), 0),
        Source::Implicit | Source::BigEndian | Source::Plain => {
            (file[start..].to_vec(), facts.dataset_offset)
        }
    };
    let mut whole = meta(&file[..start], syntax).expect("a start");
    let (mut transcoder, mut cutter) = (Transcoder::new(source, begin, edits), FrameCutter::default());
    let mut ended = false;
    for piece in dataset.chunks(step) {
        for piece in transcoder.feed(&Bytes::copy_from_slice(piece)).expect("the scanner has passed it") {
            match piece {
                Piece::Bytes(bytes) => whole.extend(bytes),
                Piece::Pixels { at, bytes } => {
                    assert!(!ended);
                    for frame in cutter.feed(&facts.frames, at, &bytes) {
                        match edits.pixels {
                            PixelHeader::Native { .. } => whole.extend(frame),
                            PixelHeader::Encapsulated => {
                                whole.extend(fragment(frame).expect("a small one").concat());
                            }
                        }
                    }
                }
                Piece::PixelsEnd => {
                    assert!(cutter.finish(&facts.frames).is_empty());
                    assert!(cutter.is_complete(&facts.frames) && !ended);
                    ended = true;
                }
            }
        }
    }
    transcoder.finish().expect("it is complete");
    assert!(ended, "the pixels end");
    whole
}

fn inflated(deflated: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(deflated), &mut whole)
        .expect("it inflates");
    whole
}

fn odd_frames() -> Vec<Vec<u8>> {
    vec![(0..15).collect(), (100..115).collect(), (200..215).collect()]
}

/// As fragments, each padded to an even length.
fn as_fragments(frames: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let padded = |frame: &Vec<u8>| [&frame[..], &[0][..frame.len() % 2]].concat();
    frames.iter().map(|frame| vec![padded(frame)]).collect()
}

/// Says where two files part.
fn same(got: &[u8], wanted: &[u8], what: &str) {
    let parts = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
    let around =
        |file: &[u8]| format!("{:02X?}", &file[parts.saturating_sub(20)..file.len().min(parts + 20)]);
    assert!(got == wanted, "{what}: byte {parts}: {} is not {}", around(got), around(wanted));
}

/// Much else beside the pixels, which are still to come; signed, so that it shows which VR a number gets. The
/// descriptor of a palette would be signed as well.
fn around() -> Instance {
    rich().without(0x0028_0008).without(0x0028_1101).without(PIXEL_DATA)
}

fn signed(instance: Instance) -> Instance {
    instance.element(0x0028_0103, "US", 1_u16)
}

#[test]
fn native_pixels_of_every_encoding_become_fragments_with_an_empty_offset_table() {
    let wide: Vec<Vec<u8>> = vec![(0..30).collect(), (100..130).collect()];
    let padded = Instance::new("1.2", "1.3", "1.4").element(0xFFFC_FFFC, "OB", vec![0; 6]);
    for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED] {
        for (stored, image, frames) in [
            (around(), GREY8, odd_frames()),
            (around(), GREY16, wide.clone()),
            (padded.clone(), GREY8, odd_frames()),
        ] {
            // The dictionary has other VRs for deeper numbers before Pixel Representation, and for lists of points.
            let implicit = || stored.clone().without(0x0008_1115).without(0x0066_0023);
            let stored = if syntax == IMPLICIT_LITTLE { implicit() } else { stored };
            let native = signed(stored.clone().frames(image, &frames)).syntax(syntax);
            // Of 8 bits in 16-bit words, too: frames begin inside a word.
            let words = [frames.concat(), vec![0; frames.concat().len() % 2]].concat();
            let in_words = native.clone().element(PIXEL_DATA, "OW", Value::Words(words));
            let wanted = signed(stored.fragments(image, &as_fragments(&frames), Offsets::Absent));
            let wanted = wanted.syntax(JPEG_2000).part10();
            for step in [1, 2, 7, 64, usize::MAX] {
                let got = transcoded(&native.part10(), JPEG_2000, encapsulated(MONO, None), step);
                same(&got, &wanted, &format!("{syntax}, {} bits, slices of {step}", image.bits));
            }
            let got = transcoded(&in_words.part10(), JPEG_2000, encapsulated(MONO, None), 5);
            assert!(got == wanted, "{syntax}, {} bits in words", image.bits);
        }
    }
}

#[test]
fn fragments_become_native_pixels_and_tables_of_offsets_go() {
    let two = vec![(0..30).collect::<Vec<u8>>(), (60..90).collect()];
    for (bits, frames) in [(8, two.clone()), (16, two.clone()), (8, two[..1].to_vec())] {
        let image = Image { rows: 1, columns: 30 * 8 / bits, bits, ..GREY8 };
        // Each of two fragments.
        let pieces: Vec<Vec<Vec<u8>>> =
            frames.iter().map(|frame| frame.chunks(16).map(<[u8]>::to_vec).collect()).collect();
        let wanted = around().frames(image, &frames).syntax(EXPLICIT_LITTLE).part10();
        for offsets in [Offsets::Basic, Offsets::Extended] {
            let file = around().fragments(image, &pieces, offsets).syntax(JPEG).part10();
            for step in [1, 3, 64, usize::MAX] {
                let got = transcoded(&file, EXPLICIT_LITTLE, native(image, &frames), step);
                assert!(got == wanted, "{bits} bits, {offsets:?}, slices of {step}");
            }
        }
    }
}

#[test]
fn an_odd_number_of_pixel_bytes_is_padded_behind_the_last_frame() {
    let frames = odd_frames();
    let file = rich().fragments(GREY8, &as_fragments(&frames), Offsets::Basic).syntax(JPEG).part10();
    let edits = native(GREY8, &frames);
    // One that decodes to what is odd: cut the padding as a codec does.
    let facts = scanned(&file);
    let start = usize::try_from(facts.dataset_offset).expect("a small file");
    let mut whole = meta(&file[..start], EXPLICIT_LITTLE).expect("a start");
    let (mut transcoder, mut cutter) =
        (Transcoder::new(Source::Plain, facts.dataset_offset, edits), FrameCutter::default());
    for piece in transcoder.feed(&Bytes::copy_from_slice(&file[start..])).expect("it is whole") {
        match piece {
            Piece::Bytes(bytes) => whole.extend(bytes),
            Piece::Pixels { at, bytes } => {
                for frame in cutter.feed(&facts.frames, at, &bytes) {
                    whole.extend(&frame[..15]);
                }
            }
            Piece::PixelsEnd => {}
        }
    }
    assert!(whole == rich().frames(GREY8, &frames).syntax(EXPLICIT_LITTLE).part10());
}

#[test]
fn the_attributes_of_the_pixels_are_replaced_or_put_where_they_belong() {
    let frames = vec![(0..45).collect::<Vec<u8>>()];
    let color = |planar: Option<u16>, photometric: &'static str| {
        let image = Instance::new("1.2", "1.3", "1.4").frames(Image { photometric, ..RGB }, &frames);
        match planar {
            Some(planar) => image.element(0x0028_0006, "US", planar),
            None => image.without(0x0028_0006),
        }
    };
    let wanted = color(Some(0), "YBR_RCT").fragments(
        Image { photometric: "YBR_RCT", ..RGB },
        &as_fragments(&frames),
        Offsets::Absent,
    );
    let wanted = wanted.syntax(JPEG_2000).part10();
    for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG] {
        for planar in [None, Some(0), Some(1)] {
            let file = color(planar, "RGB").syntax(syntax).part10();
            assert!(
                transcoded(&file, JPEG_2000, encapsulated("YBR_RCT", Some(0)), 11) == wanted,
                "{syntax} {planar:?}"
            );
        }
    }
    // Left alone where it means nothing.
    let grey =
        Instance::new("1.2", "1.3", "1.4").frames(GREY8, &odd_frames()).element(0x0028_0006, "US", 1_u16);
    let got = transcoded(&grey.part10(), JPEG_2000, encapsulated(MONO, None), 9);
    let wanted =
        grey.fragments(GREY8, &as_fragments(&odd_frames()), Offsets::Absent).syntax(JPEG_2000).part10();
    assert!(got == wanted);
}

#[test]
fn elements_out_of_order_are_not_there_twice() {
    let frames = vec![(0..45).collect::<Vec<u8>>()];
    let parts = Instance::new("1.2", "1.3", "1.4").frames(RGB, &frames);
    // Photometric Interpretation and Planar Configuration behind the pixels.
    let ordered = parts.without(0x0028_0004).without(0x0028_0006).part10();
    let mut late = Instance::new("1", "1", "1").bare();
    late = late.element(0x0028_0004, "CS", "RGB").element(0x0028_0006, "US", 1_u16);
    let late = late.part10();
    let late = &late[usize::try_from(scanned_start(&late)).expect("a small file")..];
    let file = [&ordered[..], late].concat();
    let got = transcoded(&file, JPEG_2000, encapsulated("YBR_RCT", Some(0)), 13);
    let facts = scanned(&got);
    assert_eq!(facts.frames.count(), 1);
    let object = crate::reencode::read(&got);
    let photometric = object.element(dicom_core::Tag(0x0028, 0x0004)).expect("it is there");
    assert_eq!(photometric.to_str().expect("a text"), "YBR_RCT");
    let planar = object.element(dicom_core::Tag(0x0028, 0x0006)).expect("it is there");
    assert_eq!(planar.to_int::<u16>().expect("a number"), 0);
}

/// Where the dataset of a file begins that the scanner would not pass.
fn scanned_start(file: &[u8]) -> u32 {
    let length = u32::from_le_bytes(file[140..144].try_into().expect("four bytes"));
    144 + length
}

/// Icons keep their pixels, and what is in no need of change is the same byte for byte, also where lengths are declared.
#[test]
fn what_lies_deeper_stays_as_it_is() {
    let icon = || {
        vec![
            Element::new(0x0028_0002, "US", 1_u16),
            Element::new(0x0028_0004, "CS", "RGB"),
            Element::new(0x0028_0006, "US", 1_u16),
            Element::new(0x7FE0_0010, "OB", vec![1, 2, 3, 4]),
        ]
    };
    for defined in [false, true] {
        let file =
            rich().element(0x0088_0200, "SQ", Value::Sequence(vec![icon()])).frames(GREY8, &odd_frames());
        let file = if defined { file.defined_lengths() } else { file };
        let wanted = file
            .clone()
            .fragments(GREY8, &as_fragments(&odd_frames()), Offsets::Absent)
            .syntax(JPEG_2000)
            .part10();
        assert!(transcoded(&file.part10(), JPEG_2000, encapsulated(MONO, None), 17) == wanted);
    }
}

#[test]
fn group_lengths_of_the_top_level_go_since_they_would_be_wrong() {
    let with = rich().frames(GREY8, &odd_frames()).element(0x0028_0000, "UL", Value::U32(vec![7]));
    let with = with.element(0x7FE0_0000, "UL", Value::U32(vec![57]));
    let wanted =
        rich().fragments(GREY8, &as_fragments(&odd_frames()), Offsets::Absent).syntax(JPEG_2000).part10();
    assert!(transcoded(&with.part10(), JPEG_2000, encapsulated(MONO, None), 4096) == wanted);
}

#[test]
fn the_encoding_of_a_dataset_follows_from_its_syntax() {
    for (syntax, source) in [
        (IMPLICIT_LITTLE, Source::Implicit),
        (GE_IMPLICIT, Source::Implicit),
        (EXPLICIT_BIG, Source::BigEndian),
        (DEFLATED, Source::Deflated),
        (EXPLICIT_LITTLE, Source::Plain),
        (JPEG_2000, Source::Plain),
        ("1.2.3", Source::Plain),
    ] {
        assert_eq!(Source::of_any(syntax), source, "{syntax}");
    }
}

#[test]
fn what_is_cut_off_is_not_complete() {
    let file = rich().frames(GREY8, &odd_frames()).part10();
    let facts = scanned(&file);
    let start = usize::try_from(facts.dataset_offset).expect("a small file");
    let dataset = Bytes::copy_from_slice(&file[start..]);
    for short in [1, 10, 60] {
        let mut transcoder = Transcoder::new(Source::Plain, facts.dataset_offset, encapsulated(MONO, None));
        transcoder.feed(&dataset.slice(..dataset.len() - short)).expect("so far it goes");
        assert!(transcoder.finish().is_err(), "{short}");
    }
}
