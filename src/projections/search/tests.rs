//! Tests of the search view: against a model, against the contract's tables, under damage.

mod beside;
mod contract;
mod damage;
mod instances;
mod kit;
mod model;
mod moments;
mod ordered;
mod questions;
mod values;
