//! The view that answers, the one that is made beside it to take its place, and the one that it replaced.
//!
//! In the folder of the views, generation 0 lies in `search-rows` and `search-index`, generation n in
//! `search-rows-n` and `search-index-n`; the file `search-generation` names the one that answers (0 without it)
//! and the one that is kept (none without it). What is kept follows nothing: it stays as it was when it was
//! replaced, and to go back to it means that it catches up with the log and takes over as any successor does.
//! Invariant: a successor takes over only when it is at the head, durable, and not behind what it replaces;
//! whatever interrupts it, the one that answers goes on answering.
//! Invariant: folders that the file does not name are of no use; it is written before they are removed.
//! Elsewhere: the rebuild of a damaged view, which cannot answer meanwhile (`runner`).

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};
use uuid::Uuid;

use super::budget::{BROAD, Limits};
use super::rooms::Rooms;
use super::view::View;
use super::{Generations, Status, index};
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

/// Commits that a successor may be behind when requests are held up for it to take over.
const NEAR: u64 = 64;

const BUSY: &str = "the search view is being made again already";
const NOTHING_KEPT: &str = "no search view is kept";

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

    /// The generations that the file names. The folders of others are left from what did not end, and go.
    fn generations(&self) -> io::Result<Generations> {
        let Self::Folder { path, .. } = self else { return Ok(Generations::default()) };
        let mut generations = match fs::read_to_string(path.join(GENERATION)) {
            Ok(text) => Generations::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Generations::default(),
            Err(error) => return Err(error),
        };
        let there = |generation: &u64| path.join(named(ROWS, *generation)).is_dir();
        generations.keeps = generations.keeps.filter(there);
        if !path.exists() {
            return Ok(generations);
        }
        let used: Vec<u64> = generations.keeps.into_iter().chain([generations.answers]).collect();
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let ours = used.iter().any(|n| name == named(ROWS, *n) || name == named(INDEX, *n));
            if !ours && (name.starts_with(ROWS) || name.starts_with(INDEX)) {
                fs::remove_dir_all(path.join(name))?;
            }
        }
        Ok(generations)
    }

    /// From now on, and after a crash, these are the generations.
    fn choose(&self, generations: Generations) -> io::Result<()> {
        let Self::Folder { path, .. } = self else { return Ok(()) };
        let unfinished = path.join(format!("{GENERATION}.unfinished"));
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(generations.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path.join(GENERATION))?;
        fs::File::open(path)?.sync_all()
    }

    /// Bytes of the files of a generation: its rows, its index.
    fn bytes(&self, generation: u64) -> [u64; 2] {
        let Self::Folder { path, .. } = self else { return [0; 2] };
        [ROWS, INDEX].map(|kind| bytes_below(&path.join(named(kind, generation))))
    }

    fn remove(&self, generation: u64) {
        let Self::Folder { path, .. } = self else { return };
        for kind in [ROWS, INDEX] {
            remove(&path.join(named(kind, generation)));
        }
    }
}

/// What goes meanwhile does not count.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
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

impl Generations {
    /// `answers n` and `keeps m`, each on a line; a bare number is the one that answers.
    pub(super) fn parse(text: &str) -> Self {
        let of = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        let answers = of("answers ").or_else(|| text.trim().parse().ok()).unwrap_or(0);
        Self { answers, keeps: of("keeps ").filter(|kept| *kept != answers) }
    }

    /// One that neither is.
    fn unused(self) -> u64 {
        self.answers.max(self.keeps.unwrap_or(0)) + 1
    }
}

impl fmt::Display for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "answers {}", self.answers)?;
        self.keeps.map_or(Ok(()), |kept| writeln!(f, "keeps {kept}"))
    }
}

/// What is to take the place of the view that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// A new one, from the first commit.
    New(u64),
    /// The one that is kept.
    Kept(u64),
}

impl Successor {
    fn generation(self) -> u64 {
        match self {
            Self::New(generation) | Self::Kept(generation) => generation,
        }
    }
}

/// The view that answers and its successor, if one is being made.
pub(super) struct Views {
    place: Place,
    source: Arc<dyn CommitSource>,
    rooms: Rooms,
    current: RwLock<Arc<View>>,
    generations: Mutex<Generations>,
    successor: Mutex<Option<Arc<View>>>,
    maker: Mutex<Option<thread::JoinHandle<()>>>,
    closing: AtomicBool,
}

impl Views {
    pub(super) fn open(place: Place, source: Arc<dyn CommitSource>) -> io::Result<Self> {
        let generations = place.generations()?;
        let current = RwLock::new(Arc::new(place.start(generations.answers, Arc::clone(&source))?));
        let rooms = Rooms::new(place.limits(BROAD.time));
        let (successor, maker, closing) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let generations = Mutex::new(generations);
        Ok(Self { place, source, rooms, current, generations, successor, maker, closing })
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
        let generations = *self.generations.lock();
        Status { rows: current.rows(), index: current.index(), successor, generations }
    }

    /// Bytes on disk of the view that answers: its rows, its index.
    pub(super) fn bytes(&self) -> [u64; 2] {
        let answers = self.generations.lock().answers;
        self.place.bytes(answers)
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let maker = self.maker.lock().take();
        if let Some(Err(_)) = maker.map(thread::JoinHandle::join) {
            tracing::error!("the thread that makes the search view again has panicked");
        }
        self.current().close();
    }

