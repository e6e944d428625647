//! Palettes (PS3.3 §C.7.6.3.1.5, §C.7.9): three tables, whole or in segments, as colours of 8 bits a sample.
//!
//! Tables of more than 8 bits keep their high bits; one that says 16 and has no entry above 255, as real files do,
//! is taken as it is. Alpha and supplemental palettes are passed over.
//!
//! Invariant: segments make no more entries than the descriptor says, and each makes at least one.

use super::Unrenderable;
use super::lut::{Descriptor, index};

/// The three tables of a palette, each for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Palette([Channel; 3]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Channel {
    first: i64,
    entries: Vec<u8>,
}

/// The entries of one table as they are in the file.
pub(super) enum Entries<'a> {
    Whole(&'a [u8]),
    Segmented(&'a [u8]),
}

impl Palette {
    /// Of red, green and blue.
    pub(super) fn of(tables: [(Descriptor, Entries<'_>); 3]) -> Result<Self, Unrenderable> {
        let words = tables.map(|(descriptor, entries)| {
            let words = match entries {
                Entries::Whole(bytes) => descriptor.entries_in(bytes),
                Entries::Segmented(bytes) => expanded(descriptor, bytes),
            };
            words.map(|words| (descriptor, words))
        });
        let [red, green, blue] = words;
        let words = [red?, green?, blue?];
        let small = words.iter().all(|(_, words)| words.iter().all(|word| *word < 256));
        Ok(Self(words.map(|(descriptor, words)| {
            let shift = if small { 0 } else { descriptor.bits - 8 };
            let entries = words.into_iter().map(|word| (word >> shift).to_le_bytes()[0]).collect();
            Channel { first: descriptor.first, entries }
        })))
    }

    /// The colour of a value.
    pub(super) fn colour(&self, value: i64) -> [u8; 3] {
        let Self(channels) = self;
        channels.each_ref().map(|channel| channel.entries[index(channel.first, channel.entries.len(), value)])
    }
}

/// Numbers of a segmented table, from some byte on.
struct Numbers<'a> {
    bytes: &'a [u8],
    words: bool,
}

impl Numbers<'_> {
    fn next(&mut self) -> Option<u16> {
        if self.words {
            let (word, rest) = self.bytes.split_first_chunk()?;
            self.bytes = rest;
            return Some(u16::from_le_bytes(*word));
        }
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some((*byte).into())
    }

    /// An offset in bytes: two words, or four bytes, the low ones first.
    fn offset(&mut self) -> Option<usize> {
        let (bytes, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }
}

const CUT: Unrenderable = Unrenderable("a segmented palette ends too early");

/// The entries that segments make (PS3.3 §C.7.9.2).
fn expanded(descriptor: Descriptor, bytes: &[u8]) -> Result<Vec<u16>, Unrenderable> {
    let words = descriptor.bits > 8;
    let mut entries = Vec::with_capacity(descriptor.entries);
    let mut segments = Numbers { bytes, words };
    while entries.len() < descriptor.entries {
        let kind = segments.next().ok_or(CUT)?;
        if kind == 2 {
            let count = segments.next().filter(|count| *count > 0).ok_or(CUT)?;
            let copied = segments.offset().and_then(|offset| bytes.get(offset..)).ok_or(CUT)?;
            let mut copied = Numbers { bytes: copied, words };
            for _ in 0..count {
                let kind = copied.next().ok_or(CUT)?;
                segment(kind, &mut copied, &mut entries)?;
                if entries.len() >= descriptor.entries {
                    break;
                }
            }
        } else {
            segment(kind, &mut segments, &mut entries)?;
        }
    }
    entries.truncate(descriptor.entries);
    Ok(entries)
}

/// One discrete or linear segment.
fn segment(kind: u16, numbers: &mut Numbers<'_>, entries: &mut Vec<u16>) -> Result<(), Unrenderable> {
    let length = numbers.next().filter(|length| *length > 0).ok_or(CUT)?;
    match kind {
        0 => {
            for _ in 0..length {
                entries.push(numbers.next().ok_or(CUT)?);
            }
        }
        1 => {
            let to = f64::from(numbers.next().ok_or(CUT)?);
            let from = entries.last().copied();
            let from = f64::from(from.ok_or(Unrenderable("a palette begins with a linear segment"))?);
            let step = (to - from) / f64::from(length);
            // Between two words, and so a word.
            entries.extend((1..=length).map(|n| (from + f64::from(n) * step + 0.5).floor() as u16));
        }
        _ => return Err(Unrenderable("a segmented palette has a segment of an unknown kind")),
    }
    Ok(())
}
