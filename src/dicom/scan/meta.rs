//! The start of a file: 128 free bytes, `DICM`, and the file meta information (group 0002, PS3.10 §7.1).
//!
//! Invariant: group 0002 ends exactly where (0002,0000) says, if it says anything.
//! Invariant: only four short values are kept; the rest is passed over.
//! Elsewhere: what follows (`scan::dataset`).

use dicom_core::{Tag, VR};

use super::vr::{Encoding, explicit_vr, has_long_length};
use super::{Preamble, Reason, ScanError, Stash, cut_off};
use crate::dicom::uid::Uid;

const PREAMBLE_BYTES: usize = 128;
const START_BYTES: usize = PREAMBLE_BYTES + 4;
const DIRECTORY: &str = "1.2.840.10008.1.3.10";
/// Longest value kept: twice a UID.
const KEPT_BYTES: u32 = 128;

const GROUP_LENGTH: u16 = 0x0000;
const MEDIA_STORAGE_SOP_CLASS: u16 = 0x0002;
const TRANSFER_SYNTAX: u16 = 0x0010;
const SOURCE_APPLICATION_ENTITY: u16 = 0x0016;

/// What is known once group 0002 has been read.
#[derive(Clone, Debug)]
pub(super) struct MetaFacts {
    pub(super) transfer_syntax: String,
    pub(super) media_storage_sop_class: Option<String>,
    pub(super) source_application_entity: Option<String>,
    pub(super) preamble: Preamble,
    /// Offset of the first byte after group 0002.
    pub(super) end: u64,
}

/// Reads up to the end of group 0002.
#[derive(Debug)]
pub(super) struct Meta {
    at: u64,
    state: State,
    stash: Stash,
    preamble: Preamble,
    /// Where group 0002 ends, if it says so.
    end: Option<u64>,
    transfer_syntax: Option<String>,
    media_storage_sop_class: Option<String>,
    source_application_entity: Option<String>,
}

#[derive(Debug)]
enum State {
    Start(Vec<u8>),
    Element,
    Skip(u64),
    Keep { element: u16, length: usize, value: Vec<u8> },
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            at: 0,
            state: State::Start(Vec::with_capacity(START_BYTES)),
            stash: Stash::default(),
            preamble: Preamble::Other,
            end: None,
            transfer_syntax: None,
            media_storage_sop_class: None,
            source_application_entity: None,
        }
    }
}

