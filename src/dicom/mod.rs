//! DICOM as such: UIDs, the bounded scanner, validation, the JSON model, the frame index, pixels,
//! other encodings.
//!
//! Invariant: pure functions over bytes and datasets; no clock, no files, no tokio.
//! Invariant: the DICOM library only ever reads what [`scan`] has passed.
//! Elsewhere: who may store what (`archive`), how files are kept (`blob`).

pub mod byte_order;
pub mod frames;
pub(crate) mod header;
pub mod json;
pub mod linked;
pub mod pixels;
pub mod preamble;
pub mod reencode;
pub mod render;
pub mod scan;
mod text;
pub mod uid;
pub mod validate;
