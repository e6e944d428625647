//! Paths before the router sees them: version, partition segment, letter case.
//!
//! Literals of a path match in any letter case, UIDs and names are taken as they are (`studies.md` §1.1).
//! The router itself knows only lower-case literals without version and partition.
//!
//! Elsewhere: the routes (`http::router`), the meaning of the segments between the literals (`urls`).

use std::fmt;

/// A known API version. Only the major number changes behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// `v1.0-prerelease`, which behaves as `v1`.
    V1Prerelease,
    /// `v1`
    V1,
    /// `v2`
    V2,
}

/// Value of `api-supported-versions`.
pub(super) const SUPPORTED: &str = "1.0-prerelease, 1, 2";

impl Version {
    fn parse(segment: &str) -> Option<Self> {
        match segment.to_ascii_lowercase().as_str() {
            "v1.0-prerelease" => Some(Self::V1Prerelease),
            "v1" => Some(Self::V1),
            "v2" => Some(Self::V2),
            _ => None,
        }
    }

    /// Whether the rules of version 2 hold.
    pub(super) fn is_v2(self) -> bool {
        match self {
            Self::V1Prerelease | Self::V1 => false,
            Self::V2 => true,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1Prerelease => "v1.0-prerelease",
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Below a known version.
    Versioned {
        /// The version.
        version: Version,
        /// The segment behind `partitions/`, percent-encoded as sent.
        partition: Option<String>,
        /// The rest, with a leading slash.
        path: String,
    },
    /// Something that looks like a version, but is none.
    UnknownVersion,
    /// Everything else.
    Plain {
        /// The whole path.
        path: String,
    },
}

/// First segments of the routes that lie in a partition.
const PARTITIONED: [&str; 3] = ["studies", "series", "instances"];

/// Whether a route of the router lies in a partition.
pub(super) fn is_partitioned(route: &str) -> bool {
    route.split('/').nth(1).is_some_and(|first| PARTITIONED.contains(&first))
}

/// Place of `bulkdata` in `studies/{study}/series/{series}/instances/{instance}/bulkdata/…`.
const BULKDATA_AT: usize = 6;

/// Takes a path apart.
pub(super) fn target(path: &str) -> Target {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let first = segments.first().copied().unwrap_or_default();
    let Some(version) = Version::parse(first) else {
        if looks_like_version(first) {
            return Target::UnknownVersion;
        }
        return Target::Plain { path: path.to_ascii_lowercase() };
    };
    let mut rest = &segments[1..];
    // One slash at the end names the same resource.
    if let [before @ .., ""] = rest
        && !before.is_empty()
    {
        rest = before;
    }
    let mut partition = None;
    if let [prefix, name, resource, ..] = rest
        && prefix.eq_ignore_ascii_case("partitions")
        && PARTITIONED.iter().any(|known| resource.eq_ignore_ascii_case(known))
    {
        partition = Some((*name).to_owned());
        rest = &rest[2..];
    }
    Target::Versioned { version, partition, path: lower_literals(rest) }
}

/// Literals and values take turns: `studies/{study}/series/{series}/…`; under `changefeed` all are literals,
/// below an instance's `bulkdata` all are values. `count` stands where a value does, and is none.
fn lower_literals(segments: &[&str]) -> String {
    let is = |at: usize, word: &str| segments.get(at).is_some_and(|at| at.eq_ignore_ascii_case(word));
    let counts = segments.len() == 2 && is(1, "count") && PARTITIONED.iter().any(|first| is(0, first));
    let all = counts || is(0, "changefeed");
    let in_bulkdata = segments.get(BULKDATA_AT).is_some_and(|at| at.eq_ignore_ascii_case("bulkdata"));
    let mut path = String::new();
    for (at, segment) in segments.iter().enumerate() {
        path.push('/');
        if all || (at % 2 == 0 && !(in_bulkdata && at > BULKDATA_AT)) {
            path.push_str(&segment.to_ascii_lowercase());
        } else {
            path.push_str(segment);
        }
    }
    path
}

/// Whether a path begins with a version, be it one that nobody knows.
pub(super) fn is_versioned(path: &str) -> bool {
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default();
    Version::parse(first).is_some() || looks_like_version(first)
}

fn looks_like_version(segment: &str) -> bool {
    segment.starts_with(['v', 'V']) && segment.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

/// Whether the raw query holds `<`, plain or percent-encoded, for which a request is refused before routing
/// (`studies.md` §1.6).
pub(super) fn is_guarded(query: &str) -> bool {
    let encoded = |bytes: &[u8]| bytes.eq_ignore_ascii_case(b"%3c");
    query.contains('<') || query.as_bytes().windows(3).any(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versioned(version: Version, partition: Option<&str>, path: &str) -> Target {
        Target::Versioned { version, partition: partition.map(str::to_owned), path: path.to_owned() }
    }

    #[test]
    fn literals_match_in_any_case_and_values_stay() {
        for (path, expected) in [
            ("/v2/studies", versioned(Version::V2, None, "/studies")),
            ("/V2/STUDIES/", versioned(Version::V2, None, "/studies")),
            ("/v1.0-PreRelease/Studies", versioned(Version::V1Prerelease, None, "/studies")),
            (
                "/v1/Studies/1.2%20/Series/3.A/Metadata",
                versioned(Version::V1, None, "/studies/1.2%20/series/3.A/metadata"),
            ),
            (
                "/v2/Studies/1/SERIES/2/Instances/3/BulkData/0040A730/1/0040DB7A",
                versioned(Version::V2, None, "/studies/1/series/2/instances/3/bulkdata/0040A730/1/0040DB7A"),
            ),
            ("/v2/partitions/Ward_7/studies/1", versioned(Version::V2, Some("Ward_7"), "/studies/1")),
            ("/v2/partitions", versioned(Version::V2, None, "/partitions")),
            ("/v2/partitions/a/changefeed", versioned(Version::V2, None, "/partitions/a/changefeed")),
            ("/v2/STUDIES/Count", versioned(Version::V2, None, "/studies/count")),
            ("/v2/partitions/A/Series/COUNT/", versioned(Version::V2, Some("A"), "/series/count")),
            ("/v2/studies/Count/Series", versioned(Version::V2, None, "/studies/Count/series")),
            ("/v2/ChangeFeed/LATEST", versioned(Version::V2, None, "/changefeed/latest")),
            ("/v2", versioned(Version::V2, None, "")),
            ("/v2/", versioned(Version::V2, None, "/")),
            ("/v2/studies1.2.3/series", versioned(Version::V2, None, "/studies1.2.3/series")),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn a_version_that_is_none_is_told_from_no_version() {
        for path in ["/v99/studies", "/v3", "/V1.5/studies", "/v1x/studies"] {
            assert_eq!(target(path), Target::UnknownVersion, "{path}");
        }
        for path in ["/studies", "/", "", "/versions/studies", "/health/check", "/v/studies"] {
            assert!(matches!(target(path), Target::Plain { .. }), "{path}");
        }
    }

    #[test]
    fn the_guard_sees_every_form_of_the_sign() {
        for query in ["a=<", "a=%3c", "%3C", "a=b&c=%3Cscript"] {
            assert!(is_guarded(query), "{query}");
        }
        for query in ["", "a=%3", "a=3c", "a=%3e", "a=%253c"] {
            assert!(!is_guarded(query), "{query}");
        }
    }
}
