//! What an operator sees of the running archive: health, metrics and the log lines.
//!
//! Invariant: nothing here decides anything; without this room the archive would give the same answers.
//! Elsewhere: the forms on the wire (`http`), who fills in what (`app`).

pub mod health;
pub mod metrics;
pub mod tracing;
