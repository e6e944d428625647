//! The tantivy index: finds the studies and series that may satisfy a filter, newest first.
//!
//! One document for each study and each series, with two fields: `term` (whole texts, below) and `id`, the
//! number of the record. A series' document carries the terms of its study, too. Nothing is stored.
//! ```text
//! S partition            a study          E partition            a series
//! K partition \0 study   of this study    x tag value            folded value of an attribute
//! w tag word             folded word of a person name
//! x 00080016 number      the series holds this SOP class   x 00080016 *   it may hold any
//! ```
//! Invariant: the payload of a commit names the format, the log and the position up to which the documents
//! say what the rows said; an index with another name is not used.
//! Invariant: what is found is a superset of what matches; `matching` judges every candidate.
//! Elsewhere: which studies the documents are behind on (`overlay`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{
    DocSet, IndexReader, IndexWriter, Order, ReloadPolicy, Searcher, TERMINATED, TantivyDocument, Term,
};
use uuid::Uuid;

use super::attributes::{Attribute, Kind, SERIES, STUDY};
use super::folding::{LAST_CHARACTER, fold, words};
use super::matching::{Filter, On, Test};
use super::names::Classes;
use super::query::Level;
use super::rows::{Id, StudyRecords};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;

/// Changes with the documents, and with the rows they are made of.
const FORMAT: &str = "search-index-2 of search-rows-6";
/// Memory of the writer's one thread; tantivy takes no less.
const WRITER_BYTES: usize = 15_000_000;
const WRITERS: usize = 1;
const ID: &str = "id";

/// Where the index lies.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Memory,
    Folder { path: PathBuf, log: Uuid },
}

/// Why the index cannot be used. Whatever it is, the cure is to make it again from the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("there is no search index")]
    Missing,
    #[error("the search index belongs to {0}")]
    Foreign(String),
    #[error("the search index is damaged: {0}")]
    Damaged(String),
}

impl From<tantivy::TantivyError> for Error {
    fn from(error: tantivy::TantivyError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// What a commit says about itself.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Payload {
    format: String,
    log: Uuid,
    cursor: Position,
}

/// The index and its one writer.
pub(super) struct Index {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Fields,
    log: Uuid,
    cursor: Position,
    /// Nothing was ever deleted or replaced: a study need not be looked for before it is added.
    fresh: bool,
}

#[derive(Clone, Copy)]
struct Fields {
    term: Field,
    id: Field,
}

fn schema() -> (Schema, Fields) {
    let whole = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let mut schema = Schema::builder();
    let term = schema.add_text_field("term", TextOptions::default().set_indexing_options(whole));
    let id = schema.add_u64_field(ID, FAST);
    (schema.build(), Fields { term, id })
}

/// Runs calls of tantivy; a panic in it means damage as an error does.
fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Error::Damaged(text.unwrap_or_else(|| "tantivy panicked".to_owned())))
    })
}

impl Place {
    fn log(&self) -> Uuid {
        match self {
            Self::Memory => Uuid::nil(),
            Self::Folder { log, .. } => *log,
        }
    }
}

impl Index {
    /// Opens the index that is there.
    ///
    /// # Errors
    /// [`Error`]: it cannot be used.
    pub(super) fn open(place: &Place) -> Result<Self, Error> {
        let Place::Folder { path, .. } = place else { return Err(Error::Missing) };
        if !path.join("meta.json").exists() {
            return Err(Error::Missing);
        }
        guarded(|| {
            let (schema, fields) = schema();
            let index = tantivy::Index::open_in_dir(path)?;
            let payload = index.load_metas()?.payload.unwrap_or_default();
            let found = serde_json::from_str::<Payload>(&payload)
                .map_err(|_| Error::Foreign(format!("nobody we know: '{payload}'")))?;
            if found.format != FORMAT || found.log != place.log() || index.schema() != schema {
                return Err(Error::Foreign(format!("{} of log {}", found.format, found.log)));
            }
            let damaged = index.validate_checksum()?;
            if !damaged.is_empty() {
                return Err(Error::Damaged(format!("wrong checksum: {damaged:?}")));
            }
            Self::with(&index, fields, place.log(), found.cursor)
        })
    }

