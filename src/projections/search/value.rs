//! The form in which values are compared (contract `studies.md` §4.5): one function for stored values and
//! for those asked for.
//!
//! | compared as | form |
//! |---|---|
//! | text | folded |
//! | name | folded groups joined by `=`; `^`, `=` and blanks at the end of each do not count |
//! | UID | lower case |
//! | integer, decimal | 16 hex digits that sort as the numbers do |
//! | date | `yyyyMMdd` |
//! | time | `HHMMSS.FFFFFF`, the first instant of a shorter one |
//! | date and time | `yyyyMMddHHMMSS.FFFFFF`, likewise; an offset from UTC does not count |
//!
//! Invariant: two values are equal for a query exactly when their forms are; forms sort as texts the way
//! their values do.
//! Elsewhere: folding of texts (`folding`), what a query does with forms (`matching`).

use super::attributes::Compared;
use super::folding::{fold_name, fold_text, trim};

/// A value as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Form(String);

impl Form {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// A date and a time as one moment.
    pub(super) fn moment(date: &Self, time: &Self) -> Self {
        Self(format!("{}{}", date.0, time.0))
    }
}

/// The form of a value; `None` when it is none of its kind.
pub(super) fn form(compared: Compared, text: &str) -> Option<Form> {
    let form = match compared {
        Compared::Text => fold_text(text),
        Compared::Name => name(text),
        Compared::Uid => bare(text).to_ascii_lowercase(),
        Compared::Integer => integer(bare(text))?,
        Compared::Single => decimal(f64::from(finite(bare(text))?.parse::<f32>().ok()?))?,
        Compared::Decimal => decimal(finite(bare(text))?.parse().ok()?)?,
        Compared::Date => date(trim(text))?.to_owned(),
        Compared::Time => time(bare(text))?,
        Compared::DateTime => date_time(bare(text))?,
    };
    Some(Form(form))
}

/// Whether a value has a form.
pub(super) fn has_form(compared: Compared, text: &str) -> bool {
    matches!(compared, Compared::Text | Compared::Name | Compared::Uid) || form(compared, text).is_some()
}

fn bare(text: &str) -> &str {
    text.trim_matches([' ', '\0'])
}

/// The groups of a name, each without what does not count at its end.
fn name(text: &str) -> String {
    let folded = fold_name(text);
    let groups: Vec<_> = folded.split('=').map(|group| group.trim_end_matches(['^', ' ', '\0'])).collect();
    groups.join("=").trim_end_matches('=').to_owned()
}

fn integer(text: &str) -> Option<String> {
    let number: i64 = text.parse().ok()?;
    Some(format!("{:016x}", number.cast_unsigned() ^ (1 << 63)))
}

/// The text, if it is a number in digits: the words that stand for others are none.
fn finite(text: &str) -> Option<&str> {
    let in_digits = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    in_digits.then_some(text)
}

fn decimal(number: f64) -> Option<String> {
    if !number.is_finite() {
        return None;
    }
    // Both zeros are one.
    let bits = (number + 0.0).to_bits();
    let sorted = if bits >> 63 == 1 { !bits } else { bits | (1 << 63) };
    Some(format!("{sorted:016x}"))
}

/// A calendar date `yyyyMMdd`.
fn date(text: &str) -> Option<&str> {
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let month = time::Month::try_from(text[4..6].parse::<u8>().ok()?).ok()?;
    time::Date::from_calendar_date(text[..4].parse().ok()?, month, text[6..].parse().ok()?).ok()?;
    Some(text)
}

/// `HH[MM[SS[.F]]]` with up to six digits `F`; a leap second is one.
fn time(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let fraction_fits = match fraction {
        None => [2, 4, 6].contains(&whole.len()),
        Some(part) => whole.len() == 6 && (1..=6).contains(&part.len()),
    };
    let fraction = fraction.unwrap_or_default();
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let below =
        |at: usize, end: u8| whole.get(at..at + 2).is_none_or(|part| part.parse().is_ok_and(|n: u8| n < end));
    let valid = fraction_fits && is_number(whole) && is_number(fraction);
    (valid && below(0, 24) && below(2, 60) && below(4, 61)).then(|| format!("{whole:0<6}.{fraction:0<6}"))
}

