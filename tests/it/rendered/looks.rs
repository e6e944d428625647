//! What samples look like: windows, tables, palettes, colours, bits (`studies.md` §3.7), through files.
//!
//! Expected samples are computed by hand from PS3.3 §C.7.6.3 and §C.11.

use super::{GREY, INSTANCE, RGB, WORDS, le, new, png, rendered, samples, text};
use crate::kit::dicom::{EXPLICIT_BIG, EXPLICIT_LITTLE, Element, IMPLICIT_LITTLE, Image, Instance, Value};
use crate::kit::served::Served;

const SYNTAXES: [&str; 3] = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG];

fn element(tag: u32, vr: &'static str, value: impl Into<Value>) -> Element {
    Element::new(tag, vr, value)
}

#[tokio::test]
async fn the_first_window_and_its_function_count() {
    let archive = Served::start().await;
    let image = new().frames(GREY, &[vec![29, 31, 40, 60]]);
    let window = |function: Option<&str>| {
        let image = image.clone().element(0x0028_1050, "DS", "40\\100").element(0x0028_1051, "DS", "20\\1");
        match function {
            Some(function) => image.element(0x0028_1056, "CS", function),
            None => image,
        }
    };
    assert_eq!(samples(&archive, &window(None), "").await, [0, 13, 134, 255]);
    assert_eq!(samples(&archive, &window(Some("LINEAR")), "").await, [0, 13, 134, 255]);
    assert_eq!(samples(&archive, &window(Some("LINEAR_EXACT")), "").await, [0, 13, 128, 255]);
    assert_eq!(samples(&archive, &window(Some("SIGMOID")), "").await, [25, 36, 128, 250]);
    // One that cannot be leaves all that is there.
    let impossible = image.clone().element(0x0028_1050, "DS", "40").element(0x0028_1051, "DS", "-20");
    assert_eq!(samples(&archive, &impossible, "").await, [0, 16, 90, 255]);
    let rescaled = window(None).element(0x0028_1052, "DS", "-20").element(0x0028_1053, "DS", "2");
    // 38, 42, 60, 100
    assert_eq!(samples(&archive, &rescaled, "").await, [107, 161, 255, 255]);
}

fn functional_group(slope: &str, window: Option<(&str, &str)>) -> Vec<Element> {
    let transformation = vec![
        element(0x0028_1052, "DS", "0"),
        element(0x0028_1053, "DS", slope),
        element(0x0028_1054, "LO", "US"),
    ];
    let transformation = element(0x0028_9145, "SQ", Value::Sequence(vec![transformation]));
    let voi = window.map(|(center, width)| {
        let voi = vec![element(0x0028_1050, "DS", center), element(0x0028_1051, "DS", width)];
        element(0x0028_9132, "SQ", Value::Sequence(vec![voi]))
    });
    voi.into_iter().chain([transformation]).collect()
}

#[tokio::test]
async fn per_frame_values_count_before_shared_ones_and_those_before_the_top_level() {
    let archive = Served::start().await;
    let frame = vec![0, 10, 20, 30];
    let image = new()
        .frames(GREY, &[frame.clone(), frame.clone(), frame])
        .element(0x0028_1050, "DS", "0")
        .element(0x0028_1051, "DS", "9")
        .element(0x0028_1053, "DS", "7");
    let shown = async |number: u32| {
        let answer =
            archive.get(&format!("{INSTANCE}/frames/{number}/rendered")).accept("image/png").send().await;
        png(answer.bytes()).samples
    };
    let shared = Value::Sequence(vec![functional_group("2", Some(("10", "30")))]);
    let each = vec![vec![], functional_group("1", Some(("10", "20"))), functional_group("1", None)];
    let image = image.element(0x5200_9229, "SQ", shared).element(0x5200_9230, "SQ", Value::Sequence(each));
    rendered(&archive, &image, "").await;
    assert_eq!(shown(1).await, [44, 220, 255, 255], "shared");
    assert_eq!(shown(2).await, [0, 134, 255, 255], "its own");
    assert_eq!(shown(3).await, [44, 132, 220, 255], "its own slope, the shared window");
    let without = image.without(0x5200_9229).without(0x5200_9230);
    rendered(&archive, &without, "").await;
    assert_eq!(shown(3).await, [143, 255, 255, 255], "the top level");
}

