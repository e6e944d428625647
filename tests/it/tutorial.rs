//! The vendor's cURL tutorial, all its commands as printed, with real curl against the real program
//! (`studies.md` §9). `tutorial.curl` holds one command a line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::kit::dicom::{EXPLICIT_LITTLE, SERIES, STUDY};
use crate::kit::ground::{Ground, on_every_ground};
use crate::kit::process::Process;
use crate::kit::served::Answer;

const COMMANDS: &str = include_str!("tutorial.curl");

/// Somebody who types what the tutorial prints.
struct Reader {
    archive: Process,
    /// Where they type; curl leaves its files here.
    folder: tempfile::TempDir,
    version: &'static str,
}

impl Reader {
    fn of(version: &'static str, ground: &Ground) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { archive: ground.start(&folder.path().join("data"), &[]), folder, version }
    }

    /// A command with this archive's values in the places that the tutorial leaves open.
    fn filled(&self, command: &str) -> String {
        command
            .replace("{Service URL}", &self.archive.url())
            .replace("{version}", self.version)
            .replace("{token value}", "none")
            .replace("{path-to-dicoms}", &shapes().to_string_lossy())
    }

    /// Runs a line in a shell.
    fn typed(&self, line: &str) -> Output {
        Command::new("sh")
            .args(["-c", line])
            .current_dir(self.folder.path())
            // Neither a .curlrc nor a proxy of whoever runs the tests.
            .env("HOME", self.folder.path())
            .env("CURL_HOME", self.folder.path())
            .env("NO_PROXY", "*")
            .output()
            .expect("there is a shell")
    }

    /// Runs a command of the tutorial and reads its answer.
    fn runs(&self, command: &str) -> Answer {
        let body = if command.contains("--output") { "suppressWarnings.txt" } else { "body" };
        let (head, body) = (self.folder.path().join("head"), self.folder.path().join(body));
        drop((std::fs::remove_file(&head), std::fs::remove_file(&body)));
        let mut line = format!("{} --silent --show-error --dump-header head", self.filled(command));
        if !command.contains("--output") {
            line += " --output body";
        }
        let ran = self.typed(&line);
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
        let head = std::fs::read_to_string(head).expect("curl has dumped the headers");
        // 100 Continue comes with a head of its own.
        let head = head.trim_end().split("\r\n\r\n").last().expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        // Without a body curl writes no file.
        Answer { status, headers, body: Ok(Bytes::from(std::fs::read(body).unwrap_or_default())) }
    }

    fn feed(&self) -> Vec<Value> {
        let feed = self.archive.get("/v2/changefeed?includeMetadata=false").json();
        feed.as_array().expect("an array").clone()
    }

    /// What the newest row of the feed says happened.
    fn last_action(&self) -> String {
        let feed = self.feed();
        feed.last().and_then(|row| row["action"].as_str()).expect("an action").to_owned()
    }
}

fn shapes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dicom")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(shapes().join(name)).expect("the tutorial's files are checked in")
}

fn items(answer: &Answer) -> usize {
    answer.json().as_array().map_or(0, Vec::len)
}

/// The files in a multipart answer, in a fixed order.
fn files(answer: &Answer) -> Vec<Vec<u8>> {
    let kind = format!("application/dicom; transfer-syntax={EXPLICIT_LITTLE}");
    let mut files = Vec::new();
    for (part, bytes) in answer.parts() {
        assert_eq!(part, kind);
        files.push(bytes);
    }
    files.sort();
    files
}

fn sorted(names: &[&str]) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = names.iter().map(|name| file(name)).collect();
    files.sort();
    files
}

