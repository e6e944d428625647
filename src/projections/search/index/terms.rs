//! Documents by the terms they carry: conditions on terms, and the walk through what satisfies all of them.
//!
//! tantivy's own queries read every posting of every term of a range before they give the first document,
//! and cannot be stopped. Here the terms of a condition are streamed, tested and paid for; what they lead
//! to is a list of postings, or a set of bits when there are several.
//! Invariant: a walk ends with what it found or with the budget's word that it is spent, never in between.
//! Elsewhere: which conditions a filter makes (`conditions`), values in their order (`values`).

use std::rc::Rc;
use std::sync::Arc;

use tantivy::index::InvertedIndexReader;
use tantivy::postings::{BlockSegmentPostings, SegmentPostings, TermInfo};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, SegmentReader, TERMINATED};

use super::{Error, TERM};
use crate::projections::search::budget::Budget;
use crate::projections::search::folding::LAST_CHARACTER;
use crate::projections::search::glob::Glob;

/// Terms between two charges of the budget.
const TERMS_PER_CHARGE: u64 = 256;
/// So many postings cost what a term does: they are packed in blocks of so many.
const POSTINGS_PER_TERM: u64 = 128;

/// Charges the budget for postings that are read.
pub(super) fn charge(budget: &Budget, postings: u64) -> Result<(), Error> {
    Ok(budget.terms(postings.div_ceil(POSTINGS_PER_TERM))?)
}

/// One condition on the terms of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Condition {
    /// It carries one of these; with none of them it is never satisfied.
    Any(Vec<String>),
    /// It carries one that begins with `prefix`, goes on as `keep` says, and lies between the two.
    Span { prefix: String, from: String, to: Option<String>, keep: Keep },
}

/// Which terms of a span count. All is said of what stands behind the span's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Keep {
    All,
    /// A value of this form.
    Like(Glob),
    /// A word that holds this, or ends so.
    Word {
        piece: String,
        ends: bool,
    },
}

impl Keep {
    fn keeps(&self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        match self {
            Self::All => true,
            Self::Like(glob) => glob.matches(text),
            Self::Word { piece, ends: true } => text.ends_with(piece.as_str()),
            Self::Word { piece, ends: false } => text.contains(piece.as_str()),
        }
    }
}

impl Condition {
    pub(in super::super) fn term(term: String) -> Self {
        Self::Any(vec![term])
    }

    /// It carries a term that begins like this.
    pub(in super::super) fn begins(prefix: &str, with: &str) -> Self {
        let to = Some(format!("{with}{LAST_CHARACTER}"));
        Self::Span { prefix: prefix.to_owned(), from: with.to_owned(), to, keep: Keep::All }
    }

    /// Gives the terms of the condition in a segment to `each`, of the first `most` it has to look at. Says
    /// how many those were.
    fn terms(
        &self,
        inverted: &InvertedIndexReader,
        most: u64,
        budget: &Budget,
        mut each: impl FnMut(&TermInfo) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut looked_at = 0;
        match self {
            Self::Any(terms) => {
                budget.terms(terms.len() as u64)?;
                for term in terms {
                    inverted.terms().get(term.as_bytes())?.map_or(Ok(()), |info| each(&info))?;
                }
            }
            Self::Span { prefix, from, to, keep } => {
                let last = || LAST_CHARACTER.to_string();
                let ends =
                    [from.clone(), to.clone().unwrap_or_else(last)].map(|end| format!("{prefix}{end}"));
                let range = inverted.terms().range().ge(ends[0].as_bytes()).le(ends[1].as_bytes());
                let mut stream = range.into_stream()?;
                while looked_at < most && stream.advance() {
                    looked_at += 1;
                    if looked_at % TERMS_PER_CHARGE == 0 {
                        budget.terms(TERMS_PER_CHARGE)?;
                    }
                    if keep.keeps(&stream.key()[prefix.len()..]) {
                        each(stream.value())?;
                    }
                }
                budget.terms(looked_at % TERMS_PER_CHARGE)?;
            }
        }
        Ok(looked_at)
    }

