//! Pixels of one frame at a time, decoded and encoded.
//!
//! What is stored as samples and RLE are ours and run on a bounded number of threads; codecs in C run in
//! processes of their own, so that no file can hurt the server.
//!
//! Invariant: a codec sees one frame's bytes, and the size of what comes out was bounded before.
//! Invariant: what all running jobs hold together is bounded; whoever comes too much waits, then is refused.
//! Elsewhere: what can become what (`dicom::pixels::feasible`), where frames lie (`dicom::frames`).

mod native;
pub mod picture;
mod rle;
mod threads;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dicom::pixels::feasible::{Encoding, Family, Unsupported, decoded, encoded};
use crate::dicom::pixels::{Description, Native};

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

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::Unsupported(unsupported.0)
    }
}

/// The codecs. Clones are the same.
#[derive(Clone)]
pub struct Codecs(Arc<Inner>);

struct Inner {
    settings: Settings,
    threads: threads::Threads,
    memory: Arc<Semaphore>,
}

impl Codecs {
    /// Nothing is started before the first frame asks for it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let permits = usize::try_from(settings.in_flight_bytes / PERMIT_BYTES).unwrap_or(usize::MAX);
        let memory = Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        let threads = threads::Threads::new(settings.threads);
        Self(Arc::new(Inner { settings, threads, memory }))
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
        let _room = self.room(frame.len() as u64 + shape.frame_bytes()).await?;
        match family {
            Family::Native => self.on_thread(move || native::decode(&stored.shape, frame)).await,
            Family::Rle => self.on_thread(move || rle::decode(&shape, &frame)).await,
            Family::JpegLossy | Family::JpegLossless | Family::JpegLs | Family::Jpeg2000 => {
                Err(Error::Unsupported("pixels of this transfer syntax cannot be decoded"))
            }
        }
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
        let _room = self.room(frame.bytes.len() as u64 + shape.frame_bytes()).await?;
        let frame = if frame.shape.is_subsampled() {
            self.work(move || native::upsampled(&frame)).await?
        } else {
            frame
        };
        match wanted {
            Encoding::ExplicitLittle => Ok(Bytes::from(frame.bytes)),
            Encoding::Rle => self.work(move || Bytes::from(rle::encode(&frame))).await,
            Encoding::Jpeg2000Lossless | Encoding::JpegLsLossless => {
                Err(Error::Unsupported("pixels cannot be encoded in this transfer syntax"))
            }
        }
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
        Limits { frame_bytes: self.0.settings.frame_bytes }
    }

    /// Ends the processes; whatever is asked afterwards is refused.
    pub async fn stop(&self) {
        self.0.memory.close();
    }

    async fn on_thread(
        &self,
        decode: impl FnOnce() -> Result<Native, Error> + Send + 'static,
    ) -> Result<Native, Error> {
        self.work(decode).await?
    }

    fn fits(&self, shape: &Description) -> Result<(), Error> {
        let (bytes, most) = (shape.frame_bytes(), self.0.settings.frame_bytes);
        if bytes > most { Err(Error::TooLarge { bytes, most }) } else { Ok(()) }
    }

    /// Waits until so many bytes may be held. What is larger than all there is has it alone.
    async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let all = (self.0.settings.in_flight_bytes / PERMIT_BYTES).max(1);
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES).clamp(1, all)).unwrap_or(u32::MAX);
        let acquired = Arc::clone(&self.0.memory).acquire_many_owned(permits);
        match tokio::time::timeout(self.0.settings.queue_wait, acquired).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Stopped("the archive is stopping".to_owned())),
            Err(_) => Err(Error::Busy),
        }
    }
}
