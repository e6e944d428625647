//! How much one query may look at.
//!
//! Invariant: every loop over rows, terms or ids of a query asks its budget; one that is spent ends the query.
//! Elsewhere: what becomes of such a query (`view`), who waits for whom (`mod`).

#![expect(dead_code, reason = "the interface, before its users")]

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

/// What a query may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) time: Duration,
    /// Rows judged or skipped one by one.
    pub(super) rows: u64,
    /// Terms of the index's dictionaries.
    pub(super) terms: u64,
    /// Ids held at once.
    pub(super) ids: u64,
}

/// For queries that look at little.
pub(super) const NARROW: Limits =
    Limits { time: Duration::from_millis(25), rows: 20_000, terms: 200_000, ids: 100_000 };
/// For the others.
pub(super) const BROAD: Limits =
    Limits { time: Duration::from_secs(2), rows: 500_000, terms: 4_000_000, ids: 2_000_000 };

/// The query looked at all it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query looked at {rows} rows and {terms} terms, and may look at no more")]
pub(super) struct Spent {
    pub(super) rows: u64,
    pub(super) terms: u64,
}

/// What is left of one query's limits.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    until: Instant,
    rows: Cell<u64>,
    terms: Cell<u64>,
    steps: Cell<u64>,
}

impl Budget {
    pub(super) fn of(limits: Limits) -> Self {
        let until = Instant::now() + limits.time;
        Self { limits, until, rows: Cell::new(0), terms: Cell::new(0), steps: Cell::new(0) }
    }

    /// Takes a row.
    pub(super) fn row(&self) -> Result<(), Spent> {
        self.rows.set(self.rows.get() + 1);
        self.step(self.rows.get() > self.limits.rows)
    }

    /// Takes a term.
    pub(super) fn term(&self) -> Result<(), Spent> {
        self.terms.set(self.terms.get() + 1);
        self.step(self.terms.get() > self.limits.terms)
    }

    /// Whether so many ids may be held at once.
    pub(super) fn ids(&self, held: u64) -> Result<(), Spent> {
        self.step(held > self.limits.ids)
    }

    fn step(&self, spent: bool) -> Result<(), Spent> {
        self.steps.set(self.steps.get() + 1);
        let looks = self.steps.get().is_multiple_of(STEPS_PER_LOOK);
        if spent || (looks && Instant::now() > self.until) {
            return Err(Spent { rows: self.rows.get(), terms: self.terms.get() });
        }
        Ok(())
    }
}
