//! Required attributes that are missing or wrong, UIDs that are paths, texts in odd character sets.

use super::{Fate, Siege, instance};
use crate::kit::dicom::{
    Element, IMPLICIT_LITTLE, Instance, PATIENT_ID, SERIES_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_UID,
    Value,
};

const UIDS: [u32; 4] = [SOP_CLASS_UID, STUDY_UID, SERIES_UID, SOP_INSTANCE_UID];

/// What no UID is, and what would do harm if it became part of a path.
fn no_uids() -> Vec<(&'static str, Vec<u8>)> {
    let long = "1.2.".repeat(2500) + "3";
    vec![
        ("a way up", b"../../../../tmp/x".to_vec()),
        ("a way up in numbers", b"1.2/../../3".to_vec()),
        ("two dots", b"..".to_vec()),
        ("a dot", b".".to_vec()),
        ("a slash", b"/".to_vec()),
        ("a whole path", b"/etc/passwd".to_vec()),
        ("a backslash path", b"..\\..\\1".to_vec()),
        ("an encoded slash", b"1.2%2F3".to_vec()),
        ("a NUL inside", b"1.2\x003".to_vec()),
        ("a NUL in front", b"\x001.2.3".to_vec()),
        ("10,000 characters", long.into_bytes()),
        ("65 characters", vec![b'1'; 65]),
        ("no ASCII", "1.2.٣.４".as_bytes().to_vec()),
        ("letters", b"1.2.x".to_vec()),
        ("a line end", b"1.2\r\n.3".to_vec()),
        ("a dot at the end", b"1.2.".to_vec()),
        ("a sign", b"-1.2.3".to_vec()),
        ("markup", b"<script>".to_vec()),
        ("a quote", b"1.2\"}],".to_vec()),
        ("bytes that are no text", vec![0xFF, 0xFE, 0xC3, 0x28]),
        ("a character set's escape", b"1.2\x1B$B".to_vec()),
        ("blanks", b"    ".to_vec()),
        ("two values", b"1.2.3\\1.2.4".to_vec()),
    ]
}

#[test]
fn without_its_required_attributes_no_instance_is_stored() {
    let mut siege = Siege::lay("required", &[]);
    let mut n = 0;
    let mut next = || {
        n += 1;
        instance(n)
    };
    for tag in UIDS {
        siege.expect_refused("dropped", &next().without(tag).part10());
        siege.expect_refused("empty", &next().element(tag, "UI", "").part10());
        siege.expect_refused("twice", &next().again(tag, "UI", "1.2.3").part10());
        for vr in ["LO", "SH", "ST", "UT", "UN", "OB", "CS", "PN", "DA", "UR"] {
            siege.expect_refused(vr, &next().element(tag, vr, "1.2.3").part10());
        }
        for (vr, value) in [
            ("US", Value::U16(vec![1])),
            ("UL", Value::U32(vec![1, 2])),
            ("FD", Value::F64(vec![f64::NAN])),
            ("AT", Value::Tags(vec![0x0010_0010])),
            ("SQ", Value::Sequence(vec![])),
            ("SQ", Value::Sequence(vec![vec![Element::new(tag, "UI", "1.2.3")]])),
        ] {
            siege.expect_refused(vr, &next().element(tag, vr, value).part10());
        }
        for (what, value) in no_uids() {
            siege.expect_refused(what, &next().element(tag, "UI", value).part10());
        }
        // Only in an item, where it does not count.
        let item = vec![Element::new(tag, "UI", "1.2.3")];
        let hidden = next().without(tag).element(0x0040_A730, "SQ", Value::Sequence(vec![item]));
        siege.expect_refused("in an item", &hidden.part10());
        // Behind the others, where readers disagree which one counts.
        let again = [&tag.to_le_bytes()[2..], &tag.to_le_bytes()[..2], b"UI\x04\x001.2\0"].concat();
        siege.expect_refused("out of order, twice", &next().appended(&again).part10());
    }
    siege.expect_refused("no PatientID", &next().without(PATIENT_ID).part10());
    siege.expect_refused("PatientID twice", &next().again(PATIENT_ID, "LO", "x").part10());
    for vr in ["SH", "UN", "OB", "UT", "PN", "CS"] {
        siege.expect_refused(vr, &next().element(PATIENT_ID, vr, "1.2.3").part10());
    }
    siege.expect_refused("65 characters", &next().element(PATIENT_ID, "LO", &*"x".repeat(65)).part10());
    siege.expect_refused("a control character", &next().element(PATIENT_ID, "LO", "a\x01b").part10());
    for empty in ["", " ", "\0\0", "a\\b", "x\0"] {
        siege.expect_stored("an odd PatientID", &next().element(PATIENT_ID, "LO", empty).part10());
    }
    siege.expect_refused("nothing at all", &Instance::new("1.2", "1.3", "1.4").bare().part10());
    siege.lift();
}

