//! Metadata as the contract writes it, and as the DICOM library reads it back.

use super::*;
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{DataElement, Length, PrimitiveValue, dicom_value};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const ITEM: &[u8] = b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
const ITEM_END: &[u8] = b"\xFE\xFF\x0D\xE0\0\0\0\0";
const SEQUENCE_END: &[u8] = b"\xFE\xFF\xDD\xE0\0\0\0\0";

/// One element of a header.
fn element(tag: Tag, vr: &str, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("a short value");
    let mut bytes = [tag.group().to_le_bytes(), tag.element().to_le_bytes()].concat();
    bytes.extend(vr.as_bytes());
    match ["OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UN", "UR", "UT", "UV", "ZZ"].contains(&vr) {
        true => bytes.extend([&[0, 0][..], &length.to_le_bytes()].concat()),
        false => bytes.extend(u16::try_from(length).expect("a short value").to_le_bytes()),
    }
    bytes.extend(value);
    bytes
}

fn sequence(tag: Tag, items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [tag.group().to_le_bytes(), tag.element().to_le_bytes()].concat();
    bytes.extend(b"SQ\0\0\xFF\xFF\xFF\xFF");
    for item in items {
        bytes.extend([ITEM, item, ITEM_END].concat());
    }
    bytes.extend(SEQUENCE_END);
    bytes
}

fn read(header: &[u8]) -> Json {
    let json = metadata(header).expect("a header");
    serde_json::from_slice(&json).expect("JSON")
}

/// The `Value` of one element of VR `vr`, `null` if it has none.
fn value_of(vr: &str, value: &[u8]) -> Json {
    let mut object = read(&element(Tag(0x0009, 0x1001), vr, value));
    let element = object["00091001"].take();
    assert_eq!(element["vr"], vr);
    element["Value"].clone()
}

fn in_set(set: &[u8], vr: &str, value: &[u8]) -> Json {
    let set = element(tags::SPECIFIC_CHARACTER_SET, "CS", set);
    read(&[set, element(Tag(0x0009, 0x1001), vr, value)].concat())["00091001"]["Value"].clone()
}

#[test]
fn an_element_without_a_value_has_a_vr_only() {
    for (vr, value) in [
        ("LO", &b""[..]),
        ("LO", b"  "),
        ("UI", b"\0"),
        ("PN", b""),
        ("PN", b"=="),
        ("DS", b" "),
        ("US", b""),
        ("UT", b""),
        ("FD", b""),
        ("AT", b""),
        ("UR", b""),
    ] {
        assert_eq!(read(&element(Tag(0x0009, 0x1001), vr, value)), json!({"00091001": {"vr": vr}}), "{vr}");
    }
    assert_eq!(read(&sequence(Tag(0x0008, 0x1140), &[])), json!({"00081140": {"vr": "SQ"}}));
    assert_eq!(read(b""), json!({}));
}

#[test]
fn an_empty_value_among_others_is_null() {
    assert_eq!(value_of("CS", b"ORIGINAL\\\\AXIAL"), json!(["ORIGINAL", null, "AXIAL"]));
    assert_eq!(value_of("CS", b"\\"), json!([null, null]));
    assert_eq!(value_of("DS", b"1.5\\ \\"), json!([1.5, null, null]));
    assert_eq!(value_of("PN", b"A\\\\B"), json!([{"Alphabetic": "A"}, null, {"Alphabetic": "B"}]));
    assert_eq!(value_of("UI", b"1.2\\\0"), json!(["1.2", null]));
}

#[test]
fn names_have_their_groups_that_are_not_empty() {
    assert_eq!(value_of("PN", b"Doe^Jane "), json!([{"Alphabetic": "Doe^Jane"}]));
    assert_eq!(
        in_set(b"ISO_IR 192", "PN", "Yamada^Tarou=山田^太郎=やまだ^たろう".as_bytes()),
        json!([{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}])
    );
    assert_eq!(value_of("PN", b"==C"), json!([{"Phonetic": "C"}]));
    assert_eq!(value_of("PN", b"=B="), json!([{"Ideographic": "B"}]));
    assert_eq!(
        value_of("PN", b"A=B=C=D"),
        json!([{"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C=D"}])
    );
}

