//! The files of the kit are what they say they are.

use std::path::PathBuf;

use dicom_core::Tag;
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use dicom_transfer_syntax_registry::entries::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

use crate::kit::dicom::{
    self, DEFLATED, EXPLICIT_BIG, Element, Family, GE_IMPLICIT, Image, Instance, PATIENT_ID, PIXEL_DATA,
    SERIES_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_UID, Value,
};

fn read(file: &[u8]) -> DefaultDicomObject {
    dicom_object::from_reader(file).expect("the DICOM library reads it")
}

fn text(object: &InMemDicomObject, tag: u32) -> String {
    let [a, b, c, d] = tag.to_be_bytes();
    let tag = Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    object.element(tag).map(|e| e.to_str().map(Into::into).unwrap_or_default()).unwrap_or_default()
}

/// To write the files anew, run this with `UPDATE_FIXTURES=1`.
#[test]
fn the_tutorials_files_are_those_checked_in() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/dicom");
    for (name, instance) in [
        ("red-triangle.dcm", dicom::red_triangle()),
        ("green-square.dcm", dicom::green_square()),
        ("blue-circle.dcm", dicom::blue_circle()),
    ] {
        let (path, file) = (folder.join(name), instance.part10());
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&path, &file).expect("the folder is there");
        }
        let stored = std::fs::read(&path).expect("the file is checked in");
        assert!(stored == file, "{name} is not what the kit writes");
    }
}

#[test]
fn the_tutorials_files_have_the_properties_the_contract_names() {
    let [red, green, blue] =
        [dicom::red_triangle(), dicom::green_square(), dicom::blue_circle()].map(|i| read(&i.part10()));
    for object in [&red, &green, &blue] {
        assert_eq!(text(object, STUDY_UID), dicom::STUDY);
        assert_eq!(object.meta().transfer_syntax(), dicom::EXPLICIT_LITTLE);
        let pixels = object.element_by_name("PixelData").expect("it has pixels").to_bytes().expect("bytes");
        assert_eq!(pixels.len(), 75 * 75 * 3 + 1, "an odd frame is padded");
        let empty = object.iter().filter(|e| e.value().to_str().is_ok_and(|text| text.is_empty())).count();
        assert!(empty >= 5);
    }
    assert_eq!(text(&red, SERIES_UID), dicom::SERIES);
    assert_eq!(text(&green, SERIES_UID), dicom::SERIES);
    assert_ne!(text(&blue, SERIES_UID), dicom::SERIES);
}

/// What the library reads of a family, in whatever way it can.
fn dataset(family: &Family) -> InMemDicomObject {
    // Behind preamble, prefix and group length stand that many bytes of meta group.
    let group = u32::from_le_bytes(*family.part10[140..].first_chunk().expect("a file"));
    let dataset = &family.part10[144 + group as usize..];
    let explicit = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    match family.transfer_syntax.as_str() {
        DEFLATED => {
            let inflated = flate2::read::DeflateDecoder::new(dataset);
            InMemDicomObject::read_dataset_with_ts(inflated, &explicit).expect("readable when inflated")
        }
        GE_IMPLICIT => InMemDicomObject::read_dataset_with_ts(dataset, &IMPLICIT_VR_LITTLE_ENDIAN.erased())
            .expect("readable as implicit"),
        private if private.starts_with("1.2.826.") => {
            InMemDicomObject::read_dataset_with_ts(dataset, &explicit).expect("readable as explicit")
        }
        _ => read(&family.part10).into_inner(),
    }
}

#[test]
fn every_family_is_read_by_the_library_with_the_frames_expected() {
    let families = dicom::families();
    let names: std::collections::BTreeSet<&str> =
        families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names.len(), families.len(), "names tell families apart");
    for family in &families {
        let object = dataset(family);
        let element = object.element_by_name("PixelData").expect("every family has pixels");
        if let Some(fragments) = element.value().fragments() {
            let stored: Vec<u8> = fragments.iter().flatten().copied().collect();
            assert!(family.frames.is_empty() || stored == family.frames.concat(), "{}", family.name);
        } else if !family.name.contains("1 bit") {
            // The library gives words of big-endian files in little endian.
            let mut stored = element.to_bytes().expect("bytes").into_owned();
            if family.transfer_syntax == EXPLICIT_BIG && family.name.contains("16 bit") {
                stored.chunks_exact_mut(2).for_each(<[u8]>::reverse);
            }
            assert!(stored.starts_with(&family.frames.concat()), "{}", family.name);
            assert!(stored.len() - family.frames.concat().len() <= 1, "{}", family.name);
        }
    }
}

