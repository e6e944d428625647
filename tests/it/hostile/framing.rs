//! Lengths, nesting, cut and extended files, deflate (trust.md §1, and the first three classes of §2).

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{Siege, instance};
use crate::kit::dicom::{DEFLATED, Element, IMPLICIT_LITTLE, Instance, Value, families, red_triangle};

const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;
const UNDEFINED: u32 = 0xFFFF_FFFF;
const JPEG: &str = "1.2.840.10008.1.2.4.50";
/// Lengths that nobody has the bytes for.
const HUGE: [u32; 4] = [0xFFFF_FFFE, 0xFFFF_FFF0, 0x8000_0001, 0x7FFF_FFFF];
/// A tag of each VR; those with a 16-bit length can claim more only in Implicit VR.
const TAGS: [(u32, &str); 34] = [
    (0x0008_0054, "AE"),
    (0x0010_1010, "AS"),
    (0x0028_0009, "AT"),
    (0x0008_0060, "CS"),
    (0x0008_0020, "DA"),
    (0x0018_0050, "DS"),
    (0x0008_002A, "DT"),
    (0x0018_9073, "FD"),
    (0x0018_9310, "FL"),
    (0x0020_0013, "IS"),
    (0x0008_103E, "LO"),
    (0x0010_4000, "LT"),
    (0x0042_0011, "OB"),
    (0x7FE0_0009, "OD"),
    (0x7FE0_0008, "OF"),
    (0x0066_0040, "OL"),
    (0x7FE0_0001, "OV"),
    (0x7FE0_0010, "OW"),
    (0x0008_0090, "PN"),
    (0x0008_0050, "SH"),
    (0x0018_6020, "SL"),
    (0x0008_1140, "SQ"),
    (0x0018_9219, "SS"),
    (0x0008_0081, "ST"),
    (0x0072_0082, "SV"),
    (0x0008_0030, "TM"),
    (0x0018_9908, "UC"),
    (0x0008_0014, "UI"),
    (0x0018_6022, "UL"),
    (0x0009_1001, "UN"),
    (0x0008_1190, "UR"),
    (0x0028_0010, "US"),
    (0x0040_A160, "UT"),
    (0x0072_0083, "UV"),
];
const LONG: [&str; 13] = ["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"];

/// Bytes of a dataset, written without any check.
#[derive(Clone, Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn tag(mut self, tag: u32) -> Self {
        self.0.extend(((tag >> 16) as u16).to_le_bytes());
        self.0.extend((tag as u16).to_le_bytes());
        self
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The header of an item, a fragment or a delimiter.
    fn item(self, tag: u32, length: u32) -> Self {
        self.tag(tag).number(length)
    }

    /// The header of an element of a VR with a 32-bit length.
    fn explicit(self, tag: u32, vr: &str, length: u32) -> Self {
        self.tag(tag).bytes(vr.as_bytes()).bytes(&[0, 0]).number(length)
    }

    fn implicit(self, tag: u32, length: u32) -> Self {
        self.tag(tag).number(length)
    }
}

fn next(number: &mut u64) -> Instance {
    *number += 1;
    instance(*number)
}

#[test]
fn what_the_library_lets_through_is_refused() {
    let mut siege = Siege::lay("table", &[]);
    let mut n = 0;
    let jpeg = |n: &mut u64| next(n).syntax(JPEG);
    let fragments =
        |raw: Raw| Raw::default().explicit(0x7FE0_0010, "OB", UNDEFINED).item(ITEM, 0).bytes(&raw.0);
    let bad: [(&str, Vec<u8>); 7] = [
        ("2,000 sequences", next(&mut n).appended(&nested(2000, Lengths::Undefined, true)).part10()),
        (
            "OB of 4 GB",
            next(&mut n)
                .appended(&Raw::default().explicit(0x0042_0011, "OB", 0xFFFF_FFF0).number(1).0)
                .part10(),
        ),
        (
            "UC of 4 GB",
            next(&mut n)
                .appended(&Raw::default().explicit(0x0018_9908, "UC", 0xFFFF_FFF0).number(1).0)
                .part10(),
        ),
        (
            "a fragment of 4 GB",
            jpeg(&mut n).appended(&fragments(Raw::default().item(ITEM, 0xFFFF_FFF0).number(1)).0).part10(),
        ),
        (
            "a fragment of 1,000 bytes, 10 there",
            jpeg(&mut n).appended(&fragments(Raw::default().item(ITEM, 1000).bytes(&[7; 10])).0).part10(),
        ),
        (
            "no closing delimiter",
            jpeg(&mut n).appended(&fragments(Raw::default().item(ITEM, 10).bytes(&[7; 10])).0).part10(),
        ),
        (
            "native pixels of 1,000 bytes, 10 there",
            next(&mut n).element(0x7FE0_0010, "OB", Value::Declared(1000, vec![7; 10])).part10(),
        ),
    ];
    for (what, file) in &bad {
        siege.expect_refused(what, file);
    }
    siege.expect_refused("1 GiB of zeros, deflated", &bomb(&next(&mut n), 1024, true));
    siege.expect_refused("1 GiB of zeros behind the dataset, deflated", &bomb(&next(&mut n), 1024, false));
    siege.lift();
}

