//! The runner over a view of one row for each commit, and a source that can fail.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::Stamp;
use crate::event::{Commit, Outcome};
use crate::tables::{Batch, Keeping, Read};

/// One row for each commit.
struct Seen;

impl Projection for Seen {
    const FORMAT: &str = "seen-1";

    fn apply(&self, commit: &Commit, batch: &mut Batch<'_>) -> Result<(), tables::Error> {
        batch.put(commit.position.0.to_be_bytes().to_vec(), Vec::new());
        Ok(())
    }
}

/// Commits that are nothing but positions, from a source that can fail.
struct Source {
    head: watch::Sender<Position>,
    fails: AtomicBool,
    skips: u64,
}

impl Source {
    fn new(commits: u64, skips: u64) -> Arc<Self> {
        Arc::new(Self { head: watch::Sender::new(Position(commits)), fails: AtomicBool::new(false), skips })
    }

    fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }
}

impl CommitSource for Source {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        if self.fails.load(Ordering::SeqCst) {
            return Err("the disk is away".to_owned());
        }
        let to = self.head.borrow().0.min(from.0 + 100);
        let commit = |position| {
            let (position, outcome) = (Position(position + self.skips), Outcome::Accepted(Vec::new()));
            Arc::new(Commit { position, time: Stamp(0), event: None, outcome })
        };
        Ok((from.0..to).map(commit).collect())
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
}

const SOON: Duration = Duration::from_secs(60);

fn begin(place: &Place, source: &Arc<Source>) -> Running<Seen> {
    start(Arc::new(Seen), place.clone(), Arc::clone(source) as _).unwrap()
}

fn until(running: &Running<Seen>, wanted: impl Fn(&State) -> bool) {
    let deadline = Instant::now() + SOON;
    while !wanted(&running.status().state) {
        assert!(Instant::now() < deadline, "{:?}", running.status());
        thread::yield_now();
    }
}

fn rows(running: &Running<Seen>) -> usize {
    let table = running.table().unwrap();
    let reader = table.reader();
    let rows = reader.range(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    rows.filter(|row| row.as_ref().unwrap().0.len() == 8).count()
}

#[tokio::test]
async fn what_is_there_is_applied_and_then_what_comes() {
    let source = Source::new(1_000, 0);
    let view = begin(&Place::Memory, &source);
    view.reached(Position(999), SOON).await.unwrap();
    assert_eq!((rows(&view), view.status().state), (1_000, State::Live));
    for head in 1_001..1_010 {
        source.head.send_replace(Position(head));
        view.reached(Position(head - 1), SOON).await.unwrap();
        assert_eq!(rows(&view), usize::try_from(head).unwrap());
    }
    assert_eq!(view.status().lag(), 0);
    view.close();
    assert_eq!(view.status().state, State::Closed);
}

#[tokio::test]
async fn a_failing_source_is_tried_again() {
    let source = Source::new(10, 0);
    let view = begin(&Place::Memory, &source);
    view.reached(Position(9), SOON).await.unwrap();
    source.fail(true);
    source.head.send_replace(Position(20));
    until(&view, |state| matches!(state, State::Failed { why } if why == "the disk is away"));
    source.fail(false);
    view.reached(Position(19), SOON).await.unwrap();
    until(&view, |state| *state == State::Live);
    view.close();
}

#[tokio::test]
async fn commits_with_a_gap_are_not_applied() {
    let view = begin(&Place::Memory, &Source::new(10, 1));
    until(&view, |state| matches!(state, State::Failed { .. }));
    assert_eq!(view.status().next, Position(0));
    view.close();
}

#[tokio::test]
async fn a_complaint_makes_the_view_again() {
    let folder = tempfile::tempdir().unwrap();
    let place =
        Place::Folder { path: folder.path().join("view"), log: Uuid::nil(), keeping: Keeping::default() };
    let source = Source::new(500, 0);
    let view = begin(&place, &source);
    view.reached(Position(499), SOON).await.unwrap();
    let marker = folder.path().join("view/marker");
    std::fs::write(&marker, b"of the old folder").unwrap();
    view.complain(&tables::Error::Damaged { table: "view".to_owned(), what: "a row".to_owned() });
    until(&view, |_| !marker.exists());
    view.reached(Position(499), SOON).await.unwrap();
    until(&view, |state| *state == State::Live);
    assert_eq!(rows(&view), 500);
    view.close();
}

#[tokio::test]
async fn a_view_nobody_holds_stops() {
    let source = Source::new(5, 0);
    let view = begin(&Place::Memory, &source);
    view.reached(Position(4), SOON).await.unwrap();
    drop(view);
    let deadline = Instant::now() + SOON;
    while Arc::strong_count(&source) > 1 {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
}
