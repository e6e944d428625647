//! The scanner against files written by a small encoder of its own. Expected values: `studies.md` §2.12
//! and §3.6.2, PS3.5, PS3.10.

mod frames;
mod framing;
mod hostile;
mod syntaxes;

use std::io::Write;

use super::*;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const UNDEFINED: u32 = u32::MAX;

/// Writes elements the way one transfer syntax wants them.
#[derive(Clone)]
struct Writer {
    explicit: bool,
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(syntax: &str) -> Self {
        Self { explicit: syntax != IMPLICIT, big_endian: syntax == BIG_ENDIAN, bytes: Vec::new() }
    }

    /// Ends a chain of calls.
    fn done(&self) {}

    fn part(&self) -> Self {
        Self { bytes: Vec::new(), ..self.clone() }
    }

    fn u16(&mut self, number: u16) {
        self.bytes.extend(if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend(if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    fn tag(&mut self, tag: u32) {
        self.u16((tag >> 16) as u16);
        self.u16(tag as u16);
    }

    /// The header of an element that declares `length`, whatever follows.
    fn head(&mut self, tag: u32, vr: &str, length: u32) {
        self.tag(tag);
        if !self.explicit {
            return self.u32(length);
        }
        self.bytes.extend(vr.as_bytes());
        let long = ["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV", "ZZ"];
        if long.contains(&vr) {
            self.u16(0);
            self.u32(length);
        } else {
            self.u16(u16::try_from(length).unwrap());
        }
    }

    fn bytes(&mut self, tag: u32, vr: &str, value: &[u8]) -> &mut Self {
        self.head(tag, vr, u32::try_from(value.len()).unwrap());
        self.bytes.extend(value);
        self
    }

    fn text(&mut self, tag: u32, vr: &str, value: &str) -> &mut Self {
        self.bytes(tag, vr, value.as_bytes())
    }

    fn shorts(&mut self, tag: u32, vr: &str, numbers: &[u16]) -> &mut Self {
        let mut value = self.part();
        numbers.iter().for_each(|number| value.u16(*number));
        self.bytes(tag, vr, &value.bytes)
    }

    fn longs(&mut self, tag: u32, vr: &str, numbers: &[u32]) -> &mut Self {
        let mut value = self.part();
        numbers.iter().for_each(|number| value.u32(*number));
        self.bytes(tag, vr, &value.bytes)
    }

    fn doubles(&mut self, tag: u32, vr: &str, numbers: &[f64]) -> &mut Self {
        let turned = |n: &f64| if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let value: Vec<u8> = numbers.iter().flat_map(turned).collect();
        self.bytes(tag, vr, &value)
    }

    /// An item, delimiter or fragment: a tag and a length without VR.
    fn item_head(&mut self, tag: u32, length: u32) -> &mut Self {
        self.tag(tag);
        self.u32(length);
        self
    }

    /// A sequence whose items are written by `items`; lengths declared or not.
    fn sequence(&mut self, tag: u32, defined: bool, items: &[&dyn Fn(&mut Self)]) -> &mut Self {
        let mut value = self.part();
        for item in items {
            let mut content = self.part();
            item(&mut content);
            if defined {
                value.item_head(0xFFFE_E000, content.bytes.len() as u32);
                value.bytes.extend(content.bytes);
            } else {
                value.item_head(0xFFFE_E000, UNDEFINED);
                value.bytes.extend(content.bytes);
                value.item_head(0xFFFE_E00D, 0);
            }
        }
        if defined {
            return self.bytes(tag, "SQ", &value.bytes);
        }
        self.head(tag, "SQ", UNDEFINED);
        self.bytes.extend(value.bytes);
        self.item_head(0xFFFE_E0DD, 0)
    }

    /// Encapsulated pixel data.
    fn fragments(&mut self, offsets: &[u32], fragments: &[&[u8]]) -> &mut Self {
        self.head(0x7FE0_0010, "OB", UNDEFINED);
        self.item_head(0xFFFE_E000, offsets.len() as u32 * 4);
        offsets.iter().for_each(|offset| self.u32(*offset));
        for fragment in fragments {
            self.item_head(0xFFFE_E000, fragment.len() as u32);
            self.bytes.extend(*fragment);
        }
        self.item_head(0xFFFE_E0DD, 0)
    }
}

/// A file: preamble, meta group, dataset as given.
fn part10(syntax: &str, dataset: &[u8]) -> Vec<u8> {
    let mut group = Writer::new(EXPLICIT);
    group.bytes(0x0002_0001, "OB", &[0, 1]);
    group.text(0x0002_0002, "UI", "1.2.840.10008.5.1.4.1.1.7\0");
    group.text(0x0002_0010, "UI", &even(syntax));
    group.text(0x0002_0016, "AE", "SENDER");
    let mut meta = Writer::new(EXPLICIT);
    meta.longs(0x0002_0000, "UL", &[group.bytes.len() as u32]);
    [&[0; 128], b"DICM".as_slice(), &meta.bytes, &group.bytes, dataset].concat()
}

fn even(text: &str) -> String {
    if text.len().is_multiple_of(2) { text.to_owned() } else { format!("{text}\0") }
}

fn deflated(dataset: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(dataset).unwrap();
    encoder.finish().unwrap()
}

fn scan_with(limits: Limits, file: &[u8]) -> Result<Scanned, ScanError> {
    let mut scanner = Scanner::new(limits);
    scanner.feed(file)?;
    scanner.finish()
}

fn scan(file: &[u8]) -> Result<Scanned, ScanError> {
    scan_with(Limits::default(), file)
}

/// Scans a dataset in `syntax`; answers why it was refused.
fn refusal(syntax: &str, dataset: &[u8]) -> Reason {
    scan(&part10(syntax, dataset)).expect_err("refused").kind
}

/// Every kind of element, with sequences of declared or undefined lengths.
fn dataset(syntax: &str, defined: bool) -> Writer {
    let mut w = Writer::new(syntax);
    w.text(0x0008_0005, "CS", "ISO_IR 100");
    w.text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.7\0");
    w.sequence(
        0x0008_1140,
        defined,
        &[
            &|item| {
                item.text(0x0008_1155, "UI", "1.2.3\0");
            },
            &|_| {},
            &|item| {
                item.sequence(
                    0x0040_A170,
                    defined,
                    &[&|inner| {
                        inner.text(0x0008_0100, "SH", "113000");
                    }],
                );
            },
        ],
    );
    w.text(0x0010_0010, "PN", "Doe^Jane");
    w.text(0x0010_0020, "LO", "");
    w.text(0x0011_0010, "LO", "KYMO");
    w.shorts(0x0018_1310, "US", &[1, 2, 3, 4]);
    w.doubles(0x0018_6028, "FD", &[1.5, -2.0]);
    w.shorts(0x0020_9165, "AT", &[0x0018, 0x1060]);
    w.shorts(0x0028_0010, "US", &[2]);
    w.shorts(0x0028_0011, "US", &[3]);
    w.shorts(0x0028_0100, "US", &[16]);
    w.shorts(0x0028_0103, "US", &[1]);
    w.shorts(0x0028_0106, "SS", &[0xFFFE]);
    w.sequence(
        0x0028_3010,
        defined,
        &[&|item| {
            item.shorts(0x0028_3002, "SS", &[256, 0, 16]);
            item.shorts(0x0028_3006, "OW", &[1, 2]);
        }],
    );
    w.longs(0x0048_0006, "UL", &[512]);
    w.shorts(0x6002_0010, "US", &[8]);
    w.shorts(0x6002_3000, "OW", &[0xFF00]);
    w
}

/// The same with native pixel data.
fn with_pixels(syntax: &str, defined: bool) -> Vec<u8> {
    dataset(syntax, defined).shorts(0x7FE0_0010, "OW", &[1, 2, 3, 4, 5, 6]).bytes.clone()
}

/// The header that any form of [`dataset`] gives: Explicit VR Little Endian without the bulk.
fn expected_header() -> Vec<u8> {
    let mut w = Writer::new(EXPLICIT);
    w.text(0x0008_0005, "CS", "ISO_IR 100");
    w.text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.7\0");
    w.sequence(
        0x0008_1140,
        false,
        &[
            &|item| {
                item.text(0x0008_1155, "UI", "1.2.3\0");
            },
            &|_| {},
            &|item| {
                item.sequence(
                    0x0040_A170,
                    false,
                    &[&|inner| {
                        inner.text(0x0008_0100, "SH", "113000");
                    }],
                );
            },
        ],
    );
    w.text(0x0010_0010, "PN", "Doe^Jane");
    w.text(0x0010_0020, "LO", "");
    w.text(0x0011_0010, "LO", "KYMO");
    w.shorts(0x0018_1310, "US", &[1, 2, 3, 4]);
    w.doubles(0x0018_6028, "FD", &[1.5, -2.0]);
    w.shorts(0x0020_9165, "AT", &[0x0018, 0x1060]);
    w.shorts(0x0028_0010, "US", &[2]);
    w.shorts(0x0028_0011, "US", &[3]);
    w.shorts(0x0028_0100, "US", &[16]);
    w.shorts(0x0028_0103, "US", &[1]);
    w.shorts(0x0028_0106, "SS", &[0xFFFE]);
    w.sequence(
        0x0028_3010,
        false,
        &[&|item| {
            item.shorts(0x0028_3002, "SS", &[256, 0, 16]);
        }],
    );
    w.longs(0x0048_0006, "UL", &[512]);
    w.shorts(0x6002_0010, "US", &[8]);
    w.bytes
}

/// One whole file of each kind.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let encapsulated =
        dataset(JPEG, false).fragments(&[], &[b"\xFF\xD8\xFFabc", b"", b"1234567890"]).bytes.clone();
    let mut un = Writer::new(EXPLICIT);
    un.text(0x0008_0060, "CS", "OT").head(0x0009_1001, "UN", UNDEFINED);
    un.bytes.extend(unknown_items());
    un.text(0x0010_0020, "LO", "ID");
    vec![
        ("explicit", part10(EXPLICIT, &with_pixels(EXPLICIT, true))),
        ("explicit, undefined lengths", part10(EXPLICIT, &with_pixels(EXPLICIT, false))),
        ("implicit", part10(IMPLICIT, &with_pixels(IMPLICIT, true))),
        ("implicit, undefined lengths", part10(IMPLICIT, &with_pixels(IMPLICIT, false))),
        ("big endian", part10(BIG_ENDIAN, &with_pixels(BIG_ENDIAN, true))),
        ("encapsulated", part10(JPEG, &encapsulated)),
        ("deflated", part10(DEFLATED, &deflated(&with_pixels(EXPLICIT, false)))),
        ("UN of undefined length", part10(EXPLICIT, &un.bytes)),
    ]
}

/// What stands in a UN of undefined length: Implicit VR items and the delimiter (PS3.5 §6.2.2).
fn unknown_items() -> Vec<u8> {
    let mut w = Writer::new(IMPLICIT);
    w.item_head(0xFFFE_E000, UNDEFINED);
    w.text(0x0009_1002, "", "AB").head(0x0009_1003, "", UNDEFINED);
    w.item_head(0xFFFE_E000, 8).item_head(0x0009_1004, 0).item_head(0xFFFE_E0DD, 0);
    w.item_head(0xFFFE_E00D, 0).item_head(0xFFFE_E0DD, 0);
    w.bytes
}

/// Small pseudo-random numbers (xorshift): the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