/// A deflated file with `mebibytes` of zeros, in one value or behind the last.
fn bomb(instance: &Instance, mebibytes: u32, in_value: bool) -> Vec<u8> {
    let file = instance.clone().syntax(DEFLATED).part10();
    let plain = instance.part10();
    let dataset_at = file.windows(DEFLATED.len()).position(|w| w == DEFLATED.as_bytes()).expect("its syntax");
    let sop_class = [0x08, 0, 0x16, 0, b'U', b'I'];
    let dataset = plain.windows(6).position(|window| window == sop_class).expect("the first element");
    // The meta group ends with (0002,0013).
    let last = file[dataset_at..].windows(4).position(|w| w == [2, 0, 0x13, 0]).expect("the last of group 2");
    let head = dataset_at + last + 8 + usize::from(file[dataset_at + last + 6]);
    let mut deflated = DeflateEncoder::new(file[..head].to_vec(), Compression::best());
    deflated.write_all(&plain[dataset..]).expect("memory");
    if in_value {
        let header = Raw::default().explicit(0x7FE0_0010, "OB", mebibytes << 20);
        deflated.write_all(&header.0).expect("memory");
    }
    let zeros = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        deflated.write_all(&zeros).expect("memory");
    }
    deflated.finish().expect("memory")
}

#[derive(Clone, Copy, Debug)]
enum Lengths {
    Undefined,
    Defined,
    Mixed,
}

/// Sequences within sequences.
fn nested(depth: usize, lengths: Lengths, explicit: bool) -> Vec<u8> {
    let header: u32 = if explicit { 12 } else { 8 };
    let is_defined = |level: usize| match lengths {
        Lengths::Undefined => (false, false),
        Lengths::Defined => (true, true),
        Lengths::Mixed => (level.is_multiple_of(2), level.is_multiple_of(3)),
    };
    // From the inside out: bytes in the item of each level, and behind its header.
    let mut item_bytes = vec![0u32; depth + 1];
    for level in (0..depth).rev() {
        let (sequence, item) = is_defined(level + 1);
        let inner = if level + 1 == depth { 0 } else { item_bytes[level + 1] };
        let in_sequence = 8 + inner + if item { 0 } else { 8 };
        item_bytes[level] = header + in_sequence + if sequence { 0 } else { 8 };
    }
    let mut raw = Raw::default();
    for (level, &inner) in item_bytes.iter().enumerate().skip(1) {
        let (sequence, item) = is_defined(level);
        let in_sequence = 8 + inner + if item { 0 } else { 8 };
        let length = if sequence { in_sequence } else { UNDEFINED };
        raw = if explicit {
            raw.explicit(0x0040_A730, "SQ", length)
        } else {
            raw.implicit(0x0040_A730, length)
        };
        raw = raw.item(ITEM, if item { inner } else { UNDEFINED });
    }
    for level in (1..=depth).rev() {
        let (sequence, item) = is_defined(level);
        raw = if item { raw } else { raw.item(ITEM_END, 0) };
        raw = if sequence { raw } else { raw.item(SEQUENCE_END, 0) };
    }
    raw.0
}

