//! A dataset that is re-encoded with other pixels in it (`studies.md` §3.4).
//!
//! At the top level what says how pixels are encoded is replaced, offset tables and group lengths are left out, and
//! the bytes of (7FE0,0010) are handed out instead of being written; what stands around the new pixels is written
//! here. Everything else goes through the [`Reencoder`], or is copied byte for byte where it is in Explicit VR
//! Little Endian already.
//!
//! Invariant: slices of any size give the same dataset and the same pixels. Nothing is held but what was fed last.
//! Invariant: pixels are handed out in little endian, once, in the order of the file, with the offsets they have in it.
//! Elsewhere: which bytes are which frame (`frames::cutter`), what the attributes become (`pixels`).

use std::collections::VecDeque;

use bytes::Bytes;
use dicom_core::{Tag, VR};

use super::written::{put_delimiter, put_header};
use super::{
    Broken, Encoding, Fate, ITEM, PIXEL_DATA, Reencoder, SEQUENCE_END, Source, UNDEFINED, is_dropped,
};

const PHOTOMETRIC_INTERPRETATION: Tag = Tag(0x0028, 0x0004);
const PLANAR_CONFIGURATION: Tag = Tag(0x0028, 0x0006);
/// Extended Offset Table, its lengths, and the total length of the encapsulated value.
const TABLES: [Tag; 3] = [Tag(0x7FE0, 0x0001), Tag(0x7FE0, 0x0002), Tag(0x7FE0, 0x0003)];

/// What differs in the dataset beside the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edits {
    /// The value of (0028,0004).
    pub photometric: &'static str,
    /// The value of (0028,0006); `None` leaves it as it is.
    pub planar: Option<u16>,
    /// What stands before the new pixels.
    pub pixels: PixelHeader,
}

/// How the new pixels are put into (7FE0,0010).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelHeader {
    /// One frame after the other, `length` bytes in all; an odd one is padded.
    Native {
        /// Of each sample: from 9 on the VR is OW.
        bits_allocated: u8,
        /// Of all frames.
        length: u32,
    },
    /// Each frame a [`fragment`], behind an empty Basic Offset Table (PS3.5 §A.4).
    Encapsulated,
}

/// A part of what a dataset becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the new dataset.
    Bytes(Vec<u8>),
    /// Bytes of the old pixels, and their offset as a `FrameIndex` counts. The new pixels belong here.
    Pixels {
        /// Of the first of them.
        at: u64,
        /// In little endian.
        bytes: Bytes,
    },
    /// There are no more pixels; the last of the new ones belongs here.
    PixelsEnd,
}

/// An encoded frame as one fragment, padded to an even length; `None` for one that no length field holds.
#[must_use]
pub fn fragment(frame: Bytes) -> Option<Vec<Bytes>> {
    let odd = frame.len() % 2;
    let length = u32::try_from(frame.len() + odd).ok().filter(|length| *length < UNDEFINED)?;
    let mut header = Vec::with_capacity(8);
    put_delimiter(&mut header, ITEM, length);
    let mut pieces = vec![header.into(), frame];
    if odd > 0 {
        pieces.push(Bytes::from_static(&[0]));
    }
    Some(pieces)
}

/// Re-encodes one dataset pushed in slices and hands out its pixels.
#[derive(Debug)]
pub struct Transcoder(Reencoder);

impl Transcoder {
    /// For a dataset stored so. Offsets count from `start`, where it begins in its file: 0 for a deflated one, which
    /// is fed inflated.
    #[must_use]
    pub fn new(source: Source, start: u64, edits: Edits) -> Self {
        let (encoding, fate) = match source {
            Source::Implicit => (Encoding::IMPLICIT_LITTLE, Fate::Written),
            Source::BigEndian => (Encoding::EXPLICIT_BIG, Fate::Written),
            Source::Deflated | Source::Plain => (Encoding::EXPLICIT_LITTLE, Fate::Copied),
        };
        let editing = Some(Box::new(Editing::new(edits)));
        Self(Reencoder { editing, ..Reencoder::at(start, encoding, fate) })
    }

    /// Takes the next bytes of the dataset; answers what they become.
    ///
    /// # Errors
    /// [`Broken`] where they cannot go on so.
    pub fn feed(&mut self, input: &Bytes) -> Result<Vec<Piece>, Broken> {
        self.0.editing().fed = input.clone();
        self.0.walk(input)?;
        let written = std::mem::take(&mut self.0.out);
        let editing = self.0.editing();
        editing.fed = Bytes::new();
        let mut pieces = std::mem::take(&mut editing.pieces);
        if !written.is_empty() {
            pieces.push(Piece::Bytes(written));
        }
        Ok(pieces)
    }

