//! What happens on the way to a store: answers lost and cut, and a process that is killed.

use kymo::blob;

use super::{feed, file, folder, paths, post, stored};
use crate::kit::dicom::{Image, Instance, red_triangle};
use crate::kit::process::Process;
use crate::kit::proxy::Fault;
use crate::kit::stores::{Far, Kind};

/// A file of about so many bytes, none of whose chunks are alike.
pub(super) fn large(uid: &str, frames: usize) -> Vec<u8> {
    let image = Image { rows: 1024, columns: 1024, samples: 1, bits: 8, photometric: "MONOCHROME2" };
    let byte = |at: u32, number: usize| (at.wrapping_mul(0x9E37_79B9) >> 24) as u8 ^ number as u8;
    let frames: Vec<Vec<u8>> =
        (0..frames).map(|number| (0..1 << 20).map(|at| byte(at, number)).collect()).collect();
    Instance::new("1.2.3", "1.2.3.4", uid).frames(image, &frames).part10()
}

fn path(uid: &str) -> String {
    format!("/v2/studies/1.2.3/series/1.2.3.4/instances/{uid}")
}

#[test]
fn an_answer_that_is_lost_or_cut_costs_nothing_but_time() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let process = far.serve(&data, &[]);
        far.proxy.plan(Fault::LostAnswer, ".dcm", 1);
        let small = red_triangle().part10();
        stored(&process, &small);
        assert_eq!(paths(&process).len(), 1);
        assert!(far.get(&paths(&process)[0]) == small);

        let whole = large("1.2.3.4.1", 20);
        let last = if far.kind == Kind::S3 { "POST " } else { "comp=blocklist" };
        for (fault, fits) in [
            (Fault::LostAnswer, last),
            (Fault::LostAnswer, "PUT "),
            (Fault::Reset, "PUT "),
            (Fault::CutAfter(20), "PUT "),
        ] {
            far.proxy.plan(fault, fits, 1);
        }
        stored(&process, &whole);
        assert!(far.get(&paths(&process)[1]) == whole);
        assert_eq!(far.unfinished(), 0);

        // Twice in the middle of a body: each time the rest is asked for.
        far.proxy.lines();
        far.proxy.plan(Fault::CutAfter(1_500_000), "GET *1.2.3.4.1_", 2);
        assert!(file(&process, &path("1.2.3.4.1")).bytes() == whole);
        let lines = far.proxy.lines();
        let gets = lines.iter().filter(|line| line.starts_with("GET ") && line.contains(".dcm"));
        assert_eq!(gets.count(), 6 + 2);
    }
}

#[test]
fn something_else_under_the_key_is_neither_overwritten_nor_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for far in Far::each() {
        let (folder, _) = folder();
        let blobs = far.blobs(&folder.path().join("staging"));
        for length in [10, 20 << 20] {
            let key = format!("kymo/a/{length}");
            far.put(&key, vec![1; length]);
            let placed = runtime.block_on(async {
                let mut results = Vec::new();
                for byte in [2, 1] {
                    let mut staging = blobs.stage().await.expect("it begins");
                    staging.write(vec![byte; length].into()).await.expect("it is written");
                    let staged = staging.finish().await.expect("it ends");
                    results.push(blobs.place(staged, &key).await);
                }
                results
            });
            assert!(matches!(placed[0], Err(blob::Error::Refused { .. })), "{placed:?}");
            assert!(placed[1].is_ok(), "the same bytes are there already: {placed:?}");
            assert!(far.get(&key) == vec![1; length]);
        }
        assert_eq!(blobs.staged_bytes(), 0);
    }
}

#[test]
fn a_process_killed_in_an_upload_leaves_nothing_acknowledged_and_nothing_behind() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let process = far.serve(&data, &[]);
        stored(&process, &red_triangle().part10());
        let whole = large("1.2.3.4.2", 20);
        let part = if far.kind == Kind::S3 { "partNumber=2" } else { "comp=block&" };
        far.proxy.plan(Fault::Silence, part, u32::MAX);
        let address = process.address();
        let sending = std::thread::spawn({
            let whole = whole.clone();
            move || {
                let mut connection = crate::kit::process::Connection::to(address).expect("it is there");
                let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
                connection.ask("POST", "/v2/studies", &headers, &whole).map(|answer| answer.status)
            }
        });
        Far::until("the upload is under way", || far.proxy.lines().iter().any(|line| line.contains(part)));
        process.kill();
        assert!(sending.join().expect("it ends").is_err(), "nothing was acknowledged");
        far.proxy.heal();

        let process: Process = far.serve(&data, &[]);
        assert_eq!(feed(&process).len(), 1);
        Far::until("the upload is aborted", || far.unfinished() == 0);
        assert_eq!(far.keys().iter().filter(|key| key.ends_with(".dcm")).count(), 1);
        let staging = data.join("staging");
        let staged = crate::kit::folder::files(&staging);
        assert!(staged.is_empty(), "{staged:?}");
        stored(&process, &whole);
        assert!(file(&process, &path("1.2.3.4.2")).bytes() == whole);
    }
}

#[test]
fn a_failing_store_leaves_no_upload_behind() {
    let Some(far) = Far::of(Kind::S3) else { return };
    let (_folder, data) = folder();
    let process = far.serve(&data, &[]);
    let whole = large("1.2.3.4.3", 20);
    far.proxy.plan(Fault::Answer(500, "InternalError"), "partNumber=3", u32::MAX);
    assert_eq!(post(&process, &whole).status, 503);
    assert_eq!(far.unfinished(), 0);
    far.proxy.heal();
    // Not even the abort gets through: the next start does it.
    far.proxy.plan(Fault::Answer(403, "AccessDenied"), "partNumber=3", u32::MAX);
    far.proxy.plan(Fault::Answer(403, "AccessDenied"), "DELETE ", u32::MAX);
    assert_eq!(post(&process, &whole).status, 424);
    assert_ne!(far.unfinished(), 0);
    far.proxy.heal();
    drop(process);
    let process = far.serve(&data, &[]);
    Far::until("the upload is aborted", || far.unfinished() == 0);
    assert!(feed(&process).is_empty());
}
