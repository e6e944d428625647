//! Which attributes an answer holds and where they come from (contract `studies.md` §4.7, §4.8).
//!
//! An answer whose attributes all lie in the index set is made of the merged records alone. Any other is
//! made of the metadata of one instance, with the computed attributes laid over it.
//! Invariant: keys are 8 upper-case hex digits, in ascending order, each once.
//! Elsewhere: which records match (`find`), reading metadata and the array around the items (`http`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::attributes::{
    AVAILABLE_SYNTAXES, Attribute, Groups, Kind, MODALITIES_IN_STUDY, SERIES, SERIES_INSTANCE_UID,
    SERIES_INSTANCES, SOP_INSTANCE_UID, STUDY, STUDY_INSTANCE_UID, STUDY_INSTANCES, Tag,
};
use super::find::Hit;
use super::query::{Level, SearchQuery};

/// The major version of the URL, which decides the default attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `v1` and `v1.0-prerelease`: long lists.
    V1,
    /// `v2`: short lists.
    V2,
}

const V2_STUDY: [Tag; 8] =
    [0x0020_000D, 0x0008_0020, 0x0008_1030, 0x0008_0050, 0x0008_0090, 0x0010_0010, 0x0010_0020, 0x0010_0030];
const V2_SERIES: [Tag; 4] = [0x0020_000E, 0x0008_0060, 0x0040_0244, 0x0008_1090];
const V2_INSTANCE: [Tag; 1] = [0x0008_0018];

const V1_STUDY: [Tag; 13] = [
    0x0008_0005,
    0x0008_0020,
    0x0008_0030,
    0x0008_0050,
    0x0008_0056,
    0x0008_0090,
    0x0008_0201,
    0x0010_0010,
    0x0010_0020,
    0x0010_0030,
    0x0010_0040,
    0x0020_000D,
    0x0020_0010,
];
const V1_SERIES: [Tag; 8] =
    [0x0008_0005, 0x0008_0060, 0x0008_0201, 0x0008_103E, 0x0020_000E, 0x0040_0244, 0x0040_0245, 0x0040_0275];
const V1_INSTANCE: [Tag; 10] = [
    0x0008_0005,
    0x0008_0016,
    0x0008_0018,
    0x0008_0056,
    0x0008_0201,
    0x0020_0013,
    0x0028_0010,
    0x0028_0011,
    0x0028_0100,
    0x0028_0008,
];

/// What `includefield=all` adds to the v1 defaults.
const ALL_STUDY: [Tag; 11] = [
    0x0008_1030,
    0x0008_0063,
    0x0008_1032,
    0x0008_1060,
    0x0008_1080,
    0x0008_1110,
    0x0010_1010,
    0x0010_1020,
    0x0010_1030,
    0x0010_2180,
    0x0010_21B0,
];
const ALL_SERIES: [Tag; 4] = [0x0020_0011, 0x0020_0060, 0x0008_0021, 0x0008_0031];

/// The attributes of every item of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    tags: BTreeSet<Tag>,
    /// Those of `tags` that are computed here.
    computed: BTreeSet<Tag>,
    metadata: bool,
}

/// Metadata of ours that is no DICOM JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata cannot be read: {0}")]
pub struct BadMetadata(String);

