//! Values of settings: how they are read, and what is impossible for each kind.
//!
//! Elsewhere: the settings themselves (`config`).

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize};

use super::BadSetting;

/// How long released files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// For this long.
    For(Duration),
    /// They are never removed.
    Forever,
}

impl std::str::FromStr for Keep {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" { Ok(Self::Forever) } else { humantime::parse_duration(text).map(Self::For) }
    }
}

impl Serialize for Keep {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Forever => serializer.serialize_str("forever"),
            Self::For(time) => serializer.collect_str(&humantime::format_duration(*time)),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A list, or a text with commas.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<String>),
        Text(String),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| {
        let entries = match either {
            Either::List(list) => list,
            Either::Text(text) => text.split(',').map(str::to_owned).collect(),
        };
        let entries = entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty());
        entries.map(str::to_owned).collect()
    }))
}

pub(super) fn impossible(name: &'static str, what: String) -> BadSetting {
    BadSetting::Impossible { name, what }
}

pub(super) fn positive(name: &'static str, given: Option<ByteSize>, default: u64) -> Result<u64, BadSetting> {
    match given.map(|size| size.as_u64()) {
        Some(0) => Err(impossible(name, "it must be more than 0 bytes".to_owned())),
        given => Ok(given.unwrap_or(default)),
    }
}

pub(super) fn nonzero(
    name: &'static str,
    given: Option<Duration>,
    default: Duration,
) -> Result<Duration, BadSetting> {
    match given {
        Some(Duration::ZERO) => Err(impossible(name, "it must be more than no time".to_owned())),
        given => Ok(given.unwrap_or(default)),
    }
}

/// One part of a path in the lake.
pub(super) fn path_part(
    name: &'static str,
    given: Option<String>,
    default: &str,
) -> Result<String, BadSetting> {
    let part = given.unwrap_or_else(|| default.to_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if part.is_empty() || part.len() > 64 || part.starts_with('.') || !part.chars().all(legal) {
        let what = format!("'{part}' is not 1 to 64 letters, digits, '-', '_' or '.'");
        return Err(impossible(name, what));
    }
    Ok(part)
}
