//! Checking every byte of a folder of segments: checksums, positions, stamps, the chain.
//!
//! Invariant: nothing is written and no lock is taken; beside a running server the last block may be found
//! torn, being written.
//! Invariant: a problem does not end the check: it goes on at the next whole block.
//! Elsewhere: the quicker check of every start (`recovery`).

use std::path::Path;

use uuid::Uuid;

use super::disk::{Disk, DiskFile};
use super::layout::{
    INDEX_SUFFIX, SEGMENT_HEADER, SEGMENT_SUFFIX, SegmentHeader, index_name, named_position, segment_name,
};
use super::scan::{self, Met, Walk};
use super::{OpenError, index, recovery};
use crate::base::Position;

/// What a check comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A segment has been gone through.
    Segment {
        /// File name.
        file: String,
        /// Whole records in it.
        records: u64,
        /// Its length.
        bytes: u64,
    },
    /// Something is not as it was written.
    Problem {
        /// What kind of thing.
        kind: Kind,
        /// File name.
        file: String,
        /// Offset in it, bytes.
        offset: u64,
        /// The first position that may be concerned.
        position: Position,
        /// What was found.
        what: String,
    },
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records that were durable are lost or altered.
    Damage,
    /// The end of the last segment is the remains of a write; the next start cuts it.
    TornTail,
    /// An index is wrong; it is made again at the next start.
    Index,
}

/// What was there in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The log's name, if there is a segment that can be read.
    pub log: Option<Uuid>,
    /// Segment files.
    pub segments: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes of segment files.
    pub bytes: u64,
    /// The position after the last whole record.
    pub tail: Position,
    /// The chain value of the last whole record.
    pub chain: [u8; 32],
    /// Problems of all kinds.
    pub problems: u64,
}

/// Checks a folder, telling `visit` what is found on the way. Blocking; reads everything once.
///
/// # Errors
/// [`OpenError::Io`] when the file system fails.
pub fn verify(disk: &dyn Disk, folder: &Path, visit: &mut dyn FnMut(Finding)) -> Result<Counts, OpenError> {
    let names = disk.list(folder).map_err(|error| OpenError::io(folder, &error))?;
    let mut firsts: Vec<_> = names.iter().filter_map(|name| named_position(name, SEGMENT_SUFFIX)).collect();
    firsts.sort_unstable();
    let counts = Counts::default();
    let walk = Walk::from(&SegmentHeader::of_new_log(Uuid::nil()));
    let mut check = Check { disk, folder, visit, counts, walk };
    for (number, first) in firsts.iter().enumerate() {
        check.segment(*first, number + 1 == firsts.len())?;
    }
    for alone in names.iter().filter_map(|name| named_position(name, INDEX_SUFFIX)) {
        if firsts.last().is_none_or(|last| alone >= *last) {
            let what = "the index tells of a segment that is not there";
            check.problem(Kind::Damage, index_name(alone), 0, check.walk.position, what);
        }
    }
    check.counts.tail = check.walk.position;
    check.counts.chain = check.walk.chain.unwrap_or_default();
    Ok(check.counts)
}

struct Check<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    visit: &'a mut dyn FnMut(Finding),
    counts: Counts,
    walk: Walk,
}

