//! Descriptions of images that can be and that cannot, and what becomes of them.

use serde_json::{Value, json};

use super::feasible::{Encoding, Family, decoded, encoded};
use super::*;

fn ct() -> Value {
    json!({
        "00280002": { "vr": "US", "Value": [1] },
        "00280004": { "vr": "CS", "Value": ["MONOCHROME2"] },
        "00280010": { "vr": "US", "Value": [512] },
        "00280011": { "vr": "US", "Value": [256] },
        "00280100": { "vr": "US", "Value": [16] },
        "00280101": { "vr": "US", "Value": [12] },
        "00280102": { "vr": "US", "Value": [11] },
        "00280103": { "vr": "US", "Value": [1] },
        "00281050": { "vr": "DS", "Value": [40] },
    })
}

fn read(metadata: &Value) -> Result<Description, BadPixels> {
    Description::of_metadata(metadata.to_string().as_bytes())
}

fn with(tag: &str, value: &Value) -> Value {
    let mut metadata = ct();
    metadata[tag] = json!({ "vr": "US", "Value": [value] });
    metadata
}

/// A colour image of this kind.
fn colour(photometric: &str, columns: u16, bits: u8) -> Description {
    let mut metadata = with("00280002", &3.into());
    metadata["00280004"]["Value"][0] = photometric.into();
    metadata["00280011"]["Value"][0] = columns.into();
    for (tag, value) in [("00280100", bits), ("00280101", bits), ("00280102", bits - 1), ("00280103", 0)] {
        metadata[tag]["Value"][0] = value.into();
    }
    read(&metadata).unwrap()
}

#[test]
fn a_description_is_read_from_metadata() {
    let description = read(&ct()).unwrap();
    assert_eq!(
        description,
        Description {
            rows: 512,
            columns: 256,
            samples: 1,
            bits_allocated: 16,
            bits_stored: 12,
            high_bit: 11,
            signed: true,
            planar: Planar::ByPixel,
            photometric: Photometric::Monochrome2,
        }
    );
    assert_eq!((description.samples_per_frame(), description.frame_bytes()), (512 * 256, 512 * 512));
    // Some may be left out.
    let mut metadata = ct();
    for tag in ["00280002", "00280101", "00280102", "00280103"] {
        metadata.as_object_mut().unwrap().remove(tag);
    }
    let description = read(&metadata).unwrap();
    assert_eq!((description.bits_stored, description.high_bit, description.signed), (16, 15, false));
}

