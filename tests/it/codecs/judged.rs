//! Frames of real files and made ones, decoded and encoded as others do it (`tests/real/pixels.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::*;

/// Syntaxes of which there must be frames.
const SYNTAXES: [&str; 11] = [
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.5",
];

/// Runs the script; what it says goes to the test's output.
fn judge(arguments: &[&Path], what: &str) -> Option<()> {
    let python = std::env::var_os("KYMO_TEST_PYTHON")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/pixels.py");
    let ran = Command::new(python).arg(script).arg(what).args(arguments).output().expect("it can be run");
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{errors}");
    eprintln!("{what}: {said}{errors}");
    Some(())
}

fn described(said: &Value) -> Description {
    let number = |name: &str| said[name].as_u64().expect("a number");
    let small = |name: &str| u8::try_from(number(name)).expect("a small number");
    Description {
        rows: u16::try_from(number("rows")).expect("a size"),
        columns: u16::try_from(number("columns")).expect("a size"),
        samples: small("samples"),
        bits_allocated: small("bits_allocated"),
        bits_stored: small("bits_stored"),
        high_bit: small("high_bit"),
        signed: said["signed"].as_bool().expect("a flag"),
        planar: Planar::ByPixel,
        photometric: Photometric::of(said["photometric"].as_str().expect("a text")).expect("known"),
    }
}

fn samples(bytes: &[u8], shape: &Description) -> Vec<i64> {
    let sample = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
    bytes.chunks(shape.sample_bytes()).map(sample).collect()
}

/// How far two frames are apart: at most, and on average.
fn difference(one: &[u8], other: &[u8], shape: &Description) -> (i64, f64) {
    let pairs = samples(one, shape).into_iter().zip(samples(other, shape));
    let differences: Vec<i64> = pairs.map(|(one, other)| (one - other).abs()).collect();
    let sum: i64 = differences.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "an average for the eye")]
    let mean = sum as f64 / differences.len() as f64;
    (differences.into_iter().max().unwrap_or(0), mean)
}

#[tokio::test]
async fn frames_are_decoded_and_encoded_as_others_do_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    // Of DCMTK only the folder is not known; its programs lie where all do.
    let dcmtk = std::env::var_os("KYMO_TEST_DCMDUMP");
    let files = dcmtk.and_then(|_| std::env::var_os("KYMO_TEST_DICOM_FILES"));
    if files.and_then(|files| judge(&[out, Path::new(&files)], "make")).is_none() {
        return eprintln!(
            "skipped: KYMO_TEST_PYTHON, _DICOM_FILES or _DCMDUMP is missing; tests/run sets them up"
        );
    }
    let codecs = Codecs::new(codecs());
    let mut names: Vec<_> =
        fs::read_dir(out).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    names.retain(|path| path.extension().is_some_and(|suffix| suffix == "json"));
    names.sort();
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    for path in names {
        let name = path.file_stem().expect("a name").to_str().expect("a text").to_owned();
        let said: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let syntax = said["syntax"].as_str().expect("a text").to_owned();
        let stream = fs::read(path.with_extension("stream")).expect("readable");
        let expected = fs::read(path.with_extension("raw")).expect("readable");
        let native = match decode(&codecs, &syntax, &described(&said), &stream).await {
            Ok(native) => native,
            Err(error) => {
                wrong.push(format!("{name} {syntax}: {error}"));
                continue;
            }
        };
        let (most, mean) = difference(&native.bytes, &expected, &native.shape);
        let fits = most <= said["most"].as_i64().expect("a bound")
            && mean <= said["mean"].as_f64().expect("a bound")
            && native.bytes.len() == expected.len();
        if !fits {
            wrong.push(format!("{name} {syntax}: off by {most} at most, {mean:.3} on average"));
        }
        *counts.entry(syntax).or_insert(0) += 1;
        fs::write(out.join(format!("{name}.decoded")), &native.bytes).expect("written");
        for wanted in [Encoding::Jpeg2000Lossless, Encoding::JpegLsLossless, Encoding::Rle] {
            let Ok(shape) = encoded(&native.shape, wanted) else { continue };
            let stream = codecs.encode(native.clone(), wanted).await.expect("encoded");
            let base = out.join(format!("{name}@{}.", wanted.uid()));
            let file = |suffix: &str| format!("{}{suffix}", base.display());
            let said = json!({
                "rows": shape.rows, "columns": shape.columns, "samples": shape.samples,
                "bits_allocated": shape.bits_allocated, "bits_stored": shape.bits_stored,
                "high_bit": shape.high_bit, "signed": shape.signed, "photometric": shape.photometric_text(),
            });
            fs::write(file("encoded"), &stream).expect("written");
            fs::write(file("json"), said.to_string()).expect("written");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for syntax in SYNTAXES {
        assert!(counts.contains_key(syntax), "no frame of {syntax}: {counts:?}");
    }
    judge(&[out], "check").expect("it could be run before");
}
