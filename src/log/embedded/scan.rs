//! Reading a segment from its beginning, block by block, trusting nothing.
//!
//! Invariant: what a scan accepts is whole: checksums, dense positions, stamps that never go back, the chain.
//! Invariant: a block that cannot be read is damage if anything valid follows it, for each block is written
//! only when the one before it is durable; with nothing behind it, it is a torn tail.
//! Elsewhere: what is done about either (`recovery`, `verify`, `follow`).

use std::io;

use bytes::Bytes;

use super::super::{Record, chain};
use super::disk::DiskFile;
use super::layout::{
    BLOCK_HEADER, BLOCK_MAGIC, BlockHeader, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, decode_record,
};
use crate::base::{Position, Stamp};

/// How much is searched at a time for a block behind a bad one.
const SEARCH_BYTES: usize = 1 << 20;

/// What was met at an offset.
pub(super) enum Met {
    /// The file ends here.
    End,
    Block(Block),
    Bad(&'static str),
}

/// A whole block.
pub(super) struct Block {
    pub(super) header: BlockHeader,
    /// Offset behind it.
    pub(super) end: u64,
    /// Each with its offset.
    pub(super) records: Vec<(u64, Record)>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) offset: u64,
    pub(super) position: Position,
    pub(super) what: String,
    /// Whether it had been durable; else it is a torn tail.
    pub(super) damage: bool,
}

/// Where a scan is in the order of records.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub(super) position: Position,
    pub(super) stamp: Stamp,
    /// `None` after a gap.
    pub(super) chain: Option<[u8; 32]>,
}

impl Walk {
    pub(super) fn from(header: &SegmentHeader) -> Self {
        Self { position: header.first, stamp: header.stamp, chain: Some(header.chain) }
    }

    /// Passes the records of a block; says at which offset it does not continue what was passed before.
    pub(super) fn pass(&mut self, offset: u64, block: &Block) -> Result<(), (u64, String)> {
        let (header, expected) = (&block.header, self.position);
        if header.first != expected || header.mark != expected {
            let what = format!("a block of position {} stands where {expected} is due", header.first);
            return Err((offset, what));
        }
        for (offset, record) in &block.records {
            if record.stamp < self.stamp {
                return Err((*offset, "the stamp goes back".to_owned()));
            }
            let due = self.chain.map(|before| chain::link(&before, record.stamp, &record.bytes));
            if due.is_some_and(|due| due != record.chain) {
                return Err((*offset, "the chain is broken".to_owned()));
            }
            *self = Self { position: record.position.next(), stamp: record.stamp, chain: Some(record.chain) };
        }
        Ok(())
    }
}

/// All that a scan of one segment found.
pub(super) struct Scan {
    /// Offset of every whole record.
    pub(super) offsets: Vec<u64>,
    /// Where the whole blocks end.
    pub(super) end: u64,
    /// Offset of the last whole block, if there is one.
    pub(super) last_block: Option<u64>,
    /// Positions before it are known durable.
    pub(super) mark: Position,
    /// Behind the last whole record.
    pub(super) walk: Walk,
    pub(super) bad: Option<Bad>,
}

