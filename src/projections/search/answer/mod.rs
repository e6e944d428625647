//! Which attributes an answer holds and where they come from (contract `studies.md` §4.7, §4.8).
//!
//! An answer whose attributes all lie in the index set is made of the merged records alone. Any other is
//! made of the metadata of one instance, with the computed attributes laid over it.
//! Invariant: keys are 8 upper-case hex digits, in ascending order, each once.
//! Elsewhere: which records match (`find`), reading metadata and the array around the items (`http`).

use std::collections::BTreeMap;

use dicom_core::VR;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::paths::Cut;
use super::attributes::{
    Attributes, Groups, Path, Role, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Tag,
};
use super::find::Hit;
use crate::dicom::uid::Uid;

mod computed;
mod ordered;
mod paths;
mod sets;

pub use ordered::ByMetadata;
pub use sets::{Fields, Version, fields_for};
pub(super) use sets::{computes, default_tags};

/// Metadata of ours that is no DICOM JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata cannot be read: {0}")]
pub struct BadMetadata(String);

/// One item of the answer as a DICOM JSON object. `metadata` is that of [`Hit::position`], and is given
/// exactly when [`Fields::need_metadata`].
///
/// # Errors
/// [`BadMetadata`]
pub fn compose(hit: &Hit, fields: &Fields, metadata: Option<&[u8]>) -> Result<Vec<u8>, BadMetadata> {
    debug_assert_eq!(metadata.is_some(), fields.metadata, "metadata is read exactly when it is needed");
    let mut elements: BTreeMap<Tag, String> = BTreeMap::new();
    match metadata {
        None => add_merged(&mut elements, hit, fields),
        Some(metadata) => add_stored(&mut elements, metadata, fields)?,
    }
    computed::add(&mut elements, hit, fields, metadata);
    let mut object = Vec::with_capacity(elements.len() * 48);
    object.push(b'{');
    for (tag, element) in &elements {
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend_from_slice(format!("\"{tag:08X}\":").as_bytes());
        object.extend_from_slice(element.as_bytes());
    }
    object.push(b'}');
    Ok(object)
}

fn add_merged(elements: &mut BTreeMap<Tag, String>, hit: &Hit, fields: &Fields) {
    let Hit { study, series, instance, syntax: _, classes: _, position: _ } = hit;
    let mut add_uid = |tag: Tag, uid: &Uid| {
        if fields.tags.contains(&tag) {
            elements.insert(tag, element("UI", &[uid.as_str()]));
        }
    };
    add_uid(STUDY_INSTANCE_UID, &study.uid);
    series.iter().for_each(|series| add_uid(SERIES_INSTANCE_UID, &series.uid));
    instance.iter().for_each(|instance| add_uid(SOP_INSTANCE_UID, instance));
    let attributes = Attributes::core();
    let values = study.values.iter().chain(series.iter().flat_map(|series| series.values.iter()));
    for (id, _) in values {
        let of_series = series.as_ref().and_then(|series| series.values.first(id));
        let value = study.values.first(id).or(of_series);
        let (Some(attribute), Some(value)) = (attributes.get(id), value) else { continue };
        if let Path::One(tag) = attribute.path
            && attribute.role == Role::IndexSet
            && fields.tags.contains(&tag)
        {
            let vr = attribute.vr.to_string();
            elements.insert(tag, if attribute.vr == VR::PN { name(value) } else { element(vr, &[value]) });
        }
    }
}

/// An element without a value, as the metadata has it; answers leave it out (§4.7).
const EMPTY_ELEMENT: &str = r#"{"vr":"SQ"}"#;

#[derive(Deserialize)]
#[serde(transparent)]
struct Stored<'m>(#[serde(borrow)] BTreeMap<&'m str, &'m RawValue>);

fn add_stored(
    elements: &mut BTreeMap<Tag, String>,
    metadata: &[u8],
    fields: &Fields,
) -> Result<(), BadMetadata> {
    let Stored(stored) = serde_json::from_slice(metadata).map_err(|error| BadMetadata(error.to_string()))?;
    for tag in &fields.tags {
        let key = format!("{tag:08X}");
        let Some(element) = stored.get(key.as_str()) else { continue };
        if let Some(shown) = fields.cuts.get(tag).unwrap_or(&Cut::Whole).of(element) {
            elements.insert(*tag, shown);
        }
    }
    Ok(())
}

fn element<T: serde::Serialize>(vr: &str, values: &[T]) -> String {
    let values = serde_json::to_string(values).expect("texts and numbers can always be written as JSON");
    format!("{{\"vr\":\"{vr}\",\"Value\":{values}}}")
}

fn name(value: &str) -> String {
    element("PN", &[Groups::split(value)])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn elements_are_dicom_json() {
        assert_eq!(element("LO", &["a\"b"]), r#"{"vr":"LO","Value":["a\"b"]}"#);
        assert_eq!(element("IS", &[3]), r#"{"vr":"IS","Value":[3]}"#);
        assert_eq!(name("=B=C"), r#"{"vr":"PN","Value":[{"Ideographic":"B","Phonetic":"C"}]}"#);
    }

    #[test]
    fn stored_elements_are_copied_as_they_are_and_empty_ones_left_out() {
        let tags = BTreeSet::from([0x0010_0020, 0x0008_1110, 0x0010_0010]);
        let fields = Fields { tags, metadata: true, ..Fields::default() };
        let metadata = br#"{"00081110":{"vr":"SQ","Value":[{ "x" : 1 }]},"00100010":{"vr":"PN"},
            "00100020":{"vr":"LO","Value":["\u0041"]},"00100040":{"vr":"CS","Value":["O"]}}"#;
        let mut elements = BTreeMap::new();
        add_stored(&mut elements, metadata, &fields).unwrap();
        let kept: Vec<_> = elements.values().map(String::as_str).collect();
        let wanted = [r#"{"vr":"SQ","Value":[{ "x" : 1 }]}"#, r#"{"vr":"LO","Value":["\u0041"]}"#];
        assert_eq!(kept, wanted);
        assert!(add_stored(&mut elements, b"[]", &fields).is_err());
    }
}
