//! Reading a table: at one moment, or through a batch.
//!
//! Invariant: what a [`Reader`] shows never changes, and is never half of a batch.
//! Elsewhere: who keeps the moment (the engines), batches (`tables`).

use std::ops::Bound;

use parking_lot::RwLockReadGuard;
use sha2::{Digest, Sha256};

use super::{CURSOR, Error, IDENTITY, Row, RowIter, Rows, Table, is_empty, keys};
use crate::base::Position;

/// What can be asked of a table, with or without a batch over it.
pub trait Read {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The rows of a range, ascending.
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIter<'_>;

    /// The rows whose key begins with `prefix`, ascending.
    fn prefix(&self, prefix: &[u8]) -> RowIter<'_> {
        self.prefix_from(prefix, Bound::Included(prefix))
    }

    /// The rows whose key begins with `prefix`, from `from` on, ascending.
    fn prefix_from(&self, prefix: &[u8], from: Bound<&[u8]>) -> RowIter<'_> {
        match keys::after_prefix(prefix) {
            Some(end) => self.range(from, Bound::Excluded(&end)),
            None => self.range(from, Bound::Unbounded),
        }
    }
}

/// A moment of a table.
pub struct Reader<'a> {
    table: &'a Table,
    rows: Moment<'a>,
}

/// What keeps the moment.
enum Moment<'a> {
    /// The engine, beside what is written now.
    Kept(Box<dyn Rows>),
    /// That nobody writes.
    Present { _gate: RwLockReadGuard<'a, ()> },
}

impl<'a> Reader<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        let gate = table.gate.read();
        let rows = match table.rows.as_of_now() {
            Some(rows) => Moment::Kept(rows),
            None => Moment::Present { _gate: gate },
        };
        Self { table, rows }
    }

    fn rows(&self) -> &dyn Rows {
        match &self.rows {
            Moment::Kept(rows) => &**rows,
            Moment::Present { .. } => &*self.table.rows,
        }
    }
}

impl Reader<'_> {
    /// The cursor at this moment.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn cursor(&self) -> Result<Position, Error> {
        self.table.cursor_in(self.rows())
    }

    /// SHA-256 over the rows whose key begins with `prefix`, each as length and bytes of key and value; what says
    /// whose table it is and how far is left out.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn digest(&self, prefix: &[u8]) -> Result<[u8; 32], Error> {
        let mut digest = Sha256::new();
        for row in self.prefix(prefix) {
            let (key, value) = row?;
            if key == IDENTITY || key == CURSOR {
                continue;
            }
            for part in [&key, &value] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        Ok(digest.finalize().into())
    }

    /// The rows of a range, descending.
    pub fn range_back(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIter<'_> {
        rows_between(self.rows(), from, to, true)
    }

    /// The last row whose key begins with `prefix`.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn last(&self, prefix: &[u8]) -> Result<Option<Row>, Error> {
        let end = keys::after_prefix(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.range_back(Bound::Included(prefix), to).next().transpose()
    }
}

impl Read for Reader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.rows().get(key)
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIter<'_> {
        rows_between(self.rows(), from, to, false)
    }
}

/// The rows of a range, which may be empty.
fn rows_between<'r>(
    rows: &'r dyn Rows,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    backwards: bool,
) -> RowIter<'r> {
    let range = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
    if is_empty(&range) {
        return Box::new(std::iter::empty());
    }
    rows.range(range, backwards)
}
