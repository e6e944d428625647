//! From the text of a filter to the test it is (contract `studies.md` §4.4, §4.5, §4.11).
//!
//! Elsewhere: which attribute a key names (`filters`), the forms of values (`value`).

use super::filters::Subject;
use super::{Fuzzy, QueryError};
use crate::projections::search::attributes::Compared;
use crate::projections::search::folding::words;
use crate::projections::search::glob::{Glob, LONGEST_PATTERN, is_pattern};
use crate::projections::search::matching::{On, Test};
use crate::projections::search::value::{Form, form};

/// Most UIDs or modalities of one filter.
const MOST_IN_A_LIST: usize = 500;
/// Most words of a name.
const MOST_WORDS: usize = 32;

/// What the values of one key are.
pub(super) enum Value {
    /// Whatever there is, and whatever is absent.
    Anything,
    Test(Test),
    /// At least one end; the order of them is still to be checked.
    Range(Option<Form>, Option<Form>),
}

/// The test that the values of a key are. There is one, but for UIDs.
pub(super) fn parse_value(
    subject: Subject,
    key: &str,
    values: &[&str],
    fuzzy: Fuzzy,
) -> Result<Value, QueryError> {
    let &[value, ..] = values else { return Err(QueryError::EmptyValue(key.to_owned())) };
    if value.is_empty() && values.len() == 1 {
        return Err(QueryError::EmptyValue(key.to_owned()));
    }
    let is_like = subject.wildcards && is_pattern(value);
    match subject.compared {
        Compared::Uid => list(subject, key, values),
        Compared::Text if subject.on == On::Modalities => list(subject, key, values),
        Compared::Name if fuzzy != Fuzzy::No && value.contains('"') => {
            Err(QueryError::QuotationMark(key.to_owned()))
        }
        Compared::Text | Compared::Name if is_like => like(subject.compared, key, value),
        Compared::Name => name(key, value, fuzzy),
        Compared::Date | Compared::Time | Compared::DateTime => range(subject.compared, key, value),
        Compared::Text | Compared::Integer | Compared::Single | Compared::Decimal => {
            let form = form(subject.compared, value).ok_or_else(|| bad(subject.compared, key, value))?;
            Ok(Value::Test(Test::Form(form)))
        }
    }
}

fn bad(compared: Compared, key: &str, value: &str) -> QueryError {
    let form = match compared {
        Compared::Date => "a date yyyyMMdd, or a range of dates",
        Compared::Time => "a time HH[mm[ss[.FFFFFF]]], or a range of times",
        Compared::DateTime => {
            "a date and time yyyy[MM[dd[HH[mm[ss[.FFFFFF]]]]]] without an offset from UTC, or a range of them"
        }
        Compared::Integer => "a whole number of 64 bits",
        Compared::Single | Compared::Decimal => "a number",
        Compared::Text | Compared::Name | Compared::Uid => "a text",
    };
    QueryError::BadValue { attribute: key.to_owned(), value: value.to_owned(), form }
}

fn too_many(key: &str, most: usize, what: &'static str) -> QueryError {
    QueryError::TooMany { attribute: key.to_owned(), most, what }
}

/// UIDs or modalities between commas or backslashes, or in repeated keys; empty ones do not count.
fn list(subject: Subject, key: &str, values: &[&str]) -> Result<Value, QueryError> {
    let entries = values.iter().flat_map(|value| value.split([',', '\\'])).map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let (mut forms, mut patterns) = (Vec::new(), Vec::new());
    for (at, entry) in entries.enumerate() {
        if at == MOST_IN_A_LIST {
            return Err(too_many(key, MOST_IN_A_LIST, "values"));
        }
        if !subject.wildcards || !is_pattern(entry) {
            forms.push(form(subject.compared, entry).ok_or_else(|| bad(subject.compared, key, entry))?);
            continue;
        }
        match like(subject.compared, key, entry)? {
            Value::Test(test) => patterns.push(test),
            Value::Anything | Value::Range(..) => return Ok(Value::Anything),
        }
    }
    forms.sort_unstable();
    forms.dedup();
    let exact = match forms.len() {
        0 => None,
        1 => forms.pop().map(Test::Form),
        _ => Some(Test::AnyOf(forms)),
    };
    let mut tests: Vec<Test> = exact.into_iter().chain(patterns).collect();
    match (tests.len(), tests.pop()) {
        (1, Some(test)) => Ok(Value::Test(test)),
        (_, Some(last)) => {
            tests.push(last);
            Ok(Value::Test(Test::Either(tests)))
        }
        (_, None) => Err(QueryError::EmptyValue(key.to_owned())),
    }
}

fn like(compared: Compared, key: &str, value: &str) -> Result<Value, QueryError> {
    let glob = Glob::parse(compared, value);
    let glob = glob.ok_or_else(|| too_many(key, LONGEST_PATTERN, "characters around its wildcards"))?;
    Ok(if glob.is_anything() { Value::Anything } else { Value::Test(Test::Like(glob)) })
}

fn name(key: &str, value: &str, fuzzy: Fuzzy) -> Result<Value, QueryError> {
    if fuzzy == Fuzzy::No {
        let form = form(Compared::Name, value).ok_or_else(|| bad(Compared::Name, key, value))?;
        return Ok(Value::Test(Test::NameIs(form)));
    }
    let words = words(value);
    if words.len() > MOST_WORDS {
        return Err(too_many(key, MOST_WORDS, "words"));
    }
    Ok(Value::Test(match fuzzy {
        Fuzzy::Anywhere => Test::AnyWords(words),
        Fuzzy::InOrder | Fuzzy::No => Test::Words(words),
    }))
}

/// A single date or time, or a range with one dash. With more dashes it is a single value, and none.
fn range(compared: Compared, key: &str, value: &str) -> Result<Value, QueryError> {
    let one = |text: &str| {
        // An offset would be read away.
        let plain = compared == Compared::Date || !text.contains(['+', '-']);
        let form = form(compared, text).filter(|_| plain);
        form.ok_or_else(|| bad(compared, key, value))
    };
    let parts: Vec<&str> = value.split('-').map(str::trim).collect();
    let &[from, to] = parts.as_slice() else { return Ok(Value::Test(Test::Form(one(value)?))) };
    if from.is_empty() && to.is_empty() {
        return Err(QueryError::BadRange { attribute: key.to_owned(), value: value.to_owned() });
    }
    let end = |text: &str| if text.is_empty() { Ok(None) } else { one(text).map(Some) };
    Ok(Value::Range(end(from)?, end(to)?))
}
