//! Frames of one instance (WADO-RS, PS3.18 §10.4.1.1.6; `studies.md` §3.5).
//!
//! Native little endian frames are the same bytes in every such syntax, so they answer a request for
//! Explicit VR Little Endian too; those of big endian files are turned around. In any other syntax than the stored
//! one they are decoded and encoded, lossless only.
//!
//! Invariant: frames are read only as the client takes them; a bit-packed one is shifted as it passes.
//! Elsewhere: where frames lie (`dicom::frames`), the reading of their bytes (`values`), what becomes what
//! (`transcoded`).

use std::future::ready;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::one_frame::{frame_bytes, one_after_the_other, open};
use super::retrieve::{content_type, header_value, multipart_type};
use super::transcoded::{AHEAD, FrameChange, PIXELS};
use super::values::{Data, Values};
use super::{broken, not_found};
use crate::archive::{Framed, LiveInstance, ReadError};
use crate::codecs::Codecs;
use crate::dicom::byte_order::Turner;
use crate::dicom::frames::FrameSource;
use crate::dicom::pixels::feasible::Encoding;
use crate::dicom::scan::BulkElement;
use crate::http::accept::{Accepted, EXPLICIT_LITTLE_ENDIAN, Form, Resource, Selected, Syntax};
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::multipart::{self, Part};
use crate::http::range::Span;
use crate::http::urls::{UrlFrames, UrlScope};
use crate::http::{App, left_out};

const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
const DEFLATED_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1.99";
const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// So often the frames of one list are inflated from the beginning again.
const TURNS_BACK: usize = 16;

/// GET `…/instances/{instance}/frames/{list}`.
pub(in crate::http) async fn frames(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    UrlFrames(numbers): UrlFrames,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let accepted = Accepted::of(Resource::Frames, &headers)?;
    let is_enough = |selected: &Selected| selected.form == Form::Multipart || numbers.len() == 1;
    let foreseen = accepted.choose(|_| false).or_else(|_| accepted.choose(|_| true))?;
    if !is_enough(&foreseen) {
        return Err(Error::FramesNeedMultipart);
    }
    let live = app.archive.instances(&partition, &scope, None, 1)?.pop().ok_or_else(|| not_found(&scope))?;
    let framed = app.archive.frames(&live).await?;
    if !numbers.iter().all(|number| framed.frames.has(*number)) {
        return Err(Error::NotFound("The frame"));
    }
    let turns_back = numbers.windows(2).filter(|two| two[1] < two[0]).count();
    if framed.frames.inflated() && turns_back > TURNS_BACK {
        return Err(Error::FramesToAndFro { allowed: TURNS_BACK });
    }
    let as_stored = |selected: &Selected| {
        is_enough(selected)
            && matches!(selected.syntax, Syntax::Named(named) if named == live.transfer_syntax)
    };
    let encoded = |selected: &Selected| {
        is_enough(selected)
            && matches!(selected.syntax, Syntax::Named(named) if Encoding::of(named).is_some())
    };
    // What is stored so comes first.
    let selected = accepted.choose(as_stored).or_else(|_| accepted.choose(encoded))?;
    let (syntax, encoding) = delivered(selected.syntax, &live.transfer_syntax)?;
    let change = match encoding {
        Some(wanted) => Some(FrameChange::of(&app, &live, &framed, wanted).await?),
        None => None,
    };
    let turned = live.transfer_syntax == EXPLICIT_BIG_ENDIAN && syntax != EXPLICIT_BIG_ENDIAN;
    let tag = EntityTag::of_version(live.version, selected.form, selected.media);
    let tag = if turned || change.is_some() { tag.encoded_as(syntax) } else { tag };
    if let Some(known) = tag.not_modified(&headers) {
        return Ok(known);
    }
    let kind = content_type(selected.media, syntax);
    let mut values = Values::of(app.archive.blobs(), framed.at.clone(), framed.frames.inflated());
    if turned {
        values = in_little_endian(values, &app, &live).await?;
    }
    values.check().await?;
    let frames = Frames { values, framed };
    let answer = match (selected.form, change) {
        (Form::Single, Some(change)) => {
            Changed::of(frames, change, &app).single(numbers[0], &kind, &method).await
        }
        (Form::Multipart, Some(change)) => {
            Changed::of(frames, change, &app).several(numbers, selected, kind, &app, &method).await
        }
        (Form::Single, None) => frames.single(numbers[0], &kind, &tag, &method, &headers).await,
        (Form::Multipart, None) => frames.several(numbers, selected, kind, &app, &method).await,
    };
    Ok((tag.header(), answer?).into_response())
}

