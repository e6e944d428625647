//! The tables of contract `studies.md` §4.2–4.7, row by row.

use serde_json::{Value, json};

use super::kit::{Fold, Inline, all_resources, key, metadata, partition, query, query_of, raw, uid};
use crate::base::Partition;
use crate::event::{InstanceKey, StoreMode};
use crate::projections::search::{
    Asking, Attributes, QueryError, Resource, SearchQuery, Version, Wants, compose, fields_for,
};

fn refused(resource: Resource, parameters: &[(&str, &str)]) -> QueryError {
    query_of(&resource, Version::V2, parameters).unwrap_err()
}

#[test]
fn each_attribute_is_searchable_exactly_where_the_contract_says() {
    let table = [
        ("StudyInstanceUID", "0020000D", "1.2", "yyynnn"),
        ("PatientName", "00100010", "x", "yyynnn"),
        ("PatientID", "00100020", "x", "yyynnn"),
        ("PatientBirthDate", "00100030", "20240101", "yyynnn"),
        ("AccessionNumber", "00080050", "x", "yyynnn"),
        ("ReferringPhysicianName", "00080090", "x", "yyynnn"),
        ("StudyDate", "00080020", "20240101", "yyynnn"),
        ("StudyDescription", "00081030", "x", "yyynnn"),
        ("ModalitiesInStudy", "00080061", "CT", "yyynnn"),
        ("SeriesInstanceUID", "0020000e", "1.2", "nyyyyn"),
        ("Modality", "00080060", "CT", "nyyyyn"),
        ("PerformedProcedureStepStartDate", "00400244", "20240101", "nyyyyn"),
        ("ManufacturerModelName", "00081090", "x", "nyyyyn"),
        ("SOPInstanceUID", "00080018", "1.2", "nnynyy"),
        ("StudyTime", "00080030", "1200", "yyynnn"),
        ("StudyID", "00200010", "x", "yyynnn"),
        ("SeriesNumber", "00200011", "7", "nyyyyn"),
        ("PerformedProcedureStepStartTime", "00400245", "12", "nyyyyn"),
        ("SeriesDescription", "0008103E", "x", "nyyyyn"),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009", "x", "nyyyyn"),
        ("RequestAttributesSequence.RequestedProcedureID", "00400275.00401001", "x", "nyyyyn"),
        ("InstanceNumber", "00200013", "7", "nnynyy"),
        ("SOPClassUID", "00080016", "1.2", "nnynyy"),
        ("AvailableTransferSyntaxUID", "00083002", "1.2", "nnnnnn"),
        ("SpecificCharacterSet", "00080005", "x", "nnnnnn"),
        ("TimezoneOffsetFromUTC", "00080201", "+0100", "nnnnnn"),
        ("RequestAttributesSequence", "00400275", "x", "nnnnnn"),
    ];
    for (keyword, tag, value, wanted) in table {
        for (resource, wanted) in all_resources().into_iter().zip(wanted.chars()) {
            for written in [keyword, tag] {
                let parsed = query_of(&resource, Version::V2, &[(written, value)]);
                match wanted {
                    'y' => assert!(parsed.is_ok(), "{written} on {resource:?}: {parsed:?}"),
                    _ if written.contains('.') => {
                        assert_eq!(parsed, Err(QueryError::SequencePath(written.to_owned())));
                    }
                    _ => assert_eq!(parsed, Err(QueryError::NotQueryable(written.to_owned()))),
                }
            }
        }
    }
}

