//! The documents of a study: one for itself and one for each of its series, each with its terms.
//!
//! ```text
//! S partition            a study          E partition            a series
//! K partition \0 study   of this study    R uid                  this series
//! M modality             the study has series of it
//! C number               the series holds this SOP class   C *   it may hold any
//! x attribute form       a value, or that of an item       g attribute group   of a name with several
//! o attribute form       the value of the first item       w attribute word    of a name
//! ```
//! An attribute stands as its number in four hex digits. A series' document carries the terms of its study,
//! too, but for `S`. The numbers of added attributes are never given again, so terms of one that is gone are
//! asked for by nobody, and go when segments are merged.
//! Invariant: documents are a function of the records and the attributes.
//! Elsewhere: filters as conditions on terms (`conditions`).

use tantivy::TantivyDocument;
use tantivy::schema::Field;

use crate::base::Partition;
use crate::projections::search::attributes::{AttributeId, Attributes, Compared, Level, Path, Values};
use crate::projections::search::folding::{fold_text, words};
use crate::projections::search::names::Classes;
use crate::projections::search::rows::{Id, StudyRecords};
use crate::projections::search::value::form;

/// Stands for the numbers of a series that holds too many to name.
pub(super) const ANY_CLASS: &str = "*";

/// The fields of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) term: Field,
    pub(super) id: Field,
    /// The instances of the record.
    pub(super) weight: Field,
}

pub(super) fn set_term(level: Level, partition: &Partition) -> String {
    match level {
        Level::Study => format!("S{partition}"),
        Level::Series | Level::Instance => format!("E{partition}"),
    }
}

pub(super) fn study_term(partition: &Partition, study: &str) -> String {
    format!("K{partition}\0{}", study.to_ascii_lowercase())
}

pub(super) fn series_term(series: &str) -> String {
    format!("R{}", series.to_ascii_lowercase())
}

pub(super) fn modality_term(folded: &str) -> String {
    format!("M{folded}")
}

pub(super) fn class_term(number: &str) -> String {
    format!("C{number}")
}

pub(super) fn value_prefix(id: AttributeId) -> String {
    format!("x{:04x}", id.0)
}

pub(super) fn first_prefix(id: AttributeId) -> String {
    format!("o{:04x}", id.0)
}

pub(super) fn group_prefix(id: AttributeId) -> String {
    format!("g{:04x}", id.0)
}

pub(super) fn word_prefix(id: AttributeId) -> String {
    format!("w{:04x}", id.0)
}

/// The documents of a study.
pub(super) fn documents(
    fields: Fields,
    attributes: &Attributes,
    partition: &Partition,
    records: &StudyRecords,
) -> Vec<TantivyDocument> {
    let StudyRecords { id, study, series } = records;
    let mut shared = vec![study_term(partition, study.uid.as_str())];
    add_values(&mut shared, attributes, &study.values);
    shared.extend(study.modalities.keys().map(|modality| modality_term(&fold_text(modality))));
    let set = set_term(Level::Study, partition);
    let mut documents = vec![document(fields, *id, study.instances, &[&[set], &shared])];
    for (id, row) in series {
        let mut own = vec![set_term(Level::Series, partition), series_term(row.uid.as_str())];
        add_values(&mut own, attributes, &row.values);
        own.extend(class_terms(&row.classes));
        documents.push(document(fields, *id, row.instances, &[&shared, &own]));
    }
    documents
}

fn class_terms(classes: &Classes) -> Vec<String> {
    match classes {
        Classes::These(names) => names.keys().map(|name| class_term(&name.to_string())).collect(),
        Classes::Any => vec![class_term(ANY_CLASS)],
    }
}

fn add_values(terms: &mut Vec<String>, attributes: &Attributes, values: &Values) {
    for (id, items) in values.iter() {
        let Some(attribute) = attributes.get(id) else { continue };
        let compared = attribute.compared();
        let before = terms.len();
        for value in items.iter().flatten() {
            let Some(form) = form(compared, value) else { continue };
            let form = form.as_str();
            if matches!(attribute.path, Path::In { .. }) && terms.len() == before {
                terms.push(format!("{}{form}", first_prefix(id)));
            }
            terms.push(format!("{}{form}", value_prefix(id)));
            if compared == Compared::Name {
                if form.contains('=') {
                    let groups = form.split('=').filter(|group| !group.is_empty());
                    terms.extend(groups.map(|group| format!("{}{group}", group_prefix(id))));
                }
                terms.extend(words(value).iter().map(|word| format!("{}{word}", word_prefix(id))));
            }
        }
    }
}

fn document(fields: Fields, id: Id, instances: u64, terms: &[&[String]]) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_u64(fields.id, id);
    document.add_u64(fields.weight, instances);
    for term in terms.iter().copied().flatten() {
        document.add_text(fields.term, term);
    }
    document
}
