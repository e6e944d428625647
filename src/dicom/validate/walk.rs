//! The elements of a header one after the other, nested ones included, each with its place and character set.
//!
//! Invariant: one pass; an item inherits the character set of the dataset around it.
//! Elsewhere: the pieces (`header`), the VRs of the dictionary's tags (PS3.6, by the DICOM library).

use std::borrow::Cow;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::super::header::{MAX_DEPTH, Piece, Reader, narrowed};
use super::super::text::{CharacterSet, decode_default};

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    /// Offset in the header.
    pub(super) place: usize,
    /// Items around it.
    pub(super) depth: usize,
    pub(super) tag: Tag,
    pub(super) vr: VR,
    /// Empty for a sequence.
    pub(super) value: &'a [u8],
    pub(super) set: CharacterSet,
}

impl<'a> Element<'a> {
    /// Whether it stands in the dataset itself, not in an item.
    pub(super) fn is_top(&self) -> bool {
        self.depth == 0
    }

    /// The value in Unicode, its padding included.
    pub(super) fn text(&self) -> Cow<'a, str> {
        if uses_character_set(self.vr) { self.set.decode(self.value) } else { decode_default(self.value) }
    }

    /// Whether some bytes of the value are no characters of the set that is declared for it; `text` is what
    /// [`Self::text`] gave.
    pub(super) fn is_undecodable(&self, text: &str) -> bool {
        uses_character_set(self.vr) && !self.set.is_decodable(self.value, text)
    }
}

/// The elements of a header, as far as it can be read.
pub(super) struct Walk<'a> {
    reader: Reader<'a>,
    /// Of the datasets around, the innermost last.
    sets: Vec<CharacterSet>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(header: &'a [u8]) -> Self {
        Self { reader: Reader::new(header), sets: vec![CharacterSet::default()] }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            let place = self.reader.offset();
            let (tag, vr, value) = match self.reader.next().ok()?? {
                Piece::Value(tag, Some(vr), value) => (tag, narrowed(tag, vr, value.len()), value),
                Piece::Sequence(tag) => (tag, VR::SQ, &[][..]),
                Piece::Item if self.sets.len() > MAX_DEPTH => return None,
                Piece::Item => {
                    self.sets.push(*self.sets.last()?);
                    continue;
                }
                Piece::ItemEnd => {
                    self.sets.pop();
                    continue;
                }
                Piece::Value(..) | Piece::SequenceEnd => continue,
            };
            if tag == tags::SPECIFIC_CHARACTER_SET {
                *self.sets.last_mut()? = CharacterSet::declared(value);
            }
            let depth = self.sets.len().checked_sub(1)?;
            return Some(Element { place, depth, tag, vr, value, set: *self.sets.last()? });
        }
    }
}

/// The VR that an element must have; `None` for private and unknown ones, and where the dictionary has
/// alternatives (`studies.md` §2.12).
pub(super) fn dictionary_vr(tag: Tag) -> Option<VR> {
    if tag.group() % 2 == 1 {
        return None;
    }
    let exact = StandardDataDictionary.by_tag(tag).and_then(|entry| entry.vr().exact());
    exact.filter(|vr| *vr != VR::UN)
}

/// Whether (0008,0005) governs the text (PS3.5 §6.1.2.3).
fn uses_character_set(vr: VR) -> bool {
    matches!(vr, VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT)
}
