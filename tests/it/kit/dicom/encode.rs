//! Elements as bytes, in the encodings of PS3.5 §7.1 and Annex A.

use std::io::Write;

use super::{EXPLICIT_BIG, GE_IMPLICIT, IMPLICIT_LITTLE};

/// One element of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) tag: u32,
    pub(crate) vr: &'static str,
    pub(crate) value: Value,
}

/// What an element holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// As they are, with one byte of padding (NUL for UI and binary VRs, a blank for others) if they are odd.
    Bytes(Vec<u8>),
    /// 16-bit words, here in little endian.
    Words(Vec<u8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// AT.
    Tags(Vec<u32>),
    Sequence(Vec<Vec<Element>>),
    /// Encapsulated pixel data with its Basic Offset Table.
    Fragments {
        basic: Vec<u32>,
        fragments: Vec<Vec<u8>>,
    },
    /// A length field of its own, and the bytes behind it, neither padded nor counted.
    Declared(u32, Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::U16(vec![number])
    }
}

impl Element {
    pub(crate) fn new(tag: u32, vr: &'static str, value: impl Into<Value>) -> Self {
        Self { tag, vr, value: value.into() }
    }

    /// The value as text, empty if it is none.
    pub(super) fn text(&self) -> String {
        match &self.value {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding {
    explicit: bool,
    big_endian: bool,
}

const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;
const UNDEFINED: u32 = 0xFFFF_FFFF;

impl Encoding {
    pub(super) const EXPLICIT_LITTLE: Self = Self { explicit: true, big_endian: false };

    pub(super) fn of(syntax: &str) -> Self {
        Self {
            explicit: syntax != IMPLICIT_LITTLE && syntax != GE_IMPLICIT,
            big_endian: syntax == EXPLICIT_BIG,
        }
    }

    pub(super) fn dataset(self, elements: &[Element], defined_lengths: bool) -> Vec<u8> {
        elements.iter().flat_map(|element| self.element(element, defined_lengths)).collect()
    }

    fn element(self, element: &Element, defined_lengths: bool) -> Vec<u8> {
        let (length, value) = match &element.value {
            Value::Sequence(items) => self.sequence(items, defined_lengths),
            Value::Fragments { basic, fragments } => (UNDEFINED, self.encapsulated(basic, fragments)),
            Value::Declared(length, bytes) => (*length, bytes.clone()),
            plain => {
                let mut bytes = self.plain(plain);
                if bytes.len() % 2 == 1 {
                    bytes.push(if is_text(element.vr) { b' ' } else { 0 });
                }
                (u32::try_from(bytes.len()).expect("a small value"), bytes)
            }
        };
        let mut written = self.tag(element.tag);
        match (self.explicit, has_long_length(element.vr)) {
            (false, _) => written.extend(self.u32(length)),
            (true, true) => {
                written.extend(element.vr.as_bytes());
                written.extend([0, 0]);
                written.extend(self.u32(length));
            }
            (true, false) => {
                written.extend(element.vr.as_bytes());
                written.extend(self.u16(u16::try_from(length).expect("a value of a short VR")));
            }
        }
        written.extend(value);
        written
    }

    fn sequence(self, items: &[Vec<Element>], defined_lengths: bool) -> (u32, Vec<u8>) {
        let mut bytes = Vec::new();
        for item in items {
            let dataset = self.dataset(item, defined_lengths);
            let length = u32::try_from(dataset.len()).expect("a small item");
            bytes.extend(self.tag(ITEM));
            bytes.extend(self.u32(if defined_lengths { length } else { UNDEFINED }));
            bytes.extend(dataset);
            if !defined_lengths {
                bytes.extend(self.delimiter(ITEM_END));
            }
        }
        if defined_lengths {
            return (u32::try_from(bytes.len()).expect("a small sequence"), bytes);
        }
        bytes.extend(self.delimiter(SEQUENCE_END));
        (UNDEFINED, bytes)
    }

    fn encapsulated(self, basic: &[u32], fragments: &[Vec<u8>]) -> Vec<u8> {
        let table: Vec<u8> = basic.iter().flat_map(|at| self.u32(*at)).collect();
        let mut bytes = Vec::new();
        for item in std::iter::once(&table).chain(fragments) {
            bytes.extend(self.tag(ITEM));
            bytes.extend(self.u32(u32::try_from(item.len()).expect("a small fragment")));
            bytes.extend(item);
        }
        bytes.extend(self.delimiter(SEQUENCE_END));
        bytes
    }

    fn plain(self, value: &Value) -> Vec<u8> {
        match value {
            Value::Bytes(bytes) | Value::Declared(_, bytes) => bytes.clone(),
            Value::Words(bytes) => {
                let words = bytes.chunks(2).flat_map(|word| {
                    let reversed = self.big_endian;
                    let (first, second) = (word.first().copied(), word.get(1).copied());
                    if reversed { [second, first] } else { [first, second] }
                });
                words.flatten().collect()
            }
            Value::U16(numbers) => numbers.iter().flat_map(|n| self.u16(*n)).collect(),
            Value::I16(numbers) => numbers.iter().flat_map(|n| self.u16(n.cast_unsigned())).collect(),
            Value::U32(numbers) => numbers.iter().flat_map(|n| self.u32(*n)).collect(),
            Value::I32(numbers) => numbers.iter().flat_map(|n| self.u32(n.cast_unsigned())).collect(),
            Value::U64(numbers) => numbers.iter().flat_map(|n| self.u64(*n)).collect(),
            Value::F32(numbers) => numbers.iter().flat_map(|n| self.u32(n.to_bits())).collect(),
            Value::F64(numbers) => numbers.iter().flat_map(|n| self.u64(n.to_bits())).collect(),
            Value::Tags(tags) => tags.iter().flat_map(|tag| self.tag(*tag)).collect(),
            Value::Sequence(_) | Value::Fragments { .. } => Vec::new(),
        }
    }

    fn delimiter(self, tag: u32) -> Vec<u8> {
        [self.tag(tag), vec![0; 4]].concat()
    }

    fn tag(self, tag: u32) -> Vec<u8> {
        let [a, b, c, d] = tag.to_be_bytes();
        [self.u16(u16::from_be_bytes([a, b])), self.u16(u16::from_be_bytes([c, d]))].concat()
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u64(self, number: u64) -> [u8; 8] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

fn has_long_length(vr: &str) -> bool {
    ["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"].contains(&vr)
}

fn is_text(vr: &str) -> bool {
    const TEXT: [&str; 16] =
        ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"];
    TEXT.contains(&vr)
}

/// A raw deflate stream (RFC 1951), padded to an even length.
pub(super) fn deflated(dataset: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(dataset).expect("a Vec takes every write");
    let mut stream = encoder.finish().expect("a Vec takes every write");
    if stream.len() % 2 == 1 {
        stream.push(0);
    }
    stream
}
