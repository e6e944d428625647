//! A stored file in Explicit VR Little Endian (`studies.md` §3.4), pushed through in slices.
//!
//! The file meta information keeps its elements but for its length and the transfer syntax ([`meta()`]). What was
//! deflated only needs to be inflated; datasets in Implicit VR or big endian go through a [`Reencoder`]: VRs as
//! the scanner gives them, numbers and words turned around, sequences and items with delimiters. What Explicit VR
//! cannot hold in its own VR becomes UN. Group lengths and zero bytes behind the dataset are left out. UN of
//! undefined length holds Implicit VR Little Endian (PS3.5 §6.2.2) and is copied as it is. A [`Transcoder`] puts
//! other pixels in place of those there are.
//!
//! Invariant: memory does not grow with the file, and slices of any size give the same bytes.
//! Invariant: only what the scanner has passed comes here; lengths and nesting are its to judge.
//! Elsewhere: the walk it follows (`scan::dataset`), where the bytes come from (`blob`).

mod edits;
mod meta;
mod written;

use dicom_core::{Tag, VR};

pub use edits::{Edits, Piece, PixelHeader, Transcoder, fragment};
pub use meta::meta;

use edits::Editing;
use written::{put_delimiter, put_header, vr_for};

use super::byte_order::{Turner, word_bytes};
use super::scan::Stash;
use super::scan::vr::{Encoding, explicit_vr, has_long_length, implicit_vr, syntax_of};

/// The syntax everything becomes.
pub const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const PIXEL_REPRESENTATION: Tag = Tag(0x0028, 0x0103);
const UNDEFINED: u32 = 0xFFFF_FFFF;

const ROOT: &str = "the file's own dataset stays open to the end";

/// How a dataset that can be re-encoded is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Implicit VR Little Endian.
    Implicit,
    /// Explicit VR Big Endian.
    BigEndian,
    /// Explicit VR Little Endian, deflated: inflated it is what is wanted.
    Deflated,
    /// Explicit VR Little Endian, as in every file of compressed pixels.
    Plain,
}

impl Source {
    /// `None` for a transfer syntax that cannot be re-encoded without decoding pixels.
    #[must_use]
    pub fn of(transfer_syntax: &str) -> Option<Self> {
        match transfer_syntax {
            "1.2.840.10008.1.2" => Some(Self::Implicit),
            "1.2.840.10008.1.2.2" => Some(Self::BigEndian),
            "1.2.840.10008.1.2.1.99" => Some(Self::Deflated),
            _ => None,
        }
    }

    /// The same for a dataset without pixels, which has nothing to decode.
    #[must_use]
    pub fn without_pixels(transfer_syntax: &str) -> Option<Self> {
        let syntax = syntax_of(transfer_syntax);
        let plain = syntax.encoding == Encoding::EXPLICIT_LITTLE && !syntax.deflated;
        Self::of(transfer_syntax).or(plain.then_some(Self::Plain))
    }

    /// The same for a dataset whose pixels are decoded anyway.
    #[must_use]
    pub fn of_any(transfer_syntax: &str) -> Self {
        let syntax = syntax_of(transfer_syntax);
        match syntax.encoding {
            _ if syntax.deflated => Self::Deflated,
            Encoding { explicit: false, .. } => Self::Implicit,
            Encoding { big_endian: true, .. } => Self::BigEndian,
            Encoding { explicit: true, big_endian: false } => Self::Plain,
        }
    }
}

/// Bytes that the scanner would not have passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dataset cannot be re-encoded beyond its byte {0}")]
pub struct Broken(pub u64);

/// Re-encodes one dataset pushed in slices.
#[derive(Debug)]
pub struct Reencoder {
    at: u64,
    state: State,
    stash: Stash,
    levels: Vec<Level>,
    turner: Turner,
    out: Vec<u8>,
    editing: Option<Box<Editing>>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum State {
    Element,
    Item,
    Value {
        left: u64,
        fate: Fate,
    },
    /// The value of (0028,0103).
    PixelRepresentation,
    /// The header of a fragment, or the delimiter behind the last.
    Fragment(Fate),
    FragmentValue {
        left: u64,
        fate: Fate,
    },
    /// Zero bytes after the dataset.
    Trailing,
}

/// What becomes of a level and of what lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Written anew.
    Written,
    /// Copied byte for byte.
    Copied,
    /// Pixels, handed out.
    Reported,
    /// Left out.
    Dropped,
}

