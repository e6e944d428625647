//! Bytes out of the middle of one file: a frame, the value of an element.
//!
//! Offsets count in the file or, where its dataset is deflated, in what that inflates to. Values stored in big
//! endian are turned around word by word as they pass (PS3.18: bulk data are little endian).
//!
//! Invariant: bytes are read only as the client takes them, and checked before.
//! Elsewhere: where frames and values lie (`dicom::frames`, `dicom::scan`), whole files (`retrieve`).

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::archive::Located;
use crate::blob::{self, Blobs, Expected, Inflated};
use crate::dicom::byte_order::Turner;
use crate::http::blocking;

/// Bytes on their way out.
pub(super) type Data = BoxStream<'static, Result<Bytes, blob::Error>>;

/// The bytes of one file. Of a deflated one, clones read on where the last read ended.
#[derive(Clone)]
pub(super) struct Values {
    blobs: Blobs,
    file: Expected,
    inflated: Option<Inflated>,
    turned: Option<(Range<u64>, Turner)>,
}

impl Values {
    /// Of a file; `inflated` says in what offsets count.
    pub(super) fn of(blobs: &Blobs, at: Located, inflated: bool) -> Self {
        let inflated = inflated.then(|| blobs.inflating(&at.file, at.dataset_offset));
        Self { blobs: blobs.clone(), file: at.file, inflated, turned: None }
    }

    /// With the words of the value at `element` turned around; nothing else is read then.
    pub(super) fn turned(self, element: Range<u64>, turner: Turner) -> Self {
        Self { turned: Some((element, turner)), ..self }
    }

    /// Whether the file is there as expected, but for its bytes.
    pub(super) async fn check(&self) -> Result<(), blob::Error> {
        self.blobs.check(&self.file).await
    }

    /// The bytes at `range`; the first of them have been read when this answers.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Data, blob::Error> {
        let Some((element, turner)) = &self.turned else { return self.stored(range).await };
        let word = turner.word_bytes() as u64;
        let from = element.start + (range.start - element.start) / word * word;
        let words = (range.end - element.start).div_ceil(word);
        let to = (element.start + words * word).min(element.end);
        let data = self.stored(from..to).await?;
        let turning =
            Turning { turner: turner.clone(), skip: range.start - from, left: range.end - range.start };
        Ok(turning.through(data))
    }

    async fn stored(&self, range: Range<u64>) -> Result<Data, blob::Error> {
        match &self.inflated {
            Some(inflated) => inflated.read(range).await,
            None => self.blobs.read(&self.file, range).await,
        }
    }
}

/// Whole words turned around, of which a part is wanted.
struct Turning {
    turner: Turner,
    skip: u64,
    left: u64,
}

impl Turning {
    fn through(self, data: Data) -> Data {
        let turned = stream::unfold(Some((self, data)), |state| async move {
            let (mut turning, mut data) = state?;
            let piece = match data.next().await {
                Some(Ok(piece)) => Some(piece),
                Some(Err(error)) => return Some((Err(error), None)),
                None => None,
            };
            let over = piece.is_none();
            let (turning, bytes) = blocking(move || {
                let bytes = turning.turn(piece);
                (turning, bytes)
            })
            .await;
            Some((Ok(bytes), (!over).then_some((turning, data))))
        });
        turned.boxed()
    }

    /// What is wanted of a piece, or of what is left when there is none.
    fn turn(&mut self, piece: Option<Bytes>) -> Bytes {
        let mut out = Vec::with_capacity(piece.as_ref().map_or(0, Bytes::len) + self.turner.word_bytes());
        match piece {
            Some(piece) => self.turner.turn(&piece, &mut out),
            None => self.turner.end(&mut out),
        }
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(out.len());
        let start = within(self.skip);
        let end = within(self.skip.saturating_add(self.left));
        self.skip -= start as u64;
        self.left -= (end - start) as u64;
        Bytes::from(out).slice(start..end)
    }
}
