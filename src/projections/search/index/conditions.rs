//! Filters as conditions on the terms of documents.
//!
//! Invariant: what satisfies the conditions of a filter is a superset of what matches it, and the same
//! where [`Sought::exact`] says so.
//! Elsewhere: the terms of a document (`documents`), the walk through what satisfies them (`terms`).

use super::documents::{
    ANY_CLASS, class_term, first_prefix, group_prefix, modality_term, series_term, set_term, study_term,
    value_prefix, word_prefix,
};
use super::terms::{Condition, Keep};
use crate::base::Partition;
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::{AttributeId, Compared, Level};
use crate::projections::search::folding::is_separator;
use crate::projections::search::glob::Glob;
use crate::projections::search::matching::{Filter, On, Test};

/// What the index is asked for one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Sought {
    /// All of these. None: the index cannot tell.
    pub(in super::super) conditions: Vec<Condition>,
    /// Every document that satisfies them matches.
    pub(in super::super) exact: bool,
}

impl Sought {
    fn exactly(condition: Condition) -> Self {
        Self { conditions: vec![condition], exact: true }
    }

    fn at_most(conditions: Vec<Condition>) -> Self {
        Self { conditions, exact: false }
    }
}

/// The document of a record of this level.
pub(in super::super) fn of_level(level: Level, partition: &Partition) -> Condition {
    Condition::term(set_term(level, partition))
}

/// The documents of studies that it is behind on.
pub(in super::super) fn dirty<'u>(
    partition: &Partition,
    studies: impl Iterator<Item = &'u Uid>,
) -> Condition {
    Condition::Any(studies.map(|study| study_term(partition, study.as_str())).collect())
}

/// What the index is asked for one of these filters. What is said of instances it only knows of their
/// series, if at all.
pub(in super::super) fn sought(filter: &Filter, all: &[Filter], partition: &Partition) -> Sought {
    let Filter { on, level, compared, test } = filter;
    match on {
        On::Uid(Level::Study) => uids(test, |uid| study_term(partition, uid)),
        On::Uid(Level::Series) => uids(test, series_term),
        On::Uid(Level::Instance) => Sought::at_most(Vec::new()),
        On::SopClass => classes(test),
        On::Modalities => modalities(test),
        On::Value(_) | On::Item { .. } if *level == Level::Instance => Sought::at_most(Vec::new()),
        On::Value(id) => of_value(*id, *compared, test),
        On::Item { sequence, id } => {
            let same = |other: &&Filter| matches!(other.on, On::Item { sequence: of, .. } if of == *sequence);
            let mut sought = of_value(*id, *compared, test);
            // Two of them must hold in one item; the index knows only that each holds in some.
            sought.exact &= all.iter().filter(same).count() == 1;
            sought
        }
    }
}

/// The beginning of the terms that order documents by an attribute: one for each document that has it.
pub(in super::super) fn order_prefix(on: On, partition: &Partition) -> Option<String> {
    match on {
        On::Uid(Level::Study) => Some(study_term(partition, "")),
        On::Uid(Level::Series) => Some(series_term("")),
        On::Value(id) => Some(value_prefix(id)),
        On::Item { id, .. } => Some(first_prefix(id)),
        On::Uid(Level::Instance) | On::SopClass | On::Modalities => None,
    }
}

fn uids(test: &Test, term: impl Fn(&str) -> String) -> Sought {
    match test {
        Test::Form(uid) => Sought::exactly(Condition::term(term(uid.as_str()))),
        Test::AnyOf(uids) => {
            Sought::exactly(Condition::Any(uids.iter().map(|uid| term(uid.as_str())).collect()))
        }
        Test::Either(_)
        | Test::Between(..)
        | Test::Like(_)
        | Test::NameIs(_)
        | Test::Words(_)
        | Test::AnyWords(_)
        | Test::Moments { .. }
        | Test::Classes(_) => Sought::at_most(Vec::new()),
    }
}

fn classes(test: &Test) -> Sought {
    let Test::Classes(names) = test else { return Sought::at_most(Vec::new()) };
    let named = names.iter().map(|name| class_term(&name.to_string()));
    Sought::at_most(vec![Condition::Any(named.chain([class_term(ANY_CLASS)]).collect())])
}

