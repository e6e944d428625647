//! What is lost, overwritten or altered on disk behind the archive's back: a view is made again, the log is
//! refused with the place, a file gives 424, and no answer is ever wrong (`bulk-update-export.md` §4.2).

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kit::dicom::{Image, Instance};
use crate::kit::folder::{copy, files, name};
use crate::kit::ground::{Ground, on_every_ground};
use crate::kit::history::{PARTITIONED, answers, assert_same, happen, send};
use crate::kit::process::{Process, kymo, ran};
use crate::kit::served::Answer;

const JSON: (&str, &str) = ("accept", "application/dicom+json");
/// All that is made from the log and the files.
const VIEWS: [&str; 3] = ["archive", "views/search-rows", "views/search-index"];

on_every_ground! { a_view_that_is_gone_is_made_again_with_the_same_answers }

fn a_view_that_is_gone_is_made_again_with_the_same_answers(ground: &Ground) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let archive = ground.start(&data, &[PARTITIONED]);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());
    for gone in [&VIEWS[..1], &VIEWS[1..2], &VIEWS[2..], &["views"], &VIEWS] {
        for view in gone {
            std::fs::remove_dir_all(data.join(view)).expect("the view is there");
        }
        let archive = ground.start(&data, &[PARTITIONED]);
        assert_same(&before, &answers(&archive), &format!("without {gone:?}"));
        assert!(archive.stop().success());
        assert!(VIEWS.iter().all(|view| data.join(view).is_dir()), "it is there again");
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Other bytes, as many.
    Garbage,
    Halved,
    /// One bit, so many eighths into the file.
    Flipped(usize),
}

impl Harm {
    fn done_to(self, path: &Path) {
        let mut bytes = std::fs::read(path).expect("a file");
        let length = bytes.len();
        match self {
            Self::Garbage => bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 151 + 7) as u8),
            Self::Halved => bytes.truncate(length / 2),
            Self::Flipped(part) => bytes[length * part / 8] ^= 0x08,
        }
        std::fs::write(path, bytes).expect("it can be written");
    }
}

#[test]
fn a_view_with_garbage_in_it_is_found_and_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let archive = Process::start(&data, &[]);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());
    let mut tried = 0;
    for view in VIEWS {
        for path in files(&data.join(view)) {
            if path.metadata().expect("a file").len() < 8 {
                continue;
            }
            let inside = path.strip_prefix(&data).expect("below").to_owned();
            for harm in [Harm::Garbage, Harm::Halved, Harm::Flipped(6)] {
                let what = format!("{harm:?} {}", inside.display());
                let hurt = folder.path().join(format!("hurt{tried}"));
                copy(&data, &hurt);
                harm.done_to(&hurt.join(&inside));
                let archive = Process::start(&hurt, &[]);
                assert_same(&before, &answers(&archive), &what);
                if matches!(harm, Harm::Garbage) && path.file_name().is_some_and(|name| name == "db") {
                    let said = archive.errors();
                    let words = ["folded again from the log", "made from the log", "rebuilt from the log"];
                    assert!(words.iter().any(|words| said.contains(words)), "{what}: {said}");
                }
                drop(archive);
                std::fs::remove_dir_all(&hurt).expect("nobody needs it any more");
                tried += 1;
            }
        }
    }
    assert!(tried >= 20, "the views have files: {tried}");
    eprintln!("{tried} damaged views");
}

/// What `serve` says that must not start.
fn refused(data: &Path) -> String {
    let mut command = kymo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--trace", "off", "--data", name(data)]);
    let output = command.stdin(std::process::Stdio::null()).output().expect("the program can be run");
    assert!(!output.status.success(), "it served {}", data.display());
    String::from_utf8(output.stderr).expect("a text")
}

