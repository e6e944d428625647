//! The terms of documents, and the query that filters are as terms.
//!
//! Invariant: a document that satisfies the filters is found; a filter that has no terms says nothing.
//! Elsewhere: what a document's terms are made of (`documents`).

use std::ops::Bound;

use tantivy::query::{BooleanQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{Searcher, Term};

use super::{Error, guarded, schema};
use crate::base::Partition;
use crate::projections::search::attributes::{Attributes, Level, Path};
use crate::projections::search::folding::LAST_CHARACTER;
use crate::projections::search::matching::{Filter, On, Test};

pub(super) const MODALITIES_KEY: &str = "00080061";
pub(super) const SERIES_UID_KEY: &str = "0020000E";
pub(super) const CLASS_KEY: &str = "00080016";
/// Stands for the numbers of a series that holds too many to name.
pub(super) const ANY_CLASS: &str = "*";

pub(super) fn set_term(level: Level, partition: &Partition) -> String {
    match level {
        Level::Study => format!("S{partition}"),
        Level::Series | Level::Instance => format!("E{partition}"),
    }
}

pub(super) fn study_term(partition: &Partition, study: &str) -> String {
    format!("K{partition}\0{study}")
}

pub(super) fn exact_term(key: &str, form: &str) -> String {
    format!("x{key}{form}")
}

pub(super) fn word_term(key: &str, word: &str) -> String {
    format!("w{key}{word}")
}

/// The tag in the terms of an attribute that has terms of its own.
pub(super) fn key_of(attributes: &Attributes, on: On) -> Option<String> {
    match on {
        On::Modalities => Some(MODALITIES_KEY.to_owned()),
        On::Uid(Level::Series) => Some(SERIES_UID_KEY.to_owned()),
        On::SopClass => Some(CLASS_KEY.to_owned()),
        On::Value(id) => match attributes.get(id)?.path {
            Path::One(tag) => Some(format!("{tag:08X}")),
            Path::In { .. } => None,
        },
        On::Uid(Level::Study | Level::Instance) | On::Item { .. } => None,
    }
}

/// What every document satisfies that is of this level and partition and may satisfy the filters.
pub(super) fn query_of(
    attributes: &Attributes,
    level: Level,
    partition: &Partition,
    filters: &[Filter],
) -> BooleanQuery {
    let field = schema().1.term;
    let term = |text: &str| Term::from_field_text(field, text);
    let must = |query: Box<dyn Query>| (Occur::Must, query);
    let equal = |text: &str| must(Box::new(TermQuery::new(term(text), IndexRecordOption::Basic)));
    let between = |from: &str, to: &str| {
        let (from, to) = (Bound::Included(term(from)), Bound::Included(term(to)));
        must(Box::new(InvertedIndexRangeQuery::new(from, to)))
    };
    let one_of = |texts: Vec<String>| {
        let any = texts.into_iter().map(|text| {
            let term = TermQuery::new(term(&text), IndexRecordOption::Basic);
            (Occur::Should, Box::new(term) as Box<dyn Query>)
        });
        must(Box::new(BooleanQuery::new(any.collect())))
    };
    let mut clauses = vec![equal(&set_term(level, partition))];
    for Filter { on, test, level: of, .. } in filters {
        let Some(key) = key_of(attributes, *on) else {
            if let (On::Uid(Level::Study), Test::Form(uid)) = (on, test) {
                clauses.push(equal(&study_term(partition, uid.as_str())));
            }
            continue;
        };
        // Instances have no documents; of theirs only the SOP classes are known.
        if *of == Level::Instance && *on != On::SopClass {
            continue;
        }
        match test {
            Test::Form(form) => clauses.push(equal(&exact_term(&key, form.as_str()))),
            Test::AnyOf(forms) => {
                clauses.push(one_of(forms.iter().map(|form| exact_term(&key, form.as_str())).collect()));
            }
            Test::Between(from, to) => {
                let from = exact_term(&key, from.as_ref().map_or("", |form| form.as_str()));
                let to = to.as_ref().map_or(LAST_CHARACTER.to_string(), |form| form.as_str().to_owned());
                clauses.push(between(&from, &exact_term(&key, &to)));
            }
            Test::Classes(names) => {
                let names = names.iter().map(ToString::to_string).chain([ANY_CLASS.to_owned()]);
                clauses.push(one_of(names.map(|name| exact_term(&key, &name)).collect()));
            }
            Test::Words(wanted) | Test::AnyWords(wanted) if wanted.is_empty() => {
                clauses.push(must(Box::new(EmptyQuery)));
            }
            Test::Words(wanted) | Test::AnyWords(wanted) => clauses.extend(wanted.iter().map(|word| {
                let from = word_term(&key, word);
                between(&from, &format!("{from}{LAST_CHARACTER}"))
            })),
            Test::Either(_) | Test::Like(_) | Test::NameIs(_) | Test::Moments { .. } => {}
        }
    }
    BooleanQuery::new(clauses)
}

/// How many documents carry the rarest value that is asked for as a whole; `None` when none is. Deleted
/// documents and other partitions count, too.
///
/// # Errors
/// The index is damaged.
pub(in super::super) fn rarest_frequency(
    attributes: &Attributes,
    searcher: &Searcher,
    partition: &Partition,
    filters: &[Filter],
) -> Result<Option<u64>, Error> {
    let field = schema().1.term;
    let terms = filters.iter().filter_map(|Filter { on, test, .. }| {
        let value = match test {
            Test::Form(form) => form.as_str(),
            // Those that may hold any are few, and judged like all others.
            Test::Classes(names) => &names.first()?.to_string(),
            _ => return None,
        };
        match on {
            On::Uid(Level::Study) => Some(study_term(partition, value)),
            _ => key_of(attributes, *on).map(|key| exact_term(&key, value)),
        }
    });
    guarded(|| {
        let frequencies = terms.map(|term| searcher.doc_freq(&Term::from_field_text(field, &term)));
        Ok(frequencies.collect::<Result<Vec<_>, _>>()?.into_iter().min())
    })
}
