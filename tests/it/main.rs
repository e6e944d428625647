//! Everything that is tested from outside, in one binary: linking is the dear part.

mod change_feed;
mod delete;
mod fixtures;
mod kit;
mod model;
mod requests;
mod retrieve;
mod search;
mod store;
