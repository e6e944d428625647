//! The rows of a table in memory only: scratch folds and tests.
//!
//! Invariant: who reads a moment keeps the map of that moment; a write copies a map that is kept so.
//! Elsewhere: when rows change together (`tables`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Error, Map, RowIter, Rows, is_empty};

type Sorted = BTreeMap<Vec<u8>, Vec<u8>>;

/// One sorted map in memory.
#[derive(Default)]
pub(super) struct InMemory(RwLock<Arc<Sorted>>);

/// The map of one moment.
struct AsOf(Arc<Sorted>);

impl Map for InMemory {
    fn as_of_now(&self) -> Option<Box<dyn Rows>> {
        Some(Box::new(AsOf(Arc::clone(&self.0.read()))))
    }

    fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error> {
        let mut rows = self.0.write();
        let rows = Arc::make_mut(&mut rows);
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
}

impl Rows for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.read().get(key).cloned())
    }

    /// Looks at the map anew for each row.
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

impl Rows for AsOf {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), backwards: bool) -> RowIter<'_> {
        let rows = self.0.range(range).map(|(key, value)| Ok((key.clone(), value.clone())));
        if backwards { Box::new(rows.rev()) } else { Box::new(rows) }
    }
}
