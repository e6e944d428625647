//! DICOM as such: UIDs, the bounded scanner, validation, the JSON model and the frame index.
//!
//! Invariant: pure functions over bytes and datasets; no clock, no files, no tokio.
//! Invariant: the DICOM library only ever reads what [`scan`] has passed.
//! Elsewhere: who may store what (`archive`), how files are kept (`blob`).

pub mod frames;
pub(crate) mod header;
pub mod json;
pub mod preamble;
pub mod scan;
mod text;
pub mod uid;
pub mod validate;
