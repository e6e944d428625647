//! The stack of open datasets and sequences, innermost last; no recursion anywhere.
//!
//! Invariant: datasets and sequences alternate, and the first is the file's own dataset.
//! Elsewhere: opening and closing (`scan::dataset`).

use std::fmt::Write;

use dicom_core::Tag;

use super::vr::Encoding;

/// One open dataset or sequence.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) kind: Kind,
    /// Where it ends, if a length was declared.
    pub(super) end: Option<u64>,
    /// The nearest end of this level and all around it.
    pub(super) bound: u64,
    pub(super) encoding: Encoding,
    /// Walked, but not kept.
    pub(super) passed_over: bool,
    /// Pixel Representation is 1, here or in the nearest dataset around that has it.
    pub(super) signed: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The file's own dataset, or an item's.
    Dataset {
        /// Tags so far.
        seen: Vec<Tag>,
        /// Whether each was greater than the one before.
        in_order: bool,
    },
    Sequence {
        tag: Tag,
        /// Offset of the first item.
        value_at: u64,
        /// Items begun.
        items: u32,
    },
}

impl Level {
    /// The file's own dataset, which nothing bounds.
    pub(super) fn root(encoding: Encoding) -> Self {
        Self {
            kind: Kind::Dataset { seen: Vec::new(), in_order: true },
            end: None,
            bound: u64::MAX,
            encoding,
            passed_over: false,
            signed: false,
        }
    }

    /// Notes one more tag; false if it is the same as the last.
    pub(super) fn see(&mut self, tag: Tag) -> bool {
        let Kind::Dataset { seen, in_order } = &mut self.kind else { return true };
        let last = seen.last().copied();
        *in_order &= last < Some(tag);
        seen.push(tag);
        last != Some(tag)
    }
}

/// The path of an element of the innermost dataset: tags and item numbers (`studies.md` §3.6.2).
pub(super) fn path_of(levels: &[Level], tag: Tag) -> String {
    let mut path = String::new();
    for level in levels {
        if let Kind::Sequence { tag, items, .. } = &level.kind {
            write!(path, "{:04X}{:04X}/{items}/", tag.group(), tag.element())
                .expect("a String takes any text");
        }
    }
    write!(path, "{:04X}{:04X}", tag.group(), tag.element()).expect("a String takes any text");
    path
}
