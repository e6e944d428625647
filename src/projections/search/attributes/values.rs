//! The values of one record, by attribute.
//!
//! An attribute outside of sequences has one item: its value. One inside a sequence has an item for each of
//! the sequence's, in their order and missing ones among them, so that two attributes of one sequence can
//! be asked of the same item.
//! Invariant: attributes ascend, each once; one without a value is not there, but for attributes of a
//! sequence that has a value of another.
//! Elsewhere: where values come from (`extract`), the rows they lie in (`rows`).

use serde::{Deserialize, Serialize};

use super::AttributeId;

/// Of one attribute: its value, or one for each item of its sequence.
pub(crate) type Items = Vec<Option<Box<str>>>;

/// Values in the form they were received in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Values(Vec<(AttributeId, Items)>);

impl Values {
    /// All items; none for an attribute without a value.
    pub(crate) fn items(&self, id: AttributeId) -> &[Option<Box<str>>] {
        self.find(id).map_or(&[], |at| &self.0[at].1)
    }

    /// The first item that is not missing: the value of an attribute outside of sequences.
    pub(crate) fn first(&self, id: AttributeId) -> Option<&str> {
        self.items(id).iter().flatten().next().map(AsRef::as_ref)
    }

    pub(crate) fn set(&mut self, id: AttributeId, items: Items) {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0[at].1 = items,
            Err(at) => self.0.insert(at, (id, items)),
        }
    }

    /// Takes over what is not missing in `stored` (contract `studies.md` §2.8). A sequence is one value.
    pub(crate) fn merge(&mut self, stored: &Self) {
        for (id, items) in &stored.0 {
            self.set(*id, items.clone());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (AttributeId, &[Option<Box<str>>])> {
        self.0.iter().map(|(id, items)| (*id, items.as_slice()))
    }

    fn find(&self, id: AttributeId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_values_take_the_place_of_earlier_ones_and_missing_ones_do_not() {
        let item = |text: &str| Some(Box::from(text));
        let (mut record, mut stored) = (Values::default(), Values::default());
        record.set(AttributeId(7), vec![item("b")]);
        record.set(AttributeId(3), vec![item("a")]);
        record.set(AttributeId(9), vec![None, item("c")]);
        stored.set(AttributeId(7), vec![item("d")]);
        stored.set(AttributeId(9), vec![item("e")]);
        record.merge(&stored);
        let all: Vec<_> = record.iter().map(|(id, items)| (id.0, items.to_vec())).collect();
        assert_eq!(all, [(3, vec![item("a")]), (7, vec![item("d")]), (9, vec![item("e")])]);
        assert_eq!(record.first(AttributeId(9)), Some("e"));
        assert_eq!(record.first(AttributeId(8)), None);
    }
}
