//! What the parameters of a search come to, and which are refused (contract `studies.md` §4.4, §4.11).

use std::time::Instant;

use dicom_core::VR;
use proptest::collection::vec;
use proptest::prelude::*;

use super::kit::{LEVELS, VRS, all_resources, extended, extended_tag, parse, query, query_of, raw};
use crate::base::Partition;
use crate::projections::search::attributes::{
    Attribute, AttributeId, Attributes, Compared, Level, Path, Role,
};
use crate::projections::search::glob::LONGEST_PATTERN;
use crate::projections::search::matching::{On, Test};
use crate::projections::search::query::{By, OrderBy, TagPath};
use crate::projections::search::value::{Form, form};
use crate::projections::search::{Asking, QueryError, Resource, SearchQuery, Version, Wants};

fn studies(parameters: &[(&str, &str)]) -> Result<SearchQuery, QueryError> {
    query_of(&Resource::AllStudies, Version::V2, parameters)
}

fn instances(parameters: &[(&str, &str)]) -> Result<SearchQuery, QueryError> {
    query_of(&Resource::AllInstances, Version::V2, parameters)
}

/// The tests of all filters.
fn tests(query: Result<SearchQuery, QueryError>) -> Vec<Test> {
    query.unwrap().filters.into_iter().map(|filter| filter.test).collect()
}

fn uids(texts: &[&str]) -> Vec<Form> {
    texts.iter().map(|text| form(Compared::Uid, text).unwrap()).collect()
}

fn too_many(attribute: &str, most: usize, what: &'static str) -> QueryError {
    QueryError::TooMany { attribute: attribute.to_owned(), most, what }
}

#[test]
fn uids_are_listed_by_commas_backslashes_and_repeated_keys() {
    let all = vec![Test::AnyOf(uids(&["1.1", "1.2", "1.3"]))];
    for values in [
        &["1.3,1.1,1.2"][..],
        &["1.1\\1.2\\1.3"],
        &["1.1\\\\1.2\\\\1.3\\\\"],
        &[",1.1 ,, 1.2\\,1.3,"],
        &["1.1", "1.2", "1.3"],
        &["1.1", "1.2,1.1", "", "1.3"],
    ] {
        for key in ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "0008001a", "00080016"] {
            let parameters: Vec<_> = values.iter().map(|value| (key, *value)).collect();
            if key == "0008001a" {
                // A tag that cannot be searched is no list, either.
                assert_eq!(instances(&parameters), Err(QueryError::NotQueryable(key.to_owned())));
                continue;
            }
            assert_eq!(tests(instances(&parameters)), all, "{key} {values:?}");
        }
    }
    assert_eq!(tests(studies(&[("0020000d", " 1.1,")])), [Test::Form(uids(&["1.1"]).remove(0))]);
    for empty in [",", "\\\\", " , \\"] {
        let wanted = QueryError::EmptyValue("StudyInstanceUID".to_owned());
        assert_eq!(studies(&[("StudyInstanceUID", empty)]), Err(wanted), "{empty}");
    }
    let both = [("StudyInstanceUID", "1.1"), ("0020000D", "1.2")];
    assert_eq!(studies(&both), Err(QueryError::DuplicateInOtherForm("0020000D".to_owned())));
}

#[test]
fn a_list_has_at_most_five_hundred_entries_however_it_is_written() {
    let list =
        |count: usize, between: &str| (0..count).map(|n| format!("1.{n}")).collect::<Vec<_>>().join(between);
    let refused = Err(too_many("StudyInstanceUID", 500, "values"));
    for between in [",", "\\", "\\\\", ",,"] {
        assert!(studies(&[("StudyInstanceUID", &list(500, between))]).is_ok(), "{between}");
        assert_eq!(studies(&[("StudyInstanceUID", &list(501, between))]), refused);
        assert_eq!(studies(&[("StudyInstanceUID", &list(10_000, between))]), refused);
    }
    let repeated: Vec<_> = (0..501).map(|n| format!("1.{n}")).collect();
    let repeated: Vec<_> = repeated.iter().map(|uid| ("StudyInstanceUID", uid.as_str())).collect();
    assert!(studies(&repeated[..500]).is_ok());
    assert_eq!(studies(&repeated), refused);
    let modalities = vec!["CT"; 501].join(",");
    assert_eq!(
        studies(&[("ModalitiesInStudy", &modalities)]),
        Err(too_many("ModalitiesInStudy", 500, "values"))
    );
}

