//! The attributes that can be searched, as data (contract `studies.md` §4.3, §4.8, §4.11).
//!
//! A table holds those every archive has ([`Attributes::core`]) and those added to them. What is picked out
//! of an instance, kept in rows, written into the index and asked for goes by that table alone.
//! Invariant: no code but this names an attribute that is compared by its value.
//! Invariant: a number ([`AttributeId`]) stands for one attribute for ever.
//! Elsewhere: what is not kept as a value, UIDs and what is computed (`query`), how values are compared
//! (`value`), how those of several instances become one record (`rows`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use dicom_core::VR;
use serde::{Deserialize, Serialize};

mod element;
mod extract;
mod values;

pub(super) use element::Groups;
pub(super) use extract::{Extracted, extract, extracted, first_values};
pub(super) use values::{Items, Values};

/// A tag as one number, group first.
pub(super) type Tag = u32;

pub(super) const STUDY_INSTANCE_UID: Tag = 0x0020_000D;
pub(super) const SERIES_INSTANCE_UID: Tag = 0x0020_000E;
pub(super) const SOP_CLASS_UID: Tag = 0x0008_0016;
pub(super) const SOP_INSTANCE_UID: Tag = 0x0008_0018;
pub(super) const AVAILABLE_SYNTAXES: Tag = 0x0008_3002;
pub(super) const MODALITIES_IN_STUDY: Tag = 0x0008_0061;
pub(super) const SOP_CLASSES_IN_STUDY: Tag = 0x0008_0062;
pub(super) const STUDY_INSTANCES: Tag = 0x0020_1208;
pub(super) const SERIES_INSTANCES: Tag = 0x0020_1209;

/// Number of an attribute in rows and terms. Those up to 255 are ours and never change; added ones get the
/// numbers from 256 on in the order of the log, and none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct AttributeId(pub(super) u16);

pub(super) const MODALITY: AttributeId = AttributeId(8);

/// The levels of the information model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Level {
    Study,
    Series,
    Instance,
}

/// Where in a dataset an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    One(Tag),
    /// In each item of a sequence.
    In {
        sequence: Tag,
        tag: Tag,
    },
}

/// Why an attribute can be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is of the merged records that an answer may be made of (contract `studies.md` §4.8).
    IndexSet,
    /// It is searched, and shown from the metadata of an instance.
    Searchable,
    /// It was added (`extended-query-tags.md`).
    #[cfg_attr(not(test), expect(dead_code, reason = "attributes are added by tests alone so far"))]
    Extended {
        /// Some instances are not searched by it.
        errors: bool,
        /// Queries may use it.
        enabled: bool,
    },
}

/// One attribute that is searched by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) id: AttributeId,
    pub(super) path: Path,
    /// Of a private attribute: who defines it. The block of its elements is found in each dataset.
    pub(super) creator: Option<Arc<str>>,
    pub(super) vr: VR,
    pub(super) level: Level,
    pub(super) role: Role,
}

/// How values of an attribute are compared (contract `studies.md` §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Compared {
    /// The whole text without regard to case.
    Text,
    /// The same without regard to accents, and any of its groups alone.
    Name,
    Uid,
    Integer,
    /// With the precision of FL.
    Single,
    Decimal,
    Date,
    Time,
    DateTime,
}

impl Compared {
    /// `None`: values of this VR cannot be searched.
    pub(super) fn of(vr: VR) -> Option<Self> {
        Some(match vr {
            VR::AE | VR::AS | VR::CS | VR::LO | VR::SH | VR::LT | VR::ST | VR::UC | VR::UR | VR::UT => {
                Self::Text
            }
            VR::PN => Self::Name,
            VR::UI => Self::Uid,
            VR::IS | VR::SL | VR::SS | VR::UL | VR::US | VR::SV | VR::UV => Self::Integer,
            VR::FL => Self::Single,
            VR::FD | VR::DS => Self::Decimal,
            VR::DA => Self::Date,
            VR::TM => Self::Time,
            VR::DT => Self::DateTime,
            VR::AT | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::SQ | VR::UN => return None,
        })
    }
}

/// Whether `*` and `?` in a value asked for stand for other characters (PS3.4 C.2.2.2.4).
pub(super) fn takes_wildcards(vr: VR) -> bool {
    matches!(vr, VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT)
}

impl Attribute {
    /// How its values are compared. Attributes that cannot be are not in the table.
    pub(super) fn compared(&self) -> Compared {
        Compared::of(self.vr).unwrap_or(Compared::Text)
    }

    fn ours(id: u16, path: Path, vr: VR, level: Level, role: Role) -> Self {
        Self { id: AttributeId(id), path, creator: None, vr, level, role }
    }
}

/// What is wanted of an element of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Want {
    /// Attributes whose value it is.
    values: Vec<AttributeId>,
    /// It is a sequence: the elements of its items that are attributes.
    items: Vec<(Tag, AttributeId)>,
}

#[derive(Debug, Default)]
struct Table {
    attributes: BTreeMap<AttributeId, Attribute>,
    /// Of standard attributes, by tag.
    wanted: BTreeMap<Tag, Want>,
    /// Of private ones, by group, creator and the last two digits of the element.
    private: BTreeMap<(u16, Arc<str>, u8), Want>,
}

/// All that can be searched by its value at one moment. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Attributes(Arc<Table>);

