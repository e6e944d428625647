//! Pictures against values computed by hand from the formulas of PS3.3.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::lut::{Descriptor, Table};
use super::palette::{Entries, Palette};
use super::stored::Stored;
use super::voi::Voi;
use super::*;
use crate::dicom::pixels::{Description, Planar};

fn shape(photometric: Photometric, columns: u16, bits: u8) -> Description {
    let samples = photometric.samples();
    Description {
        rows: 1,
        columns,
        samples,
        bits_allocated: bits,
        bits_stored: bits,
        high_bit: bits - 1,
        signed: false,
        planar: Planar::ByPixel,
        photometric,
    }
}

/// Grey frame of 16-bit containers, of which `stored` bits are used.
fn words(values: &[i32], stored: u8, signed: bool) -> Native {
    let columns = u16::try_from(values.len()).unwrap();
    let shape = Description {
        bits_stored: stored,
        high_bit: stored - 1,
        signed,
        ..shape(Photometric::Monochrome2, columns, 16)
    };
    let mask = u32::MAX >> (32 - u32::from(stored));
    let bytes =
        values.iter().flat_map(|value| ((value.cast_unsigned() & mask) as u16).to_le_bytes()).collect();
    Native { shape, bytes }
}

fn bytes(photometric: Photometric, bytes: &[u8]) -> Native {
    let columns = u16::try_from(bytes.len() / usize::from(photometric.samples())).unwrap();
    Native { shape: shape(photometric, columns, 8), bytes: bytes.to_vec() }
}

/// Metadata of these elements: tag and values.
fn metadata(elements: &[(&str, Value)]) -> Vec<u8> {
    let members =
        elements.iter().map(|(tag, values)| ((*tag).to_owned(), json!({"vr": "UN", "Value": values})));
    serde_json::to_vec(&Value::Object(members.collect())).unwrap()
}

fn look(
    frame: &Native,
    elements: &[(&str, Value)],
    tables: &[(&str, Vec<u8>)],
) -> Result<Look, Unrenderable> {
    let tables = tables.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
    Attributes::of_metadata(&metadata(elements), frame.shape.photometric, 1)?.look(&frame.shape, &tables)
}

fn shown(frame: &Native, elements: &[(&str, Value)]) -> Vec<u8> {
    render(frame, &look(frame, elements, &[]).unwrap()).unwrap().samples
}

fn window(center: f64, width: f64) -> Vec<(&'static str, Value)> {
    vec![("00281050", json!([center, 0.0])), ("00281051", json!([width, 1.0]))]
}

#[test]
fn a_linear_window_has_its_ends_where_the_standard_has_them() {
    // c - 0.5 - (w-1)/2 = 30 and c - 0.5 + (w-1)/2 = 49 for c = 40, w = 20.
    let frame = words(&[-5, 29, 30, 31, 39, 40, 48, 49, 50, 4000], 16, true);
    assert_eq!(shown(&frame, &window(40.0, 20.0)), [0, 0, 0, 13, 121, 134, 242, 255, 255, 255]);
    // A width of 1 is a threshold at center - 0.5.
    assert_eq!(shown(&words(&[38, 39, 40], 12, false), &window(40.0, 1.0)), [0, 0, 255]);
}

#[test]
fn functions_other_than_linear_are_honoured() {
    let frame = words(&[29, 30, 31, 40, 50, 51], 12, false);
    let with = |function: &str| {
        let function = ("00281056", json!([function]));
        shown(&frame, &[window(40.0, 20.0), vec![function]].concat())
    };
    assert_eq!(with("LINEAR_EXACT"), [0, 0, 13, 128, 255, 255]);
    // 255 / (1 + exp(-4 (x - 40) / 20))
    assert_eq!(with("SIGMOID"), [25, 30, 36, 128, 225, 230]);
    assert_eq!(with("LINEAR"), with(""));
    // A linear window narrower than 1 is taken as exact, one that cannot be as none.
    assert_eq!(shown(&words(&[9, 10, 11], 8, false), &window(10.0, 0.5)), [0, 128, 255]);
    assert_eq!(shown(&words(&[9, 10, 11], 8, false), &window(10.0, -1.0)), [0, 128, 255]);
}

