//! Reading the segment files beside a running server, without a lock.
//!
//! Invariant: a record is given out only when a durable mark behind it covers it, the mark of a later block or
//! the header of a later segment. So the newest block comes a moment later than the server shows it: with the
//! next append, or with the mark that the server writes when nothing follows for a while.
//! Invariant: nothing is written, and what is half written is waited for.
//! Elsewhere: reading within the server (`durable`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::super::{ReadError, Record};
use super::disk::{Disk, DiskFile, RealDisk};
use super::layout::{SEGMENT_HEADER, SEGMENT_SUFFIX, SegmentHeader, named_position, segment_name};
use super::scan::{self, Block, Met};
use super::{OpenError, recovery};
use crate::base::Position;

/// Reads a folder of segments that another process may be writing.
pub struct SegmentReader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    next: Position,
    /// The first block not given out whole: its segment and offset.
    place: Option<(Position, u64)>,
}

impl SegmentReader {
    /// A reader that begins at `from`, which may lie in the future.
    #[must_use]
    pub fn new(folder: &Path, from: Position) -> Self {
        Self::on(Arc::new(RealDisk), folder, from)
    }

    /// The same on another disk.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, folder: &Path, from: Position) -> Self {
        Self { disk, folder: folder.to_owned(), next: from, place: None }
    }

    /// The log's name; `None` while the folder holds no segment.
    ///
    /// # Errors
    /// [`OpenError`] when the first segment cannot be read.
    pub fn log_id(&self) -> Result<Option<Uuid>, OpenError> {
        let firsts = self.firsts().map_err(|error| OpenError::io(&self.folder, &error))?;
        let Some(first) = firsts.first() else { return Ok(None) };
        Ok(Some(recovery::read_header(&*self.disk, &self.folder, *first)?.0.log))
    }

    /// The next records, as soon as they are known durable: whole blocks, until there are `limit_bytes` of
    /// them; none when there is nothing new. Blocking, but waits for nothing.
    ///
    /// # Errors
    /// [`ReadError::Damaged`], [`ReadError::Io`]
    pub fn read(&mut self, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        let firsts = self.firsts()?;
        let behind = firsts.partition_point(|first| *first <= self.next);
        let Some(at) = behind.checked_sub(1) else { return Ok(Vec::new()) };
        let mut given = Vec::new();
        let mut bytes = 0;
        for (number, first) in firsts.iter().enumerate().skip(at) {
            if *first > self.next || bytes >= limit_bytes {
                break;
            }
            bytes +=
                self.read_segment(*first, firsts.get(number + 1).copied(), limit_bytes - bytes, &mut given)?;
        }
        Ok(given)
    }

    fn firsts(&self) -> std::io::Result<Vec<Position>> {
        let names = self.disk.list(&self.folder)?;
        let mut firsts: Vec<_> =
            names.iter().filter_map(|name| named_position(name, SEGMENT_SUFFIX)).collect();
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Reads on in one segment; answers how many bytes of records came.
    fn read_segment(
        &mut self,
        first: Position,
        next_segment: Option<Position>,
        limit_bytes: usize,
        given: &mut Vec<Record>,
    ) -> Result<usize, ReadError> {
        let opened = recovery::read_header(&*self.disk, &self.folder, first);
        let (header, file) = opened.map_err(|error| match error {
            OpenError::Damaged { file, offset, position, what } => {
                ReadError::Damaged { file, offset, position, what }
            }
            other => ReadError::Io(other.to_string()),
        })?;
        let mut offset = match self.place {
            Some((segment, offset)) if segment == first => offset,
            Some(_) | None => SEGMENT_HEADER as u64,
        };
        let mut bytes = 0;
        let mut held: Option<Block> = None;
        while bytes < limit_bytes {
            let Some(block) = whole_block(&*file, &header, offset, next_segment.is_some(), self.next)? else {
                break;
            };
            if let Some(before) = held.take() {
                if before.header.after() > block.header.mark {
                    break;
                }
                bytes += self.give(before, given);
            }
            self.place = Some((first, offset));
            offset = block.end;
            held = Some(block);
        }
        // A segment begins only when all before it is durable.
        if let Some(last) = held.filter(|last| next_segment.is_some_and(|next| last.header.after() <= next)) {
            bytes += self.give(last, given);
            self.place = Some((first, offset));
        }
        Ok(bytes)
    }

    fn give(&mut self, block: Block, given: &mut Vec<Record>) -> usize {
        let new = block.records.into_iter().map(|(_, record)| record).filter(|r| r.position >= self.next);
        let before = given.len();
        given.extend(new);
        let bytes = given[before..].iter().map(|record| record.bytes.len().max(1)).sum();
        self.next = self.next.max(block.header.after());
        bytes
    }
}

/// The block at `offset`, or `None` if it is not, or not yet, there.
fn whole_block(
    file: &dyn DiskFile,
    header: &SegmentHeader,
    offset: u64,
    sealed: bool,
    position: Position,
) -> Result<Option<Block>, ReadError> {
    let (seed, length) = (header.seed(), file.length()?);
    let what = match scan::block_at(file, seed, offset, length)? {
        Met::End => return Ok(None),
        Met::Block(block) => return Ok(Some(block)),
        Met::Bad(what) => what,
    };
    let length = file.length()?;
    let durable = sealed || scan::later_block(file, seed, offset + 1, length)?.is_some();
    // It may have been in the middle of its write a moment ago; if it was durable it is whole now.
    match scan::block_at(file, seed, offset, length)? {
        Met::Block(block) => Ok(Some(block)),
        Met::Bad(_) | Met::End if !durable => Ok(None),
        Met::Bad(_) | Met::End => {
            let file = segment_name(header.first);
            Err(ReadError::Damaged { file, offset, position, what: what.to_owned() })
        }
    }
}
