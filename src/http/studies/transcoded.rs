//! A stored file in another transfer syntax, its frames decoded and encoded one by one (`studies.md` §3.4).
//!
//! The file is read once, in its order: the dataset goes through a `Transcoder`, which hands out the pixels; those are
//! cut into frames; each frame is decoded, encoded, sent and forgotten.
//!
//! Invariant: memory does not grow with the file: [`AHEAD`] frames, and the piece that was read last.
//! Invariant: what attributes can tell is decided before the first byte, and the first frame has been encoded then,
//! unless more than [`HEAD_BYTES`] lie before it. What shows later breaks the answer off.
//! Elsewhere: what can become what (`dicom::pixels::feasible`), files whose pixels stay as they are (`reencoded`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{broken, reencoded};
use crate::archive::{Framed, LiveInstance, Located, ReadError};
use crate::blob;
use crate::codecs::{self, Codecs, Stored};
use crate::dicom::frames::FrameCutter;
use crate::dicom::pixels::feasible::{Encoding, Family, decoded, encoded};
use crate::dicom::pixels::{Description, Planar};
use crate::dicom::reencode::{self, Broken, Edits, Piece, PixelHeader, Source, Transcoder};
use crate::dicom::scan::BulkElement;
use crate::http::accept::EXPLICIT_LITTLE_ENDIAN;
use crate::http::error::Error;
use crate::http::{App, blocking};

/// Frames of one answer that are worked on at once.
pub(super) const AHEAD: usize = 2;
/// Bytes of the dataset that wait for the first frame, so that one that is corrupt still has a status.
const HEAD_BYTES: usize = 8 << 20;
/// Slices up to this are taken apart where they come in.
const INLINE_BYTES: usize = 512 << 10;
/// Most icons of a file with compressed pixels that are looked at.
const ICONS: usize = 16;
/// Paths of the elements that hold pixels.
pub(super) const PIXELS: [&str; 3] = ["7FE00008", "7FE00009", PIXEL_DATA];
const PIXEL_DATA: &str = "7FE00010";
/// The tag of an item in little endian.
const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];

/// Bytes on their way out.
pub(super) type Data = BoxStream<'static, Result<Bytes, Error>>;

/// How an instance becomes one in another transfer syntax.
pub(super) enum Change {
    /// Its pixels, if it has any, stay as they are.
    Reencoded(Source),
    /// Its frames are decoded, and encoded.
    Transcoded(Box<Plan>),
}

/// What is done to one frame after the other, and to what is said of them.
pub(super) struct Plan {
    frames: FrameChange,
    edits: Edits,
}

impl Change {
    /// Of an instance that is stored in another syntax than `wanted`.
    ///
    /// # Errors
    /// [`Error::Transcode`] when there is no way, by all that its attributes tell.
    pub(super) async fn of(app: &App, live: &LiveInstance, wanted: &str) -> Result<Self, Error> {
        let stored = live.transfer_syntax.as_str();
        if let Some(source) = keeping_pixels(stored, wanted) {
            return Ok(Self::Reencoded(source));
        }
        let (metadata, bulk) = app.archive.metadata_and_bulk(live.position).await?;
        if !bulk.iter().any(|element| PIXELS.contains(&element.path.as_str())) {
            icons_can_stay(app, live, &bulk).await?;
            return Source::without_pixels(stored).map(Self::Reencoded).ok_or(NO_WAY);
        }
        let wanted = Encoding::of(wanted).ok_or(NO_WAY)?;
        let framed = app.archive.frames(live).await?;
        let count = framed.frames.count();
        if !framed.frames.has(count) {
            return Err(unsupported("it has not as many frames as it declares"));
        }
        let frames = FrameChange::read(app, live, &framed, wanted, metadata, &bulk).await?;
        let edits = frames.edits(count).ok_or(unsupported("its pixels are too large for one element"))?;
        icons_can_stay(app, live, &bulk).await?;
        Ok(Self::Transcoded(Box::new(Plan { frames, edits })))
    }
}

/// How a file can be re-encoded, whatever pixels it has.
pub(super) fn keeping_pixels(stored: &str, wanted: &str) -> Option<Source> {
    if wanted == EXPLICIT_LITTLE_ENDIAN { Source::of(stored) } else { None }
}

const NO_WAY: Error = unsupported("neither is it stored in this transfer syntax nor can it be transcoded");

const fn unsupported(why: &'static str) -> Error {
    Error::Transcode(codecs::Error::Unsupported(why))
}

