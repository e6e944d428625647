//! The appends that wait, and the thread that writes them: all that wait become one block with one fsync.
//!
//! Invariant: records are written in the order in which they were pushed.
//! Invariant: every push is answered exactly once, with `Stopped` if the writer cannot.
//! Elsewhere: how much may wait (the semaphore of `EmbeddedLog`), the writing itself (`writer`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::{AppendError, CLOSED};
use super::durable::Durable;
use super::writer::{Mark, Writer};
use crate::base::{Clock, Position};

/// A block takes no further record beyond this, so that one fsync has an end.
const BLOCK_LIMIT_BYTES: usize = 8 << 20;

/// One append.
pub(super) struct Waiting {
    pub(super) record: Bytes,
    pub(super) done: oneshot::Sender<Result<Position, AppendError>>,
    /// Its part of the queue's room, given back when it is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

/// The appends that wait, in order.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    closing: bool,
    stopped: Option<String>,
}

/// What the thread is to do next.
enum Next {
    Write(Vec<Waiting>),
    /// Nothing came for a while.
    Idle,
    End,
}

impl Queue {
    /// Puts one at the end.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), AppendError> {
        let mut inner = self.inner.lock();
        if let Some(reason) = inner.reason() {
            return Err(AppendError::Stopped(reason));
        }
        inner.waiting.push_back(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.inner.lock().closing = true;
        self.changed.notify_one();
    }

    /// Why no more is taken.
    pub(super) fn stopped(&self) -> Option<String> {
        self.inner.lock().reason()
    }

    /// Takes no more, and answers all that wait.
    fn stop(&self, reason: &str) {
        let waiting = {
            let mut inner = self.inner.lock();
            inner.stopped.get_or_insert_with(|| reason.to_owned());
            std::mem::take(&mut inner.waiting)
        };
        for one in waiting {
            one.answer(Err(AppendError::Stopped(reason.to_owned())));
        }
    }

    fn next(&self, idle_after: Option<Duration>) -> Next {
        let mut inner = self.inner.lock();
        loop {
            if !inner.waiting.is_empty() {
                return Next::Write(inner.group());
            }
            if inner.closing {
                return Next::End;
            }
            match idle_after {
                None => self.changed.wait(&mut inner),
                Some(after) if self.changed.wait_for(&mut inner, after).timed_out() => {
                    if inner.waiting.is_empty() && !inner.closing {
                        return Next::Idle;
                    }
                }
                Some(_) => {}
            }
        }
    }
}

impl Inner {
    fn reason(&self) -> Option<String> {
        self.stopped.clone().or_else(|| self.closing.then(|| CLOSED.to_owned()))
    }

    fn group(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fit = self.waiting.iter().take_while(|one| {
            bytes += one.record.len();
            bytes <= BLOCK_LIMIT_BYTES
        });
        let fit = fit.count().max(1);
        self.waiting.drain(..fit).collect()
    }
}

impl Waiting {
    fn answer(self, outcome: Result<Position, AppendError>) {
        // Whoever appended may have stopped waiting; the record is there all the same.
        self.done.send(outcome).unwrap_or_default();
    }
}

/// Stops the queue when the thread ends, even by a panic, so that nobody waits for ever.
struct Ending<'a>(&'a Queue, Arc<Durable>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stop(if std::thread::panicking() { "its thread has panicked" } else { CLOSED });
        self.1.close();
    }
}

/// Writes until the queue is closed. The clock is looked at once for each record.
pub(super) fn serve(writer: Writer, clock: &dyn Clock, queue: &Queue, mark_after: Duration) {
    let ending = Ending(queue, writer.durable.clone());
    // Declared after `ending` and so dropped before it: whoever sees the log closed finds the folder free.
    let mut writer = writer;
    loop {
        let idle_after = (writer.mark == Mark::Due && writer.failed.is_none()).then_some(mark_after);
        match queue.next(idle_after) {
            Next::Write(group) => write(&mut writer, clock, queue, group),
            Next::Idle => writer.mark().unwrap_or_else(|reason| queue.stop(&reason)),
            Next::End => break,
        }
    }
    // A failure stops the writer, and the next start finds what it finds.
    writer.mark().unwrap_or_default();
    drop(writer);
    drop(ending);
}

fn write(writer: &mut Writer, clock: &dyn Clock, queue: &Queue, group: Vec<Waiting>) {
    let records: Vec<_> = group.iter().map(|one| (clock.now(), one.record.clone())).collect();
    let (count, bytes) = (records.len() as u64, records.iter().map(|(_, record)| record.len() as u64).sum());
    let outcome = writer.append_block(records);
    if let Err(reason) = &outcome {
        // Before anyone is answered: who hears of the failure finds the log stopped.
        queue.stop(reason);
    } else {
        metrics::counter!("kymo_log_appends_total").increment(count);
        metrics::counter!("kymo_log_appended_bytes_total").increment(bytes);
    }
    for (number, one) in group.into_iter().enumerate() {
        one.answer(match &outcome {
            Ok(first) => Ok(Position(first.0 + number as u64)),
            Err(reason) => Err(AppendError::Stopped(reason.clone())),
        });
    }
}
