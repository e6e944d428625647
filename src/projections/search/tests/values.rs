//! Which stored values satisfy which filters (contract `studies.md` §4.5, §4.11), judged without a view.

use dicom_core::VR;
use serde_json::{Value, json};

use super::kit::{Fold, LEVELS, VRS, extended, extended_element, extended_tag, key, parse, uid};
use crate::base::Partition;
use crate::event::StoreMode;
use crate::projections::search::attributes::{Attributes, Level, extracted};
use crate::projections::search::matching::judge;
use crate::projections::search::names::NONE;
use crate::projections::search::rows::{InstanceRow, Newest, SeriesRow, StudyRow};
use crate::projections::search::{Resource, Version};

/// Whether an instance with these elements, alone in its study, is found.
fn found(attributes: &Attributes, elements: &Value, parameters: &[(&str, &str)]) -> bool {
    let keys = key("1.1", "2.1", "3.1");
    let commit = Fold::default().store(&Partition::default(), &keys, StoreMode::Create, elements);
    let values = extracted(&commit, attributes);
    let mut study = StudyRow::new(uid("1.1"));
    study.values = values.study;
    let mut series = SeriesRow::new(1, uid("2.1"));
    series.values = values.series;
    let position = Newest::default().position;
    let instance =
        InstanceRow { uid: uid("3.1"), position, class: NONE, syntax: NONE, values: values.instance };
    let query = parse(attributes, &Resource::AllInstances, Version::V2, parameters).unwrap();
    judge(&query.filters, &study, Some(&series), Some(&instance))
}

