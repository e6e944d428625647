//! The running view: read-your-writes, restarts, and folders that are lost, cut or somebody else's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::kit::{Commits, Fold, files, key, path, query};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::event::{Scope, StoreMode};
use crate::projections::search::query::Resource;
use crate::projections::search::rows::SearchRows;
use crate::projections::search::{Search, SearchError};
use crate::projections::{CommitSource, Projection};
use crate::tables::{Keeping, Table};

pub(super) const SOON: Duration = Duration::from_secs(60);
pub(super) const LOG: Uuid = Uuid::from_u128(7);

fn open(folder: &Path, log: Uuid, source: &Arc<Commits>) -> Search {
    Search::open(folder, log, Keeping::default(), Arc::clone(source) as _).unwrap()
}

pub(super) fn named(id: &str) -> serde_json::Value {
    json!({"00100020": {"vr": "LO", "Value": [id]}})
}

/// A log of some stores, an upsert and deletes; its last position.
pub(super) fn history(source: &Commits) -> (Fold, Position) {
    let (mut fold, mut last) = (Fold::default(), Position(0));
    let partition = Partition::default();
    for n in 0..40_u32 {
        let instance = key(&format!("1.{}", n % 9), &format!("2.{}", n % 4), &format!("3.{n}"));
        let id = format!("P{}", n % 5);
        last = source.push(fold.store(&partition, &instance, StoreMode::Upsert, &named(&id)));
    }
    let scope = Scope { study: Uid::parse("1.4").unwrap(), series: None, instance: None };
    last = last.max(source.push(fold.delete(&partition, scope)));
    (fold, last)
}

pub(super) async fn dump_at(search: &Search, last: Position) -> String {
    search.reached(last, SOON).await.unwrap();
    search.dump().unwrap()
}

pub(super) async fn studies_of(search: &Search, id: &str) -> Vec<String> {
    let hits = search.query(query(Resource::AllStudies, &[("PatientID", id)])).await.unwrap();
    hits.items.iter().map(path).collect()
}

#[tokio::test]
async fn a_write_is_seen_when_its_position_is_reached() {
    let source = Commits::new();
    let search = Search::in_memory(Arc::clone(&source) as _).unwrap();
    let mut fold = Fold::default();
    for n in 0..30 {
        let (instance, id) = (key(&format!("1.{n}"), "2", "3"), format!("P{n}"));
        let at = source.push(fold.store(&Partition::default(), &instance, StoreMode::Create, &named(&id)));
        search.reached(at, SOON).await.unwrap();
        assert_eq!(studies_of(&search, &id).await, [format!("1.{n}")]);
        if n % 7 == 0 {
            search.flush();
            assert_eq!(search.status().index.dirty_studies, 0);
        }
    }
    let behind = search.reached(Position(30), Duration::from_millis(1)).await.unwrap_err();
    assert_eq!((behind.wanted, behind.next), (Position(30), Position(30)));
    search.close();
    let closed = search.query(query(Resource::AllStudies, &[])).await;
    assert!(matches!(closed, Err(SearchError::NotReady(_))), "{closed:?}");
}

#[tokio::test]
async fn a_restart_keeps_the_view_and_a_rebuild_makes_it_again() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Commits::new());
    let (_fold, last) = history(&source);
    let search = open(folder.path(), LOG, &source);
    let live = dump_at(&search, last).await;
    assert!(live.contains("index x0006p3"), "{live}");
    search.close();

    let search = open(folder.path(), LOG, &source);
    assert_eq!(dump_at(&search, last).await, live);
    search.close();

    for part in ["search-rows", "search-index"] {
        std::fs::remove_dir_all(folder.path().join(part)).unwrap();
        let search = open(folder.path(), LOG, &source);
        assert_eq!(dump_at(&search, last).await, live, "{part}");
        search.close();
    }
}

#[tokio::test]
async fn another_logs_folders_are_thrown_away() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Commits::new());
    let (_fold, last) = history(&source);
    let search = open(folder.path(), LOG, &source);
    dump_at(&search, last).await;
    search.close();

    let other = Commits::new();
    let mut fold = Fold::default();
    let instance = key("9.1", "9.2", "9.3");
    let at = other.push(fold.store(&Partition::default(), &instance, StoreMode::Create, &named("P3")));
    let search = open(folder.path(), Uuid::from_u128(8), &other);
    search.reached(at, SOON).await.unwrap();
    assert_eq!(studies_of(&search, "P3").await, ["9.1"]);
    search.close();
}