#[test]
fn numbers_are_numbers_if_every_one_of_an_element_is() {
    assert_eq!(value_of("IS", b" 12\\-7 "), json!([12, -7]));
    assert_eq!(value_of("IS", b"12\\1.5"), json!(["12", "1.5"]));
    assert_eq!(value_of("DS", b"0.5\\nan"), json!(["0.5", "nan"]));
    assert_eq!(value_of("SV", &i64::MIN.to_le_bytes()), json!([i64::MIN]));
    assert_eq!(value_of("UV", &u64::MAX.to_le_bytes()), json!([u64::MAX]));
    assert_eq!(value_of("US", b"\x01\x00\xFF\xFF"), json!([1, 65535]));
    assert_eq!(value_of("SS", b"\xFF\xFF"), json!([-1]));
    assert_eq!(value_of("UL", b"\xFF\xFF\xFF\xFF"), json!([u32::MAX]));
    assert_eq!(value_of("SL", b"\xFF\xFF\xFF\xFF"), json!([-1]));
    assert_eq!(value_of("FL", &0.1_f32.to_le_bytes()), json!([0.1]));
    assert_eq!(value_of("FD", &1e300_f64.to_le_bytes()), json!([1e300]));
    assert_eq!(value_of("AT", b"\x28\x00\x0A\xE1\x10\x00\x10\x00"), json!(["0028E10A", "00100010"]));
}

#[test]
fn the_digits_of_a_decimal_string_are_those_of_the_file() {
    let json = metadata(&element(Tag(0x0018, 0x0050), "DS", b"1.2500")).expect("a header");
    assert_eq!(String::from_utf8(json), Ok(r#"{"00180050":{"vr":"DS","Value":[1.2500]}}"#.to_owned()));
}

#[test]
fn what_json_has_no_number_for_is_named() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2.0].map(f64::to_le_bytes).concat();
    assert_eq!(value_of("FD", &values), json!(["NaN", "inf", "-inf", 2.0]));
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0].map(f32::to_le_bytes).concat();
    assert_eq!(value_of("FL", &values), json!(["NaN", "inf", "-inf", 2.0]));
}

#[test]
fn a_number_cut_off_is_left_out() {
    assert_eq!(value_of("US", b"\x01\x00\x02"), json!([1]));
    assert_eq!(value_of("FD", b"\x01\x00\x02"), Json::Null);
}

#[test]
fn padding_goes_and_nuls_stay_except_in_uids() {
    assert_eq!(value_of("LO", b" a \\b  "), json!([" a", "b"]));
    assert_eq!(value_of("LO", b"a\0\0"), json!(["a\0\0"]));
    assert_eq!(value_of("UI", b"1.2.3\0"), json!(["1.2.3"]));
    assert_eq!(value_of("UI", b"1.2.3 "), json!(["1.2.3 "]));
    assert_eq!(value_of("LT", b" a\\b\r\n "), json!([" a\\b\r\n"]));
    assert_eq!(value_of("UR", b"http://a/b?c=\\ "), json!(["http://a/b?c=\\"]));
}

#[test]
fn group_lengths_bulk_data_and_unknown_vrs_are_absent_at_every_depth() {
    let absent: Vec<u8> = ["OB", "OD", "OF", "OL", "OV", "OW", "UN", "ZZ"]
        .iter()
        .zip(1..)
        .flat_map(|(vr, n)| element(Tag(0x0009, 0x1000 + n), vr, b"12345678"))
        .chain(element(Tag(0x0010, 0x0000), "UL", b"\0\0\0\0"))
        .chain(element(Tag(0x0002, 0x0010), "UI", b"1.2"))
        .collect();
    let header = [absent.clone(), sequence(Tag(0x0040, 0xA730), &[absent, Vec::new()])].concat();
    assert_eq!(read(&header), json!({"0040A730": {"vr": "SQ", "Value": [{}, {}]}}));
}

