//! Reading a file back: in windows, each checked against the chunk sums before it is handed out.
//!
//! A store behind a network is asked for one window at a time, so that a slow client holds no connection to
//! it, and an answer that breaks off is asked for again from where it broke off.
//! Invariant: windows begin and end at chunks (or at the end of the file), so that every byte handed out is
//! covered by a checksum that was compared.
//! Invariant: a read holds [`WHOLE_BYTES`] at most, and two windows where it is longer than that: the one
//! handed out and the next one. All reads together hold [`ROOM_BYTES`] so, until the last byte is let go;
//! without room a read goes on in windows of
//! [`CRAMPED_WINDOW_BYTES`]. So clients that take their answers slowly, however many, cost little each.
//! Elsewhere: what the sums are (`staging`), deflated files (`inflating`), retries (`location`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::cache::{BLOCK_BYTES, Cache};
use super::local::Disk;
use super::{CHUNK_BYTES, Error, Expected, key_of, kib, said};

/// A range up to this is read and checked whole before the first byte is handed out.
const WHOLE_BYTES: u64 = 8 * 1024 * 1024;

/// A longer one is read in windows of this size.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// From a store behind a network, where each window is a question of its own.
const FAR_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// One for which there is no room: no more than a client's connection has in its buffers.
const CRAMPED_WINDOW_BYTES: u64 = 256 * 1024;

/// For the bytes of all reads that are not cramped.
const ROOM_BYTES: u64 = 256 << 20;

/// Whether an `ETag` other than the one recorded is a deviation (contract `bulk-update-export.md` §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtagRule {
    /// It is not: the checksums decide.
    #[default]
    Lenient,
    /// It is.
    Strict,
}

