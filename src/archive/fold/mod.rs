//! The fold: one pure function over records and state that decides everything.
//!
//! Invariant: deterministic; no clock, no randomness, no settings: whatever matters is in the record.
//! Invariant: total; a valid record always gets an outcome, one of ours that cannot be read stops the fold.
//! Invariant: its rules never change for events already written; a new rule is a new event version.
//! Elsewhere: who feeds it (`follow`), what its rows look like (`state`).

mod blobs;
mod deleted;
mod instance;

use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use super::state::{Meta, partitions};
use crate::base::{Partition, Position, Stamp};
use crate::event::codec::{self, Bodies, DecodeError, Event};
use crate::event::{self, Change, Commit, Outcome, Payload, Refusal};
use crate::log::Record;
use crate::tables::keys::Key;
use crate::tables::{self, Batch, Changes, Read, Table};

pub use instance::decide_instance;

/// Why the fold cannot go on. Nothing of the run of records was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The state is damaged; it has to be rebuilt.
    #[error(transparent)]
    State(#[from] tables::Error),
    /// An event of ours that this program cannot read.
    #[error("the archive stops at position {position}: {error}")]
    Unreadable {
        /// Where it lies.
        position: Position,
        /// Why.
        error: DecodeError,
    },
    /// The log was enabled for a newer event version.
    #[error(
        "the archive stops at position {position}: the log is enabled for event version {version}, and this \
         program knows versions up to {known}: install a newer Kymo"
    )]
    FormatFromTheFuture {
        /// Where it lies.
        position: Position,
        /// The version enabled.
        version: u16,
        /// The newest known here.
        known: u16,
    },
    /// Records were skipped or given twice.
    #[error("the fold is at position {wanted} and was given position {given}")]
    OutOfOrder {
        /// The next position.
        wanted: Position,
        /// The one given.
        given: Position,
    },
}

/// What the rules see of one event: the rows so far, feed time, and where it lies.
struct Step<'a, 't> {
    batch: &'a mut Batch<'t>,
    meta: &'a mut Meta,
    position: Position,
    partition: &'a Partition,
}

impl Step<'_, '_> {
    /// The next row's sequence number.
    fn count(&mut self) -> u64 {
        self.meta.sequence += 1;
        self.meta.sequence
    }
}

/// Folds a run of records into `table`, in one write, and gives their commits, which find in `bodies` those of
/// their sections that lie there; no rule looks into them.
///
/// # Errors
/// [`FoldError`]; then nothing of the run was applied.
pub fn fold(
    table: &Table,
    records: &[Record],
    bodies: Option<&Arc<dyn Bodies>>,
) -> Result<(Vec<Arc<Commit>>, Meta), FoldError> {
    let Decided { commits, meta, changes, cursor } = decide(table, records, bodies)?;
    table.apply(changes, cursor)?;
    Ok((commits, meta))
}

/// Everything a run of records leads to, not yet written.
struct Decided {
    commits: Vec<Arc<Commit>>,
    meta: Meta,
    changes: Changes,
    cursor: Position,
}

fn decide(table: &Table, records: &[Record], bodies: Option<&Arc<dyn Bodies>>) -> Result<Decided, FoldError> {
    let mut batch = table.batch();
    let mut meta = Meta::load(&batch)?;
    let before = meta.time;
    let mut cursor = table.cursor()?;
    let mut commits = Vec::with_capacity(records.len());
    for record in records {
        if record.position != cursor {
            return Err(FoldError::OutOfOrder { wanted: cursor, given: record.position });
        }
        meta.time = meta.time.max(record.stamp);
        if meta.partitions == 0 {
            partitions::create(&mut batch, &mut meta, &Partition::default())?;
        }
        let (event, outcome) = match codec::decode(record.bytes.clone()) {
            Ok(event) => {
                let outcome = apply(&mut batch, &mut meta, record.position, &event)?;
                let event = match bodies {
                    Some(bodies) => event.with_bodies(bodies),
                    None => event,
                };
                (Some(Arc::new(event)), outcome)
            }
            Err(DecodeError::Foreign) => (None, Outcome::Refused(Refusal::Foreign)),
            Err(error) => return Err(FoldError::Unreadable { position: record.position, error }),
        };
        commits.push(Arc::new(Commit { position: record.position, time: meta.time, event, outcome }));
        cursor = cursor.next();
    }
    forget_ids(&mut batch, before, meta.time)?;
    meta.store(&mut batch);
    Ok(Decided { commits, meta, changes: batch.into_changes(), cursor })
}

