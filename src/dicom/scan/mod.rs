//! The bounded scanner: is this a whole, well-formed DICOM file (PS3.10), and what does it hold?
//!
//! Bytes are pushed in slices of any size. Bulk values are passed over, everything else is kept,
//! re-encoded as Explicit VR Little Endian, for the validation and the metadata.
//!
//! Accepted beside the plain case (`studies.md` §2.12): no (0002,0000); unknown transfer syntaxes (read
//! as Explicit VR Little Endian); odd lengths, group lengths, trailing padding (FFFC,FFFC) and zero bytes
//! after the dataset; a checksum of up to 8 bytes after a deflate stream; elements out of order; UN of
//! undefined length (walked as Implicit VR, bulk as a whole); fragments in OB and OW of any tag.
//! Refused beside what is cut off or over a limit: a tag twice in one dataset (readers would disagree
//! on which one counts), group 0002 or 0000 in the dataset, delimiters where a length was declared.
//!
//! Invariant: what is held is bounded by [`Limits`], not by the size of the file or a length it declares.
//! Invariant: no recursion; slices of any size give the same result and the same error.
//! Elsewhere: required attributes (`dicom::validate`), the JSON of the header (`dicom::json`).

mod dataset;
mod header;
mod inflate;
mod level;
mod meta;
mod pixels;
#[cfg(test)]
mod tests;
pub(super) mod vr;

use dicom_core::Tag;
use serde::{Deserialize, Serialize};

use self::dataset::Dataset;
use self::inflate::Inflate;
use self::meta::{Meta, MetaFacts};
use super::frames::FrameIndex;

/// Named limits of one file.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Deepest nesting of sequences.
    pub depth: usize,
    /// Most elements, items and fragments counted apart.
    pub elements: u64,
    /// Most bytes kept in memory: non-bulk elements, the list of bulk elements, fragments and offset tables.
    pub non_bulk_bytes: u64,
    /// Most bytes of DICOM JSON that the elements kept come to, estimated from above.
    pub json_bytes: u64,
    /// Longest single non-bulk value, in bytes.
    pub value_length: u64,
    /// Most bytes a deflated dataset may inflate to.
    pub inflated_bytes: u64,
    /// Most bytes inflated for each deflated byte, once [`Self::inflated_free_bytes`] have come out.
    pub inflated_ratio: u64,
    /// Bytes a deflated dataset may inflate to whatever the ratio.
    pub inflated_free_bytes: u64,
    /// Most fragments of encapsulated pixel data.
    pub fragments: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 40,
            elements: 10_000_000,
            non_bulk_bytes: 128 << 20,
            json_bytes: 256 << 20,
            value_length: 64 << 20,
            inflated_bytes: 4 << 30,
            inflated_ratio: 200,
            inflated_free_bytes: 256 << 20,
            fragments: 4_000_000,
        }
    }
}

/// One element left out of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkElement {
    /// Upper-case hex tags and 1-based item numbers joined by `/`: `54000100/1/54001010`.
    pub path: String,
    /// Two letters. UN also where the file has a VR unknown to us, and for numbers that cannot be written
    /// in Explicit VR (a value that is no whole count of them, or too long for a 16-bit length).
    pub vr: [u8; 2],
    /// Offset of the value in the file (in the inflated dataset stream if the syntax is deflated).
    pub offset: u64,
    /// Bytes; where the length is undefined, from the first item to the delimiter, both included.
    pub length: u64,
}

/// What the 128 free bytes before `DICM` look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// All zero.
    Zero,
    /// Begins as a program or script does: PE/DOS, ELF, Mach-O, Java class, `#!`.
    Executable,
    /// Something else, such as the start of a TIFF file.
    Other,
}

