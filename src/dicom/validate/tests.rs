//! The contract's rules, value by value (`studies.md` §2.5): required, indexed, full; what is told, what is left out.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;
use serde_json::{Value as Json, json};

use super::*;
use crate::dicom::json::metadata_without;

/// One element of a header, its length as given.
fn element(tag: Tag, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(tag.group().to_le_bytes());
    bytes.extend(tag.element().to_le_bytes());
    bytes.extend(vr.as_bytes());
    bytes.extend(u16::try_from(value.len()).expect("a short value").to_le_bytes());
    bytes.extend(value);
    bytes
}

/// The five required elements, in the order of their tags.
const GOOD: [(Tag, &str, &[u8]); 5] = [
    (tags::SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
    (tags::SOP_INSTANCE_UID, "UI", b"1.2.3.4\0"),
    (tags::PATIENT_ID, "LO", b"P1"),
    (tags::STUDY_INSTANCE_UID, "UI", b"1.2 "),
    (tags::SERIES_INSTANCE_UID, "UI", b"1.2.3\0"),
];

/// A sequence of undefined length.
fn sequence(tag: Tag, items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes =
        [&tag.group().to_le_bytes()[..], &tag.element().to_le_bytes(), b"SQ\0\0\xFF\xFF\xFF\xFF"].concat();
    for item in items {
        bytes.extend(b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
        bytes.extend(item);
        bytes.extend(b"\xFE\xFF\x0D\xE0\0\0\0\0");
    }
    bytes.extend(b"\xFE\xFF\xDD\xE0\0\0\0\0");
    bytes
}

fn check(header: &[u8], rules: Rules) -> Result<Accepted, Invalid> {
    instance(header, &[], None, rules)
}

/// A good header in which the element `tag` has another VR and value.
fn with(tag: Tag, vr: &str, value: &[u8]) -> Vec<u8> {
    GOOD.iter()
        .flat_map(|(t, v, b)| if *t == tag { element(*t, vr, value) } else { element(*t, v, b) })
        .collect()
}

fn without(tag: Tag) -> Vec<u8> {
    GOOD.iter().filter(|(t, ..)| *t != tag).flat_map(|(t, v, b)| element(*t, v, b)).collect()
}

fn good() -> Vec<u8> {
    without(Tag(0, 0))
}

/// A good header and more elements behind it.
fn and(more: &[Vec<u8>]) -> Vec<u8> {
    [good(), more.concat()].concat()
}

/// The attribute for which a header is refused.
fn refused(header: &[u8], rules: Rules) -> Option<Tag> {
    let findings = check(header, rules).err()?.findings;
    assert_eq!(findings.len(), 1, "nothing else is wrong: {findings:?}");
    findings.first().map(|finding| finding.tag)
}

/// What v2 finds in an element that it stores.
fn found(tag: Tag, vr: &str, value: &[u8]) -> Option<Fault> {
    let accepted = check(&and(&[element(tag, vr, value)]), Rules::V2).expect("it is stored");
    assert!(accepted.findings.len() <= 1 && accepted.findings.iter().all(|finding| finding.tag == tag));
    accepted.findings.first().map(|finding| finding.fault)
}

/// What v1 finds in an element, for which it refuses the instance.
fn indexed(tag: Tag, vr: &str, value: &[u8]) -> Option<Fault> {
    let invalid = check(&and(&[element(tag, vr, value)]), Rules::V1).err()?;
    assert_eq!(invalid.findings.iter().map(|finding| finding.tag).collect::<Vec<_>>(), [tag]);
    Some(invalid.findings[0].fault)
}

#[test]
fn an_identity_has_canonical_uids_beside_those_received() {
    for rules in [Rules::V1, Rules::V2] {
        let accepted = check(&good(), rules).expect("nothing is wrong with it");
        assert_eq!((accepted.findings, accepted.left_out, accepted.several_values), (vec![], vec![], false));
        let identity = accepted.identity;
        assert_eq!(identity.sop_class, "1.2.840.10008.5.1.4.1.1.7");
        assert_eq!(identity.study.as_str(), "1.2");
        assert_eq!(identity.series.as_str(), "1.2.3");
        assert_eq!(identity.instance.as_str(), "1.2.3.4");
        assert_eq!(identity.received, ["1.2 ", "1.2.3", "1.2.3.4"]);
    }
}

#[test]
fn each_required_attribute_must_be_there_with_one_value() {
    for (tag, vr, value) in GOOD {
        let twice = [with(tag, vr, value), element(tag, vr, value)].concat();
        for rules in [Rules::V1, Rules::V2] {
            assert_eq!(refused(&without(tag), rules), Some(tag));
            assert_eq!(refused(&with(tag, "SH", value), rules), Some(tag));
            assert_eq!(refused(&twice, rules), Some(tag));
            if tag != tags::PATIENT_ID {
                assert_eq!(refused(&with(tag, vr, b""), rules), Some(tag));
                assert_eq!(refused(&with(tag, vr, b"\0"), rules), Some(tag));
                assert_eq!(refused(&with(tag, vr, b"1.2\\1.3"), rules), Some(tag));
            }
        }
        let comment = check(&without(tag), Rules::V2).expect_err("it is missing").findings[0].comment();
        let printed = format!("({:04x},{:04x})", tag.group(), tag.element());
        assert_eq!(comment, format!("DICOM100: {printed} - The required tag '{printed}' is missing."));
    }
}

#[test]
fn problems_are_looked_for_in_the_order_of_the_contract() {
    let order = [
        tags::SOP_CLASS_UID,
        tags::STUDY_INSTANCE_UID,
        tags::SERIES_INSTANCE_UID,
        tags::SOP_INSTANCE_UID,
        tags::PATIENT_ID,
    ];
    for first in 0..order.len() {
        let header: Vec<u8> = GOOD
            .iter()
            .filter(|(tag, ..)| !order[first..].contains(tag))
            .flat_map(|(t, v, b)| element(*t, v, b))
            .collect();
        assert_eq!(refused(&header, Rules::V1), Some(order[first]));
    }
    let other = Uid::parse("9.9").expect("a UID");
    let invalid =
        instance(&without(tags::PATIENT_ID), &[], Some(&other), Rules::V1).expect_err("not this study");
    assert_eq!(invalid.findings[0].tag, tags::STUDY_INSTANCE_UID, "the study match comes before PatientID");
    let invalid =
        instance(&without(tags::SOP_INSTANCE_UID), &[], Some(&other), Rules::V1).expect_err("no instance");
    assert_eq!(invalid.findings[0].tag, tags::SOP_INSTANCE_UID, "and after the UIDs");
}

#[test]
fn the_study_of_the_request_matches_whatever_the_padding() {
    let same = Uid::parse("1.2   ").expect("a UID");
    assert!(instance(&good(), &[], Some(&same), Rules::V1).is_ok());
}

#[test]
fn uids_follow_the_minimum_rules_and_no_stricter_ones() {
    let long = "1".repeat(65);
    for good in ["0", ".1", "1..2", "01.02", &long[..64], "1.2  \t"] {
        assert_eq!(
            refused(&with(tags::SERIES_INSTANCE_UID, "UI", good.as_bytes()), Rules::V1),
            None,
            "{good}"
        );
    }
    for bad in ["1.", "a", "1.2a", "1 2", long.as_str(), "1.2é", " 1"] {
        for rules in [Rules::V1, Rules::V2] {
            let header = with(tags::SERIES_INSTANCE_UID, "UI", bad.as_bytes());
            assert_eq!(refused(&header, rules), Some(tags::SERIES_INSTANCE_UID), "{bad}");
        }
    }
}

#[test]
fn trailing_nuls_are_characters_in_v1_and_padding_in_v2() {
    let uid = with(tags::SERIES_INSTANCE_UID, "UI", b"1.2.3\0\0\0");
    assert_eq!(refused(&uid, Rules::V1), Some(tags::SERIES_INSTANCE_UID));
    let received =
        check(&uid, Rules::V2).map(|accepted| (accepted.identity.received[1].clone(), accepted.findings));
    assert_eq!(received, Ok(("1.2.3".to_owned(), vec![])));

    let patient = with(tags::PATIENT_ID, "LO", b"P1\0\0");
    assert_eq!(refused(&patient, Rules::V1), Some(tags::PATIENT_ID));
    assert_eq!(check(&patient, Rules::V2).map(|accepted| accepted.findings), Ok(vec![]));
}

#[test]
fn a_patient_id_without_a_value_is_refused_in_v1_and_a_warning_in_v2() {
    for value in [&b""[..], b"  ", b"A\\B"] {
        let header = with(tags::PATIENT_ID, "LO", value);
        assert_eq!(refused(&header, Rules::V1), Some(tags::PATIENT_ID));
        let accepted = check(&header, Rules::V2).expect("stored with a warning");
        let comments: Vec<String> = accepted.findings.iter().map(Finding::comment).collect();
        assert_eq!(comments, ["DICOM100: (0010,0020) - The required tag '(0010,0020)' is missing."]);
        let metadata = metadata_without(&header, &accepted.left_out).expect("a header");
        let metadata: Json = serde_json::from_slice(&metadata).expect("JSON");
        assert_eq!(metadata.as_object().map(serde_json::Map::len), Some(4), "without PatientID: {metadata}");
    }
}

#[test]
fn a_patient_id_that_is_no_lo_is_refused_in_both() {
    let in_utf8 = |id: &str| {
        let set = element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 192");
        [set, with(tags::PATIENT_ID, "LO", id.as_bytes())].concat()
    };
    for rules in [Rules::V1, Rules::V2] {
        assert_eq!(refused(&in_utf8(&"é".repeat(64)), rules), None, "characters are counted, not bytes");
        assert_eq!(refused(&in_utf8(&"é".repeat(65)), rules), Some(tags::PATIENT_ID));
        for value in [&b"A\tB"[..], b"A\0B", b"\nA", b"A\x7F"] {
            assert_eq!(
                refused(&with(tags::PATIENT_ID, "LO", value), rules),
                Some(tags::PATIENT_ID),
                "{value:?}"
            );
        }
        assert_eq!(refused(&with(tags::PATIENT_ID, "LO", b"A\x1BB"), rules), None);
    }
}

#[test]
fn an_invalid_instance_is_named_as_far_as_it_can_be_read() {
    let invalid = check(&with(tags::SOP_INSTANCE_UID, "UI", b"no uid"), Rules::V1).expect_err("no UID");
    assert_eq!(invalid.sop_class.as_deref(), Some("1.2.840.10008.5.1.4.1.1.7"));
    assert_eq!(invalid.instance.as_deref(), Some("no uid"));
    let invalid = check(&without(tags::SOP_CLASS_UID), Rules::V1).expect_err("no class");
    assert_eq!((invalid.sop_class, invalid.instance.as_deref()), (None, Some("1.2.3.4")));
}

#[test]
fn only_the_top_level_counts() {
    let nested = sequence(Tag(0x0008, 0x1115), &[element(tags::SERIES_INSTANCE_UID, "UI", b"6.6.6")]);
    let before = [nested.clone(), good()].concat();
    assert_eq!(
        check(&before, Rules::V1).map(|accepted| accepted.identity.series.to_string()),
        Ok("1.2.3".into())
    );
    let instead = [without(tags::SERIES_INSTANCE_UID), nested].concat();
    assert_eq!(refused(&instead, Rules::V1), Some(tags::SERIES_INSTANCE_UID));
}

/// §2.5.2, the table's rows of which v1 indexes an attribute: VR, what passes, what does not.
#[test]
fn v1_holds_the_minimum_rules_for_indexed_attributes() {
    let (x16, x17, x64, x65) = ("x".repeat(16), "x".repeat(17), "x".repeat(64), "x".repeat(65));
    let groups = |n: usize| vec!["a^b^c^d^e"; n].join("=");
    let groups_of_64 = [x64.as_str(); 3].join("=");
    let cases: [(Tag, &str, Vec<&str>, Vec<&str>); 5] = [
        (
            tags::STUDY_DATE,
            "DA",
            vec!["", "20240229", "00010101", "99991231", "20240101\\nonsense"],
            vec![
                "20230229",
                "20241301",
                "20240100",
                "00000101",
                "2024-0101",
                "202401",
                "20240101-",
                "x",
                "20240101\0",
            ],
        ),
        (
            tags::MODALITY,
            "CS",
            vec!["", "CT", "lower case", "a-b\x01", &x16, "CT\\far too long for a code string"],
            vec![&x17],
        ),
        (tags::ACCESSION_NUMBER, "SH", vec!["", &x16, "a\x01"], vec![&x17]),
        (
            tags::STUDY_DESCRIPTION,
            "LO",
            vec!["", &x64, "a\x1Bb", "fine\\a\x01"],
            vec![&x65, "a\x01", "a\0", "\ta", "a\x7F"],
        ),
        (
            tags::PATIENT_NAME,
            "PN",
            vec!["", "Doe^Jane", &groups_of_64, "==", "a\x1B"],
            vec!["a=b=c=d", "a^b^c^d^e^f", &x65, "a=b^c^d^e^f^g", "a\x08b"],
        ),
    ];
    assert_eq!(indexed(tags::PATIENT_NAME, "PN", groups(3).as_bytes()), None);
    for (tag, vr, good, bad) in cases {
        for value in good {
            assert_eq!(indexed(tag, vr, value.as_bytes()), None, "{vr} {value:?}");
        }
        for value in bad {
            let fault = indexed(tag, vr, value.as_bytes());
            assert!(matches!(fault, Some(Fault::Value(_))), "{vr} {value:?}: {fault:?}");
        }
    }
}

const X16: &str = "xxxxxxxxxxxxxxxx";
const ONES_65: &str = "11111111111111111111111111111111111111111111111111111111111111111";

/// A VR, what passes its minimum rules, what does not.
const MINIMUM: &[(VR, &[&str], &[&str])] = &[
    (VR::AE, &["", X16, " ", "a\x01"], &["12345678901234567"]),
    (VR::AS, &["030Y", "abcd", "éééé"], &["", "30Y", "0030Y"]),
    (
        VR::TM,
        &["", "00", "2359", "235960", "101010.1", "101010.123456", "10  ", "10-12", "-10", "101010-"],
        &[
            "24",
            "1060",
            "101061",
            "1",
            "101",
            "10.5",
            "1010.5",
            "101010.",
            "101010.1234567",
            "10:10",
            "-",
            "1-2-3",
        ],
    ),
    (
        VR::DT,
        &[
            "",
            "2024",
            "202402",
            "20240231",
            "2024023123",
            "202402312359",
            "20240231235960",
            "20240231235959.1",
            "20240231235959.123456",
            "2024+1400",
            "2024-1200",
            "2024+0000",
            "20240101101010.5-0500 ",
            "2024-2025",
            "20240101-",
            "-2025",
            "2024-0500-2025-0500",
            "2024+0100-2025",
        ],
        &[
            "202",
            "202413",
            "20240132",
            "2024013124",
            "202401312360",
            "20240131235961",
            "20240131235959.1234567",
            "20240131235959.",
            "2024.5",
            "2024+1401",
            "0000",
            "2024-0000",
            "2024+160",
            "2024+0060",
            "x",
            "2024é1",
            "--2024",
        ],
    ),
    (
        VR::IS,
        &["", "0", "-2147483648", "+2147483647", "  7 ", "007"],
        &["2147483648", "1.0", "1e3", "- 1", "+", "x", "１"],
    ),
    (VR::UI, &["", "1.2.3", "0", "00.01", "1..2", ".1", "1.2.3  "], &["1.", "1.2a", "1 2", ONES_65]),
    (VR::LT, &["\x01"], &[]),
    (VR::UT, &["\x01"], &[]),
    (VR::DS, &["no number"], &[]),
];

/// Indexed attributes have none of the other VRs of the table; their rules are tried by themselves.
#[test]
fn the_minimum_rules_of_all_vrs_are_those_of_the_table() {
    let passes = |vr: VR, value: &[u8]| {
        let set = crate::dicom::text::CharacterSet::default();
        let element = Element { place: 0, depth: 0, tag: Tag(0x0009, 0x1001), vr, value, set };
        [Rules::V1, Rules::V2].map(|rules| minimum::first_value(&element, rules).is_ok())
    };
    let both = |vr, value: &[u8], expected| assert_eq!(passes(vr, value), [expected; 2], "{vr:?} {value:?}");
    for (vr, good, bad) in MINIMUM {
        let vr = *vr;
        good.iter().for_each(|value| both(vr, value.as_bytes(), true));
        bad.iter().for_each(|value| both(vr, value.as_bytes(), false));
    }
    for (vr, bytes) in [(VR::FD, 8), (VR::FL, 4), (VR::SL, 4), (VR::UL, 4), (VR::SS, 2), (VR::US, 2)] {
        both(vr, &[], false);
        both(vr, &vec![0; bytes - 1], false);
        both(vr, &vec![0; bytes], true);
        both(vr, &vec![0; bytes + 1], true);
    }
    // Only v2 takes NULs at the end for padding; one that pads a UID every reader does.
    assert_eq!(passes(VR::DA, b"20240101\0\0"), [false, true]);
    assert_eq!(passes(VR::LO, b"a\0"), [false, true]);
    assert_eq!(passes(VR::UI, b"1.2\0"), [true, true]);
    assert_eq!(passes(VR::UI, b"1.2\0\0"), [false, true]);
}

#[test]
fn v1_refuses_for_any_indexed_attribute_and_tells_them_all() {
    let bad = [
        element(tags::STUDY_DATE, "DA", b"2024"),
        element(tags::ACCESSION_NUMBER, "SH", b"far too long a number"),
        element(tags::MODALITY, "CS", b"far too long a modality"),
        element(tags::MODALITIES_IN_STUDY, "CS", b"far too long a modality"),
        element(tags::REFERRING_PHYSICIAN_NAME, "PN", b"a=b=c=d"),
        element(tags::STUDY_DESCRIPTION, "LO", b"a\x01"),
        element(tags::MANUFACTURER_MODEL_NAME, "LO", b"a\x01"),
        element(tags::PATIENT_NAME, "PN", b"a\x01"),
        element(tags::PATIENT_BIRTH_DATE, "DA", b"19700230"),
        element(tags::PERFORMED_PROCEDURE_STEP_START_DATE, "DA", b"2024-01-01"),
    ];
    let tags_of = |invalid: &Invalid| invalid.findings.iter().map(|finding| finding.tag).collect::<Vec<_>>();
    let invalid = check(&and(&bad), Rules::V1).expect_err("everything is wrong");
    let expected = bad.each_ref().map(|bytes| {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Tag(half(0), half(2))
    });
    assert_eq!(tags_of(&invalid), expected);
    assert_eq!(invalid.instance.as_deref(), Some("1.2.3.4"));

    // With a required attribute, which comes first, and with required ones that are indexed.
    let header = [without(tags::SOP_CLASS_UID), bad.concat()].concat();
    let invalid = check(&header, Rules::V1).expect_err("everything is wrong");
    assert_eq!(tags_of(&invalid), [&[tags::SOP_CLASS_UID][..], &expected].concat());
    let header: Vec<u8> = [
        element(tags::SOP_CLASS_UID, "UI", b"1.2"),
        element(tags::SOP_INSTANCE_UID, "UI", b"1.2."),
        element(tags::PATIENT_ID, "LO", b"a\x01"),
        element(tags::STUDY_INSTANCE_UID, "UI", b"1.2"),
        element(tags::SERIES_INSTANCE_UID, "UI", b"x"),
    ]
    .concat();
    for rules in [Rules::V1, Rules::V2] {
        let invalid = check(&header, rules).expect_err("three are wrong");
        let all = [tags::SERIES_INSTANCE_UID, tags::SOP_INSTANCE_UID, tags::PATIENT_ID];
        assert_eq!(tags_of(&invalid), all, "the first of the chain, then the order of the file");
    }
}

#[test]
fn v1_looks_at_nothing_but_indexed_attributes_of_the_dataset() {
    let item = element(tags::STUDY_DATE, "DA", b"nonsense");
    let header = and(&[
        element(tags::STUDY_TIME, "TM", b"nonsense"),
        element(tags::PATIENT_AGE, "AS", b"old"),
        element(tags::IMAGE_TYPE, "CS", b"one"),
        element(tags::SERIES_DESCRIPTION, "US", b"ab"),
        sequence(tags::REQUEST_ATTRIBUTES_SEQUENCE, &[item]),
    ]);
    let accepted = check(&header, Rules::V1).expect("it is stored");
    assert_eq!((accepted.findings, accepted.left_out), (vec![], vec![]));
}

#[test]
fn a_vr_that_is_not_the_dictionarys_fails() {
    let date = Some(Fault::Representation(VR::DA));
    assert_eq!(indexed(tags::STUDY_DATE, "LO", b"20240101"), date);
    assert_eq!(found(tags::STUDY_DATE, "LO", b"20240101"), date);
    assert_eq!(found(tags::ROWS, "SS", b"\x01\0"), Some(Fault::Representation(VR::US)));
    let header = and(&[sequence(tags::STUDY_DATE, &[])]);
    for rules in [Rules::V1, Rules::V2] {
        let findings = check(&header, rules).map_or_else(|bad| bad.findings, |accepted| accepted.findings);
        assert_eq!(findings, [Finding { tag: tags::STUDY_DATE, fault: Fault::Representation(VR::DA) }]);
    }
    // Alternatives, private and unknown ones never do.
    for (tag, vr) in [
        (tags::SMALLEST_IMAGE_PIXEL_VALUE, "US"),
        (tags::SMALLEST_IMAGE_PIXEL_VALUE, "SS"),
        (Tag(0x0009, 0x1001), "FL"),
        (Tag(0x0009, 0x0010), "LT"),
        (Tag(0x0008, 0x0002), "LT"),
    ] {
        assert_eq!(found(tag, vr, if vr == "FL" { b"1234" } else { b"12" }), None, "{tag} {vr}");
    }
}

#[test]
fn bulk_elements_are_in_no_header_but_have_a_vr_too() {
    let bulk = |path: &str, vr| BulkElement { path: path.to_owned(), vr, offset: 0, length: 0 };
    let tags_of = |bulk: &[BulkElement], rules| {
        let findings =
            instance(&good(), bulk, None, rules).map_or_else(|bad| bad.findings, |good| good.findings);
        findings.iter().map(Finding::comment).collect::<Vec<_>>()
    };
    let told = "DICOM100: (0008,0020) - The value representation is not DA.";
    assert_eq!(tags_of(&[bulk("00080020", *b"OB")], Rules::V1), [told]);
    assert_eq!(tags_of(&[bulk("00080020", *b"OB")], Rules::V2), [told]);
    assert_eq!(tags_of(&[bulk("00400275/1/00080020", *b"OB")], Rules::V1), [""; 0]);
    assert_eq!(tags_of(&[bulk("00400275/1/00080020", *b"OB")], Rules::V2), [told]);
    for rules in [Rules::V1, Rules::V2] {
        let fine = [bulk("00080020", *b"UN"), bulk("7FE00010", *b"OW"), bulk("00091001", *b"OB")];
        assert_eq!(tags_of(&fine, rules), [""; 0]);
    }
}

/// §2.5.5, row by row: VR, an attribute of it, what passes, what does not.
const FULL: &[(&str, Tag, &[&str], &[&str])] = &[
    (
        "AE",
        tags::RETRIEVE_AE_TITLE,
        &["", "A a-1\\B", X16],
        &[" ", "    ", "A\\  ", "a\x01", "xxxxxxxxxxxxxxxxx"],
    ),
    ("AS", tags::PATIENT_AGE, &["", "030Y", "001D", "999W", "012M"], &["30Y", "030X", "abcY", "0030", "é0Y"]),
    (
        "CS",
        tags::IMAGE_TYPE,
        &["", "A\\B_1 2", "A\\", " \\B"],
        &["A\\b", "A\\B-C", "A\\ABCDEFGHIJKLMNOPQ", "A\\é"],
    ),
    (
        "DA",
        tags::CALIBRATION_DATE,
        &[
            "",
            "20240101",
            "20240231",
            "00000000",
            "20240101-20240202",
            "20240101-",
            "-20240101",
            "20240101\\",
        ],
        &["20241301", "20240132", "2024", "2024.01.01", "20240101-20240202-20240303", "20240101\\x"],
    ),
    (
        "DS",
        tags::IMAGER_PIXEL_SPACING,
        &["", "1\\2", "-1.5\\+.5", "1.\\1e-3", " 1E+5 \\ 2 ", "1234567890123456\\0"],
        &["1,5\\1", "1\\x", "1e\\1", ".\\1", "NaN\\1", "12345678901234567\\0", "--1\\1", "1\\0x10"],
    ),
    ("DT", tags::ACQUISITION_DATE_TIME, &["", "20240101101010.5+0100"], &["2024-01-01"]),
    ("TM", tags::CALIBRATION_TIME, &["", "101010.123456", "10\\11"], &["10:10", "10\\25"]),
    ("IS", tags::REFERENCED_FRAME_NUMBER, &["", "1\\2\\3", " -1 "], &["1\\2.5", "1\\99999999999"]),
    ("LO", tags::SOFTWARE_VERSIONS, &["", "a\\b", "a\x1Bb", "\\"], &["a\\b\x01"]),
    ("PN", tags::PATIENT_NAME, &["", "a^b^c^d^e=f=g"], &["a=b=c=d", "a^b^c^d^e^f"]),
    ("SH", tags::STUDY_ID, &["", X16], &["xxxxxxxxxxxxxxxxx", "a\x1Bb", "a\tb"]),
    ("LT", tags::IMAGE_COMMENTS, &["", "a\\b\r\n\x01"], &[]),
    ("ST", tags::INSTITUTION_ADDRESS, &["", "a\\b\r\n"], &[]),
    (
        "UI",
        tags::RELATED_GENERAL_SOP_CLASS_UID,
        &["", "1.0.2", "1.2\\1.3", "1.2 "],
        &["0.1", "0", "1.02", "1..2", "1.2.", ".1", "1.2\\1.x", ONES_65],
    ),
    ("UC", tags::STRAIN_DESCRIPTION, &["", "\x01 anything"], &[]),
    ("UR", tags::RETRIEVE_URL, &["", "no url\\\x01"], &[]),
    ("UT", tags::TEXT_VALUE, &["", "a\\b\x01"], &[]),
];

/// Whether v2 finds nothing in a value, given in UTF-8.
fn passes(tag: Tag, vr: &str, value: &str) -> bool {
    let set = element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 192");
    let header = [set, and(&[long_element(tag, vr, value.as_bytes())])].concat();
    let accepted = check(&header, Rules::V2).expect("it is stored");
    let faults: Vec<_> = accepted.findings.iter().map(|finding| (finding.tag, finding.fault)).collect();
    match faults[..] {
        [] => true,
        [(found, Fault::Value(_))] if found == tag => false,
        _ => panic!("{vr} {tag}: {faults:?}"),
    }
}

#[test]
fn v2_checks_every_value_by_the_full_rules() {
    for (vr, tag, good, bad) in FULL {
        for value in *good {
            assert!(passes(*tag, vr, value), "{vr} {value:?} must pass");
        }
        for value in *bad {
            assert!(!passes(*tag, vr, value), "{vr} {value:?} must fail");
        }
    }
    for (vr, tag) in
        [("US", tags::ROWS), ("FD", tags::EVENT_TIME_OFFSET), ("AT", tags::FRAME_INCREMENT_POINTER)]
    {
        assert_eq!(found(tag, vr, b""), None, "an empty {vr} passes");
    }
}

#[test]
fn the_full_rules_limit_characters_not_bytes() {
    for (vr, tag, most) in [
        ("SH", tags::STUDY_ID, 16),
        ("LO", tags::SOFTWARE_VERSIONS, 64),
        ("PN", tags::PATIENT_NAME, 64),
        ("ST", tags::INSTITUTION_ADDRESS, 1024),
        ("LT", tags::IMAGE_COMMENTS, 10_240),
    ] {
        assert!(passes(tag, vr, &"é".repeat(most)), "{vr}");
        assert!(!passes(tag, vr, &"é".repeat(most + 1)), "{vr}");
    }
    for (vr, tag) in [("UC", tags::STRAIN_DESCRIPTION), ("UR", tags::RETRIEVE_URL), ("UT", tags::TEXT_VALUE)]
    {
        assert!(passes(tag, vr, &"é".repeat(20_000)), "{vr} has no limit");
    }
}

/// An element whose VR has a long length field if need be.
fn long_element(tag: Tag, vr: &str, value: &[u8]) -> Vec<u8> {
    if !["UC", "UR", "UT"].contains(&vr) {
        return element(tag, vr, value);
    }
    let mut bytes = element(tag, vr, b"")[..6].to_vec();
    bytes.extend([0; 2]);
    bytes.extend(u32::try_from(value.len()).expect("a value").to_le_bytes());
    bytes.extend(value);
    bytes
}

#[test]
fn trailing_nuls_give_no_warning_in_v2_if_the_value_is_valid_without() {
    for (tag, vr, value) in [
        (tags::STUDY_DATE, "DA", &b"20240101\0\0"[..]),
        (tags::MODALITY, "CS", b"CT\0\0"),
        (tags::STUDY_DESCRIPTION, "LO", b"a\0 "),
        (tags::SLICE_THICKNESS, "DS", b"1.5\0"),
        (tags::MODALITY, "CS", b"\0\0"),
    ] {
        assert_eq!(found(tag, vr, value), None, "{vr} {value:?}");
    }
    assert!(found(tags::STUDY_DESCRIPTION, "LO", b"a\0b").is_some());
    assert!(found(tags::STUDY_DATE, "DA", b"2024\0\0").is_some());
}

#[test]
fn the_number_of_values_lies_within_the_multiplicity() {
    for (tag, vr, value, count) in [
        (tags::STUDY_DESCRIPTION, "LO", &b"a\\b"[..], 2),
        (tags::IMAGE_TYPE, "CS", b"ORIGINAL", 1),
        (tags::PIXEL_SPACING, "DS", b"1", 1),
        (tags::IMAGE_POSITION_PATIENT, "DS", b"1\\2\\3\\4", 4),
        (tags::ROWS, "US", b"\x01\0\x02\0", 2),
        (tags::CONTOUR_DATA, "DS", b"1\\2\\3\\4", 4),
        (Tag(0x6002, 0x0050), "SS", b"\x01\0", 1),
    ] {
        let fault = found(tag, vr, value);
        assert!(
            matches!(fault, Some(Fault::Multiplicity { count: n, .. }) if n == count),
            "{tag}: {fault:?}"
        );
    }
    for (tag, vr, value) in [
        (tags::IMAGE_TYPE, "CS", &b"ORIGINAL\\PRIMARY\\AXIAL"[..]),
        (tags::IMAGE_TYPE, "CS", b""),
        (tags::IMAGE_TYPE, "CS", b"  "),
        (tags::MODALITIES_IN_STUDY, "CS", b"CT\\MR"),
        (tags::CONTOUR_DATA, "DS", b"1\\2\\3\\4\\5\\6"),
        (tags::IMAGE_COMMENTS, "LT", b"a\\b"),
        (Tag(0x6002, 0x0050), "SS", b"\x01\0\x01\0"),
        (Tag(0x0009, 0x1001), "LO", b"a\\b\\c"),
        (Tag(0x0008, 0x0002), "LO", b"a\\b\\c"),
    ] {
        assert_eq!(found(tag, vr, value), None, "{tag}");
    }
    let told =
        Finding { tag: tags::PIXEL_SPACING, fault: found(tags::PIXEL_SPACING, "DS", b"1").expect("one") };
    let comment = "DICOM100: (0028,0030) - The number of values is 1; the value multiplicity is 2.";
    assert_eq!(told.comment(), comment);
}

/// The metadata of what v2 stores, and what it tells.
fn stored(header: &[u8]) -> (Json, Vec<String>) {
    let accepted = check(header, Rules::V2).expect("it is stored");
    let json = metadata_without(header, &accepted.left_out).expect("a header");
    let comments = accepted.findings.iter().map(|finding| finding.tag.to_string()).collect();
    (serde_json::from_slice(&json).expect("JSON"), comments)
}

#[test]
fn precisely_the_offending_element_is_left_out_however_deep() {
    let bad = || element(tags::MODALITY, "CS", b"no code");
    let good_one = || element(tags::MODALITY, "CS", b"CT");
    let inner = sequence(tags::REQUEST_ATTRIBUTES_SEQUENCE, &[bad(), good_one()]);
    let header = [
        good_one(),
        good(),
        sequence(tags::REFERENCED_STUDY_SEQUENCE, &[[good_one(), inner].concat(), bad(), good_one()]),
        element(tags::STUDY_ID, "SH", b"S"),
    ]
    .concat();
    let (metadata, told) = stored(&header);
    assert_eq!(told, ["(0008,0060)"], "the first finding of a tag counts, wherever it is nested");
    let ct = json!({"vr": "CS", "Value": ["CT"]});
    assert_eq!(metadata["00080060"], ct, "the same tag of the dataset is right, and stays");
    assert_eq!(
        metadata["00081110"]["Value"],
        json!([
            {"00080060": ct, "00400275": {"vr": "SQ", "Value": [{}, {"00080060": ct}]}},
            {},
            {"00080060": ct},
        ])
    );
    assert_eq!(metadata["00200010"]["Value"], json!(["S"]));
}

#[test]
fn the_three_uids_of_the_dataset_are_told_but_stay() {
    let kept = [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::SOP_INSTANCE_UID];
    for tag in kept {
        let (metadata, told) = stored(&with(tag, "UI", b"1.02.3"));
        assert_eq!(told, [tag.to_string()]);
        assert_eq!(metadata[format!("{:04X}{:04X}", tag.group(), tag.element())]["Value"], json!(["1.02.3"]));
    }
    let (metadata, told) = stored(&with(tags::SOP_CLASS_UID, "UI", b"1.02.3"));
    assert_eq!((told, metadata.get("00080016")), (vec!["(0008,0016)".to_owned()], None));
    let item = element(tags::STUDY_INSTANCE_UID, "UI", b"1.02.3");
    let (metadata, told) = stored(&and(&[sequence(tags::REFERENCED_STUDY_SEQUENCE, &[item])]));
    assert_eq!(told, ["(0020,000D)"]);
    assert_eq!(metadata["0020000D"]["Value"], json!(["1.2 "]), "of the dataset itself");
    assert_eq!(metadata["00081110"]["Value"], json!([{}]));
}

#[test]
fn a_core_error_of_v2_tells_everything_that_was_found() {
    let header = [
        element(tags::MODALITY, "CS", b"no code"),
        with(tags::PATIENT_ID, "LO", b"a\x01"),
        sequence(tags::REFERENCED_STUDY_SEQUENCE, &[element(tags::STUDY_DATE, "DA", b"x")]),
    ]
    .concat();
    let invalid = check(&header, Rules::V2).expect_err("a core error");
    let told: Vec<Tag> = invalid.findings.iter().map(|finding| finding.tag).collect();
    assert_eq!(told, [tags::PATIENT_ID, tags::MODALITY, tags::STUDY_DATE]);
}

#[test]
fn several_values_of_a_checked_attribute_are_noticed() {
    let several = |header: &[u8], rules| {
        check(header, rules).map_or_else(|bad| bad.several_values, |accepted| accepted.several_values)
    };
    let described = and(&[element(tags::STUDY_DESCRIPTION, "LO", b"a\\b")]);
    assert_eq!([Rules::V1, Rules::V2].map(|rules| several(&described, rules)), [true, false]);
    assert!(check(&described, Rules::V1).is_ok(), "it is no failure");
    let patient = with(tags::PATIENT_ID, "LO", b"a\\b");
    assert_eq!([Rules::V1, Rules::V2].map(|rules| several(&patient, rules)), [true, true]);
    let other = and(&[element(tags::IMAGE_TYPE, "CS", b"A\\B")]);
    assert_eq!([Rules::V1, Rules::V2].map(|rules| several(&other, rules)), [false, false]);
    // A 0x5C byte inside of a character is no separator.
    let set = element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 13");
    let kanji = [set, and(&[element(tags::STUDY_DESCRIPTION, "LO", b"\x94\x5C")])].concat();
    assert!(!several(&kanji, Rules::V1));
}

#[test]
fn lengths_count_characters_of_the_items_own_character_set() {
    let name = |bytes: &[u8]| element(tags::PATIENT_NAME, "PN", bytes);
    let set = |term: &[u8]| element(tags::SPECIFIC_CHARACTER_SET, "CS", term);
    let cyrillic = "Д".repeat(64);
    let item = [set(b"ISO_IR 192"), name(cyrillic.as_bytes())].concat();
    let header = [set(b"ISO_IR 100"), and(&[sequence(tags::REFERENCED_STUDY_SEQUENCE, &[item])])].concat();
    assert_eq!(stored(&header).1, [""; 0], "64 characters, 128 bytes");
    // The same bytes in the set of the dataset around are 128 characters.
    let item = name(cyrillic.as_bytes());
    let header = [set(b"ISO_IR 100"), and(&[sequence(tags::REFERENCED_STUDY_SEQUENCE, &[item])])].concat();
    assert_eq!(stored(&header).1, ["(0010,0010)"]);
    // Ideographic and phonetic groups behind escapes, which are no characters.
    let kanji = b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B";
    let header = [set(b"\\ISO 2022 IR 87"), and(&[name(kanji)])].concat();
    assert_eq!(stored(&header).1, [""; 0]);
    assert!(check(&header, Rules::V1).is_ok());
}

#[test]
fn bytes_that_are_no_characters_are_told_in_v2_and_shown_as_replaced() {
    let set = |term: &[u8]| element(tags::SPECIFIC_CHARACTER_SET, "CS", term);
    let header = [set(b"ISO_IR 192"), and(&[element(tags::PATIENT_NAME, "PN", b"Doe^J\xE9")])].concat();
    let (metadata, told) = stored(&header);
    assert_eq!(told, ["(0010,0010)"]);
    assert_eq!(metadata["00100010"]["Value"], json!([{"Alphabetic": "Doe^J\u{FFFD}"}]));
    let accepted = check(&header, Rules::V1).expect("v1 has no such rule");
    assert_eq!((accepted.findings, accepted.left_out), (vec![], vec![]));
    // Where no set is declared every byte has a meaning; a value that is wrong besides is left out.
    assert_eq!(stored(&and(&[element(tags::PATIENT_NAME, "PN", b"J\xE9")])).1, [""; 0]);
    let header = [set(b"ISO_IR 192"), and(&[element(tags::STUDY_ID, "SH", b"\xE9\x01")])].concat();
    assert_eq!(stored(&header).0.get("00200010"), None);
    // PatientID too: no core error.
    let header = [set(b"ISO_IR 192"), with(tags::PATIENT_ID, "LO", b"P\xE9")].concat();
    let (metadata, told) = stored(&header);
    assert_eq!(
        (told, &metadata["00100020"]["Value"]),
        (vec!["(0010,0020)".to_owned()], &json!(["P\u{FFFD}"]))
    );
}

#[test]
fn a_long_value_of_implicit_vr_is_judged_by_the_vr_of_the_dictionary() {
    let long = "x".repeat(100_000);
    for (tag, fails) in
        [(tags::PATIENT_NAME, true), (tags::STUDY_DESCRIPTION, true), (tags::STRAIN_DESCRIPTION, false)]
    {
        let header = and(&[long_element(tag, "UC", long.as_bytes())]);
        assert_eq!(stored(&header).1.len(), usize::from(fails), "{tag}");
        assert_eq!(check(&header, Rules::V1).is_err(), fails, "{tag}");
    }
    let contour = "1.5\\".repeat(29_999) + "2";
    assert_eq!(stored(&and(&[long_element(tags::CONTOUR_DATA, "UC", contour.as_bytes())])).1, [""; 0]);
}

#[test]
fn as_many_findings_are_told_as_the_limit_says_and_all_are_left_out() {
    let bad: Vec<Vec<u8>> = (0..3000)
        .map(|n| element(Tag(0x0009 + n / 1000 * 2, 0x1000 + n % 1000), "CS", b"no code "))
        .collect();
    let header = and(&bad);
    let accepted = check(&header, Rules::V2).expect("it is stored");
    assert_eq!((accepted.findings.len(), accepted.left_out.len()), (LISTED_FINDINGS, 3000));
    assert_eq!(stored(&header).0.as_object().map(serde_json::Map::len), Some(5));
    let header = [without(tags::PATIENT_ID), bad.concat()].concat();
    let invalid = check(&header, Rules::V2).expect_err("a core error");
    assert_eq!((invalid.findings.len(), invalid.findings[0].tag), (LISTED_FINDINGS, tags::PATIENT_ID));
}

/// The texts of `trust.md` §2 in every character set: no panic, and metadata that are JSON.
#[test]
fn hostile_texts_are_judged_and_described() {
    let sets: [&[u8]; 12] = [
        b"",
        b"ISO_IR 6",
        b"ISO_IR 100",
        b"ISO_IR 192",
        b"GB18030",
        b"GBK",
        b"ISO_IR 13",
        b"\\ISO 2022 IR 87",
        b"ISO 2022 IR 6\\ISO 2022 IR 149\\ISO 2022 IR 58",
        b"ISO 2022 IR 100\\ISO 2022 IR 144",
        b"NO SUCH SET",
        b"\\\\\\",
    ];
    let long = [b'x'; 60_000];
    let texts: [&[u8]; 12] = [
        b"\x1B",
        b"a\x1B$",
        b"\x1B$B",
        b"\x1B$B;3ED",
        b"\x1B$)C\xFB",
        b"\x1B(Zx\x1B-Ly",
        b"\xFF\xFE\xFD",
        "\u{202E}enaJ^\u{2066}eoD\u{FEFF}".as_bytes(),
        "a\u{0301}\u{0301}^\u{1F468}\u{200D}\u{1F469}".as_bytes(),
        b"====^^^^^^^^====",
        b"\x81\x5C\x84\x31\x95",
        &long,
    ];
    let mut told = BTreeMap::new();
    for set in sets {
        for text in texts {
            let item = element(tags::PATIENT_NAME, "PN", text);
            let header = [
                element(tags::SPECIFIC_CHARACTER_SET, "CS", set),
                element(tags::STUDY_DESCRIPTION, "LO", text),
                element(tags::PATIENT_NAME, "PN", text),
                with(tags::PATIENT_ID, "LO", text),
                sequence(tags::REFERENCED_STUDY_SEQUENCE, &[item]),
                element(Tag(0x0040, 0xA160), "LT", text),
            ]
            .concat();
            for rules in [Rules::V1, Rules::V2] {
                match check(&header, rules) {
                    Ok(accepted) => {
                        let json = metadata_without(&header, &accepted.left_out).expect("a header");
                        serde_json::from_slice::<Json>(&json).expect("JSON");
                        *told.entry("stored").or_insert(0) += 1;
                    }
                    Err(invalid) => {
                        assert!(invalid.findings.iter().all(|finding| finding.comment().is_ascii()));
                        *told.entry("refused").or_insert(0) += 1;
                    }
                }
            }
        }
    }
    assert!(told["stored"] > 100 && told["refused"] > 20, "{told:?}");
    // Bidirectional names are names.
    let name = element(tags::PATIENT_NAME, "PN", "\u{202E}enaJ^eoD".as_bytes());
    let header = [element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 192"), and(&[name])].concat();
    assert_eq!(stored(&header).0["00100010"]["Value"][0]["Alphabetic"], "\u{202E}enaJ^eoD");
}

proptest::proptest! {
    #[test]
    fn any_bytes_have_an_answer(mut bytes: Vec<u8>, cut in 0..100_usize) {
        let _ = check(&bytes, Rules::V1);
        bytes.splice(0..0, good().into_iter().take(cut));
        let _ = check(&bytes, Rules::V2);
    }
}
