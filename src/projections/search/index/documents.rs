//! What a document says of a study or series.
//!
//! Elsewhere: the texts of terms (`terms`).

use tantivy::TantivyDocument;

use super::Fields;
use super::terms::{ANY_CLASS, CLASS_KEY, MODALITIES_KEY, SERIES_UID_KEY, exact_term, key_of, set_term};
use super::terms::{study_term, word_term};
use crate::base::Partition;
use crate::projections::search::attributes::{Attributes, Compared, Level, Values};
use crate::projections::search::folding::{fold_text, words};
use crate::projections::search::matching::On;
use crate::projections::search::names::Classes;
use crate::projections::search::rows::{Id, StudyRecords};
use crate::projections::search::value::form;

/// The documents of a study and its series.
pub(super) fn documents(
    fields: Fields,
    attributes: &Attributes,
    partition: &Partition,
    StudyRecords { id, study, series }: &StudyRecords,
) -> Vec<TantivyDocument> {
    let mut shared = vec![study_term(partition, study.uid.as_str())];
    add_terms(&mut shared, attributes, &study.values);
    let modalities = study.modalities.keys();
    shared.extend(modalities.map(|modality| exact_term(MODALITIES_KEY, &fold_text(modality))));
    let mut all = vec![document(fields, *id, &set_term(Level::Study, partition), &shared, &[])];
    for (id, row) in series {
        let mut own = vec![exact_term(SERIES_UID_KEY, row.uid.as_str())];
        add_terms(&mut own, attributes, &row.values);
        own.extend(class_terms(&row.classes));
        all.push(document(fields, *id, &set_term(Level::Series, partition), &shared, &own));
    }
    all
}

fn class_terms(classes: &Classes) -> Vec<String> {
    match classes {
        Classes::These(names) => names.keys().map(|name| exact_term(CLASS_KEY, &name.to_string())).collect(),
        Classes::Any => vec![exact_term(CLASS_KEY, ANY_CLASS)],
    }
}

fn add_terms(terms: &mut Vec<String>, attributes: &Attributes, values: &Values) {
    for (id, items) in values.iter() {
        let (Some(attribute), Some(key)) = (attributes.get(id), key_of(attributes, On::Value(id))) else {
            continue;
        };
        for value in items.iter().flatten() {
            terms.extend(form(attribute.compared(), value).map(|form| exact_term(&key, form.as_str())));
            if attribute.compared() == Compared::Name {
                terms.extend(words(value).iter().map(|word| word_term(&key, word)));
            }
        }
    }
}

fn document(fields: Fields, id: Id, set: &str, shared: &[String], own: &[String]) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_u64(fields.id, id);
    document.add_text(fields.term, set);
    for term in shared.iter().chain(own) {
        document.add_text(fields.term, term);
    }
    document
}