#[tokio::test]
async fn damaged_files_of_either_view_are_noticed_and_the_view_made_again() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Commits::new());
    let (_fold, last) = history(&source);
    let search = open(folder.path(), LOG, &source);
    let live = dump_at(&search, last).await;
    search.close();

    for part in ["search-rows", "search-index"] {
        for cut in [true, false] {
            for file in files(&folder.path().join(part)) {
                let bytes = std::fs::read(&file).unwrap();
                let broken = match cut {
                    true => bytes[..bytes.len() / 2].to_vec(),
                    false => bytes.iter().map(|byte| byte ^ 0x5a).collect(),
                };
                std::fs::write(&file, broken).unwrap();
            }
            let search = open(folder.path(), LOG, &source);
            assert_eq!(dump_at(&search, last).await, live, "{part} cut={cut}");
            search.close();
        }
    }
}

/// What is remembered of one table must not be taken for another's.
#[test]
fn rows_put_into_another_table_are_the_same() {
    let source = Commits::new();
    history(&source);
    let (rows, commits) = (SearchRows::default(), source.commits(Position(0)).unwrap());
    let [first, second] = [(); 2].map(|()| {
        let table = Arc::new(Table::memory());
        rows.opened(&table).unwrap();
        let mut batch = table.batch();
        for commit in &commits {
            rows.apply(commit, &mut batch).unwrap();
        }
        table.apply(batch.into_changes(), Position(commits.len() as u64)).unwrap();
        table.reader().digest(&[]).unwrap()
    });
    assert_eq!(first, second);
}

/// The index was written before the last commits: what they touched must be known as dirty after a restart.
#[tokio::test]
async fn an_index_behind_the_rows_is_caught_up_from_them() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Commits::new());
    let (mut fold, last) = history(&source);
    let search = open(folder.path(), LOG, &source);
    dump_at(&search, last).await;
    search.close();
    let old_index = folder.path().join("old-index");
    copy(&folder.path().join("search-index"), &old_index);

    let instance = key("1.1", "2.0", "3.99");
    let at = source.push(fold.store(&Partition::default(), &instance, StoreMode::Create, &named("P9")));
    let search = open(folder.path(), LOG, &source);
    let live = dump_at(&search, at).await;
    search.close();

    std::fs::remove_dir_all(folder.path().join("search-index")).unwrap();
    std::fs::rename(&old_index, folder.path().join("search-index")).unwrap();
    let search = open(folder.path(), LOG, &source);
    search.reached(at, SOON).await.unwrap();
    assert_eq!(studies_of(&search, "P9").await, ["1.1"]);
    assert_eq!(dump_at(&search, at).await, live);
    search.close();
}

/// Every study has the searched description all the while; only its name changes, and the index is written
/// again and again.
#[test]
fn an_answer_is_of_one_moment() {
    let source = Commits::new();
    let search = Search::in_memory(Arc::clone(&source) as _).unwrap();
    let mut fold = Fold::default();
    let mut store = |round: u32, study: u32| {
        let elements = json!({
            "00081030": {"vr": "LO", "Value": ["same"]},
            "00100020": {"vr": "LO", "Value": [format!("P{round}")]},
        });
        let instance = key(&format!("1.{study}"), &format!("2.{}", round % 2), "3");
        source.push(fold.store(&Partition::default(), &instance, StoreMode::Upsert, &elements))
    };
    let first = (0..20).map(|study| store(0, study)).max().unwrap();
    while search.status().rows.next <= first {
        std::thread::yield_now();
    }
    std::thread::scope(|scope| {
        let written = scope.spawn(|| (0..30).for_each(|_| search.flush()));
        let asked = scope.spawn(|| {
            for _ in 0..200 {
                let found = search.query_now(&query(Resource::AllStudies, &[("StudyDescription", "SAME")]));
                let mut studies: Vec<_> = found.unwrap().items.iter().map(path).collect();
                assert_eq!(studies.len(), 20);
                studies.sort();
                studies.dedup();
                assert_eq!(studies.len(), 20);
            }
        });
        for round in 1..40 {
            for study in 0..20 {
                store(round, study);
            }
        }
        written.join().unwrap();
        asked.join().unwrap();
    });
    search.close();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in files(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}
