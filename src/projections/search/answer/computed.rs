//! What an answer shows that no file says: counts, modalities, transfer syntaxes, URLs.
//!
//! Elsewhere: where each of them is shown (`sets`).

use std::collections::BTreeMap;

use super::sets::{INSTANCE_AVAILABILITY, RETRIEVE_URL, STUDY_SERIES};
use super::{Fields, element};
use crate::dicom::pixels::Description;
use crate::dicom::pixels::feasible::{Encoding, Family, decoded, encoded};
use crate::dicom::uid::Uid;
use crate::projections::search::attributes::{
    AVAILABLE_SYNTAXES, MODALITIES_IN_STUDY, SERIES_INSTANCES, SOP_CLASSES_IN_STUDY, STUDY_INSTANCES, Tag,
};
use crate::projections::search::find::Hit;

/// Lays what is computed over what is stored.
pub(super) fn add(elements: &mut BTreeMap<Tag, String>, hit: &Hit, fields: &Fields, metadata: Option<&[u8]>) {
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
                    elements.insert(*tag, element("UI", &syntaxes(syntax.as_str(), metadata)));
                }
            }
            (RETRIEVE_URL, _) => drop(elements.insert(*tag, element("UR", &[url(hit, &fields.base)]))),
            (INSTANCE_AVAILABILITY, _) => {
                elements.entry(*tag).or_insert_with(|| element("CS", &["ONLINE"]));
            }
            (SOP_CLASSES_IN_STUDY, _) => {
                // What a file says of them is what its sender knew.
                elements.remove(tag);
                let classes = hit.classes.as_deref().unwrap_or_default();
                if !classes.is_empty() {
                    let classes: Vec<&str> = classes.iter().map(Uid::as_str).collect();
                    elements.insert(*tag, element("UI", &classes));
                }
            }
            (STUDY_SERIES, _) => drop(elements.insert(*tag, element("IS", &[hit.study.series]))),
            _ => {}
        }
    }
}

/// Where the item can be retrieved.
fn url(hit: &Hit, base: &str) -> String {
    let mut url = format!("{base}/studies/{}", hit.study.uid);
    if let Some(series) = &hit.series {
        url.push_str(&format!("/series/{}", series.uid));
    }
    if let Some(instance) = &hit.instance {
        url.push_str(&format!("/instances/{instance}"));
    }
    url
}

/// The transfer syntax that an instance is stored in, and the lossless ones that it can be had in
/// (`studies.md` §3.4).
fn syntaxes<'a>(stored: &'a str, metadata: Option<&[u8]>) -> Vec<&'a str> {
    let shape = metadata.and_then(|metadata| Description::of_metadata(metadata).ok());
    let shape = shape.and_then(|shape| decoded(stored, &shape).ok());
    let can_be_had = |encoding: &Encoding| match &shape {
        Some(shape) => encoded(shape, *encoding).is_ok(),
        // Without pixels, or with such as stay as they are.
        None => *encoding == Encoding::ExplicitLittle && Family::of(stored) == Some(Family::Native),
    };
    let mut syntaxes = vec![stored];
    for encoding in Encoding::ALL.into_iter().filter(can_be_had) {
        if encoding.uid() != stored {
            syntaxes.push(encoding.uid());
        }
    }
    syntaxes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_can_be_had_in_what_its_pixels_allow() {
        const EXPLICIT: &str = "1.2.840.10008.1.2.1";
        let image = |bits: u8| {
            format!(
                r#"{{"00280002":{{"vr":"US","Value":[1]}},"00280004":{{"vr":"CS","Value":["MONOCHROME2"]}},
                "00280010":{{"vr":"US","Value":[4]}},"00280011":{{"vr":"US","Value":[4]}},
                "00280100":{{"vr":"US","Value":[{bits}]}}}}"#
            )
        };
        let all = ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"];
        let of = |stored: &str, metadata: &str| -> Vec<String> {
            syntaxes(stored, Some(metadata.as_bytes())).into_iter().map(str::to_owned).collect()
        };
        assert_eq!(of(EXPLICIT, &image(16)), [&[EXPLICIT][..], &all].concat());
        assert_eq!(of("1.2.840.10008.1.2", &image(8)), [&["1.2.840.10008.1.2", EXPLICIT][..], &all].concat());
        assert_eq!(of(all[2], &image(16)), [all[2], EXPLICIT, all[0], all[1]]);
        assert_eq!(of(EXPLICIT, &image(1)), [EXPLICIT]);
        // A report, and a film.
        assert_eq!(of("1.2.840.10008.1.2", "{}"), ["1.2.840.10008.1.2", EXPLICIT]);
        assert_eq!(of("1.2.840.10008.1.2.4.102", &image(8)), ["1.2.840.10008.1.2.4.102"]);
    }
}
