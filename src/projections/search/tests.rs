//! Tests of the search view: against a model, against the contract's tables, under damage.

mod beside;
mod contract;
mod damage;
mod kit;
mod model;
mod questions;
mod values;