/// The syntax in which a frame stored in `stored` goes out, and the encoding if it has to be decoded for that.
fn delivered(wanted: Syntax, stored: &str) -> Result<(&str, Option<Encoding>), Error> {
    match wanted {
        // What was deflated is the dataset; the frame in it is native.
        Syntax::AsStored if stored == DEFLATED_LITTLE_ENDIAN => Ok((EXPLICIT_LITTLE_ENDIAN, None)),
        Syntax::AsStored => Ok((stored, None)),
        Syntax::Named(named) if named == stored => Ok((named, None)),
        Syntax::Named(EXPLICIT_LITTLE_ENDIAN)
            if [IMPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN].contains(&stored) =>
        {
            Ok((EXPLICIT_LITTLE_ENDIAN, None))
        }
        Syntax::Named(named) => match Encoding::of(named) {
            Some(encoding) => Ok((named, Some(encoding))),
            None => Err(Error::NotAcceptable("the frames are not stored in this transfer syntax; ask for *")),
        },
    }
}

/// Turns the pixels of a big endian file around, if their VR has words at all.
async fn in_little_endian(values: Values, app: &App, live: &LiveInstance) -> Result<Values, Error> {
    let wanted = |element: &BulkElement| PIXELS.contains(&element.path.as_str());
    let (_, pixels) = app.archive.bulk_element(live, wanted).await?;
    let turner = pixels.as_ref().and_then(|pixels| Turner::of_big_endian(pixels.vr));
    Ok(match (pixels, turner) {
        (Some(pixels), Some(turner)) => values.turned(pixels.offset..pixels.offset + pixels.length, turner),
        (Some(_) | None, _) => values,
    })
}

/// The frames of one file.
struct Frames {
    values: Values,
    framed: Arc<Framed>,
}

impl Frames {
    async fn single(
        self,
        number: u32,
        kind: &str,
        tag: &EntityTag,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Error> {
        let kind = header_value(kind);
        let Some(source) = self.framed.frames.frame(number) else { return Err(Error::NotFound("The frame")) };
        let ranges = match source {
            FrameSource::Bytes(ranges) => ranges,
            // Shifted as it passes, it has no ranges.
            FrameSource::Bits { bits, .. } => {
                let head = [(CONTENT_TYPE, kind), (CONTENT_LENGTH, HeaderValue::from(bits.div_ceil(8)))];
                if *method == Method::HEAD {
                    return Ok((head, left_out()).into_response());
                }
                let data = open(&self.values, &self.framed, number)
                    .await?
                    .map_err(|error| broken(ReadError::Blob(error)));
                return Ok((head, Body::from_stream(data)).into_response());
            }
        };
        let length_bytes = ranges.iter().map(|range| range.end - range.start).sum();
        let span = Span::of(headers, tag, length_bytes)?;
        if *method == Method::HEAD {
            return Ok(span.answer(kind, left_out()));
        }
        let data = one_after_the_other(&self.values, part_of(&ranges, &span.bytes)).await?;
        let data = data.map_err(|error| broken(ReadError::Blob(error)));
        Ok(span.answer(kind, Body::from_stream(data)))
    }

    async fn several(
        self,
        numbers: Vec<u32>,
        selected: Selected,
        kind: String,
        app: &App,
        method: &Method,
    ) -> Result<Response, Error> {
        let (boundary, head) = several_head(selected.media, app);
        if *method == Method::HEAD {
            return Ok((head, left_out()).into_response());
        }
        let part = |data: Data, kind: String| Part {
            content_type: kind,
            data: data.map_err(|error| broken(ReadError::Blob(error))).boxed(),
        };
        // Opened before the answer begins, so that a failure still has a status.
        let first = part(open(&self.values, &self.framed, numbers[0]).await?, kind.clone());
        let rest = stream::try_unfold((self, numbers.into_iter().skip(1)), move |(frames, mut left)| {
            let kind = kind.clone();
            async move {
                let Some(number) = left.next() else { return Ok(None) };
                let data = open(&frames.values, &frames.framed, number)
                    .await
                    .map_err(|error| broken(ReadError::Blob(error)))?;
                Ok(Some((part(data, kind), (frames, left))))
            }
        });
        let parts = stream::once(async { Ok(first) }).chain(rest);
        Ok((head, multipart::body(&boundary, parts)).into_response())
    }
}

/// The boundary of an answer with a part for each frame, and its header.
fn several_head(media: &str, app: &App) -> (String, [(HeaderName, HeaderValue); 1]) {
    let boundary = app.archive.new_id().simple().to_string();
    let head = [(CONTENT_TYPE, multipart_type(media, &boundary))];
    (boundary, head)
}

/// The frames of one file in another syntax.
struct Changed {
    frames: Arc<Frames>,
    change: Arc<FrameChange>,
    codecs: Codecs,
}

impl Changed {
    fn of(frames: Frames, change: FrameChange, app: &App) -> Self {
        Self { frames: Arc::new(frames), change: Arc::new(change), codecs: app.codecs.clone() }
    }

    /// One frame is in memory whole, so its length is known; where it is known before, HEAD tells it, too.
    async fn single(self, number: u32, kind: &str, method: &Method) -> Result<Response, Error> {
        let head = [(CONTENT_TYPE, header_value(kind))];
        if *method == Method::HEAD {
            let length = self.change.length_bytes().map(|bytes| [(CONTENT_LENGTH, HeaderValue::from(bytes))]);
            return Ok((head, length, left_out()).into_response());
        }
        let most = self.codecs.limits().frame_bytes;
        let frame = frame_bytes(&self.frames.values, &self.frames.framed, number, most).await?;
        Ok((head, self.change.apply(&self.codecs, frame).await?).into_response())
    }

