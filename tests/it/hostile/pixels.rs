//! Pixel geometry that lies: whatever is stored, asking for frames gives 200 or 404, and never wrong sizes.

use super::{Fate, Siege, instance};
use crate::kit::dicom::{
    DEFLATED, EXPLICIT_BIG, Element, Image, Instance, Offsets, PIXEL_DATA, Value, families,
};

const ROWS: u32 = 0x0028_0010;
const COLUMNS: u32 = 0x0028_0011;
const SAMPLES: u32 = 0x0028_0002;
const PHOTOMETRIC: u32 = 0x0028_0004;
const FRAMES: u32 = 0x0028_0008;
const BITS: u32 = 0x0028_0100;
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";

/// What frames may be asked for.
const ASKED: [&str; 8] = ["1", "1,2,3", "2", "3,1,1,1", "65536", "1", "4294967295", "-1"];
/// In which forms, in turn.
const ACCEPTED: [&str; 3] = [
    "application/octet-stream; transfer-syntax=*",
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    "*/*",
];

impl Siege {
    /// Stores the file or not; asks for frames of it in every way.
    fn ask_for_frames(&mut self, what: &str, file: &[u8]) {
        let Fate::Stored { url } = self.store(what, file) else { return };
        for (numbers, accept) in ASKED.iter().zip(ACCEPTED.iter().cycle()) {
            let path = format!("{url}/frames/{numbers}");
            let answer = self.ask("GET", &path, &[("accept", accept)], b"");
            let (status, length) = (answer.status, answer.bytes().len());
            assert!([200, 400, 404, 406].contains(&status), "{what}: {path}: {answer:?}");
            assert!(length < 4 * file.len() + 2000, "{what}: {path}: {length} bytes from nowhere");
        }
        self.ask("HEAD", &format!("{url}/frames/1"), &[("accept", "*/*")], b"");
        // Decoded and encoded: an answer may break off, whether before or behind its first bytes is the socket's to say.
        for (path, accept) in [
            (url.clone(), "application/dicom"),
            (url.clone(), "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"),
            (format!("{url}/frames/1"), "image/dicom-rle"),
        ] {
            if let Ok(answer) = self.process.connect().ask("GET", &path, &[("accept", accept)], b"") {
                assert!([200, 404, 406].contains(&answer.status), "{what}: {path} {accept}: {answer:?}");
            }
        }
    }
}

/// Four by four pixels of 8 bits, one frame.
fn image(number: u64) -> Instance {
    instance(number)
        .element(SAMPLES, "US", 1)
        .element(PHOTOMETRIC, "CS", "MONOCHROME2")
        .element(ROWS, "US", 4)
        .element(COLUMNS, "US", 4)
        .element(BITS, "US", 8)
        .element(PIXEL_DATA, "OB", vec![7; 16])
}

#[test]
fn native_geometry_may_say_anything() {
    let mut siege = Siege::lay("geometry", &[]);
    let mut n = 0;
    let mut next = || {
        n += 1;
        image(n)
    };
    for tag in [ROWS, COLUMNS, SAMPLES, BITS] {
        siege.ask_for_frames("dropped", &next().without(tag).part10());
        for number in [0, 1, 2, 3, 7, 12, 16, 32, 64, 128, 0x7FFF, 0x8000, 0xFFFF] {
            siege.ask_for_frames("another number", &next().element(tag, "US", number).part10());
        }
        for (vr, value) in [
            ("SS", Value::I16(vec![-4])),
            ("UL", Value::U32(vec![0xFFFF_FFFF])),
            ("IS", Value::from("4")),
            ("US", Value::U16(vec![4, 4])),
            ("US", Value::U16(vec![])),
            ("US", Value::Bytes(vec![4])),
            ("SQ", Value::Sequence(vec![vec![Element::new(tag, "US", 4)]])),
            ("OB", Value::Bytes(vec![4, 0])),
        ] {
            siege.ask_for_frames(vr, &next().element(tag, vr, value).part10());
        }
    }
    for (rows, columns, samples, bits) in [
        (65_535, 65_535, 1, 8),
        (65_535, 65_535, 65_535, 64),
        (65_535, 65_535, 4, 65_528),
        (1, 1, 1, 1),
        (3, 3, 1, 1),
        (5, 5, 3, 1),
        (4, 4, 1, 12),
        (2, 1, 1, 64),
        (4, 4, 0, 8),
    ] {
        let sized = |instance: Instance| {
            let instance = instance.element(ROWS, "US", rows).element(COLUMNS, "US", columns);
            instance.element(SAMPLES, "US", samples).element(BITS, "US", bits)
        };
        for frames in
            ["", "1", "2", "4294967295", "4294967296", "99999999999999999999", "-1", "0", "1.5", "x", "1\\2"]
        {
            siege.ask_for_frames("size and frames", &sized(next()).element(FRAMES, "IS", frames).part10());
        }
        for photometric in ["YBR_FULL_422", "YBR_PARTIAL_420", "PALETTE COLOR", "", "\\\\"] {
            siege.ask_for_frames(
                "photometric",
                &sized(next()).element(PHOTOMETRIC, "CS", photometric).part10(),
            );
        }
        siege.ask_for_frames("big endian", &sized(next()).syntax(EXPLICIT_BIG).part10());
        siege.ask_for_frames("deflated", &sized(next()).syntax(DEFLATED).element(FRAMES, "IS", "3").part10());
        siege.ask_for_frames("no pixels", &sized(next()).without(PIXEL_DATA).part10());
        siege.ask_for_frames(
            "empty pixels",
            &sized(next()).element(PIXEL_DATA, "OW", Value::Words(vec![])).part10(),
        );
    }
    for (tag, vr) in [(0x7FE0_0008, "OF"), (0x7FE0_0009, "OD"), (0x7FE0_0008, "OB"), (PIXEL_DATA, "UN")] {
        let odd = next().without(PIXEL_DATA).element(tag, vr, vec![1; 15]);
        siege.ask_for_frames("other pixels", &odd.part10());
    }
    let twice = next().element(0x7FE0_0008, "OF", vec![1; 64]).element(0x7FE0_0009, "OD", vec![1; 128]);
    siege.ask_for_frames("pixels three times", &twice.part10());
    let palette = next().element(PHOTOMETRIC, "CS", "PALETTE COLOR");
    let palette = palette.element(0x0028_1101, "US", Value::U16(vec![0, 0, 16]));
    siege.ask_for_frames("a palette of 65,536", &palette.element(0x0028_1201, "OW", vec![1; 2]).part10());
    siege.lift();
}

