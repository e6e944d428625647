//! Picks the attributes that can be searched out of an instance's metadata.
//!
//! A value is the first value of its element as a text (`element`). Of a sequence the first [`MOST_ITEMS`] items
//! count.
//! Invariant: a value is never blank, never longer than [`LONGEST_VALUE_BYTES`], and can be compared as its
//! attribute is (`value`); whatever else stands there is missing.
//! Elsewhere: which attributes there are (`attributes`), how values become one record (`rows`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::element::{Element, ElementKey};
use super::{Attributes, Compared, Items, Level, Tag, Values, Want};
use crate::event::{Commit, Payload, Section};
use crate::projections::search::folding;
use crate::projections::search::value::has_form;

/// Values above this length (contract `studies.md` §2.5.2 allows none of them) are not searched.
const LONGEST_VALUE_BYTES: usize = 1024;
/// Items of a sequence that are searched.
const MOST_ITEMS: usize = 32;

/// What the view keeps of one instance's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extracted {
    pub(crate) study: Values,
    pub(crate) series: Values,
    pub(crate) instance: Values,
}

/// The attributes of the instance a commit stored. Metadata that cannot be read leaves them all missing:
/// the instance is live all the same.
pub(crate) fn extracted(commit: &Commit, attributes: &Attributes) -> Extracted {
    let Some(event) = commit.event.as_deref() else { return Extracted::default() };
    let Payload::InstanceStored { .. } = event.head.payload else { return Extracted::default() };
    let read = match event.section(Section::Metadata) {
        Ok(None) => Ok(Extracted::default()),
        Ok(Some(metadata)) => extract(&metadata, attributes).map_err(|error| error.to_string()),
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

/// Picks the attributes out of DICOM JSON; everything else is passed over unparsed.
///
/// # Errors
/// It is not a JSON object of elements.
pub(crate) fn extract(metadata: &[u8], attributes: &Attributes) -> Result<Extracted, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(metadata);
    let extracted = json.deserialize_map(DatasetVisitor(attributes))?;
    json.end()?;
    Ok(extracted)
}

struct DatasetVisitor<'a>(&'a Attributes);

impl<'de> Visitor<'de> for DatasetVisitor<'_> {
    type Value = Extracted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a DICOM JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extracted, A::Error> {
        let mut extracted = Extracted::default();
        // The blocks of this dataset's private creators, by group; an element's stands before those of its block.
        let mut blocks: BTreeMap<(u16, u8), Arc<str>> = BTreeMap::new();
        while let Some(tag) = map.next_key_seed(TagSeed)? {
            let Some(tag) = tag else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if self.0.reads_creator(tag) {
                let creator: Element = map.next_value()?;
                let [high, low, _, block] = tag.to_be_bytes();
                if let Some(creator) = creator.text() {
                    let creator = Arc::from(folding::trim(&creator));
                    blocks.insert((u16::from_be_bytes([high, low]), block), creator);
                }
                continue;
            }
            match self.0.wanted(tag, &blocks) {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(want) if want.items.is_empty() => {
                    let text = map.next_value::<Element>()?.text();
                    extracted.set(self.0, want, text.as_deref());
                }
                Some(want) => {
                    let items = map.next_value_seed(SequenceSeed(&want.items))?;
                    extracted.set_items(self.0, want, &items);
                }
            }
        }
        Ok(extracted)
    }
}

impl Attributes {
    /// Whether the element with this tag may say whose a block of wanted private elements is.
    fn reads_creator(&self, tag: Tag) -> bool {
        let [high, low, zero, block] = tag.to_be_bytes();
        let group = u16::from_be_bytes([high, low]);
        zero == 0 && block >= 0x10 && self.0.private.keys().any(|(of, ..)| *of == group)
    }

    fn wanted(&self, tag: Tag, blocks: &BTreeMap<(u16, u8), Arc<str>>) -> Option<&Want> {
        self.0.wanted.get(&tag).or_else(|| {
            let [high, low, block, element] = tag.to_be_bytes();
            let group = u16::from_be_bytes([high, low]);
            let creator = blocks.get(&(group, block))?;
            self.0.private.get(&(group, Arc::clone(creator), element))
        })
    }
}

impl Extracted {
    fn of(&mut self, level: Level) -> &mut Values {
        match level {
            Level::Study => &mut self.study,
            Level::Series => &mut self.series,
            Level::Instance => &mut self.instance,
        }
    }

    fn set(&mut self, attributes: &Attributes, want: &Want, text: Option<&str>) {
        for attribute in want.values.iter().filter_map(|id| attributes.get(*id)) {
            if let Some(value) = text.and_then(|text| kept(attribute.compared(), text)) {
                self.of(attribute.level).set(attribute.id, vec![Some(value)]);
            }
        }
    }

