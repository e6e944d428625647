//! The rows of a table in a log-structured merge tree, fjall.
//!
//! Its memory does not grow with the rows.
//! Layout: one keyspace; blocks and journal carry checksums.
//! Invariant: whatever fjall does, a panic included, ends as [`Error::Damaged`].
//! Elsewhere: when rows change together (`tables`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::compaction::Leveled;
use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Error, Map, RowIter, Rows, guarded};

/// Rows that changed are held in memory up to this size, as fjall counts it, and then written out as a sorted
/// file. A view that catches up is a third faster with this much than with a quarter of it.
const IN_MEMORY_BYTES: u64 = 16 << 20;
/// As many rows at once come of catching up, not of requests.
const MANY_ROWS: usize = 1_000;
/// Up to this size, by [`memory_of`], when rows change few at a time: memory is then the same after a minute of
/// requests and after a day of them.
const IN_MEMORY_AT_REST_BYTES: u64 = 4 << 20;
/// What a row in memory takes beside its key and value: the node of the skip list, two allocations.
const ROW_OVERHEAD_BYTES: u64 = 160;
/// Writes out and merges. Of several, one leaves merging to the others, and turns in a loop until they have done it.
const WORKERS: usize = 1;
/// Size of a sorted file. The first level holds four of them, and all of it is written anew whenever new rows are
/// merged into it: files of 64 MiB, as fjall proposes, double the work.
const FILE_BYTES: u64 = 8 << 20;
/// What fjall puts in its folder first.
const MARK: &str = "version";

/// One sorted map on disk.
pub(super) struct OnFjall {
    db: Database,
    rows: Keyspace,
    folder: Arc<Path>,
    /// Of the rows changed since those in memory were last written out at rest.
    in_memory: AtomicU64,
}

impl OnFjall {
    /// Opens or creates the map in `folder`; `cache_bytes` bounds the cache of blocks.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Error> {
        super::unless_of_another_engine(folder, MARK)?;
        let (db, rows) = guarded(folder, || {
            let db = Database::builder(folder).cache_size(cache_bytes).worker_threads(WORKERS).open()?;
            let rows = db.keyspace("rows", options)?;
            Ok::<_, fjall::Error>((db, rows))
        })?;
        Ok(Self { db, rows, folder: folder.into(), in_memory: AtomicU64::new(0) })
    }

    /// Writes out the rows in memory when they are many for a table that is not catching up.
    fn settle(&self, rows: usize, bytes: u64) -> Result<(), fjall::Error> {
        let in_memory = self.in_memory.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if rows < MANY_ROWS && in_memory > IN_MEMORY_AT_REST_BYTES {
            self.in_memory.store(0, Ordering::Relaxed);
            self.rows.rotate_memtable()?;
        }
        Ok(())
    }

    fn guarded<T>(&self, call: impl FnOnce() -> Result<T, fjall::Error>) -> Result<T, Error> {
        guarded(&self.folder, call)
    }
}

/// What a table is made with. The filter and the index of a sorted file come in blocks on every level: as one
/// piece they have a megabyte in a large file, which is then read for one row.
fn options() -> KeyspaceCreateOptions {
    let merging = Leveled::default().with_table_target_size(FILE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(IN_MEMORY_BYTES)
        .compaction_strategy(Arc::new(merging))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
}

/// What a changed row takes while it is in memory, about.
fn memory_of((key, value): (&Vec<u8>, &Option<Vec<u8>>)) -> u64 {
    let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
    ROW_OVERHEAD_BYTES + u64::try_from(bytes).unwrap_or(u64::MAX / 2)
}

/// The map of one moment: fjall keeps the versions of rows that a snapshot shows.
struct AsOf {
    snapshot: Snapshot,
    rows: Keyspace,
    folder: Arc<Path>,
}

impl Map for OnFjall {
    fn as_of_now(&self) -> Option<Box<dyn Rows>> {
        let (rows, folder) = (self.rows.clone(), Arc::clone(&self.folder));
        Some(Box::new(AsOf { snapshot: self.db.snapshot(), rows, folder }))
    }

    fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error> {
        let mut batch = self.db.batch();
        let rows = changes.len();
        let bytes = changes.iter().map(memory_of).sum();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        self.guarded(|| {
            batch.commit()?;
            self.settle(rows, bytes)
        })
    }

    fn flush(&self) -> Result<(), Error> {
        self.guarded(|| self.db.persist(PersistMode::SyncAll))
    }
}

impl Rows for OnFjall {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.guarded(|| self.rows.get(key))?.map(|value| value.to_vec()))
    }

    fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), backwards: bool) -> RowIter<'_> {
        read(&self.folder, self.guarded(|| Ok(self.rows.range(range))), backwards)
    }
}

impl Rows for AsOf {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = guarded(&self.folder, || self.snapshot.get(&self.rows, key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), backwards: bool) -> RowIter<'_> {
        let rows = guarded(&self.folder, || Ok::<_, fjall::Error>(self.snapshot.range(&self.rows, range)));
        read(&self.folder, rows, backwards)
    }
}

/// The rows of a range that was begun.
fn read(folder: &Path, rows: Result<fjall::Iter, Error>, backwards: bool) -> RowIter<'_> {
    let mut rows = match rows {
        Ok(rows) => rows,
        Err(error) => return Box::new(std::iter::once(Err(error))),
    };
    Box::new(std::iter::from_fn(move || {
        let next = guarded(folder, || {
            let row = if backwards { rows.next_back() } else { rows.next() };
            row.map(fjall::Guard::into_inner).transpose()
        });
        next.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).transpose()
    }))
}
