//! Streams as they announce themselves, and what is made of their colours.

use super::*;
use crate::dicom::pixels::Planar;
use proptest::prelude::*;

fn said(rows: u16, columns: u16, samples: u8, bits: u8, photometric: Photometric) -> Description {
    Description {
        rows,
        columns,
        samples,
        bits_allocated: if bits > 8 { 16 } else { 8 },
        bits_stored: bits,
        high_bit: bits - 1,
        signed: false,
        planar: Planar::ByPixel,
        photometric,
    }
}

fn grey(bits: u8) -> Description {
    said(3, 5, 1, bits, Photometric::Monochrome2)
}

fn segment(marker: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, marker], &length[..], value].concat()
}

fn frame_head(marker: u8, precision: u8, rows: u16, columns: u16, ids: &[u8]) -> Vec<u8> {
    let [high, low] = rows.to_be_bytes();
    let [wide, narrow] = columns.to_be_bytes();
    let mut value = vec![precision, high, low, wide, narrow, u8::try_from(ids.len()).unwrap()];
    ids.iter().for_each(|id| value.extend_from_slice(&[*id, 0x11, 0]));
    segment(marker, &value)
}

/// A stream with these segments before its frame.
fn jpeg(before: &[Vec<u8>], marker: u8, precision: u8, ids: &[u8]) -> Bytes {
    let scan = segment(0xDA, &[u8::try_from(ids.len()).unwrap(), 1, 0, 0, 63, 0]);
    let head = frame_head(marker, precision, 3, 5, ids);
    Bytes::from([b"\xFF\xD8".to_vec(), before.concat(), head, scan, b"data\xFF\xD9".to_vec()].concat())
}

fn adobe(transform: u8) -> Vec<u8> {
    segment(0xEE, &[b"Adobe\x00\x64\x00\x00\x00\x00", &[transform][..]].concat())
}

fn siz(size: [u32; 8], components: &[[u8; 3]]) -> Bytes {
    let count = u16::try_from(components.len()).unwrap();
    let size = size.map(u32::to_be_bytes);
    let value = [&[0, 0], size.as_flattened(), &count.to_be_bytes(), components.as_flattened()];
    Bytes::from([b"\xFF\x4F".to_vec(), segment(0x51, &value.concat()), b"\xFF\x52rest".to_vec()].concat())
}

fn refused(family: Family, stream: Bytes, said: &Description) -> String {
    checked(family, stream, said).map(drop).expect_err("it is refused").to_string()
}

#[test]
fn a_stream_must_be_what_the_dataset_says() {
    let good = jpeg(&[], 0xC0, 8, &[1]);
    assert_eq!(checked(Family::JpegLossy, good.clone(), &grey(8)).unwrap().1, good);
    for (other, named) in [
        (said(4, 5, 1, 8, Photometric::Monochrome2), "5 × 3"),
        (said(3, 4, 1, 8, Photometric::Monochrome2), "5 × 3"),
        (said(3, 5, 3, 8, Photometric::Rgb), "1 components"),
    ] {
        assert!(refused(Family::JpegLossy, good.clone(), &other).contains(named));
    }
    let twelve = jpeg(&[], 0xC1, 12, &[1]);
    assert_eq!(checked(Family::JpegLossy, twelve.clone(), &grey(12)).unwrap().0.precision, 12);
    assert!(refused(Family::JpegLossy, twelve, &grey(8)).contains("12 bits"));
    assert!(refused(Family::JpegLossy, jpeg(&[], 0xC0, 0, &[1]), &grey(8)).contains("0 bits"));
    // Rows that are told later.
    assert!(refused(Family::JpegLossy, jpeg(&[], 0xC0, 8, &[]), &grey(8)).contains("0 components"));
}

#[test]
fn a_process_that_is_not_of_the_syntax_is_refused() {
    for (family, marker, fine) in [
        (Family::JpegLossy, 0xC0, true),
        (Family::JpegLossy, 0xC1, true),
        (Family::JpegLossy, 0xC2, true),
        (Family::JpegLossy, 0xC3, false),
        (Family::JpegLossy, 0xC9, false),
        (Family::JpegLossy, 0xF7, false),
        (Family::JpegLossless, 0xC3, true),
        (Family::JpegLossless, 0xC0, false),
        (Family::JpegLossless, 0xCB, false),
        (Family::JpegLs, 0xF7, true),
        (Family::JpegLs, 0xC3, false),
    ] {
        let found = checked(family, jpeg(&[], marker, 8, &[1]), &grey(8));
        assert_eq!(found.is_ok(), fine, "{marker:x} in {family:?}");
    }
}

