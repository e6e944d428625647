//! RLE (PS3.5 Annex G): each byte of a sample is a plane of its own, the most significant first.
//!
//! Invariant: decoding allocates the frame's bytes and nothing else; no header can make it longer.
//! Invariant: runs that are written do not cross rows, and segments and frames have an even length.
//! Elsewhere: which frames may be RLE (`dicom::pixels::feasible`).

use super::Error;
use crate::dicom::pixels::{Description, Native};

const HEADER_BYTES: usize = 64;
const MOST_SEGMENTS: usize = 15;
const MOST_RUN: usize = 128;

/// The samples of a frame that is to be of this shape.
pub(super) fn decode(shape: &Description, frame: &[u8]) -> Result<Native, Error> {
    let corrupt = |what: &str| Error::Corrupt(format!("RLE: {what}"));
    let (header, _) = frame.split_at_checked(HEADER_BYTES).ok_or_else(|| corrupt("no header"))?;
    let (words, _) = header.as_chunks::<4>();
    let word = |at: usize| u32::from_le_bytes(words[at]) as usize;
    let (samples, sample_bytes) = (usize::from(shape.samples), shape.sample_bytes());
    let segments = word(0);
    if segments != samples * sample_bytes || segments > MOST_SEGMENTS {
        return Err(corrupt("another number of segments than its attributes say"));
    }
    let length = usize::try_from(shape.frame_bytes()).map_err(|_| corrupt("too large"))?;
    let mut bytes = vec![0; length];
    let mut before = HEADER_BYTES;
    for segment in 0..segments {
        let start = word(1 + segment);
        let end = if segment + 1 < segments { word(2 + segment) } else { frame.len() };
        if start < before || start > end || end > frame.len() {
            return Err(corrupt("segments that are not one behind the other"));
        }
        before = start;
        let (sample, byte) = (segment / sample_bytes, segment % sample_bytes);
        // The most significant byte comes first, and goes last.
        let first = sample * sample_bytes + (sample_bytes - 1 - byte);
        let plane = bytes[first..].iter_mut().step_by(samples * sample_bytes);
        unpack(&frame[start..end], plane).ok_or_else(|| corrupt("a segment ends too early"))?;
    }
    Ok(Native { shape: shape.clone(), bytes })
}

/// Fills the whole plane; `None` when there is too little. What is too much is not looked at.
fn unpack<'a>(mut packed: &[u8], mut plane: impl ExactSizeIterator<Item = &'a mut u8>) -> Option<()> {
    while plane.len() > 0 {
        let (head, rest) = packed.split_first()?;
        packed = rest;
        match *head {
            128 => {}
            literal @ 0..128 => {
                let length = (usize::from(literal) + 1).min(plane.len());
                let (values, rest) = packed.split_at_checked(length)?;
                packed = rest;
                for (to, value) in plane.by_ref().take(length).zip(values) {
                    *to = *value;
                }
            }
            run => {
                let (value, rest) = packed.split_first()?;
                packed = rest;
                plane.by_ref().take(257 - usize::from(run)).for_each(|to| *to = *value);
            }
        }
    }
    Some(())
}

/// The frame of these samples.
pub(super) fn encode(frame: &Native) -> Vec<u8> {
    let (samples, sample_bytes) = (usize::from(frame.shape.samples), frame.shape.sample_bytes());
    let (pixel_bytes, columns) = (samples * sample_bytes, usize::from(frame.shape.columns));
    let segments = pixel_bytes;
    assert!(segments <= MOST_SEGMENTS, "no frame of so many bytes a pixel comes here");
    let mut out = vec![0; HEADER_BYTES];
    let mut offsets = vec![segments];
    let mut plane = Vec::with_capacity(columns);
    for segment in 0..segments {
        offsets.push(out.len());
        let (sample, byte) = (segment / sample_bytes, segment % sample_bytes);
        let first = sample * sample_bytes + (sample_bytes - 1 - byte);
        for row in frame.bytes.chunks_exact(columns * pixel_bytes) {
            plane.clear();
            plane.extend(row[first..].iter().step_by(pixel_bytes));
            pack(&plane, &mut out);
        }
        if !out.len().is_multiple_of(2) {
            out.push(0);
        }
    }
    for (word, number) in out.as_chunks_mut::<4>().0.iter_mut().zip(offsets) {
        *word = u32::try_from(number).expect("a frame within its limit has such offsets").to_le_bytes();
    }
    out
}

/// Appends one row. Two equal bytes between others are not worth a run of their own.
fn pack(row: &[u8], out: &mut Vec<u8>) {
    let mut literal = 0;
    let mut at = 0;
    while at < row.len() {
        let run = row[at..].iter().take(MOST_RUN).take_while(|byte| **byte == row[at]).count();
        let worth_it = run > 2 || (run == 2 && literal == at);
        if !worth_it {
            at += run;
            continue;
        }
        put_literals(&row[literal..at], out);
        out.extend([u8::try_from(257 - run).expect("a run has 2 to 128 bytes"), row[at]]);
        at += run;
        literal = at;
    }
    put_literals(&row[literal..], out);
}

