//! The non-bulk elements of an instance, read piece by piece.
//!
//! A header is what the scanner keeps of a file ([`super::scan::Scanned::header`]): Explicit VR Little Endian
//! (PS3.5 §7.1.2), sequences and items of undefined length, no group lengths. The DICOM library's reader is not
//! used for it, because it gives up on values that are legal or at least common: a binary value of odd length
//! shifts everything behind it, and text is split at each 0x5C byte before it is decoded.
//!
//! Invariant: a piece never reaches beyond the bytes given, and reading takes one pass.
//! Elsewhere: what the bytes of a value mean (`json`, `text`), where they come from (`scan`).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// Deepest nesting of sequences that is followed; the scanner refuses deeper files before.
pub(super) const MAX_DEPTH: usize = 64;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const UNDEFINED: u32 = 0xFFFF_FFFF;

/// Bytes that are no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header cannot be read beyond byte {offset}")]
pub struct Malformed {
    /// Offset in the header of the piece that cannot be read.
    pub offset: usize,
}

/// The next thing in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// An element with its value as encoded. `None`: a VR this edition of the standard does not know.
    Value(Tag, Option<VR>, &'a [u8]),
    Sequence(Tag),
    Item,
    ItemEnd,
    SequenceEnd,
}

/// Reads a header from its beginning.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(header: &'a [u8]) -> Self {
        Self { bytes: header, at: 0 }
    }

    /// Where the next piece begins.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'a>>, Malformed> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let malformed = Malformed { offset: self.at };
        self.piece().map(Some).ok_or(malformed)
    }

    /// That the bytes read so far cannot go on as they must.
    pub(super) fn malformed(&self) -> Malformed {
        Malformed { offset: self.at }
    }

    fn piece(&mut self) -> Option<Piece<'a>> {
        let tag = Tag(self.u16()?, self.u16()?);
        match tag {
            ITEM => (self.u32()? == UNDEFINED).then_some(Piece::Item),
            ITEM_END => (self.u32()? == 0).then_some(Piece::ItemEnd),
            SEQUENCE_END => (self.u32()? == 0).then_some(Piece::SequenceEnd),
            _ => self.element(tag),
        }
    }

    fn element(&mut self, tag: Tag) -> Option<Piece<'a>> {
        let vr = VR::from_binary(*self.take(2)?.first_chunk()?);
        let length = if has_short_length(vr) {
            u32::from(self.u16()?)
        } else {
            self.take(2)?;
            self.u32()?
        };
        if vr == Some(VR::SQ) {
            return (length == UNDEFINED).then_some(Piece::Sequence(tag));
        }
        let value = self.take(usize::try_from(length).ok()?)?;
        Some(Piece::Value(tag, vr, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// The VR of a text value that the scanner could not write under its own, because that has a 16-bit length field
/// and Implicit VR does not: a long ContourData is DS, not UC.
pub(super) fn narrowed(tag: Tag, vr: VR, length: usize) -> VR {
    if length < usize::from(u16::MAX) || !matches!(vr, VR::UC | VR::UT) {
        return vr;
    }
    let dictionary = StandardDataDictionary.by_tag(tag).and_then(|entry| entry.vr().exact());
    dictionary.filter(|known| is_text(*known)).unwrap_or(vr)
}

fn is_text(vr: VR) -> bool {
    use VR::{AE, AS, CS, DA, DS, DT, IS, LO, LT, PN, SH, ST, TM, UC, UI, UR, UT};
    matches!(vr, AE | AS | CS | DA | DS | DT | IS | LO | LT | PN | SH | ST | TM | UC | UI | UR | UT)
}

/// Whether the length field has 16 bits (PS3.5 Table 7.1-2); every VR still to come has 32.
fn has_short_length(vr: Option<VR>) -> bool {
    use VR::{AE, AS, AT, CS, DA, DS, DT, FD, FL, IS, LO, LT, PN, SH, SL, SS, ST, TM, UI, UL, US};
    matches!(
        vr,
        Some(
            AE | AS
                | AT
                | CS
                | DA
                | DS
                | DT
                | FD
                | FL
                | IS
                | LO
                | LT
                | PN
                | SH
                | SL
                | SS
                | ST
                | TM
                | UI
                | UL
                | US
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8]) -> Result<Vec<Piece<'_>>, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next()? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    #[test]
    fn short_long_and_nested_elements_are_told_apart() {
        let header = b"\x08\x00\x16\x00UI\x02\x001.\
            \x08\x00\x10\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\
            \x40\x00\x60\xA1UT\0\0\x01\0\0\0x\
            \xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0\
            \x09\x00\x01\x10ZZ\0\0\x01\0\0\0y";
        assert_eq!(
            pieces(header),
            Ok(vec![
                Piece::Value(Tag(0x0008, 0x0016), Some(VR::UI), b"1."),
                Piece::Sequence(Tag(0x0008, 0x1110)),
                Piece::Item,
                Piece::Value(Tag(0x0040, 0xA160), Some(VR::UT), b"x"),
                Piece::ItemEnd,
                Piece::SequenceEnd,
                Piece::Value(Tag(0x0009, 0x1001), None, b"y"),
            ])
        );
    }

    #[test]
    fn a_value_beyond_the_end_is_refused_where_it_begins() {
        for (bytes, offset) in [
            (&b"\x08\x00\x16\x00UI\x03\x001."[..], 0),
            (b"\x08\x00\x16\x00UI\x00\x00\x08", 8),
            (b"\x08\x00\x16\x00UT\0\0\xF0\xFF\xFF\xFFab", 0),
            (b"\x08\x00\x16\x00UT\0\0\xFF\xFF\xFF\xFFab", 0),
            (b"\x08\x00\x10\x11SQ\0\0\0\0\0\0", 0),
        ] {
            assert_eq!(pieces(bytes), Err(Malformed { offset }), "{bytes:?}");
        }
    }
}
