//! Clients of others, unmodified, against the real program: their own requests where they can be run, and their
//! bytes where they cannot (`studies.md` §1–3, §9). What each does is told in its script of `tests/real`.
//!
//! Elsewhere: clients that need a browser (`viewers`), the vendor's cURL tutorial (`tutorial`), the Python client
//! (`python`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::kit::dicom::{STUDY, families};
use crate::kit::kafka::free_port;
use crate::kit::process::{Connection, PATIENCE, Process};
use crate::kit::served::Answer;

const JSON: (&str, &str) = ("accept", "application/dicom+json");
/// Files of pydicom that the archive takes, beside those of the kit.
const REAL_FILES: u64 = 150;

/// What a variable of the tests names; says what is skipped without it.
pub(crate) fn named(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: {variable} is not set; tests/run sets it up");
    }
    found
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The flag with which metadata say where bulk data are.
pub(crate) const BULK_DATA: &str = "--bulk-data-uri=true";

/// Runs a script of `tests/real`; answers what it has printed.
fn script(name: &str, arguments: &[&Path]) -> Option<String> {
    let ran = Command::new(named("KYMO_TEST_PYTHON")?)
        .arg(root().join("tests/real").join(name))
        .args(arguments)
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .expect("KYMO_TEST_PYTHON can be run");
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{name}: {said}{errors}");
    Some(said.into_owned())
}

fn archive(folder: &tempfile::TempDir) -> Process {
    Process::start(&folder.path().join("data"), &[])
}

fn fixtures() -> PathBuf {
    root().join("fixtures/dicom")
}

#[test]
fn the_vendors_python_tutorial_works_as_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = archive(&folder);
    for version in ["v1", "v2"] {
        let base = PathBuf::from(format!("{}/{version}", archive.url()));
        script("vendor.py", &[&base, &fixtures()]);
    }
}

#[test]
fn highdicom_reads_back_what_it_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = archive(&folder);
    script("derived.py", &[Path::new(&format!("{}/v2", archive.url()))]);
}

#[test]
fn judges_find_no_fault_that_was_not_sent() {
    let judges = (named("KYMO_TEST_DCMDUMP"), named("KYMO_TEST_DCIODVFY"), named("KYMO_TEST_DICOM_FILES"));
    let (Some(dcmdump), Some(dciodvfy), Some(real)) = judges else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made");
    std::fs::create_dir(&made).expect("a folder");
    let families = families();
    for family in &families {
        std::fs::write(made.join(format!("{}.dcm", family.name)), &family.part10).expect("it can be written");
    }
    let archive = archive(&folder);
    let base = PathBuf::from(format!("{}/v2", archive.url()));
    let Some(said) = script("judges.py", &[&base, &dcmdump, &dciodvfy, &real, &made]) else { return };
    let counts: Value = serde_json::from_str(&said).expect("a line of JSON");
    let (stored, same) = (counts["stored"].as_u64(), counts["same"].as_u64());
    assert_eq!(stored, same, "{said}");
    assert!(same >= Some(REAL_FILES + families.len() as u64), "{said}");
    for native in ["implicit", "big endian", "deflated"] {
        assert!(counts["re-encoded"][native].as_u64() > Some(0), "{native}: {said}");
    }
    println!("{said}");
}

/// Orthanc with its DICOMweb plugin, which knows one server.
struct Orthanc {
    child: Child,
    port: u16,
}

