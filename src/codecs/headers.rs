//! What a compressed stream announces, read before any codec sees it.
//!
//! A stream whose size, components or precision are not those of the dataset is refused, and so are tiles and
//! processes that would cost more than the image is worth. Of JPEG it is decided here whether its colours are YCbCr,
//! which libraries guess by different rules: markers that hint at it are taken out, and one says it plainly.
//!
//! Invariant: nothing longer than the stream is allocated, and every offset lies in it.
//! Elsewhere: which syntax has which family (`dicom::pixels::feasible`), the codecs (`foreign`).

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Error;
use crate::dicom::pixels::feasible::Family;
use crate::dicom::pixels::{Description, Photometric};

/// Bits of a sample that a codec decodes.
const MOST_BITS: u8 = 16;
/// Tiles cost memory each, however small the image is.
const MOST_TILES: u64 = 65_535;
/// So many pixels a tile has on average, at least.
const PIXELS_OF_A_TILE: u64 = 64;

/// First and last coefficient of a scan, and no approximation.
const WHOLE_BLOCK: [u8; 3] = [0, 63, 0];

/// What a stream says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) precision: u8,
    /// One plane behind the other (JPEG-LS).
    pub(super) by_plane: bool,
}

/// Checks a stream against what the dataset says of it; gives it as its codec wants it.
pub(super) fn checked(family: Family, frame: Bytes, said: &Description) -> Result<(Announced, Bytes), Error> {
    match family {
        Family::JpegLossy | Family::JpegLossless => {
            let jpeg = Jpeg::read(&frame).ok_or_else(|| corrupt("its JPEG header cannot be read"))?;
            jpeg.image.fits(said)?;
            if !matches!(jpeg.process, 0xC0..=0xC3) {
                return Err(Error::Unsupported("this process of JPEG is not decoded"));
            }
            if (jpeg.process == 0xC3) != (family == Family::JpegLossless) {
                return Err(corrupt("another process of JPEG than its transfer syntax says"));
            }
            let announced = Announced { precision: jpeg.image.precision, by_plane: false };
            let frame = if matches!(jpeg.process, 0xC0 | 0xC1) { jpeg.sequential(frame) } else { frame };
            let body = if said.samples == 1 { frame } else { jpeg.with_colours(&frame, family, said) };
            Ok((announced, body))
        }
        Family::JpegLs => {
            let jpeg = Jpeg::read(&frame).ok_or_else(|| corrupt("its JPEG-LS header cannot be read"))?;
            if jpeg.process != 0xF7 {
                return Err(corrupt("it is no JPEG-LS"));
            }
            jpeg.image.fits(said)?;
            let by_plane = jpeg.image.components == 3 && jpeg.scan_components == 1;
            Ok((Announced { precision: jpeg.image.precision, by_plane }, ended(frame)))
        }
        Family::Jpeg2000 => {
            let image = jpeg_2000(&frame)?;
            image.fits(said)?;
            Ok((Announced { precision: image.precision, by_plane: false }, frame))
        }
        Family::Native | Family::Rle => Err(Error::Unsupported("it is not a compressed stream")),
    }
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt(what.to_owned())
}

/// The size a stream announces.
#[derive(Debug, PartialEq, Eq)]
struct Image {
    rows: u64,
    columns: u64,
    components: u16,
    precision: u8,
}

impl Image {
    fn fits(&self, said: &Description) -> Result<(), Error> {
        if (self.rows, self.columns) != (u64::from(said.rows), u64::from(said.columns)) {
            return Err(Error::Corrupt(format!(
                "the stream has {} × {} pixels, the dataset says {} × {}",
                self.columns, self.rows, said.columns, said.rows
            )));
        }
        if self.components != u16::from(said.samples) {
            return Err(Error::Corrupt(format!(
                "the stream has {} components, the dataset says {}",
                self.components, said.samples
            )));
        }
        if !(1..=said.bits_allocated.min(MOST_BITS)).contains(&self.precision) {
            return Err(Error::Corrupt(format!(
                "the stream has {} bits, the dataset allocates {}",
                self.precision, said.bits_allocated
            )));
        }
        Ok(())
    }
}