/// Every command once, in the order printed, on a clean archive.
fn the_tutorial(version: &'static str, ground: &Ground) {
    let reader = Reader::of(version, ground);
    let commands: Vec<&str> = COMMANDS.lines().collect();
    assert_eq!(commands.len(), 22);
    let base = format!("{}/v{version}", reader.archive.url());
    for (index, command) in commands.iter().enumerate() {
        let number = index + 1;
        if number == 22 {
            // No shell can run it: `curl--request`, and a quotation mark that is not closed.
            assert!(!reader.typed(&reader.filled(command)).status.success());
            the_last_command(&reader, &base);
            continue;
        }
        let answer = reader.runs(command);
        let expected = match number {
            10 => 404,
            20 | 21 => 204,
            _ => 200,
        };
        assert_eq!(answer.status, expected, "command {number}: {answer:?}");
        match number {
            1..=6 => stored(&reader, number, &answer, &base),
            7 => assert_eq!(
                files(&answer),
                sorted(&["red-triangle.dcm", "green-square.dcm", "blue-circle.dcm"])
            ),
            8 => assert_eq!(items(&answer), 3),
            9 => assert_eq!(files(&answer), sorted(&["red-triangle.dcm", "green-square.dcm"])),
            10 => {
                let answer = reader.runs(&command.replace("studies1.2", "studies/1.2"));
                assert_eq!((answer.status, items(&answer)), (200, 2));
            }
            11 => {
                let kind = format!("application/dicom; transfer-syntax={EXPLICIT_LITTLE}");
                assert_eq!(answer.header("content-type"), Some(kind.as_str()));
                assert!(answer.bytes() == file("red-triangle.dcm"), "byte for byte as stored");
            }
            13 => {
                let parts = answer.parts();
                let kind = format!("application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}");
                assert_eq!((parts.len(), &parts[0].0), (1, &kind));
                // The last element: one frame of 75 × 75 pixels of three bytes, and a byte of padding.
                let red = file("red-triangle.dcm");
                assert!(parts[0].1 == red[red.len() - 1 - 75 * 75 * 3..red.len() - 1]);
            }
            12 | 14..=19 => assert_eq!(items(&answer), 1, "command {number}"),
            _ => {
                assert!(answer.bytes().is_empty());
                assert_eq!(reader.last_action(), "Delete");
            }
        }
    }
    let feed = reader.feed();
    assert_eq!(feed.len(), 9);
    assert!(feed.iter().all(|row| row["state"] == "Deleted"));
}

/// Commands 1 to 6: three stores, then the same three as replacements.
fn stored(reader: &Reader, number: usize, answer: &Answer, base: &str) {
    let body = answer.json();
    assert_eq!(body["00081199"]["Value"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(body.get("00081198"), None, "nothing failed");
    let study = match number {
        2 | 5 => Some(Value::from(format!("{base}/studies/{STUDY}"))),
        _ => None,
    };
    assert_eq!(body.pointer("/00081190/Value/0"), study.as_ref());
    assert_eq!(reader.last_action(), if number <= 3 { "Create" } else { "Update" });
    assert_eq!(reader.feed().len(), number);
}

/// Command 22, corrected: once with the UID as it is printed, once with all of it.
fn the_last_command(reader: &Reader, base: &str) {
    for (study, status) in [("1.2.826.0.1.3680043.8.498", 404), (STUDY, 204), (STUDY, 404)] {
        let command = format!(
            "curl --request DELETE \"{base}/studies/{study}\" --header \"Authorization: Bearer none\""
        );
        assert_eq!(reader.runs(&command).status, status, "{study}");
    }
}

on_every_ground! {
    all_commands_give_what_the_contract_says_in_version_1
    all_commands_give_what_the_contract_says_in_version_2
    the_other_forms_of_the_header_work_when_the_body_agrees
}

fn all_commands_give_what_the_contract_says_in_version_1(ground: &Ground) {
    the_tutorial("1", ground);
}

fn all_commands_give_what_the_contract_says_in_version_2(ground: &Ground) {
    the_tutorial("2", ground);
}

/// The tutorial names three more forms of the header for tools that make their own boundary.
fn the_other_forms_of_the_header_work_when_the_body_agrees(ground: &Ground) {
    let reader = Reader::of("2", ground);
    let body = [
        b"--ABCD1234\r\nContent-Type: application/dicom\r\n\r\n",
        &file("red-triangle.dcm")[..],
        b"\r\n--ABCD1234--\r\n",
    ];
    std::fs::write(reader.folder.path().join("upload"), body.concat()).expect("the folder is there");
    let own_boundary = "--data-binary @upload";
    let curls_boundary = "--form \"file1=@{path-to-dicoms}/red-triangle.dcm;type=application/dicom\"";
    for method in ["POST", "PUT"] {
        for (header, body) in [
            (r#"multipart/related; type=\"application/dicom\"; boundary=ABCD1234"#, own_boundary),
            ("multipart/related; boundary=ABCD1234", own_boundary),
            ("multipart/related", curls_boundary),
        ] {
            let answer = reader.runs(&format!(
                "curl --request {method} \"{{Service URL}}/v{{version}}/studies\" \
                 --header \"Accept: application/dicom+json\" --header \"Content-Type: {header}\" {body}"
            ));
            assert_eq!(answer.status, 200, "{method} {header}: {answer:?}");
            if method == "POST" {
                let delete =
                    format!("curl --request DELETE \"{{Service URL}}/v{{version}}/studies/{STUDY}\"");
                assert_eq!(reader.runs(&delete).status, 204);
            }
        }
    }
    let series =
        format!("curl \"{{Service URL}}/v2/studies/{STUDY}/series/{SERIES}\" --header \"Accept: */*\"");
    assert_eq!(files(&reader.runs(&series)), sorted(&["red-triangle.dcm"]));
}