#[test]
fn values_are_rescaled_before_they_are_windowed() {
    let rescale = [("00281052", json!([-1024])), ("00281053", json!(["0.5 "]))];
    let frame = words(&[2048, 2128, 2168], 12, false);
    // Outputs 0, 40, 60 in a window of 0 to 79.
    assert_eq!(shown(&frame, &[rescale.to_vec(), window(40.0, 80.0)].concat()), [0, 129, 194]);
    // A slope of 0 would leave nothing.
    let flat = [("00281053", json!([0]))];
    assert_eq!(shown(&words(&[0, 1], 8, false), &flat), [0, 255]);
}

#[test]
fn without_a_window_all_that_is_there_is_shown_but_padding() {
    assert_eq!(shown(&words(&[100, 150, 200], 16, false), &[]), [0, 128, 255]);
    assert_eq!(shown(&words(&[-100, 0, 100], 16, true), &[]), [0, 128, 255]);
    // Falling values, too.
    let falling = [("00281053", json!([-1]))];
    assert_eq!(shown(&words(&[0, 10], 8, false), &falling), [255, 0]);
    let padded = words(&[-2000, 0, 50, 100], 16, true);
    for padding in [json!([-2000]), json!([63536])] {
        assert_eq!(shown(&padded, &[("00280120", padding)]), [0, 0, 128, 255]);
    }
    let range = [("00280120", json!([90])), ("00280121", json!([255]))];
    assert_eq!(shown(&words(&[0, 40, 80, 90, 100, 255], 8, false), &range), [0, 128, 255, 255, 255, 255]);
    // No contrast at all, or nothing but padding.
    assert_eq!(shown(&words(&[7, 7], 8, false), &[]), [0, 0]);
    assert_eq!(shown(&words(&[7, 7], 8, false), &[("00280120", json!([7]))]), [0, 0]);
}

#[test]
fn monochrome_1_is_turned_around() {
    let mut frame = words(&[0, 1, 3], 16, false);
    frame.shape.photometric = Photometric::Monochrome1;
    assert_eq!(shown(&frame, &[]), [255, 170, 0]);
    assert_eq!(shown(&frame, &window(2.0, 2.0)), [255, 255, 0]);
}

#[test]
fn every_number_of_bits_is_read_where_it_lies() {
    for stored in [1, 5, 8, 10, 12, 13, 15, 16] {
        let greatest = (1 << stored) - 1;
        let frame = words(&[0, greatest], stored, false);
        assert_eq!(shown(&frame, &[]), [0, 255], "{stored} bits");
        // Other bits of the container do not count.
        let mut high = frame.clone();
        high.shape.high_bit = 15;
        let shifted =
            [0_u16, (greatest << (16 - stored)) as u16].map(|word| word | ((1 << (16 - stored)) - 1));
        high.bytes = shifted.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(shown(&high, &[]), [0, 255], "{stored} high bits");
    }
    let signed = words(&[-2048, -1, 0, 2047], 12, true);
    assert_eq!(shown(&signed, &window(0.0, 4096.0)), [0, 127, 128, 255]);
    let long: Vec<u8> = [0_u32, 1 << 31, u32::MAX].iter().flat_map(|n| n.to_le_bytes()).collect();
    let frame = Native { shape: shape(Photometric::Monochrome2, 3, 32), bytes: long };
    assert_eq!(shown(&frame, &[]), [0, 128, 255]);
    let mut signed = frame;
    signed.shape.signed = true;
    assert_eq!(shown(&signed, &[]), [255, 0, 255]);
    let frame = Native { shape: shape(Photometric::Monochrome2, 2, 64), bytes: [[0; 8], [255; 8]].concat() };
    assert_eq!(shown(&frame, &[]), [0, 255]);
}