#[test]
fn modalities_are_lists_in_which_wildcards_may_stand() {
    let text = |text: &str| form(Compared::Text, text).unwrap();
    let of = |value: &str| tests(studies(&[("ModalitiesInStudy", value)]));
    assert_eq!(of("CT"), [Test::Form(text("ct"))]);
    assert_eq!(of("MR\\CT,ct"), [Test::AnyOf(vec![text("ct"), text("mr")])]);
    assert!(matches!(of("C*").as_slice(), [Test::Like(_)]));
    assert!(matches!(of("C*,MR,U?").as_slice(), [Test::Either(tests)] if tests.len() == 3));
    assert_eq!(of("CT,*"), []);
    let twice = [("ModalitiesInStudy", "CT"), ("ModalitiesInStudy", "MR")];
    assert_eq!(studies(&twice), Err(QueryError::Duplicate("ModalitiesInStudy".to_owned())));
}

#[test]
fn a_date_and_a_time_given_as_ranges_are_one_range() {
    let moments = |date: &str, time: &str| {
        let found = tests(studies(&[("StudyTime", time), ("StudyDate", date)]));
        let [Test::Moments { from, to, .. }] = found.as_slice() else { panic!("{found:?}") };
        [from, to].map(|form| form.as_ref().map(|form| form.as_str().to_owned()).unwrap_or_default())
    };
    for (date, time, from, to) in [
        ("20240101-20240102", "2200-0600", "20240101220000.000000", "20240102060000.000000"),
        ("20240101-20240101", "06-07", "20240101060000.000000", "20240101070000.000000"),
        ("20240101-20240102", "-0600", "20240101000000.000000", "20240102060000.000000"),
        ("20240101-20240102", "22-", "20240101220000.000000", "20240102235960.999999"),
        ("20240101-", "2200-0600", "20240101220000.000000", ""),
        ("-20240101", "2200-0600", "", "20240101060000.000000"),
    ] {
        assert_eq!(moments(date, time), [from, to], "{date} {time}");
    }
    let step = [("00400244", "20240101-20240102"), ("PerformedProcedureStepStartTime", "22-06")];
    let found = tests(query_of(&Resource::AllSeries, Version::V2, &step));
    assert!(matches!(found.as_slice(), [Test::Moments { .. }]), "{found:?}");
    // A single time, or a single date, is matched by itself.
    for (date, time) in [("20240101-20240102", "2200"), ("20240101", "06-22"), ("20240101", "06")] {
        assert_eq!(tests(studies(&[("StudyDate", date), ("StudyTime", time)])).len(), 2);
    }
    let reversed = |attribute: &str, value: &str| {
        Err(QueryError::BadRange { attribute: attribute.to_owned(), value: value.to_owned() })
    };
    assert_eq!(studies(&[("StudyTime", "2200-0600")]), reversed("StudyTime", "2200-0600"));
    let in_a_day = [("StudyDate", "20240101-20240101"), ("00080030", "2200-0600")];
    assert_eq!(studies(&in_a_day), reversed("00080030", "2200-0600"));
    let beside_a_day = [("StudyDate", "20240101"), ("StudyTime", "2200-0600")];
    assert_eq!(studies(&beside_a_day), reversed("StudyTime", "2200-0600"));
    let days = [("StudyDate", "20240102-20240101"), ("StudyTime", "06-22")];
    assert_eq!(studies(&days), reversed("StudyDate", "20240102-20240101"));
}

