//! Which way a query is answered: a pure function of what the query asks and of how much there is.
//!
//! ```text
//! nothing can match            Nothing
//! records are named by UID     Lookup, or Beneath the record that is named
//! nothing else is asked        Page (newest first), Walk by value, Ranked if the page is far
//! a filter leaves few          Candidates of the index, judged by their rows; Values for instances
//! filters leave many           Walk the order and judge its rows until the page is full, then Candidates
//! instances of few series      Merged from the lists of these series
//! a count                      Counted, in the cheapest way that is exact
//! ```
//! Invariant: every plan gives the same answer; they differ in what they cost.
//! Elsewhere: the shape of a query at a moment (`find::shape`), the steps (`find`).

use super::attributes::Level;

/// With at most so many documents a filter is narrow: all of them are looked at.
pub(super) const FEW: u64 = 20_000;
/// Rows of an order judged for a page, for each record wanted and besides, before the index is asked.
const ROWS_PER_WANTED: usize = 4;
const SPARE_ROWS: usize = 64;
/// With so many records up to the end of the page it is worth knowing their ranks.
const FAR: u64 = 1_000;
/// A page that needs more rows than this is not looked for in the order.
const MOST_ROWS: usize = 4_096;
/// With more series than this, instances are found by walking their order.
pub(super) const MERGED_SERIES: usize = 1_000;

/// What of a query matters for the way to answer it: no values, no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) item: Level,
    pub(super) wants: Wants,
    /// A filter holds what no record can have.
    pub(super) hopeless: bool,
    pub(super) named: Named,
    /// The filters, but for those that only name records.
    pub(super) facets: Vec<Facet>,
    pub(super) order: OrderShape,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Page { offset: u64, limit: u64 },
    Count,
}

/// Which levels' UIDs are given, by the URL or by filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) studies: bool,
    pub(super) series: bool,
    pub(super) instances: bool,
}

/// One filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facet {
    pub(super) level: Level,
    /// What the index finds for it is what matches, not more.
    pub(super) exact: bool,
    pub(super) estimate: Estimate,
    /// Instances are listed by its values (`instance_values`).
    pub(super) listed: bool,
}

/// How many records a filter leaves, as far as that is known without looking at them. Never too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Estimate {
    Documents(u64),
    /// So many, and more.
    AtLeast(u64),
    Unknown,
}

/// The order asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderShape {
    /// Newest first.
    Newest,
    /// By the values of an indexed attribute.
    Value {
        level: Level,
        /// Its range is the only filter, or there is none.
        alone: bool,
    },
    /// By what the index has no order of.
    Unindexed,
}

/// The order in which rows are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    Newest,
    Value,
}

/// How a query is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// By no records.
    Nothing,
    /// Records of this level by their UIDs.
    Lookup(Level),
    /// All members of the named records of this level.
    Beneath(Level),
    /// The newest records; what is skipped is counted.
    Page,
    /// Values in their order; what is skipped is counted.
    Ranked,
    /// Rows in their order, judged: so many at most, and then otherwise.
    Walk { order: Along, rows: Option<usize>, otherwise: Option<Box<Plan>> },
    /// What the index finds, judged, and sorted if by value.
    Candidates(Along),
    /// All matches, sorted by their rows.
    Sorted,
    /// The instances of the series the index finds.
    Merged,
    /// Instances by an attribute of theirs.
    Values,
    /// A number.
    Counted(CountBy),
}

impl Plan {
    /// For figures of how often each is taken.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Lookup(_) => "lookup",
            Self::Beneath(_) => "beneath",
            Self::Page => "page",
            Self::Ranked => "ranked",
            Self::Walk { .. } => "walk",
            Self::Candidates(_) => "candidates",
            Self::Sorted => "sorted",
            Self::Merged => "merged",
            Self::Values => "values",
            Self::Counted(_) => "counted",
        }
    }
}

/// How records are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CountBy {
    /// By the stretches of their order.
    Stretches,
    /// By the documents the index finds.
    Documents,
    /// By the instances of the series whose documents the index finds.
    Weights,
    /// One by one.
    Judged(Box<Plan>),
}

/// The way to answer a query of this shape.
pub(super) fn plan(shape: &Shape) -> Plan {
    if shape.hopeless {
        return Plan::Nothing;
    }
    match shape.wants {
        Wants::Count => Plan::Counted(count_by(shape)),
        Wants::Page { offset, limit } => listed(shape, offset.saturating_add(limit)),
    }
}