#[test]
fn single_bits_are_black_and_white_even_if_all_are_the_same() {
    let of = |bytes: &[u8]| Native { shape: shape(Photometric::Monochrome2, 11, 1), bytes: bytes.to_vec() };
    let ones = |at: &[usize]| (0..11).map(|n| if at.contains(&n) { 255 } else { 0 }).collect::<Vec<u8>>();
    assert_eq!(shown(&of(&[0b0000_0101, 0b100]), &[]), ones(&[0, 2, 10]));
    assert_eq!(shown(&of(&[0xFF, 0x07]), &[]), [255; 11]);
    assert_eq!(shown(&of(&[0, 0]), &[]), [0; 11]);
}

fn table_item(descriptor: &Value, data: &Value) -> Value {
    json!([{"00283002": {"vr": "US", "Value": descriptor}, "00283006": {"vr": "US", "Value": data}}])
}

#[test]
fn look_up_tables_take_the_place_of_rescale_and_window() {
    let frame = words(&[0, 10, 11, 12, 200], 8, false);
    let modality = ("00283000", table_item(&json!([3, 10, 16]), &json!([1000, 2000, 3000])));
    // 1000, 1000, 2000, 3000, 3000, and no window.
    assert_eq!(shown(&frame, std::slice::from_ref(&modality)), [0, 0, 128, 255, 255]);
    let ignored = ("00281053", json!([7]));
    assert_eq!(shown(&frame, &[modality.clone(), ignored]), [0, 0, 128, 255, 255]);
    let voi = ("00283010", table_item(&json!([2, 1999, 12]), &json!([4095, 0])));
    assert_eq!(shown(&frame, &[modality, voi.clone()]), [255, 255, 0, 0, 0]);
    // A window counts before a table.
    assert_eq!(shown(&words(&[0, 255], 8, false), &[window(128.0, 256.0), vec![voi]].concat()), [0, 255]);
    // The first value of a VOI table is signed where values below 0 can come.
    let signed = words(&[-2, -1, 0], 8, true);
    let voi = ("00283010", table_item(&json!([2, 65535, 8]), &json!([0, 255])));
    assert_eq!(shown(&signed, std::slice::from_ref(&voi)), [0, 0, 255]);
    assert_eq!(shown(&words(&[0, 1], 8, false), &[voi]), [0, 0]);
}

#[test]
fn tables_beside_the_metadata_are_named_and_read() {
    let frame = words(&[0, 1], 8, false);
    let without = |descriptor: Value| json!([{"00283002": {"vr": "US", "Value": descriptor}}]);
    let elements = [("00283000", without(json!([2, 0, 16]))), ("00283010", without(json!([2, 5, 8])))];
    let attributes = Attributes::of_metadata(&metadata(&elements), Photometric::Monochrome2, 1).unwrap();
    assert_eq!(attributes.tables(), ["00283000/1/00283006", "00283010/1/00283006"]);
    let tables = [("00283000/1/00283006", vec![5, 0, 6, 0]), ("00283010/1/00283006", vec![7, 200])];
    let look = look(&frame, &elements, &tables).unwrap();
    assert_eq!(render(&frame, &look).unwrap().samples, [7, 200]);
    let wanted = Window::new(5.0, 2.0, Function::LinearExact);
    assert_eq!(attributes.with(wanted).tables(), ["00283000/1/00283006"]);
    assert!(super::tests::look(&frame, &elements, &tables[..1]).is_err());
}