#[test]
fn malformed_values_are_refused_by_their_vr() {
    let attributes = extended();
    for (vrs, good, bad) in [
        (
            &[VR::DA][..],
            &["20240229", "20240101-", "-20240101", "20240101 - 20240102"][..],
            &["2024", "20230229"][..],
        ),
        (
            &[VR::TM],
            &["09", "0930-", "-093015.5", "09-10"],
            &["9", "24", "09:30", "0930.5", "0930-0940-0950"],
        ),
        (
            &[VR::DT],
            &["2024", "202402", "20240229", "2024022923", "2024-2025", "-2024"][..],
            &["202", "20240229+0100", "20240229-0500-", "2024-2025-2026", "20240230", "2024 0100"],
        ),
        (
            &[VR::IS, VR::SL, VR::SS, VR::UL, VR::US, VR::SV, VR::UV],
            &["3", "0003", "-3", "+3"],
            &["3.0", "x", "3*", "0x3", "9223372036854775808", "1,2"],
        ),
        (&[VR::FL, VR::FD, VR::DS], &["3", "1.5e3", "-0.5", "1e-300"], &["x", "NaN", "inf", "1,5", "1*"]),
    ] {
        for vr in vrs {
            for level in LEVELS {
                let key = format!("{:08x}", extended_tag(*vr, level, level == Level::Series));
                let of =
                    |value: &str| parse(&attributes, &Resource::AllInstances, Version::V2, &[(&key, value)]);
                for good in good {
                    assert!(of(good).is_ok(), "{vr} {good}: {:?}", of(good));
                }
                for bad in bad {
                    let error = of(bad).unwrap_err();
                    let QueryError::BadValue { attribute, value, .. } = &error else {
                        panic!("{vr} {bad}: {error}")
                    };
                    assert_eq!((attribute.as_str(), value.as_str()), (key.as_str(), *bad));
                    assert!(error.to_string().contains(&key));
                }
            }
        }
    }
    for vr in [VR::DA, VR::TM, VR::DT] {
        let key = format!("{:08x}", extended_tag(vr, Level::Study, true));
        let ranges = match vr {
            VR::DA => ["-", " - ", "20240102-20240101"],
            VR::TM => ["-", " - ", "10-09"],
            _ => ["-", " - ", "2024-2023"],
        };
        for bad in ranges {
            let found = parse(&attributes, &Resource::AllStudies, Version::V2, &[(&key, bad)]);
            let (attribute, value) = (key.clone(), bad.trim().to_owned());
            assert_eq!(found, Err(QueryError::BadRange { attribute, value }));
        }
    }
}

#[test]
fn wildcards_stand_in_the_vrs_of_the_standard_and_in_no_others() {
    let attributes = extended();
    for vr in VRS {
        let key = format!("{:08X}", extended_tag(vr, Level::Study, false));
        let of = |value: &str| parse(&attributes, &Resource::AllStudies, Version::V2, &[(&key, value)]);
        match vr {
            VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT => {
                assert!(matches!(tests(of("a*b?")).as_slice(), [Test::Like(_)]), "{vr}");
                // Everything matches, and the attribute is returned.
                for everything in ["*", "***", " * "] {
                    let query = of(everything).unwrap();
                    assert_eq!(query.filters, []);
                    assert_eq!(query.filtered, [TagPath::from(extended_tag(vr, Level::Study, false))]);
                }
                assert!(of(&"?".repeat(LONGEST_PATTERN)).is_ok());
                let long = "*a".repeat(LONGEST_PATTERN / 2) + "*";
                let wanted = too_many(&key, LONGEST_PATTERN, "characters around its wildcards");
                assert_eq!(of(&long), Err(wanted), "{vr}");
                // The same text without wildcards has no longest length but the request's.
                assert!(of(&"a".repeat(5_000)).is_ok());
            }
            VR::AS | VR::UI => assert!(matches!(tests(of("a*b?")).as_slice(), [Test::Form(_)]), "{vr}"),
            _ => assert!(matches!(of("1*"), Err(QueryError::BadValue { .. })), "{vr}"),
        }
    }
}