/// `SC_jpeg_no_color_transform` is RGB with components 0, 1, 2 and no marker, which libraries take for YCbCr;
/// `SC_rgb_jpeg` has an Adobe marker too short to say anything.
#[test]
fn colours_are_what_the_stream_says_then_what_the_dataset_says() {
    let jfif = || segment(0xE0, b"JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00");
    let short = segment(0xEE, b"Adobe\x00\x64\x00\x00\x00");
    for (family, before, ids, photometric, turned) in [
        (Family::JpegLossy, vec![], *b"\x00\x01\x02", Photometric::Rgb, false),
        (Family::JpegLossy, vec![], *b"\x01\x02\x03", Photometric::YbrFull, true),
        (Family::JpegLossy, vec![], *b"\x01\x02\x03", Photometric::YbrFull422, true),
        (Family::JpegLossy, vec![], *b"RGB", Photometric::YbrFull, false),
        (Family::JpegLossy, vec![adobe(0)], *b"\x01\x02\x03", Photometric::YbrFull, false),
        (Family::JpegLossy, vec![adobe(1)], *b"\x01\x02\x03", Photometric::Rgb, true),
        (Family::JpegLossy, vec![adobe(2)], *b"\x01\x02\x03", Photometric::Rgb, true),
        (Family::JpegLossy, vec![jfif(), adobe(0)], *b"\x01\x02\x03", Photometric::Rgb, false),
        (Family::JpegLossy, vec![jfif()], *b"\x01\x02\x03", Photometric::Rgb, true),
        (Family::JpegLossy, vec![short], *b"\x01\x02\x03", Photometric::Rgb, false),
        (Family::JpegLossless, vec![jfif(), adobe(1)], *b"\x01\x02\x03", Photometric::YbrFull, false),
    ] {
        let marker = if family == Family::JpegLossless { 0xC3 } else { 0xC0 };
        let (_, body) =
            checked(family, jpeg(&before, marker, 8, &ids), &said(3, 5, 3, 8, photometric)).unwrap();
        let expected = jpeg(&[adobe(u8::from(turned))], marker, 8, &ids);
        assert_eq!(body, expected, "{before:x?} {ids:?} {photometric:?}");
    }
}

/// As `JPEG-lossy.dcm` has it: libjpeg warns of it, and would be taken by its word that the image is not whole.
#[test]
fn a_sequential_scan_without_coefficients_has_them_all() {
    let good = jpeg(&[], 0xC1, 12, &[1]);
    let mut odd = good.to_vec();
    let at = good.windows(3).position(|three| three == [0, 63, 0]).unwrap();
    odd[at + 1] = 0;
    assert_eq!(checked(Family::JpegLossy, odd.clone().into(), &grey(12)).unwrap().1, good);
    // A progressive one means what it says.
    let kind = good.windows(2).position(|two| two == b"\xFF\xC1").unwrap() + 1;
    odd[kind] = 0xC2;
    assert_eq!(checked(Family::JpegLossy, odd.clone().into(), &grey(12)).unwrap().1, odd);
}

#[test]
fn other_markers_stay_where_they_are() {
    let (comment, table) = (segment(0xFE, b"a note"), segment(0xDB, &[0; 65]));
    let stream = jpeg(&[comment.clone(), adobe(1), table.clone()], 0xC0, 8, &[1, 2, 3]);
    let (_, body) = checked(Family::JpegLossy, stream, &said(3, 5, 3, 8, Photometric::Rgb)).unwrap();
    assert_eq!(body, jpeg(&[adobe(1), comment, table], 0xC0, 8, &[1, 2, 3]));
}

#[test]
fn planes_of_jpeg_ls_are_known_by_their_scan() {
    let colour = said(3, 5, 3, 8, Photometric::Rgb);
    let stream = jpeg(&[], 0xF7, 8, &[1, 2, 3]);
    let (announced, body) = checked(Family::JpegLs, stream.clone(), &colour).unwrap();
    assert!(!announced.by_plane && body == stream);
    let scan = segment(0xDA, &[1, 1, 0, 0, 0, 0]);
    let head = frame_head(0xF7, 8, 3, 5, &[1, 2, 3]);
    let open = stream.slice(..stream.len() - 1);
    assert!(checked(Family::JpegLs, open, &colour).unwrap().1.ends_with(b"data\xFF\xFF\xD9"));
    let planes = Bytes::from([b"\xFF\xD8".to_vec(), head, scan].concat());
    assert!(checked(Family::JpegLs, planes, &colour).unwrap().0.by_plane);
}

