//! Everything that is tested from outside, in one binary: linking is the dear part.

mod change_feed;
mod commands;
mod corpus;
mod damage;
mod delete;
mod fixtures;
mod kit;
mod python;
mod requests;
mod retrieve;
mod search;
mod store;
mod tutorial;
