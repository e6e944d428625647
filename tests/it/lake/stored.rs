//! Store, retrieve, delete, sweep, verify, rebuild and import with the files in a real store.

use super::{feed, file, folder, paths, post, stored};
use crate::kit::dicom::{SERIES, STUDY, blue_circle, green_square, red_triangle};
use crate::kit::folder::name;
use crate::kit::process::{Process, kymo};
use crate::kit::stores::Far;

/// Runs a command on the archive and says what it printed.
fn ran(far: &Far, arguments: &[&str]) -> (bool, String) {
    let place = far.place();
    let output = kymo().args(arguments).args(["--blobs", &place]).envs(far.environment()).output();
    let output = output.expect("the program can be run");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

#[test]
fn what_is_stored_is_there_until_it_is_deleted_and_swept() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let files = [red_triangle(), green_square(), blue_circle()].map(|instance| instance.part10());
        let process = far.serve(&data, &["--keep-released", "1s", "--sweep-every", "1s"]);
        for file in &files {
            stored(&process, file);
        }
        assert_eq!(post(&process, &files[0]).status, 409);
        let keys = paths(&process);
        assert_eq!(far.keys().into_iter().filter(|key| key.ends_with(".dcm")).count(), 3);
        for (key, bytes) in keys.iter().zip(&files) {
            assert!(far.get(key) == *bytes, "the lake holds the file as it came: {key}");
        }
        let rows = feed(&process);
        let instance = |row: usize| {
            let uid = |name: &str| rows[row][name].as_str().expect("a UID").to_owned();
            let (study, series) = (uid("studyInstanceUid"), uid("seriesInstanceUid"));
            format!("/v2/studies/{study}/series/{series}/instances/{}", uid("sopInstanceUid"))
        };
        assert!(file(&process, &instance(1)).bytes() == files[1]);
        let octets = [("accept", "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*")];
        let frame = process.ask("GET", &format!("{}/frames/1", instance(0)), &octets, b"");
        assert_eq!(frame.parts()[0].1.len(), 75 * 75 * 3);
        let study = process.ask("GET", &format!("/v2/studies/{STUDY}"), &[("accept", "*/*")], b"");
        assert_eq!(study.parts().len(), 3);

        let series = format!("/v2/studies/{STUDY}/series/{SERIES}");
        assert_eq!(process.ask("DELETE", &series, &[], b"").status, 204);
        Far::until("the sweep removes two files", || {
            far.keys().iter().filter(|key| key.ends_with(".dcm")).count() == 1
        });
        assert!(process.stop().success());
        let process = far.serve(&data, &[]);
        assert!(file(&process, &instance(2)).bytes() == files[2]);
        assert_eq!(file(&process, &instance(0)).status, 404);
    }
}

#[test]
fn commands_find_the_files_where_they_are() {
    for far in Far::each() {
        let (folder, data) = folder();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).expect("a folder");
        for (number, instance) in [red_triangle(), green_square()].into_iter().enumerate() {
            std::fs::write(source.join(number.to_string()), instance.part10()).expect("a file");
        }
        let (well, said) = ran(&far, &["import", name(&source), "--data", name(&data)]);
        assert!(well && said.contains("stored 2 instances"), "{said}");
        assert_eq!(far.keys().len(), 2, "{:?}", far.keys());
        for arguments in [["verify", "--data"], ["rebuild", "--data"], ["verify", "--data"]] {
            let (well, said) = ran(&far, &[&arguments[..], &[name(&data)]].concat());
            assert!(well, "{said}");
        }
        // Half a file, put there by somebody else.
        let key = far.keys().remove(0);
        let half = far.get(&key).slice(..1000);
        far.put(&key, half);
        let (well, said) = ran(&far, &["verify", "--data", name(&data)]);
        assert!(!well && said.contains("1 things are wrong") && said.contains(&key), "{said}");
    }
}

#[test]
fn a_store_that_does_not_let_us_in_stops_the_start_without_telling_the_secret() {
    for far in Far::each() {
        let (_folder, data) = folder();
        std::fs::create_dir(&data).expect("a folder");
        let wrong = "d3JvbmctYnV0LXNlY3JldA==";
        let place = far.place();
        let output = kymo()
            .args(["import", name(&data), "--data", name(&data), "--trace", "debug", "--blobs", &place])
            .envs(far.environment())
            .envs([("AWS_SECRET_ACCESS_KEY", wrong), ("AZURE_STORAGE_ACCOUNT_KEY", wrong)])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("refuses") && said.contains("403"), "{said}");
        assert!(!said.contains(wrong) && !said.contains("wrong-but-secret"), "{said}");
    }
}

#[test]
fn a_folder_can_be_named_and_shared_while_each_node_stages_for_itself() {
    let (folder, data) = folder();
    let lake = folder.path().join("shared");
    let flags = ["--blobs", name(&lake), "--keep-released", "1s", "--sweep-every", "1s"];
    let first = Process::start(&data, &flags);
    // Another archive in the same folder, under another name.
    let other = folder.path().join("other");
    let second = Process::start(&other, &[&flags[..], &["--service", "second"]].concat());
    let (one, two) = (red_triangle().part10(), green_square().part10());
    stored(&first, &one);
    stored(&second, &two);
    let held = |process: &Process, bytes: &[u8]| {
        let path = lake.join(&paths(process)[0]);
        assert!(std::fs::read(path).expect("a file") == bytes);
    };
    held(&first, &one);
    held(&second, &two);
    let staging: Vec<_> = lake.join(".staging").read_dir().expect("a folder").collect();
    assert_eq!(staging.len(), 2);
    assert!(!data.join("lake").exists());
    assert_eq!(first.ask("DELETE", &format!("/v2/studies/{STUDY}"), &[], b"").status, 204);
    Far::until("the sweep removes the first one's file", || !lake.join(&paths(&first)[0]).exists());
    held(&second, &two);
    assert!(first.stop().success() && second.stop().success());
    let mut verify = kymo();
    verify.args(["verify", "--data", name(&other), "--blobs", name(&lake), "--service", "second"]);
    assert!(verify.status().expect("it runs").success());
}
