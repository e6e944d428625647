//! A query sees one moment, holds nobody up, and ends with its budget.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::json;

use super::damage::{LOG, SOON, history, named, studies_of};
use super::kit::{Commits, Fold, Inline, key, path, query, query_of};
use crate::base::Partition;
use crate::dicom::uid::Uid;
use crate::event::{Scope, StoreMode};
use crate::projections::search::answer::Version;
use crate::projections::search::attributes::Attributes;
use crate::projections::search::budget::{BROAD, Budget, Limits};
use crate::projections::search::find::{FindError, find};
use crate::projections::search::query::Resource;
use crate::projections::search::{Search, SearchError};
use crate::tables::{Engine, Keeping, Table};

fn table(folder: &std::path::Path) -> Table {
    Table::open(folder, "test", LOG, Keeping { engine: Engine::Fjall, cache_bytes: 1 << 20 }).unwrap()
}

#[test]
fn a_moment_stays_as_it_was_whatever_is_stored_written_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    for table in [Table::memory(), table(folder.path())] {
        let (view, mut fold) = (Inline::over(table, Attributes::core()), Fold::default());
        let store = |fold: &mut Fold, study: u32, id: &str| {
            let instance = key(&format!("1.{study}"), "2.1", &format!("3.{study}"));
            view.apply(&[fold.store(&Partition::default(), &instance, StoreMode::Upsert, &named(id))]);
        };
        (0..20).for_each(|study| store(&mut fold, study, "old"));
        view.overlay.flush();
        (20..30).for_each(|study| store(&mut fold, study, "old"));

        let held = view.overlay.moment(&view.table);
        let asked = query(Resource::AllStudies, &[("PatientID", "old")]);
        let found = |moment: &_| {
            let hits = find(moment, &asked, &Budget::of(BROAD)).unwrap().page();
            hits.iter().map(path).collect::<Vec<_>>()
        };
        let before = found(&held);
        assert_eq!(before.len(), 30);
        // Into the old state of each study: a change, a delete, the index written over and over.
        for study in 0..30 {
            match study % 3 {
                0 => store(&mut fold, study, "new"),
                1 => {
                    let study = Uid::parse(&format!("1.{study}")).unwrap();
                    let scope = Scope { study, series: None, instance: None };
                    view.apply(&[fold.delete(&Partition::default(), scope)]);
                }
                _ => {}
            }
            if study % 7 == 0 {
                view.overlay.flush();
            }
            assert_eq!(found(&held), before, "{study}");
        }
        assert_eq!(found(&view.overlay.moment(&view.table)).len(), 10);
        view.overlay.flush();
        assert_eq!(found(&view.overlay.moment(&view.table)).len(), 10);
        assert_eq!(found(&held), before);
    }
}

/// Queries were answered under the locks of the rows and of the dirty studies: one that took a second held up
/// every store and every other query for that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_is_held_delays_no_store_and_no_other_query() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Commits::new());
    let search = Search::open(folder.path(), LOG, Keeping::default(), Arc::clone(&source) as _).unwrap();
    let (mut fold, last) = history(&source);
    search.reached(last, SOON).await.unwrap();
    let before = studies_of(&search, "P3").await;

    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let asked = query(Resource::AllStudies, &[("PatientID", "P3")]);
    let asks = search.clone();
    let answer = move |budget: &Budget| {
        asks.0.current().ask(&asked, budget, |moment| {
            begun.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            find(moment, &asked, budget)
        })
    };
    let rooms = search.clone();
    let held = tokio::spawn(async move { rooms.0.rooms().answer(answer).await });
    begins.recv().unwrap();
    for n in 0..100 {
        let instance = key(&format!("7.{n}"), "2.1", "3.1");
        let at = source.push(fold.store(&Partition::default(), &instance, StoreMode::Create, &named("P3")));
        search.reached(at, Duration::from_secs(20)).await.expect("no store waits for a query");
        assert_eq!(studies_of(&search, "P3").await[0], format!("7.{n}"));
        if n % 20 == 0 {
            search.flush();
        }
    }
    release.send(()).unwrap();
    let hits = held.await.unwrap().unwrap().page();
    assert_eq!(hits.iter().map(path).collect::<Vec<_>>(), before);
    search.close();
}

