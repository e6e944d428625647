//! Whether records satisfy a filter: the one place that says so (contract `studies.md` §4.5, §4.11).
//!
//! Invariant: what `index` finds is a superset of what matches here; every candidate is judged here.
//! Elsewhere: filters from a request (`query`), filters as tantivy queries (`index`).

use super::attributes::{AttributeId, Compared, Level, Tag, Values};
use super::folding::{fold_text, words_stand_anywhere_in, words_stand_in};
use super::glob::Glob;
use super::names::Name;
use super::rows::{InstanceRow, SeriesRow, StudyRow};
use super::value::{Form, form};

/// One condition on one attribute; a record must satisfy all of a query's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) on: On,
    pub(super) level: Level,
    pub(super) compared: Compared,
    pub(super) test: Test,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum On {
    /// The UID of a study, series or instance.
    Uid(Level),
    /// A number in the rows: judged as [`Test::Classes`].
    SopClass,
    /// At least one live series has this Modality.
    Modalities,
    Value(AttributeId),
    /// In an item of a sequence. All filters on one sequence must hold in the same item (PS3.4 C.2.2.2.6).
    Item {
        sequence: Tag,
        id: AttributeId,
    },
}

impl On {
    /// The attribute in rows and terms.
    pub(super) fn attribute(self) -> Option<AttributeId> {
        match self {
            Self::Value(id) | Self::Item { id, .. } => Some(id),
            Self::Uid(_) | Self::SopClass | Self::Modalities => None,
        }
    }
}

/// How it compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// The value is this.
    Form(Form),
    /// The value is one of these.
    AnyOf(Vec<Form>),
    /// One of these holds.
    Either(Vec<Test>),
    /// The value lies between these, both included; at least one is there.
    Between(Option<Form>, Option<Form>),
    /// The text matches, or the name or any one group of it.
    Like(Glob),
    /// The name is this, or any one group of it.
    NameIs(Form),
    /// These words stand side by side and in order, each as the beginning of a word of the name.
    Words(Vec<String>),
    /// These words stand anywhere, each as the beginning of a word of the name.
    AnyWords(Vec<String>),
    /// A date and a time as one moment lie between these; on the date.
    Moments { time: AttributeId, from: Option<Form>, to: Option<Form> },
    /// The UID has one of these numbers.
    Classes(Vec<Name>),
}

impl Test {
    /// Whether a single value satisfies it.
    fn holds(&self, compared: Compared, value: &str) -> bool {
        let is = |test: &dyn Fn(&Form) -> bool| form(compared, value).is_some_and(|form| test(&form));
        match self {
            Self::Form(wanted) => is(&|form| form == wanted),
            Self::AnyOf(wanted) => is(&|form| wanted.contains(form)),
            Self::Either(tests) => tests.iter().any(|test| test.holds(compared, value)),
            Self::Between(from, to) => is(&|form| lies_between(form, from.as_ref(), to.as_ref())),
            Self::Like(glob) if compared == Compared::Name => {
                is(&|form| any_name(form, !glob.holds('='), |name| glob.matches(name)))
            }
            Self::Like(glob) => glob.matches(&fold_text(value)),
            Self::NameIs(wanted) => {
                let wanted = wanted.as_str();
                is(&|form| any_name(form, !wanted.contains('='), |name| name == wanted))
            }
            Self::Words(wanted) => words_stand_in(wanted, value),
            Self::AnyWords(wanted) => words_stand_anywhere_in(wanted, value),
            // Judged on more than one value.
            Self::Moments { .. } | Self::Classes(_) => false,
        }
    }
}

fn lies_between(form: &Form, from: Option<&Form>, to: Option<&Form>) -> bool {
    from.is_none_or(|from| from <= form) && to.is_none_or(|to| form <= to)
}

/// Whether a name, or any one of its groups if they count, is one of `is`.
fn any_name(form: &Form, groups_count: bool, is: impl Fn(&str) -> bool) -> bool {
    let name = form.as_str();
    is(name) || (groups_count && name.split('=').filter(|group| !group.is_empty()).any(is))
}

/// The records to be judged: a study, a series of it, an instance of that series.
#[derive(Clone, Copy)]
struct Records<'r> {
    study: &'r StudyRow,
    series: Option<&'r SeriesRow>,
    instance: Option<&'r InstanceRow>,
}

