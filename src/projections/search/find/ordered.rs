//! Records in the order of values that the index follows: nothing is sorted but what has one value, and what
//! stands before the page is passed over by counts where the index says exactly what matches.
//!
//! Records of dirty studies are sorted by their rows and join at their places. Those without a value come
//! last in either direction.
//! Invariant: a record comes once: with its first value, or at the end.
//! Elsewhere: the values themselves (`index`), where a record stands among others (`sort`).

use std::ops::ControlFlow;

use super::FindError;
use super::asked::{Asked, Listed};
use super::records::Records;
use crate::projections::search::attributes::Level;
use crate::projections::search::index::{
    self, Condition, Conditions, Counted, Group, Loose, Question, Ranked, Span,
};
use crate::projections::search::matching::{Test, judge};
use crate::projections::search::query::By;
use crate::projections::search::rows::Id;
use crate::projections::search::sort::{Page, Place, Sorted};

/// With which value a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the first: what stands before it is passed over value by value.
    First,
    /// With that in which its rank lies.
    ByRank,
}

/// A matching record of a dirty study.
struct Changed {
    place: Place,
    id: Id,
    instances: u64,
}

impl Changed {
    fn value(&self) -> Option<&str> {
        self.place.first().form().map(|form| form.as_str())
    }
}

/// The records that have one value, or none.
struct Members<'g> {
    clean: Clean<'g>,
    changed: &'g [Changed],
}

enum Clean<'g> {
    None,
    Group(&'g Group<'g, 'g>),
    /// All that satisfy these.
    Rest(&'g Conditions),
}

impl Members<'_> {
    /// How many they are, where the index counts exactly what matches.
    fn count(&self, asked: &Asked<'_>) -> Result<Option<Counted>, FindError> {
        let mut counted = match &self.clean {
            Clean::None => Counted::default(),
            Clean::Group(group) => group.count(asked.budget)?,
            Clean::Rest(_) => return Ok(None),
        };
        counted.records += self.changed.len() as u64;
        counted.instances += self.changed.iter().map(|changed| changed.instances).sum::<u64>();
        Ok(Some(counted))
    }

    /// The newest of them: `most`, and some more.
    fn newest(&self, asked: &Asked<'_>, most: usize) -> Result<Vec<Id>, FindError> {
        let mut ids = match &self.clean {
            Clean::None => Vec::new(),
            Clean::Group(group) => group.newest(most, asked.budget)?,
            Clean::Rest(conditions) => index::newest(asked.searcher()?, conditions, most, asked.budget)?,
        };
        ids.extend(self.changed.iter().map(|changed| changed.id));
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }
}

/// The way through the values.
struct Way {
    conditions: Conditions,
    /// What satisfies the conditions matches.
    exact: bool,
    span: Span,
    changed: Vec<Changed>,
}

