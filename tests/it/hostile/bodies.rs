//! Requests that lie about themselves: lengths, boundaries, heads, encodings, connections.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::{DICOM_JSON, MULTIPART, Siege, fates, instance, multipart};
use crate::kit::dicom::{PIXEL_DATA, Value};

/// Short times, so that slow clients are told so within the test.
const IMPATIENT: [&str; 4] = ["--body-window", "300ms", "--head-time", "300ms"];

fn head(more: &str) -> Vec<u8> {
    let head = "POST /v2/studies HTTP/1.1\r\nHost: archive.example\r\nAccept: application/dicom+json\r\n";
    format!("{head}Content-Type: application/dicom\r\n{more}\r\n").into_bytes()
}

fn multipart_head(more: &str) -> Vec<u8> {
    let head = "POST /v2/studies HTTP/1.1\r\nHost: archive.example\r\nAccept: application/dicom+json\r\n";
    format!("{head}Content-Type: {MULTIPART}\r\n{more}\r\n").into_bytes()
}

/// Statuses that refuse; 0 is a closed connection.
fn is_refusal(status: Option<u16>) -> bool {
    status.is_none_or(|status| (400..500).contains(&status))
}

#[test]
fn lengths_that_lie_are_found_out() {
    let mut siege = Siege::lay("body lengths", &IMPATIENT);
    let file = instance(1).part10();
    for length in [
        "9223372036854775808",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999",
        "8589934593",
        "-1",
        "+5",
        "0x10",
        "1e3",
        "5 5",
        "",
        "abc",
        "1, 2",
        "\u{0661}",
    ] {
        let bytes = [head(&format!("Content-Length: {length}\r\n")), file.clone()].concat();
        let status = siege.raw(&format!("length {length}"), &bytes);
        assert!(is_refusal(status), "a length of {length}: {status:?}");
    }
    for (what, more) in [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("chunks not last", "Transfer-Encoding: chunked, gzip\r\n"),
        ("an unknown coding", "Transfer-Encoding: rot13\r\n"),
        ("chunks twice", "Transfer-Encoding: chunked, chunked\r\n"),
    ] {
        let status = siege.raw(what, &[head(more), file.clone()].concat());
        assert!(is_refusal(status), "{what}: {status:?}");
    }
    // More announced than comes: the rest is waited for, but not for long.
    let more = head(&format!("Content-Length: {}\r\n", file.len() + 10));
    assert_eq!(siege.raw("a body that ends early", &[more.clone(), file.clone()].concat()), Some(408));
    // And the connection may end before the body does.
    let mut cut = siege.process.connect();
    cut.write(&[more, file.clone()].concat()).expect("it is read");
    cut.end().expect("a connection");
    assert!(is_refusal(siege.outcome("cut", &mut cut)));
    // Fewer announced than come: what follows is no request.
    let fewer = head(&format!("Content-Length: {}\r\n", file.len() - 10));
    assert_eq!(siege.raw("a body that goes on", &[fewer, file.clone()].concat()), Some(409));
    for chunks in [
        "zz\r\n",
        "-1\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "8000000000000000\r\n",
        "5\r\nabcdefgh\r\n",
        "5\r\nabc",
        "0\r\n",
        "5;a=\"",
        "\r\n\r\n",
        "5\nabcde\n0\n\n",
    ] {
        let bytes = [head("Transfer-Encoding: chunked\r\n"), chunks.as_bytes().to_vec()].concat();
        let status = siege.raw(&format!("chunks {chunks:?}"), &bytes);
        assert!(is_refusal(status), "{chunks:?}: {status:?}");
    }
    let extension = format!("5;{}\r\nabcde\r\n0\r\n\r\n", "x=y;".repeat(10_000));
    siege.raw("a long extension", &[head("Transfer-Encoding: chunked\r\n"), extension.into_bytes()].concat());
    let trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    siege.raw("many trailers", &[head("Transfer-Encoding: chunked\r\n"), trailers.into_bytes()].concat());
    siege.expect_stored("the same file, told right", &file);
    siege.lift();
}

