//! What an answer is ordered by (contract `studies.md` §4.11): attributes that are indexed or returned.
//!
//! Elsewhere: how an order is followed (`find`, `index`).

use super::filters::{Subject, subject_of};
use super::{QueryError, SearchQuery, TagPath, keys};
use crate::projections::search::answer::{computes, default_tags};
use crate::projections::search::attributes::{
    Attributes, Compared, Level, MODALITIES_IN_STUDY, SERIES_INSTANCES, STUDY_INSTANCES, Tag,
};
use crate::projections::search::matching::On;

/// Most attributes of one order.
const MOST_KEYS: usize = 8;

/// One attribute an answer is ordered by; those after it order what is equal in it. What lacks the value
/// comes last in either direction, and ties are newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct OrderBy {
    pub(in super::super) by: By,
    /// Of the attribute; at most the level of the items.
    pub(in super::super) level: Level,
    pub(in super::super) compared: Compared,
    pub(in super::super) descending: bool,
}

/// Where the value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum By {
    /// In the records.
    On(On),
    /// It is computed from them.
    Computed(Tag),
    /// In the metadata of the instance that stands for the item.
    Stored(Tag),
}

/// The order that these entries, each with its parameter, say for the answer to `query`.
pub(super) fn parse(
    attributes: &Attributes,
    query: &SearchQuery,
    entries: &[(&str, &str)],
) -> Result<Vec<OrderBy>, QueryError> {
    let (mut order, mut named) = (Vec::new(), Vec::new());
    for (parameter, entry) in entries {
        if named.len() == MOST_KEYS {
            let (attribute, what) = ((*parameter).to_owned(), "attributes");
            return Err(QueryError::TooMany { attribute, most: MOST_KEYS, what });
        }
        let (key, descending) = entry.strip_prefix('-').map_or((*entry, false), |key| (key, true));
        let path = keys::path_of(key).filter(|path| !named.contains(path));
        let found = path.and_then(|path| {
            let place = place_of(attributes, query, &path)?;
            named.push(path);
            Some(place)
        });
        let Some(place) = found else {
            let (parameter, value) = ((*parameter).to_owned(), (*entry).to_owned());
            return Err(QueryError::BadOrder { parameter, value });
        };
        // The same for all items.
        let Some((by, level, compared)) = place else { continue };
        order.push(OrderBy { by, level, compared, descending });
    }
    Ok(order)
}

/// Where the value of an attribute lies, if it is indexed or returned; the inner `None` is a UID of the URL.
fn place_of(
    attributes: &Attributes,
    query: &SearchQuery,
    path: &TagPath,
) -> Option<Option<(By, Level, Compared)>> {
    let levels = query.resource.levels();
    if *path == TagPath::from(MODALITIES_IN_STUDY) && levels.contains(&Level::Study) {
        return Some(Some((By::Computed(MODALITIES_IN_STUDY), Level::Study, Compared::Text)));
    }
    if let Some(Subject { on, level, compared, .. }) = subject_of(attributes, path, levels) {
        return Some(Some((By::On(on), level, compared)));
    }
    let &[tag] = path.0.as_slice() else { return None };
    let returned = default_tags(&query.resource, query.version, query.include_all).contains(&tag)
        || query.includes.contains(path);
    if !returned {
        return None;
    }
    if subject_of(attributes, path, &[Level::Study, Level::Series])
        .is_some_and(|subject| matches!(subject.on, On::Uid(_)))
    {
        return Some(None);
    }
    let item = query.resource.item();
    if computes(tag, levels) {
        return Some(Some(match tag {
            STUDY_INSTANCES => (By::Computed(tag), Level::Study, Compared::Integer),
            SERIES_INSTANCES => (By::Computed(tag), Level::Series, Compared::Integer),
            _ => (By::Computed(tag), item, Compared::Uid),
        }));
    }
    let compared = Compared::of(keys::vr_of(tag)?)?;
    Some(Some((By::Stored(tag), item, compared)))
}
