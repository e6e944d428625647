//! The bytes of a segment file: header, blocks, records (`schemas/log-segment.md` has the offsets).
//!
//! Invariant: every checksum of a block is bound to its segment and its offset, so that a copy of a block,
//! say inside a record that somebody stored, is never taken for a block.
//! Invariant: a length is believed only after a checksum and only as far as there are bytes.
//! Elsewhere: reading a file block by block (`scan`), the index beside it (`index`).

use bytes::Bytes;
use uuid::Uuid;

use super::super::{Record, chain};
use crate::base::{Position, Stamp};

pub(super) const MAGIC: [u8; 8] = *b"KYMOLOG\n";
pub(super) const BLOCK_MAGIC: [u8; 4] = *b"KYBL";
/// The format version this code writes, and the newest it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 88;
/// Bytes of a block's header.
pub(super) const BLOCK_HEADER: usize = 40;
/// Bytes of a record before what was appended.
pub(super) const RECORD_HEADER: usize = 48;
/// Ends of file names.
pub(super) const SEGMENT_SUFFIX: &str = ".kylog";
pub(super) const INDEX_SUFFIX: &str = ".index";
pub(super) const UNFINISHED_SUFFIX: &str = ".new";

/// File name of the segment that begins at `first`.
pub(super) fn segment_name(first: Position) -> String {
    format!("{:020}{SEGMENT_SUFFIX}", first.0)
}

/// File name of that segment's index.
pub(super) fn index_name(first: Position) -> String {
    format!("{:020}{INDEX_SUFFIX}", first.0)
}

/// The position in the name of a file with this suffix.
pub(super) fn named_position(name: &str, suffix: &str) -> Option<Position> {
    let digits = name.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(Position)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has just this length")
}

/// How a segment begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log: Uuid,
    pub(super) first: Position,
    /// Chain value before `first`.
    pub(super) chain: [u8; 32],
    /// Stamp of the record before `first`.
    pub(super) stamp: Stamp,
}

/// Why the beginning of a file is no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Bad(&'static str),
    Future(u32),
}

impl SegmentHeader {
    /// The header of a log's very first segment.
    pub(super) fn of_new_log(log: Uuid) -> Self {
        Self { log, first: Position(0), chain: chain::START, stamp: Stamp(i64::MIN) }
    }

    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        // 12..16 is kept zero.
        bytes[16..32].copy_from_slice(self.log.as_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.chain);
        bytes[72..80].copy_from_slice(&self.stamp.0.to_le_bytes());
        // 80..84 is kept zero.
        let crc = crc32c::crc32c(&bytes[..84]);
        bytes[84..88].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Result<Self, HeaderFault> {
        if bytes[0..8] != MAGIC {
            return Err(HeaderFault::Bad("this is no segment of a log"));
        }
        if crc32c::crc32c(&bytes[..84]) != u32_at(bytes, 84) {
            return Err(HeaderFault::Bad("the checksum of the segment header is wrong"));
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(HeaderFault::Future(version));
        }
        Ok(Self {
            log: Uuid::from_bytes(array_at(bytes, 16)),
            first: Position(u64_at(bytes, 32)),
            chain: array_at(bytes, 40),
            stamp: Stamp(i64::from_le_bytes(array_at(bytes, 72))),
        })
    }

    /// What the checksums of this segment's blocks start from.
    pub(super) fn seed(&self) -> u32 {
        u32_at(&self.encode(), 84)
    }
}

/// How a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) body_bytes: u32,
    pub(super) count: u32,
    pub(super) first: Position,
    /// Every position before it was durable when the block was written.
    pub(super) mark: Position,
    pub(super) body_crc: u32,
}

impl BlockHeader {
    pub(super) fn encode(&self, seed: u32, offset: u64) -> [u8; BLOCK_HEADER] {
        let mut bytes = [0; BLOCK_HEADER];
        bytes[0..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.mark.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_crc.to_le_bytes());
        // 36..40 is kept zero.
        let crc = block_crc(seed, offset, &bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; BLOCK_HEADER], seed: u32, offset: u64) -> Option<Self> {
        let right = bytes[0..4] == BLOCK_MAGIC && u32_at(bytes, 4) == block_crc(seed, offset, bytes);
        right.then(|| Self {
            body_bytes: u32_at(bytes, 8),
            count: u32_at(bytes, 12),
            first: Position(u64_at(bytes, 16)),
            mark: Position(u64_at(bytes, 24)),
            body_crc: u32_at(bytes, 32),
        })
    }

    /// The position after the block's last record.
    pub(super) fn after(&self) -> Position {
        Position(self.first.0.saturating_add(u64::from(self.count)))
    }
}

fn block_crc(seed: u32, offset: u64, header: &[u8; BLOCK_HEADER]) -> u32 {
    let crc = crc32c::crc32c_append(seed, &offset.to_le_bytes());
    crc32c::crc32c_append(crc, &header[8..])
}

/// Appends a record to `body`.
pub(super) fn encode_record(body: &mut Vec<u8>, record: &Record) {
    let length = u32::try_from(record.bytes.len()).expect("the settings bound a record below 4 GiB");
    let start = body.len();
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&record.stamp.0.to_le_bytes());
    body.extend_from_slice(&record.chain);
    body.extend_from_slice(&record.bytes);
    let crc = record_crc(record.position, &body[start..]);
    body[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The record at the start of `bytes`, if it is whole, and that of `position`.
pub(super) fn decode_record(bytes: &Bytes, position: Position) -> Result<Record, &'static str> {
    if bytes.len() < RECORD_HEADER {
        return Err("the header of the record is cut off");
    }
    let end = RECORD_HEADER + u32_at(bytes, 0) as usize;
    if bytes.len() < end {
        return Err("the record reaches beyond its place");
    }
    if u32_at(bytes, 4) != record_crc(position, &bytes[..end]) {
        return Err("the checksum of the record is wrong");
    }
    Ok(Record {
        position,
        stamp: Stamp(i64::from_le_bytes(array_at(bytes, 8))),
        chain: array_at(bytes, 16),
        bytes: bytes.slice(RECORD_HEADER..end),
    })
}

fn record_crc(position: Position, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&position.0.to_le_bytes()), &bytes[0..4]);
    crc32c::crc32c_append(crc, &bytes[8..])
}
