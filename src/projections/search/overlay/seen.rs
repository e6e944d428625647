//! The dirty studies and the searcher that does not know them.
//!
//! Elsewhere: when they change (`overlay`).

use std::collections::BTreeMap;

use tantivy::Searcher;

use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;

/// What a query looks at besides the rows.
#[derive(Default)]
pub(in super::super) struct Seen {
    dirty: BTreeMap<Partition, BTreeMap<Uid, Position>>,
    pub(super) dirty_studies: usize,
    /// `None` while the index is being made again.
    pub(in super::super) searcher: Option<Searcher>,
    /// Cursor of the searcher.
    pub(super) cursor: Position,
}

impl Seen {
    pub(in super::super) fn is_dirty(&self, partition: &Partition, study: &Uid) -> bool {
        self.dirty.get(partition).is_some_and(|studies| studies.contains_key(study))
    }

    /// The dirty studies of a partition.
    pub(in super::super) fn dirty_in(&self, partition: &Partition) -> impl Iterator<Item = &Uid> {
        self.dirty.get(partition).into_iter().flat_map(BTreeMap::keys)
    }

    pub(super) fn dirty_studies(&self) -> Vec<(Partition, Uid)> {
        let of = |(partition, studies): (&Partition, &BTreeMap<Uid, Position>)| {
            studies.keys().map(|study| (partition.clone(), study.clone())).collect::<Vec<_>>()
        };
        self.dirty.iter().flat_map(of).collect()
    }

    pub(super) fn touch(&mut self, partition: &Partition, study: &Uid, position: Position) {
        let studies = self.dirty.entry(partition.clone()).or_default();
        self.dirty_studies += usize::from(studies.insert(study.clone(), position).is_none());
    }

    /// Forgets the studies not touched at or after `cursor`.
    pub(super) fn clean_before(&mut self, cursor: Position) {
        self.dirty.retain(|_, studies| {
            studies.retain(|_, last| *last >= cursor);
            !studies.is_empty()
        });
        self.dirty_studies = self.dirty.values().map(BTreeMap::len).sum();
    }
}
