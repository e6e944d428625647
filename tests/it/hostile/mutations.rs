//! Random changes of right files, bodies, heads and addresses: thousands, the same for the same seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{DICOM_JSON, Siege, fates, instance, multipart};
use crate::kit::dicom::{families, red_triangle};

/// Unless `KYMO_TEST_SEED` gives another.
const SEED: u64 = 0x6B79_6D6F;

fn seeded() -> StdRng {
    let seed = std::env::var("KYMO_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Bytes that mean something in a file or in a message.
const TOKENS: [&[u8]; 22] = [
    b"\xFF\xFF\xFF\xFF",
    b"\xFE\xFF\x00\xE0",
    b"\xFE\xFF\x0D\xE0\0\0\0\0",
    b"\xFE\xFF\xDD\xE0\0\0\0\0",
    b"\0\0\0\0",
    b"\xFE\xFF\xFF\xFF",
    b"\xFF\xFF\xFF\x7F",
    b"SQ\0\0\xFF\xFF\xFF\xFF",
    b"UN\0\0\xFF\xFF\xFF\xFF",
    b"OB\0\0",
    b"UI",
    b"DICM",
    b"\x1B$B",
    b"\\",
    b"\r\n",
    b"\r\n--xyz",
    b"\r\n--xyz--",
    b"Content-Type: ",
    b"%00",
    b"\0",
    b"\xC3\x28",
    b"../",
];

/// One to eight changes.
fn mutated(random: &mut StdRng, original: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..random.random_range(1..=8) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        let to = random.random_range(at..bytes.len().min(at + 40)) + 1;
        match random.random_range(0..8) {
            0 | 1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at] = random.random(),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                let end = (at + token.len()).min(bytes.len());
                bytes.splice(at..end, token.iter().copied());
            }
            6 => {
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            _ => bytes.truncate(bytes.len() - (bytes.len() - at) / 4),
        }
    }
    bytes
}

#[test]
fn changed_files_do_no_harm() {
    let mut siege = Siege::lay("changed files", &[]);
    let mut random = seeded();
    let mut seeds: Vec<Vec<u8>> = families().into_iter().map(|family| family.part10).collect();
    seeds.push(red_triangle().part10()[..2000].to_vec());
    for _ in 0..100 {
        let files: Vec<Vec<u8>> = (0..25)
            .map(|_| {
                let original = &seeds[random.random_range(0..seeds.len())];
                // Mostly in the dataset: few changes of the head leave anything to be read.
                let from = if random.random_range(0..4) == 0 { 0 } else { original.len().min(300) };
                [&original[..from], &mutated(&mut random, &original[from..])].concat()
            })
            .collect();
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).filter(|f| !has_boundary(f)).collect();
        let kind = "multipart/related; type=\"application/dicom\"; boundary=xyz";
        let headers = [("content-type", kind), ("accept", DICOM_JSON)];
        // PUT, so that what is stored is stored again and again.
        let answer = siege.ask("PUT", "/v2/studies", &headers, &multipart(&files));
        assert_eq!(fates(&answer).len(), files.len(), "{answer:?}");
        fates(&answer).iter().for_each(|fate| siege.count(fate));
    }
    // Whatever of it is there can be asked for.
    let mut offset = 0;
    loop {
        let page = siege.get(&format!("/v2/instances?limit=50&offset={offset}&includefield=all"));
        if page.status == 204 {
            break;
        }
        for found in page.json().as_array().expect("an array") {
            let uid = |tag: &str| found[tag]["Value"][0].as_str().expect("a UID").trim_end().to_owned();
            let (study, series, sop) = (uid("0020000D"), uid("0020000E"), uid("00080018"));
            let url = format!("/v2/studies/{study}/series/{series}/instances/{sop}");
            let accept = [("accept", "application/dicom; transfer-syntax=*")];
            assert_eq!(siege.ask("GET", &url, &accept, b"").status, 200, "{url}");
            let metadata = siege.get(&format!("{url}/metadata"));
            assert_eq!(metadata.status, 200, "{metadata:?}");
            metadata.json();
            for frame in ["1", "2,1", "7"] {
                let accept =
                    [("accept", "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*")];
                siege.ask("GET", &format!("{url}/frames/{frame}"), &accept, b"");
            }
        }
        offset += 50;
    }
    siege.lift();
}

fn has_boundary(file: &[u8]) -> bool {
    file.windows(7).any(|window| window == b"\r\n--xyz")
}

#[test]
fn changed_requests_do_no_harm() {
    let mut siege = Siege::lay("changed requests", &["--body-window", "200ms", "--head-time", "200ms"]);
    let mut random = seeded();
    let file = instance(1).part10();
    let body = multipart(&[&file, b"", b"DICM"]);
    let store = [
        b"PUT /v2/studies/2.25.81 HTTP/1.1\r\nHost: archive.example\r\nAccept: application/dicom+json\r\nContent-Type: multipart/related; type=\"application/dicom\"; boundary=xyz\r\nContent-Length: ".to_vec(),
        format!("{}\r\nConnection: close\r\n\r\n", body.len()).into_bytes(),
        body.clone(),
    ]
    .concat();
    let chunked = [
        b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Type: multipart/related; boundary=\"xyz\"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec(),
        format!("{:x}\r\n", body.len()).into_bytes(),
        body,
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    let gets = [
        "GET /v2/studies/2.25.81/series/2.25.81.1/instances/2.25.81.1.1/frames/1,2 HTTP/1.1",
        "GET /v2/instances?PatientName=Doe%5EJane&fuzzymatching=true&includefield=00080020,all&limit=10&offset=1 HTTP/1.1",
        "GET /v2/changefeed?startTime=2025-02-11T08:15:30.1234567Z&endTime=2026-02-11T08:15:30%2B01:00&limit=5 HTTP/1.1",
        "DELETE /v2/studies/2.25.82/series/2.25.81.1 HTTP/1.1",
    ]
    .map(|line| format!("{line}\r\nHost: a\r\nAccept: multipart/related; type=\"application/octet-stream\", */*;q=0.5\r\nIf-None-Match: \"a\"\r\nConnection: close\r\n\r\n").into_bytes());
    for n in 0..1500 {
        let original = match n % 6 {
            0 => &store,
            1 => &chunked,
            other => &gets[other - 2],
        };
        // The head and the framing, not the file.
        let upto = original.len().min(if n % 6 < 2 { 420 } else { 400 });
        let changed = [&mutated(&mut random, &original[..upto])[..], &original[upto..]].concat();
        // What is cut off has its end at once, so that nothing is waited for.
        let mut connection = siege.process.connect();
        drop(connection.write(&changed));
        drop(connection.end());
        siege.outcome(&format!("change {n}"), &mut connection);
    }
    siege.lift();
}
