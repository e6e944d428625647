//! The contract of the Studies service, rule by rule (`contract.txt`), and the tests that show it.
//!
//! Left out: authentication and data actions, the 424 rows (shown by `lake`), external metadata headers, the
//! full check as a setting of the server, and what decodes pixels.
//! Elsewhere: the tests themselves, found by their names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all functions in test files and test modules.
fn functions_of_tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions_of_tests(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let of_tests = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_stem().is_some_and(|stem| stem == "tests");
            let tests = match of_tests {
                true => &text[..],
                false => text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests),
            };
            let found = tests.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
            names.extend(found.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_rule_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for folder in ["src", "tests"] {
        functions_of_tests(&root.join(folder), &mut names);
    }
    let rules = include_str!("contract.txt").lines().filter(|line| !line.starts_with('#'));
    let mut sections = BTreeSet::new();
    for rule in rules {
        let mut columns = rule.split('|');
        let (section, tests) = (columns.next().expect("a section"), columns.nth(1).expect("tests"));
        let missing: Vec<_> = tests.split_whitespace().filter(|test| !names.contains(*test)).collect();
        assert!(!tests.is_empty() && missing.is_empty(), "there are no such tests: {missing:?} in: {rule}");
        sections.insert(section);
    }
    for section in ["1.1", "1.8", "2.1", "2.5.5", "2.10", "3.1", "3.7", "3.9", "6"]
        .into_iter()
        .chain(["4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.8", "4.9", "4.10", "4.11"])
    {
        assert!(sections.contains(section), "§{section}");
    }
}
