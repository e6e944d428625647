//! What is true: instances come in, the fold decides, and its state answers.
//!
//! Invariant: an answer to a write is given only when this node's own fold has passed it.
//! Invariant: an event is appended once; an append whose outcome is unknown is found again by its id.
//! Elsewhere: search (`projections`), the form of requests and answers (`http`).

pub mod fold;
pub mod ingest;
pub mod state;
pub mod submit;

mod api;
pub use api::*;
