//! Decoded frames as pictures of 8 bits a sample (`studies.md` §3.7).
//!
//! Grey: stored value, modality (rescale or look-up table), VOI (window, look-up table, or all that is there),
//! turned around for MONOCHROME1. Palettes are looked up, colours become RGB; windows do not concern either.
//!
//! Invariant: pure, and without a panic for any frame, attributes and tables.
//! Invariant: nothing is set aside that is larger than the picture, but tables of 65,536 entries.
//! Elsewhere: decoding (`codecs`), size and encoding of pictures (`codecs::picture`), who asks (`http`).

mod attributes;
mod colour;
mod look;
mod lut;
mod modality;
mod palette;
mod place;
mod stored;
#[cfg(test)]
mod tests;
mod viewport;
mod voi;

pub use look::{Attributes, Look};
pub use lut::MOST_TABLE_BYTES;
pub use place::Place;
pub use viewport::{Placed, Source, Viewport};
pub use voi::{Function, Window};

use super::pixels::{Native, Photometric};
use look::{Grey, How};
use palette::Palette;
use stored::Stored;

/// Up to so many bits a table of all stored values is made first.
const TABLE_BITS: u32 = 16;

/// A picture, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// What its samples are.
    pub colour: Colour,
    /// One byte a sample, all samples of a pixel together.
    pub samples: Vec<u8>,
}

/// What the samples of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// One sample a pixel.
    Grey,
    /// Three.
    Rgb,
}

impl Colour {
    /// Samples of a pixel.
    #[must_use]
    pub fn samples(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }

    /// Of frames with this photometric interpretation.
    #[must_use]
    pub fn of(photometric: Photometric) -> Self {
        match photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 => Self::Grey,
            Photometric::Palette
            | Photometric::Rgb
            | Photometric::YbrFull
            | Photometric::YbrFull422
            | Photometric::YbrPartial422
            | Photometric::YbrPartial420
            | Photometric::YbrIct
            | Photometric::YbrRct => Self::Rgb,
        }
    }
}

/// What cannot be shown, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrenderable(pub &'static str);

/// The picture of a frame.
///
/// # Errors
/// [`Unrenderable`] when frame and look do not go together, or a native frame has a form of no picture.
pub fn render(frame: &Native, look: &Look) -> Result<Picture, Unrenderable> {
    let shape = &frame.shape;
    if frame.bytes.len() as u64 != shape.frame_bytes() {
        return Err(Unrenderable("the frame has not as many bytes as its attributes say"));
    }
    let samples = match (shape.photometric, &look.0) {
        (Photometric::Monochrome1, How::Grey(look)) => grey(frame, look, true),
        (Photometric::Monochrome2, How::Grey(look)) => grey(frame, look, false),
        (Photometric::Palette, How::Palette(palette)) => looked_up(frame, palette),
        (
            Photometric::Rgb
            | Photometric::YbrFull
            | Photometric::YbrFull422
            | Photometric::YbrPartial422
            | Photometric::YbrPartial420
            | Photometric::YbrIct
            | Photometric::YbrRct,
            How::Colour,
        ) => colour::rgb(frame)?,
        (_, How::Grey(_) | How::Palette(_) | How::Colour) => {
            return Err(Unrenderable("its Photometric Interpretation is another than that of its look"));
        }
    };
    let colour = Colour::of(shape.photometric);
    Ok(Picture { width: shape.columns.into(), height: shape.rows.into(), colour, samples })
}

fn grey(frame: &Native, look: &Grey, inverted: bool) -> Vec<u8> {
    let stored = Stored::of(&frame.shape);
    let output = |code: u64| look.modality.output(stored.value(code));
    let level = look.voi.level(|| range(frame, stored, look));
    let shown = |code: u64| {
        let level = level.of(output(code));
        if inverted { 255 - level } else { level }
    };
    if stored.bits > TABLE_BITS {
        return stored.each(frame, shown);
    }
    let table: Vec<u8> = (0..1 << stored.bits).map(shown).collect();
    stored.each(frame, |code| table[code as usize])
}

/// Least and greatest output of the modality in the frame, padding left out; of single bits all that can be.
fn range(frame: &Native, stored: Stored, look: &Grey) -> (f64, f64) {
    let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut see = |code: u64| {
        let value = stored.value(code);
        if look.padding.as_ref().is_none_or(|padding| !padding.contains(&value)) {
            let output = look.modality.output(value);
            (least, greatest) = (least.min(output), greatest.max(output));
        }
    };
    if stored.bits == 1 {
        (0..2).for_each(see);
    } else if stored.bits > TABLE_BITS {
        stored.visit(frame, see);
    } else {
        let mut seen = vec![false; 1 << stored.bits];
        stored.visit(frame, |code| seen[code as usize] = true);
        (0..).zip(seen).filter(|(_, seen)| *seen).for_each(|(code, _)| see(code));
    }
    (least, greatest)
}

fn looked_up(frame: &Native, palette: &Palette) -> Vec<u8> {
    let stored = Stored::of(&frame.shape);
    let colour = |code: u64| palette.colour(stored.value(code));
    if stored.bits > TABLE_BITS {
        return stored.each(frame, colour).into_flattened();
    }
    let table: Vec<[u8; 3]> = (0..1 << stored.bits).map(colour).collect();
    stored.each(frame, |code| table[code as usize]).into_flattened()
}
