//! STUB
use crate::dicom::uid::Uid;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::ops::Range;
use uuid::Uuid;

/// 128 KiB: each chunk of a file has its own checksum.
pub const CHUNK_BYTES: u64 = 128 * 1024;

/// Why a file cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Behind our back. 424 BlobNotFound.
    #[error("the file {key} is not in the store")]
    Missing { key: String },
    /// 424 ConditionNotMet.
    #[error("the file {key} is not what was stored: {what}")]
    Changed { key: String, what: String },
    /// The owner refuses. 424.
    #[error("the store refuses {key}: {what}")]
    Refused { key: String, what: String },
    /// 503.
    #[error("the store fails: {0}")]
    Unavailable(String),
    /// Full disk. 503.
    #[error("the store is full: {0}")]
    Full(String),
}

/// A file being received: written to a staging folder on local disk, hashed and checksummed as it comes.
pub struct Staging {}
impl Staging {
    /// Appends bytes. Blocking-safe small writes; buffer internally.
    /// # Errors
    /// Disk.
    pub async fn write(&mut self, _bytes: Bytes) -> Result<(), Error> {
        todo!()
    }
    /// No more bytes: length, SHA-256 and chunk sums are known; the bytes are on disk (not yet fsynced).
    /// # Errors
    /// Disk.
    pub async fn finish(self) -> Result<Staged, Error> {
        todo!()
    }
}
/// A received file, complete, in staging. Removed from staging when dropped without `place`.
#[derive(Debug)]
pub struct Staged {
    pub length_bytes: u64,
    pub sha256: [u8; 32],
    pub chunks: Vec<u32>,
}

/// What is recorded of a stored file and must hold when it is read.
#[derive(Clone, Debug)]
pub struct Expected {
    pub key: String,
    pub length_bytes: u64,
    pub sha256: [u8; 32],
    pub chunks: std::sync::Arc<[u32]>,
}

/// The names of the lake (contract bulk-update-export §4.1).
#[derive(Clone, Debug)]
pub struct Lake {
    pub workspace: String,
    pub service: String,
}
impl Lake {
    /// `AHDS/{workspace}/dicom/{service}/{partition}/{study}/{series}/{instance}_{version id}.dcm`
    #[must_use]
    pub fn instance_key(
        &self,
        _partition: &crate::base::Partition,
        _study: &Uid,
        _series: &Uid,
        _instance: &Uid,
        _version: Uuid,
    ) -> String {
        todo!()
    }
    /// The version id in such a key, if it is one.
    #[must_use]
    pub fn version_of(_key: &str) -> Option<Uuid> {
        todo!()
    }
}

/// Immutable files under keys.
#[derive(Clone)]
pub struct Blobs {}
impl Blobs {
    /// Opens (creates) the local store at `root`; staging at `staging` on the same file system. Leftover stagings are removed.
    /// # Errors
    /// Disk.
    pub fn open_local(_root: &std::path::Path, _staging: &std::path::Path) -> Result<Self, Error> {
        todo!()
    }
    /// # Errors
    /// Disk.
    pub async fn stage(&self) -> Result<Staging, Error> {
        todo!()
    }
    /// Makes the staged file durable under `key` (file and folders fsynced); never overwrites.
    /// # Errors
    /// Disk.
    pub async fn place(&self, _staged: Staged, _key: &str) -> Result<(), Error> {
        todo!()
    }
    /// Cheap: length (and per-node hint) against what is expected. Before the first byte of a multi-file answer.
    /// # Errors
    /// 424s
    pub async fn check(&self, _file: &Expected) -> Result<(), Error> {
        todo!()
    }
    /// The bytes of `range`, checked against the chunk sums they touch before they are handed out. Up to 8 MiB is read and
    /// checked whole before this returns Ok; a longer range: the first window is.
    /// # Errors
    /// 424s
    pub async fn read(
        &self,
        _file: &Expected,
        _range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        todo!()
    }
    /// Removes; missing is fine.
    /// # Errors
    /// Disk.
    pub async fn remove(&self, _key: &str) -> Result<(), Error> {
        todo!()
    }
    /// Every key under the lake with its length.
    pub fn list(&self, _prefix: &str) -> BoxStream<'static, Result<(String, u64), Error>> {
        todo!()
    }
    /// Whole-file digest check, for verify.
    /// # Errors
    /// 424s
    pub async fn verify(&self, _file: &Expected) -> Result<(), Error> {
        todo!()
    }
    /// Writes, reads, removes `healthCheck/health<guid>.txt`.
    /// # Errors
    /// What the store said.
    pub async fn probe(&self, _lake: &Lake, _id: Uuid) -> Result<(), Error> {
        todo!()
    }
}