#[test]
fn a_frames_own_values_count_before_shared_ones_and_those_before_the_rest() {
    let frame = words(&[0, 10, 20], 8, false);
    let group = |slope: f64, width: f64| {
        json!({
            "00289145": {"vr": "SQ", "Value": [{"00281053": {"vr": "DS", "Value": [slope]}}]},
            "00289132": {"vr": "SQ", "Value": [{
                "00281050": {"vr": "DS", "Value": [10]}, "00281051": {"vr": "DS", "Value": [width]}
            }]}
        })
    };
    let top = [("00281053", json!([3])), ("00281050", json!([0])), ("00281051", json!([9]))];
    let shared = ("52009229", json!([group(2.0, 30.0)]));
    let each = ("52009230", json!([{}, group(1.0, 20.0)]));
    let all = [top.to_vec(), vec![shared.clone(), each]].concat();
    let of = |number| {
        let attributes = Attributes::of_metadata(&metadata(&all), Photometric::Monochrome2, number).unwrap();
        render(&frame, &attributes.look(&frame.shape, &HashMap::new()).unwrap()).unwrap().samples
    };
    // (x - 9.5) / 19 + 0.5 of 0, 10, 20
    assert_eq!(of(2), [0, 134, 255]);
    // (2 x - 9.5) / 29 + 0.5
    assert_eq!(of(1), [44, 220, 255]);
    assert_eq!(of(1), of(3), "a frame without a group");
    let only_top = shown(&frame, &top);
    assert_eq!(only_top, [143, 255, 255]);
    let strange = [top.to_vec(), vec![("52009230", json!(["x", 7])), ("52009229", json!([[]]))]].concat();
    assert_eq!(shown(&frame, &strange), only_top);
}

fn descriptor(entries: u16, first: i64, bits: u32, signed: bool) -> Descriptor {
    let numbers = [f64::from(entries), first as f64, f64::from(bits)];
    Descriptor::of(&numbers, signed).unwrap()
}

#[test]
fn a_descriptor_is_read_whatever_the_signs_it_is_written_with() {
    let read =
        |numbers: &[f64], signed| Descriptor::of(numbers, signed).ok().map(|d| (d.entries, d.first, d.bits));
    assert_eq!(read(&[0.0, 0.0, 16.0], false), Some((65_536, 0, 16)));
    assert_eq!(read(&[-1.0, 0.0, 8.0], false), Some((65_535, 0, 8)));
    assert_eq!(read(&[1.0, 65_535.0, 8.0], true), Some((1, -1, 8)));
    assert_eq!(read(&[1.0, 65_535.0, 8.0], false), Some((1, 65_535, 8)));
    assert_eq!(read(&[1.0, -1.0, 8.0], true), Some((1, -1, 8)));
    assert_eq!(read(&[1.0, -1.0, 8.0], false), Some((1, 65_535, 8)));
    for bad in [
        &[][..],
        &[1.0, 0.0],
        &[1.0, 0.0, 7.0],
        &[1.0, 0.0, 17.0],
        &[1.5, 0.0, 8.0],
        &[f64::NAN, 0.0, 8.0],
        &[1.0, f64::INFINITY, 8.0],
        &[70_000.0, 0.0, 8.0],
    ] {
        assert_eq!(read(bad, false), None, "{bad:?}");
    }
}

#[test]
fn entries_of_8_bits_lie_in_words_or_in_bytes() {
    let of = |bytes: &[u8]| descriptor(3, 0, 8, false).entries_in(bytes).ok();
    assert_eq!(of(&[1, 0, 2, 0, 3, 0]), Some(vec![1, 2, 3]));
    assert_eq!(of(&[1, 2, 3, 0]), Some(vec![1, 2, 3]));
    assert_eq!(of(&[1, 0, 2, 0, 3, 0, 9, 9]), Some(vec![1, 2, 3]));
    assert_eq!(of(&[1, 2]), None);
    assert_eq!(descriptor(3, 0, 10, false).entries_in(&[1, 2, 3, 0]).ok(), None);
}

