//! Transfer syntaxes and the header that comes of each.

use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;

use super::*;

fn paths(scanned: &Scanned) -> Vec<(&str, &str)> {
    scanned.bulk.iter().map(|b| (b.path.as_str(), str::from_utf8(&b.vr).unwrap())).collect()
}

#[test]
fn every_syntax_gives_the_same_header_and_bulk() {
    for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
        for defined in [true, false] {
            let file = part10(syntax, &with_pixels(syntax, defined));
            let scanned = scan(&file).unwrap();
            assert_eq!(scanned.header, expected_header(), "{syntax} {defined}");
            assert_eq!(
                paths(&scanned),
                [("00283010/1/00283006", "OW"), ("60023000", "OW"), ("7FE00010", "OW")]
            );
            assert_eq!((scanned.bulk[2].offset, scanned.bulk[2].length), (file.len() as u64 - 12, 12));
            assert_eq!(scanned.transfer_syntax, syntax);
            assert_eq!(scanned.implicit, syntax == IMPLICIT);
        }
    }
}

#[test]
fn the_library_reads_the_header() {
    let scanned = scan(&part10(IMPLICIT, &with_pixels(IMPLICIT, true))).unwrap();
    let syntax = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let object = InMemDicomObject::read_dataset_with_ts(&scanned.header[..], &syntax).unwrap();
    assert_eq!(object.element_by_name("PatientName").unwrap().to_str().unwrap(), "Doe^Jane");
    assert_eq!(object.get(Tag(0x0028, 0x0106)).unwrap().to_int::<i16>().unwrap(), -2);
    assert_eq!(object.get(Tag(0x0008, 0x1140)).unwrap().items().unwrap().len(), 3);
}

#[test]
fn a_deflated_dataset_is_read_through_its_stream() {
    let dataset = with_pixels(EXPLICIT, true);
    let plain = scan(&part10(EXPLICIT, &dataset)).unwrap();
    let stream = deflated(&dataset);
    for trailer in [&[][..], &[0], &[0; 20], &[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 0, 0, 0, 0, 0]] {
        let file = part10(DEFLATED, &[&stream, trailer].concat());
        let scanned = scan(&file).unwrap();
        assert_eq!(scanned.header, plain.header);
        // Offsets count in the inflated stream, which begins after group 0002.
        assert_eq!(scanned.bulk[2].offset, dataset.len() as u64 - 12);
        assert_eq!(scanned.dataset_offset, (file.len() - stream.len() - trailer.len()) as u64);
        assert_eq!(scanned.frames.inflated_from(), Some(scanned.dataset_offset));
    }
    let garbage = [&stream[..], &[0, 0, 0, 0, 0, 0, 0, 0, 1]].concat();
    assert_eq!(refusal(DEFLATED, &garbage), Reason::Trailing);
    assert_eq!(refusal(DEFLATED, &[0xFF; 40]), Reason::Deflate);
    assert_eq!(refusal(DEFLATED, &[]), Reason::CutOff { inside: "the deflated dataset" });
}

#[test]
fn unknown_syntaxes_are_read_as_explicit_and_that_of_ge_as_implicit() {
    let explicit = scan(&part10("1.2.3.4.5", &with_pixels(EXPLICIT, false))).unwrap();
    assert_eq!((explicit.header, explicit.implicit), (expected_header(), false));
    let ge = scan(&part10("1.2.840.113619.5.2", &with_pixels(IMPLICIT, false))).unwrap();
    assert_eq!((ge.header, ge.implicit), (expected_header(), true));
}

#[test]
fn a_dataset_in_another_syntax_than_declared_is_refused() {
    assert_eq!(refusal(EXPLICIT, &with_pixels(IMPLICIT, true)), Reason::NoVr { tag: Tag(0x0008, 0x0005) });
    assert!(scan(&part10(IMPLICIT, &with_pixels(EXPLICIT, true))).is_err());
    assert!(scan(&part10(BIG_ENDIAN, &with_pixels(EXPLICIT, true))).is_err());
    assert!(scan(&part10(EXPLICIT, &with_pixels(BIG_ENDIAN, true))).is_err());
}

