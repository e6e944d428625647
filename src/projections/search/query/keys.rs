//! From the key of a parameter to the place of an attribute in a dataset.
//!
//! Elsewhere: what can be searched there (`filters`).

use dicom_core::Tag as DicomTag;
use dicom_core::VR;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, TagRange};
use dicom_dictionary_std::StandardDataDictionary;

use super::TagPath;
use crate::projections::search::attributes::Tag;

/// The tag a keyword (as it is written in the standard) or 8 hex digits stand for.
pub(super) fn tag_of(text: &str) -> Option<Tag> {
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Tag::from_str_radix(text, 16).ok();
    }
    let entry = StandardDataDictionary.by_name(text)?;
    let number = |DicomTag(group, element)| (Tag::from(group) << 16) | Tag::from(element);
    match entry.tag_range() {
        TagRange::Single(tag) | TagRange::Group100(tag) | TagRange::Element100(tag) => Some(number(tag)),
        // Not the names of attributes, but of rules for whole groups of them.
        TagRange::GroupLength | TagRange::PrivateCreator => None,
    }
}

/// The same for tags with dots between them: a path into sequences.
pub(super) fn path_of(text: &str) -> Option<TagPath> {
    text.split('.').map(tag_of).collect::<Option<_>>().map(TagPath)
}

/// The VR that the standard gives an attribute.
pub(super) fn vr_of(tag: Tag) -> Option<VR> {
    let [a, b, c, d] = tag.to_be_bytes();
    let tag = DicomTag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed())
}