/// What is read from, and how.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The lake as a folder, which is read without the store.
    pub(super) disk: Option<Arc<Disk>>,
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) etag: EtagRule,
    /// KiB for what is read and not let go yet.
    pub(super) room: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn of(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, disk: None, cache: None, etag: EtagRule::Lenient, room: room() }
    }

    /// Whether the file is there as expected, but for its bytes.
    pub(super) async fn check(&self, file: &Expected) -> Result<(), Error> {
        self.head(file).await.map(drop)
    }

    /// Asks the store for the file and compares what it says; answers its `ETag`.
    async fn head(&self, file: &Expected) -> Result<Option<String>, Error> {
        let key = key_of(&file.key)?;
        let found = match self.store.head(&key).await {
            // The answer to HEAD has no place for a code, the one to GET has.
            Err(error) if said::needs_a_code(&error) => {
                let options = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
                self.store.get_opts(&key, options).await.map(|found| found.meta)
            }
            found => found,
        };
        let found = found.map_err(|error| said::error(&file.key, &error));
        let checked = found.and_then(|found| self.compare(file, &found).map(|()| found.e_tag));
        if checked.is_err() {
            self.doubt(file);
        }
        checked
    }

    /// Compares what the store says of a file, and remembers it.
    fn compare(&self, file: &Expected, found: &ObjectMeta) -> Result<(), Error> {
        file.check_length(found.size)?;
        if self.etag == EtagRule::Strict
            && let (Some(wanted), Some(found)) = (&file.etag, &found.e_tag)
            && **wanted != **found
        {
            return Err(file.changed(format!("its ETag is {found}, not {wanted}")));
        }
        if let Some(cache) = &self.cache {
            cache.confirm(&file.key, found.e_tag.as_deref());
        }
        Ok(())
    }

    fn doubt(&self, file: &Expected) {
        if let Some(cache) = &self.cache {
            cache.doubt(&file.key);
        }
    }

    /// The bytes of `window`, asked of the store and unchecked.
    async fn fetch(&self, file: &Expected, window: Range<u64>) -> Result<Bytes, Error> {
        let key = key_of(&file.key)?;
        let failed = |error: object_store::Error| {
            self.doubt(file);
            said::error(&file.key, &error)
        };
        let length = window.end - window.start;
        let range = Some(GetRange::Bounded(window));
        let found = match self.store.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await {
            Ok(found) => found,
            // A file that is too short for the range at all: its length says more than the store's error.
            Err(error @ object_store::Error::Generic { .. }) => {
                let found = self.store.head(&key).await.map_err(failed)?;
                file.check_length(found.size)?;
                return Err(failed(error));
            }
            Err(error) => return Err(failed(error)),
        };
        self.compare(file, &found.meta)?;
        let bytes = found.bytes().await.map_err(failed)?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(Error::Unavailable(format!("{}: an answer of {} bytes, not {length}", file.key, bytes.len())))
    }

    /// The bytes of `window`, checked; from the cache as far as they are there.
    async fn window(&self, file: &Expected, window: Range<u64>) -> Result<Bytes, Error> {
        let Some(cache) = &self.cache else {
            return check(file, window.clone(), self.fetch(file, window).await?);
        };
        if let Some(bytes) = self.cached(cache, file, window.clone()).await? {
            return Ok(bytes);
        }
        let bytes = check(file, window.clone(), self.fetch(file, window.clone()).await?)?;
        cache.keep(&file.key, window.start, bytes.clone()).await;
        Ok(bytes)
    }

    /// The whole window from the cache, if it is there and the store still has the file as it is recorded.
    async fn cached(
        &self,
        cache: &Arc<Cache>,
        file: &Expected,
        window: Range<u64>,
    ) -> Result<Option<Bytes>, Error> {
        let number = |at: u64| u32::try_from(at / BLOCK_BYTES).unwrap_or(u32::MAX);
        let numbers = number(window.start)..number(window.end.next_multiple_of(BLOCK_BYTES));
        if !numbers.clone().all(|number| cache.has(&file.key, number)) {
            return Ok(None);
        }
        let found = match cache.confirmed(&file.key) {
            Some(etag) => etag,
            None => self.head(file).await?,
        };
        // Altered or not known: what the store has now is read and compared with its sums.
        if file.etag.is_none() || found.as_deref() != file.etag.as_deref() {
            return Ok(None);
        }
        let (cache, file) = (Arc::clone(cache), file.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut whole = BytesMut::new();
            for number in numbers {
                let start = u64::from(number) * BLOCK_BYTES;
                let end = (start + BLOCK_BYTES).min(window.end);
                let block = cache.read(&file.key, number)?;
                let right =
                    block.len() as u64 == end - start && check(&file, start..end, block.clone()).is_ok();
                if !right {
                    cache.drop_block(&file.key, number);
                    return None;
                }
                whole.extend_from_slice(&block);
            }
            Some(whole.freeze())
        });
        Ok(read.await.unwrap_or_default())
    }

    fn window_bytes(&self) -> u64 {
        if self.disk.is_some() { WINDOW_BYTES } else { FAR_WINDOW_BYTES }
    }

    /// What windows begin and end at.
    fn grain(&self) -> u64 {
        if self.cache.is_some() { BLOCK_BYTES } else { CHUNK_BYTES }
    }
}

type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// [`super::Blobs::read`].
pub(super) async fn read(reader: &Reader, file: &Expected, range: Range<u64>) -> Result<Pieces, Error> {
    let length = file.length_bytes;
    if range.start > range.end
        || range.end > length
        || file.chunks.len() as u64 != length.div_ceil(CHUNK_BYTES)
    {
        let what =
            format!("bytes {range:?} of its {length} are not covered by {} checksums", file.chunks.len());
        return Err(file.changed(what));
    }
    if range.is_empty() {
        reader.check(file).await?;
        return Ok(stream::empty().boxed());
    }
    let grain = reader.grain();
    let covered = range.start / grain * grain..range.end.next_multiple_of(grain).min(length);
    let source = match &reader.disk {
        // Opened with the first window, in the same job.
        Some(disk) => Source::Local { path: disk.path(&file.key)?, opened: None, at: covered.start },
        None => Source::Far(reader.clone()),
    };
    let Range { start: next, end } = covered;
    let bytes = if end - next <= WHOLE_BYTES { WHOLE_BYTES } else { reader.window_bytes() };
    let (file, room) = (file.clone(), Arc::clone(&reader.room));
    Windows { file, wanted: range, next, end, bytes, cramped_bytes: CRAMPED_WINDOW_BYTES.max(grain), room }
        .stream(source)
        .await
}