#[test]
fn names_are_matched_as_the_parameters_say() {
    let of = |fuzzy: &str, value: &str| {
        let found = tests(studies(&[("PatientName", value), ("FuzzyMatching", fuzzy)]));
        found.into_iter().next().unwrap()
    };
    let words = || vec!["jo".to_owned(), "do".to_owned()];
    assert_eq!(of("false", "Jo^Do^"), Test::NameIs(form(Compared::Name, "jo^do").unwrap()));
    assert_eq!(of("TRUE", "Jo^Do"), Test::Words(words()));
    assert_eq!(of("Any", "Jo Do"), Test::AnyWords(words()));
    for fuzzy in ["true", "any", "false"] {
        assert!(matches!(of(fuzzy, "jo*"), Test::Like(_)), "{fuzzy}");
        let many = ["x"; 33].join(" ");
        let many = studies(&[("PatientName", &many), ("fuzzymatching", fuzzy)]);
        assert_eq!(many.is_ok(), fuzzy == "false");
        let quoted = studies(&[("ReferringPhysicianName", "a\"b*"), ("fuzzymatching", fuzzy)]);
        let wanted = QueryError::QuotationMark("ReferringPhysicianName".to_owned());
        assert_eq!(quoted.is_ok(), fuzzy == "false");
        assert!(fuzzy == "false" || quoted == Err(wanted));
    }
    assert_eq!(of("any", "^"), Test::AnyWords(Vec::new()));
}

#[test]
fn an_order_names_attributes_that_are_indexed_or_returned() {
    let order = |resource: &Resource, parameters: &[(&str, &str)]| {
        query_of(resource, Version::V2, parameters).map(|query| query.order)
    };
    let by = |by, level, compared, descending| OrderBy { by, level, compared, descending };
    let all = &Resource::AllInstances;
    let found = order(all, &[("OrderBy", "-StudyDate, PatientName,00200013,-SOPInstanceUID")]).unwrap();
    let wanted = [
        by(By::On(On::Value(AttributeId(1))), Level::Study, Compared::Date, true),
        by(By::On(On::Value(AttributeId(5))), Level::Study, Compared::Name, false),
        by(By::On(On::Value(AttributeId(18))), Level::Instance, Compared::Integer, false),
        by(By::On(On::Uid(Level::Instance)), Level::Instance, Compared::Uid, true),
    ];
    assert_eq!(found, wanted);
    let path = order(&Resource::AllSeries, &[("orderby", "00400275.ScheduledProcedureStepID")]).unwrap();
    assert!(matches!(path[0].by, By::On(On::Item { .. })));
    let included = [("includefield", "PatientSex,NumberOfStudyRelatedInstances"), ("orderby", "PatientSex")];
    let stored = order(&Resource::AllStudies, &included).unwrap();
    assert_eq!(stored, [by(By::Stored(0x0010_0040), Level::Study, Compared::Text, false)]);
    let counted = [included[0], ("orderby", "-NumberOfStudyRelatedInstances")];
    let wanted = [by(By::Computed(0x0020_1208), Level::Study, Compared::Integer, true)];
    assert_eq!(order(&Resource::AllStudies, &counted).unwrap(), wanted);
    // The study of the URL is the same for all.
    let study = Resource::StudySeries(super::kit::uid("1.1"));
    assert_eq!(order(&study, &[("orderby", "StudyInstanceUID")]), Ok(Vec::new()));

    let bad = |parameters: &[(&str, &str)], value: &str| {
        let (parameter, value) = ("orderby".to_owned(), value.to_owned());
        assert_eq!(order(&Resource::AllStudies, parameters), Err(QueryError::BadOrder { parameter, value }));
    };
    for value in [
        "",
        "Nonsense",
        "studydate",
        "--StudyDate",
        "+StudyDate",
        "Modality",
        "PatientSex",
        "NumberOfStudyRelatedInstances",
        "00400275.00400009",
        "99990001",
    ] {
        bad(&[("orderby", value)], value);
    }
    bad(&[("orderby", "StudyDate,-StudyDate")], "-StudyDate");
    bad(&[("orderby", "StudyDate"), ("orderby", "00080020")], "00080020");
    bad(&[("orderby", "ReferencedStudySequence"), ("includefield", "00081110")], "ReferencedStudySequence");
    let many = ["StudyDate"; 10_000].join(",");
    bad(&[("orderby", &many)], "StudyDate");
    let nine = "StudyDate,StudyTime,StudyID,PatientID,PatientName,PatientBirthDate,AccessionNumber,\
        StudyDescription,ReferringPhysicianName";
    assert_eq!(studies(&[("orderby", nine)]), Err(too_many("orderby", 8, "attributes")));
}