impl Asked<'_> {
    /// A page of studies or series in the order asked for.
    pub(super) fn records_in_order(
        &self,
        level: Level,
        start: Start,
        records: &mut Records,
    ) -> Result<Vec<Id>, FindError> {
        let query = self.query;
        let mut page = Page::of(query.offset as u64, query.limit);
        let mut way = self.way(level, records)?;
        if start == Start::ByRank {
            self.start_by_rank(&mut way, false, &mut page)?;
        }
        self.each_value(&way, |members| {
            if way.exact
                && page.skip() > 0
                && let Some(counted) = members.count(self)?
                && counted.records <= page.skip()
            {
                page.pass(counted.records);
                return Ok(ControlFlow::Continue(()));
            }
            if way.exact && query.order.len() == 1 {
                members.newest(self, page.need())?.into_iter().for_each(|id| page.push(id));
            } else {
                let mut sorted = Sorted::of(page.need());
                for id in members.newest(self, usize::MAX)? {
                    if way.exact || self.is_match_of(level, id, records)? {
                        sorted.push(self.place(level, id, records)?, id);
                    }
                }
                sorted.sorted().into_iter().for_each(|(_, id)| page.push(id));
            }
            Ok(if page.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(page.items)
    }

    /// A page of instances in the order of values of their series or studies.
    pub(super) fn instances_in_order(
        &self,
        start: Start,
        records: &mut Records,
    ) -> Result<Vec<Listed>, FindError> {
        let query = self.query;
        let mut page = Page::of(query.offset as u64, query.limit);
        let mut way = self.way(Level::Series, records)?;
        if start == Start::ByRank {
            self.start_by_rank(&mut way, true, &mut page)?;
        }
        self.each_value(&way, |members| {
            if way.exact
                && page.skip() > 0
                && let Some(counted) = members.count(self)?
                && counted.instances <= page.skip()
            {
                page.pass(counted.instances);
                return Ok(ControlFlow::Continue(()));
            }
            let mut series = Vec::new();
            for id in members.newest(self, usize::MAX)? {
                if way.exact || self.is_match_of(Level::Series, id, records)? {
                    series.push(id);
                }
            }
            let listed = match query.order.len() {
                1 => self.merged_newest(&series, page.need(), records)?,
                _ => {
                    let mut sorted = Sorted::of(page.need());
                    for listed in self.merged_newest(&series, usize::MAX, records)? {
                        sorted.push(self.place_of_instance(listed, records)?, listed);
                    }
                    sorted.sorted().into_iter().map(|(_, listed)| listed).collect()
                }
            };
            listed.into_iter().for_each(|listed| page.push(listed));
            Ok(if page.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(page.items)
    }

    fn way(&self, level: Level, records: &mut Records) -> Result<Way, FindError> {
        let (mut conditions, exact) = self.conditions(level);
        conditions.but.push(self.dirty());
        let mut changed = self.changed(level, records)?;
        changed.sort_unstable_by(|a, b| a.place.cmp(&b.place));
        let first = self.query.order.first();
        let on = first.and_then(|first| if let By::On(on) = first.by { Some(on) } else { None });
        let prefix = on.and_then(|on| index::order_prefix(on, self.partition));
        let descending = first.is_some_and(|first| first.descending);
        let range = self.filters.iter().find_map(|filter| match &filter.test {
            Test::Between(from, to) if Some(filter.on) == on => Some((from.clone(), to.clone())),
            _ => None,
        });
        let (from, to) = range.unwrap_or_default();
        let text = |form: crate::projections::search::value::Form| form.as_str().to_owned();
        let span =
            Span { prefix: prefix.unwrap_or_default(), from: from.map(text), to: to.map(text), descending };
        Ok(Way { conditions, exact, span, changed })
    }

    /// The records of dirty studies that satisfy the filters, with their places.
    fn changed(&self, level: Level, records: &mut Records) -> Result<Vec<Changed>, FindError> {
        let mut changed = Vec::new();
        for id in self.matching_dirty(level, records)? {
            let place = self.place(level, id, records)?;
            let instances = match level {
                Level::Study => records.study(self, id)?.instances,
                Level::Series | Level::Instance => records.series(self, id)?.1.instances,
            };
            changed.push(Changed { place, id, instances });
        }
        Ok(changed)
    }

    /// Begins the way with the value in which the page begins. Nothing but the range of the values may be
    /// asked for.
    fn start_by_rank<T>(&self, way: &mut Way, weighed: bool, page: &mut Page<T>) -> Result<(), FindError> {
        let Some(Condition::Any(set)) = way.conditions.all.first() else { return Ok(()) };
        let set = set.concat();
        let question = Question { set, prefix: way.span.prefix.clone(), weighed };
        let searcher = self.searcher()?;
        let mut ranks = searcher.ranks(&question, &self.dirty(), self.budget)?;
        let changed = way.changed.iter().filter_map(|changed| {
            let counts = if weighed { changed.instances } else { 1 };
            Some((changed.value()?.as_bytes().to_vec(), counts))
        });
        ranks.push(Box::new(Loose::of(changed.collect())));
        let Some((value, passed)) = start(&ranks, &way.span, page.skip())? else { return Ok(()) };
        page.pass(passed);
        let end = if way.span.descending { &mut way.span.to } else { &mut way.span.from };
        way.changed.retain(|changed| {
            changed.value().is_none_or(|of| !comes_before(of, &value, way.span.descending))
        });
        *end = Some(value);
        Ok(())
    }

    /// Gives the values in their order to `visit`, and in the end what has none, until that has enough.
    fn each_value(
        &self,
        way: &Way,
        mut visit: impl FnMut(&Members<'_>) -> Result<ControlFlow<()>, FindError>,
    ) -> Result<(), FindError> {
        let searcher = self.searcher()?;
        let mut changed = way.changed.as_slice();
        let mut full = false;
        index::in_order(searcher, &way.conditions, &way.span, self.budget, |value, group| {
            while let Some(first) = changed.first().and_then(Changed::value)
                && comes_before(first, value, way.span.descending)
            {
                let members = Members { clean: Clean::None, changed: split_value(&mut changed) };
                if visit(&members)?.is_break() {
                    full = true;
                    return Ok::<_, FindError>(ControlFlow::Break(()));
                }
            }
            let same = changed.first().and_then(Changed::value) == Some(value);
            let changed = if same { split_value(&mut changed) } else { &[] };
            let visited = visit(&Members { clean: Clean::Group(group), changed })?;
            full = visited.is_break();
            Ok(visited)
        })?;
        while !full && changed.first().is_some_and(|changed| changed.value().is_some()) {
            let members = Members { clean: Clean::None, changed: split_value(&mut changed) };
            full = visit(&members)?.is_break();
        }
        if full {
            return Ok(());
        }
        let mut conditions = way.conditions.clone();
        conditions.but.push(Condition::begins(&way.span.prefix, ""));
        visit(&Members { clean: Clean::Rest(&conditions), changed }).map(drop)
    }

    fn is_match_of(&self, level: Level, id: Id, records: &mut Records) -> Result<bool, FindError> {
        match level {
            Level::Study => Ok(judge(self.filters, &*records.study(self, id)?, None, None)),
            Level::Series | Level::Instance => records.is_match(self, id),
        }
    }
}

/// The value in which the record stands before which `skip` others stand in a span, and how many stand
/// before that value.
fn start(ranks: &[Box<dyn Ranked + '_>], span: &Span, skip: u64) -> Result<Option<(String, u64)>, FindError> {
    let below = match &span.from {
        Some(from) => index::rank(ranks, from.as_bytes())?,
        None => 0,
    };
    let above = match &span.to {
        Some(to) => index::rank(ranks, &[to.as_bytes(), &[0]].concat())?,
        None => ranks.iter().map(|part| part.before(part.values())).sum(),
    };
    let Some(within) = above.checked_sub(below).filter(|within| skip < *within) else { return Ok(None) };
    let rank = if span.descending { below + within - 1 - skip } else { below + skip };
    let Some((value, before)) = index::select(ranks, rank)? else { return Ok(None) };
    let passed = match span.descending {
        false => before - below,
        true => above - index::rank(ranks, &[value.as_slice(), &[0]].concat())?,
    };
    Ok(String::from_utf8(value).ok().map(|value| (value, passed)))
}

fn comes_before(one: &str, other: &str, descending: bool) -> bool {
    if descending { one > other } else { one < other }
}

/// Cuts those with the first value off.
fn split_value<'c>(changed: &mut &'c [Changed]) -> &'c [Changed] {
    let first = changed.first().and_then(Changed::value);
    let same = changed.partition_point(|changed| changed.value() == first);
    let (same, rest) = changed.split_at(same);
    *changed = rest;
    same
}