#[test]
fn fragments_and_tables_may_say_anything() {
    let mut siege = Siege::lay("fragments", &[]);
    let mut n = 0;
    let mut next = |syntax: &str| {
        n += 1;
        image(n).syntax(syntax)
    };
    let jpeg = b"\xFF\xD8\xFF\xE0\0\x04ab\xFF\xD9".to_vec();
    let tables: [Vec<u32>; 10] = [
        vec![],
        vec![0],
        vec![0, 18],
        vec![0, 18, 36],
        vec![18, 0],
        vec![0, 0, 0],
        vec![0, 1, 2],
        vec![0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF],
        vec![0, 18, 0xFFFF_FFFE],
        (0..5000).collect(),
    ];
    for syntax in [JPEG, RLE, "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"] {
        for basic in &tables {
            for (fragments, frames) in [
                (0, "1"),
                (1, "1"),
                (1, "3"),
                (3, "1"),
                (3, "3"),
                (3, "2"),
                (3, "4294967295"),
                (5, "3"),
                (40, "7"),
            ] {
                let fragments =
                    (0..fragments).map(|n| if n % 2 == 0 { jpeg.clone() } else { vec![0; n % 5] });
                let pixels = Value::Fragments { basic: basic.clone(), fragments: fragments.collect() };
                let file = next(syntax).element(PIXEL_DATA, "OB", pixels).element(FRAMES, "IS", frames);
                // Not each of them with every way of asking.
                match (basic.len() + frames.len()) % 3 {
                    0 => siege.ask_for_frames(syntax, &file.part10()),
                    _ => drop(siege.store(syntax, &file.part10())),
                }
            }
        }
    }
    let image = Image { rows: 4, columns: 4, samples: 1, bits: 8, photometric: "MONOCHROME2" };
    let frames = [vec![jpeg.clone()], vec![jpeg.clone()], vec![jpeg, vec![1; 8]]];
    for (offsets, lengths) in [
        (vec![0, 18, 36], vec![10, 10, 18]),
        (vec![0, 18, 36], vec![u64::MAX; 3]),
        (vec![u64::MAX, 1 << 63, 0], vec![10, 10, 18]),
        (vec![0, u64::MAX - 7, 36], vec![10, 10, 18]),
        (vec![0; 3], vec![0; 3]),
        (vec![], vec![10]),
        (vec![0, 18], vec![]),
        (vec![0; 100_000], vec![1; 100_000]),
    ] {
        let file = next(JPEG).fragments(image, &frames, Offsets::Extended);
        let file = file.element(0x7FE0_0001, "OV", Value::U64(offsets));
        siege
            .ask_for_frames("extended table", &file.element(0x7FE0_0002, "OV", Value::U64(lengths)).part10());
    }
    let many = Value::Fragments { basic: vec![], fragments: vec![vec![]; 200_000] };
    siege.ask_for_frames("200,000 empty fragments", &next(RLE).element(PIXEL_DATA, "OB", many).part10());
    siege.lift();
}

#[test]
fn right_images_may_be_asked_in_wrong_ways() {
    let mut siege = Siege::lay("images", &[]);
    for family in families() {
        siege.ask_for_frames(&family.name, &family.part10);
    }
    let answer = siege.get("/v2/instances?limit=200");
    let found = answer.json().as_array().map_or(0, Vec::len);
    assert!(found > 30, "{found} families");
    siege.lift();
}
