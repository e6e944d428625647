//! The file meta information of a file that is sent in another transfer syntax (PS3.10 §7.1).
//!
//! Invariant: every element of it is kept but for its length and the transfer syntax.
//! Elsewhere: the dataset behind it (`reencode`).

use dicom_core::{Tag, VR};

use super::Broken;
use super::written::put_header;
use crate::dicom::scan::vr::{Encoding, explicit_vr, has_long_length};

const PREAMBLE_BYTES: usize = 132;
const META_GROUP_LENGTH: Tag = Tag(0x0002, 0x0000);
const META_TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);

/// The start of a file, up to its dataset, as it is when that is in `syntax`, one of Explicit VR Little Endian.
///
/// # Errors
/// [`Broken`] when the bytes are no such start.
pub fn meta(head: &[u8], syntax: &str) -> Result<Vec<u8>, Broken> {
    let little = Encoding::EXPLICIT_LITTLE;
    let broken = |at: usize| Broken(at as u64);
    let mut elements = Vec::with_capacity(head.len() + 2);
    let mut at = PREAMBLE_BYTES.min(head.len());
    while at < head.len() {
        let fixed = head.get(at..at + 8).ok_or(broken(at))?;
        let tag = little.tag([fixed[0], fixed[1], fixed[2], fixed[3]]);
        let vr = explicit_vr([fixed[4], fixed[5]]).ok_or(broken(at))?;
        let (header, length) = if has_long_length(vr) {
            let length = head.get(at + 8..at + 12).and_then(|bytes| bytes.first_chunk()).ok_or(broken(at))?;
            (12, usize::try_from(little.u32(*length)).map_err(|_| broken(at))?)
        } else {
            (8, usize::from(little.u16([fixed[6], fixed[7]])))
        };
        let end = at.checked_add(header + length).filter(|end| *end <= head.len()).ok_or(broken(at))?;
        match tag {
            META_GROUP_LENGTH => {}
            META_TRANSFER_SYNTAX => {
                // Padded to an even length.
                let value =
                    [syntax.as_bytes(), &b"\0"[usize::from(syntax.len().is_multiple_of(2))..]].concat();
                put_header(&mut elements, tag, VR::UI, value.len() as u32);
                elements.extend_from_slice(&value);
            }
            _ => elements.extend_from_slice(&head[at..end]),
        }
        at = end;
    }
    let length = u32::try_from(elements.len()).map_err(|_| broken(at))?;
    let mut meta = head.get(..PREAMBLE_BYTES).ok_or(broken(head.len()))?.to_vec();
    put_header(&mut meta, META_GROUP_LENGTH, VR::UL, 4);
    meta.extend_from_slice(&length.to_le_bytes());
    meta.extend_from_slice(&elements);
    Ok(meta)
}
