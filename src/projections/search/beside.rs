//! The view that answers, and the one that is made beside it to take its place.
//!
//! In the folder of the views, generation 0 lies in `search-rows` and `search-index`, generation n in
//! `search-rows-n` and `search-index-n`; the file `search-generation` names the one that answers (0 without it).
//! Invariant: a successor takes over only when it is at the head, durable, and not behind what it replaces;
//! whatever interrupts it, the one that answers goes on answering.
//! Elsewhere: the rebuild of a damaged view, which cannot answer meanwhile (`runner`).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::budget::{BROAD, Limits};
use super::rooms::Rooms;
use super::view::View;
use super::{Status, index};
use crate::projections::CommitSource;
use crate::projections::runner::{self, State};
use crate::tables::{Engine, Keeping};

/// Longest time writers wait for a query, where they do.
const WRITERS_WAIT: Duration = Duration::from_millis(250);
/// How often the successor's progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest wait, while no request is answered, for the last commits to be in the successor too.
const STEP: Duration = Duration::from_secs(5);
/// Longest wait for requests that still use the view that was replaced.
const USERS_LEAVE: Duration = Duration::from_secs(60);

const GENERATION: &str = "search-generation";
const ROWS: &str = "search-rows";
const INDEX: &str = "search-index";

/// Where the views lie.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Memory,
    Folder { path: PathBuf, log: Uuid, keeping: Keeping },
}

impl Place {
    fn start(&self, generation: u64, source: Arc<dyn CommitSource>) -> io::Result<View> {
        match self {
            Self::Memory => View::start(runner::Place::Memory, index::Place::Memory, source),
            Self::Folder { path, log, keeping } => {
                let (log, keeping) = (*log, *keeping);
                let rows = runner::Place::Folder { path: path.join(named(ROWS, generation)), log, keeping };
                let index = index::Place::Folder { path: path.join(named(INDEX, generation)), log };
                View::start(rows, index, source)
            }
        }
    }

    /// Of broad queries that may take so long. Where rows know only the present, writers wait for a query.
    fn limits(&self, longest: Duration) -> Limits {
        let time = match self {
            Self::Folder { keeping: Keeping { engine: Engine::Sled, .. }, .. } => longest.min(WRITERS_WAIT),
            Self::Memory | Self::Folder { .. } => longest,
        };
        Limits { time, ..BROAD }
    }

    /// The generation that answers. The folders of others are left from a rebuild that did not end, and go.
    fn generation(&self) -> io::Result<u64> {
        let Self::Folder { path, .. } = self else { return Ok(0) };
        let generation = match fs::read_to_string(path.join(GENERATION)) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if !path.exists() {
            return Ok(generation);
        }
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let ours = [ROWS, INDEX].into_iter().any(|kind| name == named(kind, generation));
            if !ours && (name.starts_with(ROWS) || name.starts_with(INDEX)) {
                fs::remove_dir_all(path.join(name))?;
            }
        }
        Ok(generation)
    }

    /// From now on, and after a crash, `generation` answers.
    fn choose(&self, generation: u64) -> io::Result<()> {
        let Self::Folder { path, .. } = self else { return Ok(()) };
        let unfinished = path.join(format!("{GENERATION}.unfinished"));
        let mut file = fs::File::create(&unfinished)?;
        writeln!(file, "{generation}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path.join(GENERATION))?;
        fs::File::open(path)?.sync_all()
    }

    fn remove(&self, generation: u64) {
        let Self::Folder { path, .. } = self else { return };
        for kind in [ROWS, INDEX] {
            remove(&path.join(named(kind, generation)));
        }
    }
}

/// What cannot be removed now is removed at the next start.
fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "a replaced view cannot be removed");
    }
}

fn named(kind: &str, generation: u64) -> String {
    if generation == 0 { kind.to_owned() } else { format!("{kind}-{generation}") }
}

/// The view that answers and its successor, if one is being made.
pub(super) struct Views {
    place: Place,
    source: Arc<dyn CommitSource>,
    rooms: Rooms,
    current: RwLock<Arc<View>>,
    successor: Mutex<Option<Arc<View>>>,
    maker: Mutex<Option<thread::JoinHandle<()>>>,
    closing: AtomicBool,
}

