//! The three instances of the vendor's cURL tutorial, drawn anew: one study, red triangle and green square in one
//! series, blue circle in its own. RGB, one frame of 75 × 75 pixels, hence an odd number of bytes.

use super::{EXPLICIT_LITTLE, Image, Instance};

pub(crate) const STUDY: &str = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420";
/// Of red triangle and green square.
pub(crate) const SERIES: &str = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652";
const SERIES_OF_CIRCLE: &str = "1.2.826.0.1.3680043.8.498.77033797676425927098669402985243398207";
const SIDE: u16 = 75;

pub(crate) fn red_triangle() -> Instance {
    let sop = "1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395";
    shape(SERIES, sop, 1, [255, 0, 0], |x, y| y <= 60 && (x - 37).abs() * 2 <= y - 14)
}

pub(crate) fn green_square() -> Instance {
    let sop = "1.2.826.0.1.3680043.8.498.12714725698140337137334606354172323212";
    shape(SERIES, sop, 2, [0, 255, 0], |x, y| (15..60).contains(&x) && (15..60).contains(&y))
}

pub(crate) fn blue_circle() -> Instance {
    let sop = "1.2.826.0.1.3680043.8.498.13273713909719068980354078852867170114";
    shape(SERIES_OF_CIRCLE, sop, 1, [0, 0, 255], |x, y| (x - 37).pow(2) + (y - 37).pow(2) <= 25 * 25)
}

/// A shape of one colour on white.
fn shape(
    series: &str,
    sop: &str,
    number: u16,
    colour: [u8; 3],
    inside: impl Fn(i32, i32) -> bool,
) -> Instance {
    let image = Image { rows: SIDE, columns: SIDE, samples: 3, bits: 8, photometric: "RGB" };
    let side = i32::from(SIDE);
    let pixel = |at: i32| if inside(at % side, at / side) { colour } else { [255; 3] };
    let frame: Vec<u8> = (0..side * side).flat_map(pixel).collect();
    Instance::new(STUDY, series, sop)
        .syntax(EXPLICIT_LITTLE)
        .patient("KYMO-0001", "Shapes^Simple")
        .character_set("ISO_IR 100")
        .element(0x0008_0008, "CS", "ORIGINAL\\PRIMARY")
        .element(0x0008_0020, "DA", "20240115")
        .element(0x0008_0030, "TM", "093000")
        .element(0x0008_0050, "SH", "")
        .element(0x0008_0064, "CS", "WSD")
        .element(0x0008_0090, "PN", "")
        .element(0x0008_1030, "LO", "Three shapes")
        .element(0x0010_0030, "DA", "")
        .element(0x0010_0040, "CS", "")
        .element(0x0020_0010, "SH", "")
        .element(0x0020_0011, "IS", if series == SERIES { "1" } else { "2" })
        .element(0x0020_0013, "IS", number.to_string().as_str())
        .element(0x0020_0020, "CS", "")
        .frames(image, &[frame])
}
