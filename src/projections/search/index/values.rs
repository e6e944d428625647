//! The values of an attribute in their order, each with the documents that have it.
//!
//! The terms of an attribute stand in each segment's dictionary in the order of its values, so the values of
//! all segments are merged from there; nothing is sorted.
//! Invariant: values come in strictly rising or falling order; a document comes with each of its values.
//! Elsewhere: documents by conditions (`terms`), how many stand before a value (`ranks`), records that
//! changed since (`sort`).

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use parking_lot::Mutex;
use tantivy::columnar::Column;
use tantivy::index::SegmentId;
use tantivy::postings::TermInfo;
use tantivy::termdict::TermStreamer;
use tantivy::{DocId, SegmentReader};

use super::terms::{Conditions, Matching, charge};
use super::{Error, ID, Searcher, WEIGHT};
use crate::projections::search::budget::Budget;
use crate::projections::search::folding::LAST_CHARACTER;
use crate::projections::search::rows::Id;

/// Values after which what satisfies the conditions is gathered once instead of asked for each of them.
const ASKED_VALUES: usize = 128;

/// Which values, in which order.
#[derive(Clone, Debug)]
pub(in super::super) struct Span {
    /// The beginning of the attribute's terms.
    pub(in super::super) prefix: String,
    /// The least and the greatest, both included.
    pub(in super::super) from: Option<String>,
    pub(in super::super) to: Option<String>,
    pub(in super::super) descending: bool,
}

impl Span {
    fn ends(&self) -> [String; 2] {
        let last = || LAST_CHARACTER.to_string();
        let ends = [self.from.clone().unwrap_or_default(), self.to.clone().unwrap_or_else(last)];
        ends.map(|end| format!("{}{end}", self.prefix))
    }
}

/// The matching documents with one value.
pub(in super::super) struct Group<'g, 's> {
    parts: Vec<(&'g Part<'s>, TermInfo)>,
}

impl Group<'_, '_> {
    /// The newest `most` of their records, newest first.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(in super::super) fn newest(&self, most: usize, budget: &Budget) -> Result<Vec<Id>, Error> {
        let mut newest = Newest::of(most);
        self.each(budget, |columns, document| newest.push(columns.id(document)?, budget))?;
        Ok(newest.sorted())
    }

    /// How many there are, and the instances of them all.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(in super::super) fn count(&self, budget: &Budget) -> Result<Counted, Error> {
        let mut counted = Counted::default();
        self.each(budget, |columns, document| counted.add(columns, document))?;
        Ok(counted)
    }

    fn each(
        &self,
        budget: &Budget,
        mut each: impl FnMut(&Columns, DocId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (Part { matching, columns }, info) in &self.parts {
            charge(budget, u64::from(info.doc_freq))?;
            for document in matching.walk(Some(info))? {
                each(columns, document)?;
            }
        }
        Ok(())
    }
}

/// A number of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Counted {
    pub(in super::super) records: u64,
    pub(in super::super) instances: u64,
}

impl Counted {
    fn add(&mut self, columns: &Columns, document: DocId) -> Result<(), Error> {
        self.records += 1;
        self.instances += columns.weight(document)?;
        Ok(())
    }
}

/// What the documents of a segment say of their records. Clones are cheap.
#[derive(Clone)]
pub(super) struct Columns {
    ids: Column<u64>,
    pub(super) weights: Column<u64>,
}

/// The columns of segments, opened once: that takes the longer, the larger the segment.
#[derive(Default)]
pub(super) struct Opened(Mutex<HashMap<SegmentId, Columns>>);

impl Opened {
    /// Those of a segment.
    ///
    /// # Errors
    /// The index is damaged.
    pub(super) fn of(&self, reader: &SegmentReader) -> Result<Columns, Error> {
        let segment = reader.segment_id();
        if let Some(known) = self.0.lock().get(&segment) {
            return Ok(known.clone());
        }
        let columns = reader.fast_fields();
        let columns = Columns { ids: columns.u64(ID)?, weights: columns.u64(WEIGHT)? };
        self.0.lock().insert(segment, columns.clone());
        Ok(columns)
    }

    /// Forgets those of other segments.
    pub(super) fn keep(&self, segments: &[SegmentReader]) {
        let segments: HashSet<_> = segments.iter().map(SegmentReader::segment_id).collect();
        self.0.lock().retain(|segment, _| segments.contains(segment));
    }
}

impl Columns {
    fn id(&self, document: DocId) -> Result<Id, Error> {
        self.ids.first(document).ok_or_else(|| Error::Damaged("a document has no id".to_owned()))
    }

    fn weight(&self, document: DocId) -> Result<u64, Error> {
        self.weights.first(document).ok_or_else(|| Error::Damaged("a document has no weight".to_owned()))
    }
}

/// The matching documents of all segments.
pub(in super::super) struct Found<'s> {
    segments: Vec<Part<'s>>,
}

/// Those of one segment.
struct Part<'s> {
    matching: Matching<'s>,
    columns: Columns,
}

