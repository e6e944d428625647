//! One frame of one instance as a picture's file.
//!
//! What can be found out without pixels is found out first ([`Plan`]).
//! Invariant: what all pictures that are being made hold together is bounded; whoever comes too much waits, then
//! is refused.
//! Elsewhere: what the client wants (`wish`), the making itself (`dicom::render`, `codecs::picture`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::wish::{BESIDE, Wish};
use crate::archive::{Framed, LiveInstance};
use crate::blob;
use crate::codecs::{self, Stored, picture};
use crate::dicom::byte_order::Turner;
use crate::dicom::pixels::{Description, feasible};
use crate::dicom::render::{self, Attributes, Colour, MOST_TABLE_BYTES, Placed};
use crate::dicom::scan::BulkElement;
use crate::http::error::Error;
use crate::http::studies::one_frame;
use crate::http::studies::transcoded::PIXELS;
use crate::http::studies::values::Values;
use crate::http::{App, blocking};

const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// Metadata above this are read where that stops nobody else.
const INLINE_METADATA_BYTES: usize = 32 << 10;
/// What a permit stands for.
const PERMIT_BYTES: u64 = 1 << 10;
/// Longest wait for room.
const ROOM_WAIT: Duration = Duration::from_secs(20);

/// Room for what is in the making.
pub(super) struct Room {
    free: Arc<Semaphore>,
    permits: u32,
}

impl Room {
    /// For so many bytes.
    pub(super) fn of(bytes: u64) -> Self {
        let permits = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).max(1);
        let all = usize::try_from(permits).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), permits }
    }

    /// What is larger than all there is has it alone.
    async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).min(self.permits);
        let taken = Arc::clone(&self.free).acquire_many_owned(permits);
        match tokio::time::timeout(ROOM_WAIT, taken).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(codecs::Error::Busy.into()),
        }
    }
}

/// A frame that is there.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) live: LiveInstance,
    pub(super) framed: Arc<Framed>,
    pub(super) number: u32,
}

/// How a frame becomes what is wanted.
pub(super) struct Plan {
    shape: Description,
    attributes: Attributes,
    bulk: Vec<BulkElement>,
    placed: Option<Placed>,
    wish: Wish,
    /// Of the decoded frame and its pictures.
    bytes: u64,
}

fn not_acceptable(why: &'static str) -> Error {
    Error::NotAcceptable(why)
}

impl Chosen {
    /// Finds out whether the wish can be granted.
    ///
    /// # Errors
    /// 406 for what cannot be decoded or is too large, 400 for a part beside the image.
    pub(super) async fn plan(&self, app: &App, wish: Wish) -> Result<Plan, Error> {
        if self.live.file.length_bytes > app.settings.transcode_bytes {
            return Err(not_acceptable("the file is larger than those that are rendered"));
        }
        let (metadata, bulk) = app.archive.metadata_and_bulk(self.live.position).await?;
        if bulk.iter().any(|element| matches!(element.path.as_str(), "7FE00008" | "7FE00009")) {
            return Err(not_acceptable("pixels that are no whole numbers are not rendered"));
        }
        let (number, large) = (self.number, metadata.len() > INLINE_METADATA_BYTES);
        let read = move || -> Result<_, Error> {
            let shape = Description::of_metadata(&metadata).map_err(|bad| not_acceptable(bad.0))?;
            let attributes = Attributes::of_metadata(&metadata, shape.photometric, number);
            Ok((shape, attributes.map_err(|bad| not_acceptable(bad.0))?))
        };
        let (shape, attributes) = if large { blocking(read).await } else { read() }?;
        let decoded = feasible::decoded(&self.live.transfer_syntax, &shape);
        let decoded = decoded.map_err(|unsupported| not_acceptable(unsupported.0))?;
        let (width, height) = (u32::from(shape.columns), u32::from(shape.rows));
        let placed = wish.viewport.map(|viewport| viewport.place(width, height).ok_or(BESIDE)).transpose()?;
        let most = app.codecs.limits().frame_bytes;
        let (frame, own) = (decoded.frame_bytes(), picture_bytes(&decoded, None));
        let sent = placed.as_ref().map_or(0, |placed| picture_bytes(&decoded, Some(placed)));
        let largest = frame.max(own).max(sent);
        if largest > most {
            return Err(codecs::Error::TooLarge { bytes: largest, most }.into());
        }
        let (attributes, bytes) = (attributes.with(wish.window), frame + own + sent);
        Ok(Plan { shape, attributes, bulk, placed, wish, bytes })
    }

