//! What is accepted and refused around and between elements.

use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use proptest::prelude::*;

use super::*;

fn meta_only(elements: &Writer) -> Vec<u8> {
    [&[0; 128], b"DICM".as_slice(), &elements.bytes].concat()
}

#[test]
fn group_0002_is_read_with_and_without_its_length() {
    let mut w = Writer::new(EXPLICIT);
    w.text(0x0002_0010, "UI", "1.2.840.10008.1.2.1\0").text(0x0008_0060, "CS", "OT");
    let scanned = scan(&meta_only(&w)).unwrap();
    assert_eq!((scanned.header.len(), scanned.dataset_offset), (10, 160));
    assert_eq!(scanned.media_storage_sop_class, None);

    let scanned = scan(&part10(EXPLICIT, &with_pixels(EXPLICIT, true))).unwrap();
    assert_eq!(scanned.media_storage_sop_class.as_deref(), Some("1.2.840.10008.5.1.4.1.1.7"));
    assert_eq!(scanned.source_application_entity.as_deref(), Some("SENDER"));
}

#[test]
fn a_group_length_that_lies_is_refused() {
    for wrong in [0, 20, 27, 29, 34, 38, 40, 1000, u32::MAX] {
        let mut w = Writer::new(EXPLICIT);
        w.longs(0x0002_0000, "UL", &[wrong]).text(0x0002_0010, "UI", "1.2.840.10008.1.2.1\0");
        w.text(0x0008_0060, "CS", "OT");
        assert!(scan(&meta_only(&w)).is_err(), "{wrong}");
    }
    let mut w = Writer::new(EXPLICIT);
    w.longs(0x0002_0000, "UL", &[28]).text(0x0002_0010, "UI", "1.2.840.10008.1.2.1\0");
    w.text(0x0002_0016, "AE", "SENDER");
    let refused = scan(&meta_only(&w)).unwrap_err();
    assert_eq!(refused.kind, Reason::Misplaced { tag: Tag(0x0002, 0x0016) });
}

#[test]
fn a_file_without_part_10_or_transfer_syntax_is_refused() {
    let dataset = with_pixels(EXPLICIT, true);
    assert_eq!(scan(&dataset).unwrap_err().kind, Reason::NotPart10);
    assert_eq!(scan(b"").unwrap_err(), ScanError { offset: 0, kind: Reason::NotPart10 });
    assert_eq!(scan(&[0; 132]).unwrap_err().kind, Reason::NotPart10);
    let mut w = Writer::new(EXPLICIT);
    w.text(0x0002_0016, "AE", "SENDER").text(0x0008_0060, "CS", "OT");
    assert_eq!(scan(&meta_only(&w)).unwrap_err().kind, Reason::NoTransferSyntax);
    for bad in ["", "x.y", "1.2.", "../../etc/pw"] {
        assert_eq!(refusal(bad, &dataset), Reason::NoTransferSyntax, "{bad}");
    }
    assert_eq!(refusal(&"1".repeat(65), &dataset), Reason::NoTransferSyntax);
    assert_eq!(refusal(&"1".repeat(200), &dataset), Reason::NoTransferSyntax);
    let mut w = Writer::new(EXPLICIT);
    w.text(0x0002_0010, "UI", "1.2").text(0x0002_0010, "UI", "1.3");
    assert_eq!(scan(&meta_only(&w)).unwrap_err().kind, Reason::Duplicate { tag: Tag(0x0002, 0x0010) });
}

#[test]
fn a_dicomdir_is_refused_by_name() {
    let mut w = Writer::new(EXPLICIT);
    w.text(0x0002_0002, "UI", "1.2.840.10008.1.3.10").text(0x0002_0010, "UI", "1.2.840.10008.1.2.1\0");
    w.text(0x0004_1130, "CS", "SET1");
    assert_eq!(scan(&meta_only(&w)).unwrap_err().kind, Reason::Directory);
}

#[test]
fn preambles_are_told_apart() {
    let mut file = part10(EXPLICIT, &[]);
    assert_eq!(scan(&file).unwrap().preamble, Preamble::Zero);
    for (start, expected) in [
        (&b"MZ\x90"[..], Preamble::Executable),
        (b"\x7FELF", Preamble::Executable),
        (b"#!/bin/sh", Preamble::Executable),
        (b"\xCF\xFA\xED\xFE", Preamble::Executable),
        (b"II*\0", Preamble::Other),
    ] {
        file[..start.len()].copy_from_slice(start);
        assert_eq!(scan(&file).unwrap().preamble, expected);
    }
}

