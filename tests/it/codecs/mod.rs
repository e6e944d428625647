//! Codecs as the archive runs them: in processes of the real program, one frame at a time.
//!
//! Elsewhere: RLE, headers and messages by themselves (`kymo::codecs`), whole answers (`transcode`, `rendered`).

mod faults;
mod hostile;
mod judged;
mod lossless_jpeg;
mod round_trips;
mod served;

use bytes::Bytes;
use kymo::codecs::{Codecs, Error, Settings, Stored};
use kymo::dicom::pixels::feasible::{Encoding, encoded};
use kymo::dicom::pixels::{Description, Native, Photometric, Planar};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::kit::served::codecs;

/// An image of this size, of one sample or of three.
fn shape(rows: u16, columns: u16, samples: u8, bits_allocated: u8, bits_stored: u8) -> Description {
    Description {
        rows,
        columns,
        samples,
        bits_allocated,
        bits_stored,
        high_bit: bits_stored - 1,
        signed: false,
        planar: Planar::ByPixel,
        photometric: if samples == 1 { Photometric::Monochrome2 } else { Photometric::Rgb },
    }
}

/// A frame whose samples go up slowly, with some noise, in the bits stored.
fn frame(shape: &Description, seed: u64) -> Native {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = Vec::new();
    for at in 0..shape.samples_per_frame() {
        let value = at * 37 / 11 + u64::from(random.next_u32() % 23);
        let stored = u32::from(shape.bits_stored);
        let low = u32::try_from(value % (1 << stored)).expect("at most 16 bits");
        let sign = if shape.signed { 1 << (stored - 1) } else { 0 };
        let sample = (low ^ sign).wrapping_sub(sign);
        bytes.extend_from_slice(&sample.to_le_bytes()[..shape.sample_bytes()]);
    }
    Native { shape: shape.clone(), bytes }
}

/// A frame that takes a codec seconds.
fn slow_frame() -> Native {
    let shape = shape(1600, 1600, 1, 16, 16);
    let mut bytes = vec![0; usize::try_from(shape.frame_bytes()).expect("a frame")];
    StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    Native { shape, bytes }
}

/// What `frame` is after it was encoded so and decoded again.
async fn there_and_back(codecs: &Codecs, frame: &Native, wanted: Encoding) -> Result<Native, Error> {
    let shape = encoded(&frame.shape, wanted)?;
    let stream = codecs.encode(frame.clone(), wanted).await?;
    assert!(wanted == Encoding::ExplicitLittle || stream.len() % 2 == 0);
    codecs.decode(Stored { syntax: wanted.uid(), shape }, stream).await
}

async fn decode(codecs: &Codecs, syntax: &str, shape: &Description, stream: &[u8]) -> Result<Native, Error> {
    codecs.decode(Stored { syntax, shape: shape.clone() }, Bytes::copy_from_slice(stream)).await
}
