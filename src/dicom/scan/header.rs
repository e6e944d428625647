//! The kept part of a dataset, re-encoded as Explicit VR Little Endian while it is read.
//!
//! Invariant: sequences and items have undefined length and delimiters, whatever the file wrote.
//! Invariant: memory grows with bytes that have come, never with a length that is only declared.
//! Elsewhere: what is kept (`scan::dataset`), the reading of it (`dicom::json`, `dicom::validate`).

use dicom_core::{Tag, VR};

use super::vr::{has_long_length, number_bytes};

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const UNDEFINED: u32 = 0xFFFF_FFFF;

/// Longest header of one element, and of one delimiter pair.
pub(super) const HEADER_BYTES: u64 = 16;

/// The bytes written so far.
#[derive(Debug, Default)]
pub(super) struct Header {
    bytes: Vec<u8>,
    /// Where the value being written begins.
    value_at: usize,
    /// Capacity is never asked for beyond this, except for what must be held anyway.
    ceiling: usize,
}

impl Header {
    /// A header that will hold at most `ceiling` bytes.
    pub(super) fn with_ceiling(ceiling: u64) -> Self {
        Self { ceiling: usize::try_from(ceiling).unwrap_or(usize::MAX), ..Self::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.bytes.capacity() as u64
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Begins an element whose value of `length` bytes follows by [`Self::extend`]. A VR with a 16-bit
    /// length field never comes with a longer value.
    pub(super) fn begin_element(&mut self, tag: Tag, vr: VR, length: u32) {
        self.put_tag(tag);
        self.extend(&vr.to_bytes());
        if has_long_length(vr) {
            self.extend(&[0, 0]);
            self.extend(&length.to_le_bytes());
        } else {
            let length = u16::try_from(length).expect("longer values were given a VR with a 32-bit length");
            self.extend(&length.to_le_bytes());
        }
        self.value_at = self.bytes.len();
    }

    /// Ends the element: numbers are turned into little endian. Answers the value.
    pub(super) fn end_element(&mut self, vr: VR, big_endian: bool) -> &[u8] {
        let value = &mut self.bytes[self.value_at..];
        let (_, part) = number_bytes(vr);
        if big_endian && part > 1 {
            for number in value.chunks_exact_mut(part) {
                number.reverse();
            }
        }
        value
    }

    pub(super) fn begin_sequence(&mut self, tag: Tag) {
        self.begin_element(tag, VR::SQ, UNDEFINED);
    }

    pub(super) fn end_sequence(&mut self) {
        self.put_tag(SEQUENCE_END);
        self.extend(&[0; 4]);
    }

    pub(super) fn begin_item(&mut self) {
        self.put_tag(ITEM);
        self.extend(&UNDEFINED.to_le_bytes());
    }

    pub(super) fn end_item(&mut self) {
        self.put_tag(ITEM_END);
        self.extend(&[0; 4]);
    }

    /// Appends bytes of the value begun.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(1024).min(self.ceiling);
            self.bytes.reserve_exact(doubled.max(needed) - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn put_tag(&mut self, tag: Tag) {
        self.extend(&tag.group().to_le_bytes());
        self.extend(&tag.element().to_le_bytes());
    }
}
