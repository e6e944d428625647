//! `multipart/related` bodies, both ways: parts of a store, parts of a retrieve.
//!
//! Reading follows RFC 2046 §5.1.1: CRLF framing, a preamble and an epilogue that are passed over, padding
//! behind a delimiter, parts that have no headers at all. A delimiter followed by anything else, or a body
//! that ends before the closing one, is malformed.
//!
//! Invariant: a reader holds one piece of the body, plus at most one part's headers or the length of a
//! delimiter. A writer holds one piece of one part.
//! Elsewhere: which part types are taken (`studies::store`), limits of the body (`body`).

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use memchr::memmem::Finder;

use super::body::{BodyError, Incoming};
use super::media::MediaType;

/// Most bytes of the headers of one part.
const PART_HEADER_BYTES: usize = 16 << 10;
/// Longest boundary. RFC 2046 §5.1.1 has 70 characters; Orthanc sends 73.
const BOUNDARY_LENGTH: usize = 256;
/// Most blanks behind a delimiter.
const PADDING_BYTES: usize = 256;
const CRLF: &[u8] = b"\r\n";

/// Why no more parts can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MultipartError {
    /// The body itself.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Its framing.
    #[error("the multipart body is malformed: {0}")]
    Malformed(&'static str),
}

/// The delimiter of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boundary(Vec<u8>);

impl Boundary {
    /// A boundary as a client declares it. More than RFC 2046 allows is taken, except what could not be
    /// told from the framing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let fits = (1..=BOUNDARY_LENGTH).contains(&text.len()) && !text.contains(['\r', '\n']);
        fits.then(|| Self([b"\r\n--", text.as_bytes()].concat()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first delimiter.
    Preamble,
    /// Behind a part's headers; the CRLF that ends them is still there, for it may belong to a delimiter.
    Start,
    /// In a part's data.
    Data,
    /// Behind a delimiter.
    Delimiter,
    /// Behind the closing one.
    End,
}

/// The parts of a body, one after the other.
pub(super) struct Parts<'a> {
    body: &'a mut Incoming,
    boundary: Boundary,
    finder: Finder<'static>,
    held: Bytes,
    at: At,
}

impl<'a> Parts<'a> {
    /// Begins to read.
    pub(super) fn new(body: &'a mut Incoming, boundary: Boundary) -> Self {
        let finder = Finder::new(&boundary.0).into_owned();
        // A delimiter at the very start has no line end in front; with one put there all are alike.
        Self { body, boundary, finder, held: Bytes::from_static(CRLF), at: At::Preamble }
    }

    /// Goes to the next part, over what is left of the present one. The type it declares, if any.
    ///
    /// `None` behind the last part; the body has been read to its end then.
    pub(super) async fn next(&mut self) -> Result<Option<Option<MediaType>>, MultipartError> {
        while self.data().await?.is_some() {}
        if self.at == At::End {
            return Ok(None);
        }
        while self.held.len() < 2 {
            self.more().await?;
        }
        if self.held.starts_with(b"--") {
            self.at = At::End;
            self.held = Bytes::new();
            while self.body.next().await?.is_some() {}
            return Ok(None);
        }
        self.end_of_line().await?;
        let headers = self.headers().await?;
        self.at = At::Start;
        content_type(&headers).map(Some)
    }

    /// The next bytes of the present part; `None` behind its last.
    pub(super) async fn data(&mut self) -> Result<Option<Bytes>, MultipartError> {
        if matches!(self.at, At::Delimiter | At::End) {
            return Ok(None);
        }
        loop {
            if self.at == At::Start && self.held.len() >= self.boundary.0.len() {
                if !self.held.starts_with(&self.boundary.0) {
                    let _ = self.held.split_to(CRLF.len());
                }
                self.at = At::Data;
            }
            if self.at != At::Start {
                if let Some(found) = self.finder.find(&self.held) {
                    let data = self.held.split_to(found);
                    let _ = self.held.split_to(self.boundary.0.len());
                    self.at = At::Delimiter;
                    return Ok((!data.is_empty()).then_some(data));
                }
                let keep = possible_start(&self.held, &self.boundary.0);
                let data = self.held.split_to(self.held.len() - keep);
                if !data.is_empty() {
                    return Ok(Some(data));
                }
            }
            self.more().await?;
        }
    }

