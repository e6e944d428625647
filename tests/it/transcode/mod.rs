//! Files and frames in another syntax than they are stored in, pixels decoded and encoded anew (`studies.md` §3.4).
//!
//! Judges: the kit, which writes the same instance natively; its own RLE, below; and for real files and all other
//! codecs pydicom, DCMTK and dicom3tools (`tests/real/transcoded.py`).
//! Elsewhere: what needs no codec (`reencode`), the codecs themselves (`codecs`).

mod edits;
mod files;
mod frames;
mod limits;
mod real;

use crate::kit::dicom::{Image, Instance, Offsets};

pub(crate) const RLE: &str = "1.2.840.10008.1.2.5";
pub(crate) const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
pub(crate) const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
/// What anything is encoded in, beside Explicit VR Little Endian.
pub(crate) const LOSSLESS: [&str; 3] = [RLE, JPEG_2000, JPEG_LS];

const GREY8: Image = Image { rows: 3, columns: 5, samples: 1, bits: 8, photometric: "MONOCHROME2" };
const GREY16: Image = Image { bits: 16, ..GREY8 };
const INVERTED: Image = Image { photometric: "MONOCHROME1", ..GREY16 };
const RGB: Image = Image { samples: 3, photometric: "RGB", ..GREY8 };
const RGB16: Image = Image { bits: 16, ..RGB };
const YBR: Image = Image { photometric: "YBR_FULL", ..RGB };
/// Images, and how many frames of each.
const IMAGES: [(Image, usize); 8] =
    [(GREY8, 1), (GREY8, 3), (GREY16, 1), (GREY16, 4), (INVERTED, 2), (RGB, 3), (RGB16, 2), (YBR, 1)];

const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const FILES: &str = "multipart/related; type=\"application/dicom\"";

fn file_in(syntax: &str) -> String {
    format!("application/dicom; transfer-syntax={syntax}")
}

/// Made-up pixels with runs and without, each frame its own.
fn pictures(image: Image, count: usize) -> Vec<Vec<u8>> {
    let length =
        usize::from(image.rows) * usize::from(image.columns) * usize::from(image.samples * image.bits / 8);
    let byte = |n: usize, frame: usize| {
        if n % 11 < 5 { 7 + frame as u8 } else { ((n * 7 + frame * 31) % 251) as u8 }
    };
    (0..count).map(|frame| (0..length).map(|n| byte(n, frame)).collect()).collect()
}

/// Says something of its pixels that must stay as it is.
fn described(sop: &str) -> Instance {
    Instance::new("1.2", "1.3", sop)
        .element(0x0008_0008, "CS", "DERIVED\\PRIMARY")
        .element(0x0028_0106, "US", 3_u16)
        .element(0x0028_0107, "US", 250_u16)
        .element(0x0028_2110, "CS", "01")
        .element(0x0028_2112, "DS", "10")
        .element(0x0028_2114, "CS", "ISO_10918_1")
}

/// In RLE, one fragment a frame.
fn in_rle(instance: Instance, image: Image, frames: &[Vec<u8>], offsets: Offsets) -> Instance {
    let fragments: Vec<_> = frames.iter().map(|frame| vec![rle(image, frame)]).collect();
    instance.fragments(image, &fragments, offsets).syntax(RLE)
}

/// PS3.5 Annex G in its simplest form: runs as such, all else one by one.
fn rle(image: Image, frame: &[u8]) -> Vec<u8> {
    let (bytes, samples) = (usize::from(image.bits / 8), usize::from(image.samples));
    let (mut header, mut body) = (vec![u32::from(image.samples * image.bits / 8)], Vec::new());
    for sample in 0..samples {
        for byte in (0..bytes).rev() {
            header.push(64 + u32::try_from(body.len()).expect("a small frame"));
            let plane: Vec<u8> =
                frame.iter().skip(sample * bytes + byte).step_by(samples * bytes).copied().collect();
            for run in plane.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(128)) {
                let length = u8::try_from(run.len()).expect("at most 128");
                body.extend([if length == 1 { 0 } else { 1_u8.wrapping_sub(length) }, run[0]]);
            }
        }
    }
    header.resize(16, 0);
    header.iter().flat_map(|number| number.to_le_bytes()).chain(body).collect()
}

/// What such a frame holds.
fn unpacked(image: Image, stored: &[u8]) -> Vec<u8> {
    let (bytes, samples) = (usize::from(image.bits / 8), usize::from(image.samples));
    let pixels = usize::from(image.rows) * usize::from(image.columns);
    let word = |n: usize| u32::from_le_bytes(stored[4 * n..4 * n + 4].try_into().expect("four")) as usize;
    assert_eq!(word(0), bytes * samples);
    assert!(stored.len().is_multiple_of(2));
    let mut frame = vec![0; pixels * samples * bytes];
    for segment in 0..word(0) {
        let mut at = word(1 + segment);
        let mut plane = Vec::new();
        while plane.len() < pixels {
            match stored[at] {
                128 => at += 1,
                count @ 0..128 => {
                    let count = usize::from(count) + 1;
                    plane.extend(&stored[at + 1..at + 1 + count]);
                    at += 1 + count;
                }
                count => {
                    plane.extend(vec![stored[at + 1]; 257 - usize::from(count)]);
                    at += 2;
                }
            }
        }
        assert_eq!(plane.len(), pixels, "runs end with their plane");
        let first = segment / bytes * bytes + (bytes - 1 - segment % bytes);
        for (to, value) in frame[first..].iter_mut().step_by(samples * bytes).zip(plane) {
            *to = value;
        }
    }
    frame
}

#[test]
fn the_kit_reads_what_it_writes() {
    for (image, count) in IMAGES {
        for frame in pictures(image, count) {
            assert_eq!(unpacked(image, &rle(image, &frame)), frame, "{image:?}");
        }
    }
}
