//! The walk over one dataset, pushed in slices: framing, nesting, lengths against what holds them.
//!
//! A stack of levels alternates between datasets (the file's own and those of items) and sequences. Each
//! level knows the offset at which it ends, if a length was declared, and the nearest end of any level
//! around it; no length may reach beyond that. What lies inside a UN of undefined length is walked in
//! Implicit VR (PS3.5 §6.2.2) only to find its end.
//!
//! Invariant: `at` is the offset of the next byte to be taken.
//! Invariant: a byte is accounted for before it is kept.
//! Elsewhere: values (`values`), fragments (`encapsulated`), frames (`scan::pixels`), the re-encoding
//! (`scan::header`).

mod encapsulated;
mod values;

use dicom_core::{Tag, VR};

use self::encapsulated::Encapsulated;

use super::header::{HEADER_BYTES, Header};
use super::level::{Kind, Level};
use super::meta::MetaFacts;
use super::pixels::{Pixels, Table};
use super::vr::{ELEMENT_JSON_BYTES, Encoding, Syntax, explicit_vr, has_long_length, implicit_vr, is_bulk};
use super::{BulkElement, Limits, Reason, ScanError, Scanned, Stash, cut_off};

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const TRAILING_PADDING: Tag = Tag(0xFFFC, 0xFFFC);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const UNDEFINED: u32 = 0xFFFF_FFFF;

const ROOT: &str = "the file's own dataset stays open to the end";

#[derive(Debug)]
pub(super) struct Dataset {
    limits: Limits,
    syntax: Syntax,
    at: u64,
    state: State,
    stash: Stash,
    levels: Vec<Level>,
    header: Header,
    bulk: Vec<BulkElement>,
    /// Bytes of the paths in `bulk`.
    path_bytes: u64,
    /// Bytes of `seen` in all levels.
    seen_bytes: u64,
    elements: u64,
    /// Of the elements kept, as in [`Limits::json_bytes`].
    json_bytes: u64,
    pixels: Pixels,
    encapsulated: Option<Encapsulated>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The header of an element, or an item's delimiter.
    Element,
    /// The header of an item, or a sequence's delimiter.
    Item,
    /// A value that is passed over.
    Skip(u64),
    /// A value that is kept in the header.
    Keep { tag: Tag, vr: VR, left: u64 },
    /// A value that tells where frames lie.
    Table { table: Table, left: u64, then: Then },
    /// The header of a fragment, or the delimiter behind the last.
    Fragment,
    /// The value of a fragment.
    FragmentValue(u64),
    /// Zero bytes after the dataset.
    Trailing,
}

/// What follows an offset table.
#[derive(Clone, Copy, Debug)]
enum Then {
    Element,
    Fragment,
}

/// The header of one element.
#[derive(Clone, Copy, Debug)]
struct Element {
    tag: Tag,
    vr: VR,
    length: u32,
}

impl Dataset {
    /// A dataset in `syntax` whose first byte has the offset `at`.
    pub(super) fn new(limits: Limits, syntax: Syntax, at: u64) -> Self {
        Self {
            header: Header::with_ceiling(limits.non_bulk_bytes),
            pixels: Pixels::new(syntax.video, limits.fragments),
            limits,
            syntax,
            at,
            state: State::Element,
            stash: Stash::default(),
            levels: vec![Level::root(syntax.encoding)],
            bulk: Vec::new(),
            path_bytes: 0,
            seen_bytes: 0,
            elements: 0,
            json_bytes: 0,
            encapsulated: None,
        }
    }