/// The offsets of the blocks of a segment, and the positions they begin with (`schemas/log-segment.md` §3).
fn blocks(segment: &[u8]) -> Vec<(usize, u64)> {
    let number = |at: usize, bytes: usize| {
        segment[at..at + bytes].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (mut blocks, mut at) = (Vec::new(), 88);
    while at < segment.len() {
        assert_eq!(&segment[at..at + 4], b"KYBL");
        blocks.push((at, number(at + 16, 8)));
        at += 40 + usize::try_from(number(at + 8, 4)).expect("a length");
    }
    blocks
}

#[test]
fn a_flipped_byte_of_the_log_is_named_and_nothing_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let archive = Process::start(&data, &[]);
    happen(&archive);
    assert!(archive.stop().success());
    let file = format!("{:020}.kylog", 0);
    let segment = data.join("log").join(&file);
    let bytes = std::fs::read(&segment).expect("a segment");
    let blocks = blocks(&bytes);
    // In the header of a block, in the head of its first record, in what was appended, and at its end.
    for (block, into) in [(3, 9), (3, 45), (10, 40 + 48 + 5), (20, 40 + 60), (30, 2)] {
        let (offset, position) = blocks[block];
        let mut hurt = bytes.clone();
        hurt[offset + into] ^= 0x20;
        std::fs::write(&segment, hurt).expect("it can be written");
        let said = refused(&data);
        let place = format!("{file} at offset {offset}, position {position}:");
        assert!(said.contains("the log is damaged") && said.contains(&place), "{place} in {said}");
        let verified = ran(&["verify", "--data", name(&data)]);
        assert!(!verified.status.success());
        let said = String::from_utf8(verified.stdout).expect("a text");
        assert!(said.contains(&place), "{place} in {said}");
    }
    std::fs::write(&segment, bytes).expect("it can be written");
    let archive = Process::start(&data, &[]);
    assert_eq!(archive.get("/v1/changefeed/latest").json()["sequence"], 65, "a refusal has altered nothing");
}

/// A log that is gone, or goes back to what it was, has lost what was acknowledged: nothing is begun in its
/// place, and nothing is thrown away.
#[test]
fn a_log_that_is_missing_or_older_than_the_state_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let archive = Process::start(&data, &[]);
    send(&mut archive.connect(), "POST", &image());
    assert!(archive.stop().success());
    let (log, early) = (data.join("log"), folder.path().join("early"));
    copy(&log, &early);
    let archive = Process::start(&data, &[]);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());
    let late = folder.path().join("late");
    std::fs::rename(&log, &late).expect("the log is there");

    copy(&early, &log);
    let said = refused(&data);
    assert!(said.contains("acknowledged records are missing"), "{said}");
    // The search view alone knows as well.
    let state = folder.path().join("state");
    std::fs::rename(data.join("archive"), &state).expect("the state is there");
    let said = refused(&data);
    assert!(said.contains("acknowledged records are missing"), "{said}");
    std::fs::remove_dir_all(data.join("archive")).expect("it was begun again");
    std::fs::rename(&state, data.join("archive")).expect("nobody has it open");
    std::fs::remove_dir_all(&log).expect("it was there");
    let said = refused(&data);
    assert!(said.contains("holds no log") && said.contains(name(&log)), "{said}");
    std::fs::create_dir_all(&log).expect("a folder");
    let said = refused(&data);
    assert!(said.contains("holds no log"), "{said}");

    drop(std::fs::remove_dir_all(&log));
    std::fs::rename(&late, &log).expect("the log is there");
    let archive = Process::start(&data, &[]);
    assert_same(&before, &answers(&archive), "when the log is back");
}

/// Bytes behind the last block were never acknowledged: they are cut off, kept, and spoken of.
#[test]
fn a_torn_end_of_the_log_is_cut_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let archive = Process::start(&data, &[]);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());
    let file = format!("{:020}.kylog", 0);
    let segment = data.join("log").join(&file);
    let whole = std::fs::read(&segment).expect("a segment");
    // Half of a block like the one before.
    let (last, _) = blocks(&whole)[blocks(&whole).len() - 3];
    let torn = [&whole[..], &whole[last..last + 50]].concat();
    std::fs::write(&segment, torn).expect("it can be written");
    let archive = Process::start(&data, &[]);
    assert_same(&before, &answers(&archive), "after a torn write");
    let said = archive.errors();
    assert!(said.contains("torn") && said.contains(&file), "{said}");
    let kept = files(&data.join("log/torn"));
    assert_eq!(std::fs::read(&kept[0]).expect("it is kept"), whole[last..last + 50]);
}