#[tokio::test]
async fn without_a_window_the_frame_is_shown_from_least_to_greatest_but_for_its_padding() {
    let archive = Served::start().await;
    let image = new().frames(GREY, &[vec![100, 120, 150, 200]]);
    assert_eq!(samples(&archive, &image, "").await, [0, 51, 128, 255]);
    let padded = image.clone().element(0x0028_0120, "US", 200_u16);
    assert_eq!(samples(&archive, &padded, "").await, [0, 102, 255, 255]);
    let range = image.element(0x0028_0120, "US", 100_u16).element(0x0028_0121, "US", 120_u16);
    assert_eq!(samples(&archive, &range, "").await, [0, 0, 0, 255]);
    let signed = new().frames(WORDS, &[le(&[0xF830, 0, 50, 100])]).element(0x0028_0103, "US", 1_u16).element(
        0x0028_0120,
        "SS",
        Value::I16(vec![-2000]),
    );
    assert_eq!(samples(&archive, &signed, "").await, [0, 0, 128, 255]);
    // Each frame by itself.
    let two = new().frames(GREY, &[vec![0, 1, 2, 3], vec![0, 50, 60, 90]]);
    assert_eq!(samples(&archive, &two, "").await, [0, 85, 170, 255]);
    let second = archive.get(&format!("{INSTANCE}/frames/2/rendered")).accept("image/png").send().await;
    assert_eq!(png(second.bytes()).samples, [0, 142, 170, 255]);
    assert_eq!(samples(&archive, &new().frames(GREY, &[vec![9; 4]]), "").await, [0; 4]);
}

/// Four values from least to greatest, in words of 16 bits of which `stored` up to `high` count.
fn words(stored: u16, high: u16, signed: bool) -> Instance {
    let greatest = u16::MAX >> (16 - stored);
    let sign = if signed { greatest / 2 + 1 } else { 0 };
    let values = [0, greatest / 3, greatest - greatest / 3, greatest].map(|value| {
        // Bits that do not count are set.
        let value = u32::from(value ^ sign) << (high + 1 - stored);
        let mask = u32::from(greatest) << (high + 1 - stored);
        (value | (0xFFFF & !mask)) as u16
    });
    new()
        .frames(WORDS, &[le(&values)])
        .element(0x0028_0101, "US", stored)
        .element(0x0028_0102, "US", high)
        .element(0x0028_0103, "US", u16::from(signed))
}

#[tokio::test]
async fn samples_of_1_to_32_bits_are_read_where_they_lie() {
    let archive = Served::start().await;
    for (stored, third) in [(1, 0), (8, 85), (10, 85), (12, 85), (13, 85), (16, 85)] {
        for (high, signed) in [(stored - 1, false), (15, false), (stored - 1, true), (15, true)] {
            if stored == 1 && signed {
                continue;
            }
            let shown = samples(&archive, &words(stored, high, signed), "").await;
            assert_eq!(shown, [0, third, 255 - third, 255], "{stored} bits up to {high}, signed: {signed}");
        }
    }
    let long = |values: [u32; 4]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let values = long([0, 1 << 30, 3 << 30, u32::MAX]);
    for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE] {
        let image = new().syntax(syntax).frames(Image { bits: 32, ..GREY }, std::slice::from_ref(&values));
        assert_eq!(samples(&archive, &image, "").await, [0, 64, 191, 255], "{syntax}");
    }
    // As pydicom writes and reads them: each sample turned as a whole, and not its two words.
    let words: Vec<u8> =
        values.chunks(4).flat_map(|bytes| [bytes[2], bytes[3], bytes[0], bytes[1]]).collect();
    let image = new().frames(Image { bits: 32, ..GREY }, &[words]).syntax(EXPLICIT_BIG);
    assert_eq!(samples(&archive, &image, "").await, [0, 64, 191, 255]);
    let signed = new()
        .frames(Image { bits: 32, ..GREY }, &[long([1 << 31, 0, 1 << 30, i32::MAX as u32])])
        .element(0x0028_0103, "US", 1_u16);
    assert_eq!(samples(&archive, &signed, "").await, [0, 128, 191, 255]);
    let bytes = new().frames(GREY, &[vec![0x80, 0, 0x40, 0x7F]]).element(0x0028_0103, "US", 1_u16);
    assert_eq!(samples(&archive, &bytes, "").await, [0, 128, 192, 255]);
}

