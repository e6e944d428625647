//! The one who appends: a state machine without threads, so that a test can stop it between any two calls
//! of the disk.
//!
//! Invariant: a block is written only when everything before it is durable; it is shown to readers and
//! answered for only after its own fsync.
//! Invariant: the first failure of the disk is the last thing done to it: nothing is tried twice.
//! Elsewhere: who waits for whom (`queue`), what a crash leaves (`recovery`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::{Record, chain};
use super::disk::{Disk, DiskFile, Lock};
use super::durable::{Active, Durable};
use super::index;
use super::layout::{
    BLOCK_HEADER, BlockHeader, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, UNFINISHED_SUFFIX,
    encode_record, segment_name,
};
use crate::base::{Position, Stamp};

/// Appends blocks to the growing segment.
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) segment_limit_bytes: u64,
    pub(super) durable: Arc<Durable>,
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next block goes.
    pub(super) end: u64,
    pub(super) last_block: u64,
    pub(super) position: Position,
    pub(super) stamp: Stamp,
    pub(super) chain: [u8; 32],
    /// The last block holds records that no durable mark in the file covers yet.
    pub(super) unmarked: bool,
    pub(super) failed: Option<String>,
    /// Held until the writer goes.
    pub(super) _lock: Lock,
}

impl Writer {
    /// Appends records as one block and makes it durable; answers the position of the first.
    ///
    /// A stamp that lies before the last one is raised to it.
    pub(super) fn append_block(&mut self, records: Vec<(Stamp, Bytes)>) -> Result<Position, String> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        let first = self.position;
        let bytes: usize = records.iter().map(|(_, bytes)| bytes.len() + RECORD_HEADER).sum();
        let done = self.roll_before(bytes).and_then(|()| self.write_block(records, bytes));
        match done {
            Ok(()) => Ok(first),
            Err(error) => {
                let reason = format!("writing position {first} failed: {error}");
                tracing::error!(reason, "the log stops taking records until it is opened again");
                self.failed = Some(reason.clone());
                Err(reason)
            }
        }
    }

    /// Writes a block without records, whose durable mark covers the last one, unless that is done.
    ///
    /// It lets those who read the files beside the server, and the next start, know that nothing is in doubt.
    pub(super) fn mark(&mut self) -> Result<(), String> {
        if self.unmarked { self.append_block(Vec::new()).map(|_| ()) } else { Ok(()) }
    }

    fn write_block(&mut self, records: Vec<(Stamp, Bytes)>, body_bytes: usize) -> io::Result<()> {
        let mut block = Vec::with_capacity(BLOCK_HEADER + body_bytes);
        block.extend_from_slice(&[0; BLOCK_HEADER]);
        let (first, count) = (self.position, records.len());
        let mut offsets = Vec::with_capacity(count);
        for (stamp, bytes) in records {
            let stamp = stamp.max(self.stamp);
            let chain = chain::link(&self.chain, stamp, &bytes);
            offsets.push(self.end + block.len() as u64);
            encode_record(&mut block, &Record { position: self.position, stamp, chain, bytes });
            (self.position, self.stamp, self.chain) = (self.position.next(), stamp, chain);
        }
        let header = BlockHeader {
            body_bytes: u32::try_from(body_bytes).expect("the settings bound a block below 4 GiB"),
            count: u32::try_from(count).expect("there are fewer records than bytes"),
            first,
            mark: first,
            body_crc: crc32c::crc32c(&block[BLOCK_HEADER..]),
        };
        block[..BLOCK_HEADER].copy_from_slice(&header.encode(self.header.seed(), self.end));

        self.file.write_at(self.end, &block)?;
        self.file.sync()?;

        self.last_block = self.end;
        self.end += block.len() as u64;
        self.unmarked = count > 0;
        self.durable.show(&offsets, self.end);
        Ok(())
    }

    /// Begins a new segment if a block with such a body would make this one too long.
    fn roll_before(&mut self, body_bytes: usize) -> io::Result<()> {
        let would_be = self.end + (BLOCK_HEADER + body_bytes) as u64;
        if would_be <= self.segment_limit_bytes || self.position == self.header.first || body_bytes == 0 {
            return Ok(());
        }
        let next = SegmentHeader {
            log: self.header.log,
            first: self.position,
            chain: self.chain,
            stamp: self.stamp,
        };
        let file = create_segment(&*self.disk, &self.folder, &next)?;
        let offsets = self.durable.active_offsets();
        let place = (self.end, self.last_block);
        let filed =
            index::write(&*self.disk, &self.folder, self.header.first, self.header.seed(), place, &offsets);
        if let Err(error) = &filed {
            tracing::warn!(%error, "the index of a segment of the log cannot be written; it is kept in memory");
        }
        let end = SEGMENT_HEADER as u64;
        let active = Active { header: next.clone(), file: file.clone(), offsets: Vec::new(), bytes: end };
        self.durable.roll(active, filed.is_ok());
        (self.header, self.file, self.end, self.last_block) = (next, file, end, end);
        Ok(())
    }
}

/// Makes a segment without blocks, durable under its name.
pub(super) fn create_segment(
    disk: &dyn Disk,
    folder: &Path,
    header: &SegmentHeader,
) -> io::Result<Arc<dyn DiskFile>> {
    let name = segment_name(header.first);
    let unfinished = folder.join(format!("{name}{UNFINISHED_SUFFIX}"));
    let file = disk.create(&unfinished)?;
    file.write_at(0, &header.encode())?;
    file.sync()?;
    disk.rename(&unfinished, &folder.join(name))?;
    disk.sync_folder(folder)?;
    Ok(file)
}
