//! One image and more in each transfer syntax that is retrieved by name or only as stored.
//!
//! Native frames and RLE are real. Where there is no encoder, a frame is a made-up codestream between the markers
//! of its format: right for everything that does not decode it.

use super::{
    DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, GE_IMPLICIT, IMPLICIT_LITTLE, Image, Instance, Offsets,
};

/// A file and what its frames must be.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// Syntax and shape, also the instance's file name.
    pub(crate) name: String,
    pub(crate) transfer_syntax: String,
    pub(crate) part10: Vec<u8>,
    /// The bytes of each frame as stored; none where the stream is not made of frames.
    pub(crate) frames: Vec<Vec<u8>>,
}

const GREY8: Image = Image { rows: 3, columns: 5, samples: 1, bits: 8, photometric: "MONOCHROME2" };
const GREY16: Image = Image { bits: 16, ..GREY8 };
const RGB: Image = Image { samples: 3, photometric: "RGB", ..GREY8 };
const YBR: Image = Image { rows: 2, columns: 4, samples: 3, bits: 8, photometric: "YBR_FULL_422" };
const BITMAP: Image = Image { bits: 1, ..GREY8 };

const RLE: &str = "1.2.840.10008.1.2.5";
const MPEG4: &str = "1.2.840.10008.1.2.4.102";
const PRIVATE: &str = "1.2.826.0.1.3680043.10.543.99.1";

/// Every family, in a fixed order, each in a study of its own.
pub(crate) fn families() -> Vec<Family> {
    let mut families = Vec::new();
    for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, GE_IMPLICIT, PRIVATE] {
        native(&mut families, syntax);
    }
    for (syntax, format) in [
        ("1.2.840.10008.1.2.4.50", Format::Jpeg),
        ("1.2.840.10008.1.2.4.51", Format::Jpeg),
        ("1.2.840.10008.1.2.4.57", Format::Jpeg),
        ("1.2.840.10008.1.2.4.70", Format::Jpeg),
        ("1.2.840.10008.1.2.4.80", Format::JpegLs),
        ("1.2.840.10008.1.2.4.81", Format::JpegLs),
        ("1.2.840.10008.1.2.4.90", Format::Jpeg2000),
        ("1.2.840.10008.1.2.4.91", Format::Jpeg2000),
        ("1.2.840.10008.1.2.4.201", Format::Jpeg2000),
        ("1.2.840.10008.1.2.4.202", Format::Jpeg2000),
        ("1.2.840.10008.1.2.4.203", Format::Jpeg2000),
        (RLE, Format::Rle),
    ] {
        encapsulated(&mut families, syntax, format);
    }
    let stream = [&b"\0\0\0\x18ftypmp42"[..], &pixels(200, 7)].concat();
    let fragments: Vec<Vec<u8>> = stream.chunks(100).map(<[u8]>::to_vec).collect();
    let video = instance(&families, MPEG4)
        .fragments(Image { photometric: "YBR_PARTIAL_420", ..RGB }, &[fragments], Offsets::Absent)
        .element(0x0028_0008, "IS", "25");
    push(&mut families, "video", MPEG4, &video, Vec::new());
    families
}

fn native(families: &mut Vec<Family>, syntax: &str) {
    for (shape, image, count) in [
        ("grey 8 bit, odd", GREY8, 1),
        ("grey 8 bit, 3 frames", GREY8, 3),
        ("grey 16 bit", GREY16, 1),
        ("grey 16 bit, 3 frames", GREY16, 3),
        ("RGB", RGB, 1),
        ("RGB, 2 frames", RGB, 2),
        ("YBR 4:2:2, 2 frames", YBR, 2),
    ] {
        let frames: Vec<Vec<u8>> = (0..count).map(|n| pixels(frame_bytes(image), n)).collect();
        let file = instance(families, syntax).frames(image, &frames);
        let swapped = syntax == EXPLICIT_BIG && image.bits == 16;
        let stored = frames.iter().map(|frame| if swapped { swap(frame) } else { frame.clone() }).collect();
        push(families, shape, syntax, &file, stored);
    }
    let bits = u32::from(BITMAP.rows) * u32::from(BITMAP.columns);
    let packed = pixels(6, 3);
    let frames = (0..3).map(|n| shifted(&packed, n * bits, bits)).collect();
    let file = instance(families, syntax).frames(BITMAP, &[packed]).element(0x0028_0008, "IS", "3");
    push(families, "1 bit, 3 frames", syntax, &file, frames);
}