#[test]
fn private_attributes_with_a_known_vr_are_present() {
    let header =
        [element(Tag(0x0009, 0x0010), "LO", b"ACME"), element(Tag(0x0009, 0x10FF), "DS", b"2")].concat();
    assert_eq!(
        read(&header),
        json!({"00090010": {"vr": "LO", "Value": ["ACME"]}, "000910FF": {"vr": "DS", "Value": [2]}})
    );
}

#[test]
fn keys_ascend_and_the_last_of_two_equal_ones_counts() {
    let header = [
        element(Tag(0x0010, 0x0020), "LO", b"first "),
        element(Tag(0x0008, 0x0060), "CS", b"CT"),
        element(Tag(0x0010, 0x0020), "LO", b"a\"}],{\\\\"),
        element(Tag(0x0008, 0x0005), "CS", b"ISO_IR 100"),
        sequence(Tag(0x0008, 0x0006), &[element(Tag(0x0008, 0x0060), "CS", b"A\\B"), Vec::new()]),
    ]
    .concat();
    let json = String::from_utf8(metadata(&header).expect("a header")).expect("UTF-8");
    assert_eq!(
        json,
        concat!(
            r#"{"00080005":{"vr":"CS","Value":["ISO_IR 100"]},"#,
            r#""00080006":{"vr":"SQ","Value":[{"00080060":{"vr":"CS","Value":["A","B"]}},{}]},"#,
            r#""00080060":{"vr":"CS","Value":["CT"]},"#,
            r#""00100020":{"vr":"LO","Value":["a\"}],{",null,null]}}"#,
        )
    );
}

#[test]
fn precisely_the_elements_at_the_offsets_are_left_out() {
    let id = |id: &[u8]| element(tags::PATIENT_ID, "LO", id);
    let items = [id(b"P1"), [id(b"P2"), element(tags::PATIENT_SEX, "CS", b"F ")].concat()];
    let header = [
        element(Tag(0x0008, 0x0060), "CS", b"CT"),
        id(b"P0"),
        sequence(Tag(0x0010, 0x1002), &items),
        element(Tag(0x0020, 0x0010), "SH", b"S1"),
    ]
    .concat();
    let at = |needle: &[u8]| {
        let value = header.windows(2).position(|bytes| bytes == needle).expect("it is there");
        value - 8
    };
    let (modality, id_0, id_1, id_2) = (at(b"CT"), at(b"P0"), at(b"P1"), at(b"P2"));
    let (sex, study_id) = (at(b"F "), at(b"S1"));
    let without = |left_out: &[usize]| {
        let json = metadata_without(&header, left_out).expect("a header");
        serde_json::from_slice::<Json>(&json).expect("JSON")
    };
    let whole = read(&header);
    assert_eq!(without(&[]), whole);
    assert_eq!(without(&[1, 9, header.len(), header.len() + 7]), whole, "where no element begins");

    let changed = |change: &dyn Fn(&mut Json)| {
        let mut expected = whole.clone();
        change(&mut expected);
        expected
    };
    let remove = |json: &mut Json, tag: &str| drop(json.as_object_mut().expect("an object").remove(tag));
    let top = changed(&|json| remove(json, "00100020"));
    assert_eq!(without(&[id_0]), top);
    let nested = changed(&|json| remove(&mut json["00101002"]["Value"][1], "00100020"));
    assert_eq!(without(&[id_2]), nested);
    let emptied = changed(&|json| json["00101002"]["Value"] = json!([{}, {}]));
    assert_eq!(without(&[id_1, id_2, sex]), emptied);
    let sequence_at = header.windows(2).position(|bytes| bytes == b"SQ").expect("it is there") - 4;
    let no_sequence = changed(&|json| {
        remove(json, "00101002");
        remove(json, "00200010");
    });
    assert_eq!(without(&[sequence_at, id_2, study_id]), no_sequence);
    let all = [modality, id_0, sequence_at, id_1, id_2, sex, study_id];
    assert_eq!(metadata_without(&header, &all), Ok(b"{}".to_vec()));
}