/// What a whole, well-formed file holds.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// (0002,0010) without padding.
    pub transfer_syntax: String,
    /// Whether the dataset is in Implicit VR (`studies.md` §2.5.6).
    pub implicit: bool,
    /// (0002,0002) without padding; `None` if absent or longer than 128 bytes.
    pub media_storage_sop_class: Option<String>,
    /// (0002,0016) without padding; `None` if absent or longer than 128 bytes.
    pub source_application_entity: Option<String>,
    /// The 128 bytes before `DICM`.
    pub preamble: Preamble,
    /// Offset in the file of the first byte after group 0002.
    pub dataset_offset: u64,
    /// Every non-bulk element of the dataset, in the order of the file, re-encoded in Explicit VR Little
    /// Endian; sequences and items of undefined length. No group 0002, group lengths or (FFFC,FFFC). A
    /// text value too long for the 16-bit length of its VR (possible in Implicit VR only) is written as
    /// UT (for LT, ST) or UC (for the others): the dictionary still tells its true VR.
    pub header: Vec<u8>,
    /// Every element of VR OB, OD, OF, OL, OV, OW, UN, at any depth, in the order of the file.
    pub bulk: Vec<BulkElement>,
    /// Where the frames lie.
    pub frames: FrameIndex,
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No 128 bytes and `DICM` at its start.
    #[error("not a DICOM file: no preamble with DICM")]
    NotPart10,
    /// Group 0002 breaks its rules.
    #[error("malformed file meta information: {0}")]
    Meta(&'static str),
    /// (0002,0010) is absent or no UID.
    #[error("no transfer syntax in the file meta information")]
    NoTransferSyntax,
    /// A directory of a medium (`1.2.840.10008.1.3.10`) is no instance.
    #[error("a DICOMDIR is not an instance")]
    Directory,
    /// The two bytes are no VR; often Implicit VR declared as explicit.
    #[error("{tag} has no valid value representation")]
    NoVr {
        /// The element.
        tag: Tag,
    },
    /// A VR that must have a length has none.
    #[error("{tag} has an undefined length, which its value representation does not allow")]
    UndefinedLength {
        /// The element.
        tag: Tag,
    },
    /// An item, a delimiter or a group where it cannot be.
    #[error("{tag} is not allowed here")]
    Misplaced {
        /// What was found.
        tag: Tag,
    },
    /// A delimiter with a length.
    #[error("the delimiter {tag} has a length")]
    DelimiterLength {
        /// The delimiter.
        tag: Tag,
    },
    /// A length that crosses the end of what holds it.
    #[error("{tag} reaches beyond the item or sequence that holds it")]
    Overrun {
        /// The element, item or fragment; the sequence when its delimiter is missing.
        tag: Tag,
    },
    /// One dataset has a tag twice.
    #[error("{tag} appears twice in one dataset")]
    Duplicate {
        /// The element.
        tag: Tag,
    },
    /// Bytes after the dataset that are not zero.
    #[error("bytes other than zero after the end of the dataset")]
    Trailing,
    /// Not RFC 1951.
    #[error("the deflated dataset is corrupt")]
    Deflate,
    /// The bytes end too early.
    #[error("the file is cut off inside {inside}")]
    CutOff {
        /// What is not complete.
        inside: &'static str,
    },
    /// [`Limits::depth`].
    #[error("sequences are nested deeper than {limit}")]
    TooDeep {
        /// Levels.
        limit: usize,
    },
    /// [`Limits::elements`].
    #[error("more than {limit} elements")]
    TooManyElements {
        /// Elements.
        limit: u64,
    },
    /// [`Limits::fragments`].
    #[error("more than {limit} fragments")]
    TooManyFragments {
        /// Fragments.
        limit: u64,
    },
    /// [`Limits::value_length`].
    #[error("{tag} is longer than {limit} bytes")]
    ValueTooLong {
        /// The element.
        tag: Tag,
        /// Bytes.
        limit: u64,
    },
    /// [`Limits::non_bulk_bytes`].
    #[error("more than {limit} bytes beside bulk data")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// [`Limits::json_bytes`].
    #[error("the metadata may come to more than {limit} bytes")]
    TooVerbose {
        /// Bytes.
        limit: u64,
    },
    /// [`Limits::inflated_bytes`] or [`Limits::inflated_ratio`].
    #[error("the deflated dataset is larger than {limit} bytes")]
    InflatedTooLarge {
        /// Bytes.
        limit: u64,
    },
}

/// Why a file is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at offset {offset}")]
pub struct ScanError {
    /// Offset in the file (in the inflated dataset stream once that has begun).
    pub offset: u64,
    /// What is wrong.
    pub kind: Reason,
}

