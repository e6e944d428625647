//! The first value of an element of DICOM JSON (PS3.18 Annex F), as the text that is kept of it.
//!
//! A person name is its component groups joined by `=`, a number as JSON writes it; whatever else stands there
//! is missing. What follows the first value is passed over.
//! Elsewhere: which elements are read, and what is kept of them (`extract`).

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// An element, read for its first value.
pub(super) struct Element(Option<String>);

/// One value, if it is a text, a number or a person name.
struct Scalar(Option<String>);

/// A list, read for its first entry.
struct First(Option<String>);

/// What stands in an element.
#[derive(Deserialize)]
#[serde(field_identifier)]
pub(super) enum ElementKey {
    Value,
    #[serde(other)]
    Other,
}

/// What stands in a person name.
#[derive(Deserialize)]
#[serde(field_identifier)]
enum GroupKey {
    Alphabetic,
    Ideographic,
    Phonetic,
    #[serde(other)]
    Other,
}

impl Element {
    /// Its first value.
    pub(super) fn text(self) -> Option<String> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ElementVisitor)
    }
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstVisitor)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
        let mut first = None;
        while let Some(key) = map.next_key()? {
            match key {
                ElementKey::Value => First(first) = map.next_value()?,
                ElementKey::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Element(first))
    }
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First, A::Error> {
        let first = list.next_element::<Scalar>()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(first.and_then(|scalar| scalar.0)))
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar(Some(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar(Some(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar(Some(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar(Number::from_f64(number).map(|number| number.to_string())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar(None))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        let mut groups = Groups::default();
        while let Some(key) = map.next_key()? {
            let group = match key {
                GroupKey::Alphabetic => &mut groups.alphabetic,
                GroupKey::Ideographic => &mut groups.ideographic,
                GroupKey::Phonetic => &mut groups.phonetic,
                GroupKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *group = map.next_value::<Scalar>()?.0;
        }
        let name = groups.join();
        Ok(Scalar((!name.is_empty()).then_some(name)))
    }
}

/// The component groups of a person name (PS3.18 Annex F.2.2).
#[derive(Default, Serialize)]
pub(crate) struct Groups {
    #[serde(rename = "Alphabetic", skip_serializing_if = "Option::is_none")]
    pub(crate) alphabetic: Option<String>,
    #[serde(rename = "Ideographic", skip_serializing_if = "Option::is_none")]
    pub(crate) ideographic: Option<String>,
    #[serde(rename = "Phonetic", skip_serializing_if = "Option::is_none")]
    pub(crate) phonetic: Option<String>,
}

impl Groups {
    /// `Alphabetic=Ideographic=Phonetic`, as in a file.
    fn join(self) -> String {
        let groups = [self.alphabetic, self.ideographic, self.phonetic].map(Option::unwrap_or_default);
        groups.join("=").trim_end_matches('=').to_owned()
    }

    /// The groups of a name as it stands in a file.
    pub(crate) fn split(name: &str) -> Self {
        let mut groups = name.splitn(3, '=').map(|group| (!group.is_empty()).then(|| group.to_owned()));
        let mut next = || groups.next().flatten();
        Self { alphabetic: next(), ideographic: next(), phonetic: next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(element: &str) -> Option<String> {
        serde_json::from_str::<Element>(element).unwrap().text()
    }

    #[test]
    fn the_first_value_is_a_text_a_number_or_a_name() {
        for (values, wanted) in [
            (r#"["CT","MR"]"#, Some("CT")),
            (r#"["\u00c4\"b"]"#, Some("Ä\"b")),
            ("[7, 8]", Some("7")),
            ("[-7]", Some("-7")),
            ("[18446744073709551615]", Some("18446744073709551615")),
            ("[2.50]", Some("2.5")),
            ("[1e300]", Some("1e+300")),
            (r#"[{"Alphabetic":"A^B","Phonetic":"p"}]"#, Some("A^B==p")),
            (r#"[{"Ideographic":"i","other":[1]}]"#, Some("=i")),
            (r#"[null,"second"]"#, None),
            ("[]", None),
            ("[true]", None),
            (r#"[["nested"]]"#, None),
            (r#"[{"x":1}]"#, None),
            ("[{}]", None),
        ] {
            let element = format!(r#"{{"vr":"XX","Value":{values},"more":{{"a":[1]}}}}"#);
            assert_eq!(text(&element).as_deref(), wanted, "{values}");
        }
        assert_eq!(text(r#"{"vr":"SH"}"#), None);
        assert_eq!(text(r#"{"vr":"OB","InlineBinary":"AA=="}"#), None);
        for no_element in ["1", "[]", r#"{"Value":{}}"#, r#"{"Value":"text"}"#] {
            assert!(serde_json::from_str::<Element>(no_element).is_err(), "{no_element}");
        }
    }

    #[test]
    fn groups_of_a_name_are_split_and_joined() {
        for name in ["", "A^B", "A^B=C", "A^B==D", "=C", "==D", "A=B=C"] {
            assert_eq!(Groups::split(name).join(), name);
        }
    }
}
