//! Who an instance says it is, and whether that may be stored: the required attributes (contract `studies.md`
//! §2.5.1), by the minimum rules of their value representations (§2.5.2).
//!
//! Order of the examination: SOPClassUID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, the study of the
//! request, PatientID. Each must occur once, with one value, in the VR of the dictionary; the first problem is
//! the one reported. v1 takes a NUL for the character it is, except the one that pads a UID; v2 drops NULs at
//! the end before it looks.
//!
//! Invariant: reasons name attributes, never values: they go into answers and logs.
//! Elsewhere: duplicates (`archive`), failure codes and statuses (`http`), elements bare of meaning (`header`).

use std::borrow::Cow;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::header::{Piece, Reader};
use super::text::{CharacterSet, decode_default};
use super::uid::Uid;

/// Most characters of an unacceptable UID that an answer repeats; no UID has as many.
const REPEATED_CHARACTERS: usize = 128;

/// Which rules a store follows: the major version of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    V1,
    V2,
}

/// Who an instance says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// (0008,0016) without padding.
    pub sop_class: String,
    pub study: Uid,
    pub series: Uid,
    pub instance: Uid,
    /// Study, series and instance as received: trailing blanks kept, NUL padding dropped, as in the metadata.
    pub received: [String; 3],
    /// Findings that do not stop the store; the elements they name are left out of the metadata (§2.5.4).
    pub warnings: Vec<Finding>,
}

/// One failed attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub tag: Tag,
    /// A sentence.
    pub reason: String,
}

impl Finding {
    /// `DICOM100: (gggg,eeee) - <reason>` (§2.6).
    #[must_use]
    pub fn comment(&self) -> String {
        format!("DICOM100: {} - {}", printed(self.tag), self.reason)
    }

    fn missing(tag: Tag) -> Self {
        Self { tag, reason: format!("The required tag '{}' is missing.", printed(tag)) }
    }
}

/// Not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// (0008,0016) as far as readable, even if it is no UID; at most 128 characters.
    pub sop_class: Option<String>,
    /// (0008,0018), likewise.
    pub instance: Option<String>,
    /// What is wrong; never empty.
    pub findings: Vec<Finding>,
}

/// Reads and checks the required attributes of `header` ([`super::scan::Scanned::header`]). `study` is the study
/// of the request's URL, if it names one. A header that cannot be read to its end counts as far as it can.
///
/// # Errors
/// [`Invalid`] with the first problem of the chain (§2.5.1).
pub fn required(header: &[u8], study: Option<&Uid>, rules: Rules) -> Result<Identity, Invalid> {
    let attributes = Attributes::read(header);
    attributes.identity(study, rules).map_err(|finding| Invalid {
        sop_class: attributes.sop_class.readable(),
        instance: attributes.instance.readable(),
        findings: vec![finding],
    })
}

/// `(gggg,eeee)` in lower-case hex.
fn printed(tag: Tag) -> String {
    format!("({:04x},{:04x})", tag.group(), tag.element())
}

/// The required attributes as they stand in the top level of a dataset.
struct Attributes<'a> {
    character_set: CharacterSet,
    sop_class: Attribute<'a>,
    study: Attribute<'a>,
    series: Attribute<'a>,
    instance: Attribute<'a>,
    patient_id: Attribute<'a>,
}

/// One of them: how often it occurs, and the last occurrence.
struct Attribute<'a> {
    tag: Tag,
    occurrences: usize,
    vr: Option<VR>,
    value: &'a [u8],
}

impl<'a> Attributes<'a> {
    fn read(header: &'a [u8]) -> Self {
        let absent = |tag| Attribute { tag, occurrences: 0, vr: None, value: &[] };
        let mut found = Self {
            character_set: CharacterSet::default(),
            sop_class: absent(tags::SOP_CLASS_UID),
            study: absent(tags::STUDY_INSTANCE_UID),
            series: absent(tags::SERIES_INSTANCE_UID),
            instance: absent(tags::SOP_INSTANCE_UID),
            patient_id: absent(tags::PATIENT_ID),
        };
        let mut reader = Reader::new(header);
        let mut depth = 0_usize;
        while let Ok(Some(piece)) = reader.next() {
            match piece {
                Piece::Value(tag, vr, value) if depth == 0 => found.put(tag, vr, value),
                Piece::Sequence(tag) => {
                    if depth == 0 {
                        found.put(tag, Some(VR::SQ), &[]);
                    }
                    depth += 1;
                }
                Piece::SequenceEnd => depth = depth.saturating_sub(1),
                Piece::Value(..) | Piece::Item | Piece::ItemEnd => {}
            }
        }
        found
    }

