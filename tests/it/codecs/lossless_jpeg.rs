//! Lossless JPEG (T.81 Annex H) as this file encodes it, by all predictors, and what the codec makes of it.

use super::*;

/// How a stream is made.
#[derive(Clone, Copy, Debug)]
struct Making {
    predictor: u8,
    precision: u8,
    point_transform: u8,
    /// Rows between restarts; 0 for none.
    restart_rows: u16,
}

/// Bits from the most significant on, a zero behind each 0xFF.
#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.held = self.held << 1 | (value >> bit & 1);
            self.count += 1;
            if self.count == 8 {
                self.byte();
            }
        }
    }

    fn byte(&mut self) {
        let byte = self.held.to_le_bytes()[0];
        self.out.push(byte);
        if byte == 0xFF {
            self.out.push(0);
        }
        (self.held, self.count) = (0, 0);
    }

    fn align(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }
}

fn segment(marker: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 2).expect("a short segment").to_be_bytes();
    [&[0xFF, marker], &length[..], value].concat()
}

/// Interleaved samples in one scan; every category has a code of five bits.
fn encode(samples: &[u32], shape: &Description, making: Making) -> Vec<u8> {
    let (width, count) = (usize::from(shape.columns), usize::from(shape.samples));
    let transformed: Vec<u32> = samples.iter().map(|sample| sample >> making.point_transform).collect();
    let mut bits = Bits::default();
    let (mut first_row, mut restarts) = (0, 0u8);
    for row in 0..usize::from(shape.rows) {
        let interval = usize::from(making.restart_rows);
        if interval > 0 && row > 0 && row % interval == 0 {
            bits.align();
            bits.out.extend_from_slice(&[0xFF, 0xD0 + restarts % 8]);
            restarts += 1;
            first_row = row;
        }
        for column in 0..width {
            for component in 0..count {
                let at = |row: usize, column: usize| {
                    i64::from(transformed[(row * width + column) * count + component])
                };
                let predicted = match (row == first_row, column == 0) {
                    (true, true) => 1 << (making.precision - making.point_transform - 1),
                    (true, false) => at(row, column - 1),
                    (false, true) => at(row - 1, column),
                    (false, false) => {
                        let (a, b, c) = (at(row, column - 1), at(row - 1, column), at(row - 1, column - 1));
                        match making.predictor {
                            1 => a,
                            2 => b,
                            3 => c,
                            4 => a + b - c,
                            5 => a + ((b - c) >> 1),
                            6 => b + ((a - c) >> 1),
                            _ => (a + b) >> 1,
                        }
                    }
                };
                put_difference(&mut bits, at(row, column) - predicted);
            }
        }
    }
    bits.align();
    let ids: Vec<u8> = (1..=shape.samples).collect();
    let [high, low] = shape.rows.to_be_bytes();
    let [wide, narrow] = shape.columns.to_be_bytes();
    let head = [
        &[making.precision, high, low, wide, narrow, shape.samples][..],
        &ids.iter().flat_map(|id| [*id, 0x11, 0]).collect::<Vec<_>>(),
    ];
    let mut counts = [0; 16];
    counts[4] = 17;
    let table = [&[0][..], &counts, &(0..17).collect::<Vec<u8>>()];
    let scan = [
        &[shape.samples][..],
        &ids.iter().flat_map(|id| [*id, 0]).collect::<Vec<_>>(),
        &[making.predictor, 0, making.point_transform],
    ];
    let interval = (making.restart_rows * shape.columns).to_be_bytes();
    [
        b"\xFF\xD8".to_vec(),
        segment(0xC3, &head.concat()),
        segment(0xC4, &table.concat()),
        segment(0xDD, &interval),
        segment(0xDA, &scan.concat()),
        bits.out,
        b"\xFF\xD9".to_vec(),
    ]
    .concat()
}

/// Differences are taken modulo 2¹⁶ (T.81 §H.1.2.1).
fn put_difference(bits: &mut Bits, difference: i64) {
    let low = u16::try_from(difference & 0xFFFF).expect("sixteen bits");
    let signed = i32::from(low.cast_signed());
    if signed == -0x8000 {
        return bits.put(16, 5);
    }
    let category = u32::BITS - signed.unsigned_abs().leading_zeros();
    bits.put(category, 5);
    let value = if signed < 0 { signed - 1 } else { signed };
    bits.put(value.cast_unsigned() & ((1 << category) - 1), category);
}

fn samples(native: &Native) -> Vec<u32> {
    match native.shape.bits_allocated {
        8 => native.bytes.iter().map(|byte| u32::from(*byte)).collect(),
        _ => native.bytes.as_chunks::<2>().0.iter().map(|two| u32::from(u16::from_le_bytes(*two))).collect(),
    }
}

/// A grey stream for whoever wants to spoil one.
pub(super) fn sample(shape: &Description) -> Vec<u8> {
    let making = Making { predictor: 1, precision: shape.bits_stored, point_transform: 0, restart_rows: 0 };
    encode(&samples(&frame(shape, 1)), shape, making)
}

#[tokio::test]
async fn every_predictor_precision_and_restart_is_exact() {
    let codecs = Codecs::new(codecs());
    for (samples_per_pixel, allocated, stored) in
        [(1, 8, 8), (1, 16, 10), (1, 16, 12), (1, 16, 14), (1, 16, 16), (3, 8, 8), (3, 16, 16)]
    {
        let shape = shape(17, 23, samples_per_pixel, allocated, stored);
        let native = frame(&shape, 2);
        for predictor in 1..=7 {
            for restart_rows in [0, 1, 5] {
                let making = Making { predictor, precision: stored, point_transform: 0, restart_rows };
                let stream = encode(&samples(&native), &shape, making);
                for syntax in ["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"] {
                    let back = decode(&codecs, syntax, &shape, &stream).await;
                    assert!(back.as_ref() == Ok(&native), "{making:?} {shape:?}: {:?}", back.err());
                }
            }
        }
    }
}

/// The low bits are gone; what is left is where it was.
#[tokio::test]
async fn a_point_transform_is_undone() {
    let codecs = Codecs::new(codecs());
    for (allocated, stored) in [(8, 8), (16, 12), (16, 16)] {
        let shape = shape(9, 14, 1, allocated, stored);
        let native = frame(&shape, 2);
        for predictor in 1..=7 {
            let making = Making { predictor, precision: stored, point_transform: 2, restart_rows: 0 };
            let stream = encode(&samples(&native), &shape, making);
            let back = decode(&codecs, "1.2.840.10008.1.2.4.57", &shape, &stream).await.expect("decoded");
            let kept: Vec<u32> = samples(&native).iter().map(|sample| sample >> 2 << 2).collect();
            assert_eq!(samples(&back), kept, "{making:?}");
        }
    }
}

/// Signed samples are coded by their bits, and get their sign back.
#[tokio::test]
async fn signed_samples_are_extended() {
    let codecs = Codecs::new(codecs());
    let unsigned = shape(9, 14, 1, 16, 12);
    let signed = Description { signed: true, ..unsigned.clone() };
    let native = frame(&signed, 2);
    let patterns: Vec<u32> = samples(&native).iter().map(|sample| sample & 0xFFF).collect();
    let making = Making { predictor: 1, precision: 12, point_transform: 0, restart_rows: 0 };
    let stream = encode(&patterns, &unsigned, making);
    assert_eq!(decode(&codecs, "1.2.840.10008.1.2.4.70", &signed, &stream).await, Ok(native));
}