fn apply(
    batch: &mut Batch<'_>,
    meta: &mut Meta,
    position: Position,
    event: &Event,
) -> Result<Outcome, FoldError> {
    let head = &event.head;
    // Lateness comes first: past its validity an id may be forgotten already or not yet.
    let too_late = meta.time > head.valid_until;
    if !too_late {
        let seen = id_key(head.valid_until, head.id);
        if batch.get(&seen)?.is_some() {
            return Ok(Outcome::Refused(Refusal::Repeated));
        }
        batch.put(seen, Vec::new());
    }
    let mut step = Step { batch, meta, position, partition: &head.partition };
    let sealed = step.meta.sealed && head.payload != Payload::LogOpened;
    let refusal = too_late.then_some(Refusal::TooLate).or(sealed.then_some(Refusal::Sealed));
    let outcome = match (&head.payload, refusal) {
        (Payload::InstanceStored { instance, mode }, refusal) => {
            instance::instance_stored(&mut step, instance, *mode, refusal)?
        }
        (_, Some(refusal)) => Outcome::Refused(refusal),
        (Payload::Deleted { scope }, None) => deleted::deleted(&mut step, scope)?,
        (Payload::BlobsRemoved { keys }, None) => blobs::blobs_removed(&mut step, keys)?,
        (Payload::LogCreated { log }, None) => log_created(step.meta, *log),
        (Payload::FormatEnabled { version }, None) => {
            if *version > event::VERSION {
                let known = event::VERSION;
                return Err(FoldError::FormatFromTheFuture { position, version: *version, known });
            }
            step.meta.format = step.meta.format.max(*version);
            Outcome::Accepted(Vec::new())
        }
        (Payload::TimeMarked, None) => Outcome::Accepted(Vec::new()),
        (payload @ (Payload::LogSealed | Payload::LogOpened), None) => {
            step.meta.sealed = *payload == Payload::LogSealed;
            Outcome::Accepted(Vec::new())
        }
        (Payload::PartitionCreated, None) => {
            partitions::create(step.batch, step.meta, step.partition)?;
            Outcome::Accepted(Vec::new())
        }
    };
    Ok(outcome)
}

/// The first valid one names the log.
fn log_created(meta: &mut Meta, log: Uuid) -> Outcome {
    if *meta.log.get_or_insert(log) == log {
        Outcome::Accepted(Vec::new())
    } else {
        Outcome::Refused(Refusal::Foreign)
    }
}

/// Ids sort by the end of their validity, so what may be forgotten lies in front.
fn id_key(valid_until: Stamp, id: Uuid) -> Vec<u8> {
    let ticks = u64::try_from(valid_until.0).unwrap_or(0);
    Key::of(b'E').number(ticks).bytes(id.as_bytes()).build()
}

/// An event past its validity is refused for that alone, so its id need not be kept. What ended before
/// `before`, the end of the run before, was forgotten then; to look there again is to walk over all that a merge
/// tree has deleted and not yet merged away.
fn forget_ids(batch: &mut Batch<'_>, before: Stamp, time: Stamp) -> Result<(), tables::Error> {
    let from = id_key(before, Uuid::nil());
    let end = id_key(time, Uuid::nil());
    let old: Result<Vec<_>, _> = batch
        .range(Bound::Included(&from), Bound::Excluded(&end))
        .map(|row| row.map(|(key, _)| key))
        .collect();
    for key in old? {
        batch.delete(key);
    }
    Ok(())
}

fn accepted(changes: Vec<Change>) -> Outcome {
    Outcome::Accepted(changes)
}

#[cfg(test)]
mod tests;
