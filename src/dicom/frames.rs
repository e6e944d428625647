//! STUB
use std::ops::Range;

/// Where the frames of an instance lie in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameIndex {}

/// The bytes of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameSource {
    /// These ranges of the file, one after the other.
    Bytes(Vec<Range<u64>>),
    /// `bits` bits beginning `shift` bits into the range (least significant bit first).
    Bits { range: Range<u64>, shift: u8, bits: u64 },
}

impl FrameIndex {
    /// Frames.
    #[must_use]
    pub fn count(&self) -> u32 {
        todo!()
    }
    /// Frame `number`, from 1; `None` beyond the count or beyond the bytes present.
    #[must_use]
    pub fn frame(&self, _number: u32) -> Option<FrameSource> {
        todo!()
    }
    /// Whether ranges count in the inflated dataset stream (deflated transfer syntax).
    #[must_use]
    pub fn inflated(&self) -> bool {
        todo!()
    }
    /// The section's bytes (`schemas/`).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    /// Reads [`Self::encode`].
    /// # Errors
    /// Not such bytes.
    pub fn decode(_bytes: &[u8]) -> Result<Self, String> {
        todo!()
    }
}
