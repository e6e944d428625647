//! Sections of events that are too large for a record: in the blob store for all nodes, and a copy here.
//!
//! They are part of the log: under `kymo/{log}/bodies/{SHA-256}` beside the lake, never swept, durable there
//! and here before the event is appended. The copy here is what is read, so that a rebuild needs no store.
//!
//! Invariant: the fold passes an event only when all its bodies lie here, however long that takes.
//! Invariant: no body is handed out that does not have its digest.
//! Elsewhere: which sections lie outside of their event (`event::codec`), keys and files (`blob`).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::state::Meta;
use super::{Archive, Inner, SubmitError};
use crate::blob::{self, Blobs};
use crate::event::Payload;
use crate::event::codec::{self, Bodies, BodyRef, Event, Sections};
use crate::log::Record;

/// The copies of this node.
#[derive(Debug)]
pub(super) enum Here {
    /// Files of a folder, named by their digest.
    Folder { folder: PathBuf, next: AtomicU64 },
    /// For a node that keeps nothing on disk.
    Memory(Mutex<HashMap<[u8; 32], Bytes>>),
}

impl Here {
    /// Opens (creates) the folder, if there is to be one.
    pub(super) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let Some(folder) = folder else { return Ok(Self::Memory(Mutex::default())) };
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self::Folder { folder: folder.to_owned(), next: AtomicU64::new(0) })
    }

    /// Whether a copy of the right length is here.
    fn has(&self, body: &BodyRef) -> bool {
        match self {
            Self::Memory(bodies) => bodies.lock().contains_key(&body.sha256),
            Self::Folder { folder, .. } => fs::metadata(folder.join(hex::encode(body.sha256)))
                .is_ok_and(|found| found.len() == body.length_bytes as u64),
        }
    }

    /// Keeps a copy, durably. Blocking.
    fn keep(&self, body: &BodyRef, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Memory(bodies) => drop(bodies.lock().insert(body.sha256, bytes)),
            Self::Folder { folder, next } => {
                let new = folder.join(format!("{}.new", next.fetch_add(1, Ordering::Relaxed)));
                let mut file = File::create(&new)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&new, folder.join(hex::encode(body.sha256)))?;
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(())
    }
}

impl Bodies for Here {
    fn body(&self, body: &BodyRef) -> Result<Bytes, String> {
        let name = hex::encode(body.sha256);
        let (bytes, path) = match self {
            Self::Memory(bodies) => (bodies.lock().get(&body.sha256).cloned(), None),
            Self::Folder { folder, .. } => {
                let path = folder.join(&name);
                (fs::read(&path).ok().map(Bytes::from), Some(path))
            }
        };
        let bytes = bytes.ok_or_else(|| format!("the body {name} is not here"))?;
        if has_digest(&bytes, body) {
            return Ok(bytes);
        }
        if let Some(path) = path {
            // So that it is fetched anew.
            drop(fs::remove_file(path));
        }
        Err(format!("the copy of the body {name} here is not what was written"))
    }
}

fn has_digest(bytes: &[u8], body: &BodyRef) -> bool {
    bytes.len() == body.length_bytes && Sha256::digest(bytes)[..] == body.sha256
}

fn key_of(log: Uuid, body: &BodyRef) -> String {
    format!("kymo/{log}/bodies/{}", hex::encode(body.sha256))
}

