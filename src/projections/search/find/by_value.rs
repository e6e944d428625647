//! Instances found by a filter on a value of theirs: the rows in the order of that value name candidates.
//!
//! Instances of one value lie newest first, so a page of them needs no more rows than it shows, if nothing
//! else is asked. Of several values all candidates are gathered, if they are few.
//! Invariant: every candidate is judged by all filters.
//! Elsewhere: those rows (`instance_values`).

use super::FindError;
use super::asked::{Asked, Listed};
use super::records::Records;
use crate::projections::search::attributes::Level;
use crate::projections::search::instance_values::{Between, ByValue, Valued};
use crate::projections::search::matching::{Filter, On, Test};
use crate::projections::search::query::{By, OrderBy};
use crate::projections::search::value::Form;

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
    /// the page cannot be reached so.
    pub(super) fn by_own_value(&self, records: &mut Records) -> Result<Option<Vec<Listed>>, FindError> {
        let [OrderBy { by: By::On(On::Value(id)), level: Level::Instance, descending: false, .. }] =
            self.query.order.as_slice()
        else {
            return Ok(None);
        };
        let by_value = ByValue::of(self.partition, *id);
        let between = match self.filters {
            [] => Between::default(),
            [filter] if filter.on == On::Value(*id) => match between(&filter.test).pop() {
                Some(between) => between,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        // Behind those with a value come those without.
        let with_value = by_value.count(&self.moment.rows, &between)?;
        if with_value < self.query.need() as u64 && self.filters.is_empty() {
            return Ok(None);
        }
        let mut page = Vec::new();
        for valued in by_value.walk_from(&self.moment.rows, &between, self.query.offset as u64)? {
            if page.len() == self.query.limit {
                break;
            }
            page.extend(self.listed(valued?, records)?);
        }
        Ok(Some(page))
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
