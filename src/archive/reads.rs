//! The reads: instances, their metadata, files and frames, and the change feed.
//!
//! Invariant: a page of the feed and the states of its rows come from one moment.
//! Invariant: nothing is read while the fold has stopped or has not reached the log's end of the start.
//! Elsewhere: search (`projections::search`), the bytes of files (`blob`).

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::state::Meta;
use super::state::change_feed::{self, FeedRow};
use super::state::expiry::{self, Expiring};
use super::state::instances::{self, LiveInstance, Summary};
use super::state::released::{self, BlobState};
use super::{Archive, ReadError};
use crate::base::{Partition, Position, Stamp};
use crate::blob::{Blobs, Expected, Lake};
use crate::dicom::scan::BulkElement;
use crate::event::codec::{DecodeError, Event};
use crate::event::{InstanceKey, Payload, Scope, Section, StoredFile};

/// Metadata read in one go before they are handed on.
const METADATA_AT_ONCE_BYTES: usize = 512 << 10;

/// Metadata up to this do not count against the limit of all that are read at once.
const SMALL_METADATA_BYTES: usize = 1 << 20;

/// Large metadata, which give their room back when they have been sent.
struct Large {
    metadata: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.metadata
    }
}

/// A file to be read, what its bytes must be, and where its dataset begins.
#[derive(Clone, Debug)]
pub struct Located {
    /// What a read must check.
    pub file: Expected,
    /// Offset in the file of its dataset, where a deflated one begins to be inflated.
    pub dataset_offset: u64,
}

