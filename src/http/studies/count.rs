//! Counts: how many studies, series or instances a search finds (`studies.md` §4.11).
//!
//! Invariant: it is the number of items of all pages of the same search, at one moment.
//! Elsewhere: parameters and counting (`projections::search`).

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::search::{UrlResource, query_of, tell_erroneous};
use crate::http::envelope::{Asked, InPartition};
use crate::http::error::Error;
use crate::http::{App, left_out};
use crate::projections::search::Wants;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// GET `studies/count`, `series/count`, `instances/count`: 200, also when nothing matches.
pub(in crate::http) async fn count(
    asked: Asked,
    InPartition(partition): InPartition,
    UrlResource(resource): UrlResource,
    State(app): State<App>,
    method: Method,
    uri: Uri,
) -> Result<Response, Error> {
    let query = query_of(&app, &asked, &resource, &partition, Wants::Count, &uri)?;
    app.searchable().await?;
    let erroneous = query.erroneous().to_vec();
    let count = app.search.count(query).await?;
    let body = match method {
        Method::HEAD => left_out(),
        _ => json!({ "count": count }).to_string().into(),
    };
    let mut response = ([(CONTENT_TYPE, JSON)], body).into_response();
    tell_erroneous(&mut response, &erroneous);
    Ok(response)
}
