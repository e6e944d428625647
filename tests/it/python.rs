//! The Python package `dicomweb-client` against the real program; the checks are in `tests/real/client.py`.

use std::path::Path;
use std::process::Command;

use crate::clients::bulk_data;
use crate::kit::process::Process;

#[test]
fn the_python_client_stores_finds_retrieves_and_deletes() {
    let Some(python) = std::env::var_os("KYMO_TEST_PYTHON") else {
        eprintln!("skipped: KYMO_TEST_PYTHON names no Python with dicomweb-client; tests/run sets it up");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let flags = bulk_data();
    let archive = Process::start(&folder.path().join("data"), &flags);
    for version in ["v1", "v2"] {
        let ran = Command::new(&python)
            .arg(root.join("tests/real/client.py"))
            .arg(format!("{}/{version}", archive.url()))
            .arg(root.join("fixtures/dicom"))
            .env("NO_PROXY", "*")
            .output()
            .expect("KYMO_TEST_PYTHON can be run");
        let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{version}: {said}{errors}");
        let fetched = 3 * flags.len();
        assert!(said.trim_end().ends_with(&format!("bulk data of {fetched}")), "{version}: {said}");
    }
}
