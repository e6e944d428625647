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

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Error, Map, RowIter, Rows, guarded};

/// Rows that changed are held in memory up to this size, and then written out as a sorted file.
const IN_MEMORY_BYTES: u64 = 16 << 20;
/// One writes out while the other merges.
const WORKERS: usize = 2;
/// What fjall puts in its folder first.
const MARK: &str = "version";

/// One sorted map on disk.
pub(super) struct OnFjall {
    db: Database,
    rows: Keyspace,
    folder: Arc<Path>,
}

impl OnFjall {
    /// Opens or creates the map in `folder`; `cache_bytes` bounds the cache of blocks.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Error> {
        super::unless_of_another_engine(folder, MARK)?;
        let (db, rows) = guarded(folder, || {
            let db = Database::builder(folder).cache_size(cache_bytes).worker_threads(WORKERS).open()?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(IN_MEMORY_BYTES);
            let rows = db.keyspace("rows", options)?;
            Ok::<_, fjall::Error>((db, rows))
        })?;
        Ok(Self { db, rows, folder: folder.into() })
    }

    fn guarded<T>(&self, call: impl FnOnce() -> Result<T, fjall::Error>) -> Result<T, Error> {
        guarded(&self.folder, call)
    }
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
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        self.guarded(|| batch.commit())
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
