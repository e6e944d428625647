//! Whole requests for one frame of a running archive, as stored and decoded.
//!
//! Elsewhere: what the codec alone takes (`main`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kymo::dicom::pixels::Description;

const CLIENTS: usize = 8;
const STUDY: &str = "/v2/studies/2.25.1/series/2.25.2/instances/2.25.3";

/// The running archive; ended with this.
struct Archive {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Archive {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Prints both rates.
pub(super) fn run(shape: &Description, stream: &[u8], time: Duration) {
    let archive = start();
    let stored = ask(
        &mut connect(archive.address),
        "POST",
        "/v2/studies",
        "application/dicom+json",
        &file(shape, stream),
    );
    assert_eq!(stored.0, 200, "{}", String::from_utf8_lossy(&stored.1));
    let path = format!("{STUDY}/frames/1");
    for (what, syntax) in [("as stored", "*"), ("in Explicit VR Little Endian", "1.2.840.10008.1.2.1")] {
        let accept =
            format!("multipart/related; type=\"application/octet-stream\"; transfer-syntax={syntax}");
        let (status, body) = ask(&mut connect(archive.address), "GET", &path, &accept, b"");
        if status != 200 {
            println!("frame {what}: {status} {}", String::from_utf8_lossy(&body));
            continue;
        }
        let began = Instant::now();
        let asking = || {
            let mut connection = connect(archive.address);
            let mut count = 0u32;
            while began.elapsed() < time {
                assert_eq!(ask(&mut connection, "GET", &path, &accept, b"").0, 200);
                count += 1;
            }
            count
        };
        let count: u32 = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(asking)).collect();
            clients.into_iter().map(|client| client.join().expect("no panic")).sum()
        });
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        println!("frame {what}, {CLIENTS} clients: {rate:.0}/s");
    }
}

fn start() -> Archive {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Command::new(env!("CARGO_BIN_EXE_kymo"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut said).expect("it greets");
    let address = said.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    let address = address.parse().expect("an address");
    let archive = Archive { process, address, _folder: folder };
    while ask(&mut connect(address), "GET", "/health/check", "*/*", b"").0 != 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
    archive
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let connection = TcpStream::connect(address).expect("it listens");
    connection.set_nodelay(true).expect("a socket");
    BufReader::new(connection)
}

fn ask(
    connection: &mut BufReader<TcpStream>,
    method: &str,
    path: &str,
    accept: &str,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Type: application/dicom\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    let bytes = [head.as_bytes(), body].concat();
    connection.get_mut().write_all(&bytes).expect("it reads");
    let mut next = || {
        let mut line = String::new();
        connection.read_line(&mut line).expect("it answers");
        line.trim_end().to_ascii_lowercase()
    };
    let status = next().split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut length = None;
    loop {
        let line = next();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = Some(bytes.parse().expect("a length"));
        }
    }
    let mut answer = Vec::new();
    let mut take = |connection: &mut BufReader<TcpStream>, length: usize| {
        let from = answer.len();
        answer.resize(from + length, 0);
        connection.read_exact(&mut answer[from..]).expect("the body is whole");
    };
    match length {
        Some(length) => take(connection, length),
        None => loop {
            let mut line = String::new();
            connection.read_line(&mut line).expect("a chunk");
            let length = usize::from_str_radix(line.trim_end(), 16).expect("a length");
            take(connection, length);
            connection.read_line(&mut line).expect("its end");
            if length == 0 {
                break;
            }
        },
    }
    (status, answer)
}

/// A file with this frame in JPEG 2000.
fn file(shape: &Description, stream: &[u8]) -> Vec<u8> {
    let text = |tag: [u16; 2], vr: &str, value: &str| {
        let pad = if vr == "UI" { "\0" } else { " " };
        let value = if value.len() % 2 == 1 { format!("{value}{pad}") } else { value.to_owned() };
        let length = u16::try_from(value.len()).expect("short").to_le_bytes();
        [&tag[0].to_le_bytes(), &tag[1].to_le_bytes(), vr.as_bytes(), &length, value.as_bytes()].concat()
    };
    let number = |tag: u16, value: u16| {
        [&[0x28, 0x00], &tag.to_le_bytes(), &b"US\x02\x00"[..], &value.to_le_bytes()].concat()
    };
    let class = "1.2.840.10008.5.1.4.1.1.2";
    let meta = [
        text([2, 2], "UI", class),
        text([2, 3], "UI", "2.25.3"),
        text([2, 0x10], "UI", "1.2.840.10008.1.2.4.90"),
        text([2, 0x12], "UI", "2.25.4"),
    ]
    .concat();
    let item = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("a frame").to_le_bytes();
        [b"\xFE\xFF\x00\xE0", &length[..], bytes].concat()
    };
    let meta_bytes = u32::try_from(meta.len()).expect("short").to_le_bytes();
    [
        vec![0; 128],
        b"DICM\x02\x00\x00\x00UL\x04\x00".to_vec(),
        meta_bytes.to_vec(),
        meta,
        text([8, 0x16], "UI", class),
        text([8, 0x18], "UI", "2.25.3"),
        text([0x10, 0x10], "PN", "Bench"),
        text([0x10, 0x20], "LO", "1"),
        text([0x20, 0x0D], "UI", "2.25.1"),
        text([0x20, 0x0E], "UI", "2.25.2"),
        number(2, u16::from(shape.samples)),
        text([0x28, 4], "CS", shape.photometric_text()),
        number(0x10, shape.rows),
        number(0x11, shape.columns),
        number(0x100, u16::from(shape.bits_allocated)),
        number(0x101, u16::from(shape.bits_stored)),
        number(0x102, u16::from(shape.high_bit)),
        number(0x103, u16::from(shape.signed)),
        b"\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF".to_vec(),
        item(b""),
        item(stream),
        b"\xFE\xFF\xDD\xE0\x00\x00\x00\x00".to_vec(),
    ]
    .concat()
}
