//! Downloads that nobody reads to the end: a viewer cancels them by the dozen when its user scrolls.

use std::time::{Duration, Instant};

use crate::kit::dicom::{DEFLATED, EXPLICIT_BIG, Image, Instance};
use crate::kit::process::{Connection, PATIENCE, Process};

/// Downloads cancelled.
const DOWNLOADS: usize = 200;
/// Longest time until nothing is left of them: far below any time-out of the server.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Files the server has open, connections among them.
fn open_files(archive: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", archive.id())).expect("it runs").count()
}

/// Waits until no more are open than `before`; how many are at the end.
fn settled(archive: &Process, before: usize, longest: Duration) -> usize {
    let began = Instant::now();
    loop {
        let open = open_files(archive);
        if open <= before || began.elapsed() > longest {
            return open;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn cancelled_downloads_leave_nothing_behind() {
    const SIDE: u16 = 2000;
    let scratch = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&scratch.path().join("data"), &[]);
    let image = Image { rows: SIDE, columns: SIDE, samples: 1, bits: 16, photometric: "MONOCHROME2" };
    let frame: Vec<u8> =
        (0..u32::from(SIDE) * u32::from(SIDE)).flat_map(|n| (n as u16).to_le_bytes()).collect();
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let syntaxes = ["1.2.840.10008.1.2.1", EXPLICIT_BIG, DEFLATED];
    for (number, syntax) in syntaxes.iter().enumerate() {
        let file = Instance::new("1.2", "1.3", &format!("1.4.{number}"));
        let file = file.frames(image, &vec![frame.clone(); 4]).syntax(syntax).part10();
        assert_eq!(archive.ask("POST", "/v2/studies", &headers, &file).status, 200);
    }
    let any = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    let mut asked = vec![("/v2/studies/1.2".to_owned(), any)];
    for number in 0..syntaxes.len() {
        let instance = format!("/v2/studies/1.2/series/1.3/instances/1.4.{number}");
        asked
            .push((format!("{instance}/frames/1,2,3,4"), "multipart/related; type=application/octet-stream"));
        asked.push((format!("{instance}/bulkdata/7FE00010"), "*/*"));
        asked.push((instance.clone(), "application/dicom"));
        asked.push((instance, "application/dicom; transfer-syntax=*"));
    }
    // Once to the end, so that whatever is kept open for good is open.
    for (path, accept) in &asked {
        assert_eq!(archive.ask("GET", path, &[("accept", accept)], b"").status, 200, "{path} {accept}");
    }
    let before = settled(&archive, 0, Duration::from_secs(1));
    let mut downloads = Vec::new();
    for (path, accept) in asked.iter().cycle().take(DOWNLOADS) {
        let mut connection: Connection = archive.connect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n");
        connection.write(request.as_bytes()).expect("it is read");
        downloads.push(connection);
    }
    // All of them are under way, and none can end: nobody reads.
    let began = Instant::now();
    while open_files(&archive) < before + DOWNLOADS {
        assert!(began.elapsed() < PATIENCE, "{} files are open", open_files(&archive));
        std::thread::sleep(Duration::from_millis(5));
    }
    let (held, _) = archive.memory_kib();
    drop(downloads);
    let began = Instant::now();
    let after = settled(&archive, before, AT_ONCE);
    eprintln!("{before} files open before, {after} after, {:?} later; {held} KiB held", began.elapsed());
    assert!(after <= before, "{after} files are open, {before} were before");
    // And everything is answered as before.
    for (path, accept) in &asked {
        assert_eq!(archive.ask("GET", path, &[("accept", accept)], b"").status, 200, "{path} {accept}");
    }
    assert!(archive.stop().success(), "no download keeps it from ending");
}