#[test]
fn a_count_takes_filters_and_no_page() {
    let of = |parameters: &[(&str, &str)]| {
        let (resource, partition, attributes) =
            (&Resource::AllStudies, &Partition::default(), &Attributes::core());
        let (version, wants) = (Version::V2, Wants::Count);
        SearchQuery::parse(Asking { resource, partition, version, wants, attributes }, &raw(parameters))
    };
    assert_eq!(of(&[("PatientID", "x"), ("fuzzymatching", "true")]).unwrap().filters.len(), 1);
    for paging in ["limit", "Offset", "orderBy"] {
        assert_eq!(of(&[(paging, "1")]), Err(QueryError::NotForCounts(paging.to_owned())));
    }
}

#[test]
fn kinds_of_matching_that_are_not_done_may_be_declined() {
    for parameter in ["emptyvaluematching", "MultipleValueMatching"] {
        assert_eq!(studies(&[(parameter, "False")]), studies(&[]));
        for value in ["true", "", "x"] {
            let (parameter, value) = (parameter.to_owned(), value.to_owned());
            let found = studies(&[(&parameter, &value)]);
            assert_eq!(found, Err(QueryError::Unsupported { parameter, value }));
        }
    }
}

#[test]
fn an_offset_beyond_everything_is_the_last() {
    for far in ["9223372036854775808", "18446744073709551616", &"9".repeat(40)] {
        let query = studies(&[("offset", far)]).unwrap();
        assert!(query.offset as u64 >= 1 << 63, "{far}");
        assert!(query.need() >= query.offset);
    }
}

#[test]
fn added_attributes_may_be_disabled_or_incomplete() {
    let added = |id: u16, tag: u32, errors: bool, enabled: bool| {
        let role = Role::Extended { errors, enabled };
        let (id, path) = (AttributeId(id), Path::One(tag));
        Attribute { id, path, creator: None, vr: VR::LO, level: Level::Study, role }
    };
    let attributes = Attributes::core().with([
        added(256, 0x0010_1010, true, true),
        added(257, 0x0010_1020, false, true),
        added(258, 0x0010_1030, true, false),
    ]);
    let of = |parameters: &[(&str, &str)]| parse(&attributes, &Resource::AllStudies, Version::V2, parameters);
    let parameters = [("00101020", "x"), ("PatientAge", "x"), ("PatientID", "x")];
    assert_eq!(of(&parameters).unwrap().erroneous(), ["PatientAge"]);
    assert_eq!(of(&[("00101010", "*")]).unwrap().erroneous(), ["00101010"]);
    assert_eq!(of(&[("PatientWeight", "x")]), Err(QueryError::Disabled("PatientWeight".to_owned())));
}

#[test]
fn what_is_included_has_paths_and_bounds() {
    let includes = |value: &str| studies(&[("includefield", value)]).map(|query| query.includes);
    let path = |tags: &[u32]| TagPath(tags.to_vec());
    let found = includes("00400275.00400009, PatientSex,RequestAttributesSequence.ScheduledProcedureStepID");
    assert_eq!(found.unwrap(), [path(&[0x0010_0040]), path(&[0x0040_0275, 0x0040_0009])]);
    let deep = |depth: usize| vec!["00081110"; depth].join(".");
    assert_eq!(includes(&deep(16)).unwrap()[0].0.len(), 16);
    for depth in [17, 1_000] {
        assert_eq!(includes(&deep(depth)), Err(too_many("includefield", 16, "tags in one path")));
    }
    let many = |count: u32| (0..count).map(|n| format!("{n:08X}")).collect::<Vec<_>>().join(",");
    assert_eq!(includes(&many(4_096)).unwrap().len(), 4_096);
    assert_eq!(includes(&many(20_000)), Err(too_many("includefield", 4_096, "attributes")));
    assert_eq!(includes(&vec!["PatientSex"; 20_000].join(",")).unwrap().len(), 1);
}

