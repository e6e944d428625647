//! Takes note that blobs are about to be removed; those that live are left as they are.
//!
//! Elsewhere: which blobs may go, and the removal (`workers::sweep`).

use super::super::state::released;
use super::{Step, accepted};
use crate::event::Outcome;
use crate::tables::Error;

pub(super) fn blobs_removed(step: &mut Step<'_, '_>, keys: &[String]) -> Result<Outcome, Error> {
    for key in keys {
        released::removed(step.batch, key)?;
    }
    Ok(accepted(Vec::new()))
}