    /// How many documents carry a term of the condition, deleted ones counted, too, and those with several
    /// once for each; only the first `most` terms are looked at. The flag says whether those were all.
    pub(in super::super) fn frequency(
        &self,
        inverted: &InvertedIndexReader,
        most: u64,
        budget: &Budget,
    ) -> Result<(u64, bool), Error> {
        let mut documents = 0;
        let looked_at = self.terms(inverted, most, budget, |info| {
            documents += u64::from(info.doc_freq);
            Ok(())
        })?;
        Ok((documents, looked_at < most))
    }

    /// What satisfies the condition in a segment; `None` if nothing does.
    fn found(&self, segment: &Segment<'_>, budget: &Budget) -> Result<Option<Found>, Error> {
        let mut first: Option<TermInfo> = None;
        let mut several = None;
        let inverted = &segment.inverted;
        self.terms(inverted, u64::MAX, budget, |info| {
            let Some(first) = &first else {
                first = Some(info.clone());
                return Ok(());
            };
            let (bits, list) = match &mut several {
                Some(several) => several,
                None => {
                    let mut bits = Bits::with(segment.reader.max_doc());
                    let basic = IndexRecordOption::Basic;
                    let mut list = inverted.read_block_postings_from_terminfo(first, basic)?;
                    bits.insert_all(&mut list, budget)?;
                    several.insert((bits, list))
                }
            };
            // One list serves all terms: there may be tens of thousands, each with a document or two.
            inverted.reset_block_postings_from_terminfo(info, list)?;
            bits.insert_all(list, budget)
        })?;
        Ok(match several {
            Some((bits, _)) => Some(Found::Bits(Rc::new(bits))),
            None => first.map(Found::Term),
        })
    }
}

pub(super) fn postings(inverted: &InvertedIndexReader, info: &TermInfo) -> Result<SegmentPostings, Error> {
    Ok(inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?)
}

/// A segment with its terms.
pub(super) struct Segment<'s> {
    pub(super) reader: &'s SegmentReader,
    pub(super) inverted: Arc<InvertedIndexReader>,
}

impl<'s> Segment<'s> {
    pub(super) fn of(reader: &'s SegmentReader) -> Result<Self, Error> {
        let term = reader.schema().get_field(TERM)?;
        Ok(Self { reader, inverted: reader.inverted_index(term)? })
    }
}

/// A set of documents of one segment.
#[derive(Clone, Debug)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn with(documents: DocId) -> Self {
        Self(vec![0; documents.div_ceil(u64::BITS) as usize])
    }

    pub(super) fn insert(&mut self, document: DocId) {
        self.0[(document / u64::BITS) as usize] |= 1 << (document % u64::BITS);
    }

    fn insert_all(&mut self, list: &mut BlockSegmentPostings, budget: &Budget) -> Result<(), Error> {
        charge(budget, u64::from(list.doc_freq()))?;
        while !list.docs().is_empty() {
            list.docs().iter().for_each(|document| self.insert(*document));
            list.advance();
        }
        Ok(())
    }

    /// The first document from `from` on.
    fn next(&self, from: DocId) -> DocId {
        let mut at = (from / u64::BITS) as usize;
        let Some(word) = self.0.get(at) else { return TERMINATED };
        let mut word = word & (u64::MAX << (from % u64::BITS));
        while word == 0 {
            at += 1;
            match self.0.get(at) {
                Some(next) => word = *next,
                None => return TERMINATED,
            }
        }
        DocId::try_from(at).map_or(TERMINATED, |at| at * u64::BITS + word.trailing_zeros())
    }
}

/// What satisfies one condition in a segment.
#[derive(Clone)]
enum Found {
    Term(TermInfo),
    Bits(Rc<Bits>),
}

impl Found {
    fn cursor(&self, inverted: &InvertedIndexReader) -> Result<Cursor, Error> {
        Ok(match self {
            Self::Term(info) => Cursor::Postings(Box::new(postings(inverted, info)?)),
            Self::Bits(bits) => Cursor::Bits(Rc::clone(bits)),
        })
    }
}

