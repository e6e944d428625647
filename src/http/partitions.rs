//! Data partitions (`studies.md` §6): the one a store lies in, and the list of all.
//!
//! Elsewhere: the partition of every other request (`envelope`), how one comes to be (`archive`).

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use super::envelope::Asked;
use super::error::Error;
use super::{App, blocking, left_out};
use crate::archive::{Archive, KnownPartition, ReadError};
use crate::base::Partition;

/// Partitions read at once.
const PAGE: usize = 1000;
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The partition of a store; one that is not there comes to be, whatever becomes of the store.
pub(super) async fn known_or_made(app: &App, asked: &Asked) -> Result<Partition, Error> {
    let partition = asked.partition(app)?;
    if app.settings.partitions {
        app.archive.create_partition(&asked.asking(partition.clone())).await?;
    }
    Ok(partition)
}

/// GET `partitions`: 200 with all of them, the default one first.
pub(super) async fn list(State(app): State<App>, method: Method) -> Result<Response, Error> {
    if !app.settings.partitions {
        return Err(Error::PartitionsOff);
    }
    let kind = [(CONTENT_TYPE, JSON)];
    if method == Method::HEAD {
        return Ok((kind, left_out()).into_response());
    }
    let archive = app.archive;
    // Read before the answer begins, so that a failure still has a status.
    let first = page(archive.clone(), 0).await?;
    let pages = stream::try_unfold(Some(first), move |page| {
        let archive = archive.clone();
        async move {
            let Some(rows) = page else { return Ok(None) };
            let next = match rows.last() {
                Some(last) if rows.len() == PAGE => Some(self::page(archive, last.number).await?),
                Some(_) | None => None,
            };
            Ok::<_, ReadError>(Some((json(&rows), next)))
        }
    });
    let pages = pages.inspect_err(|error| tracing::error!(%error, "an answer breaks off"));
    let begin = stream::iter([Ok(Bytes::from_static(b"["))]);
    let end = stream::iter([Ok(Bytes::from_static(b"]"))]);
    Ok((kind, Body::from_stream(begin.chain(pages).chain(end))).into_response())
}

async fn page(archive: Archive, after: u64) -> Result<Vec<KnownPartition>, ReadError> {
    blocking(move || archive.partitions(after, PAGE)).await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    partition_key: u64,
    partition_name: &'a str,
    created_date: String,
}

/// The entries of one page, each but the first of the list behind a comma.
fn json(rows: &[KnownPartition]) -> Bytes {
    let mut text = Vec::new();
    for KnownPartition { number, partition, created } in rows {
        if *number > 1 {
            text.push(b',');
        }
        let (partition_name, created_date) = (partition.as_str(), created.to_string());
        let entry = Entry { partition_key: *number, partition_name, created_date };
        serde_json::to_writer(&mut text, &entry).expect("texts and numbers always have a JSON form");
    }
    text.into()
}