fn modalities(test: &Test) -> Sought {
    match test {
        Test::Form(modality) => Sought::exactly(Condition::term(modality_term(modality.as_str()))),
        Test::AnyOf(wanted) => {
            Sought::exactly(Condition::Any(wanted.iter().map(|one| modality_term(one.as_str())).collect()))
        }
        Test::Like(glob) => Sought::exactly(like(modality_term(""), glob)),
        Test::Either(tests) => {
            let terms = tests.iter().map(|test| match test {
                Test::Form(modality) => Some(modality_term(modality.as_str())),
                _ => None,
            });
            // Entries with wildcards among them are left to the judge.
            terms
                .collect::<Option<Vec<_>>>()
                .map_or(Sought::at_most(Vec::new()), |terms| Sought::exactly(Condition::Any(terms)))
        }
        Test::Between(..)
        | Test::NameIs(_)
        | Test::Words(_)
        | Test::AnyWords(_)
        | Test::Moments { .. }
        | Test::Classes(_) => Sought::at_most(Vec::new()),
    }
}

fn of_value(id: AttributeId, compared: Compared, test: &Test) -> Sought {
    let whole = value_prefix(id);
    let term = |value: &str| format!("{whole}{value}");
    match test {
        Test::Form(value) => Sought::exactly(Condition::term(term(value.as_str()))),
        Test::AnyOf(values) => {
            Sought::exactly(Condition::Any(values.iter().map(|value| term(value.as_str())).collect()))
        }
        Test::Between(from, to) => Sought::exactly(Condition::Span {
            from: from.as_ref().map(|from| from.as_str().to_owned()).unwrap_or_default(),
            to: to.as_ref().map(|to| to.as_str().to_owned()),
            prefix: whole,
            keep: Keep::All,
        }),
        // Of moments only the days stand in terms.
        Test::Moments { from, to, .. } => Sought::at_most(vec![Condition::Span {
            from: from.as_ref().map(|from| day(from.as_str())).unwrap_or_default(),
            to: to.as_ref().map(|to| day(to.as_str())),
            prefix: whole,
            keep: Keep::All,
        }]),
        Test::Like(glob) if compared == Compared::Name => Sought::at_most(words_like(id, glob)),
        Test::Like(glob) => Sought::exactly(like(whole, glob)),
        Test::NameIs(name) => {
            let group =
                (!name.as_str().contains('=')).then(|| format!("{}{}", group_prefix(id), name.as_str()));
            Sought::exactly(Condition::Any([term(name.as_str())].into_iter().chain(group).collect()))
        }
        Test::Words(words) | Test::AnyWords(words) => {
            let prefix = word_prefix(id);
            match words.as_slice() {
                // No words stand nowhere.
                [] => Sought::exactly(Condition::Any(Vec::new())),
                [word] => Sought::exactly(Condition::begins(&prefix, word)),
                words => Sought::at_most(words.iter().map(|word| Condition::begins(&prefix, word)).collect()),
            }
        }
        Test::Either(_) | Test::Classes(_) => Sought::at_most(Vec::new()),
    }
}

/// The date of a moment's form.
fn day(moment: &str) -> String {
    moment.get(..8).unwrap_or(moment).to_owned()
}

/// Whole values that match.
fn like(prefix: String, glob: &Glob) -> Condition {
    let begins = glob.prefix();
    let Condition::Span { from, to, .. } = Condition::begins("", &begins) else {
        return Condition::Any(Vec::new());
    };
    Condition::Span { prefix, from, to, keep: Keep::Like(glob.clone()) }
}

/// Words that a name must hold for a pattern to match it or one of its groups.
///
/// The texts between the wildcards are cut into words. One that a separator or an end of the pattern closes
/// is closed in the name, too; a wildcard may stand for letters of the same word, or for a separator.
fn words_like(id: AttributeId, glob: &Glob) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let pieces = glob.pieces();
    for (at, piece) in pieces.iter().enumerate() {
        let (mut word, mut begins) = (String::new(), at == 0);
        let mut close = |word: &mut String, begins: bool, ends: bool| {
            let piece = std::mem::take(word);
            if !piece.is_empty() {
                conditions.push(word_like(id, piece, begins, ends));
            }
        };
        for character in piece.characters() {
            match character {
                Some(letter) if !is_separator(*letter) => word.push(*letter),
                wild_or_separator => {
                    let closed = wild_or_separator.is_some();
                    close(&mut word, begins, closed);
                    begins = closed;
                }
            }
        }
        close(&mut word, begins, at + 1 == pieces.len());
    }
    conditions
}

