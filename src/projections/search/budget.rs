//! How much one query may look at.
//!
//! A query is first answered within [`NARROW`], which what is looked up stays far below, and once more within
//! wider limits if that was not enough (`rooms`).
//! Invariant: every loop over rows, terms or ids of a query asks its budget; one that is spent ends the query.
//! Elsewhere: what becomes of such a query (`view`), who waits for whom (`rooms`).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Steps between two looks at the clock, and for the client.
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

/// Whether nobody waits for an answer any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Arc<AtomicBool>);

impl Left {
    pub(super) fn leave(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is left of one query's limits.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    until: Instant,
    left: Left,
    rows: Cell<u64>,
    terms: Cell<u64>,
    steps: Cell<u64>,
}

impl Budget {
    pub(super) fn of(limits: Limits) -> Self {
        Self::until_left(limits, Left::default())
    }

    /// One that is spent, too, once nobody waits for the answer any more.
    pub(super) fn until_left(limits: Limits, left: Left) -> Self {
        let (until, zero) = (Instant::now() + limits.time, || Cell::new(0));
        Self { limits, until, left, rows: zero(), terms: zero(), steps: zero() }
    }

    /// Rows taken so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// Takes a row.
    pub(super) fn row(&self) -> Result<(), Spent> {
        self.rows.set(self.rows.get() + 1);
        self.step(self.rows.get() > self.limits.rows)
    }

    /// Takes terms.
    pub(super) fn terms(&self, terms: u64) -> Result<(), Spent> {
        self.terms.set(self.terms.get().saturating_add(terms));
        self.step(self.terms.get() > self.limits.terms)
    }

    /// Whether so many ids may be held at once.
    pub(super) fn ids(&self, held: u64) -> Result<(), Spent> {
        self.step(held > self.limits.ids)
    }

    fn step(&self, spent: bool) -> Result<(), Spent> {
        self.steps.set(self.steps.get() + 1);
        let looks = self.steps.get().is_multiple_of(STEPS_PER_LOOK);
        if spent || (looks && self.is_over()) {
            return Err(Spent { rows: self.rows.get(), terms: self.terms.get() });
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.left.0.load(Ordering::Relaxed) || Instant::now() > self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Limits = Limits { time: Duration::from_secs(3_600), rows: 1_000, terms: 1_000, ids: 1_000 };

    #[test]
    fn each_kind_has_its_own_bound() {
        let budget = Budget::of(WIDE);
        for _ in 0..1_000 {
            budget.row().unwrap();
        }
        assert_eq!(budget.row(), Err(Spent { rows: 1_001, terms: 0 }));
        budget.terms(1_000).unwrap();
        assert_eq!(budget.terms(u64::MAX), Err(Spent { rows: 1_001, terms: u64::MAX }));
        // Ids are held, not used up.
        assert!(budget.ids(1_000).is_ok() && budget.ids(1_001).is_err() && budget.ids(1_000).is_ok());
    }

    #[test]
    fn time_and_the_clients_leaving_end_it_within_some_steps() {
        let ends = |budget: &Budget| (0..STEPS_PER_LOOK).any(|_| budget.row().is_err());
        assert!(ends(&Budget::of(Limits { time: Duration::ZERO, ..WIDE })));
        let left = Left::default();
        let budget = Budget::until_left(WIDE, left.clone());
        assert!(!ends(&budget));
        left.leave();
        assert!(ends(&budget));
    }
}