    /// [`AHEAD`] frames are worked on at once; they are read one after the other, as those of a deflated file
    /// have to be.
    async fn several(
        self,
        numbers: Vec<u32>,
        selected: Selected,
        kind: String,
        app: &App,
        method: &Method,
    ) -> Result<Response, Error> {
        let (boundary, head) = several_head(selected.media, app);
        if *method == Method::HEAD {
            return Ok((head, left_out()).into_response());
        }
        let (frames, most) = (self.frames, self.codecs.limits().frame_bytes);
        let stored = stream::iter(numbers).then(move |number| {
            let frames = Arc::clone(&frames);
            async move { frame_bytes(&frames.values, &frames.framed, number, most).await }
        });
        let (change, codecs) = (self.change, self.codecs);
        let changed = stored.map(move |frame| {
            let (change, codecs) = (Arc::clone(&change), codecs.clone());
            async move { change.apply(&codecs, frame?).await }
        });
        let mut changed = changed.buffered(AHEAD).boxed();
        // Encoded before the answer begins, so that a failure still has a status.
        let first = changed.next().await.expect("a list of frames has a number")?;
        let frames = stream::once(ready(Ok(first))).chain(changed.map_err(broken));
        let parts = frames.map_ok(move |frame| Part {
            content_type: kind.clone(),
            data: stream::once(ready(Ok(frame))).boxed(),
        });
        Ok((head, multipart::body(&boundary, parts)).into_response())
    }
}

/// The bytes `wanted` of what lies at `ranges`, one after the other.
fn part_of(ranges: &[Range<u64>], wanted: &Range<u64>) -> Vec<Range<u64>> {
    let (mut parts, mut before) = (Vec::new(), 0);
    for range in ranges {
        let length = range.end - range.start;
        let start = wanted.start.clamp(before, before + length) - before;
        let end = wanted.end.clamp(before, before + length) - before;
        if start < end {
            parts.push(range.start + start..range.start + end);
        }
        before += length;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_frame_may_reach_over_its_fragments() {
        let ranges = [10..15, 23..26, 40..50];
        for (wanted, expected) in [
            (0..18, &[(10, 15), (23, 26), (40, 50)][..]),
            (0..1, &[(10, 11)][..]),
            (4..6, &[(14, 15), (23, 24)][..]),
            (5..8, &[(23, 26)][..]),
            (7..9, &[(25, 26), (40, 41)][..]),
            (17..18, &[(49, 50)][..]),
        ] {
            let parts = part_of(&ranges, &wanted).into_iter().map(|part| (part.start, part.end));
            assert_eq!(parts.collect::<Vec<_>>(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn native_little_endian_frames_are_the_same_in_every_such_syntax() {
        let explicit = Syntax::Named(EXPLICIT_LITTLE_ENDIAN);
        let jpeg_2000 = Syntax::Named("1.2.840.10008.1.2.4.90");
        let lossless = |syntax, encoding| Some((syntax, Some(encoding)));
        for (wanted, stored, expected) in [
            (Syntax::AsStored, "1.2.840.10008.1.2.4.50", Some(("1.2.840.10008.1.2.4.50", None))),
            (Syntax::AsStored, "1.2.840.10008.1.2", Some(("1.2.840.10008.1.2", None))),
            (Syntax::AsStored, "1.2.840.10008.1.2.1.99", Some(("1.2.840.10008.1.2.1", None))),
            (explicit, "1.2.840.10008.1.2.1", Some(("1.2.840.10008.1.2.1", None))),
            (explicit, "1.2.840.10008.1.2", Some(("1.2.840.10008.1.2.1", None))),
            (explicit, "1.2.840.10008.1.2.1.99", Some(("1.2.840.10008.1.2.1", None))),
            (explicit, "1.2.840.10008.1.2.2", Some(("1.2.840.10008.1.2.1", None))),
            (explicit, "1.2.840.10008.1.2.4.50", lossless("1.2.840.10008.1.2.1", Encoding::ExplicitLittle)),
            (jpeg_2000, "1.2.840.10008.1.2.4.90", Some(("1.2.840.10008.1.2.4.90", None))),
            (
                jpeg_2000,
                "1.2.840.10008.1.2.4.91",
                lossless("1.2.840.10008.1.2.4.90", Encoding::Jpeg2000Lossless),
            ),
            (
                jpeg_2000,
                "1.2.840.10008.1.2.1",
                lossless("1.2.840.10008.1.2.4.90", Encoding::Jpeg2000Lossless),
            ),
            (Syntax::Named("1.2.840.10008.1.2.4.91"), "1.2.840.10008.1.2.4.90", None),
            (Syntax::Named("1.2.840.10008.1.2.4.50"), "1.2.840.10008.1.2.1", None),
        ] {
            assert_eq!(delivered(wanted, stored).ok(), expected, "{wanted:?} of {stored}");
        }
    }
}
