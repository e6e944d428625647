//! What the validation of one instance costs beside its metadata: a CT header of 74 elements, by the rules of both
//! versions.
//!
//! Invariant: the header is made here, the same at every run.
//! Elsewhere: the list of benches (`main`).

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use kymo::dicom::json;
use kymo::dicom::validate::{self, Rules};

const TEXTS: [(u16, u16, &str, &str); 37] = [
    (0x0008, 0x0005, "CS", "ISO_IR 100"),
    (0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY\\AXIAL "),
    (0x0008, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.2\0"),
    (0x0008, 0x0018, "UI", "2.25.329800735698586629295641978511506172918"),
    (0x0008, 0x0020, "DA", "20240115"),
    (0x0008, 0x0030, "TM", "093000.123456 "),
    (0x0008, 0x0050, "SH", "A24000123 "),
    (0x0008, 0x0060, "CS", "CT"),
    (0x0008, 0x0070, "LO", "SIEMENS "),
    (0x0008, 0x0080, "LO", "Riverside General Hospital"),
    (0x0008, 0x0081, "ST", "17 Hospital Road"),
    (0x0008, 0x0090, "PN", "Smith^James^^Dr "),
    (0x0008, 0x1010, "SH", "CT04"),
    (0x0008, 0x1030, "LO", "CT CHEST W CONTRAST "),
    (0x0008, 0x103E, "LO", "Axial 1.0 B30f"),
    (0x0008, 0x1090, "LO", "SOMATOM Force "),
    (0x0010, 0x0010, "PN", "Garcia^Maria^L"),
    (0x0010, 0x0020, "LO", "T7-000123 "),
    (0x0010, 0x0030, "DA", "19700428"),
    (0x0010, 0x0040, "CS", "F "),
    (0x0010, 0x1010, "AS", "053Y"),
    (0x0018, 0x0015, "CS", "CHEST "),
    (0x0018, 0x0050, "DS", "1.25"),
    (0x0018, 0x0060, "DS", "120 "),
    (0x0018, 0x1151, "IS", "210 "),
    (0x0018, 0x1210, "SH", "Br40d\\3 "),
    (0x0018, 0x5100, "CS", "HFS "),
    (0x0020, 0x000D, "UI", "2.25.329800735698586629295641978511506172918"),
    (0x0020, 0x000E, "UI", "2.25.329800735698586629295641978511506172919"),
    (0x0020, 0x0011, "IS", "1 "),
    (0x0020, 0x0032, "DS", "-189.63\\-341.63\\-250.00 "),
    (0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0 "),
    (0x0028, 0x0004, "CS", "MONOCHROME2 "),
    (0x0028, 0x0030, "DS", "0.7421875\\0.7421875 "),
    (0x0028, 0x1050, "DS", "40\\-600 "),
    (0x0028, 0x1052, "DS", "-1024 "),
    (0x0028, 0x1055, "LO", "SOFT TISSUE\\LUNG"),
];

/// Validates one header by v1, by v2, and by v2 with an element in ten wrong; and describes it.
pub(crate) fn bench(c: &mut Criterion) {
    let (right, wrong) = (header(""), header("^"));
    let mut group = c.benchmark_group("validate");
    group.throughput(Throughput::Elements(1));
    for (name, header, rules) in
        [("v1", &right, Rules::V1), ("v2", &right, Rules::V2), ("v2, wrong codes", &wrong, Rules::V2)]
    {
        let accepted = validate::instance(header, &[], None, rules).expect("it can be stored");
        assert_eq!(accepted.findings.is_empty(), !name.contains("wrong"), "{:?}", accepted.findings);
        group.bench_function(name, |b| b.iter(|| validate::instance(black_box(header), &[], None, rules)));
    }
    group.bench_function("metadata beside it", |b| b.iter(|| json::metadata(black_box(&right))));
    group.finish();
}

/// All texts as a dataset has them, and again in an item of another tag. `code` ends each code string.
fn header(code: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for (group, number, vr, text) in TEXTS {
        let text = if vr == "CS" && number != 0x0005 { format!("{text}{code}") } else { text.to_owned() };
        all.extend(group.to_le_bytes());
        all.extend(number.to_le_bytes());
        all.extend(vr.as_bytes());
        all.extend(u16::try_from(text.len()).expect("short texts only").to_le_bytes());
        all.extend(text.as_bytes());
    }
    let item = all.clone();
    all.extend(b"\x40\x00\x75\x02SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
    all.extend(item);
    all.extend(b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0");
    all
}