impl Check<'_> {
    fn problem(
        &mut self,
        kind: Kind,
        file: String,
        offset: u64,
        position: Position,
        what: impl Into<String>,
    ) {
        self.counts.problems += 1;
        (self.visit)(Finding::Problem { kind, file, offset, position, what: what.into() });
    }

    fn segment(&mut self, first: Position, last: bool) -> Result<(), OpenError> {
        let name = segment_name(first);
        let path = self.folder.join(&name);
        let io = |error| OpenError::io(&path, &error);
        self.counts.segments += 1;
        let (header, file) = match recovery::read_header(self.disk, self.folder, first) {
            Ok(opened) => opened,
            Err(error @ OpenError::Io { .. }) => return Err(error),
            Err(error) => {
                self.problem(Kind::Damage, name, 0, self.walk.position.min(first), error.to_string());
                self.walk.chain = None;
                return Ok(());
            }
        };
        let log = *self.counts.log.get_or_insert(header.log);
        // Behind a problem that has been told there is nothing to continue.
        let due = self.walk.chain.map_or_else(
            || SegmentHeader { log, ..header.clone() },
            |chain| SegmentHeader { log, first: self.walk.position, chain, stamp: self.walk.stamp },
        );
        if due != header {
            let what = "the segment does not continue the one before it";
            self.problem(Kind::Damage, name.clone(), 0, self.walk.position.min(first), what);
        }
        self.walk = Walk::from(&header);
        let before = self.counts.clone();
        let length = file.length().map_err(io)?;
        let (offsets, last_block) = self.blocks(&header, &*file, length, last).map_err(io)?;
        // Beside a damaged segment its index can say nothing.
        if !last && self.counts.problems == before.problems {
            self.index(&header, &offsets, last_block, length)?;
        }
        self.counts.bytes += length;
        let records = self.counts.records - before.records;
        (self.visit)(Finding::Segment { file: name, records, bytes: length });
        Ok(())
    }

    /// Goes through the blocks; answers the records' offsets and the last block's.
    fn blocks(
        &mut self,
        header: &SegmentHeader,
        file: &dyn DiskFile,
        length: u64,
        last: bool,
    ) -> std::io::Result<(Vec<u64>, u64)> {
        let (seed, name) = (header.seed(), segment_name(header.first));
        let (mut offset, mut last_block) = (SEGMENT_HEADER as u64, 0);
        let mut offsets = Vec::new();
        loop {
            match scan::block_at(file, seed, offset, length)? {
                Met::End => return Ok((offsets, last_block)),
                Met::Block(block) => {
                    let position = self.walk.position;
                    if let Err((at, what)) = self.walk.pass(offset, &block) {
                        self.problem(Kind::Damage, name.clone(), at, position, what);
                        self.restart_behind(&block);
                    }
                    self.counts.blocks += 1;
                    self.counts.records += block.records.len() as u64;
                    offsets.extend(block.records.iter().map(|(offset, _)| offset));
                    last_block = offset;
                    offset = block.end;
                }
                Met::Bad(what) => {
                    let later = scan::later_block(file, seed, offset + 1, length)?;
                    let kind = if last && later.is_none() { Kind::TornTail } else { Kind::Damage };
                    self.problem(kind, name.clone(), offset, self.walk.position, what);
                    let Some((next, header)) = later else { return Ok((offsets, last_block)) };
                    offset = next;
                    self.walk = Walk { position: header.first, chain: None, ..self.walk };
                }
            }
        }
    }

    fn restart_behind(&mut self, block: &scan::Block) {
        let last = block.records.last().map(|(_, record)| record);
        self.walk.position = block.header.after();
        self.walk.chain = last.map(|record| record.chain).or(self.walk.chain);
        self.walk.stamp = last.map_or(self.walk.stamp, |record| record.stamp);
    }

    fn index(
        &mut self,
        header: &SegmentHeader,
        offsets: &[u64],
        last_block: u64,
        segment_bytes: u64,
    ) -> Result<(), OpenError> {
        let name = index_name(header.first);
        let path = self.folder.join(&name);
        let io = |error| OpenError::io(&path, &error);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.problem(Kind::Index, name, 0, header.first, "the index is not there");
                return Ok(());
            }
            other => other.map_err(io)?,
        };
        let count = offsets.len() as u64;
        let right = match index::check(&*file, header.seed()).map_err(io)? {
            None => false,
            Some(summary) => {
                let said = (summary.count, summary.segment_bytes, summary.last_block);
                said == (count, segment_bytes, last_block)
                    && index::offsets(&*file, 0, offsets.len()).map_err(io)? == offsets
            }
        };
        if !right {
            self.problem(Kind::Index, name, 0, header.first, "the index is not that of its segment");
        }
        Ok(())
    }
}