#[test]
fn sequences_nest_as_deep_as_the_limit_and_no_deeper() {
    let mut siege = Siege::lay("nesting", &[]);
    let mut n = 0;
    for lengths in [Lengths::Undefined, Lengths::Defined, Lengths::Mixed] {
        for (explicit, syntax) in [(true, "1.2.840.10008.1.2.1"), (false, IMPLICIT_LITTLE)] {
            for depth in [1, 2, 7, 20, 40] {
                let file = next(&mut n).syntax(syntax).appended(&nested(depth, lengths, explicit)).part10();
                siege.expect_stored(&format!("{depth} levels, {lengths:?}"), &file);
            }
            for depth in [41, 64, 100, 127, 1000, 2000, 10_000, 100_000, 1_000_000] {
                // The longest ones in one form only: they are large to send.
                if depth == 1_000_000 && !explicit {
                    continue;
                }
                let file = next(&mut n).syntax(syntax).appended(&nested(depth, lengths, explicit)).part10();
                siege.expect_refused(&format!("{depth} levels, {lengths:?}"), &file);
            }
        }
    }
    // The same in a UN of undefined length, which is walked, but not kept.
    for (depth, fits) in [(39, true), (41, false), (100_000, false)] {
        let inside = Raw::default().explicit(0x0009_1001, "UN", UNDEFINED).item(ITEM, UNDEFINED);
        let inside = inside.bytes(&nested(depth, Lengths::Undefined, false));
        let file = next(&mut n).appended(&inside.item(ITEM_END, 0).item(SEQUENCE_END, 0).0);
        let what = format!("{depth} levels in UN");
        match fits {
            true => drop(siege.expect_stored(&what, &file.part10())),
            false => siege.expect_refused(&what, &file.part10()),
        }
    }
    siege.lift();
}

#[test]
fn a_length_that_is_only_declared_costs_nothing() {
    let mut siege = Siege::lay("lengths", &[]);
    let mut n = 0;
    let in_item = |inside: Raw, sequence: u32, item: u32, explicit: bool| {
        let raw = Raw::default();
        let raw = if explicit {
            raw.explicit(0x0040_A730, "SQ", sequence)
        } else {
            raw.implicit(0x0040_A730, sequence)
        };
        raw.item(ITEM, item).bytes(&inside.0)
    };
    for (tag, vr) in TAGS {
        for length in HUGE {
            let implicit = Raw::default().implicit(tag, length).number(1);
            let what = format!("{vr} of {length:#x}");
            let mut files = vec![(IMPLICIT_LITTLE, implicit.clone())];
            files.push((IMPLICIT_LITTLE, in_item(implicit.clone(), UNDEFINED, UNDEFINED, false)));
            files.push((IMPLICIT_LITTLE, in_item(implicit, 20, 12, false)));
            if LONG.contains(&vr) {
                let explicit = Raw::default().explicit(tag, vr, length).number(1);
                files.push(("1.2.840.10008.1.2.1", explicit.clone()));
                files.push(("1.2.840.10008.1.2.1", in_item(explicit, UNDEFINED, UNDEFINED, true)));
            }
            for (syntax, raw) in files {
                // Where the element's tag would be out of order or twice, that is not what is refused.
                let file = next(&mut n).without(tag).syntax(syntax).appended(&raw.0).part10();
                siege.expect_refused(&what, &file);
            }
        }
    }
    for length in HUGE {
        let begin = Raw::default().explicit(0x7FE0_0010, "OB", UNDEFINED);
        let table = begin.clone().item(ITEM, length).number(0);
        siege.expect_refused("offset table", &next(&mut n).syntax(JPEG).appended(&table.0).part10());
        let fragment = begin.clone().item(ITEM, 0).item(ITEM, length).number(0);
        siege.expect_refused("fragment", &next(&mut n).syntax(JPEG).appended(&fragment.0).part10());
        let second = begin.item(ITEM, 0).item(ITEM, 4).number(0).item(ITEM, length).item(SEQUENCE_END, 0);
        siege.expect_refused("second fragment", &next(&mut n).syntax(JPEG).appended(&second.0).part10());
        let extended = Raw::default().explicit(0x7FE0_0001, "OV", length).bytes(&[0; 8]);
        siege.expect_refused("extended table", &next(&mut n).appended(&extended.0).part10());
        let sequence = Raw::default().explicit(0x0040_A730, "SQ", length).item(ITEM, UNDEFINED);
        siege.expect_refused("sequence", &next(&mut n).appended(&sequence.0).part10());
        let item = Raw::default().explicit(0x0040_A730, "SQ", UNDEFINED).item(ITEM, length);
        siege.expect_refused("item", &next(&mut n).appended(&item.0).part10());
        let mut meta = next(&mut n).part10();
        meta[140..144].copy_from_slice(&length.to_le_bytes());
        siege.expect_refused("group 2", &meta);
    }
    siege.lift();
}

