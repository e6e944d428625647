//! Input made to hurt: it is refused at once, and memory stays with the bytes that came.

use super::*;

const VRS: [&str; 34] = [
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV",
    "OW", "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV",
];
const LENGTHS: [u32; 5] = [0xFFFF_FFFE, 0xFFFF_FFF0, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001];

/// Feeds a file; it must be refused, having held next to nothing.
fn refused(file: &[u8]) -> Reason {
    let mut scanner = Scanner::new(Limits::default());
    let fed = scanner.feed(file);
    assert!(scanner.held_bytes() < 200_000, "{}", scanner.held_bytes());
    match fed {
        Err(refused) => refused.kind,
        Ok(()) => scanner.finish().expect_err("refused").kind,
    }
}

/// One tag of each VR that the dictionary has, for Implicit VR.
fn tags_by_vr() -> std::collections::HashMap<[u8; 2], u32> {
    let groups = [0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0040, 0x0066, 0x0072, 0x7FE0];
    let tags = groups.into_iter().flat_map(|group| (1..=u16::MAX).map(move |element| Tag(group, element)));
    let number = |tag: Tag| u32::from(tag.group()) << 16 | u32::from(tag.element());
    tags.map(|tag| (vr::implicit_vr(tag, false).to_bytes(), number(tag))).collect()
}

#[test]
fn huge_lengths_of_every_vr_are_refused_at_once() {
    let tags = tags_by_vr();
    for vr in VRS {
        for length in LENGTHS {
            for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
                let mut w = Writer::new(syntax);
                let long = w.explicit && ["O", "U", "SQ", "SV"].iter().any(|start| vr.starts_with(start));
                if w.explicit && (!long || ["UI", "UL", "US"].contains(&vr)) {
                    continue;
                }
                let tag = if w.explicit { 0x0009_1000 } else { tags[vr.as_bytes()] };
                w.head(tag, vr, length);
                w.bytes.extend([1, 2, 3, 4]);
                refused(&part10(syntax, &w.bytes));

                for item in [UNDEFINED, 100, length] {
                    let mut nested = Writer::new(syntax);
                    nested.head(0x0008_1140, "SQ", UNDEFINED);
                    nested.item_head(0xFFFE_E000, item);
                    nested.bytes.extend(&w.bytes);
                    refused(&part10(syntax, &nested.bytes));
                }
            }
        }
    }
}

#[test]
fn huge_fragments_and_tables_are_refused_at_once() {
    for length in LENGTHS {
        let mut fragment = Writer::new(EXPLICIT);
        fragment.head(0x7FE0_0010, "OB", UNDEFINED);
        fragment.item_head(0xFFFE_E000, 0).item_head(0xFFFE_E000, length);
        fragment.bytes.extend([1, 2, 3, 4]);
        assert_eq!(refused(&part10(JPEG, &fragment.bytes)), Reason::CutOff { inside: "a fragment" });

        let mut table = Writer::new(EXPLICIT);
        table.head(0x7FE0_0010, "OB", UNDEFINED);
        table.item_head(0xFFFE_E000, length).bytes.extend([1, 2, 3, 4]);
        refused(&part10(JPEG, &table.bytes));

        let mut extended = Writer::new(EXPLICIT);
        extended.head(0x7FE0_0001, "OV", length);
        extended.bytes.extend([1, 2, 3, 4]);
        refused(&part10(JPEG, &extended.bytes));
    }
}

#[test]
fn an_upload_cut_off_inside_encapsulated_data_is_refused() {
    let mut short = Writer::new(EXPLICIT);
    short.head(0x7FE0_0010, "OB", UNDEFINED);
    short.item_head(0xFFFE_E000, 0).item_head(0xFFFE_E000, 1000).bytes.extend([0; 10]);
    assert_eq!(refused(&part10(JPEG, &short.bytes)), Reason::CutOff { inside: "a fragment" });

    let mut open = Writer::new(EXPLICIT);
    open.head(0x7FE0_0010, "OB", UNDEFINED);
    open.item_head(0xFFFE_E000, 0).item_head(0xFFFE_E000, 4).bytes.extend([0; 4]);
    assert_eq!(
        refused(&part10(JPEG, &open.bytes)),
        Reason::CutOff { inside: "encapsulated data without its delimiter" }
    );

    let mut native = Writer::new(EXPLICIT);
    native.head(0x7FE0_0010, "OW", 1000);
    native.bytes.extend([0; 10]);
    assert_eq!(refused(&part10(EXPLICIT, &native.bytes)), Reason::CutOff { inside: "a value" });

    let mut undefined = Writer::new(EXPLICIT);
    undefined.head(0x7FE0_0010, "OB", UNDEFINED);
    undefined.item_head(0xFFFE_E000, 0).item_head(0xFFFE_E000, UNDEFINED);
    assert!(matches!(refused(&part10(JPEG, &undefined.bytes)), Reason::UndefinedLength { .. }));
    for vr in ["UC", "UT", "OF", "OV", "SV"] {
        let mut w = Writer::new(EXPLICIT);
        w.head(0x0009_1000, vr, UNDEFINED);
        assert!(matches!(refused(&part10(EXPLICIT, &w.bytes)), Reason::UndefinedLength { .. }), "{vr}");
    }
}

