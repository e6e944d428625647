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
    pub(super) mark: Mark,
    pub(super) failed: Option<String>,
    /// Held until the writer goes.
    pub(super) _lock: Lock,
}

/// Whether the next start could tell that the last block is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// There is no block to be told of.
    NotDue,
    Due,
    /// A block without records stands behind the last one; the next block takes its place.
    There,
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
        let body_bytes: usize = records.iter().map(|(_, bytes)| bytes.len() + RECORD_HEADER).sum();
        let longer = self.end + (BLOCK_HEADER + body_bytes) as u64;
        // Never with a mark at the end: it may be in the page cache alone, and a sealed segment has to be
        // durable to its last byte.
        let full = longer > self.segment_limit_bytes && self.position > self.header.first;
        let rolled = if full && self.mark != Mark::There { self.roll() } else { Ok(()) };
        let done = rolled.and_then(|()| self.write_block(records, body_bytes));
        done.map_err(|error| self.stop(&error)).map(|()| first)
    }

    /// Shows that the last block is durable to those who read the files, now beside the server or at the next
    /// start: by a block without records behind it, or by a new segment if this one is full.
    ///
    /// The mark is not fsynced: it says nothing about itself, and the next block is written in its place.
    pub(super) fn mark(&mut self) -> Result<(), String> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        if self.mark != Mark::Due {
            return Ok(());
        }
        let done = if self.end > self.segment_limit_bytes { self.roll() } else { self.write_mark() };
        done.map_err(|error| self.stop(&error))
    }

    fn stop(&mut self, error: &io::Error) -> String {
        let reason = format!("writing at position {} failed: {error}", self.durable.tail());
        tracing::error!(reason, "the log stops taking records until it is opened again");
        self.failed = Some(reason.clone());
        reason
    }

    fn write_mark(&mut self) -> io::Result<()> {
        let (first, mark) = (self.position, self.position);
        let header = BlockHeader { body_bytes: 0, count: 0, first, mark, body_crc: crc32c::crc32c(&[]) };
        self.file.write_at(self.end, &header.encode(self.header.seed(), self.end))?;
        self.mark = Mark::There;
        Ok(())
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
        let began = std::time::Instant::now();
        self.file.sync()?;
        metrics::histogram!("kymo_log_fsync_seconds").record(began.elapsed());

        self.last_block = self.end;
        self.end += block.len() as u64;
        self.mark = Mark::Due;
        self.durable.show(&offsets, self.end);
        Ok(())
    }

    /// Seals the segment and begins the next.
    fn roll(&mut self) -> io::Result<()> {
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
        self.mark = Mark::NotDue;
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
