//! Answers in the order of values (contract `studies.md` §4.11): where a record stands in it, and the pages
//! of records sorted by that.
//!
//! What lacks a value comes last in either direction; what is equal in all values is newest first.
//! Invariant: a record has one place in an order, whichever way it was found.
//! Elsewhere: orders that are followed in the index without sorting (`find::ordered`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::attributes::{Compared, Level, Tag, Values};
use super::attributes::{MODALITIES_IN_STUDY, SERIES_INSTANCES, STUDY_INSTANCES};
use super::matching::On;
use super::query::{By, OrderBy};
use super::rows::{SeriesRow, StudyRow};
use super::value::{Form, form};
use crate::dicom::uid::Uid;

/// Entries kept beyond those wanted before the last ones are dropped.
const SPARE_ENTRIES: usize = 1_024;

/// Where a value stands among those of its attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Rising(Form),
    Falling(Reverse<Form>),
    Missing,
}

impl Slot {
    /// Of this value.
    pub(super) fn of(value: Option<Form>, descending: bool) -> Self {
        match value {
            None => Self::Missing,
            Some(value) if descending => Self::Falling(Reverse(value)),
            Some(value) => Self::Rising(value),
        }
    }

    /// The value, if there is one.
    pub(super) fn form(&self) -> Option<&Form> {
        match self {
            Self::Rising(form) | Self::Falling(Reverse(form)) => Some(form),
            Self::Missing => None,
        }
    }
}

/// Where a record stands in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    slots: Vec<Slot>,
    /// Its id or version.
    age: Reverse<u64>,
}

impl Place {
    /// The first value asked for.
    pub(super) fn first(&self) -> &Slot {
        self.slots.first().unwrap_or(&Slot::Missing)
    }
}

/// The rows of one item.
#[derive(Clone, Copy)]
pub(super) struct Rows<'r> {
    pub(super) study: &'r StudyRow,
    pub(super) series: Option<&'r SeriesRow>,
    pub(super) instance: Option<(&'r Uid, &'r Values)>,
    /// The SOP class of the instance, if it is asked for.
    pub(super) class: Option<&'r Uid>,
    /// What its metadata say of the attributes that no row has; nothing where they were not read.
    pub(super) stored: &'r BTreeMap<Tag, String>,
}

/// Nothing of it.
pub(super) static UNREAD: BTreeMap<Tag, String> = BTreeMap::new();

impl Rows<'_> {
    /// Where the item stands that has these rows and this id or version.
    pub(super) fn place(&self, order: &[OrderBy], age: u64) -> Place {
        let slot = |by: &OrderBy| Slot::of(self.value(by), by.descending);
        Place { slots: order.iter().map(slot).collect(), age: Reverse(age) }
    }

    fn value(&self, OrderBy { by, level, compared, .. }: &OrderBy) -> Option<Form> {
        let Self { study, series, instance, class, stored } = self;
        match by {
            By::On(On::Uid(level)) => {
                let uid = match level {
                    Level::Study => Some(&study.uid),
                    Level::Series => series.map(|series| &series.uid),
                    Level::Instance => instance.map(|(uid, _)| uid),
                };
                form(Compared::Uid, uid?.as_str())
            }
            By::On(On::Value(id) | On::Item { id, .. }) => {
                let values: &Values = match level {
                    Level::Study => &study.values,
                    Level::Series => &series.as_ref()?.values,
                    Level::Instance => instance.as_ref()?.1,
                };
                form(*compared, values.first(*id)?)
            }
            By::On(On::Modalities) | By::Computed(MODALITIES_IN_STUDY) => {
                let all: Vec<_> = study.modalities.keys().map(String::as_str).collect();
                (!all.is_empty()).then(|| form(Compared::Text, &all.join("\\")))?
            }
            By::Computed(STUDY_INSTANCES) => form(Compared::Integer, &study.instances.to_string()),
            By::Computed(SERIES_INSTANCES) => {
                form(Compared::Integer, &series.as_ref()?.instances.to_string())
            }
            By::On(On::SopClass) => form(Compared::Uid, class.as_ref()?.as_str()),
            By::Stored(tag) => form(*compared, stored.get(tag)?),
            // The same for all.
            By::Computed(_) => None,
        }
    }
}

