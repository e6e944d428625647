//! How many records stand before a value, and which value the n-th record has: what makes a far page of a
//! value order as near as the first.
//!
//! For a segment and an attribute it is counted once how many documents stand before each value; the sum
//! over the segments, found by binary search in their dictionaries, is the rank of any value.
//! Invariant: what is counted was live then; what is deleted since, and what is of studies that changed, is
//! taken off for each query. A segment of which much is deleted since is counted again.
//! Elsewhere: the values themselves (`values`), records that changed since (`sort`).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tantivy::columnar::Column;
use tantivy::index::SegmentId;
use tantivy::termdict::{TermDictionary, TermOrdinal};
use tantivy::{DocId, SegmentReader};

use super::terms::{Condition, Conditions, Matching, charge};
use super::{Error, Searcher};
use crate::projections::search::budget::Budget;
use crate::projections::search::folding::LAST_CHARACTER;

/// Memory for ranks that are kept.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Terms between two charges of the budget.
const TERMS_PER_CHARGE: u64 = 256;
/// A segment of which more than one in so many is deleted since it was counted is counted again.
const DELETED_SINCE: u32 = 32;
/// Stands for a document without a value.
const NO_VALUE: u32 = u32::MAX;

/// Values in rising order, each with how many records stand before it.
pub(in super::super) trait Ranked {
    /// How many values.
    fn values(&self) -> u32;
    /// The value at this place.
    fn value(&self, at: u32) -> Result<Vec<u8>, Error>;
    /// The place of the first value that is not less than this.
    fn place(&self, value: &[u8]) -> Result<u32, Error>;
    /// How many records have a value before this place.
    fn before(&self, at: u32) -> u64;
}