/// As many parameters as a request can hold cost time in proportion.
#[test]
fn thousands_of_parameters_are_refused_at_once() {
    let begun = Instant::now();
    let unknown: Vec<_> = (0..20_000).map(|n| (format!("Key{n}"), String::new())).collect();
    let unknown: Vec<_> = unknown.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(studies(&unknown), Err(QueryError::UnknownParameter("Key0".to_owned())));
    let same = vec![("PatientID", "x"); 20_000];
    assert_eq!(studies(&same), Err(QueryError::Duplicate("PatientID".to_owned())));
    let uids = vec![("StudyInstanceUID", "1.1"); 20_000];
    assert_eq!(studies(&uids), Err(too_many("StudyInstanceUID", 500, "values")));
    let paging = vec![("limit", "7"); 20_000];
    assert_eq!(studies(&paging).unwrap().limit, 7);
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}

#[test]
fn odd_characters_are_values_like_others() {
    for odd in ["\u{0}", "\u{1}\u{7f}", "\u{10ffff}", "\u{fffd}", "%zz", "\r\n x", "'; --", "\u{202e}"] {
        for key in ["PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"] {
            for fuzzy in ["true", "any", "false"] {
                let parsed = studies(&[(key, odd), ("fuzzymatching", fuzzy)]);
                assert!(parsed.is_ok(), "{key}={odd:?}: {parsed:?}");
            }
        }
        assert!(matches!(studies(&[("StudyDate", odd)]), Err(QueryError::BadValue { .. })));
        let unknown = Err(QueryError::UnknownParameter(odd.trim().to_owned()));
        assert_eq!(studies(&[(odd, "x")]), unknown);
    }
}

fn any_key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "00080020",
        "0020000D",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
        "ModalitiesInStudy",
        "Modality",
        "SeriesNumber",
        "InstanceNumber",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "00400275.00400009",
        "RequestAttributesSequence.RequestedProcedureID",
        "limit",
        "OFFSET",
        "fuzzymatching",
        "includefield",
        "orderby",
        "emptyvaluematching",
        "0018E005",
        "00111003",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[a-zA-Z0-9.]{0,12}", 1 => "\\PC{0,8}"]
}

fn any_value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "20240101",
        "20240101-",
        "-20240101",
        "20240101-20240102",
        "1200-1300",
        "22-06",
        "12",
        "1.2,1.3",
        "CT\\MR",
        "Doe^J*",
        "a?c",
        "*",
        "true",
        "any",
        "false",
        "all",
        "PatientSex",
        "-StudyDate,PatientName",
        "10",
        "0",
        "-5",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "[0-9*?.,\\\\^=-]{0,24}", 1 => "\\PC{0,24}", 1 => ".{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is asked is a query within its bounds, or an error that names what was written.
    #[test]
    fn any_parameters_are_a_query_or_an_error(
        resource in 0..6_usize,
        counted: bool,
        parameters in vec((any_key(), any_value()), 0..6),
    ) {
        let (partition, attributes) = (Partition::default(), extended());
        let resource = &all_resources()[resource];
        let wants = if counted { Wants::Count } else { Wants::Page };
        let asking = Asking { resource, partition: &partition, version: Version::V1, wants, attributes: &attributes };
        match SearchQuery::parse(asking, &parameters) {
            Ok(query) => {
                prop_assert!((1..=200).contains(&query.limit));
                prop_assert!(query.filters.len() <= query.filtered.len());
                let levels = resource.levels();
                prop_assert!(query.filters.iter().all(|filter| levels.contains(&filter.level)));
                prop_assert!(query.order.iter().all(|order| order.level <= resource.item()));
                // The same question again, and in another order of its keys, is the same query.
                prop_assert_eq!(SearchQuery::parse(asking, &parameters).unwrap(), query);
            }
            Err(error) => {
                let text = error.to_string();
                let named = parameters.iter().any(|(key, value)| {
                    text.contains(key.trim()) || (!value.trim().is_empty() && text.contains(value.trim()))
                });
                prop_assert!(named, "{}", text);
            }
        }
    }
}

#[test]
fn the_question_is_kept_as_it_was_asked() {
    let asked = query(Resource::AllStudies, &[("StudyID", "7"), ("includefield", "all"), ("offset", "3")]);
    assert_eq!(
        (asked.wants, asked.version, asked.offset, asked.include_all),
        (Wants::Page, Version::V2, 3, true)
    );
    assert_eq!(asked.filtered, [TagPath::from(0x0020_0010)]);
}
