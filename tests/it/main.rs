//! Everything that is tested from outside, in one binary: linking is the dear part.

mod archive;
mod change_feed;
mod crash;
mod delete;
mod fixtures;
mod kit;
mod model;
mod requests;
mod retrieve;
mod search;
mod simulation;
mod store;
mod tidy;
