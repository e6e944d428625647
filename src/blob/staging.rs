//! Receiving a file: bytes stream in, are hashed and checksummed, and wait in staging for their key.
//!
//! Small pieces are gathered; whenever [`BATCH_BYTES`] have come, one job on the blocking pool hashes and
//! writes them while the next batch is gathered. A file below that size costs a single job.
//!
//! Invariant: one upload holds at most two batches and two pieces in memory, however large the file.
//! Invariant: a staged file that was not placed is removed when it is dropped.
//! Elsewhere: durability (`local`), the keys (`lake`).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::{CHUNK_BYTES, Error, Expected};

/// Bytes gathered before they are hashed and written together. A CT image fits.
const BATCH_BYTES: usize = 1024 * 1024;

/// Pieces below this are copied together, so that a slow drip does not cost one allocation a piece.
const SMALL_BYTES: usize = 16 * 1024;

/// Ends the name of every staged file, so that nothing else is taken for one.
const STAGED_SUFFIX: &str = ".staged";

/// The folder in which files wait for their key.
#[derive(Debug)]
pub(super) struct Area {
    folder: PathBuf,
    next: AtomicU64,
    bytes: Arc<AtomicU64>,
    at_rest: AtRest,
}

/// What becomes of a staged file when it is complete.
#[derive(Clone, Debug)]
pub(super) enum AtRest {
    /// It will get a name on this disk: it stays open, so that its fsync reports every failed write since;
    /// where too many are open, it is fsynced at once.
    Kept(Arc<Semaphore>),
    /// It will be sent elsewhere, and its bytes are compared with their sums on the way.
    Closed,
}

impl Area {
    /// Opens (creates) the folder and removes what an earlier process left there.
    pub(super) fn open(folder: &Path, at_rest: AtRest) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(STAGED_SUFFIX) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder, next: AtomicU64::new(0), bytes: Arc::default(), at_rest })
    }

    pub(super) fn stage(&self) -> StagedFile {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number:016x}{STAGED_SUFFIX}"));
        let counted = Counted { total: Arc::clone(&self.bytes), bytes: 0 };
        StagedFile { path, state: FileState::NotYet, counted, at_rest: self.at_rest.clone() }
    }

    /// Bytes in the folder.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A file being received: written to a staging folder on local disk, hashed and checksummed as it comes.
#[derive(Debug)]
pub struct Staging {
    gathered: Gathered,
    work: Work,
}

/// A received file, complete, in staging. Removed from staging when dropped without being placed.
#[derive(Debug)]
pub struct Staged {
    /// Length in bytes.
    pub length_bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// CRC32C of each [`CHUNK_BYTES`] of it; the last chunk may be shorter, an empty file has none.
    pub chunks: Vec<u32>,
    pub(super) body: Body,
}

impl Staged {
    /// What a read of it under `key` must check.
    pub(super) fn expected(&self, key: &str) -> Expected {
        Expected {
            key: key.to_owned(),
            length_bytes: self.length_bytes,
            sha256: self.sha256,
            chunks: self.chunks.clone().into(),
            etag: None,
        }
    }
}

impl Staging {
    pub(super) fn new(body: Body) -> Self {
        let sink = Sink { sums: Sums::default(), body };
        Self { gathered: Gathered::default(), work: Work::Idle(Box::new(sink)) }
    }

    /// Appends bytes. Waits only for the batch before the last one.
    ///
    /// # Errors
    /// [`Error::Full`] and what else the disk said; the file is lost then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.gathered.push(bytes);
        if self.gathered.length < BATCH_BYTES {
            return Ok(());
        }
        let mut sink = self.settle().await?;
        let pieces = self.gathered.take();
        self.work = match &sink.body {
            Body::Memory(_) => {
                sink.absorb(pieces)?;
                Work::Idle(sink)
            }
            Body::File(_) => Work::Busy(tokio::task::spawn_blocking(move || {
                sink.absorb(pieces)?;
                Ok(sink)
            })),
        };
        Ok(())
    }

    /// No more bytes: length, SHA-256 and chunk sums are known; the bytes are with the file system (not yet
    /// durable).
    ///
    /// # Errors
    /// [`Error::Full`] and what else the disk said.
    pub async fn finish(mut self) -> Result<Staged, Error> {
        let sink = self.settle().await?;
        let pieces = self.gathered.take();
        match &sink.body {
            Body::Memory(_) => sink.finish(pieces),
            Body::File(_) => {
                let job = tokio::task::spawn_blocking(move || sink.finish(pieces));
                job.await.map_err(|lost| Error::Unavailable(lost.to_string()))?
            }
        }
    }

    /// Waits for the job under way. What it leaves behind is an error for whoever comes next.
    async fn settle(&mut self) -> Result<Box<Sink>, Error> {
        if let Work::Busy(job) = &mut self.work {
            self.work = match job.await {
                Ok(Ok(sink)) => Work::Idle(sink),
                Ok(Err(error)) => Work::Failed(error),
                Err(lost) => Work::Failed(Error::Unavailable(lost.to_string())),
            };
        }
        let next = Error::Unavailable("an earlier write of this file failed".to_owned());
        match std::mem::replace(&mut self.work, Work::Failed(next)) {
            Work::Idle(sink) => Ok(sink),
            Work::Failed(error) => Err(error),
            Work::Busy(_) => unreachable!("the job was awaited above"),
        }
    }
}

