//! What the walk sees of pixel data: geometry, offset tables and fragments of the top-level dataset.
//!
//! Invariant: pixel data in items (icon images) leaves no trace here.
//! Elsewhere: which frames follow from it (`dicom::frames`).

use dicom_core::{Tag, VR};

use crate::dicom::frames::{Fragments, FrameIndex, Geometry, PixelData};

const SAMPLES_PER_PIXEL: Tag = Tag(0x0028, 0x0002);
const PHOTOMETRIC_INTERPRETATION: Tag = Tag(0x0028, 0x0004);
const NUMBER_OF_FRAMES: Tag = Tag(0x0028, 0x0008);
const ROWS: Tag = Tag(0x0028, 0x0010);
const COLUMNS: Tag = Tag(0x0028, 0x0011);
const BITS_ALLOCATED: Tag = Tag(0x0028, 0x0100);
const EXTENDED_OFFSET_TABLE: Tag = Tag(0x7FE0, 0x0001);
const EXTENDED_OFFSET_TABLE_LENGTHS: Tag = Tag(0x7FE0, 0x0002);
const FLOAT_PIXEL_DATA: Tag = Tag(0x7FE0, 0x0008);
const DOUBLE_FLOAT_PIXEL_DATA: Tag = Tag(0x7FE0, 0x0009);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);

/// A value that tells where frames lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Basic,
    Extended,
    ExtendedLengths,
}

#[derive(Debug)]
pub(super) struct Pixels {
    geometry: Geometry,
    data: PixelData,
    fragments: Fragments,
    /// The fragments now read are those of the frames.
    of_frames: bool,
    /// The first bytes of the current fragment.
    start: [u8; 8],
    started: usize,
    most_fragments: u64,
}

impl Pixels {
    pub(super) fn new(video: bool, most_fragments: u64) -> Self {
        Self {
            geometry: Geometry::default(),
            data: PixelData::Absent,
            fragments: Fragments::new(video),
            of_frames: false,
            start: [0; 8],
            started: 0,
            most_fragments,
        }
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.fragments.held_bytes()
    }

    /// [`Self::held_bytes`] without what is only reserved.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.fragments.kept_bytes()
    }

    /// An element kept of the top-level dataset, its value in little endian.
    pub(super) fn geometry(&mut self, tag: Tag, vr: VR, value: &[u8]) {
        let number = match (vr, value) {
            (VR::US, [low, high]) => Some(u16::from_le_bytes([*low, *high])),
            _ => None,
        };
        let text = || str::from_utf8(value).unwrap_or_default().trim_matches([' ', '\0']);
        match tag {
            ROWS => self.geometry.rows = number,
            COLUMNS => self.geometry.columns = number,
            SAMPLES_PER_PIXEL => self.geometry.samples = number,
            BITS_ALLOCATED => self.geometry.bits_allocated = number,
            NUMBER_OF_FRAMES => self.geometry.frames = text().parse().ok().filter(|frames| *frames > 0),
            PHOTOMETRIC_INTERPRETATION => {
                self.geometry.subsampled = matches!(text(), "YBR_FULL_422" | "YBR_PARTIAL_422");
            }
            _ => {}
        }
    }

    /// A bulk value of the top-level dataset; the table to read it into, if it is one.
    pub(super) fn bulk_value(&mut self, tag: Tag, offset: u64, length: u64) -> Option<Table> {
        let table = match tag {
            EXTENDED_OFFSET_TABLE => Table::Extended,
            EXTENDED_OFFSET_TABLE_LENGTHS => Table::ExtendedLengths,
            PIXEL_DATA => {
                self.data = PixelData::Native { offset, length };
                return None;
            }
            FLOAT_PIXEL_DATA => {
                self.data = PixelData::Float { offset, length, bits: 32 };
                return None;
            }
            DOUBLE_FLOAT_PIXEL_DATA => {
                self.data = PixelData::Float { offset, length, bits: 64 };
                return None;
            }
            _ => return None,
        };
        (length <= self.most_fragments.saturating_mul(8)).then_some(table)
    }

    /// Whether a Basic Offset Table of `length` bytes is to be read.
    pub(super) fn wants_basic_table(&self, length: u64) -> bool {
        self.of_frames && length <= self.most_fragments.saturating_mul(4)
    }

    /// Bytes of a table.
    pub(super) fn table(&mut self, table: Table, bytes: &[u8]) {
        let entries = match table {
            Table::Basic => &mut self.fragments.basic,
            Table::Extended => &mut self.fragments.extended,
            Table::ExtendedLengths => &mut self.fragments.extended_lengths,
        };
        entries.extend_from_slice(bytes);
    }

    pub(super) fn begin_fragments(&mut self, of_frames: bool) {
        self.of_frames = of_frames;
        // The Basic Offset Table's item begins like no image, even if it is passed over.
        self.started = self.start.len();
        if of_frames {
            self.data = PixelData::Encapsulated;
        }
    }

    /// A fragment whose item begins at `item`; the Basic Offset Table is none.
    pub(super) fn begin_fragment(&mut self, item: u64, length: u32) {
        if self.of_frames {
            self.fragments.push(item, length);
            self.started = 0;
        }
    }

    /// Bytes of the current fragment.
    pub(super) fn fragment_bytes(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.start.len() - self.started);
        if taken > 0 {
            self.start[self.started..self.started + taken].copy_from_slice(&bytes[..taken]);
            self.started += taken;
            self.fragments.begins_with(&self.start[..self.started]);
        }
    }

    /// The index of the frames; `inflated_from` as in [`FrameIndex::inflated_from`].
    pub(super) fn index(&self, inflated_from: Option<u64>) -> FrameIndex {
        FrameIndex::new(&self.geometry, &self.data, &self.fragments, inflated_from)
    }
}
