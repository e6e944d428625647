//! The change feed as it goes over the wire (`change-feed.md` §1–§7).
//!
//! Invariant: metadata are those of the version alive now, whatever version the row is about; a row whose
//! metadata cannot be read is still given.
//! Invariant: a time window whose end has come is closed before it is read.
//! Elsewhere: rows and their states (`archive::state`).

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use super::envelope::Asked;
use super::error::Error;
use super::routing::Version;
use super::urls::query_pairs;
use super::{App, blocking, left_out};
use crate::archive::{Archive, FeedRow, FeedState};
use crate::base::Stamp;
use crate::event::Action;

mod parameters;

use parameters::{Parameters, include_metadata};

/// Metadata read ahead of the client.
const AHEAD: usize = 4;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// GET `changefeed`.
pub(super) async fn list(
    asked: Asked,
    State(app): State<App>,
    method: Method,
    uri: Uri,
) -> Result<Response, Error> {
    let asked = Parameters::parse(asked.version, &query_pairs(&uri))?;
    let archive = app.archive.clone();
    let with_metadata = asked.metadata();
    let rows = match asked {
        Parameters::Sequences { offset, limit, .. } => {
            blocking(move || archive.feed_window(offset, limit)).await?
        }
        Parameters::Times { window, offset, limit, .. } => {
            if window.end <= archive.now() {
                archive.close_window(window.end).await?;
            }
            blocking(move || archive.feed_between(window, offset, limit)).await?
        }
    };
    let kind = [(CONTENT_TYPE, JSON)];
    if method == Method::HEAD {
        return Ok((kind, left_out()).into_response());
    }
    let archive = app.archive;
    let mut separator = "[";
    let rows = rows.into_iter().map(move |row| (std::mem::replace(&mut separator, ","), row));
    let begin = if rows.len() == 0 { "[" } else { "" };
    let reading = archive.clone();
    let read = stream::iter(rows).map(move |(separator, row)| {
        let archive = reading.clone();
        async move {
            let ahead = if with_metadata { ahead(&archive, &row).await } else { None };
            (separator, row, ahead)
        }
    });
    let entries = read.buffered(AHEAD).then(move |(separator, row, ahead)| {
        let archive = archive.clone();
        async move {
            let entry = entry(&archive, &row, with_metadata, ahead).await;
            stream::iter([Bytes::from_static(separator.as_bytes())].into_iter().chain(entry))
        }
    });
    let pieces = entries.flatten();
    let begin = stream::iter([Bytes::from_static(begin.as_bytes())]);
    let end = stream::iter([Bytes::from_static(b"]")]);
    let body = begin.chain(pieces).chain(end).map(Ok::<_, Infallible>);
    Ok((kind, Body::from_stream(body)).into_response())
}

/// GET `changefeed/latest`. In both versions the row with the highest sequence: feed time never decreases
/// along it.
pub(super) async fn latest(State(app): State<App>, uri: Uri) -> Result<Response, Error> {
    let with_metadata = include_metadata(&query_pairs(&uri))?;
    let Some(row) = app.archive.feed_latest()? else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let entry = entry(&app.archive, &row, with_metadata, None).await;
    let body = Body::from_stream(stream::iter(entry).map(Ok::<_, Infallible>));
    Ok(([(CONTENT_TYPE, JSON)], body).into_response())
}

/// A row without its metadata. Names are in camel case, the values of `action` and `state` are not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    sequence: u64,
    partition_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_path: Option<&'a str>,
    study_instance_uid: &'a str,
    series_instance_uid: &'a str,
    sop_instance_uid: &'a str,
    action: &'static str,
    timestamp: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_error: Option<&'static str>,
}

impl<'a> Entry<'a> {
    fn of(row: &'a FeedRow) -> Self {
        let change = &row.change;
        let action = match change.action {
            Action::Create => "Create",
            Action::Update => "Update",
            Action::Delete => "Delete",
        };
        let state = match row.state {
            FeedState::Current => "Current",
            FeedState::Replaced => "Replaced",
            FeedState::Deleted => "Deleted",
        };
        // There is one path for the version alive; what is no more keeps the path it had.
        let alive = row.live.as_ref().map(|live| live.file.key.as_str());
        let file_path = change.file.as_deref().map(|own| alive.unwrap_or(own));
        Self {
            sequence: change.sequence,
            partition_name: change.partition.as_str(),
            file_path,
            study_instance_uid: change.key.study.as_str(),
            series_instance_uid: change.key.series.as_str(),
            sop_instance_uid: change.key.instance.as_str(),
            action,
            timestamp: change.time.to_string(),
            state,
            metadata_error: None,
        }
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always have a JSON form")
    }
}

/// Metadata of a row that may be read before their turn. An error shows again when the turn comes.
async fn ahead(archive: &Archive, row: &FeedRow) -> Option<Bytes> {
    archive.small_metadata(row.live.as_ref()?.position).await.ok().flatten()
}

/// The JSON of a row, in pieces: metadata are passed on as they are, not read again.
async fn entry(archive: &Archive, row: &FeedRow, with_metadata: bool, ahead: Option<Bytes>) -> Vec<Bytes> {
    let entry = Entry::of(row);
    let Some(live) = row.live.as_ref().filter(|_| with_metadata) else { return vec![entry.json().into()] };
    let metadata = match ahead {
        Some(metadata) => Ok(metadata),
        None => archive.metadata(live.position).await,
    };
    match metadata {
        Ok(metadata) => with_member(entry.json(), "metadata", metadata),
        Err(error) => {
            let sequence = row.change.sequence;
            tracing::error!(sequence, error = %error, "metadata of a change-feed row cannot be read");
            let why = Some("The metadata of this instance cannot be read.");
            vec![Entry { metadata_error: why, ..entry }.json().into()]
        }
    }
}

/// `object` with one more member, whose value is JSON already.
fn with_member(mut object: Vec<u8>, name: &str, value: Bytes) -> Vec<Bytes> {
    let closing = object.pop();
    debug_assert_eq!(closing, Some(b'}'), "an object ends in a brace");
    object.extend_from_slice(format!(",\"{name}\":").as_bytes());
    vec![object.into(), value, Bytes::from_static(b"}")]
}

#[cfg(test)]
mod tests;
