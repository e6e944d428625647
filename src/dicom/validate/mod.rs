//! Whether an instance may be stored, and which of its attributes are wrong (contract `studies.md` §2.5).
//!
//! Both versions need the required attributes ([`required`], §2.5.1). v1 then checks the first values of the
//! indexed ones (§2.5.3): whatever fails refuses the instance. v2 checks every value of every element, nested ones
//! included (§2.5.5): an instance that has its required attributes is stored, and the elements with findings are
//! left out of its metadata, each exactly where it stands (§2.5.4).
//!
//! Text whose bytes are not all characters of its declared set is a finding of v2 too, but stays in the metadata,
//! where U+FFFD shows what could not be read (§1.8).
//!
//! Invariant: reasons name attributes, never values: they go into answers and logs.
//! Invariant: one pass over the header; what is kept of it is bounded by the elements that are wrong.
//! Elsewhere: duplicates (`archive`), failure codes and statuses (`http`), leaving out (`json`).

mod full;
mod indexed;
mod minimum;
mod multiplicity;
mod required;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::fmt;

use dicom_core::{Tag, VR};

use super::scan::BulkElement;
use super::uid::Uid;
pub use multiplicity::Multiplicity;
use required::Required;
use walk::{Element, Walk, dictionary_vr};

/// Most findings of one instance that are told; elements beyond them are left out of the metadata untold.
pub const LISTED_FINDINGS: usize = 1000;

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
}

/// An instance that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub identity: Identity,
    /// What is wrong with it nevertheless, one finding for each tag, at most [`LISTED_FINDINGS`]; never any in v1.
    pub findings: Vec<Finding>,
    /// Offsets in the header, ascending, of the elements that its metadata must not show.
    pub left_out: Vec<usize>,
    /// Whether an attribute that is looked up by its first value has several: in v1 an indexed one, in v2 a
    /// required one.
    pub several_values: bool,
}

/// Not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// (0008,0016) as far as readable, even if it is no UID; at most 128 characters.
    pub sop_class: Option<String>,
    /// (0008,0018), likewise.
    pub instance: Option<String>,
    /// What is wrong, the reason of the refusal first; one finding for each tag, at most [`LISTED_FINDINGS`].
    pub findings: Vec<Finding>,
    /// As in [`Accepted`].
    pub several_values: bool,
}

/// One attribute that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub tag: Tag,
    pub fault: Fault,
}

/// What is wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A required attribute is absent, or has no value or several.
    Missing,
    /// The study is not the one of the request's URL.
    OtherStudy,
    /// The attribute occurs more than once.
    Repeated,
    /// The VR is not this one.
    Representation(VR),
    /// A value breaks the rules of its VR; a sentence.
    Value(&'static str),
    /// There are too few or too many values.
    Multiplicity {
        /// What the standard allows.
        of: Multiplicity,
        /// What there is.
        count: usize,
    },
    /// Some bytes are no characters of the declared character set.
    Undecodable,
}

impl Finding {
    /// `DICOM100: (gggg,eeee) - <reason>` (§2.6).
    #[must_use]
    pub fn comment(&self) -> String {
        format!("DICOM100: {} - {self}", Printed(self.tag))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Missing => write!(f, "The required tag '{}' is missing.", Printed(self.tag)),
            Fault::OtherStudy => f.write_str("The study is not the one of the request."),
            Fault::Repeated => f.write_str("The attribute occurs more than once."),
            Fault::Representation(vr) => write!(f, "The value representation is not {}.", vr.to_string()),
            Fault::Value(reason) => f.write_str(reason),
            Fault::Multiplicity { of, count } => {
                write!(f, "The number of values is {count}; the value multiplicity is {of}.")
            }
            Fault::Undecodable => f.write_str("The value holds bytes that its character set does not have."),
        }
    }
}

/// `(gggg,eeee)` in lower-case hex.
struct Printed(Tag);

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04x},{:04x})", self.0.group(), self.0.element())
    }
}

