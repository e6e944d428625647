//! The few types every room speaks: positions, stamps, partitions, clocks and ids.
//!
//! Invariant: nothing here reads the machine's clock or randomness by itself; `app` hands out the one
//! [`Clock`] and the one [`Ids`] of a process, and a test hands out its own.
//! Elsewhere: UIDs and tags (`dicom`), events (`event`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Dense number of a record in the log: 0, 1, 2 … and the same on every node (architecture §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim().parse().map(Self)
    }
}

/// A moment in UTC, counted in units of 100 ns since 1970-01-01: the precision of the change feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub i64);

impl Stamp {
    /// Ticks of 100 ns in a second.
    pub const TICKS_PER_SECOND: i64 = 10_000_000;

    /// The moment `duration` after this one; saturates at the end of time.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        let ticks = i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ticks))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let ticks = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        std::time::Duration::from_nanos(ticks.saturating_mul(100))
    }

    /// Milliseconds since 1970, rounded down; what a UUIDv7 carries.
    #[must_use]
    pub fn unix_millis(self) -> u64 {
        u64::try_from(self.0 / (Self::TICKS_PER_SECOND / 1000)).unwrap_or(0)
    }
}

/// The last moment that has the form of the change feed.
const LAST_MOMENT: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59.9999999 UTC);

/// `2025-02-11T08:15:30.1234567+00:00`, the form of the change feed (contract `change-feed.md` §3).
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 100;
        // No later moment can be written, and none before 1970 is stamped.
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(LAST_MOMENT);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}+00:00",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.nanosecond() / 100
        )
    }
}

/// Where "now" comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. Need not be monotonic: the log makes it so where it matters.
    fn now(&self) -> Stamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        Stamp(i64::try_from(nanos / 100).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when it is told to, or by one tick a look.
#[derive(Debug)]
pub struct SteppedClock(AtomicI64);

impl SteppedClock {
    /// A clock standing at `start`.
    #[must_use]
    pub fn at(start: Stamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: std::time::Duration) {
        let ticks = i64::try_from(by.as_nanos() / 100).unwrap_or(i64::MAX);
        self.0.fetch_add(ticks, Ordering::SeqCst);
    }

    /// Puts the clock to `to`, backwards too.
    pub fn set(&self, to: Stamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Stamp {
        Stamp(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// The one source of ids and randomness of a process; seeded, so that a test can repeat a run.
#[derive(Debug)]
pub struct Ids(Mutex<StdRng>);

impl Ids {
    /// Ids nobody can foresee.
    #[must_use]
    pub fn from_os() -> Self {
        Self(Mutex::new(StdRng::from_os_rng()))
    }

    /// The same ids for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// A UUIDv7 (RFC 9562) of the moment `now`.
    pub fn next(&self, now: Stamp) -> Uuid {
        let mut random = [0; 10];
        self.0.lock().fill_bytes(&mut random);
        uuid::Builder::from_unix_timestamp_millis(now.unix_millis(), &random).into_uuid()
    }
}

/// The name of a data partition (contract `studies.md` §6): 1 to 64 of `A–Z a–z 0–9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Partition(Arc<str>);

/// A text that is no partition name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no partition name: 1 to 64 letters, digits, '.', '_' or '-', and neither '.' nor '..'")]
pub struct BadPartition(pub String);

impl Partition {
    /// The partition of everything stored while partitions are off.
    pub const DEFAULT_NAME: &'static str = "Microsoft.Default";

    /// Checks a name.
    ///
    /// # Errors
    /// [`BadPartition`] when the name is blank, too long, `.`, `..` or holds another character.
    pub fn parse(name: &str) -> Result<Self, BadPartition> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=64).contains(&name.len()) && name.chars().all(legal) && name != "." && name != "..";
        if fits { Ok(Self(name.into())) } else { Err(BadPartition(name.chars().take(80).collect())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Partition {
    fn default() -> Self {
        Self(Self::DEFAULT_NAME.into())
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Partition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_written_as_the_feed_wants_it() {
        assert_eq!(Stamp(17_392_617_301_234_567).to_string(), "2025-02-11T08:15:30.1234567+00:00");
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (a, b) = (Ids::seeded(7), Ids::seeded(7));
        let now = Stamp(17_392_617_301_234_567);
        assert_eq!(a.next(now), b.next(now));
        assert_ne!(a.next(now), Ids::seeded(8).next(now));
    }

    #[test]
    fn partition_names_cannot_leave_their_folder() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(Partition::parse(bad).is_err(), "{bad}");
        }
        assert!(Partition::parse("Ward_7.a-b").is_ok());
    }
}
