//! Whole files in Explicit VR Little Endian (`studies.md` §3.4), re-encoded while they are sent.
//!
//! Invariant: memory does not grow with the file.
//! Elsewhere: the encoding itself (`dicom::reencode`), which files are let through (`retrieve`).

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::archive::{LiveInstance, Located, ReadError};
use crate::blob::{self, Blobs};
use crate::dicom::reencode::{self, Broken, Reencoder, Source};
use crate::http::blocking;
use crate::http::error::Error;

/// Longest start of a file, up to its dataset, that is read at once to be written anew.
const META_BYTES: u64 = 1 << 20;

type Data = BoxStream<'static, Result<Bytes, ReadError>>;

/// Whether the start of the file can be written anew.
///
/// # Errors
/// [`Error::NotAcceptable`]
pub(super) fn check(at: &Located) -> Result<(), Error> {
    if at.dataset_offset <= META_BYTES {
        return Ok(());
    }
    Err(Error::NotAcceptable("its file meta information is too long to be transcoded"))
}

/// The file in `syntax`, one of Explicit VR Little Endian; its first bytes have been read when this answers.
pub(super) async fn open(
    blobs: &Blobs,
    live: &LiveInstance,
    at: &Located,
    source: Source,
    syntax: &str,
) -> Result<Data, ReadError> {
    let position = live.position;
    let broken = move |error: Broken| ReadError::Event(position, error.to_string());
    if check(at).is_err() {
        return Err(broken(Broken(0)));
    }
    let head: BytesMut = blobs.read(&at.file, 0..at.dataset_offset).await?.try_collect().await?;
    let meta = Bytes::from(reencode::meta(&head, syntax).map_err(broken)?);
    let dataset = match Reencoder::new(source) {
        None if source == Source::Plain => {
            let stored = blobs.read(&at.file, at.dataset_offset..at.file.length_bytes).await?;
            stored.map_err(ReadError::Blob).boxed()
        }
        None => blobs.inflated(&at.file, at.dataset_offset).await?.map_err(ReadError::Blob).boxed(),
        Some(reencoder) => {
            let stored = blobs.read(&at.file, at.dataset_offset..at.file.length_bytes).await?;
            through(reencoder, stored, broken)
        }
    };
    Ok(stream::once(async { Ok(meta) }).chain(dataset).boxed())
}

fn through(
    reencoder: Reencoder,
    stored: BoxStream<'static, Result<Bytes, blob::Error>>,
    broken: impl Fn(Broken) -> ReadError + Copy + Send + 'static,
) -> Data {
    let pieces = stream::try_unfold((reencoder, stored), move |(mut reencoder, mut stored)| async move {
        let Some(piece) = stored.next().await else {
            reencoder.finish().map_err(broken)?;
            return Ok(None);
        };
        let piece = piece?;
        let (reencoder, bytes) = blocking(move || {
            let bytes = reencoder.feed(&piece);
            (reencoder, bytes)
        })
        .await;
        Ok(Some((Bytes::from(bytes.map_err(broken)?), (reencoder, stored))))
    });
    pieces.boxed()
}