    /// The items of a sequence, each with the texts of the wanted elements in their order.
    fn set_items(&mut self, attributes: &Attributes, want: &Want, items: &[Vec<Option<String>>]) {
        let all = want.items.iter().filter_map(|(_, id)| attributes.get(*id));
        let columns = all.enumerate().map(|(at, attribute)| {
            let kept = |item: &Vec<Option<String>>| kept(attribute.compared(), item[at].as_deref()?);
            (attribute, items.iter().map(kept).collect::<Items>())
        });
        let columns: Vec<_> = columns.collect();
        if columns.iter().any(|(_, items)| items.iter().any(Option::is_some)) {
            columns.into_iter().for_each(|(attribute, items)| {
                self.of(attribute.level).set(attribute.id, items);
            });
        }
    }
}

/// A value in the form in which it is kept, if it can be compared.
fn kept(compared: Compared, text: &str) -> Option<Box<str>> {
    if folding::trim(text).is_empty() || text.len() > LONGEST_VALUE_BYTES || !has_form(compared, text) {
        return None;
    }
    Some(match compared {
        Compared::Date => folding::trim(text).into(),
        _ => text.into(),
    })
}

/// Reads a key without keeping it; what is no tag is `None`.
struct TagSeed;

impl<'de> DeserializeSeed<'de> for TagSeed {
    type Value = Option<Tag>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for TagSeed {
    type Value = Option<Tag>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let is_tag = key.len() == 8 && key.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        Ok(is_tag.then(|| Tag::from_str_radix(key, 16).ok()).flatten())
    }
}

/// The first values of these elements of DICOM JSON, in the form of [`extract`].
///
/// # Errors
/// It is not a JSON object of elements.
pub(crate) fn first_values(
    metadata: &[u8],
    tags: &BTreeSet<Tag>,
) -> Result<BTreeMap<Tag, String>, serde_json::Error> {
    let elements: BTreeMap<&str, &RawValue> = serde_json::from_slice(metadata)?;
    let mut values = BTreeMap::new();
    for tag in tags {
        let Some(element) = elements.get(format!("{tag:08X}").as_str()) else { continue };
        if let Some(text) = serde_json::from_str::<Element>(element.get())?.text() {
            values.insert(*tag, text);
        }
    }
    Ok(values)
}

/// Reads a sequence: of each of its first items the wanted elements, in their order.
struct SequenceSeed<'w>(&'w [(Tag, super::AttributeId)]);

/// The values of a sequence.
struct ItemsSeed<'w>(&'w [(Tag, super::AttributeId)]);

/// One item of them.
struct ItemSeed<'w>(&'w [(Tag, super::AttributeId)]);