#[test]
fn no_identifier_leads_out_of_the_lake() {
    let mut siege = Siege::lay("identifiers", &[]);
    siege.expect_stored("a file", &instance(1).part10());
    let percent = |bytes: &[u8]| bytes.iter().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let mut segments: Vec<String> = no_uids().iter().map(|(_, bytes)| percent(bytes)).collect();
    segments.extend(
        ["..", ".", "%2e%2e", "%2e%2e%2f", "..%2f..%2fetc", "..;", "1.2/..", "%", "%zz", "%c0%ae"]
            .map(str::to_owned),
    );
    segments.extend(
        ["*", "{study}", "1.2.3%00", "%EF%BC%8E", "~", "$metadata", "1.2.3;a=b", "\u{7f}"].map(str::to_owned),
    );
    for segment in &segments {
        let shapes = [
            format!("/v2/studies/{segment}"),
            format!("/v2/studies/{segment}/metadata"),
            format!("/v2/studies/2.25.81/series/{segment}"),
            format!("/v2/studies/2.25.81/series/2.25.81.1/instances/{segment}"),
            format!("/v2/studies/2.25.81/series/2.25.81.1/instances/{segment}/metadata"),
            format!("/v2/studies/2.25.81/series/2.25.81.1/instances/2.25.81.1.1/frames/{segment}"),
            format!("/v2/studies/{segment}/instances"),
            format!("/v2/partitions/{segment}/studies"),
            format!("/v2/partitions/{segment}/studies/2.25.81"),
            format!("/{segment}/studies"),
            format!("/v2/{segment}"),
            format!("/{segment}"),
            format!("/health/{segment}"),
        ];
        for path in &shapes {
            let found = siege.get(path).status;
            assert!((400..500).contains(&found) || found == 204, "{path}: {found}");
        }
        for method in ["DELETE", "POST", "PUT", "HEAD", "PATCH"] {
            let found = siege.ask(method, &shapes[3], &[("accept", "*/*")], b"").status;
            assert!((400..500).contains(&found), "{method} {}: {found}", shapes[3]);
        }
    }
    assert_eq!(siege.get("/v2/studies/2.25.81").status, 200, "what was stored is still there");
    let lake = siege.process.data().join("lake");
    let mut folders = vec![lake.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            match entry.file_type().expect("its type").is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let path = entry.path();
                    let inside =
                        path.strip_prefix(&lake).expect("in the lake").to_string_lossy().into_owned();
                    assert!(inside.starts_with("AHDS/kymo/dicom/archive/"), "{inside}");
                }
            }
        }
    }
    siege.lift();
}

#[test]
fn texts_are_read_in_any_character_set_or_none() {
    let mut siege = Siege::lay("character sets", &[]);
    let sets = [
        "",
        "ISO_IR 6",
        "ISO_IR 100",
        "ISO_IR 192",
        "GB18030",
        "GBK",
        "ISO_IR 13",
        "ISO_IR 166",
        "ISO 2022 IR 87",
        "\\ISO 2022 IR 87",
        "ISO 2022 IR 6\\ISO 2022 IR 149\\ISO 2022 IR 58",
        "ISO_IR 13\\ISO 2022 IR 87",
        "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 127",
        "NO SUCH SET",
        "ISO_IR 192\\ISO_IR 100",
        "\\\\\\",
        "ISO 2022 GBK",
        "../../x",
    ];
    let texts: [&[u8]; 16] = [
        b"Doe^Jane",
        b"\x1B$B",
        b"Doe\x1B",
        b"Doe^Jane\x1B$",
        b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@",
        b"\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE",
        b"\x1B(Zx\x1B-Ly\x1B%Gz",
        b"\xC3\x28\xA0\xA1\xE2\x28\xA1",
        b"\xF0\x9F\x98\x80^\xED\xA0\x80",
        b"\xFF\xFE\xFD\xFC",
        "\u{202E}enaJ^\u{2066}eoD\u{FEFF}".as_bytes(),
        "a\u{0301}\u{0301}\u{0301}\u{0301}^\u{1F468}\u{200D}\u{1F469}".as_bytes(),
        b"====^^^^^^^^====",
        b"\x81\x5C\x81^\x81=\x84\x31\x95",
        b"<script>alert('x')</script>&amp;\"}],",
        b"a\x00b\x00",
    ];
    let mut n = 0;
    for set in sets {
        for (at, text) in texts.iter().enumerate() {
            n += 1;
            let item = vec![Element::new(0x0040_A160, "UT", text.to_vec())];
            let plain = instance(n).character_set(set).element(0x0010_0010, "PN", text.to_vec());
            let file = plain
                .element(0x0008_1030, "LO", text.to_vec())
                .element(0x0008_0090, "PN", text.to_vec())
                .element(0x0010_4000, "LT", text.to_vec())
                .element(0x0040_A730, "SQ", Value::Sequence(vec![item]));
            // Not every pair is looked at in full: that takes its time.
            match at % 4 == n as usize % 4 {
                true => drop(siege.expect_harmless(&format!("{set}: {text:?}"), &file.part10())),
                false => drop(siege.store(set, &file.part10())),
            }
        }
    }
    for version in ["v1", "v2"] {
        for path in ["studies", "series", "instances"] {
            let answer =
                siege.get(&format!("/{version}/{path}?limit=200&includefield=all&fuzzymatching=true"));
            assert_eq!(answer.status, 200);
            answer.json();
        }
    }
    siege.lift();
}

