//! The file beside a sealed segment that says at which offset each record lies.
//!
//! Invariant: an index is never the only copy of anything; missing, torn, wrong or of another version, it is
//! made again from the segment.
//! Invariant: what is read through it is checked against the record's own checksum, which knows its position.
//! Elsewhere: the segment itself (`layout`), when it is made (`writer`, `recovery`).

use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile};
use super::layout::{SEGMENT_HEADER, UNFINISHED_SUFFIX, index_name, u32_at, u64_at};
use crate::base::Position;

const MAGIC: [u8; 8] = *b"KYMOIDX\n";
const VERSION: u32 = 1;
/// Bytes before the first offset.
pub(super) const INDEX_HEADER: usize = 48;

/// What an index says of its segment beside the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) segment_bytes: u64,
    pub(super) last_block: u64,
    /// Offset of the last record.
    pub(super) last_record: u64,
}

/// Writes the index of the segment that begins at `first`, in place of one that is there.
pub(super) fn write(
    disk: &dyn Disk,
    folder: &Path,
    first: Position,
    seed: u32,
    (segment_bytes, last_block): (u64, u64),
    offsets: &[u64],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(INDEX_HEADER + offsets.len() * 8);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&seed.to_le_bytes());
    bytes.extend_from_slice(&(offsets.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&segment_bytes.to_le_bytes());
    bytes.extend_from_slice(&last_block.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    let crc = checksum(&bytes);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());

    let name = index_name(first);
    let unfinished = folder.join(format!("{name}{UNFINISHED_SUFFIX}"));
    let file = disk.create(&unfinished)?;
    file.write_at(0, &bytes)?;
    // Not synced: what a power loss leaves of it is found wrong at the next start and made again.
    disk.rename(&unfinished, &folder.join(name))
}

/// Reads the whole index and says what it holds, or `None` if it is not an index of this segment.
pub(super) fn check(file: &dyn DiskFile, seed: u32) -> io::Result<Option<Summary>> {
    let length = file.length()?;
    if length <= INDEX_HEADER as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    let right = bytes[0..8] == MAGIC
        && u32_at(&bytes, 8) == VERSION
        && u32_at(&bytes, 12) == seed
        && u32_at(&bytes, 40) == checksum(&bytes);
    let summary = Summary {
        count: u64_at(&bytes, 16),
        segment_bytes: u64_at(&bytes, 24),
        last_block: u64_at(&bytes, 32),
        last_record: u64_at(&bytes, bytes.len() - 8),
    };
    let whole = summary.count.checked_mul(8) == Some(length - INDEX_HEADER as u64);
    Ok((right && whole && summary.segment_bytes > SEGMENT_HEADER as u64).then_some(summary))
}

/// `count` offsets from number `from` on.
pub(super) fn offsets(file: &dyn DiskFile, from: u64, count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    file.read_at(INDEX_HEADER as u64 + from * 8, &mut bytes)?;
    Ok(bytes.chunks_exact(8).map(|offset| u64_at(offset, 0)).collect())
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..40]), &bytes[44..])
}
