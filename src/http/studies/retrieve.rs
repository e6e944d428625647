//! Retrieve of a study, a series or an instance (WADO-RS, PS3.18 §10.4.1.1.1; `studies.md` §3).
//!
//! Invariant: files are read only as the client takes them, and every byte sent has been checked. What is
//! missing or changed among the first page of files shows as a status, later it breaks the connection.
//! Invariant: whether every instance can be had in the syntax asked for is decided before the first byte.
//! Elsewhere: single frames (`frames`), the choice of form and syntax (`http::accept`), other syntaxes than the
//! stored one (`reencoded`, `transcoded`).

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::transcoded::{Change, Data, keeping_pixels};
use super::{Pages, broken, reencoded, transcoded};
use crate::archive::{LiveInstance, Located, ReadError};
use crate::dicom::pixels::feasible::Encoding;
use crate::dicom::uid::Uid;
use crate::http::accept::{Accepted, Form, Resource, Selected, Syntax};
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::multipart::{self, Part};
use crate::http::range::Span;
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
    let accepted = Accepted::of(resource, &headers)?;
    let mut pages = Pages::of(&app.archive, partition, scope);
    let page = pages.first().await?;
    let stored =
        if accepted.names_a_syntax() { Stored::of(&page, pages.clone()).await? } else { Stored::default() };
    let as_stored = |selected: &Selected| match selected.syntax {
        Syntax::AsStored => true,
        Syntax::Named(named) => stored.only_in(named),
    };
    let encoded = |selected: &Selected| match selected.syntax {
        Syntax::AsStored => true,
        Syntax::Named(named) => Encoding::of(named).is_some(),
    };
    // What is stored so comes first.
    let selected = accepted.choose(as_stored).or_else(|_| accepted.choose(encoded))?;
    if let Syntax::Named(wanted) = selected.syntax {
        stored.can_be_had_in(&app, wanted, pages.clone()).await?;
    }
    let tag = match resource {
        Resource::Instance => Some(tag_of(&page[0], selected)),
        Resource::StudyOrSeries | Resource::Frames | Resource::BulkData => None,
    };
    if let Some(known) = tag.as_ref().and_then(|tag| tag.not_modified(&headers)) {
        return Ok(known);
    }
    let checked = stream::iter(page).map(|live| checked(&app, selected, live)).buffered(CHECKS);
    let mut files: Vec<_> = checked.try_collect().await?;
    let answer = match (selected.form, &tag) {
        (Form::Single, Some(tag)) => {
            single(&app, selected, files.swap_remove(0), tag, &method, &headers).await
        }
        (Form::Single | Form::Multipart, _) => several(&app, selected, files, pages, &method).await,
    };
    Ok((tag.map(|tag| tag.header()), answer?).into_response())
}

fn tag_of(live: &LiveInstance, selected: Selected) -> EntityTag {
    let tag = EntityTag::of_version(live.version, selected.form, selected.media);
    match selected.syntax {
        Syntax::Named(wanted) if wanted != live.transfer_syntax => tag.encoded_as(wanted),
        Syntax::Named(_) | Syntax::AsStored => tag,
    }
}

/// The transfer syntaxes that the instances asked for are stored in, and the largest file of each.
#[derive(Debug, Default)]
struct Stored(BTreeMap<String, u64>);

impl Stored {
    async fn of(page: &[LiveInstance], mut pages: Pages) -> Result<Self, Error> {
        let mut stored = Self::default();
        stored.note(page);
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                return Ok(stored);
            }
            stored.note(&page);
        }
    }

    fn note(&mut self, page: &[LiveInstance]) {
        for live in page {
            let largest = match self.0.get_mut(&live.transfer_syntax) {
                Some(largest) => largest,
                None => self.0.entry(live.transfer_syntax.clone()).or_default(),
            };
            *largest = live.file.length_bytes.max(*largest);
        }
    }

    fn only_in(&self, syntax: &str) -> bool {
        self.0.keys().all(|stored| stored == syntax)
    }

    /// Passes when every instance behind the first page can be sent in `wanted`, and none of all is too large: decided
    /// before the first byte, as it is for those of the first page when they are [`checked`].
    async fn can_be_had_in(&self, app: &App, wanted: &str, mut pages: Pages) -> Result<(), Error> {
        let limit_bytes = app.settings.transcode_bytes;
        let others = || self.0.iter().filter(|(stored, _)| *stored != wanted);
        if others().any(|(_, largest)| *largest > limit_bytes) {
            return Err(Error::NotAcceptable("too large to be transcoded; ask for transfer-syntax=*"));
        }
        if others().all(|(stored, _)| keeping_pixels(stored, wanted).is_some()) {
            return Ok(());
        }
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                return Ok(());
            }
            let others = page.into_iter().filter(|live| live.transfer_syntax != wanted);
            let changes =
                stream::iter(others).map(|live| async move { Change::of(app, &live, wanted).await });
            changes.buffered(CHECKS).try_for_each(|_| async { Ok(()) }).await?;
        }
    }
}

