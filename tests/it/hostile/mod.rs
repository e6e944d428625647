//! Hostile input through HTTP, against the real process: every class of what has broken other archives.
//!
//! Invariant of every test here: no answer is a 5xx, the process stays alive, its memory stays small, nothing
//! is left in staging, and what was good in a request with bad parts is stored, unless the contract refuses the
//! whole request (400, 413, 415).
//! Elsewhere: the same attacks on the scanner alone (`dicom::scan`).

mod attributes;
mod bodies;
mod crowds;
mod framing;
mod mutations;
mod pixels;
mod questions;
mod repetition;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::kit::dicom::Instance;
use crate::kit::process::{Connection, PATIENCE, Process};
use crate::kit::served::Answer;

/// Most memory the process may ever hold.
const MEMORY_KIB: u64 = 512 << 10;
/// Most bad files in one request, and most bytes of them.
const SUSPECTS: usize = 16;
const SUSPECT_BYTES: usize = 16 << 20;
const DICOM_JSON: &str = "application/dicom+json";
const MULTIPART: &str = "multipart/related; type=\"application/dicom\"; boundary=xyz";

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Stored { url: String },
    Refused { reason: u64 },
}

/// A server under attack.
struct Siege {
    name: &'static str,
    process: Process,
    connection: Connection,
    folder: TempDir,
    /// Requests by the status of their answer; 0 is a connection closed without one.
    answers: BTreeMap<u16, u64>,
    files: u64,
    refused: u64,
    good: u64,
    /// Bad files not sent yet.
    suspects: Vec<(String, Vec<u8>)>,
}

impl Siege {
    fn lay(name: &'static str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Process::start(&folder.path().join("data"), flags);
        let connection = process.connect();
        let (answers, suspects) = (BTreeMap::new(), Vec::new());
        Self { name, process, connection, folder, answers, files: 0, refused: 0, good: 0, suspects }
    }

