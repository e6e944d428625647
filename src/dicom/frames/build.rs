//! Making the frame index from what the scanner saw of one file.
//!
//! Which fragments belong to which frame (PS3.5 §A.4): one frame has all; as many fragments as frames are
//! one each; else the Extended, then the Basic Offset Table, if every entry of it meets a fragment; else
//! the fragments that begin as a compressed image does, if they are as many as the frames. What none of
//! these settles has no frames: the instance is stored all the same.
//!
//! Invariant: an offset table is believed only if it fits the fragments that are there.
//! Elsewhere: the framing of the fragments itself (`scan::dataset`).

use super::{FRAMES_PER_MARK, FrameIndex, ITEM_HEADER_BYTES, Layout, Mark, put};

/// The attributes that give native frames their size; of the top-level dataset only.
#[derive(Clone, Debug, Default)]
pub(in crate::dicom) struct Geometry {
    pub(in crate::dicom) rows: Option<u16>,
    pub(in crate::dicom) columns: Option<u16>,
    pub(in crate::dicom) samples: Option<u16>,
    pub(in crate::dicom) bits_allocated: Option<u16>,
    /// Number of Frames, if it is a number above 0.
    pub(in crate::dicom) frames: Option<u32>,
    /// Photometric Interpretation is a 4:2:2 one.
    pub(in crate::dicom) subsampled: bool,
}

/// The pixel data element of the top-level dataset.
#[derive(Clone, Copy, Debug)]
pub(in crate::dicom) enum PixelData {
    Absent,
    /// (7FE0,0010) of defined length.
    Native {
        offset: u64,
        length: u64,
    },
    /// (7FE0,0008) or (7FE0,0009), whose samples have 32 or 64 bits.
    Float {
        offset: u64,
        length: u64,
        bits: u16,
    },
    /// (7FE0,0010) of undefined length.
    Encapsulated,
}

/// The fragments of (7FE0,0010), and what is said about them.
#[derive(Debug, Default)]
pub(in crate::dicom) struct Fragments {
    /// Offset of the first fragment's item, after the Basic Offset Table.
    first: u64,
    lengths: Vec<u32>,
    /// One bit a fragment: it begins as a compressed image does.
    begins_image: Vec<u64>,
    /// The Basic Offset Table.
    pub(in crate::dicom) basic: Vec<u8>,
    /// (7FE0,0001) and (7FE0,0002).
    pub(in crate::dicom) extended: Vec<u8>,
    pub(in crate::dicom) extended_lengths: Vec<u8>,
    /// The fragments are one video stream.
    video: bool,
}

impl Fragments {
    /// No fragments yet. Those of a `video` are one stream.
    pub(in crate::dicom) fn new(video: bool) -> Self {
        Self { video, ..Self::default() }
    }

    /// A further fragment, whose item begins at `item`.
    pub(in crate::dicom) fn push(&mut self, item: u64, length: u32) {
        if self.lengths.is_empty() {
            self.first = item;
        }
        if self.lengths.len().is_multiple_of(64) {
            self.begins_image.push(0);
        }
        self.lengths.push(length);
    }

    /// The first bytes of the fragment pushed last.
    pub(in crate::dicom) fn begins_with(&mut self, start: &[u8]) {
        if begins_image(start)
            && let (Some(last), Some(word)) =
                (self.lengths.len().checked_sub(1), self.begins_image.last_mut())
        {
            *word |= 1 << (last % 64);
        }
    }

    /// Bytes of memory held.
    pub(in crate::dicom) fn held_bytes(&self) -> u64 {
        let tables = self.basic.capacity() + self.extended.capacity() + self.extended_lengths.capacity();
        (tables + self.lengths.capacity() * 4 + self.begins_image.capacity() * 8) as u64
    }

    /// [`Self::held_bytes`] without what is only reserved.
    pub(in crate::dicom) fn kept_bytes(&self) -> u64 {
        let tables = self.basic.len() + self.extended.len() + self.extended_lengths.len();
        (tables + self.lengths.len() * 4 + self.begins_image.len() * 8) as u64
    }

    fn image_begins_at(&self, fragment: usize) -> bool {
        self.begins_image.get(fragment / 64).is_some_and(|word| word >> (fragment % 64) & 1 == 1)
    }

    /// For each frame the number of its first fragment; empty if that cannot be told.
    fn first_fragments(&self, frames: u32) -> Vec<u32> {
        let fragments = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        if fragments == 0 {
            return Vec::new();
        }
        if frames == 1 {
            return vec![0];
        }
        if self.video {
            return Vec::new();
        }
        if fragments == frames {
            return (0..frames).collect();
        }
        self.by_extended_table(frames)
            .or_else(|| {
                let (entries, rest) = self.basic.as_chunks::<4>();
                let offsets = entries.iter().map(|entry| u64::from(u32::from_le_bytes(*entry)));
                if rest.is_empty() { self.by_offsets(frames, entries.len(), offsets) } else { None }
            })
            .or_else(|| {
                let starts: Vec<u32> = (0..fragments).filter(|f| self.image_begins_at(*f as usize)).collect();
                // Fewer fragments than frames: those there are frames of their own, the rest is missing.
                let plausible = starts.len() == frames.min(fragments) as usize;
                (plausible && starts.first() == Some(&0)).then_some(starts)
            })
            .unwrap_or_default()
    }

