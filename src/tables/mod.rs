//! The one place that names fjall and sled: a table of small rows, batches with a cursor, damage noticed.
//!
//! A [`Table`] is one folder with one sorted map. A [`Batch`] sees the table with its own changes over it,
//! and is written with its cursor in one atomic step. A [`Reader`] sees the table of one moment, no batch half;
//! where the engine keeps older versions of rows ([`Engine::Fjall`], memory) nobody waits for it.
//! Invariant: cursor and rows change together; a table is always the fold of the log up to its cursor.
//! Invariant: nothing here is the only copy of anything; a damaged table is thrown away and rebuilt.
//! Elsewhere: what the rows mean (`archive::state`, `projections`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::in_memory::InMemory;
use self::on_fjall::OnFjall;
use self::on_sled::OnSled;
pub use self::reading::{Read, Reader};
use crate::base::Position;

mod in_memory;
pub mod keys;
mod on_fjall;
mod on_sled;
mod reading;

const IDENTITY: &[u8] = b"\0identity";
const CURSOR: &[u8] = b"\0cursor";

/// What keeps the rows of tables on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// fjall: memory stays the same however many rows there are.
    #[default]
    Fjall,
    /// sled.
    Sled,
}

/// How tables are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// By what.
    pub engine: Engine,
    /// Bounds the cache of blocks or pages of each table, in bytes.
    pub cache_bytes: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self::by(Engine::default())
    }
}

impl Keeping {
    /// By that engine, with a cache as large as it needs: fjall's is full within a minute of requests, and the
    /// system caches its files; sled reads a page in many steps.
    #[must_use]
    pub fn by(engine: Engine) -> Self {
        let cache_bytes = match engine {
            Engine::Fjall => 8 << 20,
            Engine::Sled => 64 << 20,
        };
        Self { engine, cache_bytes }
    }
}

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Why a table cannot be used. Whatever it is, the cure is to delete the folder and rebuild.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be opened or read.
    #[error("the table {table} is damaged: {what}")]
    Damaged {
        /// Its folder.
        table: String,
        /// What was found.
        what: String,
    },
    /// It was made by another version of this view, or from another log.
    #[error("the table {table} belongs to {found}, not to {wanted}")]
    Foreign {
        /// Its folder.
        table: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
}

/// What a sorted map is asked, as it is or as it was.
trait Rows: Send + Sync {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The rows of a range that is not empty.
    fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), backwards: bool) -> RowIter<'_>;
}

/// One sorted map, wherever it lies.
trait Map: Rows {
    /// The map as it is now, and stays for whoever holds it. `None` when the engine knows only the present:
    /// then nobody may write while somebody reads.
    fn as_of_now(&self) -> Option<Box<dyn Rows>>;

    /// Writes all changes in one step.
    fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error>;

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), Error>;
}

/// One sorted map with a cursor.
pub struct Table {
    rows: Box<dyn Map>,
    /// None for one in memory.
    folder: Option<PathBuf>,
    /// Held for writing while a batch is applied, so that a reader of the present sees all of a batch or nothing.
    gate: RwLock<()>,
}

impl Table {
    /// Opens or creates the table in `folder`, with rows of the form `format` made from the log `log`. Another
    /// name means other rows, and a table of another name is not used.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Foreign`].
    pub fn open(folder: &Path, format: &str, log: Uuid, keeping: Keeping) -> Result<Self, Error> {
        let rows: Box<dyn Map> = match keeping.engine {
            Engine::Fjall => Box::new(OnFjall::open(folder, keeping.cache_bytes)?),
            Engine::Sled => Box::new(OnSled::open(folder, keeping.cache_bytes)?),
        };
        let table = Self { rows, folder: Some(folder.to_owned()), gate: RwLock::new(()) };
        let wanted = format!("{format} of log {log}");
        match table.rows.get(IDENTITY)? {
            Some(found) if found == wanted.as_bytes() => {}
            Some(found) => {
                return Err(Error::Foreign {
                    table: table.name(),
                    found: String::from_utf8_lossy(&found).into_owned(),
                    wanted,
                });
            }
            None => table.write(BTreeMap::from([(IDENTITY.to_vec(), Some(wanted.into_bytes()))]))?,
        }
        Ok(table)
    }