/// The body as it lies in the blob store.
async fn stored(blobs: &Blobs, log: Uuid, body: &BodyRef) -> Result<Bytes, blob::Error> {
    let key = key_of(log, body);
    let bytes = blobs.whole(&key, body.length_bytes as u64).await?;
    let body = *body;
    let (bytes, right) = blocking(move || {
        let right = has_digest(&bytes, &body);
        (bytes, right)
    })
    .await?;
    if right {
        Ok(bytes)
    } else {
        Err(blob::Error::Changed { key, what: "it has another SHA-256".to_owned() })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, blob::Error> {
    tokio::task::spawn_blocking(work).await.map_err(|lost| blob::Error::Unavailable(lost.to_string()))
}

impl Inner {
    /// The log's name, once its first record is folded.
    pub(super) fn log_name(&self) -> Result<Option<Uuid>, crate::tables::Error> {
        Ok(Meta::load(&self.parts.state.reader())?.log)
    }

    /// Fetches what is not here yet of the bodies of an event.
    pub(super) async fn bring(&self, log: Uuid, event: &Event) -> Result<(), blob::Error> {
        let bodies = event.bodies().map_err(|error| blob::Error::Unavailable(error.to_string()))?;
        for body in bodies.into_iter().filter(|body| !self.bodies.has(body)) {
            let bytes = stored(&self.parts.blobs, log, &body).await?;
            self.keep_here(body, bytes).await?;
        }
        Ok(())
    }

    async fn keep_here(&self, body: BodyRef, bytes: Bytes) -> Result<(), blob::Error> {
        let here = Arc::clone(&self.bodies);
        let kept = blocking(move || here.keep(&body, bytes)).await?;
        kept.map_err(|error| blob::Error::Unavailable(format!("the folder of large sections: {error}")))
    }

    /// The bodies of all events of a run are here when this answers well.
    pub(super) async fn bring_all(&self, run: &[Record]) -> Result<(), blob::Error> {
        let events = run.iter().filter(|record| codec::may_have_bodies(&record.bytes));
        // One that cannot be decoded stops the fold, with its place.
        let events = events.filter_map(|record| codec::decode(record.bytes.clone()).ok());
        let events: Vec<Event> = events.filter(Event::has_bodies).collect();
        if events.is_empty() {
            return Ok(());
        }
        let known = self.log_name().map_err(|error| blob::Error::Unavailable(error.to_string()))?;
        let named = known.or_else(|| run.iter().find_map(name_in));
        let log = named.ok_or_else(|| blob::Error::Unavailable("the log has no name".to_owned()))?;
        for event in events {
            self.bring(log, &event).await?;
        }
        Ok(())
    }
}

/// The log's name, if this is its first record.
fn name_in(record: &Record) -> Option<Uuid> {
    match codec::decode(record.bytes.clone()).ok()?.head.payload {
        Payload::LogCreated { log } => Some(log),
        _ => None,
    }
}

impl Archive {
    /// The event of a record, which finds its sections wherever they lie.
    ///
    /// # Errors
    /// [`codec::DecodeError`]
    pub fn decode(&self, record: Bytes) -> Result<Event, codec::DecodeError> {
        let bodies = Arc::clone(&self.0.bodies) as Arc<dyn Bodies>;
        codec::decode(record).map(|event| event.with_bodies(&bodies))
    }

    /// Makes so many sections durable elsewhere that what stays has `room_bytes`; gives what stays.
    pub(super) async fn put_elsewhere(
        &self,
        sections: &Sections,
        room_bytes: usize,
    ) -> Result<Sections, SubmitError> {
        let (sections, bodies) = sections.elsewhere(room_bytes);
        let meta = Meta::load(&self.0.parts.state.reader())?;
        let unnamed = || SubmitError::Unavailable("the log has no name yet".to_owned());
        let log = meta.log.ok_or_else(unnamed)?;
        if !bodies.is_empty() {
            self.enable_format(sections.version()).await?;
        }
        for (body, bytes) in bodies {
            if !self.0.bodies.has(&body) {
                self.0.keep_here(body, bytes.clone()).await?;
            }
            self.0.parts.blobs.keep(&key_of(log, &body), bytes).await?;
        }
        Ok(sections)
    }

    /// Compares the bodies of an event, in the blob store and here, with their digests: for `verify`.
    ///
    /// # Errors
    /// A sentence about the first that is missing or wrong.
    pub async fn verify_bodies(&self, event: &Event) -> Result<(), String> {
        for body in event.bodies().map_err(|error| error.to_string())? {
            let log = self.0.log_name().map_err(|error| error.to_string())?.unwrap_or_default();
            stored(&self.0.parts.blobs, log, &body).await.map_err(|error| error.to_string())?;
            let here = Arc::clone(&self.0.bodies);
            blocking(move || here.body(&body)).await.map_err(|error| error.to_string())??;
        }
        Ok(())
    }
}
