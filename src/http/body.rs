//! The body of a request while it is received: counted, and in motion.
//!
//! Invariant: no more bytes are handed on than the limit allows.
//! Invariant: time counts only while the client is waited for, never while the archive is busy with what
//! it has.
//! Elsewhere: framing of multipart bodies (`multipart`), limits of single files (`archive::ingest`).

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use crate::ops::metrics;

/// How large a body may be and how slowly it may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Most bytes in all.
    pub(super) bytes: u64,
    /// Within each such time of waiting …
    pub(super) window: Duration,
    /// … at least so many bytes must come.
    pub(super) bytes_per_window: u64,
}

/// Why a body cannot be received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// Larger than allowed, as declared or as received.
    #[error("the body is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Too few bytes in too long a time.
    #[error("the body came too slowly: fewer than {bytes} bytes in {seconds} s")]
    Stalled {
        /// Demanded.
        bytes: u64,
        /// In this time.
        seconds: u64,
    },
    /// The connection ended before the body did.
    #[error("the body was cut off")]
    Cut,
}

/// Bytes of a refused body thrown away at most.
const LINGER_BYTES: u64 = 4 << 20;
/// Time after which a refused body is let go.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// A body on its way in.
pub(super) struct Incoming {
    body: Body,
    limits: BodyLimits,
    seen: u64,
    /// Waiting time left and bytes still wanted in this window.
    left: Duration,
    wanted: u64,
}

impl Incoming {
    /// Begins to receive `body`.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when the headers already say so.
    pub(super) fn new(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Self, BodyError> {
        let declared = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|declared| declared > limits.bytes) {
            return Err(BodyError::TooLarge { limit_bytes: limits.bytes });
        }
        Ok(Self { body, limits, seen: 0, left: limits.window, wanted: limits.bytes_per_window })
    }

    /// The next bytes, never empty; `None` at the end.
    ///
    /// # Errors
    /// [`BodyError`]; the body is of no more use then.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let began = Instant::now();
            let Ok(frame) = timeout(self.left, self.body.frame()).await else { return Err(self.stalled()) };
            self.left = self.left.saturating_sub(began.elapsed());
            let Some(frame) = frame else { return Ok(None) };
            let Ok(bytes) = frame.map_err(|_| BodyError::Cut)?.into_data() else { continue };
            if bytes.is_empty() {
                continue;
            }
            let length = bytes.len() as u64;
            self.seen += length;
            metrics::received(length);
            if self.seen > self.limits.bytes {
                return Err(BodyError::TooLarge { limit_bytes: self.limits.bytes });
            }
            self.wanted = self.wanted.saturating_sub(length);
            if self.wanted == 0 {
                (self.left, self.wanted) = (self.limits.window, self.limits.bytes_per_window);
            }
            return Ok(Some(bytes));
        }
    }

    /// What has not been read.
    pub(super) fn into_rest(self) -> Body {
        self.body
    }

    fn stalled(&self) -> BodyError {
        BodyError::Stalled { bytes: self.limits.bytes_per_window, seconds: self.limits.window.as_secs() }
    }
}

/// Takes a bounded rest of a refused body beside the answer, and lets go of it only after a while: a client
/// whose connection or stream is reset while it sends often never reads why it was refused. One that waits
/// for `100 Continue` is not told to go on.
pub(super) fn linger(headers: &HeaderMap, mut rest: Body) {
    let mut left = if headers.contains_key(EXPECT) { 0 } else { LINGER_BYTES };
    tokio::spawn(timeout(LINGER_TIME, async move {
        while left > 0 {
            let Some(Ok(frame)) = rest.frame().await else { return };
            left = left.saturating_sub(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
        }
        std::future::pending::<()>().await;
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;

    const LIMITS: BodyLimits = BodyLimits { bytes: 10, window: Duration::from_secs(30), bytes_per_window: 4 };

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_before_a_byte_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
        let refused = Incoming::new(&headers, Body::empty(), LIMITS).err();
        assert_eq!(refused, Some(BodyError::TooLarge { limit_bytes: 10 }));
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_counted() {
        let pieces = stream::iter(["12345", "", "67890", "1"].map(Ok::<_, Infallible>));
        let mut body = Incoming::new(&HeaderMap::new(), Body::from_stream(pieces), LIMITS).unwrap();
        assert_eq!(body.next().await, Ok(Some("12345".into())));
        assert_eq!(body.next().await, Ok(Some("67890".into())));
        assert_eq!(body.next().await, Err(BodyError::TooLarge { limit_bytes: 10 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_that_never_stops_is_refused_all_the_same() {
        let drip = stream::iter(0..9).then(|_| async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            Ok::<_, Infallible>("x")
        });
        let mut body = Incoming::new(&HeaderMap::new(), Body::from_stream(drip), LIMITS).unwrap();
        for _ in 0..3 {
            assert_eq!(body.next().await, Ok(Some("x".into())));
        }
        assert_eq!(body.next().await, Err(BodyError::Stalled { bytes: 4, seconds: 30 }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_the_archive_takes_is_not_the_clients() {
        let quick = stream::iter(["1", "2", "3"].map(Ok::<_, Infallible>));
        let mut body = Incoming::new(&HeaderMap::new(), Body::from_stream(quick), LIMITS).unwrap();
        while body.next().await.unwrap().is_some() {
            tokio::time::advance(Duration::from_secs(60)).await;
        }
    }
}
