//! Which segments of the index are made into one, and when.
//!
//! Segments of one size are merged when there are enough of them, so that a document is written once for
//! each size it passes; a segment of which much is deleted is written anew.
//! Invariant: the choice is a function of the segments' sizes and the pace alone.
//! Invariant: at most one merge runs, on a thread of its own; nothing waits for it.
//! Elsewhere: who asks for the next one (`overlay`).

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::{FutureResult, IndexWriter, Searcher};

use super::Error;

/// So many segments of one size are merged while few documents come: a look-up asks every segment.
const TOGETHER_AT_REST: usize = 4;
/// So many while the index catches up: a document is then written fewer times.
const TOGETHER_IN_A_HURRY: usize = 8;
/// All segments with fewer documents than this are of one size.
const SMALLEST_DOCUMENTS: u32 = 10_000;
/// A segment is of a size when it holds at least this part, in hundredths, of its largest one's documents.
const SAME_SIZE_PERCENT: u64 = 59;
/// A segment of which more than this part, in hundredths, is deleted is written anew …
const MOST_DELETED_PERCENT: u64 = 20;
/// … if it is not so small that the next merge takes it anyway.
const LEAST_REWRITTEN_DOCUMENTS: u32 = 1_000;

/// What is dear at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Pace {
    /// Few documents come: looking up.
    AtRest,
    /// As many come as can be written: writing.
    InAHurry,
}

/// The merge that runs, if one does.
#[derive(Default)]
pub(super) struct Merging {
    running: Option<FutureResult<Option<SegmentMeta>>>,
    began: Option<Instant>,
    made: u64,
}

impl Drop for Merging {
    fn drop(&mut self) {
        self.tell(false);
    }
}

impl Merging {
    /// Counts the merge that begins or ends.
    fn tell(&mut self, running: bool) {
        let began = self.began.take();
        match began {
            None if running => metrics::gauge!("kymo_search_merges_running").increment(1.0),
            None => return,
            Some(began) => {
                metrics::gauge!("kymo_search_merges_running").decrement(1.0);
                metrics::counter!("kymo_search_merges_total").increment(1);
                metrics::histogram!("kymo_search_merge_seconds").record(began.elapsed().as_secs_f64());
            }
        }
        self.began = running.then(Instant::now);
    }

    /// Whether the merge that ran has ended since this was asked last.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn ended(&mut self) -> Result<bool, Error> {
        let Some(running) = &mut self.running else { return Ok(false) };
        let Poll::Ready(ended) = Pin::new(running).poll(&mut Context::from_waker(Waker::noop())) else {
            return Ok(false);
        };
        self.running = None;
        self.made += 1;
        self.tell(false);
        ended?;
        Ok(true)
    }

    /// Starts the merge that is due among the segments of a searcher, which must be those of the last commit.
    pub(super) fn start(&mut self, writer: &mut IndexWriter, searcher: &Searcher, pace: Pace) {
        if self.running.is_some() {
            return;
        }
        let segments: Vec<_> = searcher
            .segment_readers()
            .iter()
            .map(|reader| Segment {
                id: reader.segment_id(),
                documents: reader.max_doc(),
                deleted: reader.num_deleted_docs(),
            })
            .collect();
        self.running = next_merge::<SegmentId>(&segments, pace).map(|segments| writer.merge(&segments));
        if self.running.is_some() {
            self.tell(true);
        }
    }

    /// How many were made, and whether one runs.
    pub(super) fn made(&self) -> (u64, bool) {
        (self.made, self.running.is_some())
    }
}

/// What matters of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment<Id> {
    id: Id,
    /// Those deleted among them.
    documents: u32,
    deleted: u32,
}

impl<Id> Segment<Id> {
    fn live(&self) -> u32 {
        self.documents.saturating_sub(self.deleted)
    }

    fn is_rotten(&self) -> bool {
        let (documents, deleted) = (u64::from(self.documents), u64::from(self.deleted));
        self.documents >= LEAST_REWRITTEN_DOCUMENTS && deleted * 100 > documents * MOST_DELETED_PERCENT
    }
}