/// Which documents are asked for.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Conditions {
    /// They satisfy all of these …
    pub(in super::super) all: Vec<Condition>,
    /// … and none of these.
    pub(in super::super) but: Vec<Condition>,
}

/// What satisfies the conditions in a segment; can be walked more than once.
pub(super) struct Matching<'s> {
    pub(super) segment: Segment<'s>,
    /// The fewest documents first.
    found: Vec<Found>,
    but: Vec<Found>,
}

impl<'s> Matching<'s> {
    /// `None` if nothing does.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(super) fn of(
        reader: &'s SegmentReader,
        conditions: &Conditions,
        budget: &Budget,
    ) -> Result<Option<Self>, Error> {
        let segment = Segment::of(reader)?;
        let mut found = Vec::with_capacity(conditions.all.len());
        for condition in &conditions.all {
            let Some(one) = condition.found(&segment, budget)? else { return Ok(None) };
            found.push(one);
        }
        let but = conditions.but.iter().map(|condition| condition.found(&segment, budget));
        let but = but.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|found| match found {
            Found::Term(info) => info.doc_freq,
            // Its number would have to be counted; it takes little to ask.
            Found::Bits(_) => DocId::MAX,
        });
        Ok(Some(Self { segment, found, but }))
    }

    /// Those that carry this term, too, if that is given.
    pub(super) fn walk(&self, with: Option<&TermInfo>) -> Result<Walk<'_>, Error> {
        let cursor = |found: &Found| found.cursor(&self.segment.inverted);
        let mut cursors = Vec::with_capacity(self.found.len() + 1);
        if let Some(info) = with {
            cursors.push(cursor(&Found::Term(info.clone()))?);
        }
        for found in &self.found {
            cursors.push(cursor(found)?);
        }
        let but = self.but.iter().map(cursor).collect::<Result<Vec<_>, _>>()?;
        Ok(Walk { reader: self.segment.reader, cursors, but, from: 0 })
    }

    /// The same as a set of bits: dearer to make, and cheaper to ask many times.
    pub(super) fn gather(self, budget: &Budget) -> Result<Self, Error> {
        if matches!((self.found.as_slice(), self.but.as_slice()), ([Found::Bits(_)], [])) {
            return Ok(self);
        }
        let mut bits = Bits::with(self.segment.reader.max_doc());
        let mut walked = 0;
        for document in self.walk(None)? {
            bits.insert(document);
            walked += 1;
        }
        charge(budget, walked)?;
        Ok(Self { segment: self.segment, found: vec![Found::Bits(Rc::new(bits))], but: Vec::new() })
    }
}

enum Cursor {
    Postings(Box<SegmentPostings>),
    Bits(Rc<Bits>),
}

impl Cursor {
    /// The first document from `from` on; `from` never falls.
    fn seek(&mut self, from: DocId) -> DocId {
        match self {
            Self::Postings(postings) if postings.doc() < from => postings.seek(from),
            Self::Postings(postings) => postings.doc(),
            Self::Bits(bits) => bits.next(from),
        }
    }
}

/// Live documents that satisfy the conditions, one after the other.
pub(super) struct Walk<'m> {
    reader: &'m SegmentReader,
    cursors: Vec<Cursor>,
    but: Vec<Cursor>,
    from: DocId,
}

impl Iterator for Walk<'_> {
    type Item = DocId;

    fn next(&mut self) -> Option<DocId> {
        let documents = self.reader.max_doc();
        while self.from < documents {
            let mut document = self.from;
            for cursor in &mut self.cursors {
                document = cursor.seek(document);
                if document != self.from {
                    break;
                }
            }
            if document != self.from {
                self.from = document;
                continue;
            }
            self.from += 1;
            let excepted = self.but.iter_mut().any(|but| but.seek(document) == document);
            if !excepted && !self.reader.is_deleted(document) {
                return Some(document);
            }
        }
        None
    }
}
