//! What one archive promises its user, step by step, where a story says more than a random history.
//!
//! Elsewhere: random histories (`model`), several nodes (`simulation`), power loss (`crash`).

use std::sync::Arc;

use kymo::archive::{FeedState, PartOutcome, PartRefusal, ReadError, Stored};
use kymo::blob;
use kymo::event::{Action, Outcome, Scope};

use crate::kit::archive::{Found, MADE_AGAIN, Stores, TestArchive};
use crate::kit::dicom::{Instance, blue_circle, green_square, red_triangle};
use crate::kit::ground::Ground;

fn refusals(stored: &Stored) -> Vec<Option<&PartRefusal>> {
    let why = |part| match part {
        &PartOutcome::Stored { .. } => None,
        PartOutcome::Refused { why, .. } => Some(why),
    };
    stored.parts.iter().map(why).collect()
}

#[tokio::test]
async fn a_second_store_is_refused_and_changes_nothing() {
    let archive = TestArchive::start().await;
    let file = red_triangle().part10();
    let first = archive.store(std::slice::from_ref(&file)).await.expect("it answers");
    assert_eq!(refusals(&first), [None]);
    let (tail, feed) = (archive.tail(), archive.feed());

    let second = archive.store(&[file]).await.expect("it answers");

    assert_eq!(refusals(&second), [Some(&PartRefusal::AlreadyStored)]);
    // Foreseen, so that it cost the log nothing.
    assert_eq!((second.position, archive.tail(), archive.feed()), (None, tail, feed));
}

#[tokio::test]
async fn an_upsert_replaces_and_a_delete_takes_all_at_once() {
    let archive = TestArchive::start().await;
    let study = [red_triangle(), green_square(), blue_circle()].map(|instance| instance.part10());
    archive.store(&study).await.expect("it answers");
    archive.upsert(&[green_square().patient("P-2", "Doe^John").part10()]).await.expect("it answers");
    let live = archive.live();
    assert_eq!(live.len(), 3);
    for live in &live {
        let metadata = archive.metadata(live).await;
        let patient = if live.version == 4 { "P-2" } else { "KYMO-0001" };
        assert_eq!(metadata["00100020"]["Value"][0], patient);
    }

    let scope = Scope { study: live[0].key.study.clone(), series: None, instance: None };
    let (_, outcome) = archive.delete(scope).await.expect("it answers");

    let Outcome::Accepted(changes) = outcome else { panic!("{outcome:?}") };
    let rows: Vec<_> = changes.iter().map(|row| (row.sequence, row.action, row.version)).collect();
    assert_eq!(rows, [(5, Action::Delete, 1), (6, Action::Delete, 3), (7, Action::Delete, 4)]);
    assert!(archive.live().is_empty());
    assert!(archive.feed().iter().all(|row| row.state == FeedState::Deleted && row.live.is_none()));
}

#[tokio::test]
async fn bad_parts_are_refused_and_the_good_ones_of_the_request_stored() {
    let archive = TestArchive::start().await;
    let good = red_triangle().part10();
    let cut = good[..good.len() - 100].to_vec();
    let nameless = Instance::new("1.2", "1.3", "1.4").without(0x0020_000D).part10();
    let files = [Vec::new(), cut, good, nameless, b"no DICOM at all".to_vec()];
    let stored = archive.store(&files).await.expect("it answers");
    let told = refusals(&stored);
    assert!(matches!(told[0], Some(PartRefusal::Unreadable(_))), "{told:?}");
    assert!(matches!(told[1], Some(PartRefusal::Unreadable(_))), "{told:?}");
    assert_eq!(told[2], None);
    assert!(matches!(told[3], Some(PartRefusal::Invalid(_))), "{told:?}");
    assert!(matches!(told[4], Some(PartRefusal::Unreadable(_))), "{told:?}");
    assert_eq!(archive.feed().len(), 1);
    assert_eq!(archive.archive().blobs().staged_bytes(), 0);
}

#[tokio::test]
async fn a_file_changed_or_lost_behind_our_back_is_never_given_out() {
    let archive = TestArchive::start().await;
    let file = red_triangle().part10();
    archive.store(std::slice::from_ref(&file)).await.expect("it answers");
    let live = archive.live().pop().expect("it is stored");
    let expected = archive.archive().file(&live).await.expect("the event is there");
    let key = &live.file.key;
    let whole = 0..file.len() as u64;

    let mut flipped = file.clone();
    flipped[file.len() / 2] ^= 1;
    archive.lake().replace(key, flipped.into()).await;
    let read = archive.archive().blobs().read(&expected, whole.clone()).await.map(drop);
    assert!(matches!(read, Err(blob::Error::Changed { .. })), "{read:?}");

    archive.lake().lose(key).await;
    let read = archive.archive().blobs().read(&expected, whole).await.map(drop);
    assert!(matches!(read, Err(blob::Error::Missing { .. })), "{read:?}");
    // What does not need the file goes on.
    assert_eq!(archive.metadata(&live).await["00100020"]["Value"][0], "KYMO-0001");
}

#[tokio::test]
async fn what_is_lost_or_damaged_is_made_again_from_the_log() {
    let mut archive = TestArchive::with(Stores::On(Arc::new(Ground::own())), true).await;
    for patient in 0..30 {
        let study = format!("1.2.{}", patient % 7);
        let file = Instance::new(&study, "1.3.1", "1.4.1").patient(&format!("P-{patient}"), "Doe^Jane");
        archive.upsert(&[file.part10()]).await.expect("it answers");
    }
    archive.settle().await;
    let wanted = archive.views();
    assert!(wanted.iter().all(|(_, lines)| lines.len() > 7), "{wanted:?}");
    let losses = MADE_AGAIN.into_iter().flat_map(|folder| [Found::AllBut(folder), Found::Damaged(folder)]);
    for found in losses.chain([Found::Nothing, Found::Everything]) {
        archive.boot_again(found).await;
        assert_eq!(archive.views(), wanted, "{found:?}");
    }
    archive.store(&[red_triangle().part10()]).await.expect("it answers");
    assert_eq!(archive.feed().last().map(|row| row.change.sequence), Some(31));
}

#[tokio::test]
async fn nothing_is_answered_before_the_state_is_as_far_as_the_log_was() {
    let archive = TestArchive::start().await;
    assert_eq!(archive.archive().ready(), Ok(()));
    let next = archive.tail();
    let waited = archive.archive().reached(next, std::time::Duration::ZERO).await;
    assert_eq!(waited, Err(ReadError::Behind { wanted: next, reached: next }));
}
