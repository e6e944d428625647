//! Real files in every syntax, before judges of others.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients::{named, root};
use crate::kit::process::Process;

#[test]
fn wsidicom_reads_a_slide_as_it_is_stored_and_a_lossless_one_never_lossy() {
    let Some(python) = named("KYMO_TEST_PYTHON") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    let ran = Command::new(python)
        .arg(root().join("tests/real/slides.py"))
        .arg(format!("{}/v2", archive.url()))
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .expect("KYMO_TEST_PYTHON can be run");
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{errors}");
    println!("{said}");
}

#[test]
fn judges_read_the_same_pixels_of_real_files_in_every_syntax_they_are_encoded_in() {
    let judges = (named("KYMO_TEST_DCMDUMP"), named("KYMO_TEST_DCIODVFY"), named("KYMO_TEST_DICOM_FILES"));
    let (Some(dcmdump), Some(dciodvfy), Some(real)) = judges else { return };
    let Some(python) = named("KYMO_TEST_PYTHON") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    let ran = Command::new(python)
        .arg(root().join("tests/real/transcoded.py"))
        .arg(archive.url())
        .args([dcmdump, dciodvfy, real])
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .expect("KYMO_TEST_PYTHON can be run");
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{errors}");
    println!("{said}");
    let counts: Value = serde_json::from_str(&said).expect("a line of JSON");
    for (what, least) in [
        ("explicit of JPEG 2000 Image Compression", 3),
        ("explicit of JPEG 2000 Image Compression (Lossless Only)", 4),
        ("explicit of JPEG Baseline (Process 1)", 12),
        ("explicit of JPEG Extended (Process 2 and 4)", 1),
        ("explicit of JPEG-LS Lossless Image Compression", 1),
        ("explicit of JPEG-LS Lossy (Near-Lossless) Image Compression", 4),
        ("JPEG 2000 of Explicit VR Little Endian", 45),
        ("JPEG-LS of Explicit VR Little Endian", 45),
        ("JPEG 2000 of RLE Lossless", 4),
        ("JPEG-LS of RLE Lossless", 4),
        ("read by dcmdjpls", 40),
        ("explicit of RLE Lossless", 6),
        ("RLE of Explicit VR Little Endian", 20),
        ("RLE of Implicit VR Little Endian", 3),
        ("RLE of Explicit VR Big Endian", 3),
        ("RLE of Deflated Explicit VR Little Endian", 1),
        ("read by pydicom", 40),
        ("read by dcmdrle", 20),
        ("frames by themselves", 40),
    ] {
        assert!(counts[what].as_u64() >= Some(least), "{what}: {said}");
    }
}