#[test]
fn a_flipped_byte_of_a_sealed_segment_never_becomes_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let small = ["--log-segment", "16KiB"];
    let archive = Process::start(&data, &small);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());
    let sealed =
        files(&data.join("log")).into_iter().find(|path| path.extension().is_some_and(|e| e == "kylog"));
    let sealed = sealed.expect("a segment");
    let bytes = std::fs::read(&sealed).expect("a segment");
    let (offset, position) = blocks(&bytes)[5];
    let mut hurt = bytes.clone();
    hurt[offset + 40 + 48 + 300] ^= 0x01;
    std::fs::write(&sealed, hurt).expect("it can be written");

    // Sealed segments are not read at a start: what they say is asked for one record at a time.
    let archive = Process::start(&data, &small);
    for (path, answer) in answers(&archive) {
        assert!(answer.0 >= 500 || Some(&answer) == before.get(&path), "{path}: {answer:?}");
    }
    drop(archive);
    let place = format!("{:020}.kylog at offset {offset}, position {position}:", 0);
    let verified = ran(&["verify", "--data", name(&data)]);
    let said = String::from_utf8(verified.stdout).expect("a text");
    assert!(!verified.status.success() && said.contains(&place), "{place} in {said}");

    // Nor can a view be made from it; the place is said there too.
    let rebuilt = ran(&["rebuild", "--data", name(&data)]);
    let said = String::from_utf8(rebuilt.stderr).expect("a text");
    assert!(!rebuilt.status.success() && said.contains(&format!("position {position}")), "{said}");
    std::fs::write(&sealed, bytes).expect("it can be written");
    let archive = Process::start(&data, &small);
    assert_same(&before, &answers(&archive), "when the segment is as it was");
}

const STUDY: &str = "1.2.3";
const INSTANCE: &str = "/v2/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1";
/// A frame is half as long as a chunk, so that each chunk has parts of three frames at most.
const FRAME: usize = 64 << 10;
const CHUNK: usize = 128 << 10;
const FRAMES: usize = 10;

fn frame(number: usize) -> Vec<u8> {
    (0..FRAME).map(|at| (at * 31 + number * 7 + at / 251) as u8).collect()
}

/// Ten frames of 64 KiB.
fn image() -> Instance {
    let image = Image { rows: 256, columns: 256, samples: 1, bits: 8, photometric: "MONOCHROME2" };
    let frames: Vec<_> = (0..FRAMES).map(frame).collect();
    Instance::new(STUDY, "1.2.3.1", "1.2.3.1.1").frames(image, &frames)
}

fn ask(archive: &Process, path: &str, accept: &str) -> Answer {
    archive.ask("GET", path, &[("accept", accept)], b"")
}

fn get_frame(archive: &Process, list: &str) -> Answer {
    let accept = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    ask(archive, &format!("{INSTANCE}/frames/{list}"), accept)
}

/// What is not in the file is still answered, and the instance can still be deleted.
fn the_rest_is_served(archive: &Process) {
    for path in [
        format!("{INSTANCE}/metadata"),
        format!("/v2/studies/{STUDY}/metadata"),
        format!("/v2/instances?SOPInstanceUID={STUDY}.1.1"),
        "/v2/changefeed".to_owned(),
    ] {
        let answer = archive.ask("GET", &path, &[JSON], b"");
        assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (200, Some(1)), "{path}");
    }
    let gone = archive.ask("DELETE", INSTANCE, &[], b"");
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(ask(archive, INSTANCE, "*/*").status, 404);
    let feed = archive.get("/v1/changefeed").json();
    assert_eq!((&feed[1]["action"], &feed[1]["state"]), (&"Delete".into(), &"Deleted".into()));
}

