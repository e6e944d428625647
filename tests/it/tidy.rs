//! The rules of the house, as far as a machine can see them.
//!
//! [`ROOMS`] is the table of the architecture: which room may use which, one way only. The rest are sizes,
//! headers, names, and words that belong to one place. Code is looked at without comments and texts.
//! Elsewhere: what rustfmt and Clippy see.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Every room and what it may use besides `base`. Wiring (`app`, `config`, `cli`, `main`, `lib`) may use all.
const ROOMS: [(&str, &[&str]); 12] = [
    ("base", &[]),
    ("dicom", &[]),
    ("event", &["dicom"]),
    ("log", &[]),
    ("blob", &["dicom"]),
    ("codecs", &["dicom"]),
    ("tables", &[]),
    ("archive", &["event", "log", "blob", "tables", "dicom"]),
    ("projections", &["event", "tables", "dicom"]),
    ("workers", &["archive", "projections", "event", "blob", "tables", "dicom"]),
    ("http", &["archive", "projections", "event", "blob", "codecs", "dicom", "ops"]),
    ("ops", &[]),
];
const WIRING: [&str; 5] = ["app", "config", "cli", "main", "lib"];
/// Words of code that belong to one room.
const AT_HOME: [(&str, &str); 3] = [("fjall", "tables"), ("sled", "tables"), ("StatusCode", "http")];
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const VAGUE_NAMES: [&str; 7] = ["Manager", "Helper", "Helpers", "Util", "Utils", "Common", "Impl"];

/// A source file of ours.
struct Source {
    /// Below the root of the repository.
    path: PathBuf,
    text: String,
    /// The text with blanks for comments, texts and characters, line by line as it was.
    code: String,
    /// The same without inline test modules.
    production: String,
}

impl Source {
    fn new(path: PathBuf, text: String) -> Self {
        let code = code_of(&text);
        let production = without_tests(&code);
        Self { path, text, code, production }
    }

    /// Files that hold tests and nothing else.
    fn is_test(&self) -> bool {
        let name = self.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        self.path.starts_with("tests")
            || name == "tests"
            || name.ends_with("_tests")
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }

    /// The room a file of `src` belongs to.
    fn room(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src").ok()?.iter().next()?.to_str()?;
        Some(first.trim_end_matches(".rs"))
    }

    /// How many modules lie between the crate's root and the inside of this file.
    fn depth(&self) -> usize {
        let inner = self.path.components().count() - 1;
        if self.path.ends_with("mod.rs") { inner - 1 } else { inner }
    }
}

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);

fn sources() -> &'static [Source] {
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join("src"), root.join("tests"), root.join("benches")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be listed").path();
            // Packages of their own have rules of their own.
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "dwload") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is UTF-8");
                let path = path.strip_prefix(root).expect("it lies below the root").to_owned();
                files.push(Source::new(path, text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 50, "the sources were not found");
    files
}

/// Blanks for comments, texts and characters; lines stay where they are.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let length = match &bytes[at..] {
            [b'/', b'/', ..] => text[at..].find('\n').unwrap_or(bytes.len() - at),
            [b'/', b'*', ..] => text[at..].find("*/").map_or(bytes.len() - at, |end| end + 2),
            [b'r', b'"' | b'#', ..] if !is_word(bytes, at) => raw_text(&text[at..]),
            [b'"', ..] => quoted(&bytes[at..], b'"'),
            // A lifetime has no second quote close by.
            [b'\'', b'\\', ..] => quoted(&bytes[at..], b'\''),
            [b'\'', rest @ ..] => match text[at + 1..].chars().next().map(char::len_utf8) {
                Some(length) if rest.get(length) == Some(&b'\'') => length + 2,
                Some(_) | None => 0,
            },
            _ => 0,
        };
        for byte in &mut code[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length.max(1);
    }
    String::from_utf8(code).expect("blanks took the place of whole characters")
}

/// Whether a word goes on here, so that `r"` is the end of a name and no raw text. A `b` before it is one.
fn is_word(bytes: &[u8], at: usize) -> bool {
    let word = |at: usize| bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_';
    at > 0 && word(at - 1) && !(bytes[at - 1] == b'b' && (at == 1 || !word(at - 2)))
}

fn raw_text(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if text.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = 2 + hashes;
    text[inside..].find(&end).map_or(text.len(), |found| inside + found + end.len())
}

fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The code with blank lines for `mod tests { … }` and other inline modules under `cfg(test)`.
fn without_tests(code: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let (mut after_cfg, mut inside) = (false, false);
    for line in code.lines() {
        let opens = after_cfg && line.trim_start().starts_with("mod ") && line.ends_with('{');
        inside |= opens;
        kept.push(if inside { "" } else { line });
        // rustfmt puts the brace that closes a module of the file's top level first on its line.
        inside &= line != "}";
        after_cfg = line.trim() == "#[cfg(test)]";
    }
    kept.join("\n")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// `ScanManagerError` is `Scan`, `Manager`, `Error`.
fn parts_of_name(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for c in name.chars() {
        match parts.last_mut() {
            Some(part) if !c.is_uppercase() => part.push(c),
            Some(_) | None => parts.push(c.to_string()),
        }
    }
    parts
}

/// Names that follow `crate::`, those in braces included, each with its line.
fn used_rooms(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(list) => {
                let (mut depth, mut start, mut names) = (0, 0, Vec::new());
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            names.push(&list[start..at]);
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            names.push(&list[start..at]);
                            start = at + 1;
                        }
                        _ => {}
                    }
                }
                names
            }
        };
        used.extend(names.into_iter().filter_map(|name| Some((line, words(name).next()?.to_owned()))));
    }
    used
}

/// Fails with every finding, each with its place.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

fn place(source: &Source, line: usize) -> String {
    format!("{}:{line}", source.path.display())
}

#[test]
fn rooms_use_each_other_one_way_only() {
    let rooms: BTreeMap<_, _> = ROOMS.into_iter().collect();
    let mut findings = Vec::new();
    for source in sources() {
        let Some(room) = source.room() else { continue };
        if WIRING.contains(&room) {
            continue;
        }
        let Some(may_use) = rooms.get(room) else {
            findings.push(format!("{} lies in no room of the table", source.path.display()));
            continue;
        };
        for (line, used) in used_rooms(&source.code) {
            let fine = used == room || used == "base" || may_use.contains(&used.as_str());
            if !fine {
                findings.push(format!("{}: {room} uses {used}", place(source, line)));
            }
        }
    }
    report("architecture §3 allows no such use", &findings);
}

/// What is only reached by `super` from inside a room is not seen by the table.
#[test]
fn nobody_leaves_a_room_by_the_back_door() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.room().is_some()) {
        for (number, (line, kept)) in source.code.lines().zip(source.production.lines()).enumerate() {
            // A module of tests in the file itself lies one deeper.
            let nested = usize::from(line != kept);
            if longest_climb(line) >= source.depth() + nested {
                findings.push(place(source, number + 1));
            }
        }
    }
    report("`super` leads out of the room; write `crate::` so that the table sees it", &findings);
}

fn longest_climb(line: &str) -> usize {
    let mut longest = 0;
    let mut rest = line;
    while let Some(at) = rest.find("super::") {
        rest = &rest[at..];
        let climb = rest.split("::").take_while(|part| *part == "super").count();
        longest = longest.max(climb);
        rest = &rest["super::".len() * climb..];
    }
    longest
}

#[test]
fn files_and_functions_fit_their_limits() {
    let mut findings = Vec::new();
    for source in sources() {
        let tests = source.text.lines().count() - production_lines(source);
        let lines = source.text.lines().count() - tests;
        if !source.is_test() && lines > FILE_LINES {
            findings.push(format!("{} has {lines} lines", source.path.display()));
        }
        for (line, name, length) in functions(&source.code) {
            if length > FUNCTION_LINES {
                findings.push(format!("{}: {name} has {length} lines", place(source, line)));
            }
        }
    }
    report("files have at most 500 lines without tests, functions 70", &findings);
}

