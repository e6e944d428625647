//! The studies that the index is behind on, as a set that a query copies at once.
//!
//! Touches are kept in runs. Only the last run grows; the others are shared with whoever copied the set, and
//! so is the last until it grows again. A study may stand in several runs.
//! Invariant: a study is in the set exactly while its last touch was at or after the last cleaning.
//! Invariant: what was copied never changes.
//! Elsewhere: when a study is touched, and what cleans it (`overlay`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;

/// Studies of a run. A touch after a copy copies one run.
const STUDIES_PER_RUN: usize = 512;

/// A set of studies, each with the position of its last touch. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    runs: Vec<Arc<Run>>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    partitions: BTreeMap<Partition, BTreeMap<Uid, Position>>,
    studies: usize,
    /// Of the last touch.
    last: Position,
}

impl Dirty {
    /// How many there are; one that stands in several runs is counted in each.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|run| run.studies).sum()
    }

    pub(crate) fn contains(&self, partition: &Partition, study: &Uid) -> bool {
        let of_run = |run: &Arc<Run>| run.partitions.get(partition).is_some_and(|of| of.contains_key(study));
        self.runs.iter().any(of_run)
    }

    /// Those of a partition, each once.
    pub(crate) fn of(&self, partition: &Partition) -> BTreeSet<&Uid> {
        self.runs.iter().filter_map(|run| run.partitions.get(partition)).flat_map(BTreeMap::keys).collect()
    }

    /// All, each once.
    pub(super) fn all(&self) -> BTreeSet<(Partition, Uid)> {
        let partitions = self.runs.iter().flat_map(|run| &run.partitions);
        let studies = partitions.flat_map(|(of, studies)| studies.keys().map(move |study| (of, study)));
        studies.map(|(of, study)| (of.clone(), study.clone())).collect()
    }

    pub(super) fn touch(&mut self, partition: &Partition, study: &Uid, position: Position) {
        if self.runs.last().is_none_or(|run| run.studies >= STUDIES_PER_RUN) {
            self.runs.push(Arc::default());
        }
        let run = self.runs.last_mut().expect("a run was just pushed if there was none");
        let run = Arc::make_mut(run);
        let studies = run.partitions.entry(partition.clone()).or_default();
        let last = studies.entry(study.clone()).or_insert_with(|| {
            run.studies += 1;
            position
        });
        *last = position.max(*last);
        run.last = position.max(run.last);
    }

    /// Forgets the studies not touched at or after `cursor`.
    pub(super) fn clean_before(&mut self, cursor: Position) {
        self.runs.retain(|run| run.last >= cursor);
        for run in self.runs.iter_mut().filter(|run| !run.is_from(cursor)) {
            let run = Arc::make_mut(run);
            run.partitions.retain(|_, studies| {
                studies.retain(|_, last| *last >= cursor);
                !studies.is_empty()
            });
            run.studies = run.partitions.values().map(BTreeMap::len).sum();
        }
    }
}

impl Run {
    /// Whether each of its studies was touched at or after `cursor`.
    fn is_from(&self, cursor: Position) -> bool {
        self.partitions.values().flat_map(BTreeMap::values).all(|last| *last >= cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn study(number: u64) -> Uid {
        Uid::parse(&format!("1.2.{number}")).unwrap()
    }

    proptest! {
        /// Studies often enough for several runs; a copy is held across everything that follows.
        #[test]
        fn it_is_the_set_of_what_was_touched_since(
            steps in prop::collection::vec((0..3_000_u64, 1..400_u64, prop::option::of(0..600_u64)), 1..24),
        ) {
            let partitions = ["a", "b"].map(|name| Partition::parse(name).unwrap());
            let (mut dirty, mut model) = (Dirty::default(), BTreeMap::new());
            let (mut position, mut copies) = (0, Vec::new());
            for (from, count, clean) in steps {
                for number in from..from + count {
                    let key = (partitions[number as usize % 2].clone(), study(number));
                    dirty.touch(&key.0, &key.1, Position(position));
                    model.insert(key, Position(position));
                    position += 1;
                }
                if let Some(back) = clean {
                    let cursor = Position(position.saturating_sub(back));
                    dirty.clean_before(cursor);
                    model.retain(|_, last| *last >= cursor);
                }
                copies.push((dirty.clone(), model.clone()));
            }
            for (dirty, model) in copies {
                prop_assert_eq!(dirty.all(), model.keys().cloned().collect());
                prop_assert!(dirty.len() >= model.len());
                for partition in &partitions {
                    let wanted: BTreeSet<_> =
                        model.keys().filter(|(of, _)| of == partition).map(|(_, study)| study).collect();
                    prop_assert_eq!(dirty.of(partition), wanted);
                }
                for number in (0..3_400).step_by(7) {
                    let key = (partitions[number as usize % 2].clone(), study(number));
                    prop_assert_eq!(dirty.contains(&key.0, &key.1), model.contains_key(&key));
                }
            }
        }
    }

    #[test]
    fn a_study_touched_again_and_again_does_not_make_it_grow() {
        let (mut dirty, partition) = (Dirty::default(), Partition::default());
        for position in 0..10_000 {
            dirty.touch(&partition, &study(position % 3), Position(position));
        }
        assert_eq!(dirty.len(), 3);
        dirty.clean_before(Position(9_999));
        assert_eq!(dirty.all().len(), 1);
        dirty.clean_before(Position(10_000));
        assert_eq!(dirty.len(), 0);
        assert!(dirty.runs.is_empty());
    }
}
