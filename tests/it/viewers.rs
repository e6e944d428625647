//! Clients that live in a browser, unmodified, in real headless Chromium against the real program: the viewer OHIF
//! and the JavaScript package `dicomweb-client`. Their pages come from another origin (`studies.md` §7.6).
//!
//! What they do is told in `tests/real/viewers`. Screenshots are kept in `.cache/artefacts` of this checkout.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::clients::{BULK_DATA, named, root};
use crate::kit::process::Process;

/// Fewer different greys are no picture.
const GREYS: u64 = 50;

/// A script that serves pages and looks at them in a browser.
struct Browser {
    child: Child,
    /// Where its pages come from.
    origin: String,
    output: BufReader<std::process::ChildStdout>,
}

impl Browser {
    fn start(script: &str, arguments: &[&OsStr]) -> Option<Self> {
        let modules = named("KYMO_TEST_NODE_MODULES")?;
        let mut child = Command::new("node")
            .arg(root().join("tests/real/viewers").join(script))
            .args(arguments)
            .env("KYMO_TEST_NODE_MODULES", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node can be run");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a readable line");
        let origin = line.trim().strip_prefix("origin ").unwrap_or_else(|| panic!("no origin: {line:?}"));
        Some(Self { child, origin: origin.to_owned(), output })
    }

    /// An archive that lets its pages in.
    fn archive(&self, data: &Path, flags: &[&str]) -> Process {
        Process::start(data, &[&["--cors-allow-origin", &self.origin], flags].concat())
    }

    /// Says which archive to look at; answers what was seen.
    fn looks(mut self, at: &Value) -> Value {
        let mut input = self.child.stdin.take().expect("its input is piped");
        writeln!(input, "{at}").expect("it reads");
        drop(input);
        let (mut seen, mut errors) = (String::new(), String::new());
        self.output.read_to_string(&mut seen).expect("readable output");
        self.child
            .stderr
            .take()
            .expect("they are piped")
            .read_to_string(&mut errors)
            .expect("readable errors");
        let ended = self.child.wait().expect("it has ended");
        assert!(ended.success(), "{seen}{errors}");
        serde_json::from_str(&seen).expect("a line of JSON")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

fn store(archive: &Process, file: &[u8]) {
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let answer = archive.ask("POST", "/v2/studies", &headers, file);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn the_javascript_client_stores_finds_and_retrieves_in_a_page() {
    let Some(chromium) = named("KYMO_TEST_CHROMIUM") else { return };
    let files = root().join("fixtures/dicom");
    let Some(browser) = Browser::start("client.mjs", &[chromium.as_os_str(), files.as_os_str()]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = browser.archive(&folder.path().join("data"), &[]);
    let seen = browser.looks(&json!({"archive": format!("{}/v2", archive.url())}));
    assert_eq!(seen["seen"], "stored, found, retrieved and deleted");
    assert_eq!(seen["failed"], json!([]));
}

/// What `studies.py` makes of compressed pixels, which go out as they are stored.
const COMPRESSED: [&str; 6] = ["rle", "jpeg-ls", "jpeg-2000", "jpeg-2000-lossy", "jpeg", "jpeg-12-bit"];

#[test]
fn ohif_shows_the_study_list_a_series_a_palette_image_compressed_series_and_a_document() {
    let programs = (named("KYMO_TEST_CHROMIUM"), named("KYMO_TEST_OHIF"), named("KYMO_TEST_PYTHON"));
    let (Some(chromium), Some(ohif), Some(python)) = programs else { return };
    let pictures = root().join(".cache/artefacts");
    let arguments = [ohif.as_os_str(), chromium.as_os_str(), pictures.as_os_str()];
    let Some(browser) = Browser::start("ohif.mjs", &arguments) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("files");
    let made = Command::new(python)
        .args([root().join("tests/real/viewers/studies.py"), files.clone()])
        .output()
        .expect("KYMO_TEST_PYTHON can be run");
    let studies: Value = serde_json::from_slice(&made.stdout).expect("a line of JSON");

    // Palettes and documents are shown from bulk data.
    let archive = browser.archive(&folder.path().join("data"), &[BULK_DATA]);
    for file in std::fs::read_dir(&files).expect("a folder") {
        store(&archive, &std::fs::read(file.expect("an entry").path()).expect("a file"));
    }
    let seen = browser.looks(&json!({"archive": format!("{}/v2", archive.url()), "studies": studies}));
    println!("{seen}; screenshots in {}", pictures.display());
    assert_eq!(seen["failed"], json!([]));
    assert!(seen["seen"]["slices"]["greys"].as_u64() >= Some(GREYS), "{seen}");
    let typed = &seen["seen"]["typed"];
    let both = json!({"name": format!("*{}*", typed["part"].as_str().expect("a part")), "fuzzy": "true"});
    assert!(typed["asked"].as_array().is_some_and(|asked| asked.contains(&both)), "{typed}");
    let frames = &seen["asked"]["/studies/UID/series/UID/instances/UID/frames/1"];
    assert!(frames.as_u64() >= Some(6), "{seen}");
    let palette = &seen["seen"]["palette"];
    assert!(palette["greys"].as_u64() >= Some(GREYS) && palette["coloured"].as_u64() > Some(1000), "{seen}");
    assert_eq!(seen["seen"]["document"]["start"], "%PDF-", "{seen}");
    for name in COMPRESSED {
        assert!(seen["seen"][name]["greys"].as_u64() >= Some(GREYS), "{name}: {seen}");
    }
}
