//! Keeps one view at the head of the commits, on a thread of its own.
//!
//! Runs of commits go into one batch with the cursor behind them: as many as are there while the view
//! catches up, a single one at the tail, so that a write is seen at once.
//! Invariant: `reached(p)` answers only after the batch with the commit at `p` is in the table.
//! Invariant: a table that is damaged or foreign is deleted and rebuilt from position 0, and this is said.
//! Elsewhere: what a commit alters (the views), where commits come from (`archive`).

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_util::future::{self, Either};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CommitSource, Projection};
use crate::base::Position;
use crate::event::Commit;
use crate::tables::{self, Keeping, Table};

/// Rows after which a batch is written, however many commits are waiting.
const ROWS_PER_BATCH: usize = 8_192;
/// Lots of commits fetched ahead of the batch being written, while the view catches up.
const LOTS_AHEAD: usize = 2;
/// Commits behind the fold from which on it is worth a thread of its own to fetch them.
const FAR_BEHIND: u64 = 8_192;
/// Pause after a failure of the source or of a folder, before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait for readers of a damaged table before its folder is deleted under them.
const READERS_LEAVE: Duration = Duration::from_secs(10);

/// Where the rows of a view lie.
#[derive(Clone, Debug)]
pub enum Place {
    /// In memory only.
    Memory,
    /// In a folder of their own.
    Folder {
        /// The folder; created when it is missing, deleted when it is damaged.
        path: PathBuf,
        /// The log the view is a function of.
        log: Uuid,
        /// Bound of the table's page cache.
        keeping: Keeping,
    },
}

/// What a view is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way to the head as of its start.
    CatchingUp,
    /// At the head, or the few commits behind that are just being applied.
    Live,
    /// Being made again from position 0.
    Rebuilding {
        /// What was wrong with the rows.
        why: String,
    },
    /// Neither; tried again every second.
    Failed {
        /// What is in the way.
        why: String,
    },
    /// Closed.
    Closed,
}

/// How far a view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// The first position that is not in the view yet.
    pub next: Position,
    /// The first position that is not folded yet.
    pub head: Position,
}

impl Status {
    /// Commits folded and not in the view yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.head.0.saturating_sub(self.next.0)
    }
}

/// A bounded wait for a view ended before the view was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the view has not reached position {wanted}; it is at {next}")]
pub struct Behind {
    /// The position that was to be in the view.
    pub wanted: Position,
    /// The first position that is not in it.
    pub next: Position,
}

struct Shared<P> {
    projection: Arc<P>,
    place: Place,
    source: Arc<dyn CommitSource>,
    table: Mutex<Option<Arc<Table>>>,
    state: Mutex<State>,
    next: watch::Sender<Position>,
    /// The cursor that the table came with, once it is open.
    found: watch::Sender<Option<Position>>,
    /// Why a reader thinks that the table is damaged.
    complaint: watch::Sender<Option<String>>,
    stop: CancellationToken,
}

/// A running view. Clones are cheap; the thread ends when the last is dropped or one is closed.
pub struct Running<P: Projection> {
    shared: Arc<Shared<P>>,
    thread: Arc<Owner>,
}

impl<P: Projection> Clone for Running<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), thread: Arc::clone(&self.thread) }
    }
}

/// Stops the thread when nobody holds the view any more.
struct Owner {
    stop: CancellationToken,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts to follow the commits.
pub fn start<P: Projection>(
    projection: Arc<P>,
    place: Place,
    source: Arc<dyn CommitSource>,
) -> Result<Running<P>, std::io::Error> {
    let stop = CancellationToken::new();
    let shared = Arc::new(Shared {
        projection,
        place,
        source,
        table: Mutex::new(None),
        state: Mutex::new(State::CatchingUp),
        next: watch::Sender::new(Position(0)),
        found: watch::Sender::new(None),
        complaint: watch::Sender::new(None),
        stop: stop.clone(),
    });
    let follower = Arc::clone(&shared);
    let thread = thread::Builder::new().name(P::FORMAT.to_owned()).spawn(move || follower.run())?;
    Ok(Running { shared, thread: Arc::new(Owner { stop, thread: Mutex::new(Some(thread)) }) })
}

impl<P: Projection> Running<P> {
    /// The rows, unless they are just being replaced.
    #[must_use]
    pub fn table(&self) -> Option<Arc<Table>> {
        self.shared.table.lock().clone()
    }

    /// How far the view is.
    #[must_use]
    pub fn status(&self) -> Status {
        let (next, head) = (*self.shared.next.borrow(), *self.shared.source.head().borrow());
        Status { state: self.shared.state.lock().clone(), next, head }
    }

    /// The cursor that the table came with: 0 if it had to be begun. Waits until that is known.
    pub async fn found(&self) -> Position {
        let mut found = self.shared.found.subscribe();
        let found = found.wait_for(Option::is_some).await;
        found.ok().and_then(|found| *found).unwrap_or(Position(0))
    }

