//! The lake behind a network: a file staged on local disk is put under its key, in one piece or in parts.
//!
//! A small file is one put that fails where the key is taken. A large one is sent in parts and comes to be
//! with the last call; neither store takes a condition there through `object_store`, so the key is looked up
//! before. Keys carry an id made for one file, so that nobody but an intruder can take one in between.
//! A running upload in parts is noted in a folder beside the staged files. What a process that died has left
//! unfinished is aborted from those notes by the next one. A note is lost with the disk: a lifecycle rule of
//! the bucket ("abort incomplete multipart uploads after 7 days") catches that. Azure forgets uncommitted
//! blocks after a week by itself.
//!
//! Invariant: [`Remote::place`] answers only when the store has acknowledged the whole file.
//! Invariant: uploads hold [`ROOM_BYTES`] of files in memory at most, however many and large they are.
//! Invariant: bytes are compared with their sums on their way out of staging.
//! Elsewhere: which store, its retries and bounds (`location`), reads (`reading`).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cache::{BLOCK_BYTES, Cache};
use super::location::Reached;
use super::reading::{self, Reader};
use super::staging::{Area, AtRest, Body, Staged};
use super::{Error, Expected, key_of, kib, said};

/// A file up to this is one put.
const WHOLE_BYTES: u64 = 8 << 20;

/// Smallest part of a larger one.
const PART_BYTES: u64 = 8 << 20;

/// Most parts of a file; S3 takes 10,000, Azure 50,000.
const PARTS: u64 = 9_000;

/// Parts of one file under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Bytes of files in memory over all uploads.
const ROOM_BYTES: u64 = 64 << 20;

/// Files of one request put at once.
const PLACING_PER_REQUEST: usize = 16;

/// How often a put is sent while nobody knows whether it took effect.
const PUTS: u32 = 4;

/// Ends the name of a note.
const NOTE_SUFFIX: &str = ".upload";

