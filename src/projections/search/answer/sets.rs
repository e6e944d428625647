//! The sets of attributes of answers (contract `studies.md` §4.7, §4.8).
//!
//! Elsewhere: where their values come from (`answer`).

use std::collections::{BTreeMap, BTreeSet};

use super::paths::Cut;
use crate::projections::search::attributes::{
    AVAILABLE_SYNTAXES, Attributes, Level, MODALITIES_IN_STUDY, Path, Role, SERIES_INSTANCE_UID,
    SERIES_INSTANCES, SOP_CLASSES_IN_STUDY, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, STUDY_INSTANCES, Tag,
};
use crate::projections::search::query::{Resource, SearchQuery, TagPath};

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

/// On request only (contract `studies.md` §4.11).
pub(super) const RETRIEVE_URL: Tag = 0x0008_1190;
pub(super) const INSTANCE_AVAILABILITY: Tag = 0x0008_0056;
pub(super) const STUDY_SERIES: Tag = 0x0020_1206;

/// The attributes of every item of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub(super) tags: BTreeSet<Tag>,
    /// Sequences among them of which only a part was asked for.
    pub(super) cuts: BTreeMap<Tag, Cut>,
    /// Those of `tags` that are computed here.
    pub(super) computed: BTreeSet<Tag>,
    pub(super) metadata: bool,
    /// What URLs in the answer begin with.
    pub(super) base: String,
}

/// The attributes that the answer to `query` holds.
#[must_use]
pub fn fields_for(query: &SearchQuery) -> Fields {
    let mut tags = default_tags(&query.resource, query.version, query.include_all);
    let mut cuts: BTreeMap<Tag, Cut> = BTreeMap::new();
    for TagPath(path) in query.filtered.iter().chain(&query.includes) {
        let Some((first, rest)) = path.split_first() else { continue };
        if !tags.contains(first) {
            cuts.entry(*first).or_default().add(rest);
        }
    }
    tags.extend(cuts.keys());
    cuts.retain(|_, cut| *cut != Cut::Whole);

    let levels = query.resource.levels();
    let asked = |tag: Tag| query.includes.contains(&TagPath::from(tag));
    let computed = |tag: &Tag| computes(*tag, levels) || (computes_on_request(*tag, levels) && asked(*tag));
    let computed: BTreeSet<Tag> = tags.iter().copied().filter(computed).collect();
    let indexed = |tag: &Tag| match *tag {
        // The file's own word comes first, and what it can become is in its metadata.
        INSTANCE_AVAILABILITY | AVAILABLE_SYNTAXES => false,
        tag => computed.contains(&tag) || is_indexed(tag, query.resource.item()),
    };
    let metadata = !tags.iter().all(indexed);
    Fields { tags, cuts, computed, metadata, base: String::new() }
}

/// What answers hold when nothing is said of it.
pub(in super::super) fn default_tags(resource: &Resource, version: Version, all: bool) -> BTreeSet<Tag> {
    let mut tags = BTreeSet::new();
    for level in resource.levels() {
        let (v1, v2, more): (&[Tag], &[Tag], &[Tag]) = match level {
            Level::Study => (&V1_STUDY, &V2_STUDY, &ALL_STUDY),
            Level::Series => (&V1_SERIES, &V2_SERIES, &ALL_SERIES),
            Level::Instance => (&V1_INSTANCE, &V2_INSTANCE, &[]),
        };
        if all {
            tags.extend(more);
        }
        tags.extend(if version == Version::V1 || all { v1 } else { v2 });
    }
    tags.extend(resource.study().map(|_| STUDY_INSTANCE_UID));
    tags.extend(resource.series().map(|_| SERIES_INSTANCE_UID));
    tags
}

/// Whether the attribute is computed where these levels are returned.
pub(in super::super) fn computes(tag: Tag, levels: &[Level]) -> bool {
    match tag {
        MODALITIES_IN_STUDY | STUDY_INSTANCES => levels.contains(&Level::Study),
        SERIES_INSTANCES => levels.contains(&Level::Series),
        AVAILABLE_SYNTAXES => levels.contains(&Level::Instance),
        _ => false,
    }
}

/// Whether the attribute is computed where somebody asks for it.
fn computes_on_request(tag: Tag, levels: &[Level]) -> bool {
    match tag {
        RETRIEVE_URL | INSTANCE_AVAILABILITY => true,
        STUDY_SERIES | SOP_CLASSES_IN_STUDY => levels.contains(&Level::Study),
        _ => false,
    }
}

/// Whether the merged records of an item have the attribute. An instance has no merged record but its UIDs.
fn is_indexed(tag: Tag, item: Level) -> bool {
    let attributes = Attributes::core();
    let of = |level: Level| {
        let attribute = attributes.at(Path::One(tag), &[level]);
        attribute.is_some_and(|attribute| attribute.role == Role::IndexSet)
    };
    match item {
        Level::Study => tag == STUDY_INSTANCE_UID || of(Level::Study),
        Level::Series => {
            [STUDY_INSTANCE_UID, SERIES_INSTANCE_UID].contains(&tag) || of(Level::Study) || of(Level::Series)
        }
        Level::Instance => [STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID].contains(&tag),
    }
}

impl Fields {
    /// The same, where the URLs in the answer begin with `base`.
    #[must_use]
    pub fn with_urls_below(self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self }
    }

    /// Whether [`super::compose`] needs the metadata at [`crate::projections::search::Hit::position`].
    #[must_use]
    pub fn need_metadata(&self) -> bool {
        self.metadata
    }
}
