//! Multipart framing: what real clients send, in every way it can be cut into pieces.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::http::body::BodyLimits;

type Read = Result<Vec<(Option<String>, Vec<u8>)>, MultipartError>;

/// Reads a whole body that arrives in pieces of `step` bytes.
fn read(boundary: &str, body: &[u8], step: usize) -> Read {
    let pieces: Vec<_> =
        body.chunks(step.max(1)).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    let limits = BodyLimits { bytes: 1 << 20, window: Duration::from_secs(1), bytes_per_window: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let body = Body::from_stream(stream::iter(pieces));
        let mut incoming = Incoming::new(&HeaderMap::new(), body, limits).unwrap();
        let mut parts = Parts::new(&mut incoming, Boundary::parse(boundary).unwrap());
        let mut read = Vec::new();
        while let Some(kind) = parts.next().await? {
            let mut data = Vec::new();
            while let Some(bytes) = parts.data().await? {
                data.extend_from_slice(&bytes);
            }
            read.push((kind.map(|kind| kind.essence), data));
        }
        Ok(read)
    })
}

fn steps(body: &[u8]) -> impl Iterator<Item = usize> {
    [1, 2, 3, 5, 7, 64, body.len()].into_iter()
}

fn dicom(data: &[u8]) -> (Option<String>, Vec<u8>) {
    (Some("application/dicom".to_owned()), data.to_vec())
}

#[test]
fn curls_form_parts_are_read_however_they_arrive() {
    let body = b"--------------------------d74496d66958873e\r\n\
        Content-Disposition: attachment; name=\"file1\"; filename=\"red-triangle.dcm\"\r\n\
        Content-Type: application/dicom\r\n\r\n\
        one\r\n--\r\n-\r\r\n\
        \r\n--------------------------d74496d66958873e\r\n\
        content-type: Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n\
        \r\n--------------------------d74496d66958873e--\r\n";
    for step in steps(body) {
        let parts = read("------------------------d74496d66958873e", body, step);
        assert_eq!(parts, Ok(vec![dicom(b"one\r\n--\r\n-\r\r\n"), dicom(b"")]), "in steps of {step}");
    }
}

#[test]
fn preamble_epilogue_padding_and_parts_without_headers_are_legal() {
    let body =
        b"This is a preamble.\r\n--b \t\r\n\r\nfirst\r\n--b\r\n\r\n--b\r\nX-Any: thing,\r\n folded\r\n\r\n\
        third\r\n--b--\r\nepilogue --b\r\n";
    for step in steps(body) {
        let parts = read("b", body, step).unwrap();
        assert_eq!(
            parts,
            [(None, b"first".to_vec()), (None, Vec::new()), (None, b"third".to_vec())],
            "in steps of {step}"
        );
    }
}

#[test]
fn a_body_with_no_parts_has_none() {
    for body in ["--b--", "--b--\r\n", "preamble\r\n--b--\r\n"] {
        assert_eq!(read("b", body.as_bytes(), 1), Ok(Vec::new()), "{body}");
    }
}

#[test]
fn malformed_framing_is_refused() {
    for (body, why) in [
        ("", "empty"),
        ("no boundary at all\r\n", "no boundary"),
        ("--b\n\nlf only\n--b--\n", "LF framing"),
        ("--b\r\n\r\ncut", "cut in the data"),
        ("--b\r\n\r\ncut\r\n--b", "cut behind a delimiter"),
        ("--b\r\nContent-Type: application/dicom\r\n", "cut in the headers"),
        ("--b\r\nno colon\r\n\r\nx\r\n--b--", "a header without colon"),
        ("--b\r\nContent-Type: nonsense\r\n\r\nx\r\n--b--", "an unreadable type"),
        ("--b\r\n\r\nx\r\n--bc\r\n\r\ny\r\n--b--", "boundary with something behind it"),
    ] {
        for step in steps(body.as_bytes()) {
            let read = read("b", body.as_bytes(), step);
            assert!(matches!(read, Err(MultipartError::Malformed(_))), "{why}, in steps of {step}: {read:?}");
        }
    }
}

#[test]
fn endless_headers_are_not_collected() {
    let body = [b"--b\r\nX: ".to_vec(), vec![b'a'; 64 << 10], b"\r\n\r\nx\r\n--b--".to_vec()].concat();
    let refused = Err(MultipartError::Malformed("the headers of a part are too long"));
    for step in [1, 4096, body.len()] {
        assert_eq!(read("b", &body, step), refused, "in steps of {step}");
    }
}

#[test]
fn boundaries_are_bounded() {
    for bad in ["", "  ", "a\r\nb", &"x".repeat(BOUNDARY_LENGTH + 1)] {
        assert_eq!(Boundary::parse(bad), None, "{bad}");
    }
    assert!(Boundary::parse(&"x".repeat(BOUNDARY_LENGTH)).is_some());
    let of_orthanc = "ff953140-b742-44e1-83ca-39162d2131fd-ff953140-b742-44e1-83ca-39162d2131fd";
    assert!(Boundary::parse(of_orthanc).is_some());
}

#[tokio::test]
async fn what_is_written_is_framed_as_the_contract_shows_it() {
    let part = |kind: &str, data: &'static str| Part {
        content_type: kind.to_owned(),
        data: stream::iter([Ok::<_, MultipartError>(Bytes::from_static(data.as_bytes()))]).boxed(),
    };
    let parts = [
        part("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", "one"),
        part("application/dicom; transfer-syntax=1.2.840.10008.1.2", "two"),
    ];
    let body = body("token", stream::iter(parts.map(Ok)));
    let bytes = axum::body::to_bytes(body, 1 << 10).await.unwrap();
    assert_eq!(
        bytes,
        "--token\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\none\r\n\
         --token\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2\r\n\r\ntwo\r\n\
         --token--\r\n"
    );
}

#[tokio::test]
async fn a_part_that_fails_breaks_the_body() {
    let data =
        stream::iter([Ok(Bytes::from_static(b"half")), Err(MultipartError::Malformed("gone"))]).boxed();
    let parts = stream::iter([Ok(Part { content_type: "a/b".to_owned(), data })]);
    assert!(axum::body::to_bytes(body("token", parts), 1 << 10).await.is_err());
}

/// Bytes that like to look like framing.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n--".to_vec()),
        Just(b"\r\n--bound".to_vec()),
        Just(b"--boundary".to_vec()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_put_in_comes_out(parts in prop::collection::vec(tricky(), 0..4), step in 1usize..40) {
        // A line of data that begins with the delimiter is not legal.
        let holds = |data: &Vec<u8>| memchr::memmem::find(data, b"\r\n--boundary").is_some();
        prop_assume!(!parts.iter().any(|data| data.starts_with(b"--boundary") || holds(data)));
        let mut body = Vec::new();
        for data in &parts {
            body.extend_from_slice(b"--boundary\r\nContent-Type: application/dicom\r\n\r\n");
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--boundary--\r\n");
        let expected: Vec<_> = parts.iter().map(|data| dicom(data)).collect();
        prop_assert_eq!(read("boundary", &body, step), Ok(expected));
    }

    #[test]
    fn no_bytes_make_the_reader_fall_over(body in tricky(), step in 1usize..40) {
        let _ = read("boundary", &body, step);
    }
}
