//! The change feed of the real program as its consumers read it: page by page, window by window, while others
//! write (`change-feed.md` §2, §5, §8).

use std::collections::BTreeSet;

use kymo::base::{Clock, Stamp, SystemClock};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::kit::dicom::Instance;
use crate::kit::history::{delete, send};
use crate::kit::process::{Connection, Process};

fn start() -> (tempfile::TempDir, Process) {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &["--trace", "warn"]);
    (folder, archive)
}

fn rows(connection: &mut Connection, path: &str) -> Vec<Value> {
    let answer = connection.ask("GET", path, &[], b"").expect("it answers");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type").map(|kind| kind.starts_with("application/json")), Some(true));
    answer.json().as_array().expect("an array").clone()
}

fn sequences(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["sequence"].as_u64().expect("a number")).collect()
}

fn column(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap_or("-").to_owned()).collect()
}

/// A time in a query string.
fn query(time: Stamp) -> String {
    time.to_string().replace('+', "%2B")
}

fn instance(study: &str) -> Instance {
    Instance::new(study, &format!("{study}.1"), &format!("{study}.1.1"))
}

/// The table of §5, and what `state` brings with it: metadata and file are those of the version alive now.
#[test]
fn states_are_those_of_the_worked_sequences() {
    let (_folder, archive) = start();
    let mut connection = archive.connect();
    let table: [(&str, &[&str], &[&str]); 6] = [
        ("1.2.1", &["create"], &["Current"]),
        ("1.2.2", &["create", "delete"], &["Deleted", "Deleted"]),
        ("1.2.3", &["create", "delete", "create"], &["Replaced", "Replaced", "Current"]),
        ("1.2.4", &["create", "update"], &["Replaced", "Current"]),
        ("1.2.5", &["create", "update", "update"], &["Replaced", "Replaced", "Current"]),
        ("1.2.6", &["create", "update", "delete"], &["Deleted", "Deleted", "Deleted"]),
    ];
    // Step by step over all histories, so that the rows of one instance lie between those of others.
    for step in 0..3 {
        for (study, history, _) in table {
            let file = instance(study).patient(&format!("P-{step}"), "Doe");
            match history.get(step) {
                Some(&"create") => send(&mut connection, "POST", &file),
                Some(&"update") => send(&mut connection, "PUT", &file),
                Some(&"delete") => delete(&mut connection, &format!("/v2/studies/{study}")),
                _ => {}
            }
        }
    }
    for path in ["/v1/changefeed?limit=100", "/v2/changefeed", "/v1.0-prerelease/changefeed?limit=100"] {
        let all = rows(&mut connection, path);
        assert_eq!(sequences(&all), (1..=14).collect::<Vec<_>>());
        for (study, history, states) in table {
            let mine: Vec<_> = all.iter().filter(|row| row["studyInstanceUid"] == study).cloned().collect();
            assert_eq!(column(&mine, "state"), states, "{path} {history:?}");
            let actions: Vec<_> = history.iter().map(|step| step[..1].to_uppercase() + &step[1..]).collect();
            assert_eq!(column(&mine, "action"), actions, "{path} {history:?}");
            let alive = states.last() == Some(&"Current");
            let newest = format!("P-{}", history.len() - 1);
            for (row, action) in mine.iter().zip(history) {
                let patient = row.pointer("/metadata/00100020/Value/0").and_then(Value::as_str);
                assert_eq!(patient, alive.then_some(newest.as_str()), "{history:?}: {row}");
                assert_eq!(row.get("filePath").is_some(), *action != "delete", "{history:?}: {row}");
            }
            let paths: BTreeSet<_> = mine.iter().filter_map(|row| row["filePath"].as_str()).collect();
            // While an instance lives all its rows name its one file; afterwards each the file it had.
            let files = if alive { 1 } else { history.iter().filter(|step| **step != "delete").count() };
            assert_eq!(paths.len(), files, "{path} {history:?}");
        }
    }
    let properties = "action filePath metadata partitionName seriesInstanceUid sequence sopInstanceUid state \
                      studyInstanceUid timestamp";
    let current = rows(&mut connection, "/v2/changefeed?limit=1");
    let names: BTreeSet<_> = current[0].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, properties.split_whitespace().collect());
}

