//! What transcoding may cost, and what a client sees of an answer that breaks off, over a socket.

use std::io::Read;
use std::time::Instant;

use kymo::http::Settings;

use super::{FILES, GREY8, GREY16, INSTANCE, LOSSLESS, RLE, described, file_in, in_rle, pictures, rle};
use crate::kit::dicom::{EXPLICIT_LITTLE, Image, Instance, Offsets};
use crate::kit::process::Process;
use crate::kit::served::Served;

const STORE: [(&str, &str); 2] =
    [("content-type", "application/dicom"), ("accept", "application/dicom+json")];

#[tokio::test]
async fn files_above_the_limit_are_not_transcoded_but_frames_of_them_are() {
    let frames = pictures(GREY16, 2);
    let file = in_rle(described("1.4"), GREY16, &frames, Offsets::Absent).part10();
    let length = file.len() as u64;
    for (limit, status) in [(length - 1, 406), (length, 200)] {
        let archive = Served::with(Settings { transcode_bytes: limit, ..Settings::default() }).await;
        archive.stored(&file).await;
        for (path, accept) in [(INSTANCE, "application/dicom"), ("/v2/studies/1.2", FILES)] {
            assert_eq!(archive.get(path).accept(accept).send().await.status, status);
        }
        let frame =
            archive.get(&format!("{INSTANCE}/frames/2")).accept("application/octet-stream").send().await;
        assert_eq!((frame.status, frame.bytes()), (200, &frames[1][..]));
        let stored = archive.get(INSTANCE).accept("application/dicom; transfer-syntax=*").send().await;
        assert!(stored.bytes() == file);
    }
}

/// A frame is bound by what it decodes to, the native pixels of a file by the length field of their element.
#[tokio::test]
async fn frames_and_files_too_large_to_be_decoded_are_406_without_decoding() {
    let archive = Served::start().await;
    // Nothing could decode these frames; nobody tries.
    let nothing = |rows, columns, frames: usize| {
        let image = Image { rows, columns, ..GREY16 };
        described("1.4")
            .fragments(image, &vec![vec![vec![0; 64]]; frames], Offsets::Absent)
            .syntax(RLE)
            .part10()
    };
    for (file, why) in
        [(nothing(65_535, 65_535, 1), "larger than"), (nothing(8192, 8192, 32), "too large for one element")]
    {
        assert!([200, 202].contains(&archive.put("/v2/studies").dicom(&file).send().await.status));
        let answer = archive.get(INSTANCE).accept(&file_in(EXPLICIT_LITTLE)).send().await;
        assert_eq!(answer.status, 406, "{answer:?}");
        assert!(answer.text().contains(why), "{answer:?}");
    }
}

/// No closing boundary, no last chunk: a client cannot take it for whole.
#[test]
fn an_answer_that_breaks_off_looks_broken_on_the_wire() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &[]);
    // So large that the first frames are on their way when the third is looked at.
    let image = Image { rows: 400, columns: 400, ..GREY8 };
    let good = vec![rle(image, &pictures(image, 1)[0])];
    let fragments = [good.clone(), good.clone(), vec![vec![255; 80]], good];
    let file = described("1.4").fragments(image, &fragments, Offsets::Basic).syntax(RLE).part10();
    assert_eq!(archive.ask("POST", "/v2/studies", &STORE, &file).status, 200);
    let lists = format!("{INSTANCE}/frames/1,2,3,4");
    for (path, accept) in [
        (INSTANCE, "application/dicom"),
        ("/v2/studies/1.2", FILES),
        (&lists, "multipart/related; type=\"application/octet-stream\""),
    ] {
        let mut socket = std::net::TcpStream::connect(archive.address()).expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut socket, request.as_bytes()).expect("it reads");
        let mut said = Vec::new();
        // Whether the end is a reset is the system's to say.
        drop(socket.read_to_end(&mut said));
        assert!(said.starts_with(b"HTTP/1.1 200"), "{path}");
        let head = said.windows(4).position(|four| four == b"\r\n\r\n").expect("headers end");
        let text = String::from_utf8_lossy(&said[..head]).into_owned();
        assert!(!said.ends_with(b"0\r\n\r\n"), "{path}: a last chunk");
        if let Some((_, rest)) = text.split_once("boundary=") {
            let boundary = rest.split("\r\n").next().expect("a line");
            let closing = format!("--{boundary}--");
            let closed = said.windows(closing.len()).any(|window| window == closing.as_bytes());
            assert!(!closed, "{path}: a closing boundary");
        }
    }
    assert_eq!(archive.ask("GET", INSTANCE, &[("accept", "*/*")], b"").status, 200, "it lives on");
}

/// A frame is decoded, encoded, sent and forgotten. Prints how fast that goes in every syntax.
#[test]
fn memory_stays_flat_while_500_frames_are_transcoded() {
    const FRAMES: usize = 500;
    const SIDE: u16 = 256;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &["--transcode-limit", "1GiB"]);
    let image = Image { rows: SIDE, columns: SIDE, ..GREY16 };
    let frame = |n: usize| -> Vec<u8> {
        let pixel = |at: usize| ((at / 40 * 97 + n) as u16).to_le_bytes();
        (0..usize::from(SIDE) * usize::from(SIDE)).flat_map(pixel).collect()
    };
    let frames: Vec<_> = (0..FRAMES).map(frame).collect();
    let native = Instance::new("1.2", "1.3", "1.4").frames(image, &frames).part10();
    let put = |file: &[u8]| assert_eq!(archive.ask("PUT", "/v2/studies", &STORE, file).status, 200);
    let asked = |syntax: &str| {
        let (_, before) = archive.memory_kib();
        let began = Instant::now();
        let got = archive.ask("GET", INSTANCE, &[("accept", &file_in(syntax))], b"");
        let took = began.elapsed();
        assert_eq!(got.status, 200, "{syntax}");
        let (_, after) = archive.memory_kib();
        let (bytes, grown) = (got.bytes().to_vec(), after - before);
        let speed = FRAMES as f64 / took.as_secs_f64();
        eprintln!(
            "{syntax}: {speed:.0} frames a second, {} MiB; memory grew by {grown} KiB",
            bytes.len() >> 20
        );
        assert!(grown < 40 << 10, "{grown} KiB of memory for one file in {syntax}");
        bytes
    };
    put(&native);
    for syntax in LOSSLESS {
        let packed = asked(syntax);
        put(&packed);
        assert!(asked(EXPLICIT_LITTLE) == native, "{syntax}");
        put(&native);
    }
}
