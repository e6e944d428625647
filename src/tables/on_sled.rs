//! The rows of a table in sled.
//!
//! It pays for each row and keeps its directory of pages in memory: for archives of up to some million
//! instances.
//! Invariant: whatever sled does, a panic included, ends as [`Error::Damaged`].
//! Elsewhere: when rows change together (`tables`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::{Error, Map, RowIter, Rows, guarded};

/// sled makes what was written durable by itself, this often; what a power cut takes is folded again.
const FLUSH_EVERY_MS: u64 = 500;
/// What sled puts in its folder first.
const MARK: &str = "conf";

/// One sorted map on disk.
pub(super) struct OnSled {
    db: sled::Db,
    folder: PathBuf,
}

impl OnSled {
    /// Opens or creates the map in `folder`; `cache_bytes` bounds the cache of pages.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Error> {
        super::unless_of_another_engine(folder, MARK)?;
        let settings = sled::Config::new().path(folder).cache_capacity(cache_bytes);
        let db = guarded(folder, || settings.flush_every_ms(Some(FLUSH_EVERY_MS)).open())?;
        Ok(Self { db, folder: folder.to_owned() })
    }

    fn guarded<T>(&self, call: impl FnOnce(&sled::Db) -> Result<T, sled::Error>) -> Result<T, Error> {
        guarded(&self.folder, || call(&self.db))
    }
}

impl Map for OnSled {
    fn as_of_now(&self) -> Option<Box<dyn Rows>> {
        None
    }

    fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.guarded(|db| db.apply_batch(batch))
    }

    fn flush(&self) -> Result<(), Error> {
        self.guarded(|db| db.flush()).map(drop)
    }
}

impl Rows for OnSled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.guarded(|db| db.get(key))?.map(|value| value.to_vec()))
    }

    fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), backwards: bool) -> RowIter<'_> {
        let mut rows = self.db.range(range);
        Box::new(std::iter::from_fn(move || {
            let next = self.guarded(|_| if backwards { rows.next_back() } else { rows.next() }.transpose());
            next.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).transpose()
        }))
    }
}
