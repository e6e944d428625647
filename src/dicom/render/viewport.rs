//! The part of a picture that is wanted, and its size (PS3.18 §8.3.5.1.3).
//!
//! Invariant: what is placed lies inside the picture, is at least a pixel of it, and keeps its aspect.

/// A box that a picture, or a part of it, is made to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    /// In pixels, above 0.
    pub width: u32,
    /// In pixels, above 0.
    pub height: u32,
    /// The part; all of it unless told.
    pub source: Source,
}

/// A rectangle of a picture, in its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Source {
    /// Its left edge.
    pub x: f64,
    /// Its upper edge.
    pub y: f64,
    /// To the right edge of the picture unless told; negative: as wide, mirrored left to right.
    pub width: Option<f64>,
    /// To the lower edge unless told; negative: as high, mirrored top to bottom.
    pub height: Option<f64>,
}

/// What becomes of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// The part of it: left and upper edge, width and height.
    pub part: [f64; 4],
    /// It is mirrored left to right.
    pub mirrored: bool,
    /// It is mirrored top to bottom.
    pub upside_down: bool,
    /// Its width then.
    pub width: u32,
    /// Its height then.
    pub height: u32,
}

impl Viewport {
    /// Places a picture of this size; `None` when not one pixel of it is wanted.
    #[must_use]
    pub fn place(&self, width: u32, height: u32) -> Option<Placed> {
        let (left, wide, mirrored) = clipped(self.source.x, self.source.width, width)?;
        let (top, high, upside_down) = clipped(self.source.y, self.source.height, height)?;
        let scale = (f64::from(self.width) / wide).min(f64::from(self.height) / high);
        let scaled = |length: f64, most: u32| ((length * scale).round() as u32).clamp(1, most);
        let part = [left, top, wide, high];
        let (width, height) = (scaled(wide, self.width), scaled(high, self.height));
        Some(Placed { part, mirrored, upside_down, width, height })
    }
}

/// Where a stretch begins inside of `0..all`, its length, and whether it is mirrored.
fn clipped(from: f64, length: Option<f64>, all: u32) -> Option<(f64, f64, bool)> {
    let all = f64::from(all);
    let to = length.map_or(all, |length| from + length.abs()).min(all);
    let start = from.max(0.0);
    // Never so by a number that is none.
    let enough = to - start >= 1.0;
    enough.then_some((start, to - start, length.is_some_and(|length| length < 0.0)))
}
