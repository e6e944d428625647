//! From the parameters of a search request to a checked query (contract `studies.md` §4.1–4.4, §4.6).
//!
//! Invariant: nobody behind [`SearchQuery::parse`] checks anything again.
//! Invariant: an error names the parameter or attribute as the client wrote it.
//! Elsewhere: percent-decoding and status codes (`http`), which attributes an answer holds (`answer`).

use dicom_core::Tag as DicomTag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, TagRange};
use dicom_dictionary_std::StandardDataDictionary;

use super::answer::Version;
use super::attributes::{self, Attributes, Compared, Level, Path, Tag};
use super::folding;
use super::matching::{Filter, On, Test};
use super::value::form;
use crate::base::Partition;
use crate::dicom::uid::Uid;

mod error;
mod order;
mod values;

pub use error::QueryError;
#[cfg_attr(not(test), expect(unused_imports, reason = "no query is ordered yet"))]
pub(super) use order::{By, OrderBy};

/// Most items of one answer.
pub const MAX_LIMIT: usize = 200;
/// Items of one answer when the client names no limit.
pub const DEFAULT_LIMIT: usize = 100;

/// The six things that can be searched (contract `studies.md` §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `studies`
    AllStudies,
    /// `series`
    AllSeries,
    /// `instances`
    AllInstances,
    /// `studies/{study}/series`
    StudySeries(Uid),
    /// `studies/{study}/instances`
    StudyInstances(Uid),
    /// `studies/{study}/series/{series}/instances`
    StudySeriesInstances(Uid, Uid),
}

impl Resource {
    /// The levels whose attributes may be filtered and are returned.
    pub(super) fn levels(&self) -> &'static [Level] {
        match self {
            Self::AllStudies => &[Level::Study],
            Self::AllSeries => &[Level::Study, Level::Series],
            Self::AllInstances => &[Level::Study, Level::Series, Level::Instance],
            Self::StudySeries(_) => &[Level::Series],
            Self::StudyInstances(_) => &[Level::Series, Level::Instance],
            Self::StudySeriesInstances(..) => &[Level::Instance],
        }
    }

    /// What one item of the answer is.
    pub(super) fn item(&self) -> Level {
        match self {
            Self::AllStudies => Level::Study,
            Self::AllSeries | Self::StudySeries(_) => Level::Series,
            Self::AllInstances | Self::StudyInstances(_) | Self::StudySeriesInstances(..) => Level::Instance,
        }
    }

    pub(super) fn study(&self) -> Option<&Uid> {
        match self {
            Self::AllStudies | Self::AllSeries | Self::AllInstances => None,
            Self::StudySeries(study) | Self::StudyInstances(study) | Self::StudySeriesInstances(study, _) => {
                Some(study)
            }
        }
    }

    pub(super) fn series(&self) -> Option<&Uid> {
        match self {
            Self::StudySeriesInstances(_, series) => Some(series),
            Self::AllStudies | Self::AllSeries | Self::AllInstances => None,
            Self::StudySeries(_) | Self::StudyInstances(_) => None,
        }
    }
}

/// What of its matches a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A page of them.
    Page,
    /// How many there are.
    Count,
}

/// What a request says before its parameters, and what is there to be searched.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// By its path.
    pub resource: &'a Resource,
    /// By its path.
    pub partition: &'a Partition,
    /// By its path.
    pub version: Version,
    /// By its path.
    pub wants: Wants,
    /// [`super::Search::attributes`]
    pub attributes: &'a Attributes,
}

/// The place of an attribute in a dataset: its tag, or those of the sequences around it and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TagPath(pub(super) Vec<Tag>);

impl From<Tag> for TagPath {
    fn from(tag: Tag) -> Self {
        Self(vec![tag])
    }
}

/// A checked search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchQuery {
    pub(super) resource: Resource,
    pub(super) partition: Partition,
    pub(super) version: Version,
    pub(super) wants: Wants,
    pub(super) filters: Vec<Filter>,
    /// What the filters are on, those that everything satisfies included.
    pub(super) filtered: Vec<TagPath>,
    pub(super) includes: Vec<TagPath>,
    pub(super) include_all: bool,
    /// Empty: newest first.
    pub(super) order: Vec<OrderBy>,
    pub(super) offset: usize,
    pub(super) limit: usize,
    /// Keys as the client wrote them.
    pub(super) erroneous: Vec<String>,
}

impl SearchQuery {
    /// Checks the parameters of a request, percent-decoded and in their order. Contract `studies.md`
    /// §4.2–4.4, §4.6.
    ///
    /// # Errors
    /// [`QueryError`], each of which is the client's mistake.
    pub fn parse(asking: Asking<'_>, raw: &[(String, String)]) -> Result<Self, QueryError> {
        let mut attributes: Vec<(&str, &str)> = Vec::new();
        let mut paging = Paging::default();
        let (mut includes, mut include_all) = (Vec::new(), false);
        for (key, value) in raw {
            let (key, value) = (key.trim(), value.trim());
            match key.to_ascii_lowercase().as_str() {
                "limit" | "offset" | "fuzzymatching" => paging.take(key, value)?,
                "includefield" => {
                    for entry in value.split(',').map(str::trim) {
                        match entry.eq_ignore_ascii_case("all") {
                            true => include_all = true,
                            false => includes.push(TagPath::from(included(key, entry)?)),
                        }
                    }
                }
                _ => attributes.push((key, value)),
            }
        }
        let mut query = Self {
            resource: asking.resource.clone(),
            partition: asking.partition.clone(),
            version: asking.version,
            wants: asking.wants,
            filters: Vec::new(),
            filtered: Vec::new(),
            includes,
            include_all,
            order: Vec::new(),
            offset: paging.offset.unwrap_or(0),
            limit: paging.limit.unwrap_or(DEFAULT_LIMIT),
            erroneous: Vec::new(),
        };
        let fuzzy = paging.fuzzy.unwrap_or(false);
        for (at, (key, value)) in attributes.iter().enumerate() {
            if attributes[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(QueryError::Duplicate((*key).to_owned()));
            }
            query.add_filter(asking.attributes, key, value, fuzzy)?;
        }
        Ok(query)
    }