#[test]
fn what_crosses_what_holds_it_is_refused() {
    let mut siege = Siege::lay("crossing", &[]);
    let sequence = |length| Raw::default().explicit(0x0040_A730, "SQ", length);
    let text = |raw: Raw, length: u16| {
        raw.tag(0x0040_A121).bytes(b"DA").bytes(&length.to_le_bytes()).bytes(b"20250211")
    };
    let fragments = || Raw::default().explicit(0x7FE0_0010, "OB", UNDEFINED);
    let bad = [
        ("an item behind the end of its sequence", text(sequence(16).item(ITEM, 16), 8)),
        ("a sequence behind the end of its item", {
            let inner = sequence(UNDEFINED).item(ITEM, 20).explicit(0x0040_A731, "SQ", 40).item(ITEM, 32);
            text(text(inner, 8), 8).item(SEQUENCE_END, 0)
        }),
        ("a value behind the end of its item", text(sequence(24).item(ITEM, 12), 8)),
        ("an item whose end cuts a header", sequence(16).item(ITEM, 4).number(0).item(ITEM, 0)),
        ("an end that wraps round", sequence(UNDEFINED).item(ITEM, 0xFFFF_FFFE).item(SEQUENCE_END, 0)),
        ("a sequence shorter than an item's header", sequence(4).number(0)),
        ("a delimiter in a sequence of defined length", sequence(8).item(SEQUENCE_END, 0)),
        ("a delimiter in an item of defined length", sequence(16).item(ITEM, 8).item(ITEM_END, 0)),
        ("a delimiter with a length", sequence(UNDEFINED).item(SEQUENCE_END, 4).number(0)),
        ("an item's delimiter with a length", sequence(UNDEFINED).item(ITEM, UNDEFINED).item(ITEM_END, 2)),
        ("a delimiter at the root", Raw::default().item(SEQUENCE_END, 0)),
        ("an item at the root", Raw::default().item(ITEM, 0)),
        ("an element where an item is due", text(sequence(UNDEFINED), 8)),
        ("an item in an item", sequence(UNDEFINED).item(ITEM, UNDEFINED).item(ITEM, 0)),
        ("a fragment of undefined length", fragments().item(ITEM, 0).item(ITEM, UNDEFINED)),
        ("an offset table of undefined length", fragments().item(ITEM, UNDEFINED).item(SEQUENCE_END, 0)),
        ("an element among fragments", text(fragments().item(ITEM, 0), 8).item(SEQUENCE_END, 0)),
        ("a fragments' delimiter with a length", fragments().item(ITEM, 0).item(SEQUENCE_END, 8)),
        ("text of undefined length", Raw::default().explicit(0x0040_A160, "UT", UNDEFINED)),
        ("a VR that is none", Raw::default().tag(0x0050_0004).bytes(&[1, 2, 0, 0])),
        ("group 2 in the dataset", Raw::default().tag(0x0002_0010).bytes(b"UI").bytes(&[2, 0, b'1', 0])),
        ("group 0", Raw::default().tag(0x0000_0001).bytes(b"UL").bytes(&[4, 0, 0, 0, 0, 0])),
        ("something behind the dataset", Raw::default().bytes(&[0; 16]).bytes(b"PK\x03\x04")),
        ("half a header", Raw::default().tag(0x0050_0004)),
    ];
    for (number, (what, raw)) in (1..).zip(bad) {
        siege.expect_refused(what, &instance(number).appended(&raw.0).part10());
    }
    let none = instance(0).syntax(JPEG).appended(&fragments().item(SEQUENCE_END, 0).0);
    siege.expect_harmless("fragments without an offset table", &none.part10());
    siege.lift();
}

#[test]
fn a_file_is_whole_or_refused() {
    let mut siege = Siege::lay("cut", &[]);
    let whole = instance(1).element(0x7FE0_0010, "OW", Value::Words(vec![1; 64])).part10();
    for end in 0..whole.len() {
        siege.expect_harmless(&format!("cut at {end}"), &whole[..end]);
    }
    // Where the cut lies between two elements, what is left is a file in its own right.
    siege.expect_refused("its pixels cut", &whole[..whole.len() - 1]);
    for family in families() {
        let (file, length) = (&family.part10, family.part10.len());
        for end in [length - 1, length - 2, length - 8, length - 9, length / 2, length * 3 / 4] {
            siege.expect_harmless(&format!("{} cut at {end}", family.name), &file[..end]);
        }
        for tail in [&b"\0\0\0\0\0\0\0\0\0\0"[..], b"x", b"\xFE\xFF\x00\xE0\x00\x00\x00\x00", b"PK\x05\x06"] {
            siege.expect_harmless(&format!("{} with a tail", family.name), &[file, tail].concat());
        }
    }
    siege.lift();
}