impl Orthanc {
    fn start(folder: &Path, server: &str) -> Option<Self> {
        let (program, plugin) = (named("KYMO_TEST_ORTHANC")?, named("KYMO_TEST_ORTHANC_DICOMWEB")?);
        let port = free_port();
        let settings = json!({
            "StorageDirectory": folder, "IndexDirectory": folder, "Plugins": [plugin],
            "HttpPort": port, "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomServerEnabled": false,
            "DicomWeb": {"Enable": true, "Servers": {"kymo": {"Url": server, "ChunkedTransfers": true, "HasDelete": true}}},
        });
        std::fs::create_dir(folder).expect("a folder");
        let file = folder.join("orthanc.json");
        std::fs::write(&file, settings.to_string()).expect("it can be written");
        let child = Command::new(program)
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("KYMO_TEST_ORTHANC can be run");
        let orthanc = Self { child, port };
        let began = Instant::now();
        while Connection::to(([127, 0, 0, 1], port).into()).is_err() {
            assert!(began.elapsed() < PATIENCE, "Orthanc does not come up");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(orthanc)
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let mut connection = Connection::to(([127, 0, 0, 1], self.port).into()).expect("it listens");
        let answer = connection.ask(method, path, &[("expect", "")], body).expect("it answers");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    fn tell(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, body.to_string().as_bytes())
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

#[test]
fn orthanc_sends_in_chunks_searches_and_fetches() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = archive(&folder);
    let server = format!("{}/v2/", archive.url());
    let Some(orthanc) = Orthanc::start(&folder.path().join("orthanc"), &server) else { return };
    let names = ["red-triangle", "green-square", "blue-circle"];
    let files = names.map(|name| std::fs::read(fixtures().join(format!("{name}.dcm"))).expect("a fixture"));
    for file in &files {
        orthanc.ask("POST", "/instances", file);
    }
    let held = orthanc.ask("GET", "/studies", b"")[0].as_str().expect("one study").to_owned();
    orthanc.tell("/dicom-web/servers/kymo/stow", &json!({"Resources": [held], "Synchronous": true}));
    let stored = archive.get(&format!("/v2/studies/{STUDY}/instances")).json();
    assert_eq!(stored.as_array().map(Vec::len), Some(3), "{stored}");

    let question = json!({"Uri": "/studies", "Arguments": {"StudyInstanceUID": STUDY}});
    let found = orthanc.tell("/dicom-web/servers/kymo/qido", &question);
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");

    orthanc.ask("DELETE", &format!("/studies/{held}"), b"");
    let wanted = json!({"Resources": [{"Study": STUDY}], "Synchronous": true});
    orthanc.tell("/dicom-web/servers/kymo/retrieve", &wanted);
    let back = orthanc.ask("GET", "/instances", b"");
    let mut back: Vec<Vec<u8>> = back.as_array().expect("a list").iter().map(|id| orthanc.file(id)).collect();
    let mut files = files.to_vec();
    back.sort();
    files.sort();
    assert!(back == files, "the files that came back are not those that were sent");
}

#[test]
fn searches_of_real_files_differ_from_orthancs_by_named_rules_only() {
    let Some(files) = named("KYMO_TEST_DICOM_FILES") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = archive(&folder);
    let server = format!("{}/v2/", archive.url());
    let Some(orthanc) = Orthanc::start(&folder.path().join("orthanc"), &server) else { return };
    let theirs = format!("http://127.0.0.1:{}", orthanc.port);
    let ours = format!("{}/v2", archive.url());
    let Some(said) = script("search.py", &[Path::new(&ours), Path::new(&theirs), &files]) else { return };
    println!("{said}");
}

impl Orthanc {
    fn file(&self, id: &Value) -> Vec<u8> {
        let path = format!("/instances/{}/file", id.as_str().expect("an identifier"));
        let mut connection = Connection::to(([127, 0, 0, 1], self.port).into()).expect("it listens");
        let answer = connection.ask("GET", &path, &[], b"").expect("it answers");
        answer.body.expect("a whole file").to_vec()
    }
}

/// An archive that holds one image as Explicit VR Little Endian, and the path of it.
fn one_image(folder: &tempfile::TempDir) -> (Process, String) {
    let archive = archive(folder);
    let file = std::fs::read(fixtures().join("red-triangle.dcm")).expect("a fixture");
    let headers = [JSON, ("content-type", "application/dicom")];
    let answer = archive.ask("POST", "/v2/studies", &headers, &file);
    let url = answer.json().pointer("/00081199/Value/0/00081190/Value/0").cloned().expect("a URL");
    let url = url.as_str().expect("a text").to_owned();
    (archive, url[url.find("/v2/").expect("a path")..].to_owned())
}

fn framed(archive: &Process, image: &str, accept: &str) -> Answer {
    archive.ask("GET", &format!("{image}/frames/1"), &[("accept", accept)], b"")
}

#[test]
fn a_slide_viewer_learns_by_406_which_syntax_is_not_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, image) = one_image(&folder);
    for compressed in [
        "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
        "image/jls; transfer-syntax=1.2.840.10008.1.2.4.81",
        "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91",
    ] {
        let (kind, syntax) = compressed.split_once("; ").expect("two pieces");
        let answer = framed(&archive, &image, &format!("multipart/related; type=\"{kind}\"; {syntax}"));
        assert_eq!(answer.status, 406, "{compressed}: {answer:?}");
    }
    let native = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=1.2.840.10008.1.2.1";
    assert_eq!(framed(&archive, &image, native).status, 200);
}

#[test]
fn frames_come_in_the_forms_that_viewers_ask_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, image) = one_image(&folder);
    for accept in [
        // OHIF: the star is quoted.
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=\"*\"",
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        // The Python client.
        "multipart/related; type=\"*/*\"",
        // The JavaScript client.
        "multipart/related; type=\"application/octet-stream\"",
        "*/*",
    ] {
        let answer = framed(&archive, &image, accept);
        assert_eq!(answer.status, 200, "{accept}: {answer:?}");
        assert_eq!(answer.parts().len(), 1, "{accept}");
    }
}

#[test]
fn a_study_list_may_ask_for_attributes_of_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, _) = one_image(&folder);
    let fields = "includefield=00081030%2C00080060%2C00080090%2C00100030";
    let list = format!("/v2/studies?limit=101&offset=0&fuzzymatching=true&{fields}");
    let answer = archive.ask("GET", &list, &[JSON], b"");
    assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (200, Some(1)), "{answer:?}");
}

#[test]
fn identifiers_that_are_none_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, image) = one_image(&folder);
    let zeros = "2.25.00000000000000000000000000000000000000";
    for path in [
        "/v2/workitems/2.5.0000000".to_owned(),
        format!("/v2/studies/{zeros}"),
        format!("/v2/studies/{zeros}/metadata"),
    ] {
        let answer = archive.get(&path);
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(archive.get(&format!("{image}/metadata")).status, 200);
}