/// A lake behind a network, and the local folder where files are staged for it.
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    prefix: Key,
    area: Area,
    notes: PathBuf,
    /// Names of the notes of uploads that run in this process.
    running: Mutex<HashSet<String>>,
    room: Arc<Semaphore>,
    /// For all tries of one put together, the last of them not counted.
    patience: Duration,
    cache: Option<Arc<Cache>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) fn open(reached: Reached, staging: &Path, cache: Option<Arc<Cache>>) -> Result<Self, Error> {
        let notes = staging.join("uploads");
        let area = Area::open(staging, AtRest::Closed).map_err(|error| Error::of_staging(&error))?;
        fs::create_dir_all(&notes).map_err(|error| Error::of_staging(&error))?;
        let Reached { store, parts, prefix, patience } = reached;
        let room = Arc::new(Semaphore::new(kib(ROOM_BYTES) as usize));
        Ok(Self { store, parts, prefix, area, notes, running: Mutex::default(), room, patience, cache })
    }

    /// The lake without its uploads.
    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where files wait for their key.
    pub(super) fn area(&self) -> &Area {
        &self.area
    }

    /// Puts many files, several at a time; answers in their order, each with its `ETag`.
    pub(super) async fn place_all(&self, files: Vec<(Staged, String)>) -> Vec<Result<Option<String>, Error>> {
        stream::iter(files)
            .map(|(staged, key)| async move { self.place(staged, &key).await })
            .buffered(PLACING_PER_REQUEST)
            .collect()
            .await
    }

    /// Puts one file; answers its `ETag`.
    pub(super) async fn place(&self, staged: Staged, key: &str) -> Result<Option<String>, Error> {
        let path = key_of(key)?;
        let file = Upload::of(&staged, key)?;
        let placed = match file.expected.length_bytes {
            0..=WHOLE_BYTES => self.put(&file, &path).await,
            _ => self.put_in_parts(&file, &path).await,
        };
        if let (Ok(etag), Some(cache)) = (&placed, &self.cache) {
            cache.confirm(key, etag.as_deref());
        }
        placed
    }

    async fn put(&self, file: &Upload, path: &Key) -> Result<Option<String>, Error> {
        let length = file.expected.length_bytes;
        let _room = self.room_for(length).await;
        let bytes = file.bytes(0, length).await?;
        self.keep(file, 0, &bytes).await;
        self.put_whole(bytes, &file.expected, path).await
    }

    async fn put_whole(&self, bytes: Bytes, file: &Expected, path: &Key) -> Result<Option<String>, Error> {
        let (mut puts, began) = (1, Instant::now());
        loop {
            let again = puts < PUTS && began.elapsed() < self.patience;
            let put = self.store.put_opts(path, bytes.clone().into(), PutMode::Create.into()).await;
            let failed = match put {
                Ok(put) => return Ok(put.e_tag),
                Err(error) => error,
            };
            let failure = match on_write(said::error(&file.key, &failed), &file.key) {
                // An earlier try may have been ours, with only its answer lost.
                Error::Refused { code: said::NAME_TAKEN, .. } => match self.is_ours(file, path).await {
                    Ok(etag) => return Ok(etag),
                    Err(error @ Error::Missing { .. }) if again => error,
                    Err(error) => return Err(error),
                },
                error if said::is_in_doubt(&failed) && again => error,
                error => return Err(error),
            };
            tracing::debug!(%failure, "a put is tried again");
            puts += 1;
            tokio::time::sleep(pause()).await;
        }
    }

    /// Whether the whole file lies under its key; answers its `ETag`.
    async fn is_ours(&self, file: &Expected, path: &Key) -> Result<Option<String>, Error> {
        let found = self.store.head(path).await.map_err(|error| said::error(&file.key, &error))?;
        let reader = Reader::of(Arc::clone(&self.store));
        let whole = reading::read(&reader, file, 0..file.length_bytes).await;
        let same = match whole {
            Ok(pieces) => reading::verify(pieces, file).await,
            Err(error) => Err(error),
        };
        match same {
            Ok(()) => Ok(found.e_tag),
            Err(Error::Changed { key, .. }) => {
                let what = "something else has this name already".to_owned();
                Err(Error::Refused { key, code: said::NAME_TAKEN, what })
            }
            Err(error) => Err(error),
        }
    }

    async fn put_in_parts(&self, file: &Upload, path: &Key) -> Result<Option<String>, Error> {
        let key = file.expected.key.as_str();
        let failed = |error: object_store::Error| on_write(said::error(key, &error), key);
        match self.store.head(path).await {
            Err(object_store::Error::NotFound { .. }) => {}
            Ok(_) => return self.is_ours(&file.expected, path).await,
            Err(error) => return Err(failed(error)),
        }
        let full: Key = self.prefix.parts().chain(path.parts()).collect();
        let id = self.parts.create_multipart(&full).await.map_err(failed)?;
        let note = match self.note(&full, &id) {
            Ok(note) => note,
            Err(error) => {
                // Without a note nobody would abort it later.
                drop(self.abort(&full, &id).await);
                return Err(error);
            }
        };
        let sent = match self.send_parts(file, &full, &id).await {
            Ok(parts) => match self.parts.complete_multipart(&full, &id, parts).await {
                Ok(done) => Ok(done.e_tag),
                // The answer of one that has taken effect may have been lost.
                Err(error) => match self.is_ours(&file.expected, path).await {
                    Ok(etag) => Ok(etag),
                    Err(_) => Err(failed(error)),
                },
            },
            Err(error) => Err(error),
        };
        if sent.is_err()
            && let Err(error) = self.abort(&full, &id).await
        {
            tracing::warn!(key, %error, "an upload could not be aborted; it is tried again");
            self.running.lock().remove(&note);
            return sent;
        }
        self.forget(&note);
        sent
    }

    async fn send_parts(&self, file: &Upload, full: &Key, id: &String) -> Result<Vec<PartId>, Error> {
        let length = file.expected.length_bytes;
        let part_bytes = part_bytes(length);
        let parts = length.div_ceil(part_bytes);
        stream::iter(0..parts)
            .map(|part| async move {
                let start = part * part_bytes;
                let count = part_bytes.min(length - start);
                let _room = self.room_for(count).await;
                let bytes = file.bytes(start, count).await?;
                self.keep(file, start, &bytes).await;
                let index = usize::try_from(part).expect("there are at most some thousand parts");
                let put = self.parts.put_part(full, id, index, PutPayload::from(bytes)).await;
                put.map_err(|error| on_write(said::error(&file.expected.key, &error), &file.expected.key))
            })
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// What was just received is often read next.
    async fn keep(&self, file: &Upload, start: u64, bytes: &Bytes) {
        if let Some(cache) = &self.cache {
            cache.keep(&file.expected.key, start, bytes.clone()).await;
        }
    }

    async fn room_for(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = kib(bytes).min(kib(ROOM_BYTES));
        // The room is never closed.
        Arc::clone(&self.room).acquire_many_owned(kib).await.ok()
    }

    /// Notes an upload before its first part is sent.
    fn note(&self, full: &Key, id: &str) -> Result<String, Error> {
        let name = format!("{}{NOTE_SUFFIX}", hex::encode(Sha256::digest(full.as_ref())));
        self.running.lock().insert(name.clone());
        // A store without ids has nothing to abort.
        let noted = match id {
            "" => Ok(()),
            id => fs::write(self.notes.join(&name), format!("{full}\n{id}\n")),
        };
        if let Err(error) = noted {
            self.forget(&name);
            return Err(Error::of_staging(&error));
        }
        Ok(name)
    }

    fn forget(&self, note: &str) {
        // A note that stays is of an upload that is not there, which the next abort finds out.
        drop(fs::remove_file(self.notes.join(note)));
        self.running.lock().remove(note);
    }

    /// An upload that is not there any more is as good as aborted.
    async fn abort(&self, full: &Key, id: &String) -> Result<(), Error> {
        match self.parts.abort_multipart(full, id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(said::error(full.as_ref(), &error)),
        }
    }

    /// Aborts the uploads that an earlier process, or a failure, has left unfinished. How many.
    pub(super) async fn abort_abandoned(&self) -> Result<u64, Error> {
        let names = read_names(&self.notes).map_err(|error| Error::of_staging(&error))?;
        let mut aborted = 0;
        for name in names.into_iter().filter(|name| !self.running.lock().contains(name)) {
            let note = fs::read_to_string(self.notes.join(&name)).unwrap_or_default();
            if let [full, id] = note.lines().collect::<Vec<_>>()[..]
                && let Ok(path) = Key::parse(full)
            {
                self.abort(&path, &id.to_owned()).await?;
                aborted += 1;
            }
            self.forget(&name);
        }
        Ok(aborted)
    }
}

