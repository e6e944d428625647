//! Everything that is tested from outside, in one binary: linking is the dear part.

mod archive;
mod change_feed;
mod clients;
mod commands;
mod compose;
mod consumers;
mod corpus;
mod crash;
mod damage;
mod delete;
mod fixtures;
mod hostile;
mod kafka;
mod kill;
mod kit;
mod lake;
mod model;
mod python;
mod requests;
mod retrieve;
mod search;
mod simulation;
mod store;
mod tidy;
mod tutorial;
mod viewers;