#[test]
fn the_rows_of_one_deletion_follow_each_other_and_have_one_time() {
    let (_folder, archive) = start();
    let mut connection = archive.connect();
    for series in 1..=3 {
        for number in 1..=4 {
            let series = format!("1.2.{series}");
            send(&mut connection, "POST", &Instance::new("1.2", &series, &format!("{series}.{number}")));
        }
    }
    delete(&mut connection, "/v2/studies/1.2/series/1.2.2/instances/1.2.2.3");
    delete(&mut connection, "/v2/studies/1.2/series/1.2.2");
    delete(&mut connection, "/v2/studies/1.2");
    let all = rows(&mut connection, "/v1/changefeed?limit=100&includeMetadata=false");
    assert_eq!(column(&all[..12], "action"), ["Create"; 12]);
    assert_eq!(column(&all[12..], "action"), ["Delete"; 12]);
    assert_eq!(column(&all, "state"), ["Deleted"; 24]);
    let uids = |rows: &[Value]| column(rows, "sopInstanceUid").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(uids(&all[12..13]), ["1.2.2.3".to_owned()].into());
    assert!(column(&all[13..16], "seriesInstanceUid").iter().all(|series| series == "1.2.2"));
    assert_eq!(uids(&all[12..]), uids(&all[..12]), "each instance is deleted once");
    for rows in [&all[13..16], &all[16..24]] {
        let times: BTreeSet<_> = column(rows, "timestamp").into_iter().collect();
        assert_eq!(times.len(), 1, "{times:?}");
    }
}

/// Rules 1 and 2 of §8, by both ways of reading, while four others write.
#[test]
fn consumers_miss_nothing_and_see_nothing_twice_while_others_write() {
    const WRITERS: usize = 4;
    const EACH: usize = 12;
    let (_folder, archive) = start();
    let begin = SystemClock.now();
    let (by_sequence, mut by_time, mut windows) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let archive = &archive;
                scope.spawn(move || {
                    let mut connection = archive.connect();
                    for number in 0..EACH {
                        let study = format!("1.2.{writer}.{number}");
                        send(&mut connection, "POST", &instance(&study));
                        send(&mut connection, "PUT", &instance(&study));
                        delete(&mut connection, &format!("/v2/studies/{study}"));
                    }
                })
            })
            .collect();
        let by_sequence = scope.spawn(|| {
            let (mut connection, mut seen) = (archive.connect(), Vec::new());
            while seen.len() < WRITERS * EACH * 3 {
                let last = seen.len();
                let path = format!("/v1/changefeed?offset={last}&limit=7&includeMetadata=false");
                seen.extend(rows(&mut connection, &path));
                assert_eq!(
                    sequences(&seen[last..]),
                    (last as u64 + 1..=seen.len() as u64).collect::<Vec<_>>()
                );
            }
            seen
        });
        let mut connection = archive.connect();
        let (mut seen, mut windows, mut from) = (Vec::new(), Vec::new(), begin);
        while !writers.iter().all(|writer| writer.is_finished()) {
            let now = SystemClock.now();
            let window = format!("startTime={}&endTime={}", query(from), query(now));
            let found = read_window(&mut connection, &window);
            seen.extend(found.clone());
            windows.push((window, found));
            from = now;
        }
        (by_sequence.join().expect("it reads"), seen, (windows, from))
    });
    let mut connection = archive.connect();
    by_time.extend(read_window(&mut connection, &format!("startTime={}", query(windows.1))));
    let identity = |rows: &[Value]| -> Vec<String> {
        let names = ["sequence", "action", "sopInstanceUid", "timestamp"];
        rows.iter().map(|row| names.map(|name| row[name].to_string()).join(" ")).collect()
    };
    assert_eq!(identity(&by_sequence), identity(&by_time));
    assert_eq!(by_sequence.len(), WRITERS * EACH * 3);
    // Whatever has been served stays: nothing has come into a window whose end had come.
    eprintln!("{} windows", windows.0.len());
    assert!(!windows.0.is_empty(), "others wrote while they were read");
    for (window, found) in windows.0.drain(..) {
        assert_eq!(identity(&read_window(&mut connection, &window)), identity(&found), "{window}");
    }
}

/// All rows of a v2 window, in pages; a page that is not full is the last.
fn read_window(connection: &mut Connection, window: &str) -> Vec<Value> {
    let mut read = Vec::new();
    loop {
        let offset = read.len();
        let path = format!("/v2/changefeed?{window}&offset={offset}&limit=5&includeMetadata=false");
        let page = rows(connection, &path);
        let full = page.len() == 5;
        read.extend(page);
        if !full {
            return read;
        }
    }
}

