//! Search (QIDO-RS, PS3.18 §10.6; `studies.md` §4): six resources, one way to answer them.
//!
//! Invariant: an answer is of one moment of the view, and of one that shows every write answered before.
//! Invariant: items are composed as the client takes them; only a few metadata are held at once.
//! Elsewhere: parameters, matching and returned attributes (`projections::search`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::archive::Archive;
use crate::base::Partition;
use crate::http::accept::AcceptsDicomJson;
use crate::http::envelope::{Asked, InPartition};
use crate::http::error::Error;
use crate::http::urls::{query_pairs, values};
use crate::http::{App, DICOM_JSON, blocking, left_out};
use crate::projections::search::{
    Asking, ByMetadata, Fields, Hit, Resource, SearchQuery, Version, Wants, compose, fields_for,
};

/// Names the filters that do not find every instance.
const ERRONEOUS: HeaderName = HeaderName::from_static("erroneous-dicom-attributes");
/// Items composed ahead of the client.
const AHEAD: usize = 8;
/// Metadata above this are cut down where that stops nobody else.
const INLINE_METADATA_BYTES: usize = 64 << 10;

/// What a path searches; 400 when it holds a bad UID.
pub(in crate::http) struct UrlResource(pub(super) Resource);

impl<S: Send + Sync> FromRequestParts<S> for UrlResource {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let values = values(parts, state).await?;
        // What is counted is searched.
        let mut segments = parts.uri.path().rsplit('/').skip_while(|segment| *segment == "count");
        let last = segments.next().unwrap_or_default();
        let resource = match (values.uid("study")?, values.uid("series")?, last) {
            (Some(study), Some(series), _) => Resource::StudySeriesInstances(study, series),
            (Some(study), None, "series") => Resource::StudySeries(study),
            (Some(study), None, _) => Resource::StudyInstances(study),
            (None, _, "series") => Resource::AllSeries,
            (None, _, "instances") => Resource::AllInstances,
            (None, _, _) => Resource::AllStudies,
        };
        Ok(Self(resource))
    }
}

/// GET of the six search routes: 200 with an array, 204 when nothing matches.
pub(in crate::http) async fn search(
    asked: Asked,
    InPartition(partition): InPartition,
    _: AcceptsDicomJson,
    UrlResource(resource): UrlResource,
    State(app): State<App>,
    method: Method,
    uri: Uri,
) -> Result<Response, Error> {
    let mut query = query_of(&app, &asked, &resource, &partition, Wants::Page, &uri)?;
    let base = asked.base.as_str();
    let (fields, erroneous) = (fields_for(&query).with_urls_below(base), query.erroneous().to_vec());
    let order = query.order_by_metadata(&app.search.attributes());
    app.searchable().await?;
    let mut hits = app.search.query(query).await?.items;
    if let Some(order) = order {
        hits = ordered(&app.archive, hits, order).await?;
    }
    let mut response = answer(app.archive, hits, fields, &method).await?;
    tell_erroneous(&mut response, &erroneous);
    Ok(response)
}

/// The page of these matches, in an order that their metadata tell.
async fn ordered(archive: &Archive, hits: Vec<Hit>, mut order: ByMetadata) -> Result<Vec<Hit>, Error> {
    order.takes(hits.len())?;
    for hit in hits {
        let metadata = archive.metadata(hit.position()).await?;
        // A thousand small ones in a row stop others as well.
        order = blocking(move || order.push(hit, &metadata).map(|()| order)).await?;
    }
    Ok(order.page())
}

/// What is asked for, checked.
pub(super) fn query_of(
    app: &App,
    asked: &Asked,
    resource: &Resource,
    partition: &Partition,
    wants: Wants,
    uri: &Uri,
) -> Result<SearchQuery, Error> {
    let version = if asked.version.is_v2() { Version::V2 } else { Version::V1 };
    let attributes = app.search.attributes();
    let asking = Asking { resource, partition, version, wants, attributes: &attributes };
    Ok(SearchQuery::parse(asking, &query_pairs(uri))?)
}

