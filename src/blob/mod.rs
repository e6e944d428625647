//! Immutable files under keys, over `object_store`: staged, made durable, read back only when unchanged.
//!
//! A file streams into staging while it is hashed, gets its key once, and is never altered by us. Since the
//! lake is its owner's too, every read assumes that it may have been: length first, then the checksum of
//! every chunk it touches, before a byte is handed out.
//!
//! Invariant: [`Blobs::place`] answers only when file, name and folders are durable; no key is overwritten.
//! Invariant: no byte leaves this room whose chunk does not have the recorded checksum.
//! Invariant: memory does not grow with a file: two windows a read, two batches an upload.
//! Elsewhere: which keys are live (`archive`), when files go (`workers::sweep`), frames (`dicom::frames`).

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use uuid::Uuid;

pub mod faulty;
mod inflating;
mod lake;
mod local;
mod reading;
mod staging;

pub use lake::Lake;
pub use staging::{Staged, Staging};

use local::Disk;
use staging::Body;

/// 128 KiB: each chunk of a file has its own checksum.
pub const CHUNK_BYTES: u64 = 128 * 1024;

/// What a health file says (contract `bulk-update-export.md` §4.3).
const HEALTH_TEXT: &[u8] = b"Kymo wrote this file to see whether it can be written, read and deleted.\n";

/// Why a file cannot be had or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is gone, behind our back.
    #[error("the file {key} is not in the store")]
    Missing {
        /// Its key.
        key: String,
    },
    /// It is not what was stored, behind our back.
    #[error("the file {key} is not what was stored: {what}")]
    Changed {
        /// Its key.
        key: String,
        /// What was found.
        what: String,
    },
    /// The owner of the store does not let us, or has put something in the way.
    #[error("the store refuses {key}: {what}")]
    Refused {
        /// The key concerned.
        key: String,
        /// What was said.
        what: String,
    },
    /// The store does not work; later it may.
    #[error("the store fails: {0}")]
    Unavailable(String),
    /// There is no room left.
    #[error("the store is full: {0}")]
    Full(String),
}

impl Error {
    /// What the file system said about `key`.
    fn of_io(key: &str, error: &io::Error) -> Self {
        let (key, what) = (key.to_owned(), error.to_string());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Missing { key },
            ErrorKind::PermissionDenied => Self::Refused { key, what },
            ErrorKind::AlreadyExists => Self::Refused { key, what: "something has this name already".into() },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(what),
            _ => Self::Unavailable(format!("{key}: {what}")),
        }
    }

    /// What the file system said about the staging folder, which is ours alone.
    fn of_staging(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Unavailable(format!("staging: {error}")),
        }
    }

    /// What the object store said about `key`.
    fn of_store(key: &str, error: &object_store::Error) -> Self {
        use object_store::Error as Said;
        let (key, what) = (key.to_owned(), error.to_string());
        match error {
            Said::NotFound { .. } => Self::Missing { key },
            Said::PermissionDenied { .. } | Said::Unauthenticated { .. } => Self::Refused { key, what },
            Said::AlreadyExists { .. } => {
                Self::Refused { key, what: "something has this name already".into() }
            }
            Said::InvalidPath { .. } => Self::Refused { key, what },
            Said::Precondition { .. } | Said::NotModified { .. } => Self::Changed { key, what },
            // The rest differs by store and version; a cause in the file system tells most.
            _ => {
                let mut cause = error.source();
                while let Some(inner) = cause {
                    if let Some(io) = inner.downcast_ref::<io::Error>() {
                        return Self::of_io(&key, io);
                    }
                    cause = inner.source();
                }
                Self::Unavailable(format!("{key}: {what}"))
            }
        }
    }
}

/// What is recorded of a stored file and must hold when it is read.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// CRC32C of each [`CHUNK_BYTES`] of it.
    pub chunks: Arc<[u32]>,
}

/// Immutable files under keys. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Where files are staged and placed when the lake is a local folder; else both happen in memory.
    disk: Option<Arc<Disk>>,
}

impl Blobs {
    /// Opens (creates) the lake in the folder `root`, with staging in the folder `staging` on the same file
    /// system. What an earlier process left in staging is removed; one process at a time is the caller's duty.
    ///
    /// # Errors
    /// What the file system said, and two folders on different file systems.
    pub fn open_local(root: &Path, staging: &Path) -> Result<Self, Error> {
        let disk = Arc::new(Disk::open(root, staging)?);
        Ok(Self { store: Arc::new(disk.lake().clone()), disk: Some(disk) })
    }

