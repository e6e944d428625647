//! Python packages against the real program: `dicomweb-client` as a client (`tests/real/client.py`), `pydicom` as a
//! judge of names (`tests/real/names.py`).

use std::path::Path;
use std::process::Command;

use crate::clients::BULK_DATA;
use crate::kit::process::Process;

const SKIPPED: &str = "skipped: KYMO_TEST_PYTHON or KYMO_TEST_DICOM_FILES is missing; tests/run sets it up";

/// Runs a script of `tests/real` against both versions; `flags` are those of the archive. What it said of each.
fn run(script: &str, folder: &Path, flags: &[&str]) -> Option<Vec<String>> {
    let python = std::env::var_os("KYMO_TEST_PYTHON")?;
    let scratch = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&scratch.path().join("data"), flags);
    let run = |version| {
        let ran = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script))
            .arg(format!("{}/{version}", archive.url()))
            .arg(folder)
            .env("NO_PROXY", "*")
            .output()
            .expect("KYMO_TEST_PYTHON can be run");
        let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{version}: {said}{errors}");
        eprintln!("{version}: {said}");
        said.into_owned()
    };
    Some(["v1", "v2"].map(run).into())
}

#[test]
fn the_python_client_stores_finds_retrieves_and_deletes() {
    let Some(said) =
        run("client.py", &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dicom"), &[BULK_DATA])
    else {
        return eprintln!("{SKIPPED}");
    };
    for said in said {
        assert!(said.trim_end().ends_with("bulk data of 3"), "{said}");
    }
}

#[test]
fn names_in_every_character_set_are_read_as_pydicom_reads_them() {
    let files = std::env::var_os("KYMO_TEST_DICOM_FILES");
    if files.and_then(|files| run("names.py", &Path::new(&files).join("charset_files"), &[])).is_none() {
        eprintln!("{SKIPPED}");
    }
}