    fn by_extended_table(&self, frames: u32) -> Option<Vec<u32>> {
        let (entries, rest) = self.extended.as_chunks::<8>();
        let offsets = entries.iter().map(|entry| u64::from_le_bytes(*entry));
        let starts =
            if rest.is_empty() { self.by_offsets(frames, entries.len(), offsets)? } else { return None };
        let (lengths, rest) = self.extended_lengths.as_chunks::<8>();
        let fits = rest.is_empty()
            && lengths.len() == starts.len()
            && lengths.iter().enumerate().all(|(frame, length)| {
                u64::from_le_bytes(*length) <= self.frame(&starts, frame).iter().map(|l| u64::from(*l)).sum()
            });
        (fits || self.extended_lengths.is_empty()).then_some(starts)
    }

    /// The fragments that begin at these offsets, counted from the first item. `None` unless there is one
    /// for each frame, the first is 0, they ascend, and each meets a fragment.
    fn by_offsets(
        &self,
        frames: u32,
        entries: usize,
        offsets: impl Iterator<Item = u64>,
    ) -> Option<Vec<u32>> {
        if entries != frames as usize {
            return None;
        }
        let mut offsets = offsets.peekable();
        let (mut starts, mut at) = (Vec::with_capacity(entries), 0_u64);
        for (fragment, length) in (0_u32..).zip(&self.lengths) {
            if offsets.next_if_eq(&at).is_some() {
                starts.push(fragment);
            }
            at += u64::from(*length) + ITEM_HEADER_BYTES;
        }
        (starts.len() == entries && starts.first() == Some(&0)).then_some(starts)
    }

    /// Lengths of the fragments of one frame.
    fn frame(&self, starts: &[u32], frame: usize) -> &[u32] {
        let end = starts.get(frame + 1).map_or(self.lengths.len(), |start| *start as usize);
        &self.lengths[starts[frame] as usize..end]
    }

    fn layout(&self, frames: u32) -> Layout {
        let starts = self.first_fragments(frames);
        let (mut table, mut marks, mut offset) = (Vec::new(), Vec::new(), self.first);
        for frame in 0..starts.len() {
            if frame % FRAMES_PER_MARK == 0 {
                marks.push(Mark { table_at: table.len(), offset });
            }
            let lengths = self.frame(&starts, frame);
            put(&mut table, lengths.len() as u64);
            for length in lengths {
                put(&mut table, u64::from(*length));
                offset += u64::from(*length) + ITEM_HEADER_BYTES;
            }
        }
        match u32::try_from(starts.len()) {
            Ok(present) if present > 0 => Layout::Fragments { first: self.first, present, table, marks },
            _ => Layout::Nowhere,
        }
    }
}

/// The first bytes of a JPEG or JPEG-LS, JPEG 2000 or JPEG XL image, bare or in its box file.
fn begins_image(start: &[u8]) -> bool {
    const STARTS: [&[u8]; 5] =
        [b"\xFF\xD8\xFF", b"\xFF\x4F\xFF\x51", b"\xFF\x0A", b"\x00\x00\x00\x0CjP  ", b"\x00\x00\x00\x0CJXL "];
    STARTS.iter().any(|magic| start.starts_with(magic))
}

impl FrameIndex {
    /// The index of a file whose top-level dataset has this geometry and this pixel data.
    pub(in crate::dicom) fn new(
        geometry: &Geometry,
        pixels: &PixelData,
        fragments: &Fragments,
        inflated_from: Option<u64>,
    ) -> Self {
        let frames = geometry.frames.unwrap_or(1);
        let layout = match pixels {
            PixelData::Absent => return Self { inflated_from, ..Self::default() },
            PixelData::Native { offset, length } => {
                native(geometry.bits_per_frame(geometry.bits_allocated), frames, *offset, *length)
            }
            PixelData::Float { offset, length, bits } => {
                native(geometry.bits_per_frame(Some(*bits)), frames, *offset, *length)
            }
            PixelData::Encapsulated => fragments.layout(frames),
        };
        Self { inflated_from, count: frames, layout }
    }
}

impl Geometry {
    /// Bits of one native frame; `None` if the attributes do not say or are not legal.
    fn bits_per_frame(&self, bits_allocated: Option<u16>) -> Option<u64> {
        let bits = u64::from(bits_allocated.filter(|bits| *bits == 1 || (bits % 8 == 0 && *bits <= 64))?);
        let samples = u64::from(self.samples.unwrap_or(1));
        // PS3.3 §C.7.6.3.1.2: 4:2:2 has two luminance samples and one of each colour for two pixels.
        let bits_per_pixel = if self.subsampled && bits == 8 && samples == 3 { 16 } else { bits * samples };
        let pixels = u64::from(self.rows?) * u64::from(self.columns?);
        pixels.checked_mul(bits_per_pixel).filter(|bits| *bits > 0)
    }
}

/// Frames of equal size, one after the other, as far as the element reaches.
fn native(bits_per_frame: Option<u64>, frames: u32, first: u64, length: u64) -> Layout {
    let Some(bits) = bits_per_frame else { return Layout::Nowhere };
    let whole = length.saturating_mul(8) / bits;
    let present = frames.min(u32::try_from(whole).unwrap_or(u32::MAX));
    if present == 0 {
        Layout::Nowhere
    } else if bits.is_multiple_of(8) {
        Layout::Bytes { first, length: bits / 8, present }
    } else {
        Layout::Bits { first, bits, present }
    }
}
