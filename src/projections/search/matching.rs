//! Whether a record satisfies a filter: the one place that says so (contract `studies.md` §4.5).
//!
//! Invariant: what `index` finds is a superset of what matches here; every candidate is judged here.
//! Elsewhere: filters from a request (`query`), filters as tantivy queries (`index`).

use super::attributes::{Kind, SERIES, STUDY};
use super::folding::{fold, words_stand_in};
use super::names::Name;
use super::rows::{SeriesRow, StudyRow};

/// One condition on one attribute; a record must satisfy all of a query's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) on: On,
    pub(super) test: Test,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum On {
    StudyInstanceUid,
    SeriesInstanceUid,
    SopInstanceUid,
    /// A number in the rows: asked for as [`Test::Named`].
    SopClass,
    /// At least one live series has this Modality.
    ModalitiesInStudy,
    /// An attribute of [`STUDY`].
    Study(usize),
    /// An attribute of [`SERIES`].
    Series(usize),
}

/// How it compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// The folded value is this.
    Equal(String),
    /// The date lies between these, both included; `yyyyMMdd`.
    Between(Option<String>, Option<String>),
    /// These words stand side by side and in order, each as the beginning of a word.
    Words(Vec<String>),
    /// The UID has this number.
    Named(Name),
}

impl Test {
    fn holds(&self, kind: Kind, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::Equal(wanted) => fold(kind, value) == *wanted,
            Self::Between(from, to) => {
                from.as_deref().is_none_or(|from| from <= value) && to.as_deref().is_none_or(|to| value <= to)
            }
            Self::Words(wanted) => words_stand_in(wanted, value),
            Self::Named(_) => false,
        }
    }
}

/// Whether a study, or a series of it, or an instance of that series, satisfies every filter. A filter on
/// a level that is not given is not satisfied; one on the SOP class is by a series that may hold it.
pub(super) fn all_match(
    filters: &[Filter],
    study: &StudyRow,
    series: Option<&SeriesRow>,
    instance: Option<&str>,
) -> bool {
    filters.iter().all(|Filter { on, test }| match on {
        On::StudyInstanceUid => test.holds(Kind::Text, Some(study.uid.as_str())),
        On::SeriesInstanceUid => test.holds(Kind::Text, series.map(|series| series.uid.as_str())),
        On::SopInstanceUid => test.holds(Kind::Text, instance),
        On::SopClass => match test {
            Test::Named(name) => series.is_some_and(|series| series.classes.may_hold(*name)),
            Test::Equal(_) | Test::Between(..) | Test::Words(_) => false,
        },
        On::ModalitiesInStudy => {
            study.modalities.iter().any(|(modality, _)| test.holds(Kind::Text, Some(modality)))
        }
        On::Study(at) => test.holds(STUDY[*at].kind, study.values[*at].as_deref()),
        On::Series(at) => {
            test.holds(SERIES[*at].kind, series.and_then(|series| series.values[*at].as_deref()))
        }
    })
}

/// Whether an instance of this SOP class satisfies the filters on it.
pub(super) fn is_of_class(filters: &[Filter], class: Name) -> bool {
    filters.iter().all(|Filter { on, test }| *on != On::SopClass || *test == Test::Named(class))
}
