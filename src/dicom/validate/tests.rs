//! Required attributes: missing, empty, doubled, wrong.

use super::*;

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

fn refused(header: &[u8], rules: Rules) -> Option<Tag> {
    let findings = required(header, None, rules).err()?.findings;
    assert_eq!(findings.len(), 1, "only the first problem is reported");
    findings.first().map(|finding| finding.tag)
}

#[test]
fn an_identity_has_canonical_uids_beside_those_received() {
    for rules in [Rules::V1, Rules::V2] {
        let identity = required(&good(), None, rules).expect("nothing is wrong with it");
        assert_eq!(identity.sop_class, "1.2.840.10008.5.1.4.1.1.7");
        assert_eq!(identity.study.as_str(), "1.2");
        assert_eq!(identity.series.as_str(), "1.2.3");
        assert_eq!(identity.instance.as_str(), "1.2.3.4");
        assert_eq!(identity.received, ["1.2 ", "1.2.3", "1.2.3.4"]);
        assert_eq!(identity.warnings, []);
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
        let comment =
            required(&without(tag), None, Rules::V2).expect_err("it is missing").findings[0].comment();
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
    let invalid = required(&without(tags::PATIENT_ID), Some(&other), Rules::V1).expect_err("not this study");
    assert_eq!(invalid.findings[0].tag, tags::STUDY_INSTANCE_UID, "the study match comes before PatientID");
    let invalid =
        required(&without(tags::SOP_INSTANCE_UID), Some(&other), Rules::V1).expect_err("no instance");
    assert_eq!(invalid.findings[0].tag, tags::SOP_INSTANCE_UID, "and after the UIDs");
}

#[test]
fn the_study_of_the_request_matches_whatever_the_padding() {
    let same = Uid::parse("1.2   ").expect("a UID");
    assert!(required(&good(), Some(&same), Rules::V1).is_ok());
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
    assert_eq!(
        required(&uid, None, Rules::V2).map(|identity| identity.received[1].clone()),
        Ok("1.2.3".into())
    );

    let patient = with(tags::PATIENT_ID, "LO", b"P1\0\0");
    assert_eq!(refused(&patient, Rules::V1), Some(tags::PATIENT_ID));
    assert_eq!(required(&patient, None, Rules::V2).map(|identity| identity.warnings), Ok(vec![]));
}

#[test]
fn a_patient_id_without_a_value_is_refused_in_v1_and_a_warning_in_v2() {
    for value in [&b""[..], b"  ", b"A\\B"] {
        let header = with(tags::PATIENT_ID, "LO", value);
        assert_eq!(refused(&header, Rules::V1), Some(tags::PATIENT_ID));
        let warnings = required(&header, None, Rules::V2).expect("stored with a warning").warnings;
        let comments: Vec<String> = warnings.iter().map(Finding::comment).collect();
        assert_eq!(comments, ["DICOM100: (0010,0020) - The required tag '(0010,0020)' is missing."]);
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
    let invalid =
        required(&with(tags::SOP_INSTANCE_UID, "UI", b"no uid"), None, Rules::V1).expect_err("no UID");
    assert_eq!(invalid.sop_class.as_deref(), Some("1.2.840.10008.5.1.4.1.1.7"));
    assert_eq!(invalid.instance.as_deref(), Some("no uid"));
    let invalid = required(&without(tags::SOP_CLASS_UID), None, Rules::V1).expect_err("no class");
    assert_eq!((invalid.sop_class, invalid.instance.as_deref()), (None, Some("1.2.3.4")));
}

#[test]
fn only_the_top_level_counts() {
    let mut nested = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF".to_vec();
    nested.extend(element(tags::SERIES_INSTANCE_UID, "UI", b"6.6.6"));
    nested.extend(b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0");
    let before = [nested.clone(), good()].concat();
    assert_eq!(
        required(&before, None, Rules::V1).map(|identity| identity.series.to_string()),
        Ok("1.2.3".into())
    );
    let instead = [without(tags::SERIES_INSTANCE_UID), nested].concat();
    assert_eq!(refused(&instead, Rules::V1), Some(tags::SERIES_INSTANCE_UID));
}

proptest::proptest! {
    #[test]
    fn any_bytes_have_an_answer(mut bytes: Vec<u8>, cut in 0..100_usize) {
        let _ = required(&bytes, None, Rules::V1);
        bytes.splice(0..0, good().into_iter().take(cut));
        let _ = required(&bytes, None, Rules::V2);
    }
}