    /// Blanks, then the end of the delimiter's line.
    async fn end_of_line(&mut self) -> Result<(), MultipartError> {
        let mut skipped = 0;
        loop {
            while self.held.len() < CRLF.len() {
                self.more().await?;
            }
            if self.held.starts_with(CRLF) {
                let _ = self.held.split_to(CRLF.len());
                return Ok(());
            }
            if !matches!(self.held[0], b' ' | b'\t') || skipped == PADDING_BYTES {
                return Err(MultipartError::Malformed("something follows a boundary on its line"));
            }
            let _ = self.held.split_to(1);
            skipped += 1;
        }
    }

    /// The header lines of a part, each with its CRLF; the CRLF of the blank line is left.
    async fn headers(&mut self) -> Result<Bytes, MultipartError> {
        let mut searched = 0;
        loop {
            if self.held.starts_with(CRLF) {
                return Ok(Bytes::new());
            }
            // Looked for no further than they may reach, in however large pieces the body comes.
            let within = &self.held[..self.held.len().min(PART_HEADER_BYTES)];
            if let Some(found) = memchr::memmem::find(&within[searched..], b"\r\n\r\n") {
                return Ok(self.held.split_to(searched + found + CRLF.len()));
            }
            if self.held.len() >= PART_HEADER_BYTES {
                return Err(MultipartError::Malformed("the headers of a part are too long"));
            }
            searched = self.held.len().saturating_sub(3);
            self.more().await?;
        }
    }

    /// Puts the next piece of the body behind what is held.
    async fn more(&mut self) -> Result<(), MultipartError> {
        let next = self.body.next().await?;
        let Some(next) = next else {
            let missing = match self.at {
                At::Preamble => "there is no boundary in it",
                At::Start | At::Data | At::Delimiter | At::End => "it ends before the closing boundary",
            };
            return Err(MultipartError::Malformed(missing));
        };
        if self.held.is_empty() {
            self.held = next;
        } else {
            let mut joined = BytesMut::with_capacity(self.held.len() + next.len());
            joined.extend_from_slice(&self.held);
            joined.extend_from_slice(&next);
            self.held = joined.freeze();
        }
        Ok(())
    }
}

/// How many bytes at the end of `bytes` may be the start of `delimiter`.
fn possible_start(bytes: &[u8], delimiter: &[u8]) -> usize {
    let longest = bytes.len().min(delimiter.len() - 1);
    let tail = &bytes[bytes.len() - longest..];
    // A delimiter holds no second CR, so only the last one can begin it.
    match memchr::memrchr(b'\r', tail) {
        Some(at) if delimiter.starts_with(&tail[at..]) => tail.len() - at,
        Some(_) | None => 0,
    }
}

/// The media type among a part's headers. Folded lines belong to the line before; other headers are of no
/// interest.
fn content_type(headers: &[u8]) -> Result<Option<MediaType>, MultipartError> {
    let text = String::from_utf8_lossy(headers).replace("\r\n ", " ").replace("\r\n\t", " ");
    let mut found = None;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            return Err(MultipartError::Malformed("a header line of a part has no colon"));
        };
        if name.trim().eq_ignore_ascii_case("content-type") && found.is_none() {
            let read = MediaType::parse(value);
            found = Some(read.ok_or(MultipartError::Malformed("the type of a part cannot be read"))?);
        }
    }
    Ok(found)
}

/// One part on its way out.
pub(super) struct Part<E> {
    /// Value of its `Content-Type`.
    pub(super) content_type: String,
    /// Its bytes.
    pub(super) data: BoxStream<'static, Result<Bytes, E>>,
}

/// The body made of `parts`, each asked for only when the one before has been sent. The boundary must not
/// occur in any of them: it is made of a fresh id.
pub(super) fn body<E>(boundary: &str, parts: impl Stream<Item = Result<Part<E>, E>> + Send + 'static) -> Body
where
    E: std::error::Error + Send + Sync + 'static,
{
    let delimiter = format!("--{boundary}\r\n");
    let end = Bytes::from(format!("--{boundary}--\r\n"));
    let parts = parts.map_ok(move |part| {
        let head = Bytes::from(format!("{delimiter}Content-Type: {}\r\n\r\n", part.content_type));
        let line_end = stream::once(async { Ok(Bytes::from_static(CRLF)) });
        stream::once(async { Ok(head) }).chain(part.data).chain(line_end)
    });
    Body::from_stream(parts.try_flatten().chain(stream::once(async { Ok(end) })))
}

#[cfg(test)]
mod tests;
