//! Frames of one instance (WADO-RS, PS3.18 §10.4.1.1.6; `studies.md` §3.5), as they are stored.
//!
//! Native little endian frames are the same bytes in every such syntax, so they answer a request for
//! Explicit VR Little Endian too. Everything else goes out in the syntax it is stored in, or not at all.
//!
//! Invariant: frames are read only as the client takes them; a bit-packed one is shifted as it passes.
//! Elsewhere: where frames lie (`dicom::frames`).

use std::future::ready;
use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::retrieve::{content_type, header_value, multipart_type};
use super::{broken, not_found};
use crate::archive::{Framed, ReadError};
use crate::blob::{self, Blobs, Expected};
use crate::dicom::frames::{FrameIndex, FrameSource};
use crate::http::accept::{EXPLICIT_LITTLE_ENDIAN, Form, Resource, Selected, Syntax, select};
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::multipart::{self, Part};
use crate::http::urls::{UrlFrames, UrlScope};
use crate::http::{App, left_out};

const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
const DEFLATED_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1.99";

/// GET `…/instances/{instance}/frames/{list}`.
pub(in crate::http) async fn frames(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    UrlFrames(numbers): UrlFrames,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let selected = select(Resource::Frames, &headers)?;
    if selected.form == Form::Single && numbers.len() > 1 {
        return Err(Error::FramesNeedMultipart);
    }
    let live = app.archive.instances(&partition, &scope, None, 1)?.pop().ok_or_else(|| not_found(&scope))?;
    let Framed { file, frames: index, dataset_offset } = app.archive.frames(&live).await?;
    if numbers.iter().any(|number| index.frame(*number).is_none()) {
        return Err(Error::NotFound("The frame"));
    }
    let syntax = delivered(selected.syntax, &live.transfer_syntax)?;
    let tag = EntityTag::of_version(live.version, selected.form, selected.media);
    if let Some(known) = tag.not_modified(&headers) {
        return Ok(known);
    }
    let kind = content_type(selected.media, syntax);
    let inflated_from = index.inflated().then_some(dataset_offset);
    let frames = Frames { blobs: app.archive.blobs().clone(), file, index, inflated_from };
    frames.blobs.check(&frames.file).await?;
    let answer = match selected.form {
        Form::Single => frames.single(numbers[0], &kind, &method).await,
        Form::Multipart => frames.several(numbers, selected, kind, &app, &method).await,
    };
    Ok((tag.header(), answer?).into_response())
}

/// The syntax in which a frame stored in `stored` goes out.
fn delivered(wanted: Syntax, stored: &str) -> Result<&str, Error> {
    let unasked = Error::NotAcceptable("the frames are not stored in this transfer syntax; ask for *");
    match wanted {
        // What was deflated is the dataset; the frame in it is native.
        Syntax::AsStored if stored == DEFLATED_LITTLE_ENDIAN => Ok(EXPLICIT_LITTLE_ENDIAN),
        Syntax::AsStored => Ok(stored),
        Syntax::Named(EXPLICIT_LITTLE_ENDIAN) => match stored {
            EXPLICIT_LITTLE_ENDIAN | IMPLICIT_LITTLE_ENDIAN | DEFLATED_LITTLE_ENDIAN => {
                Ok(EXPLICIT_LITTLE_ENDIAN)
            }
            _ => Err(unasked),
        },
        Syntax::Named(named) if named == stored => Ok(named),
        Syntax::Named(_) => Err(unasked),
    }
}

type Data = BoxStream<'static, Result<Bytes, blob::Error>>;

/// The frames of one file.
struct Frames {
    blobs: Blobs,
    file: Expected,
    index: FrameIndex,
    /// Where the dataset begins, if it lies deflated in the file.
    inflated_from: Option<u64>,
}

impl Frames {
    async fn single(self, number: u32, kind: &str, method: &Method) -> Result<Response, Error> {
        let length_bytes = match self.index.frame(number) {
            Some(FrameSource::Bytes(ranges)) => ranges.iter().map(|range| range.end - range.start).sum(),
            Some(FrameSource::Bits { bits, .. }) => bits.div_ceil(8),
            None => 0,
        };
        let head = [(CONTENT_TYPE, header_value(kind)), (CONTENT_LENGTH, HeaderValue::from(length_bytes))];
        if *method == Method::HEAD {
            return Ok((head, left_out()).into_response());
        }
        let data = self.open(number).await?.map_err(|error| broken(ReadError::Blob(error)));
        Ok((head, Body::from_stream(data)).into_response())
    }

    async fn several(
        self,
        numbers: Vec<u32>,
        selected: Selected,
        kind: String,
        app: &App,
        method: &Method,
    ) -> Result<Response, Error> {
        let boundary = app.archive.new_id().simple().to_string();
        let head = [(CONTENT_TYPE, multipart_type(selected.media, &boundary))];
        if *method == Method::HEAD {
            return Ok((head, left_out()).into_response());
        }
        let part = |data: Data, kind: String| Part {
            content_type: kind,
            data: data.map_err(|error| broken(ReadError::Blob(error))).boxed(),
        };
        // Opened before the answer begins, so that a failure still has a status.
        let first = part(self.open(numbers[0]).await?, kind.clone());
        let rest = stream::try_unfold((self, numbers.into_iter().skip(1)), move |(frames, mut left)| {
            let kind = kind.clone();
            async move {
                let Some(number) = left.next() else { return Ok(None) };
                let data = frames.open(number).await.map_err(|error| broken(ReadError::Blob(error)))?;
                Ok(Some((part(data, kind), (frames, left))))
            }
        });
        let parts = stream::once(async { Ok(first) }).chain(rest);
        Ok((head, multipart::body(&boundary, parts)).into_response())
    }

