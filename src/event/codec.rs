//! The bytes of a record: a head that every fold reads, and sections that only their readers decode.
//!
//! Layout (`schemas/event.md`): magic `KYMO`, event version u16, section count u8, head length u32; per
//! section kind u8, codec u8, plain length u32, stored length u32; then the head in bincode, then the
//! sections. Numbers are little endian.
//! A section too large for a record lies elsewhere, under its SHA-256, and in the record is what finds it there.
//! Invariant: the same bytes lie in segments and in Kafka; sections are compressed before the append.
//! Invariant: what is read was measured first; a length is never believed before the bytes are there.
//! Elsewhere: what older versions mean (`upcast`), the sections that lie elsewhere (`archive::bodies`).

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use zstd::bulk::{Compressor, Decompressor};

use super::{Head, Section, VERSION, upcast};

const MAGIC: &[u8; 4] = b"KYMO";
const FIXED_BYTES: usize = 11;
const ENTRY_BYTES: usize = 10;
/// Codec, length and SHA-256 of a section that lies elsewhere.
const REFERENCE_BYTES: usize = 37;
/// The first version with sections that lie elsewhere.
const ELSEWHERE_SINCE: u16 = 2;

/// Most bytes of a head. Heads are a few hundred bytes; only long lists of blob keys make large ones.
pub const MAX_HEAD_BYTES: usize = 4 << 20;
/// Most bytes of a section once decoded: metadata of a file at the limit of its non-bulk bytes, as JSON.
pub const MAX_SECTION_BYTES: usize = 1 << 30;
/// Sections below this size stay plain: a small frame costs more than it saves.
const PLAIN_BELOW_BYTES: usize = 256;
const ZSTD_LEVEL: i32 = 1;

/// How a section is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    Plain = 0,
    Zstd = 1,
    /// Its bytes, in one of the others, lie elsewhere.
    Elsewhere = 2,
}

/// What finds a section that lies elsewhere, and says what its bytes must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyRef {
    /// SHA-256 of its bytes as they are stored.
    pub sha256: [u8; 32],
    /// Their number.
    pub length_bytes: usize,
}

/// Where the sections are that do not lie in their events.
pub trait Bodies: fmt::Debug + Send + Sync {
    /// The bytes of a section, compared with their digest. Blocking.
    ///
    /// # Errors
    /// A sentence: they are not there, or are others.
    fn body(&self, body: &BodyRef) -> Result<Bytes, String>;
}

/// Why an event cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A head or section over its limit.
    #[error("the {what} of an event has {length_bytes} bytes, over the limit of {limit_bytes}")]
    TooLarge {
        /// Head or section.
        what: &'static str,
        /// Its length.
        length_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The encoder refused.
    #[error("the event cannot be encoded: {0}")]
    Encoder(String),
}

/// Why bytes are no event for us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not written by a Kymo: the record takes a position and is passed over.
    #[error("the record is not an event of a Kymo archive")]
    Foreign,
    /// Written by a newer Kymo.
    #[error(
        "the event has version {found}, and this program reads versions up to {known}: install a newer \
         Kymo, or go back to the one that wrote it"
    )]
    FromTheFuture {
        /// Its version.
        found: u16,
        /// The newest known here.
        known: u16,
    },
    /// One of ours that cannot be read.
    #[error("the event cannot be read: {0}")]
    Broken(String),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u8,
    codec: u8,
    plain: usize,
    start: usize,
    stored: usize,
}

/// A decoded head with its sections still encoded.
#[derive(Clone, Debug)]
pub struct Event {
    /// The head.
    pub head: Head,
    entries: Vec<Entry>,
    bytes: Bytes,
    bodies: Option<Arc<dyn Bodies>>,
}

/// Sections encoded ahead of the head, so that they can wait for it outside of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    count: u8,
    table: Vec<u8>,
    bytes: Vec<u8>,
}

