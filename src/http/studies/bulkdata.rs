//! The value of one element that is left out of the metadata (`studies.md` §3.6.2): PS3.18 §10.4.1.1.5.
//!
//! Its path is what `BulkDataURI` says: tags and item numbers. The value is what lies in the file; of undefined
//! length, from its first item to its delimiter. Big endian ones are turned around.
//!
//! Invariant: whatever the type, only bytes of that element are sent.
//! Elsewhere: the links (`dicom::linked`), reading (`values`).

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::value::RawValue;

use super::retrieve::{header_value, multipart_type};
use super::values::Values;
use super::{broken, not_found};
use crate::archive::{LiveInstance, ReadError};
use crate::dicom::byte_order::Turner;
use crate::dicom::reencode::Source;
use crate::dicom::scan::{BulkElement, is_deflated};
use crate::http::accept::{Accepted, Form, PDF, Resource};
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::multipart::{self, Part};
use crate::http::range::Span;
use crate::http::urls::{UrlScope, UrlTagPath};
use crate::http::{App, blocking, left_out};

/// Encapsulated Document, and the MIME type of it.
const DOCUMENT: &str = "00420011";
const DOCUMENT_TYPE: &str = "00420012";

/// GET `…/instances/{instance}/bulkdata/{tag path}`.
pub(in crate::http) async fn bulkdata(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    UrlTagPath(path): UrlTagPath,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let accepted = Accepted::of(Resource::BulkData, &headers)?;
    let live = app.archive.instances(&partition, &scope, None, 1)?.pop().ok_or_else(|| not_found(&scope))?;
    let is_pdf = path == DOCUMENT && is_pdf(&app, &live).await?;
    let wanted = move |element: &BulkElement| element.path == path && element.length > 0;
    let (at, element) = app.archive.bulk_element(&live, wanted).await?;
    let element = element.ok_or(Error::NotFound("The bulk data"))?;
    let selected = accepted.choose(|selected| selected.media != PDF || is_pdf)?;
    let big_endian = Source::of(&live.transfer_syntax) == Some(Source::BigEndian);
    let turner = if big_endian { Turner::of_big_endian(element.vr) } else { None };
    let tag = EntityTag::of_version(live.version, selected.form, selected.media);
    if let Some(known) = tag.not_modified(&headers) {
        return Ok(known);
    }
    let bytes = element.offset..element.offset + element.length;
    let values = Values::of(app.archive.blobs(), at, is_deflated(&live.transfer_syntax));
    let values = match turner {
        Some(turner) => values.turned(bytes.clone(), turner),
        None => values,
    };
    values.check().await?;
    let answer = match selected.form {
        Form::Single => {
            let span = Span::of(&headers, &tag, element.length)?;
            let kind = header_value(selected.media);
            if method == Method::HEAD {
                span.answer(kind, left_out())
            } else {
                let data = values.read(bytes.start + span.bytes.start..bytes.start + span.bytes.end).await?;
                let data = data.map_err(|error| broken(ReadError::Blob(error)));
                span.answer(kind, Body::from_stream(data))
            }
        }
        Form::Multipart => {
            let boundary = app.archive.new_id().simple().to_string();
            let head = [(CONTENT_TYPE, multipart_type(selected.media, &boundary))];
            if method == Method::HEAD {
                (head, left_out()).into_response()
            } else {
                let data = values.read(bytes).await?;
                let data = data.map_err(|error| broken(ReadError::Blob(error))).boxed();
                let part = Part { content_type: selected.media.to_owned(), data };
                let parts = stream::once(async { Ok::<_, ReadError>(part) });
                (head, multipart::body(&boundary, parts)).into_response()
            }
        }
    };
    Ok((tag.header(), answer).into_response())
}

/// Whether the dataset says that its document is a PDF.
async fn is_pdf(app: &App, live: &LiveInstance) -> Result<bool, Error> {
    let metadata = app.archive.metadata(live.position).await?;
    Ok(blocking(move || says_pdf(&metadata)).await)
}

fn says_pdf(metadata: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Element<'a> {
        #[serde(rename = "Value", borrow, default)]
        value: Vec<&'a RawValue>,
    }
    let elements: Option<BTreeMap<&str, &RawValue>> = serde_json::from_slice(metadata).ok();
    let element = elements.as_ref().and_then(|elements| elements.get(DOCUMENT_TYPE));
    let element: Option<Element<'_>> = element.and_then(|element| serde_json::from_str(element.get()).ok());
    let first = element.and_then(|element| serde_json::from_str(element.value.first()?.get()).ok());
    first.is_some_and(|kind: String| kind.trim().eq_ignore_ascii_case(PDF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_pdf_when_the_dataset_says_so() {
        for (metadata, expected) in [
            (r#"{"00420012":{"vr":"LO","Value":["application/pdf"]}}"#, true),
            (r#"{"00080018":{"vr":"UI"},"00420012":{"vr":"LO","Value":["Application\/PDF "]}}"#, true),
            (r#"{"00420012":{"vr":"LO","Value":["text/xml"]}}"#, false),
            (r#"{"00420012":{"vr":"LO"}}"#, false),
            (r#"{"00420012":{"vr":"LO","Value":[null]}}"#, false),
            (
                r#"{"00081115":{"vr":"SQ","Value":[{"00420012":{"vr":"LO","Value":["application/pdf"]}}]}}"#,
                false,
            ),
            ("{}", false),
        ] {
            assert_eq!(says_pdf(metadata.as_bytes()), expected, "{metadata}");
        }
    }
}
