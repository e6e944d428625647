//! The attributes of the search view, and how they are picked out of an instance's metadata.
//!
//! A value is the first value of its element as a text: a person name as its component groups joined by
//! `=`, a date as `yyyyMMdd`.
//! Invariant: a value is never blank, never longer than [`LONGEST_VALUE_BYTES`]; a date is a calendar date.
//! Elsewhere: how values of several instances become one record (`rows`), what is compared (`matching`).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::folding;
use crate::event::{Commit, Payload, Section};

/// A tag as one number, group first.
pub(super) type Tag = u32;

pub(super) const STUDY_INSTANCE_UID: Tag = 0x0020_000D;
pub(super) const SERIES_INSTANCE_UID: Tag = 0x0020_000E;
pub(super) const SOP_CLASS_UID: Tag = 0x0008_0016;
pub(super) const SOP_INSTANCE_UID: Tag = 0x0008_0018;
pub(super) const AVAILABLE_SYNTAXES: Tag = 0x0008_3002;
pub(super) const MODALITIES_IN_STUDY: Tag = 0x0008_0061;
pub(super) const STUDY_INSTANCES: Tag = 0x0020_1208;
pub(super) const SERIES_INSTANCES: Tag = 0x0020_1209;
/// Where Modality stands in [`SERIES`].
pub(super) const MODALITY: usize = 0;

/// Values above this length (contract `studies.md` §2.5.2 allows none of them) are not searched.
const LONGEST_VALUE_BYTES: usize = 1024;

/// How values of an attribute are compared (contract `studies.md` §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// LO, SH, CS, UI: the whole value without regard to case.
    Text,
    /// PN: without regard to accents, too.
    Name,
    /// DA.
    Date,
}

/// One attribute of the merged records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    pub(super) tag: Tag,
    /// The tag as it stands in DICOM JSON.
    pub(super) key: &'static str,
    pub(super) vr: &'static str,
    pub(super) kind: Kind,
}

const fn attribute(tag: Tag, key: &'static str, vr: &'static str, kind: Kind) -> Attribute {
    Attribute { tag, key, vr, kind }
}

/// Of a study (contract `studies.md` §4.3, §4.8).
pub(super) const STUDY: [Attribute; 7] = [
    attribute(0x0008_0020, "00080020", "DA", Kind::Date),
    attribute(0x0008_0050, "00080050", "SH", Kind::Text),
    attribute(0x0008_0090, "00080090", "PN", Kind::Name),
    attribute(0x0008_1030, "00081030", "LO", Kind::Text),
    attribute(0x0010_0010, "00100010", "PN", Kind::Name),
    attribute(0x0010_0020, "00100020", "LO", Kind::Text),
    attribute(0x0010_0030, "00100030", "DA", Kind::Date),
];

/// Of a series (contract `studies.md` §4.3, §4.8).
pub(super) const SERIES: [Attribute; 3] = [
    attribute(0x0008_0060, "00080060", "CS", Kind::Text),
    attribute(0x0008_1090, "00081090", "LO", Kind::Text),
    attribute(0x0040_0244, "00400244", "DA", Kind::Date),
];

/// The values of [`STUDY`], in its order.
pub(super) type StudyValues = [Option<String>; STUDY.len()];
/// The values of [`SERIES`], in its order.
pub(super) type SeriesValues = [Option<String>; SERIES.len()];

/// What the view keeps of one instance's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extracted {
    pub(super) study: StudyValues,
    pub(super) series: SeriesValues,
}

/// The attributes of the instance a commit stored. Metadata that cannot be read leaves them all missing:
/// the instance is live all the same.
pub(super) fn extracted(commit: &Commit) -> Extracted {
    let Some(event) = commit.event.as_deref() else { return Extracted::default() };
    let Payload::InstanceStored { .. } = event.head.payload else { return Extracted::default() };
    let read = match event.section(Section::Metadata) {
        Ok(None) => Ok(Extracted::default()),
        Ok(Some(metadata)) => extract(&metadata).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|why| {
        tracing::warn!(
            position = commit.position.0,
            why,
            "metadata cannot be read; searched without attributes"
        );
        Extracted::default()
    })
}

/// Picks the attributes of the view out of DICOM JSON; everything else is passed over unparsed.
///
/// # Errors
/// It is not a JSON object of elements.
fn extract(metadata: &[u8]) -> Result<Extracted, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(metadata);
    let extracted = json.deserialize_map(DatasetVisitor)?;
    json.end()?;
    Ok(extracted)
}

