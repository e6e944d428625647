//! Reading a file back: in windows, each checked against the chunk sums before it is handed out.
//!
//! Invariant: windows begin and end at chunks (or at the end of the file), so that every byte handed out is
//! covered by a checksum that was compared.
//! Invariant: a read holds [`WHOLE_BYTES`] at most, and two windows where it is longer than that: the one
//! handed out and the next one.
//! Elsewhere: what the sums are (`staging`), deflated files (`inflating`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::local::Disk;
use super::{CHUNK_BYTES, Error, Expected, key_of};

/// A range up to this is read and checked whole before the first byte is handed out.
const WHOLE_BYTES: u64 = 8 * 1024 * 1024;

/// A longer one is read in windows of this size.
const WINDOW_BYTES: u64 = 1024 * 1024;

type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// [`super::Blobs::read`].
pub(super) async fn read(
    store: &Arc<dyn ObjectStore>,
    disk: Option<&Disk>,
    file: &Expected,
    range: Range<u64>,
) -> Result<Pieces, Error> {
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
        let found = store.head(&key_of(&file.key)?).await;
        file.check_length(found.map_err(|error| Error::of_store(&file.key, &error))?.size)?;
        return Ok(stream::empty().boxed());
    }
    let covered =
        range.start / CHUNK_BYTES * CHUNK_BYTES..range.end.next_multiple_of(CHUNK_BYTES).min(length);
    let source = match disk {
        // Opened with the first window, in the same job.
        Some(disk) => Source::Local { path: disk.path(&file.key)?, opened: None, at: covered.start },
        None => open(store, file, covered.clone()).await?,
    };
    let windows = Windows { file: file.clone(), wanted: range, next: covered.start, end: covered.end };
    if covered.end - covered.start <= WHOLE_BYTES {
        let (window, trim) = windows.window(WHOLE_BYTES);
        let (_, bytes) = source.read(file.clone(), window).await;
        let bytes = bytes?.slice(trim);
        return Ok(stream::once(async { Ok(bytes) }).boxed());
    }
    windows.stream(source).await
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

/// Asks the store for `covered`, after comparing the file's length.
async fn open(store: &Arc<dyn ObjectStore>, file: &Expected, covered: Range<u64>) -> Result<Source, Error> {
    let key = key_of(&file.key)?;
    let failed = |error: object_store::Error| Error::of_store(&file.key, &error);
    let range = Some(GetRange::Bounded(covered));
    let found = match store.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await {
        Ok(found) => found,
        // A file that is too short for the range at all: its length says more than the store's error.
        Err(error) => {
            let found = store.head(&key).await.map_err(failed)?;
            file.check_length(found.size)?;
            return Err(failed(error));
        }
    };
    file.check_length(found.meta.size)?;
    let key = file.key.clone();
    let pieces = found.into_stream().map(move |piece| piece.map_err(|error| Error::of_store(&key, &error)));
    Ok(Source::Remote { pieces: pieces.boxed(), left_over: Bytes::new() })
}

/// Where the bytes come from; every read goes on where the last one ended.
enum Source {
    /// Read beside `object_store`, which would open in one job and read in another.
    Local {
        path: PathBuf,
        opened: Option<File>,
        at: u64,
    },
    Remote {
        pieces: Pieces,
        left_over: Bytes,
    },
}

impl Source {
    /// The bytes of `window`, checked; and the source, for the next one.
    async fn read(self, file: Expected, window: Range<u64>) -> (Self, Result<Bytes, Error>) {
        let length = usize::try_from(window.end - window.start).expect("a window fits into memory");
        match self {
            Self::Local { path, mut opened, at } => {
                let (key, end) = (file.key.clone(), window.end);
                let job = tokio::task::spawn_blocking(move || {
                    let bytes = read_local(&path, &mut opened, at, length, &file);
                    let bytes = bytes.and_then(|bytes| check(&file, window, bytes));
                    (Self::Local { path, opened, at: end }, bytes)
                });
                job.await.unwrap_or_else(|lost| {
                    let source = Self::Remote { pieces: stream::empty().boxed(), left_over: Bytes::new() };
                    (source, Err(Error::Unavailable(format!("{key}: {lost}"))))
                })
            }
            Self::Remote { mut pieces, mut left_over } => {
                let bytes = gather(&mut pieces, &mut left_over, length, &file).await;
                let bytes = bytes.and_then(|bytes| check(&file, window, bytes));
                (Self::Remote { pieces, left_over }, bytes)
            }
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

/// `length` bytes of a stream; copied only where they come in several pieces.
async fn gather(
    pieces: &mut Pieces,
    left_over: &mut Bytes,
    length: usize,
    file: &Expected,
) -> Result<Bytes, Error> {
    if left_over.len() >= length {
        return Ok(left_over.split_to(length));
    }
    let mut gathered = BytesMut::new();
    while left_over.len() < length - gathered.len() {
        gathered.extend_from_slice(left_over);
        *left_over = match pieces.next().await {
            Some(piece) => piece?,
            None => return Err(file.changed("it ended early".to_owned())),
        };
        if gathered.is_empty() && left_over.len() >= length {
            return Ok(left_over.split_to(length));
        }
        gathered.reserve(length - gathered.len());
    }
    let rest = left_over.split_to(length - gathered.len());
    gathered.extend_from_slice(&rest);
    Ok(gathered.freeze())
}

/// Compares every chunk of a window with its checksum.
fn check(file: &Expected, window: Range<u64>, bytes: Bytes) -> Result<Bytes, Error> {
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

/// The windows of one read.
struct Windows {
    file: Expected,
    wanted: Range<u64>,
    next: u64,
    end: u64,
}

impl Windows {
    /// The next window of up to `bytes`, and what of it is wanted.
    fn window(&self, bytes: u64) -> (Range<u64>, Range<usize>) {
        let window = self.next..(self.next + bytes).min(self.end);
        let within = |at: u64| {
            let at = at.clamp(window.start, window.end) - window.start;
            usize::try_from(at).expect("a window fits into memory")
        };
        let trim = within(self.wanted.start)..within(self.wanted.end);
        (window, trim)
    }

    /// Begins to read the next window, if there is one, beside whatever the caller does meanwhile.
    fn begin(&mut self, source: Source) -> Option<JoinHandle<(Source, Result<Bytes, Error>)>> {
        let (window, trim) = self.window(WINDOW_BYTES);
        if window.is_empty() {
            return None;
        }
        self.next = window.end;
        let file = self.file.clone();
        Some(tokio::spawn(async move {
            let (source, bytes) = source.read(file, window).await;
            (source, bytes.map(|bytes| bytes.slice(trim)))
        }))
    }

    /// All windows, the first of which has been read and has held.
    async fn stream(mut self, source: Source) -> Result<Pieces, Error> {
        let (window, trim) = self.window(WINDOW_BYTES);
        self.next = window.end;
        let (source, bytes) = source.read(self.file.clone(), window).await;
        let first = bytes?.slice(trim);
        let ahead = self.begin(source);
        let rest = stream::unfold((self, ahead), |(mut windows, ahead)| async move {
            let (source, bytes) = match ahead?.await {
                Ok(read) => read,
                Err(lost) => {
                    let error = Error::Unavailable(format!("{}: {lost}", windows.file.key));
                    return Some((Err(error), (windows, None)));
                }
            };
            let ahead = if bytes.is_ok() { windows.begin(source) } else { None };
            Some((bytes, (windows, ahead)))
        });
        Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
    }
}
