//! What is counted of requests and answers.
//!
//! Invariant: labels are patterns of routes and known methods, never what a client chooses.
//! Elsewhere: the names (`ops::metrics`).

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::ops::metrics::{self, Running};

/// Remembers with the answer which route gave it.
pub(super) async fn remember_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// A request from its head to the end of its answer's body.
pub(super) struct Counted {
    method: &'static str,
    began: Instant,
    running: Running,
}

impl Counted {
    /// It has come.
    pub(super) fn begin(method: &Method) -> Self {
        Self { method: name(method), began: Instant::now(), running: Running::begin() }
    }

    /// The head of its answer is there; its body is counted as it goes out.
    pub(super) fn answered(self, response: Response) -> Response {
        let route = response.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
        let (status, took) = (response.status().as_u16(), self.began.elapsed());
        metrics::request_ended(self.method, route, status, took);
        let duration_ms = took.as_millis();
        tracing::debug!(method = self.method, route, status, duration_ms, "a request was answered");
        response.map(|body| Body::new(Sent { body, _running: self.running }))
    }
}

fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A body that counts what it gives.
struct Sent {
    body: Body,
    _running: Running,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            metrics::sent(bytes.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
