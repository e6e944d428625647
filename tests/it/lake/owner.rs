//! What an owner may do behind the archive's back: 424, degraded with a reason, and well again without a restart.

use super::{feed, file, folder, health, paths, post, stored};
use crate::kit::dicom::{blue_circle, green_square, red_triangle};
use crate::kit::process::Process;
use crate::kit::proxy::Fault;
use crate::kit::stores::{Far, Kind};

fn instance(process: &Process, row: usize) -> String {
    let row = feed(process).remove(row);
    let uid = |name: &str| row[name].as_str().expect("a UID").to_owned();
    let (study, series) = (uid("studyInstanceUid"), uid("seriesInstanceUid"));
    format!("/v2/studies/{study}/series/{series}/instances/{}", uid("sopInstanceUid"))
}

#[test]
fn files_changed_cut_replaced_and_removed_are_424_and_the_others_are_served() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let process = far.serve(&data, &[]);
        let files = [red_triangle(), green_square(), blue_circle()].map(|instance| instance.part10());
        for file in &files {
            stored(&process, file);
        }
        let keys = paths(&process);
        let (path, key, whole) = (instance(&process, 0), &keys[0], files[0].clone());
        let mut altered = whole.clone();
        altered[5_000] ^= 1;
        for (other, what) in [
            (altered, "a byte is another one"),
            (whole[..whole.len() - 1].to_vec(), "it is cut"),
            ([&whole[..], b"more"].concat(), "it is longer"),
            (Vec::new(), "it is empty"),
            (files[1].clone(), "it is another file"),
        ] {
            far.put(key, other);
            let answer = file(&process, &path);
            assert_eq!((answer.status, answer.text().contains("ConditionNotMet")), (424, true), "{what}");
            let octets =
                [("accept", "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*")];
            assert_eq!(process.ask("GET", &format!("{path}/frames/1"), &octets, b"").status, 424, "{what}");
            assert!(file(&process, &instance(&process, 1)).bytes() == files[1]);
        }
        far.remove(key);
        let answer = file(&process, &path);
        assert_eq!((answer.status, answer.text().contains("BlobNotFound")), (424, true));
        let metadata = [("accept", "application/dicom+json")];
        assert_eq!(process.ask("GET", &format!("{path}/metadata"), &metadata, b"").status, 200);
        // The same bytes again: another ETag, and no deviation.
        far.put(key, whole.clone());
        assert!(file(&process, &path).bytes() == whole);
        // A file of the owner's own is neither served nor removed; a missing one can be deleted.
        far.put("AHDS/kymo/dicom/archive/notes.txt", "mine");
        far.remove(&keys[2]);
        assert_eq!(process.ask("DELETE", &instance(&process, 2), &[], b"").status, 204);
        assert_eq!(far.get("AHDS/kymo/dicom/archive/notes.txt"), "mine");
        assert_eq!(feed(&process).len(), 4);
    }
}

#[test]
fn with_strict_etags_the_same_bytes_written_again_are_a_deviation() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let process = far.serve(&data, &["--etag", "strict"]);
        let file_bytes = red_triangle().part10();
        stored(&process, &file_bytes);
        let path = instance(&process, 0);
        assert!(file(&process, &path).bytes() == file_bytes);
        let key = paths(&process).remove(0);
        // A store may make the ETag of the bytes alone, so they have to differ once.
        let mut other = file_bytes.clone();
        *other.last_mut().expect("not empty") ^= 1;
        far.put(&key, other);
        let answer = file(&process, &path);
        assert_eq!((answer.status, answer.text().contains("ConditionNotMet")), (424, true));
        if far.kind == Kind::Azure {
            far.put(&key, file_bytes);
            assert_eq!(file(&process, &path).status, 424);
        }
    }
}

