//! What the index does not know yet, and how it comes to know it.
//!
//! Rows show a commit at once; the index is written for many commits together. A study touched since the
//! index's cursor is *dirty*: what the index says of it does not count, its rows are judged instead.
//! Memory is bounded: with [`MOST_DIRTY_STUDIES`], some 100 bytes each, the view waits for the index, but
//! while the index is made again from the rows.
//! Invariant: a study is dirty before a row of it changes, and until a searcher that knows the change is in
//! place; dirty studies and searcher change together.
//! Invariant: the index is a function of the rows; missing, damaged, foreign or too far behind, it is made
//! again from them. Rows are durable before the index that was made of them.
//! Elsewhere: documents (`index`), the question to both (`find`), the thread that calls [`Overlay::tend`] (`mod`).

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::attributes::Attributes;
use super::find::Moment;
use super::index::{self, Index, IndexSizes, Pace, Searcher};
use super::rows::{self, Deleted, RING, SearchRows, SeriesRow, StudyRecords, StudyRow, VersionRow, key};
use crate::base::{Partition, Position};
use crate::event::Commit;
use crate::projections::Projection;
use crate::tables::keys::{Parts, after_prefix};
use crate::tables::{self, Batch, Read, Reader, Table};

mod dirty;
mod seen;

pub(super) use dirty::Dirty;
use seen::Seen;

/// Longest a study stays dirty before the index is written.
const DIRTY_FOR: Duration = Duration::from_secs(1);
/// So many dirty studies are worth writing the index earlier …
const DIRTY_STUDIES: usize = 512;
/// … but not more often than this.
const WRITE_APART: Duration = Duration::from_millis(500);
/// With so many dirty studies the view waits for the index: what a query judges by hand stays bounded.
const MOST_DIRTY_STUDIES: usize = 8_192;
/// Commits after which the index is written although no study is dirty enough.
const MOST_COMMITS_BEHIND: u64 = RING / 2;
/// Pause before an index that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Studies read under one guard while the index is made again.
const STUDIES_PER_READ: usize = 256;

/// When the index is due.
struct Duty {
    dirty_since: Option<Instant>,
    written: Instant,
    /// Why the index must be made again from the rows, and not before when.
    remake: Option<(String, Instant)>,
    closing: bool,
}

/// What the thread of the index has to do.
enum Due {
    Nothing,
    Writing,
    Ending,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexStatus {
    /// Searches with filters are answered.
    pub ready: bool,
    /// The position up to which it was written.
    pub cursor: Position,
    /// Studies touched since.
    pub dirty_studies: usize,
    /// How long the first of them has been waiting.
    pub behind_for: Duration,
    /// How much of it there is.
    pub sizes: IndexSizes,
    /// Merges of its segments so far, and whether one is being made.
    pub merges: (u64, bool),
}

/// The rows with the index beside them.
pub(super) struct Overlay {
    rows: SearchRows,
    place: index::Place,
    table: Mutex<Option<Arc<Table>>>,
    /// Held while the index is written. Before the guards of the table and of `seen`, never inside.
    index: Mutex<Option<Index>>,
    seen: RwLock<Seen>,
    duty: Mutex<Duty>,
    bell: Condvar,
}

/// Why the index was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Rows(#[from] tables::Error),
    #[error(transparent)]
    Index(#[from] index::Error),
}

impl Projection for Overlay {
    const FORMAT: &str = SearchRows::FORMAT;

    fn apply(&self, commit: &Commit, batch: &mut Batch<'_>) -> Result<(), tables::Error> {
        self.rows.apply(commit, batch)
    }

    fn opened(&self, table: &Arc<Table>) -> Result<(), tables::Error> {
        self.rows.opened(table)?;
        *self.table.lock() = Some(Arc::clone(table));
        let cursor = table.cursor()?;
        match self.attach(table, cursor)? {
            Ok(()) => {}
            Err(why) => self.remake(&why, Duration::ZERO),
        }
        Ok(())
    }

