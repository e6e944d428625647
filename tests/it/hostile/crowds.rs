//! Many at once: who holds much memory, or many connections, does not stop the others.

use std::thread::scope;

use super::{DICOM_JSON, Fate, Siege, fates, instance};
use crate::kit::dicom::{Instance, Value};
use crate::kit::process::Connection;

/// A file with so much text beside its pixels.
fn wordy(number: u64, mebibytes: usize, letter: u8) -> Instance {
    instance(number).element(0x0040_A160, "UT", Value::Bytes(vec![letter; mebibytes << 20]))
}

#[test]
fn long_headers_do_not_stop_short_ones() {
    let mut siege = Siege::lay("long headers", &[]);
    let file = wordy(1, 60, b'x').part10();
    let head = format!(
        "POST /v2/studies HTTP/1.1\r\nHost: a\r\nAccept: {DICOM_JSON}\r\nContent-Type: application/dicom\r\nContent-Length: {}\r\n\r\n",
        file.len()
    );
    // Each sends almost all of it, and then nothing; together they want more than there is.
    let mut holding: Vec<Connection> = (0..4).map(|_| siege.process.connect()).collect();
    scope(|scope| {
        for connection in &mut holding {
            connection.give_up_after(std::time::Duration::from_secs(2));
            scope.spawn(|| drop(connection.write(&[head.as_bytes(), &file[..file.len() - 100]].concat())));
        }
    });
    for n in 2..20 {
        siege.expect_stored("a short one", &instance(n).part10());
    }
    drop(holding);
    siege.lift();
}

#[test]
fn many_long_headers_are_stored_one_after_the_other() {
    let mut siege = Siege::lay("many long headers", &[]);
    let address = siege.process.address();
    let answers: Vec<_> = scope(|scope| {
        let store = |n| {
            move || {
                let mut connection = Connection::to(address).expect("it takes connections");
                let headers = [("content-type", "application/dicom"), ("accept", DICOM_JSON)];
                connection
                    .ask("POST", "/v2/studies", &headers, &wordy(n, 20, b'x').part10())
                    .expect("it answers")
            }
        };
        let storing: Vec<_> = (1..=8).map(|n| scope.spawn(store(n))).collect();
        storing.into_iter().map(|storing| storing.join().expect("no panic")).collect()
    });
    for answer in &answers {
        assert_eq!((answer.status, fates(answer).len()), (200, 1), "{answer:?}");
    }
    siege.get("/v2/studies");
    siege.lift();
}

#[test]
fn text_that_grows_when_it_is_written_as_json_is_bounded() {
    let mut siege = Siege::lay("growing text", &[]);
    for (n, letter) in (1..).zip([0x01, b'\\']) {
        let file = wordy(n, 25, letter).element(0x0008_0119, "UC", Value::Bytes(vec![letter; 25 << 20]));
        siege.expect_refused("text that grows", &file.part10());
    }
    siege.lift();
}

#[test]
fn large_metadata_may_be_asked_for_by_many() {
    let mut siege = Siege::lay("large metadata", &[]);
    for n in 1..=2 {
        let file = wordy(n, 40, b'x').element(0x0008_0119, "UC", Value::Bytes(vec![b'y'; 30 << 20]));
        assert!(matches!(siege.store("a long one", &file.part10()), Fate::Stored { .. }));
    }
    let address = siege.process.address();
    let asked = [
        ("/v2/studies/2.25.81/metadata", 70),
        ("/v2/studies/2.25.82/series/2.25.82.1/metadata", 70),
        ("/v2/changefeed", 140),
        ("/v2/instances?includefield=0040A160,00080119", 140),
        ("/v2/changefeed/latest", 70),
    ];
    scope(|scope| {
        for (path, mebibytes) in asked.iter().cycle().take(8) {
            scope.spawn(move || {
                let mut connection = Connection::to(address).expect("it takes connections");
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: application/dicom+json\r\nConnection: close\r\n\r\n"
                );
                connection.write(request.as_bytes()).expect("it is read");
                let bytes = connection.count_to_end().expect("it answers");
                assert!(bytes >> 20 >= *mebibytes, "{path}: {bytes} bytes");
            });
        }
    });
    siege.lift();
}

#[test]
fn idle_connections_are_many_and_cheap() {
    let mut siege = Siege::lay("connections", &[]);
    let idle: Vec<Connection> = (0..400).map(|_| siege.process.connect()).collect();
    for n in 1..4 {
        siege.expect_stored("a file", &instance(n).part10());
    }
    drop(idle);
    siege.lift();
}