/// How many records have a value less than this.
///
/// # Errors
/// The index is damaged.
pub(in super::super) fn rank(of: &[Box<dyn Ranked + '_>], value: &[u8]) -> Result<u64, Error> {
    of.iter().map(|part| Ok(part.before(part.place(value)?))).sum()
}

/// The value that the record has before which `rank` others stand, and how many have a smaller one; `None`
/// when there are not so many.
///
/// # Errors
/// The index is damaged.
pub(in super::super) fn select(
    of: &[Box<dyn Ranked + '_>],
    rank: u64,
) -> Result<Option<(Vec<u8>, u64)>, Error> {
    let total: u64 = of.iter().map(|part| part.before(part.values())).sum();
    if rank >= total {
        return Ok(None);
    }
    // Where the greatest value may be that has no more than `rank` records before it.
    let mut open: Vec<_> = of.iter().map(|part| 0..part.values()).collect();
    let mut best: Option<(Vec<u8>, u64)> = None;
    while let Some(widest) = (0..open.len()).max_by_key(|at| open[*at].len()) {
        if open[widest].is_empty() {
            break;
        }
        let middle = open[widest].start + (open[widest].end - open[widest].start) / 2;
        let value = of[widest].value(middle)?;
        let places = of.iter().map(|part| part.place(&value)).collect::<Result<Vec<_>, _>>()?;
        let before: u64 = of.iter().zip(&places).map(|(part, at)| part.before(*at)).sum();
        let reached = before <= rank;
        for (open, place) in open.iter_mut().zip(places) {
            match reached {
                true => open.start = open.start.max(place),
                false => open.end = open.end.min(place),
            }
        }
        if reached {
            open[widest].start = open[widest].start.max(middle + 1);
            if best.as_ref().is_none_or(|(known, _)| *known < value) {
                best = Some((value, before));
            }
        }
    }
    Ok(best)
}

/// Values of records that stand in no segment.
#[derive(Debug, Default)]
pub(in super::super) struct Loose {
    /// Rising; each with the records before it.
    values: Vec<(Vec<u8>, u64)>,
    records: u64,
}

impl Loose {
    /// Of values in any order, each with what its record counts.
    pub(in super::super) fn of(mut values: Vec<(Vec<u8>, u64)>) -> Self {
        values.sort_unstable();
        let mut records = 0;
        for (_, before) in &mut values {
            let counts = std::mem::replace(before, records);
            records += counts;
        }
        values.dedup_by(|later, earlier| later.0 == earlier.0);
        Self { values, records }
    }
}

impl Ranked for Loose {
    fn values(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    fn value(&self, at: u32) -> Result<Vec<u8>, Error> {
        Ok(self.values[at as usize].0.clone())
    }

    fn place(&self, value: &[u8]) -> Result<u32, Error> {
        let place = self.values.partition_point(|(known, _)| known.as_slice() < value);
        Ok(u32::try_from(place).unwrap_or(u32::MAX))
    }

    fn before(&self, at: u32) -> u64 {
        self.values.get(at as usize).map_or(self.records, |(_, before)| *before)
    }
}

/// Which documents are counted, by which attribute, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Question {
    /// The term all of them carry.
    pub(in super::super) set: String,
    /// The beginning of the attribute's terms. No document has two of them.
    pub(in super::super) prefix: String,
    /// Instances are counted, not records.
    pub(in super::super) weighed: bool,
}

/// The ranks of one segment.
#[derive(Debug)]
struct Counts {
    /// Ordinal of the attribute's first term in the segment's dictionary.
    first: TermOrdinal,
    /// How many stand before each value, and in the end all of them.
    before: Vec<u32>,
    /// The place of each document's value.
    places: Vec<u32>,
    /// Documents that were deleted when they were counted.
    deleted: u32,
}

impl Counts {
    fn bytes(&self) -> usize {
        (self.before.len() + self.places.len()) * size_of::<u32>()
    }

    fn of(
        reader: &SegmentReader,
        weights: &Column<u64>,
        question: &Question,
        budget: &Budget,
    ) -> Result<Self, Error> {
        let set = Conditions { all: vec![Condition::term(question.set.clone())], but: Vec::new() };
        let (places, deleted) = (vec![NO_VALUE; reader.max_doc() as usize], reader.num_deleted_docs());
        let mut counts = Self { first: 0, before: vec![0], places, deleted };
        let Some(matching) = Matching::of(reader, &set, budget)? else { return Ok(counts) };
        let matching = matching.gather(budget)?;
        let (from, to) = (&question.prefix, format!("{}{LAST_CHARACTER}", question.prefix));
        let mut stream = matching.segment.inverted.terms().range().ge(from).le(to).into_stream()?;
        let mut total = 0_u32;
        while stream.advance() {
            let place = u32::try_from(counts.before.len() - 1).map_err(|_| too_many())?;
            if place == 0 {
                counts.first = stream.term_ord();
            }
            if u64::from(place) % TERMS_PER_CHARGE == 0 {
                budget.terms(TERMS_PER_CHARGE)?;
            }
            charge(budget, u64::from(stream.value().doc_freq))?;
            for document in matching.walk(Some(stream.value()))? {
                counts.places[document as usize] = place;
                let weight = if question.weighed { weights.first(document).unwrap_or(0) } else { 1 };
                let weight = u32::try_from(weight).map_err(|_| too_many())?;
                total = total.checked_add(weight).ok_or_else(too_many)?;
            }
            counts.before.push(total);
        }
        Ok(counts)
    }
}

fn too_many() -> Error {
    Error::Damaged("a segment holds more than can be counted".to_owned())
}

struct Kept {
    segment: SegmentId,
    question: Question,
    counts: Arc<Counts>,
}

/// Ranks that were counted, the latest used first. More than [`KEPT_BYTES`] are not kept.
#[derive(Default)]
pub(super) struct Ranks(Mutex<VecDeque<Kept>>);

impl Ranks {
    /// The ranks of each segment, without the documents that `changed` says.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(super) fn of<'s>(
        &self,
        searcher: &'s Searcher,
        question: &Question,
        changed: &Condition,
        budget: &Budget,
    ) -> Result<Vec<Box<dyn Ranked + 's>>, Error> {
        let mut parts: Vec<Box<dyn Ranked + 's>> = Vec::new();
        for reader in searcher.documents.segment_readers() {
            let weights = searcher.columns.of(reader)?.weights;
            let counts = self.counts(reader, &weights, question, budget)?;
            let gone = gone(reader, &weights, question, &counts, changed, budget)?;
            let inverted = reader.inverted_index(reader.schema().get_field(super::TERM)?)?;
            let terms = inverted.terms().clone();
            parts.push(Box::new(SegmentRanks { prefix: question.prefix.clone(), terms, counts, gone }));
        }
        Ok(parts)
    }

    fn counts(
        &self,
        reader: &SegmentReader,
        weights: &Column<u64>,
        question: &Question,
        budget: &Budget,
    ) -> Result<Arc<Counts>, Error> {
        let segment = reader.segment_id();
        let is_it = |kept: &Kept| kept.segment == segment && kept.question == *question;
        // Of a reader older than the counts more is live than was counted.
        let serve = |counts: &Counts| {
            let since = reader.num_deleted_docs().checked_sub(counts.deleted);
            since.is_some_and(|since| since <= reader.max_doc() / DELETED_SINCE)
        };
        {
            let mut kept = self.0.lock();
            if let Some(known) = kept.iter().position(is_it).and_then(|at| kept.remove(at)) {
                let counts = Arc::clone(&known.counts);
                kept.push_front(known);
                if serve(&counts) {
                    return Ok(counts);
                }
            }
        }
        let counts = Arc::new(Counts::of(reader, weights, question, budget)?);
        let mut kept = self.0.lock();
        kept.retain(|kept| !is_it(kept));
        let (question, counted) = (question.clone(), Arc::clone(&counts));
        kept.push_front(Kept { segment, question, counts: counted });
        let mut bytes = 0;
        kept.retain(|kept| {
            bytes += kept.counts.bytes();
            bytes <= KEPT_BYTES
        });
        Ok(counts)
    }
}

