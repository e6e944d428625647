//! Values of undefined length that are fragments (PS3.5 §A.4): items up to a sequence delimiter, the first
//! of them the Basic Offset Table.
//!
//! Invariant: a fragment has a declared length, and the bytes for it.
//! Elsewhere: which fragments make a frame (`dicom::frames`).

use dicom_core::{Tag, VR};

use super::super::pixels::Table;
use super::super::{Reason, ScanError};
use super::{Dataset, Element, ITEM, PIXEL_DATA, SEQUENCE_END, State, Then, UNDEFINED, is_dropped};

/// What one fragment adds to the frame index while it is built.
const FRAGMENT_BYTES: u64 = 5;

const FRAGMENTS: &str = "fragments are read only inside their element";

/// The element whose fragments are being read.
#[derive(Debug)]
pub(super) struct Encapsulated {
    tag: Tag,
    vr: VR,
    value_at: u64,
    /// Items so far, the Basic Offset Table's among them.
    items: u64,
}

impl Dataset {
    pub(super) fn begin_fragments(&mut self, element: Element) -> Result<(), ScanError> {
        let of_frames = self.levels.len() == 1 && element.tag == PIXEL_DATA;
        self.pixels.begin_fragments(of_frames);
        self.encapsulated =
            Some(Encapsulated { tag: element.tag, vr: element.vr, value_at: self.at, items: 0 });
        self.state = State::Fragment;
        Ok(())
    }

    /// Reads the header of a fragment or of the delimiter behind the last.
    pub(super) fn fragment(&mut self, input: &mut &[u8]) -> Result<(), ScanError> {
        if !self.fill(input, 8) {
            return Ok(());
        }
        let encoding = self.top().encoding;
        let (tag, length) = (encoding.tag(self.stash.four(0)), encoding.u32(self.stash.four(4)));
        self.count()?;
        match tag {
            ITEM if length == UNDEFINED => return Err(self.refuse(Reason::UndefinedLength { tag })),
            ITEM => self.begin_fragment(length)?,
            SEQUENCE_END => self.end_fragments(length)?,
            _ => return Err(self.refuse(Reason::Misplaced { tag })),
        }
        self.stash.have = 0;
        Ok(())
    }

    fn begin_fragment(&mut self, length: u32) -> Result<(), ScanError> {
        self.check_end(ITEM, length)?;
        let encapsulated = self.encapsulated.as_mut().expect(FRAGMENTS);
        encapsulated.items += 1;
        let left = u64::from(length);
        if encapsulated.items > 1 {
            if encapsulated.items - 1 > self.limits.fragments {
                return Err(self.refuse(Reason::TooManyFragments { limit: self.limits.fragments }));
            }
            self.afford(FRAGMENT_BYTES)?;
            self.pixels.begin_fragment(self.at - self.stash.have as u64, length);
        } else if self.pixels.wants_basic_table(left) {
            self.afford(left)?;
            return self.enter_table(Table::Basic, left, Then::Fragment);
        }
        self.enter_fragment(left);
        Ok(())
    }

    fn end_fragments(&mut self, length: u32) -> Result<(), ScanError> {
        if length != 0 {
            return Err(self.refuse(Reason::DelimiterLength { tag: SEQUENCE_END }));
        }
        self.check_end(SEQUENCE_END, 0)?;
        let Encapsulated { tag, vr, value_at, .. } = self.encapsulated.take().expect(FRAGMENTS);
        if !self.top().passed_over && !is_dropped(tag) {
            self.push_bulk(tag, vr, value_at, self.at - value_at)?;
        }
        self.settle()
    }

    pub(super) fn enter_fragment(&mut self, left: u64) {
        self.state = if left > 0 { State::FragmentValue(left) } else { State::Fragment };
    }
}
