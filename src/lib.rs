//! STUB
pub mod archive;
pub mod base;
pub mod blob;
pub mod dicom;
pub mod event;
pub mod http;
pub mod log;
pub mod ops;
pub mod projections;
pub mod tables;
pub mod workers;
