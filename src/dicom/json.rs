//! STUB
/// The dataset of `header` ([`super::scan::Scanned::header`]) as DICOM JSON (PS3.18 Annex F), `studies.md` §1.8 and §3.6.2.
/// # Errors
/// The library cannot read it.
pub fn metadata(_header: &[u8]) -> Result<Vec<u8>, String> {
    todo!()
}
