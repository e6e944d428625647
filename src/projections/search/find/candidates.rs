//! Studies and series that the index names: those of clean studies from there, those of dirty ones from
//! their rows.
//!
//! Invariant: a record is found once, by the index or by its study's being dirty, never by both.
//! Elsewhere: filters as conditions (`index`), which way is taken (`plan`).

use super::FindError;
use super::asked::Asked;
use super::records::Records;
use crate::projections::search::attributes::Level;
use crate::projections::search::index::{self, Condition, Conditions, Searcher};
use crate::projections::search::matching::judge;
use crate::projections::search::rows::{Id, SeriesRow, decode, key};
use crate::tables::Read;

/// Candidates asked of the index beyond those wanted, for dirty ones among them.
const SPARE_CANDIDATES: usize = 16;
/// Of more than this, those that the index says exactly are not judged one by one.
const JUDGED: usize = 1_000;

impl Asked<'_> {
    pub(super) fn searcher(&self) -> Result<&Searcher, FindError> {
        self.moment.searcher.as_ref().ok_or(FindError::NoIndex)
    }

    /// What the index is asked for the records of a level that satisfy the filters, and whether it says them
    /// exactly, dirty ones apart.
    pub(super) fn conditions(&self, level: Level) -> (Conditions, bool) {
        let mut all = vec![index::of_level(level, self.partition)];
        let mut exact = true;
        for filter in self.filters {
            let sought = index::sought(filter, self.filters, self.partition);
            exact &= sought.exact;
            all.extend(sought.conditions);
        }
        (Conditions { all, but: Vec::new() }, exact)
    }

    /// The documents of dirty studies.
    pub(super) fn dirty(&self) -> Condition {
        index::dirty(self.partition, self.moment.dirty.of(self.partition).into_iter())
    }

    /// The newest `need` records of a level that satisfy the filters, from the index and the dirty studies.
    pub(super) fn indexed(
        &self,
        level: Level,
        need: usize,
        records: &mut Records,
    ) -> Result<Vec<Id>, FindError> {
        let mut dirty = self.matching_dirty(level, records)?;
        dirty.sort_unstable_by(|a, b| b.cmp(a));
        dirty.truncate(need);
        let clean = self.matching_clean(level, need, records)?;
        let mut found = Vec::with_capacity(dirty.len() + clean.len());
        let (mut dirty, mut clean) = (dirty.into_iter().peekable(), clean.into_iter().peekable());
        while found.len() < need {
            let next = if dirty.peek() > clean.peek() { dirty.next() } else { clean.next() };
            let Some(id) = next else { break };
            found.push(id);
        }
        Ok(found)
    }

    /// The records of dirty studies that satisfy the filters.
    pub(super) fn matching_dirty(&self, level: Level, records: &mut Records) -> Result<Vec<Id>, FindError> {
        let mut found = Vec::new();
        for uid in self.moment.dirty.of(self.partition) {
            let Some(id) = self.study_id(uid)? else { continue };
            match level {
                Level::Study => {
                    if judge(self.filters, &*records.study(self, id)?, None, None) {
                        found.push(id);
                    }
                }
                Level::Series | Level::Instance => found.extend(self.series_of_study(id, records)?),
            }
        }
        Ok(found)
    }

    fn matching_clean(&self, level: Level, need: usize, records: &mut Records) -> Result<Vec<Id>, FindError> {
        let searcher = self.searcher()?;
        let (mut conditions, exact) = self.conditions(level);
        if exact && need > JUDGED {
            conditions.but.push(self.dirty());
            return Ok(index::newest(searcher, &conditions, need, self.budget)?);
        }
        let mut found = Vec::new();
        let (mut judged, mut ask) = (0, need.saturating_add(SPARE_CANDIDATES));
        loop {
            let ids = index::newest(searcher, &conditions, ask, self.budget)?;
            for id in ids.iter().skip(judged) {
                if self.is_clean_match(level, *id, records)? {
                    found.push(*id);
                }
                if found.len() == need {
                    return Ok(found);
                }
            }
            if ids.len() < ask {
                return Ok(found);
            }
            judged = ids.len();
            ask = ask.saturating_mul(4);
        }
    }

    /// Whether a record found by the index is there, is what the index takes it for, and matches.
    fn is_clean_match(&self, level: Level, id: Id, records: &mut Records) -> Result<bool, FindError> {
        self.budget.row()?;
        let key = match level {
            Level::Study => key::study(self.partition, id),
            Level::Series | Level::Instance => key::series(self.partition, id),
        };
        let Some(row) = self.moment.rows.get(&key)? else { return Ok(false) };
        if !self.judged(level, id, &row, records)? {
            return Ok(false);
        }
        let study = match level {
            Level::Study => records.study(self, id)?,
            Level::Series | Level::Instance => records.series(self, id)?.0,
        };
        Ok(!self.moment.dirty.contains(self.partition, &study.uid))
    }

    /// Whether a record satisfies the filters; one that does is kept.
    pub(super) fn judged(
        &self,
        level: Level,
        id: Id,
        row: &[u8],
        records: &mut Records,
    ) -> Result<bool, FindError> {
        if level == Level::Study {
            let study = decode(row)?;
            let matches = judge(self.filters, &study, None, None);
            if matches {
                records.keep_study(id, study);
            }
            return Ok(matches);
        }
        let series: SeriesRow = decode(row)?;
        let study = records.study(self, series.study)?;
        let matches = judge(self.filters, &study, Some(&series), None);
        if matches {
            records.keep_series(id, series);
        }
        Ok(matches)
    }
}