impl Views {
    pub(super) fn open(place: Place, source: Arc<dyn CommitSource>) -> io::Result<Self> {
        let generation = place.generation()?;
        let current = RwLock::new(Arc::new(place.start(generation, Arc::clone(&source))?));
        let rooms = Rooms::new(place.limits(BROAD.time));
        let (successor, maker, closing) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Ok(Self { place, source, rooms, current, successor, maker, closing })
    }

    /// The same, where a broad query may take so long.
    pub(super) fn within(self, longest: Duration) -> Self {
        Self { rooms: Rooms::new(self.place.limits(longest)), ..self }
    }

    /// The view that answers.
    pub(super) fn current(&self) -> Arc<View> {
        Arc::clone(&self.current.read())
    }

    /// Where queries are answered.
    pub(super) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    pub(super) fn status(&self) -> Status {
        let (current, successor) = (self.current(), self.successor.lock().as_ref().map(|view| view.rows()));
        Status { rows: current.rows(), index: current.index(), successor }
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let maker = self.maker.lock().take();
        if let Some(Err(_)) = maker.map(thread::JoinHandle::join) {
            tracing::error!("the thread that makes the search view again has panicked");
        }
        self.current().close();
    }

    /// Makes a successor on a thread of its own.
    pub(super) fn rebuild(views: &Arc<Self>) -> Result<(), String> {
        let mut successor = views.successor.lock();
        let mut maker = views.maker.lock();
        let made = maker.as_ref().is_some_and(|maker| !maker.is_finished());
        if made || matches!(views.current().rows().state, State::Rebuilding { .. }) {
            return Err("the search view is being made again already".to_owned());
        }
        let failed = |error: io::Error| format!("the search view cannot be made again: {error}");
        let generation = views.place.generation().map_err(failed)?;
        let next = Arc::new(views.place.start(generation + 1, Arc::clone(&views.source)).map_err(failed)?);
        *successor = Some(Arc::clone(&next));
        let making = Arc::clone(views);
        let thread = thread::Builder::new().name("search-successor".to_owned());
        let thread = thread.spawn(move || making.succeed(generation, &next)).map_err(|error| {
            *successor = None;
            failed(error)
        })?;
        *maker = Some(thread);
        tracing::info!("the search view is made again beside the one that answers");
        Ok(())
    }

    /// Waits for the successor to be as far as the view that answers, and puts it in its place.
    fn succeed(&self, generation: u64, next: &Arc<View>) {
        let done = self.complete(next).and_then(|()| self.take_over(generation, next));
        *self.successor.lock() = None;
        match done {
            Ok(replaced) => {
                tracing::info!("the search view that was made again answers now");
                // Whoever waits for a write to be seen there may go on waiting.
                let deadline = Instant::now() + USERS_LEAVE;
                while Arc::strong_count(&replaced) > 1 && !self.is_closing() && Instant::now() < deadline {
                    thread::sleep(LOOK_EVERY);
                }
                replaced.close();
                self.place.remove(generation);
            }
            Err(why) => {
                tracing::error!(why, "the search view was not made again; the old one goes on answering");
                next.close();
                self.place.remove(generation + 1);
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn complete(&self, next: &View) -> Result<(), String> {
        loop {
            let rows = next.rows();
            match rows.state {
                State::Live if rows.next >= self.current().rows().next => break,
                State::Failed { why } => return Err(why),
                State::Closed => return Err("it was closed".to_owned()),
                State::Live | State::CatchingUp | State::Rebuilding { .. } => {}
            }
            if self.is_closing() {
                return Err("the archive is stopped".to_owned());
            }
            thread::sleep(LOOK_EVERY);
        }
        next.flush();
        Ok(())
    }

    fn take_over(&self, generation: u64, next: &Arc<View>) -> Result<Arc<View>, String> {
        let mut current = self.current.write();
        // Both follow the same commits; whoever was told that the old one shows a write must find it in the new.
        let wanted = current.rows().next;
        let deadline = Instant::now() + STEP;
        while next.rows().next < wanted {
            if Instant::now() > deadline {
                return Err(format!("it fell behind again, to {} of {wanted}", next.rows().next));
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.place.choose(generation + 1).map_err(|error| error.to_string())?;
        Ok(std::mem::replace(&mut *current, Arc::clone(next)))
    }
}