    /// The file of the picture.
    ///
    /// # Errors
    /// 406 when the frame or a table cannot be read as what it should be.
    pub(super) async fn picture(&self, app: &App, plan: Plan) -> Result<Bytes, Error> {
        let Plan { shape, attributes, bulk, placed, wish, bytes } = plan;
        let room = app.pictures.room.take(bytes).await?;
        let inflated = self.framed.frames.inflated();
        let values = Values::of(app.archive.blobs(), self.framed.at.clone(), inflated);
        let big_endian = self.live.transfer_syntax == EXPLICIT_BIG_ENDIAN;
        let mut tables = HashMap::new();
        for path in attributes.tables() {
            let Some(element) = bulk.iter().rev().find(|element| element.path == path) else { continue };
            let length = element.length.min(MOST_TABLE_BYTES);
            let range = element.offset..element.offset + length;
            let values = turned(values.clone(), big_endian.then_some(element.vr), range.clone());
            tables.insert(path, whole(&values, range).await?);
        }
        let pixels = bulk.iter().rev().find(|element| PIXELS.contains(&element.path.as_str()));
        let values = match pixels.filter(|_| big_endian) {
            Some(pixels) => {
                let vr = words_of(pixels.vr, shape.bits_allocated);
                turned(values, Some(vr), pixels.offset..pixels.offset + pixels.length)
            }
            None => values,
        };
        let most = app.codecs.limits().frame_bytes;
        let frame = one_frame::frame_bytes(&values, &self.framed, self.number, most).await?;
        let stored = Stored { syntax: &self.live.transfer_syntax, shape };
        let native = app.codecs.decode(stored, frame).await?;
        let file = app.codecs.work(move || {
            // Until all is done, also if nobody waits for it any more.
            let _room = room;
            let look = attributes.look(&native.shape, &tables).map_err(|bad| bad.0)?;
            let mut picture = render::render(&native, &look).map_err(|bad| bad.0)?;
            drop(native);
            if let Some(placed) = &placed {
                picture = picture::resized(&picture, placed).map_err(|bad| bad.0)?;
            }
            picture::encoded(&picture, wish.form).map_err(|bad| bad.0)
        });
        Ok(file.await?.map_err(not_acceptable)?.into())
    }
}

/// Bytes of the picture of a frame, in its own size or placed.
fn picture_bytes(shape: &Description, placed: Option<&Placed>) -> u64 {
    let pixels = placed.map_or(shape.pixels(), |placed| u64::from(placed.width) * u64::from(placed.height));
    pixels * Colour::of(shape.photometric).samples() as u64
}

/// Samples of 32 bits and more are turned as a whole, although their VR has words of 16.
fn words_of(vr: [u8; 2], bits_allocated: u8) -> [u8; 2] {
    match (&vr, bits_allocated) {
        (b"OW", 32) => *b"OL",
        (b"OW", 64) => *b"OV",
        _ => vr,
    }
}

/// In little endian, if the element has the words of this VR in big endian.
fn turned(values: Values, big_endian: Option<[u8; 2]>, element: Range<u64>) -> Values {
    match big_endian.and_then(Turner::of_big_endian) {
        Some(turner) => values.turned(element, turner),
        None => values,
    }
}

async fn whole(values: &Values, range: Range<u64>) -> Result<Vec<u8>, blob::Error> {
    let pieces = values.read(range).await?;
    let into = |mut whole: Vec<u8>, piece: Bytes| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    };
    pieces.try_fold(Vec::new(), into).await
}