/// A write to a container that is not there.
fn on_write(error: Error, key: &str) -> Error {
    match error {
        Error::Missing { .. } => {
            let what = "there is no such bucket or container".to_owned();
            Error::Refused { key: key.to_owned(), code: "ContainerNotFound", what }
        }
        error => error,
    }
}

/// A part has this size but for the last one: whole blocks of the cache, and so whole chunks with sums.
fn part_bytes(length: u64) -> u64 {
    length.div_ceil(PARTS).next_multiple_of(BLOCK_BYTES).max(PART_BYTES)
}

/// Before the next try, not at the same moment as everybody else.
fn pause() -> Duration {
    Duration::from_millis(rand::random_range(100..400))
}

fn read_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(NOTE_SUFFIX) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A staged file on its way; whoever places it keeps it in staging meanwhile.
struct Upload {
    staged: PathBuf,
    expected: Expected,
}

impl Upload {
    fn of(staged: &Staged, key: &str) -> Result<Self, Error> {
        let Body::File(file) = &staged.body else { return Err(super::foreign()) };
        let expected = staged.expected(key);
        Ok(Self { staged: file.path().to_owned(), expected })
    }

    /// `length` bytes from `start`, the beginning of a chunk, checked.
    async fn bytes(&self, start: u64, length: u64) -> Result<Bytes, Error> {
        let (path, expected) = (self.staged.clone(), self.expected.clone());
        let read = tokio::task::spawn_blocking(move || {
            let length = usize::try_from(length).expect("a part fits into memory");
            let mut bytes = vec![0; length];
            // An empty file was never made.
            if length > 0 {
                let file = File::open(path).map_err(|error| Error::of_staging(&error))?;
                file.read_exact_at(&mut bytes, start).map_err(|error| Error::of_staging(&error))?;
            }
            reading::check(&expected, start..start + length as u64, bytes.into()).map_err(|error| {
                Error::Unavailable(format!("staging gives back other bytes than it was given: {error}"))
            })
        });
        read.await.map_err(|lost| Error::Unavailable(lost.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_chunks_and_few_enough() {
        for length in [WHOLE_BYTES + 1, 300 << 20, 8 << 30, 5 << 40] {
            let part = part_bytes(length);
            assert!(part >= PART_BYTES && part.is_multiple_of(BLOCK_BYTES), "{length}");
            assert!(length.div_ceil(part) <= PARTS, "{length}");
        }
        assert_eq!(part_bytes(300 << 20), PART_BYTES);
    }
}