#[test]
fn implicit_elements_get_the_vr_of_the_dictionary() {
    let mut w = Writer::new(IMPLICIT);
    w.shorts(0x0028_0106, "", &[1]).shorts(0x0028_0103, "", &[1]).shorts(0x0028_0107, "", &[1]);
    w.sequence(
        0x0028_3000,
        true,
        &[&|item| {
            item.shorts(0x0028_3002, "", &[1, 0, 16]).shorts(0x0028_3006, "", &[7]);
        }],
    );
    w.shorts(0x0029_0010, "", &[0x4141]).shorts(0x0029_1000, "", &[1]);
    w.shorts(0x0030_0001, "", &[9]).shorts(0x5000_0005, "", &[1]);
    // A private creator, not a repetition of Overlay Rows.
    w.text(0x6001_0010, "", "ME").shorts(0x601E_0010, "", &[2]);
    let scanned = scan(&part10(IMPLICIT, &w.bytes)).unwrap();
    let mut expected = Writer::new(EXPLICIT);
    expected.shorts(0x0028_0106, "US", &[1]).shorts(0x0028_0103, "US", &[1]).shorts(0x0028_0107, "SS", &[1]);
    expected.sequence(
        0x0028_3000,
        false,
        &[&|item| {
            item.shorts(0x0028_3002, "SS", &[1, 0, 16]);
        }],
    );
    expected.shorts(0x0029_0010, "LO", &[0x4141]);
    expected.shorts(0x5000_0005, "US", &[1]);
    expected.text(0x6001_0010, "LO", "ME").shorts(0x601E_0010, "US", &[2]);
    assert_eq!(scanned.header, expected.bytes);
    assert_eq!(paths(&scanned), [("00283000/1/00283006", "OW"), ("00291000", "UN"), ("00300001", "UN")]);
}

#[test]
fn text_too_long_for_its_vr_gets_a_longer_one_and_numbers_become_bulk() {
    let mut w = Writer::new(IMPLICIT);
    w.bytes(0x3006_0050, "", &[b'1'; 70_000]).bytes(0x4000_4000, "", &[b'x'; 65_536]);
    w.bytes(0x6000_1200, "", &[0; 65_534]).bytes(0x6000_1201, "", &[0; 65_536]);
    let scanned = scan(&part10(IMPLICIT, &w.bytes)).unwrap();
    let mut expected = Writer::new(EXPLICIT);
    // Contour Data (DS) and Text Comments (LT), retired; Overlay gray and red values (US), retired.
    expected.bytes(0x3006_0050, "UC", &[b'1'; 70_000]).bytes(0x4000_4000, "UT", &[b'x'; 65_536]);
    expected.bytes(0x6000_1200, "US", &[0; 65_534]);
    assert!(scanned.header == expected.bytes);
    assert_eq!(paths(&scanned), [("60001201", "UN")]);
}

#[test]
fn a_value_that_is_no_whole_count_of_numbers_becomes_bulk() {
    let mut w = Writer::new(EXPLICIT);
    w.bytes(0x0018_1310, "US", &[1, 2, 3]).bytes(0x0018_6028, "FD", &[0; 12]).bytes(
        0x0020_9165,
        "AT",
        &[0; 6],
    );
    let scanned = scan(&part10(EXPLICIT, &w.bytes)).unwrap();
    assert!(scanned.header.is_empty());
    assert_eq!(paths(&scanned), [("00181310", "UN"), ("00186028", "UN"), ("00209165", "UN")]);
}

#[test]
fn a_vr_that_does_not_exist_yet_is_bulk() {
    let mut w = Writer::new(EXPLICIT);
    w.bytes(0x0008_0060, "ZZ", b"ab");
    assert_eq!(paths(&scan(&part10(EXPLICIT, &w.bytes)).unwrap()), [("00080060", "UN")]);
    let mut w = Writer::new(EXPLICIT);
    w.bytes(0x0008_0060, "zz", b"ab");
    assert_eq!(refusal(EXPLICIT, &w.bytes), Reason::NoVr { tag: Tag(0x0008, 0x0060) });
}