/// Checks the instance of `header` and `bulk` ([`super::scan::Scanned`]). `study` is the study of the request's URL,
/// if it names one. A header that cannot be read to its end counts as far as it can.
///
/// # Errors
/// [`Invalid`] with all that was found (§2.5.3, §2.5.4).
pub fn instance(
    header: &[u8],
    bulk: &[BulkElement],
    study: Option<&Uid>,
    rules: Rules,
) -> Result<Accepted, Invalid> {
    let (mut required, mut found, mut several_values) = (Required::default(), Found::default(), false);
    for element in Walk::new(header) {
        if element.is_top() {
            required.put(&element);
            several_values |= is_checked(element.tag, rules) && has_several_values(&element);
        }
        let fault = match rules {
            Rules::V1 if element.is_top() => indexed::fault(&element),
            Rules::V1 => None,
            Rules::V2 => full::fault(&element),
        };
        if let Some(fault) = fault {
            found.put(&element, fault);
        }
    }
    for element in bulk {
        if let Some(finding) = of_bulk(element, rules) {
            found.tell(finding);
        }
    }
    let refusal = match required.identity(study, rules) {
        Ok((identity, missing)) if rules == Rules::V2 || found.told.is_empty() => {
            if let Some(missing) = missing {
                found.tell_first(missing);
                found.leave_out(required.patient_id_place());
            }
            let Found { told, left_out, .. } = found;
            return Ok(Accepted { identity, findings: told, left_out, several_values });
        }
        Ok(_) => None,
        Err(finding) => Some(finding),
    };
    if let Some(refusal) = refusal {
        found.tell_first(refusal);
    }
    Err(Invalid {
        sop_class: required.readable_sop_class(),
        instance: required.readable_instance(),
        findings: found.told,
        several_values,
    })
}

/// Whether the number of an attribute's values is of account (§2.6).
fn is_checked(tag: Tag, rules: Rules) -> bool {
    match rules {
        Rules::V1 => indexed::indexed_vr(tag).is_some(),
        Rules::V2 => required::is_required(tag),
    }
}

fn has_several_values(element: &Element<'_>) -> bool {
    element.value.contains(&b'\\') && element.text().contains('\\')
}

/// What is wrong with an element that is not in the header: its VR is not the one it ought to be.
fn of_bulk(element: &BulkElement, rules: Rules) -> Option<Finding> {
    // UN is never a mismatch (§2.12).
    let vr = VR::from_binary(element.vr).filter(|vr| *vr != VR::UN)?;
    let (around, last) = element.path.rsplit_once('/').unwrap_or(("", &element.path));
    let number = u32::from_str_radix(last, 16).ok()?;
    let [a, b, c, d] = number.to_be_bytes();
    let tag = Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let expected = match rules {
        Rules::V1 if around.is_empty() => indexed::indexed_vr(tag)?,
        Rules::V1 => return None,
        Rules::V2 => dictionary_vr(tag)?,
    };
    (vr != expected).then_some(Finding { tag, fault: Fault::Representation(expected) })
}

/// What was found, in the order of the file.
#[derive(Default)]
struct Found {
    told: Vec<Finding>,
    tags: HashSet<Tag>,
    left_out: Vec<usize>,
}

impl Found {
    fn put(&mut self, element: &Element<'_>, fault: Fault) {
        self.tell(Finding { tag: element.tag, fault });
        let is_kept = element.is_top() && required::is_kept(element.tag);
        if !is_kept && fault != Fault::Undecodable {
            self.left_out.push(element.place);
        }
    }

    /// The first finding of a tag counts, wherever it is nested.
    fn tell(&mut self, finding: Finding) {
        if self.told.len() < LISTED_FINDINGS && self.tags.insert(finding.tag) {
            self.told.push(finding);
        }
    }

    /// Before all others, and instead of another of its tag.
    fn tell_first(&mut self, finding: Finding) {
        self.told.retain(|told| told.tag != finding.tag);
        self.told.truncate(LISTED_FINDINGS - 1);
        self.told.insert(0, finding);
    }

    fn leave_out(&mut self, place: Option<usize>) {
        if let Some(place) = place
            && let Err(at) = self.left_out.binary_search(&place)
        {
            self.left_out.insert(at, place);
        }
    }
}
