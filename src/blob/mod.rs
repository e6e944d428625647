//! Immutable files under keys, over `object_store`: staged, made durable, read back only when unchanged.
//!
//! A file streams into staging while it is hashed, gets its key once, and is never altered by us. Since the
//! lake is its owner's too, every read assumes that it may have been: length first, then the checksum of
//! every chunk it touches, before a byte is handed out.
//!
//! Invariant: [`Blobs::place`] answers only when file, name and folders are durable; no key is overwritten.
//! Invariant: no byte leaves this room whose chunk does not have the recorded checksum.
//! Invariant: memory does not grow with a file: two windows a read, two batches an upload.
//! Rooms within: a folder (`local`), a store behind a network (`location`, `remote`, `cache`, `said`).
//! Elsewhere: which keys are live (`archive`), when files go (`workers::sweep`), frames (`dicom::frames`).

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

mod cache;
pub mod faulty;
mod inflating;
mod lake;
mod local;
mod location;
mod reading;
mod remote;
mod said;
mod staging;

pub use cache::CacheSettings;
pub use inflating::Inflated;
pub use lake::Lake;
pub use location::{Environment, Location, Reach};
pub use reading::EtagRule;
pub use staging::{Staged, Staging};

use cache::Cache;
use local::Disk;
use reading::Reader;
use remote::Remote;
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
        /// The store's code for it, a word.
        code: &'static str,
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
            ErrorKind::PermissionDenied => Self::Refused { key, code: "AuthorizationFailure", what },
            ErrorKind::AlreadyExists => {
                let what = "something has this name already".into();
                Self::Refused { key, code: said::NAME_TAKEN, what }
            }
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
    /// The `ETag` it got from the store, where it got one.
    pub etag: Option<Arc<str>>,
}

/// The settings of the blob store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the lake is.
    pub location: Location,
    /// The folder of uploads that are still running; on the lake's file system if the lake is a folder.
    pub staging: std::path::PathBuf,
    /// How a store behind a network is reached.
    pub reach: Reach,
    /// Where its address and our credentials are found.
    pub environment: Environment,
    /// What an altered `ETag` means.
    pub etag: EtagRule,
    /// A cache in front of a store behind a network.
    pub cache: Option<CacheSettings>,
}

/// Immutable files under keys. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Blobs {
    reader: Reader,
    ground: Ground,
}

/// Where files are staged, and how they get from there under their key.
#[derive(Clone, Debug)]
enum Ground {
    /// In memory, and by a put.
    Memory,
    /// In a folder, and by a link.
    Disk(Arc<Disk>),
    /// In a folder, and over a network.
    Remote(Arc<Remote>),
}