#[test]
fn values_may_be_anything() {
    let mut siege = Siege::lay("values", &[]);
    let odd: [(&str, Value); 34] = [
        ("DS", Value::from("NaN\\inf\\-inf\\1e400\\1e-400")),
        ("DS", Value::from("1,5")),
        ("IS", Value::from("99999999999999999999\\-1\\+1\\1.5")),
        ("DA", Value::from("20251399")),
        ("DA", Value::from("00000000-99999999")),
        ("TM", Value::from("999999.9999999999")),
        ("DT", Value::from("20250101000000.000000+9999")),
        ("AS", Value::from("999Z")),
        ("UI", Value::from("../x")),
        ("UR", Value::from("javascript:alert(1)")),
        ("AE", Value::from("\\\\\\\\")),
        ("CS", Value::from("lower case and far too long for it")),
        ("LO", Value::Bytes(vec![b'\\'; 10_000])),
        ("SH", Value::Bytes(vec![0; 100])),
        ("UT", Value::Bytes(vec![b'x'; 1 << 20])),
        ("UC", Value::Bytes(vec![0x1B; 4096])),
        ("LT", Value::Bytes((0..=255).collect())),
        ("PN", Value::Bytes(vec![b'='; 3000])),
        ("FL", Value::F32(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0])),
        ("FD", Value::F64(vec![f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX])),
        ("FD", Value::Bytes(vec![1, 2, 3])),
        ("FL", Value::Bytes(vec![1; 5])),
        ("US", Value::Bytes(vec![1])),
        ("UL", Value::Bytes(vec![1; 6])),
        ("SV", Value::U64(vec![u64::MAX, 1 << 63])),
        ("UV", Value::U64(vec![u64::MAX])),
        ("UV", Value::Bytes(vec![9; 7])),
        ("AT", Value::Bytes(vec![9; 6])),
        ("SQ", Value::Sequence(vec![vec![]; 5000])),
        ("SQ", Value::Sequence(vec![vec![Element::new(0x0040_A730, "SQ", Value::Sequence(vec![]))]])),
        ("UN", Value::Bytes(vec![0xFF; 77])),
        ("ZZ", Value::Bytes(vec![0xFF; 4])),
        ("OB", Value::Bytes(vec![])),
        ("OD", Value::Bytes(vec![1; 9])),
    ];
    let mut n = 0;
    for (vr, value) in odd {
        // Where it belongs, where another VR belongs, where search looks, and in a private block.
        for tag in [0x0040_A123, 0x0008_0020, 0x0010_0010, 0x0008_0060, 0x0028_0010, 0x0020_0013, 0x0009_1001]
        {
            n += 1;
            let file = instance(n).element(tag, vr, value.clone());
            siege.expect_harmless(&format!("{vr} in {tag:08X}"), &file.part10());
        }
        n += 1;
        let implicit = instance(n).syntax(IMPLICIT_LITTLE).element(0x0028_0106, vr, value);
        siege.expect_harmless(&format!("{vr}, implicit"), &implicit.part10());
    }
    for path in ["studies", "series", "instances"] {
        for page in 0..2 {
            let answer = siege.get(&format!("/v1/{path}?limit=200&offset={}&includefield=all", page * 200));
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json();
        }
    }
    let feed = siege.get("/v2/changefeed?limit=200");
    assert!(feed.json().as_array().is_some_and(|rows| rows.len() > 100));
    siege.lift();
}

#[test]
fn what_is_refused_can_be_stored_once_it_is_right() {
    let mut siege = Siege::lay("again", &[]);
    let good = instance(1);
    assert_eq!(
        siege.store("without a class", &good.clone().without(SOP_CLASS_UID).part10()),
        Fate::Refused { reason: 43264 }
    );
    siege.expect_stored("with it", &good.part10());
    assert_eq!(siege.store("twice", &good.part10()), Fate::Refused { reason: 45070 });
    siege.lift();
}