/// A palette of three equal tables.
fn grey_palette(descriptor: Descriptor, entries: &[u8], whole: bool) -> Result<Vec<u8>, Unrenderable> {
    let one = || (descriptor, if whole { Entries::Whole(entries) } else { Entries::Segmented(entries) });
    let palette = Palette::of([one(), one(), one()])?;
    Ok((-2..8).map(|value| palette.colour(value)[1]).collect())
}

fn le(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn palettes_keep_the_high_bits_and_reach_beyond_their_ends() {
    let of = |first, bits, words: &[u16]| {
        grey_palette(descriptor(3, first, bits, true), &le(words), true).unwrap()
    };
    assert_eq!(of(0, 8, &[1, 2, 3]), [1, 1, 1, 2, 3, 3, 3, 3, 3, 3]);
    assert_eq!(of(0, 16, &[0x01FF, 0x0200, 0xFFFF]), [1, 1, 1, 2, 255, 255, 255, 255, 255, 255]);
    assert_eq!(of(-1, 12, &[0x010, 0xFF0, 0x800]), [1, 1, 255, 128, 128, 128, 128, 128, 128, 128]);
    // Says 16 bits, has 8.
    assert_eq!(of(2, 16, &[1, 2, 255]), [1, 1, 1, 1, 1, 2, 255, 255, 255, 255]);
}

#[test]
fn segments_are_discrete_linear_or_copies() {
    let eight = |entries: u16, bytes: &[u8]| grey_palette(descriptor(entries, 0, 8, false), bytes, false);
    let sixteen =
        |entries: u16, words: &[u16]| grey_palette(descriptor(entries, 0, 16, false), &le(words), false);
    let long = |entries: &[u8]| {
        let last = *entries.last().unwrap();
        [&[entries[0]; 2], entries, &[last; 8]].concat()[..10].to_vec()
    };
    assert_eq!(eight(3, &[0, 3, 5, 6, 7]).unwrap(), long(&[5, 6, 7]));
    assert_eq!(eight(5, &[0, 1, 10, 1, 4, 50]).unwrap(), long(&[10, 20, 30, 40, 50]));
    assert_eq!(eight(3, &[0, 1, 50, 1, 2, 0]).unwrap(), long(&[50, 25, 0]));
    assert_eq!(sixteen(3, &[0, 1, 0x1000, 1, 2, 0x3000]).unwrap(), long(&[0x10, 0x20, 0x30]));
    // Two copied segments: of byte 0, one discrete; then the linear one behind it, from what is last now.
    let copied = [0, 1, 10, 1, 2, 30, 2, 2, 0, 0, 0, 0];
    assert_eq!(eight(6, &copied).unwrap(), long(&[10, 20, 30, 10, 20, 30]));
    let copied = [0, 1, 0x1000, 1, 1, 0x2000, 2, 1, 6, 0];
    assert_eq!(sixteen(3, &copied).unwrap(), long(&[0x10, 0x20, 0x20]));
    for bad in [
        &[][..],
        &[0],
        &[0, 0, 0, 1, 7],
        &[0, 3, 5, 6],
        &[1, 3, 9],
        &[0, 1, 5, 1, 0, 9],
        &[3, 1, 5],
        &[0, 1, 5, 2, 0, 0, 0, 0, 0],
        &[0, 1, 5, 2, 1, 9, 0, 0, 0],
        &[0, 1, 5, 2, 1, 0xFF, 0xFF, 0xFF, 0xFF],
        // A copy of a copy.
        &[0, 1, 5, 2, 1, 3, 0, 0, 0],
    ] {
        assert!(eight(3, bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_palette_is_read_from_metadata_or_beside_them() {
    let mut frame = bytes(Photometric::Palette, &[0, 1, 2]);
    let each = |value: Value| ["00281101", "00281102", "00281103"].map(|tag| (tag, value.clone())).to_vec();
    let words = [("00281201", json!([1, 2])), ("00281202", json!([3, 4])), ("00281203", json!([5, 6]))];
    let elements = [each(json!([2, 0, 8])), words.to_vec()].concat();
    let expected = [1, 3, 5, 2, 4, 6, 2, 4, 6];
    assert_eq!(shown(&frame, &elements), expected);
    let bare = each(json!([2, 0, 8]));
    let attributes = Attributes::of_metadata(&metadata(&bare), Photometric::Palette, 1).unwrap();
    assert_eq!(attributes.tables().len(), 6);
    let tables = [("00281201", vec![1, 2]), ("00281222", vec![0, 2, 3, 4]), ("00281203", vec![5, 0, 6, 0])];
    assert_eq!(render(&frame, &look(&frame, &bare, &tables).unwrap()).unwrap().samples, expected);
    for (bad, tables) in
        [(vec![], &tables[..]), (bare.clone(), &tables[..2]), (each(json!([0, 0, 16])), &tables[..])]
    {
        assert!(look(&frame, &bad, tables).is_err());
    }
    // 65,536 entries, for words of 16 bits.
    frame = words_of_palette();
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let tables = ["00281201", "00281202", "00281203"].map(|path| (path, all.clone()));
    let picture = render(&frame, &look(&frame, &each(json!([0, 0, 16])), &tables).unwrap()).unwrap();
    assert_eq!(picture.samples, [0, 0, 0, 0x12, 0x12, 0x12, 255, 255, 255]);
}

fn words_of_palette() -> Native {
    let mut frame = words(&[0, 0x1234, 0xFFFF], 16, false);
    frame.shape.photometric = Photometric::Palette;
    frame
}

#[test]
fn colours_become_rgb_of_8_bits() {
    let rgb = [1, 2, 3, 250, 251, 252];
    assert_eq!(shown(&bytes(Photometric::Rgb, &rgb), &[]), rgb);
    let mut wide = bytes(Photometric::Rgb, &[0; 3]);
    wide.shape.bits_allocated = 16;
    wide.shape.bits_stored = 16;
    wide.shape.high_bit = 15;
    wide.bytes = le(&[0, 0x8000, 0xFFFF]);
    assert_eq!(shown(&wide, &[]), [0, 128, 255]);
    wide.shape.bits_stored = 12;
    wide.shape.high_bit = 11;
    wide.bytes = le(&[0, 2048, 4095]);
    assert_eq!(shown(&wide, &[]), [0, 128, 255]);
    // Grey, red, and beyond white.
    let full = [128, 128, 128, 76, 85, 255, 255, 128, 255];
    assert_eq!(shown(&bytes(Photometric::YbrFull, &full), &[]), [128, 128, 128, 254, 0, 0, 255, 164, 255]);
    let shared = |photometric, bytes: &[u8]| {
        let mut frame = self::bytes(photometric, &[0; 6]);
        frame.bytes = bytes.to_vec();
        shown(&frame, &[])
    };
    assert_eq!(shared(Photometric::YbrFull422, &[0, 255, 128, 128]), [0, 0, 0, 255, 255, 255]);
    assert_eq!(shared(Photometric::YbrPartial422, &[16, 235, 128, 128]), [0, 0, 0, 255, 255, 255]);
    assert_eq!(shared(Photometric::YbrPartial422, &[81, 16, 90, 240]), [254, 0, 0, 179, 0, 0]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let mut short = bytes(Photometric::Monochrome2, &[1, 2, 3]);
    let grey = look(&short, &[], &[]).unwrap();
    short.bytes.pop();
    assert!(render(&short, &grey).is_err());
    assert!(render(&bytes(Photometric::Rgb, &[1, 2, 3]), &grey).is_err());
    for photometric in [Photometric::YbrRct, Photometric::YbrIct, Photometric::YbrPartial420] {
        assert!(render(&bytes(photometric, &[1, 2, 3]), &Look(How::Colour)).is_err());
    }
    assert!(Attributes::of_metadata(b"{", Photometric::Monochrome1, 1).is_err());
    assert!(Attributes::of_metadata(b"[]x", Photometric::Palette, 1).is_err());
}

#[test]
fn a_viewport_keeps_the_aspect_of_the_part_it_shows() {
    let place = |width, height, source| Viewport { width, height, source }.place(200, 100);
    let size = |placed: Option<Placed>| placed.map(|placed| (placed.width, placed.height));
    assert_eq!(size(place(100, 100, Source::default())), Some((100, 50)));
    assert_eq!(size(place(10, 100, Source::default())), Some((10, 5)));
    assert_eq!(size(place(800, 100, Source::default())), Some((200, 100)));
    assert_eq!(size(place(1, 1, Source::default())), Some((1, 1)));
    let at = |x, y, width: f64, height: f64| Source { x, y, width: Some(width), height: Some(height) };
    let square = place(64, 32, at(10.0, 20.0, -50.0, 50.0)).unwrap();
    assert_eq!((square.part, square.mirrored, square.upside_down), ([10.0, 20.0, 50.0, 50.0], true, false));
    assert_eq!((square.width, square.height), (32, 32));
    let clipped = place(64, 64, at(-10.0, 90.0, 20.0, -90.0)).unwrap();
    assert_eq!((clipped.part, clipped.upside_down), ([0.0, 90.0, 10.0, 10.0], true));
    let open = Source { x: 150.5, y: 0.0, width: None, height: None };
    assert_eq!(place(64, 64, open).unwrap().part, [150.5, 0.0, 49.5, 100.0]);
    for beside in
        [at(200.0, 0.0, 5.0, 5.0), at(0.0, -5.0, 5.0, 5.0), at(0.0, 0.0, 0.0, 5.0), at(0.0, 99.5, 5.0, 5.0)]
    {
        assert_eq!(place(64, 64, beside), None, "{beside:?}");
    }
}

#[test]
fn where_an_instance_stands_is_read_leniently() {
    let place = |elements: &[(&str, Value)]| Place::of_metadata(&metadata(elements));
    let full = place(&[
        ("00200011", json!([7])),
        ("00200013", json!(["10 "])),
        ("00280010", json!([512])),
        ("00286010", json!([3])),
    ]);
    let expected = Place {
        series_number: Some(7),
        instance_number: Some(10),
        representative_frame: Some(3),
        is_image: true,
    };
    assert_eq!(full, expected);
    assert_eq!(place(&[("00200013", json!(["x"])), ("00286010", json!([0]))]), Place::default());
    assert_eq!(Place::of_metadata(b"no json"), Place::default());
}

fn any_photometric() -> impl Strategy<Value = Photometric> {
    prop::sample::select(vec![
        Photometric::Monochrome1,
        Photometric::Monochrome2,
        Photometric::Palette,
        Photometric::Rgb,
        Photometric::YbrFull,
        Photometric::YbrFull422,
        Photometric::YbrPartial422,
        Photometric::YbrPartial420,
        Photometric::YbrIct,
    ])
}

proptest! {
    /// Whatever attributes and bytes say: a picture of the right size, or an error.
    #[test]
    fn nothing_panics(
        photometric in any_photometric(),
        bits in prop::sample::select(vec![1_u8, 8, 16, 32, 64]),
        stored in 1_u8..65,
        high in 0_u8..64,
        signed: bool,
        rows in 1_u16..4,
        columns in 1_u16..6,
        noise in prop::collection::vec(any::<u8>(), 64),
        numbers in prop::collection::vec(prop_oneof![
            any::<f64>(), (-70_000_i32..70_000).prop_map(f64::from), Just(0.0), Just(1.0)
        ], 16),
    ) {
        let stored = stored.min(bits);
        let high_bit = high.clamp(stored - 1, bits - 1);
        let shape = Description {
            rows, columns, bits_allocated: bits, bits_stored: stored, high_bit, signed,
            ..shape(photometric, columns, bits)
        };
        let length = usize::try_from(shape.frame_bytes()).unwrap();
        let bytes: Vec<u8> = noise.iter().cycle().take(length).copied().collect();
        let frame = Native { shape, bytes };
        let n = |at: usize| json!(numbers[at]);
        let elements = [
            ("00281050", json!([n(0)])), ("00281051", json!([n(1)])), ("00281052", json!([n(2)])),
            ("00281053", json!([n(3)])), ("00280120", json!([n(4)])), ("00280121", json!([n(5)])),
            ("00281101", json!([n(6), n(7), 8])), ("00281102", json!([n(6), n(8), 16])),
            ("00281103", json!([n(6), n(9), 12])),
            ("00283000", table_item(&json!([n(10), n(11), 16]), &json!([n(12), n(13)]))),
        ];
        let tables = ["00281201", "00281222", "00281203"].map(|path| (path, noise.clone()));
        if let Ok(look) = look(&frame, &elements, &tables)
            && let Ok(picture) = render(&frame, &look)
        {
            let pixels = usize::from(rows) * usize::from(columns);
            prop_assert_eq!(picture.samples.len(), pixels * picture.colour.samples());
        }
    }

    /// A table of all values shows the same as each value by itself.
    #[test]
    fn levels_never_fall_and_reach_both_ends(
        center in -3000.0..3000.0_f64,
        width in 1.0..4000.0_f64,
        function in prop::sample::select(vec![Function::Linear, Function::LinearExact, Function::Sigmoid]),
    ) {
        let voi = Voi::Window(Window::new(center, width, function).unwrap());
        let level = voi.level(|| unreachable!("a window needs no range"));
        let levels: Vec<u8> = (-6000..6000).map(|x| level.of(f64::from(x))).collect();
        prop_assert!(levels.is_sorted());
        prop_assert_eq!(level.of(-1e9), 0);
        prop_assert_eq!(level.of(1e9), 255);
    }

    #[test]
    fn segments_of_noise_make_as_many_entries_as_they_should_or_none(
        noise in prop::collection::vec(prop_oneof![0_u8..3, any::<u8>()], 0..400),
        entries: u16,
        bits in 8_u32..17,
    ) {
        let descriptor = descriptor(entries, 0, bits, false);
        let one = || (descriptor, Entries::Segmented(&noise));
        if let Ok(palette) = Palette::of([one(), one(), one()]) {
            let last = palette.colour(i64::MAX);
            prop_assert_eq!(palette.colour(descriptor.entries as i64 - 1), last);
        }
    }

    #[test]
    fn a_value_is_read_back_from_its_code(value: i64, bits in 1_u8..65, signed: bool) {
        let mut shape = shape(Photometric::Monochrome2, 1, 64);
        (shape.bits_stored, shape.high_bit, shape.signed) = (bits, bits - 1, signed);
        let stored = Stored::of(&shape);
        let (least, greatest) = stored.extremes();
        prop_assume!(least < greatest);
        let value = least.saturating_add(value.unsigned_abs().checked_rem((greatest.abs_diff(least)).max(1)).unwrap_or(0) as i64);
        prop_assume!((least..=greatest).contains(&value));
        let mask = u64::MAX >> (64 - u32::from(bits));
        prop_assert_eq!(stored.value(value.cast_unsigned() & mask), value);
    }

    #[test]
    fn a_table_answers_for_every_value(first in -40_000_i64..70_000, value: i64, words in prop::collection::vec(any::<u16>(), 1..9)) {
        let descriptor = Descriptor { entries: words.len(), first, bits: 16 };
        let table = Table::of(descriptor, &le(&words)).unwrap();
        let at = value.saturating_sub(first).clamp(0, words.len() as i64 - 1);
        prop_assert_eq!(table.at(value), words[usize::try_from(at).unwrap()]);
    }
}