/// The first items of an order, of those that come.
pub(super) struct Sorted<T> {
    most: usize,
    entries: Vec<(Place, T)>,
}

impl<T> Sorted<T> {
    /// Keeps so many.
    pub(super) fn of(most: usize) -> Self {
        Self { most, entries: Vec::new() }
    }

    pub(super) fn push(&mut self, place: Place, item: T) {
        self.entries.push((place, item));
        if self.entries.len() >= self.most.saturating_mul(2).max(SPARE_ENTRIES) {
            self.drop_last();
        }
    }

    fn drop_last(&mut self) {
        if self.entries.len() > self.most {
            self.entries.select_nth_unstable_by(self.most, |a, b| a.0.cmp(&b.0));
            self.entries.truncate(self.most);
        }
    }

    /// Those kept, in their order.
    pub(super) fn sorted(mut self) -> Vec<(Place, T)> {
        self.drop_last();
        self.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.entries
    }
}

/// A page that fills in order: passes over what stands before it.
pub(super) struct Page<T> {
    skip: u64,
    limit: usize,
    pub(super) items: Vec<T>,
}

impl<T> Page<T> {
    pub(super) fn of(skip: u64, limit: usize) -> Self {
        Self { skip, limit, items: Vec::new() }
    }

    /// How many items are still to be passed over.
    pub(super) fn skip(&self) -> u64 {
        self.skip
    }

    /// How many of the items to come are needed.
    pub(super) fn need(&self) -> usize {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        skip.saturating_add(self.limit - self.items.len())
    }

    /// Passes over so many items at once; they must not be more than [`Self::skip`].
    pub(super) fn pass(&mut self, items: u64) {
        assert!(items <= self.skip, "only what stands before the page is passed over");
        self.skip -= items;
    }

    pub(super) fn push(&mut self, item: T) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if !self.is_full() {
            self.items.push(item);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() == self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(value: Option<&str>, descending: bool, age: u64) -> Place {
        let value = value.and_then(|value| form(Compared::Text, value));
        Place { slots: vec![Slot::of(value, descending)], age: Reverse(age) }
    }

    #[test]
    fn values_rise_or_fall_absent_ones_come_last_and_ties_are_newest_first() {
        let of = |descending| {
            let mut sorted = Sorted::of(usize::MAX);
            for (value, age) in [(Some("b"), 1), (None, 2), (Some("a"), 3), (Some("b"), 4), (None, 5)] {
                sorted.push(place(value, descending, age), age);
            }
            sorted.sorted().into_iter().map(|(_, age)| age).collect::<Vec<_>>()
        };
        assert_eq!(of(false), [3, 4, 1, 5, 2]);
        assert_eq!(of(true), [4, 1, 3, 5, 2]);
    }

    #[test]
    fn the_first_are_kept_however_many_come() {
        for most in [0, 1, 100, 5_000] {
            let mut sorted = Sorted::of(most);
            for age in (0..10_000_u64).map(|n| n * 7_919 % 10_000) {
                sorted.push(place(None, false, age), age);
            }
            let expected: Vec<u64> = (0..10_000).rev().take(most).collect();
            assert_eq!(sorted.sorted().into_iter().map(|(_, age)| age).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_page_passes_over_what_stands_before_it() {
        let mut page = Page::of(5, 2);
        assert_eq!(page.need(), 7);
        page.pass(4);
        for item in 0..10 {
            page.push(item);
        }
        assert!(page.is_full());
        assert_eq!((page.items, page.skip), (vec![1, 2], 0));
    }
}
