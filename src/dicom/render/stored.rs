//! Stored values: which bits of a frame's bytes they are.
//!
//! A value is `bits` bits up to the High Bit of its container; the others (overlays of old, padding) do not count.
//! Its code is these bits as an unsigned number, so that tables of all values begin at 0.

use crate::dicom::pixels::{Description, Native};

/// How values lie in their containers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    shift: u32,
    /// 1 to 64.
    pub(super) bits: u32,
    signed: bool,
}

impl Stored {
    pub(super) fn of(shape: &Description) -> Self {
        let bits = u32::from(shape.bits_stored).clamp(1, 64);
        let shift = (u32::from(shape.high_bit) + 1).saturating_sub(bits).min(63);
        // A single bit has no sign.
        Self { shift, bits, signed: shape.signed && bits > 1 }
    }

    /// The value of a code. What does not fit into 63 bits is the greatest that does.
    pub(super) fn value(self, code: u64) -> i64 {
        if self.signed {
            let unused = 64 - self.bits;
            (code << unused).cast_signed() >> unused
        } else {
            i64::try_from(code).unwrap_or(i64::MAX)
        }
    }

    /// The value that a number of the attributes means, which may be written with the other sign.
    pub(super) fn written(self, number: f64) -> i64 {
        // Beyond the numbers of 64 bits the last one is taken.
        let number = number as i64;
        self.value(number.cast_unsigned() & (u64::MAX >> (64 - self.bits)))
    }

    /// Least and greatest value that can be stored.
    pub(super) fn extremes(self) -> (i64, i64) {
        let all = u64::MAX >> (64 - self.bits);
        if self.signed { (self.value(all / 2 + 1), self.value(all / 2)) } else { (0, self.value(all)) }
    }

    /// What `of` makes of the code of each sample, in their order.
    pub(super) fn each<T>(self, frame: &Native, mut of: impl FnMut(u64) -> T) -> Vec<T> {
        let mask = u64::MAX >> (64 - self.bits);
        let mut of = |container: u64| of(container >> self.shift & mask);
        let bytes = &frame.bytes;
        match frame.shape.bits_allocated {
            1 => {
                let pixels = usize::try_from(frame.shape.samples_per_frame()).unwrap_or(usize::MAX);
                let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
                bits.take(pixels).map(|bit| of(bit.into())).collect()
            }
            8 => bytes.iter().map(|byte| of((*byte).into())).collect(),
            16 => bytes.as_chunks().0.iter().map(|bytes| of(u16::from_le_bytes(*bytes).into())).collect(),
            32 => bytes.as_chunks().0.iter().map(|bytes| of(u32::from_le_bytes(*bytes).into())).collect(),
            _ => bytes.as_chunks().0.iter().map(|bytes| of(u64::from_le_bytes(*bytes))).collect(),
        }
    }

    /// Looks at the code of each sample.
    pub(super) fn visit(self, frame: &Native, see: impl FnMut(u64)) {
        self.each(frame, see);
    }
}