/// The markers of a JPEG or JPEG-LS stream up to its first scan.
#[derive(Debug)]
struct Jpeg {
    image: Image,
    /// Second byte of the marker that begins the frame.
    process: u8,
    /// Names of the components.
    ids: Vec<u8>,
    scan_components: u8,
    /// Where the first scan says which coefficients it has.
    coefficients: usize,
    /// Where JFIF and Adobe markers lie, whole.
    hints: Vec<Range<usize>>,
    jfif: bool,
    /// What an Adobe marker says, if it is one that says something.
    adobe: Option<u8>,
}

impl Jpeg {
    fn read(stream: &[u8]) -> Option<Self> {
        if !stream.starts_with(b"\xFF\xD8") {
            return None;
        }
        let (mut at, mut frame) = (2, None);
        let (mut hints, mut jfif, mut adobe) = (Vec::new(), false, None);
        loop {
            let begin = at;
            if *stream.get(at)? != 0xFF {
                return None;
            }
            while *stream.get(at)? == 0xFF {
                at += 1;
            }
            let marker = stream[at];
            at += 1;
            // Markers without a length: a second beginning or an early end among them.
            if matches!(marker, 0x00 | 0x01 | 0xD0..=0xD9) {
                return None;
            }
            let length = usize::from(u16::from_be_bytes(stream.get(at..at + 2)?.try_into().ok()?));
            let value = stream.get(at + 2..at + length)?;
            at += length;
            match marker {
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xF7 => {
                    // There is one frame in a stream.
                    frame = Some(if frame.is_none() { (marker, value) } else { return None });
                }
                0xE0 if value.starts_with(b"JFIF\0") => {
                    jfif = true;
                    hints.push(begin..at);
                }
                0xEE if value.starts_with(b"Adobe") => {
                    // A shorter one has no such byte, and says nothing.
                    adobe = adobe.or(value.get(11).copied());
                    hints.push(begin..at);
                }
                0xDA => {
                    let (process, head) = frame?;
                    let [precision, rows @ ..] = head.first_chunk::<6>()?;
                    let [high, low, wide, narrow, components] = *rows;
                    let ids = head[6..].chunks_exact(3).map(|component| component[0]).collect::<Vec<_>>();
                    if ids.len() != usize::from(components) {
                        return None;
                    }
                    let image = Image {
                        rows: u64::from(u16::from_be_bytes([high, low])),
                        columns: u64::from(u16::from_be_bytes([wide, narrow])),
                        components: u16::from(components),
                        precision: *precision,
                    };
                    let [scan_components, .., _, _, _] = value else { return None };
                    let (scan_components, coefficients) = (*scan_components, at - WHOLE_BLOCK.len());
                    return Some(Self {
                        image,
                        process,
                        ids,
                        scan_components,
                        coefficients,
                        hints,
                        jfif,
                        adobe,
                    });
                }
                _ => {}
            }
        }
    }

    /// A sequential stream whose scan says that it has all coefficients, as it must have; some encoders say that it
    /// has none, at which others shrug.
    fn sequential(&self, stream: Bytes) -> Bytes {
        let said = self.coefficients..self.coefficients + WHOLE_BLOCK.len();
        if stream[said.clone()] == WHOLE_BLOCK {
            return stream;
        }
        let mut mended = BytesMut::from(stream.as_ref());
        mended[said].copy_from_slice(&WHOLE_BLOCK);
        mended.freeze()
    }

    /// Whether the samples of three components are luminance and two differences, to be turned into RGB.
    fn is_ycc(&self, family: Family, said: &Description) -> bool {
        if family == Family::JpegLossless || self.ids == b"RGB" {
            return false;
        }
        match self.adobe {
            Some(transform) => transform != 0,
            None => self.jfif || said.photometric != Photometric::Rgb,
        }
    }

