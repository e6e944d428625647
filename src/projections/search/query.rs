//! From the parameters of a search request to a checked query (contract `studies.md` §4.1–4.4, §4.6).
//!
//! Invariant: nobody behind [`SearchQuery::parse`] checks anything again.
//! Invariant: an error names the parameter or attribute as the client wrote it.
//! Elsewhere: percent-decoding and status codes (`http`), which attributes an answer holds (`answer`).

use dicom_core::Tag as DicomTag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, TagRange};
use dicom_dictionary_std::StandardDataDictionary;

use super::attributes::{self, Kind, SERIES, STUDY, Tag};
use super::folding;
use super::matching::{Filter, On, Test};
use crate::base::Partition;
use crate::dicom::uid::Uid;

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

/// The levels of the information model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Study,
    Series,
    Instance,
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

/// A checked search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchQuery {
    pub(super) resource: Resource,
    pub(super) partition: Partition,
    pub(super) filters: Vec<Filter>,
    /// Tags of the filters.
    pub(super) filtered: Vec<Tag>,
    pub(super) includes: Vec<Tag>,
    pub(super) include_all: bool,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// Why a search request is no search. The texts name what the client wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither a keyword nor a tag.
    #[error("'{0}' is neither a parameter, nor the keyword of an attribute, nor a tag of 8 hex digits")]
    UnknownParameter(String),
    /// A known attribute that cannot be a filter here.
    #[error("'{0}' cannot be searched for on this resource")]
    NotQueryable(String),
    /// The same key twice.
    #[error("'{0}' is given more than once")]
    Duplicate(String),
    /// The same attribute as keyword and as tag.
    #[error("'{0}' is given more than once, in different forms")]
    DuplicateInOtherForm(String),
    /// No value.
    #[error("'{0}' has no value")]
    EmptyValue(String),
    /// A value that is none of its VR.
    #[error("'{value}' is no date yyyyMMdd, nor a range of dates, for '{attribute}'")]
    BadDate {
        /// As the client wrote it.
        attribute: String,
        /// As the client wrote it.
        value: String,
    },
    /// A range without ends, or with its ends the wrong way round.
    #[error("'{value}' is no range for '{attribute}': at least one end, the earlier first")]
    BadRange {
        /// As the client wrote it.
        attribute: String,
        /// As the client wrote it.
        value: String,
    },
    /// A quotation mark in a fuzzy name.
    #[error("the value of '{0}' holds a quotation mark, which fuzzy matching does not allow")]
    QuotationMark(String),
    /// A path into a sequence.
    #[error("'{0}' is a path into a sequence, which is not supported")]
    SequencePath(String),
    /// `limit` out of bounds.
    #[error("'{parameter}={value}' is not allowed: a number from 1 to 200")]
    BadLimit {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// `offset` out of bounds.
    #[error("'{parameter}={value}' is not allowed: a number from 0")]
    BadOffset {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// `fuzzymatching` neither true nor false.
    #[error("'{parameter}={value}' is not allowed: true or false")]
    BadFuzzyMatching {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
    /// An attribute to include that nobody knows.
    #[error("'{value}' in '{parameter}' is neither the keyword of an attribute nor a tag of 8 hex digits")]
    BadIncludeField {
        /// As the client wrote it.
        parameter: String,
        /// As the client wrote it.
        value: String,
    },
}

impl SearchQuery {
    /// Checks the parameters of a request, percent-decoded and in their order. Contract `studies.md`
    /// §4.2–4.4, §4.6.
    ///
    /// # Errors
    /// [`QueryError`], each of which is the client's mistake.
    pub fn parse(
        resource: Resource,
        partition: &Partition,
        raw: &[(String, String)],
    ) -> Result<Self, QueryError> {
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
                            false => includes.push(included(key, entry)?),
                        }
                    }
                }
                _ => attributes.push((key, value)),
            }
        }
        let mut query = Self {
            resource,
            partition: partition.clone(),
            filters: Vec::new(),
            filtered: Vec::new(),
            includes,
            include_all,
            offset: paging.offset.unwrap_or(0),
            limit: paging.limit.unwrap_or(DEFAULT_LIMIT),
        };
        let fuzzy = paging.fuzzy.unwrap_or(false);
        for (at, (key, value)) in attributes.iter().enumerate() {
            if attributes[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(QueryError::Duplicate((*key).to_owned()));
            }
            query.add_filter(key, value, fuzzy)?;
        }
        Ok(query)
    }

    fn add_filter(&mut self, key: &str, value: &str, fuzzy: bool) -> Result<(), QueryError> {
        if key.contains('.') {
            return Err(QueryError::SequencePath(key.to_owned()));
        }
        let tag = tag_of(key).ok_or_else(|| QueryError::UnknownParameter(key.to_owned()))?;
        let (on, _, kind) = filterable(tag)
            .filter(|(_, level, _)| self.resource.levels().contains(level))
            .ok_or_else(|| QueryError::NotQueryable(key.to_owned()))?;
        if self.filtered.contains(&tag) {
            return Err(QueryError::DuplicateInOtherForm(key.to_owned()));
        }
        if value.is_empty() {
            return Err(QueryError::EmptyValue(key.to_owned()));
        }
        let test = match kind {
            Kind::Date => date_test(key, value)?,
            Kind::Name if fuzzy && value.contains('"') => {
                return Err(QueryError::QuotationMark(key.to_owned()));
            }
            Kind::Name if fuzzy => Test::Words(folding::words(value)),
            Kind::Name | Kind::Text => Test::Equal(folding::fold(kind, value)),
        };
        self.filtered.push(tag);
        self.filters.push(Filter { on, test });
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

/// What a filter on `tag` looks at, at which level (contract `studies.md` §4.3, §4.11).
fn filterable(tag: Tag) -> Option<(On, Level, Kind)> {
    match tag {
        attributes::STUDY_INSTANCE_UID => return Some((On::StudyInstanceUid, Level::Study, Kind::Text)),
        attributes::MODALITIES_IN_STUDY => return Some((On::ModalitiesInStudy, Level::Study, Kind::Text)),
        attributes::SERIES_INSTANCE_UID => return Some((On::SeriesInstanceUid, Level::Series, Kind::Text)),
        attributes::SOP_CLASS_UID => return Some((On::SopClass, Level::Instance, Kind::Text)),
        attributes::SOP_INSTANCE_UID => return Some((On::SopInstanceUid, Level::Instance, Kind::Text)),
        _ => {}
    }
    if let Some(at) = STUDY.iter().position(|attribute| attribute.tag == tag) {
        return Some((On::Study(at), Level::Study, STUDY[at].kind));
    }
    let at = SERIES.iter().position(|attribute| attribute.tag == tag)?;
    Some((On::Series(at), Level::Series, SERIES[at].kind))
}

/// A single date, or a range with one dash. With more dashes it is a single value, and no date.
fn date_test(attribute: &str, value: &str) -> Result<Test, QueryError> {
    let (attribute, whole) = (attribute.to_owned(), value.to_owned());
    let parts: Vec<&str> = value.split('-').map(str::trim).collect();
    let &[from, to] = parts.as_slice() else {
        return match folding::is_date(value) {
            true => Ok(Test::Equal(value.to_owned())),
            false => Err(QueryError::BadDate { attribute, value: whole }),
        };
    };
    let end = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (from, to) = (end(from), end(to));
    if [&from, &to].into_iter().flatten().any(|date| !folding::is_date(date)) {
        return Err(QueryError::BadDate { attribute, value: whole });
    }
    let empty = from.is_none() && to.is_none();
    if empty || from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from > to) {
        return Err(QueryError::BadRange { attribute, value: whole });
    }
    Ok(Test::Between(from, to))
}