#[test]
fn values_of_every_vr_are_compared_at_every_level() {
    // Of these VRs, this value is found by these texts and not by those.
    type Case<'c> = (Vec<VR>, Value, &'c [&'c str], &'c [&'c str]);
    let attributes = extended();
    let text = |vrs: &[VR]| vrs.to_vec();
    let texts = [VR::AE, VR::CS, VR::LO, VR::LT, VR::SH, VR::ST, VR::UC, VR::UR, VR::UT];
    let cases: Vec<Case<'_>> = vec![
        (text(&texts), json!("Ab-1 "), &["aB-1", "ab*", "?b-?", "*1", "*"], &["ab", "b*", "ab-1*x", "?"]),
        (text(&texts), json!("Müller"), &["MÜLLER", "mu\u{308}ller", "MÜ*"], &["muller", "mu*"]),
        (text(&texts), json!("Straße"), &["STRASSE", "strass*"], &["strase"]),
        (text(&[VR::AS]), json!("033Y"), &["033y"], &["033*", "33Y"]),
        (
            text(&[VR::UI]),
            json!("1.2.3"),
            &["1.2.3", "1.2,1.2.3", "9\\\\1.2.3"],
            &["1.2", "1.2.*", "1.2,1.3"],
        ),
        (
            text(&[VR::IS, VR::SL, VR::SS, VR::UL, VR::US, VR::SV, VR::UV]),
            json!(7),
            &["7", "007", "+7"],
            &["70", "-7"],
        ),
        (text(&[VR::IS, VR::SV, VR::UV]), json!("0003"), &["3", "03"], &["30"]),
        (text(&[VR::SL, VR::SS, VR::IS]), json!(-3), &["-3", "-03"], &["3"]),
        (text(&[VR::FD, VR::FL, VR::DS]), json!(1.5), &["1.5", "15e-1", "1.50"], &["1", "1.51"]),
        (text(&[VR::DS]), json!("1.50 "), &["1.5", "15e-1"], &["1"]),
        (text(&[VR::FL]), json!(0.1), &["0.1", "0.10000000149011612"], &["0.10001"]),
        (
            text(&[VR::DA]),
            json!("20240229"),
            &["20240229", "20240229-", "-20240229", "20240101 - 20241231"],
            &["20240228", "20240301-", "-20240228"],
        ),
        (
            text(&[VR::TM]),
            json!("0930"),
            &["0930", "093000", "093000.000000", "09-", "-0930", "09-10"],
            &["09", "0931", "-09", "093000.000001-"],
        ),
        (text(&[VR::TM]), json!("093015.5"), &["093015.500", "0930-0931"], &["0930", "093015"]),
        (
            text(&[VR::DT]),
            json!("20240229101112.5+0100"),
            &["20240229101112.5", "2024-", "2024-2025", "2024022910-2024022911"],
            &["2024", "20240229091112.5", "-2024", "-20240229"],
        ),
        (text(&[VR::DT]), json!("2024"), &["2024", "202401", "20240101000000", "-2024"], &["2025", "202402"]),
    ];
    for (vrs, stored, yes, no) in cases {
        for vr in vrs {
            for (level, private) in LEVELS.into_iter().zip([false, true, true]) {
                let elements = extended_element(vr, level, private, &stored);
                let key = format!("{:08x}", extended_tag(vr, level, private));
                for (asked, wanted) in
                    yes.iter().map(|yes| (yes, true)).chain(no.iter().map(|no| (no, false)))
                {
                    let is = found(&attributes, &elements, &[(&key, asked)]);
                    assert_eq!(is, wanted, "{vr} {level:?} {stored} {asked}");
                }
            }
        }
    }
}

#[test]
fn an_absent_value_satisfies_nothing_but_a_lone_star() {
    let attributes = extended();
    for vr in VRS {
        let key = format!("{:08X}", extended_tag(vr, Level::Study, false));
        let asked = match vr {
            VR::DA => "00010101-",
            VR::TM => "00-",
            VR::DT => "0001-",
            VR::IS | VR::SL | VR::SS | VR::UL | VR::US | VR::SV | VR::UV | VR::FL | VR::FD | VR::DS => "0",
            VR::AS | VR::UI => "x",
            _ => {
                assert!(found(&attributes, &json!({}), &[(&key, "*")]), "{vr}");
                "*?"
            }
        };
        for absent in [json!({}), extended_element(vr, Level::Study, false, &json!(" "))] {
            assert!(!found(&attributes, &absent, &[(&key, asked)]), "{vr}");
        }
    }
}

#[test]
fn a_name_is_found_by_any_of_its_groups() {
    let stored = json!({"00100010": {"vr": "PN", "Value": [{
        "Alphabetic": "Yamada^Tarou^^", "Ideographic": "山田^太郎", "Phonetic": "ﾔﾏﾀﾞ^ﾀﾛｳ"
    }]}});
    let of = |value: &str, fuzzy: &str| {
        found(&Attributes::core(), &stored, &[("PatientName", value), ("fuzzymatching", fuzzy)])
    };
    for yes in [
        "yamada^tarou",
        "YAMADA^TAROU=",
        "山田^太郎",
        "ヤマダ^タロウ",
        "Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ",
        "yamada*",
        "*太郎",
        "ヤマ?^*",
        "*=山*",
        "y*=*=ヤ*",
    ] {
        assert!(of(yes, "false"), "{yes}");
    }
    for no in
        ["yamada", "tarou", "山田", "yamada^tarou=山田^太郎", "*=*=*=*", "tarou*", "*山田", "山田^太郎=*ﾔ"]
    {
        assert!(!of(no, "false"), "{no}");
    }
    // Wildcards count whatever is said of fuzzy matching, and fuzzy words may be of any group.
    for fuzzy in ["true", "any"] {
        assert!(of("*tarou*", fuzzy) && !of("tarou*", fuzzy) && of("山田 太", fuzzy) && of("tar", fuzzy));
    }
    assert!(of("太郎 yama", "any") && !of("太郎 yama", "true"));
}

#[test]
fn paths_into_one_sequence_hold_in_one_item() {
    let item = |scheduled: &str, requested: &str| {
        json!({
            "00400009": {"vr": "SH", "Value": [scheduled]},
            "00401001": {"vr": "SH", "Value": [requested]},
        })
    };
    let stored = json!({"00400275": {"vr": "SQ", "Value": [item("s1", "r1"), item("S2", "r2"), {}]}});
    let of = |scheduled: &str, requested: &str| {
        let parameters = [
            ("RequestAttributesSequence.ScheduledProcedureStepID", scheduled),
            ("00400275.RequestedProcedureID", requested),
        ];
        found(&Attributes::core(), &stored, &parameters)
    };
    assert!(of("s1", "R1") && of("s2", "r2") && of("s*", "?2") && of("*", "r1"));
    assert!(!of("s1", "r2") && !of("s2", "r1") && !of("s3", "*"));
}

#[test]
fn a_moment_lies_in_the_range_of_dates_and_times() {
    let of = |date: Option<&str>, time: Option<&str>, dates: &str, times: &str| {
        let mut stored = json!({});
        for (tag, vr, value) in [("00080020", "DA", date), ("00080030", "TM", time)] {
            if let Some(value) = value {
                stored[tag] = json!({"vr": vr, "Value": [value]});
            }
        }
        found(&Attributes::core(), &stored, &[("StudyDate", dates), ("StudyTime", times)])
    };
    let night = |date, time| of(Some(date), Some(time), "20240101-20240102", "2200-0600");
    assert!(night("20240101", "2200") && night("20240101", "235959") && night("20240102", "0600"));
    assert!(!night("20240101", "2159") && !night("20240102", "060001") && !night("20240103", "03"));
    // Noon is in the range that spans it, and in none of the two by themselves.
    assert!(of(Some("20240102"), Some("12"), "20240101-20240103", "2200-0600"));
    assert!(!of(Some("20240102"), Some("12"), "20240102", "13-14"));
    for (date, time) in [(None, Some("23")), (Some("20240101"), None), (None, None)] {
        assert!(!of(date, time, "20240101-20240102", "2200-0600"));
    }
    assert!(of(Some("20250101"), Some("01"), "20240101-", "2200-0600"));
}
