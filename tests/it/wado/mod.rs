//! Retrieve, rule by rule (`studies.md` §3): what a client can ask, and exactly what it then gets.
//!
//! Elsewhere: the plain cases (`retrieve`), other encodings (`reencode`).

mod accepted;
mod bulkdata;
mod cancelled;
mod frames;
mod ranges;
mod versions;