/// Studies, series and instances of all kinds, some of them known to the index.
fn archive() -> Inline {
    let (view, mut fold) = (Inline::new(), Fold::default());
    for n in 0..120_u32 {
        let elements = json!({
            "00080020": {"vr": "DA", "Value": [format!("202401{:02}", 1 + n % 28)]},
            "00080060": {"vr": "CS", "Value": [if n % 2 == 0 { "CT" } else { "MR" }]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": format!("Smith^{n}")}]},
            "00100020": {"vr": "LO", "Value": [format!("P{}", n % 3)]},
            "00200013": {"vr": "IS", "Value": [n % 5]},
        });
        let instance = key(&format!("1.{}", n % 40), &format!("2.{}", n % 80), &format!("3.{n}"));
        view.apply(&[fold.store(&Partition::default(), &instance, StoreMode::Create, &elements)]);
        if n == 60 {
            view.overlay.flush();
        }
    }
    view
}

#[test]
fn every_way_to_answer_ends_with_its_budget() {
    let view = archive();
    let list: Vec<_> = (0..40).map(|n| format!("1.{n}")).collect();
    let instances: Vec<_> = (0..40).map(|n| format!("3.{n}")).collect();
    let (list, instances) = (list.join(","), instances.join(","));
    let filters: [&[(&str, &str)]; 12] = [
        &[],
        &[("PatientID", "p1")],
        &[("PatientName", "smi*")],
        &[("PatientName", "*1*")],
        &[("PatientName", "smith"), ("fuzzymatching", "true")],
        &[("StudyDate", "20240101-20240131")],
        &[("ModalitiesInStudy", "CT"), ("PatientID", "P2")],
        &[("Modality", "CT")],
        &[("StudyInstanceUID", &list)],
        &[("SOPInstanceUID", &instances)],
        &[("InstanceNumber", "3")],
        &[("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), ("PatientID", "P1")],
    ];
    let few = Limits { rows: 6, ..BROAD };
    let mut answered = 0;
    for resource in [Resource::AllStudies, Resource::AllSeries, Resource::AllInstances] {
        for filters in filters {
            let Ok(asked) = query_of(&resource, Version::V2, filters) else { continue };
            let moment = view.overlay.moment(&view.table);
            let spent = find(&moment, &asked, &Budget::of(few));
            assert!(matches!(spent, Err(FindError::Spent(_))), "{resource:?} {filters:?}: {spent:?}");
            let found = find(&moment, &asked, &Budget::of(BROAD)).unwrap().page();
            assert!(!found.is_empty(), "{resource:?} {filters:?}");
            answered += 1;
        }
    }
    assert!(answered > 25, "{answered}");
}

#[tokio::test]
async fn what_is_too_broad_says_how_much_was_looked_at_and_what_would_help() {
    let source = Commits::new();
    let search = Search::in_memory(Arc::clone(&source) as _).unwrap();
    let (_fold, last) = history(&source);
    search.reached(last, SOON).await.unwrap();
    let spent = |parameters: &[(&str, &str)]| {
        let asked = query(Resource::AllStudies, parameters);
        let budget = Budget::of(Limits { rows: 2, ..BROAD });
        search.0.current().answer(&asked, &budget).unwrap_err()
    };
    let of = search.query(query(Resource::AllStudies, &[])).await.unwrap().items.len() as u64;
    let told = |narrow| SearchError::TooBroad { looked_at: 3, of, narrow };
    assert_eq!(spent(&[]), told("a filter would help"));
    let filters = told("PatientID, a shorter range of StudyDate or the beginning of PatientName would help");
    assert_eq!(spent(&[("PatientID", "P*")]), filters);
    assert_eq!(spent(&[("PatientID", "P*"), ("offset", "20000")]), told("a smaller offset would help"));
    search.close();
}