    /// The stream with one marker that says what its colours are, and none that hints at it.
    fn with_colours(&self, stream: &Bytes, family: Family, said: &Description) -> Bytes {
        let transform = u8::from(self.is_ycc(family, said));
        let mut out = Vec::with_capacity(stream.len() + 16);
        out.extend_from_slice(b"\xFF\xD8\xFF\xEE\x00\x0EAdobe\x00\x64\x00\x00\x00\x00");
        out.push(transform);
        let mut from = 2;
        for hint in &self.hints {
            out.extend_from_slice(&stream[from..hint.start]);
            from = hint.end;
        }
        out.extend_from_slice(&stream[from..]);
        Bytes::from(out)
    }
}

/// The stream with an end marker behind it. CharLS stops at a marker that comes too early, but spins for seconds
/// where the bytes merely end.
fn ended(stream: Bytes) -> Bytes {
    const END: &[u8] = b"\xFF\xD9";
    if stream.ends_with(END) {
        return stream;
    }
    let mut longer = BytesMut::with_capacity(stream.len() + END.len());
    longer.extend_from_slice(&stream);
    longer.extend_from_slice(END);
    longer.freeze()
}

/// The size in the codestream, also of one in the boxes of a JP2 file.
fn jpeg_2000(stream: &[u8]) -> Result<Image, Error> {
    let bad = || corrupt("its JPEG 2000 header cannot be read");
    let codestream = if stream.starts_with(b"\x00\x00\x00\x0CjP  ") { boxed(stream) } else { Some(stream) };
    let codestream = codestream.ok_or_else(bad)?;
    let siz = codestream.strip_prefix(b"\xFF\x4F\xFF\x51").ok_or_else(bad)?;
    let (head, rest) = siz.split_at_checked(38).ok_or_else(bad)?;
    let short = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let long =
        |at: usize| u64::from(u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let components = short(36);
    // A length counts itself, but not its marker.
    if u64::from(short(0)) != 38 + 3 * u64::from(components) {
        return Err(bad());
    }
    let [right, bottom, left, top, wide, high, tiles_left, tiles_top] =
        [4, 8, 12, 16, 20, 24, 28, 32].map(long);
    let (columns, rows) =
        (right.checked_sub(left).ok_or_else(bad)?, bottom.checked_sub(top).ok_or_else(bad)?);
    if wide == 0 || high == 0 || tiles_left > left || tiles_top > top {
        return Err(bad());
    }
    let tiles = (right - tiles_left).div_ceil(wide).saturating_mul((bottom - tiles_top).div_ceil(high));
    let pixels = columns.saturating_mul(rows);
    if tiles > MOST_TILES || tiles > pixels / PIXELS_OF_A_TILE + 1 {
        return Err(corrupt("it is made of too many tiles"));
    }
    let each = rest.get(..3 * usize::from(components)).ok_or_else(bad)?;
    let mut precision = 0;
    for [bits, across, down] in each.as_chunks::<3>().0 {
        if (*across, *down) != (1, 1) {
            return Err(corrupt("its components are not of one size"));
        }
        // The first bit says that samples are signed.
        precision = precision.max((bits & 0x7F) + 1);
    }
    Ok(Image { rows, columns, components, precision })
}

/// The codestream in a JP2 file.
fn boxed(stream: &[u8]) -> Option<&[u8]> {
    let mut rest = stream;
    loop {
        let (head, after) = rest.split_at_checked(8)?;
        let length = u64::from(u32::from_be_bytes(head[..4].try_into().ok()?));
        let (length, header) = match length {
            1 => (u64::from_be_bytes(after.get(..8)?.try_into().ok()?), 16),
            0 => (rest.len() as u64, 8),
            length => (length, 8),
        };
        let length = usize::try_from(length).ok().filter(|length| *length >= header)?;
        if &head[4..] == b"jp2c" {
            return rest.get(header..);
        }
        rest = rest.get(length..)?;
    }
}

#[cfg(test)]
mod tests;
