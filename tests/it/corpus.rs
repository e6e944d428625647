//! Real files, and every family of the kit, through the real program: stored, described, framed, given back.
//!
//! The real ones are those that the Python package pydicom is tested with; KYMO_TEST_DICOM_FILES names their
//! folder. What a frame must be is found here a second time, by a way of its own (`pixels`).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kit::dicom::{DEFLATED, EXPLICIT_BIG, GE_IMPLICIT, IMPLICIT_LITTLE, families};
use crate::kit::process::{Connection, Process, ran};
use crate::kit::served::Answer;

/// Files that are rightly refused, and a piece of the reason.
const REFUSED: [(&str, &str); 31] = [
    // Without preamble and `DICM`: a dataset alone does not say how it is encoded.
    ("ExplVR_BigEndNoMeta.dcm", "no preamble with DICM"),
    ("ExplVR_LitEndNoMeta.dcm", "no preamble with DICM"),
    ("no_meta.dcm", "no preamble with DICM"),
    ("rtstruct.dcm", "no preamble with DICM"),
    ("meta_missing_tsyntax.dcm", "no transfer syntax in the file meta information"),
    // Cut off.
    ("MR_truncated.dcm", "cut off inside a value"),
    ("rtplan_truncated.dcm", "cut off inside a value"),
    // Says that it is JPEG, hence Explicit VR; its dataset is Implicit VR.
    ("SC_rgb_jpeg.dcm", "(0008,0008) has no valid value representation"),
    // Holds SOPClassUID and SOPInstanceUID twice.
    ("winter.dcm", "appears twice in one dataset"),
    // Colour palettes are of no study.
    ("fall.dcm", "(0020,000d)"),
    ("hotiron.dcm", "(0020,000d)"),
    ("hotmetalblue.dcm", "(0020,000d)"),
    ("pet.dcm", "(0020,000d)"),
    ("pet20step.dcm", "(0020,000d)"),
    ("spring.dcm", "(0020,000d)"),
    ("summer.dcm", "(0020,000d)"),
    // Codec samples without a study.
    ("JPEGLSNearLossless_08.dcm", "(0020,000d)"),
    ("JPEGLSNearLossless_16.dcm", "(0020,000d)"),
    ("SC_rgb_jls_lossy_line.dcm", "(0020,000d)"),
    ("SC_rgb_jls_lossy_sample.dcm", "(0020,000d)"),
    // No PatientID, not even an empty one.
    ("ExplVR_BigEnd.dcm", "(0010,0020)"),
    ("GDCMJ2K_TextGBR.dcm", "(0010,0020)"),
    // A handful of elements, none of them a UID.
    ("chrSQEncoding.dcm", "(0008,0016)"),
    ("chrSQEncoding1.dcm", "(0008,0016)"),
    ("UN_sequence.dcm", "(0008,0016)"),
    ("empty_charset_LEI.dcm", "(0008,0016)"),
    ("nested_priv_SQ.dcm", "(0008,0016)"),
    ("no_meta_group_length.dcm", "(0008,0016)"),
    ("priv_SQ.dcm", "(0008,0016)"),
    // All elements, UIDs too, are of VR UN: nothing of them may stand in metadata, nobody could find them.
    ("rtdose_rle.dcm", "(0008,0016)"),
    ("rtdose_rle_1frame.dcm", "(0008,0016)"),
];

/// What should become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Stored,
    Directory,
    Refused(&'static str),
}

fn expected(path: &Path) -> Expected {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    if name.starts_with("DICOMDIR") {
        return Expected::Directory;
    }
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    if ["dump", "gz", "icc", "json", "md", "txt"].contains(&suffix) || name == "README" {
        return Expected::Refused("no preamble with DICM");
    }
    match REFUSED.iter().find(|(refused, _)| *refused == name) {
        Some((_, reason)) => Expected::Refused(reason),
        None => Expected::Stored,
    }
}

