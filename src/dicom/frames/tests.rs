//! Which frames follow from geometry, fragments and tables, and the stored form of the index.

use super::*;

fn geometry(rows: u16, columns: u16, samples: u16, bits: u16, frames: Option<u32>) -> Geometry {
    Geometry {
        rows: Some(rows),
        columns: Some(columns),
        samples: Some(samples),
        bits_allocated: Some(bits),
        frames,
        subsampled: false,
    }
}

fn native(geometry: &Geometry, offset: u64, length: u64) -> FrameIndex {
    FrameIndex::new(geometry, &PixelData::Native { offset, length }, &Fragments::new(false), None)
}

fn bytes(ranges: &[Range<u64>]) -> Option<FrameSource> {
    Some(FrameSource::Bytes(ranges.to_vec()))
}

/// Fragments from offset 1000 on, each with its first bytes.
fn fragments(all: &[(u32, &[u8])]) -> Fragments {
    let mut fragments = Fragments::new(false);
    let mut item = 1000;
    for (length, start) in all {
        fragments.push(item, *length);
        fragments.begins_with(start);
        item += u64::from(*length) + 8;
    }
    fragments
}

fn encapsulated(frames: u32, fragments: &Fragments) -> FrameIndex {
    let geometry = Geometry { frames: Some(frames), ..Geometry::default() };
    FrameIndex::new(&geometry, &PixelData::Encapsulated, fragments, None)
}

