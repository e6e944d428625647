//! Everything that is tested from outside, in one binary: linking is the dear part.

mod fixtures;
mod kit;
