//! Frames of three samples a pixel as RGB (PS3.3 §C.7.6.3.1.2).
//!
//! Samples of other than 8 bits are brought to 255 first, so that YBR is turned into RGB in one way.

use super::Unrenderable;
use super::stored::Stored;
use super::voi::in_255;
use crate::dicom::pixels::{Native, Photometric};

/// What takes the place of three samples.
type Turn = fn([u8; 3]) -> [u8; 3];

pub(super) fn rgb(frame: &Native) -> Result<Vec<u8>, Unrenderable> {
    let shape = &frame.shape;
    match shape.photometric {
        Photometric::Rgb => Ok(bytes_of(frame)),
        Photometric::YbrFull => Ok(turned(bytes_of(frame), full)),
        Photometric::YbrFull422 if shape.is_subsampled() => shared(frame, full),
        Photometric::YbrPartial422 if shape.is_subsampled() => shared(frame, partial),
        Photometric::YbrFull422
        | Photometric::YbrPartial422
        | Photometric::YbrPartial420
        | Photometric::YbrIct
        | Photometric::YbrRct => {
            Err(Unrenderable("there are no native frames of its Photometric Interpretation"))
        }
        Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::Palette => {
            Err(Unrenderable("its Photometric Interpretation has no colour"))
        }
    }
}

/// Each sample as a byte.
fn bytes_of(frame: &Native) -> Vec<u8> {
    let stored = Stored::of(&frame.shape);
    if stored.bits == 8 {
        return stored.each(frame, |code| code as u8);
    }
    let greatest = (u64::MAX >> (64 - stored.bits)) as f64;
    let byte = |code: u64| in_255(code as f64 / greatest);
    if stored.bits > super::TABLE_BITS {
        return stored.each(frame, byte);
    }
    let table: Vec<u8> = (0..1 << stored.bits).map(byte).collect();
    stored.each(frame, |code| table[code as usize])
}

fn turned(mut samples: Vec<u8>, turn: Turn) -> Vec<u8> {
    for pixel in samples.as_chunks_mut().0 {
        *pixel = turn(*pixel);
    }
    samples
}

/// Two pixels of a row have their colour in common: Y, Y, Cb, Cr.
fn shared(frame: &Native, turn: Turn) -> Result<Vec<u8>, Unrenderable> {
    if frame.shape.columns % 2 == 1 {
        return Err(Unrenderable("pixels that share their colour by two are of an odd number"));
    }
    let mut samples = Vec::with_capacity(frame.bytes.len() / 2 * 3);
    for [first, second, blue, red] in frame.bytes.as_chunks().0 {
        samples.extend_from_slice(&turn([*first, *blue, *red]));
        samples.extend_from_slice(&turn([*second, *blue, *red]));
    }
    Ok(samples)
}

fn full([y, blue, red]: [u8; 3]) -> [u8; 3] {
    let (y, blue, red) = (f64::from(y), f64::from(blue) - 128.0, f64::from(red) - 128.0);
    [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue].map(rounded)
}

fn partial([y, blue, red]: [u8; 3]) -> [u8; 3] {
    let (y, blue, red) = (f64::from(y) - 16.0, f64::from(blue) - 128.0, f64::from(red) - 128.0);
    let y = 255.0 / 219.0 * y;
    [y + 1.596_027 * red, y - 0.391_762 * blue - 0.812_968 * red, y + 2.017_232 * blue].map(rounded)
}

/// The nearest byte.
fn rounded(sample: f64) -> u8 {
    (sample + 0.5).floor() as u8
}
