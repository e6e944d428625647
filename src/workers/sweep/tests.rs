//! What the sweep takes and what it leaves, and when.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::base::{Ids, Partition};
use crate::blob::faulty::Faulty;
use crate::dicom::uid::Uid;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The archive as the sweep sees it.
#[derive(Default)]
struct Fake {
    now: Mutex<Stamp>,
    live: Mutex<BTreeSet<String>>,
    released: Mutex<BTreeMap<String, Stamp>>,
    /// Keys that come to life between the sweep's question and its event.
    revive: Mutex<BTreeSet<String>>,
    /// Keys an event names from the next mark on.
    named_by_mark: Mutex<BTreeSet<String>>,
    log: Mutex<Vec<String>>,
    failing: Mutex<bool>,
}

#[async_trait]
impl SweepSource for Fake {
    async fn released(&self, before: Stamp, limit: usize) -> Result<Vec<String>, String> {
        let released = self.released.lock();
        let mut keys: Vec<_> = released.iter().filter(|(_, since)| **since < before).collect();
        keys.sort_by_key(|(_, since)| **since);
        Ok(keys.into_iter().take(limit).map(|(key, _)| key.clone()).collect())
    }

    async fn names(&self, key: &str) -> Result<bool, String> {
        Ok(self.live.lock().contains(key) || self.released.lock().contains_key(key))
    }

    async fn remove_blobs(&self, keys: Vec<String>) -> Result<Vec<String>, String> {
        if *self.failing.lock() {
            return Err("the log has stopped".to_owned());
        }
        self.log.lock().push(format!("removed {}", keys.len()));
        let revive = self.revive.lock();
        for key in &keys {
            self.released.lock().remove(key);
            if revive.contains(key) {
                self.live.lock().insert(key.clone());
            }
        }
        Ok(keys.into_iter().filter(|key| !revive.contains(key)).collect())
    }

    async fn mark_time(&self) -> Result<Stamp, String> {
        self.log.lock().push("marked".to_owned());
        self.live.lock().append(&mut self.named_by_mark.lock());
        Ok(*self.now.lock())
    }
}

struct Rig {
    fake: Fake,
    blobs: Blobs,
    faulty: std::sync::Arc<Faulty>,
    lake: Lake,
    ids: Ids,
}

impl Rig {
    fn new(now: Stamp) -> Self {
        let faulty = Faulty::new();
        let fake = Fake { now: Mutex::new(now), ..Fake::default() };
        let lake = Lake { workspace: "w".into(), service: "s".into() };
        Self { fake, blobs: Blobs::over(faulty.clone()), faulty, lake, ids: Ids::seeded(3) }
    }

    /// A file whose version id was made at `made`.
    async fn file(&self, made: Stamp) -> String {
        let uid = Uid::parse("1.2.3").unwrap();
        let key = self.lake.instance_key(&Partition::default(), &uid, &uid, &uid, self.ids.next(made));
        self.faulty.replace(&key, Bytes::from_static(b"file")).await;
        key
    }

    async fn released(&self, since: Stamp) -> String {
        let key = self.file(since).await;
        self.fake.released.lock().insert(key.clone(), since);
        key
    }

    async fn released_before(&self, retention: Duration) -> Result<u64, Error> {
        let swept = sweep_released(&self.fake, &self.blobs, retention).await?;
        assert_eq!(swept.failed, 0);
        Ok(swept.removed)
    }

    async fn unnamed(&self) -> u64 {
        let now = *self.fake.now.lock();
        let swept = sweep_unnamed(&self.fake, &self.blobs, &self.lake, now).await.unwrap();
        assert_eq!(swept.failed, 0);
        swept.removed
    }

    async fn files(&self) -> BTreeSet<String> {
        self.blobs.list("").map(|file| file.unwrap().0).collect().await
    }
}

fn day(number: u64) -> Stamp {
    Stamp(17_000_000_000_000_000).plus(DAY * u32::try_from(number).unwrap())
}

