//! What the tests are made with.

pub(crate) mod dicom;