/// [`super::Blobs::whole`].
pub(super) async fn whole(reader: &Reader, key: &str, length_bytes: u64) -> Result<Bytes, Error> {
    let (key, chunks) = (key.to_owned(), Arc::new([]));
    let file = Expected { key, length_bytes, sha256: [0; 32], chunks, etag: None };
    let mut whole = BytesMut::new();
    let mut next = 0;
    while next < length_bytes {
        let end = (next + FAR_WINDOW_BYTES).min(length_bytes);
        whole.extend_from_slice(&reader.fetch(&file, next..end).await?);
        next = end;
    }
    Ok(whole.freeze())
}

/// Whether the pieces of a whole file have its digest.
pub(super) async fn verify(mut pieces: Pieces, file: &Expected) -> Result<(), Error> {
    let mut digest = Sha256::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let hashed = tokio::task::spawn_blocking(move || {
            digest.update(&piece);
            digest
        });
        digest = hashed.await.map_err(|lost| Error::Unavailable(lost.to_string()))?;
    }
    if digest.finalize()[..] == file.sha256 {
        return Ok(());
    }
    Err(file.changed("it has another SHA-256".to_owned()))
}

/// Where the bytes come from; every read goes on where the last one ended.
enum Source {
    /// Read beside `object_store`, which would open in one job and read in another.
    Local {
        path: PathBuf,
        opened: Option<File>,
        at: u64,
    },
    Far(Reader),
    /// The job that read it is lost.
    Lost,
}

impl Source {
    /// The bytes of `window`, checked; and the source, for the next one.
    async fn read(self, file: Expected, window: Range<u64>) -> (Self, Result<Bytes, Error>) {
        match self {
            Self::Local { path, mut opened, at } => {
                let (key, end) = (file.key.clone(), window.end);
                let length = usize::try_from(end - window.start).expect("a window fits into memory");
                let job = tokio::task::spawn_blocking(move || {
                    let bytes = read_local(&path, &mut opened, at, length, &file);
                    let bytes = bytes.and_then(|bytes| check(&file, window, bytes));
                    (Self::Local { path, opened, at: end }, bytes)
                });
                job.await
                    .unwrap_or_else(|lost| (Self::Lost, Err(Error::Unavailable(format!("{key}: {lost}")))))
            }
            Self::Far(reader) => {
                let bytes = reader.window(&file, window).await;
                (Self::Far(reader), bytes)
            }
            Self::Lost => (Self::Lost, Err(Error::Unavailable(format!("{}: its read was lost", file.key)))),
        }
    }
}

/// `length` bytes from `at`; the file is opened, and its length compared, by the first call.
fn read_local(
    path: &Path,
    opened: &mut Option<File>,
    at: u64,
    length: usize,
    file: &Expected,
) -> Result<Bytes, Error> {
    let failed = |error: io::Error| Error::of_io(&file.key, &error);
    if opened.is_none() {
        let mut found = File::open(path).map_err(failed)?;
        let metadata = found.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::Missing { key: file.key.clone() });
        }
        file.check_length(metadata.len())?;
        found.seek(SeekFrom::Start(at)).map_err(failed)?;
        *opened = Some(found);
    }
    let opened = opened.as_ref().expect("opened above");
    let mut bytes = Vec::with_capacity(length);
    let read = opened.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
    if read < length {
        return Err(file.changed(format!("it ends at byte {}", at + read as u64)));
    }
    Ok(bytes.into())
}