/// Names the filters that do not find every instance, as the client wrote them (`studies.md` §4.10).
pub(super) fn tell_erroneous(response: &mut Response, keys: &[String]) {
    if let Some(told) = HeaderValue::from_str(&keys.join(",")).ok().filter(|told| !told.is_empty()) {
        response.headers_mut().insert(ERRONEOUS, told);
    }
}

async fn answer(
    archive: Archive,
    hits: Vec<Hit>,
    fields: Fields,
    method: &Method,
) -> Result<Response, Error> {
    let (mut hits, fields) = (hits.into_iter(), Arc::new(fields));
    let Some(first) = hits.next() else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))];
    if method == Method::HEAD {
        return Ok((kind, left_out()).into_response());
    }
    // Composed before the answer begins, so that a failure still has a status.
    let first = item(b'[', first, fields.clone(), archive.clone()).await?;
    let (early_fields, early_archive) = (fields.clone(), archive.clone());
    let rest = stream::iter(hits).map(move |hit| early(hit, early_fields.clone(), early_archive.clone()));
    let rest = rest.buffered(AHEAD).and_then(move |early| {
        let (fields, archive) = (fields.clone(), archive.clone());
        async move {
            match early {
                Early::Item(item) => Ok(item),
                Early::Later(hit) => item(b',', *hit, fields, archive).await,
            }
        }
    });
    let end = stream::once(async { Ok(Bytes::from_static(b"]")) });
    let items = stream::once(async { Ok(first) }).chain(rest).chain(end);
    let items = items.inspect_err(|error| tracing::error!(%error, "an answer breaks off"));
    Ok((kind, Body::from_stream(items)).into_response())
}

/// An item before its turn.
enum Early {
    /// It is ready.
    Item(Bytes),
    /// Its metadata are large, and not read ahead.
    Later(Box<Hit>),
}

async fn early(hit: Hit, fields: Arc<Fields>, archive: Archive) -> Result<Early, Error> {
    if !fields.need_metadata() {
        return composed(b',', hit, fields, None).await.map(Early::Item);
    }
    match archive.small_metadata(hit.position()).await? {
        Some(metadata) => composed(b',', hit, fields, Some(metadata)).await.map(Early::Item),
        None => Ok(Early::Later(Box::new(hit))),
    }
}

/// `before`, then a hit as a DICOM JSON object.
async fn item(before: u8, hit: Hit, fields: Arc<Fields>, archive: Archive) -> Result<Bytes, Error> {
    let metadata = match fields.need_metadata() {
        true => Some(archive.metadata(hit.position()).await?),
        false => None,
    };
    composed(before, hit, fields, metadata).await
}

async fn composed(
    before: u8,
    hit: Hit,
    fields: Arc<Fields>,
    metadata: Option<Bytes>,
) -> Result<Bytes, Error> {
    let inline = metadata.as_ref().is_none_or(|metadata| metadata.len() <= INLINE_METADATA_BYTES);
    let read = metadata.clone();
    let work = move || compose(&hit, &fields, read.as_deref());
    let mut json = if inline { work()? } else { blocking(work).await? };
    json.insert(0, before);
    Ok(Bytes::from_owner(Item { json, _metadata: metadata }))
}

/// An item on its way. Its metadata are kept: the room of large ones is free again when it has been sent.
struct Item {
    json: Vec<u8>,
    _metadata: Option<Bytes>,
}

impl AsRef<[u8]> for Item {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_with_errors_are_named_as_the_client_wrote_them() {
        let told = |keys: &[&str]| {
            let mut response = StatusCode::NO_CONTENT.into_response();
            tell_erroneous(&mut response, &keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
            response.headers().get("erroneous-dicom-attributes").map(|told| told.to_str().unwrap().to_owned())
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["0010010A", "PatientAge"]).as_deref(), Some("0010010A,PatientAge"));
    }
}