/// Passes unless pixels in a sequence are compressed, which would have to be decoded, too.
async fn icons_can_stay(app: &App, live: &LiveInstance, bulk: &[BulkElement]) -> Result<(), Error> {
    if Family::of(&live.transfer_syntax) == Some(Family::Native) {
        return Ok(());
    }
    let is_icon =
        |element: &&BulkElement| element.path.len() > PIXEL_DATA.len() && element.path.ends_with(PIXEL_DATA);
    let icons: Vec<_> = bulk.iter().filter(is_icon).take(ICONS + 1).collect();
    if icons.is_empty() {
        return Ok(());
    }
    let at = app.archive.located(live).await?;
    for (number, icon) in icons.into_iter().enumerate() {
        let item = icon.offset..icon.offset + icon.length.min(ITEM.len() as u64);
        let start: BytesMut = app.archive.blobs().read(&at.file, item).await?.try_collect().await?;
        if number == ICONS || start[..] == ITEM {
            return Err(unsupported("an icon in it is compressed"));
        }
    }
    Ok(())
}

/// What is done to every frame of an instance.
#[derive(Clone, Debug)]
pub(super) struct FrameChange {
    stored: String,
    shape: Description,
    wanted: Encoding,
    /// What frames are in the end.
    becomes: Description,
}

impl FrameChange {
    /// What makes frames in `wanted` of those that are stored.
    ///
    /// # Errors
    /// [`Error::Transcode`] when nothing does.
    pub(super) async fn of(
        app: &App,
        live: &LiveInstance,
        framed: &Framed,
        wanted: Encoding,
    ) -> Result<Self, Error> {
        let (metadata, bulk) = app.archive.metadata_and_bulk(live.position).await?;
        Self::read(app, live, framed, wanted, metadata, &bulk).await
    }

    async fn read(
        app: &App,
        live: &LiveInstance,
        framed: &Framed,
        wanted: Encoding,
        metadata: Bytes,
        bulk: &[BulkElement],
    ) -> Result<Self, Error> {
        if !bulk.iter().any(|element| element.path == PIXEL_DATA) {
            return Err(unsupported("its pixels are floating-point numbers"));
        }
        let stored = live.transfer_syntax.clone();
        if (Family::of(&stored) == Some(Family::Native)) == framed.frames.encapsulated() {
            return Err(unsupported("its pixels are not such as its transfer syntax says"));
        }
        let shape = blocking(move || Description::of_metadata(&metadata)).await;
        let shape = shape.map_err(|bad| unsupported(bad.0))?;
        let native = decoded(&stored, &shape).map_err(|why| unsupported(why.0))?;
        let becomes = encoded(&native, wanted).map_err(|why| unsupported(why.0))?;
        let (bytes, most) =
            (native.frame_bytes().max(becomes.frame_bytes()), app.codecs.limits().frame_bytes);
        if bytes > most {
            return Err(Error::Transcode(codecs::Error::TooLarge { bytes, most }));
        }
        Ok(Self { stored, shape, wanted, becomes })
    }

    /// What the dataset says once it has `count` such frames; `None` when no element can hold them.
    fn edits(&self, count: u32) -> Option<Edits> {
        let pixels = match self.wanted {
            Encoding::ExplicitLittle => {
                let length = self.becomes.frame_bytes().checked_mul(u64::from(count))?;
                let length = u32::try_from(length).ok().filter(|length| *length < u32::MAX)?;
                PixelHeader::Native { bits_allocated: self.becomes.bits_allocated, length }
            }
            Encoding::Jpeg2000Lossless | Encoding::JpegLsLossless | Encoding::Rle => {
                PixelHeader::Encapsulated
            }
        };
        debug_assert_eq!(self.becomes.planar, Planar::ByPixel);
        let planar = (self.becomes.samples > 1).then_some(0);
        Some(Edits { photometric: self.becomes.photometric_text(), planar, pixels })
    }

    /// Bytes of each frame in the end, where they are all of one length.
    pub(super) fn length_bytes(&self) -> Option<u64> {
        (self.wanted == Encoding::ExplicitLittle).then(|| self.becomes.frame_bytes())
    }

    /// One frame.
    ///
    /// # Errors
    /// [`Error::Transcode`]
    pub(super) async fn apply(&self, codecs: &Codecs, frame: Bytes) -> Result<Bytes, Error> {
        let stored = Stored { syntax: &self.stored, shape: self.shape.clone() };
        let native = codecs.decode(stored, frame).await.map_err(Error::Transcode)?;
        codecs.encode(native, self.wanted).await.map_err(Error::Transcode)
    }
}