/// The segments to merge next, if any: the smallest size that has enough of them, or one that is largely
/// deleted. One merge at a time is enough: the next is asked for when it is done.
fn next_merge<Id: Copy>(segments: &[Segment<Id>], pace: Pace) -> Option<Vec<Id>> {
    let together = match pace {
        Pace::AtRest => TOGETHER_AT_REST,
        Pace::InAHurry => TOGETHER_IN_A_HURRY,
    };
    let mut by_size: Vec<_> = segments.to_vec();
    by_size.sort_by_key(|segment| std::cmp::Reverse(segment.live()));
    let mut sizes: Vec<Vec<Segment<Id>>> = Vec::new();
    for segment in by_size {
        let live = u64::from(segment.live().max(SMALLEST_DOCUMENTS));
        match sizes.last_mut() {
            Some(size)
                if live * 100 >= u64::from(size[0].live().max(SMALLEST_DOCUMENTS)) * SAME_SIZE_PERCENT =>
            {
                size.push(segment);
            }
            _ => sizes.push(vec![segment]),
        }
    }
    let enough = sizes.iter().rev().find(|size| size.len() >= together);
    if let Some(size) = enough {
        return Some(size.iter().map(|segment| segment.id).collect());
    }
    let rotten = segments.iter().filter(|segment| segment.is_rotten());
    rotten.max_by_key(|segment| segment.deleted).map(|segment| vec![segment.id])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(of: &[(u32, u32)]) -> Vec<Segment<usize>> {
        let segment = |(id, (documents, deleted)): (usize, &(u32, u32))| Segment {
            id,
            documents: *documents,
            deleted: *deleted,
        };
        of.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn enough_of_one_size_are_merged_the_smallest_first() {
        for (of, expected) in [
            (vec![], None),
            (vec![(1, 0); 7], None),
            (vec![(1, 0); 8], Some((0..8).collect())),
            // All below the smallest size are of one.
            (
                vec![(9_999, 0), (1, 0), (5, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 0)],
                Some((0..8).collect()),
            ),
            // A large one is not drawn in.
            ([vec![(1_000_000, 0)], vec![(10, 0); 8]].concat(), Some((1..9).collect())),
            ([vec![(80_000, 0); 8], vec![(10, 0); 7]].concat(), Some((0..8).collect())),
            ([vec![(80_000, 0); 8], vec![(10, 0); 8]].concat(), Some((8..16).collect())),
            ([vec![(80_000, 0); 4], vec![(20_000, 0); 4]].concat(), None),
        ] {
            let mut found = next_merge(&segments(&of), Pace::InAHurry);
            if let Some(found) = &mut found {
                found.sort_unstable();
            }
            assert_eq!(found, expected, "{of:?}");
        }
    }

    #[test]
    fn a_segment_with_much_deleted_is_written_anew() {
        for (of, expected) in [
            (vec![(100_000, 20_000)], None),
            (vec![(100_000, 20_001)], Some(vec![0])),
            (vec![(100_000, 30_000), (1_000_000, 200_001)], Some(vec![1])),
            (vec![(999, 999)], None),
            (vec![(1_000, 1_000)], Some(vec![0])),
            // Enough of one size go first: the merge drops what is deleted, too.
            ([vec![(100_000, 90_000)], vec![(10, 0); 8]].concat(), Some((0..9).collect())),
        ] {
            let mut found = next_merge(&segments(&of), Pace::InAHurry);
            if let Some(found) = &mut found {
                found.sort_unstable();
            }
            assert_eq!(found, expected, "{of:?}");
        }
    }

    #[test]
    fn at_rest_fewer_are_enough() {
        let segments = segments(&[vec![(80_000, 0); 4], vec![(10, 0); 3]].concat());
        assert_eq!(next_merge(&segments, Pace::InAHurry), None);
        assert_eq!(next_merge(&segments, Pace::AtRest), Some(vec![0, 1, 2, 3]));
    }

    #[test]
    fn merging_to_the_end_leaves_few_segments_and_writes_each_document_seldom() {
        for (pace, most_segments, most_written) in
            [(Pace::AtRest, 16, 10_000_000), (Pace::InAHurry, 32, 8_000_000)]
        {
            merge_to_the_end(pace, most_segments, most_written);
        }
    }

    /// Two thousand segments of 500 documents come, one after the other.
    fn merge_to_the_end(pace: Pace, most_segments: usize, most_written: u64) {
        let mut of: Vec<(u32, u32)> = Vec::new();
        let mut written = 0_u64;
        for _ in 0..2_000 {
            of.push((500, 0));
            while let Some(merged) = next_merge(&segments(&of), pace) {
                let documents = merged.iter().map(|at| of[*at].0 - of[*at].1).sum();
                written += u64::from(documents);
                of = of
                    .into_iter()
                    .enumerate()
                    .filter(|(at, _)| !merged.contains(at))
                    .map(|(_, s)| s)
                    .collect();
                of.push((documents, 0));
            }
            assert!(of.len() <= most_segments, "{pace:?}: {} segments", of.len());
        }
        assert!(written <= most_written, "{pace:?}: {written} documents were written");
    }
}