impl Archive {
    /// Live instances of a scope in key order, at most `limit`, from behind `after` on.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn instances(
        &self,
        partition: &Partition,
        scope: &Scope,
        after: Option<&InstanceKey>,
        limit: usize,
    ) -> Result<Vec<LiveInstance>, ReadError> {
        self.ready()?;
        let reader = self.0.parts.state.reader();
        Ok(instances::within(&reader, partition, scope, after).take(limit).collect::<Result<_, _>>()?)
    }

    /// Highest version and number of the live instances of a scope; `None` when there is none.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn summary(&self, partition: &Partition, scope: &Scope) -> Result<Option<Summary>, ReadError> {
        self.ready()?;
        let reader = self.0.parts.state.reader();
        let mut summary: Option<Summary> = None;
        for live in instances::within(&reader, partition, scope, None) {
            let version = live?.version;
            let so_far = summary.get_or_insert(Summary { highest_version: 0, count: 0 });
            so_far.highest_version = so_far.highest_version.max(version);
            so_far.count += 1;
        }
        Ok(summary)
    }

    pub(super) fn first_live(
        &self,
        partition: &Partition,
        scope: &Scope,
    ) -> Result<Option<LiveInstance>, crate::tables::Error> {
        let reader = self.0.parts.state.reader();
        instances::within(&reader, partition, scope, None).next().transpose()
    }

    /// The live instance under a key, as the fold sees it now.
    pub(super) fn live(
        &self,
        partition: &Partition,
        key: &InstanceKey,
    ) -> Result<Option<LiveInstance>, crate::tables::Error> {
        instances::live(&self.0.parts.state.reader(), partition, key)
    }

    /// The event at a position.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn event(&self, position: Position) -> Result<Event, ReadError> {
        let record = self.0.parts.log.get(position).await?;
        let event =
            self.decode(record.bytes).map_err(|error| ReadError::Event(position, error.to_string()))?;
        if event.has_bodies() {
            // A copy that was lost or damaged is had again.
            let log = self.0.log_name()?;
            self.0.bring(log.unwrap_or_default(), &event).await?;
        }
        Ok(event)
    }

    /// As [`Self::metadata`] if they are small; `None` if they are large, which nobody may read ahead: who
    /// holds large ones while waiting for others waits for himself.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn small_metadata(&self, position: Position) -> Result<Option<Bytes>, ReadError> {
        let event = self.event(position).await?;
        let small = event.section_bytes(Section::Metadata) <= SMALL_METADATA_BYTES;
        if small { section(&event, position, Section::Metadata).map(Some) } else { Ok(None) }
    }

    /// DICOM JSON of the instance stored by the event at `position`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn metadata(&self, position: Position) -> Result<Bytes, ReadError> {
        let event = self.event(position).await?;
        let length = event.section_bytes(Section::Metadata);
        if length <= SMALL_METADATA_BYTES {
            return section(&event, position, Section::Metadata);
        }
        let room = self.room_for(length).await?;
        let reading = tokio::task::spawn_blocking(move || section(&event, position, Section::Metadata));
        let metadata = reading.await.map_err(|error| ReadError::Stopped(error.to_string()))??;
        Ok(Bytes::from_owner(Large { metadata, _room: room }))
    }

    /// As [`Self::metadata`], with every element left out of them.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn metadata_and_bulk(
        &self,
        position: Position,
    ) -> Result<(Bytes, Vec<BulkElement>), ReadError> {
        let event = self.event(position).await?;
        // Read, an entry takes about twice its bytes.
        let length = event.section_bytes(Section::Metadata) + 2 * event.section_bytes(Section::Bulk);
        let room = if length > SMALL_METADATA_BYTES { Some(self.room_for(length).await?) } else { None };
        let reading = tokio::task::spawn_blocking(move || {
            Ok((section(&event, position, Section::Metadata)?, bulk_of(&event, position)?))
        });
        let read: Result<_, ReadError> =
            reading.await.map_err(|error| ReadError::Stopped(error.to_string()))?;
        let (metadata, bulk) = read?;
        let metadata = match room {
            Some(room) => Bytes::from_owner(Large { metadata, _room: room }),
            None => metadata,
        };
        Ok((metadata, bulk))
    }

    /// Waits for room for large metadata: compressed they are small, so that many could be asked for at once.
    async fn room_for(&self, length: usize) -> Result<OwnedSemaphorePermit, ReadError> {
        let settings = &self.0.parts.settings;
        let kib = length.min(settings.metadata_in_flight_bytes) / 1024;
        let room = Arc::clone(&self.0.metadata).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
        let room = tokio::time::timeout(settings.headers_wait, room).await;
        room.ok().and_then(Result::ok).ok_or(ReadError::Busy)
    }

    /// As [`Self::metadata`] for the first of `positions`, in their order, as many as one job should read:
    /// at least one, and no more once some hundred kilobytes have come together. Large ones come alone.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn metadata_of(&self, positions: Vec<Position>) -> Result<Vec<Bytes>, ReadError> {
        let (archive, first) = (self.clone(), positions.first().copied());
        let reading = tokio::task::spawn_blocking(move || archive.metadata_now(&positions));
        let found = reading.await.map_err(|error| ReadError::Stopped(error.to_string()))??;
        match first.filter(|_| found.is_empty()) {
            Some(large) => Ok(vec![self.metadata(large).await?]),
            None => Ok(found),
        }
    }

    /// The small ones up to the first large one.
    fn metadata_now(&self, positions: &[Position]) -> Result<Vec<Bytes>, ReadError> {
        let (mut found, mut bytes) = (Vec::with_capacity(positions.len()), 0);
        for &position in positions {
            if bytes >= METADATA_AT_ONCE_BYTES {
                break;
            }
            let records = self.0.parts.log.read_batch(position, position.next(), 1)?;
            let record = records.into_iter().next().expect("a batch has at least one record");
            let event =
                self.decode(record.bytes).map_err(|error| ReadError::Event(position, error.to_string()))?;
            if event.section_bytes(Section::Metadata) > SMALL_METADATA_BYTES || event.has_bodies() {
                break;
            }
            let metadata = section(&event, position, Section::Metadata)?;
            bytes += metadata.len();
            found.push(metadata);
        }
        Ok(found)
    }

    /// What a read of the instance's file must check.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn file(&self, live: &LiveInstance) -> Result<Expected, ReadError> {
        expected_of(&self.event(live.position).await?, live)
    }

    /// The instance's file, and where its dataset begins.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn located(&self, live: &LiveInstance) -> Result<Located, ReadError> {
        located_of(&self.event(live.position).await?, live)
    }

    /// The instance's file, and the last element left out of its metadata that is `wanted`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn bulk_element(
        &self,
        live: &LiveInstance,
        wanted: impl Fn(&BulkElement) -> bool + Send + 'static,
    ) -> Result<(Located, Option<BulkElement>), ReadError> {
        let (event, position) = (self.event(live.position).await?, live.position);
        let at = located_of(&event, live)?;
        let length = 2 * event.section_bytes(Section::Bulk);
        let room = if length > SMALL_METADATA_BYTES { Some(self.room_for(length).await?) } else { None };
        let reading = tokio::task::spawn_blocking(move || {
            let _room = room;
            Ok(bulk_of(&event, position)?.into_iter().rev().find(wanted))
        });
        let read: Result<_, ReadError> =
            reading.await.map_err(|error| ReadError::Stopped(error.to_string()))?;
        Ok((at, read?))
    }

    /// The files.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.0.parts.blobs
    }

    /// The names of the files.
    #[must_use]
    pub fn lake(&self) -> &Lake {
        &self.0.parts.lake
    }

    /// Rows of the feed with `offset < sequence <= offset + limit` (`change-feed.md` §2.1).
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn feed_window(&self, offset: u64, limit: u64) -> Result<Vec<FeedRow>, ReadError> {
        self.ready()?;
        let reader = self.0.parts.state.reader();
        let range = offset.saturating_add(1)..offset.saturating_add(limit).saturating_add(1);
        let rows = change_feed::rows(&reader, range);
        Ok(rows.map(|row| change_feed::state_now(&reader, row?)).collect::<Result<_, _>>()?)
    }

    /// Rows of the feed with a time in `times`, `offset` of them skipped, at most `limit` (§2.2). Rows are
    /// dense and times never decrease, so the skip costs nothing.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn feed_between(
        &self,
        times: Range<Stamp>,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<FeedRow>, ReadError> {
        self.ready()?;
        let reader = self.0.parts.state.reader();
        let first = change_feed::first_not(&reader, |change| change.time < times.start)?;
        change_feed::rows(&reader, first.saturating_add(offset)..u64::MAX)
            .take(limit)
            .take_while(|row| row.as_ref().map_or(true, |change| change.time < times.end))
            .map(|row| Ok(change_feed::state_now(&reader, row?)?))
            .collect()
    }

    /// The newest row of the feed.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn feed_latest(&self) -> Result<Option<FeedRow>, ReadError> {
        let newest = self.progress().sequence;
        Ok(self.feed_window(newest.saturating_sub(1), 1)?.pop())
    }

    /// Keys of blobs released before `before`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn released(&self, before: Stamp, limit: usize) -> Result<Vec<String>, ReadError> {
        self.ready()?;
        Ok(released::before(&self.0.parts.state.reader(), before, limit)?)
    }

    /// Studies that are to expire at `until` or before, the first one first, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn expiring(&self, until: Stamp, limit: usize) -> Result<Vec<Expiring>, ReadError> {
        self.ready()?;
        Ok(expiry::due(&self.0.parts.state.reader(), until, limit)?)
    }

    /// How many studies are to expire, and the first of them.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn expiry(&self) -> Result<(u64, Option<Expiring>), ReadError> {
        let reader = self.0.parts.state.reader();
        let first = expiry::due(&reader, Stamp(i64::MAX), 1)?.pop();
        Ok((Meta::load(&reader)?.expiring, first))
    }

    /// Whether the blob under `key` must be there: an event named it, and none said that it was removed.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn keeps_blob(&self, key: &str) -> Result<bool, ReadError> {
        let state = released::state(&self.0.parts.state.reader(), key)?;
        Ok(matches!(state, Some(BlobState::Live | BlobState::Released(_))))
    }

    pub(super) fn blob_lives(&self, key: &str) -> Result<bool, crate::tables::Error> {
        Ok(released::state(&self.0.parts.state.reader(), key)? == Some(BlobState::Live))
    }

    /// The state as sorted, printable text, to compare a rebuilt one with the live one.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn dump(&self) -> Result<Vec<String>, ReadError> {
        Ok(self.0.parts.state.dump()?)
    }

    /// Digest of the whole state, and of the change feed alone: equal on all nodes at one position. Blocking.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn digests(&self) -> Result<([u8; 32], [u8; 32]), ReadError> {
        let reader = self.0.parts.state.reader();
        let feed = change_feed::prefix();
        Ok((reader.digest(&[])?, reader.digest(&feed)?))
    }

    /// Name of the log and chain value of the last record before `position`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn chain_before(&self, position: Position) -> Result<(Option<Uuid>, [u8; 32]), ReadError> {
        let log = Meta::load(&self.0.parts.state.reader())?.log;
        let Some(last) = position.0.checked_sub(1) else { return Ok((log, [0; 32])) };
        Ok((log, self.0.parts.log.get(Position(last)).await?.chain))
    }

    /// Now, by the archive's clock.
    #[must_use]
    pub fn now(&self) -> Stamp {
        self.0.parts.clock.now()
    }

    /// A new id from the archive's source, of the later of clock and feed time: the sweep takes a file for
    /// abandoned when feed time is long past its version id, also after a clock once ran ahead.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.0.parts.ids.next(self.now().max(self.progress().time))
    }
}