impl Meta {
    /// Takes what belongs to group 0002 from `input`. When that is over: the facts, and bytes already
    /// taken that belong to the dataset.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<(MetaFacts, Vec<u8>)>, ScanError> {
        loop {
            if matches!(self.state, State::Element) && self.end == Some(self.at) {
                return self.facts().map(|facts| Some((facts, Vec::new())));
            }
            if input.is_empty() {
                return Ok(None);
            }
            match &mut self.state {
                State::Start(start) => {
                    start.extend_from_slice(take(input, START_BYTES - start.len(), &mut self.at));
                    if start.len() == START_BYTES {
                        self.start()?;
                    }
                }
                State::Element => {
                    if self.element(input)? {
                        self.at -= self.stash.have as u64;
                        let first = self.stash.bytes[..self.stash.have].to_vec();
                        return self.facts().map(|facts| Some((facts, first)));
                    }
                }
                State::Skip(left) => {
                    let skipped = take(input, usize::try_from(*left).unwrap_or(usize::MAX), &mut self.at);
                    *left -= skipped.len() as u64;
                    if *left == 0 {
                        self.state = State::Element;
                    }
                }
                State::Keep { element, length, value } => {
                    value.extend_from_slice(take(input, *length - value.len(), &mut self.at));
                    if value.len() == *length {
                        let (element, value) = (*element, std::mem::take(value));
                        self.keep(element, &value);
                        self.state = State::Element;
                    }
                }
            }
        }
    }

    /// The file ends here.
    pub(super) fn finish(&mut self) -> Result<MetaFacts, ScanError> {
        match &self.state {
            State::Start(_) => Err(ScanError::new(self.at, Reason::NotPart10)),
            State::Element if self.stash.have == 0 && self.end.is_none() => self.facts(),
            State::Element | State::Skip(_) | State::Keep { .. } => {
                Err(ScanError::new(self.at, cut_off("the file meta information")))
            }
        }
    }

    /// Judges the first bytes, all of them there.
    fn start(&mut self) -> Result<(), ScanError> {
        let State::Start(start) = &self.state else { return Ok(()) };
        if !start.ends_with(b"DICM") {
            return Err(ScanError::new(PREAMBLE_BYTES as u64, Reason::NotPart10));
        }
        self.preamble = preamble_of(&start[..PREAMBLE_BYTES]);
        self.state = State::Element;
        Ok(())
    }

    /// Reads one element header; whether it turned out to lie beyond group 0002.
    fn element(&mut self, input: &mut &[u8]) -> Result<bool, ScanError> {
        if !self.fill(input, 2) {
            return Ok(false);
        }
        let little = Encoding::EXPLICIT_LITTLE;
        if little.u16(self.stash.two(0)) != 0x0002 {
            return if self.end.is_none() {
                Ok(true)
            } else {
                Err(self.malformed("(0002,0000) is too large"))
            };
        }
        if !self.fill(input, 8) {
            return Ok(false);
        }
        let tag = little.tag(self.stash.four(0));
        let Some(vr) = explicit_vr(self.stash.two(4)) else {
            return Err(self.refuse(Reason::NoVr { tag }));
        };
        if !self.fill(input, if has_long_length(vr) { 12 } else { 8 }) {
            return Ok(false);
        }
        let length = if has_long_length(vr) {
            little.u32(self.stash.four(8))
        } else {
            u32::from(little.u16(self.stash.two(6)))
        };
        self.value(tag, vr, length)?;
        self.stash.have = 0;
        Ok(false)
    }

    /// Decides what to do with the value of the element whose header is in the stash.
    fn value(&mut self, tag: Tag, vr: VR, length: u32) -> Result<(), ScanError> {
        if vr == VR::SQ || length == u32::MAX {
            return Err(self.malformed("a sequence"));
        }
        if self.end.is_some_and(|end| self.at + u64::from(length) > end) {
            return Err(self.malformed("(0002,0000) is too small"));
        }
        let element = tag.element();
        let twice = match element {
            GROUP_LENGTH => self.end.is_some(),
            TRANSFER_SYNTAX => self.transfer_syntax.is_some(),
            MEDIA_STORAGE_SOP_CLASS => self.media_storage_sop_class.is_some(),
            _ => false,
        };
        if twice {
            return Err(self.refuse(Reason::Duplicate { tag }));
        }
        if element == GROUP_LENGTH && (vr != VR::UL || length != 4) {
            return Err(self.malformed("(0002,0000) is no number"));
        }
        if element == TRANSFER_SYNTAX && length > KEPT_BYTES {
            return Err(self.refuse(Reason::NoTransferSyntax));
        }
        let kept = matches!(
            element,
            GROUP_LENGTH | TRANSFER_SYNTAX | MEDIA_STORAGE_SOP_CLASS | SOURCE_APPLICATION_ENTITY
        );
        self.state = if length == 0 {
            State::Element
        } else if kept && length <= KEPT_BYTES {
            State::Keep { element, length: length as usize, value: Vec::with_capacity(length as usize) }
        } else {
            State::Skip(u64::from(length))
        };
        Ok(())
    }

    fn fill(&mut self, input: &mut &[u8], need: usize) -> bool {
        let before = self.stash.have;
        let filled = self.stash.fill(input, need);
        self.at += (self.stash.have - before) as u64;
        filled
    }

    fn keep(&mut self, element: u16, value: &[u8]) {
        if element == GROUP_LENGTH {
            let length = value.try_into().map_or(0, u32::from_le_bytes);
            self.end = Some(self.at + u64::from(length));
            return;
        }
        let text = String::from_utf8_lossy(value).trim_matches([' ', '\0']).to_owned();
        match element {
            TRANSFER_SYNTAX => self.transfer_syntax = Some(text),
            MEDIA_STORAGE_SOP_CLASS => self.media_storage_sop_class = Some(text),
            _ => self.source_application_entity = Some(text),
        }
    }

    fn facts(&mut self) -> Result<MetaFacts, ScanError> {
        if self.media_storage_sop_class.as_deref() == Some(DIRECTORY) {
            return Err(ScanError::new(self.at, Reason::Directory));
        }
        match self.transfer_syntax.take().map(|text| Uid::parse(&text)) {
            Some(Ok(uid)) => Ok(MetaFacts {
                transfer_syntax: uid.as_str().to_owned(),
                media_storage_sop_class: self.media_storage_sop_class.take(),
                source_application_entity: self.source_application_entity.take(),
                preamble: self.preamble,
                end: self.at,
            }),
            Some(Err(_)) | None => Err(ScanError::new(self.at, Reason::NoTransferSyntax)),
        }
    }

    /// Refuses the element whose header is in the stash.
    fn refuse(&self, kind: Reason) -> ScanError {
        ScanError::new(self.at - self.stash.have as u64, kind)
    }

    fn malformed(&self, what: &'static str) -> ScanError {
        self.refuse(Reason::Meta(what))
    }
}

/// Splits up to `most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], most: usize, at: &mut u64) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    *at += taken.len() as u64;
    taken
}

fn preamble_of(bytes: &[u8]) -> Preamble {
    const PROGRAMS: [&[u8]; 8] = [
        b"MZ",
        b"\x7FELF",
        b"#!",
        b"\xFE\xED\xFA\xCE",
        b"\xFE\xED\xFA\xCF",
        b"\xCE\xFA\xED\xFE",
        b"\xCF\xFA\xED\xFE",
        b"\xCA\xFE\xBA\xBE",
    ];
    if bytes.iter().all(|b| *b == 0) {
        Preamble::Zero
    } else if PROGRAMS.iter().any(|magic| bytes.starts_with(magic)) {
        Preamble::Executable
    } else {
        Preamble::Other
    }
}