impl ScanError {
    fn new(offset: u64, kind: Reason) -> Self {
        Self { offset, kind }
    }
}

/// Reads one file pushed in slices. After an error it holds nothing and repeats the error.
#[derive(Debug)]
pub struct Scanner {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Meta { meta: Box<Meta>, limits: Limits },
    Dataset { facts: MetaFacts, dataset: Box<Dataset>, inflate: Option<Box<Inflate>> },
    Refused(ScanError),
}

impl Scanner {
    /// A scanner at the start of a file.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { stage: Stage::Meta { meta: Box::default(), limits } }
    }

    /// Takes the next bytes of the file, of any size.
    ///
    /// # Errors
    /// The file is malformed, over a limit or a DICOMDIR.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        let result = self.advance(bytes);
        if let Err(refused) = &result {
            self.stage = Stage::Refused(refused.clone());
        }
        result
    }

    /// Bytes of memory held at present for this file.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        match &self.stage {
            Stage::Dataset { dataset, inflate, .. } => {
                dataset.held_bytes() + if inflate.is_some() { Inflate::HELD_BYTES } else { 0 }
            }
            Stage::Meta { .. } | Stage::Refused(_) => 0,
        }
    }

    /// The file is complete.
    ///
    /// # Errors
    /// It is cut off, or was refused before.
    pub fn finish(mut self) -> Result<Scanned, ScanError> {
        if let Stage::Meta { meta, limits } = &mut self.stage {
            let facts = meta.finish()?;
            self.stage = dataset_stage(facts, limits);
        }
        match self.stage {
            Stage::Dataset { facts, dataset, inflate } => {
                if inflate.is_some_and(|inflate| !inflate.ended()) {
                    return Err(ScanError::new(dataset.offset(), cut_off("the deflated dataset")));
                }
                dataset.finish(facts)
            }
            Stage::Refused(refused) => Err(refused),
            Stage::Meta { .. } => unreachable!("the meta stage was ended above"),
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        if let Stage::Meta { meta, limits } = &mut self.stage {
            let Some((facts, first)) = meta.feed(&mut bytes)? else { return Ok(()) };
            let stage = dataset_stage(facts, limits);
            self.stage = stage;
            self.advance_dataset(&first)?;
        }
        self.advance_dataset(bytes)
    }

    fn advance_dataset(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        match &mut self.stage {
            Stage::Dataset { dataset, inflate: Some(inflate), .. } => inflate.feed(bytes, dataset),
            Stage::Dataset { dataset, inflate: None, .. } => dataset.feed(bytes),
            Stage::Refused(refused) => Err(refused.clone()),
            Stage::Meta { .. } => unreachable!("the meta stage was ended by the caller"),
        }
    }
}

/// Whether a dataset in this transfer syntax lies deflated in its file.
#[must_use]
pub fn is_deflated(transfer_syntax: &str) -> bool {
    vr::syntax_of(transfer_syntax).deflated
}

fn dataset_stage(facts: MetaFacts, limits: &Limits) -> Stage {
    let syntax = vr::syntax_of(&facts.transfer_syntax);
    let start = if syntax.deflated { 0 } else { facts.end };
    let inflate = syntax.deflated.then(|| Box::new(Inflate::new(limits)));
    Stage::Dataset { dataset: Box::new(Dataset::new(limits.clone(), syntax, start)), facts, inflate }
}

fn cut_off(inside: &'static str) -> Reason {
    Reason::CutOff { inside }
}

/// Collects the few bytes of a header across slices.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stash {
    pub(super) bytes: [u8; 12],
    pub(super) have: usize,
}

impl Stash {
    /// Takes from `input` until `need` bytes are there; whether they are.
    pub(super) fn fill(&mut self, input: &mut &[u8], need: usize) -> bool {
        let (taken, rest) = input.split_at(need.saturating_sub(self.have).min(input.len()));
        self.bytes[self.have..self.have + taken.len()].copy_from_slice(taken);
        self.have += taken.len();
        *input = rest;
        self.have >= need
    }

    pub(super) fn two(&self, at: usize) -> [u8; 2] {
        [self.bytes[at], self.bytes[at + 1]]
    }

    pub(super) fn four(&self, at: usize) -> [u8; 4] {
        [self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]]
    }
}
