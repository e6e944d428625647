//! What surrounds every request and every answer: ids, common headers, versions, positions, counts.
//!
//! Invariant: every answer of an open archive carries `x-request-id` and `X-Content-Type-Options`, every answer
//! below a version `api-supported-versions`, `Cache-Control` and `Vary`, every answer to a write `Kymo-Position`.
//! Elsewhere: the routes (`http::router`), the meaning of positions (`archive`).

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use tracing::Instrument;

use super::counted::Counted;
use super::error::Error;
use super::peers::Ends;
use super::routing::{self, SUPPORTED, Target, Version};
use super::urls::{Base, decoded};
use super::{App, Settings, left_out};
use crate::archive::Asking;
use crate::base::{BadPartition, Partition, Position};
use crate::event::Actor;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const KYMO_POSITION: HeaderName = HeaderName::from_static("kymo-position");
const KYMO_MIN_POSITION: HeaderName = HeaderName::from_static("kymo-min-position");
const API_SUPPORTED_VERSIONS: HeaderName = HeaderName::from_static("api-supported-versions");
const API_DEPRECATED_VERSIONS: HeaderName = HeaderName::from_static("api-deprecated-versions");
/// Longest request id taken from a client.
const REQUEST_ID_LENGTH: usize = 128;

/// Names one request in logs, events and answers.
#[derive(Clone, Debug)]
struct Ids {
    request_id: String,
    trace_id: Option<String>,
}

/// What is known of a versioned request before its route.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The version in its path.
    pub(super) version: Version,
    /// What URLs in its answer begin with.
    pub(super) base: Base,
    ids: Ids,
    partition: Option<Result<Partition, BadPartition>>,
}

impl Asked {
    /// Who asks, for the archive.
    pub(super) fn asking(&self, partition: Partition) -> Asking {
        let Ids { request_id, trace_id } = self.ids.clone();
        Asking { request_id, trace_id, actor: Actor::Anonymous, partition }
    }

    /// The partition that its path means, be it there or not. While partitions are off it is the default one, and
    /// naming any is an error; while they are on, naming none is (`studies.md` §6).
    pub(super) fn partition(&self, app: &App) -> Result<Partition, Error> {
        match (app.settings.partitions, &self.partition) {
            (false, None) => Ok(Partition::default()),
            (false, Some(_)) => Err(Error::PartitionsOff),
            (true, None) => Err(Error::PartitionMissing),
            (true, Some(named)) => Ok(named.clone()?),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let asked = parts.extensions.get::<Self>().cloned();
        asked.ok_or_else(|| Error::Internal("a versioned route was reached without a version".to_owned()))
    }
}

/// The data partition of a request, which is there; 400 if it is not (`studies.md` §6).
pub(super) struct InPartition(pub(super) Partition);

impl FromRequestParts<App> for InPartition {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let partition = Asked::from_request_parts(parts, app).await?.partition(app)?;
        let known = match parts.method {
            _ if !app.settings.partitions => true,
            // What another node has just stored there can be deleted here.
            Method::DELETE => app.archive.has_partition_by_now(&partition).await?,
            _ => app.archive.has_partition(&partition)?,
        };
        if known { Ok(Self(partition)) } else { Err(Error::UnknownPartition(partition)) }
    }
}

/// The outermost step: ids in, common headers out.
pub(super) async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let counted = Counted::begin(request.method());
    let is_head = *request.method() == Method::HEAD;
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_sane(id));
    let request_id = given.map_or_else(|| app.archive.new_id().to_string(), str::to_owned);
    let trace_id = request.headers().get(&TRACEPARENT).and_then(|text| trace_id(text.to_str().ok()?));
    let id = HeaderValue::from_str(&request_id);
    let span = tracing::info_span!("request", request_id, trace_id);
    let versioned = routing::is_versioned(request.uri().path());
    let too_long = request.uri().to_string().len() > app.settings.uri_bytes;
    request.extensions_mut().insert(Ids { request_id, trace_id });
    let mut response =
        if too_long { Error::UriTooLong.into_response() } else { next.run(request).instrument(span).await };
    mark(&mut response, versioned, &app.settings);
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if is_head && !response.headers().contains_key(CONTENT_LENGTH) {
        *response.body_mut() = left_out();
    }
    counted.answered(response)
}

/// The headers that every answer has, and every answer below a version.
fn mark(response: &mut Response, versioned: bool, settings: &Settings) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !versioned {
        return;
    }
    headers.insert(API_SUPPORTED_VERSIONS, HeaderValue::from_static(SUPPORTED));
    if let Some(deprecated) = settings.deprecated.header() {
        headers.insert(API_DEPRECATED_VERSIONS, deprecated.clone());
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Origin, Accept"));
}

/// What marks the answers of an archive that is being opened.
pub(super) async fn marked(State(settings): State<Arc<Settings>>, request: Request, next: Next) -> Response {
    let versioned = routing::is_versioned(request.uri().path());
    let mut response = next.run(request).await;
    mark(&mut response, versioned, &settings);
    response
}

/// The two routers behind the versions.
#[derive(Clone)]
pub(super) struct Doors {
    /// The archive and its settings.
    pub(super) app: App,
    /// Routes below a version, without it.
    pub(super) versioned: Router,
    /// Routes without a version.
    pub(super) plain: Router,
}