/// An archive with the image in it, and where its file lies.
fn stored(folder: &Path) -> (Process, PathBuf) {
    let archive = Process::start(&folder.join("data"), &[]);
    send(&mut archive.connect(), "POST", &image());
    let feed: Value = archive.get("/v1/changefeed").json();
    let file = feed[0]["filePath"].as_str().expect("a path").to_owned();
    let file = archive.data().join("lake").join(file);
    assert!(std::fs::read(&file).expect("the path of the feed is the path in the lake") == image().part10());
    (archive, file)
}

#[test]
fn a_flipped_byte_of_a_file_is_424_where_it_is_touched_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, file) = stored(folder.path());
    let bytes = std::fs::read(&file).expect("the file");
    let pixels = bytes.len() - FRAMES * FRAME;
    for flipped in [pixels + 5 * FRAME + 77, pixels + 5, bytes.len() - 1, 3 * CHUNK, 4 * CHUNK - 1] {
        let mut hurt = bytes.clone();
        hurt[flipped] ^= 0x80;
        std::fs::write(&file, &hurt).expect("it can be written");
        let chunk = flipped / CHUNK;
        let is_touched = |number: usize| {
            let begin = pixels + number * FRAME;
            (begin / CHUNK..=(begin + FRAME - 1) / CHUNK).contains(&chunk)
        };
        assert!((0..FRAMES).any(is_touched) && !(0..FRAMES).all(is_touched));
        for number in 0..FRAMES {
            let answer = get_frame(&archive, &(number + 1).to_string());
            if is_touched(number) {
                assert_eq!(answer.status, 424, "byte {flipped}, frame {}: {:?}", number + 1, answer.headers);
            } else {
                assert_eq!(answer.status, 200, "byte {flipped}, frame {}: {answer:?}", number + 1);
                assert!(answer.parts()[0].1 == frame(number));
            }
        }
        // A list is broken off where it comes to the chunk, if it was not refused before.
        let all = (1..=FRAMES).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        let answer = get_frame(&archive, &all);
        assert!(answer.status == 424 || answer.body.is_err(), "byte {flipped}: {:?}", answer.headers);
        for accept in ["application/dicom; transfer-syntax=*", "*/*"] {
            let whole = ask(&archive, INSTANCE, accept);
            assert!(whole.status == 424 || whole.body.is_err(), "byte {flipped}: {:?}", whole.headers);
            if chunk == 0 {
                assert_eq!(whole.status, 424, "the first chunk is checked before the status is sent");
            }
        }
    }
    std::fs::write(&file, &bytes).expect("it can be written");
    assert!(ask(&archive, INSTANCE, "application/dicom; transfer-syntax=*").bytes() == bytes);
    the_rest_is_served(&archive);
}

#[test]
fn a_file_that_is_missing_or_of_another_length_is_424() {
    for harm in ["missing", "shorter", "longer", "empty", "replaced"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, file) = stored(folder.path());
        let bytes = std::fs::read(&file).expect("the file");
        match harm {
            "missing" => std::fs::remove_file(&file),
            "shorter" => std::fs::write(&file, &bytes[..bytes.len() - CHUNK]),
            "longer" => std::fs::write(&file, [&bytes[..], b"more"].concat()),
            "empty" => std::fs::write(&file, b""),
            _ => std::fs::write(&file, bytes.iter().rev().copied().collect::<Vec<u8>>()),
        }
        .expect("it can be done");
        for accept in ["application/dicom; transfer-syntax=*", "*/*"] {
            let answer = ask(&archive, INSTANCE, accept);
            assert_eq!(answer.status, 424, "{harm}: {:?}", answer.headers);
            assert!(!answer.text().contains("AHDS"), "no names of files in answers: {answer:?}");
        }
        let study = ask(&archive, &format!("/v2/studies/{STUDY}"), "*/*");
        assert!(study.status == 424 || study.body.is_err(), "{harm}: {:?}", study.headers);
        for number in 1..=FRAMES {
            let answer = get_frame(&archive, &number.to_string());
            assert!(
                answer.status == 424 || answer.parts()[0].1 == frame(number - 1),
                "{harm}, frame {number}: {:?}",
                answer.headers
            );
            assert!(answer.status == 424 || !["missing", "empty", "replaced"].contains(&harm));
        }
        the_rest_is_served(&archive);
    }
}
