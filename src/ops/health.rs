//! Health: named checks, each with its last result; the worst of them is the archive's.
//!
//! Nothing is checked when somebody asks: whoever knows reports here, and a report may have a time after
//! which silence counts as failure (contract `studies.md` §7.4).
//!
//! Invariant: the overall status is the worst of the single ones.
//! Elsewhere: the JSON and the HTTP status (`http`), the probe of the blob store (`workers::health`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{Clock, Stamp};

/// How a part of the archive is. Ordered: later is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It works.
    Healthy,
    /// It works, but somebody has to look (contract `bulk-update-export.md` §4.3: the store's owner).
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Status {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Unhealthy => "Unhealthy",
        }
    }
}

/// The last result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What was reported.
    pub status: Status,
    /// A sentence for the operator.
    pub description: String,
}

/// All checks at one moment, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The worst of them; healthy when there is none.
    pub overall: Status,
    /// Each of them.
    pub checks: Vec<Check>,
}

/// Where checks are reported. Clones are the same registry.
#[derive(Clone)]
pub struct Health {
    clock: Arc<dyn Clock>,
    entries: Arc<Mutex<BTreeMap<&'static str, Entry>>>,
}

struct Entry {
    status: Status,
    description: String,
    reported: Stamp,
    valid_for: Option<Duration>,
}

impl Health {
    /// A registry without checks.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entries: Arc::default() }
    }

    /// Reports `name`; holds until the next report.
    pub fn set(&self, name: &'static str, status: Status, description: impl Into<String>) {
        self.put(name, status, description.into(), None);
    }

    /// Reports `name`; after `valid_for` without another report it counts as unhealthy.
    pub fn set_for(
        &self,
        name: &'static str,
        status: Status,
        description: impl Into<String>,
        valid_for: Duration,
    ) {
        self.put(name, status, description.into(), Some(valid_for));
    }

    /// All checks as they are now.
    #[must_use]
    pub fn report(&self) -> Report {
        let now = self.clock.now();
        let checks: Vec<Check> =
            self.entries.lock().iter().map(|(name, entry)| entry.check(name, now)).collect();
        let overall = checks.iter().map(|check| check.status).max().unwrap_or(Status::Healthy);
        Report { overall, checks }
    }

    fn put(&self, name: &'static str, status: Status, description: String, valid_for: Option<Duration>) {
        let entry = Entry { status, description, reported: self.clock.now(), valid_for };
        self.entries.lock().insert(name, entry);
    }
}

impl Entry {
    fn check(&self, name: &str, now: Stamp) -> Check {
        let stale = self.valid_for.is_some_and(|valid_for| now.since(self.reported) > valid_for);
        let (status, description) = if stale {
            (Status::Unhealthy, format!("Nothing was reported since {}.", self.reported))
        } else {
            (self.status, self.description.clone())
        };
        Check { name: name.to_owned(), status, description }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SteppedClock;

    #[test]
    fn the_worst_check_is_the_whole() {
        let health = Health::new(Arc::new(SteppedClock::at(Stamp(0))));
        assert_eq!(health.report(), Report { overall: Status::Healthy, checks: vec![] });
        health.set("Log", Status::Healthy, "It takes events.");
        health.set("BlobStore", Status::Unhealthy, "It is full.");
        health.set("Search", Status::Degraded, "It is behind.");
        let report = health.report();
        assert_eq!(report.overall, Status::Unhealthy);
        let names: Vec<&str> = report.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["BlobStore", "Log", "Search"]);

        health.set("BlobStore", Status::Healthy, "There is room.");
        assert_eq!(health.report().overall, Status::Degraded);
        assert_eq!(health.report().overall.as_str(), "Degraded");
    }

    #[test]
    fn silence_becomes_a_failure() {
        let clock = Arc::new(SteppedClock::at(Stamp(0)));
        let health = Health::new(clock.clone());
        health.set_for("BlobStore", Status::Healthy, "Written and read.", Duration::from_secs(90));
        clock.advance(Duration::from_secs(89));
        assert_eq!(health.report().overall, Status::Healthy);
        clock.advance(Duration::from_secs(2));
        let report = health.report();
        assert_eq!(report.overall, Status::Unhealthy);
        assert!(report.checks[0].description.contains("1970-01-01"));
    }
}
