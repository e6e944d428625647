//! What is derived of a scanned file before its event: the verdict on it, and the sections of the event.
//!
//! Invariant: a header that takes its time is worked on beside the runtime, on the blocking pool.
//! Elsewhere: the rules (`dicom::validate`), the metadata (`dicom::json`), when it is done (`ingest`).

use super::SubmitError;
use crate::dicom::json;
use crate::dicom::scan::Scanned;
use crate::dicom::uid::Uid;
use crate::dicom::validate::{self, Accepted, Invalid, Rules};
use crate::event::Section;
use crate::event::codec::Sections;

/// Version of this code, kept in the events.
pub(super) const DERIVED_BY: u16 = 2;
/// Headers above this are validated, and turned into metadata, on the blocking pool.
const INLINE_HEADER_BYTES: usize = 64 << 10;

/// Whether a scanned file may be stored, and what is wrong with it. `study` is the study of the request's URL.
pub(super) async fn validated(
    scanned: Scanned,
    study: Option<Uid>,
    rules: Rules,
) -> Result<(Scanned, Result<Accepted, Invalid>), SubmitError> {
    beside(scanned.header.len(), move || {
        let verdict = validate::instance(&scanned.header, &scanned.bulk, study.as_ref(), rules);
        (scanned, verdict)
    })
    .await
}

/// Encodes all that views and reads will need of a scanned file; says what is wrong with a file that has none.
pub(super) async fn derive(
    scanned: Scanned,
    left_out: Vec<usize>,
    chunks: Vec<u32>,
) -> Result<Result<Sections, String>, SubmitError> {
    let header_bytes = scanned.header.len();
    let work = move || {
        let mut sections = Sections::default();
        let metadata =
            json::metadata_without(&scanned.header, &left_out).map_err(|error| error.to_string())?;
        let bulk = bincode::serde::encode_to_vec(&scanned.bulk, bincode::config::standard())
            .map_err(|error| error.to_string())?;
        let sums: Vec<u8> = chunks.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        for (kind, plain) in [
            (Section::Metadata, metadata),
            (Section::Bulk, bulk),
            (Section::Frames, scanned.frames.encode()),
            (Section::Chunks, sums),
        ] {
            sections.push(kind, &plain).map_err(|error| error.to_string())?;
        }
        Ok(sections)
    };
    beside(header_bytes, work).await
}

/// Does work on a header: a large one's on the blocking pool.
async fn beside<T: Send + 'static>(
    header_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SubmitError> {
    if header_bytes <= INLINE_HEADER_BYTES {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SubmitError::Unavailable(error.to_string()))
}