    fn put(&mut self, tag: Tag, vr: Option<VR>, value: &'a [u8]) {
        let attribute = match tag {
            tags::SPECIFIC_CHARACTER_SET => return self.character_set = CharacterSet::declared(value),
            tags::SOP_CLASS_UID => &mut self.sop_class,
            tags::STUDY_INSTANCE_UID => &mut self.study,
            tags::SERIES_INSTANCE_UID => &mut self.series,
            tags::SOP_INSTANCE_UID => &mut self.instance,
            tags::PATIENT_ID => &mut self.patient_id,
            _ => return,
        };
        *attribute = Attribute { tag, occurrences: attribute.occurrences + 1, vr, value };
    }

    fn identity(&self, of_request: Option<&Uid>, rules: Rules) -> Result<Identity, Finding> {
        let (sop_class, _) = self.sop_class.uid(rules)?;
        let (study, study_received) = self.study.uid(rules)?;
        let (series, series_received) = self.series.uid(rules)?;
        let (instance, instance_received) = self.instance.uid(rules)?;
        if of_request.is_some_and(|wanted| *wanted != study) {
            return Err(self.study.finding("The study is not the one of the request."));
        }
        let warnings = self.patient_id.patient_id(self.character_set, rules)?;
        Ok(Identity {
            sop_class: sop_class.to_string(),
            study,
            series,
            instance,
            received: [study_received, series_received, instance_received],
            warnings: warnings.into_iter().collect(),
        })
    }
}

impl Attribute<'_> {
    fn finding(&self, reason: &str) -> Finding {
        Finding { tag: self.tag, reason: reason.to_owned() }
    }

    /// That it occurs, once, in the VR that the dictionary has for it.
    fn once(&self, dictionary: VR) -> Result<(), Finding> {
        match (self.occurrences, self.vr) {
            (0, _) => Err(Finding::missing(self.tag)),
            (1, Some(vr)) if vr == dictionary => Ok(()),
            (1, _) => {
                Err(self.finding(&format!("The value representation is not {}.", dictionary.to_string())))
            }
            _ => Err(self.finding("The attribute occurs more than once.")),
        }
    }

    /// The UID, and the text it was received as.
    fn uid(&self, rules: Rules) -> Result<(Uid, String), Finding> {
        self.once(VR::UI)?;
        let text = decode_default(self.value);
        let unpadded = text.trim_end_matches('\0');
        if unpadded.trim_end_matches([' ', '\t']).is_empty() || unpadded.contains('\\') {
            return Err(Finding::missing(self.tag));
        }
        let checked = match rules {
            Rules::V1 => text.strip_suffix('\0').unwrap_or(&text),
            Rules::V2 => unpadded,
        };
        // `Uid` itself is lenient about NULs.
        match (Uid::parse(checked), checked.contains('\0')) {
            (Ok(uid), false) => Ok((uid, unpadded.to_owned())),
            _ => Err(self
                .finding("The value is no UID: it must have at most 64 digits and dots and end in a digit.")),
        }
    }

    /// The first value, if it can be read as text at all.
    fn readable(&self) -> Option<String> {
        let text = decode_default(self.value);
        let first = text.split('\\').next()?.trim_end_matches('\0');
        (!first.is_empty()).then(|| first.chars().take(REPEATED_CHARACTERS).collect())
    }

    /// Checks PatientID. The finding given back does not stop the store: v2 takes an instance whose PatientID
    /// has no value, or several, which counts as none.
    fn patient_id(&self, set: CharacterSet, rules: Rules) -> Result<Option<Finding>, Finding> {
        self.once(VR::LO)?;
        let text: Cow<'_, str> = set.decode(self.value);
        let checked = match rules {
            Rules::V1 => text.trim_end_matches(' '),
            Rules::V2 => text.trim_end_matches('\0').trim_end_matches(' '),
        };
        if checked.trim_matches([' ', '\t']).is_empty() || checked.contains('\\') {
            let missing = Finding::missing(self.tag);
            return match rules {
                Rules::V1 => Err(missing),
                Rules::V2 => Ok(Some(missing)),
            };
        }
        if checked.chars().count() > 64 {
            return Err(self.finding("The value has more than 64 characters."));
        }
        if checked.chars().any(|c| c.is_control() && c != '\x1B') {
            return Err(self.finding("The value holds a control character."));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
