//! A view made again beside the one that answers: asked all the time, interrupted, asked for twice; and the
//! one that was replaced: kept, asked to answer again, dropped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::damage::{LOG, SOON, dump_at, history, named, studies_of};
use super::kit::{Commits, files, key};
use crate::base::{Partition, Position};
use crate::event::{Commit, StoreMode};
use crate::projections::CommitSource;
use crate::projections::search::{Generations, Search};
use crate::tables::Keeping;

/// Gives the commits before `held` only while the gate is open: a successor waits there, the view that is
/// past them does not.
struct Gate {
    commits: Arc<Commits>,
    held: Position,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock() = open;
        self.opened.notify_all();
    }
}

impl CommitSource for Gate {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        let mut open = self.open.lock();
        if from < self.held {
            self.opened.wait_while(&mut open, |open| !*open);
        }
        drop(open);
        self.commits.commits(from)
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.commits.head()
    }
}

fn open(folder: &Path, gate: &Arc<Gate>) -> Search {
    Search::open(folder, LOG, Keeping::default(), Arc::clone(gate) as _).unwrap()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn folders(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("search-rows") || name.starts_with("search-index"))
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_and_follows_while_its_successor_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let source = Commits::new();
    let (mut fold, last) = history(&source);
    let gate = Arc::new(Gate {
        commits: Arc::clone(&source),
        held: last.next(),
        open: Mutex::new(true),
        opened: Condvar::new(),
    });
    let search = open(folder.path(), &gate);
    dump_at(&search, last).await;
    gate.set(false);
    search.rebuild().unwrap();
    assert!(search.rebuild().unwrap_err().contains("already"));
    until("the successor is not told of", || search.status().successor.is_some()).await;

    let instance = key("1.99", "2", "3");
    let stored = fold.store(&Partition::default(), &instance, StoreMode::Create, &named("new"));
    let last = source.push(stored);
    search.reached(last, SOON).await.unwrap();
    assert_eq!(studies_of(&search, "new").await.len(), 1);
    let dump = search.dump().unwrap();
    assert!(!files(&folder.path().join("search-rows-1")).is_empty());

    gate.set(true);
    until("the successor does not answer", || search.status().generations == answers(1, Some(0))).await;
    until("it is still made", || search.status().successor.is_none()).await;
    assert_eq!(folders(folder.path()), ["search-index", "search-index-1", "search-rows", "search-rows-1"]);
    assert_eq!(search.dump().unwrap(), dump);
    let stored = fold.store(&Partition::default(), &instance, StoreMode::Upsert, &named("newer"));
    search.reached(source.push(stored), SOON).await.unwrap();
    assert_eq!(studies_of(&search, "newer").await.len(), 1);
    let dump = search.dump().unwrap();
    search.close();

    // Held back, it can only be the successor's folder that answers after the restart.
    gate.set(false);
    let search = open(folder.path(), &gate);
    assert_eq!(search.found().await, Position(last.0 + 2));
    assert_eq!(dump_at(&search, last).await, dump);
    search.close();
}

fn answers(answers: u64, keeps: Option<u64>) -> Generations {
    Generations { answers, keeps }
}

#[test]
fn generations_are_read_as_they_were_written() {
    for (text, read) in [
        ("answers 3\nkeeps 2\n", answers(3, Some(2))),
        ("answers 0\n", answers(0, None)),
        ("4\n", answers(4, None)),
        ("answers 1\nkeeps 1\n", answers(1, None)),
        ("", answers(0, None)),
        ("answers x\nkeeps 2", answers(0, Some(2))),
    ] {
        assert_eq!(Generations::parse(text), read, "{text}");
        assert_eq!(Generations::parse(&read.to_string()), read);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replaced_is_kept_answers_again_and_goes_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let source = Commits::new();
    let (mut fold, last) = history(&source);
    let gate = Arc::new(Gate {
        commits: Arc::clone(&source),
        held: last.next(),
        open: Mutex::new(true),
        opened: Condvar::new(),
    });
    let search = open(folder.path(), &gate);
    dump_at(&search, last).await;
    let comes = |search: &Search, wanted: Generations| {
        let search = search.clone();
        async move {
            until("another view answers", || search.status().generations == wanted).await;
            until("one is still made", || search.status().successor.is_none()).await;
        }
    };
    assert!(search.back().is_err() && search.drop_kept().is_err(), "nothing is kept");
    search.rebuild().unwrap();
    comes(&search, answers(1, Some(0))).await;

    // What came since is no matter to the one that is kept, until it answers again.
    let instance = key("1.99", "2", "3");
    let stored = fold.store(&Partition::default(), &instance, StoreMode::Create, &named("new"));
    let last = source.push(stored);
    search.reached(last, SOON).await.unwrap();
    let dump = dump_at(&search, last).await;
    until("it can go back", || search.back().is_ok()).await;
    comes(&search, answers(0, Some(1))).await;
    assert_eq!(studies_of(&search, "new").await.len(), 1);
    assert_eq!(dump_at(&search, last).await, dump);

    // A rebuild keeps only what it replaces.
    until("it can be made again", || search.rebuild().is_ok()).await;
    comes(&search, answers(2, Some(0))).await;
    until("the one before is still used", || search.drop_kept().is_ok()).await;
    assert_eq!(search.status().generations, answers(2, None));
    assert_eq!(folders(folder.path()), ["search-index-2", "search-rows-2"]);
    search.rebuild().unwrap();
    comes(&search, answers(3, Some(2))).await;
    search.close();

    let search = open(folder.path(), &gate);
    assert_eq!(search.status().generations, answers(3, Some(2)));
    assert_eq!(dump_at(&search, last).await, dump);
    search.back().unwrap();
    comes(&search, answers(2, Some(3))).await;
    assert_eq!(dump_at(&search, last).await, dump);
    search.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_interrupted_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let source = Commits::new();
    let (_, last) = history(&source);
    let (open_gate, held) = (Mutex::new(true), last.next());
    let gate = Arc::new(Gate { commits: source, held, open: open_gate, opened: Condvar::new() });
    let search = open(folder.path(), &gate);
    let dump = dump_at(&search, last).await;
    gate.set(false);
    search.rebuild().unwrap();
    let closing = {
        let search = search.clone();
        tokio::task::spawn_blocking(move || search.close())
    };
    gate.set(true);
    closing.await.unwrap();
    drop(search);
    // What a crash leaves: a successor that never took over.
    std::fs::create_dir_all(folder.path().join("search-rows-7")).unwrap();
    std::fs::create_dir_all(folder.path().join("search-index-7")).unwrap();
    let search = open(folder.path(), &gate);
    // The successor may just have come to its end before it was interrupted.
    match search.status().generations.keeps {
        None => assert_eq!(folders(folder.path()), ["search-index", "search-rows"]),
        Some(_) => assert_eq!(folders(folder.path()).len(), 4),
    }
    assert!(!folders(folder.path()).iter().any(|name| name.ends_with("-7")));
    assert_eq!(dump_at(&search, last).await, dump);
    search.close();
}