/// `depth` sequences inside one another, lengths undefined where `undefined` says so.
fn nested(syntax: &str, vr: &str, depth: usize, undefined: fn(usize) -> bool) -> Vec<u8> {
    let mut w = Writer::new(syntax);
    for level in 0..depth {
        let left = u32::try_from((depth - level) * 20).unwrap();
        w.head(0x0008_1140, vr, if undefined(level) { UNDEFINED } else { left - 8 });
        w.item_head(0xFFFE_E000, if undefined(level) { UNDEFINED } else { left - 16 });
    }
    w.bytes
}

#[test]
fn a_million_nested_sequences_are_refused_at_the_limit() {
    let shapes: [fn(usize) -> bool; 3] = [|_| true, |_| false, |level| level % 3 == 0];
    for undefined in shapes {
        for (syntax, vr) in [(EXPLICIT, "SQ"), (IMPLICIT, "SQ"), (BIG_ENDIAN, "SQ")] {
            let file = part10(syntax, &nested(syntax, vr, 1_000_000, undefined));
            let reason = refused(&file);
            assert!(matches!(reason, Reason::TooDeep { limit: 40 } | Reason::Overrun { .. }), "{reason:?}");
        }
    }
    let mut unknown = Writer::new(EXPLICIT);
    unknown.head(0x0009_1000, "UN", UNDEFINED);
    unknown.item_head(0xFFFE_E000, UNDEFINED);
    unknown.bytes.extend(nested(IMPLICIT, "", 1_000_000, |_| true));
    assert_eq!(refused(&part10(EXPLICIT, &unknown.bytes)), Reason::TooDeep { limit: 40 });
}

#[test]
fn the_depth_limit_is_exact() {
    let closed = |depth: usize| {
        let mut w = Writer::new(EXPLICIT);
        w.bytes = nested(EXPLICIT, "SQ", depth, |_| true);
        for _ in 0..depth {
            w.item_head(0xFFFE_E00D, 0).item_head(0xFFFE_E0DD, 0);
        }
        scan(&part10(EXPLICIT, &w.bytes))
    };
    assert!(closed(40).is_ok());
    assert_eq!(closed(41).unwrap_err().kind, Reason::TooDeep { limit: 40 });
}

#[test]
fn a_deflate_bomb_is_refused_when_it_is_out_of_proportion() {
    let mut w = Writer::new(EXPLICIT);
    w.head(0x7FE0_0010, "OW", 32 << 20);
    w.bytes.extend(vec![0; 32 << 20]);
    let file = part10(DEFLATED, &deflated(&w.bytes));
    assert!(file.len() < 400_000);
    let free = Limits { inflated_free_bytes: 1 << 20, ..Limits::default() };
    let limited = Limits { inflated_bytes: 1 << 20, ..Limits::default() };
    for limits in [free, limited] {
        let mut scanner = Scanner::new(limits);
        assert!(matches!(scanner.feed(&file).unwrap_err().kind, Reason::InflatedTooLarge { .. }));
    }
    assert!(scan(&file).is_ok());
}