#[tokio::test]
async fn released_files_go_when_their_retention_is_over_and_the_event_comes_first() {
    let rig = Rig::new(day(10));
    let old = rig.released(day(6)).await;
    let young = rig.released(day(8)).await;
    let kept = rig.file(day(1)).await;
    rig.fake.live.lock().insert(kept.clone());

    assert_eq!(rig.released_before(DEFAULT_RETENTION).await, Ok(1));

    assert_eq!(rig.files().await, BTreeSet::from([young.clone(), kept.clone()]));
    assert!(!rig.fake.released.lock().contains_key(&old));
    assert_eq!(*rig.fake.log.lock(), ["marked", "removed 1"]);

    *rig.fake.now.lock() = day(12);
    assert_eq!(rig.released_before(DEFAULT_RETENTION).await, Ok(1));
    assert_eq!(rig.files().await, BTreeSet::from([kept]));
}

#[tokio::test]
async fn a_quiet_archive_gets_no_marks() {
    let rig = Rig::new(day(1000));
    let live = rig.file(day(1)).await;
    rig.fake.live.lock().insert(live.clone());
    assert_eq!(rig.released_before(DEFAULT_RETENTION).await, Ok(0));
    assert_eq!(rig.unnamed().await, 0);
    assert_eq!(rig.files().await, BTreeSet::from([live]));
    assert!(rig.fake.log.lock().is_empty());
}

#[tokio::test]
async fn a_file_that_lives_again_stays() {
    let rig = Rig::new(day(10));
    let revived = rig.released(day(1)).await;
    rig.released(day(1)).await;
    rig.fake.revive.lock().insert(revived.clone());
    assert_eq!(rig.released_before(DAY).await, Ok(1));
    assert_eq!(rig.unnamed().await, 0);
    assert_eq!(rig.files().await, BTreeSet::from([revived]));
}

#[tokio::test]
async fn nothing_goes_when_the_event_was_not_appended() {
    let rig = Rig::new(day(10));
    rig.released(day(1)).await;
    *rig.fake.failing.lock() = true;
    assert!(matches!(rig.released_before(DAY).await, Err(Error::Archive(why)) if why.contains("stopped")));
    assert_eq!(rig.files().await.len(), 1);

    // Broken off after the event: the file is one that no event names any more, and goes as such.
    *rig.fake.failing.lock() = false;
    let keys = rig.files().await.into_iter().collect();
    rig.fake.remove_blobs(keys).await.unwrap();
    assert_eq!(rig.unnamed().await, 1);
    assert!(rig.files().await.is_empty());
}

#[tokio::test]
async fn many_released_files_go_in_several_events() {
    let rig = Rig::new(day(10));
    for _ in 0..1_201 {
        rig.released(day(1)).await;
    }
    assert_eq!(rig.released_before(DAY).await, Ok(1_201));
    assert_eq!(*rig.fake.log.lock(), ["marked", "removed 500", "removed 500", "removed 201"]);
    assert!(rig.files().await.is_empty());
}

#[tokio::test]
async fn a_file_that_no_event_names_goes_a_day_later() {
    let rig = Rig::new(day(10));
    let old = rig.file(day(8)).await;
    let young = rig.file(day(10)).await;
    let late = rig.file(day(8)).await;
    rig.fake.named_by_mark.lock().insert(late.clone());
    let foreign = ["AHDS/w/dicom/s/Microsoft.Default/readme.txt", "AHDS/w/dicom/other/1.2/1.2/1.2_x.dcm"];
    for key in foreign {
        rig.faulty.replace(key, Bytes::from_static(b"theirs")).await;
    }

    assert_eq!(rig.unnamed().await, 1);

    let files = rig.files().await;
    assert!(!files.contains(&old));
    assert!(
        files.contains(&young) && files.contains(&late) && foreign.iter().all(|key| files.contains(*key))
    );
    assert_eq!(*rig.fake.log.lock(), ["marked"]);
    // The clock of the log decides, not that of the node.
    *rig.fake.now.lock() = day(12);
    assert_eq!(rig.unnamed().await, 1);
    assert!(!rig.files().await.contains(&young));
}

#[tokio::test]
async fn health_files_that_were_left_behind_go_after_a_day() {
    let rig = Rig::new(day(10));
    let health = |made: Stamp| rig.lake.health_key(rig.ids.next(made));
    let (old, young) = (health(day(8)), health(day(9).plus(DAY / 2)));
    for key in [&old, &young] {
        rig.faulty.replace(key, Bytes::from_static(b"well")).await;
    }
    assert_eq!(rig.unnamed().await, 1);
    assert_eq!(rig.files().await, BTreeSet::from([young]));
    assert!(rig.fake.log.lock().is_empty(), "the log need not hear of it");
}
