//! The Image Pixel module as DICOM JSON has it.
//!
//! Invariant: what comes out is an image that can be; what is legal to leave out has its default.
//! Elsewhere: what follows from the values (`pixels`).

use serde::Deserialize;
use serde_json::Value;

use super::{BadPixels, Description, Photometric, Planar};

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "00280010")]
    rows: Option<Element>,
    #[serde(rename = "00280011")]
    columns: Option<Element>,
    #[serde(rename = "00280002")]
    samples: Option<Element>,
    #[serde(rename = "00280100")]
    bits_allocated: Option<Element>,
    #[serde(rename = "00280101")]
    bits_stored: Option<Element>,
    #[serde(rename = "00280102")]
    high_bit: Option<Element>,
    #[serde(rename = "00280103")]
    representation: Option<Element>,
    #[serde(rename = "00280006")]
    planar: Option<Element>,
    #[serde(rename = "00280004")]
    photometric: Option<Element>,
}

#[derive(Deserialize)]
struct Element {
    #[serde(rename = "Value", default)]
    values: Vec<Value>,
}

/// The first value; `None` for a missing element, an empty one, and one that is no such number.
fn number(element: Option<&Element>) -> Option<u16> {
    element?.values.first()?.as_u64().and_then(|number| u16::try_from(number).ok())
}

/// The same of an element that may be left out or empty, but not be wrong.
fn number_or(element: Option<&Element>, default: u16, wrong: &'static str) -> Result<u16, BadPixels> {
    match element.and_then(|element| element.values.first()) {
        None => Ok(default),
        Some(_) => number(element).ok_or(BadPixels(wrong)),
    }
}

pub(super) fn read(metadata: &[u8]) -> Result<Description, BadPixels> {
    let read: Attributes =
        serde_json::from_slice(metadata).map_err(|_| BadPixels("its metadata cannot be read"))?;
    let size = |element: &Option<Element>| number(element.as_ref()).filter(|size| *size > 0);
    let rows = size(&read.rows).ok_or(BadPixels("its Rows are missing or impossible"))?;
    let columns = size(&read.columns).ok_or(BadPixels("its Columns are missing or impossible"))?;
    let photometric = read.photometric.as_ref().and_then(|element| element.values.first()?.as_str());
    let photometric = photometric
        .and_then(Photometric::of)
        .ok_or(BadPixels("its Photometric Interpretation is missing or not supported"))?;
    const SAMPLES: &str = "its Samples per Pixel do not go with its Photometric Interpretation";
    let samples = number_or(read.samples.as_ref(), 1, SAMPLES)?;
    if samples != u16::from(photometric.samples()) {
        return Err(BadPixels(SAMPLES));
    }
    let allocated = number(read.bits_allocated.as_ref()).filter(|bits| matches!(bits, 1 | 8 | 16 | 32 | 64));
    let allocated = allocated.ok_or(BadPixels("its Bits Allocated are missing or not supported"))?;
    const STORED: &str = "its Bits Stored or High Bit are impossible";
    let stored = number_or(read.bits_stored.as_ref(), allocated, STORED)?;
    if !(1..=allocated).contains(&stored) {
        return Err(BadPixels(STORED));
    }
    let high_bit = number_or(read.high_bit.as_ref(), stored - 1, STORED)?;
    if !(stored - 1..allocated).contains(&high_bit) {
        return Err(BadPixels(STORED));
    }
    const REPRESENTATION: &str = "its Pixel Representation is impossible";
    let signed = match number_or(read.representation.as_ref(), 0, REPRESENTATION)? {
        0 => false,
        1 => true,
        _ => return Err(BadPixels(REPRESENTATION)),
    };
    const PLANAR: &str = "its Planar Configuration is impossible";
    let planar = match number_or(read.planar.as_ref(), 0, PLANAR)? {
        1 if samples > 1 => Planar::ByPlane,
        0 | 1 => Planar::ByPixel,
        _ => return Err(BadPixels(PLANAR)),
    };
    let small = |number: u16| u8::try_from(number).expect("bits and samples were found to be at most 64");
    Ok(Description {
        rows,
        columns,
        samples: small(samples),
        bits_allocated: small(allocated),
        bits_stored: small(stored),
        high_bit: small(high_bit),
        signed,
        planar,
        photometric,
    })
}