/// A file about to be sent.
struct Outgoing {
    live: LiveInstance,
    at: Located,
    /// What is done to it, and the syntax it is in then, unless it is sent as it is stored.
    change: Option<(Change, &'static str)>,
}

impl Outgoing {
    async fn of(app: &App, selected: Selected, live: LiveInstance) -> Result<Self, Error> {
        let at = app.archive.located(&live).await?;
        let change = match selected.syntax {
            Syntax::Named(wanted) if wanted != live.transfer_syntax => {
                Some((Change::of(app, &live, wanted).await?, wanted))
            }
            Syntax::Named(_) | Syntax::AsStored => None,
        };
        Ok(Self { live, at, change })
    }

    fn content_type(&self, media: &str) -> String {
        let syntax = self.change.as_ref().map_or(self.live.transfer_syntax.as_str(), |(_, wanted)| wanted);
        content_type(media, syntax)
    }

    /// The whole file; its first bytes have been read when this answers.
    async fn open(&self, app: &App) -> Result<Data, Error> {
        let blobs = app.archive.blobs();
        match &self.change {
            Some((Change::Reencoded(source), wanted)) => {
                let data = reencoded::open(blobs, &self.live, &self.at, *source, wanted).await?;
                Ok(data.map_err(|error| broken(Error::from(error))).boxed())
            }
            Some((Change::Transcoded(plan), _)) => transcoded::open(app, &self.live, &self.at, plan).await,
            None => {
                let data = blobs.read(&self.at.file, 0..self.at.file.length_bytes).await?;
                Ok(data.map_err(|error| broken(Error::from(error))).boxed())
            }
        }
    }
}

async fn checked(app: &App, selected: Selected, live: LiveInstance) -> Result<Outgoing, Error> {
    let file = Outgoing::of(app, selected, live).await?;
    if file.change.is_some() {
        reencoded::check(&file.at)?;
    }
    app.archive.blobs().check(&file.at.file).await?;
    Ok(file)
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
    file: Outgoing,
    tag: &EntityTag,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let kind = header_value(&file.content_type(selected.media));
    let blobs = app.archive.blobs();
    if file.change.is_some() {
        // Its length shows only when it is over, so it has no ranges.
        let head = [(CONTENT_TYPE, kind)];
        if *method == Method::HEAD {
            return Ok((head, left_out()).into_response());
        }
        return Ok((head, Body::from_stream(file.open(app).await?)).into_response());
    }
    let span = Span::of(headers, tag, file.at.file.length_bytes)?;
    if *method == Method::HEAD {
        return Ok(span.answer(kind, left_out()));
    }
    let data = blobs.read(&file.at.file, span.bytes.clone()).await?;
    let data = data.map_err(|error| broken(ReadError::Blob(error)));
    Ok(span.answer(kind, Body::from_stream(data)))
}

async fn several(
    app: &App,
    selected: Selected,
    files: Vec<Outgoing>,
    pages: Pages,
    method: &Method,
) -> Result<Response, Error> {
    let boundary = app.archive.new_id().simple().to_string();
    let head = [(CONTENT_TYPE, multipart_type(selected.media, &boundary))];
    if *method == Method::HEAD {
        return Ok((head, left_out()).into_response());
    }
    let mut files = files.into_iter();
    let first = files.next().expect("a first page is never empty");
    // Opened before the answer begins: a small file that was changed still gets its status.
    let first = part(app.clone(), selected, first).await?;
    let later = pages.rest().map_err(Error::from).and_then({
        let app = app.clone();
        move |live| {
            let app = app.clone();
            async move { Outgoing::of(&app, selected, live).await }
        }
    });
    let app = app.clone();
    let rest = stream::iter(files.map(Ok)).chain(later);
    let rest = rest.and_then(move |file| part(app.clone(), selected, file));
    let parts = stream::once(async { Ok(first) }).chain(rest.map_err(broken));
    Ok((head, multipart::body(&boundary, parts)).into_response())
}

async fn part(app: App, selected: Selected, file: Outgoing) -> Result<Part<Error>, Error> {
    let data = file.open(&app).await?;
    Ok(Part { content_type: file.content_type(selected.media), data })
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