/// Leads a request to its router.
pub(super) async fn dispatch(State(doors): State<Doors>, mut request: Request) -> Response {
    if let Err(error) = unguarded(request.uri()) {
        return error.into_response();
    }
    match routing::target(request.uri().path()) {
        Target::Plain { path } => {
            *request.uri_mut() = with_path(request.uri(), &path);
            open(doors.plain, request).await
        }
        Target::UnknownVersion => Error::UnsupportedVersion.into_response(),
        Target::Versioned { version, partition, path } => {
            let ids = request.extensions().get::<Ids>().cloned();
            let Some(ids) = ids else {
                return Error::Internal("a request has no id".to_owned()).into_response();
            };
            let ends = request.extensions().get::<Ends>();
            let base = Base::of(&doors.app.settings, ends, request.uri(), request.headers(), version);
            let partition = partition.map(|segment| Partition::parse(&decoded(&segment)));
            let base = match &partition {
                Some(Ok(partition)) => base.in_partition(partition),
                Some(Err(_)) | None => base,
            };
            *request.uri_mut() = with_path(request.uri(), &path);
            request.extensions_mut().insert(Asked { version, base, ids, partition });
            versioned(doors, request).await
        }
    }
}

/// A request below a known version: not before the node has read its log, not before the position asked for.
async fn versioned(doors: Doors, request: Request) -> Response {
    let app = doors.app;
    let is_write = matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE);
    let mut response = match app.ready().and_then(|()| min_position(request.headers())) {
        Err(error) => error.into_response(),
        Ok(None) => open(doors.versioned, request).await,
        Ok(Some(position)) => match app.passed(position).await {
            Err(error) => error.into_response(),
            Ok(()) => open(doors.versioned, request).await,
        },
    };
    if is_write && !response.headers().contains_key(&KYMO_POSITION) {
        // What was refused before it reached the log is settled with what this node has passed.
        let passed = app.archive.progress().next.0.checked_sub(1);
        set_position(&mut response, passed.map(Position));
    }
    response
}

async fn open(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Marks the answer to a write with the position up to which it is settled.
pub(super) fn set_position(response: &mut Response, position: Option<Position>) {
    if let Some(position) = position {
        response.headers_mut().insert(KYMO_POSITION, HeaderValue::from(position.0));
    }
}

fn unguarded(uri: &Uri) -> Result<(), Error> {
    if uri.query().is_some_and(routing::is_guarded) { Err(Error::QueryGuard) } else { Ok(()) }
}

fn min_position(headers: &HeaderMap) -> Result<Option<Position>, Error> {
    let Some(value) = headers.get(&KYMO_MIN_POSITION) else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position.map(Some).ok_or(Error::MinPosition)
}

/// The same URI with another path. The path is made of segments of the old one, so it is a legal one.
fn with_path(uri: &Uri, path: &str) -> Uri {
    let path = if path.is_empty() { "/" } else { path };
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    target.parse().unwrap_or_else(|_| uri.clone())
}

fn is_sane(id: &str) -> bool {
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'=');
    (1..=REQUEST_ID_LENGTH).contains(&id.len()) && id.bytes().all(legal)
}

/// The trace id of a W3C `traceparent`.
fn trace_id(text: &str) -> Option<String> {
    let mut pieces = text.trim().split('-');
    let (version, trace, parent, flags) = (pieces.next()?, pieces.next()?, pieces.next()?, pieces.next()?);
    let hex = |piece: &str, length: usize| {
        piece.len() == length && piece.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    // Later versions may add pieces; version 00 has four.
    let complete = version != "ff" && (version != "00" || pieces.next().is_none());
    let named = trace.bytes().any(|byte| byte != b'0') && parent.bytes().any(|byte| byte != b'0');
    (fits && complete && named).then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_id_is_taken_only_from_a_valid_traceparent() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let valid = format!("00-{trace}-b7ad6b7169203331-01");
        assert_eq!(trace_id(&valid).as_deref(), Some(trace));
        for bad in [
            String::new(),
            format!("00-{trace}-b7ad6b7169203331"),
            format!("00-{trace}-b7ad6b7169203331-01-x"),
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            valid.to_uppercase(),
        ] {
            assert_eq!(trace_id(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_id_is_taken_only_when_it_is_harmless() {
        assert!(is_sane("0195f0a2-c4d3.7e1f:8"));
        for bad in ["", "a b", "a\"b", "ä", "a;b", &"x".repeat(129)] {
            assert!(!is_sane(bad), "{bad}");
        }
    }

    #[test]
    fn a_minimum_position_is_a_number_or_an_error() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(KYMO_MIN_POSITION, HeaderValue::from_static(text));
            min_position(&headers)
        };
        assert_eq!(read("42").ok(), Some(Some(Position(42))));
        assert_eq!(min_position(&HeaderMap::new()).ok(), Some(None));
        for bad in ["", "-1", "x", "18446744073709551616", "1.5"] {
            assert!(matches!(read(bad), Err(Error::MinPosition)), "{bad}");
        }
    }

    #[test]
    fn a_new_path_keeps_the_query() {
        let uri: Uri = "http://host/v2/Studies?a=b%20c".parse().unwrap();
        assert_eq!(with_path(&uri, "/studies").to_string(), "/studies?a=b%20c");
        assert_eq!(with_path(&uri, "").to_string(), "/?a=b%20c");
    }
}