/// One open dataset or sequence.
#[derive(Clone, Copy, Debug)]
struct Level {
    kind: Kind,
    /// Where it ends, if a length was declared.
    end: Option<u64>,
    encoding: Encoding,
    fate: Fate,
    /// Pixel Representation is 1, here or in the nearest dataset around that has it.
    signed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dataset,
    Sequence,
}

impl Reencoder {
    /// For a dataset stored so; `None` for a deflated one, whose inflated bytes are what is wanted.
    #[must_use]
    pub fn new(source: Source) -> Option<Self> {
        match source {
            Source::Implicit => Some(Self::at(0, Encoding::IMPLICIT_LITTLE, Fate::Written)),
            Source::BigEndian => Some(Self::at(0, Encoding::EXPLICIT_BIG, Fate::Written)),
            Source::Deflated | Source::Plain => None,
        }
    }

    /// For a dataset in `encoding` that begins `at` bytes into the file.
    fn at(at: u64, encoding: Encoding, fate: Fate) -> Self {
        let root = Level { kind: Kind::Dataset, end: None, encoding, fate, signed: false };
        Self {
            at,
            state: State::Element,
            stash: Stash::default(),
            levels: vec![root],
            turner: Turner::of_words(1),
            out: Vec::new(),
            editing: None,
        }
    }

    /// Takes the next bytes of the dataset; answers what they become.
    ///
    /// # Errors
    /// [`Broken`] where they cannot go on so.
    pub fn feed(&mut self, input: &[u8]) -> Result<Vec<u8>, Broken> {
        self.out.reserve(input.len());
        self.walk(input)?;
        Ok(std::mem::take(&mut self.out))
    }

    fn walk(&mut self, mut input: &[u8]) -> Result<(), Broken> {
        while !input.is_empty() {
            match self.state {
                State::Element => self.element(&mut input)?,
                State::Item => self.item(&mut input)?,
                State::Fragment(fate) => self.fragment(&mut input, fate)?,
                State::PixelRepresentation => self.pixel_representation(&mut input),
                State::Value { left, fate } => {
                    let taken = self.take(&mut input, left);
                    match fate {
                        Fate::Written => self.turner.turn(taken, &mut self.out),
                        Fate::Copied => self.out.extend_from_slice(taken),
                        Fate::Reported => self.report(taken),
                        Fate::Dropped => {}
                    }
                    self.enter_value(left - taken.len() as u64, fate);
                }
                State::FragmentValue { left, fate } => {
                    let taken = self.take(&mut input, left);
                    match fate {
                        Fate::Written | Fate::Copied => self.out.extend_from_slice(taken),
                        Fate::Reported => self.report(taken),
                        Fate::Dropped => {}
                    }
                    self.enter_fragment(left - taken.len() as u64, fate);
                }
                State::Trailing => {
                    self.at += input.len() as u64;
                    input = &[];
                }
            }
        }
        Ok(())
    }

    /// The dataset is complete.
    ///
    /// # Errors
    /// [`Broken`] when it is not.
    pub fn finish(self) -> Result<(), Broken> {
        let rest = &self.stash.bytes[..self.stash.have];
        let over = match self.state {
            State::Element => self.levels.len() == 1 && rest.iter().all(|byte| *byte == 0),
            State::Trailing => true,
            State::Item
            | State::Value { .. }
            | State::PixelRepresentation
            | State::Fragment(_)
            | State::FragmentValue { .. } => false,
        };
        if over { Ok(()) } else { Err(Broken(self.at)) }
    }