#[test]
fn windows_are_exact_to_the_tick_and_take_every_zone() {
    let (_folder, archive) = start();
    let mut connection = archive.connect();
    for number in 1..=5 {
        send(&mut connection, "POST", &instance(&format!("1.2.{number}")));
    }
    let all = rows(&mut connection, "/v2/changefeed");
    let time = |row: usize| -> Stamp {
        let text = all[row]["timestamp"].as_str().expect("a time");
        assert!(text.len() == 33 && text.ends_with("+00:00"), "{text}");
        let time = OffsetDateTime::parse(text, &Rfc3339).expect("a time");
        Stamp(i64::try_from(time.unix_timestamp_nanos() / 100).expect("a time of today"))
    };
    let tick = |stamp: Stamp, ticks: i64| query(Stamp(stamp.0 + ticks));
    let mut window =
        |parameters: &str| sequences(&rows(&mut connection, &format!("/v2/changefeed?{parameters}")));
    assert_eq!(window(&format!("startTime={}", tick(time(4), 0))), [5]);
    assert_eq!(window(&format!("startTime={}", tick(time(4), 1))), [0; 0]);
    assert_eq!(window(&format!("endTime={}", tick(time(1), 0))), [1]);
    assert_eq!(window(&format!("endTime={}", tick(time(1), 1))), [1, 2]);
    assert_eq!(window(&format!("startTime={}&endTime={}", tick(time(2), 0), tick(time(2), 1))), [3]);
    assert_eq!(window("startTime=1999-12-31T23:59:59Z&endTime=2000-01-01T00:00:00-05:30"), [0; 0]);
    assert_eq!(window("startTime=2000-01-01T00:00:00.5-08:00&endTime=2999-01-01T00:00:00Z"), [1, 2, 3, 4, 5]);
    assert_eq!(window("startTime=&endTime=&limit=&offset=&includeMetadata="), [1, 2, 3, 4, 5]);
    assert_eq!(window("offset=5"), [0; 0]);
    assert_eq!(window("offset=9223372036854775807"), [0; 0]);

    let latest = |path: &str| archive.get(path).json();
    for version in ["v1", "v2"] {
        assert_eq!(latest(&format!("/{version}/changefeed/latest")), all[4]);
        let bare = latest(&format!("/{version}/changefeed/latest?includeMetadata=FALSE"));
        assert_eq!((&bare["sequence"], bare.get("metadata")), (&json!(5), None));
    }
}

/// §2.4: what is wrong is named, what is unknown is passed over.
#[test]
fn wrong_parameters_are_named_and_unknown_ones_passed_over() {
    let (_folder, archive) = start();
    for (parameter, values) in [
        ("limit", &["0", "-1", "101", "201", "ten", "1.5", "99999999999"][..]),
        ("offset", &["-1", "x", "92233720368547758070", "1e3"]),
        ("includeMetadata", &["0", "1", "yes", "true-ish", "boolean"]),
    ] {
        for value in values {
            for version in ["v1", "v1.0-prerelease", "v2"] {
                let answer = archive.get(&format!("/{version}/changefeed?{parameter}={value}"));
                if version == "v2" && *value == "101" {
                    assert_eq!(answer.status, 200);
                    continue;
                }
                assert_eq!(answer.status, 400, "{version} {parameter}={value}");
                let said = answer.text();
                let start = format!("The query parameter '{parameter}' is invalid.");
                assert!(said.starts_with(&start) && said.len() > start.len() + 10, "{said}");
            }
        }
    }
    let (early, late) = ("2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z");
    for (query, named) in [
        ("startTime=2023-05-03T10:58:00".to_owned(), "startTime"),
        ("startTime=yesterday".to_owned(), "startTime"),
        ("endTime=2023-05-03".to_owned(), "endTime"),
        ("endTime=2023-13-03T10:58:00Z".to_owned(), "endTime"),
        (format!("startTime={late}&endTime={early}"), "endTime"),
        (format!("startTime={early}&endTime={early}"), "endTime"),
    ] {
        let answer = archive.get(&format!("/v2/changefeed?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(&format!("'{named}'")), "{query}: {answer:?}");
        let ignored = archive.get(&format!("/v1/changefeed?{query}"));
        assert_eq!(ignored.status, 200, "times mean nothing to v1: {query}");
    }
    for query in ["a=<b", "a=%3cb", "a=%3Cb"] {
        for path in ["changefeed", "changefeed/latest"] {
            let answer = archive.get(&format!("/v2/{path}?{query}"));
            assert_eq!(answer.status, 400, "{path}?{query}");
        }
    }
    for query in ["nonsense=1", "limit=200&includeMetadata=TRUE", "offset=3&LIMIT=7"] {
        assert_eq!(archive.get(&format!("/v2/changefeed?{query}")).json(), json!([]), "{query}");
    }
    assert_eq!(archive.get("/v2/changefeed/latest?includeMetadata=no").status, 400);
    for version in ["v1", "v2"] {
        let latest = archive.get(&format!("/{version}/changefeed/latest"));
        assert_eq!((latest.status, latest.bytes()), (204, &b""[..]));
        assert_eq!(archive.get(&format!("/{version}/partitions/Microsoft.Default/changefeed")).status, 404);
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            for path in ["changefeed", "changefeed/latest"] {
                let answer = archive.ask(method, &format!("/{version}/{path}"), &[], b"");
                assert_eq!(answer.status, 405, "{method} {path}");
            }
        }
        assert_eq!(archive.ask("HEAD", &format!("/{version}/changefeed"), &[], b"").status, 200);
    }
}
