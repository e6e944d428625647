//! Where each record lay in the topic, and which of them were not ours: what the segments cannot tell.
//!
//! A record's position counts the records before it; its offset may run ahead of that, since brokers leave
//! gaps. The file `offsets` beside the segments has an entry of 24 bytes for each record at which the two part
//! further, and one for each record that is not ours: position u64, offset u64, kind u32 (1 a step, 2 not
//! ours), CRC32C of these 20 bytes; little endian (`schemas/kafka-copy.md`). Normally the file is empty.
//!
//! Invariant: an entry is durable before the block with its record is written; entries of records that are not
//! in the segments are dropped when the file is opened.
//! Elsewhere: the records (`embedded::local`), who reads the topic (`follower`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::base::Position;

/// Name of the file.
pub(super) const FILE: &str = "offsets";
const ENTRY_BYTES: usize = 24;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From this record on, offset and position differ by another number.
    Step = 1,
    /// The record is not ours.
    Foreign = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    position: Position,
    offset: u64,
    kind: Kind,
}

impl Entry {
    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..8].copy_from_slice(&self.position.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&(self.kind as u32).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let kind = match u32_at(16) {
            1 => Kind::Step,
            2 => Kind::Foreign,
            _ => return None,
        };
        let right = crc32c::crc32c(&bytes[..20]) == u32_at(20);
        right.then(|| Self { position: Position(u64_at(0)), offset: u64_at(8), kind })
    }
}

/// Offsets of all records copied so far.
#[derive(Debug)]
pub(super) struct Offsets {
    file: File,
    /// Entries whose record is not copied yet.
    unsaved: Vec<Entry>,
    /// First position and offset of each stretch without a gap.
    steps: Vec<(Position, u64)>,
    foreign: u64,
    last_foreign: Option<u64>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OffsetsError {
    /// The file system.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// It is not what was written: the positions of the segments can no longer be told.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
}

impl Offsets {
    /// Reads the file in `folder`, whose segments end at `tail`; made if it is not there.
    pub(super) fn open(folder: &Path, tail: Position) -> Result<Self, OffsetsError> {
        let path = folder.join(FILE);
        let failed = |error| OffsetsError::Io(path.clone(), error);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(failed)?,
        };
        let mut kept = Vec::new();
        for (number, piece) in bytes.chunks(ENTRY_BYTES).enumerate() {
            match Entry::decode(piece) {
                Some(entry) => kept.push(entry),
                // The remains of a write: its block was never begun.
                None if bytes.len() <= (number + 1) * ENTRY_BYTES => {}
                None => return Err(OffsetsError::Damaged(path)),
            }
        }
        kept.retain(|entry| entry.position < tail);
        let whole: Vec<u8> = kept.iter().flat_map(|entry| entry.encode()).collect();
        if whole != bytes || bytes.is_empty() {
            replace(folder, &path, &whole).map_err(failed)?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        let mut offsets =
            Self { file, unsaved: Vec::new(), steps: Vec::new(), foreign: 0, last_foreign: None };
        for entry in kept {
            offsets.take(entry);
        }
        Ok(offsets)
    }

    /// Notes where a record to be copied lies; positions and offsets only grow.
    pub(super) fn note(&mut self, position: Position, offset: u64, ours: bool) {
        if self.offset_of(position) != offset {
            self.unsaved.push(Entry { position, offset, kind: Kind::Step });
        }
        if !ours {
            self.unsaved.push(Entry { position, offset, kind: Kind::Foreign });
        }
        for number in self.unsaved.len().saturating_sub(2)..self.unsaved.len() {
            let entry = self.unsaved[number];
            if entry.position == position {
                self.take(entry);
            }
        }
    }

    /// Makes what was noted durable.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = self.unsaved.drain(..).flat_map(Entry::encode).collect();
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }

    /// Where the record at `position` lies, or the next one if there is no gap before it.
    pub(super) fn offset_of(&self, position: Position) -> u64 {
        let behind = self.steps.partition_point(|(first, _)| *first <= position);
        match behind.checked_sub(1).map(|at| self.steps[at]) {
            Some((first, offset)) => offset + (position.0 - first.0),
            None => position.0,
        }
    }

    /// Which record lies at `offset`, if one does; it must lie before `tail`.
    pub(super) fn position_at(&self, offset: u64, tail: Position) -> Option<Position> {
        let behind = self.steps.partition_point(|(_, first)| *first <= offset);
        let position = match behind.checked_sub(1).map(|at| self.steps[at]) {
            Some((first, start)) => Position(first.0 + (offset - start)),
            None => Position(offset),
        };
        (position < tail && self.offset_of(position) == offset).then_some(position)
    }

    /// The offset behind the last copied record.
    pub(super) fn next_offset(&self, tail: Position) -> u64 {
        tail.0.checked_sub(1).map_or(0, |last| self.offset_of(Position(last)) + 1)
    }

    /// How many records are not ours, and the offset of the last of them.
    pub(super) fn foreign(&self) -> (u64, Option<u64>) {
        (self.foreign, self.last_foreign)
    }

    fn take(&mut self, entry: Entry) {
        match entry.kind {
            Kind::Step => self.steps.push((entry.position, entry.offset)),
            Kind::Foreign => {
                self.foreign += 1;
                self.last_foreign = Some(entry.offset);
            }
        }
    }
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(folder: &Path) -> Offsets {
        let mut offsets = Offsets::open(folder, Position(0)).unwrap();
        // Offsets 0, 1, 5 (not ours), 6, 9: two gaps.
        for (position, offset) in [(0, 0), (1, 1), (2, 5), (3, 6), (4, 9)] {
            offsets.note(Position(position), offset, offset != 5);
        }
        offsets.save().unwrap();
        offsets
    }

    fn check(offsets: &Offsets) {
        let tail = Position(5);
        let found: Vec<_> = (0..12).map(|offset| offsets.position_at(offset, tail)).collect();
        let none = None;
        let at = |position| Some(Position(position));
        assert_eq!(found, [at(0), at(1), none, none, none, at(2), at(3), none, none, at(4), none, none]);
        let back: Vec<_> = (0..5).map(|position| offsets.offset_of(Position(position))).collect();
        assert_eq!(back, [0, 1, 5, 6, 9]);
        assert_eq!((offsets.next_offset(tail), offsets.foreign()), (10, (1, Some(5))));
    }

    #[test]
    fn gaps_and_records_of_others_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        check(&filled(folder.path()));
        check(&Offsets::open(folder.path(), Position(5)).unwrap());
    }

    #[test]
    fn entries_of_records_that_were_not_written_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let offsets = Offsets::open(folder.path(), Position(2)).unwrap();
        assert_eq!((offsets.next_offset(Position(2)), offsets.foreign()), (2, (0, None)));
        assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), b"");
    }

    #[test]
    fn a_torn_entry_is_cut_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        // The last entry was the step to offset 9: without it the record counts as the one behind 6.
        let offsets = Offsets::open(folder.path(), Position(4)).unwrap();
        assert_eq!(offsets.next_offset(Position(4)), 7);
        let mut bad = whole;
        bad[3] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(Offsets::open(folder.path(), Position(5)), Err(OffsetsError::Damaged(_))));
    }
}