impl Sections {
    /// Adds a section.
    ///
    /// # Errors
    /// [`EncodeError`] when it is over [`MAX_SECTION_BYTES`].
    pub fn push(&mut self, kind: Section, plain: &[u8]) -> Result<(), EncodeError> {
        if plain.len() > MAX_SECTION_BYTES {
            return Err(too_large("section", plain.len(), MAX_SECTION_BYTES));
        }
        let start = self.bytes.len();
        let mut codec = Codec::Plain;
        if plain.len() >= PLAIN_BELOW_BYTES {
            let packed = compress(plain).map_err(|error| EncodeError::Encoder(error.to_string()))?;
            if packed.len() < plain.len() {
                codec = Codec::Zstd;
                self.bytes.extend_from_slice(&packed);
            }
        }
        if codec == Codec::Plain {
            self.bytes.extend_from_slice(plain);
        }
        let stored = self.bytes.len() - start;
        self.enter(kind as u8, codec as u8, plain.len(), stored);
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all of them as they are stored.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The same with the largest sections elsewhere, until what stays has `room_bytes` at most; and those
    /// sections. Sections that are no larger than what would stand for them stay.
    #[must_use]
    pub fn elsewhere(&self, room_bytes: usize) -> (Self, Vec<(BodyRef, Bytes)>) {
        let mut start = 0;
        let mut parts: Vec<(Entry, Vec<u8>)> = Vec::with_capacity(usize::from(self.count));
        for entry in self.table.chunks_exact(ENTRY_BYTES) {
            let length = |at| read_u32(entry, at).expect("an entry has its lengths");
            let (plain, stored) = (length(2), length(6));
            let entry = Entry { kind: entry[0], codec: entry[1], plain, start, stored };
            parts.push((entry, self.bytes[start..start + stored].to_vec()));
            start += stored;
        }
        let mut bodies = Vec::new();
        let mut total = self.bytes.len();
        while total > room_bytes {
            let movable = |(entry, _): &&mut (Entry, Vec<u8>)| {
                entry.codec != Codec::Elsewhere as u8 && entry.stored > REFERENCE_BYTES
            };
            let Some((entry, bytes)) = parts.iter_mut().filter(movable).max_by_key(|(entry, _)| entry.stored)
            else {
                break;
            };
            let body = BodyRef { sha256: Sha256::digest(&bytes).into(), length_bytes: entry.stored };
            let mut reference = Vec::with_capacity(REFERENCE_BYTES);
            reference.put_u8(entry.codec);
            reference.put_u32_le(length(entry.stored));
            reference.put_slice(&body.sha256);
            total = total - entry.stored + REFERENCE_BYTES;
            (entry.codec, entry.stored) = (Codec::Elsewhere as u8, REFERENCE_BYTES);
            bodies.push((body, std::mem::replace(bytes, reference).into()));
        }
        let mut sections = Self::default();
        for (entry, bytes) in parts {
            sections.enter(entry.kind, entry.codec, entry.plain, bytes.len());
            sections.bytes.extend_from_slice(&bytes);
        }
        (sections, bodies)
    }

    fn enter(&mut self, kind: u8, codec: u8, plain: usize, stored: usize) {
        self.count += 1;
        self.table.put_u8(kind);
        self.table.put_u8(codec);
        self.table.put_u32_le(length(plain));
        self.table.put_u32_le(length(stored));
    }

    /// The oldest version whose readers understand these sections.
    #[must_use]
    pub fn version(&self) -> u16 {
        let elsewhere = self.table.chunks_exact(ENTRY_BYTES).any(|entry| entry[1] == Codec::Elsewhere as u8);
        if elsewhere { ELSEWHERE_SINCE } else { 1 }
    }

    /// Table and bytes in one piece, for a while outside of memory.
    #[must_use]
    pub fn freeze(&self) -> Vec<u8> {
        let mut whole = vec![self.count];
        whole.extend_from_slice(&self.table);
        whole.extend_from_slice(&self.bytes);
        whole
    }

    /// Reads [`Self::freeze`].
    ///
    /// # Errors
    /// [`DecodeError::Broken`]
    pub fn thaw(whole: &[u8]) -> Result<Self, DecodeError> {
        let broken = || DecodeError::Broken("frozen sections are cut off".to_owned());
        let (&count, rest) = whole.split_first().ok_or_else(broken)?;
        let table_bytes = usize::from(count) * ENTRY_BYTES;
        if rest.len() < table_bytes {
            return Err(broken());
        }
        let (table, bytes) = rest.split_at(table_bytes);
        Ok(Self { count, table: table.to_vec(), bytes: bytes.to_vec() })
    }
}

/// Encodes an event, of the oldest version that has all it needs.
///
/// # Errors
/// [`EncodeError`] when the head is over [`MAX_HEAD_BYTES`].
pub fn encode(head: &Head, sections: &Sections) -> Result<Bytes, EncodeError> {
    let head_bytes = bincode::serde::encode_to_vec(head, bincode::config::standard())
        .map_err(|error| EncodeError::Encoder(error.to_string()))?;
    if head_bytes.len() > MAX_HEAD_BYTES {
        return Err(too_large("head", head_bytes.len(), MAX_HEAD_BYTES));
    }
    let total = FIXED_BYTES + sections.table.len() + head_bytes.len() + sections.bytes.len();
    let mut record = BytesMut::with_capacity(total);
    record.put_slice(MAGIC);
    record.put_u16_le(sections.version().max(head.payload.version()));
    record.put_u8(sections.count);
    record.put_u32_le(length(head_bytes.len()));
    record.put_slice(&sections.table);
    record.put_slice(&head_bytes);
    record.put_slice(&sections.bytes);
    Ok(record.freeze())
}

/// Decodes the head of a record and finds its sections.
///
/// # Errors
/// [`DecodeError`]
pub fn decode(bytes: Bytes) -> Result<Event, DecodeError> {
    if bytes.len() < FIXED_BYTES || &bytes[..4] != MAGIC {
        return Err(DecodeError::Foreign);
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version > VERSION || version == 0 {
        return Err(DecodeError::FromTheFuture { found: version, known: VERSION });
    }
    let broken = |what: &str| DecodeError::Broken(what.to_owned());
    let head_length = read_u32(&bytes, 7).ok_or_else(|| broken("cut off"))?;
    let head_start = FIXED_BYTES + usize::from(bytes[6]) * ENTRY_BYTES;
    let mut start = head_start + head_length;
    if head_length > MAX_HEAD_BYTES || start > bytes.len() {
        return Err(broken("the head is cut off"));
    }
    let mut entries = Vec::with_capacity(usize::from(bytes[6]));
    for at in (FIXED_BYTES..head_start).step_by(ENTRY_BYTES) {
        let plain = read_u32(&bytes, at + 2).ok_or_else(|| broken("cut off"))?;
        let stored = read_u32(&bytes, at + 6).ok_or_else(|| broken("cut off"))?;
        if plain > MAX_SECTION_BYTES || stored > bytes.len() - start {
            return Err(broken("a section is cut off"));
        }
        entries.push(Entry { kind: bytes[at], codec: bytes[at + 1], plain, start, stored });
        start += stored;
    }
    if start != bytes.len() {
        return Err(broken("bytes follow the last section"));
    }
    let head = upcast::head(version, &bytes[head_start..head_start + head_length])?;
    Ok(Event { head, entries, bytes, bodies: None })
}

/// Whether a record may be an event with sections that lie elsewhere: cheap, and sure when it says no.
#[must_use]
pub fn may_have_bodies(record: &[u8]) -> bool {
    record.get(4..6).is_some_and(|version| u16::from_le_bytes([version[0], version[1]]) >= ELSEWHERE_SINCE)
}

impl Event {
    /// Bytes of a section once decoded; 0 if the event does not have it.
    #[must_use]
    pub fn section_bytes(&self, section: Section) -> usize {
        self.entries.iter().find(|entry| entry.kind == section as u8).map_or(0, |entry| entry.plain)
    }

    /// The same event, which now finds its sections that lie elsewhere.
    #[must_use]
    pub fn with_bodies(self, bodies: &Arc<dyn Bodies>) -> Self {
        Self { bodies: Some(Arc::clone(bodies)), ..self }
    }

    /// Whether any section lies elsewhere.
    #[must_use]
    pub fn has_bodies(&self) -> bool {
        self.entries.iter().any(|entry| entry.codec == Codec::Elsewhere as u8)
    }

    /// The sections that lie elsewhere.
    ///
    /// # Errors
    /// [`DecodeError::Broken`]
    pub fn bodies(&self) -> Result<Vec<BodyRef>, DecodeError> {
        let elsewhere = self.entries.iter().filter(|entry| entry.codec == Codec::Elsewhere as u8);
        elsewhere.map(|entry| self.reference(entry).map(|(_, body)| body)).collect()
    }

    /// The codec of a section that lies elsewhere, and where it is.
    fn reference(&self, entry: &Entry) -> Result<(u8, BodyRef), DecodeError> {
        let bytes = &self.bytes[entry.start..entry.start + entry.stored];
        match (bytes, read_u32(bytes, 1)) {
            ([codec, _, _, _, _, sha256 @ ..], Some(length_bytes)) if sha256.len() == 32 => {
                let sha256 = *sha256.first_chunk().expect("its length was compared");
                Ok((*codec, BodyRef { sha256, length_bytes }))
            }
            _ => Err(DecodeError::Broken(format!("section {} lies nowhere", entry.kind))),
        }
    }

    /// The decoded bytes of a section, if the event has it. Blocking where it lies elsewhere.
    ///
    /// # Errors
    /// [`DecodeError`] when its codec is unknown here or its bytes do not decode to the length given.
    pub fn section(&self, section: Section) -> Result<Option<Bytes>, DecodeError> {
        let Some(entry) = self.entries.iter().find(|entry| entry.kind == section as u8) else {
            return Ok(None);
        };
        let broken = |what: String| DecodeError::Broken(format!("section {}: {what}", entry.kind));
        let (codec, stored) = if entry.codec == Codec::Elsewhere as u8 {
            let (codec, body) = self.reference(entry)?;
            let bodies = self.bodies.as_ref().ok_or_else(|| broken("it lies elsewhere".to_owned()))?;
            (codec, bodies.body(&body).map_err(broken)?)
        } else {
            (entry.codec, self.bytes.slice(entry.start..entry.start + entry.stored))
        };
        let plain = match codec {
            codec if codec == Codec::Plain as u8 => stored,
            codec if codec == Codec::Zstd as u8 => decompress(&stored, entry.plain)
                .map(Bytes::from)
                .map_err(|error| broken(error.to_string()))?,
            codec => {
                return Err(broken(format!("codec {codec} is not known to this program")));
            }
        };
        if plain.len() != entry.plain {
            return Err(broken("it has another length".to_owned()));
        }
        Ok(Some(plain))
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.bytes.len()
    }
}

thread_local! {
    // A context costs several times what a section of a few kilobytes does, so each thread keeps its own.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(plain),
        None => kept.insert(Compressor::new(ZSTD_LEVEL)?).compress(plain),
    })
}

fn decompress(stored: &[u8], plain_bytes: usize) -> std::io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(stored, plain_bytes),
        None => kept.insert(Decompressor::new()?).decompress(stored, plain_bytes),
    })
}

fn too_large(what: &'static str, length_bytes: usize, limit_bytes: usize) -> EncodeError {
    EncodeError::TooLarge { what, length_bytes, limit_bytes }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("heads and sections have limits far below 4 GiB")
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

#[cfg(test)]
mod tests;
