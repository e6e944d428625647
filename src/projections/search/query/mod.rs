//! From the parameters of a search request to a checked query (contract `studies.md` §4.1–4.4, §4.6).
//!
//! Invariant: nobody behind [`SearchQuery::parse`] checks anything again.
//! Invariant: an error names the parameter or attribute as the client wrote it.
//! Elsewhere: percent-decoding and status codes (`http`), which attributes an answer holds (`answer`).

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Version;
use super::attributes::{Attributes, Level, Tag};
use super::matching::Filter;
use crate::base::Partition;
use crate::dicom::uid::Uid;

mod error;
mod filters;
mod keys;
mod order;
mod values;

pub use error::QueryError;
pub(super) use order::{By, OrderBy};

/// Most items of one answer.
pub const MAX_LIMIT: usize = 200;
/// Items of one answer when the client names no limit.
pub const DEFAULT_LIMIT: usize = 100;
/// Most attributes to be included.
const MOST_INCLUDES: usize = 4_096;
/// Deepest path to an attribute to be included.
const DEEPEST_INCLUDE: usize = 16;

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
    /// §4.2–4.4, §4.6, §4.11.
    ///
    /// # Errors
    /// [`QueryError`], each of which is the client's mistake.
    pub fn parse(asking: Asking<'_>, raw: &[(String, String)]) -> Result<Self, QueryError> {
        let mut given = Given::default();
        for (key, value) in raw {
            given.take(asking.wants, key.trim(), value.trim())?;
        }
        let filters::Filters { filters, filtered, erroneous } =
            filters::parse(asking.attributes, asking.resource.levels(), &given.filters, given.fuzzy())?;
        let mut query = Self {
            resource: asking.resource.clone(),
            partition: asking.partition.clone(),
            version: asking.version,
            wants: asking.wants,
            filters,
            filtered,
            includes: given.includes.into_iter().collect(),
            include_all: given.include_all,
            order: Vec::new(),
            offset: given.offset.unwrap_or(0),
            limit: given.limit.unwrap_or(DEFAULT_LIMIT),
            erroneous,
        };
        query.order = order::parse(asking.attributes, &query, &given.order)?;
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
}

/// How names are matched (contract `studies.md` §4.5, §4.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fuzzy {
    #[default]
    No,
    /// The words asked for stand side by side.
    InOrder,
    /// They stand anywhere.
    Anywhere,
}

/// One key of the request with all its values.
#[derive(Debug)]
struct KeyValues<'r> {
    key: &'r str,
    values: Vec<&'r str>,
}

/// The parameters of a request, sorted by what they are for.
#[derive(Default)]
struct Given<'r> {
    limit: Option<usize>,
    offset: Option<usize>,
    fuzzy: Option<Fuzzy>,
    includes: BTreeSet<TagPath>,
    include_all: bool,
    /// Each entry with the parameter it stands in.
    order: Vec<(&'r str, &'r str)>,
    /// All other keys, in the order of their first values.
    filters: Vec<KeyValues<'r>>,
    /// Where each stands in `filters`.
    places: BTreeMap<&'r str, usize>,
}

impl<'r> Given<'r> {
    fn fuzzy(&self) -> Fuzzy {
        self.fuzzy.unwrap_or_default()
    }

    /// Takes one parameter; of repeated ones of paging and matching the first holds.
    fn take(&mut self, wants: Wants, key: &'r str, value: &'r str) -> Result<(), QueryError> {
        let (parameter, text) = (key.to_owned(), value.to_owned());
        let lower = key.to_ascii_lowercase();
        if wants == Wants::Count && ["limit", "offset", "orderby"].contains(&lower.as_str()) {
            return Err(QueryError::NotForCounts(parameter));
        }
        match lower.as_str() {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let limit = limit.ok_or(QueryError::BadLimit { parameter, value: text })?;
                self.limit.get_or_insert(limit);
            }
            "offset" => {
                let offset = offset(value).ok_or(QueryError::BadOffset { parameter, value: text })?;
                self.offset.get_or_insert(offset);
            }
            "fuzzymatching" => {
                let fuzzy = match value.to_ascii_lowercase().as_str() {
                    "false" => Fuzzy::No,
                    "true" => Fuzzy::InOrder,
                    "any" => Fuzzy::Anywhere,
                    _ => return Err(QueryError::BadFuzzyMatching { parameter, value: text }),
                };
                self.fuzzy.get_or_insert(fuzzy);
            }
            "emptyvaluematching" | "multiplevaluematching" => {
                if !value.eq_ignore_ascii_case("false") {
                    return Err(QueryError::Unsupported { parameter, value: text });
                }
            }
            "includefield" => self.include(key, value)?,
            "orderby" => self.order.extend(value.split(',').map(|entry| (key, entry.trim()))),
            _ => {
                let place = *self.places.entry(key).or_insert(self.filters.len());
                if place == self.filters.len() {
                    self.filters.push(KeyValues { key, values: Vec::new() });
                }
                self.filters[place].values.push(value);
            }
        }
        Ok(())
    }

    fn include(&mut self, parameter: &str, value: &str) -> Result<(), QueryError> {
        for entry in value.split(',').map(str::trim) {
            if entry.eq_ignore_ascii_case("all") {
                self.include_all = true;
                continue;
            }
            let path = keys::path_of(entry).ok_or_else(|| QueryError::BadIncludeField {
                parameter: parameter.to_owned(),
                value: entry.to_owned(),
            })?;
            if path.0.len() > DEEPEST_INCLUDE {
                let (attribute, what) = (parameter.to_owned(), "tags in one path");
                return Err(QueryError::TooMany { attribute, most: DEEPEST_INCLUDE, what });
            }
            self.includes.insert(path);
            if self.includes.len() > MOST_INCLUDES {
                let (attribute, what) = (parameter.to_owned(), "attributes");
                return Err(QueryError::TooMany { attribute, most: MOST_INCLUDES, what });
            }
        }
        Ok(())
    }
}

/// Any number from 0; those that no page begins at are one.
fn offset(value: &str) -> Option<usize> {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| value.parse().unwrap_or(usize::MAX))
}
