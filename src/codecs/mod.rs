//! Pixels of one frame at a time, decoded and encoded.
//!
//! What is stored as samples and RLE are ours and run on a bounded number of threads; codecs in C run in
//! processes of their own, so that no file can hurt the server.
//!
//! Invariant: a codec sees one frame's bytes, and the size of what comes out was bounded before.
//! Invariant: what all running jobs hold together is bounded; whoever comes too much waits, then is refused.
//! Elsewhere: what can become what (`dicom::pixels::feasible`), where frames lie (`dicom::frames`).

mod foreign;
mod headers;
mod native;
pub mod picture;
mod pool;
mod rle;
mod samples;
mod threads;
mod wire;
pub mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dicom::pixels::feasible::{Encoding, Family, Unsupported, decoded, encoded};
use crate::dicom::pixels::{Description, Native, Photometric};
use pool::{Job, Pool};
use wire::{Codec, Operation, Request, Shape};

/// A lossless stream of noise is longer than its samples, but never twice as long; small ones have headers.
const STREAM_BYTES: u64 = 64 << 10;
/// What a permit for memory stands for.
const PERMIT_BYTES: u64 = 1 << 10;

/// How pixels are worked on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that is started as a codec's process.
    pub program: PathBuf,
    /// Most such processes; without any, compressed pixels are not decoded.
    pub children: usize,
    /// Most memory of one of them.
    pub memory_bytes: u64,
    /// Longest time for one frame.
    pub time: Duration,
    /// Most frames that wait for one of them.
    pub queue: usize,
    /// Longest wait for one.
    pub queue_wait: Duration,
    /// Largest decoded frame.
    pub frame_bytes: u64,
    /// Most bytes of all frames that are worked on.
    pub in_flight_bytes: u64,
    /// Threads for work of our own.
    pub threads: usize,
}

/// How a frame is stored.
#[derive(Clone, Debug)]
pub struct Stored<'a> {
    /// Its transfer syntax.
    pub syntax: &'a str,
    /// What the attributes say.
    pub shape: Description,
}

/// What is never exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest decoded frame.
    pub frame_bytes: u64,
    /// Most bytes of all frames that are worked on.
    pub in_flight_bytes: u64,
}

/// Why there are no pixels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing decodes or encodes such pixels.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The frame's bytes are not what they should be.
    #[error("its pixels cannot be decoded: {0}")]
    Corrupt(String),
    /// The frame is over the limit.
    #[error("a frame of {bytes} bytes is larger than the {most} that are decoded")]
    TooLarge {
        /// Decoded.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// The codec broke down on these bytes.
    #[error("its pixels cannot be decoded: the codec broke down")]
    Died,
    /// The codec took too long.
    #[error("its pixels cannot be decoded in time")]
    TimedOut,
    /// Too many frames are being worked on.
    #[error("too many frames are being worked on")]
    Busy,
    /// There is no codec to be had.
    #[error("the codecs cannot be used: {0}")]
    Stopped(String),
}

/// How the codecs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Ids of the processes there are.
    pub processes: Vec<u32>,
    /// How many of them are at work.
    pub busy: usize,
    /// Frames that wait for one.
    pub waiting: usize,
    /// Processes that broke down or were killed.
    pub restarts: u64,
    /// Why no process can be started, if so.
    pub trouble: Option<String>,
}

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::Unsupported(unsupported.0)
    }
}

/// The codecs. Clones are the same.
#[derive(Clone)]
pub struct Codecs(Arc<Inner>);