struct DatasetVisitor;

impl<'de> Visitor<'de> for DatasetVisitor {
    type Value = Extracted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a DICOM JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extracted, A::Error> {
        let mut extracted = Extracted::default();
        while let Some(place) = map.next_key_seed(KeySeed)? {
            let Some(place) = place else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let element: Element = map.next_value()?;
            match place {
                Place::Study(at) => extracted.study[at] = element.value(STUDY[at].kind),
                Place::Series(at) => extracted.series[at] = element.value(SERIES[at].kind),
            }
        }
        Ok(extracted)
    }
}

#[derive(Clone, Copy)]
enum Place {
    Study(usize),
    Series(usize),
}

/// Reads a key without keeping it.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<Place>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<Place>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let at = |table: &[Attribute]| table.iter().position(|attribute| attribute.key == key);
        Ok(at(&STUDY).map(Place::Study).or_else(|| at(&SERIES).map(Place::Series)))
    }
}

#[derive(Deserialize)]
struct Element {
    #[serde(default, rename = "Value")]
    values: Vec<Option<Scalar>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Name(Groups),
    Other(IgnoredAny),
}

/// The component groups of a person name (PS3.18 Annex F.2.2).
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Groups {
    #[serde(default, rename = "Alphabetic", skip_serializing_if = "Option::is_none")]
    pub(super) alphabetic: Option<String>,
    #[serde(default, rename = "Ideographic", skip_serializing_if = "Option::is_none")]
    pub(super) ideographic: Option<String>,
    #[serde(default, rename = "Phonetic", skip_serializing_if = "Option::is_none")]
    pub(super) phonetic: Option<String>,
}

impl Groups {
    /// `Alphabetic=Ideographic=Phonetic`, as in a file.
    fn join(self) -> String {
        let groups = [self.alphabetic, self.ideographic, self.phonetic].map(Option::unwrap_or_default);
        groups.join("=").trim_end_matches('=').to_owned()
    }

    /// The groups of a name as it stands in a file.
    pub(super) fn split(name: &str) -> Self {
        let mut groups = name.splitn(3, '=').map(|group| (!group.is_empty()).then(|| group.to_owned()));
        let mut next = || groups.next().flatten();
        Self { alphabetic: next(), ideographic: next(), phonetic: next() }
    }
}

impl Element {
    fn value(self, kind: Kind) -> Option<String> {
        let text = match self.values.into_iter().next()?? {
            Scalar::Text(text) => text,
            Scalar::Name(groups) => groups.join(),
            Scalar::Other(IgnoredAny) => return None,
        };
        let trimmed = folding::trim(&text);
        if trimmed.is_empty() || text.len() > LONGEST_VALUE_BYTES {
            return None;
        }
        match kind {
            Kind::Date => folding::is_date(trimmed).then(|| trimmed.to_owned()),
            Kind::Text | Kind::Name => Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_and_blank_is_missing() {
        let metadata = br#"{
            "00080005":{"vr":"CS","Value":["ISO_IR 192"]},
            "00080020":{"vr":"DA","Value":["20240229"]},
            "00080050":{"vr":"SH"},
            "00080060":{"vr":"CS","Value":["CT","MR"]},
            "00081030":{"vr":"LO","Value":["  "]},
            "00081090":{"vr":"LO","Value":[null,"second"]},
            "00100010":{"vr":"PN","Value":[{"Alphabetic":"Yamada^Tarou","Phonetic":"ya"}]},
            "00100020":{"vr":"LO","Value":["P\u0031 "]},
            "00100030":{"vr":"DA","Value":["20230229"]},
            "00400244":{"vr":"DA","Value":[20240101]},
            "00400275":{"vr":"SQ","Value":[{"00100020":{"vr":"LO","Value":["inner"]}}]}
        }"#;
        let found = extract(metadata).unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            found.study,
            [some("20240229"), None, None, None, some("Yamada^Tarou==ya"), some("P1 "), None]
        );
        assert_eq!(found.series, [some("CT"), None, None]);
    }

    #[test]
    fn what_is_no_dataset_is_an_error() {
        for bad in [&b"[]"[..], b"{", b"{\"00080020\":7}", b"{} {}", b""] {
            assert!(extract(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn groups_survive_the_way_there_and_back() {
        for name in ["A^B", "A^B=C", "A^B==D", "=C", "==D", "A=B=C"] {
            assert_eq!(Groups::split(name).join(), name);
        }
    }
}
