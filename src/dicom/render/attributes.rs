//! Values of DICOM JSON metadata, read leniently: what has not the form it should have counts as absent.
//!
//! Invariant: of a long list no more is kept than is of use.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The first `MOST` values of an element as numbers; NaN for what is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers<const MOST: usize>(pub(super) Vec<f64>);

impl<const MOST: usize> Numbers<MOST> {
    /// The first, if it is a number.
    pub(super) fn first(&self) -> Option<f64> {
        self.0.first().copied().filter(|number| number.is_finite())
    }
}

/// The first value of an element, if it is a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Option<String>);

/// The items of a sequence, not yet read.
#[derive(Clone, Debug, Default)]
pub(super) struct Items<'a>(Vec<&'a RawValue>);

impl<'a> Items<'a> {
    /// The item at `at`, from 0.
    pub(super) fn read<T: Deserialize<'a>>(&self, at: usize) -> Option<T> {
        serde_json::from_str(self.0.get(at)?.get()).ok()
    }
}

#[derive(Deserialize)]
struct Element<V> {
    #[serde(rename = "Value")]
    values: Option<V>,
}

impl<'de, const MOST: usize> Deserialize<'de> for Numbers<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let element = Element::<Few<Number, MOST>>::deserialize(deserializer)?;
        let few = element.values.map(|few| few.0).unwrap_or_default();
        Ok(Self(few.into_iter().map(|number| number.0).collect()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let element = Element::<Few<Word, 1>>::deserialize(deserializer)?;
        Ok(Self(element.values.and_then(|few| few.0.into_iter().next()?.0)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Sequence<'a> {
            #[serde(rename = "Value", borrow, default)]
            items: Vec<&'a RawValue>,
        }
        Sequence::deserialize(deserializer).map(|sequence| Self(sequence.items))
    }
}

/// The first values of a list.
struct Few<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MOST: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
            type Value = Few<T, MOST>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Vec::new();
                while few.len() < MOST {
                    let Some(value) = list.next_element()? else { return Ok(Few(few)) };
                    few.push(value);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Few(few))
            }
        }
        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

/// A number, also one written as a text.
struct Number(f64);

/// A text.
struct Word(Option<String>);

/// What a value of any kind is taken for.
trait Lenient: Sized {
    const NOTHING: Self;

    fn of_number(number: f64) -> Self;

    fn of_text(text: &str) -> Self;
}

impl Lenient for Number {
    const NOTHING: Self = Self(f64::NAN);

    fn of_number(number: f64) -> Self {
        Self(number)
    }

    fn of_text(text: &str) -> Self {
        Self(text.trim().parse().unwrap_or(f64::NAN))
    }
}

impl Lenient for Word {
    const NOTHING: Self = Self(None);

    fn of_number(_: f64) -> Self {
        Self::NOTHING
    }

    fn of_text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

struct Any<T>(std::marker::PhantomData<T>);

impl<'de, T: Lenient> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::NOTHING)
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(T::of_number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(T::of_number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<T, E> {
        Ok(T::of_number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::NOTHING)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::NOTHING)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(T::NOTHING)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(std::marker::PhantomData))
    }
}