fn put_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(MOST_RUN) {
        out.push(u8::try_from(piece.len() - 1).expect("a piece has 1 to 128 bytes"));
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::pixels::{Photometric, Planar};
    use proptest::prelude::*;

    fn shape(rows: u16, columns: u16, samples: u8, bits: u8) -> Description {
        let photometric = if samples == 1 { Photometric::Monochrome2 } else { Photometric::Rgb };
        Description {
            rows,
            columns,
            samples,
            bits_allocated: bits,
            bits_stored: bits,
            high_bit: bits - 1,
            signed: false,
            planar: Planar::ByPixel,
            photometric,
        }
    }

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut words = vec![u32::try_from(segments.len()).unwrap()];
        let mut at = 64;
        for segment in segments {
            words.push(at);
            at += u32::try_from(segment.len()).unwrap();
        }
        words.resize(16, 0);
        [words.iter().flat_map(|word| word.to_le_bytes()).collect(), segments.concat()].concat()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_the_same(
            rows in 1u16..6,
            columns in 1u16..400,
            samples in prop::sample::select(vec![1u8, 3]),
            bits in prop::sample::select(vec![8u8, 16, 32]),
            seed in any::<u64>(),
            spread in 1u64..5,
        ) {
            let shape = shape(rows, columns, samples, bits);
            let mut state = seed | 1;
            let bytes = (0..shape.frame_bytes()).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u8::try_from((state >> 33) % spread).unwrap()
            });
            let native = Native { bytes: bytes.collect(), shape };
            let packed = encode(&native);
            prop_assert!(packed.len().is_multiple_of(2));
            prop_assert_eq!(decode(&native.shape, &packed), Ok(native));
        }

        #[test]
        fn nothing_panics_and_nothing_comes_out_short(bytes in prop::collection::vec(any::<u8>(), 0..300), good: bool) {
            let mut bytes = bytes;
            if good && bytes.len() >= 64 {
                bytes[..8].copy_from_slice(&[1, 0, 0, 0, 64, 0, 0, 0]);
            }
            if let Ok(native) = decode(&shape(3, 50, 1, 8), &bytes) {
                prop_assert_eq!(native.bytes.len(), 150);
            }
        }
    }

    #[test]
    fn the_most_significant_bytes_come_first() {
        let packed = frame(&[&[1, 0x12, 0x34], &[0xFF, 0x56]]);
        let native = decode(&shape(1, 2, 1, 16), &packed).unwrap();
        assert_eq!(native.bytes, [0x56, 0x12, 0x56, 0x34]);
        let colours = frame(&[b"\x01rs", b"\x01gt", b"\x01bu"]);
        assert_eq!(decode(&shape(1, 2, 3, 8), &colours).unwrap().bytes, b"rgbstu");
    }

    #[test]
    fn what_is_more_than_the_plane_is_ignored_and_what_is_less_refused() {
        let shape = shape(1, 4, 1, 8);
        for (segment, fits) in [
            (&b"\x03abcd"[..], true),
            (b"\x03abcd\x00", true),
            (b"\x7Fabcd", true),
            (b"\x80\x80\x03abcd", true),
            (b"\x81a", true),
            (b"\x02abc", false),
            (b"\x03abc", false),
            (b"\xFEa", false),
            (b"\xFE", false),
            (b"", false),
        ] {
            assert_eq!(decode(&shape, &frame(&[segment])).is_ok(), fits, "{segment:?}");
        }
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let good = frame(&[b"\x03abcd"]);
        let shape = shape(1, 4, 1, 8);
        assert!(decode(&shape, &good).is_ok());
        for (at, value) in [(0, 0), (0, 2), (0, 16), (0, u32::MAX), (4, 0), (4, 63), (4, 70), (4, u32::MAX)] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(matches!(decode(&shape, &bad), Err(Error::Corrupt(_))), "{at} {value}");
        }
        let mut three = frame(&[b"\x03abcd", b"\x03abcd", b"\x03abcd"]);
        three[8..12].copy_from_slice(&60u32.to_le_bytes());
        assert!(decode(&Description { samples: 3, ..shape }, &three).is_err());
        for cut in 0..64 {
            assert!(decode(&self::shape(1, 4, 1, 8), &good[..cut]).is_err());
        }
    }

    #[test]
    fn runs_do_not_cross_rows() {
        let native = Native { shape: shape(2, 3, 1, 8), bytes: vec![7; 6] };
        assert_eq!(encode(&native)[64..], [0xFE, 7, 0xFE, 7]);
    }
}
