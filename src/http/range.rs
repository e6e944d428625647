//! One part of a body asked for by `Range` (RFC 9110 §14).
//!
//! A header that cannot be read, names another unit or several ranges is of no account: the whole is served. HEAD
//! is answered as GET would be (`studies.md` §7.6).
//!
//! Invariant: a part lies inside the body and is not empty.
//! Elsewhere: whether the client's copy is still this one (`etag`), reading a part (`blob`).

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::Error;
use super::etag::EntityTag;

/// What of a body of known length is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The bytes of it.
    pub(super) bytes: Range<u64>,
    whole_bytes: u64,
    partial: bool,
}

impl Span {
    /// What the request asks for of a body of `length_bytes` under `tag`.
    ///
    /// # Errors
    /// [`Error::Range`] when no byte of it is there.
    pub(super) fn of(headers: &HeaderMap, tag: &EntityTag, length_bytes: u64) -> Result<Self, Error> {
        let whole = Self { bytes: 0..length_bytes, whole_bytes: length_bytes, partial: false };
        if !tag.may_be_ranged(headers) {
            return Ok(whole);
        }
        let mut given = headers.get_all(RANGE).into_iter();
        let (Some(range), None) = (given.next(), given.next()) else { return Ok(whole) };
        match range.to_str().ok().and_then(Asked::parse) {
            None => Ok(whole),
            Some(asked) => {
                let bytes = asked.within(length_bytes).ok_or(Error::Range { length_bytes })?;
                Ok(Self { bytes, partial: true, ..whole })
            }
        }
    }

    /// Status and headers of the answer, and its body.
    pub(super) fn answer(&self, content_type: HeaderValue, body: Body) -> Response {
        let Range { start, end } = self.bytes;
        let head = [
            (CONTENT_TYPE, content_type),
            (CONTENT_LENGTH, HeaderValue::from(end - start)),
            (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        ];
        if !self.partial {
            return (head, body).into_response();
        }
        let range = format!("bytes {start}-{}/{}", end - 1, self.whole_bytes);
        let range = HeaderValue::from_str(&range).expect("words and numbers are legal in a header");
        (StatusCode::PARTIAL_CONTENT, head, [(CONTENT_RANGE, range)], body).into_response()
    }
}

/// `Content-Range` of an answer that there is no such range.
pub(super) fn unsatisfied(length_bytes: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes */{length_bytes}"))
        .expect("words and numbers are legal in a header")
}

/// One range as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// From here, to there if it is said; both included.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Asked {
    /// `None` for anything but one range of bytes.
    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // Beyond any body.
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (first, last) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The bytes of it in a body of this length, if there are any.
    fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(range: &'static str, length_bytes: u64) -> Option<(Range<u64>, bool)> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(range));
        let span = Span::of(&headers, &EntityTag::strong("1".to_owned()), length_bytes).ok()?;
        Some((span.bytes, span.partial))
    }

    #[test]
    fn one_range_is_cut_to_what_is_there() {
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=8-", 8..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("Bytes = 0-9", 0..10),
        ] {
            assert_eq!(span(range, 10), Some((expected, true)), "{range}");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_of_no_account() {
        for range in [
            "bytes=0-1,3-4",
            "bytes=4-2",
            "bytes=a-b",
            "bytes=-",
            "bytes=",
            "bytes",
            "bytes=1",
            "frames=1-2",
            "bytes=+1-2",
            "bytes=1--2",
            "",
        ] {
            assert_eq!(span(range, 10), Some((0..10, false)), "{range}");
        }
    }

    #[test]
    fn a_range_without_a_byte_cannot_be_served() {
        for (range, length) in [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0)] {
            assert_eq!(span(range, length), None, "{range} of {length}");
        }
        assert_eq!(unsatisfied(10), "bytes */10");
    }
}