    /// Reads the header of an element or of an item's delimiter.
    fn element(&mut self, input: &mut &[u8]) -> Result<(), Broken> {
        if !self.fill(input, 8) {
            return Ok(());
        }
        let Level { encoding, fate, signed, .. } = *self.top();
        let tag = encoding.tag(self.stash.four(0));
        if self.stash.bytes[..8] == [0; 8] && self.levels.len() == 1 {
            self.state = State::Trailing;
            return Ok(());
        }
        if tag == ITEM_END && self.levels.len() > 1 {
            return self.end_by_delimiter();
        }
        let (vr, length) = if encoding.explicit {
            let vr = explicit_vr(self.stash.two(4)).ok_or(self.broken())?;
            if !has_long_length(vr) {
                (vr, u32::from(encoding.u16(self.stash.two(6))))
            } else if self.fill(input, 12) {
                (vr, encoding.u32(self.stash.four(8)))
            } else {
                return Ok(());
            }
        } else {
            let vr = if fate == Fate::Written { implicit_vr(tag, signed) } else { VR::UN };
            (vr, encoding.u32(self.stash.four(4)))
        };
        let fate = self.fate_of(tag, fate);
        match (vr, length) {
            (VR::OB | VR::OW, UNDEFINED) => self.begin_fragments(tag, vr, fate),
            (VR::UN, UNDEFINED) if tag == PIXEL_DATA => self.begin_fragments(tag, VR::OB, fate),
            (VR::SQ | VR::UN, UNDEFINED) => self.begin_sequence(tag, vr, None, fate),
            (_, UNDEFINED) => return Err(self.broken()),
            (VR::SQ, _) if fate == Fate::Written => {
                self.begin_sequence(tag, vr, Some(self.at + u64::from(length)), fate);
            }
            _ => self.begin_value(tag, vr, length, fate),
        }
        self.stash.have = 0;
        Ok(())
    }

    fn begin_value(&mut self, tag: Tag, vr: VR, length: u32, fate: Fate) {
        let words = |vr| Turner::of_words(if self.top().encoding.big_endian { word_bytes(vr) } else { 1 });
        match fate {
            Fate::Written => {
                let vr = vr_for(vr, length);
                self.turner = words(vr);
                put_header(&mut self.out, tag, vr, length);
                if (tag, vr, length) == (PIXEL_REPRESENTATION, VR::US, 2) {
                    self.state = State::PixelRepresentation;
                    return;
                }
            }
            Fate::Reported => {
                self.turner = words(vr);
                self.begin_pixels();
            }
            Fate::Copied | Fate::Dropped => self.put_read(fate),
        }
        self.enter_value(u64::from(length), fate);
    }

    /// What becomes of an element of the innermost dataset.
    fn fate_of(&mut self, tag: Tag, fate: Fate) -> Fate {
        match &mut self.editing {
            Some(editing) if self.levels.len() == 1 => editing.fate_of(tag, fate, &mut self.out),
            Some(_) | None if fate == Fate::Written && is_dropped(tag) => Fate::Dropped,
            Some(_) | None => fate,
        }
    }

    fn pixel_representation(&mut self, input: &mut &[u8]) {
        if self.fill(input, 2) {
            let value = self.top().encoding.u16(self.stash.two(0));
            self.out.extend_from_slice(&value.to_le_bytes());
            self.levels.last_mut().expect(ROOT).signed = value == 1;
            self.stash.have = 0;
            self.settle();
        }
    }

    fn begin_sequence(&mut self, tag: Tag, vr: VR, end: Option<u64>, fate: Fate) {
        self.put_read(fate);
        if fate == Fate::Written {
            put_header(&mut self.out, tag, vr, UNDEFINED);
        }
        let Level { encoding, signed, .. } = *self.top();
        let (encoding, fate) = match vr {
            VR::UN if fate == Fate::Written => (Encoding::IMPLICIT_LITTLE, Fate::Copied),
            VR::UN => (Encoding::IMPLICIT_LITTLE, fate),
            _ => (encoding, fate),
        };
        self.levels.push(Level { kind: Kind::Sequence, end, encoding, fate, signed });
        self.settle();
    }