    /// Makes a successor, on a thread of its own. What was kept goes.
    pub(super) fn rebuild(views: &Arc<Self>) -> Result<(), String> {
        let mut maker = views.idle_maker()?;
        if matches!(views.current().rows().state, State::Rebuilding { .. }) {
            return Err(BUSY.to_owned());
        }
        let unused = views.generations.lock().unused();
        views.forget_kept().map_err(|error| failed(&error))?;
        // Left from one that could not be removed.
        views.place.remove(unused);
        *maker = Some(Self::begin(views, Successor::New(unused))?);
        tracing::info!("the search view is made again beside the one that answers");
        Ok(())
    }

    /// Brings the view that is kept to the head and puts it in its place, on a thread of its own.
    pub(super) fn back(views: &Arc<Self>) -> Result<(), String> {
        let mut maker = views.idle_maker()?;
        let kept = views.generations.lock().keeps.ok_or(NOTHING_KEPT)?;
        *maker = Some(Self::begin(views, Successor::Kept(kept))?);
        tracing::info!("the search view that was replaced catches up, to answer again");
        Ok(())
    }

    /// Removes the view that is kept.
    pub(super) fn drop_kept(&self) -> Result<(), String> {
        let _idle = self.idle_maker()?;
        match self.forget_kept() {
            Ok(true) => Ok(()),
            Ok(false) => Err(NOTHING_KEPT.to_owned()),
            Err(error) => Err(failed(&error)),
        }
    }

    fn idle_maker(&self) -> Result<MutexGuard<'_, Option<thread::JoinHandle<()>>>, String> {
        let maker = self.maker.lock();
        if maker.as_ref().is_some_and(|maker| !maker.is_finished()) || self.is_closing() {
            return Err(BUSY.to_owned());
        }
        Ok(maker)
    }

    /// Whether there was any.
    fn forget_kept(&self) -> io::Result<bool> {
        let mut generations = self.generations.lock();
        let Some(kept) = generations.keeps else { return Ok(false) };
        let left = Generations { keeps: None, ..*generations };
        self.place.choose(left)?;
        *generations = left;
        self.place.remove(kept);
        Ok(true)
    }

    fn begin(views: &Arc<Self>, what: Successor) -> Result<thread::JoinHandle<()>, String> {
        let started = views.place.start(what.generation(), Arc::clone(&views.source));
        let next = Arc::new(started.map_err(|error| failed(&error))?);
        *views.successor.lock() = Some(Arc::clone(&next));
        let making = Arc::clone(views);
        let thread = thread::Builder::new().name("search-successor".to_owned());
        thread.spawn(move || making.succeed(what, &next)).map_err(|error| {
            *views.successor.lock() = None;
            failed(&error)
        })
    }

    /// Waits for the successor to be as far as the view that answers, and puts it in its place.
    fn succeed(&self, what: Successor, next: &Arc<View>) {
        let done = self.complete(next).and_then(|()| self.take_over(what.generation(), next));
        *self.successor.lock() = None;
        match done {
            Ok(replaced) => {
                // Whoever waits for a write to be seen there may go on waiting.
                let deadline = Instant::now() + USERS_LEAVE;
                while Arc::strong_count(&replaced) > 1 && !self.is_closing() && Instant::now() < deadline {
                    thread::sleep(LOOK_EVERY);
                }
                replaced.close();
            }
            Err(why) => {
                tracing::error!(why, "the search view was not replaced and goes on answering");
                next.close();
                if let Successor::New(generation) = what {
                    self.place.remove(generation);
                }
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Waits until the successor is at the head with all that it needs to answer.
    fn complete(&self, next: &View) -> Result<(), String> {
        self.comes_near(next, 0)?;
        next.flush();
        self.comes_near(next, NEAR)
    }

    /// Waits until the successor is at most `near` commits behind.
    fn comes_near(&self, next: &View, near: u64) -> Result<(), String> {
        loop {
            let rows = next.rows();
            match rows.state {
                State::Live if rows.next.0 + near >= self.current().rows().next.0 => return Ok(()),
                State::Failed { why } => return Err(why),
                State::Closed => return Err("it was closed".to_owned()),
                State::Live | State::CatchingUp | State::Rebuilding { .. } => {}
            }
            if self.is_closing() {
                return Err("the archive is stopped".to_owned());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn take_over(&self, generation: u64, next: &Arc<View>) -> Result<Arc<View>, String> {
        let began = Instant::now();
        let mut current = self.current.write();
        // Both follow the same commits; whoever was told that the old one shows a write must find it in the new.
        let wanted = current.rows().next;
        while next.rows().next < wanted {
            if began.elapsed() > STEP {
                return Err(format!("it fell behind again, to {} of {wanted}", next.rows().next));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let mut generations = self.generations.lock();
        let keeps = matches!(self.place, Place::Folder { .. }).then_some(generations.answers);
        let chosen = Generations { answers: generation, keeps };
        self.place.choose(chosen).map_err(|error| error.to_string())?;
        *generations = chosen;
        let replaced = std::mem::replace(&mut *current, Arc::clone(next));
        let held_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(held_ms, "the other search view answers now; the one before is kept");
        Ok(replaced)
    }
}

fn failed(error: &io::Error) -> String {
    format!("the search view cannot be replaced: {error}")
}