impl<'s> Found<'s> {
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(in super::super) fn of(
        searcher: &'s Searcher,
        conditions: &Conditions,
        budget: &Budget,
    ) -> Result<Self, Error> {
        let mut segments = Vec::new();
        for reader in searcher.documents.segment_readers() {
            if let Some(matching) = Matching::of(reader, conditions, budget)? {
                segments.push(Part { matching, columns: searcher.columns.of(reader)? });
            }
        }
        Ok(Self { segments })
    }

    /// How many there are, and the instances of them all.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(in super::super) fn count(&self, budget: &Budget) -> Result<Counted, Error> {
        let mut counted = Counted::default();
        for Part { matching, columns } in &self.segments {
            let before = counted.records;
            for document in matching.walk(None)? {
                counted.add(columns, document)?;
            }
            charge(budget, counted.records - before)?;
        }
        Ok(counted)
    }

    /// The newest `most` of their records, newest first.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(in super::super) fn newest(&self, most: usize, budget: &Budget) -> Result<Vec<Id>, Error> {
        let mut newest = Newest::of(most);
        for Part { matching, columns } in &self.segments {
            let mut walked = 0;
            for document in matching.walk(None)? {
                newest.push(columns.id(document)?, budget)?;
                walked += 1;
            }
            charge(budget, walked)?;
        }
        Ok(newest.sorted())
    }

    /// Gives the values of a span to `visit`, until that has enough.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged, or what `visit` says.
    pub(in super::super) fn in_order<E: From<Error>>(
        mut self,
        span: &Span,
        budget: &Budget,
        mut visit: impl FnMut(&str, &Group<'_, 's>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let [from, to] = span.ends();
        let inverted: Vec<_> = self.segments.iter().map(|of| of.matching.segment.inverted.clone()).collect();
        let mut streams = Vec::with_capacity(inverted.len());
        for inverted in &inverted {
            let range = inverted.terms().range().ge(from.as_bytes()).le(to.as_bytes());
            let range = if span.descending { range.backward() } else { range };
            let mut stream = range.into_stream().map_err(Error::from)?;
            streams.push(stream.advance().then_some(stream));
        }
        let mut values = 0_usize;
        while let Some(next) = next_key(&streams, span.descending) {
            values += 1;
            budget.terms(1).map_err(Error::from)?;
            if values == ASKED_VALUES {
                let gathered = self.segments.into_iter().map(|Part { matching, columns }| {
                    Ok::<_, Error>(Part { matching: matching.gather(budget)?, columns })
                });
                self.segments = gathered.collect::<Result<_, _>>()?;
            }
            let mut parts = Vec::new();
            for (slot, part) in streams.iter_mut().zip(&self.segments) {
                let Some(stream) = slot.as_mut().filter(|stream| stream.key() == next) else { continue };
                parts.push((part, stream.value().clone()));
                if !stream.advance() {
                    *slot = None;
                }
            }
            let value = next.get(span.prefix.len()..).and_then(|value| std::str::from_utf8(value).ok());
            let value = value.ok_or_else(|| Error::Damaged("a term is no text".to_owned()))?;
            if visit(value, &Group { parts })?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The key that comes next in any of the streams.
fn next_key(streams: &[Option<TermStreamer<'_>>], descending: bool) -> Option<Vec<u8>> {
    let keys = streams.iter().flatten().map(TermStreamer::key);
    let next = if descending { keys.max() } else { keys.min() };
    next.map(<[u8]>::to_vec)
}

/// The newest of the ids given.
struct Newest {
    most: usize,
    ids: Vec<Id>,
}

/// Ids gathered beyond those wanted before the oldest are dropped.
const SPARE_IDS: usize = 1_024;

impl Newest {
    fn of(most: usize) -> Self {
        Self { most, ids: Vec::new() }
    }

    fn push(&mut self, id: Id, budget: &Budget) -> Result<(), Error> {
        self.ids.push(id);
        if self.ids.len().is_multiple_of(SPARE_IDS) {
            if self.ids.len() >= self.most.saturating_mul(2).max(SPARE_IDS) {
                self.drop_oldest();
            }
            budget.ids(self.ids.len() as u64)?;
        }
        Ok(())
    }

    fn drop_oldest(&mut self) {
        if self.ids.len() > self.most {
            self.ids.select_nth_unstable_by(self.most, |a, b| b.cmp(a));
            self.ids.truncate(self.most);
        }
    }

    fn sorted(mut self) -> Vec<Id> {
        self.drop_oldest();
        self.ids.sort_unstable_by(|a, b| b.cmp(a));
        self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projections::search::budget::BROAD;

    #[test]
    fn the_newest_are_kept_however_many_come() {
        let budget = Budget::of(BROAD);
        for most in [0, 1, 100, 5_000, usize::MAX] {
            let mut newest = Newest::of(most);
            // Every id up to 9,999 once, in no order.
            for id in (0..10_000_u64).map(|n| n * 7_919 % 10_000) {
                newest.push(id, &budget).unwrap();
            }
            let expected: Vec<u64> = (0..10_000).rev().take(most).collect();
            assert_eq!(newest.sorted(), expected, "{most}");
        }
    }
}