    /// Waits until the commit at `position` is in the view.
    ///
    /// # Errors
    /// [`Behind`] when that took longer than `within`, or the view was closed.
    pub async fn reached(&self, position: Position, within: Duration) -> Result<(), Behind> {
        let mut next = self.shared.next.subscribe();
        let there = next.wait_for(|next| *next > position);
        let there = matches!(tokio::time::timeout(within, there).await, Ok(Ok(_)));
        if there { Ok(()) } else { Err(Behind { wanted: position, next: *self.shared.next.borrow() }) }
    }

    /// A reader found the rows damaged: they are rebuilt.
    pub fn complain(&self, error: &tables::Error) {
        self.shared.complaint.send_replace(Some(error.to_string()));
    }

    /// [`Self::complain`] for those who must not keep the view running.
    pub fn complaints(&self) -> impl Fn(&tables::Error) + Send + 'static {
        let complaint = self.shared.complaint.clone();
        move |error| drop(complaint.send_replace(Some(error.to_string())))
    }

    /// Stops following; what is applied is made durable. Blocking, for as long as one batch takes.
    pub fn close(&self) {
        self.thread.stop.cancel();
        if let Some(thread) = self.thread.thread.lock().take() {
            // A panic of the thread was reported when it happened; there is nothing left to stop.
            drop(thread.join());
        }
    }
}

/// Why following a table ended.
enum End {
    Stopped,
    Damaged(String),
}

impl<P: Projection> Shared<P> {
    fn run(&self) {
        let mut rebuilding = None;
        while !self.stop.is_cancelled() {
            self.next.send_replace(Position(0));
            let why = match self.open() {
                Ok(table) => {
                    let state = rebuilding.take().map_or(State::CatchingUp, |why| State::Rebuilding { why });
                    *self.state.lock() = state;
                    match self.follow(&table) {
                        End::Stopped => break,
                        End::Damaged(why) => why,
                    }
                }
                Err(error) => {
                    self.found.send_replace(Some(Position(0)));
                    if rebuilding.is_some() {
                        // A fresh folder cannot be opened either: not damage, but want of space or rights.
                        *self.state.lock() = State::Failed { why: error.to_string() };
                        self.pause(RETRY);
                    }
                    error.to_string()
                }
            };
            tracing::warn!(view = P::FORMAT, why, "the view is deleted and rebuilt from the log");
            *self.state.lock() = State::Rebuilding { why: why.clone() };
            if let Err(error) = self.discard() {
                tracing::error!(view = P::FORMAT, %error, "the view's folder cannot be deleted");
            }
            rebuilding = Some(why);
        }
        *self.state.lock() = State::Closed;
    }

    fn open(&self) -> Result<Arc<Table>, tables::Error> {
        self.complaint.send_replace(None);
        let table = Arc::new(match &self.place {
            Place::Memory => Table::memory(),
            Place::Folder { path, log, keeping } => Table::open(path, P::FORMAT, *log, *keeping)?,
        });
        self.projection.opened(&table)?;
        *self.table.lock() = Some(Arc::clone(&table));
        Ok(table)
    }

