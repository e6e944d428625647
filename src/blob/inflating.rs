//! Reading a deflated dataset (PS3.5 §A.5): the inflated bytes of a range, from a stream of deflated ones.
//!
//! Invariant: one step inflates [`STEP_BYTES`] at most, whatever the ratio, and nothing beyond the range.
//! Elsewhere: the bound on the whole inflated size (`dicom::scan`, when the file came in).

use std::ops::Range;

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::Error;

/// Inflated bytes of one step.
const STEP_BYTES: usize = 1024 * 1024;

type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// A range that ends where the stream does.
pub(super) const WHOLE: Range<u64> = 0..u64::MAX;

/// The bytes of `range` of what `deflated` inflates to; the first of them are there when this answers.
pub(super) async fn inflate(key: String, deflated: Pieces, range: Range<u64>) -> Result<Pieces, Error> {
    let (input, engine) = (Bytes::new(), Decompress::new(false));
    let state = State { key, at: 0, range, input, engine, ended: false, complete: false };
    let Some((first, rest)) = next(state, deflated).await? else { return Ok(stream::empty().boxed()) };
    let rest = stream::unfold(Some(rest), |rest| async move {
        let (state, deflated) = rest?;
        match next(state, deflated).await {
            Ok(Some((bytes, rest))) => Some((Ok(bytes), Some(rest))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
}

struct State {
    key: String,
    /// Inflated bytes so far.
    at: u64,
    range: Range<u64>,
    input: Bytes,
    engine: Decompress,
    /// There are no more deflated bytes.
    ended: bool,
    /// The last block of the stream has been inflated.
    complete: bool,
}

/// The next wanted bytes, and how to go on; `None` behind the range.
async fn next(mut state: State, mut deflated: Pieces) -> Result<Option<(Bytes, (State, Pieces))>, Error> {
    while state.at < state.range.end && !state.complete {
        if state.input.is_empty() && !state.ended {
            match deflated.next().await {
                Some(piece) => state.input = piece?,
                None => state.ended = true,
            }
        }
        let bytes;
        (state, bytes) = tokio::task::spawn_blocking(move || {
            let bytes = state.step();
            (state, bytes)
        })
        .await
        .map_err(|lost| Error::Unavailable(lost.to_string()))?;
        let bytes = bytes?;
        if !bytes.is_empty() {
            return Ok(Some((bytes, (state, deflated))));
        }
    }
    Ok(None)
}

impl State {
    /// Inflates once; answers what of it is wanted, which may be nothing.
    fn step(&mut self) -> Result<Bytes, Error> {
        let mut output = Vec::with_capacity(STEP_BYTES);
        let before = (self.engine.total_in(), self.at);
        let flush = if self.ended { FlushDecompress::Finish } else { FlushDecompress::None };
        let status = self.engine.decompress_vec(&self.input, &mut output, flush);
        let status = status.map_err(|error| self.changed(&format!("it does not inflate: {error}")))?;
        let consumed = self.engine.total_in() - before.0;
        self.input.advance(usize::try_from(consumed).expect("no more is consumed than was given"));
        self.at += output.len() as u64;
        let stuck = consumed == 0 && output.is_empty() && (self.ended || !self.input.is_empty());
        self.complete = status == Status::StreamEnd;
        let to_the_end = self.complete && self.range == WHOLE;
        if (self.complete || stuck) && self.at < self.range.end && !to_the_end {
            return Err(self.changed(&format!("it inflates to {} bytes only", self.at)));
        }
        let within = |at: u64| {
            let at = at.clamp(before.1, self.at) - before.1;
            usize::try_from(at).expect("a step fits into memory")
        };
        let wanted = within(self.range.start)..within(self.range.end);
        Ok(Bytes::from(output).slice(wanted))
    }

    fn changed(&self, what: &str) -> Error {
        Error::Changed { key: self.key.clone(), what: what.to_owned() }
    }
}
