//! The headers that say when a study expires (`studies.md` §2.10), from the request to what is kept of them.
//!
//! Elsewhere: what the fold makes of each store (`archive::fold`), random histories (`model`, `crash`, `kill`).

use std::path::Path;

use clap::Parser;
use kymo::app::Node;
use kymo::archive::{Archive, Expiring};
use kymo::base::{Partition, Stamp};
use kymo::config::{self, Given};
use kymo::http::Settings;

use crate::kit::dicom::Instance;
use crate::kit::folder::name;
use crate::kit::process::{Process, ran};
use crate::kit::served::{Ask, Served};

const TIME: &str = "msdicom-expiry-time-milliseconds";
const OPTION: &str = "msdicom-expiry-option";
const LEVEL: &str = "msdicom-expiry-level";
const HOUR_MS: u64 = 3_600_000;

fn file(study: u32, instance: u32) -> Vec<u8> {
    let study = format!("2.25.{study}");
    Instance::new(&study, &format!("{study}.1"), &format!("{study}.1.{instance}")).part10()
}

/// Each study that expires, by its last number, and how long after the change that decided it.
fn expiring(archive: &Archive) -> Vec<(String, u64)> {
    let rows = archive.feed_window(0, u64::MAX).expect("the feed can be read");
    let expiring = archive.expiring(Stamp(i64::MAX), usize::MAX).expect("the state can be read");
    assert!(expiring.is_sorted_by_key(|row| row.due));
    let told = expiring.into_iter().map(|Expiring { due, partition, study }| {
        let concerns = |row: &&kymo::archive::FeedRow| {
            row.change.partition == partition && row.change.key.study == study && row.change.file.is_some()
        };
        let decided = rows.iter().rev().find(concerns).expect("a store decided it");
        let after = due.since(decided.change.time);
        (study.as_str()[5..].to_owned(), u64::try_from(after.as_millis()).expect("not for ever"))
    });
    told.collect()
}

fn told(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(study, after)| ((*study).to_owned(), *after)).collect()
}

#[tokio::test]
async fn what_is_wrong_in_the_headers_is_400_and_stores_nothing() {
    let archive = Served::start().await;
    let body = file(1, 1);
    for headers in [
        &[(TIME, "0")][..],
        &[(TIME, "-1")],
        &[(TIME, "1.5")],
        &[(TIME, "soon")],
        &[(TIME, "")],
        &[(TIME, "99999999999999999999")],
        &[(OPTION, "RelativeToNow")],
        &[(LEVEL, "Study")],
        &[(OPTION, "RelativeToNow"), (LEVEL, "Study")],
        &[(TIME, "5"), (OPTION, "Absolute")],
        &[(TIME, "5"), (LEVEL, "Series")],
        &[(TIME, "5"), (OPTION, "RelativeToNow"), (LEVEL, "Instance")],
    ] {
        for ask in [
            archive.post("/v2/studies"),
            archive.put("/v2/studies"),
            archive.post("/v2/studies/2.25.1"),
            archive.put("/v2/studies/2.25.1"),
        ] {
            let ask = headers.iter().fold(ask.dicom(&body), |ask, (name, value)| ask.header(name, value));
            let answer = ask.send().await;
            assert_eq!(answer.status, 400, "{headers:?}: {answer:?}");
            assert!(answer.text().contains("msdicom-expiry-"), "{answer:?}");
        }
    }
    assert!(archive.feed().await.is_empty() && archive.files().await.is_empty());
}