    /// Opens the table as [`Self::open`] does; one that is damaged, was marked as damaged, or is foreign is
    /// thrown away and begun again, and why is told.
    ///
    /// # Errors
    /// It can neither be opened nor begun again.
    pub fn open_or_begin_again(
        folder: &Path,
        format: &str,
        log: Uuid,
        keeping: Keeping,
    ) -> Result<(Self, Option<Error>), Error> {
        let io = |error: std::io::Error| Error::Damaged {
            table: folder.display().to_string(),
            what: format!("and it cannot be thrown away: {error}"),
        };
        let open = || Self::open(folder, format, log, keeping);
        let marker = marker(folder);
        let why = match std::fs::read_to_string(&marker) {
            Ok(what) => Error::Damaged { table: folder.display().to_string(), what },
            Err(_) => match open().and_then(|table| table.cursor().map(|_| table)) {
                Ok(table) => return Ok((table, None)),
                Err(error) => error,
            },
        };
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(io)?;
        }
        let table = open()?;
        if marker.exists() {
            std::fs::remove_file(&marker).map_err(io)?;
        }
        Ok((table, Some(why)))
    }

    /// Notes on disk that the table is not to be trusted, so that the next start begins it again even if
    /// the damage hides by then.
    pub fn mark_damaged(&self, why: &str) {
        if let Some(folder) = &self.folder
            && let Err(error) = std::fs::write(marker(folder), why)
        {
            tracing::error!(%error, table = %folder.display(), "the damage cannot be noted");
        }
    }

    /// A table that lives in memory only: scratch folds and tests.
    #[must_use]
    pub fn memory() -> Self {
        Self { rows: Box::new(InMemory::default()), folder: None, gate: RwLock::new(()) }
    }

    /// The first position whose commit is not in the table yet.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn cursor(&self) -> Result<Position, Error> {
        self.cursor_in(&*self.rows)
    }

    fn cursor_in(&self, rows: &dyn Rows) -> Result<Position, Error> {
        match rows.get(CURSOR)? {
            None => Ok(Position(0)),
            Some(bytes) => {
                let bytes = bytes.try_into().map_err(|_| self.damaged("the cursor is not 8 bytes"))?;
                Ok(Position(u64::from_be_bytes(bytes)))
            }
        }
    }

    /// A view of the table that no batch changes while it is held. Do not keep it long: it holds up the
    /// removal of old rows or, with [`Engine::Sled`], every writer.
    pub fn reader(&self) -> Reader<'_> {
        Reader::of(self)
    }

    /// A batch of changes over the table as it is. One writer at a time is the caller's duty.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch { table: self, pending: BTreeMap::new() }
    }

    /// Writes what a batch changed, and the cursor, in one step.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn apply(&self, mut changes: Changes, cursor: Position) -> Result<(), Error> {
        changes.0.insert(CURSOR.to_vec(), Some(cursor.0.to_be_bytes().to_vec()));
        self.write(changes.0)
    }

    /// Makes everything applied so far durable; only useful before a clean stop.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }

    /// Every row as sorted, printable text, the cursor included: equal for tables that hold the same.
    ///
    /// # Errors
    /// [`Error::Damaged`]
    pub fn dump(&self) -> Result<Vec<String>, Error> {
        let reader = self.reader();
        let rows = reader
            .range(Bound::Unbounded, Bound::Unbounded)
            .filter(|row| !matches!(row, Ok((key, _)) if key == IDENTITY));
        rows.map(|row| {
            let (key, value) = row?;
            Ok(format!("{} = {}", key.escape_ascii(), value.escape_ascii()))
        })
        .collect()
    }

    fn write(&self, changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), Error> {
        let _gate = self.gate.write();
        self.rows.write(changes)
    }

    fn name(&self) -> String {
        self.folder.as_ref().map_or_else(|| "(memory)".to_owned(), |folder| folder.display().to_string())
    }

    /// An [`Error::Damaged`] about this table.
    #[must_use]
    pub fn damaged(&self, what: &str) -> Error {
        Error::Damaged { table: self.name(), what: what.to_owned() }
    }
}

type RowIter<'a> = Box<dyn Iterator<Item = Result<Row, Error>> + 'a>;

fn marker(folder: &Path) -> PathBuf {
    folder.with_extension("damaged")
}

fn is_empty(range: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    match (&range.0, &range.1) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
    }
}

/// Changes on their way into a table, and the table seen through them.
pub struct Batch<'a> {
    table: &'a Table,
    pending: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// What a batch changed, ready for [`Table::apply`].
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Batch<'_> {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.pending.insert(key, Some(value));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.pending.insert(key, None);
    }

    /// Rows changed so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Ends the view and gives what was changed.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        Changes(self.pending)
    }
}

impl Read for Batch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.table.rows.get(key),
        }
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIter<'_> {
        let range = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        let mut stored = self.table.rows.range(range.clone(), false).peekable();
        let mut pending = self.pending.range(range).peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let ours = match (stored.peek(), pending.peek()) {
                    (None, None) => return None,
                    (Some(Err(_)), _) | (Some(_), None) => false,
                    (None, Some(_)) => true,
                    (Some(Ok((stored_key, _))), Some((key, _))) => {
                        if stored_key == *key {
                            stored.next();
                            continue;
                        }
                        *key < stored_key
                    }
                };
                if !ours {
                    return stored.next();
                }
                if let Some((key, Some(value))) = pending.next() {
                    return Some(Ok((key.clone(), value.clone())));
                }
            }
        }))
    }
}

/// Refuses a folder that holds something, but not what this engine puts there first.
fn unless_of_another_engine(folder: &Path, mark: &str) -> Result<(), Error> {
    let empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if empty || folder.join(mark).exists() {
        return Ok(());
    }
    let what = "it was kept by another engine".to_owned();
    Err(Error::Damaged { table: folder.display().to_string(), what })
}

/// Runs one call of what keeps the rows; its errors and its panics both mean that the table is not to be trusted.
fn guarded<T, E: std::fmt::Display>(folder: &Path, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error> {
    let damaged = |what: String| Error::Damaged { table: folder.display().to_string(), what };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(damaged(text.unwrap_or_else(|| "it panicked".to_owned())))
        }
    }
}

#[cfg(test)]
mod tests;