pub(super) fn section(event: &Event, position: Position, section: Section) -> Result<Bytes, ReadError> {
    let what = |error: String| ReadError::Event(position, error);
    let bytes = event.section(section).map_err(|error| what(error.to_string()))?;
    bytes.ok_or_else(|| what(format!("it has no {section:?} section")))
}

/// What a read of `file`, stored by `event`, must check.
///
/// # Errors
/// The event's sections cannot be read.
pub fn expected(file: &StoredFile, event: &Event) -> Result<Expected, DecodeError> {
    let sums = event.section(Section::Chunks)?;
    let sums = sums.ok_or_else(|| DecodeError::Broken("it has no Chunks section".to_owned()))?;
    let etag = event.section(Section::Etag)?;
    Ok(Expected {
        key: file.key.clone(),
        length_bytes: file.length_bytes,
        sha256: file.sha256,
        chunks: sums.as_chunks().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect(),
        etag: etag.and_then(|etag| std::str::from_utf8(&etag).ok().map(Arc::from)),
    })
}

fn expected_of(event: &Event, live: &LiveInstance) -> Result<Expected, ReadError> {
    expected(&live.file, event).map_err(|error| ReadError::Event(live.position, error.to_string()))
}

pub(super) fn located_of(event: &Event, live: &LiveInstance) -> Result<Located, ReadError> {
    let dataset_offset = match &event.head.payload {
        Payload::InstanceStored { instance, .. } => instance.dataset_offset,
        Payload::LogCreated { .. }
        | Payload::FormatEnabled { .. }
        | Payload::Deleted { .. }
        | Payload::BlobsRemoved { .. }
        | Payload::TimeMarked
        | Payload::LogSealed
        | Payload::LogOpened
        | Payload::PartitionCreated => {
            return Err(ReadError::Event(live.position, "it stored no instance".to_owned()));
        }
    };
    Ok(Located { file: expected_of(event, live)?, dataset_offset })
}

fn bulk_of(event: &Event, position: Position) -> Result<Vec<BulkElement>, ReadError> {
    let bytes = section(event, position, Section::Bulk)?;
    bincode::serde::decode_from_slice(&bytes, bincode::config::standard())
        .map(|(bulk, _)| bulk)
        .map_err(|error| ReadError::Event(position, error.to_string()))
}
