//! From the text of a filter to the test it is (contract `studies.md` §4.4, §4.5).
//!
//! Elsewhere: which attribute a key names (`query`), the forms of values (`value`).

use super::QueryError;
use crate::projections::search::attributes::Compared;
use crate::projections::search::matching::Test;
use crate::projections::search::value::{Form, form};

/// A single date, or a range with one dash. With more dashes it is a single value, and no date.
pub(super) fn date_test(attribute: &str, value: &str) -> Result<Test, QueryError> {
    let bad = || QueryError::BadValue {
        attribute: attribute.to_owned(),
        value: value.to_owned(),
        form: "a date yyyyMMdd, or a range of dates",
    };
    let parts: Vec<&str> = value.split('-').map(str::trim).collect();
    let &[from, to] = parts.as_slice() else {
        return form(Compared::Date, value).map(Test::Form).ok_or_else(bad);
    };
    let end = |text: &str| -> Result<Option<Form>, QueryError> {
        if text.is_empty() {
            return Ok(None);
        }
        form(Compared::Date, text).map(Some).ok_or_else(bad)
    };
    let (from, to) = (end(from)?, end(to)?);
    let empty = from.is_none() && to.is_none();
    if empty || from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from > to) {
        return Err(QueryError::BadRange { attribute: attribute.to_owned(), value: value.to_owned() });
    }
    Ok(Test::Between(from, to))
}
