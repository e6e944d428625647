//! Metadata of a study, a series or an instance (WADO-RS, PS3.18 §10.4.1.1.2; `studies.md` §3.6).
//!
//! Invariant: the entity tag is taken before the list is, so a stored answer is never older than its tag.
//! Elsewhere: what metadata hold (`dicom::json`), links to the rest (`dicom::linked`, `bulkdata`).

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryReadyChunksError, TryStreamExt};

use super::{Pages, broken, not_found};
use crate::archive::{Archive, LiveInstance, ReadError, Summary};
use crate::base::Position;
use crate::dicom::linked::Linked;
use crate::event::Scope;
use crate::http::accept::AcceptsDicomJson;
use crate::http::envelope::{Asked, InPartition};
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::urls::{Base, UrlScope};
use crate::http::{App, DICOM_JSON, blocking, left_out};

/// Datasets read from the log in one job, if they are small.
const AT_ONCE: usize = 64;

/// GET `…/metadata` on three levels.
pub(in crate::http) async fn metadata(
    InPartition(partition): InPartition,
    _: AcceptsDicomJson,
    UrlScope(scope): UrlScope,
    State(app): State<App>,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let summary = {
        let (archive, partition, scope) = (app.archive.clone(), partition.clone(), scope.clone());
        blocking(move || archive.summary(&partition, &scope)).await?
    };
    let summary = summary.ok_or_else(|| not_found(&scope))?;
    let mut tag = version_and_count(&scope, summary);
    if app.settings.bulk_data_uri {
        // Links are part of the answer, and begin as the request came.
        write!(tag, "-{:08x}", crc32c::crc32c(asked.base.as_str().as_bytes()))
            .expect("a String takes any text");
    }
    let tag = EntityTag::strong(tag);
    if let Some(known) = tag.not_modified(&headers) {
        return Ok(known);
    }
    let etag = tag.header();
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))];
    if method == Method::HEAD {
        return Ok((etag, kind, left_out()).into_response());
    }
    let archive = app.archive.clone();
    let mut pages = Pages::of(&archive, partition, scope);
    let mut page = pages.first().await?.into_iter();
    let first = page.next().expect("a first page is never empty");
    if app.settings.bulk_data_uri {
        let instances = stream::iter(page.map(Ok)).chain(pages.rest());
        let body = with_links(archive, asked.base, first, instances).await?;
        return Ok((etag, kind, body).into_response());
    }
    // Read before the answer begins, so that a failure still has a status.
    let first = app.archive.metadata(first.position).await?;
    let instances = stream::iter(page.map(Ok)).chain(pages.rest());
    let rest = instances
        .try_ready_chunks(AT_ONCE)
        .map_err(|TryReadyChunksError(_, error)| error)
        .map_ok(move |lives| {
            let positions = lives.iter().map(|live| live.position).collect();
            datasets(archive.clone(), positions)
        })
        .try_flatten();
    let begin = stream::iter([Ok(Bytes::from_static(b"[")), Ok(first)]);
    let end = stream::once(async { Ok(Bytes::from_static(b"]")) });
    let body = Body::from_stream(begin.chain(rest).chain(end).map_err(broken));
    Ok((etag, kind, body).into_response())
}

/// The body when datasets say where the values left out of them are, one after the other.
async fn with_links(
    archive: Archive,
    base: Base,
    first: LiveInstance,
    later: impl Stream<Item = Result<LiveInstance, ReadError>> + Send + 'static,
) -> Result<Body, ReadError> {
    // Read before the answer begins, so that a failure still has a status.
    let first = linked(&archive, &base, &first).await?;
    let rest = later.and_then(move |live| {
        let (archive, base) = (archive.clone(), base.clone());
        async move {
            let comma = stream::once(async { Ok(Bytes::from_static(b",")) });
            linked(&archive, &base, &live).await.map(|pieces| comma.chain(pieces).boxed())
        }
    });
    let begin = stream::once(async { Ok(Bytes::from_static(b"[")) });
    let end = stream::once(async { Ok(Bytes::from_static(b"]")) });
    Ok(Body::from_stream(begin.chain(first).chain(rest.try_flatten()).chain(end).map_err(broken)))
}

/// One dataset with its links, piece by piece.
async fn linked(
    archive: &Archive,
    base: &Base,
    live: &LiveInstance,
) -> Result<BoxStream<'static, Result<Bytes, ReadError>>, ReadError> {
    let (metadata, bulk) = archive.metadata_and_bulk(live.position).await?;
    let (url, position) = (base.bulkdata(&live.key), live.position);
    let linked = blocking(move || Linked::new(metadata, bulk, &url)).await;
    let pieces = stream::try_unfold(linked, move |mut linked| async move {
        let (linked, piece) = blocking(move || {
            let piece = linked.next_piece();
            (linked, piece)
        })
        .await;
        let piece = piece.map_err(|error| ReadError::Event(position, error.to_string()))?;
        Ok(piece.map(|piece| (piece, linked)))
    });
    Ok(pieces.boxed())
}

/// The datasets at `positions`, each behind a comma.
fn datasets(
    archive: Archive,
    positions: Vec<Position>,
) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
    stream::try_unfold((archive, positions), async |(archive, mut positions)| {
        if positions.is_empty() {
            return Ok::<_, ReadError>(None);
        }
        let found = archive.metadata_of(positions.clone()).await?;
        positions.drain(..found.len());
        if let [dataset] = found.as_slice() {
            // Passed on as it is: it may be large.
            return Ok(Some((vec![Bytes::from_static(b","), dataset.clone()], (archive, positions))));
        }
        let mut piece = BytesMut::with_capacity(found.iter().map(|dataset| dataset.len() + 1).sum());
        for dataset in found {
            piece.put_u8(b',');
            piece.put(dataset);
        }
        Ok(Some((vec![piece.freeze()], (archive, positions))))
    })
    .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
    .try_flatten()
}

/// `{version}` of an instance, `{highest version}-{count}` above it (`studies.md` §3.6.3).
fn version_and_count(scope: &Scope, summary: Summary) -> String {
    match scope.instance {
        Some(_) => summary.highest_version.to_string(),
        None => format!("{}-{}", summary.highest_version, summary.count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::uid::Uid;

    #[test]
    fn tags_of_instances_have_no_count() {
        let uid = Uid::parse("1.2").unwrap();
        let summary = Summary { highest_version: 12, count: 3 };
        let study = Scope { study: uid.clone(), series: None, instance: None };
        assert_eq!(version_and_count(&study, summary), "12-3");
        let instance = Scope { series: Some(uid.clone()), instance: Some(uid), ..study };
        assert_eq!(version_and_count(&instance, summary), "12");
    }
}
