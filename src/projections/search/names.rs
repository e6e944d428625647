//! Numbers for UIDs that stand in many rows: SOP classes and transfer syntaxes.
//!
//! An instance's rows hold a number of one byte, seldom three, in the place of a UID of some thirty.
//! Invariant: a number stands for one UID for as long as the view is there; numbers are given in the order
//! of the commits, from 1 on. [`NONE`] stands for no UID.
//! Invariant: [`Numbers`] are those of the table; a batch that gave one is written, or the table opened anew.
//! Elsewhere: the rows that hold them (`rows`).

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::rows::{damaged, decode, encode, last_number, read};
use crate::dicom::uid::Uid;
use crate::event::{Commit, Payload};
use crate::tables::keys::Key;
use crate::tables::{self, Batch, Read};

/// A UID by its number.
pub(super) type Name = u64;
/// Number of what is no UID.
pub(super) const NONE: Name = 0;

/// Numbers remembered at a time; archives hold some dozens.
const MOST_NUMBERS: usize = 1_024;

/// Numbers as they were last read: instances of one kind come one after the other.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<HashMap<String, Name>>);

impl Numbers {
    /// Another table is under the view.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }

    /// The number of `text`, a new one if it has none.
    ///
    /// # Errors
    /// The table is damaged.
    fn of(&self, batch: &mut Batch<'_>, text: &str) -> Result<Name, tables::Error> {
        let mut numbers = self.0.lock();
        if let Some(known) = numbers.get(text) {
            return Ok(*known);
        }
        let number = number(batch, text)?;
        if numbers.len() >= MOST_NUMBERS {
            numbers.clear();
        }
        numbers.insert(text.to_owned(), number);
        Ok(number)
    }
}

fn number_key(uid: &Uid) -> Vec<u8> {
    Key::of(b'n').text(uid.as_str()).build()
}

fn uid_key(name: Name) -> Vec<u8> {
    Key::of(b'N').newest_first(name).build()
}

/// The number of `text`, a new one if it has none.
///
/// # Errors
/// The table is damaged.
fn number(batch: &mut Batch<'_>, text: &str) -> Result<Name, tables::Error> {
    let Ok(uid) = Uid::parse(text) else { return Ok(NONE) };
    if let Some(known) = read(batch, &number_key(&uid))? {
        return Ok(known);
    }
    let last = match batch.prefix(b"N").next() {
        Some(row) => last_number(&row?.0)?,
        None => NONE,
    };
    let name = last + 1;
    batch.put(number_key(&uid), encode(&name));
    batch.put(uid_key(name), encode(&uid));
    Ok(name)
}

/// The number of `text`, if an instance ever had it.
///
/// # Errors
/// The table is damaged.
pub(super) fn known(rows: &impl Read, text: &str) -> Result<Option<Name>, tables::Error> {
    let Ok(uid) = Uid::parse(text) else { return Ok(None) };
    read(rows, &number_key(&uid))
}

/// The UID with this number.
///
/// # Errors
/// The table is damaged.
pub(super) fn uid(rows: &impl Read, name: Name) -> Result<Option<Uid>, tables::Error> {
    if name == NONE {
        return Ok(None);
    }
    let uid = rows.get(&uid_key(name))?.ok_or_else(|| damaged("a number stands for no UID"))?;
    decode(&uid).map(Some)
}

/// What an instance is, by number.
#[derive(Clone, Copy, Default)]
pub(super) struct InstanceKind {
    pub(super) class: Name,
    pub(super) syntax: Name,
}

impl InstanceKind {
    /// Of the instance a commit stored.
    ///
    /// # Errors
    /// The table is damaged.
    pub(super) fn of(
        commit: &Commit,
        batch: &mut Batch<'_>,
        numbers: &Numbers,
    ) -> Result<Self, tables::Error> {
        let payload = commit.event.as_deref().map(|event| &event.head.payload);
        let Some(Payload::InstanceStored { instance, .. }) = payload else { return Ok(Self::default()) };
        let class = numbers.of(batch, &instance.sop_class)?;
        Ok(Self { class, syntax: numbers.of(batch, &instance.transfer_syntax)? })
    }
}

/// The SOP classes of a series' live instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Classes {
    /// These, each with the number of instances that are of it.
    These(BTreeMap<Name, u64>),
    /// More than [`MOST_CLASSES`] were there at once: no longer told apart.
    Any,
}

/// SOP classes a series names; real ones hold one or two.
const MOST_CLASSES: usize = 16;

impl Classes {
    /// Counts an instance that came.
    pub(super) fn came(&mut self, class: Name) {
        let Self::These(names) = self else { return };
        *names.entry(class).or_insert(0) += 1;
        if names.len() > MOST_CLASSES {
            *self = Self::Any;
        }
    }

    /// Counts an instance that went.
    ///
    /// # Errors
    /// It never came: the table is damaged.
    pub(super) fn went(&mut self, class: Name) -> Result<(), tables::Error> {
        let Self::These(names) = self else { return Ok(()) };
        match names.get_mut(&class) {
            None => return Err(damaged("an instance's SOP class was never counted")),
            Some(1) => drop(names.remove(&class)),
            Some(instances) => *instances -= 1,
        }
        Ok(())
    }

    /// Whether an instance of this class may be in the series.
    pub(super) fn may_hold(&self, class: Name) -> bool {
        match self {
            Self::These(names) => names.contains_key(&class),
            Self::Any => true,
        }
    }
}