#[test]
fn what_the_owner_refuses_is_424_and_what_fails_is_503() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let process = far.serve(&data, &[]);
        let (first, second) = (red_triangle().part10(), green_square().part10());
        stored(&process, &first);
        let path = instance(&process, 0);
        for (fault, status, code) in [
            (Fault::Answer(403, "AuthorizationPermissionMismatch"), 424, "AuthorizationPermissionMismatch"),
            (Fault::Answer(403, "AccountIsDisabled"), 424, "AccountIsDisabled"),
            (Fault::Answer(401, "InvalidAuthenticationInfo"), 424, "InvalidAuthenticationInfo"),
            (Fault::Answer(404, "ContainerNotFound"), 424, "ContainerNotFound"),
            (Fault::Answer(409, "ContainerBeingDeleted"), 424, "ContainerBeingDeleted"),
            (Fault::Answer(400, "UnsupportedHeader"), 424, "UnsupportedHeader"),
            (Fault::Answer(500, "InternalError"), 503, "try again"),
            (Fault::Answer(503, "ServerBusy"), 503, "try again"),
            (Fault::Answer(429, "SlowDown"), 503, "try again"),
            (Fault::Reset, 503, "try again"),
            (Fault::Silence, 503, "try again"),
        ] {
            far.proxy.always(fault);
            let answer = post(&process, &second);
            assert_eq!(answer.status, status, "{fault:?}: {answer:?}");
            assert!(answer.text().contains(code), "{fault:?}: {answer:?}");
            assert_eq!(answer.header("retry-after").is_some(), status == 503, "{fault:?}");
            let read = file(&process, &path);
            assert_eq!(read.status, status, "{fault:?}: {read:?}");
        }
        // What is archived can be looked at, and not read.
        far.proxy.heal();
        for code in ["BlobArchived", "InvalidObjectState"] {
            let status = if code == "BlobArchived" { 409 } else { 403 };
            far.proxy.plan(Fault::Answer(status, code), "GET ", 1);
            let answer = file(&process, &path);
            assert_eq!((answer.status, answer.text().contains("BlobArchived")), (424, true), "{answer:?}");
        }
        far.proxy.heal();
        assert_eq!(feed(&process).len(), 1, "nothing was acknowledged, and nothing took effect");
        assert!(file(&process, &path).bytes() == first);
        stored(&process, &second);
        assert!(
            process.data().join("staging").read_dir().expect("it is there").all(|entry| {
                !entry.expect("an entry").file_name().to_string_lossy().ends_with(".staged")
            })
        );
    }
}

#[test]
fn an_account_whose_rights_are_revoked_is_refused_and_works_again_when_they_are_back() {
    let Some(far) = Far::of(Kind::S3) else { return };
    let (_folder, data) = folder();
    let process = far.serve_as(&data, &[], &far.account());
    let (first, second) = (red_triangle().part10(), green_square().part10());
    stored(&process, &first);
    let path = instance(&process, 0);
    far.revoke();
    for answer in [post(&process, &second), file(&process, &path)] {
        assert_eq!(
            (answer.status, answer.text().contains("storage account failed")),
            (424, true),
            "{answer:?}"
        );
    }
    assert_eq!(feed(&process).len(), 1);
    far.grant();
    assert!(file(&process, &path).bytes() == first);
    stored(&process, &second);
}

#[test]
fn health_says_whose_fault_it_is_and_is_well_again_without_a_restart() {
    std::thread::scope(|scope| {
        for far in Far::each() {
            scope.spawn(move || health_follows(&far));
        }
    });
}

fn health_follows(far: &Far) {
    let (_folder, data) = folder();
    let process = far.serve(&data, &[]);
    Far::until("it is healthy", || health(&process).1 == "Healthy");
    far.destroy();
    Far::until("the owner's doing shows", || health(&process).1 == "Degraded");
    let (status, _, why) = health(&process);
    assert_eq!(status, 200);
    assert!(why.starts_with("ConnectedStoreDegraded: "), "{why}");
    assert_eq!(post(&process, &red_triangle().part10()).status, 424);
    far.create();
    Far::until("it is healthy again", || health(&process).1 == "Healthy");
    stored(&process, &red_triangle().part10());
    far.proxy.always(Fault::Answer(503, "ServerBusy"));
    Far::until("the store's failure shows", || health(&process).1 == "Unhealthy");
    assert_eq!(health(&process).0, 503);
    far.proxy.heal();
    Far::until("it is healthy again", || health(&process).0 == 200);
    assert!(far.keys().iter().all(|key| key.ends_with(".dcm")), "no health file is left: {:?}", far.keys());
}
