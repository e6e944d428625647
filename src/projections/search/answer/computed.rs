//! What an answer shows that no file says: counts, modalities, transfer syntaxes.
//!
//! Elsewhere: where each of them is shown (`sets`).

use std::collections::BTreeMap;

use super::{Fields, element};
use crate::projections::search::attributes::{
    AVAILABLE_SYNTAXES, MODALITIES_IN_STUDY, SERIES_INSTANCES, STUDY_INSTANCES, Tag,
};
use crate::projections::search::find::Hit;

/// Lays what is computed over what is stored.
pub(super) fn add(elements: &mut BTreeMap<Tag, String>, hit: &Hit, fields: &Fields) {
    for tag in &fields.computed {
        match (*tag, &hit.series) {
            (MODALITIES_IN_STUDY, _) => {
                let modalities: Vec<&str> = hit.study.modalities.keys().map(String::as_str).collect();
                if !modalities.is_empty() {
                    elements.insert(*tag, element("CS", &modalities));
                }
            }
            (STUDY_INSTANCES, _) => drop(elements.insert(*tag, element("IS", &[hit.study.instances]))),
            (SERIES_INSTANCES, Some(series)) => {
                drop(elements.insert(*tag, element("IS", &[series.instances])))
            }
            (AVAILABLE_SYNTAXES, _) => {
                // What the file itself says of it came about elsewhere.
                elements.remove(tag);
                if let Some(syntax) = &hit.syntax {
                    elements.insert(*tag, element("UI", &[syntax.as_str()]));
                }
            }
            _ => {}
        }
    }
}