/// The attributes that the answer to `query` holds.
#[must_use]
pub fn fields_for(query: &SearchQuery, version: Version) -> Fields {
    let mut tags = BTreeSet::new();
    for level in query.resource.levels() {
        let (v1, v2, all): (&[Tag], &[Tag], &[Tag]) = match level {
            Level::Study => (&V1_STUDY, &V2_STUDY, &ALL_STUDY),
            Level::Series => (&V1_SERIES, &V2_SERIES, &ALL_SERIES),
            Level::Instance => (&V1_INSTANCE, &V2_INSTANCE, &[]),
        };
        if query.include_all {
            tags.extend(all);
        }
        tags.extend(if version == Version::V1 || query.include_all { v1 } else { v2 });
    }
    tags.extend(query.filtered.iter().chain(&query.includes));
    tags.extend(query.resource.study().map(|_| STUDY_INSTANCE_UID));
    tags.extend(query.resource.series().map(|_| SERIES_INSTANCE_UID));

    let levels = query.resource.levels();
    let computes = |tag: &Tag| match *tag {
        MODALITIES_IN_STUDY | STUDY_INSTANCES => levels.contains(&Level::Study),
        SERIES_INSTANCES => levels.contains(&Level::Series),
        AVAILABLE_SYNTAXES => levels.contains(&Level::Instance),
        _ => false,
    };
    let computed: BTreeSet<Tag> = tags.iter().copied().filter(computes).collect();
    let indexed = |tag: &Tag| computed.contains(tag) || is_indexed(*tag, query.resource.item());
    let metadata = !tags.iter().all(indexed);
    Fields { tags, computed, metadata }
}

/// Whether the merged records of an item have the attribute. An instance has no merged record but its UIDs.
fn is_indexed(tag: Tag, item: Level) -> bool {
    let of = |table: &[Attribute]| table.iter().any(|attribute| attribute.tag == tag);
    match item {
        Level::Study => tag == STUDY_INSTANCE_UID || of(&STUDY),
        Level::Series => {
            [STUDY_INSTANCE_UID, SERIES_INSTANCE_UID].contains(&tag) || of(&STUDY) || of(&SERIES)
        }
        Level::Instance => [STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID].contains(&tag),
    }
}

impl Fields {
    /// Whether [`compose`] needs the metadata at [`Hit::position`].
    #[must_use]
    pub fn need_metadata(&self) -> bool {
        self.metadata
    }
}

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
    for tag in &fields.computed {
        match (*tag, &hit.series) {
            (MODALITIES_IN_STUDY, _) => {
                let modalities: Vec<&str> = hit.study.modalities.keys().map(String::as_str).collect();
                if !modalities.is_empty() {
                    elements.insert(*tag, element("CS", &modalities));
                }
            }
            (STUDY_INSTANCES, _) => drop(elements.insert(*tag, element("IS", &[hit.study.instances]))),
            (SERIES_INSTANCES, Some(series)) => {
                drop(elements.insert(*tag, element("IS", &[series.instances])))
            }
            (AVAILABLE_SYNTAXES, _) => {
                // What the file itself says of it came about elsewhere.
                elements.remove(tag);
                if let Some(syntax) = &hit.syntax {
                    elements.insert(*tag, element("UI", &[syntax.as_str()]));
                }
            }
            _ => {}
        }
    }
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
    let Hit { study, series, instance, syntax: _, position: _ } = hit;
    let mut add = |tag: Tag, vr: &str, kind: Kind, value: &str| {
        if fields.tags.contains(&tag) {
            elements.insert(tag, if kind == Kind::Name { name(value) } else { element(vr, &[value]) });
        }
    };
    add(STUDY_INSTANCE_UID, "UI", Kind::Text, study.uid.as_str());
    for (attribute, value) in STUDY.iter().zip(&study.values) {
        value.iter().for_each(|value| add(attribute.tag, attribute.vr, attribute.kind, value));
    }
    if let Some(series) = series {
        add(SERIES_INSTANCE_UID, "UI", Kind::Text, series.uid.as_str());
        for (attribute, value) in SERIES.iter().zip(&series.values) {
            value.iter().for_each(|value| add(attribute.tag, attribute.vr, attribute.kind, value));
        }
    }
    if let Some(instance) = instance {
        add(SOP_INSTANCE_UID, "UI", Kind::Text, instance.as_str());
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
        if let Some(element) = stored.get(key.as_str())
            && element.get().len() > EMPTY_ELEMENT.len()
        {
            elements.insert(*tag, element.get().to_owned());
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
        let fields = Fields { tags, computed: BTreeSet::new(), metadata: true };
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