    fn about_to_show(&self, commits: &[Arc<Commit>]) {
        let mut seen = self.seen.write();
        let clean = seen.dirty.len() == 0;
        for commit in commits {
            for change in commit.changes() {
                seen.dirty.touch(&change.partition, &change.key.study, commit.position);
            }
        }
        let dirty_studies = seen.dirty.len();
        drop(seen);
        if dirty_studies > 0 && (clean || dirty_studies >= DIRTY_STUDIES) {
            let mut duty = self.duty.lock();
            duty.dirty_since.get_or_insert_with(Instant::now);
            self.bell.notify_all();
            if dirty_studies >= MOST_DIRTY_STUDIES {
                while !duty.closing && duty.remake.is_none() && self.is_full() {
                    self.bell.wait_for(&mut duty, DIRTY_FOR);
                }
            }
        }
    }

    fn stopped(&self) {
        // Only saves work at the next start; what failed is said and made good there.
        drop(self.write());
        self.lost();
    }

    fn lost(&self) {
        *self.table.lock() = None;
        *self.index.lock() = None;
        *self.seen.write() = Seen::default();
        let mut duty = self.duty.lock();
        (duty.remake, duty.dirty_since) = (None, None);
    }
}

impl Overlay {
    pub(super) fn new(rows: SearchRows, place: index::Place) -> Self {
        let duty = Duty { dirty_since: None, written: Instant::now(), remake: None, closing: false };
        Self {
            rows,
            place,
            table: Mutex::new(None),
            index: Mutex::new(None),
            seen: RwLock::default(),
            duty: Mutex::new(duty),
            bell: Condvar::new(),
        }
    }

    /// What is searched.
    pub(super) fn attributes(&self) -> &Attributes {
        self.rows.attributes()
    }