impl<'de> DeserializeSeed<'de> for SequenceSeed<'_> {
    type Value = Vec<Vec<Option<String>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SequenceSeed<'_> {
    type Value = Vec<Vec<Option<String>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(key) = map.next_key()? {
            match key {
                ElementKey::Value => items = map.next_value_seed(ItemsSeed(self.0))?,
                ElementKey::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(items)
    }
}

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = Vec<Vec<Option<String>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = Vec<Vec<Option<String>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < MOST_ITEMS {
            match list.next_element_seed(ItemSeed(self.0))? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Vec<Option<String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // An empty item may be `null` (PS3.18 F.2.5), and whatever is no item is one without a value.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_> {
    type Value = Vec<Option<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = vec![None; self.0.len()];
        while let Some(tag) = map.next_key_seed(TagSeed)? {
            let mut places = (0..self.0.len()).filter(|at| Some(self.0[*at].0) == tag).peekable();
            if places.peek().is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = map.next_value::<Element>()?.text();
            places.for_each(|at| texts[at].clone_from(&text));
        }
        Ok(texts)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(vec![None; self.0.len()])
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(vec![None; self.0.len()])
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(vec![None; self.0.len()])
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(vec![None; self.0.len()])
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(vec![None; self.0.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projections::search::attributes::{Attribute, AttributeId, Path, Role};
    use dicom_core::VR;

    /// Every value found, by the number of its attribute.
    fn found(values: &Values) -> Vec<(u16, Vec<Option<&str>>)> {
        values.iter().map(|(id, items)| (id.0, items.iter().map(Option::as_deref).collect())).collect()
    }

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
            "00400244":{"vr":"DA","Value":[{"x":1}]},
            "00480001":{"vr":"SQ","Value":[{"00100020":{"vr":"LO","Value":["inner"]}}]}
        }"#;
        let Extracted { study, series, instance } = extract(metadata, &Attributes::core()).unwrap();
        let one = |id: u16, text: &'static str| (id, vec![Some(text)]);
        assert_eq!(found(&study), [one(1, "20240229"), one(5, "Yamada^Tarou==ya"), one(6, "P1 ")]);
        assert_eq!(found(&series), [one(8, "CT")]);
        assert_eq!(found(&instance), []);
    }

    fn added(id: u16, path: Path, creator: Option<&str>, vr: VR, level: Level) -> Attribute {
        let role = Role::Extended { errors: false, enabled: true };
        Attribute { id: AttributeId(id), path, creator: creator.map(Arc::from), vr, level, role }
    }

    #[test]
    fn numbers_and_private_elements_are_picked_out_and_what_is_no_value_of_its_vr_is_not() {
        let one = |id: u16, tag: Tag, vr: VR| added(id, Path::One(tag), None, vr, Level::Instance);
        let attributes = Attributes::core().with([
            one(300, 0x0018_0050, VR::DS),
            one(301, 0x0018_9219, VR::SS),
            one(302, 0x0018_9073, VR::FD),
            one(303, 0x0020_0015, VR::IS),
            one(304, 0x0028_0010, VR::US),
            added(305, Path::One(0x0009_1003), Some("ACME 3"), VR::LO, Level::Series),
            added(306, Path::One(0x0009_1003), Some("OTHER"), VR::LO, Level::Series),
        ]);
        let metadata = br#"{
            "00090010":{"vr":"LO","Value":["NOBODY"]},
            "00090011":{"vr":"LO","Value":["ACME 3 "]},
            "00091003":{"vr":"LO","Value":["of nobody"]},
            "00091103":{"vr":"LO","Value":["of acme"]},
            "00180050":{"vr":"DS","Value":[0.5, 7]},
            "00189073":{"vr":"FD","Value":["NaN"]},
            "00189219":{"vr":"SS","Value":[-3]},
            "00200015":{"vr":"IS","Value":["007 "]},
            "00280010":{"vr":"US","Value":[1.5]}
        }"#;
        let Extracted { series, instance, .. } = extract(metadata, &attributes).unwrap();
        assert_eq!(found(&series), [(305, vec![Some("of acme")])]);
        let numbers = [(300, vec![Some("0.5")]), (301, vec![Some("-3")]), (303, vec![Some("007 ")])];
        assert_eq!(found(&instance), numbers);
    }

    #[test]
    fn items_of_a_sequence_stay_side_by_side() {
        let inside = |id: u16, tag: Tag, level: Level| {
            added(id, Path::In { sequence: 0x0040_0275, tag }, None, VR::SH, level)
        };
        let attributes = Attributes::core().with([
            inside(300, 0x0040_0007, Level::Series),
            inside(301, 0x0040_0008, Level::Series),
            inside(302, 0x0040_0008, Level::Instance),
        ]);
        let of = |text: &str| extract(text.as_bytes(), &attributes).unwrap();
        let all = of(r#"{"00400275":{"vr":"SQ","Value":[
            {"00400007":{"vr":"SH","Value":["s1"]}, "00400003":{"vr":"LO","Value":["x"]}},
            {}, null, "no item", 7,
            {"00400007":{"vr":"SH","Value":["s2"]}, "00400008":{"vr":"SH","Value":["r2"]}}
        ]}}"#);
        let (ids, requests) =
            ([Some("s1"), None, None, None, None, Some("s2")], [None, None, None, None, None, Some("r2")]);
        let none = vec![None; 6];
        assert_eq!(
            found(&all.series),
            [(16, none.clone()), (17, none), (300, ids.to_vec()), (301, requests.to_vec())]
        );
        assert_eq!(found(&all.instance), [(302, requests.to_vec())]);
        for empty in [r#"{"00400275":{"vr":"SQ"}}"#, r#"{"00400275":{"vr":"SQ","Value":[{},{}]}}"#] {
            assert_eq!(of(empty), Extracted::default());
        }
        let item = r#"{"00400007":{"vr":"SH","Value":["s"]}}"#;
        let many = of(&format!(r#"{{"00400275":{{"Value":[{}]}}}}"#, [item; 40].join(",")));
        assert_eq!(many.series.items(AttributeId(300)).len(), MOST_ITEMS);
    }

    #[test]
    fn what_is_no_dataset_is_an_error() {
        for bad in [&b"[]"[..], b"{", b"{\"00080020\":7}", b"{} {}", b""] {
            assert!(extract(bad, &Attributes::core()).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
