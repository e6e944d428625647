//! STUB
use super::uid::Uid;
/// Which rules a store follows: the major version of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    V1,
    V2,
}

/// Who an instance says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub sop_class: String,
    pub study: Uid,
    pub series: Uid,
    pub instance: Uid,
    /// As received, padding kept.
    pub received: [String; 3],
    /// Findings that do not stop the store.
    pub warnings: Vec<Finding>,
}
/// One failed attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub tag: dicom_core::Tag,
    pub reason: String,
}
impl Finding {
    /// `DICOM100: (gggg,eeee) - <reason>` (§2.6).
    #[must_use]
    pub fn comment(&self) -> String {
        todo!()
    }
}
/// Not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// As far as readable.
    pub sop_class: Option<String>,
    pub instance: Option<String>,
    pub findings: Vec<Finding>,
}
/// Required attributes and study match (`studies.md` §2.5.1).
/// # Errors
/// The first problem of the chain.
pub fn required(_header: &[u8], _study: Option<&Uid>, _rules: Rules) -> Result<Identity, Invalid> {
    todo!()
}