#[tokio::test]
async fn bit_packed_frames_are_black_and_white() {
    let archive = Served::start().await;
    // Three frames of five bits each, one behind the other.
    let image = Image { columns: 5, bits: 1, ..GREY };
    for syntax in SYNTAXES {
        let bits = new().syntax(syntax).frames(image, &[vec![0b1110_0001, 0b0111_1111]]).element(
            0x0028_0008,
            "IS",
            "3",
        );
        rendered(&archive, &bits, "").await;
        for (number, expected) in
            [(1, [255, 0, 0, 0, 0]), (2, [255, 255, 255, 255, 255]), (3, [255, 255, 255, 255, 255])]
        {
            let path = format!("{INSTANCE}/frames/{number}/rendered");
            let answer = archive.get(&path).accept("image/png").send().await;
            assert_eq!(png(answer.bytes()).samples, expected, "{syntax} {number}");
        }
    }
}

#[tokio::test]
async fn monochrome_1_is_white_where_it_is_least() {
    let archive = Served::start().await;
    let image = new().frames(Image { photometric: "MONOCHROME1", ..GREY }, &[vec![0, 64, 128, 255]]);
    assert_eq!(samples(&archive, &image, "").await, [255, 191, 127, 0]);
    assert_eq!(samples(&archive, &image, "?window=128,2,linear-exact").await, [255, 255, 127, 0]);
}

fn palette(image: Image, frame: Vec<u8>, descriptor: [u16; 3]) -> Instance {
    let described = new().frames(Image { photometric: "PALETTE COLOR", ..image }, &[frame]);
    [0x0028_1101, 0x0028_1102, 0x0028_1103]
        .into_iter()
        .fold(described, |image, tag| image.element(tag, "US", Value::U16(descriptor.to_vec())))
}

fn with_tables(image: Instance, first: u32, tables: [Vec<u8>; 3]) -> Instance {
    (first..).zip(tables).fold(image, |image, (tag, table)| image.element(tag, "OW", Value::Words(table)))
}

#[tokio::test]
async fn palettes_are_looked_up_in_every_encoding() {
    let archive = Served::start().await;
    let frame = vec![0, 1, 2, 9];
    for syntax in SYNTAXES {
        let eight = palette(GREY, frame.clone(), [3, 0, 8]).syntax(syntax);
        let tables = [vec![1, 2, 3, 0], vec![4, 5, 6, 0], vec![7, 8, 9, 0]];
        let expected = [1, 4, 7, 2, 5, 8, 3, 6, 9, 3, 6, 9];
        assert_eq!(
            samples(&archive, &with_tables(eight, 0x0028_1201, tables), "").await,
            expected,
            "{syntax}"
        );
        let sixteen = palette(GREY, frame.clone(), [3, 1, 16]).syntax(syntax);
        let table = |high: u16| le(&[high << 8 | 0x7F, (high + 1) << 8, (high + 2) << 8 | 0xFF]);
        let tables = [table(1), table(4), table(0xFD)];
        let expected = [1, 4, 253, 1, 4, 253, 2, 5, 254, 3, 6, 255];
        let image = with_tables(sixteen, 0x0028_1201, tables.clone());
        assert_eq!(samples(&archive, &image, "").await, expected, "{syntax}");
        let segmented = palette(GREY, frame.clone(), [3, 0, 16]).syntax(syntax);
        let table = |high: u16| le(&[0, 1, high << 8, 1, 2, (high + 4) << 8]);
        let image = with_tables(segmented, 0x0028_1221, [table(1), table(10), table(100)]);
        let expected = [1, 10, 100, 3, 12, 102, 5, 14, 104, 5, 14, 104];
        assert_eq!(samples(&archive, &image, "").await, expected, "{syntax}");
    }
}

#[tokio::test]
async fn palettes_may_be_as_long_as_a_word_reaches_and_begin_below_zero() {
    let archive = Served::start().await;
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    // 0 entries stand for 65,536.
    let image = palette(WORDS, le(&[0, 0x1234, 0x8000, 0xFFFF]), [0, 0, 16]);
    let image = with_tables(image, 0x0028_1201, [all.clone(), all.clone(), all]);
    let expected = [0, 0, 0, 0x12, 0x12, 0x12, 0x80, 0x80, 0x80, 255, 255, 255];
    assert_eq!(samples(&archive, &image, "").await, expected);
    let table = || vec![10, 20, 30, 0];
    let below = palette(WORDS, le(&[0xFFFE, 0xFFFF, 0, 1]), [3, 0xFFFF, 8]).element(0x0028_0103, "US", 1_u16);
    let below = with_tables(below, 0x0028_1201, [table(), table(), table()]);
    assert_eq!(samples(&archive, &below, "").await, [10, 10, 10, 10, 10, 10, 20, 20, 20, 30, 30, 30]);
}