    /// Over any object store, staging in memory: for tests, with [`faulty::Faulty`] for instance.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, disk: None }
    }

    /// A store that lives and dies with this process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    /// Begins to receive a file.
    ///
    /// # Errors
    /// None yet: the disk is touched when bytes come.
    pub async fn stage(&self) -> Result<Staging, Error> {
        Ok(Staging::new(match &self.disk {
            Some(disk) => Body::File(disk.stage()),
            None => Body::Memory(Vec::new()),
        }))
    }

    /// Bytes in staging on disk: received, not yet placed or dropped.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.staged_bytes())
    }

    /// Makes the staged file durable under `key`; never overwrites. Dropped half-way or after an error, a file
    /// may be there all the same, under a key that must not be used again.
    ///
    /// # Errors
    /// [`Error::Refused`] when something has the key already; [`Error::Full`], [`Error::Unavailable`].
    pub async fn place(&self, staged: Staged, key: &str) -> Result<(), Error> {
        let path = key_of(key)?;
        match (staged.body, &self.disk) {
            (Body::File(file), Some(disk)) => disk.place(file, &path).await,
            (Body::Memory(pieces), _) => {
                let put =
                    self.store.put_opts(&path, pieces.into_iter().collect(), PutMode::Create.into()).await;
                put.map(drop).map_err(|error| Error::of_store(key, &error))
            }
            (Body::File(_), None) => Err(foreign()),
        }
    }

    /// Places many files, several at a time, with one fsync for each folder. Answers in their order; a file
    /// that fails says nothing about the others.
    pub async fn place_all(&self, files: Vec<(Staged, String)>) -> Vec<Result<(), Error>> {
        let Some(disk) = &self.disk else {
            let mut results = Vec::with_capacity(files.len());
            for (staged, key) in files {
                results.push(self.place(staged, &key).await);
            }
            return results;
        };
        let mut results: Vec<Result<(), Error>> = Vec::with_capacity(files.len());
        let (mut indexes, mut on_disk) = (Vec::new(), Vec::new());
        for (index, (staged, key)) in files.into_iter().enumerate() {
            match (staged.body, key_of(&key)) {
                (Body::File(file), Ok(path)) => {
                    indexes.push(index);
                    on_disk.push((file, path));
                    results.push(Ok(()));
                }
                (Body::Memory(_), Ok(_)) => results.push(Err(foreign())),
                (_, Err(error)) => results.push(Err(error)),
            }
        }
        for (index, result) in indexes.into_iter().zip(disk.place_all(on_disk).await) {
            results[index] = result;
        }
        results
    }

    /// Whether the file is there with the expected length. Cheap: asked before the first byte of an answer of
    /// many files.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Changed`], [`Error::Refused`]; [`Error::Unavailable`].
    pub async fn check(&self, file: &Expected) -> Result<(), Error> {
        let found = self.store.head(&key_of(&file.key)?).await;
        file.check_length(found.map_err(|error| Error::of_store(&file.key, &error))?.size)
    }

    /// The bytes of `range`. Up to 8 MiB is read and checked before this answers; of a longer range the first
    /// window is, and the stream ends with an error where a later one does not hold.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Changed`], [`Error::Refused`]; [`Error::Unavailable`].
    pub async fn read(
        &self,
        file: &Expected,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        reading::read(&self.store, self.disk.as_deref(), file, range).await
    }

    /// The bytes of `range` of the dataset that lies deflated (PS3.5 §A.5) from `dataset_offset` to the end of
    /// the file. Inflates from its beginning, in bounded memory; the first bytes are there when this answers.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Changed`] too when there is no such range.
    pub async fn read_inflated(
        &self,
        file: &Expected,
        dataset_offset: u64,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        if range.is_empty() {
            self.check(file).await?;
            return Ok(stream::empty().boxed());
        }
        let deflated = self.read(file, dataset_offset..file.length_bytes).await?;
        inflating::inflate(file.key.clone(), deflated, range).await
    }

    /// Whether the whole file has its digest: for `verify`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Changed`], [`Error::Refused`]; [`Error::Unavailable`].
    pub async fn verify(&self, file: &Expected) -> Result<(), Error> {
        reading::verify(self.read(file, 0..file.length_bytes).await?, file).await
    }

    /// Removes the file; a missing one is fine. Its folders stay: another upload may be about to use them.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unavailable`].
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        match self.store.delete(&key_of(key)?).await.map_err(|error| Error::of_store(key, &error)) {
            Err(Error::Missing { .. }) => Ok(()),
            result => result,
        }
    }

    /// Every key below the folder `prefix`, with its length, in no order.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<(String, u64), Error>> {
        let key = match key_of(prefix) {
            Ok(key) => key,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let prefix = prefix.to_owned();
        self.store
            .list(Some(&key))
            .map_ok(|found| (found.location.to_string(), found.size))
            .map_err(move |error| Error::of_store(&prefix, &error))
            .boxed()
    }

    /// Writes, reads and deletes a health file named after `id`.
    ///
    /// # Errors
    /// What the store said: [`Error::Missing`] and [`Error::Refused`] are its owner's doing.
    pub async fn probe(&self, lake: &Lake, id: Uuid) -> Result<(), Error> {
        let name = lake.health_key(id);
        if self.disk.as_ref().is_some_and(|disk| !disk.root_is_there()) {
            return Err(Error::Missing { key: lake.prefix() });
        }
        let (key, failed) = (key_of(&name)?, |error: object_store::Error| Error::of_store(&name, &error));
        self.store.put(&key, PutPayload::from_static(HEALTH_TEXT)).await.map_err(failed)?;
        let found = async { self.store.get(&key).await?.bytes().await }.await;
        // Deleted whatever was found, so that a failing store does not fill up with health files.
        let deleted = self.store.delete(&key).await;
        if found.map_err(failed)? != HEALTH_TEXT {
            return Err(Error::Changed { key: name, what: "another text than was written".to_owned() });
        }
        deleted.map_err(failed)
    }
}

impl Expected {
    fn check_length(&self, found: u64) -> Result<(), Error> {
        if found == self.length_bytes {
            return Ok(());
        }
        Err(self.changed(format!("it has {found} bytes, not {}", self.length_bytes)))
    }

    fn changed(&self, what: String) -> Error {
        Error::Changed { key: self.key.clone(), what }
    }
}

fn key_of(key: &str) -> Result<Key, Error> {
    let refused =
        |error: object_store::path::Error| Error::Refused { key: key.into(), what: error.to_string() };
    Key::parse(key).map_err(refused)
}

/// A staged file came to a store that did not stage it.
fn foreign() -> Error {
    Error::Unavailable("the file was staged by another store".to_owned())
}

#[cfg(test)]
mod tests;