    /// Deletes the folder, once readers have let go of the table in it.
    fn discard(&self) -> std::io::Result<()> {
        let Place::Folder { path, .. } = &self.place else { return Ok(()) };
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Follows until the view is closed or its table is damaged; then nobody holds the table any more.
    fn follow(&self, table: &Arc<Table>) -> End {
        let end = self.follow_from(table, &mut self.source.head());
        match end {
            End::Stopped => self.projection.stopped(),
            End::Damaged(_) => self.projection.lost(),
        }
        if let (End::Stopped, Err(error)) = (&end, table.flush()) {
            tracing::warn!(view = P::FORMAT, %error, "the view's last rows were not made durable");
        }
        *self.table.lock() = None;
        let deadline = Instant::now() + READERS_LEAVE;
        while Arc::strong_count(table) > 1 && Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(1));
        }
        end
    }

    fn follow_from(&self, table: &Table, head: &mut watch::Receiver<Position>) -> End {
        let mut cursor = match table.cursor() {
            Ok(cursor) => cursor,
            Err(error) => {
                self.found.send_replace(Some(Position(0)));
                return End::Damaged(error.to_string());
            }
        };
        self.found.send_replace(Some(cursor));
        let at_start = *head.borrow_and_update();
        if cursor == Position(0) && at_start > cursor {
            tracing::info!(
                view = P::FORMAT,
                events = at_start.0,
                "the view is empty and is made from the log"
            );
        }
        let mut target = Some(at_start);
        self.publish(cursor, &mut target);
        let mut complaint = self.complaint.subscribe();
        loop {
            if let Some(why) = complaint.borrow_and_update().clone() {
                return End::Damaged(why);
            }
            if self.stop.is_cancelled() {
                return End::Stopped;
            }
            head.mark_unchanged();
            let before = cursor;
            let folded = *head.borrow();
            let behind = folded.0.saturating_sub(cursor.0) > FAR_BEHIND;
            let advanced = match target.or(behind.then_some(folded)) {
                Some(end) => self.catch_up(table, &mut cursor, end, &mut target),
                None => self.advance(table, &mut cursor),
            };
            match advanced {
                Err(Obstacle::Table(error)) => return End::Damaged(error.to_string()),
                Err(Obstacle::Source(why)) => self.stalled(why),
                Ok(()) => {
                    self.recovered(target.is_none());
                    if cursor == before {
                        self.wait(head, &mut complaint);
                    }
                }
            }
        }
    }

    /// Applies the next commits, if there are any.
    fn advance(&self, table: &Table, cursor: &mut Position) -> Result<(), Obstacle> {
        let commits = self.source.commits(*cursor).map_err(Obstacle::Source)?;
        self.apply(table, cursor, &commits, &mut None)
    }

    /// Applies the commits before `end` while another thread fetches those that follow.
    fn catch_up(
        &self,
        table: &Table,
        cursor: &mut Position,
        end: Position,
        target: &mut Option<Position>,
    ) -> Result<(), Obstacle> {
        let (lots, fetched) = mpsc::sync_channel(LOTS_AHEAD);
        let (source, mut from) = (&self.source, *cursor);
        thread::scope(|scope| {
            scope.spawn(move || {
                while from < end {
                    let lot = source.commits(from);
                    let next = lot.as_ref().ok().and_then(|commits| commits.last()?.position.next().into());
                    let wanted = lots.send(lot).is_ok();
                    let (true, Some(next)) = (wanted, next) else { return };
                    from = next;
                }
            });
            for lot in fetched {
                self.apply(table, cursor, &lot.map_err(Obstacle::Source)?, target)?;
                if self.stop.is_cancelled() || self.complaint.borrow().is_some() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Applies commits that begin at the cursor, a batch at a time. A batch that was begun is written, or the table
    /// is damaged.
    fn apply(
        &self,
        table: &Table,
        cursor: &mut Position,
        commits: &[Arc<Commit>],
        target: &mut Option<Position>,
    ) -> Result<(), Obstacle> {
        let wanted = (cursor.0..).map(Position);
        if let Some((found, wanted)) = commits.iter().zip(wanted).find(|(found, at)| found.position != *at) {
            let found = found.position;
            return Err(Obstacle::Source(format!("the commit of position {wanted} has position {found}")));
        }
        let mut rest = commits;
        while !rest.is_empty() {
            let (mut batch, mut run) = (table.batch(), 0);
            while run < rest.len() && batch.len() < ROWS_PER_BATCH {
                self.projection.apply(&rest[run], &mut batch)?;
                run += 1;
            }
            let next = rest[run - 1].position.next();
            self.projection.about_to_show(&rest[..run]);
            table.apply(batch.into_changes(), next)?;
            *cursor = next;
            self.publish(next, target);
            rest = &rest[run..];
        }
        Ok(())
    }

    /// Tells how far the view is; past `target` it is live, and that is known before the position is.
    fn publish(&self, next: Position, target: &mut Option<Position>) {
        if target.take_if(|target| next >= *target).is_some() {
            *self.state.lock() = State::Live;
            tracing::info!(view = P::FORMAT, position = next.0, "the view is at the head of the log");
        }
        self.next.send_replace(next);
    }

    fn stalled(&self, why: String) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Failed { .. }) {
            tracing::error!(view = P::FORMAT, why, "the view cannot read the log; it is tried again");
        }
        *state = State::Failed { why };
        drop(state);
        self.pause(RETRY);
    }

    fn recovered(&self, live: bool) {
        let mut state = self.state.lock();
        if matches!(*state, State::Failed { .. }) {
            *state = if live { State::Live } else { State::CatchingUp };
        }
    }

    /// Until there are more commits, somebody complains, or the view is closed.
    fn wait(&self, head: &mut watch::Receiver<Position>, complaint: &mut watch::Receiver<Option<String>>) {
        let news = async {
            match future::select(pin!(head.changed()), pin!(complaint.changed())).await {
                Either::Left((Err(_), _)) => future::pending().await,
                Either::Left((Ok(()), _)) | Either::Right(_) => (),
            }
        };
        block_on(future::select(pin!(news), pin!(self.stop.cancelled())), None);
    }

    fn pause(&self, time: Duration) {
        block_on(self.stop.cancelled(), Some(Instant::now() + time));
    }
}

enum Obstacle {
    Table(tables::Error),
    Source(String),
}

impl From<tables::Error> for Obstacle {
    fn from(error: tables::Error) -> Self {
        Self::Table(error)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future that needs no runtime on this thread; `None` when `until` came first.
fn block_on<F: Future>(future: F, until: Option<Instant>) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => return None,
            Some(left) => thread::park_timeout(left),
        }
    }
}

#[cfg(test)]
mod tests;
