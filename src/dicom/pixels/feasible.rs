//! Which stored frame can be decoded, and into which syntaxes it can be encoded (`studies.md` §3.3, §3.4).
//!
//! Invariant: nothing here is lossy: no [`Encoding`] loses a bit of what was decoded.
//! Invariant: attributes decide, not bytes; that a stream is as they say is checked when it is decoded.
//! Elsewhere: the codecs themselves (`codecs`).

use super::{Description, Photometric, Planar};

/// A syntax that frames can be encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Explicit VR Little Endian.
    ExplicitLittle,
    /// JPEG 2000, lossless only.
    Jpeg2000Lossless,
    /// JPEG-LS, lossless.
    JpegLsLossless,
    /// RLE.
    Rle,
}

/// Why pixels cannot be decoded or encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub &'static str);

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ExplicitLittle, Self::Jpeg2000Lossless, Self::JpegLsLossless, Self::Rle];

    /// Of a transfer syntax; `None` for one that nothing is encoded in.
    #[must_use]
    pub fn of(uid: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.uid() == uid)
    }

    /// The transfer syntax.
    #[must_use]
    pub fn uid(self) -> &'static str {
        match self {
            Self::ExplicitLittle => "1.2.840.10008.1.2.1",
            Self::Jpeg2000Lossless => "1.2.840.10008.1.2.4.90",
            Self::JpegLsLossless => "1.2.840.10008.1.2.4.80",
            Self::Rle => "1.2.840.10008.1.2.5",
        }
    }
}

/// How the frames of a transfer syntax are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// As samples.
    Native,
    /// RLE.
    Rle,
    /// JPEG with a discrete cosine transform.
    JpegLossy,
    /// Lossless JPEG.
    JpegLossless,
    /// JPEG-LS.
    JpegLs,
    /// JPEG 2000 and HTJ2K.
    Jpeg2000,
}

impl Family {
    /// Of a transfer syntax; `None` where nothing decodes it.
    #[must_use]
    pub fn of(syntax: &str) -> Option<Self> {
        Some(match syntax.strip_prefix("1.2.840.10008.1.2")? {
            "" | ".1" | ".2" | ".1.99" => Self::Native,
            ".5" => Self::Rle,
            ".4.50" | ".4.51" => Self::JpegLossy,
            ".4.57" | ".4.70" => Self::JpegLossless,
            ".4.80" | ".4.81" => Self::JpegLs,
            ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => Self::Jpeg2000,
            _ => return None,
        })
    }
}

/// What a frame of `of`, stored in `stored`, is after decoding.
///
/// # Errors
/// [`Unsupported`]: nothing decodes it.
pub fn decoded(stored: &str, of: &Description) -> Result<Description, Unsupported> {
    use Photometric::{Rgb, YbrFull, YbrFull422, YbrIct, YbrPartial420, YbrPartial422, YbrRct};
    let family = Family::of(stored).ok_or(Unsupported("pixels of this transfer syntax cannot be decoded"))?;
    let depth_fits = match family {
        Family::Native => true,
        Family::Rle => matches!(of.bits_allocated, 8 | 16 | 32),
        Family::JpegLossy | Family::JpegLossless | Family::JpegLs | Family::Jpeg2000 => {
            matches!(of.bits_allocated, 8 | 16)
        }
    };
    if !depth_fits {
        return Err(Unsupported("its Bits Allocated do not go with its transfer syntax"));
    }
    let photometric = match (family, of.photometric) {
        (Family::Native, YbrFull422 | YbrPartial422) if !of.is_subsampled() || of.columns % 2 == 1 => {
            return Err(Unsupported("its pixels do not share their colour by two"));
        }
        (Family::Native, YbrIct | YbrRct | YbrPartial420) => {
            return Err(Unsupported("its Photometric Interpretation is one of compressed pixels"));
        }
        (Family::Native, photometric) => photometric,
        (Family::JpegLossy, Rgb | YbrFull | YbrFull422) | (Family::Jpeg2000, YbrIct | YbrRct) => Rgb,
        // Streams of these hold every sample, whatever is said of them.
        (Family::Rle | Family::JpegLossless | Family::JpegLs | Family::Jpeg2000, YbrFull422) => YbrFull,
        (_, YbrIct | YbrRct | YbrPartial420 | YbrPartial422) => {
            return Err(Unsupported("its Photometric Interpretation does not go with its transfer syntax"));
        }
        (_, photometric) => photometric,
    };
    Ok(Description { photometric, planar: Planar::ByPixel, ..of.clone() })
}

/// What the attributes are once frames of `of`, which were decoded, are written in `wanted`.
///
/// # Errors
/// [`Unsupported`]: they cannot be written so.
pub fn encoded(of: &Description, wanted: Encoding) -> Result<Description, Unsupported> {
    let depth_fits = match wanted {
        Encoding::ExplicitLittle => true,
        Encoding::Rle => matches!(of.bits_allocated, 8 | 16 | 32),
        Encoding::Jpeg2000Lossless | Encoding::JpegLsLossless => matches!(of.bits_allocated, 8 | 16),
    };
    if !depth_fits {
        return Err(Unsupported("its Bits Allocated do not go with the transfer syntax asked for"));
    }
    let photometric = match (wanted, of.photometric) {
        (Encoding::ExplicitLittle, photometric) => photometric,
        (_, Photometric::YbrPartial422 | Photometric::YbrPartial420) => {
            return Err(Unsupported("its colours cannot be written in the transfer syntax asked for"));
        }
        // Each pixel gets the colour it shares.
        (_, Photometric::YbrFull422) => Photometric::YbrFull,
        (Encoding::Jpeg2000Lossless, Photometric::Rgb) => Photometric::YbrRct,
        (_, photometric) => photometric,
    };
    Ok(Description { photometric, planar: Planar::ByPixel, ..of.clone() })
}
