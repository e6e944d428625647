//! Answers in an order that the metadata alone tell (contract `studies.md` §4.11): attributes that are returned
//! and not searched.
//!
//! The metadata of every match are read, one after the other, so there may only be few.
//! Invariant: a match stands where it would if the attribute were searched.
//! Elsewhere: orders that the view knows by itself (`find`), reading the metadata (`http`).

use std::collections::BTreeSet;

use super::BadMetadata;
use crate::dicom::uid::Uid;
use crate::projections::search::SearchError;
use crate::projections::search::attributes::{Attributes, SOP_CLASS_UID, Tag, extract, first_values};
use crate::projections::search::find::Hit;
use crate::projections::search::query::{By, OrderBy, SearchQuery};
use crate::projections::search::sort::{Place, Rows};

/// Matches whose metadata are read for one answer.
const MOST: usize = 1_000;

/// Sorts the matches of one query.
pub struct ByMetadata {
    order: Vec<OrderBy>,
    tags: BTreeSet<Tag>,
    offset: usize,
    limit: usize,
    attributes: Attributes,
    placed: Vec<(Place, Hit)>,
}

impl SearchQuery {
    /// When only metadata tell the order asked for: what sorts the matches. The query then asks for all of them,
    /// newest first.
    pub fn order_by_metadata(&mut self, attributes: &Attributes) -> Option<ByMetadata> {
        let mut tags: BTreeSet<Tag> = self.order.iter().filter_map(stored).collect();
        if tags.is_empty() {
            return None;
        }
        tags.insert(SOP_CLASS_UID);
        let (order, attributes) = (std::mem::take(&mut self.order), attributes.clone());
        let (offset, limit) = (self.offset, self.limit);
        (self.offset, self.limit) = (0, MOST + 1);
        Some(ByMetadata { order, tags, offset, limit, attributes, placed: Vec::new() })
    }
}

fn stored(by: &OrderBy) -> Option<Tag> {
    match by.by {
        By::Stored(tag) => Some(tag),
        By::On(_) | By::Computed(_) => None,
    }
}

impl ByMetadata {
    /// Whether so many matches can be sorted.
    ///
    /// # Errors
    /// [`SearchError::TooBroad`]
    pub fn takes(&self, matches: usize) -> Result<(), SearchError> {
        if matches <= MOST {
            return Ok(());
        }
        let narrow = "more than 1,000 match; a filter or an order by attributes that are searched would help";
        Err(SearchError::TooBroad { looked_at: MOST as u64, of: matches as u64, narrow })
    }

    /// The next match, in the order of the query's answer; the metadata are those of [`Hit::position`].
    ///
    /// # Errors
    /// [`BadMetadata`]
    pub fn push(&mut self, hit: Hit, metadata: &[u8]) -> Result<(), BadMetadata> {
        let bad = |error: serde_json::Error| BadMetadata(error.to_string());
        let stored = first_values(metadata, &self.tags).map_err(bad)?;
        let of_instance = hit.instance.is_some().then(|| extract(metadata, &self.attributes)).transpose();
        let values = of_instance.map_err(bad)?.unwrap_or_default().instance;
        let class = stored.get(&SOP_CLASS_UID).and_then(|uid| Uid::parse(uid).ok());
        let rows = Rows {
            study: &hit.study,
            series: hit.series.as_deref(),
            instance: hit.instance.as_ref().map(|uid| (uid, &values)),
            class: class.as_ref(),
            stored: &stored,
        };
        // Sorting keeps the order of those that are equal: newest first.
        self.placed.push((rows.place(&self.order, 0), hit));
        Ok(())
    }

    /// The page asked for.
    #[must_use]
    pub fn page(mut self) -> Vec<Hit> {
        self.placed.sort_by(|a, b| a.0.cmp(&b.0));
        self.placed.into_iter().map(|(_, hit)| hit).skip(self.offset).take(self.limit).collect()
    }
}
