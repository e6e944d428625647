//! Store and upsert (STOW-RS): POST and PUT of `studies` and `studies/{study}` (PS3.18 §10.5).
//!
//! Order of checks (`studies.md` §2.1), top to bottom in [`checked`]:
//! type family of the body, partition (made here if it is not there), `Accept`, study of the URL, exact type,
//! expiry, then the whole body.
//!
//! Invariant: nothing is appended before the body is complete; a body that is refused stores nothing.
//! Elsewhere: validation and outcomes (`archive::ingest`), framing (`multipart`).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, WARNING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::expiry;
use crate::archive::{Ingest, PartOutcome, PartRefusal, Stored};
use crate::base::Partition;
use crate::dicom::uid::Uid;
use crate::dicom::validate::{Finding, Rules};
use crate::event::StoreMode;
use crate::http::accept::admits_dicom_json;
use crate::http::body::{BodyLimits, Incoming, linger};
use crate::http::envelope::{Asked, set_position};
use crate::http::error::Error;
use crate::http::media::MediaType;
use crate::http::multipart::{Boundary, Parts};
use crate::http::routing::Version;
use crate::http::urls::{Base, UrlStudy};
use crate::http::{App, DICOM, DICOM_JSON, partitions};
use crate::ops::metrics;

/// Text of the `Warning` header (`studies.md` §2.6).
const SEVERAL_VALUES: &str =
    "A DICOM attribute that is searched by its first value has several; the others are not indexed.";

/// POST: an instance that is there stays.
pub(in crate::http) async fn create(
    app: State<App>,
    asked: Asked,
    study: UrlStudy,
    request: Request,
) -> Response {
    store(app, asked, study, request, StoreMode::Create).await
}

/// PUT: an instance that is there is replaced (`studies.md` §2.9).
pub(in crate::http) async fn upsert(
    app: State<App>,
    asked: Asked,
    study: UrlStudy,
    request: Request,
) -> Response {
    store(app, asked, study, request, StoreMode::Upsert).await
}

async fn store(
    State(app): State<App>,
    asked: Asked,
    study: UrlStudy,
    request: Request,
    mode: StoreMode,
) -> Response {
    let (head, body) = request.into_parts();
    let checked = match checked(&app, &asked, &study, &head.headers).await {
        Ok(checked) => checked,
        Err(error) => {
            linger(&head.headers, body);
            return error.into_response();
        }
    };
    let study = checked.study.clone();
    let ingest =
        app.archive.ingest(asked.asking(checked.partition), mode, rules(asked.version), checked.study);
    let ingest = ingest.expiring(checked.expires_after_ms);
    let stored = match received(&app, &head.headers, body, checked.form, ingest).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return StatusCode::NO_CONTENT.into_response(),
        Err((error, rest)) => {
            linger(&head.headers, rest);
            return error.into_response();
        }
    };
    count(mode, &stored.parts);
    let visible = match stored.position {
        Some(position) => app.shown(position).await,
        None => Ok(()),
    };
    let mut response = match visible {
        Ok(()) => answer(asked.version, &asked.base, study.as_ref(), &stored),
        Err(error) => error.into_response(),
    };
    set_position(&mut response, stored.position);
    response
}

fn rules(version: Version) -> Rules {
    if version.is_v2() { Rules::V2 } else { Rules::V1 }
}

/// What the head of a request says.
struct Checked {
    partition: Partition,
    study: Option<Uid>,
    form: Form,
    expires_after_ms: Option<u64>,
}

/// The checks before the body, in the contract's order.
async fn checked(app: &App, asked: &Asked, study: &UrlStudy, headers: &HeaderMap) -> Result<Checked, Error> {
    let kind = family(headers)?;
    let partition = partitions::known_or_made(app, asked).await?;
    admits_dicom_json(headers)?;
    let study = study.read()?;
    let form = form(kind, headers)?;
    let expires_after_ms = if asked.version.is_v2() { expiry::after_ms(headers)? } else { None };
    Ok(Checked { partition, study, form, expires_after_ms })
}

/// Reads the whole body, then stores what is in it; `None` when there were no parts. An error comes with
/// what was not read.
async fn received(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    form: Form,
    mut ingest: Ingest,
) -> Result<Option<Stored>, (Error, Body)> {
    let settings = &app.settings;
    let limits = BodyLimits {
        bytes: settings.body_bytes,
        window: settings.body_window,
        bytes_per_window: settings.body_bytes_per_window,
    };
    let mut body = Incoming::new(headers, body, limits).map_err(|error| (error.into(), Body::empty()))?;
    match receive(&mut ingest, &mut body, form).await {
        Err(error) => {
            drop(ingest);
            Err((error, body.into_rest()))
        }
        Ok(0) => Ok(None),
        Ok(_) => ingest.commit().await.map(Some).map_err(|error| (error.into(), Body::empty())),
    }
}