#[test]
fn a_codestream_is_found_in_its_boxes() {
    let plain = siz([5, 3, 0, 0, 5, 3, 0, 0], &[[12 - 1, 1, 1]]);
    assert_eq!(checked(Family::Jpeg2000, plain.clone(), &grey(12)).unwrap().0.precision, 12);
    let signature = b"\x00\x00\x00\x0CjP  \x0D\x0A\x87\x0A".to_vec();
    for head in [&b"\x00\x00\x00\x00jp2c"[..], b"\x00\x00\x00\x01jp2c\x00\x00\x00\x00\x00\x00\xFF\xFF"] {
        let file =
            [signature.clone(), b"\x00\x00\x00\x09ftypx".to_vec(), head.to_vec(), plain.to_vec()].concat();
        assert!(checked(Family::Jpeg2000, file.into(), &grey(12)).is_ok());
    }
    for bad in [&b"\x00\x00\x00\x07ftyp"[..], b"\x00\x00\x00\x01jp2c", b"\xFF\xFF\xFF\xFFjp2x", b""] {
        let file = [signature.clone(), bad.to_vec()].concat();
        assert!(checked(Family::Jpeg2000, file.into(), &grey(12)).is_err());
    }
}

#[test]
fn sizes_and_tiles_that_cannot_be_are_refused() {
    let large = said(4096, 4096, 1, 8, Photometric::Monochrome2);
    let one = [[7, 1, 1]];
    assert!(checked(Family::Jpeg2000, siz([4096, 4096, 0, 0, 256, 256, 0, 0], &one), &large).is_ok());
    // An offset of the image in its grid.
    assert!(checked(Family::Jpeg2000, siz([4100, 4100, 4, 4, 256, 256, 0, 0], &one), &large).is_ok());
    for (size, components, named) in [
        ([4096, 4096, 0, 0, 1, 1, 0, 0], &one[..], "tiles"),
        ([4096, 4096, 0, 0, 15, 15, 0, 0], &one, "tiles"),
        ([4096, 4096, 0, 0, 0, 256, 0, 0], &one, "header"),
        ([4096, 4096, 0, 0, 256, 256, 1, 0], &one, "header"),
        ([4096, 4096, 4097, 0, 256, 256, 0, 0], &one, "header"),
        ([u32::MAX, 4096, 0, 0, u32::MAX, 256, 0, 0], &one, "4294967295"),
        ([4096, 4096, 0, 0, 256, 256, 0, 0], &[[7, 2, 1]], "one size"),
        ([4096, 4096, 0, 0, 256, 256, 0, 0], &[[37, 1, 1]], "38 bits"),
        ([4096, 4096, 0, 0, 256, 256, 0, 0], &[[7, 1, 1]; 16384], "16384 components"),
    ] {
        let found = refused(Family::Jpeg2000, siz(size, components), &large);
        assert!(found.contains(named), "{size:?}: {found}");
    }
}

proptest! {
    #[test]
    fn no_stream_is_too_strange_to_be_looked_at(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        begin in prop::sample::select(vec![
            &b""[..], b"\xFF\xD8", b"\xFF\xD8\xFF\xC0", b"\xFF\xD8\xFF\xF7", b"\xFF\x4F\xFF\x51",
            b"\x00\x00\x00\x0CjP  \x0D\x0A\x87\x0A",
        ]),
        family in prop::sample::select(vec![
            Family::JpegLossy, Family::JpegLossless, Family::JpegLs, Family::Jpeg2000,
        ]),
    ) {
        let stream = Bytes::from([begin.to_vec(), bytes].concat());
        drop(checked(family, stream.clone(), &said(3, 5, 3, 8, Photometric::Rgb)));
        drop(checked(family, stream, &grey(12)));
    }

    #[test]
    fn a_stream_that_is_cut_is_refused(cut in 0usize..60) {
        let stream = jpeg(&[adobe(1)], 0xC0, 8, &[1, 2, 3]);
        let head = stream.len() - b"data\xFF\xD9".len();
        prop_assert!(checked(Family::JpegLossy, stream.slice(..cut.min(head - 1)), &said(3, 5, 3, 8, Photometric::Rgb)).is_err());
    }
}