fn table<const N: usize>(offsets: &[u64]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.to_le_bytes()[..N].to_vec()).collect()
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one range of bytes is meant")]
fn native_frames_are_exact_and_leave_the_pad_byte_out() {
    let index = native(&geometry(3, 1, 3, 8, None), 100, 10);
    assert_eq!((index.count(), index.frame(1), index.frame(2)), (1, bytes(&[100..109]), None));

    let two = native(&geometry(512, 512, 1, 16, Some(3)), 2000, 2 * 524_288 + 1);
    assert_eq!(two.count(), 3);
    assert_eq!(two.frame(2), bytes(&[526_288..1_050_576]));
    assert_eq!(two.frame(3), None);
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one range of bytes is meant")]
fn subsampled_colour_has_two_bytes_a_pixel_at_8_bits_only() {
    let subsampled = |bits| Geometry { subsampled: true, ..geometry(2, 2, 3, bits, Some(2)) };
    assert_eq!(native(&subsampled(8), 0, 100).frame(2), bytes(&[8..16]));
    assert_eq!(native(&subsampled(16), 0, 100).frame(2), bytes(&[24..48]));
}

#[test]
fn single_bits_are_packed_without_alignment() {
    let index = native(&geometry(3, 3, 1, 1, Some(4)), 50, 5);
    assert_eq!(index.frame(1), Some(FrameSource::Bits { range: 50..52, shift: 0, bits: 9 }));
    assert_eq!(index.frame(2), Some(FrameSource::Bits { range: 51..53, shift: 1, bits: 9 }));
    assert_eq!(index.frame(4), Some(FrameSource::Bits { range: 53..55, shift: 3, bits: 9 }));
    assert_eq!(native(&geometry(3, 3, 1, 1, Some(5)), 50, 5).frame(5), None);
    assert!(matches!(native(&geometry(4, 4, 1, 1, Some(5)), 0, 10).frame(2), Some(FrameSource::Bytes(_))));
}

#[test]
fn one_frame_has_all_fragments_and_as_many_fragments_as_frames_are_one_each() {
    let three = fragments(&[(4, b""), (0, b""), (6, b"")]);
    assert_eq!(
        encapsulated(1, &three).frame(1),
        bytes(&[1008..1012, 1028..1034]),
        "nothing is read of the empty one"
    );
    let each = encapsulated(3, &three);
    assert_eq!(each.frame(1), bytes(&[1008..1012; 1]));
    assert_eq!(each.frame(3), bytes(&[1028..1034; 1]));
    assert_eq!(encapsulated(1, &Fragments::new(false)).frame(1), None);
}

#[test]
fn tables_are_believed_only_if_they_fit() {
    let all: [(u32, &[u8]); 4] = [(4, b""), (6, b""), (2, b""), (8, b"")];
    let by = |basic: &[u64], extended: &[u64], lengths: &[u64]| {
        let mut fragments = fragments(&all);
        (fragments.basic, fragments.extended) = (table::<4>(basic), table::<8>(extended));
        fragments.extended_lengths = table::<8>(lengths);
        encapsulated(2, &fragments).frame(2)
    };
    let from_third = bytes(&[1034..1036, 1044..1052]);
    let from_second = bytes(&[1020..1026, 1034..1036, 1044..1052]);
    assert_eq!(by(&[0, 26], &[], &[]), from_third);
    assert_eq!(by(&[], &[0, 26], &[]), from_third);
    assert_eq!(by(&[], &[0, 26], &[10, 9]), from_third);
    // The extended table is preferred, unless it does not fit.
    assert_eq!(by(&[0, 12], &[0, 26], &[10, 10]), from_third);
    assert_eq!(by(&[0, 12], &[0, 27], &[]), from_second);
    assert_eq!(by(&[0, 12], &[0, 26], &[11, 10]), from_second);
    assert_eq!(by(&[0, 12], &[0, 26], &[10]), from_second);
    for wrong in
        [&[0_u64, 25][..], &[12, 26], &[26, 0], &[0, 0], &[0], &[0, 12, 26], &[0, 44], &[0, 4_000_000_000]]
    {
        assert_eq!(by(wrong, &[], &[]), None, "{wrong:?}");
        assert_eq!(by(&[], wrong, &[]), None, "{wrong:?}");
    }
}

#[test]
fn starts_of_images_count_only_if_they_are_as_many_as_the_frames() {
    let start: &[u8] = b"\xFF\xD8\xFF\xE0";
    let three = fragments(&[(4, start), (6, b"more"), (8, start)]);
    assert_eq!(encapsulated(2, &three).frame(1), bytes(&[1008..1012, 1020..1026]));
    assert_eq!(encapsulated(2, &fragments(&[(4, start), (6, start), (8, start)])).frame(1), None);
    assert_eq!(encapsulated(2, &fragments(&[(4, b"more"), (6, start), (8, start)])).frame(1), None);
    // Fewer fragments than frames: those there are frames, if each begins as one.
    let fewer = encapsulated(5, &fragments(&[(4, start), (6, start)]));
    assert_eq!((fewer.count(), fewer.frame(2), fewer.frame(3)), (5, bytes(&[1020..1026; 1]), None));
    assert_eq!(encapsulated(5, &fragments(&[(4, start), (6, b"more")])).frame(1), None);
}

#[test]
fn a_hundred_thousand_frames_are_small() {
    let lengths: Vec<(u32, &[u8])> = (0..100_000).map(|n| (10_000 + n % 977, b"".as_slice())).collect();
    let index = encapsulated(100_000, &fragments(&lengths));
    let encoded = index.encode();
    assert!(encoded.len() < 310_000, "{}", encoded.len());
    assert_eq!(FrameIndex::decode(&encoded).unwrap(), index);
    let mut start = 1008;
    for (n, (length, _)) in (1..).zip(&lengths) {
        if n % 997 == 0 || n > 99_900 {
            assert_eq!(index.frame(n), bytes(&[start..start + u64::from(*length); 1]), "{n}");
        }
        start += u64::from(*length) + 8;
    }
    assert!(native(&geometry(512, 512, 1, 16, Some(4_000_000_000)), 0, u64::MAX / 16).encode().len() < 30);
}

#[test]
fn stored_indexes_are_still_read() {
    let stored: [(&[u8], FrameIndex); 4] = [
        (&[1, 0, 0, 0], FrameIndex::default()),
        (&[1, 0, 2, 1, 0xC8, 0x01, 6, 2], native(&geometry(2, 3, 1, 8, Some(2)), 200, 12)),
        (&[1, 0, 4, 2, 50, 9, 4], native(&geometry(3, 3, 1, 1, Some(4)), 50, 5)),
        (&[1, 0, 1, 3, 0xE8, 0x07, 1, 3, 4, 0, 0xAC, 0x02], {
            encapsulated(1, &fragments(&[(4, b""), (0, b""), (300, b"")]))
        }),
    ];
    for (bytes, index) in stored {
        assert_eq!(index.encode(), bytes);
        assert_eq!(FrameIndex::decode(bytes).unwrap(), index);
    }
    let inflated = FrameIndex::decode(&[1, 0xC8, 0x01, 0, 0]).unwrap();
    assert_eq!((inflated.inflated(), inflated.inflated_from()), (true, Some(200)));
}

#[test]
fn damaged_indexes_are_refused() {
    let whole = encapsulated(3, &fragments(&[(4, b""), (0, b""), (300, b"")])).encode();
    for cut in 0..whole.len() {
        assert!(FrameIndex::decode(&whole[..cut]).is_err(), "{cut}");
    }
    assert_eq!(FrameIndex::decode(&[2, 0, 0, 0]), Err(FrameIndexError::Format(2)));
    let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    for bad in [
        &[1, 0, 0, 4][..],
        &[1, 0, 0, 0, 0],
        // More frames present than declared, more than bytes for them, beyond 32 and 64 bits.
        &[1, 0, 1, 1, 0, 6, 2],
        &[1, 0, 0x80, 0x80, 0x80, 0x80, 0x0F, 3, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
        &[1, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0],
        &[[1, 0, 1, 1].as_slice(), &most, &[1, 1]].concat(),
        &[[1, 0, 1, 3, 0, 1, 1].as_slice(), &most].concat(),
        &[1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02, 0, 0],
    ] {
        assert!(FrameIndex::decode(bad).is_err(), "{bad:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(body in proptest::collection::vec(0_u8..=255, 0..60)) {
        if let Ok(index) = FrameIndex::decode(&[&[1][..], &body].concat()) {
            let _ = (index.frame(1), index.frame(index.count()), index.frame(u32::MAX));
            proptest::prop_assert_eq!(FrameIndex::decode(&index.encode()).unwrap(), index);
        }
    }
}