/// Compares every chunk of a window with its checksum.
pub(super) fn check(file: &Expected, window: Range<u64>, bytes: Bytes) -> Result<Bytes, Error> {
    let chunk_bytes = usize::try_from(CHUNK_BYTES).expect("a chunk fits into memory");
    let first = usize::try_from(window.start / CHUNK_BYTES).expect("chunks are counted in memory");
    for (index, (chunk, expected)) in bytes.chunks(chunk_bytes).zip(&file.chunks[first..]).enumerate() {
        if crc32c::crc32c(chunk) != *expected {
            let from = window.start + index as u64 * CHUNK_BYTES;
            let to = from + chunk.len() as u64;
            return Err(file.changed(format!("bytes {from} to {to} do not have their checksum")));
        }
    }
    Ok(bytes)
}

/// KiB for the bytes of reads.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(kib(ROOM_BYTES) as usize))
}

/// Bytes that take up room until the last of them is let go.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The windows of one read.
struct Windows {
    file: Expected,
    wanted: Range<u64>,
    next: u64,
    end: u64,
    /// Bytes of one.
    bytes: u64,
    /// Bytes of one for which there is no room.
    cramped_bytes: u64,
    room: Arc<Semaphore>,
}

/// A window, what of it is wanted, and the room for it.
struct Window {
    bytes: Range<u64>,
    trim: Range<usize>,
    room: Option<OwnedSemaphorePermit>,
}

/// What comes after the window that was just handed out.
enum Rest {
    /// It is being read, beside whatever the client does meanwhile.
    Ahead(JoinHandle<(Source, Result<Bytes, Error>)>),
    /// It is read when it is asked for.
    Later(Source),
    Over,
}

impl Windows {
    /// The next window; without room it has few bytes.
    fn window(&self) -> Window {
        let of = |bytes: u64| self.next..(self.next + bytes).min(self.end);
        let bytes = of(self.bytes);
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib(bytes.end - bytes.start)).ok();
        let bytes = if room.is_some() { bytes } else { of(self.cramped_bytes) };
        let within = |at: u64| {
            let at = at.clamp(bytes.start, bytes.end) - bytes.start;
            usize::try_from(at).expect("a window fits into memory")
        };
        let trim = within(self.wanted.start)..within(self.wanted.end);
        Window { bytes, trim, room }
    }

    /// All windows, the first of which has been read and has held.
    async fn stream(mut self, source: Source) -> Result<Pieces, Error> {
        let window = self.window();
        self.next = window.bytes.end;
        let (source, bytes) = window.read(source, self.file.clone()).await;
        let first = bytes?;
        let rest = self.go_on(source);
        let rest = stream::unfold((self, rest), |(mut windows, rest)| async move {
            let (source, bytes) = match rest {
                Rest::Ahead(reading) => match reading.await {
                    Ok(read) => read,
                    Err(lost) => {
                        let error = Error::Unavailable(format!("{}: {lost}", windows.file.key));
                        return Some((Err(error), (windows, Rest::Over)));
                    }
                },
                Rest::Later(source) => {
                    let window = windows.window();
                    windows.next = window.bytes.end;
                    window.read(source, windows.file.clone()).await
                }
                Rest::Over => return None,
            };
            let rest = if bytes.is_ok() { windows.go_on(source) } else { Rest::Over };
            Some((bytes, (windows, rest)))
        });
        Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
    }

    /// Begins to read the next window if there is one, and room for it.
    fn go_on(&mut self, source: Source) -> Rest {
        let window = self.window();
        if window.bytes.is_empty() {
            return Rest::Over;
        }
        if window.room.is_none() {
            return Rest::Later(source);
        }
        self.next = window.bytes.end;
        Rest::Ahead(tokio::spawn(window.read(source, self.file.clone())))
    }
}

impl Window {
    /// What is wanted of it; and the source, for the next one.
    async fn read(self, source: Source, file: Expected) -> (Source, Result<Bytes, Error>) {
        let Self { bytes, trim, room } = self;
        let (source, bytes) = source.read(file, bytes).await;
        let held = |bytes: Bytes| match room {
            Some(_room) => Bytes::from_owner(Held { bytes, _room }),
            None => bytes,
        };
        (source, bytes.map(|bytes| held(bytes).slice(trim)))
    }
}