/// Lines up to the inline tests, which end a file.
fn production_lines(source: &Source) -> usize {
    let lines = source.code.lines().collect::<Vec<_>>();
    let tests = lines.windows(2).position(|two| {
        two[0].trim() == "#[cfg(test)]" && two[1].starts_with("mod ") && two[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

/// Line, name and length of each function. rustfmt closes a body where its `fn` begins.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    const BEFORE: [&str; 6] = ["pub", "crate", "super", "in", "async", "const"];
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((head, name)) = line.split_once("fn ") else { continue };
        if head.contains(['=', '<', '&', '|']) || !words(head).all(|word| BEFORE.contains(&word)) {
            continue;
        }
        // A declaration ends in a semicolon, a body of one line in a brace.
        let opens = lines[at..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if opens.is_none_or(|line| !line.ends_with('{')) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
        let length = lines[at..].iter().position(|line| line.starts_with(&closing)).map_or(0, |end| end + 1);
        found.push((at + 1, words(name).next().unwrap_or_default().to_owned(), length));
    }
    found
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut findings = Vec::new();
    for source in sources() {
        let first = source.text.lines().next().unwrap_or_default();
        let said = first.strip_prefix("//! ").is_some_and(|said| said.len() > 10);
        if !said && !source.text.trim().is_empty() {
            findings.push(source.path.display().to_string());
        }
    }
    report("a file begins with a header that says what it answers", &findings);
}

#[test]
fn names_say_what_things_are() {
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            let mut before = "";
            for word in words(line) {
                let names = ["struct", "enum", "trait", "type", "union"].contains(&before);
                let vague = |part: &String| VAGUE_NAMES.contains(&part.as_str());
                if names && parts_of_name(word).iter().any(vague) {
                    findings.push(format!("{}: {word}", place(source, number + 1)));
                }
                let module =
                    before == "mod" && VAGUE_NAMES.iter().any(|name| name.eq_ignore_ascii_case(word));
                if module {
                    findings.push(format!("{}: mod {word}", place(source, number + 1)));
                }
                before = word;
            }
        }
    }
    report("a name that fits everything says nothing", &findings);
}

#[test]
fn words_are_used_where_they_belong() {
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for word in words(line).filter(|word| unfinished.contains(word)) {
                findings.push(format!("{}: {word}", place(source, number + 1)));
            }
        }
        let Some(room) = source.room() else { continue };
        for (number, line) in source.code.lines().enumerate() {
            for (word, home) in AT_HOME {
                if room != home && words(line).any(|found| found == word) {
                    findings.push(format!("{}: {word} outside of {home}", place(source, number + 1)));
                }
            }
        }
        if source.is_test() {
            continue;
        }
        for (number, line) in source.production.lines().enumerate() {
            if line.contains(".unwrap()") {
                findings.push(format!("{}: unwrap", place(source, number + 1)));
            }
        }
    }
    report("what is unfinished, out of place or may panic without a reason", &findings);
}

/// What speaks to C stands alone, and runs only in a process of its own (`codecs::worker`).
#[test]
fn only_bindings_to_c_are_unsafe() {
    let foreign = Path::new("src").join("codecs").join("foreign");
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with(&foreign)) {
        for (number, line) in source.code.lines().enumerate() {
            // A lint of this name may be spoken of; the table of lints denies it.
            if words(line).any(|word| word == "unsafe" || word == "unsafe_code") {
                findings.push(place(source, number + 1));
            }
        }
    }
    report("`unsafe` stands in src/codecs/foreign alone", &findings);
}

/// The rules above are as good as their reading of the code.
#[test]
fn the_reading_of_code_is_right() {
    let text =
        "let a = \"// crate::http\"; // crate::log\nlet b = 'x'; let c: &'a str = r#\"\"crate::ops\"#;\n";
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("crate"), "{code}");
    assert!(code.contains("let c: &'a str ="), "{code}");
    let used = used_rooms("use crate::{base::{Clock, Ids}, log::Log};\nlet x = crate::event::codec::decode;");
    let used: Vec<_> = used.iter().map(|(line, room)| (*line, room.as_str())).collect();
    assert_eq!(used, [(1, "base"), (1, "log"), (2, "event")]);
    let code = "fn a() {\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
    assert_eq!(without_tests(code).matches("fn ").count(), 1);
    let long = format!(
        "    pub(crate) async fn long(\n        a: u8,\n    ) {{\n{}    }}\n",
        "        x();\n".repeat(9)
    );
    let declared = format!("trait T {{\n    fn declared(&self);\n{long}}}\n");
    assert_eq!(functions(&declared), [(3, "long".to_owned(), 13)]);
    assert_eq!(parts_of_name("ImplicitLittle"), ["Implicit", "Little"]);
    assert_eq!(longest_climb("use super::super::state; use super::Step;"), 2);
}
