//! Encoded sections of the parts of one request, outside of memory once they are many.
//!
//! Invariant: what is kept goes with the request; nothing of it has a name on disk.
//! Elsewhere: what the sections hold (`derive`), when they are appended (`ingest`).

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use tempfile::SpooledTempFile;

/// Encoded sections of the parts of a request, in memory while they are small.
pub(super) struct Spool {
    file: SpooledTempFile,
    end: u64,
}

/// Where some of it lies.
#[derive(Clone, Copy)]
pub(super) struct SpoolRange {
    start: u64,
    length: usize,
}

impl Spool {
    /// Empty; beyond so many bytes it goes to a file.
    pub(super) fn new(memory_bytes: usize) -> Self {
        Self { file: SpooledTempFile::new(memory_bytes), end: 0 }
    }

    /// Keeps bytes, and says where.
    pub(super) fn push(&mut self, bytes: &[u8]) -> std::io::Result<SpoolRange> {
        let range = SpoolRange { start: self.end, length: bytes.len() };
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytes)?;
        self.end += bytes.len() as u64;
        Ok(range)
    }

    /// The bytes kept there.
    pub(super) fn get(&mut self, range: SpoolRange) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; range.length];
        self.file.seek(SeekFrom::Start(range.start))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