#[test]
fn unusual_but_legal_datasets_are_accepted() {
    let mut w = Writer::new(EXPLICIT);
    w.longs(0x0008_0000, "UL", &[1]).text(0x0008_0060, "CS", "OTX").longs(0x0009_0000, "UL", &[0]);
    // Out of order, and an odd length.
    w.text(0x0020_0010, "SH", "B").text(0x0010_0020, "LO", "A");
    w.sequence(
        0x0040_0275,
        true,
        &[&|item| {
            item.longs(0x0040_0000, "UL", &[1]).text(0x0040_0007, "LO", "x").bytes(
                0xFFFC_FFFC,
                "OB",
                &[0; 4],
            );
        }],
    );
    w.sequence(0x0054_0016, true, &[]).sequence(0x0054_0017, false, &[]);
    w.bytes(0xFFFC_FFFC, "OB", &[0; 30]);
    let mut expected = Writer::new(EXPLICIT);
    expected.text(0x0008_0060, "CS", "OTX").text(0x0020_0010, "SH", "B").text(0x0010_0020, "LO", "A");
    expected.sequence(
        0x0040_0275,
        false,
        &[&|item| {
            item.text(0x0040_0007, "LO", "x");
        }],
    );
    expected.sequence(0x0054_0016, false, &[]).sequence(0x0054_0017, false, &[]);
    for zeros in [0, 1, 2, 7, 8, 9, 1000] {
        let scanned = scan(&part10(EXPLICIT, &[&w.bytes[..], &vec![0; zeros]].concat())).unwrap();
        assert_eq!(scanned.header, expected.bytes, "{zeros}");
        assert!(scanned.bulk.is_empty());
    }
    let garbage = part10(EXPLICIT, &[&w.bytes[..], &[0; 9], b"x"].concat());
    assert_eq!(
        scan(&garbage).unwrap_err(),
        ScanError { offset: garbage.len() as u64 - 1, kind: Reason::Trailing }
    );
}

#[test]
fn a_un_of_undefined_length_is_walked_and_bulk_as_a_whole() {
    for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
        let mut w = Writer::new(syntax);
        w.text(0x0008_0060, "CS", "OT").sequence(
            0x0008_1140,
            false,
            &[&|item| {
                item.head(0x0009_1001, "UN", UNDEFINED);
                item.bytes.extend(unknown_items());
                item.text(0x0010_0020, "LO", "ID");
            }],
        );
        let scanned = scan(&part10(syntax, &w.bytes)).unwrap();
        let unknown = unknown_items().len() as u64;
        assert_eq!(scanned.bulk.len(), 1);
        assert_eq!((&scanned.bulk[0].path[..], scanned.bulk[0].length), ("00081140/1/00091001", unknown));
        let mut expected = Writer::new(EXPLICIT);
        expected.text(0x0008_0060, "CS", "OT").sequence(
            0x0008_1140,
            false,
            &[&|item| {
                item.text(0x0010_0020, "LO", "ID");
            }],
        );
        assert_eq!(scanned.header, expected.bytes, "{syntax}");
    }
}

#[test]
fn a_tag_twice_in_one_dataset_is_refused() {
    let twice = |tags: &[u32]| {
        let mut w = Writer::new(EXPLICIT);
        tags.iter().for_each(|tag| {
            w.text(*tag, "UI", "1.2\0");
        });
        scan(&part10(EXPLICIT, &w.bytes)).map_err(|refused| refused.kind)
    };
    assert_eq!(twice(&[0x0008_0018, 0x0008_0018]).unwrap_err(), Reason::Duplicate { tag: Tag(8, 0x18) });
    let apart = twice(&[0x0020_000D, 0x0008_0018, 0x0020_000E, 0x0020_000D]).unwrap_err();
    assert_eq!(apart, Reason::Duplicate { tag: Tag(0x0020, 0x000D) });
    // Once in the dataset and once in each of two items is no repetition.
    let mut w = Writer::new(EXPLICIT);
    let item = |item: &mut Writer| {
        item.text(0x0008_1155, "UI", "1.2\0");
    };
    w.sequence(0x0008_1140, true, &[&item, &item]).text(0x0008_1155, "UI", "1.2\0");
    assert!(scan(&part10(EXPLICIT, &w.bytes)).is_ok());
}