    /// What is to be seen now, of the rows in `table` and of what belongs to them. It takes no longer than to
    /// copy some pointers.
    pub(super) fn moment<'t>(&self, table: &'t Table) -> Moment<'t> {
        // The rows are looked at while neither searcher nor dirty studies change. In the other order the searcher
        // could know a change that the rows do not show, and hide what matched before it.
        let seen = self.seen.read();
        let rows = table.reader();
        let (dirty, searcher) = (seen.dirty.clone(), seen.searcher.clone());
        Moment { rows, dirty, searcher }
    }

    pub(super) fn status(&self) -> IndexStatus {
        let behind_for = self.duty.lock().dirty_since.map_or(Duration::ZERO, |since| since.elapsed());
        let seen = self.seen.read();
        IndexStatus {
            ready: seen.searcher.is_some(),
            cursor: seen.cursor,
            dirty_studies: seen.dirty.len(),
            behind_for,
            sizes: seen.searcher.as_ref().map(Searcher::sizes).unwrap_or_default(),
            merges: seen.merges,
        }
    }

    /// Ends [`Self::tend`].
    pub(super) fn close(&self) {
        self.duty.lock().closing = true;
        self.bell.notify_all();
    }

    /// A query found the index damaged: it is made again.
    pub(super) fn complain(&self, error: &index::Error) {
        self.remake(&error.to_string(), Duration::ZERO);
    }

    /// Writes the index whenever it is due, until closed. `complain` hears of damaged rows.
    pub(super) fn tend(&self, complain: impl Fn(&tables::Error)) {
        loop {
            let mut pace = Pace::AtRest;
            let done = match self.wait_until_due() {
                Due::Nothing => Ok(()),
                Due::Writing => {
                    if self.seen.read().dirty.len() >= DIRTY_STUDIES {
                        pace = Pace::InAHurry;
                    }
                    self.catch_up()
                }
                Due::Ending => return,
            };
            match done.and_then(|()| self.merge(pace)) {
                Ok(()) => {}
                Err(WriteError::Rows(error)) => complain(&error),
                Err(WriteError::Index(error)) => self.remake(&error.to_string(), RETRY),
            }
        }
    }

    /// Waits until the index must be written or made again, or some time has passed.
    fn wait_until_due(&self) -> Due {
        let mut duty = self.duty.lock();
        loop {
            if duty.closing {
                return Due::Ending;
            }
            let now = Instant::now();
            let due = match (&duty.remake, duty.dirty_since) {
                (Some((_, at)), _) => *at,
                (None, None) => now + DIRTY_FOR,
                (None, Some(since)) => {
                    let early = self.seen.read().dirty.len() >= DIRTY_STUDIES;
                    let due = if early { duty.written + WRITE_APART } else { since + DIRTY_FOR };
                    if self.is_filling() { now } else { due }
                }
            };
            if due <= now {
                return Due::Writing;
            }
            if self.bell.wait_until(&mut duty, due).timed_out() && duty.remake.is_none() {
                return if self.is_far_behind() { Due::Writing } else { Due::Nothing };
            }
        }
    }

    /// The view need not wait if the index is written from here on.
    fn is_filling(&self) -> bool {
        self.seen.read().dirty.len() >= MOST_DIRTY_STUDIES / 2
    }

    fn is_full(&self) -> bool {
        self.seen.read().dirty.len() >= MOST_DIRTY_STUDIES
    }

    fn is_far_behind(&self) -> bool {
        let table = self.table.lock().clone();
        let rows = table.and_then(|table| table.cursor().ok()).unwrap_or_default();
        rows.0.saturating_sub(self.seen.read().cursor.0) > MOST_COMMITS_BEHIND
    }

    fn remake(&self, why: &str, after: Duration) {
        tracing::warn!(view = Self::FORMAT, why, "the search index is made again from the rows");
        self.seen.write().searcher = None;
        self.duty.lock().remake = Some((why.to_owned(), Instant::now() + after));
        self.bell.notify_all();
    }

    /// Puts the index that is there beside `table`, or an empty one beside an empty table. The inner error
    /// says why neither will do.
    fn attach(&self, table: &Table, cursor: Position) -> Result<Result<(), String>, tables::Error> {
        let mut slot = self.index.lock();
        *slot = None;
        let opened = match cursor {
            Position(0) => Index::create(&self.place),
            _ => Index::open(&self.place),
        };
        let index = match opened {
            Ok(index) => index,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (from, to) = (index.cursor(), cursor);
        if from > to || to.0 - from.0 > RING {
            return Ok(Err(format!("it was written up to position {from}, the rows up to {to}")));
        }
        let mut seen = Seen { searcher: Some(index.searcher()), cursor: from, ..Seen::default() };
        touched_since(&table.reader(), from, to, &mut seen.dirty)?;
        let dirty = seen.dirty.len() > 0;
        *self.seen.write() = seen;
        let mut duty = self.duty.lock();
        (duty.remake, duty.written) = (None, Instant::now());
        duty.dirty_since = dirty.then(Instant::now);
        self.bell.notify_all();
        *slot = Some(index);
        Ok(Ok(()))
    }

    /// Brings the index to where the rows are. Blocking.
    pub(super) fn flush(&self) {
        match self.catch_up() {
            Ok(()) => {}
            Err(WriteError::Rows(error)) => tracing::warn!(%error, "the search index was not written"),
            Err(WriteError::Index(error)) => self.remake(&error.to_string(), Duration::ZERO),
        }
    }

    fn catch_up(&self) -> Result<(), WriteError> {
        let remake = self.duty.lock().remake.is_some();
        if remake { self.make_again() } else { self.write() }
    }

    /// Writes the dirty studies into the index.
    fn write(&self) -> Result<(), WriteError> {
        let mut slot = self.index.lock();
        self.begun();
        let (Some(index), Some(table)) = (slot.as_mut(), self.table.lock().clone()) else { return Ok(()) };
        let cursor = table.cursor()?;
        let studies = self.seen.read().dirty.all();
        if cursor == index.cursor() {
            return Ok(());
        }
        for (partition, study) in &studies {
            let records = StudyRecords::read(&table.reader(), partition, study)?;
            index.replace(self.attributes(), partition, study, records.as_ref())?;
        }
        self.show(index, &table, cursor)
    }

    /// Makes the index again from the rows.
    fn make_again(&self) -> Result<(), WriteError> {
        let mut slot = self.index.lock();
        self.begun();
        *slot = None;
        let Some(table) = self.table.lock().clone() else {
            // Another table is on its way, and what goes with it is decided when it comes.
            self.duty.lock().remake = None;
            return Ok(());
        };
        let mut index = Index::create(&self.place)?;
        let cursor = table.cursor()?;
        let mut after = vec![b'o'];
        loop {
            let studies = studies_after(&table.reader(), &after)?;
            let Some((last, ..)) = studies.last() else { break };
            after.clone_from(last);
            for (_, partition, records) in &studies {
                index.replace(self.attributes(), partition, &records.study.uid, Some(records))?;
            }
            if self.duty.lock().closing {
                return Ok(());
            }
        }
        self.show(&mut index, &table, cursor)?;
        *slot = Some(index);
        self.duty.lock().remake = None;
        tracing::info!(view = Self::FORMAT, position = cursor.0, "the search index is complete again");
        Ok(())
    }

    /// Has segments of the index merged as they come to need it; nobody waits for that.
    pub(super) fn merge(&self, pace: Pace) -> Result<(), WriteError> {
        let mut slot = self.index.lock();
        let Some(index) = slot.as_mut() else { return Ok(()) };
        let searcher = index.merge(pace)?;
        let mut seen = self.seen.write();
        seen.merges = index.merges();
        // What is merged says what its parts said; an index that is given up stays so.
        if let (Some(shown), Some(searcher)) = (&mut seen.searcher, searcher) {
            *shown = searcher;
        }
        Ok(())
    }

    fn begun(&self) {
        let mut duty = self.duty.lock();
        (duty.dirty_since, duty.written) = (None, Instant::now());
    }

    /// Commits the index and puts its searcher in place.
    fn show(&self, index: &mut Index, table: &Table, cursor: Position) -> Result<(), WriteError> {
        table.flush()?;
        let searcher = index.commit(cursor)?;
        let mut seen = self.seen.write();
        seen.dirty.clean_before(cursor);
        (seen.searcher, seen.cursor) = (Some(searcher), cursor);
        let still_dirty = seen.dirty.len() > 0;
        drop(seen);
        if still_dirty {
            self.duty.lock().dirty_since.get_or_insert_with(Instant::now);
        }
        self.bell.notify_all();
        Ok(())
    }
}

