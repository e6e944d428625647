//! Rendered real files before judges: pydicom and DCMTK, in `tests/real/rendered.py`.
//!
//! A sheet with all of them is kept in `.cache/artefacts` of this checkout, to look at.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients::{named, root};
use crate::kit::process::Process;

/// Frames of each syntax that are looked at.
const FRAMES: [(&str, u64); 11] = [
    ("1.2.840.10008.1.2", 6),
    ("1.2.840.10008.1.2.1", 60),
    ("1.2.840.10008.1.2.1.99", 1),
    ("1.2.840.10008.1.2.2", 8),
    ("1.2.840.10008.1.2.4.50", 15),
    ("1.2.840.10008.1.2.4.51", 1),
    ("1.2.840.10008.1.2.4.70", 1),
    ("1.2.840.10008.1.2.4.80", 1),
    ("1.2.840.10008.1.2.4.90", 3),
    ("1.2.840.10008.1.2.4.91", 3),
    ("1.2.840.10008.1.2.5", 10),
];
/// Of a stream that says that it has another size.
const UNDECODED: [&str; 1] = ["JPEG2000-embedded-sequence-delimiter.dcm"];
/// Of a stream that names no coefficients in its scan, which the judge does not decode.
const UNJUDGED: [&str; 1] = ["JPEG-lossy.dcm"];

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
    for (syntax, least) in FRAMES {
        assert!(counts["frames"][syntax].as_u64() >= Some(least), "{syntax}: {counts}");
    }
    let undecoded = counts["not decoded"].as_object().expect("files by syntax");
    let undecoded: Vec<&str> = undecoded
        .values()
        .flat_map(|names| names.as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    assert!(undecoded.iter().all(|name| UNDECODED.contains(name)), "{undecoded:?}");
    let unjudged = counts["no judge"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let unjudged: Vec<&str> = unjudged.filter(|name| !UNJUDGED.contains(name)).collect();
    assert!(unjudged.is_empty(), "{unjudged:?}");
    for judged in ["windows", "defaults", "dcm2pnm"] {
        assert!(counts[judged].as_u64() >= Some(50), "{judged}: {counts}");
    }
}
