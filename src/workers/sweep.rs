//! The sweep: takes files out of the blob store once nothing needs them (architecture §6).
//!
//! A *released* file (refused, replaced, deleted) goes when its retention is over: the event that says so
//! first, then the file. Broken off in between, the file is left as one that no event names, and goes as such.
//! A file that *no event names* goes when feed time is a day past its version id. That feed time is asked
//! for by a time mark, and the file is looked up only after this node has folded the mark: an event that
//! names it would have had to be appended within minutes of the version id, so none can follow.
//!
//! Invariant: a file goes only after the fold has said that it may.
//! Invariant: files whose name is not one of ours are never touched.
//! Elsewhere: which keys live (`archive::fold`), the layout (`blob::Lake`).

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use uuid::Uuid;

use crate::base::Stamp;
use crate::blob::{self, Blobs, Lake};

/// Between two sweeps of released files.
pub const RELEASED_EVERY: Duration = Duration::from_secs(3600);

/// Between two sweeps of files that no event names: each lists the whole lake.
pub const UNNAMED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Released files are kept so long unless set otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(3 * 24 * 3600);

/// A file that no event names is left alone so long.
const UNNAMED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Keys in one event.
const KEYS_PER_EVENT: usize = 500;

/// Events of one sweep; what is left is for the next one.
const EVENTS_PER_SWEEP: usize = 200;

/// Feed time beyond which nothing lies: everything released was released before it.
const END_OF_TIME: Stamp = Stamp(i64::MAX);

/// What the sweep asks of the archive. Each error is a sentence.
#[async_trait]
pub trait SweepSource: Send + Sync {
    /// Keys released before `before` in feed time, the earliest first, at most `limit`.
    ///
    /// # Errors
    /// The state cannot be read.
    async fn released(&self, before: Stamp, limit: usize) -> Result<Vec<String>, String>;

    /// Whether the archive knows a file under this key: live, original or released.
    ///
    /// # Errors
    /// The state cannot be read.
    async fn names(&self, key: &str) -> Result<bool, String>;

    /// Appends that these files are about to be removed, and answers, once this node's fold has passed it,
    /// those that may really go. From then on none of them is listed as released.
    ///
    /// # Errors
    /// Nothing may be removed: the event was not appended, or its outcome is not known.
    async fn remove_blobs(&self, keys: Vec<String>) -> Result<Vec<String>, String>;

    /// Appends a time mark and answers feed time once this node's fold has passed it.
    ///
    /// # Errors
    /// The mark was not appended, or not passed in time.
    async fn mark_time(&self) -> Result<Stamp, String>;
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files removed.
    pub removed: u64,
    /// Files that may go and could not be removed. No event names them any more, so that the sweep of such
    /// files finds them again.
    pub failed: u64,
}

/// Why a sweep ended early. What it had done by then stays done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The archive.
    #[error("the archive: {0}")]
    Archive(String),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] blob::Error),
}

/// Removes the files that were released longer than `retention` ago.
///
/// # Errors
/// [`Error`]
pub async fn sweep_released(
    source: &dyn SweepSource,
    blobs: &Blobs,
    retention: Duration,
) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    // An archive where nothing is released gets no time marks for it.
    if source.released(END_OF_TIME, 1).await.map_err(Error::Archive)?.is_empty() {
        return Ok(swept);
    }
    let time = source.mark_time().await.map_err(Error::Archive)?;
    let before = earlier(time, retention);
    let mut last = Vec::new();
    for _ in 0..EVENTS_PER_SWEEP {
        let keys = source.released(before, KEYS_PER_EVENT).await.map_err(Error::Archive)?;
        if keys.is_empty() {
            break;
        }
        if keys == last {
            return Err(Error::Archive("keys are still listed as released after their removal".to_owned()));
        }
        let gone = source.remove_blobs(keys.clone()).await.map_err(Error::Archive)?;
        last = keys;
        for key in gone {
            swept.remove(blobs, &key).await;
        }
    }
    swept.log("released files were removed from the blob store");
    Ok(swept)
}

/// Removes the files of `lake` that no event names and none can name any more, and health files that were
/// left behind a day before `now`.
///
/// # Errors
/// [`Error`]
pub async fn sweep_unnamed(
    source: &dyn SweepSource,
    blobs: &Blobs,
    lake: &Lake,
    now: Stamp,
) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    let mut files = blobs.list(&lake.prefix());
    let mut marked = None;
    while let Some(file) = files.next().await {
        let (key, _) = file?;
        if let Some(id) = Lake::health_id_of(&key) {
            // The probe that wrote it did not live to remove it; no event ever names such a file.
            if made_at(id) < earlier(now, UNNAMED_FOR) {
                swept.remove(blobs, &key).await;
            }
            continue;
        }
        let Some(version) = Lake::version_of(&key) else { continue };
        if source.names(&key).await.map_err(Error::Archive)? {
            continue;
        }
        let time = match marked {
            Some(time) => time,
            None => *marked.insert(source.mark_time().await.map_err(Error::Archive)?),
        };
        let old = made_at(version) < earlier(time, UNNAMED_FOR);
        // Asked again: the event that names it may have come before the mark.
        if old && !source.names(&key).await.map_err(Error::Archive)? {
            swept.remove(blobs, &key).await;
        }
    }
    swept.log("files that no event names were removed from the blob store");
    Ok(swept)
}

impl Swept {
    async fn remove(&mut self, blobs: &Blobs, key: &str) {
        match blobs.remove(key).await {
            Ok(()) => self.removed += 1,
            Err(error) => {
                tracing::warn!(key, %error, "a file that may go could not be removed; it is tried again");
                self.failed += 1;
            }
        }
    }

    fn log(self, message: &str) {
        if self != Self::default() {
            tracing::info!(removed = self.removed, failed = self.failed, "{message}");
        }
    }
}

fn earlier(time: Stamp, by: Duration) -> Stamp {
    let ticks = i64::try_from(by.as_nanos() / 100).unwrap_or(i64::MAX);
    Stamp(time.0.saturating_sub(ticks))
}

/// When a version id was made; the end of time when it does not say, so that its file is left alone.
fn made_at(version: Uuid) -> Stamp {
    let Some((seconds, nanos)) = version.get_timestamp().map(|made| made.to_unix()) else {
        return END_OF_TIME;
    };
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Stamp(seconds.saturating_mul(Stamp::TICKS_PER_SECOND).saturating_add(i64::from(nanos / 100)))
}

#[cfg(test)]
mod tests;
