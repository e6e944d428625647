//! The deflated transfer syntaxes: the dataset inflated through a small window, never as a whole.
//!
//! Invariant: at most one window of inflated bytes is held, and the sum of them is bounded.
//! Elsewhere: what the inflated bytes mean (`scan::dataset`).

use flate2::{Decompress, FlushDecompress, Status};

use super::dataset::Dataset;
use super::{Limits, Reason, ScanError};

const WINDOW_BYTES: usize = 32 << 10;
/// Some writers leave the trailer of gzip (sum and length) or zlib behind the stream.
const CHECKSUM_BYTES: usize = 8;

/// One raw deflate stream.
#[derive(Debug)]
pub(super) struct Inflate {
    stream: Decompress,
    window: Vec<u8>,
    ended: bool,
    /// Bytes of such a trailer still to come.
    checksum_left: usize,
    limits: Limits,
}

impl Inflate {
    /// The window here and the state of the decoder.
    pub(super) const HELD_BYTES: u64 = WINDOW_BYTES as u64 + (48 << 10);

    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            stream: Decompress::new(false),
            window: vec![0; WINDOW_BYTES],
            ended: false,
            checksum_left: CHECKSUM_BYTES,
            limits: limits.clone(),
        }
    }

    /// Whether the stream's last block has been seen.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Inflates `input` into `dataset`.
    pub(super) fn feed(&mut self, mut input: &[u8], dataset: &mut Dataset) -> Result<(), ScanError> {
        while !self.ended {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, &mut self.window, FlushDecompress::None)
                .map_err(|_| ScanError::new(dataset.offset(), Reason::Deflate))?;
            let consumed = usize::try_from(self.stream.total_in() - before_in).expect("at most the slice");
            let made = usize::try_from(self.stream.total_out() - before_out).expect("at most the window");
            input = &input[consumed..];
            self.check_size(dataset.offset())?;
            dataset.feed(&self.window[..made])?;
            match status {
                Status::StreamEnd => self.ended = true,
                Status::Ok | Status::BufError if input.is_empty() && made < WINDOW_BYTES => return Ok(()),
                Status::Ok | Status::BufError if consumed == 0 && made == 0 => {
                    return Err(ScanError::new(dataset.offset(), Reason::Deflate));
                }
                Status::Ok | Status::BufError => {}
            }
        }
        let checksum = self.checksum_left.min(input.len());
        self.checksum_left -= checksum;
        if input[checksum..].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(ScanError::new(dataset.offset(), Reason::Trailing))
    }

    fn check_size(&self, offset: u64) -> Result<(), ScanError> {
        let by_ratio = self.stream.total_in().saturating_mul(self.limits.inflated_ratio);
        let limit = by_ratio.max(self.limits.inflated_free_bytes).min(self.limits.inflated_bytes);
        if self.stream.total_out() <= limit {
            return Ok(());
        }
        Err(ScanError::new(offset, Reason::InflatedTooLarge { limit }))
    }
}
