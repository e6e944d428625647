//! From keys and values to filters (contract `studies.md` §4.3, §4.4, §4.11).
//!
//! A date and a time that belong together and are both given as ranges are one range of moments, from the
//! first time on the first date to the last time on the last (PS3.4 C.2.2.2.5.4). Where the range of dates
//! is open, the time of that end says nothing.
//! Invariant: an error names the key as the client wrote it.
//! Elsewhere: the values by themselves (`values`).

use super::values::{Value, parse_value};
use super::{Fuzzy, KeyValues, QueryError, TagPath, keys};
use crate::projections::search::attributes::{self, Attributes, Compared, Level, Path, Role, Tag};
use crate::projections::search::matching::{Filter, On, Test};
use crate::projections::search::value::{Form, form};

/// What the keys of a request that are attributes come to.
pub(super) struct Filters {
    pub(super) filters: Vec<Filter>,
    pub(super) filtered: Vec<TagPath>,
    pub(super) erroneous: Vec<String>,
}

/// What a filter looks at.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) on: On,
    pub(super) level: Level,
    pub(super) compared: Compared,
    /// `*` and `?` in its values stand for other characters.
    pub(super) wildcards: bool,
    role: Role,
}

/// A filter before dates and times are put together.
struct Half<'r> {
    key: &'r str,
    /// As the client wrote it.
    text: &'r str,
    path: TagPath,
    subject: Subject,
    value: Value,
}

const ONE_MOMENT: [(Tag, Tag); 2] = [(0x0008_0020, 0x0008_0030), (0x0040_0244, 0x0040_0245)];

/// The filters that these keys are where these levels can be filtered.
pub(super) fn parse(
    attributes: &Attributes,
    levels: &[Level],
    given: &[KeyValues<'_>],
    fuzzy: Fuzzy,
) -> Result<Filters, QueryError> {
    let mut halves: Vec<Half<'_>> = Vec::new();
    let mut erroneous = Vec::new();
    for KeyValues { key, values } in given {
        let path = path_of(key)?;
        let subject = subject_of(attributes, &path, levels).ok_or_else(|| match path.0.len() {
            1 => QueryError::NotQueryable((*key).to_owned()),
            _ => QueryError::SequencePath((*key).to_owned()),
        })?;
        match subject.role {
            Role::Extended { enabled: false, .. } => return Err(QueryError::Disabled((*key).to_owned())),
            Role::Extended { errors: true, .. } => erroneous.push((*key).to_owned()),
            Role::Extended { .. } | Role::IndexSet | Role::Searchable => {}
        }
        if values.len() > 1 && subject.compared != Compared::Uid {
            return Err(QueryError::Duplicate((*key).to_owned()));
        }
        if halves.iter().any(|half| half.path == path) {
            return Err(QueryError::DuplicateInOtherForm((*key).to_owned()));
        }
        let value = parse_value(subject, key, values, fuzzy)?;
        halves.push(Half { key, text: values[0], path, subject, value });
    }
    let moments = moments(&halves)?;
    let filtered = halves.iter().map(|half| half.path.clone()).collect();
    let mut filters = Vec::new();
    for (at, Half { key, text, subject, value, .. }) in halves.into_iter().enumerate() {
        let joined = moments.iter().find(|(date, time, _)| [*date, *time].contains(&at));
        let test = match (value, joined) {
            (Value::Anything, _) => continue,
            (Value::Test(test), _) => test,
            (Value::Range(..), Some((date, _, test))) if *date == at => test.clone(),
            (Value::Range(..), Some(_)) => continue,
            (Value::Range(from, to), None) => {
                if from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from > to) {
                    return Err(QueryError::BadRange { attribute: key.to_owned(), value: text.to_owned() });
                }
                Test::Between(from, to)
            }
        };
        let Subject { on, level, compared, .. } = subject;
        filters.push(Filter { on, level, compared, test });
    }
    Ok(Filters { filters, filtered, erroneous })
}

fn path_of(key: &str) -> Result<TagPath, QueryError> {
    keys::path_of(key).ok_or_else(|| match key.contains('.') {
        true => QueryError::SequencePath(key.to_owned()),
        false => QueryError::UnknownParameter(key.to_owned()),
    })
}

/// What a filter on `path` looks at where these levels can be filtered (contract `studies.md` §4.3, §4.11).
pub(super) fn subject_of(
    attributes: &Attributes,
    TagPath(path): &TagPath,
    levels: &[Level],
) -> Option<Subject> {
    let uid = |on, level| (on, level, Compared::Uid, false, Role::IndexSet);
    let (on, level, compared, wildcards, role) = match *path.as_slice() {
        [attributes::STUDY_INSTANCE_UID] => uid(On::Uid(Level::Study), Level::Study),
        [attributes::SERIES_INSTANCE_UID] => uid(On::Uid(Level::Series), Level::Series),
        [attributes::SOP_INSTANCE_UID] => uid(On::Uid(Level::Instance), Level::Instance),
        [attributes::SOP_CLASS_UID] => uid(On::SopClass, Level::Instance),
        [attributes::MODALITIES_IN_STUDY] => {
            (On::Modalities, Level::Study, Compared::Text, true, Role::IndexSet)
        }
        [tag] => {
            let attribute = attributes.at(Path::One(tag), levels)?;
            let wildcards = attributes::takes_wildcards(attribute.vr);
            (On::Value(attribute.id), attribute.level, attribute.compared(), wildcards, attribute.role)
        }
        [sequence, tag] => {
            let attribute = attributes.at(Path::In { sequence, tag }, levels)?;
            let on = On::Item { sequence, id: attribute.id };
            let wildcards = attributes::takes_wildcards(attribute.vr);
            (on, attribute.level, attribute.compared(), wildcards, attribute.role)
        }
        _ => return None,
    };
    levels.contains(&level).then_some(Subject { on, level, compared, wildcards, role })
}

/// The pairs of a date and a time that are one range: where each stands, and the filter they are.
fn moments(halves: &[Half<'_>]) -> Result<Vec<(usize, usize, Test)>, QueryError> {
    let mut found = Vec::new();
    for (date, time) in ONE_MOMENT {
        let at = |tag: Tag| halves.iter().position(|half| half.path == TagPath::from(tag));
        let Some((date, time)) = at(date).zip(at(time)) else { continue };
        let (days, times) = (&halves[date], &halves[time]);
        let (Value::Range(first_day, last_day), Value::Range(first_time, last_time)) =
            (&days.value, &times.value)
        else {
            continue;
        };
        let (On::Value(_), On::Value(time_id)) = (days.subject.on, times.subject.on) else { continue };
        let kinds = (days.subject.compared, times.subject.compared);
        if kinds != (Compared::Date, Compared::Time) || days.subject.level != times.subject.level {
            continue;
        }
        let bad = |half: &Half<'_>| {
            Err(QueryError::BadRange { attribute: half.key.to_owned(), value: half.text.to_owned() })
        };
        if first_day.as_ref().zip(last_day.as_ref()).is_some_and(|(first, last)| first > last) {
            return bad(days);
        }
        let from = moment(first_day.as_ref(), first_time.as_ref(), "000000");
        let to = moment(last_day.as_ref(), last_time.as_ref(), "235960.999999");
        if from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from > to) {
            return bad(times);
        }
        found.push((date, time, Test::Moments { time: time_id, from, to }));
    }
    Ok(found)
}

fn moment(day: Option<&Form>, time: Option<&Form>, otherwise: &str) -> Option<Form> {
    let otherwise = form(Compared::Time, otherwise);
    Some(Form::moment(day?, time.or(otherwise.as_ref())?))
}
