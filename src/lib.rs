//! Kymo: a medical-image archive that speaks DICOMweb and stands on one immutable log.
//!
//! 1. Every store, replacement and deletion is one *event*, appended to one totally ordered *log*. The
//!    append is the commit.
//! 2. The log only orders and stamps. A pure, deterministic *fold* reads it and decides; whoever reads the
//!    same log reaches the same decisions.
//! 3. The fold turns each event into a *commit*; the changes of instances, numbered 1, 2, 3 …, are the
//!    *change feed*.
//! 4. Everything that answers a question is the fold's own state or a *projection* of the commits with its
//!    own cursor; each can be thrown away and made again from the log.
//! 5. Files are *blobs* in an object store, durable before the event that names them.
//!
//! The rooms, in reading order; each uses only rooms named before it (`tests/it/tidy.rs` holds the table):
//! [`base`] words every room speaks · [`dicom`] DICOM as bytes and datasets · [`event`] what the archive is
//! told · [`log`] records in one durable order · [`blob`] files · [`codecs`] pixels ·
//! [`tables`] small rows with a cursor ·
//! [`archive`] ingest, fold, state · [`projections`] search · [`workers`] what follows outside · [`ops`]
//! health, metrics, tracing · [`http`] requests and answers · [`config`], [`app`] settings and wiring.

pub mod app;
pub mod archive;
pub mod base;
pub mod blob;
pub mod codecs;
pub mod config;
pub mod dicom;
pub mod event;
pub mod http;
pub mod log;
pub mod ops;
pub mod projections;
pub mod tables;
pub mod workers;