/// They come behind all the checks of the head that `studies.md` §2.1 lists, and before the body.
#[tokio::test]
async fn they_are_looked_at_last_before_the_body() {
    let archive = Served::start().await;
    let ask = |path: &str| archive.post(path).dicom(b"").header(TIME, "0");
    for (ask, status) in [
        (ask("/v2/studies").accept("a/b"), 406),
        (ask("/v2/studies").without("content-type"), 415),
        (ask("/v2/studies/1.2a").without("content-type"), 400),
        (ask("/v2/studies").body("multipart/related", "x"), 415),
        (ask("/v2/studies").body("multipart/related; boundary=b", "no parts"), 400),
    ] {
        let answer = ask.send().await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let answer = ask("/v2/studies").body("multipart/related; boundary=b", "no parts").send().await;
    assert!(answer.text().contains(TIME), "{answer:?}");
}

#[tokio::test]
async fn version_1_does_not_know_them() {
    let archive = Served::start().await;
    for (number, path) in (1..).zip(["/v1/studies", "/v1.0-prerelease/studies"]) {
        for (instance, value) in (1..).zip(["5", "0", "nonsense"]) {
            let ask = archive.post(path).dicom(&file(number, instance)).header(TIME, value);
            assert_eq!(ask.header(OPTION, "Absolute").send().await.status, 200, "{path}: {value}");
        }
    }
    assert!(expiring(&archive.archive).is_empty());
    // It is a store without them all the same, and as such takes back what another one said.
    let v2 = archive.put("/v2/studies").dicom(&file(1, 1)).header(TIME, "500").send().await;
    assert_eq!((v2.status, expiring(&archive.archive)), (200, told(&[("1", 500)])));
    let v1 = archive.put("/v1/studies").dicom(&file(1, 2)).header(TIME, "900").send().await;
    assert_eq!((v1.status, expiring(&archive.archive)), (200, Vec::new()));
}

fn whole(ask: Ask<'_>, ms: u64) -> Ask<'_> {
    ask.header(TIME, &ms.to_string()).header(OPTION, "RelativeToNow").header(LEVEL, "Study")
}

#[tokio::test]
async fn the_last_request_that_stores_anything_of_a_study_decides() {
    let archive = Served::start().await;
    let posted = |files: &[Vec<u8>]| {
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        archive.post("/v2/studies").multipart(&files)
    };
    let now = || expiring(&archive.archive);
    // All studies of a request, and all instances of a study, share the time.
    let several = [file(1, 1), file(1, 2), file(2, 1)];
    assert_eq!(posted(&several).header(TIME, "60000").send().await.status, 200);
    assert_eq!(now(), told(&[("1", 60_000), ("2", 60_000)]));
    // Nothing of study 1 is stored by this one, something of study 2 is.
    let again = posted(&[file(1, 1), file(2, 1), file(2, 2)]).header(TIME, "5000").send().await;
    assert_eq!((again.status, now()), (202, told(&[("2", 5000), ("1", 60_000)])));
    let refused = posted(&[file(1, 1)]).send().await;
    assert_eq!((refused.status, now()), (409, told(&[("2", 5000), ("1", 60_000)])));
    let broken = posted(&[b"no DICOM".to_vec()]).header(TIME, "1").send().await;
    assert_eq!((broken.status, now()), (409, told(&[("2", 5000), ("1", 60_000)])));
    // One without the headers takes it back; PUT is as POST.
    assert_eq!(posted(&[file(2, 3)]).send().await.status, 200);
    assert_eq!(now(), told(&[("1", 60_000)]));
    let put = whole(archive.put("/v2/studies/2.25.1"), HOUR_MS).dicom(&file(1, 1)).send().await;
    assert_eq!((put.status, now()), (200, told(&[("1", HOUR_MS)])));
    let put = archive.put("/v2/studies").dicom(&file(1, 2)).send().await;
    assert_eq!((put.status, now()), (200, Vec::new()));
    // With the last instance the study is gone, and with it what was to become of it.
    let post = whole(posted(&[file(3, 1), file(3, 2)]), HOUR_MS).send().await;
    assert_eq!((post.status, now()), (200, told(&[("3", HOUR_MS)])));
    let one = "/v2/studies/2.25.3/series/2.25.3.1/instances/2.25.3.1.1";
    assert_eq!((archive.delete(one).await.status, now()), (204, told(&[("3", HOUR_MS)])));
    assert_eq!(archive.delete("/v2/studies/2.25.3/series/2.25.3.1").await.status, 204);
    assert_eq!(now(), Vec::new());
    assert_eq!((posted(&[file(3, 1)]).send().await.status, now()), (200, Vec::new()));
}

#[tokio::test]
async fn a_study_expires_in_its_partition_only() {
    let archive = Served::with(Settings { partitions: true, ..Settings::default() }).await;
    for (partition, ms) in [("a", 500), ("b", 50), ("c", 5000)] {
        let path = format!("/v2/partitions/{partition}/studies");
        let stored = archive.post(&path).dicom(&file(1, 1)).header(TIME, &ms.to_string()).send().await;
        assert_eq!(stored.status, 200, "{stored:?}");
    }
    assert_eq!(archive.put("/v2/partitions/c/studies").dicom(&file(1, 1)).send().await.status, 200);
    let due = archive.archive.expiring(Stamp(i64::MAX), 9).expect("the state can be read");
    let partitions: Vec<_> = due.iter().map(|row| row.partition.as_str()).collect();
    assert_eq!(partitions, ["b", "a"]);
    assert_eq!(archive.delete("/v2/partitions/b/studies/2.25.1").await.status, 204);
    let due = archive.archive.expiring(due[1].due, 9).expect("the state can be read");
    assert_eq!((due.len(), &due[0].partition), (1, &Partition::parse("a").expect("a name")));
    assert!(archive.archive.expiring(Stamp(due[0].due.0 - 1), 9).expect("it can be read").is_empty());
}

/// What a stopped archive has to let go, and when.
fn of_stopped(data: &Path) -> Vec<Expiring> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        given: Given,
    }
    let given = Line::parse_from(["kymo", "--data", name(data)]).given;
    let config = config::read(None, &given).expect("the settings are right");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let node = Node::open(&config).await.expect("it opens");
        node.caught_up(|_, _| ()).await.expect("it catches up");
        let expiring = node.archive.expiring(Stamp(i64::MAX), usize::MAX).expect("the state can be read");
        node.close().await;
        expiring
    })
}

#[test]
fn the_moment_survives_a_kill_and_a_rebuild() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let archive = Process::start(&data, &[]);
    for (study, ms) in [(1, Some("90000000")), (2, Some("70000000")), (3, None), (4, Some("80000000"))] {
        let mut headers = vec![("content-type", "application/dicom"), ("accept", "application/dicom+json")];
        headers.extend(ms.map(|ms| (TIME, ms)));
        assert_eq!(archive.ask("POST", "/v2/studies", &headers, &file(study, 1)).status, 200);
    }
    assert_eq!(archive.ask("DELETE", "/v2/studies/2.25.4", &[], b"").status, 204);
    archive.kill();
    let before = of_stopped(&data);
    let studies: Vec<_> = before.iter().map(|row| row.study.as_str()).collect();
    assert_eq!(studies, ["2.25.2", "2.25.1"]);
    for views in [&["rebuild"][..], &["rebuild", "archive"]] {
        let done = ran(&[views, &["--data", name(&data)]].concat());
        assert!(done.status.success(), "{done:?}");
        assert_eq!(of_stopped(&data), before, "after {views:?}");
    }
    std::fs::remove_dir_all(data.join("archive")).expect("it is there");
    assert_eq!(of_stopped(&data), before, "after the loss of the state");
    Process::start(&data, &[]).kill();
    assert_eq!(of_stopped(&data), before);
    let verified = ran(&["verify", "--data", name(&data)]);
    assert!(verified.status.success(), "{verified:?}");
}