#[test]
fn what_is_misplaced_is_refused() {
    let misplaced = |dataset: &Writer| {
        matches!(refusal(EXPLICIT, &dataset.bytes), Reason::Misplaced { .. } | Reason::DelimiterLength { .. })
    };
    let w = || Writer::new(EXPLICIT);
    for stray in [0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD, 0xFFFE_0001] {
        assert!(misplaced(w().item_head(stray, 0)), "{stray:X}");
    }
    assert!(misplaced(w().longs(0x0000_0002, "UL", &[1])));
    assert!(misplaced(w().text(0x0002_0010, "UI", "1.2")));
    let within = |head: fn(&mut Writer)| {
        let mut w = w();
        w.head(0x0008_1140, "SQ", UNDEFINED);
        head(&mut w);
        w.item_head(0xFFFE_E0DD, 0).clone()
    };
    assert!(misplaced(&within(|w| w.text(0x0008_0060, "CS", "OT").done())));
    assert!(misplaced(&within(|w| w.item_head(0xFFFE_E00D, 0).done())));
    assert!(misplaced(&within(|w| w.item_head(0xFFFE_E000, 8).item_head(0xFFFE_E00D, 0).done())));
    assert!(misplaced(&within(|w| w.item_head(0xFFFE_E000, UNDEFINED).item_head(0xFFFE_E0DD, 0).done())));
    assert!(misplaced(&within(|w| w.item_head(0xFFFE_E000, UNDEFINED).item_head(0xFFFE_E00D, 2).done())));
    let mut fragments = w();
    fragments.head(0x7FE0_0010, "OB", UNDEFINED);
    assert!(misplaced(fragments.text(0x0008_0060, "CS", "OT")));
}

#[test]
fn lengths_that_cross_what_holds_them_are_refused() {
    for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
        // A sequence of 40 bytes holds an item that holds a text; each in turn is one byte too long.
        for (item, text) in [(33, 24), (32, 25), (100, 24), (32, 5000)] {
            let mut w = Writer::new(syntax);
            w.head(0x0008_1140, "SQ", 40);
            w.item_head(0xFFFE_E000, item).head(0x0008_1155, "UI", text);
            w.bytes.extend([b'1'; 6000]);
            assert!(matches!(refusal(syntax, &w.bytes), Reason::Overrun { .. }), "{syntax} {item} {text}");
        }
        // No room for the delimiters of what is open when the end comes.
        let mut w = Writer::new(syntax);
        w.head(0x0008_1140, "SQ", 16);
        w.item_head(0xFFFE_E000, UNDEFINED).item_head(0xFFFE_E00D, 0).text(0x0010_0020, "LO", "ID");
        assert!(scan(&part10(syntax, &w.bytes)).is_ok());
        let mut w = Writer::new(syntax);
        w.head(0x0008_1140, "SQ", 8);
        w.item_head(0xFFFE_E000, UNDEFINED).item_head(0xFFFE_E00D, 0);
        assert!(matches!(refusal(syntax, &w.bytes), Reason::Overrun { .. }), "{syntax}");
    }
}

#[test]
fn every_cut_is_refused_but_those_between_elements() {
    for (name, file) in samples() {
        let whole = scan(&file).unwrap();
        let mut accepted = Vec::new();
        for cut in 0..file.len() {
            let Ok(part) = scan(&file[..cut]) else { continue };
            assert!(
                whole.header.starts_with(&part.header) && whole.bulk.starts_with(&part.bulk),
                "{name} {cut}"
            );
            // A tag's first byte may be a zero behind the dataset before it.
            if accepted.last() != Some(&(cut - 1)) || file[cut - 1] != 0 {
                accepted.push(cut);
            }
        }
        let elements = if name == "deflated" { 0 } else { own_elements(&whole) };
        assert_eq!(accepted.len(), elements, "{name}: {accepted:?}");
    }
}

/// Elements of the file's own dataset; before each, a cut leaves a legal dataset behind.
fn own_elements(scanned: &Scanned) -> usize {
    let syntax = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let header = InMemDicomObject::read_dataset_with_ts(&scanned.header[..], &syntax).unwrap();
    header.into_iter().count() + scanned.bulk.iter().filter(|bulk| !bulk.path.contains('/')).count()
}

proptest! {
    #[test]
    fn slices_of_any_size_give_the_same(which in 0..8_usize, cuts in prop::collection::vec(1..40_usize, 1..60)) {
        let (name, file) = samples().swap_remove(which);
        let whole = scan(&file).unwrap();
        let mut scanner = Scanner::new(Limits::default());
        let (mut rest, mut cuts) = (&file[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (slice, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            scanner.feed(slice).unwrap();
            rest = behind;
        }
        let sliced = scanner.finish().unwrap();
        prop_assert_eq!(&sliced.header, &whole.header, "{}", name);
        prop_assert_eq!(&sliced.bulk, &whole.bulk);
        prop_assert_eq!(&sliced.frames, &whole.frames);
    }
}