    /// Reads the header of an item or of its sequence's delimiter.
    fn item(&mut self, input: &mut &[u8]) -> Result<(), Broken> {
        if !self.fill(input, 8) {
            return Ok(());
        }
        let around = *self.top();
        let tag = around.encoding.tag(self.stash.four(0));
        let length = around.encoding.u32(self.stash.four(4));
        match tag {
            ITEM => {
                self.put_read(around.fate);
                if around.fate == Fate::Written {
                    put_delimiter(&mut self.out, ITEM, UNDEFINED);
                }
                let end = (length != UNDEFINED).then(|| self.at + u64::from(length));
                self.levels.push(Level { kind: Kind::Dataset, end, ..around });
                self.stash.have = 0;
                self.settle();
                Ok(())
            }
            SEQUENCE_END => self.end_by_delimiter(),
            _ => Err(self.broken()),
        }
    }

    /// Ends the innermost level by the delimiter in the stash.
    fn end_by_delimiter(&mut self) -> Result<(), Broken> {
        let level = *self.top();
        if level.end.is_some() {
            return Err(self.broken());
        }
        self.put_read(level.fate);
        self.stash.have = 0;
        self.close();
        self.settle();
        Ok(())
    }

    /// Ends every level whose declared length is used up, and looks for what comes next.
    fn settle(&mut self) {
        while self.top().end == Some(self.at) {
            self.close();
        }
        self.state = match self.top().kind {
            Kind::Dataset => State::Element,
            Kind::Sequence => State::Item,
        };
    }

    fn close(&mut self) {
        let level = self.levels.pop().expect(ROOT);
        if level.fate == Fate::Written {
            let delimiter = match level.kind {
                Kind::Dataset => ITEM_END,
                Kind::Sequence => SEQUENCE_END,
            };
            put_delimiter(&mut self.out, delimiter, 0);
        }
    }

    fn begin_fragments(&mut self, tag: Tag, vr: VR, fate: Fate) {
        match fate {
            Fate::Written => put_header(&mut self.out, tag, vr, UNDEFINED),
            Fate::Reported => {
                self.turner = Turner::of_words(1);
                self.begin_pixels();
            }
            Fate::Copied | Fate::Dropped => self.put_read(fate),
        }
        self.state = State::Fragment(fate);
    }

    fn fragment(&mut self, input: &mut &[u8], fate: Fate) -> Result<(), Broken> {
        if !self.fill(input, 8) {
            return Ok(());
        }
        let encoding = self.top().encoding;
        let (tag, length) = (encoding.tag(self.stash.four(0)), encoding.u32(self.stash.four(4)));
        self.put_read(fate);
        if fate == Fate::Written {
            put_delimiter(&mut self.out, tag, length);
        }
        self.stash.have = 0;
        match tag {
            ITEM if length != UNDEFINED => {
                self.begin_fragment();
                self.enter_fragment(u64::from(length), fate);
            }
            SEQUENCE_END => {
                self.end_value(fate);
                self.settle();
            }
            _ => return Err(self.broken()),
        }
        Ok(())
    }

    fn enter_value(&mut self, left: u64, fate: Fate) {
        self.state = State::Value { left, fate };
        if left == 0 {
            self.end_value(fate);
            self.settle();
        }
    }

    fn end_value(&mut self, fate: Fate) {
        match fate {
            Fate::Written => self.turner.end(&mut self.out),
            Fate::Reported => self.end_pixels(),
            Fate::Copied | Fate::Dropped => {}
        }
    }

    fn enter_fragment(&mut self, left: u64, fate: Fate) {
        self.state = if left > 0 { State::FragmentValue { left, fate } } else { State::Fragment(fate) };
    }

    /// Copies the header that was read, if it is to be copied.
    fn put_read(&mut self, fate: Fate) {
        if fate == Fate::Copied {
            self.out.extend_from_slice(&self.stash.bytes[..self.stash.have]);
        }
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

    fn broken(&self) -> Broken {
        Broken(self.at)
    }
}

/// Group lengths, which would not be right any more, and group 0002 in an item.
fn is_dropped(tag: Tag) -> bool {
    tag.element() == 0 || tag.group() == 2
}