impl Blobs {
    /// Opens the lake where the settings say, or creates it if it is a folder. What an earlier process left in
    /// staging is removed; one process at a time is the caller's duty. Nothing is sent over a network yet.
    ///
    /// # Errors
    /// What the file system said, and settings that name no store.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let environment = &settings.environment;
        let reached = match &settings.location {
            Location::Folder(root) => return Self::open_local(root, &settings.staging),
            Location::S3 { bucket, prefix } => location::s3(bucket, prefix, environment, settings.reach)?,
            Location::Azure { container, prefix } => {
                location::azure(container, prefix, environment, settings.reach)?
            }
        };
        let cache = settings.cache.clone().map(Cache::open).transpose();
        let cache = cache.map_err(|error| Error::Unavailable(format!("the cache: {error}")))?;
        let remote = Arc::new(Remote::open(reached, &settings.staging, cache.clone())?);
        let store = Arc::clone(remote.store());
        let reader = Reader { cache, etag: settings.etag, ..Reader::of(store) };
        Ok(Self { reader, ground: Ground::Remote(remote) })
    }

    /// Opens (creates) the lake in the folder `root`, with staging in the folder `staging` on the same file
    /// system. What an earlier process left in staging is removed; one process at a time is the caller's duty.
    ///
    /// # Errors
    /// What the file system said, and two folders on different file systems.
    pub fn open_local(root: &Path, staging: &Path) -> Result<Self, Error> {
        let disk = Arc::new(Disk::open(root, staging)?);
        let reader = Reader { disk: Some(Arc::clone(&disk)), ..Reader::of(Arc::new(disk.lake().clone())) };
        Ok(Self { reader, ground: Ground::Disk(disk) })
    }

    /// Over any object store, staging in memory: for tests, with [`faulty::Faulty`] for instance.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { reader: Reader::of(store), ground: Ground::Memory }
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
        Ok(Staging::new(match &self.ground {
            Ground::Disk(disk) => Body::File(disk.area().stage()),
            Ground::Remote(remote) => Body::File(remote.area().stage()),
            Ground::Memory => Body::Memory(Vec::new()),
        }))
    }

    /// Bytes in staging on disk: received, not yet placed or dropped.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        match &self.ground {
            Ground::Disk(disk) => disk.area().bytes(),
            Ground::Remote(remote) => remote.area().bytes(),
            Ground::Memory => 0,
        }
    }

    /// Makes the staged file durable under `key`; never overwrites. Dropped half-way or after an error, a file
    /// may be there all the same, under a key that must not be used again. Answers its `ETag`, if the store
    /// gives any.
    ///
    /// # Errors
    /// [`Error::Refused`] when something has the key already; [`Error::Full`], [`Error::Unavailable`].
    pub async fn place(&self, staged: Staged, key: &str) -> Result<Option<String>, Error> {
        match (&self.ground, staged.body) {
            (Ground::Disk(disk), Body::File(file)) => disk.place(file, &key_of(key)?).await.map(|()| None),
            (Ground::Remote(remote), body) => remote.place(Staged { body, ..staged }, key).await,
            (Ground::Memory, Body::Memory(pieces)) => {
                let bytes: PutPayload = pieces.into_iter().collect();
                let put = self.reader.store.put_opts(&key_of(key)?, bytes, PutMode::Create.into()).await;
                put.map(|_| None).map_err(|error| said::error(key, &error))
            }
            (Ground::Disk(_), Body::Memory(_)) | (Ground::Memory, Body::File(_)) => Err(foreign()),
        }
    }

    /// Places many files, several at a time, with one fsync for each folder. Answers in their order; a file
    /// that fails says nothing about the others.
    pub async fn place_all(&self, files: Vec<(Staged, String)>) -> Vec<Result<Option<String>, Error>> {
        let disk = match &self.ground {
            Ground::Disk(disk) => disk,
            Ground::Remote(remote) => return remote.place_all(files).await,
            Ground::Memory => {
                let mut results = Vec::with_capacity(files.len());
                for (staged, key) in files {
                    results.push(self.place(staged, &key).await);
                }
                return results;
            }
        };
        let mut results = Vec::with_capacity(files.len());
        let (mut indexes, mut on_disk) = (Vec::new(), Vec::new());
        for (index, (staged, key)) in files.into_iter().enumerate() {
            match (staged.body, key_of(&key)) {
                (Body::File(file), Ok(path)) => {
                    indexes.push(index);
                    on_disk.push((file, path));
                    results.push(Ok(None));
                }
                (Body::Memory(_), Ok(_)) => results.push(Err(foreign())),
                (_, Err(error)) => results.push(Err(error)),
            }
        }
        for (index, result) in indexes.into_iter().zip(disk.place_all(on_disk).await) {
            results[index] = result.map(|()| None);
        }
        results
    }

    /// Aborts uploads in parts that an earlier process, or a failing store, has left unfinished; how many.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unavailable`]; those left are tried again with the next call.
    pub async fn abort_abandoned(&self) -> Result<u64, Error> {
        match &self.ground {
            Ground::Remote(remote) => remote.abort_abandoned().await,
            Ground::Disk(_) | Ground::Memory => Ok(0),
        }
    }

    /// Makes bytes durable under a key that says what they are: the same bytes there already are as good.
    ///
    /// # Errors
    /// As [`Self::place`]; [`Error::Changed`] when other bytes are there.
    pub async fn keep(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let mut staging = self.stage().await?;
        staging.write(bytes).await?;
        let staged = staging.finish().await?;
        let expected = staged.expected(key);
        match self.place(staged, key).await {
            Ok(_) => Ok(()),
            Err(Error::Refused { code: said::NAME_TAKEN, .. }) => self.verify(&expected).await,
            Err(error) => Err(error),
        }
    }

    /// The bytes of a whole file of this length, in memory and unchecked: the caller knows their digest.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Changed`], [`Error::Refused`]; [`Error::Unavailable`].
    pub async fn whole(&self, key: &str, length_bytes: u64) -> Result<Bytes, Error> {
        reading::whole(&self.reader, key, length_bytes).await
    }

    /// Whether the file is there with the expected length. Cheap: asked before the first byte of an answer of
    /// many files.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Changed`], [`Error::Refused`]; [`Error::Unavailable`].
    pub async fn check(&self, file: &Expected) -> Result<(), Error> {
        self.reader.check(file).await
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
        reading::read(&self.reader, file, range).await
    }

    /// What the dataset inflates to that lies deflated (PS3.5 §A.5) from `dataset_offset` to the end of the
    /// file. Nothing is read yet.
    #[must_use]
    pub fn inflating(&self, file: &Expected, dataset_offset: u64) -> Inflated {
        Inflated::of(&self.reader, file, dataset_offset)
    }

    /// The whole of what is deflated in the file from `dataset_offset` on.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Changed`] too when it does not inflate to its end.
    pub async fn inflated(
        &self,
        file: &Expected,
        dataset_offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        self.inflating(file, dataset_offset).read(0..inflating::END).await
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
        if let Some(cache) = &self.reader.cache {
            cache.doubt(key);
        }
        match self.reader.store.delete(&key_of(key)?).await.map_err(|error| said::error(key, &error)) {
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
        self.reader
            .store
            .list(Some(&key))
            .map_ok(|found| (found.location.to_string(), found.size))
            .map_err(move |error| said::error(&prefix, &error))
            .boxed()
    }

    /// Writes, reads and deletes a health file named after `id`.
    ///
    /// # Errors
    /// What the store said: [`Error::Missing`] and [`Error::Refused`] are its owner's doing.
    pub async fn probe(&self, lake: &Lake, id: Uuid) -> Result<(), Error> {
        let name = lake.health_key(id);
        if let Ground::Disk(disk) = &self.ground
            && !disk.root_is_there()
        {
            return Err(Error::Missing { key: lake.prefix() });
        }
        let (key, failed) = (key_of(&name)?, |error: object_store::Error| said::error(&name, &error));
        self.reader.store.put(&key, PutPayload::from_static(HEALTH_TEXT)).await.map_err(failed)?;
        let found = async { self.reader.store.get(&key).await?.bytes().await }.await;
        // Deleted whatever was found, so that a failing store does not fill up with health files.
        let deleted = self.reader.store.delete(&key).await;
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
    let refused = |error: object_store::path::Error| Error::Refused {
        key: key.into(),
        code: "InvalidUri",
        what: error.to_string(),
    };
    Key::parse(key).map_err(refused)
}

/// Room is counted in KiB, since a semaphore does not count far enough for bytes.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// A staged file came to a store that did not stage it.
fn foreign() -> Error {
    Error::Unavailable("the file was staged by another store".to_owned())
}

#[cfg(test)]
mod tests;
