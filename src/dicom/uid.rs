//! Unique identifiers (PS3.5 §9) in the one form in which they are compared.
//!
//! Invariant: a [`Uid`] holds digits and dots only, ends in a digit and has at most 64 characters, so it
//! is safe in a path, a key and a URL.
//! Elsewhere: the value as received keeps its padding, in the file and in the metadata.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A UID without its trailing padding. Two UIDs are the same when these are equal (`studies.md` §2.7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Uid(Arc<str>);

/// A text that is no UID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no UID: up to 64 digits and dots, ending in a digit")]
pub struct BadUid(pub String);

impl Uid {
    /// Checks a UID by the rule of `studies.md` §2.5.2 (UI) and §3.1; trailing blanks are dropped.
    ///
    /// # Errors
    /// [`BadUid`] when it is empty, longer than 64 characters, or does not match `^[0-9.]*[0-9]$`.
    pub fn parse(text: &str) -> Result<Self, BadUid> {
        let canonical = text.trim_end_matches([' ', '\t', '\0']);
        let fits = (1..=64).contains(&canonical.len())
            && canonical.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && canonical.ends_with(|c: char| c.is_ascii_digit());
        if fits { Ok(Self(canonical.into())) } else { Err(BadUid(text.chars().take(80).collect())) }
    }

    /// The digits and dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_dropped_and_dots_are_safe_in_paths() {
        assert_eq!(Uid::parse("1.2.3  ").map(|u| u.to_string()), Ok("1.2.3".to_owned()));
        for bad in ["", " ", ".", "..", "1.", "1.2a", "1/2", "../1\0", &"1".repeat(65)] {
            assert!(Uid::parse(bad).is_err(), "{bad}");
        }
    }
}