#[test]
fn an_image_that_cannot_be_is_named() {
    for (tag, values, named) in [
        ("00280010", vec![json!(0), json!(65536), json!("x"), json!(-1), json!(null)], "Rows"),
        ("00280011", vec![json!(0)], "Columns"),
        ("00280002", vec![json!(0), json!(2), json!(3), json!(4), json!("1")], "Samples"),
        ("00280004", vec![json!("HSV"), json!("rgb"), json!(""), json!(1)], "Photometric"),
        ("00280100", vec![json!(0), json!(12), json!(24), json!(128)], "Bits Allocated"),
        ("00280101", vec![json!(0), json!(17)], "Bits Stored"),
        ("00280102", vec![json!(10), json!(16)], "High Bit"),
        ("00280103", vec![json!(2)], "Pixel Representation"),
        ("00280006", vec![json!(2)], "Planar"),
    ] {
        for value in values {
            let error = read(&with(tag, &value)).unwrap_err();
            assert!(error.0.contains(named), "{tag} {value}: {error}");
        }
    }
    for tag in ["00280004", "00280010", "00280011", "00280100"] {
        let mut metadata = ct();
        metadata.as_object_mut().unwrap().remove(tag);
        assert!(read(&metadata).is_err(), "{tag}");
        metadata[tag] = json!({ "vr": "US" });
        assert!(read(&metadata).is_err(), "{tag}");
    }
    for text in ["", "[]", "{", "{\"00280010\": 1}"] {
        assert!(Description::of_metadata(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn frames_have_their_bytes() {
    let odd = Description { rows: 3, columns: 5, bits_allocated: 1, ..read(&ct()).unwrap() };
    assert_eq!(odd.frame_bytes(), 2);
    assert_eq!(colour("RGB", 256, 8).frame_bytes(), 512 * 256 * 3);
    assert_eq!(colour("RGB", 256, 16).frame_bytes(), 512 * 256 * 6);
    assert_eq!(colour("YBR_FULL_422", 256, 8).frame_bytes(), 512 * 256 * 2);
    assert_eq!(colour("YBR_FULL", 256, 8).frame_bytes(), 512 * 256 * 3);
    let most = Description { rows: 65535, columns: 65535, ..colour("RGB", 1, 16) };
    assert_eq!(most.frame_bytes(), 65535 * 65535 * 6);
}

#[test]
fn photometric_interpretations_change_as_their_codec_changes_them() {
    for (stored, before, after) in [
        (".1", "YBR_FULL_422", Some("YBR_FULL_422")),
        (".1", "YBR_RCT", None),
        (".5", "YBR_FULL", Some("YBR_FULL")),
        (".5", "RGB", Some("RGB")),
        (".4.50", "YBR_FULL_422", Some("RGB")),
        (".4.50", "YBR_FULL", Some("RGB")),
        (".4.50", "RGB", Some("RGB")),
        (".4.50", "YBR_RCT", None),
        (".4.70", "YBR_FULL", Some("YBR_FULL")),
        (".4.80", "RGB", Some("RGB")),
        (".4.90", "YBR_RCT", Some("RGB")),
        (".4.91", "YBR_ICT", Some("RGB")),
        (".4.201", "YBR_RCT", Some("RGB")),
        (".4.90", "YBR_FULL", Some("YBR_FULL")),
        (".4.90", "YBR_PARTIAL_420", None),
        (".4.100", "YBR_FULL", None),
        (".4.110", "RGB", None),
        (".6", "RGB", None),
    ] {
        let found = decoded(&format!("1.2.840.10008.1.2{stored}"), &colour(before, 256, 8));
        assert_eq!(found.ok().map(|shape| shape.photometric_text()), after, "{before} in {stored}");
    }
    for (wanted, before, after) in [
        (Encoding::Jpeg2000Lossless, "RGB", Some("YBR_RCT")),
        (Encoding::Jpeg2000Lossless, "YBR_FULL", Some("YBR_FULL")),
        (Encoding::Jpeg2000Lossless, "YBR_FULL_422", Some("YBR_FULL")),
        (Encoding::JpegLsLossless, "RGB", Some("RGB")),
        (Encoding::Rle, "YBR_FULL_422", Some("YBR_FULL")),
        (Encoding::Rle, "YBR_PARTIAL_422", None),
        (Encoding::ExplicitLittle, "YBR_PARTIAL_422", Some("YBR_PARTIAL_422")),
    ] {
        let found = encoded(&colour(before, 256, 8), wanted);
        assert_eq!(found.ok().map(|shape| shape.photometric_text()), after, "{before} to {wanted:?}");
    }
}

#[test]
fn bits_go_with_the_syntax() {
    let of = |bits| Description {
        bits_allocated: bits,
        bits_stored: bits,
        high_bit: bits - 1,
        ..read(&ct()).unwrap()
    };
    for (bits, rle, jpeg) in
        [(1, false, false), (8, true, true), (16, true, true), (32, true, false), (64, false, false)]
    {
        assert!(decoded("1.2.840.10008.1.2", &of(bits)).is_ok());
        assert_eq!(decoded("1.2.840.10008.1.2.5", &of(bits)).is_ok(), rle, "{bits}");
        assert_eq!(encoded(&of(bits), Encoding::Rle).is_ok(), rle, "{bits}");
        assert_eq!(decoded("1.2.840.10008.1.2.4.90", &of(bits)).is_ok(), jpeg, "{bits}");
        assert_eq!(encoded(&of(bits), Encoding::JpegLsLossless).is_ok(), jpeg, "{bits}");
    }
    assert!(decoded("1.2.840.10008.1.2.1", &colour("YBR_FULL_422", 5, 8)).is_err());
}

/// Clients probe syntaxes and take a 406 for "not offered": a lossy answer would be taken for the image.
#[test]
fn no_lossy_syntax_is_ever_encoded() {
    let syntaxes = (0..300).map(|n| format!("1.2.840.10008.1.2.4.{n}"));
    let offered: Vec<String> = syntaxes.filter(|uid| Encoding::of(uid).is_some()).collect();
    assert_eq!(offered, ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"]);
    for encoding in Encoding::ALL {
        assert_eq!(Encoding::of(encoding.uid()), Some(encoding));
        assert!(Family::of(encoding.uid()).is_some());
    }
}