    /// A request on the kept connection. Its answer, which is no 5xx.
    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.connection.ask(method, path, headers, body).or_else(|_| {
            self.connection = self.process.connect();
            self.connection.ask(method, path, headers, body)
        });
        let shown: String = path.chars().take(200).collect();
        let answer = answer.unwrap_or_else(|error| panic!("{}: {method} {shown}: {error}", self.name));
        if answer.header("connection") == Some("close") {
            self.connection = self.process.connect();
        }
        self.judge(&format!("{method} {shown}"), answer.status, &answer);
        answer
    }

    fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[("accept", "*/*")], b"")
    }

    fn post(&mut self, content_type: &str, body: &[u8]) -> Answer {
        self.ask("POST", "/v2/studies", &[("content-type", content_type), ("accept", DICOM_JSON)], body)
    }

    /// Bytes as they are, on a connection of their own. The status, if there is an answer.
    fn raw(&mut self, what: &str, bytes: &[u8]) -> Option<u16> {
        let mut connection = self.process.connect();
        // The server may have answered and closed before everything is written.
        drop(connection.write(bytes));
        self.outcome(what, &mut connection)
    }

    /// The status of an answer that may never come; but then the connection ends.
    fn outcome(&mut self, what: &str, connection: &mut Connection) -> Option<u16> {
        let answer = connection.answer_to("GET");
        match &answer {
            Ok(answer) => self.judge(what, answer.status, answer),
            Err(error) => {
                let waits = error.kind() == std::io::ErrorKind::WouldBlock;
                assert!(!waits, "{}: {what}: no answer and no end", self.name);
                self.judge(what, 0, error);
            }
        }
        answer.ok().map(|answer| answer.status)
    }

    fn judge(&mut self, what: &str, status: u16, answer: &dyn std::fmt::Debug) {
        *self.answers.entry(status).or_default() += 1;
        if status >= 500 {
            let answer: String = format!("{answer:?}").chars().take(2000).collect();
            panic!("{}: {what}: {answer}\n{}", self.name, self.last_words());
        }
    }

    fn last_words(&self) -> String {
        let errors = self.process.errors();
        let lines: Vec<&str> = errors.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Stores one file by itself.
    fn store(&mut self, what: &str, file: &[u8]) -> Fate {
        let answer = self.post("application/dicom", file);
        let fate = fates(&answer).pop();
        let fate = fate.unwrap_or_else(|| panic!("{}: {what}: {answer:?}", self.name));
        self.count(&fate);
        fate
    }

    fn count(&mut self, fate: &Fate) {
        self.files += 1;
        if matches!(fate, Fate::Refused { .. }) {
            self.refused += 1;
        }
    }

    /// A bad file, which goes with others and a good one into one request: only the good one is stored.
    fn expect_refused(&mut self, what: &str, file: &[u8]) {
        self.suspects.push((what.to_owned(), file.to_vec()));
        let bytes: usize = self.suspects.iter().map(|(_, file)| file.len()).sum();
        if self.suspects.len() == SUSPECTS || bytes > SUSPECT_BYTES {
            self.try_suspects();
        }
    }

    fn try_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        self.good += 1;
        let good = Instance::new("2.25.77", "2.25.77.1", &format!("2.25.77.1.{}", self.good)).part10();
        let mut files: Vec<&[u8]> = suspects.iter().map(|(_, file)| file.as_slice()).collect();
        files.insert(files.len() / 2, &good);
        let answer = self.post(MULTIPART, &multipart(&files));
        let stored = fates(&answer).iter().filter(|fate| matches!(fate, Fate::Stored { .. })).count();
        if (answer.status, stored) != (202, 1) {
            for (what, file) in &suspects {
                let fate = self.store(what, file);
                assert!(matches!(fate, Fate::Refused { .. }), "{}: {what} is stored: {fate:?}", self.name);
            }
            panic!("{}: one good file among bad ones: {answer:?}", self.name);
        }
        for fate in fates(&answer) {
            assert!(matches!(fate, Fate::Stored { .. } | Fate::Refused { reason: 43264 }), "{answer:?}");
            self.count(&fate);
        }
    }

    /// Stores a file that is odd but right, and has its bytes back; everything else that is made of it can
    /// be asked for too.
    fn expect_stored(&mut self, what: &str, file: &[u8]) -> String {
        match self.store(what, file) {
            Fate::Stored { url } => {
                self.look_at(what, &url, file);
                url
            }
            Fate::Refused { reason } => panic!("{}: {what} is refused: {reason}", self.name),
        }
    }

    /// Whatever becomes of the file, it does no harm; once stored, it can be asked for.
    fn expect_harmless(&mut self, what: &str, file: &[u8]) -> Fate {
        let fate = self.store(what, file);
        if let Fate::Stored { url } = &fate {
            self.look_at(what, &url.clone(), file);
        }
        fate
    }

    /// The file, its metadata, and what a search shows of it.
    fn look_at(&mut self, what: &str, url: &str, file: &[u8]) {
        let name = self.name;
        let answer = self.ask("GET", url, &[("accept", "application/dicom; transfer-syntax=*")], b"");
        assert_eq!(answer.status, 200, "{name}: {what}: {:?}", answer.headers);
        assert!(answer.bytes() == file, "{name}: {what}: other bytes came back");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/dicom")));
        let answer = self.get(&format!("{url}/metadata"));
        assert_eq!(answer.status, 200, "{name}: {what}: {answer:?}");
        answer.json();
        let (path, uid) = url.split_once("/series/").expect("the URL of an instance");
        let uid = uid.rsplit('/').next().expect("the URL of an instance");
        let query = format!("{path}/instances?includefield=all&SOPInstanceUID={uid}");
        let answer = self.get(&query);
        assert_eq!(answer.status, 200, "{name}: {what}: {answer:?}");
        assert_eq!(answer.json().as_array().map(Vec::len), Some(1), "{name}: {what}: {answer:?}");
    }

    /// The end of it: nothing was harmed.
    fn lift(mut self) {
        let name = self.name;
        if !self.suspects.is_empty() {
            self.try_suspects();
        }
        let answer = self.get("/v2/changefeed/latest?includeMetadata=false");
        assert!([200, 204].contains(&answer.status), "{name}: {answer:?}");
        assert!(self.process.is_alive(), "{name}: the process has ended");
        // Clients that went away are noticed a little later.
        let staged =
            || std::fs::read_dir(self.process.data().join("staging")).expect("a folder").collect::<Vec<_>>();
        let began = Instant::now();
        while !staged().is_empty() && began.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10));
        }
        let staged = staged();
        assert!(staged.is_empty(), "{name}: {staged:?} is left in staging");
        let errors = self.process.errors();
        assert!(!errors.contains("panicked"), "{name}: {}", self.last_words());
        let (now, most) = self.process.memory_kib();
        assert!(most < MEMORY_KIB, "{name}: {most} KiB of memory");
        println!(
            "{name}: {} files, {} refused; answers {:?}; memory {} MiB now, {} MiB at most",
            self.files,
            self.refused,
            self.answers,
            now >> 10,
            most >> 10
        );
        assert!(self.process.stop().success(), "{name}: it does not stop as it should");
        drop(self.folder);
    }
}

/// What a store answers, instance by instance: the refused ones behind the stored ones.
fn fates(answer: &Answer) -> Vec<Fate> {
    if ![200, 202, 409].contains(&answer.status) {
        return Vec::new();
    }
    let json = answer.json();
    let items = |sequence: &str| json[sequence]["Value"].as_array().cloned().unwrap_or_default().into_iter();
    let stored = items("00081199").map(|item: Json| {
        let url = item["00081190"]["Value"][0].as_str().expect("a URL").to_owned();
        let path = url.split_once("archive.example").expect("the URL has the host asked for").1;
        Fate::Stored { url: path.to_owned() }
    });
    let refused = items("00081198")
        .map(|item: Json| Fate::Refused { reason: item["00081197"]["Value"][0].as_u64().expect("a reason") });
    stored.chain(refused).collect()
}

/// Files as the parts of one body.
fn multipart(files: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend_from_slice(b"\r\n--xyz\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(file);
    }
    body.extend_from_slice(b"\r\n--xyz--\r\n");
    body
}

/// A right file with UIDs made of `number`.
fn instance(number: u64) -> Instance {
    Instance::new(&format!("2.25.8{number}"), &format!("2.25.8{number}.1"), &format!("2.25.8{number}.1.1"))
}
