//! The required attributes and their order (contract `studies.md` §2.5.1): who an instance says it is.
//!
//! SOPClassUID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, the study of the request, PatientID. Each
//! must occur once, with one value, in the VR of the dictionary; the first problem is the one reported.
//! Invariant: only the dataset itself is looked at, never an item.
//! Elsewhere: the rules of their values (`minimum`).

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::super::text::decode_default;
use super::super::uid::Uid;
use super::minimum;
use super::walk::Element;
use super::{Fault, Finding, Identity, Rules};

/// Most characters of an unacceptable UID that an answer repeats; no UID has as many.
const REPEATED_CHARACTERS: usize = 128;

const SOP_CLASS: usize = 0;
const STUDY: usize = 1;
const SERIES: usize = 2;
const INSTANCE: usize = 3;
const PATIENT: usize = 4;

/// The attributes, in the order in which they are examined.
const REQUIRED: [(Tag, VR); 5] = [
    (tags::SOP_CLASS_UID, VR::UI),
    (tags::STUDY_INSTANCE_UID, VR::UI),
    (tags::SERIES_INSTANCE_UID, VR::UI),
    (tags::SOP_INSTANCE_UID, VR::UI),
    (tags::PATIENT_ID, VR::LO),
];

/// Whether an attribute is required.
pub(super) fn is_required(tag: Tag) -> bool {
    REQUIRED.iter().any(|(required, _)| *required == tag)
}

/// Whether metadata always shows an attribute, even one with findings: what the instance is filed under.
pub(super) fn is_kept(tag: Tag) -> bool {
    matches!(tag, tags::STUDY_INSTANCE_UID | tags::SERIES_INSTANCE_UID | tags::SOP_INSTANCE_UID)
}

/// The required attributes as they stand in a dataset.
#[derive(Default)]
pub(super) struct Required<'a>([Occurrences<'a>; REQUIRED.len()]);

/// How often one of them occurs, and the last occurrence.
#[derive(Clone, Copy, Default)]
struct Occurrences<'a> {
    count: usize,
    last: Option<Element<'a>>,
}

impl<'a> Required<'a> {
    /// Takes note of an element of the dataset.
    pub(super) fn put(&mut self, element: &Element<'a>) {
        if let Some(at) = REQUIRED.iter().position(|(tag, _)| *tag == element.tag) {
            let count = self.0[at].count + 1;
            self.0[at] = Occurrences { count, last: Some(*element) };
        }
    }

    /// Who the instance says it is. What is found beside does not stop the store: v2 takes an instance whose
    /// PatientID has no value, or several, which counts as none.
    pub(super) fn identity(
        &self,
        of_request: Option<&Uid>,
        rules: Rules,
    ) -> Result<(Identity, Option<Finding>), Finding> {
        let (sop_class, _) = self.uid(SOP_CLASS, rules)?;
        let (study, study_received) = self.uid(STUDY, rules)?;
        let (series, series_received) = self.uid(SERIES, rules)?;
        let (instance, instance_received) = self.uid(INSTANCE, rules)?;
        if of_request.is_some_and(|wanted| *wanted != study) {
            return Err(Finding { tag: tags::STUDY_INSTANCE_UID, fault: Fault::OtherStudy });
        }
        let missing = self.patient_id(rules)?;
        let received = [study_received, series_received, instance_received];
        let identity = Identity { sop_class: sop_class.to_string(), study, series, instance, received };
        Ok((identity, missing))
    }

    /// (0008,0016) as far as readable.
    pub(super) fn readable_sop_class(&self) -> Option<String> {
        self.readable(SOP_CLASS)
    }

    /// (0008,0018) as far as readable.
    pub(super) fn readable_instance(&self) -> Option<String> {
        self.readable(INSTANCE)
    }

    /// Where PatientID stands in the header.
    pub(super) fn patient_id_place(&self) -> Option<usize> {
        self.0[PATIENT].last.map(|element| element.place)
    }

    /// The one occurrence of an attribute, in the VR that the dictionary has for it.
    fn once(&self, at: usize) -> Result<&Element<'a>, Finding> {
        let (tag, vr) = REQUIRED[at];
        let fault = match &self.0[at] {
            Occurrences { last: None, .. } => Fault::Missing,
            Occurrences { count: 1, last: Some(element) } if element.vr == vr => return Ok(element),
            Occurrences { count: 1, .. } => Fault::Representation(vr),
            Occurrences { .. } => Fault::Repeated,
        };
        Err(Finding { tag, fault })
    }

    /// The UID, and the text it was received as.
    fn uid(&self, at: usize, rules: Rules) -> Result<(Uid, String), Finding> {
        let element = self.once(at)?;
        let text = element.text();
        let received = text.trim_end_matches('\0');
        let of = |fault| Finding { tag: element.tag, fault };
        if received.trim_end_matches([' ', '\t']).is_empty() || received.contains('\\') {
            return Err(of(Fault::Missing));
        }
        minimum::first_value(element, rules).map_err(|reason| of(Fault::Value(reason)))?;
        let uid = Uid::parse(received).map_err(|_| of(Fault::Value("The value is no UID.")))?;
        Ok((uid, received.to_owned()))
    }

    /// Checks PatientID; what is given back does not stop the store.
    fn patient_id(&self, rules: Rules) -> Result<Option<Finding>, Finding> {
        let element = self.once(PATIENT)?;
        let text = element.text();
        let checked = minimum::unpadded(element.vr, &text, rules);
        if checked.trim_matches([' ', '\t']).is_empty() || checked.contains('\\') {
            let missing = Finding { tag: element.tag, fault: Fault::Missing };
            return match rules {
                Rules::V1 => Err(missing),
                Rules::V2 => Ok(Some(missing)),
            };
        }
        let checked = minimum::first_value(element, rules);
        checked.map_err(|reason| Finding { tag: element.tag, fault: Fault::Value(reason) })?;
        Ok(None)
    }

    /// The first value of a UID, if it can be read as text at all.
    fn readable(&self, at: usize) -> Option<String> {
        let text = decode_default(self.0[at].last?.value);
        let first = text.split('\\').next()?.trim_end_matches('\0');
        (!first.is_empty()).then(|| first.chars().take(REPEATED_CHARACTERS).collect())
    }
}