fn word_like(id: AttributeId, piece: String, begins: bool, ends: bool) -> Condition {
    let prefix = word_prefix(id);
    match (begins, ends) {
        (true, true) => Condition::term(format!("{prefix}{piece}")),
        (true, false) => Condition::begins(&prefix, &piece),
        (false, ends) => {
            let keep = Keep::Word { piece, ends };
            Condition::Span { prefix, from: String::new(), to: None, keep }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projections::search::value::form;

    const NAME: AttributeId = AttributeId(5);
    const TEXT: AttributeId = AttributeId(6);

    fn of(id: AttributeId, compared: Compared, test: Test) -> Sought {
        let filter = Filter { on: On::Value(id), level: Level::Study, compared, test };
        sought(&filter, std::slice::from_ref(&filter), &Partition::parse("p").unwrap())
    }

    fn name_like(pattern: &str) -> Vec<String> {
        let sought = of(NAME, Compared::Name, Test::Like(Glob::parse(Compared::Name, pattern).unwrap()));
        assert!(!sought.exact, "{pattern}");
        let text = |condition: &Condition| match condition {
            Condition::Any(terms) => terms.join(" "),
            Condition::Span { from, keep: Keep::All, .. } => format!("{from}*"),
            Condition::Span { keep: Keep::Word { piece, ends: true }, .. } => format!("*{piece}"),
            Condition::Span { keep: Keep::Word { piece, ends: false }, .. } => format!("*{piece}*"),
            Condition::Span { keep: Keep::Like(_), .. } => "?".to_owned(),
        };
        sought.conditions.iter().map(text).collect()
    }

    #[test]
    fn patterns_of_names_say_which_words_a_name_holds() {
        for (pattern, expected) in [
            ("smi*", &["smi*"][..]),
            ("*smith*", &["*smith*"]),
            ("*smith", &["*smith"]),
            ("Smith^J*", &["w0005smith", "j*"]),
            ("Smith*J", &["smith*", "*j"]),
            ("S?ith", &["s*", "*ith"]),
            ("Smith?John", &["smith*", "*john"]),
            ("*smith^john*", &["*smith", "john*"]),
            ("*a b c*", &["*a", "w0005b", "c*"]),
            ("山田^*=*", &["w0005山田"]),
            ("^*", &[]),
            ("?*", &[]),
        ] {
            assert_eq!(name_like(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn exact_is_said_only_of_what_the_index_knows_whole() {
        let text = |value: &str| form(Compared::Text, value).unwrap();
        let name = |value: &str| form(Compared::Name, value).unwrap();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let glob = |pattern: &str| Test::Like(Glob::parse(Compared::Text, pattern).unwrap());
        for (id, compared, test, exact) in [
            (TEXT, Compared::Text, Test::Form(text("a")), true),
            (TEXT, Compared::Text, glob("*a?"), true),
            (NAME, Compared::Name, Test::NameIs(name("a")), true),
            (NAME, Compared::Name, Test::NameIs(name("a=b")), true),
            (NAME, Compared::Name, Test::Words(words(&["a"])), true),
            (NAME, Compared::Name, Test::Words(words(&[])), true),
            (NAME, Compared::Name, Test::Words(words(&["a", "b"])), false),
            (NAME, Compared::Name, Test::AnyWords(words(&["a", "b"])), false),
        ] {
            assert_eq!(of(id, compared, test.clone()).exact, exact, "{test:?}");
        }
        let one = Filter {
            on: On::Item { sequence: 1, id: TEXT },
            level: Level::Series,
            compared: Compared::Text,
            test: Test::Form(text("a")),
        };
        let partition = Partition::parse("p").unwrap();
        assert!(sought(&one, &[one.clone()], &partition).exact);
        assert!(!sought(&one, &[one.clone(), one.clone()], &partition).exact);
    }
}