/// Memory for one job, held until it is over.
struct Room(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

struct Inner {
    settings: Settings,
    threads: threads::Threads,
    pool: Pool,
    memory: Arc<Semaphore>,
}

impl Codecs {
    /// Nothing is started before the first frame asks for it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let permits = usize::try_from(settings.in_flight_bytes / PERMIT_BYTES).unwrap_or(usize::MAX);
        let memory = Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        let threads = threads::Threads::new(settings.threads);
        let pool = Pool::new(settings.clone());
        Self(Arc::new(Inner { settings, threads, pool, memory }))
    }

    /// The samples of one stored frame. Those stored natively come in little endian, bit-packed ones from the
    /// first bit of a byte on.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn decode(&self, stored: Stored<'_>, frame: Bytes) -> Result<Native, Error> {
        let shape = decoded(stored.syntax, &stored.shape)?;
        self.fits(&shape)?;
        let family = Family::of(stored.syntax).expect("what can be decoded has a family");
        let room = self.room(frame.len() as u64 + shape.frame_bytes()).await?;
        let codec = match family {
            Family::Native => {
                return self.holding(room, move || native::decode(&stored.shape, frame)).await?;
            }
            Family::Rle => return self.holding(room, move || rle::decode(&shape, &frame)).await?,
            Family::JpegLossy | Family::JpegLossless => Codec::TurboJpeg,
            Family::JpegLs => Codec::CharLs,
            Family::Jpeg2000 => Codec::OpenJpeg,
        };
        let (announced, frame) = headers::checked(family, frame, &stored.shape)?;
        let request = Request {
            by_plane: announced.by_plane,
            precision: announced.precision,
            most_bytes: shape.frame_bytes(),
            ..request(Operation::Decode, codec, &shape)
        };
        let bytes = self.0.pool.run(Job { request, frame, room }).await?;
        if bytes.len() as u64 != shape.frame_bytes() {
            return Err(Error::Corrupt("another number of samples than its attributes say".to_owned()));
        }
        Ok(Native { shape, bytes })
    }

    /// The bytes of one frame in `wanted`, of an even length unless that is native.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn encode(&self, frame: Native, wanted: Encoding) -> Result<Bytes, Error> {
        let shape = encoded(&frame.shape, wanted)?;
        if wanted == Encoding::ExplicitLittle {
            return Ok(Bytes::from(frame.bytes));
        }
        self.fits(&shape)?;
        let room = self.room(frame.bytes.len() as u64 + shape.frame_bytes()).await?;
        let (room, frame) = if frame.shape.is_subsampled() {
            self.work(move || (room, native::upsampled(&frame))).await?
        } else {
            (room, frame)
        };
        let codec = match wanted {
            Encoding::ExplicitLittle => return Ok(Bytes::from(frame.bytes)),
            Encoding::Rle => {
                return self.holding(room, move || Bytes::from(rle::encode(&frame))).await;
            }
            Encoding::Jpeg2000Lossless => Codec::OpenJpeg,
            Encoding::JpegLsLossless => Codec::CharLs,
        };
        let right = frame.shape.high_bit + 1 == frame.shape.bits_stored;
        let request = Request {
            transform: frame.shape.photometric == Photometric::Rgb,
            precision: if right { frame.shape.bits_stored } else { frame.shape.bits_allocated },
            most_bytes: 2 * frame.bytes.len() as u64 + STREAM_BYTES,
            ..request(Operation::Encode, codec, &frame.shape)
        };
        let mut bytes = self.0.pool.run(Job { request, frame: Bytes::from(frame.bytes), room }).await?;
        if !bytes.len().is_multiple_of(2) {
            bytes.push(0);
        }
        Ok(Bytes::from(bytes))
    }

    /// Other work on pixels, on one of the threads for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it panics, [`Error::Busy`] when the threads stay busy.
    pub async fn work<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.0.threads.run(self.0.settings.queue_wait, run).await
    }

    /// What is never exceeded.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Settings { frame_bytes, in_flight_bytes, .. } = self.0.settings;
        Limits { frame_bytes, in_flight_bytes }
    }

    /// How they are.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.pool.status()
    }

    /// Ends the processes; whatever is asked afterwards is refused.
    pub async fn stop(&self) {
        self.0.memory.close();
        self.0.pool.stop().await;
    }

    /// Work that holds memory until it has ended, even if nobody waits for it any more.
    async fn holding<T: Send + 'static>(
        &self,
        room: Room,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let held = move || {
            let _room = room;
            run()
        };
        self.work(held).await
    }

    fn fits(&self, shape: &Description) -> Result<(), Error> {
        let (bytes, most) = (shape.frame_bytes(), self.0.settings.frame_bytes);
        if bytes > most { Err(Error::TooLarge { bytes, most }) } else { Ok(()) }
    }

    /// Waits until so many bytes may be held. What is larger than all there is has it alone.
    async fn room(&self, bytes: u64) -> Result<Room, Error> {
        let all = (self.0.settings.in_flight_bytes / PERMIT_BYTES).max(1);
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES).clamp(1, all)).unwrap_or(u32::MAX);
        let acquired = Arc::clone(&self.0.memory).acquire_many_owned(permits);
        match tokio::time::timeout(self.0.settings.queue_wait, acquired).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) => Err(Error::Stopped("the archive is stopping".to_owned())),
            Err(_) => Err(Error::Busy),
        }
    }
}

/// A request for a frame of this shape; the pool gives it its number.
fn request(operation: Operation, codec: Codec, shape: &Description) -> Request {
    Request {
        operation,
        codec,
        shape: Shape {
            rows: shape.rows,
            columns: shape.columns,
            samples: shape.samples,
            bits_allocated: shape.bits_allocated,
            bits_stored: shape.bits_stored,
            signed: shape.signed,
        },
        transform: false,
        by_plane: false,
        precision: shape.bits_stored,
        most_bytes: 0,
        body_bytes: 0,
        job: 0,
    }
}