/// Whether a study, or a series of it, or an instance of that series, satisfies every filter on the levels
/// that are given; a filter on a lower level is judged when that is. A filter on the SOP class is satisfied
/// by a series that may hold it.
pub(super) fn judge(
    filters: &[Filter],
    study: &StudyRow,
    series: Option<&SeriesRow>,
    instance: Option<&InstanceRow>,
) -> bool {
    let records = Records { study, series, instance };
    filters.iter().all(|filter| records.satisfy(filter, filters))
}

/// Whether an instance satisfies the filters on its own level.
pub(super) fn judge_instance(filters: &[Filter], instance: &InstanceRow) -> bool {
    let own = |filter: &&Filter| filter.level == Level::Instance;
    filters.iter().filter(own).all(|filter| match filter.on {
        On::Uid(_) => filter.test.holds(filter.compared, instance.uid.as_str()),
        On::SopClass => is_one_of(&filter.test, |class| class == instance.class),
        On::Modalities => false,
        On::Value(_) | On::Item { .. } => of_values(filter, filters, &instance.values),
    })
}

/// Whether an instance of this SOP class satisfies the filters on it.
pub(super) fn is_of_class(filters: &[Filter], class: Name) -> bool {
    let of_class = filters.iter().filter(|filter| filter.on == On::SopClass);
    of_class.into_iter().all(|filter| is_one_of(&filter.test, |wanted| wanted == class))
}

/// Whether filters look at more of an instance than its SOP class.
pub(super) fn need_instances(filters: &[Filter]) -> bool {
    filters.iter().any(|filter| filter.level == Level::Instance && filter.on != On::SopClass)
}

fn is_one_of(test: &Test, is: impl Fn(Name) -> bool) -> bool {
    matches!(test, Test::Classes(wanted) if wanted.iter().any(|class| is(*class)))
}

impl Records<'_> {
    fn satisfy(&self, filter: &Filter, all: &[Filter]) -> bool {
        let Filter { on, level, compared, test } = filter;
        let Self { study, series, instance } = self;
        let values = match level {
            Level::Study => Some(&study.values),
            Level::Series => series.map(|series| &series.values),
            Level::Instance => instance.map(|instance| &instance.values),
        };
        match on {
            On::Uid(level) => {
                let uid = match level {
                    Level::Study => Some(&study.uid),
                    Level::Series => series.map(|series| &series.uid),
                    Level::Instance => instance.map(|instance| &instance.uid),
                };
                uid.is_none_or(|uid| test.holds(*compared, uid.as_str()))
            }
            On::SopClass => match (series, instance) {
                (_, Some(instance)) => is_one_of(test, |class| class == instance.class),
                (Some(series), None) => is_one_of(test, |class| series.classes.may_hold(class)),
                (None, None) => true,
            },
            On::Modalities => study.modalities.keys().any(|modality| test.holds(*compared, modality)),
            On::Value(_) | On::Item { .. } => values.is_none_or(|values| of_values(filter, all, values)),
        }
    }
}

/// Whether the values of a record satisfy a filter on one of them; `all` are those of its query.
fn of_values(filter: &Filter, all: &[Filter], values: &Values) -> bool {
    let Filter { on, compared, test, level } = filter;
    match (on, test) {
        (On::Value(date), Test::Moments { time, from, to }) => {
            let form_of = |id, compared| values.first(id).and_then(|value| form(compared, value));
            let parts = form_of(*date, Compared::Date).zip(form_of(*time, Compared::Time));
            parts.is_some_and(|(date, time)| {
                lies_between(&Form::moment(&date, &time), from.as_ref(), to.as_ref())
            })
        }
        (On::Value(id), _) => values.first(*id).is_some_and(|value| test.holds(*compared, value)),
        (On::Item { sequence, id }, _) => (0..values.items(*id).len()).any(|at| {
            all.iter().filter(|other| other.level == *level).all(|other| match other.on {
                On::Item { sequence: same, id } if same == *sequence => {
                    let item = values.items(id).get(at).and_then(Option::as_deref);
                    item.is_some_and(|value| other.test.holds(other.compared, value))
                }
                On::Item { .. } | On::Value(_) | On::Uid(_) | On::SopClass | On::Modalities => true,
            })
        }),
        (On::Uid(_) | On::SopClass | On::Modalities, _) => false,
    }
}