/// How the instances lie in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Single,
    Multipart { boundary: Boundary, of: Option<MediaType> },
}

/// The first look at `Content-Type`: is it of a kind that is taken at all? A missing one shows later.
fn family(headers: &HeaderMap) -> Result<Option<MediaType>, Error> {
    let foreign = Error::UnsupportedMediaType("the body must be application/dicom or multipart/related");
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let kind = MediaType::parse(&String::from_utf8_lossy(value.as_bytes()));
    match kind {
        Some(kind) if matches!(kind.essence.as_str(), DICOM | "multipart/related") => Ok(Some(kind)),
        Some(_) | None => Err(foreign),
    }
}

/// The exact look (`studies.md` §2.2). Parameters of `application/dicom` are of no account.
fn form(kind: Option<MediaType>, headers: &HeaderMap) -> Result<Form, Error> {
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    if encoded {
        return Err(Error::UnsupportedMediaType("an encoded body is not taken"));
    }
    let kind = kind.ok_or(Error::UnsupportedMediaType("the content type is missing"))?;
    if kind.essence == DICOM {
        return Ok(Form::Single);
    }
    if kind.parameter("start").is_some() {
        return Err(Error::StartParameter);
    }
    let boundary = kind.parameter("boundary").and_then(Boundary::parse);
    let boundary = boundary.ok_or(Error::UnsupportedMediaType("multipart/related needs a boundary"))?;
    let of = kind.parameter("type").and_then(MediaType::parse);
    Ok(Form::Multipart { boundary, of })
}

/// Hands the instances of a body to the archive. How many there were.
async fn receive(ingest: &mut Ingest, body: &mut Incoming, form: Form) -> Result<u64, Error> {
    let (boundary, default) = match form {
        Form::Single => {
            ingest.part().await?;
            while let Some(bytes) = body.next().await? {
                ingest.write(bytes).await?;
            }
            ingest.end_part().await?;
            return Ok(1);
        }
        Form::Multipart { boundary, of } => (boundary, of),
    };
    let mut parts = Parts::new(body, boundary);
    let mut count = 0;
    while let Some(kind) = parts.next().await? {
        // A part that does not say what it is, is what the request says (`studies.md` §2.3).
        if kind.as_ref().or(default.as_ref()).is_none_or(|kind| kind.essence != DICOM) {
            return Err(Error::UnsupportedMediaType("every part must be application/dicom"));
        }
        ingest.part().await?;
        while let Some(bytes) = parts.data().await? {
            ingest.write(bytes).await?;
        }
        ingest.end_part().await?;
        count += 1;
    }
    Ok(count)
}

/// Counts what became of the instances, and says why the first that could not be read was not: the answer has no
/// place for it (`studies.md` §2.3, §2.12).
fn count(mode: StoreMode, parts: &[PartOutcome]) {
    let mut unreadable = parts.iter().enumerate().filter_map(|(index, part)| match part {
        PartOutcome::Refused { why: PartRefusal::Unreadable(what), .. } => Some((index + 1, what)),
        PartOutcome::Refused { .. } | PartOutcome::Stored { .. } => None,
    });
    if let Some((part, why)) = unreadable.next() {
        let more = unreadable.count();
        tracing::info!(part, why, more, "a part of a store request cannot be read");
    }
    let mode = match mode {
        StoreMode::Create => "create",
        StoreMode::Upsert => "upsert",
    };
    for part in parts {
        match part {
            PartOutcome::Stored { .. } => metrics::instance_stored(mode),
            PartOutcome::Refused { why, .. } => metrics::instance_refused(match why {
                PartRefusal::Unreadable(_) => "unreadable",
                PartRefusal::Directory => "dicomdir",
                PartRefusal::Invalid(_) => "invalid",
                PartRefusal::AlreadyStored => "already_stored",
                PartRefusal::Failed(_) => "failed",
            }),
        }
    }
}

/// (0008,1197) of an instance that was not stored (`studies.md` §2.6).
fn failure_reason(why: &PartRefusal) -> u16 {
    match why {
        PartRefusal::Unreadable(_) | PartRefusal::Directory | PartRefusal::Invalid(_) => 43264,
        PartRefusal::AlreadyStored => 45070,
        PartRefusal::Failed(_) => 272,
    }
}

/// The status of a store with at least one part (`studies.md` §2.6).
fn status(version: Version, parts: &[PartOutcome]) -> StatusCode {
    let (mut stored, mut failed, mut warned) = (false, false, false);
    for part in parts {
        match part {
            PartOutcome::Stored { warning, .. } => {
                stored = true;
                warned |= warning.is_some();
            }
            PartOutcome::Refused { .. } => failed = true,
        }
    }
    match (stored, failed, warned) {
        (false, _, _) => StatusCode::CONFLICT,
        (true, true, _) => StatusCode::ACCEPTED,
        (true, false, true) if version.is_v2() => StatusCode::ACCEPTED,
        (true, false, _) => StatusCode::OK,
    }
}

