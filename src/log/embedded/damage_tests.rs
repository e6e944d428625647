//! What happens to a folder that was damaged: refused with the place, or repaired as promised; never other bytes.
//!
//! Invariant: nothing but the bytes appended is ever read.
//! Elsewhere: crashes (`crashes`), the log as a whole (`tests`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{SEGMENT_HEADER, index_name, segment_name};
use super::recovery::{self, Opened};
use super::simdisk::SimDisk;
use super::verify::{Finding, Kind, verify};
use super::*;
use crate::base::Stamp;

const LOG: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const FOLDER: &str = "/log";
/// Holds two blocks of [`block`].
const SEGMENT_BYTES: u64 = 700;

fn open(disk: &SimDisk, log: Uuid, cursors: &[Position]) -> Result<Opened, OpenError> {
    recovery::open(Arc::new(disk.clone()), Path::new(FOLDER), SEGMENT_BYTES, log, cursors)
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(name)
}

fn block(number: u64) -> Vec<(Stamp, Bytes)> {
    (0..2).map(|n| (Stamp(number as i64), Bytes::from(vec![number as u8 * 2 + n; 60]))).collect()
}

/// Five blocks of two records each in three segments: 0..4, 4..8, 8..10.
fn five_blocks(log: Uuid) -> SimDisk {
    let disk = SimDisk::seeded(1);
    let mut opened = open(&disk, log, &[]).expect("it opens");
    for number in 0..5 {
        opened.writer.append_block(block(number)).expect("nothing fails");
    }
    drop(opened);
    disk.kill();
    assert_eq!(disk.list(Path::new(FOLDER)).expect("readable").len(), 5);
    disk
}

fn all(opened: &Opened) -> Vec<Record> {
    opened.durable.batch(Position(0), opened.durable.tail(), usize::MAX).expect("readable")
}

