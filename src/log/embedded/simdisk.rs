//! A disk in memory that forgets: on a power loss whatever was not synced is lost, kept or torn, by seed.
//!
//! Bytes of a file are durable after its `sync`, names after `sync_folder`. What was written since may survive
//! by sectors of 512 bytes in any combination, with the file's length grown or not; a name change survives or
//! does not, each for itself, renames whole.
//!
//! Invariant: the same seed and the same calls give the same disk.
//! Invariant: after a kill or a power loss every call through an old handle is an error.
//! Elsewhere: what is proved with it (`crashes`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile, Lock};

/// What of a write survives or is lost as one.
const SECTOR_BYTES: u64 = 512;

/// A disk in memory; clones share it.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

/// What goes wrong, each at the operation with the number given (see [`SimDisk::operations`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Everything stops in the middle of it: every call is an error until [`SimDisk::kill`] or
    /// [`SimDisk::power_cycle`] says what it was.
    Halt,
    /// It answers an error. A write may have been done in part. A failed sync leaves the bytes readable, but
    /// no later sync will bring all of them to the disk: the page cache holds them for clean.
    Error,
}

struct State {
    random: StdRng,
    /// Grows when handles go stale.
    life: u64,
    halted: bool,
    operations: u64,
    trouble: Option<(u64, Trouble)>,
    capacity_bytes: u64,
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
struct FileState {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Writes not synced: offset and length.
    unsynced: Vec<(u64, u64)>,
}

enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    life: u64,
}

struct SimLock {
    disk: SimDisk,
    folder: PathBuf,
    life: u64,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            life: 0,
            halted: false,
            operations: 0,
            trouble: None,
            capacity_bytes: u64::MAX,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            locks: BTreeSet::new(),
        })))
    }

    /// How many calls have changed something or synced so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Lets the operation with this number, counted from 0 since the disk was made, meet trouble.
    pub fn trouble_at(&self, operation: u64, trouble: Trouble) {
        self.0.lock().trouble = Some((operation, trouble));
    }

    /// Lets the next operation meet trouble.
    pub fn trouble_next(&self, trouble: Trouble) {
        let mut state = self.0.lock();
        state.trouble = Some((state.operations, trouble));
    }

    /// Whether a [`Trouble::Halt`] has come to pass.
    #[must_use]
    pub fn has_halted(&self) -> bool {
        self.0.lock().halted
    }

    /// Bounds the bytes of all files; a write beyond is done in part and answers `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity_bytes = bytes;
    }

    /// Ends the process that uses the disk: handles and locks go, every byte written stays readable. Planned
    /// trouble is forgotten.
    pub fn kill(&self) {
        self.end_process();
        let mut state = self.0.lock();
        state.halted = false;
        state.trouble = None;
    }

    /// The same, but planned trouble stays.
    pub fn end_process(&self) {
        let mut state = self.0.lock();
        state.life += 1;
        state.locks.clear();
    }

    /// Takes the power away and gives it back: like `kill`, and what was not synced is lost, kept or torn.
    pub fn power_cycle(&self) {
        self.kill();
        let mut state = self.0.lock();
        let state = &mut *state;
        for change in state.name_changes.drain(..) {
            if state.random.random_bool(0.5) {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            file.keep_some(&mut state.random);
            file.bytes.clone_from(&file.durable);
        }
    }

    /// The bytes of a file, to look at.
    #[must_use]
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.names.get(path).map(|file| state.files[*file].bytes.clone())
    }

    /// Alters the bytes of a file, durably, as a failing disk or a careless hand would.
    pub fn poke(&self, path: &Path, alter: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        if let Some(&file) = state.names.get(path) {
            let file = &mut state.files[file];
            alter(&mut file.bytes);
            file.durable.clone_from(&file.bytes);
            file.unsynced.clear();
        }
    }

    /// A copy that goes its own way from here on.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.0.lock();
        let copy = Self::seeded(0);
        {
            let mut to = copy.0.lock();
            to.random = state.random.clone();
            to.files = state.files.clone();
            for file in &mut to.files {
                file.durable.clone_from(&file.bytes);
                file.unsynced.clear();
            }
            to.names = state.names.clone();
            to.durable_names = state.names.clone();
        }
        copy
    }
}