/// `yyyy[MM[dd[time]]]`, with an offset from UTC or without.
fn date_time(text: &str) -> Option<String> {
    let local = match text.len().checked_sub(5).and_then(|at| text.split_at_checked(at)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) => {
            offset[1..].bytes().all(|b| b.is_ascii_digit()).then_some(local)?
        }
        _ => text,
    };
    let (day, rest) = local.split_at_checked(8).unwrap_or((local, ""));
    if ![4, 6, 8].contains(&day.len()) {
        return None;
    }
    let day = format!("{day}{}", &"0101"[day.len() - 4..]);
    let time = if rest.is_empty() { time("00")? } else { time(rest)? };
    Some(format!("{}{time}", date(&day)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(compared: Compared, text: &str) -> Option<String> {
        form(compared, text).map(|form| form.0)
    }

    fn same(compared: Compared, one: &str, other: &str) -> bool {
        let forms = [one, other].map(|text| form(compared, text).unwrap());
        forms[0] == forms[1]
    }

    #[test]
    fn dates_are_of_the_calendar() {
        for yes in ["20240229", "00010101", "99991231", "20240229 \0"] {
            assert_eq!(of(Compared::Date, yes), Some(yes[..8].to_owned()), "{yes}");
        }
        for no in ["20230229", "2024022", "202402290", "20241301", "2024-1-1", "+0240101", "２0240229", ""] {
            assert_eq!(of(Compared::Date, no), None, "{no}");
        }
    }

    #[test]
    fn times_are_their_first_instant() {
        for (text, wanted) in [
            ("09", "090000.000000"),
            ("0930", "093000.000000"),
            ("235960", "235960.000000"),
            (" 093015.5 ", "093015.500000"),
            ("093015.000001", "093015.000001"),
        ] {
            assert_eq!(of(Compared::Time, text).as_deref(), Some(wanted), "{text}");
        }
        for no in [
            "",
            "9",
            "24",
            "0960",
            "093061",
            "09.5",
            "0930.5",
            "093015.",
            "093015.1234567",
            "09:30",
            "+9",
            "09301",
        ] {
            assert_eq!(of(Compared::Time, no), None, "{no}");
        }
    }

    #[test]
    fn dates_with_times_are_their_first_instant_and_offsets_do_not_count() {
        for (text, wanted) in [
            ("2024", "20240101000000.000000"),
            ("202402", "20240201000000.000000"),
            ("20240229", "20240229000000.000000"),
            ("2024022923", "20240229230000.000000"),
            ("20240229235959.25", "20240229235959.250000"),
            ("20240229235959.25+0100", "20240229235959.250000"),
            ("2024-0500", "20240101000000.000000"),
        ] {
            assert_eq!(of(Compared::DateTime, text).as_deref(), Some(wanted), "{text}");
        }
        for no in [
            "",
            "202",
            "20241",
            "20240230",
            "2024022924",
            "20240229235959+01",
            "2024-2025-2026",
            "2024é-0500",
        ] {
            assert_eq!(of(Compared::DateTime, no), None, "{no}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        for (one, other) in [("3", "0003"), ("+3", " 3 "), ("-0", "0"), ("-7", "-07")] {
            assert!(same(Compared::Integer, one, other), "{one} {other}");
        }
        for no in ["", "3.0", "x", "9223372036854775808", "0x3", "٣", "1 2"] {
            assert_eq!(of(Compared::Integer, no), None, "{no}");
        }
        for (one, other) in [("1.5", "15e-1"), ("-0.0", "0"), (".5", "0.50"), ("0.1", "0.10000000000000001")]
        {
            assert!(same(Compared::Decimal, one, other), "{one} {other}");
        }
        // As JSON writes the FL nearest to a tenth, or as somebody types it.
        assert!(same(Compared::Single, "0.1", "0.10000000149011612"));
        assert!(!same(Compared::Decimal, "0.1", "0.10000000149011612"));
        for no in ["", "NaN", "inf", "-Infinity", "1e999", "1,5", "--1", "e"] {
            assert_eq!(of(Compared::Decimal, no), None, "{no}");
            assert_eq!(of(Compared::Single, no), None, "{no}");
        }
    }

    #[test]
    fn separators_at_the_end_of_a_names_groups_do_not_count() {
        for (one, other) in [
            ("Doe^John^^", "doe^john"),
            ("Doe^=山田^ ==", "doe=山田"),
            ("A=", "a"),
            ("A^B \0", "a^b"),
            ("", "="),
        ] {
            assert!(same(Compared::Name, one, other), "{one} {other}");
        }
        for (one, other) in [("A=B", "A^B"), ("=A", "A"), ("A==B", "A=B")] {
            assert!(!same(Compared::Name, one, other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn forms_sort_as_their_numbers(a: i64, b: i64, x in -1e300..1e300, y in -1.0..1.0, f: f32) {
            let form = |compared, text: String| form(compared, &text).unwrap();
            let integers = [a, b].map(|n| form(Compared::Integer, n.to_string()));
            prop_assert_eq!(integers[0].cmp(&integers[1]), a.cmp(&b));
            let decimals = [x, y].map(|n: f64| form(Compared::Decimal, n.to_string()));
            prop_assert_eq!(decimals[0].cmp(&decimals[1]), x.partial_cmp(&y).unwrap());
            if f.is_finite() {
                let singles = [f, 0.0].map(|n: f32| form(Compared::Single, n.to_string()));
                prop_assert_eq!(singles[0].cmp(&singles[1]), f.partial_cmp(&0.0).unwrap());
            }
        }

        #[test]
        fn whatever_is_asked_has_a_form_or_none(text in "[0-9+.eE^= \0-]{0,24}|.{0,24}") {
            use Compared::{Date, DateTime, Decimal, Integer, Name, Single, Text, Time, Uid};
            for compared in [Text, Name, Uid, Integer, Single, Decimal, Date, Time, DateTime] {
                let first = form(compared, &text);
                prop_assert_eq!(first, form(compared, &text));
            }
        }
    }
}