#[test]
fn one_bit_frames_are_shifted_out_and_padded_with_zero_bits() {
    let families = dicom::families();
    let family = families.iter().find(|family| family.name.contains("1 bit")).expect("there is one");
    let packed =
        dataset(family).element_by_name("PixelData").expect("pixels").to_bytes().expect("bytes").into_owned();
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (at % 8) & 1;
    assert_eq!(family.frames.len(), 3);
    for (number, frame) in family.frames.iter().enumerate() {
        assert!((0..15).all(|n| bit(frame, n) == bit(&packed, number * 15 + n)));
        assert_eq!((frame.len(), bit(frame, 15)), (2, 0));
    }
}

#[test]
fn all_values_come_back_in_every_encoding() {
    let item = vec![Element::new(0x0008_1155, "UI", "1.2.3"), Element::new(0x0008_1160, "IS", "4")];
    for syntax in [dicom::EXPLICIT_LITTLE, dicom::IMPLICIT_LITTLE, EXPLICIT_BIG] {
        let instance = Instance::new("1.2", "1.2.3", "1.2.3.4")
            .syntax(syntax)
            .character_set("ISO_IR 100")
            .element(0x0010_0010, "PN", b"J\xF6rg".to_vec())
            .element(0x0008_1140, "SQ", Value::Sequence(vec![item.clone(), Vec::new()]))
            .element(0x0018_9810, "SS", Value::I16(vec![-2]))
            .element(0x0008_1161, "UL", Value::U32(vec![70_000]))
            .element(0x0018_6020, "SL", Value::I32(vec![-70_000]))
            .element(0x0018_605A, "FL", Value::F32(vec![1.5]))
            .element(0x0008_2134, "FD", Value::F64(vec![0.1]))
            .element(0x0028_0009, "AT", Value::Tags(vec![0x0018_1063]))
            .private(0x0009_1001, "ACME", "LO", "mine");
        for file in [instance.part10(), instance.clone().defined_lengths().part10()] {
            let object = read(&file);
            assert_eq!(text(&object, 0x0010_0010), "Jörg");
            assert_eq!(text(&object, SOP_CLASS_UID), dicom::SECONDARY_CAPTURE);
            assert_eq!(text(&object, SOP_INSTANCE_UID), "1.2.3.4");
            let items = object.element(Tag(0x0008, 0x1140)).expect("a sequence").items().expect("items");
            assert_eq!(items.iter().map(|item| item.iter().count()).collect::<Vec<_>>(), [2, 0]);
            let number = |group, element| object.element(Tag(group, element)).expect("it").to_float64().ok();
            assert_eq!(number(0x0008, 0x1161), Some(70_000.0));
            assert_eq!(number(0x0018, 0x6020), Some(-70_000.0));
            assert_eq!(number(0x0018, 0x605A), Some(1.5));
            assert_eq!(number(0x0008, 0x2134), Some(0.1));
            assert_eq!(text(&object, 0x0028_0009), "(0018,1063)");
            if syntax != dicom::IMPLICIT_LITTLE {
                assert_eq!(number(0x0018, 0x9810), Some(-2.0));
                assert_eq!(text(&object, 0x0009_0010), "ACME");
                assert_eq!(text(&object, 0x0009_1001), "mine");
            }
        }
    }
}

#[test]
fn wrong_files_come_out_as_wrong_as_they_were_asked_for() {
    let image = Image { rows: 1, columns: 1, samples: 1, bits: 8, photometric: "MONOCHROME2" };
    let file = Instance::new("1.2", "1.2.3", "1.2.3.4")
        .without(PATIENT_ID)
        .again(STUDY_UID, "UI", "6.6.6")
        .frames(image, &[vec![7]])
        .element(PIXEL_DATA, "OB", Value::Declared(1_000, vec![1, 2, 3]))
        .preamble([0x55; 128])
        .meta(0x0002_0000, "UL", Value::U32(vec![3]))
        .appended(b"behind");
    let bytes = file.part10();
    assert!(bytes.starts_with(&[0x55; 128]));
    assert!(bytes.ends_with(b"\xE0\x7F\x10\x00OB\0\0\xE8\x03\0\0\x01\x02\x03behind"));
    assert!(bytes[132..].starts_with(b"\x02\0\0\0UL\x04\0\x03\0\0\0\x02\0\x01\0OB"));
    let count = |wanted: &[u8]| bytes.windows(wanted.len()).filter(|window| *window == wanted).count();
    assert_eq!(count(b"\x20\0\x0D\0UI"), 2);
    assert_eq!(count(b"\x10\0\x20\0LO"), 0);
}