fn count_by(shape: &Shape) -> CountBy {
    let named = shape.named != Named::default();
    let exact = shape.facets.iter().all(|facet| facet.exact && facet.level != Level::Instance);
    match shape.item {
        _ if !named && shape.facets.is_empty() => CountBy::Stretches,
        Level::Study | Level::Series if exact && !named => CountBy::Documents,
        Level::Instance if exact && !named => CountBy::Weights,
        // All of them are looked at: the way to the first page is no way to all.
        _ => CountBy::Judged(Box::new(listed(shape, u64::MAX))),
    }
}

/// The way to the first `wanted` records.
fn listed(shape: &Shape, wanted: u64) -> Plan {
    if let Some(plan) = by_name(shape.item, shape.named) {
        return plan;
    }
    match shape.order {
        OrderShape::Newest if shape.facets.is_empty() => Plan::Page,
        OrderShape::Value { level: Level::Instance, alone: true } => Plan::Values,
        OrderShape::Value { alone: true, .. } if wanted >= FAR => Plan::Ranked,
        OrderShape::Value { alone: true, .. } => {
            Plan::Walk { order: Along::Value, rows: None, otherwise: None }
        }
        _ if shape.item == Level::Instance => instances(shape, wanted),
        OrderShape::Unindexed => Plan::Sorted,
        OrderShape::Newest => records(shape, wanted),
        OrderShape::Value { .. } => match few(&shape.facets, FEW) {
            true => Plan::Candidates(Along::Value),
            false => Plan::Walk { order: Along::Value, rows: None, otherwise: None },
        },
    }
}

/// By the UIDs given, if they lead to the records.
fn by_name(item: Level, named: Named) -> Option<Plan> {
    match item {
        Level::Study => named.studies.then_some(Plan::Lookup(Level::Study)),
        Level::Series if named.studies && named.series => Some(Plan::Lookup(Level::Series)),
        Level::Series => named.studies.then_some(Plan::Beneath(Level::Study)),
        Level::Instance if named.instances => Some(Plan::Lookup(Level::Instance)),
        Level::Instance if named.studies && named.series => Some(Plan::Beneath(Level::Series)),
        Level::Instance => named.studies.then_some(Plan::Beneath(Level::Study)),
    }
}

/// Studies or series that satisfy filters, newest first.
fn records(shape: &Shape, wanted: u64) -> Plan {
    match rows_for(wanted) {
        Some(rows) if !few(&shape.facets, FEW) => {
            let otherwise = Some(Box::new(Plan::Candidates(Along::Newest)));
            Plan::Walk { order: Along::Newest, rows: Some(rows), otherwise }
        }
        Some(_) | None => Plan::Candidates(Along::Newest),
    }
}

/// Instances that satisfy filters.
fn instances(shape: &Shape, wanted: u64) -> Plan {
    let newest = shape.order == OrderShape::Newest;
    // What the index says of an instance's own filters is how many series may hold such.
    let (own, of_series): (Vec<_>, Vec<_>) = shape.facets.iter().copied().partition(|facet| facet.listed);
    if shape.named.series || few(&of_series, MERGED_SERIES as u64) {
        return Plan::Merged;
    }
    if few(&own, FEW) {
        return if newest { Plan::Values } else { Plan::Candidates(Along::Value) };
    }
    let otherwise = if own.is_empty() { Plan::Merged } else { Plan::Values };
    match (shape.order, rows_for(wanted)) {
        (OrderShape::Newest, Some(rows)) => {
            let otherwise = Some(Box::new(otherwise));
            Plan::Walk { order: Along::Newest, rows: Some(rows), otherwise }
        }
        (OrderShape::Newest, None) => otherwise,
        (OrderShape::Value { level: Level::Instance, .. } | OrderShape::Unindexed, _) => Plan::Sorted,
        (OrderShape::Value { .. }, _) => Plan::Walk { order: Along::Value, rows: None, otherwise: None },
    }
}

/// Whether one of the filters leaves at most `most`.
fn few(facets: &[Facet], most: u64) -> bool {
    facets.iter().any(|facet| matches!(facet.estimate, Estimate::Documents(documents) if documents <= most))
}