    /// Makes an empty index; what lies in its place is deleted.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn create(place: &Place) -> Result<Self, Error> {
        guarded(|| {
            let (schema, fields) = schema();
            let index = match place {
                Place::Memory => tantivy::Index::create_in_ram(schema),
                Place::Folder { path, .. } => {
                    if path.exists() {
                        std::fs::remove_dir_all(path)?;
                    }
                    std::fs::create_dir_all(path)?;
                    let folder =
                        MmapDirectory::open(path).map_err(|error| Error::Damaged(error.to_string()))?;
                    tantivy::Index::create(folder, schema, tantivy::IndexSettings::default())?
                }
            };
            let mut created = Self::with(&index, fields, place.log(), Position(0))?;
            created.fresh = true;
            Ok(created)
        })
    }

    fn with(index: &tantivy::Index, fields: Fields, log: Uuid, cursor: Position) -> Result<Self, Error> {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let writer = index.writer_with_num_threads(WRITERS, WRITER_BYTES)?;
        Ok(Self { writer, reader, fields, log, cursor, fresh: false })
    }

    /// The documents say what the rows said when they were the view up to here, but for studies touched since.
    pub(super) fn cursor(&self) -> Position {
        self.cursor
    }

    pub(super) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Replaces the documents of a study: by those of its records, or by none.
    ///
    /// # Errors
    /// The index cannot be written.
    pub(super) fn replace(
        &mut self,
        partition: &Partition,
        uid: &Uid,
        records: Option<&StudyRecords>,
    ) -> Result<(), Error> {
        let Self { writer, fields, fresh, .. } = self;
        guarded(|| {
            let of_study = study_term(partition, uid.as_str());
            if !*fresh {
                writer.delete_term(Term::from_field_text(fields.term, &of_study));
            }
            let Some(StudyRecords { id, study, series }) = records else { return Ok(()) };
            let mut shared = vec![of_study];
            add_terms(&mut shared, &STUDY, &study.values);
            shared.extend(
                study
                    .modalities
                    .keys()
                    .map(|modality| exact_term(MODALITIES_KEY, &fold(Kind::Text, modality))),
            );
            writer.add_document(document(*fields, *id, &set_term(Level::Study, partition), &shared, &[]))?;
            for (id, row) in series {
                let mut own = vec![exact_term(SERIES_UID_KEY, row.uid.as_str())];
                add_terms(&mut own, &SERIES, &row.values);
                own.extend(class_terms(&row.classes));
                let set = set_term(Level::Series, partition);
                writer.add_document(document(*fields, *id, &set, &shared, &own))?;
            }
            Ok(())
        })
    }

    /// Makes the documents so far findable, and durable with `cursor`.
    ///
    /// # Errors
    /// The index cannot be written.
    pub(super) fn commit(&mut self, cursor: Position) -> Result<Searcher, Error> {
        let payload = Payload { format: FORMAT.to_owned(), log: self.log, cursor };
        let payload = serde_json::to_string(&payload).map_err(|error| Error::Damaged(error.to_string()))?;
        let Self { writer, reader, .. } = self;
        guarded(|| {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&payload);
            prepared.commit()?;
            reader.reload()?;
            Ok(())
        })?;
        self.cursor = cursor;
        self.fresh = false;
        Ok(self.reader.searcher())
    }
}

const MODALITIES_KEY: &str = "00080061";
const SERIES_UID_KEY: &str = "0020000E";
const CLASS_KEY: &str = "00080016";
/// Stands for the numbers of a series that holds too many to name.
const ANY_CLASS: &str = "*";

fn set_term(level: Level, partition: &Partition) -> String {
    match level {
        Level::Study => format!("S{partition}"),
        Level::Series | Level::Instance => format!("E{partition}"),
    }
}

fn study_term(partition: &Partition, study: &str) -> String {
    format!("K{partition}\0{study}")
}

fn exact_term(key: &str, folded: &str) -> String {
    format!("x{key}{folded}")
}

fn word_term(key: &str, word: &str) -> String {
    format!("w{key}{word}")
}

fn class_terms(classes: &Classes) -> Vec<String> {
    match classes {
        Classes::These(names) => names.iter().map(|name| exact_term(CLASS_KEY, &name.to_string())).collect(),
        Classes::Any => vec![exact_term(CLASS_KEY, ANY_CLASS)],
    }
}

fn add_terms(terms: &mut Vec<String>, attributes: &[Attribute], values: &[Option<String>]) {
    for (attribute, value) in attributes.iter().zip(values) {
        let Some(value) = value else { continue };
        terms.push(exact_term(attribute.key, &fold(attribute.kind, value)));
        if attribute.kind == Kind::Name {
            terms.extend(words(value).iter().map(|word| word_term(attribute.key, word)));
        }
    }
}

fn document(fields: Fields, id: Id, set: &str, shared: &[String], own: &[String]) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_u64(fields.id, id);
    document.add_text(fields.term, set);
    for term in shared.iter().chain(own) {
        document.add_text(fields.term, term);
    }
    document
}