/// One DICOM JSON element.
#[derive(Serialize)]
struct Element<T> {
    vr: &'static str,
    #[serde(rename = "Value", skip_serializing_if = "Vec::is_empty")]
    value: Vec<T>,
}

impl<T> Element<T> {
    fn of(vr: &'static str, value: T) -> Self {
        Self { vr, value: vec![value] }
    }

    fn some(vr: &'static str, value: Vec<T>) -> Option<Self> {
        (!value.is_empty()).then_some(Self { vr, value })
    }
}

/// The answer's dataset.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "00081190", skip_serializing_if = "Option::is_none")]
    retrieve_url: Option<Element<String>>,
    #[serde(rename = "00081198", skip_serializing_if = "Option::is_none")]
    failed: Option<Element<Item<'a>>>,
    #[serde(rename = "00081199", skip_serializing_if = "Option::is_none")]
    referenced: Option<Element<Item<'a>>>,
}

/// One instance of the answer; keys in ascending order.
#[derive(Default, Serialize)]
struct Item<'a> {
    #[serde(rename = "00081150", skip_serializing_if = "Option::is_none")]
    sop_class: Option<Element<&'a str>>,
    #[serde(rename = "00081155", skip_serializing_if = "Option::is_none")]
    sop_instance: Option<Element<&'a str>>,
    #[serde(rename = "00081190", skip_serializing_if = "Option::is_none")]
    retrieve_url: Option<Element<String>>,
    #[serde(rename = "00081196", skip_serializing_if = "Option::is_none")]
    warning_reason: Option<Element<u16>>,
    #[serde(rename = "00081197", skip_serializing_if = "Option::is_none")]
    failure_reason: Option<Element<u16>>,
    #[serde(rename = "00741048", skip_serializing_if = "Option::is_none")]
    failed_attributes: Option<Element<ErrorComment>>,
}

#[derive(Serialize)]
struct ErrorComment {
    #[serde(rename = "00000902")]
    comment: Element<String>,
}

fn comments(findings: &[Finding]) -> Element<ErrorComment> {
    let comment = |finding: &Finding| ErrorComment { comment: Element::of("LO", finding.comment()) };
    Element { vr: "SQ", value: findings.iter().map(comment).collect() }
}

fn item<'a>(version: Version, base: &Base, part: &'a PartOutcome) -> Item<'a> {
    match part {
        PartOutcome::Stored { key, sop_class, sop_instance, warning, findings, change: _ } => Item {
            sop_class: Some(Element::of("UI", sop_class.as_str())),
            sop_instance: Some(Element::of("UI", sop_instance.as_str())),
            retrieve_url: Some(Element::of("UR", base.instance(key))),
            warning_reason: warning.map(|warning| Element::of("US", warning)),
            failed_attributes: version.is_v2().then(|| comments(findings)),
            ..Item::default()
        },
        PartOutcome::Refused { sop_class, sop_instance, why } => Item {
            sop_class: sop_class.as_deref().map(|text| Element::of("UI", text)),
            sop_instance: sop_instance.as_deref().map(|text| Element::of("UI", text)),
            failure_reason: Some(Element::of("US", failure_reason(why))),
            failed_attributes: match why {
                PartRefusal::Invalid(invalid) if !invalid.findings.is_empty() => {
                    Some(comments(&invalid.findings))
                }
                PartRefusal::Invalid(_)
                | PartRefusal::Unreadable(_)
                | PartRefusal::Directory
                | PartRefusal::AlreadyStored
                | PartRefusal::Failed(_) => None,
            },
            ..Item::default()
        },
    }
}

fn answer(version: Version, base: &Base, study: Option<&Uid>, stored: &Stored) -> Response {
    let (mut failed, mut referenced) = (Vec::new(), Vec::new());
    for part in &stored.parts {
        match part {
            PartOutcome::Stored { .. } => referenced.push(item(version, base, part)),
            PartOutcome::Refused { .. } => failed.push(item(version, base, part)),
        }
    }
    let study = study.filter(|_| !referenced.is_empty());
    let dataset = Answer {
        retrieve_url: study.map(|study| Element::of("UR", base.study(study))),
        failed: Element::some("SQ", failed),
        referenced: Element::some("SQ", referenced),
    };
    let body = serde_json::to_vec(&dataset).expect("texts and numbers always have a JSON form");
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))];
    let mut response = (status(version, &stored.parts), kind, body).into_response();
    if stored.several_values
        && let Ok(warning) = HeaderValue::from_str(&format!("299 {}: \"{SEVERAL_VALUES}\"", base.host()))
    {
        response.headers_mut().insert(WARNING, warning);
    }
    response
}

#[cfg(test)]
mod tests;