impl Default for Attributes {
    fn default() -> Self {
        Self::core()
    }
}

static CORE: LazyLock<Attributes> = LazyLock::new(|| Attributes::of(core()));

fn core() -> Vec<Attribute> {
    use Level::{Instance, Series, Study};
    use Path::{In, One};
    use Role::{IndexSet, Searchable};
    let request = |tag: Tag| In { sequence: 0x0040_0275, tag };
    let rows = [
        (1, One(0x0008_0020), VR::DA, Study, IndexSet),
        (2, One(0x0008_0050), VR::SH, Study, IndexSet),
        (3, One(0x0008_0090), VR::PN, Study, IndexSet),
        (4, One(0x0008_1030), VR::LO, Study, IndexSet),
        (5, One(0x0010_0010), VR::PN, Study, IndexSet),
        (6, One(0x0010_0020), VR::LO, Study, IndexSet),
        (7, One(0x0010_0030), VR::DA, Study, IndexSet),
        (8, One(0x0008_0060), VR::CS, Series, IndexSet),
        (9, One(0x0008_1090), VR::LO, Series, IndexSet),
        (10, One(0x0040_0244), VR::DA, Series, IndexSet),
        (11, One(0x0008_0030), VR::TM, Study, Searchable),
        (12, One(0x0020_0010), VR::SH, Study, Searchable),
        (13, One(0x0020_0011), VR::IS, Series, Searchable),
        (14, One(0x0040_0245), VR::TM, Series, Searchable),
        (15, One(0x0008_103E), VR::LO, Series, Searchable),
        (16, request(0x0040_0009), VR::SH, Series, Searchable),
        (17, request(0x0040_1001), VR::SH, Series, Searchable),
        (18, One(0x0020_0013), VR::IS, Instance, Searchable),
    ];
    rows.into_iter().map(|(id, path, vr, level, role)| Attribute::ours(id, path, vr, level, role)).collect()
}

impl Attributes {
    /// Those of every archive.
    #[must_use]
    pub fn core() -> Self {
        CORE.clone()
    }

    /// These and more. One whose VR cannot be searched is left out.
    #[cfg_attr(not(test), expect(dead_code, reason = "attributes are added by tests alone so far"))]
    pub(super) fn with(&self, more: impl IntoIterator<Item = Attribute>) -> Self {
        Self::of(self.0.attributes.values().cloned().chain(more))
    }

    fn of(attributes: impl IntoIterator<Item = Attribute>) -> Self {
        let mut table = Table::default();
        for attribute in attributes.into_iter().filter(|attribute| Compared::of(attribute.vr).is_some()) {
            let (tag, inner) = match attribute.path {
                Path::One(tag) => (tag, None),
                Path::In { sequence, tag } => (sequence, Some(tag)),
            };
            let want = match &attribute.creator {
                None => table.wanted.entry(tag).or_default(),
                Some(creator) => {
                    let [high, low, _, element] = tag.to_be_bytes();
                    let group = u16::from_be_bytes([high, low]);
                    table.private.entry((group, Arc::clone(creator), element)).or_default()
                }
            };
            match inner {
                None => want.values.push(attribute.id),
                Some(inner) => want.items.push((inner, attribute.id)),
            }
            table.attributes.insert(attribute.id, attribute);
        }
        Self(Arc::new(table))
    }

    pub(super) fn get(&self, id: AttributeId) -> Option<&Attribute> {
        self.0.attributes.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Attribute> {
        self.0.attributes.values()
    }

    /// The attribute that a filter on this path means where these levels can be filtered: an added one
    /// before one of ours.
    pub(super) fn at(&self, path: Path, levels: &[Level]) -> Option<&Attribute> {
        let here = |attribute: &&Attribute| attribute.path == path && levels.contains(&attribute.level);
        let extended = |attribute: &&Attribute| matches!(attribute.role, Role::Extended { .. });
        self.all().filter(here).find(extended).or_else(|| self.all().find(here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_attribute_comes_before_ours_where_its_level_is_searched() {
        let path = Path::One(0x0008_0060);
        let extended = Role::Extended { errors: false, enabled: true };
        let added = Attribute {
            id: AttributeId(256),
            path,
            creator: None,
            vr: VR::CS,
            level: Level::Instance,
            role: extended,
        };
        let blob = Attribute { id: AttributeId(257), vr: VR::OB, ..added.clone() };
        let attributes = Attributes::core().with([added, blob]);
        assert_eq!(attributes.at(path, &[Level::Series, Level::Instance]).unwrap().id, AttributeId(256));
        assert_eq!(attributes.at(path, &[Level::Series]).unwrap().id, MODALITY);
        assert_eq!(attributes.at(path, &[Level::Study]), None);
        assert_eq!(attributes.get(AttributeId(257)), None);
    }

    #[test]
    fn numbers_of_ours_stand_for_one_attribute_each() {
        let ours = core();
        let attributes = Attributes::core();
        assert_eq!(attributes.all().count(), ours.len());
        assert!(ours.iter().all(|attribute| attribute.id.0 < 256));
        assert_eq!(attributes.get(AttributeId(1)).unwrap().path, Path::One(0x0008_0020));
        assert_eq!(attributes.get(MODALITY).unwrap().path, Path::One(0x0008_0060));
    }
}
