//! How fast the bounded scanner passes over files: native CT, and a long encapsulated multi-frame image.
//!
//! Invariant: the files are made here, the same at every run.
//! Elsewhere: the list of benches (`main`).

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use kymo::dicom::scan::{Limits, Scanned, Scanner};

/// What the network hands over at a time.
const SLICE_BYTES: usize = 64 << 10;

/// Scans a 526 KB CT image and a 100 MB image of 1,000 frames.
pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for (name, file) in [("native CT", native_ct()), ("1,000 JPEG 2000 frames", multi_frame())] {
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(name, |b| b.iter(|| scan(black_box(&file))));
    }
    group.finish();
}

fn scan(file: &[u8]) -> Scanned {
    let mut scanner = Scanner::new(Limits::default());
    for slice in file.chunks(SLICE_BYTES) {
        scanner.feed(slice).expect("the file is well-formed");
    }
    scanner.finish().expect("the file is whole")
}

/// One element in Explicit VR with a 16-bit length.
fn element(out: &mut Vec<u8>, tag: (u16, u16), vr: &[u8; 2], value: &[u8]) {
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
    out.extend(vr);
    out.extend(u16::try_from(value.len()).expect("short values only").to_le_bytes());
    out.extend(value);
}

/// Preamble, meta group and about 150 elements as a CT has them.
fn header(transfer_syntax: &[u8], frames: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    element(&mut out, (0x0002, 0x0010), b"UI", transfer_syntax);
    element(&mut out, (0x0008, 0x0018), b"UI", b"1.2.826.0.1.3680043.8.498.12345678901234567890");
    for n in 0..140 {
        element(&mut out, (0x0018, 0x1000 + n), b"DS", b"1.25\\-300.5 ");
    }
    element(&mut out, (0x0028, 0x0002), b"US", &1_u16.to_le_bytes());
    element(&mut out, (0x0028, 0x0008), b"IS", frames);
    element(&mut out, (0x0028, 0x0010), b"US", &512_u16.to_le_bytes());
    element(&mut out, (0x0028, 0x0011), b"US", &512_u16.to_le_bytes());
    element(&mut out, (0x0028, 0x0100), b"US", &16_u16.to_le_bytes());
    out
}

fn native_ct() -> Vec<u8> {
    let mut out = header(b"1.2.840.10008.1.2.1\0", b"1 ");
    let pixels = vec![0x5A; 512 * 512 * 2];
    out.extend(b"\xE0\x7F\x10\x00OW\0\0");
    out.extend(u32::try_from(pixels.len()).expect("half a megabyte").to_le_bytes());
    out.extend(pixels);
    out
}

fn multi_frame() -> Vec<u8> {
    let mut out = header(b"1.2.840.10008.1.2.4.90", b"1000");
    let mut frame = vec![0x5A; 100_000];
    frame[..4].copy_from_slice(b"\xFF\x4F\xFF\x51");
    out.extend(b"\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\0\0\0\0");
    for _ in 0..1000 {
        out.extend(b"\xFE\xFF\x00\xE0");
        out.extend(u32::try_from(frame.len()).expect("a small frame").to_le_bytes());
        out.extend(&frame);
    }
    out.extend(b"\xFE\xFF\xDD\xE0\0\0\0\0");
    out
}
