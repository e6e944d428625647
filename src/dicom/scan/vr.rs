//! Value representations as the scanner needs them: how a syntax lays bytes out, how long a length
//! field is, what counts as bulk, and which VR an element has when the file does not say.
//!
//! Invariant: nothing here looks at a value.
//! Elsewhere: what a value must look like (`dicom::validate`).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// Longest value a 16-bit length field can declare: even, as every length is to be (PS3.5 §7.1.1).
pub(in crate::dicom) const SHORT_VALUE_BYTES: u32 = 0xFFFE;

/// How the elements of a dataset are written (PS3.5 §7.1, Annex A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dicom) struct Encoding {
    /// Two letters of VR stand in every element.
    pub(in crate::dicom) explicit: bool,
    /// Tags, lengths and numbers begin with their most significant byte.
    pub(in crate::dicom) big_endian: bool,
}

/// A whole dataset's encoding, with what lies around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dicom) struct Syntax {
    pub(in crate::dicom) encoding: Encoding,
    /// The dataset is one raw deflate stream (RFC 1951).
    pub(in crate::dicom) deflated: bool,
    /// The fragments are one video stream; they are not frames.
    pub(in crate::dicom) video: bool,
}

impl Encoding {
    pub(in crate::dicom) const EXPLICIT_LITTLE: Self = Self { explicit: true, big_endian: false };
    pub(in crate::dicom) const EXPLICIT_BIG: Self = Self { explicit: true, big_endian: true };
    pub(in crate::dicom) const IMPLICIT_LITTLE: Self = Self { explicit: false, big_endian: false };

    pub(in crate::dicom) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(in crate::dicom) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(in crate::dicom) fn tag(self, bytes: [u8; 4]) -> Tag {
        let [a, b, c, d] = bytes;
        Tag(self.u16([a, b]), self.u16([c, d]))
    }
}

/// What a transfer syntax means for the framing (`studies.md` §2.12: whatever is not known is read as
/// Explicit VR Little Endian).
pub(in crate::dicom) fn syntax_of(uid: &str) -> Syntax {
    let encoding = match uid {
        // Implicit VR Little Endian; GE's, which swaps pixels only; Papyrus 3.
        "1.2.840.10008.1.2" | "1.2.840.113619.5.2" | "1.2.840.10008.1.20" => Encoding::IMPLICIT_LITTLE,
        "1.2.840.10008.1.2.2" => Encoding::EXPLICIT_BIG,
        _ => Encoding::EXPLICIT_LITTLE,
    };
    // Deflated Explicit VR, JPIP Referenced Deflate, JPIP HTJ2K Referenced Deflate.
    let deflated =
        matches!(uid, "1.2.840.10008.1.2.1.99" | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205");
    // MPEG2, MPEG-4 and HEVC hold .100 to .108, some with a further component for fragmentable streams.
    let video = uid.strip_prefix("1.2.840.10008.1.2.4.10").is_some_and(|rest| {
        let digit = rest.split('.').next().unwrap_or_default();
        matches!(digit, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8")
    });
    Syntax { encoding, deflated, video }
}

/// The VR that two bytes of an explicit header name. Two capitals that name none yet are UN, with the
/// 32-bit length every later VR has (PS3.5 §6.2); anything else is no VR.
pub(in crate::dicom) fn explicit_vr(letters: [u8; 2]) -> Option<VR> {
    match VR::from_binary(letters) {
        Some(vr) => Some(vr),
        None if letters.iter().all(u8::is_ascii_uppercase) => Some(VR::UN),
        None => None,
    }
}

/// The VR of an element in Implicit VR. `signed` is the Pixel Representation in force.
pub(in crate::dicom) fn implicit_vr(tag: Tag, signed: bool) -> VR {
    // Before the dictionary, whose repeating groups would claim odd ones such as 6001.
    if tag.group() % 2 == 1 {
        return if (0x0010..=0x00FF).contains(&tag.element()) { VR::LO } else { VR::UN };
    }
    match StandardDataDictionary.by_tag(tag).map(DataDictionaryEntry::vr) {
        Some(VirtualVr::Exact(vr)) => vr,
        Some(VirtualVr::Xs) if signed => VR::SS,
        Some(VirtualVr::Xs) => VR::US,
        // PS3.5 §A.1: OW in Implicit VR; a look-up table may always be written so.
        Some(VirtualVr::Ox | VirtualVr::Px | VirtualVr::Lt) => VR::OW,
        // The dictionary's enum may grow.
        Some(_) | None => VR::UN,
    }
}

/// Whether elements of this VR stay out of the metadata (`studies.md` §3.6.2).
pub(in crate::dicom) fn is_bulk(vr: VR) -> bool {
    matches!(vr, VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN)
}

/// Whether an explicit header has two reserved bytes and a 32-bit length (PS3.5 §7.1.2).
pub(in crate::dicom) fn has_long_length(vr: VR) -> bool {
    is_bulk(vr) || matches!(vr, VR::SQ | VR::SV | VR::UC | VR::UR | VR::UT | VR::UV)
}

/// Bytes of one binary number and of the parts in which byte order turns it around; 1 for text.
pub(in crate::dicom) fn number_bytes(vr: VR) -> (u32, usize) {
    match vr {
        VR::US | VR::SS => (2, 2),
        VR::AT => (4, 2),
        VR::UL | VR::SL | VR::FL => (4, 4),
        VR::FD | VR::SV | VR::UV => (8, 8),
        _ => (1, 1),
    }
}

/// At least the bytes of an element's JSON beside its value, and of an item's.
pub(in crate::dicom) const ELEMENT_JSON_BYTES: u64 = 32;

/// About the most bytes that a value comes to as DICOM JSON: escapes, lone separators and replaced bytes take
/// several for one.
pub(in crate::dicom) fn json_bytes(vr: VR, value: &[u8]) -> u64 {
    if number_bytes(vr).0 > 1 {
        return 4 * value.len() as u64;
    }
    let of_byte = |byte: &u8| match byte {
        0..0x20 | b'\\' | 0x7F => 6,
        b'"' => 2,
        0x80.. => 3,
        _ => 1,
    };
    value.iter().map(of_byte).sum()
}

/// The text VR with a 32-bit length for a value that is too long for `vr`'s own; `None` for numbers.
pub(super) fn widened(vr: VR) -> Option<VR> {
    match vr {
        VR::LT | VR::ST => Some(VR::UT),
        _ if number_bytes(vr).0 == 1 => Some(VR::UC),
        _ => None,
    }
}
