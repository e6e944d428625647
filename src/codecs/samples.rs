//! Values of a compressed stream and samples as the dataset has them, one into the other.
//!
//! A stream has its own precision. Decoded, a value keeps its low bits, as many as it has or as are stored, and is
//! extended to the bits allocated, by its sign where samples are signed. Encoded, a sample loses the bits above
//! those stored only if all samples of the frame are such extensions; else the stream takes all of them.
//!
//! Invariant: what is encoded and decoded again is the same, bits above those stored included.
//! Elsewhere: which precisions a stream may have (`headers`).

use super::wire::Shape;

/// The bits that a value keeps, extended to the bits allocated.
#[derive(Clone, Copy)]
pub(super) struct Extension {
    kept: u32,
    sign: u32,
    allocated: u32,
}

impl Extension {
    /// Of values with `precision` bits.
    pub(super) fn new(precision: u8, shape: &Shape) -> Self {
        let width = u32::from(precision.max(shape.bits_stored).min(shape.bits_allocated));
        let mask = |bits: u32| u32::MAX.checked_shr(32 - bits).unwrap_or(0);
        let sign = if shape.signed { 1 << (width - 1) } else { 0 };
        Self { kept: mask(width), sign, allocated: mask(u32::from(shape.bits_allocated)) }
    }

    /// The sample of a value, in the low bits.
    pub(super) fn sample(self, value: u32) -> u32 {
        self.number(value) & self.allocated
    }

    /// The same as a number, its sign in all upper bits.
    pub(super) fn number(self, value: u32) -> u32 {
        ((value & self.kept) ^ self.sign).wrapping_sub(self.sign)
    }

    /// Whether every sample is what its own low bits are extended to.
    fn explains(self, samples: impl Iterator<Item = u32>) -> bool {
        samples.into_iter().all(|sample| self.sample(sample) == sample)
    }
}

/// The samples of values with 8 bits or less.
pub(super) fn of_bytes(mut values: Vec<u8>, precision: u8, shape: &Shape) -> Vec<u8> {
    let extension = Extension::new(precision, shape);
    if shape.bits_allocated == 8 {
        if extension.kept != extension.allocated {
            values.iter_mut().for_each(|value| *value = low_byte(extension.sample(u32::from(*value))));
        }
        return values;
    }
    let words = values.iter().map(|value| low_word(extension.sample(u32::from(*value))).to_le_bytes());
    words.flatten().collect()
}

/// The samples of values with up to 16 bits.
pub(super) fn of_words(values: &[u16], precision: u8, shape: &Shape) -> Vec<u8> {
    let extension = Extension::new(precision, shape);
    let samples = values.iter().map(|value| extension.sample(u32::from(*value)));
    if shape.bits_allocated == 8 {
        return samples.map(low_byte).collect();
    }
    samples.flat_map(|sample| low_word(sample).to_le_bytes()).collect()
}

/// The samples in a frame.
pub(super) fn in_frame<'a>(frame: &'a [u8], shape: &Shape) -> Box<dyn Iterator<Item = u32> + 'a> {
    match shape.bits_allocated {
        8 => Box::new(frame.iter().map(|byte| u32::from(*byte))),
        _ => Box::new(frame.as_chunks::<2>().0.iter().map(|two| u32::from(u16::from_le_bytes(*two)))),
    }
}

/// Bits a stream needs for these samples: `wanted`, if that loses nothing.
pub(super) fn needed_precision(frame: &[u8], wanted: u8, shape: &Shape) -> u8 {
    let extension = Extension::new(wanted, shape);
    let fits = wanted >= shape.bits_stored && extension.explains(in_frame(frame, shape));
    if fits { wanted } else { shape.bits_allocated }
}

pub(super) fn low_byte(sample: u32) -> u8 {
    sample.to_le_bytes()[0]
}

pub(super) fn low_word(sample: u32) -> u16 {
    let [low, high, ..] = sample.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(bits_allocated: u8, bits_stored: u8, signed: bool) -> Shape {
        Shape { rows: 1, columns: 4, samples: 1, bits_allocated, bits_stored, signed }
    }

    #[test]
    fn values_are_extended_by_their_sign() {
        // A stream of 13 unsigned bits under a dataset of 13 signed ones.
        assert_eq!(
            of_words(&[0x1FFF, 0x0FFF, 0x1000], 13, &shape(16, 13, true)),
            [0xFF, 0xFF, 0xFF, 0x0F, 0x00, 0xF0]
        );
        assert_eq!(of_words(&[0xFFFF], 12, &shape(16, 12, false)), [0xFF, 0x0F]);
        // A stream of fewer bits than are stored is no signed one.
        assert_eq!(of_words(&[0x0FFF], 12, &shape(16, 16, true)), [0xFF, 0x0F]);
        assert_eq!(of_bytes(vec![0x80, 0x7F], 8, &shape(16, 8, true)), [0x80, 0xFF, 0x7F, 0x00]);
        assert_eq!(of_bytes(vec![0x3F], 6, &shape(8, 6, true)), [0xFF]);
        assert_eq!(of_bytes(vec![0xFF], 8, &shape(8, 8, true)), [0xFF]);
    }

    #[test]
    fn bits_above_those_stored_make_the_stream_wider() {
        let twelve = shape(16, 12, false);
        assert_eq!(needed_precision(&[0xFF, 0x0F], 12, &twelve), 12);
        assert_eq!(needed_precision(&[0xFF, 0x1F], 12, &twelve), 16);
        assert_eq!(needed_precision(&[0xFF, 0xFF], 12, &shape(16, 12, true)), 12);
        assert_eq!(needed_precision(&[0xFF, 0x0F], 12, &shape(16, 12, true)), 16);
        // What is wide comes back as it was.
        assert_eq!(of_words(&[0x1FFF], 16, &twelve), [0xFF, 0x1F]);
    }
}