#[test]
fn every_filter_error_names_what_the_client_wrote() {
    let studies = |parameters: &[(&str, &str)]| refused(Resource::AllStudies, parameters);
    let own = str::to_owned;
    assert_eq!(studies(&[("Nonsense", "x")]), QueryError::UnknownParameter(own("Nonsense")));
    assert_eq!(studies(&[("patientname", "x")]), QueryError::UnknownParameter(own("patientname")));
    assert_eq!(studies(&[("0010001", "x")]), QueryError::UnknownParameter(own("0010001")));
    assert_eq!(studies(&[("Modality", "CT")]), QueryError::NotQueryable(own("Modality")));
    assert_eq!(studies(&[("99990001", "x")]), QueryError::NotQueryable(own("99990001")));
    let twice = [("PatientID", "a"), ("PatientID", "b")];
    assert_eq!(studies(&twice), QueryError::Duplicate(own("PatientID")));
    let both = [("PatientID", "a"), ("00100020", "a")];
    assert_eq!(studies(&both), QueryError::DuplicateInOtherForm(own("00100020")));
    for blank in ["", "  "] {
        assert_eq!(studies(&[("PatientID", blank)]), QueryError::EmptyValue(own("PatientID")));
    }
    for bad in ["2024", "20240230", "2024-01-01", "20240101-x", "20240101-20240102-20240103", "today"] {
        let wanted = QueryError::BadValue {
            attribute: own("StudyDate"),
            value: own(bad),
            form: "a date yyyyMMdd, or a range of dates",
        };
        assert_eq!(studies(&[("StudyDate", bad)]), wanted);
    }
    for bad in ["-", " - ", "20240102-20240101"] {
        let wanted = QueryError::BadRange { attribute: own("00080020"), value: own(bad.trim()) };
        assert_eq!(studies(&[("00080020", bad)]), wanted);
    }
    let quoted = [("fuzzymatching", "TRUE"), ("PatientName", "a\"b")];
    assert_eq!(studies(&quoted), QueryError::QuotationMark(own("PatientName")));
    for dotted in [
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "ReferencedStudySequence.ReferencedSOPInstanceUID",
        "00400275.00400275.00400009",
        "00400275.",
        ".",
        "Nonsense.PatientID",
    ] {
        assert_eq!(studies(&[(dotted, "x")]), QueryError::SequencePath(own(dotted)));
    }
    let fixed = refused(Resource::StudySeries(uid("1.1")), &[("StudyInstanceUID", "1.1")]);
    assert_eq!(fixed, QueryError::NotQueryable(own("StudyInstanceUID")));
    for error in [studies(&[("Nonsense", "x")]), studies(&[("StudyDate", "2024")]), studies(&twice)] {
        let named =
            ["Nonsense", "StudyDate", "PatientID"].iter().any(|name| error.to_string().contains(name));
        assert!(named, "{error}");
    }
}

#[test]
fn paging_and_includes_outside_their_bounds_are_refused() {
    let studies = |parameters: &[(&str, &str)]| refused(Resource::AllStudies, parameters);
    for bad in ["0", "201", "-1", "x", "", "1.0"] {
        let (parameter, value) = ("Limit".to_owned(), bad.to_owned());
        assert_eq!(studies(&[("Limit", bad)]), QueryError::BadLimit { parameter, value });
    }
    for bad in ["-1", "x", "", "1e3", "0x1", "٣", "1.0"] {
        let (parameter, value) = ("offset".to_owned(), bad.to_owned());
        assert_eq!(studies(&[("offset", bad)]), QueryError::BadOffset { parameter, value });
    }
    for bad in ["yes", "1", ""] {
        let (parameter, value) = ("fuzzyMatching".to_owned(), bad.to_owned());
        assert_eq!(studies(&[("fuzzyMatching", bad)]), QueryError::BadFuzzyMatching { parameter, value });
    }
    for bad in ["", "Nonsense", "patientname", "0010001", "GenericGroupLength"] {
        let (parameter, value) = ("includefield".to_owned(), bad.to_owned());
        assert_eq!(studies(&[("includefield", bad)]), QueryError::BadIncludeField { parameter, value });
    }
    assert!(matches!(
        studies(&[("includefield", "PatientSex,,StudyID")]),
        QueryError::BadIncludeField { .. }
    ));
    for bad in ["ReferencedStudySequence.", ".PatientID", "00081110.Nonsense", "00081110.all"] {
        let (parameter, value) = ("includefield".to_owned(), bad.to_owned());
        assert_eq!(studies(&[("includefield", bad)]), QueryError::BadIncludeField { parameter, value });
    }
    let first = query(Resource::AllStudies, &[("LIMIT", " 7 "), ("limit", "9"), ("Offset", "0")]);
    assert_eq!((first.limit, first.offset), (7, 0));
    assert_eq!(query(Resource::AllStudies, &[]).limit, 100);
}