#[test]
fn the_character_set_governs_text_and_is_itself_passed_through() {
    let header = element(tags::SPECIFIC_CHARACTER_SET, "CS", b"\\ISO 2022 IR 87 ");
    assert_eq!(read(&header)["00080005"], json!({"vr": "CS", "Value": [null, "ISO 2022 IR 87"]}));
    for vr in ["SH", "LO", "UC", "ST", "LT", "UT"] {
        assert_eq!(in_set(b"ISO_IR 144", vr, b"\xBB\xEE"), json!(["Лю"]), "{vr}");
    }
    assert_eq!(in_set(b"ISO_IR 13", "LO", b"\x94\x5C\\b"), json!(["能", "b"]));
    assert_eq!(in_set(b"ISO_IR 192", "LO", b"a\xFF\xFE"), json!(["a\u{FFFD}\u{FFFD}"]));
    assert_eq!(in_set(b"", "LO", "é".as_bytes()), json!(["é"]));
    assert_eq!(in_set(b"ISO_IR 0", "LO", b"\xE9"), json!(["é"]));
}

#[test]
fn an_item_inherits_the_character_set_and_may_have_its_own() {
    let text = |bytes| element(Tag(0x0009, 0x1001), "LO", bytes);
    let own = [element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 101"), text(b"\xA3")].concat();
    let header = [
        element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 144"),
        sequence(Tag(0x0008, 0x1140), &[text(b"\xBB"), own, text(b"\xBB")]),
        text(b"\xBB"),
    ]
    .concat();
    let json = read(&header);
    let items = json["00081140"]["Value"].as_array().expect("items");
    let texts: Vec<&Json> = items.iter().map(|item| &item["00091001"]["Value"][0]).collect();
    assert_eq!(texts, ["Л", "Ł", "Л"]);
    assert_eq!(json["00091001"]["Value"], json!(["Л"]));
}

#[test]
fn a_value_too_long_for_its_length_field_has_the_vr_of_the_dictionary() {
    let long = "1.5\\".repeat(20_000) + "2";
    let json = read(&element(Tag(0x3006, 0x0050), "UC", long.as_bytes()));
    assert_eq!(json["30060050"]["vr"], "DS");
    assert_eq!(json["30060050"]["Value"][20_000], json!(2));
    let json = read(&element(Tag(0x0009, 0x1001), "UC", long.as_bytes()));
    assert_eq!(json["00091001"]["vr"], "UC");
}

#[test]
fn nesting_is_followed_to_the_scanners_limit_and_no_further() {
    let nested = |depth| (0..depth).fold(Vec::new(), |inner, _| sequence(Tag(0x0040, 0xA730), &[inner]));
    assert!(metadata(&nested(MAX_DEPTH)).is_ok());
    assert!(metadata(&nested(MAX_DEPTH + 1)).is_err());
    let endless = sequence(Tag(0x0040, 0xA730), &[])[..12].to_vec().into_iter().chain(ITEM.iter().copied());
    let endless: Vec<u8> = endless.cycle().take(2_000_000).collect();
    assert!(metadata(&endless).is_err());
}

#[test]
fn delimiters_out_of_place_are_no_header() {
    for header in [ITEM, ITEM_END, SEQUENCE_END] {
        assert_eq!(metadata(header), Err(Malformed { offset: 8 }));
    }
    let whole = sequence(Tag(0x0040, 0xA730), &[element(Tag(0x0009, 0x1001), "LO", b"x")]);
    for cut in 1..whole.len() {
        assert!(metadata(&whole[..cut]).is_err(), "cut at {cut}");
    }
}

/// What the DICOM library reads of the same bytes, beside our JSON as the library reads it.
fn judged(header: &[u8]) -> (InMemDicomObject, InMemDicomObject) {
    let syntax = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let from_bytes = InMemDicomObject::read_dataset_with_ts(header, &syntax).expect("the library reads it");
    let json = metadata(header).expect("a header");
    (from_bytes, dicom_json::from_slice(&json).expect("the library reads the JSON"))
}

/// Both say the same: tags, VRs, items, and values without their padding.
fn assert_agree(ours: &InMemDicomObject, library: &InMemDicomObject) {
    let tags =
        |object: &InMemDicomObject| object.iter().map(|e| (e.header().tag, e.vr())).collect::<Vec<_>>();
    assert_eq!(tags(ours), tags(library));
    for (a, b) in ours.iter().zip(library) {
        match (a.items(), b.items()) {
            (Some(a), Some(b)) => {
                assert_eq!(a.len(), b.len());
                a.iter().zip(b).for_each(|(a, b)| assert_agree(a, b));
            }
            _ if matches!(a.vr(), VR::DS | VR::IS | VR::FL | VR::FD) && numbers_agree(a, b) => {}
            _ => assert_eq!(texts(a), texts(b), "{:?}", a.header()),
        }
    }
}

/// The numbers of an element that holds such, within what the library's JSON reader can round wrongly.
fn numbers_agree(a: &InMemElement, b: &InMemElement) -> bool {
    match (a.to_multi_float64(), b.to_multi_float64()) {
        (Ok(a), Ok(b)) => {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= a.abs() * 4.0 * f64::EPSILON;
            a.len() == b.len() && a.iter().zip(&b).all(close)
        }
        _ => false,
    }
}

/// The text without padding, cut at each backslash: the library does so for some single-valued VRs too.
fn texts(element: &InMemElement) -> Vec<String> {
    let texts = element.value().primitive().map(PrimitiveValue::to_multi_str).unwrap_or_default();
    texts.join("\\").split('\\').map(|text| text.trim_end_matches([' ', '\0']).to_owned()).collect()
}

fn of(tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> InMemElement {
    DataElement::new(tag, vr, value.into())
}

#[test]
fn the_library_reads_our_json_as_it_reads_the_file() {
    let item = InMemDicomObject::from_element_iter([
        of(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5"),
        of(tags::CODE_VALUE, VR::SH, "A"),
    ]);
    let items = DataSetSequence::new(vec![item, InMemDicomObject::new_empty()], Length::UNDEFINED);
    let object = InMemDicomObject::from_element_iter([
        of(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        of(tags::IMAGE_TYPE, VR::CS, dicom_value!(Strs, ["ORIGINAL", "PRIMARY", "AXIAL"])),
        of(tags::STUDY_DATE, VR::DA, "20250211"),
        of(tags::STUDY_TIME, VR::TM, "081530.25"),
        of(tags::ACQUISITION_DATE_TIME, VR::DT, "20250211081530.25+0100"),
        of(tags::RETRIEVE_AE_TITLE, VR::AE, "ARCHIVE"),
        of(tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        InMemElement::new(tags::REFERENCED_IMAGE_SEQUENCE, VR::SQ, Value::Sequence(items)),
        of(tags::PATIENT_NAME, VR::PN, "Müller^Jörg"),
        of(tags::PATIENT_AGE, VR::AS, "030Y"),
        of(tags::SLICE_THICKNESS, VR::DS, dicom_value!(Strs, ["0.50", "-1e3"])),
        of(tags::INSTANCE_NUMBER, VR::IS, "7"),
        of(tags::IMAGE_COMMENTS, VR::LT, "one\r\ntwo\\three"),
        of(tags::ROWS, VR::US, 512_u16),
        of(tags::SIMPLE_FRAME_LIST, VR::UL, dicom_value!(U32, [1, 70_000])),
        of(tags::FRAME_INCREMENT_POINTER, VR::AT, dicom_value!(Tags, [Tag(0x0018, 0x1063)])),
        of(tags::EVENT_TIME_OFFSET, VR::FD, 0.1_f64),
        of(tags::RECOMMENDED_DISPLAY_FRAME_RATE_IN_FLOAT, VR::FL, 12.5_f32),
        of(tags::REFERENCE_PIXEL_X0, VR::SL, -3_i32),
        of(tags::SELECTOR_SV_VALUE, VR::SV, dicom_value!(I64, [-1, 5])),
        of(tags::SELECTOR_UV_VALUE, VR::UV, dicom_value!(U64, [7])),
        of(tags::SELECTOR_UC_VALUE, VR::UC, "one\\two"),
        of(tags::SELECTOR_UR_VALUE, VR::UR, "http://example.org/a"),
        of(Tag(0x0009, 0x0010), VR::LO, "ACME"),
        of(Tag(0x0009, 0x1001), VR::SS, -2_i16),
    ]);
    let mut header = Vec::new();
    object.write_dataset_with_ts(&mut header, &EXPLICIT_VR_LITTLE_ENDIAN.erased()).expect("a dataset");

    let (library, ours) = judged(&header);
    assert_agree(&ours, &library);
    assert_eq!(ours.iter().count(), 25);
}

fn any_dataset(depth: u32) -> BoxedStrategy<Vec<(u16, Content)>> {
    let text = || prop::collection::vec("[ -\\[\\]-~é]{0,8}", 0..4);
    let leaf = prop_oneof![
        (Just(VR::LO), text()).prop_map(|(vr, texts)| Content::Texts(vr, texts)),
        (Just(VR::CS), prop::collection::vec("[A-Z0-9_]{0,8}", 0..4))
            .prop_map(|(vr, t)| Content::Texts(vr, t)),
        prop::collection::vec("[+-]?[0-9]{1,5}\\.?[0-9]{0,3}", 0..4).prop_map(|t| Content::Texts(VR::DS, t)),
        prop::collection::vec("[0-9]{1,7}", 0..3).prop_map(|t| Content::Texts(VR::IS, t)),
        text().prop_map(|t| Content::Texts(VR::UT, t)),
        prop::collection::vec(any::<u16>(), 0..4).prop_map(Content::Numbers),
        prop::collection::vec(any::<f32>().prop_map(f64::from), 0..3).prop_map(Content::Floats),
    ];
    let content = match depth {
        0 => leaf.boxed(),
        _ => prop_oneof![
            4 => leaf,
            1 => prop::collection::vec(any_dataset(depth - 1), 0..3).prop_map(Content::Items),
        ]
        .boxed(),
    };
    prop::collection::btree_map(0x1000..0x1100_u16, content, 0..8)
        .prop_map(|map| map.into_iter().collect())
        .boxed()
}

#[derive(Clone, Debug)]
enum Content {
    Texts(VR, Vec<String>),
    Numbers(Vec<u16>),
    Floats(Vec<f64>),
    Items(Vec<Vec<(u16, Content)>>),
}

fn encoded(dataset: &[(u16, Content)]) -> Vec<u8> {
    let each = dataset.iter().flat_map(|(number, content)| {
        let tag = Tag(0x0009, *number);
        match content {
            Content::Texts(vr, texts) => element(tag, (*vr).to_string(), texts.join("\\").as_bytes()),
            Content::Numbers(numbers) => {
                element(tag, "US", &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>())
            }
            Content::Floats(floats) => {
                element(tag, "FD", &floats.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>())
            }
            Content::Items(items) => {
                sequence(tag, &items.iter().map(|item| encoded(item)).collect::<Vec<_>>())
            }
        }
    });
    each.collect()
}

proptest! {
    #[test]
    fn any_dataset_reads_alike_from_json_and_from_the_file(dataset in any_dataset(3)) {
        let set = element(tags::SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 192");
        let (library, ours) = judged(&[set, encoded(&dataset)].concat());
        assert_agree(&ours, &library);
    }

    #[test]
    fn any_bytes_have_an_answer_and_what_is_written_is_json(bytes: Vec<u8>, dataset in any_dataset(2), at: usize) {
        let _ = metadata(&bytes);
        let mut damaged = encoded(&dataset);
        let at = at % (damaged.len() + 1);
        damaged.splice(at..at, bytes);
        if let Ok(json) = metadata(&damaged) {
            prop_assert!(serde_json::from_slice::<Json>(&json).is_ok());
            prop_assert!(json.len() <= 6 * damaged.len() + 2);
        }
    }
}
