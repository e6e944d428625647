//! Elements inside of sequences (contract `studies.md` §4.11): a sequence of which only some were asked for
//! keeps its items, each cut down to those.
//!
//! Invariant: what a path names is copied as it is stored; a sequence without anything of it is left out.
//! Elsewhere: paths as clients write them (`query`), whole elements (`answer`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::EMPTY_ELEMENT;
use crate::projections::search::attributes::Tag;

/// How much of an element is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Whole,
    /// Of each item, these elements.
    Items(BTreeMap<Tag, Cut>),
}

impl Default for Cut {
    fn default() -> Self {
        Self::Items(BTreeMap::new())
    }
}

impl Cut {
    /// Adds what `path` names below the element. What is shown whole stays so.
    pub(super) fn add(&mut self, path: &[Tag]) {
        match (&mut *self, path) {
            (Self::Whole, _) => {}
            (Self::Items(_), []) => *self = Self::Whole,
            (Self::Items(items), [first, rest @ ..]) => items.entry(*first).or_default().add(rest),
        }
    }

    /// What is left of a stored element, if anything is. The recursion is as deep as the paths are, which have
    /// a bound.
    pub(super) fn of(&self, element: &RawValue) -> Option<String> {
        let Self::Items(wanted) = self else {
            return (element.get().len() > EMPTY_ELEMENT.len()).then(|| element.get().to_owned());
        };
        let Sequence { items } = serde_json::from_str(element.get()).ok()?;
        let mut any = false;
        let mut kept = String::from("{\"vr\":\"SQ\",\"Value\":[");
        for (at, item) in items.iter().enumerate() {
            kept.push_str(if at == 0 { "{" } else { ",{" });
            let left = wanted.iter().filter_map(|(tag, cut)| {
                let stored = item.get(format!("{tag:08X}").as_str())?;
                Some(format!("\"{tag:08X}\":{}", cut.of(stored)?))
            });
            let left: Vec<String> = left.collect();
            any |= !left.is_empty();
            kept.push_str(&left.join(","));
            kept.push('}');
        }
        kept.push_str("]}");
        any.then_some(kept)
    }
}

/// Only a sequence has objects for values.
#[derive(Deserialize)]
struct Sequence<'m> {
    #[serde(rename = "Value", borrow)]
    items: Vec<BTreeMap<&'m str, &'m RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(paths: &[&[Tag]], element: &str) -> Option<String> {
        let mut cut = Cut::default();
        paths.iter().for_each(|path| cut.add(path));
        cut.of(&RawValue::from_string(element.to_owned()).unwrap())
    }

    #[test]
    fn items_are_cut_down_to_what_the_paths_name() {
        const SEQUENCE: &str = r#"{"vr":"SQ","Value":[
            {"00400009":{"vr":"SH","Value":["a"]},"00401001":{"vr":"SH","Value":["b"]}},
            {"00400008":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["c"]},"00080104":{"vr":"LO"}}]}}]}"#;
        let step = r#"{"vr":"SQ","Value":[{"00400009":{"vr":"SH","Value":["a"]}},{}]}"#;
        assert_eq!(left(&[&[0x0040_0009]], SEQUENCE).as_deref(), Some(step));
        let two = r#"{"vr":"SQ","Value":[{"00400009":{"vr":"SH","Value":["a"]}},{"00400008":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["c"]}}]}}]}"#;
        let paths: [&[Tag]; 3] = [&[0x0040_0008, 0x0008_0100], &[0x0040_0009], &[0x0040_0008, 0x0008_0104]];
        assert_eq!(left(&paths, SEQUENCE).as_deref(), Some(two));
        // Asked for whole as well, it is whole, in either order.
        for paths in [[&[0x0040_0009][..], &[]], [&[], &[0x0040_0009]]] {
            assert_eq!(left(&paths, SEQUENCE).as_deref(), Some(SEQUENCE));
        }
        for nothing in [&[0x0010_0010][..], &[0x0040_0009, 0x0010_0010], &[0x0040_0008, 0x0008_0104]] {
            assert_eq!(left(&[nothing], SEQUENCE), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_is_no_sequence_has_nothing_below_it() {
        for element in [r#"{"vr":"SQ"}"#, r#"{"vr":"LO","Value":["x"]}"#, r#"{"vr":"SQ","Value":[null]}"#] {
            assert_eq!(left(&[&[0x0040_0009]], element), None, "{element}");
        }
        assert_eq!(left(&[&[]], r#"{"vr":"SQ"}"#), None);
    }
}