    /// Keys of filters, as the client wrote them, by which some instances are not found
    /// (`extended-query-tags.md` A5).
    #[must_use]
    pub fn erroneous(&self) -> &[String] {
        &self.erroneous
    }

    /// How many matches the page and what lies before it need.
    pub(super) fn need(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    fn add_filter(
        &mut self,
        attributes: &Attributes,
        key: &str,
        value: &str,
        fuzzy: bool,
    ) -> Result<(), QueryError> {
        if key.contains('.') {
            return Err(QueryError::SequencePath(key.to_owned()));
        }
        let tag = tag_of(key).ok_or_else(|| QueryError::UnknownParameter(key.to_owned()))?;
        let (on, level, compared) = filterable(attributes, tag, self.resource.levels())
            .ok_or_else(|| QueryError::NotQueryable(key.to_owned()))?;
        if self.filtered.contains(&TagPath::from(tag)) {
            return Err(QueryError::DuplicateInOtherForm(key.to_owned()));
        }
        if value.is_empty() {
            return Err(QueryError::EmptyValue(key.to_owned()));
        }
        let test = match compared {
            Compared::Date => values::date_test(key, value)?,
            Compared::Name if fuzzy && value.contains('"') => {
                return Err(QueryError::QuotationMark(key.to_owned()));
            }
            Compared::Name if fuzzy => Test::Words(folding::words(value)),
            _ => {
                let bad =
                    QueryError::BadValue { attribute: key.to_owned(), value: value.to_owned(), form: "" };
                Test::Form(form(compared, value).ok_or(bad)?)
            }
        };
        self.filtered.push(TagPath::from(tag));
        self.filters.push(Filter { on, level, compared, test });
        Ok(())
    }
}

#[derive(Default)]
struct Paging {
    limit: Option<usize>,
    offset: Option<usize>,
    fuzzy: Option<bool>,
}

impl Paging {
    /// Checks one of the three; of repeated ones the first holds.
    fn take(&mut self, key: &str, value: &str) -> Result<(), QueryError> {
        let (parameter, text) = (key.to_owned(), value.to_owned());
        match key.to_ascii_lowercase().as_str() {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let limit = limit.ok_or(QueryError::BadLimit { parameter, value: text })?;
                self.limit.get_or_insert(limit);
            }
            "offset" => {
                let offset = value.parse::<u32>().ok().and_then(|offset| usize::try_from(offset).ok());
                let offset = offset.ok_or(QueryError::BadOffset { parameter, value: text })?;
                self.offset.get_or_insert(offset);
            }
            _ => {
                let fuzzy = value.to_ascii_lowercase().parse().ok();
                let fuzzy = fuzzy.ok_or(QueryError::BadFuzzyMatching { parameter, value: text })?;
                self.fuzzy.get_or_insert(fuzzy);
            }
        }
        Ok(())
    }
}

/// The tag a keyword (as it is written in the standard) or 8 hex digits stand for.
fn tag_of(text: &str) -> Option<Tag> {
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

fn included(parameter: &str, entry: &str) -> Result<Tag, QueryError> {
    if entry.contains('.') {
        return Err(QueryError::SequencePath(entry.to_owned()));
    }
    tag_of(entry).ok_or_else(|| QueryError::BadIncludeField {
        parameter: parameter.to_owned(),
        value: entry.to_owned(),
    })
}

/// What a filter on `tag` looks at where these levels can be filtered (contract `studies.md` §4.3, §4.11).
fn filterable(attributes: &Attributes, tag: Tag, levels: &[Level]) -> Option<(On, Level, Compared)> {
    let (on, level, compared) = match tag {
        attributes::STUDY_INSTANCE_UID => (On::Uid(Level::Study), Level::Study, Compared::Uid),
        attributes::MODALITIES_IN_STUDY => (On::Modalities, Level::Study, Compared::Text),
        attributes::SERIES_INSTANCE_UID => (On::Uid(Level::Series), Level::Series, Compared::Uid),
        attributes::SOP_CLASS_UID => (On::SopClass, Level::Instance, Compared::Uid),
        attributes::SOP_INSTANCE_UID => (On::Uid(Level::Instance), Level::Instance, Compared::Uid),
        _ => {
            let attribute = attributes.at(Path::One(tag), levels)?;
            (On::Value(attribute.id), attribute.level, attribute.compared())
        }
    };
    levels.contains(&level).then_some((on, level, compared))
}
