//! What the Image Pixel module says of every frame (PS3.3 §C.7.6.3), and one decoded frame.
//!
//! Invariant: a [`Description`] is of an image that can be: sizes above 0, bits that fit, as many samples as the
//! photometric interpretation has.
//! Elsewhere: where frames lie (`dicom::frames`), which syntax becomes which ([`feasible`]), decoding (`codecs`).

mod attributes;
pub mod feasible;
#[cfg(test)]
mod tests;

/// What the attributes say of every frame of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// (0028,0010)
    pub rows: u16,
    /// (0028,0011)
    pub columns: u16,
    /// (0028,0002): 1 or 3.
    pub samples: u8,
    /// (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u8,
    /// (0028,0101)
    pub bits_stored: u8,
    /// (0028,0102)
    pub high_bit: u8,
    /// (0028,0103)
    pub signed: bool,
    /// (0028,0006)
    pub planar: Planar,
    /// (0028,0004)
    pub photometric: Photometric,
}

/// How the samples of a pixel follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planar {
    /// All samples of a pixel, then the next pixel.
    ByPixel,
    /// All first samples, then all second ones.
    ByPlane,
}

/// What samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's own names")]
pub enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    YbrFull422,
    YbrPartial422,
    YbrPartial420,
    YbrIct,
    YbrRct,
}

/// Attributes that describe no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPixels(pub &'static str);

impl Photometric {
    const ALL: [(&'static str, Self); 10] = [
        ("MONOCHROME1", Self::Monochrome1),
        ("MONOCHROME2", Self::Monochrome2),
        ("PALETTE COLOR", Self::Palette),
        ("RGB", Self::Rgb),
        ("YBR_FULL", Self::YbrFull),
        ("YBR_FULL_422", Self::YbrFull422),
        ("YBR_PARTIAL_422", Self::YbrPartial422),
        ("YBR_PARTIAL_420", Self::YbrPartial420),
        ("YBR_ICT", Self::YbrIct),
        ("YBR_RCT", Self::YbrRct),
    ];

    /// Of the attribute's value; `None` for one that is not known or retired.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\0']);
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, photometric)| *photometric)
    }

    /// The attribute's value.
    #[must_use]
    pub fn text(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, photometric)| *photometric == self);
        found.expect("every photometric interpretation is in the table").0
    }

    /// Samples of a pixel.
    #[must_use]
    pub fn samples(self) -> u8 {
        match self {
            Self::Monochrome1 | Self::Monochrome2 | Self::Palette => 1,
            Self::Rgb
            | Self::YbrFull
            | Self::YbrFull422
            | Self::YbrPartial422
            | Self::YbrPartial420
            | Self::YbrIct
            | Self::YbrRct => 3,
        }
    }
}

impl Description {
    /// Of DICOM JSON metadata: the top level of one dataset.
    ///
    /// # Errors
    /// [`BadPixels`] names what is missing or impossible.
    pub fn of_metadata(metadata: &[u8]) -> Result<Self, BadPixels> {
        attributes::read(metadata)
    }

    /// Rows × columns × samples.
    #[must_use]
    pub fn samples_per_frame(&self) -> u64 {
        self.pixels() * u64::from(self.samples)
    }

    /// Rows × columns.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns)
    }

    /// Bytes of one native frame, also of bit-packed ones and 4:2:2 (`studies.md` §3.5).
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        let bits_per_pixel =
            if self.is_subsampled() { 16 } else { u64::from(self.bits_allocated) * u64::from(self.samples) };
        (self.pixels() * bits_per_pixel).div_ceil(8)
    }

    /// Bytes of one sample; 1 where eight of them share a byte.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        usize::from(self.bits_allocated).div_ceil(8)
    }

    /// Whether native pixels share their colour by two (PS3.3 §C.7.6.3.1.2).
    #[must_use]
    pub fn is_subsampled(&self) -> bool {
        let shared = matches!(self.photometric, Photometric::YbrFull422 | Photometric::YbrPartial422);
        shared && self.bits_allocated == 8 && self.samples == 3
    }

    /// The value of (0028,0004).
    #[must_use]
    pub fn photometric_text(&self) -> &'static str {
        self.photometric.text()
    }
}

/// One decoded frame.
///
/// Invariant: as many bytes as its shape has ([`Description::frame_bytes`]), little endian, by pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// What it is.
    pub shape: Description,
    /// Its samples.
    pub bytes: Vec<u8>,
}
