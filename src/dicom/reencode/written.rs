//! Headers in Explicit VR Little Endian (PS3.5 §7.1.2).
//!
//! Invariant: a VR is written only with a length that its length field holds.
//! Elsewhere: what is written (`reencode`).

use dicom_core::{Tag, VR};

use crate::dicom::scan::vr::{SHORT_VALUE_BYTES, has_long_length, is_bulk, number_bytes};

/// The VR in which Explicit VR can hold a value of this length: its own, or UN for one that its length field does
/// not hold or that is no whole count of numbers (PS3.5 §6.2.2).
pub(super) fn vr_for(vr: VR, length: u32) -> VR {
    let holds = length <= SHORT_VALUE_BYTES || has_long_length(vr);
    let whole = is_bulk(vr) || length.is_multiple_of(number_bytes(vr).0);
    if holds && whole { vr } else { VR::UN }
}

/// Tag, VR and length of an element.
pub(super) fn put_header(out: &mut Vec<u8>, tag: Tag, vr: VR, length: u32) {
    put_tag(out, tag);
    out.extend_from_slice(&vr.to_bytes());
    if has_long_length(vr) {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        let length = u16::try_from(length).expect("longer values were given a VR with a 32-bit length");
        out.extend_from_slice(&length.to_le_bytes());
    }
}

/// Tag and length of an item, or of a delimiter.
pub(super) fn put_delimiter(out: &mut Vec<u8>, tag: Tag, length: u32) {
    put_tag(out, tag);
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_tag(out: &mut Vec<u8>, tag: Tag) {
    out.extend_from_slice(&tag.group().to_le_bytes());
    out.extend_from_slice(&tag.element().to_le_bytes());
}