/// All files of a folder but the program texts among them.
fn collected(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let program = path.extension().is_some_and(|suffix| suffix == "py" || suffix == "pyc");
            if path.is_dir() {
                folders.push(path);
            } else if !program {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn store(connection: &mut Connection, method: &str, file: &[u8]) -> Answer {
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    connection.ask(method, "/v2/studies", &headers, file).expect("it answers")
}

fn reason(answer: &Answer) -> Option<u64> {
    answer.json().pointer("/00081198/Value/0/00081197/Value/0").and_then(Value::as_u64)
}

/// Path of the instance that an answer says was stored.
fn path(stored: &Answer, name: &str) -> String {
    let url = stored.json().pointer("/00081199/Value/0/00081190/Value/0").cloned();
    let url = url.as_ref().and_then(Value::as_str).unwrap_or_else(|| panic!("{name}: no URL: {stored:?}"));
    url[url.find("/v2/").expect("a path")..].to_owned()
}

fn get(connection: &mut Connection, path: &str, accept: &str) -> Answer {
    connection.ask("GET", path, &[("accept", accept)], b"").expect("it answers")
}

fn given_back(connection: &mut Connection, path: &str, file: &[u8], name: &str) {
    let instance = get(connection, path, "application/dicom; transfer-syntax=*");
    assert_eq!(instance.status, 200, "{name}: {instance:?}");
    assert!(instance.bytes() == file, "{name} comes back byte for byte");
    let part = get(connection, path, "multipart/related; type=\"application/dicom\"; transfer-syntax=*");
    assert!(part.parts().len() == 1 && part.parts()[0].1 == file, "{name} as a part");
}

fn framed(connection: &mut Connection, path: &str, frames: &[Vec<u8>], name: &str) {
    let single = "application/octet-stream; transfer-syntax=*";
    for (index, frame) in frames.iter().enumerate() {
        let answer = get(connection, &format!("{path}/frames/{}", index + 1), single);
        assert_eq!(answer.status, 200, "{name} frame {}: {answer:?}", index + 1);
        assert!(answer.bytes() == frame, "{name} frame {}", index + 1);
    }
    let beyond = get(connection, &format!("{path}/frames/{}", frames.len() + 1), single);
    assert_eq!(beyond.status, 404, "{name} has {} frames: {beyond:?}", frames.len());
    if !frames.is_empty() {
        let all = (1..=frames.len()).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let several = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
        let parts = get(connection, &format!("{path}/frames/{all}"), several).parts();
        assert!(parts.iter().map(|(_, bytes)| bytes).eq(frames), "{name} all frames");
    }
}

fn described(connection: &mut Connection, path: &str, name: &str) -> Value {
    let answer = get(connection, &format!("{path}/metadata"), "application/dicom+json");
    assert_eq!(answer.status, 200, "{name}: {answer:?}");
    let datasets = answer.json();
    assert_eq!(datasets.as_array().map(Vec::len), Some(1), "{name}");
    let said = datasets[0]["00080018"]["Value"][0].as_str().expect("a UID");
    assert!(path.ends_with(&format!("/{}", said.trim_end())), "{name}: {said}");
    datasets[0].clone()
}

#[test]
fn real_files_come_back_as_they_were_or_are_refused_for_a_reason() {
    let Some(folder) = std::env::var_os("KYMO_TEST_DICOM_FILES") else {
        eprintln!("skipped: KYMO_TEST_DICOM_FILES names no folder of DICOM files; tests/run sets it up");
        return;
    };
    let files = collected(Path::new(&folder));
    assert!(files.len() > 150, "pydicom's files are in {}", Path::new(&folder).display());
    let scratch = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&scratch.path().join("data"), &["--trace", "warn"]);
    let mut connection = archive.connect();
    let (mut stored, mut replaced, mut frames) = (0_u64, 0_u64, 0);
    for path in &files {
        let (name, file) = (path.display().to_string(), std::fs::read(path).expect("a readable file"));
        let mut answer = store(&mut connection, "POST", &file);
        if expected(path) != Expected::Stored {
            assert_eq!((answer.status, reason(&answer)), (409, Some(43264)), "{name}: {answer:?}");
            continue;
        }
        // Several of them are one image in different encodings, under one UID: the later one replaces.
        if answer.status == 409 && reason(&answer) == Some(45070) {
            answer = store(&mut connection, "PUT", &file);
            replaced += 1;
        } else {
            stored += 1;
        }
        assert!([200, 202].contains(&answer.status), "{name}: {answer:?}");
        let path = self::path(&answer, &name);
        let expected = pixels::frames(&file, &described(&mut connection, &path, &name));
        given_back(&mut connection, &path, &file, &name);
        framed(&mut connection, &path, &expected, &name);
        frames += expected.len();
    }
    let feed = archive.get("/v1/changefeed/latest?includeMetadata=false").json();
    assert_eq!(feed["sequence"], stored + replaced);
    assert!(archive.stop().success());
    let data = scratch.path().join("data").display().to_string();
    let verified = ran(&["verify", "--data", &data]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    eprintln!("{} files: {stored} stored, {replaced} replaced, {frames} frames", files.len());
    imported(&files, stored, &scratch.path().join("imported"));
}

/// The command does the same with the same files, and says why it refuses what it refuses.
fn imported(files: &[PathBuf], stored: u64, data: &Path) {
    let names: Vec<&str> = files.iter().filter_map(|path| path.to_str()).collect();
    let data = data.to_str().expect("a readable name");
    let output = ran(&[&["import", "--trace", "warn", "--data", data], &names[..]].concat());
    let said = String::from_utf8(output.stdout).expect("a text");
    assert!(!output.status.success(), "something is refused: {said}");
    let reasons: BTreeMap<&str, &str> =
        said.lines().filter_map(|line| line.strip_prefix("refused: ")?.split_once(": ")).collect();
    let (mut directories, mut duplicates) = (0, 0);
    for name in &names {
        match (expected(Path::new(name)), reasons.get(name)) {
            (Expected::Refused(piece), Some(reason)) => assert!(reason.contains(piece), "{name}: {reason}"),
            (Expected::Stored, None) => duplicates += 1,
            (Expected::Directory, None) => directories += 1,
            (expected, found) => panic!("{name}: {expected:?} expected, {found:?} found"),
        }
    }
    duplicates -= stored;
    assert!(said.contains(&format!("stored {stored} instances")), "{said}");
    let rest =
        format!("already there {duplicates}, DICOMDIR skipped {directories}, refused {}", reasons.len());
    assert!(said.contains(&rest), "{said}");
    eprintln!("{rest}");
}

#[test]
fn every_family_comes_back_as_it_was() {
    let scratch = tempfile::tempdir().expect("a folder");
    let archive = Process::start(&scratch.path().join("data"), &["--trace", "warn"]);
    let mut connection = archive.connect();
    let families = families();
    for family in &families {
        let answer = store(&mut connection, "POST", &family.part10);
        assert!([200, 202].contains(&answer.status), "{}: {answer:?}", family.name);
        let path = path(&answer, &family.name);
        described(&mut connection, &path, &family.name);
        given_back(&mut connection, &path, &family.part10, &family.name);
        // A video is one stream in fragments: what a frame of it is, nobody can say without decoding it.
        if !family.frames.is_empty() {
            framed(&mut connection, &path, &family.frames, &family.name);
        }
    }
    eprintln!("{} families", families.len());
}

/// What the frames of a file are, found from its end.
mod pixels {
    use super::*;

    /// The frames, as far as the file holds them.
    pub(super) fn frames(file: &[u8], metadata: &Value) -> Vec<Vec<u8>> {
        let number = |tag: &str| metadata[tag]["Value"][0].as_u64().and_then(|n| usize::try_from(n).ok());
        let (Some(rows), Some(columns)) = (number("00280010"), number("00280011")) else { return Vec::new() };
        let count = number("00280008").unwrap_or(1);
        let (syntax, dataset) = (syntax(file), dataset(file));
        let Some(value) = value(&dataset, &syntax) else { return Vec::new() };
        if let Some(items) = value.strip_prefix(b"encapsulated") {
            return encapsulated(items, count);
        }
        let (samples, bits) = (number("00280002").unwrap_or(1), number("00280100").expect("allocated bits"));
        if bits == 1 {
            return (0..count).map(|n| shifted(&value, n * rows * columns, rows * columns)).collect();
        }
        let length = match metadata["00280004"]["Value"][0].as_str() {
            Some("YBR_FULL_422") => rows * columns * 2 * bits / 8,
            _ => rows * columns * samples * bits / 8,
        };
        value.chunks_exact(length).take(count).map(<[u8]>::to_vec).collect()
    }

    /// `count` bits from bit `from` on, the lowest of each byte first.
    fn shifted(value: &[u8], from: usize, count: usize) -> Vec<u8> {
        let mut frame = vec![0; count.div_ceil(8)];
        for at in 0..count {
            frame[at / 8] |= (value[(from + at) / 8] >> ((from + at) % 8) & 1) << (at % 8);
        }
        frame
    }

    fn syntax(file: &[u8]) -> String {
        let at = file.windows(6).position(|bytes| bytes == b"\x02\0\x10\0UI").expect("a transfer syntax") + 6;
        let length = usize::from(file[at]);
        String::from_utf8_lossy(&file[at + 2..at + 2 + length]).trim_end_matches(['\0', ' ']).to_owned()
    }

    /// What follows the file meta group, inflated.
    fn dataset(file: &[u8]) -> Vec<u8> {
        assert_eq!(&file[132..136], b"\x02\0\0\0", "the group says how long it is");
        let begin = 144 + u32::from_le_bytes(*file[140..].first_chunk().expect("a length")) as usize;
        if syntax(file) != DEFLATED {
            return file[begin..].to_vec();
        }
        let mut inflated = Vec::new();
        flate2::read::DeflateDecoder::new(&file[begin..]).read_to_end(&mut inflated).expect("it inflates");
        inflated
    }

    /// The value of the last Pixel Data element; its items behind a mark if it is encapsulated.
    fn value(dataset: &[u8], syntax: &str) -> Option<Vec<u8>> {
        let big = syntax == EXPLICIT_BIG;
        let implicit = [IMPLICIT_LITTLE, GE_IMPLICIT].contains(&syntax);
        let tag: [u8; 4] = if big { [0x7F, 0xE0, 0, 0x10] } else { [0xE0, 0x7F, 0x10, 0] };
        (0..dataset.len().saturating_sub(12)).rev().find_map(|at| {
            let bytes = dataset[at..].strip_prefix(&tag)?;
            let bytes = match implicit {
                true => bytes,
                false => bytes.strip_prefix(b"OW\0\0").or_else(|| bytes.strip_prefix(b"OB\0\0"))?,
            };
            let (length, value) = bytes.split_first_chunk::<4>()?;
            let length = if big { u32::from_be_bytes(*length) } else { u32::from_le_bytes(*length) };
            if length == u32::MAX {
                return Some([b"encapsulated", value].concat());
            }
            value.get(..length as usize).map(<[u8]>::to_vec)
        })
    }

    /// The items behind the first, which is the offset table, divided among the frames.
    fn encapsulated(mut items: &[u8], count: usize) -> Vec<Vec<u8>> {
        let mut read = Vec::new();
        while let Some(item) = items.strip_prefix(b"\xFE\xFF\0\xE0") {
            let (length, rest) = item.split_first_chunk::<4>().expect("an item has a length");
            let (value, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            read.push(value);
            items = rest;
        }
        let (table, fragments) = read.split_first().expect("there is an offset table");
        if count == 1 {
            return vec![fragments.concat()];
        }
        if count == fragments.len() {
            return fragments.iter().map(|fragment| fragment.to_vec()).collect();
        }
        let begins: Vec<usize> = table
            .chunks_exact(4)
            .map(|at| u32::from_le_bytes(*at.first_chunk().expect("four bytes")) as usize)
            .collect();
        assert_eq!(begins.len(), count, "only the table tells which fragments are one frame");
        let (mut frames, mut at) = (vec![Vec::new(); count], 0);
        for fragment in fragments {
            let frame = begins.iter().rposition(|begin| *begin <= at).expect("the first begins at 0");
            frames[frame].extend_from_slice(fragment);
            at += 8 + fragment.len();
        }
        frames
    }
}
