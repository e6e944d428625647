//! Rendered instances and frames, and thumbnails (PS3.18 §10.4.1.1.3 and .4; `studies.md` §3.7).
//!
//! Invariant: whether a client has the picture already is found out without a pixel.
//! Elsewhere: which image stands for a series or a study (`thumbnail`), the picture itself (`frame`).

mod frame;
mod tag;
mod thumbnail;
mod wish;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};

use self::frame::{Chosen, Plan};
use self::wish::Wish;
use super::not_found;
use crate::archive::{Archive, LiveInstance};
use crate::base::Partition;
use crate::codecs::Limits;
use crate::event::Scope;
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::urls::{UrlFrames, UrlScope, query_pairs};
use crate::http::{App, left_out};

pub(in crate::http) use self::thumbnail::{thumbnail, thumbnail_of_frame};

/// What is said of a frame that should be there.
const NO_BYTES: Error = Error::NotAcceptable("the frame's bytes are missing, or cannot be told from others");

/// What all requests for pictures share.
pub(in crate::http) struct Pictures {
    room: frame::Room,
    choices: thumbnail::Choices,
}

impl Pictures {
    /// As many bytes of pictures may be in the making as frames may be decoded.
    pub(in crate::http) fn new(limits: Limits) -> Self {
        Self { room: frame::Room::of(limits.in_flight_bytes), choices: thumbnail::Choices::default() }
    }
}

/// GET `…/instances/{instance}/rendered`: its first frame.
pub(in crate::http) async fn instance(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    State(app): State<App>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wish = Wish::of_picture(&query_pairs(&uri), &headers)?;
    shown(&app, &partition, &scope, 1, wish, &method, &headers).await
}

/// GET `…/frames/{number}/rendered`.
pub(in crate::http) async fn one_frame(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    UrlFrames(numbers): UrlFrames,
    State(app): State<App>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let number = single(&numbers)?;
    let wish = Wish::of_picture(&query_pairs(&uri), &headers)?;
    shown(&app, &partition, &scope, number, wish, &method, &headers).await
}

/// The answer with one frame, as wished.
async fn shown(
    app: &App,
    partition: &Partition,
    scope: &Scope,
    number: u32,
    wish: Wish,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let live = live(&app.archive, partition, scope)?;
    let tag = tag::of(&live.version.to_string(), Some(number), &wish);
    let chosen = chosen(&app.archive, live, number).await?;
    if let Some(known) = tag.not_modified(headers) {
        return Ok(known);
    }
    let plan = chosen.plan(app, wish).await?;
    answer(app, &chosen, plan, &wish, &tag, method).await
}

/// The one number of a path.
fn single(numbers: &[u32]) -> Result<u32, Error> {
    match numbers {
        [number] => Ok(*number),
        _ => Err(Error::Identifier("frames are rendered one at a time".to_owned())),
    }
}

fn live(archive: &Archive, partition: &Partition, scope: &Scope) -> Result<LiveInstance, Error> {
    archive.instances(partition, scope, None, 1)?.pop().ok_or_else(|| not_found(scope))
}

/// A frame of an instance; 404 when it is not there.
async fn chosen(archive: &Archive, live: LiveInstance, number: u32) -> Result<Chosen, Error> {
    let framed = archive.frames(&live).await?;
    if framed.frames.count() == 0 {
        return Err(Error::NotFound("The instance's pixel data"));
    }
    if number > framed.frames.count() {
        return Err(Error::NotFound("The frame"));
    }
    if !framed.frames.has(number) {
        return Err(NO_BYTES);
    }
    Ok(Chosen { live, framed, number })
}

async fn answer(
    app: &App,
    chosen: &Chosen,
    plan: Plan,
    wish: &Wish,
    tag: &EntityTag,
    method: &Method,
) -> Result<Response, Error> {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(wish.media()))];
    if *method == Method::HEAD {
        return Ok((tag.header(), kind, left_out()).into_response());
    }
    let picture = chosen.picture(app, plan).await?;
    // The bytes' own type gives way to the one before them.
    Ok((tag.header(), kind, picture).into_response())
}
