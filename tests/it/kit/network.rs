//! One log shared by several nodes, and the network between: what a broker would be, played by hand.
//!
//! An append lies in the network until the test delivers it, late, twice or never; a node reads as far as
//! the test shows it. The end of the log is known to everyone who asks for it.
//!
//! Invariant: nothing moves unless the test moves it.
//! Elsewhere: who plays with it (`simulation`).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use kymo::base::{Position, SteppedClock};
use kymo::log::memory::MemoryLog;
use kymo::log::{AppendError, Appending, Log, ReadError, Record};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

/// An append on its way.
pub(crate) struct Sent {
    /// Numbered in the order of sending, repetitions included.
    pub(crate) number: u64,
    /// The life of the node that sent it.
    pub(crate) sender: u64,
    pub(crate) bytes: Bytes,
    /// Tells the sender; gone once it was told or has crashed.
    pub(crate) tell: Option<oneshot::Sender<Result<Position, AppendError>>>,
}

/// The log, and what is on its way to it.
pub(crate) struct Network {
    log: Arc<MemoryLog>,
    flying: Arc<Mutex<Flying>>,
}

#[derive(Default)]
struct Flying {
    sent: Vec<Sent>,
    next: u64,
}

/// What one node sees of it.
pub(crate) struct NodeLog {
    log: Arc<MemoryLog>,
    flying: Arc<Mutex<Flying>>,
    sender: u64,
    shown: watch::Sender<Position>,
    sent: mpsc::UnboundedSender<u64>,
}

impl Network {
    pub(crate) fn new(clock: Arc<SteppedClock>) -> Self {
        Self { log: Arc::new(MemoryLog::new(clock)), flying: Arc::default() }
    }

    /// The log as the node that is in its life `sender` sees it, up to `shown`; the receiver hears the
    /// number of each append it sends.
    pub(crate) fn join(&self, sender: u64, shown: Position) -> (Arc<NodeLog>, mpsc::UnboundedReceiver<u64>) {
        let (sent, hears) = mpsc::unbounded_channel();
        let (log, flying, shown) = (self.log.clone(), self.flying.clone(), watch::Sender::new(shown));
        (Arc::new(NodeLog { log, flying, sender, shown, sent }), hears)
    }

    pub(crate) fn tail(&self) -> Position {
        self.log.tail()
    }

    pub(crate) fn records(&self, from: Position) -> Vec<Record> {
        self.log.read_batch(from, self.tail(), usize::MAX).expect("a log in memory can be read")
    }

    /// How many appends are on their way.
    pub(crate) fn flying(&self) -> usize {
        self.flying.lock().sent.len()
    }

    /// Number and bytes of an append on its way.
    pub(crate) fn peek(&self, at: usize) -> (u64, Bytes) {
        let flying = self.flying.lock();
        (flying.sent[at].number, flying.sent[at].bytes.clone())
    }

    pub(crate) fn take(&self, at: usize) -> Sent {
        self.flying.lock().sent.remove(at)
    }

    /// Puts an append on its way again.
    pub(crate) fn send_again(&self, bytes: Bytes, sender: u64) -> u64 {
        self.flying.lock().push(sender, bytes, None)
    }

    /// Gives a record its place.
    pub(crate) fn append(&self, bytes: Bytes) -> Position {
        let appending = self.log.append(bytes).now_or_never().expect("a log in memory never waits");
        let position = appending.expect("it is not closed").now_or_never();
        position.expect("it is durable at once").expect("it is not closed")
    }

    /// A node has crashed: nobody waits for its appends, which go on flying.
    pub(crate) fn forget(&self, sender: u64) {
        for sent in self.flying.lock().sent.iter_mut().filter(|sent| sent.sender == sender) {
            sent.tell = None;
        }
    }
}

impl Flying {
    fn push(
        &mut self,
        sender: u64,
        bytes: Bytes,
        tell: Option<oneshot::Sender<Result<Position, AppendError>>>,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sent.push(Sent { number, sender, bytes, tell });
        number
    }
}

impl NodeLog {
    pub(crate) fn shown(&self) -> Position {
        *self.shown.borrow()
    }

    /// Lets the node read up to `to`.
    pub(crate) fn show(&self, to: Position) {
        self.shown.send_replace(to);
    }
}

#[async_trait]
impl Log for NodeLog {
    async fn append(&self, record: Bytes) -> Result<Appending, AppendError> {
        let (tell, told) = oneshot::channel();
        let number = self.flying.lock().push(self.sender, record, Some(tell));
        // Nobody may be listening any more.
        self.sent.send(number).unwrap_or_default();
        let lost = |_| Err(AppendError::Stopped("the connection was lost".to_owned()));
        Ok(Box::pin(async move { told.await.unwrap_or_else(lost) }))
    }

    async fn get(&self, position: Position) -> Result<Record, ReadError> {
        self.log.get(position).await
    }

    fn read(&self, from: Position) -> BoxStream<'static, Result<Record, ReadError>> {
        let (log, shown) = (self.log.clone(), self.shown.subscribe());
        stream::unfold((log, shown, from), |(log, mut shown, next)| async move {
            shown.wait_for(|shown| *shown > next).await.ok()?;
            let record = log.get(next).await;
            Some((record, (log, shown, next.next())))
        })
        .boxed()
    }

    fn read_batch(&self, from: Position, to: Position, limit_bytes: usize) -> Result<Vec<Record>, ReadError> {
        self.log.read_batch(from, to.min(self.shown()), limit_bytes)
    }

    fn tail(&self) -> Position {
        self.log.tail()
    }

    fn stopped(&self) -> Option<String> {
        None
    }

    async fn close(&self) {}
}