/// The rows worth judging for so many records, if that is a bounded number.
fn rows_for(wanted: u64) -> Option<usize> {
    let rows = usize::try_from(wanted).ok()?.saturating_mul(ROWS_PER_WANTED).saturating_add(SPARE_ROWS);
    (rows <= MOST_ROWS).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Wants = Wants::Page { offset: 0, limit: 100 };
    const DEEP: Wants = Wants::Page { offset: 1 << 63, limit: 200 };

    fn shape(item: Level) -> Shape {
        let (named, facets) = (Named::default(), Vec::new());
        Shape { item, wants: PAGE, hopeless: false, named, facets, order: OrderShape::Newest }
    }

    fn facet(level: Level, estimate: Estimate) -> Facet {
        Facet { level, exact: true, estimate, listed: level == Level::Instance }
    }

    fn few_of(level: Level) -> Facet {
        facet(level, Estimate::Documents(7))
    }

    fn many_of(level: Level) -> Facet {
        facet(level, Estimate::AtLeast(FEW + 1))
    }

    fn walk(order: Along, rows: Option<usize>, otherwise: Option<Plan>) -> Plan {
        Plan::Walk { order, rows, otherwise: otherwise.map(Box::new) }
    }

    #[test]
    fn what_is_named_is_looked_up() {
        let studies = Named { studies: true, ..Named::default() };
        let both = Named { series: true, ..studies };
        let series = Named { series: true, ..Named::default() };
        let instances = Named { instances: true, ..Named::default() };
        for (item, named, expected) in [
            (Level::Study, studies, Plan::Lookup(Level::Study)),
            (Level::Series, studies, Plan::Beneath(Level::Study)),
            (Level::Series, both, Plan::Lookup(Level::Series)),
            (Level::Series, series, Plan::Candidates(Along::Newest)),
            (Level::Instance, studies, Plan::Beneath(Level::Study)),
            (Level::Instance, both, Plan::Beneath(Level::Series)),
            (Level::Instance, series, Plan::Merged),
            (Level::Instance, instances, Plan::Lookup(Level::Instance)),
            (Level::Instance, Named { instances: true, ..both }, Plan::Lookup(Level::Instance)),
        ] {
            let facets =
                if named.studies { vec![many_of(Level::Study)] } else { vec![few_of(Level::Series)] };
            let looked_up = Shape { named, facets, ..shape(item) };
            assert_eq!(plan(&looked_up), expected, "{looked_up:?}");
            let hopeless = Shape { named, hopeless: true, ..shape(item) };
            assert_eq!(plan(&hopeless), Plan::Nothing, "{hopeless:?}");
        }
    }

    #[test]
    fn without_filters_a_page_is_reached_by_counts() {
        for item in [Level::Study, Level::Series, Level::Instance] {
            for wants in [PAGE, DEEP] {
                let shape = Shape { wants, ..shape(item) };
                assert_eq!(plan(&shape), Plan::Page, "{shape:?}");
                let by_value = if wants == DEEP { Plan::Ranked } else { walk(Along::Value, None, None) };
                for (level, expected) in [(Level::Study, by_value), (Level::Instance, Plan::Values)] {
                    let order = OrderShape::Value { level, alone: true };
                    assert_eq!(plan(&Shape { order, ..shape.clone() }), expected, "{shape:?}");
                }
                let stored = Shape { order: OrderShape::Unindexed, ..shape };
                assert_eq!(plan(&stored), Plan::Sorted, "{stored:?}");
            }
        }
    }

    #[test]
    fn few_candidates_are_judged_and_for_many_the_order_is_walked() {
        let newest =
            |facets: &[Facet], wants| plan(&Shape { facets: facets.to_vec(), wants, ..shape(Level::Study) });
        let (few, many) = (few_of(Level::Study), many_of(Level::Study));
        let unknown = facet(Level::Study, Estimate::Unknown);
        let candidates = Plan::Candidates(Along::Newest);
        let walked = walk(Along::Newest, Some(464), Some(candidates.clone()));
        assert_eq!(newest(&[few], PAGE), candidates);
        assert_eq!(newest(&[many, few], PAGE), candidates);
        assert_eq!(newest(&[few, unknown], DEEP), candidates);
        assert_eq!(newest(&[many], PAGE), walked);
        assert_eq!(newest(&[unknown], PAGE), walked);
        assert_eq!(newest(&[facet(Level::Study, Estimate::Documents(FEW + 1))], PAGE), walked);
        assert_eq!(newest(&[facet(Level::Study, Estimate::Documents(FEW))], PAGE), candidates);
        // So far back no page is found by walking.
        assert_eq!(newest(&[many], DEEP), candidates);

        let order = OrderShape::Value { level: Level::Study, alone: false };
        let by_value =
            |facets: &[Facet]| plan(&Shape { facets: facets.to_vec(), order, ..shape(Level::Series) });
        assert_eq!(by_value(&[few]), Plan::Candidates(Along::Value));
        assert_eq!(by_value(&[many]), walk(Along::Value, None, None));
        let alone = OrderShape::Value { level: Level::Study, alone: true };
        let ranged = Shape { facets: vec![many], order: alone, wants: DEEP, ..shape(Level::Series) };
        assert_eq!(plan(&ranged), Plan::Ranked);
    }

    #[test]
    fn instances_come_from_few_series_or_from_their_values_or_from_their_order() {
        let of = |facets: &[Facet], wants| {
            plan(&Shape { facets: facets.to_vec(), wants, ..shape(Level::Instance) })
        };
        let (series, own) = (few_of(Level::Series), few_of(Level::Instance));
        let (many_series, many_own) = (many_of(Level::Series), many_of(Level::Instance));
        let class = Facet { listed: false, ..facet(Level::Instance, Estimate::Unknown) };
        let walked = walk(Along::Newest, Some(464), Some(Plan::Merged));
        assert_eq!(of(&[series], PAGE), Plan::Merged);
        assert_eq!(of(&[series, many_own], PAGE), Plan::Merged);
        assert_eq!(of(&[own], PAGE), Plan::Values);
        assert_eq!(of(&[many_series, own], DEEP), Plan::Values);
        assert_eq!(of(&[many_series], PAGE), walked);
        assert_eq!(of(&[many_own], PAGE), walk(Along::Newest, Some(464), Some(Plan::Values)));
        assert_eq!(of(&[many_series, many_own], DEEP), Plan::Values);
        assert_eq!(of(&[class], PAGE), walked);
        let rare_class = Facet { estimate: Estimate::Documents(3), ..class };
        assert_eq!(of(&[many_series, rare_class], DEEP), Plan::Merged);
        assert_eq!(of(&[many_series], DEEP), Plan::Merged);
        assert_eq!(of(&[facet(Level::Study, Estimate::Documents(MERGED_SERIES as u64 + 1))], PAGE), walked);
        let order = OrderShape::Value { level: Level::Study, alone: false };
        let by_value = |facets: &[Facet], order| {
            plan(&Shape { facets: facets.to_vec(), order, ..shape(Level::Instance) })
        };
        let own_order = OrderShape::Value { level: Level::Instance, alone: false };
        assert_eq!(by_value(&[many_series], order), walk(Along::Value, None, None));
        for order in [order, own_order, OrderShape::Unindexed] {
            assert_eq!(by_value(&[series], order), Plan::Merged);
            assert_eq!(by_value(&[own], order), Plan::Candidates(Along::Value));
        }
        for order in [own_order, OrderShape::Unindexed] {
            assert_eq!(by_value(&[many_series], order), Plan::Sorted);
        }
    }

    #[test]
    fn counts_take_the_cheapest_way_that_is_exact() {
        let counted = |item, facets: &[Facet], named| {
            plan(&Shape { facets: facets.to_vec(), wants: Wants::Count, named, ..shape(item) })
        };
        let nothing = Named::default();
        let judged = |plan| Plan::Counted(CountBy::Judged(Box::new(plan)));
        let loose = Facet { exact: false, ..many_of(Level::Study) };
        for item in [Level::Study, Level::Series, Level::Instance] {
            assert_eq!(counted(item, &[], nothing), Plan::Counted(CountBy::Stretches));
        }
        let documents = Plan::Counted(CountBy::Documents);
        assert_eq!(counted(Level::Study, &[many_of(Level::Study)], nothing), documents);
        assert_eq!(
            counted(Level::Series, &[few_of(Level::Study), many_of(Level::Series)], nothing),
            documents
        );
        assert_eq!(counted(Level::Study, &[loose], nothing), judged(Plan::Candidates(Along::Newest)));
        assert_eq!(
            counted(Level::Instance, &[many_of(Level::Series)], nothing),
            Plan::Counted(CountBy::Weights)
        );
        assert_eq!(counted(Level::Instance, &[few_of(Level::Instance)], nothing), judged(Plan::Values));
        assert_eq!(counted(Level::Instance, &[many_of(Level::Instance)], nothing), judged(Plan::Values));
        let studies = Named { studies: true, ..nothing };
        assert_eq!(counted(Level::Study, &[], studies), judged(Plan::Lookup(Level::Study)));
        assert_eq!(counted(Level::Series, &[], studies), judged(Plan::Beneath(Level::Study)));
    }
}
