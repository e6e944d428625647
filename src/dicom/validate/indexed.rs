//! The indexed attributes of v1 (contract `studies.md` §2.5.3): whatever fails the minimum rules refuses the
//! instance.
//!
//! Invariant: an attribute that is not there, or in an item only, is fine.
//! Elsewhere: the rules (`minimum`), the attributes of search answers (`projections::search`).

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::minimum;
use super::walk::Element;
use super::{Fault, Rules};

/// The core attributes, each with the VR it must have.
const CORE: [(Tag, VR); 14] = [
    (tags::STUDY_DATE, VR::DA),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::MODALITY, VR::CS),
    (tags::MODALITIES_IN_STUDY, VR::CS),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::STUDY_DESCRIPTION, VR::LO),
    (tags::MANUFACTURER_MODEL_NAME, VR::LO),
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::STUDY_INSTANCE_UID, VR::UI),
    (tags::SERIES_INSTANCE_UID, VR::UI),
    (tags::SOP_INSTANCE_UID, VR::UI),
    (tags::PERFORMED_PROCEDURE_STEP_START_DATE, VR::DA),
];

/// The VR that an attribute must have to be indexed; `None`: it is not indexed. The one place that says so.
pub(super) fn indexed_vr(tag: Tag) -> Option<VR> {
    CORE.iter().find(|(core, _)| *core == tag).map(|(_, vr)| *vr)
}

/// What is wrong with an element of the dataset, if it is indexed.
pub(super) fn fault(element: &Element<'_>) -> Option<Fault> {
    let vr = indexed_vr(element.tag)?;
    if element.vr != vr {
        return Some(Fault::Representation(vr));
    }
    minimum::first_value(element, Rules::V1).err().map(Fault::Value)
}
