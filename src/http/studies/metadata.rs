//! Metadata of a study, a series or an instance (WADO-RS, PS3.18 §10.4.1.1.2; `studies.md` §3.6).
//!
//! Invariant: the entity tag is taken before the list is, so a stored answer is never older than its tag.
//! Elsewhere: what metadata hold (`dicom::json`).

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Pages, broken, not_found};
use crate::archive::Summary;
use crate::event::Scope;
use crate::http::accept::AcceptsDicomJson;
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::media;
use crate::http::urls::UrlScope;
use crate::http::{App, DICOM_JSON, blocking, left_out};

/// Datasets read ahead of the client.
const AHEAD: usize = 8;

/// GET `…/metadata` on three levels.
pub(in crate::http) async fn metadata(
    InPartition(partition): InPartition,
    _: AcceptsDicomJson,
    UrlScope(scope): UrlScope,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let summary = {
        let (archive, partition, scope) = (app.archive.clone(), partition.clone(), scope.clone());
        blocking(move || archive.summary(&partition, &scope)).await?
    };
    let summary = summary.ok_or_else(|| not_found(&scope))?;
    let tag = entity_tag(&scope, summary);
    let etag = [(ETAG, HeaderValue::from_str(&format!("\"{tag}\"")).expect("digits and a dash are legal"))];
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))];
    if method == Method::HEAD {
        return Ok((etag, kind, left_out()).into_response());
    }
    let archive = app.archive.clone();
    let mut pages = Pages::of(&archive, partition, scope);
    let mut page = pages.first().await?.into_iter();
    let first = page.next().expect("a first page is never empty");
    // Read before the answer begins, so that a failure still has a status.
    let first = app.archive.metadata(first.position).await?;
    let instances = stream::iter(page.map(Ok)).chain(pages.rest());
    let datasets = instances.map_ok(move |live| {
        let archive = archive.clone();
        async move { archive.metadata(live.position).await }
    });
    let rest = datasets.try_buffered(AHEAD).map_ok(|dataset| [Bytes::from_static(b","), dataset]);
    let rest = rest.map_ok(|pieces| stream::iter(pieces.map(Ok))).try_flatten();
    let begin = stream::iter([Ok(Bytes::from_static(b"[")), Ok(first)]);
    let end = stream::once(async { Ok(Bytes::from_static(b"]")) });
    let body = Body::from_stream(begin.chain(rest).chain(end).map_err(broken));
    Ok((etag, kind, body).into_response())
}

/// `{version}` of an instance, `{highest version}-{count}` above it (`studies.md` §3.6.3).
fn entity_tag(scope: &Scope, summary: Summary) -> String {
    match scope.instance {
        Some(_) => summary.highest_version.to_string(),
        None => format!("{}-{}", summary.highest_version, summary.count),
    }
}

/// Whether `If-None-Match` names `tag`: in a list, weak or strong, quoted or not, or as `*`.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let names = |entry: &str| {
        let entry = entry.trim();
        let entry = entry.strip_prefix("W/").or_else(|| entry.strip_prefix("w/")).unwrap_or(entry);
        let bare = entry.strip_prefix('"').and_then(|entry| entry.strip_suffix('"')).unwrap_or(entry);
        entry == "*" || bare.eq_ignore_ascii_case(tag)
    };
    let lines = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| media::split(line, ',')).any(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::uid::Uid;

    #[test]
    fn the_tag_is_found_in_every_form_clients_send() {
        for (value, known) in [
            ("\"7-3\"", true),
            ("7-3", true),
            ("W/\"7-3\"", true),
            ("\"1-1\", \"7-3\"", true),
            ("\"1-1\",W/\"7-3\" , \"x\"", true),
            ("*", true),
            ("\"*\"", false),
            ("\"7-2\"", false),
            ("\"17-3\"", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(is_known(&headers, "7-3"), known, "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), "7-3"));
    }

    #[test]
    fn tags_of_instances_have_no_count() {
        let uid = Uid::parse("1.2").unwrap();
        let summary = Summary { highest_version: 12, count: 3 };
        let study = Scope { study: uid.clone(), series: None, instance: None };
        assert_eq!(entity_tag(&study, summary), "12-3");
        let instance = Scope { series: Some(uid.clone()), instance: Some(uid), ..study };
        assert_eq!(entity_tag(&instance, summary), "12");
    }
}
