//! Reading a deflated dataset (PS3.5 §A.5): what it inflates to, at several places one after the other.
//!
//! A place behind the last one goes on from there; one before it begins again, since deflated bytes can be
//! read from the front only.
//! Invariant: one step inflates [`STEP_BYTES`] at most, whatever the ratio, and nothing beyond what is wanted.
//! Elsewhere: the bound on the whole inflated size (`dicom::scan`, when the file came in).

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::Mutex;

use super::reading::{self, Reader};
use super::{Error, Expected};

/// Inflated bytes of one step.
const STEP_BYTES: usize = 1024 * 1024;
/// The end of a range that ends where the stream does.
pub(super) const END: u64 = u64::MAX;

type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// What the dataset of one file inflates to.
#[derive(Clone)]
pub struct Inflated {
    reader: Reader,
    file: Expected,
    dataset_offset: u64,
    inflating: Arc<Mutex<Option<Inflating>>>,
}

impl Inflated {
    pub(super) fn of(reader: &Reader, file: &Expected, dataset_offset: u64) -> Self {
        let inflating = Arc::new(Mutex::new(None));
        Self { reader: reader.clone(), file: file.clone(), dataset_offset, inflating }
    }

    /// The bytes of `range`, in bounded memory; the first of them are there when this answers.
    ///
    /// # Errors
    /// As [`super::Blobs::read`]; [`Error::Changed`] too when there is no such range.
    pub async fn read(&self, range: Range<u64>) -> Result<Pieces, Error> {
        if range.is_empty() {
            self.reader.check(&self.file).await?;
            return Ok(stream::empty().boxed());
        }
        let first = self.piece(&range).await?;
        let start = range.start + first.len() as u64;
        // An empty piece is the end of a range that has none of its own.
        let left = (!first.is_empty()).then_some(start..range.end);
        let rest = stream::unfold((self.clone(), left), |(inflated, left)| async move {
            let left = left.filter(|left| !left.is_empty())?;
            match inflated.piece(&left).await {
                Ok(bytes) if bytes.is_empty() => None,
                Ok(bytes) => {
                    let left = left.start + bytes.len() as u64..left.end;
                    Some((Ok(bytes), (inflated, Some(left))))
                }
                Err(error) => Some((Err(error), (inflated, None))),
            }
        });
        Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
    }

    /// The first bytes of `range`; none when it begins at the end.
    async fn piece(&self, range: &Range<u64>) -> Result<Bytes, Error> {
        let mut kept = self.inflating.lock().await;
        // Taken out, so that what fails, or is dropped half-way, is not gone on with.
        let mut inflating = match kept.take().filter(|inflating| inflating.at <= range.start) {
            Some(inflating) => inflating,
            None => self.begin().await?,
        };
        while inflating.end() <= range.start && !inflating.complete {
            inflating = inflating.next().await?;
        }
        let bytes = inflating.within(range);
        if bytes.is_empty() && range.end != END {
            return Err(changed(&self.file.key, &format!("it inflates to {} bytes only", inflating.end())));
        }
        *kept = Some(inflating);
        Ok(bytes)
    }

    async fn begin(&self) -> Result<Inflating, Error> {
        let deflated =
            reading::read(&self.reader, &self.file, self.dataset_offset..self.file.length_bytes).await?;
        let engine = Box::new(Decompress::new(false));
        let (input, output) = (Bytes::new(), Bytes::new());
        let key = self.file.key.clone();
        Ok(Inflating { key, deflated, input, engine, ended: false, complete: false, at: 0, output })
    }
}

fn changed(key: &str, what: &str) -> Error {
    Error::Changed { key: key.to_owned(), what: what.to_owned() }
}

struct Inflating {
    key: String,
    deflated: Pieces,
    input: Bytes,
    engine: Box<Decompress>,
    /// There are no more deflated bytes.
    ended: bool,
    /// The last block of the stream has been inflated.
    complete: bool,
    /// Where `output` begins.
    at: u64,
    /// What the last step gave. Kept, since a bit-packed frame may begin in the last byte of the one before.
    output: Bytes,
}

impl Inflating {
    fn end(&self) -> u64 {
        self.at + self.output.len() as u64
    }

    /// What there is of `range` in the output of the last step.
    fn within(&self, range: &Range<u64>) -> Bytes {
        let within = |at: u64| {
            let at = at.clamp(self.at, self.end()) - self.at;
            usize::try_from(at).expect("a step fits into memory")
        };
        self.output.slice(within(range.start)..within(range.end))
    }

    /// After one step more.
    async fn next(mut self) -> Result<Self, Error> {
        if self.input.is_empty() && !self.ended {
            match self.deflated.next().await {
                Some(piece) => self.input = piece?,
                None => self.ended = true,
            }
        }
        tokio::task::spawn_blocking(move || self.step().map(|()| self))
            .await
            .map_err(|lost| Error::Unavailable(lost.to_string()))?
    }

    fn step(&mut self) -> Result<(), Error> {
        let mut output = Vec::with_capacity(STEP_BYTES);
        let before = self.engine.total_in();
        let flush = if self.ended { FlushDecompress::Finish } else { FlushDecompress::None };
        let status = self.engine.decompress_vec(&self.input, &mut output, flush);
        let status = status.map_err(|error| changed(&self.key, &format!("it does not inflate: {error}")))?;
        let consumed = self.engine.total_in() - before;
        self.input.advance(usize::try_from(consumed).expect("no more is consumed than was given"));
        self.at = self.end();
        self.output = output.into();
        self.complete = status == Status::StreamEnd;
        let stuck = consumed == 0 && self.output.is_empty() && (self.ended || !self.input.is_empty());
        if stuck && !self.complete {
            return Err(changed(&self.key, &format!("it inflates to {} bytes only", self.at)));
        }
        Ok(())
    }
}
