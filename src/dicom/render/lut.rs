//! Look-up tables: a descriptor (how many entries, for which value the first, of how many bits) and entries
//! (PS3.3 §C.11.1.1, §C.11.2.1.1, §C.7.6.3.1.5).
//!
//! Invariant: a table has as many entries as its descriptor says, 65,536 at most.

use super::Unrenderable;

/// Most entries, which a descriptor writes as 0.
const MOST_ENTRIES: usize = 1 << 16;
/// Most bytes in which the entries of a table may lie.
pub const MOST_TABLE_BYTES: u64 = 2 * MOST_ENTRIES as u64;

/// What a descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// 1 to 65,536.
    pub(super) entries: usize,
    /// The value of the first entry.
    pub(super) first: i64,
    /// 8 to 16.
    pub(super) bits: u32,
}

impl Descriptor {
    /// Of its three numbers, which files write as signed or unsigned whatever they mean: `signed` says what the
    /// values are that are looked up.
    pub(super) fn of(numbers: &[f64], signed: bool) -> Result<Self, Unrenderable> {
        const BAD: Unrenderable = Unrenderable("the descriptor of a look-up table is impossible");
        let [entries, first, bits] = numbers else { return Err(BAD) };
        let word = |number: f64| {
            let fits = number.fract() == 0.0 && (-32768.0..65536.0).contains(&number);
            // In the range of 17 bits, checked before.
            fits.then_some(number as i64).ok_or(BAD)
        };
        let (entries, first, bits) = (word(*entries)?, word(*first)?, word(*bits)?);
        let entries = match entries.rem_euclid(1 << 16) {
            0 => MOST_ENTRIES,
            some => usize::try_from(some).map_err(|_| BAD)?,
        };
        let first = match signed {
            true if first >= 1 << 15 => first - (1 << 16),
            false => first.rem_euclid(1 << 16),
            true => first,
        };
        let bits = u32::try_from(bits).ok().filter(|bits| (8..=16).contains(bits)).ok_or(BAD)?;
        Ok(Self { entries, first, bits })
    }

    /// The entries in bytes, little endian: a word each or, of 8 bits, perhaps a byte each.
    pub(super) fn entries_in(self, bytes: &[u8]) -> Result<Vec<u16>, Unrenderable> {
        if bytes.len() >= 2 * self.entries {
            return Ok(bytes
                .as_chunks()
                .0
                .iter()
                .take(self.entries)
                .map(|word| u16::from_le_bytes(*word))
                .collect());
        }
        if self.bits == 8 && bytes.len() >= self.entries {
            return Ok(bytes.iter().take(self.entries).map(|byte| u16::from(*byte)).collect());
        }
        Err(Unrenderable("a look-up table has fewer entries than its descriptor says"))
    }
}

/// Words as the bytes they were.
pub(super) fn bytes_of(words: &[f64]) -> Vec<u8> {
    // US: 0 to 65,535; of SS the bits are kept.
    words.iter().flat_map(|word| (*word as i32 as u16).to_le_bytes()).collect()
}

/// A table for one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    first: i64,
    bits: u32,
    entries: Vec<u16>,
}

impl Table {
    pub(super) fn of(descriptor: Descriptor, bytes: &[u8]) -> Result<Self, Unrenderable> {
        let entries = descriptor.entries_in(bytes)?;
        Ok(Self { first: descriptor.first, bits: descriptor.bits, entries })
    }

    /// The entry of a value; the first or the last one beyond them.
    pub(super) fn at(&self, value: i64) -> u16 {
        let at = index(self.first, self.entries.len(), value);
        self.entries[at].min(self.greatest())
    }

    /// The greatest entry that its bits can be.
    pub(super) fn greatest(&self) -> u16 {
        u16::MAX >> (16 - self.bits)
    }
}

/// Where a value's entry lies among `entries`, of which there is at least one.
pub(super) fn index(first: i64, entries: usize, value: i64) -> usize {
    usize::try_from(value.saturating_sub(first)).unwrap_or(0).min(entries - 1)
}