    /// Offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.at
    }

    /// Bytes of memory held.
    pub(super) fn held_bytes(&self) -> u64 {
        let bulk = (self.bulk.capacity() * size_of::<BulkElement>()) as u64;
        self.header.held_bytes() + bulk + self.path_bytes + 2 * self.seen_bytes + self.pixels.held_bytes()
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), ScanError> {
        while !input.is_empty() {
            match self.state {
                State::Element => self.element(&mut input)?,
                State::Item => self.item(&mut input)?,
                State::Fragment => self.fragment(&mut input)?,
                State::Skip(left) => {
                    let taken = self.take(&mut input, left).len() as u64;
                    self.state = State::Skip(left - taken);
                    if left == taken {
                        self.settle()?;
                    }
                }
                State::Keep { tag, vr, left } => {
                    let taken = self.take(&mut input, left);
                    self.header.extend(taken);
                    let left = left - taken.len() as u64;
                    self.state = State::Keep { tag, vr, left };
                    if left == 0 {
                        self.end_kept(tag, vr)?;
                    }
                }
                State::Table { table, left, then } => {
                    let taken = self.take(&mut input, left);
                    self.pixels.table(table, taken);
                    self.enter_table(table, left - taken.len() as u64, then)?;
                }
                State::FragmentValue(left) => {
                    let taken = self.take(&mut input, left);
                    self.pixels.fragment_bytes(taken);
                    self.enter_fragment(left - taken.len() as u64);
                }
                State::Trailing => {
                    let zeros = input.iter().take_while(|byte| **byte == 0).count();
                    self.at += zeros as u64;
                    if zeros < input.len() {
                        return Err(ScanError::new(self.at, Reason::Trailing));
                    }
                    input = &[];
                }
            }
        }
        Ok(())
    }

    /// The dataset is complete.
    pub(super) fn finish(mut self, facts: MetaFacts) -> Result<Scanned, ScanError> {
        let stash = &self.stash.bytes[..self.stash.have];
        let inside = match self.state {
            State::Element if self.levels.len() > 1 => Some("an item"),
            State::Element if stash.iter().any(|byte| *byte != 0) => Some("the header of an element"),
            State::Element | State::Trailing => None,
            State::Item => Some("a sequence"),
            State::Skip(_) | State::Keep { .. } | State::Table { then: Then::Element, .. } => Some("a value"),
            State::Table { then: Then::Fragment, .. } => Some("an offset table"),
            State::Fragment => Some("encapsulated data without its delimiter"),
            State::FragmentValue(_) => Some("a fragment"),
        };
        if let Some(inside) = inside {
            return Err(ScanError::new(self.at, cut_off(inside)));
        }
        let root = self.levels.pop().expect("the file's own dataset is never closed before");
        self.close(root)?;
        Ok(Scanned {
            implicit: !self.syntax.encoding.explicit,
            frames: self.pixels.index(self.syntax.deflated.then_some(facts.end)),
            transfer_syntax: facts.transfer_syntax,
            media_storage_sop_class: facts.media_storage_sop_class,
            source_application_entity: facts.source_application_entity,
            preamble: facts.preamble,
            dataset_offset: facts.end,
            header: self.header.into_bytes(),
            bulk: self.bulk,
        })
    }

    /// Reads the header of an element or of an item's delimiter.
    fn element(&mut self, input: &mut &[u8]) -> Result<(), ScanError> {
        if !self.fill(input, 8) {
            return Ok(());
        }
        let encoding = self.top().encoding;
        let tag = encoding.tag(self.stash.four(0));
        if self.stash.bytes[..8] == [0; 8] && self.levels.len() == 1 {
            self.state = State::Trailing;
            return Ok(());
        }
        if tag.group() == 0xFFFE {
            let length = encoding.u32(self.stash.four(4));
            return self.item_end(tag, length);
        }
        let (vr, length) = if encoding.explicit {
            let Some(vr) = explicit_vr(self.stash.two(4)) else {
                return Err(self.refuse(Reason::NoVr { tag }));
            };
            if !has_long_length(vr) {
                (vr, u32::from(encoding.u16(self.stash.two(6))))
            } else if self.fill(input, 12) {
                (vr, encoding.u32(self.stash.four(8)))
            } else {
                return Ok(());
            }
        } else {
            let length = encoding.u32(self.stash.four(4));
            // Where nothing is kept, the VR does not matter.
            let vr = if self.top().passed_over { VR::UN } else { implicit_vr(tag, self.top().signed) };
            (vr, length)
        };
        self.begin(Element { tag, vr, length })?;
        self.stash.have = 0;
        Ok(())
    }

    /// Decides what to do with the value of the element whose header has just been read.
    fn begin(&mut self, element: Element) -> Result<(), ScanError> {
        let Element { tag, vr, length, .. } = element;
        self.count()?;
        if tag.group() == 0 || (tag.group() == 2 && self.levels.len() == 1) {
            return Err(self.refuse(Reason::Misplaced { tag }));
        }
        self.check_end(tag, if length == UNDEFINED { 0 } else { length })?;
        let passed_over = self.top().passed_over;
        let dropped = is_dropped(tag);
        if !passed_over && !dropped {
            self.see(tag)?;
        }
        match (vr, length) {
            (VR::OB | VR::OW, UNDEFINED) => self.begin_fragments(element),
            (VR::UN, UNDEFINED) if tag == PIXEL_DATA => self.begin_fragments(element),
            (VR::SQ | VR::UN, UNDEFINED) => self.begin_sequence(tag, vr, None),
            (_, UNDEFINED) => Err(self.refuse(Reason::UndefinedLength { tag })),
            _ if passed_over || dropped => self.enter_skip(length),
            (VR::SQ, _) => self.begin_sequence(tag, vr, Some(self.at + u64::from(length))),
            _ if is_bulk(vr) => self.begin_bulk(element),
            _ => self.begin_kept(element),
        }
    }

    fn begin_sequence(&mut self, tag: Tag, vr: VR, end: Option<u64>) -> Result<(), ScanError> {
        // Below the root, every second level is a sequence.
        if self.levels.len().div_ceil(2) > self.limits.depth {
            return Err(self.refuse(Reason::TooDeep { limit: self.limits.depth }));
        }
        let around = self.top();
        let passed_over = around.passed_over || vr == VR::UN || is_dropped(tag);
        let level = Level {
            kind: Kind::Sequence { tag, value_at: self.at, items: 0 },
            end,
            bound: end.unwrap_or(around.bound),
            encoding: if vr == VR::UN { Encoding::IMPLICIT_LITTLE } else { around.encoding },
            passed_over,
            signed: around.signed,
        };
        if !passed_over {
            self.afford(HEADER_BYTES)?;
            self.describe(ELEMENT_JSON_BYTES)?;
            self.header.begin_sequence(tag);
        }
        self.levels.push(level);
        self.settle()
    }

    /// Reads the header of an item or of its sequence's delimiter.
    fn item(&mut self, input: &mut &[u8]) -> Result<(), ScanError> {
        if !self.fill(input, 8) {
            return Ok(());
        }
        let encoding = self.top().encoding;
        let (tag, length) = (encoding.tag(self.stash.four(0)), encoding.u32(self.stash.four(4)));
        self.count()?;
        match tag {
            ITEM => self.begin_item(length)?,
            SEQUENCE_END if self.top().end.is_none() => {
                self.end_level(tag, length)?;
            }
            _ => return Err(self.refuse(Reason::Misplaced { tag })),
        }
        self.stash.have = 0;
        Ok(())
    }

    fn begin_item(&mut self, length: u32) -> Result<(), ScanError> {
        self.check_end(ITEM, if length == UNDEFINED { 0 } else { length })?;
        let end = (length != UNDEFINED).then(|| self.at + u64::from(length));
        let sequence = self.levels.last_mut().expect(ROOT);
        if let Kind::Sequence { items, .. } = &mut sequence.kind {
            *items = items.saturating_add(1);
        }
        let level = Level {
            kind: Kind::Dataset { seen: Vec::new(), in_order: true },
            end,
            bound: end.unwrap_or(sequence.bound),
            ..*sequence
        };
        if !level.passed_over {
            self.afford(HEADER_BYTES)?;
            self.describe(ELEMENT_JSON_BYTES)?;
            self.header.begin_item();
        }
        self.levels.push(level);
        self.settle()
    }

    fn item_end(&mut self, tag: Tag, length: u32) -> Result<(), ScanError> {
        if tag != ITEM_END || self.top().end.is_some() || self.levels.len() == 1 {
            return Err(self.refuse(Reason::Misplaced { tag }));
        }
        self.end_level(tag, length)?;
        self.stash.have = 0;
        Ok(())
    }

    /// Ends the innermost level by its delimiter.
    fn end_level(&mut self, delimiter: Tag, length: u32) -> Result<(), ScanError> {
        if length != 0 {
            return Err(self.refuse(Reason::DelimiterLength { tag: delimiter }));
        }
        let level = self.levels.pop().expect(ROOT);
        self.close(level)?;
        self.settle()
    }

    /// Ends every level whose declared length is used up, and looks for what comes next.
    fn settle(&mut self) -> Result<(), ScanError> {
        while self.top().end == Some(self.at) {
            let level = self.levels.pop().expect(ROOT);
            self.close(level)?;
        }
        let top = self.top();
        let (tag, next) = match top.kind {
            Kind::Dataset { .. } => (ITEM, State::Element),
            Kind::Sequence { tag, .. } => (tag, State::Item),
        };
        if self.at >= top.bound {
            // Its delimiter has no room left.
            return Err(ScanError::new(self.at, Reason::Overrun { tag }));
        }
        self.state = next;
        Ok(())
    }

    /// What is due when a level has ended.
    fn close(&mut self, level: Level) -> Result<(), ScanError> {
        match level.kind {
            Kind::Dataset { mut seen, in_order } => {
                self.seen_bytes -= size_of_val(seen.as_slice()) as u64;
                if !in_order {
                    seen.sort_unstable();
                    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
                        return Err(ScanError::new(self.at, Reason::Duplicate { tag: twice[0] }));
                    }
                }
                if !level.passed_over && !self.levels.is_empty() {
                    self.header.end_item();
                }
            }
            Kind::Sequence { .. } if !level.passed_over => self.header.end_sequence(),
            Kind::Sequence { tag, value_at, .. } => {
                if !self.top().passed_over && !is_dropped(tag) {
                    self.push_bulk(tag, VR::UN, value_at, self.at - value_at)?;
                }
            }
        }
        Ok(())
    }

    /// Notes that the innermost dataset has this tag.
    fn see(&mut self, tag: Tag) -> Result<(), ScanError> {
        self.afford(size_of::<Tag>() as u64)?;
        self.seen_bytes += size_of::<Tag>() as u64;
        match self.levels.last_mut().expect(ROOT).see(tag) {
            true => Ok(()),
            false => Err(self.refuse(Reason::Duplicate { tag })),
        }
    }

    /// Refuses what would bring the bytes kept over their limit.
    fn afford(&self, bytes: u64) -> Result<(), ScanError> {
        let bulk = (self.bulk.len() * size_of::<BulkElement>()) as u64;
        let kept = self.header.len() + bulk + self.path_bytes + self.seen_bytes + self.pixels.kept_bytes();
        if kept + bytes <= self.limits.non_bulk_bytes {
            return Ok(());
        }
        Err(self.refuse(Reason::TooLarge { limit: self.limits.non_bulk_bytes }))
    }

    /// Refuses what would bring the metadata over their limit.
    fn describe(&mut self, bytes: u64) -> Result<(), ScanError> {
        self.json_bytes += bytes;
        if self.json_bytes <= self.limits.json_bytes {
            return Ok(());
        }
        Err(self.refuse(Reason::TooVerbose { limit: self.limits.json_bytes }))
    }

    fn count(&mut self) -> Result<(), ScanError> {
        self.elements += 1;
        if self.elements <= self.limits.elements {
            return Ok(());
        }
        Err(self.refuse(Reason::TooManyElements { limit: self.limits.elements }))
    }

    /// Refuses `length` bytes from here if they reach beyond what holds them.
    fn check_end(&self, tag: Tag, length: u32) -> Result<(), ScanError> {
        if self.at + u64::from(length) <= self.top().bound {
            return Ok(());
        }
        Err(self.refuse(Reason::Overrun { tag }))
    }

    fn top(&self) -> &Level {
        self.levels.last().expect(ROOT)
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], most: u64) -> &'a [u8] {
        let (taken, rest) = input.split_at(usize::try_from(most).unwrap_or(usize::MAX).min(input.len()));
        *input = rest;
        self.at += taken.len() as u64;
        taken
    }

    fn fill(&mut self, input: &mut &[u8], need: usize) -> bool {
        let before = self.stash.have;
        let filled = self.stash.fill(input, need);
        self.at += (self.stash.have - before) as u64;
        filled
    }

    /// Refuses what the header in the stash begins.
    fn refuse(&self, kind: Reason) -> ScanError {
        ScanError::new(self.at - self.stash.have as u64, kind)
    }
}

/// Elements that carry nothing of the instance: group lengths, padding, and group 0002 in an item.
fn is_dropped(tag: Tag) -> bool {
    tag.group() == 2 || tag.element() == 0 || tag == TRAILING_PADDING
}