fn encapsulated(families: &mut Vec<Family>, syntax: &str, format: Format) {
    for (shape, fragments, offsets) in [
        ("1 frame", &[1][..], Offsets::Absent),
        ("1 frame of 3 fragments", &[3], Offsets::Absent),
        ("3 frames, no offsets", &[1, 1, 1], Offsets::Absent),
        ("3 frames, basic offsets", &[1, 1, 1], Offsets::Basic),
        ("3 frames of several fragments, basic offsets", &[2, 1, 3], Offsets::Basic),
        ("3 frames, extended offsets", &[1, 1, 1], Offsets::Extended),
    ] {
        // PS3.5 §A.4.2: an RLE frame is one fragment.
        if format == Format::Rle && fragments.iter().any(|count| *count > 1) {
            continue;
        }
        let frames: Vec<Vec<Vec<u8>>> =
            fragments.iter().enumerate().map(|(n, count)| cut(&format.frame(n), *count)).collect();
        let file = instance(families, syntax).fragments(GREY16, &frames, offsets);
        push(families, shape, syntax, &file, frames.iter().map(|frame| frame.concat()).collect());
    }
}

fn push(families: &mut Vec<Family>, shape: &str, syntax: &str, file: &Instance, frames: Vec<Vec<u8>>) {
    let name = format!("{syntax} {shape}");
    families.push(Family { name, transfer_syntax: syntax.to_owned(), part10: file.part10(), frames });
}

fn instance(families: &[Family], syntax: &str) -> Instance {
    let study = format!("2.25.7001{:03}", families.len());
    Instance::new(&study, &format!("{study}.1"), &format!("{study}.1.1")).syntax(syntax)
}

/// Made-up bytes that differ from frame to frame.
fn pixels(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 7 + seed * 31 + n * n / 5) % 251) as u8).collect()
}

fn frame_bytes(image: Image) -> usize {
    let pixels = usize::from(image.rows) * usize::from(image.columns);
    match image.photometric {
        "YBR_FULL_422" => pixels * 2,
        _ => pixels * usize::from(image.samples) * usize::from(image.bits) / 8,
    }
}

fn swap(words: &[u8]) -> Vec<u8> {
    words.chunks(2).flat_map(|word| word.iter().rev().copied()).collect()
}

/// `count` bits from bit `from`, the lowest of each byte first, padded with zero bits.
fn shifted(packed: &[u8], from: u32, count: u32) -> Vec<u8> {
    let bit = |at: u32| packed[(at / 8) as usize] >> (at % 8) & 1;
    let mut frame = vec![0; count.div_ceil(8) as usize];
    for n in 0..count {
        frame[(n / 8) as usize] |= bit(from + n) << (n % 8);
    }
    frame
}

/// `count` pieces of even length.
fn cut(frame: &[u8], count: usize) -> Vec<Vec<u8>> {
    let piece = frame.len().div_ceil(count).next_multiple_of(2);
    frame.chunks(piece).map(<[u8]>::to_vec).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    JpegLs,
    Jpeg2000,
    Rle,
}

impl Format {
    /// Frame `number`, of even length; frames differ in length.
    fn frame(self, number: usize) -> Vec<u8> {
        // No 0xFF occurs in it that could be taken for a marker.
        let body = pixels(40 + 6 * number, number);
        let stream = match self {
            Self::Jpeg => [&b"\xFF\xD8\xFF\xFE\x00\x06KYMO\xFF\xDA"[..], &body, b"\xFF\xD9"].concat(),
            Self::JpegLs => [&b"\xFF\xD8\xFF\xF7\x00\x06KYMO\xFF\xDA"[..], &body, b"\xFF\xD9"].concat(),
            Self::Jpeg2000 => [&b"\xFF\x4F\xFF\x51\x00\x06KYMO\xFF\x93"[..], &body, b"\xFF\xD9"].concat(),
            Self::Rle => return run_length(GREY16, &pixels(frame_bytes(GREY16), number)),
        };
        assert!(stream.len().is_multiple_of(2));
        stream
    }
}

/// RLE (PS3.5 Annex G): one segment for each byte of a sample, the most significant first.
fn run_length(image: Image, frame: &[u8]) -> Vec<u8> {
    let sample = usize::from(image.bits / 8);
    let segments: Vec<Vec<u8>> = (0..sample)
        .rev()
        .map(|byte| pack_bits(&frame.iter().skip(byte).step_by(sample).copied().collect::<Vec<_>>()))
        .collect();
    let mut header = vec![u32::try_from(segments.len()).expect("few segments")];
    let mut at = 64;
    for segment in &segments {
        header.push(at);
        at += u32::try_from(segment.len()).expect("short segments");
    }
    header.resize(16, 0);
    let header = header.iter().flat_map(|number| number.to_le_bytes());
    header.chain(segments.concat()).collect()
}

/// Runs of two bytes and more as such, the rest literally; padded to an even length.
fn pack_bits(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        for run in run.chunks(128) {
            let length = u8::try_from(run.len()).expect("at most 128");
            match length {
                1 => packed.push(0),
                length => packed.push((1_u8).wrapping_sub(length)),
            }
            packed.push(run[0]);
        }
    }
    if packed.len() % 2 == 1 {
        packed.push(0);
    }
    packed
}