impl State {
    /// Counts an operation; `Some` if it is to meet trouble.
    fn operate(&mut self) -> io::Result<Option<Trouble>> {
        self.check()?;
        let number = self.operations;
        self.operations += 1;
        match self.trouble {
            Some((at, trouble)) if at == number => {
                self.trouble = None;
                self.halted = trouble == Trouble::Halt;
                Ok(Some(trouble))
            }
            Some(_) | None => Ok(None),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.halted { Err(halted()) } else { Ok(()) }
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let trouble = self.operate()?;
        if trouble != Some(Trouble::Error) {
            change.apply(&mut self.names);
            self.name_changes.push(change);
        }
        trouble.map_or(Ok(()), |trouble| Err(trouble.error()))
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.check()?;
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Trouble {
    fn error(self) -> io::Error {
        match self {
            Self::Halt => halted(),
            Self::Error => io::Error::other("the disk answers with an error"),
        }
    }
}

fn halted() -> io::Error {
    io::Error::other("everything has stopped")
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
        }
    }

    fn touches(&self, folder: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Unlink(path) | Self::Rename(_, path, _) => {
                path.parent() == Some(folder)
            }
        }
    }
}

impl FileState {
    /// Brings some of what was not synced to the disk: nothing, all, a beginning, or any sectors.
    fn keep_some(&mut self, random: &mut StdRng) {
        let way = random.random_range(0..5);
        let mut keeping = true;
        for (offset, length) in std::mem::take(&mut self.unsynced) {
            let mut at = offset;
            let end = offset + length;
            while at < end {
                let sector_end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                let keep = match way {
                    0 => false,
                    1 => true,
                    2 => {
                        keeping &= random.random_bool(0.8);
                        keeping
                    }
                    _ => random.random_bool(0.5),
                };
                // The length may reach the disk without the bytes.
                if keep || (way == 4 && random.random_bool(0.5)) {
                    self.keep(at, if keep { sector_end } else { at }, sector_end);
                }
                // A beginning may end within a sector.
                if way == 2 && !keep && self.durable.len() as u64 == at {
                    let part = random.random_range(at..=sector_end);
                    self.keep(at, part, part);
                }
                at = sector_end;
            }
        }
    }

    /// Makes the bytes from `start` to `end` durable, and the file at least `length` long.
    fn keep(&mut self, start: u64, end: u64, length: u64) {
        let place = |at: u64| usize::try_from(at).expect("a simulated disk fits into memory");
        if self.durable.len() < place(length) {
            self.durable.resize(place(length), 0);
        }
        self.durable[place(start)..place(end)].copy_from_slice(&self.bytes[place(start)..place(end)]);
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).expect("a simulated disk fits into memory");
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.unsynced.push((offset, bytes.len() as u64));
    }
}

impl Disk for SimDisk {
    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        // Folders are there as soon as they are named: what could be lost with one is not of interest here.
        self.0.lock().check()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        state.check()?;
        let here = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(FileState::default());
        state.change_names(NameChange::Link(path.to_owned(), file))?;
        Ok(Arc::new(SimFile { disk: self.clone(), file, life: state.life }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.0.lock();
        let file = state.find(path)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file, life: state.life }))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.find(from)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.find(path)?;
        state.change_names(NameChange::Unlink(path.to_owned()))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if let Some(trouble) = state.operate()? {
            return Err(trouble.error());
        }
        let changes = std::mem::take(&mut state.name_changes);
        let (here, elsewhere) = changes.into_iter().partition::<Vec<_>, _>(|change| change.touches(folder));
        state.name_changes = elsewhere;
        for change in here {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Lock>> {
        let mut state = self.0.lock();
        state.check()?;
        if !state.locks.insert(folder.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { disk: self.clone(), folder: folder.to_owned(), life: state.life })))
    }
}

impl SimFile {
    fn check(&self, state: &State) -> io::Result<()> {
        if state.life == self.life { state.check() } else { Err(halted()) }
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        self.check(&state)?;
        Ok(state.files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock();
        self.check(&state)?;
        let bytes = &state.files[self.file].bytes;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        self.check(&state)?;
        let trouble = state.operate()?;
        let used: u64 = state.names.values().map(|file| state.files[*file].bytes.len() as u64).sum();
        let room = usize::try_from(state.capacity_bytes.saturating_sub(used)).unwrap_or(usize::MAX);
        let part = match trouble {
            Some(_) => state.random.random_range(0..=bytes.len().saturating_mul(2)).min(bytes.len()),
            None => bytes.len(),
        };
        let part = part.min(room);
        state.files[self.file].write(offset, &bytes[..part]);
        match trouble {
            Some(trouble) => Err(trouble.error()),
            None if part < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        self.check(&state)?;
        let trouble = state.operate()?;
        let State { random, files, .. } = &mut *state;
        let file = &mut files[self.file];
        match trouble {
            None => {
                for (offset, length) in std::mem::take(&mut file.unsynced) {
                    file.keep(offset, offset + length, offset + length);
                }
                Ok(())
            }
            Some(Trouble::Error) => {
                file.keep_some(random);
                Err(Trouble::Error.error())
            }
            Some(Trouble::Halt) => Err(halted()),
        }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.life == self.life {
            state.locks.remove(&self.folder);
        }
    }
}