/// The header of a file; `Err` within when it is too short for one.
pub(super) fn header_bytes(file: &dyn DiskFile) -> io::Result<Option<[u8; SEGMENT_HEADER]>> {
    let mut bytes = [0; SEGMENT_HEADER];
    if file.length()? < SEGMENT_HEADER as u64 {
        return Ok(None);
    }
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Reads a whole segment.
pub(super) fn scan(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<Scan> {
    let (seed, length) = (header.seed(), file.length()?);
    let mut scan = Scan {
        offsets: Vec::new(),
        end: SEGMENT_HEADER as u64,
        last_block: None,
        mark: header.first,
        walk: Walk::from(header),
        bad: None,
    };
    loop {
        match block_at(file, seed, scan.end, length)? {
            Met::End => return Ok(scan),
            Met::Block(block) => {
                let position = scan.walk.position;
                let mut walk = scan.walk.clone();
                if let Err((offset, what)) = walk.pass(scan.end, &block) {
                    scan.bad = Some(Bad { offset, position, what, damage: true });
                    return Ok(scan);
                }
                scan.walk = walk;
                scan.offsets.extend(block.records.iter().map(|(offset, _)| offset));
                scan.last_block = Some(scan.end);
                scan.mark = block.header.mark;
                scan.end = block.end;
            }
            Met::Bad(what) => {
                let (offset, position) = (scan.end, scan.walk.position);
                let damage = later_block(file, seed, offset + 1, length)?.is_some();
                scan.bad = Some(Bad { offset, position, what: what.to_owned(), damage });
                return Ok(scan);
            }
        }
    }
}

/// The block at `offset` of a file that is `length` bytes long.
pub(super) fn block_at(file: &dyn DiskFile, seed: u32, offset: u64, length: u64) -> io::Result<Met> {
    if offset == length {
        return Ok(Met::End);
    }
    let Some(header) = block_header_at(file, seed, offset, length)? else {
        return Ok(Met::Bad("there is no whole block header"));
    };
    let body_offset = offset + BLOCK_HEADER as u64;
    let end = body_offset + u64::from(header.body_bytes);
    if end > length {
        return Ok(Met::Bad("the block is cut off"));
    }
    let mut body = vec![0; header.body_bytes as usize];
    file.read_at(body_offset, &mut body)?;
    if crc32c::crc32c(&body) != header.body_crc {
        return Ok(Met::Bad("the checksum of the block is wrong"));
    }
    Ok(records_in(&header, &Bytes::from(body), body_offset)
        .map_or_else(Met::Bad, |records| Met::Block(Block { header, end, records })))
}

fn records_in(
    header: &BlockHeader,
    body: &Bytes,
    body_offset: u64,
) -> Result<Vec<(u64, Record)>, &'static str> {
    let (mut records, mut at) = (Vec::new(), 0);
    let mut position = header.first;
    while at < body.len() {
        let record = decode_record(&body.slice(at..), position)?;
        let length = RECORD_HEADER + record.bytes.len();
        records.push((body_offset + at as u64, record));
        at += length;
        position = Position(position.0.saturating_add(1));
    }
    if records.len() != header.count as usize {
        return Err("the block holds another number of records than it says");
    }
    Ok(records)
}

fn block_header_at(
    file: &dyn DiskFile,
    seed: u32,
    offset: u64,
    length: u64,
) -> io::Result<Option<BlockHeader>> {
    if offset.saturating_add(BLOCK_HEADER as u64) > length {
        return Ok(None);
    }
    let mut bytes = [0; BLOCK_HEADER];
    file.read_at(offset, &mut bytes)?;
    Ok(BlockHeader::decode(&bytes, seed, offset))
}

/// The first block header at or behind `from`.
pub(super) fn later_block(
    file: &dyn DiskFile,
    seed: u32,
    from: u64,
    length: u64,
) -> io::Result<Option<(u64, BlockHeader)>> {
    let mut start = from;
    while start.saturating_add(BLOCK_HEADER as u64) <= length {
        let take = usize::try_from(length - start).unwrap_or(usize::MAX).min(SEARCH_BYTES);
        let mut bytes = vec![0; take];
        file.read_at(start, &mut bytes)?;
        for at in
            bytes.windows(BLOCK_MAGIC.len()).enumerate().filter(|(_, w)| **w == BLOCK_MAGIC).map(|(at, _)| at)
        {
            let offset = start + at as u64;
            if let Some(header) = block_header_at(file, seed, offset, length)? {
                return Ok(Some((offset, header)));
            }
        }
        // The next piece overlaps by less than a header, so that no magic is cut in two.
        start += (take - (BLOCK_MAGIC.len() - 1).min(take - 1)) as u64;
    }
    Ok(None)
}
