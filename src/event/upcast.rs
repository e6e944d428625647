//! What heads of every version mean today: the one place that knows older forms.
//!
//! Invariant: bytes once written are readable for ever; `fixtures/events/` holds samples of each version.
//! Elsewhere: the frame around the head (`codec`).

use super::Head;
use super::codec::{DecodeError, MAX_HEAD_BYTES};

/// Reads the head of an event of `version`.
///
/// # Errors
/// [`DecodeError`] when the bytes are no head of that version.
pub fn head(version: u16, bytes: &[u8]) -> Result<Head, DecodeError> {
    // The second version has other sections and two payloads more, the third one payload more; what the first has
    // is as it was.
    debug_assert!((1..=3).contains(&version), "codec refuses versions that are not known here");
    let limits = bincode::config::standard().with_limit::<{ MAX_HEAD_BYTES * 2 }>();
    let (head, read) = bincode::serde::decode_from_slice(bytes, limits)
        .map_err(|error| DecodeError::Broken(format!("head of version {version}: {error}")))?;
    if read != bytes.len() {
        return Err(DecodeError::Broken(format!("head of version {version}: bytes follow it")));
    }
    Ok(head)
}