#[derive(Debug)]
enum Work {
    Idle(Box<Sink>),
    Busy(JoinHandle<Result<Box<Sink>, Error>>),
    Failed(Error),
}

/// Bytes on their way to the next batch.
#[derive(Debug, Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    small: BytesMut,
    length: usize,
}

impl Gathered {
    fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        if bytes.len() < SMALL_BYTES {
            self.small.extend_from_slice(&bytes);
            return;
        }
        self.end_small();
        self.pieces.push(bytes);
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.end_small();
        self.length = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// Where batches go: into the sums and into the body.
#[derive(Debug)]
struct Sink {
    sums: Sums,
    body: Body,
}

impl Sink {
    fn absorb(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        for piece in &pieces {
            self.sums.absorb(piece);
        }
        self.body.absorb(pieces)
    }

    fn finish(mut self: Box<Self>, pieces: Vec<Bytes>) -> Result<Staged, Error> {
        self.absorb(pieces)?;
        self.body.rest()?;
        let Sums { sha256, crc, in_chunk, mut chunks, length } = self.sums;
        if in_chunk > 0 {
            chunks.push(crc);
        }
        Ok(Staged { length_bytes: length, sha256: sha256.finalize().into(), chunks, body: self.body })
    }
}

/// Digest, length and chunk sums of what has passed.
#[derive(Debug, Default)]
struct Sums {
    sha256: Sha256,
    crc: u32,
    in_chunk: u64,
    chunks: Vec<u32>,
    length: u64,
}

impl Sums {
    fn absorb(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        self.length += piece.len() as u64;
        let mut rest = piece;
        while !rest.is_empty() {
            let room = usize::try_from(CHUNK_BYTES - self.in_chunk).expect("a chunk fits into memory");
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.crc = crc32c::crc32c_append(self.crc, now);
            self.in_chunk += now.len() as u64;
            if self.in_chunk == CHUNK_BYTES {
                self.chunks.push(std::mem::take(&mut self.crc));
                self.in_chunk = 0;
            }
            rest = later;
        }
    }
}

/// The bytes of a staged file.
#[derive(Debug)]
pub(super) enum Body {
    File(StagedFile),
    Memory(Vec<Bytes>),
}

impl Body {
    fn absorb(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        match self {
            Self::Memory(all) => {
                all.extend(pieces);
                Ok(())
            }
            Self::File(file) => file.absorb(&pieces),
        }
    }

    /// No more bytes will come.
    fn rest(&mut self) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.rest(),
        }
    }
}

/// A file in the staging folder; created with its first batch, removed when dropped.
#[derive(Debug)]
pub(super) struct StagedFile {
    path: PathBuf,
    state: FileState,
    counted: Counted,
    at_rest: AtRest,
}

#[derive(Debug)]
enum FileState {
    NotYet,
    Open(File),
    /// Complete and kept open, so that its fsync reports every failed write since.
    Kept(File, #[expect(dead_code, reason = "counts the file as open")] OwnedSemaphorePermit),
    /// Complete and closed; fsynced if it is to stay on this disk.
    Closed,
    Gone,
}

impl StagedFile {
    fn absorb(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        if let FileState::NotYet = self.state {
            let file = OpenOptions::new().write(true).create_new(true).open(&self.path);
            self.state = FileState::Open(file.map_err(|error| Error::of_staging(&error))?);
        }
        let FileState::Open(file) = &mut self.state else { unreachable!("bytes after the end of the file") };
        for piece in pieces {
            file.write_all(piece).map_err(|error| Error::of_staging(&error))?;
            self.counted.add(piece.len() as u64);
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), Error> {
        let FileState::Open(file) = std::mem::replace(&mut self.state, FileState::Closed) else {
            unreachable!("absorb came first")
        };
        let AtRest::Kept(keep_open) = &self.at_rest else { return Ok(()) };
        self.state = match Arc::clone(keep_open).try_acquire_owned() {
            Ok(permit) => FileState::Kept(file, permit),
            Err(_) => {
                file.sync_all().map_err(|error| Error::of_staging(&error))?;
                FileState::Closed
            }
        };
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the bytes durable, under whatever names the file has.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        match &self.state {
            FileState::Open(file) | FileState::Kept(file, _) => file.sync_all(),
            FileState::NotYet | FileState::Closed | FileState::Gone => Ok(()),
        }
    }

    /// Takes the name out of the staging folder, on this thread.
    pub(super) fn remove(mut self) {
        self.state = FileState::Gone;
        // A file that cannot be removed now is removed when the store is opened the next time.
        drop(std::fs::remove_file(&self.path));
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if matches!(self.state, FileState::NotYet | FileState::Gone) {
            return;
        }
        let path = std::mem::take(&mut self.path);
        let remove = move || drop(std::fs::remove_file(path));
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// This file's share of the bytes in staging.
#[derive(Debug)]
struct Counted {
    total: Arc<AtomicU64>,
    bytes: u64,
}

impl Counted {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