#[test]
fn wrong_beginnings_are_refused() {
    let mut siege = Siege::lay("meta", &[]);
    let mut n = 0;
    let garbage: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for (what, file) in [
        ("garbage", garbage),
        ("zeros", vec![0; 4096]),
        ("no preamble", next(&mut n).part10()[128..].to_vec()),
        ("no DICM", [&[0; 128][..], &next(&mut n).part10()[132..]].concat()),
        ("a preamble and DICM", next(&mut n).part10()[..132].to_vec()),
        ("JSON", br#"{"00080018":{"vr":"UI","Value":["1.2.3"]}}"#.to_vec()),
    ] {
        siege.expect_refused(what, &file);
    }
    let text = |text: &str| Value::from(text);
    for (what, syntax) in [
        ("no UID", text("../../etc/passwd")),
        ("line ends", text("1.2.840.10008.1.2.1\r\nX-Evil: 1")),
        ("10,000 characters", text(&"1".repeat(10_000))),
        ("a NUL inside", text("1.2.840\0.10008")),
        ("no text", Value::Bytes(vec![0xFF; 20])),
        ("nothing", text("")),
        ("blanks", text("1.2.840.10008.1.2.1   ")),
        ("another syntax than it is", text("1.2.840.10008.1.2.2")),
        ("deflated, which it is not", text("1.2.840.10008.1.2.4.95")),
        ("a video", text("1.2.840.10008.1.2.4.100")),
    ] {
        let file = next(&mut n).meta(0x0002_0010, "UI", syntax).part10();
        siege.expect_harmless(&format!("a transfer syntax of {what}"), &file);
    }
    for length in [0, 1, 2, 11, 12, 100, 0x7FFF_FFFF, UNDEFINED] {
        let file = next(&mut n).meta(0x0002_0000, "UL", Value::U32(vec![length])).part10();
        siege.expect_harmless(&format!("group 2 of {length} bytes"), &file);
    }
    for (what, element) in [
        ("a sequence", Element::new(0x0002_0100, "SQ", Value::Declared(UNDEFINED, vec![]))),
        ("a long value", Element::new(0x0002_0102, "OB", vec![1; 300_000])),
        ("a value of 4 GB", Element::new(0x0002_0102, "OB", Value::Declared(0xFFFF_FFF0, vec![1; 4]))),
        ("an unknown VR", Element::new(0x0002_0102, "ZZ", text("1"))),
    ] {
        let file = next(&mut n).meta(element.tag, element.vr, element.value).part10();
        siege.expect_harmless(&format!("group 2 with {what}"), &file);
    }
    for (what, start) in [
        ("a program", &b"MZ\x90\0"[..]),
        ("an ELF program", b"\x7FELF\x02\x01\x01"),
        ("a script", b"#!/bin/sh\necho\n"),
        ("a page", b"<html><script>alert(1)</script></html>"),
        ("a PDF", b"%PDF-1.7\n"),
        ("a TIFF", b"II*\0\x08\0\0\0"),
    ] {
        let mut preamble = [0; 128];
        preamble[..start.len()].copy_from_slice(start);
        siege.expect_stored(&format!("{what} in the preamble"), &next(&mut n).preamble(preamble).part10());
    }
    siege.lift();
}

#[test]
fn deflated_files_are_whole_or_refused() {
    let mut siege = Siege::lay("deflate", &[]);
    let mut n = 0;
    siege.expect_stored("a deflated file", &red_triangle().syntax(DEFLATED).part10());
    let file = next(&mut n).syntax(DEFLATED).patient("P", &"x".repeat(60)).part10();
    for end in file.len() - 60..file.len() {
        siege.expect_harmless(&format!("deflated, cut at {end}"), &file[..end]);
    }
    for at in file.len() - 60..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x55;
        siege.expect_harmless(&format!("deflated, changed at {at}"), &changed);
    }
    siege.expect_harmless("deflated twice over", &[&file[..], &file[300..]].concat());
    // One ratio of 1,000 that stays small is no harm; one beyond the limits is refused.
    siege.expect_stored("8 MiB of zeros, deflated", &bomb(&next(&mut n), 8, true));
    siege.expect_refused("300 MiB of zeros, deflated", &bomb(&next(&mut n), 300, true));
    siege.lift();
}