/// Some studies of any partition behind the key `after`, each with its key.
fn studies_after(
    reader: &Reader<'_>,
    after: &[u8],
) -> Result<Vec<(Vec<u8>, Partition, StudyRecords)>, tables::Error> {
    let found = reader.prefix_from(b"o", Bound::Excluded(after)).take(STUDIES_PER_READ);
    let studies = found.map(|row| {
        let (row_key, value) = row?;
        let mut parts = Parts::of(&row_key);
        let partition = parts.text().and_then(|name| Partition::parse(name).ok());
        let (Some(partition), Some(id)) = (partition, parts.newest_first()) else {
            return Err(rows::damaged("a study's key cannot be read"));
        };
        let records = StudyRecords::of(reader, &partition, id, rows::decode(&value)?)?;
        Ok((row_key, partition, records))
    });
    studies.collect()
}

/// Finds what the commits in `from..to` touched: what they stored by its version rows, what they deleted
/// from in the ring.
fn touched_since(
    reader: &Reader<'_>,
    from: Position,
    to: Position,
    dirty: &mut Dirty,
) -> Result<(), tables::Error> {
    for position in (from.0..to.0).map(Position) {
        let deleted: Option<Deleted> = rows::read(reader, &key::deleted(position))?;
        // Otherwise a slot of an older round: this commit deleted nothing.
        for (partition, study) in deleted.iter().filter(|d| d.position == position).flat_map(|d| &d.studies) {
            dirty.touch(partition, study, position);
        }
    }
    for partition in partitions(reader)? {
        for row in reader.prefix(&key::versions(&partition)) {
            let VersionRow { series, position, class: _ } = rows::decode(&row?.1)?;
            if position < from {
                break;
            }
            let missing = || rows::damaged("an instance has no records");
            let series: SeriesRow =
                rows::read(reader, &key::series(&partition, series))?.ok_or_else(missing)?;
            let study: StudyRow =
                rows::read(reader, &key::study(&partition, series.study))?.ok_or_else(missing)?;
            dirty.touch(&partition, &study.uid, position);
        }
    }
    Ok(())
}

/// The partitions with anything in them.
fn partitions(reader: &Reader<'_>) -> Result<Vec<Partition>, tables::Error> {
    let (mut found, mut from) = (Vec::new(), b"o".to_vec());
    while let Some(row) = reader.prefix_from(b"o", Bound::Included(&from)).next() {
        let name = Parts::of(&row?.0).text().and_then(|name| Partition::parse(name).ok());
        let partition = name.ok_or_else(|| rows::damaged("a study's key cannot be read"))?;
        let after = after_prefix(&key::studies(&partition));
        found.push(partition);
        let Some(after) = after else { break };
        from = after;
    }
    Ok(found)
}
