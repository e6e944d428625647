//! The rows of a table in sled.
//!
//! Invariant: whatever sled does, a panic included, ends as [`Error::Damaged`].
//! Elsewhere: when rows change together (`tables`), which of them lie in sled as one (`shelves`).

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::shelves::{Broken, Shelf};
use super::{Error, RowIter};

/// One sorted map on disk.
pub(super) struct Stored {
    db: sled::Db,
    folder: PathBuf,
    shelves: &'static [Shelf],
}

impl Stored {
    /// Opens or creates the map in `folder`; `cache_bytes` bounds sled's page cache.
    pub(super) fn open(folder: &Path, shelves: &'static [Shelf], cache_bytes: u64) -> Result<Self, Error> {
        let db = guarded(folder, || {
            sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(Some(500)).open()
        })?;
        Ok(Self { db, folder: folder.to_owned(), shelves })
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some((shelf, own, tail)) = self.place(key) else {
            return Ok(self.guarded(|db| db.get(key))?.map(|value| value.to_vec()));
        };
        let Some(whole) = self.guarded(|db| db.get(&own))? else { return Ok(None) };
        let found = shelf.find(&whole, tail).map_err(|Broken| self.broken())?;
        Ok(found.map(<[u8]>::to_vec))
    }

    /// Writes all changes in one step.
    pub(super) fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error> {
        let batch = self.batch(changes)?;
        self.guarded(|db| db.apply_batch(batch))
    }

    /// Makes everything written so far durable.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.guarded(|db| db.flush()).map(drop)
    }

    /// The rows of a range.
    pub(super) fn range<'a>(
        &'a self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        backwards: bool,
    ) -> RowIter<'a> {
        let mut from = range.0.clone();
        if let Bound::Included(key) | Bound::Excluded(key) = &range.0
            && self.shelf(key).is_some()
        {
            // The first rows may lie on a shelf whose own key is before theirs.
            let before = self.guarded(|db| db.range::<&[u8], _>(..=&key[..]).next_back().transpose());
            match before {
                Ok(Some((own, _))) if own.first() == key.first() => from = Bound::Included(own.to_vec()),
                Ok(_) => {}
                Err(error) => return Box::new(std::iter::once(Err(error))),
            }
        }
        let mut stored = self.db.range((from, range.1.clone()));
        let mut of_shelf = Vec::new().into_iter();
        Box::new(std::iter::from_fn(move || {
            loop {
                if let Some(row) = if backwards { of_shelf.next_back() } else { of_shelf.next() } {
                    return Some(Ok(row));
                }
                let next =
                    self.guarded(|_| if backwards { stored.next_back() } else { stored.next() }.transpose());
                let (key, value) = match next {
                    Ok(row) => row?,
                    Err(error) => return Some(Err(error)),
                };
                let Some(shelf) = self.shelf(&key) else {
                    return Some(Ok((key.to_vec(), value.to_vec())));
                };
                let Ok(mut rows) = shelf.rows(&key, &value) else {
                    return Some(Err(self.broken()));
                };
                rows.retain(|(key, _)| range.contains(key));
                of_shelf = rows.into_iter();
            }
        }))
    }

    /// The shelf of the rows with keys of this kind, if they lie on one.
    fn shelf(&self, key: &[u8]) -> Option<&'static Shelf> {
        let kind = *key.first()?;
        self.shelves.iter().find(|shelf| shelf.kind == kind)
    }

    /// The changes as sled is to see them: those of one shelf as one.
    fn batch(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<sled::Batch, Error> {
        let mut batch = sled::Batch::default();
        let mut changes = changes.into_iter().peekable();
        while let Some((key, value)) = changes.next() {
            let Some((shelf, own, tail)) = self.place(&key) else {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
                continue;
            };
            let mut together = vec![(tail.to_vec(), value)];
            let same = |key: &[u8]| shelf.split(key).is_some_and(|(other, _)| other == own);
            while let Some((key, value)) = changes.next_if(|(key, _)| same(key)) {
                together.push((key[key.len() - shelf.tail_bytes..].to_vec(), value));
            }
            let stored = self.guarded(|db| db.get(&own))?.unwrap_or_default();
            let whole = shelf.changed(&stored, together).map_err(|Broken| self.broken())?;
            if whole.is_empty() { batch.remove(own) } else { batch.insert(own, whole) }
        }
        Ok(batch)
    }

    /// Where a row lies that lies on a shelf: shelf, the shelf's key, the end of the row's.
    fn place<'k>(&self, key: &'k [u8]) -> Option<(&'static Shelf, Vec<u8>, &'k [u8])> {
        let shelf = self.shelf(key)?;
        let (own, tail) = shelf.split(key)?;
        Some((shelf, own, tail))
    }

    fn guarded<T>(&self, call: impl FnOnce(&sled::Db) -> Result<T, sled::Error>) -> Result<T, Error> {
        guarded(&self.folder, || call(&self.db))
    }

    fn broken(&self) -> Error {
        let what = "a shelf of rows cannot be read".to_owned();
        Error::Damaged { table: self.folder.display().to_string(), what }
    }
}

/// Runs one call of sled; its errors and its panics both mean that the table is not to be trusted.
fn guarded<T>(folder: &Path, call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, Error> {
    let damaged = |what: String| Error::Damaged { table: folder.display().to_string(), what };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(damaged(text.unwrap_or_else(|| "sled panicked".to_owned())))
        }
    }
}
