//! An object store that fails as it is told: the seam at which tests break the lake.
//!
//! It lies under [`super::Blobs::over`], so that everything above it is the code that serves. What it does is
//! decided by its plan alone, never by chance: the same plan gives the same run.
//! Invariant: a put it has acknowledged survives [`Faulty::crash`]; one it has not may be forgotten there.
//! Elsewhere: the lake of an archive that serves (`local`).

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What becomes of one put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutFault {
    /// It works.
    None,
    /// It fails and leaves nothing behind.
    Before,
    /// The file is there, yet the put fails; [`Faulty::crash`] forgets the file.
    Unacknowledged,
    /// There is no room.
    Full,
}

/// What becomes of the reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// They work.
    None,
    /// The store does not answer.
    Unavailable,
    /// The owner has withdrawn his leave.
    Refused,
    /// They begin well and break off after this many bytes.
    BreaksAfter(usize),
}

#[derive(Debug)]
struct Plan {
    puts: VecDeque<PutFault>,
    reads: ReadFault,
    unacknowledged: BTreeSet<Key>,
}

/// An in-memory object store with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: InMemory,
    plan: Mutex<Plan>,
}

impl Faulty {
    /// An empty store without faults.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let plan = Plan { puts: VecDeque::new(), reads: ReadFault::None, unacknowledged: BTreeSet::new() };
        Arc::new(Self { inner: InMemory::new(), plan: Mutex::new(plan) })
    }

    /// What becomes of the next puts, one after the other; those behind the plan work.
    pub fn plan_puts(&self, faults: impl IntoIterator<Item = PutFault>) {
        self.plan.lock().puts.extend(faults);
    }

    /// What becomes of all reads from now on.
    pub fn plan_reads(&self, fault: ReadFault) {
        self.plan.lock().reads = fault;
    }

    /// The store is as after a crash: puts it has not acknowledged are forgotten, and so is the plan.
    pub async fn crash(&self) {
        let forgotten = {
            let mut plan = self.plan.lock();
            plan.puts.clear();
            plan.reads = ReadFault::None;
            std::mem::take(&mut plan.unacknowledged)
        };
        for key in forgotten {
            // It may have been removed meanwhile.
            drop(self.inner.delete(&key).await);
        }
    }

    /// Puts other bytes under a key, behind the archive's back.
    pub async fn replace(&self, key: &str, bytes: Bytes) {
        // A store in memory takes everything; a test sees by its reads what is there.
        drop(self.inner.put(&Key::from(key), bytes.into()).await);
    }

    /// What lies under a key; nothing if it is not there.
    pub async fn get_bytes(&self, key: &str) -> Bytes {
        let read = async { self.inner.get(&Key::from(key)).await?.bytes().await };
        read.await.unwrap_or_default()
    }

    /// Removes a file behind the archive's back.
    pub async fn lose(&self, key: &str) {
        // It may not be there, which is what is wanted.
        drop(self.inner.delete(&Key::from(key)).await);
    }

    fn broken(what: &'static str) -> object_store::Error {
        object_store::Error::Generic { store: "Faulty", source: what.into() }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Key, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fault = self.plan.lock().puts.pop_front().unwrap_or(PutFault::None);
        match fault {
            PutFault::None => self.inner.put_opts(location, payload, opts).await,
            PutFault::Before => Err(Self::broken("the put failed, as planned")),
            PutFault::Unacknowledged => {
                self.inner.put_opts(location, payload, opts).await?;
                self.plan.lock().unacknowledged.insert(location.clone());
                Err(Self::broken("the put was not acknowledged, as planned"))
            }
            PutFault::Full => {
                let source = Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
                Err(object_store::Error::Generic { store: "Faulty", source })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Key,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Key, options: GetOptions) -> Result<GetResult> {
        let fault = self.plan.lock().reads;
        match fault {
            ReadFault::None => self.inner.get_opts(location, options).await,
            ReadFault::Unavailable => Err(Self::broken("the read failed, as planned")),
            ReadFault::Refused => {
                let (path, source) = (location.to_string(), "refused, as planned".into());
                Err(object_store::Error::PermissionDenied { path, source })
            }
            ReadFault::BreaksAfter(bytes) => {
                let mut found = self.inner.get_opts(location, options).await?;
                if let GetResultPayload::Stream(pieces) = found.payload {
                    let begun =
                        pieces.map(move |piece| piece.map(|piece| piece.slice(..bytes.min(piece.len()))));
                    let broken = stream::once(async { Err(Self::broken("the read broke off, as planned")) });
                    found.payload = GetResultPayload::Stream(begun.chain(broken).boxed());
                }
                Ok(found)
            }
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
