//! Rendered real files before judges: pydicom and DCMTK, in `tests/real/rendered.py`.
//!
//! A sheet with all of them is kept in `.cache/artefacts` of this checkout, to look at.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients::{named, root};
use crate::kit::process::Process;

#[test]
fn judges_see_what_is_rendered_of_real_files() {
    let needed = (named("KYMO_TEST_PYTHON"), named("KYMO_TEST_DICOM_FILES"), named("KYMO_TEST_DCMDUMP"));
    let (Some(python), Some(files), Some(dcmdump)) = needed else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    let ran = Command::new(python)
        .arg(root().join("tests/real/rendered.py"))
        .arg(format!("{}/v2", archive.url()))
        .arg(dcmdump.with_file_name("dcm2pnm"))
        .arg(root().join(".cache/artefacts/rendered.png"))
        .args([files, root().join("fixtures/dicom")])
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .expect("KYMO_TEST_PYTHON can be run");
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    assert!(ran.status.success(), "{said}{errors}");
    let counts: Value = serde_json::from_str(&said).expect("a line of JSON");
    println!("{counts}");
}
