//! Instances found by a filter on a value of theirs: the rows in the order of that value name candidates.
//!
//! Instances of one value lie newest first, so a page of them needs no more rows than it shows, if nothing
//! else is asked. Of several values all candidates are gathered, if they are few.
//! Invariant: every candidate is judged by all filters.
//! Elsewhere: those rows (`instance_values`).

use super::FindError;
use super::asked::{Asked, Listed};
use super::records::Records;
use crate::projections::search::attributes::{AttributeId, Level};
use crate::projections::search::counts::{self, Order};
use crate::projections::search::instance_values::{Between, ByValue, Valued};
use crate::projections::search::matching::{Filter, On, Test};
use crate::projections::search::query::{By, OrderBy};
use crate::projections::search::rows::{VersionRow, decode, last_number};
use crate::projections::search::value::Form;
use crate::tables::{self, Read};

/// With at most so many candidates they are gathered.
const FEW: u64 = 20_000;

/// The candidates of one filter.
pub(super) struct Candidates<'p> {
    by_value: ByValue<'p>,
    between: Vec<Between>,
    /// At most so many.
    pub(super) instances: u64,
}

/// Between which forms the values lie that satisfy a test; both ends open when that cannot be said.
fn between(test: &Test) -> Vec<Between> {
    let text = |form: &str| Some(form.to_owned());
    let is = |form: &str| Between { from: text(form), to: text(form) };
    match test {
        Test::Form(form) => vec![is(form.as_str())],
        Test::AnyOf(forms) => {
            let mut forms: Vec<_> = forms.iter().map(|form| form.as_str()).collect();
            forms.sort_unstable();
            forms.dedup();
            forms.into_iter().map(is).collect()
        }
        Test::Between(from, to) => {
            let end = |form: &Option<Form>| form.as_ref().map(|form| form.as_str().to_owned());
            vec![Between { from: end(from), to: end(to) }]
        }
        Test::Either(_) | Test::Like(_) | Test::NameIs(_) | Test::Words(_) | Test::AnyWords(_) => {
            vec![Between::default()]
        }
        Test::Moments { .. } | Test::Classes(_) => vec![Between::default()],
    }
}

impl<'q> Asked<'q> {
    /// The page of instances by the filter on a value of theirs that leaves the fewest; `None` when there is
    /// no such filter, or it leaves many.
    pub(super) fn by_value(&self, records: &mut Records) -> Result<Option<Vec<Listed>>, FindError> {
        let mut fewest: Option<Candidates<'_>> = None;
        for filter in self.filters {
            let Some(candidates) = self.candidates_of(filter)? else { continue };
            if fewest.as_ref().is_none_or(|fewest| candidates.instances < fewest.instances) {
                fewest = Some(candidates);
            }
        }
        let Some(candidates) = fewest else { return Ok(None) };
        match candidates.between.as_slice() {
            [one] if one.from == one.to && one.from.is_some() => {
                self.page_of_value(&candidates, one, records).map(Some)
            }
            _ if candidates.instances <= FEW => self.gathered(&candidates, records).map(Some),
            _ => Ok(None),
        }
    }

    /// The page of instances in the order of a value of theirs, nothing else asked than its range; `None` when
    /// more is asked.
    pub(super) fn by_own_value(&self) -> Result<Option<Vec<Listed>>, FindError> {
        let [OrderBy { by: By::On(On::Value(id)), level: Level::Instance, descending, .. }] =
            self.query.order.as_slice()
        else {
            return Ok(None);
        };
        let between = match self.filters {
            [] => Between::default(),
            [Filter { on: On::Value(of), test: test @ Test::Between(..), .. }] if of == id => {
                between(test).swap_remove(0)
            }
            _ => return Ok(None),
        };
        let (by_value, rows) = (ByValue::of(self.partition, *id), &self.moment.rows);
        let (offset, limit) = (self.query.offset as u64, self.query.limit);
        let listed = |valued: Result<Valued, tables::Error>| {
            self.budget.row()?;
            let Valued { version, series } = valued?;
            Ok(Listed { version, series })
        };
        let page: Result<Vec<_>, FindError> = match descending {
            true => by_value.walk_down_from(rows, &between, offset)?.take(limit).map(listed).collect(),
            false => by_value.walk_from(rows, &between, offset)?.take(limit).map(listed).collect(),
        };
        let mut page = page?;
        if self.filters.is_empty() && page.len() < limit {
            let with_value = by_value.count(rows, &between)?;
            self.add_without_value(*id, offset.saturating_sub(with_value), &mut page)?;
        }
        Ok(Some(page))
    }