#[test]
fn who_is_slow_is_not_waited_for() {
    let mut siege = Siege::lay("slow", &IMPATIENT);
    let file = instance(1).part10();
    let (address, many) = (siege.process.address(), 64);
    let mut connections = Vec::new();
    for n in 0..many {
        let mut connection = crate::kit::process::Connection::to(address).expect("it takes connections");
        let whole = match n % 4 {
            0 => Vec::new(),
            1 => b"POST /v2/stud".to_vec(),
            2 => head("Content-Length: 1000\r\n"),
            _ => [multipart_head("Transfer-Encoding: chunked\r\n"), b"400\r\n".to_vec(), multipart(&[&file])]
                .concat(),
        };
        connection.write(&whole).expect("it is read");
        connections.push((n % 4, connection));
    }
    // Others are served meanwhile.
    siege.expect_stored("a good file", &file);
    for (kind, mut connection) in connections {
        let status = siege.outcome("slow", &mut connection);
        let expected = if kind < 2 { [None, Some(408)] } else { [Some(408), Some(408)] };
        assert!(expected.contains(&status), "{kind}: {status:?}");
    }
    // A byte at a time is too slow as well, however long it goes on.
    let mut drip = siege.process.connect();
    drip.write(&head(&format!("Content-Length: {}\r\n", file.len()))).expect("it is read");
    for byte in &file {
        if drip.write(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(is_refusal(siege.outcome("drip", &mut drip)), "a drip of a second");
    siege.lift();
}

#[test]
fn a_body_is_framed_right_or_refused_as_a_whole() {
    let mut siege = Siege::lay("framing of bodies", &[]);
    let mut n = 0;
    let mut good = || {
        n += 1;
        instance(n).part10()
    };
    let part = |head: &str, file: &[u8]| [b"\r\n--xyz\r\n", head.as_bytes(), b"\r\n\r\n", file].concat();
    let dicom = "Content-Type: application/dicom";
    let refused: Vec<(&str, u16, Vec<u8>)> = vec![
        ("no closing boundary", 400, part(dicom, &good())),
        ("half a closing boundary", 400, [part(dicom, &good()), b"\r\n--xyz-".to_vec()].concat()),
        ("no boundary at all", 400, good()),
        ("nothing", 400, vec![]),
        ("a boundary that goes on", 400, [part(dicom, &good()), b"\r\n--xyzz\r\n\r\n".to_vec()].concat()),
        ("a second part without an end", 400, [part(dicom, &good()), part(dicom, b"x")].concat()),
        (
            "headers without an end",
            400,
            [part(dicom, &good()), b"\r\n--xyz\r\nContent-Type: applic".to_vec()].concat(),
        ),
        ("a header without a colon", 400, multipart_of(&part("Content-Type application/dicom", &good()))),
        (
            "a file name with a line end",
            400,
            multipart_of(&part(
                &format!("Content-Disposition: attachment; filename=\"a\r\nb\"\r\n{dicom}"),
                &good(),
            )),
        ),
        (
            "headers of 20 KiB",
            400,
            multipart_of(&part(&format!("X: {}\r\n{dicom}", "y".repeat(20_000)), &good())),
        ),
        (
            "10,000 headers",
            400,
            multipart_of(&part(&format!("{}{dicom}", "X: y\r\n".repeat(10_000)), &good())),
        ),
        ("a part of another type", 415, multipart_of(&part("Content-Type: text/html", &good()))),
        (
            "a good part, then another type",
            415,
            multipart_of(&[part(dicom, &good()), part("Content-Type: image/jpeg", b"x")].concat()),
        ),
        ("a type that cannot be read", 400, multipart_of(&part("Content-Type: ;;;/", &good()))),
        ("a type with a NUL", 400, multipart_of(&part("Content-Type: application/di\0com", &good()))),
    ];
    let before = siege.get("/v2/changefeed?includeMetadata=false").bytes().len();
    for (what, status, body) in &refused {
        let answer = siege.post(MULTIPART, body);
        assert!(answer.status == *status || (*status == 400 && answer.status == 415), "{what}: {answer:?}");
    }
    assert_eq!(
        siege.get("/v2/changefeed?includeMetadata=false").bytes().len(),
        before,
        "nothing of it is stored"
    );

    let escape = "Content-Disposition: form-data; name=\"../../x\"; filename=\"../../../etc/cron.d/x\0\"";
    let taken: Vec<(&str, Vec<u8>)> = vec![
        ("a file name that leads out", multipart_of(&part(&format!("{escape}\r\n{dicom}"), &good()))),
        ("a type twice", multipart_of(&part(&format!("{dicom}\r\nContent-Type: text/html"), &good()))),
        ("a folded header", multipart_of(&part("Content-Type:\r\n application/dicom", &good()))),
        ("a preamble of 1 MiB", [vec![b'x'; 1 << 20], multipart(&[&good()])].concat()),
        ("an epilogue of 1 MiB", [multipart(&[&good()]), vec![b'x'; 1 << 20]].concat()),
    ];
    for (what, body) in &taken {
        let answer = siege.post(MULTIPART, body);
        assert_eq!((answer.status, fates(&answer).len()), (200, 1), "{what}: {answer:?}");
    }

    // What looks almost like a boundary belongs to the file.
    let inside = b"--xyz\r\n--xyz--\n\r\n--xy\r\n-xyz\r\r\n--XYZ\r\r\r\n\r\n--x";
    let pixels: Vec<u8> = inside.iter().copied().cycle().take(100_000).collect();
    let pixels = Value::Words(
        pixels.windows(7).flat_map(|w| if w == b"\r\n--xyz" { vec![0] } else { vec![w[0]] }).collect(),
    );
    let odd = instance(900).element(PIXEL_DATA, "OW", pixels).part10();
    let answer = siege.post(MULTIPART, &multipart(&[&odd]));
    assert_eq!(answer.status, 200, "{answer:?}");
    siege.look_at(
        "almost a boundary",
        "/v2/studies/2.25.8900/series/2.25.8900.1/instances/2.25.8900.1.1",
        &odd,
    );
    // What is one ends the file, which is then cut off; what follows is another part.
    let pixels = Value::Words(b"\r\n--xyz\r\n\r\n".repeat(3));
    let cut = instance(901).element(PIXEL_DATA, "OB", pixels).part10();
    let answer = siege.post(MULTIPART, &multipart(&[&good(), &cut, &good()]));
    let stored = fates(&answer).len();
    assert_eq!((answer.status, stored), (202, 6), "{answer:?}");

    for boundary in ["", "\"\"", "a\r\nb", &"b".repeat(71), &"b".repeat(60_000), "\"", "=", "\u{e4}"] {
        let kind = format!("multipart/related; type=\"application/dicom\"; boundary={boundary}");
        let raw = format!(
            "POST /v2/studies HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Type: {kind}\r\nContent-Length: 9\r\n\r\n--b--\r\n\r\n"
        );
        assert!(is_refusal(siege.raw("an odd boundary", raw.as_bytes())), "{boundary}");
    }
    siege.lift();
}

fn multipart_of(parts: &[u8]) -> Vec<u8> {
    [parts, b"\r\n--xyz--\r\n"].concat()
}

#[test]
fn parts_without_number_are_refused() {
    let mut siege = Siege::lay("many parts", &["--max-parts", "2000"]);
    let before = siege.process.memory_kib().1;
    // Empty parts, 7 bytes of headers each.
    let body = b"\r\n--xyz\r\n\r\n".repeat(100_000);
    let answer = siege.post(MULTIPART, &multipart_of(&body));
    assert_eq!(answer.status, 413, "{answer:?}");
    let answer = siege.post(MULTIPART, &multipart_of(&body[..2000 * 11]));
    assert_eq!((answer.status, fates(&answer).len()), (409, 2000));
    let file = instance(1).part10();
    let mut files = vec![&b"DICM"[..]; 1999];
    files.insert(700, &file);
    let answer = siege.post(MULTIPART, &multipart(&files));
    assert_eq!((answer.status, fates(&answer).len()), (202, 2000));
    let grown = siege.process.memory_kib().1 - before;
    assert!(grown < 64 << 10, "{grown} KiB for parts");
    siege.lift();
}

#[test]
fn encoded_bodies_are_not_opened() {
    let mut siege = Siege::lay("encoded bodies", &[]);
    let zeros = vec![0; 1 << 20];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    for _ in 0..256 {
        gzip.write_all(&zeros).expect("memory");
        deflate.write_all(&zeros).expect("memory");
    }
    let (gzip, deflate) = (gzip.finish().expect("memory"), deflate.finish().expect("memory"));
    let before = siege.process.memory_kib().1;
    for (coding, body) in
        [("gzip", &gzip), ("deflate", &deflate), ("br", &gzip), ("gzip, gzip", &gzip), ("x", &gzip)]
    {
        for kind in ["application/dicom", MULTIPART] {
            let headers = [("content-type", kind), ("accept", DICOM_JSON), ("content-encoding", coding)];
            assert_eq!(siege.ask("POST", "/v2/studies", &headers, body).status, 415, "{coding}");
        }
    }
    assert_eq!(siege.post("application/dicom", &gzip).status, 409);
    let grown = siege.process.memory_kib().1 - before;
    assert!(grown < 32 << 10, "{grown} KiB for what was not opened");
    siege.lift();
}

#[test]
fn heads_are_bounded_and_parsed_strictly() {
    let mut siege = Siege::lay("heads", &IMPATIENT);
    let get = |target: &str, more: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n{more}\r\n").into_bytes()
    };
    let path = "/v2/studies";
    for (what, expected, bytes) in [
        ("a header of 100 KB", 431, get(path, &format!("X: {}\r\n", "y".repeat(100_000)))),
        ("1,000 headers", 431, get(path, &"X: y\r\n".repeat(1000))),
        ("a cookie of 1 MB", 431, get(path, &format!("Cookie: {}\r\n", "y".repeat(1 << 20)))),
        ("a target of 50 KB", 414, get(&format!("/v2/studies?PatientID={}", "x".repeat(50_000)), "")),
        ("a path of 50 KB", 414, get(&format!("/v2/studies/{}", "1.2".repeat(17_000)), "")),
    ] {
        let status = siege.raw(what, &bytes);
        assert!(status == Some(expected) || (expected == 414 && status == Some(431)), "{what}: {status:?}");
    }
    // Longer still; the connection may be closed before it is read to its end.
    assert!(is_refusal(siege.raw("a target of 10 MB", &get(&format!("/{}", "x".repeat(10 << 20)), ""))));
    let nul = "GET /v2/stu\0dies HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad: [(&str, &[u8]); 22] = [
        ("a NUL in the target", nul.as_bytes()),
        ("a NUL in a header", b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
        ("a NUL in a name", b"GET / HTTP/1.1\r\nHo\0st: a\r\n\r\n"),
        ("a blank in a name", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("a folded header", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"),
        ("no name", b"GET / HTTP/1.1\r\n: a\r\n\r\n"),
        ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no version", b"GET /\r\n\r\n"),
        ("another version", b"GET / HTTP/3.7\r\nHost: a\r\n\r\n"),
        ("a target of two words", b"GET / / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bytes beyond ASCII", b"GET /\xC3\x28 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a blank method", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a method with a brace", b"GE{T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a file", b"\0\0\0\0DICM\x02\0\0\0UL\x04\0"),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("an association request", b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00ANY-SCP         "),
        ("HTTP/2 and then something else", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        ("HTTP/2 frames of 16 MB", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xFF\xFF\xFF\x00\x00\x00\x00\x00\x01"),
        ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an asterisk", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("another host's URL", b"GET http://[::1/%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (what, bytes) in bad {
        let status = siege.raw(what, bytes);
        assert!(is_refusal(status), "{what}: {status:?}");
    }
    for (name, value) in [
        ("kymo-min-position", "-1"),
        ("kymo-min-position", "18446744073709551616"),
        ("kymo-min-position", "x"),
        ("x-request-id", "a\"b;c"),
        ("x-request-id", &"x".repeat(10_000)),
        ("traceparent", "00-zz-zz-zz"),
        ("host", "evil/../..\\"),
        ("host", ""),
        ("x-forwarded-host", "evil\"<>"),
        ("forwarded", "for=\"_x\";host=\"evil\""),
        ("if-none-match", &"\"x\",".repeat(5000)),
        ("if-none-match", "W/\"\\\""),
        ("range", "bytes=0-0,1-1,99999999999999999999-"),
        ("accept", &"a/b;q=0.1,".repeat(4000)),
        ("accept", ";;;,,,///"),
        ("accept", "application/dicom; transfer-syntax=\"\\\"\\"),
        ("accept-charset", "\u{ff}"),
        ("expect", "200-maybe"),
        ("connection", "upgrade"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "identity"),
        ("te", "trailers, deflate;q=0.5"),
        ("content-type", "multipart/related; boundary=\"; type=\""),
        ("authorization", "Bearer ../../"),
    ] {
        for path in ["/v2/studies", "/v2/changefeed", "/v2/studies/1.2/metadata", "/metrics", "/health/check"]
        {
            siege.raw(
                &format!("{name}: {value:.60}"),
                &get(path, &format!("{name}: {value}\r\nConnection: close\r\n")),
            );
        }
    }
    // A position that nobody has reached is waited for, and then it is not there.
    siege.expect_stored("a good file", &instance(1).part10());
    siege.lift();
}
