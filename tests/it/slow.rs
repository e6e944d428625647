//! Clients that hardly read, hundreds of them, beside clients that do (`trust.md` §2).
//!
//! `KYMO_TEST_SEEDS=1000` makes it a thousand.
//!
//! Elsewhere: the same over one connection, with a router of one route (`http::server`).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::kit::dicom::{Image, Instance};
use crate::kit::process::{PATIENCE, Process};

const PATH: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
/// Far more than the buffers of both ends hold.
const FRAME_BYTES: usize = 4096 * 6144;
/// Memory of the archive for what all clients have not read yet (`blob::reading`) ...
const ROOM_KIB: u64 = 256 * 1024;
/// ... and for each of them without room there: the chunks that its connection buffers.
const KIB_PER_CLIENT: u64 = 640;

/// A connection that has asked for the file, and reads a byte a second of it.
struct Slow(TcpStream);

impl Slow {
    fn to(archive: &Process) -> Self {
        let mut stream = TcpStream::connect(archive.address()).expect("it takes connections");
        let ask =
            format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nAccept: application/dicom; transfer-syntax=*\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("it takes requests");
        stream.set_nonblocking(true).expect("a socket");
        Self(stream)
    }

    /// Takes a byte, if there is one; whether the archive has ended the connection. What it had sent before is
    /// still there to be read, so the end is asked of the other direction.
    fn is_cut(&mut self) -> bool {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(read) => read == 0 || self.0.write(b"\r\n").is_err(),
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn clients_that_read_a_byte_a_second_are_cut_and_cost_others_nothing() {
    let clients = u64::from(crate::kit::seeds(500));
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&folder.path().join("data"), &["--write-window", "3s"]);
    let image = Image { rows: 4096, columns: 6144, samples: 1, bits: 8, photometric: "MONOCHROME2" };
    let file = Instance::new("1.2", "1.3", "1.4").frames(image, &[vec![1; FRAME_BYTES]]).part10();
    let small = Instance::new("1.2", "1.3", "1.5").part10();
    for file in [&file, &small] {
        let kinds = [("accept", "application/dicom+json"), ("content-type", "application/dicom")];
        assert_eq!(archive.ask("POST", "/v2/studies", &kinds, file).status, 200);
    }

    let (before, _) = archive.memory_kib();
    let mut slow: Vec<_> = (0..clients).map(|_| Slow::to(&archive)).collect();
    let began = Instant::now();
    let (mut answered, mut most) = (0, before);
    while !slow.is_empty() {
        let second = Instant::now();
        slow.retain_mut(|client| !client.is_cut());
        std::thread::scope(|scope| {
            let normal = || {
                let got = archive.ask(
                    "GET",
                    "/v2/studies/1.2/series/1.3/instances/1.5",
                    &[("accept", "application/dicom; transfer-syntax=*")],
                    b"",
                );
                assert!(got.status == 200 && got.bytes() == small, "others are answered");
            };
            let eight: Vec<_> = (0..8).map(|_| scope.spawn(normal)).collect();
            answered += eight.len();
            eight.into_iter().for_each(|client| client.join().expect("an answer"));
        });
        most = most.max(archive.memory_kib().0);
        assert!(began.elapsed() < PATIENCE, "{} are still served", slow.len());
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    let each = most.saturating_sub(before) / clients;
    eprintln!(
        "{clients} slow clients: {each} KiB each, all cut after {:?}; {answered} others answered",
        began.elapsed()
    );
    assert!(each <= ROOM_KIB / clients + KIB_PER_CLIENT, "{each} KiB for each slow client");
}
