//! The stream that waits at the tail, shared by the implementations of the log.
//!
//! Invariant: a record is asked for only once the tail has passed it.
//! Invariant: the stream ends when the log was closed and everything durable has been given, or after its
//! first error; dropping it at any moment leaves nothing behind.
//! Elsewhere: where records come from (`memory`, `embedded::durable`).

use std::collections::VecDeque;
use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::{ReadError, Record};
use crate::base::Position;

/// How much a stream reads ahead at once.
pub(super) const READ_AHEAD_BYTES: usize = 1 << 20;

/// How far a log is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The first position that is not durable.
    pub(super) tail: Position,
    /// No record will ever follow.
    pub(super) closed: bool,
}

/// Durable records from `from` on; `read` gets the range `from..to` and gives some of it, at least one record.
pub(super) fn follow<R, F>(
    mut progress: watch::Receiver<Progress>,
    from: Position,
    read: R,
) -> BoxStream<'static, Result<Record, ReadError>>
where
    R: Fn(Position, Position) -> F + Send + 'static,
    F: Future<Output = Result<Vec<Record>, ReadError>> + Send,
{
    let tail = progress.borrow_and_update().tail;
    if from > tail {
        return stream::once(async move { Err(ReadError::BeyondEnd { position: from, tail }) }).boxed();
    }
    let start = Some((progress, from, VecDeque::new(), read));
    stream::unfold(start, |state| async move {
        let (mut progress, next, mut ahead, read) = state?;
        if ahead.is_empty() {
            let seen = *progress.wait_for(|p| p.tail > next || p.closed).await.ok()?;
            if seen.tail <= next {
                return None;
            }
            match read(next, seen.tail).await {
                Ok(records) => ahead = VecDeque::from(records),
                Err(error) => return Some((Err(error), None)),
            }
        }
        let record = ahead.pop_front()?;
        let next = record.position.next();
        Some((Ok(record), Some((progress, next, ahead, read))))
    })
    .boxed()
}
