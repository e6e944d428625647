//! The rows of a table in memory only: scratch folds and tests.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::RwLock;

use super::{Error, Map, RowIter, is_empty};

/// One sorted map in memory.
#[derive(Default)]
pub(super) struct InMemory(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Map for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.read().get(key).cloned())
    }

    fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error> {
        let mut rows = self.0.write();
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    fn range(&self, mut range: (Bound<Vec<u8>>, Bound<Vec<u8>>), backwards: bool) -> RowIter<'_> {
        Box::new(std::iter::from_fn(move || {
            if is_empty(&range) {
                return None;
            }
            let rows = self.0.read();
            let mut found = rows.range(range.clone());
            let (key, value) = if backwards { found.next_back() } else { found.next() }?;
            if backwards {
                range.1 = Bound::Excluded(key.clone());
            } else {
                range.0 = Bound::Excluded(key.clone());
            }
            Some(Ok((key.clone(), value.clone())))
        }))
    }
}