    /// The bytes of a frame; its first piece has been read when this answers.
    async fn open(&self, number: u32) -> Result<Data, blob::Error> {
        match self.index.frame(number) {
            Some(FrameSource::Bytes(ranges)) => {
                let mut ranges = ranges.into_iter();
                let Some(first) = ranges.next() else { return Ok(stream::empty().boxed()) };
                let first = self.read(first).await?;
                let (blobs, file, inflated) = (self.blobs.clone(), self.file.clone(), self.inflated_from);
                let rest = stream::iter(ranges).then(move |range| {
                    let (blobs, file) = (blobs.clone(), file.clone());
                    async move { read(&blobs, &file, inflated, range).await }
                });
                Ok(first.chain(rest.try_flatten()).boxed())
            }
            Some(FrameSource::Bits { range, shift, bits }) => {
                let data = self.read(range).await?;
                let pieces = data.map(Some).chain(stream::once(ready(None)));
                let shifted = pieces.scan(Shifter::new(shift, bits), |shifter, piece| {
                    ready(Some(match piece {
                        Some(Ok(bytes)) => Ok(shifter.feed(&bytes)),
                        Some(Err(error)) => Err(error),
                        None => Ok(shifter.finish()),
                    }))
                });
                Ok(shifted.boxed())
            }
            None => Ok(stream::empty().boxed()),
        }
    }

    async fn read(&self, range: Range<u64>) -> Result<Data, blob::Error> {
        read(&self.blobs, &self.file, self.inflated_from, range).await
    }
}

async fn read(
    blobs: &Blobs,
    file: &Expected,
    inflated_from: Option<u64>,
    range: Range<u64>,
) -> Result<Data, blob::Error> {
    match inflated_from {
        Some(offset) => blobs.read_inflated(file, offset, range).await,
        None => blobs.read(file, range).await,
    }
}

/// Moves a bit-packed frame to the start of a byte and fills its last byte with zeros.
struct Shifter {
    shift: u8,
    bits_left: u64,
    before: Option<u8>,
}

impl Shifter {
    fn new(shift: u8, bits: u64) -> Self {
        Self { shift, bits_left: bits, before: None }
    }

    fn feed(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if let Some(before) = self.before.replace(*byte) {
                let joined = u16::from_le_bytes([before, *byte]) >> self.shift;
                self.put(joined, &mut out);
            }
        }
        out.into()
    }

    fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        if let Some(before) = self.before.take() {
            self.put(u16::from(before) >> self.shift, &mut out);
        }
        out.into()
    }

    fn put(&mut self, joined: u16, out: &mut Vec<u8>) {
        let taken = self.bits_left.min(8);
        if taken > 0 {
            let mask = 0xff >> (8 - taken);
            out.push(joined.to_le_bytes()[0] & mask);
            self.bits_left -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bits as the standard numbers them: least significant first.
    fn packed(bits: &[bool]) -> Vec<u8> {
        let byte = |eight: &[bool]| eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    proptest! {
        #[test]
        fn a_frame_is_shifted_to_its_first_bit_and_filled_with_zeros(
            frames in prop::collection::vec(prop::collection::vec(any::<bool>(), 13), 1..9),
            step in 1usize..4,
        ) {
            let all = packed(&frames.concat());
            for (n, frame) in frames.iter().enumerate() {
                let (start, end) = (n * 13, (n + 1) * 13);
                let range = &all[start / 8..end.div_ceil(8)];
                let mut shifter = Shifter::new(u8::try_from(start % 8).unwrap(), 13);
                let mut out = Vec::new();
                range.chunks(step).for_each(|piece| out.extend_from_slice(&shifter.feed(piece)));
                out.extend_from_slice(&shifter.finish());
                prop_assert_eq!(out, packed(frame));
            }
        }
    }

    #[test]
    fn native_little_endian_frames_are_the_same_in_every_such_syntax() {
        let explicit = Syntax::Named(EXPLICIT_LITTLE_ENDIAN);
        let jpeg_2000 = Syntax::Named("1.2.840.10008.1.2.4.90");
        for (wanted, stored, expected) in [
            (Syntax::AsStored, "1.2.840.10008.1.2.4.50", Some("1.2.840.10008.1.2.4.50")),
            (Syntax::AsStored, "1.2.840.10008.1.2", Some("1.2.840.10008.1.2")),
            (Syntax::AsStored, "1.2.840.10008.1.2.1.99", Some("1.2.840.10008.1.2.1")),
            (explicit, "1.2.840.10008.1.2.1", Some("1.2.840.10008.1.2.1")),
            (explicit, "1.2.840.10008.1.2", Some("1.2.840.10008.1.2.1")),
            (explicit, "1.2.840.10008.1.2.1.99", Some("1.2.840.10008.1.2.1")),
            (explicit, "1.2.840.10008.1.2.2", None),
            (explicit, "1.2.840.10008.1.2.4.50", None),
            (jpeg_2000, "1.2.840.10008.1.2.4.90", Some("1.2.840.10008.1.2.4.90")),
            (jpeg_2000, "1.2.840.10008.1.2.4.91", None),
            (jpeg_2000, "1.2.840.10008.1.2.1", None),
        ] {
            assert_eq!(delivered(wanted, stored).ok(), expected, "{wanted:?} of {stored}");
        }
    }
}