fn problems(disk: &SimDisk) -> Vec<(Kind, String, u64, Position)> {
    let mut found = Vec::new();
    verify(disk, Path::new(FOLDER), &mut |finding| match finding {
        Finding::Segment { .. } => {}
        Finding::Problem { kind, file, offset, position, .. } => found.push((kind, file, offset, position)),
    })
    .expect("the files can be read");
    found
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_noticed_and_placed() {
    let disk = five_blocks(LOG);
    let expected = all(&open(&disk, LOG, &[]).expect("it opens"));
    let name = segment_name(Position(4));
    let length = disk.peek(&path(&name)).expect("it is there").len();
    let second_block = SEGMENT_HEADER + (length - SEGMENT_HEADER) / 2;
    for at in 0..length {
        let copy = disk.fork();
        copy.poke(&path(&name), |bytes| bytes[at] ^= 1 << (at % 8));
        let found = problems(&copy);
        assert!(
            found.iter().any(|(kind, file, ..)| (*kind, file) == (Kind::Damage, &name)),
            "byte {at}: {found:?}"
        );

        // Without its index the segment is read whole at the start, and refused at the place.
        let without = copy.fork();
        without.remove(&path(&index_name(Position(4)))).expect("it is there");
        let (offset, position) = match at {
            0..SEGMENT_HEADER => (0, 4),
            _ if at < second_block => (SEGMENT_HEADER, 4),
            _ => (second_block, 6),
        };
        match open(&without, LOG, &[]).err().expect("it is refused") {
            OpenError::Damaged { file, offset: found, position: first, .. } => {
                assert_eq!((&file, found, first), (&name, offset as u64, Position(position)), "byte {at}");
            }
            other => panic!("byte {at}: {other}"),
        }

        // With it the start is quick, and what it let pass is noticed by the reader.
        let Ok(opened) = open(&copy, LOG, &[]) else { continue };
        assert!((SEGMENT_HEADER..second_block).contains(&at), "byte {at}");
        for (position, due) in expected.iter().enumerate() {
            match opened.durable.get(Position(position as u64)) {
                Ok(record) => assert_eq!(&record, due),
                Err(ReadError::Damaged { file, offset, .. }) => {
                    assert_eq!((file, offset), (name.clone(), SEGMENT_HEADER as u64), "byte {at}");
                }
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn a_flipped_bit_that_a_later_block_covers_is_damage() {
    let disk = SimDisk::seeded(2);
    let mut opened = open(&disk, LOG, &[]).expect("it opens");
    for number in 0..2 {
        opened.writer.append_block(block(number)).expect("nothing fails");
    }
    drop(opened);
    let name = segment_name(Position(0));
    let length = disk.peek(&path(&name)).expect("it is there").len();
    let second_block = SEGMENT_HEADER + (length - SEGMENT_HEADER) / 2;
    for at in 0..second_block {
        let copy = disk.fork();
        copy.poke(&path(&name), |bytes| bytes[at] ^= 4);
        let offset = if at < SEGMENT_HEADER { 0 } else { SEGMENT_HEADER as u64 };
        match open(&copy, LOG, &[]).err().expect("it is refused") {
            OpenError::Damaged { file, offset: found, position, .. } => {
                assert_eq!((&file, found, position), (&name, offset, Position(0)), "byte {at}");
            }
            other => panic!("byte {at}: {other}"),
        }
    }
    // A bit of the very last block cannot be told from a torn write; it is the stored cursor that tells.
    for at in second_block..length {
        let copy = disk.fork();
        copy.poke(&path(&name), |bytes| bytes[at] ^= 4);
        let before = copy.peek(&path(&name));
        let refused = open(&copy, LOG, &[Position(1), Position(4), Position(3)]).err();
        assert_eq!(refused, Some(OpenError::CursorBeyondEnd { cursor: Position(4), tail: Position(2) }));
        assert_eq!(copy.peek(&path(&name)), before);
        let opened = open(&copy, LOG, &[Position(2)]).expect("no cursor is beyond");
        let torn = opened.report.torn.as_ref().expect("it is told");
        assert_eq!((torn.offset, torn.position), (second_block as u64, Position(2)));
        assert_eq!(copy.peek(&torn.kept).as_deref(), before.as_deref().map(|bytes| &bytes[second_block..]));
    }
}

#[test]
fn a_tail_cut_at_any_byte_is_cut_back_to_the_last_whole_block() {
    let disk = five_blocks(LOG);
    let expected = all(&open(&disk, LOG, &[]).expect("it opens"));
    let name = segment_name(Position(8));
    let length = disk.peek(&path(&name)).expect("it is there").len();
    for cut in 0..length {
        let copy = disk.fork();
        copy.poke(&path(&name), |bytes| bytes.truncate(cut));
        if cut < SEGMENT_HEADER {
            // A segment appears under its name only with its header durable.
            assert!(
                matches!(open(&copy, LOG, &[]).err(), Some(OpenError::Damaged { offset: 0, .. })),
                "{cut}"
            );
            continue;
        }
        let mut opened = open(&copy, LOG, &[]).expect("it opens");
        assert_eq!(all(&opened), expected[..8], "{cut}");
        assert_eq!(opened.report.torn.is_some(), cut > SEGMENT_HEADER, "{cut}");
        opened.writer.append_block(block(4)).expect("nothing fails");
        assert_eq!(all(&opened), expected, "{cut}");
        assert_eq!(problems(&copy), [], "{cut}");
    }
}

#[test]
fn a_missing_segment_is_named() {
    for (first, from, to) in [(0, 0, 4), (4, 4, 8), (8, 8, 9)] {
        let disk = five_blocks(LOG);
        disk.remove(&path(&segment_name(Position(first)))).expect("it is there");
        let refused = open(&disk, LOG, &[]).err();
        assert_eq!(refused, Some(OpenError::MissingSegment { from: Position(from), to: Position(to) }));
        assert!(problems(&disk).iter().any(|(kind, ..)| *kind == Kind::Damage), "{first}");
    }
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (disk, other) = (five_blocks(LOG), five_blocks(OTHER));
    for first in [4, 8] {
        let name = segment_name(Position(first));
        let copy = disk.fork();
        copy.poke(&path(&name), |bytes| *bytes = other.peek(&path(&name)).expect("it is there"));
        let refused = open(&copy, LOG, &[]).err();
        assert_eq!(refused, Some(OpenError::ForeignLog { file: name, found: OTHER, expected: LOG }));
        assert!(!problems(&copy).is_empty());
    }
}

#[test]
fn a_log_that_was_rewritten_breaks_the_chain() {
    let disk = five_blocks(LOG);
    let other = SimDisk::seeded(1);
    let mut opened = open(&other, LOG, &[]).expect("it opens");
    for number in [9, 1, 2, 3, 4] {
        opened.writer.append_block(block(number)).expect("nothing fails");
    }
    let name = segment_name(Position(4));
    disk.poke(&path(&name), |bytes| *bytes = other.peek(&path(&name)).expect("it is there"));
    assert!(matches!(open(&disk, LOG, &[]).err(), Some(OpenError::Damaged { file, .. }) if file == name));
    assert!(problems(&disk).iter().any(|(kind, file, ..)| (*kind, file) == (Kind::Damage, &name)));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let disk = five_blocks(LOG);
    let name = segment_name(Position(8));
    disk.poke(&path(&name), |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..84]);
        bytes[84..88].copy_from_slice(&crc.to_le_bytes());
    });
    let refused = open(&disk, LOG, &[]).err();
    assert_eq!(refused, Some(OpenError::FutureVersion { file: name, version: 2, known: 1 }));
}

#[test]
fn a_file_that_is_no_segment_is_refused() {
    let disk = five_blocks(LOG);
    disk.poke(&path(&segment_name(Position(0))), |bytes| bytes[..4].copy_from_slice(b"%PDF"));
    assert!(matches!(open(&disk, LOG, &[]).err(), Some(OpenError::Damaged { offset: 0, .. })));
}

#[test]
fn verify_goes_on_behind_a_problem() {
    let disk = five_blocks(LOG);
    let first = segment_name(Position(0));
    disk.poke(&path(&first), |bytes| bytes[SEGMENT_HEADER + 100] ^= 1);
    assert_eq!(problems(&disk), [(Kind::Damage, first, SEGMENT_HEADER as u64, Position(0))]);
    let counts = verify(&disk, Path::new(FOLDER), &mut |_| {}).expect("readable");
    assert_eq!((counts.records, counts.blocks, counts.tail, counts.problems), (8, 4, Position(10), 1));
}

/// A record may hold anything, a copy of a block of this very log too: a torn tail with one inside stays a
/// torn tail.
#[test]
fn a_block_within_a_record_is_not_taken_for_a_block() {
    let disk = SimDisk::seeded(3);
    let mut opened = open(&disk, LOG, &[]).expect("it opens");
    opened.writer.append_block(block(0)).expect("nothing fails");
    let name = segment_name(Position(0));
    let copied = disk.peek(&path(&name)).expect("it is there")[SEGMENT_HEADER..].to_vec();
    opened.writer.append_block(vec![(Stamp(9), copied.into())]).expect("nothing fails");
    drop(opened);
    disk.poke(&path(&name), |bytes| bytes.truncate(bytes.len() - 1));
    let opened = open(&disk, LOG, &[]).expect("it opens");
    assert_eq!((opened.report.tail, opened.report.torn.is_some()), (Position(2), true));
}