#[test]
fn each_limit_holds() {
    let limited = |limits: Limits, dataset: &Writer| scan_with(limits, &part10(EXPLICIT, &dataset.bytes));
    let mut many = Writer::new(EXPLICIT);
    (0..100).for_each(|n| many.text(0x0011_1000 + n, "LO", "12345678").done());
    let all = Limits { elements: 100, non_bulk_bytes: 100 * (16 + 4) + 8, ..Limits::default() };
    assert!(limited(all.clone(), &many).is_ok());
    let elements = Limits { elements: 99, ..Limits::default() };
    assert_eq!(limited(elements, &many).unwrap_err().kind, Reason::TooManyElements { limit: 99 });
    let bytes = Limits { non_bulk_bytes: 1900, ..Limits::default() };
    assert_eq!(limited(bytes, &many).unwrap_err().kind, Reason::TooLarge { limit: 1900 });
    let value = Limits { value_length: 7, ..Limits::default() };
    assert!(matches!(limited(value, &many).unwrap_err().kind, Reason::ValueTooLong { limit: 7, .. }));

    let mut bulk = Writer::new(EXPLICIT);
    (0..100).for_each(|n| bulk.bytes(0x0011_1000 + n, "UN", b"").done());
    assert!(matches!(limited(all, &bulk).unwrap_err().kind, Reason::TooLarge { .. }));

    let mut fragments = Writer::new(EXPLICIT);
    fragments.fragments(&[], &[b"ab".as_slice(); 10]);
    let few = Limits { fragments: 9, ..Limits::default() };
    assert_eq!(limited(few, &fragments).unwrap_err().kind, Reason::TooManyFragments { limit: 9 });
    assert!(limited(Limits { fragments: 10, ..Limits::default() }, &fragments).is_ok());
}

#[test]
fn after_an_error_nothing_is_held_and_the_error_stays() {
    let mut scanner = Scanner::new(Limits::default());
    let mut w = Writer::new(EXPLICIT);
    w.bytes(0x0009_1000, "UT", &[b'x'; 50_000]);
    scanner.feed(&part10(EXPLICIT, &w.bytes)).unwrap();
    assert!(scanner.held_bytes() >= 50_000);
    let refused = scanner.feed(b"\x08\x00\x08\x00??????").unwrap_err();
    assert_eq!(scanner.held_bytes(), 0);
    assert_eq!(scanner.feed(b"more").unwrap_err(), refused);
    assert_eq!(scanner.finish().unwrap_err(), refused);
}

#[test]
fn damaged_files_never_panic_and_never_hold_more_than_they_may() {
    let limits = Limits { non_bulk_bytes: 20_000, inflated_free_bytes: 100_000, ..Limits::default() };
    let samples = samples();
    let syntax = dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut accepted, mut rejected) = (0, 0);
    for _ in 0..6000 {
        let mut file = samples[random.below(samples.len())].1.clone();
        for _ in 0..=random.below(4) {
            let at = 132 + random.below(file.len() - 132);
            match random.below(5) {
                0 => file[at] = random.below(256) as u8,
                1 => file[at] ^= 1 << random.below(8),
                2 => file[at] = [0xFF, 0xFE, 0, 1][random.below(4)],
                3 => file.truncate(at.max(140)),
                _ => {
                    let from = 132 + random.below(file.len() - 132);
                    let part = file[from..file.len().min(from + 24)].to_vec();
                    file.splice(at..at, part);
                }
            }
        }
        let mut scanner = Scanner::new(limits.clone());
        let fed = file.chunks(1 + random.below(300)).try_for_each(|slice| {
            let fed = scanner.feed(slice);
            assert!(scanner.held_bytes() < 200_000);
            fed
        });
        match fed.and_then(|()| scanner.finish()) {
            Ok(scanned) => {
                accepted += 1;
                let object =
                    dicom_object::InMemDicomObject::read_dataset_with_ts(&scanned.header[..], &syntax);
                object.expect("the library reads what was passed");
                let index = FrameIndex::decode(&scanned.frames.encode()).unwrap();
                assert_eq!(index, scanned.frames);
            }
            Err(_) => rejected += 1,
        }
    }
    assert!(accepted > 300 && rejected > 300, "{accepted} {rejected}");
}

#[test]
fn text_that_grows_as_json_is_refused_before_it_does() {
    let long = |letter: u8| {
        let mut w = Writer::new(EXPLICIT);
        w.bytes(0x0040_A160, "UT", &[letter; 1000]);
        part10(EXPLICIT, &w.bytes)
    };
    let limits = || Limits { json_bytes: 1100, ..Limits::default() };
    assert!(scan_with(limits(), &long(b'x')).is_ok());
    for letter in [1, b'\\', 0xFF] {
        let refused = scan_with(limits(), &long(letter)).expect_err("refused");
        assert_eq!(refused.kind, Reason::TooVerbose { limit: 1100 });
    }
}
