//! Numbers of the dataset as JSON numbers.
//!
//! Invariant: what is given back is a number that any JSON reader takes, finite as a 64-bit float.
//! Elsewhere: which elements hold numbers (`super`).

use std::borrow::Cow;

use dicom_json::{INFINITY, NAN, NEG_INFINITY};
use serde::{Serialize, Serializer};

/// How a number is written as text in the dataset (PS3.5 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// IS: 32 bits with a sign.
    Integer,
    /// DS: fixed or floating point.
    Decimal,
}

impl Notation {
    /// `text` as a JSON number with the same digits; the empty text for an empty value; `None` if it is none.
    pub(super) fn as_json(self, text: &str) -> Option<Cow<'_, str>> {
        let text = text.trim_end_matches('\0').trim_matches(' ');
        if text.is_empty() {
            return Some(Cow::Borrowed(""));
        }
        let fits = match self {
            Self::Integer => text.parse::<i32>().is_ok(),
            // The standard library also takes words such as `nan`.
            Self::Decimal => {
                text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
                    && text.parse::<f64>().is_ok_and(f64::is_finite)
            }
        };
        fits.then(|| if is_json(text) { Cow::Borrowed(text) } else { Cow::Owned(rewritten(text)) })
    }
}

/// Whether a decimal number is one of JSON too (RFC 8259 §6): no plus sign, no needless zero in front, digits on
/// both sides of the point.
fn is_json(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number).as_bytes();
    let starts = match digits {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    };
    let point_ends = digits
        .iter()
        .position(|b| *b == b'.')
        .is_none_or(|point| digits.get(point + 1).is_some_and(u8::is_ascii_digit));
    starts && point_ends
}

fn rewritten(number: &str) -> String {
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number.strip_prefix('+').unwrap_or(number)),
    };
    let (mantissa, exponent) = number.find(['e', 'E']).map_or((number, ""), |at| number.split_at(at));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}{exponent}")
}

/// A binary floating-point value.
pub(super) enum Float<T> {
    Finite(T),
    /// JSON has no number for it.
    Other(&'static str),
}

impl<T: Serialize> Serialize for Float<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Finite(number) => number.serialize(serializer),
            Self::Other(name) => serializer.serialize_str(name),
        }
    }
}

/// A value of FL, with the fewest digits that read as the same 32-bit float.
pub(super) fn single(number: f32) -> Float<f32> {
    if number.is_finite() { Float::Finite(number) } else { Float::Other(name(number.into())) }
}

/// A value of FD.
pub(super) fn double(number: f64) -> Float<f64> {
    if number.is_finite() { Float::Finite(number) } else { Float::Other(name(number)) }
}

fn name(number: f64) -> &'static str {
    match (number.is_nan(), number.is_sign_negative()) {
        (true, _) => NAN,
        (false, true) => NEG_INFINITY,
        (false, false) => INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_kept_and_only_what_json_forbids_is_rewritten() {
        let rows = [
            ("1.50", "1.50"),
            (" 12 ", "12"),
            ("+3", "3"),
            ("-.5", "-0.5"),
            ("5.", "5"),
            ("007.10", "7.10"),
            ("0", "0"),
            ("000", "0"),
            ("-0.0", "-0.0"),
            ("1E+05", "1E+05"),
            ("+01.e-3", "1e-3"),
            ("0e0", "0e0"),
            (".5E2", "0.5E2"),
            ("3\0", "3"),
        ];
        for (text, json) in rows {
            assert_eq!(Notation::Decimal.as_json(text).as_deref(), Some(json), "{text}");
        }
        for text in ["nan", "inf", "1e999", "1,5", "1 2", "--1", "e5", ".", "+", "0x1", "1e", "١"] {
            assert_eq!(Notation::Decimal.as_json(text), None, "{text}");
        }
    }

    #[test]
    fn integers_have_32_bits() {
        for (text, json) in
            [("+007", Some("7")), ("-2147483648", Some("-2147483648")), ("2147483648", None), ("1.0", None)]
        {
            assert_eq!(Notation::Integer.as_json(text).as_deref(), json, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_json_number_has_the_value_of_the_text(text in "[+-]?[0-9]{0,4}(\\.[0-9]{0,4})?([eE][+-]?[0-9]{1,3})?") {
            if let Some(json) = Notation::Decimal.as_json(&text).filter(|json| !json.is_empty()) {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Number>(&json).is_ok(), "{json}");
                proptest::prop_assert_eq!(json.parse::<f64>().ok(), text.parse::<f64>().ok());
            }
        }
    }
}
