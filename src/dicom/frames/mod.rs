//! Where the frames of an instance lie in its file (`studies.md` §3.5), found once, when it is stored.
//!
//! Native frames of whole bytes are three numbers; bit-packed ones likewise. Frames made of fragments are
//! a table of varints, one frame after the other: how many fragments, then their lengths. Fragments of one
//! element follow each other with 8 bytes between, so that lengths suffice. Layout: `schemas/frames.md`.
//!
//! Invariant: ranges lie inside the pixel data element, in ascending order.
//! Invariant: decoding allocates no more than the bytes given.
//! Elsewhere: how the geometry and the fragments are read (`dicom::scan`), decoding of pixels (`codecs`).

mod build;
mod cutter;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(super) use build::{Fragments, Geometry, PixelData};
pub use cutter::FrameCutter;

/// First byte of every encoded index.
const FORMAT: u8 = 1;
/// A mark is kept for every so many frames, so that a look-up decodes few others.
const FRAMES_PER_MARK: usize = 64;
/// Tag and length of a fragment's item.
const ITEM_HEADER_BYTES: u64 = 8;

/// Where the frames of an instance lie in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameIndex {
    inflated_from: Option<u64>,
    count: u32,
    layout: Layout,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Layout {
    /// No pixel data, or none whose frames can be told apart.
    #[default]
    Nowhere,
    /// Frame `n` (from 0) is the `length` bytes at `first + n * length`.
    Bytes { first: u64, length: u64, present: u32 },
    /// Frame `n` is the `bits` bits that begin `n * bits` bits after `first`.
    Bits { first: u64, bits: u64, present: u32 },
    /// `first` is the offset of the first frame's first item.
    Fragments { first: u64, present: u32, table: Vec<u8>, marks: Vec<Mark> },
}

/// Where every [`FRAMES_PER_MARK`]th frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    table_at: usize,
    offset: u64,
}

/// The bytes of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameSource {
    /// These ranges of the file, one after the other.
    Bytes(Vec<Range<u64>>),
    /// `bits` bits beginning `shift` bits into the range (least significant bit first).
    Bits {
        /// Bytes of the file that hold the frame.
        range: Range<u64>,
        /// 0 to 7.
        shift: u8,
        /// Bits of the frame.
        bits: u64,
    },
}

/// Bytes that are no encoded index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameIndexError {
    /// Another format number than any known.
    #[error("frame index of the unknown format {0}")]
    Format(u8),
    /// The bytes contradict themselves.
    #[error("damaged frame index: {0}")]
    Damaged(&'static str),
}

impl FrameIndex {
    /// Frames the instance declares; 0 without pixel data. Not all of them need to be present.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether [`Self::frame`] may find frame `number`; costs nothing however many fragments there are.
    #[must_use]
    pub fn has(&self, number: u32) -> bool {
        let Some(n) = number.checked_sub(1) else { return false };
        match &self.layout {
            Layout::Bytes { present, .. }
            | Layout::Bits { present, .. }
            | Layout::Fragments { present, .. } => n < *present,
            Layout::Nowhere => false,
        }
    }

    /// Frame `number`, from 1; `None` beyond the count or beyond the bytes present, and when the fragments
    /// do not show where it begins.
    #[must_use]
    pub fn frame(&self, number: u32) -> Option<FrameSource> {
        let n = number.checked_sub(1)?;
        match &self.layout {
            Layout::Bytes { first, length, present } => (n < *present).then(|| {
                let start = first + u64::from(n) * length;
                #[expect(clippy::single_range_in_vec_init, reason = "one range of bytes is meant")]
                FrameSource::Bytes(vec![start..start + length])
            }),
            Layout::Bits { first, bits, present } => (n < *present).then(|| {
                let (start, end) = (u64::from(n) * bits, (u64::from(n) + 1) * bits);
                let range = first + start / 8..first + end.div_ceil(8);
                FrameSource::Bits { range, shift: u8::try_from(start % 8).expect("below 8"), bits: *bits }
            }),
            Layout::Fragments { present, table, marks, .. } => {
                if n >= *present {
                    return None;
                }
                let mark = marks.get(n as usize / FRAMES_PER_MARK)?;
                fragments_of(table, *mark, n as usize % FRAMES_PER_MARK)
            }
            Layout::Nowhere => None,
        }
    }

    /// Whether the frames are made of fragments.
    #[must_use]
    pub fn encapsulated(&self) -> bool {
        matches!(self.layout, Layout::Fragments { .. })
    }

    /// Whether ranges count in the inflated dataset stream (deflated transfer syntax).
    #[must_use]
    pub fn inflated(&self) -> bool {
        self.inflated_from.is_some()
    }

    /// Offset in the file at which the deflate stream begins, if [`Self::inflated`].
    #[must_use]
    pub fn inflated_from(&self) -> Option<u64> {
        self.inflated_from
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.layout {
            Layout::Nowhere | Layout::Bytes { .. } | Layout::Bits { .. } => size_of::<Self>(),
            Layout::Fragments { table, marks, .. } => {
                size_of::<Self>() + table.capacity() + marks.capacity() * size_of::<Mark>()
            }
        }
    }