    /// The dataset is complete.
    ///
    /// # Errors
    /// [`Broken`] when it is not.
    pub fn finish(self) -> Result<(), Broken> {
        self.0.finish()
    }
}

/// What a [`Transcoder`] does to the top level of its dataset.
#[derive(Debug)]
pub(super) struct Editing {
    edits: Edits,
    /// Not yet written, in the order of their tags.
    left: VecDeque<(Tag, VR, Vec<u8>)>,
    pieces: Vec<Piece>,
    /// What the slices handed out are part of.
    fed: Bytes,
    /// Where the next pixels lie.
    at: u64,
}

impl Editing {
    fn new(edits: Edits) -> Self {
        let mut photometric = edits.photometric.as_bytes().to_vec();
        photometric.resize(photometric.len().next_multiple_of(2), b' ');
        let mut left = VecDeque::from([(PHOTOMETRIC_INTERPRETATION, VR::CS, photometric)]);
        if let Some(planar) = edits.planar {
            left.push_back((PLANAR_CONFIGURATION, VR::US, planar.to_le_bytes().to_vec()));
        }
        Self { edits, left, pieces: Vec::new(), fed: Bytes::new(), at: 0 }
    }

    /// What becomes of a top-level element. Those that are replaced are written before the first whose tag is not
    /// smaller, so that also what was missing stands in its place.
    pub(super) fn fate_of(&mut self, tag: Tag, fate: Fate, out: &mut Vec<u8>) -> Fate {
        while self.left.front().is_some_and(|(edited, ..)| *edited <= tag)
            && let Some((edited, vr, value)) = self.left.pop_front()
        {
            put_header(out, edited, vr, value.len() as u32);
            out.extend_from_slice(&value);
        }
        match tag {
            PIXEL_DATA => Fate::Reported,
            PHOTOMETRIC_INTERPRETATION => Fate::Dropped,
            PLANAR_CONFIGURATION if self.edits.planar.is_some() => Fate::Dropped,
            _ if TABLES.contains(&tag) || is_dropped(tag) => Fate::Dropped,
            _ => fate,
        }
    }

    /// Puts what was written before what is handed out.
    fn push(&mut self, piece: Piece, out: &mut Vec<u8>) {
        if !out.is_empty() {
            self.pieces.push(Piece::Bytes(std::mem::take(out)));
        }
        self.pieces.push(piece);
    }

    fn report(&mut self, bytes: Bytes, out: &mut Vec<u8>) {
        if !bytes.is_empty() {
            let at = self.at;
            self.at += bytes.len() as u64;
            self.push(Piece::Pixels { at, bytes }, out);
        }
    }
}

const EDITING: &str = "pixels are handed out only where they are replaced";

impl Reencoder {
    fn editing(&mut self) -> &mut Editing {
        self.editing.as_mut().expect(EDITING)
    }

    /// Writes the header of the new pixels; the old ones begin here.
    pub(super) fn begin_pixels(&mut self) {
        let at = self.at;
        let editing = self.editing();
        editing.at = at;
        match editing.edits.pixels {
            PixelHeader::Native { bits_allocated, length } => {
                let vr = if bits_allocated > 8 { VR::OW } else { VR::OB };
                put_header(&mut self.out, PIXEL_DATA, vr, length.next_multiple_of(2));
            }
            PixelHeader::Encapsulated => {
                put_header(&mut self.out, PIXEL_DATA, VR::OB, UNDEFINED);
                put_delimiter(&mut self.out, ITEM, 0);
            }
        }
    }

    /// The bytes of a fragment begin here.
    pub(super) fn begin_fragment(&mut self) {
        let at = self.at;
        if let Some(editing) = &mut self.editing {
            editing.at = at;
        }
    }

    /// Hands out pixels, which are part of what was fed.
    pub(super) fn report(&mut self, taken: &[u8]) {
        let editing = self.editing.as_mut().expect(EDITING);
        let bytes = if self.turner.word_bytes() == 1 {
            editing.fed.slice_ref(taken)
        } else {
            let mut turned = Vec::with_capacity(taken.len() + self.turner.word_bytes());
            self.turner.turn(taken, &mut turned);
            turned.into()
        };
        editing.report(bytes, &mut self.out);
    }

    /// Writes what stands behind the new pixels.
    pub(super) fn end_pixels(&mut self) {
        let mut rest = Vec::new();
        self.turner.end(&mut rest);
        let editing = self.editing.as_mut().expect(EDITING);
        editing.report(rest.into(), &mut self.out);
        editing.push(Piece::PixelsEnd, &mut self.out);
        match editing.edits.pixels {
            PixelHeader::Native { length, .. } if !length.is_multiple_of(2) => self.out.push(0),
            PixelHeader::Native { .. } => {}
            PixelHeader::Encapsulated => put_delimiter(&mut self.out, SEQUENCE_END, 0),
        }
    }
}
