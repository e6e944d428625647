//! The fold's state: one table, one letter for each kind of row.
//!
//! | Key | Value |
//! |---|---|
//! | `M` | [`Meta`] |
//! | `L` partition study series instance | a live instance (`instances`) |
//! | `F` sequence | a row of the change feed (`change_feed`) |
//! | `E` valid-until id | an event id that may come again |
//! | `B` version id | whether a blob lives, and since when it does not (`released`) |
//! | `R` since version id | key of a released blob, oldest first (`released`) |
//! | `N` partition | its number (`partitions`) |
//! | `P` number | a partition (`partitions`) |
//! | `S` partition study | when the study expires (`expiry`) |
//! | `D` due partition study | the same, the next to expire first (`expiry`) |
//!
//! Invariant: rows change only in `archive::fold`, one batch for each run of records.
//! Elsewhere: the decisions (`fold`).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::Stamp;
use crate::tables::keys::Key;
use crate::tables::{Batch, Error, Read};

pub mod change_feed;
pub mod expiry;
pub mod instances;
pub mod partitions;
pub mod released;

/// Names the rows' format; another name rebuilds the state from the log.
pub const FORMAT: &str = "archive-4";

/// The single row about the log as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The greatest sequence number given.
    pub sequence: u64,
    /// Feed time: the greatest stamp passed.
    pub time: Stamp,
    /// The log's name, from the first `LogCreated`.
    pub log: Option<Uuid>,
    /// The newest event version that nodes may write.
    pub format: u16,
    /// Whether the log is sealed: the archive goes on elsewhere.
    pub sealed: bool,
    /// Number of data partitions; the default one is as old as the log.
    pub partitions: u64,
    /// Number of studies that are to expire.
    pub expiring: u64,
}

impl Meta {
    /// The stored row, or the state before the first record.
    ///
    /// # Errors
    /// The table is damaged.
    pub fn load(rows: &impl Read) -> Result<Self, Error> {
        Ok(fetch(rows, &Key::of(b'M').build())?.unwrap_or_default())
    }

    /// Puts the row.
    pub fn store(&self, batch: &mut Batch<'_>) {
        put(batch, Key::of(b'M').build(), self);
    }
}

/// Reads and decodes a row.
pub(super) fn fetch<T: DeserializeOwned>(rows: &impl Read, key: &[u8]) -> Result<Option<T>, Error> {
    rows.get(key)?.map(|bytes| decode(&bytes)).transpose()
}

/// Decodes a row.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let damaged = |what: String| Error::Damaged {
        table: "archive".to_owned(),
        what: format!("a row of the state: {what}"),
    };
    let (value, read) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|error| damaged(error.to_string()))?;
    if read == bytes.len() { Ok(value) } else { Err(damaged("bytes follow it".to_owned())) }
}

/// Encodes and puts a row.
pub(super) fn put<T: Serialize>(batch: &mut Batch<'_>, key: Vec<u8>, value: &T) {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("rows are plain structs, which bincode always encodes");
    batch.put(key, bytes);
}