#[tokio::test]
async fn colours_are_shown_however_they_are_kept() {
    let archive = Served::start().await;
    let pixels: Vec<u8> = (0..12).map(|n| n * 20).collect();
    assert_eq!(samples(&archive, &new().frames(RGB, std::slice::from_ref(&pixels)), "").await, pixels);
    let planes: Vec<u8> = (0..3).flat_map(|sample| pixels.iter().skip(sample).step_by(3).copied()).collect();
    let by_plane = new().frames(RGB, &[planes]).element(0x0028_0006, "US", 1_u16);
    assert_eq!(samples(&archive, &by_plane, "").await, pixels);
    let wide: Vec<u16> = pixels.iter().map(|sample| u16::from(*sample) * 257).collect();
    for syntax in SYNTAXES {
        let image = new().syntax(syntax).frames(Image { bits: 16, ..RGB }, &[le(&wide)]);
        assert_eq!(samples(&archive, &image, "").await, pixels, "{syntax}");
    }
    let full = Image { columns: 2, photometric: "YBR_FULL", ..RGB };
    let image = new().frames(full, &[vec![76, 85, 255, 29, 255, 107]]);
    assert_eq!(samples(&archive, &image, "").await, [254, 0, 0, 0, 0, 254]);
    let shared = Image { columns: 2, photometric: "YBR_FULL_422", ..RGB };
    let image = new().frames(shared, &[vec![0, 255, 128, 128]]);
    assert_eq!(samples(&archive, &image, "").await, [0, 0, 0, 255, 255, 255]);
    let partial = Image { columns: 2, photometric: "YBR_PARTIAL_422", ..RGB };
    let image = new().frames(partial, &[vec![16, 235, 128, 128]]);
    assert_eq!(samples(&archive, &image, "").await, [0, 0, 0, 255, 255, 255]);
    let odd = Image { columns: 3, photometric: "YBR_FULL_422", ..RGB };
    assert_eq!(rendered(&archive, &new().frames(odd, &[vec![0; 6]]), "").await.status, 406);
}

/// A sequence of one look-up table.
fn table(vr: &'static str, descriptor: [u16; 3], words: &[u16]) -> Value {
    let data = if vr == "US" { Value::U16(words.to_vec()) } else { Value::Words(le(words)) };
    Value::Sequence(vec![vec![
        element(0x0028_3002, "US", Value::U16(descriptor.to_vec())),
        element(0x0028_3003, "LO", text("ours")),
        element(0x0028_3006, vr, data),
    ]])
}

#[tokio::test]
async fn look_up_tables_are_read_from_metadata_and_beside_them() {
    let archive = Served::start().await;
    let image = new().frames(GREY, &[vec![0, 10, 11, 200]]);
    for syntax in SYNTAXES {
        for vr in ["US", "OW"] {
            let modality = table(vr, [3, 10, 16], &[1000, 2000, 3000]);
            let voi = table(vr, [2, 1001, 12], &[0, 4095]);
            let only_modality = image.clone().syntax(syntax).element(0x0028_3000, "SQ", modality.clone());
            assert_eq!(samples(&archive, &only_modality, "").await, [0, 0, 128, 255], "{syntax} {vr}");
            let only_voi =
                image.clone().syntax(syntax).element(0x0028_3010, "SQ", table(vr, [3, 9, 8], &[7, 8, 9]));
            assert_eq!(samples(&archive, &only_voi, "").await, [7, 8, 9, 9], "{syntax} {vr}");
            let both = only_modality.element(0x0028_3010, "SQ", voi);
            assert_eq!(samples(&archive, &both, "").await, [0, 0, 255, 255], "{syntax} {vr}");
            let window = samples(&archive, &both, "?window=2000,2000,linear-exact").await;
            assert_eq!(window, [0, 0, 128, 255], "{syntax} {vr}");
        }
    }
}