/// The places of the values of documents that do not count any more, rising, each with what is taken off
/// before it.
fn gone(
    reader: &SegmentReader,
    weights: &Column<u64>,
    question: &Question,
    counts: &Counts,
    changed: &Condition,
    budget: &Budget,
) -> Result<Vec<(u32, u64)>, Error> {
    let mut documents: Vec<DocId> = Vec::new();
    if reader.num_deleted_docs() > counts.deleted {
        documents.extend((0..reader.max_doc()).filter(|document| reader.is_deleted(*document)));
    }
    let set = Conditions { all: vec![changed.clone()], but: Vec::new() };
    if let Some(matching) = Matching::of(reader, &set, budget)? {
        // Live ones only.
        documents.extend(matching.walk(None)?);
    }
    charge(budget, documents.len() as u64)?;
    let weight = |document: DocId| if question.weighed { weights.first(document).unwrap_or(0) } else { 1 };
    let places = documents.into_iter().map(|document| (counts.places[document as usize], weight(document)));
    let mut gone: Vec<_> = places.filter(|(place, _)| *place != NO_VALUE).collect();
    gone.sort_unstable();
    let mut total = 0;
    for (_, weight) in &mut gone {
        total += *weight;
        *weight = total;
    }
    Ok(gone)
}

/// The ranks of one segment for one query.
struct SegmentRanks {
    prefix: String,
    terms: TermDictionary,
    counts: Arc<Counts>,
    /// Rising places, each with what is taken off up to and with it.
    gone: Vec<(u32, u64)>,
}

impl Ranked for SegmentRanks {
    fn values(&self) -> u32 {
        u32::try_from(self.counts.before.len() - 1).unwrap_or(u32::MAX)
    }

    fn value(&self, at: u32) -> Result<Vec<u8>, Error> {
        let mut term = Vec::new();
        self.terms.ord_to_term(self.counts.first + u64::from(at), &mut term)?;
        term.get(self.prefix.len()..)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::Damaged("a term is not in its place".to_owned()))
    }

    fn place(&self, value: &[u8]) -> Result<u32, Error> {
        let term = [self.prefix.as_bytes(), value].concat();
        let mut stream = self.terms.range().ge(term).into_stream()?;
        if !stream.advance() {
            return Ok(self.values());
        }
        let place = stream.term_ord().saturating_sub(self.counts.first);
        Ok(u32::try_from(place).unwrap_or(u32::MAX).min(self.values()))
    }

    fn before(&self, at: u32) -> u64 {
        let before = self.counts.before.get(at as usize).copied().unwrap_or_default();
        let gone = self.gone.partition_point(|(place, _)| *place < at);
        let gone = gone.checked_sub(1).map_or(0, |last| self.gone[last].1);
        u64::from(before) - gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn loose(parts: &[Vec<(u8, u64)>]) -> Vec<Box<dyn Ranked>> {
        let part = |part: &Vec<(u8, u64)>| -> Box<dyn Ranked> {
            Box::new(Loose::of(part.iter().map(|(value, counts)| (vec![*value], *counts)).collect()))
        };
        parts.iter().map(part).collect()
    }

    proptest! {
        #[test]
        fn the_record_of_a_rank_is_found_as_in_one_sorted_list(
            parts in vec(vec((0_u8..20, 1_u64..4), 0..12), 0..5),
        ) {
            let mut all: Vec<u8> = Vec::new();
            for (value, counts) in parts.iter().flatten() {
                all.extend((0..*counts).map(|_| *value));
            }
            all.sort_unstable();
            let ranked = loose(&parts);
            for value in 0..21 {
                let below = all.iter().filter(|known| **known < value).count() as u64;
                prop_assert_eq!(rank(&ranked, &[value]).unwrap(), below);
            }
            for (at, value) in all.iter().enumerate() {
                let below = all.iter().filter(|known| *known < value).count() as u64;
                let found = select(&ranked, at as u64).unwrap();
                prop_assert_eq!(found, Some((vec![*value], below)), "rank {}", at);
            }
            prop_assert_eq!(select(&ranked, all.len() as u64).unwrap(), None);
        }
    }
}
