//! STUB
use super::frames::FrameIndex;
use serde::{Deserialize, Serialize};

/// Named limits of one file.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Deepest nesting of sequences.
    pub depth: usize,
    /// Most elements, items and fragments counted apart.
    pub elements: u64,
    /// Most bytes of non-bulk elements kept in memory.
    pub non_bulk_bytes: u64,
    /// Longest single non-bulk value.
    pub value_length: u64,
    /// Most bytes a deflated dataset may inflate to.
    pub inflated_bytes: u64,
    /// Most fragments of encapsulated pixel data.
    pub fragments: u64,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            elements: 10_000_000,
            non_bulk_bytes: 128 << 20,
            value_length: 64 << 20,
            inflated_bytes: 4 << 30,
            fragments: 4_000_000,
        }
    }
}

/// One element left out of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkElement {
    /// Hex tags and 1-based item numbers joined by `/`.
    pub path: String,
    /// Two letters.
    pub vr: [u8; 2],
    /// Offset of the value in the file (in the inflated dataset stream if the syntax is deflated).
    pub offset: u64,
    /// Bytes; for encapsulated pixel data from the first item to the delimiter, both included.
    pub length: u64,
}

/// What a whole, well-formed file holds.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// (0002,0010) without padding.
    pub transfer_syntax: String,
    /// Every non-bulk element of the dataset, re-encoded in Explicit VR Little Endian; sequences and items of undefined length. No group 0002, no group lengths.
    pub header: Vec<u8>,
    /// Every element of VR OB, OD, OF, OL, OV, OW, UN.
    pub bulk: Vec<BulkElement>,
    /// Where the frames lie.
    pub frames: FrameIndex,
}

/// Why a file is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at offset {offset}")]
pub struct ScanError {
    /// Offset in the file (in the inflated stream after it begins).
    pub offset: u64,
    /// In words.
    pub reason: String,
}

/// The bounded scanner.
pub struct Scanner {}
impl Scanner {
    /// New.
    #[must_use]
    pub fn new(_limits: Limits) -> Self {
        todo!()
    }
    /// Feeds the next bytes of the file, of any size.
    /// # Errors
    /// The file is malformed or over a limit.
    pub fn feed(&mut self, _bytes: &[u8]) -> Result<(), ScanError> {
        todo!()
    }
    /// The file is complete.
    /// # Errors
    /// It is not.
    pub fn finish(self) -> Result<Scanned, ScanError> {
        todo!()
    }
}