    /// Fills a page with the instances that have no value, newest first, but for the first `skip` of them.
    fn add_without_value(
        &self,
        id: AttributeId,
        mut skip: u64,
        page: &mut Vec<Listed>,
    ) -> Result<(), FindError> {
        let rows = &self.moment.rows;
        let all = counts::all(rows, Order::Instances, self.partition)?;
        let mut left = all.saturating_sub(ByValue::of(self.partition, id).count(rows, &Between::default())?);
        for row in rows.prefix(&Order::Instances.rows(self.partition).build()) {
            if left == 0 || page.len() == self.query.limit {
                break;
            }
            self.budget.row()?;
            let (row_key, row) = row?;
            let VersionRow { series, .. } = decode(&row)?;
            let listed = Listed { version: last_number(&row_key)?, series };
            if self.instance_row(listed)?.values.first(id).is_some() {
                continue;
            }
            left -= 1;
            match skip {
                0 => page.push(listed),
                _ => skip -= 1,
            }
        }
        Ok(())
    }

    pub(super) fn candidates_of(&self, filter: &Filter) -> Result<Option<Candidates<'q>>, FindError> {
        let Some(attribute) = filter.on.attribute().filter(|_| filter.level == Level::Instance) else {
            return Ok(None);
        };
        let by_value = ByValue::of(self.partition, attribute);
        let between = between(&filter.test);
        let mut instances = 0;
        for between in &between {
            instances += by_value.at_most(&self.moment.rows, between)?;
        }
        Ok(Some(Candidates { by_value, between, instances }))
    }

    /// The page of the instances with one value.
    fn page_of_value(
        &self,
        candidates: &Candidates<'_>,
        value: &Between,
        records: &mut Records,
    ) -> Result<Vec<Listed>, FindError> {
        let alone = self.filters.len() == 1;
        let (counted, mut skip) = if alone { (self.query.offset, 0) } else { (0, self.query.offset) };
        let rows = candidates.by_value.walk_from(&self.moment.rows, value, counted as u64)?;
        let mut page = Vec::new();
        for valued in rows {
            if page.len() == self.query.limit {
                break;
            }
            match self.listed(valued?, records)? {
                None => {}
                Some(_) if skip > 0 => skip -= 1,
                Some(listed) => page.push(listed),
            }
        }
        Ok(page)
    }

    /// The page of the instances with any of some values.
    fn gathered(&self, candidates: &Candidates<'_>, records: &mut Records) -> Result<Vec<Listed>, FindError> {
        let mut found = Vec::new();
        for between in &candidates.between {
            for valued in candidates.by_value.walk(&self.moment.rows, between) {
                found.extend(self.listed(valued?, records)?);
            }
        }
        // An instance is listed by each of its values.
        found.sort_unstable();
        found.dedup();
        Ok(self.newest_page(found))
    }

    /// The instance, if it satisfies all filters.
    fn listed(&self, valued: Valued, records: &mut Records) -> Result<Option<Listed>, FindError> {
        self.budget.row()?;
        let listed = Listed { version: valued.version, series: valued.series };
        let matches = records.is_match(self, listed.series)? && self.is_match(listed)?;
        Ok(matches.then_some(listed))
    }
}
