//! What the tests are made with.

pub(crate) mod dicom;
pub(crate) mod history;
pub(crate) mod process;
pub(crate) mod served;