    /// The section's bytes (`schemas/frames.md`).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        // 0 stands for "not inflated": no deflate stream begins a file.
        put(&mut out, self.inflated_from.unwrap_or(0));
        put(&mut out, u64::from(self.count));
        match &self.layout {
            Layout::Nowhere => out.push(0),
            Layout::Bytes { first, length, present } => {
                out.push(1);
                put_all(&mut out, &[*first, *length, u64::from(*present)]);
            }
            Layout::Bits { first, bits, present } => {
                out.push(2);
                put_all(&mut out, &[*first, *bits, u64::from(*present)]);
            }
            Layout::Fragments { first, present, table, .. } => {
                out.push(3);
                put_all(&mut out, &[*first, u64::from(*present)]);
                out.extend_from_slice(table);
            }
        }
        out
    }

    /// Reads [`Self::encode`].
    ///
    /// # Errors
    /// The bytes are of another format or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameIndexError> {
        let (format, mut rest) = bytes.split_first().ok_or(CUT)?;
        if *format != FORMAT {
            return Err(FrameIndexError::Format(*format));
        }
        let inflated_from = Some(get(&mut rest)?).filter(|offset| *offset > 0);
        let count = get_u32(&mut rest)?;
        let (kind, mut rest) = rest.split_first().ok_or(CUT)?;
        let layout = match kind {
            0 => Layout::Nowhere,
            1 => {
                let (first, length, present) = (get(&mut rest)?, get(&mut rest)?, get_u32(&mut rest)?);
                length
                    .checked_mul(u64::from(present))
                    .and_then(|all| first.checked_add(all))
                    .ok_or(TOO_FAR)?;
                Layout::Bytes { first, length, present }
            }
            2 => {
                let (first, bits, present) = (get(&mut rest)?, get(&mut rest)?, get_u32(&mut rest)?);
                bits.checked_mul(u64::from(present)).and_then(|all| first.checked_add(all)).ok_or(TOO_FAR)?;
                Layout::Bits { first, bits, present }
            }
            3 => {
                let (first, present) = (get(&mut rest)?, get_u32(&mut rest)?);
                let layout = Layout::from_table(first, present, rest.to_vec())?;
                rest = &[];
                layout
            }
            _ => return Err(FrameIndexError::Damaged("an unknown layout")),
        };
        if !rest.is_empty() {
            return Err(FrameIndexError::Damaged("bytes after the end"));
        }
        match layout {
            Layout::Bytes { present, .. }
            | Layout::Bits { present, .. }
            | Layout::Fragments { present, .. }
                if present > count =>
            {
                Err(FrameIndexError::Damaged("more frames than the instance has"))
            }
            layout => Ok(Self { inflated_from, count, layout }),
        }
    }
}

const CUT: FrameIndexError = FrameIndexError::Damaged("cut off");
const TOO_FAR: FrameIndexError = FrameIndexError::Damaged("an offset beyond any file");

impl Layout {
    /// Checks a whole table of `present` frames and sets its marks.
    fn from_table(first: u64, present: u32, table: Vec<u8>) -> Result<Self, FrameIndexError> {
        let mut marks = Vec::new();
        let mut offset = first;
        let mut rest = table.as_slice();
        for n in 0..present as usize {
            if n % FRAMES_PER_MARK == 0 {
                marks.push(Mark { table_at: table.len() - rest.len(), offset });
            }
            for _ in 0..get(&mut rest)? {
                let step = get(&mut rest)?.checked_add(ITEM_HEADER_BYTES).ok_or(TOO_FAR)?;
                offset = offset.checked_add(step).ok_or(TOO_FAR)?;
            }
        }
        if !rest.is_empty() {
            return Err(FrameIndexError::Damaged("bytes after the end"));
        }
        Ok(Self::Fragments { first, present, table, marks })
    }
}

/// The fragments of the frame `skip` frames behind `mark`.
fn fragments_of(table: &[u8], mark: Mark, skip: usize) -> Option<FrameSource> {
    let mut rest = table.get(mark.table_at..)?;
    let mut offset = mark.offset;
    for _ in 0..skip {
        for _ in 0..get(&mut rest).ok()? {
            offset += get(&mut rest).ok()? + ITEM_HEADER_BYTES;
        }
    }
    let mut ranges = Vec::new();
    for _ in 0..get(&mut rest).ok()? {
        let length = get(&mut rest).ok()?;
        let start = offset + ITEM_HEADER_BYTES;
        // Nothing has to be read for one without bytes.
        if length > 0 {
            ranges.push(start..start + length);
        }
        offset = start + length;
    }
    Some(FrameSource::Bytes(ranges))
}

/// Appends a number: seven bits a byte, the low ones first, the high bit set in all but the last.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_all(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        put(out, *number);
    }
}

/// Takes a number off the front.
fn get(bytes: &mut &[u8]) -> Result<u64, FrameIndexError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(CUT)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7F);
        if part.leading_zeros() < shift && part != 0 {
            return Err(FrameIndexError::Damaged("a number beyond 64 bits"));
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(FrameIndexError::Damaged("a number beyond 64 bits"))
}

fn get_u32(bytes: &mut &[u8]) -> Result<u32, FrameIndexError> {
    u32::try_from(get(bytes)?).map_err(|_| FrameIndexError::Damaged("a number beyond 32 bits"))
}
