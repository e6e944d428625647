//! Thousands of failed requests: memory and staging stay as they were after the first hundreds.

use super::{DICOM_JSON, MULTIPART, Siege, fates, instance, multipart};
use crate::kit::dicom::{PIXEL_DATA, STUDY_UID, Value};

const ROUNDS: usize = 1000;
/// What an allocator may keep, and the sums of a view at work in the background.
const GROWTH_KIB: u64 = 24 << 10;

#[test]
fn failed_requests_leave_nothing_behind() {
    let mut siege = Siege::lay("repetition", &[]);
    let whole = instance(1).element(PIXEL_DATA, "OW", Value::Words(vec![1; 40_000])).part10();
    let (cut, invalid) = (&whole[..whole.len() - 9], instance(2).without(STUDY_UID).part10());
    let unclosed = multipart(&[&whole]);
    let unclosed = &unclosed[..unclosed.len() - 6];
    let foreign =
        [&unclosed[..unclosed.len() - 5], b"\r\n--xyz\r\nContent-Type: text/html\r\n\r\nx\r\n--xyz--"]
            .concat();
    siege.expect_stored("the file itself", &whole);
    let mut memory = Vec::new();
    let mut requests = 0;
    for round in 0..ROUNDS {
        for (expected, kind, body) in [
            (409, "application/dicom", cut),
            (409, "application/dicom", &invalid),
            (409, "application/dicom", &whole),
            (400, MULTIPART, unclosed),
            (415, MULTIPART, &foreign),
            (409, MULTIPART, &multipart(&[cut, &invalid, b"", &whole])),
            (415, "text/plain", &whole),
        ] {
            let answer = siege.post(kind, body);
            assert_eq!(answer.status, expected, "{answer:?}");
            requests += 1;
        }
        // A client that goes away in the middle of it.
        let mut connection = siege.process.connect();
        let head = format!(
            "POST /v2/studies HTTP/1.1\r\nHost: a\r\nAccept: {DICOM_JSON}\r\nContent-Type: {MULTIPART}\r\nContent-Length: 100000\r\n\r\n"
        );
        connection.write(&[head.as_bytes(), &unclosed[..30_000]].concat()).expect("it is read");
        drop(connection);
        for path in ["/v2/studies/1.2", "/v2/studies/x", "/v2/studies?PatientID=", "/v2/changefeed?limit=0"] {
            let answer = siege.get(path);
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
            requests += 1;
        }
        requests += 1;
        if round % (ROUNDS / 10) == 0 {
            memory.push(siege.process.memory_kib().0);
        }
    }
    println!("repetition: {requests} failed requests; memory in KiB on the way {memory:?}");
    let (early, late) = (memory[2], memory[memory.len() - 1]);
    assert!(late < early + GROWTH_KIB, "memory grows with failed requests: {memory:?}");
    let answer = siege.post(MULTIPART, &multipart(&[&instance(3).part10()]));
    assert_eq!(fates(&answer).len(), 1, "it still stores");
    siege.lift();
}
