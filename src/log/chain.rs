//! The chain value: one number that tells whether two histories are equal (architecture §5).
//!
//! Invariant: the value depends on the stamps and bytes of all records so far and on nothing else.
//! Elsewhere: where it is stored (`embedded::layout`).

use sha2::{Digest, Sha256};

use crate::base::Stamp;

/// The chain before position 0.
pub const START: [u8; 32] = [0; 32];

/// SHA-256(previous chain ‖ stamp as 8 bytes little endian ‖ bytes).
#[must_use]
pub fn link(previous: &[u8; 32], stamp: Stamp, bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(stamp.0.to_le_bytes());
    hash.update(bytes);
    hash.finalize().into()
}