/// The newest `limit` records of `level` that may satisfy `filters`, newest first; fewer than `limit` only
/// if there are no more.
///
/// # Errors
/// The index is damaged.
pub(super) fn candidates(
    searcher: &Searcher,
    level: Level,
    partition: &Partition,
    filters: &[Filter],
    limit: usize,
) -> Result<Vec<Id>, Error> {
    let field = schema().1.term;
    let term = |text: &str| Term::from_field_text(field, text);
    let must = |query: Box<dyn Query>| (Occur::Must, query);
    let equal = |text: &str| must(Box::new(TermQuery::new(term(text), IndexRecordOption::Basic)));
    let between = |from: &str, to: &str| {
        let (from, to) = (Bound::Included(term(from)), Bound::Included(term(to)));
        must(Box::new(InvertedIndexRangeQuery::new(from, to)))
    };
    let mut clauses = vec![equal(&set_term(level, partition))];
    for Filter { on, test } in filters {
        let Some(key) = key_of(*on) else {
            if let (On::StudyInstanceUid, Test::Equal(uid)) = (on, test) {
                clauses.push(equal(&study_term(partition, uid)));
            }
            continue;
        };
        match test {
            Test::Equal(folded) => clauses.push(equal(&exact_term(key, folded))),
            Test::Between(from, to) => {
                let from = exact_term(key, from.as_deref().unwrap_or_default());
                let last = || LAST_CHARACTER.to_string();
                clauses.push(between(&from, &exact_term(key, &to.clone().unwrap_or_else(last))));
            }
            Test::Named(name) => {
                let one_of = [name.to_string(), ANY_CLASS.to_owned()].map(|name| {
                    let term = TermQuery::new(term(&exact_term(key, &name)), IndexRecordOption::Basic);
                    (Occur::Should, Box::new(term) as Box<dyn Query>)
                });
                clauses.push(must(Box::new(BooleanQuery::new(one_of.into()))));
            }
            Test::Words(wanted) if wanted.is_empty() => clauses.push(must(Box::new(EmptyQuery))),
            Test::Words(wanted) => clauses.extend(wanted.iter().map(|word| {
                let from = word_term(key, word);
                between(&from, &format!("{from}{LAST_CHARACTER}"))
            })),
        }
    }
    guarded(|| {
        let all = usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX).max(1);
        let newest = TopDocs::with_limit(limit.clamp(1, all)).order_by_fast_field::<u64>(ID, Order::Desc);
        let found = searcher.search(&BooleanQuery::new(clauses), &newest)?;
        let id = |id: Option<u64>| id.ok_or_else(|| Error::Damaged("a document has no id".to_owned()));
        found.into_iter().map(|(found, _)| id(found)).collect()
    })
}

/// How many documents carry the rarest value that is asked for as a whole; `None` when none is. Deleted
/// documents and other partitions count, too.
///
/// # Errors
/// The index is damaged.
pub(super) fn rarest_frequency(
    searcher: &Searcher,
    partition: &Partition,
    filters: &[Filter],
) -> Result<Option<u64>, Error> {
    let field = schema().1.term;
    let terms = filters.iter().filter_map(|Filter { on, test }| {
        let value = match test {
            Test::Equal(value) => value,
            // Those that may hold any are few, and judged like all others.
            Test::Named(name) => &name.to_string(),
            Test::Between(..) | Test::Words(_) => return None,
        };
        match on {
            On::StudyInstanceUid => Some(study_term(partition, value)),
            _ => key_of(*on).map(|key| exact_term(key, value)),
        }
    });
    guarded(|| {
        let frequencies = terms.map(|term| searcher.doc_freq(&Term::from_field_text(field, &term)));
        Ok(frequencies.collect::<Result<Vec<_>, _>>()?.into_iter().min())
    })
}

/// The tag in the terms of an attribute that has terms of its own.
fn key_of(on: On) -> Option<&'static str> {
    match on {
        On::Study(at) => Some(STUDY[at].key),
        On::Series(at) => Some(SERIES[at].key),
        On::ModalitiesInStudy => Some(MODALITIES_KEY),
        On::SeriesInstanceUid => Some(SERIES_UID_KEY),
        On::SopClass => Some(CLASS_KEY),
        On::StudyInstanceUid | On::SopInstanceUid => None,
    }
}

/// Every term with the records that carry it, sorted: all that the index can answer.
///
/// # Errors
/// The index is damaged.
pub(super) fn dump(searcher: &Searcher) -> Result<Vec<String>, Error> {
    let term_field = schema().1.term;
    let mut terms: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    guarded(|| {
        for segment in searcher.segment_readers() {
            let ids = segment.fast_fields().u64(ID)?;
            let inverted = segment.inverted_index(term_field)?;
            let mut stream = inverted.terms().stream()?;
            while stream.advance() {
                let text = String::from_utf8_lossy(stream.key()).escape_debug().to_string();
                let mut postings =
                    inverted.read_postings_from_terminfo(stream.value(), IndexRecordOption::Basic)?;
                while postings.doc() != TERMINATED {
                    if !segment.is_deleted(postings.doc()) {
                        terms.entry(text.clone()).or_default().extend(ids.first(postings.doc()));
                    }
                    postings.advance();
                }
            }
        }
        Ok(())
    })?;
    let line = |(term, mut ids): (String, Vec<Id>)| {
        ids.sort_unstable();
        format!("index {term} {ids:?}")
    };
    Ok(terms.into_iter().map(line).collect())
}
