//! All that the index can answer, as sorted text.
//!
//! Elsewhere: the rest of the view's state (`dump`).

use std::collections::BTreeMap;

use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED};

use super::{Error, ID, Searcher, WEIGHT, guarded, schema};
use crate::projections::search::rows::Id;

/// Every term with the records that carry it, and their weights, sorted: all that the index can answer.
///
/// # Errors
/// The index is damaged.
pub(in super::super) fn dump(searcher: &Searcher) -> Result<Vec<String>, Error> {
    let term_field = schema().1.term;
    let mut terms: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    guarded(|| {
        for segment in searcher.documents.segment_readers() {
            let ids = segment.fast_fields().u64(ID)?;
            let weights = segment.fast_fields().u64(WEIGHT)?;
            for document in segment.doc_ids_alive() {
                let weight = (ids.first(document), weights.first(document));
                if let (Some(id), Some(instances)) = weight {
                    terms.entry(format!("weight {instances}")).or_default().push(id);
                }
            }
            let inverted = segment.inverted_index(term_field)?;
            let mut stream = inverted.terms().stream()?;
            while stream.advance() {
                let text = String::from_utf8_lossy(stream.key()).escape_debug().to_string();
                let mut postings =
                    inverted.read_postings_from_terminfo(stream.value(), IndexRecordOption::Basic)?;
                while postings.doc() != TERMINATED {
                    if !segment.is_deleted(postings.doc()) {
                        terms.entry(text.clone()).or_default().extend(ids.first(postings.doc()));
                    }
                    postings.advance();
                }
            }
        }
        Ok::<_, Error>(())
    })?;
    let line = |(term, mut ids): (String, Vec<Id>)| {
        ids.sort_unstable();
        format!("index {term} {ids:?}")
    };
    Ok(terms.into_iter().map(line).collect())
}
