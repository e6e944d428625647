//! The criterion benches: scanner, validation, log, events, fold and change feed, without HTTP.
//!
//! `cargo bench` runs them all, `cargo bench -- scan` those whose name holds "scan".
//! Invariant: figures only; nothing here passes or fails by time.
//! Elsewhere: the whole archive beside another (`benches/compare`), and as it grows (`benches/scale`).

mod archive;
mod log;
mod scan;
mod validate;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, scan::bench, validate::bench, log::bench, archive::bench);
criterion_main!(benches);
