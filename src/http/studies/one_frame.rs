//! The stored bytes of one frame.
//!
//! Invariant: bytes are read only as they are taken; a bit-packed frame is shifted as it passes.
//! Elsewhere: where frames lie (`dicom::frames`), the reading of their bytes (`values`).

use std::future::ready;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::values::{Data, Values};
use crate::archive::Framed;
use crate::dicom::frames::FrameSource;
use crate::http::error::Error;
use crate::{blob, codecs};

/// The bytes of a frame; its first piece has been read when this answers.
pub(super) async fn open(values: &Values, framed: &Framed, number: u32) -> Result<Data, blob::Error> {
    match framed.frames.frame(number) {
        Some(FrameSource::Bytes(ranges)) => one_after_the_other(values, ranges).await,
        Some(FrameSource::Bits { range, shift, bits }) => {
            let data = values.read(range).await?;
            let pieces = data.map(Some).chain(stream::once(ready(None)));
            let shifted = pieces.scan(Shifter::new(shift, bits), |shifter, piece| {
                ready(Some(match piece {
                    Some(Ok(bytes)) => Ok(shifter.feed(&bytes)),
                    Some(Err(error)) => Err(error),
                    None => Ok(shifter.finish()),
                }))
            });
            Ok(shifted.boxed())
        }
        None => Ok(stream::empty().boxed()),
    }
}

/// All bytes of a frame that has `most` at most.
///
/// # Errors
/// A larger frame, one that is not there, and whatever keeps its bytes from being read.
pub(super) async fn frame_bytes(
    values: &Values,
    framed: &Framed,
    number: u32,
    most: u64,
) -> Result<Bytes, Error> {
    let bytes = match framed.frames.frame(number) {
        Some(FrameSource::Bytes(ranges)) => ranges.iter().map(|range| range.end - range.start).sum(),
        Some(FrameSource::Bits { bits, .. }) => bits.div_ceil(8),
        None => return Err(Error::NotFound("The frame")),
    };
    if bytes > most {
        return Err(codecs::Error::TooLarge { bytes, most }.into());
    }
    let mut data = open(values, framed, number).await?;
    let Some(first) = data.try_next().await? else { return Ok(Bytes::new()) };
    if first.len() as u64 == bytes {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or_default());
    whole.extend_from_slice(&first);
    while let Some(piece) = data.try_next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The bytes at `ranges`; the first of them have been read when this answers.
pub(super) async fn one_after_the_other(
    values: &Values,
    ranges: Vec<Range<u64>>,
) -> Result<Data, blob::Error> {
    let mut ranges = ranges.into_iter();
    let Some(first) = ranges.next() else { return Ok(stream::empty().boxed()) };
    let first = values.read(first).await?;
    let values = values.clone();
    let rest = stream::iter(ranges).then(move |range| {
        let values = values.clone();
        async move { values.read(range).await }
    });
    Ok(first.chain(rest.try_flatten()).boxed())
}

/// Moves a bit-packed frame to the start of a byte and fills its last byte with zeros.
struct Shifter {
    shift: u8,
    bits_left: u64,
    before: Option<u8>,
}

impl Shifter {
    fn new(shift: u8, bits: u64) -> Self {
        Self { shift, bits_left: bits, before: None }
    }

    fn feed(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if let Some(before) = self.before.replace(*byte) {
                let joined = u16::from_le_bytes([before, *byte]) >> self.shift;
                self.put(joined, &mut out);
            }
        }
        out.into()
    }

    fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        if let Some(before) = self.before.take() {
            self.put(u16::from(before) >> self.shift, &mut out);
        }
        out.into()
    }

    fn put(&mut self, joined: u16, out: &mut Vec<u8>) {
        let taken = self.bits_left.min(8);
        if taken > 0 {
            let mask = 0xff >> (8 - taken);
            out.push(joined.to_le_bytes()[0] & mask);
            self.bits_left -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bits as the standard numbers them: least significant first.
    fn packed(bits: &[bool]) -> Vec<u8> {
        let byte = |eight: &[bool]| eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    proptest! {
        #[test]
        fn a_frame_is_shifted_to_its_first_bit_and_filled_with_zeros(
            frames in prop::collection::vec(prop::collection::vec(any::<bool>(), 13), 1..9),
            step in 1usize..4,
        ) {
            let all = packed(&frames.concat());
            for (n, frame) in frames.iter().enumerate() {
                let (start, end) = (n * 13, (n + 1) * 13);
                let range = &all[start / 8..end.div_ceil(8)];
                let mut shifter = Shifter::new(u8::try_from(start % 8).unwrap(), 13);
                let mut out = Vec::new();
                range.chunks(step).for_each(|piece| out.extend_from_slice(&shifter.feed(piece)));
                out.extend_from_slice(&shifter.finish());
                prop_assert_eq!(out, packed(frame));
            }
        }
    }
}
