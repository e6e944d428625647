//! Whether an HTTP/2 client takes what it has asked for.
//!
//! A client that opens no window for its streams is written nothing, so no write to it waits for long. What
//! tells is that answers are there which nobody fetches.
//! Invariant: nobody is let go while the archive works for him, takes bytes, or has asked within the window.
//! Elsewhere: clients whose socket is full, which HTTP/1.1 comes to soon (`server`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::sleep;

/// What goes on over one connection.
#[derive(Default)]
pub(super) struct Progress {
    /// Requests without the end of their answers.
    open: AtomicUsize,
    /// Those of them for which the archive has to do something next.
    ours: AtomicUsize,
    /// Raised whenever a request comes or more of an answer is asked for.
    moves: AtomicU64,
    /// Bytes taken by the client, of whatever kind.
    written: AtomicU64,
}

impl Progress {
    pub(super) fn took(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
    }

    /// Ends when all answers wait for the client and it has taken less than `bytes` in a `window`.
    pub(super) async fn stalled(&self, window: Duration, bytes: usize) {
        loop {
            let before = (self.moves.load(Relaxed), self.written.load(Relaxed));
            sleep(window).await;
            let waits = self.open.load(Relaxed) > 0 && self.ours.load(Relaxed) == 0;
            let taken = self.written.load(Relaxed) - before.1;
            if waits && self.moves.load(Relaxed) == before.0 && taken < bytes as u64 {
                return;
            }
        }
    }
}

/// A request from its head to the end of its answer.
pub(super) struct Answering {
    progress: Arc<Progress>,
    is_ours: bool,
}

impl Answering {
    pub(super) fn begin(progress: &Arc<Progress>) -> Self {
        progress.open.fetch_add(1, Relaxed);
        let mut begun = Self { progress: Arc::clone(progress), is_ours: false };
        begun.turn(true);
        begun
    }

    /// The answer's body, watched.
    pub(super) fn body(mut self, body: Body) -> Body {
        self.turn(false);
        Body::new(Fetched { body, answering: self, has_begun: false })
    }

    fn turn(&mut self, is_ours: bool) {
        self.progress.moves.fetch_add(1, Relaxed);
        match (self.is_ours, is_ours) {
            (false, true) => drop(self.progress.ours.fetch_add(1, Relaxed)),
            (true, false) => drop(self.progress.ours.fetch_sub(1, Relaxed)),
            (true, true) | (false, false) => {}
        }
        self.is_ours = is_ours;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.turn(false);
        self.progress.open.fetch_sub(1, Relaxed);
    }
}

/// A body that knows whether it is being asked for more.
struct Fetched {
    body: Body,
    answering: Answering,
    has_begun: bool,
}

impl HttpBody for Fetched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.has_begun = true;
        self.answering.turn(frame.is_pending());
        frame
    }

    /// Once begun, a body is only over when it has been asked for more than there is. That is done when there
    /// is a window for all before it, so a body whose last bytes are not fetched is not over.
    fn is_end_stream(&self) -> bool {
        !self.has_begun && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