/// The file as the plan says; its first frame has been encoded when this answers.
pub(super) async fn open(app: &App, live: &LiveInstance, at: &Located, plan: &Plan) -> Result<Data, Error> {
    reencoded::check(at)?;
    let framed = app.archive.frames(live).await?;
    let blobs = app.archive.blobs();
    let head: BytesMut = blobs.read(&at.file, 0..at.dataset_offset).await?.try_collect().await?;
    let damaged = |error: Broken| ReadError::Event(live.position, error.to_string());
    let meta = Bytes::from(reencode::meta(&head, plan.frames.wanted.uid()).map_err(damaged)?);
    let source = Source::of_any(&live.transfer_syntax);
    let (stored, begin) = match source {
        Source::Deflated => (blobs.inflated(&at.file, at.dataset_offset).await?, 0),
        Source::Implicit | Source::BigEndian | Source::Plain => {
            let dataset = at.dataset_offset..at.file.length_bytes;
            (blobs.read(&at.file, dataset).await?, at.dataset_offset)
        }
    };
    let transcoder = Transcoder::new(source, begin, plan.edits);
    let walk = Walk {
        stored,
        parts: Parts { transcoder, cutter: FrameCutter::default(), framed, found: VecDeque::new() },
        live: live.clone(),
    };
    let mut pieces = pieces(walk, app.codecs.clone(), plan);
    let (mut first, mut bytes) = (vec![meta], 0);
    while bytes <= HEAD_BYTES
        && let Some(next) = pieces.next().await
    {
        let (of_frame, next) = next?;
        bytes += next.iter().map(Bytes::len).sum::<usize>();
        first.extend(next);
        if of_frame {
            break;
        }
    }
    let rest = pieces.map_ok(|(_, pieces)| stream::iter(pieces).map(Ok)).try_flatten();
    Ok(stream::iter(first).map(Ok).chain(rest).boxed())
}

/// Pieces of the new file, each with whether it is a frame.
fn pieces(walk: Walk, codecs: Codecs, plan: &Plan) -> BoxStream<'static, Result<(bool, Vec<Bytes>), Error>> {
    let frames = Arc::new(plan.frames.clone());
    let encapsulated = plan.edits.pixels == PixelHeader::Encapsulated;
    let parts = stream::try_unfold(walk, |walk| async move { walk.next().await.map_err(broken) });
    let pieces = parts.map(move |part| {
        let (frames, codecs) = (Arc::clone(&frames), codecs.clone());
        async move {
            match part? {
                Part::Bytes(bytes) => Ok((false, vec![bytes])),
                Part::Frame(frame) => {
                    let frame = frames.apply(&codecs, frame).await.map_err(broken)?;
                    let too_large = unsupported("a frame is too large for one fragment");
                    let pieces =
                        if encapsulated { reencode::fragment(frame).ok_or(too_large)? } else { vec![frame] };
                    Ok((true, pieces))
                }
            }
        }
    });
    pieces.buffered(AHEAD).boxed()
}

/// A part of the new file, or a frame that is to become one.
enum Part {
    Bytes(Bytes),
    Frame(Bytes),
}

/// One file on its way through.
struct Walk {
    stored: BoxStream<'static, Result<Bytes, blob::Error>>,
    parts: Parts,
    live: LiveInstance,
}

impl Walk {
    /// The next part; `None` behind the last.
    async fn next(mut self) -> Result<Option<(Part, Self)>, Error> {
        let position = self.live.position;
        let damaged = |error: Broken| Error::Read(ReadError::Event(position, error.to_string()));
        loop {
            if let Some(part) = self.parts.found.pop_front() {
                return Ok(Some((part, self)));
            }
            let Some(slice) = self.stored.next().await else {
                self.parts.transcoder.finish().map_err(damaged)?;
                return Ok(None);
            };
            let slice = slice?;
            let mut parts = self.parts;
            let (parts, taken) = if slice.len() <= INLINE_BYTES {
                let taken = parts.take(&slice);
                (parts, taken)
            } else {
                blocking(move || {
                    let taken = parts.take(&slice);
                    (parts, taken)
                })
                .await
            };
            taken.map_err(damaged)?;
            self.parts = parts;
        }
    }
}

/// What a file is taken apart with.
struct Parts {
    transcoder: Transcoder,
    cutter: FrameCutter,
    framed: Arc<Framed>,
    found: VecDeque<Part>,
}

impl Parts {
    fn take(&mut self, slice: &Bytes) -> Result<(), Broken> {
        for piece in self.transcoder.feed(slice)? {
            match piece {
                Piece::Bytes(bytes) => self.found.push_back(Part::Bytes(bytes.into())),
                Piece::Pixels { at, bytes } => {
                    let frames = self.cutter.feed(&self.framed.frames, at, &bytes);
                    self.found.extend(frames.into_iter().map(Part::Frame));
                }
                Piece::PixelsEnd => {
                    let frames = self.cutter.finish(&self.framed.frames);
                    self.found.extend(frames.into_iter().map(Part::Frame));
                    // The index was made of these very bytes.
                    if !self.cutter.is_complete(&self.framed.frames) {
                        return Err(Broken(0));
                    }
                }
            }
        }
        Ok(())
    }
}