fn named(name: &str) -> Value {
    json!({"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}})
}

#[test]
fn values_match_as_the_contract_says_in_the_index_and_out_of_it() {
    let text = |tag: &str, vr: &str, value: &str| json!({tag: {"vr": vr, "Value": [value]}});
    let cases: [(Value, &str, &str, bool); 33] = [
        (text("00100020", "LO", "Ab-1"), "PatientID", "aB-1", true),
        (text("00100020", "LO", "Ab-1 \u{0}"), "PatientID", "ab-1  ", true),
        (text("00100020", "LO", "Ab-1"), "PatientID", "ab", false),
        (text("00100020", "LO", "Ab-1"), "PatientID", "ab*", true),
        (text("00100020", "LO", "Ab-1"), "PatientID", "?b*1", true),
        (text("00100020", "LO", "Ab-1"), "PatientID", "b*", false),
        (text("00100020", "LO", "a*"), "PatientID", "A*", true),
        (text("00100020", "LO", "a,b"), "PatientID", "a,b", true),
        (text("00100020", "LO", "Müller"), "PatientID", "MÜLLER", true),
        (text("00100020", "LO", "Müller"), "PatientID", "Muller", false),
        (named("Müller^René"), "PatientName", "muller^rene", true),
        (named("Muller^Rene"), "PatientName", "Müller^René", true),
        (named("Müller^René"), "PatientName", "Müller", false),
        (named("Müller^René"), "PatientName", "*RENE", true),
        (named("Müller^René"), "PatientName", "Muller^Rene^^^", true),
        (named("Müller^René^"), "PatientName", "Muller^Rene==", true),
        (text("00080020", "DA", "20240101"), "StudyDate", "20240101", true),
        (text("00080020", "DA", "20240101"), "StudyDate", "20231231 - 20240101", true),
        (text("00080020", "DA", "20240101"), "StudyDate", "20240101-", true),
        (text("00080020", "DA", "20240101"), "StudyDate", "-20240101", true),
        (text("00080020", "DA", "20240101"), "StudyDate", "20240102-", false),
        (text("00080020", "DA", "20240101"), "StudyDate", "-20231231", false),
        (text("00080060", "CS", "CT"), "ModalitiesInStudy", "ct", true),
        (text("00080060", "CS", "CT"), "ModalitiesInStudy", "CT\\MR", true),
        (text("00080060", "CS", "CT"), "ModalitiesInStudy", "MR, ct", true),
        (text("00080060", "CS", "CT"), "ModalitiesInStudy", "MR,C?", true),
        (text("00080060", "CS", "CT"), "ModalitiesInStudy", "MR\\US", false),
        (json!({}), "AccessionNumber", "*", true),
        (text("00080050", "SH", "A"), "AccessionNumber", "a", true),
        (text("00080090", "PN", "x"), "AccessionNumber", "a", false),
        (json!({}), "PatientID", "x", false),
        (json!({}), "StudyInstanceUID", "1.1", true),
        (json!({}), "StudyInstanceUID", "1.2", false),
    ];
    for (elements, attribute, value, wanted) in cases {
        let view = Inline::with(&[(key("1.1", "2.1", "3.1"), elements.clone())]);
        for written in [false, true] {
            if written {
                view.overlay.flush();
            }
            let found = view.search(Resource::AllStudies, &[(attribute, value)]);
            assert_eq!(found.len(), usize::from(wanted), "{elements} {attribute}={value} index={written}");
        }
    }
}

#[test]
fn fuzzy_names_match_words_side_by_side_at_once_and_from_the_index() {
    let view = Inline::with(&[(key("1.1", "2.1", "3.1"), named("John^Doe"))]);
    for written in [false, true] {
        if written {
            view.overlay.flush();
        }
        for (query, wanted) in [
            ("joh", 1),
            ("do", 1),
            ("jo do", 1),
            ("JÖ DO", 1),
            ("doe jo", 0),
            ("ohn", 0),
            ("oe", 0),
            ("^", 0),
        ] {
            let parameters = [("fuzzymatching", "true"), ("PatientName", query)];
            assert_eq!(view.search(Resource::AllStudies, &parameters).len(), wanted, "{query}");
        }
        let other = [("fuzzymatching", "true"), ("PatientID", "joh")];
        assert!(view.search(Resource::AllStudies, &other).is_empty());
    }
}

/// The keys of the one item an answer holds, computed and other, when the metadata has everything.
fn shown(resource: Resource, parameters: &[(&str, &str)], version: Version) -> (bool, Vec<String>) {
    let instance = key("1.1", "2.1", "3.1");
    let view = Inline::with(&[(instance.clone(), everything())]);
    let query = query_of(&resource, version, parameters).unwrap();
    let hits = view.find(&query).unwrap();
    let fields = fields_for(&query);
    let stored = metadata(&instance, &everything()).to_string();
    let item = compose(&hits[0], &fields, fields.need_metadata().then_some(stored.as_bytes())).unwrap();
    let item: serde_json::Map<String, Value> = serde_json::from_slice(&item).unwrap();
    (fields.need_metadata(), item.keys().cloned().collect())
}

/// An instance that has every attribute any answer could show.
fn everything() -> Value {
    let mut elements = serde_json::Map::new();
    let tags = "00080005 00080016 00080020 00080021 00080030 00080031 00080050 00080056 00080060 00080063 \
        00080090 00080201 0008103E 00081030 00081032 00081060 00081080 00081090 00081110 00100010 00100020 \
        00100030 00100040 00101010 00101020 00101030 00102180 001021B0 00110010 00111001 00200010 00200011 \
        00200013 00200060 00201206 00280008 00280010 00280011 00280100 00400244 00400245 00400275 00480001";
    for tag in tags.split_whitespace() {
        let value = match tag {
            "00080020" | "00100030" | "00400244" => json!({"vr": "DA", "Value": ["20240101"]}),
            "00100010" | "00080090" => json!({"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}),
            _ => json!({"vr": "LO", "Value": ["x"]}),
        };
        elements.insert(tag.to_owned(), value);
    }
    Value::Object(elements)
}

fn sorted(sets: &[&str]) -> Vec<String> {
    let mut tags: Vec<String> =
        sets.iter().flat_map(|set| set.split_whitespace()).map(str::to_owned).collect();
    tags.sort();
    tags.dedup();
    tags
}

const V2_STUDY: &str = "0020000D 00080020 00081030 00080050 00080090 00100010 00100020 00100030";
const V2_SERIES: &str = "0020000E 00080060 00400244 00081090";
const V2_INSTANCE: &str = "00080018";
const V1_STUDY: &str = "00080005 00080020 00080030 00080050 00080056 00080090 00080201 00100010 00100020 \
    00100030 00100040 0020000D 00200010";
const V1_SERIES: &str = "00080005 00080060 00080201 0008103E 0020000E 00400244 00400245 00400275";
const V1_INSTANCE: &str =
    "00080005 00080016 00080018 00080056 00080201 00200013 00280010 00280011 00280100 00280008";
const ALL_STUDY: &str =
    "00081030 00080063 00081032 00081060 00081080 00081110 00101010 00101020 00101030 00102180 001021B0";
const ALL_SERIES: &str = "00200011 00200060 00080021 00080031";

#[test]
fn default_sets_are_those_of_the_version_and_of_the_resources_levels() {
    let levels = ["s", "se", "sei", "e", "ei", "i"];
    let urls = ["", "", "", "0020000D", "0020000D", "0020000D 0020000E"];
    for ((resource, levels), url) in all_resources().into_iter().zip(levels).zip(urls) {
        let sets = |study: &'static str, series: &'static str, instance: &'static str| {
            let mut sets = vec![url];
            sets.extend(levels.contains('s').then_some(study));
            sets.extend(levels.contains('e').then_some(series));
            sets.extend(levels.contains('i').then_some(instance));
            sets
        };
        let (_, v2) = shown(resource.clone(), &[], Version::V2);
        assert_eq!(v2, sorted(&sets(V2_STUDY, V2_SERIES, V2_INSTANCE)), "{resource:?}");
        let (_, v1) = shown(resource.clone(), &[], Version::V1);
        let wanted = sets(V1_STUDY, V1_SERIES, V1_INSTANCE);
        assert_eq!(v1, sorted(&wanted), "{resource:?}");
        let (_, all) = shown(resource.clone(), &[("includefield", "ALL")], Version::V2);
        let mut wanted = wanted;
        wanted.extend(levels.contains('s').then_some(ALL_STUDY));
        wanted.extend(levels.contains('e').then_some(ALL_SERIES));
        assert_eq!(all, sorted(&wanted), "{resource:?}");
    }
}

#[test]
fn filtered_and_included_attributes_are_added() {
    let parameters = [
        ("ModalitiesInStudy", "x"),
        ("includefield", "PatientSex,00480001"),
        ("includefield", "NumberOfStudyRelatedInstances , 00111001"),
        ("includefield", "NumberOfStudyRelatedSeries,StudyTime,OverlayRows"),
    ];
    let (metadata, keys) = shown(Resource::AllStudies, &parameters, Version::V2);
    let more = "00080061 00100040 00480001 00201208 00111001 00201206 00080030";
    assert_eq!(keys, sorted(&[V2_STUDY, more]));
    assert!(metadata);
    let (_, both) = shown(Resource::AllStudies, &[("includefield", "all,00480001")], Version::V2);
    assert_eq!(both, sorted(&[V1_STUDY, ALL_STUDY, "00480001"]));
}

#[test]
fn only_answers_from_the_index_set_do_without_metadata() {
    let needs = |resource: Resource, includes: &str, version: Version| {
        let parameters = [("includefield", includes)];
        let parameters = if includes.is_empty() { &[][..] } else { &parameters };
        fields_for(&query_of(&resource, version, parameters).unwrap()).need_metadata()
    };
    for computed in ["", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"] {
        assert!(!needs(Resource::AllStudies, computed, Version::V2));
        assert!(!needs(Resource::AllSeries, computed, Version::V2));
    }
    assert!(!needs(Resource::StudySeries(uid("1.1")), "NumberOfSeriesRelatedInstances", Version::V2));
    assert!(!needs(Resource::StudySeriesInstances(uid("1.1"), uid("2.1")), "", Version::V2));
    for outside in ["PatientSex", "NumberOfSeriesRelatedInstances", "Modality"] {
        assert!(needs(Resource::AllStudies, outside, Version::V2), "{outside}");
    }
    assert!(needs(Resource::AllInstances, "", Version::V2));
    for resource in all_resources() {
        assert!(needs(resource, "", Version::V1));
    }
}

fn item(view: &Inline, resource: Resource, parameters: &[(&str, &str)], metadata: Option<&Value>) -> Value {
    let query = query(resource, parameters);
    let hits = view.find(&query).unwrap();
    let stored = metadata.map(Value::to_string);
    let item = compose(&hits[0], &fields_for(&query), stored.as_ref().map(String::as_bytes)).unwrap();
    serde_json::from_slice(&item).unwrap()
}

/// Two series of one study whose instances disagree.
fn disagreeing() -> [(InstanceKey, Value); 3] {
    let modality = |modality: &str, id: Option<&str>| {
        let mut elements = json!({"00080060": {"vr": "CS", "Value": [modality]}, "00100020": {"vr": "LO"}});
        if let Some(id) = id {
            elements["00100020"]["Value"] = json!([id]);
        }
        elements
    };
    let mut last = modality("CT", None);
    last["00100010"] = json!({"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]});
    [
        (key("1.1", "2.1", "3.1"), modality("MR", Some("old"))),
        (key("1.1", "2.1", "3.2"), modality("MR", Some("new"))),
        (key("1.1", "2.2", "3.3"), last),
    ]
}

#[test]
fn merged_records_answer_with_the_latest_value_that_was_not_missing() {
    let view = Inline::with(&disagreeing());
    let counts = [("includefield", "ModalitiesInStudy,NumberOfStudyRelatedInstances")];
    let wanted = json!({
        "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
        "00100020": {"vr": "LO", "Value": ["new"]},
        "0020000D": {"vr": "UI", "Value": ["1.1"]},
        "00201208": {"vr": "IS", "Value": [3]},
    });
    assert_eq!(item(&view, Resource::AllStudies, &counts, None), wanted);

    let series = [("includefield", "NumberOfSeriesRelatedInstances"), ("Modality", "MR")];
    let wanted = json!({
        "00080060": {"vr": "CS", "Value": ["MR"]},
        "0020000D": {"vr": "UI", "Value": ["1.1"]},
        "0020000E": {"vr": "UI", "Value": ["2.1"]},
        "00201209": {"vr": "IS", "Value": [2]},
    });
    assert_eq!(item(&view, Resource::StudySeries(uid("1.1")), &series, None), wanted);
}

#[test]
fn other_answers_show_the_newest_instance_with_what_is_computed_over_it() {
    let instances = disagreeing();
    let view = Inline::with(&instances);
    let parameters = [("PatientID", "new"), ("includefield", "PatientSex,NumberOfStudyRelatedInstances")];
    let query = query(Resource::AllStudies, &parameters);
    let hits = view.find(&query).unwrap();
    assert_eq!(hits[0].position().0, 2);
    let mut newest = metadata(&instances[2].0, &instances[2].1);
    newest["00201208"] = json!({"vr": "IS", "Value": [77]});
    let shown = item(&view, Resource::AllStudies, &parameters, Some(&newest));
    let wanted = json!({
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
        "0020000D": {"vr": "UI", "Value": ["1.1"]},
        "00201208": {"vr": "IS", "Value": [3]},
    });
    assert_eq!(shown, wanted);
    let bad = compose(&hits[0], &fields_for(&query), Some(b"nonsense"));
    assert!(bad.is_err());
}

#[test]
fn a_partition_sees_only_itself() {
    let (view, mut fold) = (Inline::new(), Fold::default());
    let (one, other) = (partition("A"), partition("AB"));
    let same = key("1.1", "2.1", "3.1");
    view.apply(&[fold.store(&one, &same, StoreMode::Create, &named("X"))]);
    for written in [false, true] {
        if written {
            view.overlay.flush();
        }
        let fuzzy = [("fuzzymatching", "true"), ("PatientName", "x")];
        let exact = [("PatientName", "X")];
        for parameters in [&[][..], &fuzzy, &exact] {
            for resource in all_resources() {
                let parse = |partition| {
                    let (resource, version, wants) = (&resource, Version::V2, Wants::Page);
                    let asking =
                        Asking { resource, partition, version, wants, attributes: &Attributes::core() };
                    SearchQuery::parse(asking, &raw(parameters)).ok()
                };
                let (Some(mine), Some(theirs)) = (parse(&one), parse(&other)) else { continue };
                assert_eq!(view.find(&mine).unwrap().len(), 1, "{resource:?}");
                assert!(view.find(&theirs).unwrap().is_empty(), "{resource:?}");
            }
        }
    }
}

#[test]
fn broad_filters_give_the_same_order_near_and_far() {
    let (view, mut fold) = (Inline::new(), Fold::default());
    let commits: Vec<_> = (0..2_100)
        .map(|n: u32| {
            let modality = if n < 1_050 { "MR" } else { "CT" };
            let elements = json!({"00080060": {"vr": "CS", "Value": [modality]}});
            let instance = key(&format!("1.{}", n % 7), &format!("2.{n}"), "3.1");
            fold.store(&Partition::default(), &instance, StoreMode::Create, &elements)
        })
        .collect();
    view.apply(&commits);
    for written in [false, true] {
        if written {
            view.overlay.flush();
        }
        let page = |resource: Resource, modality: &str| {
            view.search(resource, &[("Modality", modality), ("offset", "3"), ("limit", "2")])
        };
        assert_eq!(page(Resource::AllInstances, "ct"), ["1.3/2.2096/3.1", "1.2/2.2095/3.1"]);
        assert_eq!(page(Resource::AllInstances, "mr"), ["1.3/2.1046/3.1", "1.2/2.1045/3.1"]);
        assert_eq!(page(Resource::AllSeries, "ct"), ["1.3/2.2096", "1.2/2.2095"]);
        assert_eq!(page(Resource::AllSeries, "mr"), ["1.3/2.1046", "1.2/2.1045"]);
    }
}

#[test]
fn instances_are_found_by_their_sop_class_and_by_no_other() {
    let of = |class: &str| json!({"00080016": {"vr": "UI", "Value": [class]}});
    let view = Inline::with(&[
        (key("1.1", "2.1", "3.1"), of("1.2.8.1")),
        (key("1.1", "2.1", "3.2"), of("1.2.8.2")),
        (key("1.1", "2.2", "3.3"), of("1.2.8.2")),
        (key("1.2", "2.3", "3.4"), of("1.2.8.1 ")),
    ]);
    let (study, series) = (|| uid("1.1"), || uid("2.1"));
    for flushed in ["dirty", "in the index"] {
        let find = |resource, class: &str| view.search(resource, &[("SOPClassUID", class)]);
        assert_eq!(find(Resource::AllInstances, "1.2.8.1"), ["1.2/2.3/3.4", "1.1/2.1/3.1"], "{flushed}");
        assert_eq!(find(Resource::AllInstances, "1.2.8.2 "), ["1.1/2.2/3.3", "1.1/2.1/3.2"]);
        assert_eq!(find(Resource::StudyInstances(study()), "1.2.8.1"), ["1.1/2.1/3.1"]);
        assert_eq!(find(Resource::StudySeriesInstances(study(), series()), "1.2.8.2"), ["1.1/2.1/3.2"]);
        for nothing in ["1.2.8", "1.2.8.3", "1.2.8.3,1.2.8.4", "1.2.8.*", "CT"] {
            assert!(find(Resource::AllInstances, nothing).is_empty(), "{nothing}");
        }
        assert_eq!(find(Resource::AllInstances, "1.2.8.1,1.2.8.2,1.2.8.3").len(), 4);
        let both = [("00080016", "1.2.8.2"), ("SeriesInstanceUID", "2.1")];
        assert_eq!(view.search(Resource::AllInstances, &both), ["1.1/2.1/3.2"]);
        let page = [("00080016", "1.2.8.2"), ("offset", "1"), ("limit", "1")];
        assert_eq!(view.search(Resource::AllInstances, &page), ["1.1/2.1/3.2"]);
        view.overlay.flush();
    }
}

/// Beyond the classes a series names, every class may be in it; what is found is still of the class.
#[test]
fn a_series_of_very_many_sop_classes_is_searched_all_the_same() {
    let instances: Vec<_> = (1..=40)
        .map(|number| {
            let class = json!({"00080016": {"vr": "UI", "Value": [format!("1.2.{number}")]}});
            (key("1.1", "2.1", &format!("3.{number}")), class)
        })
        .collect();
    let view = Inline::with(&instances);
    for _ in ["dirty", "in the index"] {
        for number in [1, 17, 40] {
            let class = format!("1.2.{number}");
            let found = view.search(Resource::AllInstances, &[("SOPClassUID", &class)]);
            assert_eq!(found, [format!("1.1/2.1/3.{number}")]);
        }
        view.overlay.flush();
    }
}

#[test]
fn the_transfer_syntax_an_instance_is_stored_in_is_told_on_request() {
    let stored = json!({"00083002": {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.90"]}});
    let metadata = stored.to_string();
    let view = Inline::with(&[(key("1.1", "2.1", "3.1"), stored)]);
    for field in ["AvailableTransferSyntaxUID", "00083002"] {
        let query = query(Resource::StudySeriesInstances(uid("1.1"), uid("2.1")), &[("includefield", field)]);
        let fields = fields_for(&query);
        assert!(fields.need_metadata(), "they say what it can become");
        let hit = &view.find(&query).unwrap()[0];
        let item = compose(hit, &fields, Some(metadata.as_bytes())).unwrap();
        let item: Value = serde_json::from_slice(&item).unwrap();
        assert_eq!(item["00083002"], json!({"vr": "UI", "Value": ["1.2.840.10008.1.2.4.90"]}));
    }
    let plain = query_of(&Resource::AllInstances, Version::V1, &[]).unwrap();
    assert!(!format!("{:?}", fields_for(&plain)).contains(&0x0008_3002.to_string()));
}
