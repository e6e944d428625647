//! Retrieve of a study, a series or an instance (WADO-RS, PS3.18 §10.4.1.1.1; `studies.md` §3).
//!
//! Invariant: files are read only as the client takes them, and every byte sent has been checked. What is
//! missing or changed among the first page of files shows as a status, later it breaks the connection.
//! Elsewhere: single frames (`frames`), the choice of form and syntax (`http::accept`).

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Pages, broken};
use crate::archive::{LiveInstance, ReadError};
use crate::blob::{Blobs, Expected};
use crate::dicom::uid::Uid;
use crate::http::accept::{Form, Resource, Selected, Syntax, select};
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::multipart::{self, Part};
use crate::http::urls::UrlScope;
use crate::http::{App, left_out};

/// Files looked at together before an answer begins.
const CHECKS: usize = 8;

/// GET of files on three levels. Partition, UIDs, `Accept`, existence and syntax are checked in this order.
pub(in crate::http) async fn retrieve(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let resource = if scope.instance.is_some() { Resource::Instance } else { Resource::StudyOrSeries };
    let selected = select(resource, &headers)?;
    let mut pages = Pages::of(&app.archive, partition, scope);
    let page = pages.first().await?;
    if let Syntax::Named(wanted) = selected.syntax {
        stored_so(wanted, &page, pages.clone()).await?;
    }
    let tag = match resource {
        Resource::Instance => Some(EntityTag::of_version(page[0].version, selected.form, selected.media)),
        Resource::StudyOrSeries | Resource::Frames => None,
    };
    if let Some(known) = tag.as_ref().and_then(|tag| tag.not_modified(&headers)) {
        return Ok(known);
    }
    let checked = stream::iter(page).map(|live| checked(&app, live)).buffered(CHECKS);
    let mut files: Vec<_> = checked.try_collect().await?;
    let answer = match selected.form {
        Form::Single => single(&app, selected, files.swap_remove(0), &method).await,
        Form::Multipart => several(&app, selected, files, pages, &method).await,
    };
    Ok((tag.map(|tag| tag.header()), answer?).into_response())
}

/// Passes when every instance is stored in `wanted`. One that is not would have to be transcoded.
async fn stored_so(wanted: &str, page: &[LiveInstance], mut pages: Pages) -> Result<(), Error> {
    let fits = |page: &[LiveInstance]| page.iter().all(|live| live.transfer_syntax == wanted);
    if !fits(page) {
        return Err(Error::NotAcceptable("not stored in this transfer syntax; ask for transfer-syntax=*"));
    }
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        if !fits(&page) {
            return Err(Error::NotAcceptable("not all are stored in this syntax; ask for transfer-syntax=*"));
        }
    }
}

async fn checked(app: &App, live: LiveInstance) -> Result<(LiveInstance, Expected), Error> {
    let expected = app.archive.file(&live).await?;
    app.archive.blobs().check(&expected).await?;
    Ok((live, expected))
}

/// A part's content type. The syntax is what a file says of itself: one that is no UID is not repeated.
pub(super) fn content_type(media: &str, transfer_syntax: &str) -> String {
    match Uid::parse(transfer_syntax) {
        Ok(syntax) => format!("{media}; transfer-syntax={syntax}"),
        Err(_) => media.to_owned(),
    }
}

async fn single(
    app: &App,
    selected: Selected,
    (live, file): (LiveInstance, Expected),
    method: &Method,
) -> Result<Response, Error> {
    let head = [
        (CONTENT_TYPE, header_value(&content_type(selected.media, &live.transfer_syntax))),
        (CONTENT_LENGTH, HeaderValue::from(file.length_bytes)),
    ];
    if *method == Method::HEAD {
        return Ok((head, left_out()).into_response());
    }
    let data = app.archive.blobs().read(&file, 0..file.length_bytes).await?;
    let data = data.map_err(|error| broken(ReadError::Blob(error)));
    Ok((head, Body::from_stream(data)).into_response())
}

async fn several(
    app: &App,
    selected: Selected,
    files: Vec<(LiveInstance, Expected)>,
    pages: Pages,
    method: &Method,
) -> Result<Response, Error> {
    let boundary = app.archive.new_id().simple().to_string();
    let head = [(CONTENT_TYPE, multipart_type(selected.media, &boundary))];
    if *method == Method::HEAD {
        return Ok((head, left_out()).into_response());
    }
    let archive = app.archive.clone();
    let mut files = files.into_iter();
    let (live, file) = files.next().expect("a first page is never empty");
    // Opened before the answer begins: a small file that was changed still gets its status.
    let first = part(archive.blobs().clone(), selected, live, file).await?;
    let later = pages.rest().and_then({
        let archive = archive.clone();
        move |live| {
            let archive = archive.clone();
            async move { archive.file(&live).await.map(|file| (live, file)) }
        }
    });
    let rest = stream::iter(files.map(Ok)).chain(later);
    let rest = rest.and_then(move |(live, file)| part(archive.blobs().clone(), selected, live, file));
    let parts = stream::once(async { Ok(first) }).chain(rest).map_err(broken);
    Ok((head, multipart::body(&boundary, parts)).into_response())
}

async fn part(
    blobs: Blobs,
    selected: Selected,
    live: LiveInstance,
    file: Expected,
) -> Result<Part<ReadError>, ReadError> {
    let data = blobs.read(&file, 0..file.length_bytes).await?;
    let data = data.map_err(|error| broken(ReadError::Blob(error))).boxed();
    Ok(Part { content_type: content_type(selected.media, &live.transfer_syntax), data })
}

/// `multipart/related` with its type, which the reference leaves out and viewers stumble on (§3.9).
pub(super) fn multipart_type(media: &str, boundary: &str) -> HeaderValue {
    header_value(&format!("multipart/related; type=\"{media}\"; boundary={boundary}"))
}

/// A header made of media types, UIDs and hex numbers.
pub(super) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("media types, UIDs and hex numbers are legal in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_syntax_cannot_add_headers() {
        assert_eq!(content_type("a/b", "1.2.840.10008.1.2"), "a/b; transfer-syntax=1.2.840.10008.1.2");
        assert_eq!(content_type("a/b", "1.2\r\nX: y"), "a/b");
    }
}
