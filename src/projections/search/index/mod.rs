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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{IndexReader, IndexWriter, Order, ReloadPolicy, Searcher, Term};
use uuid::Uuid;

use super::attributes::{Attributes, Level};
use super::matching::Filter;
use super::rows::{Id, StudyRecords};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;

mod documents;
mod dump;
mod terms;

pub(super) use dump::dump;
pub(super) use terms::rarest_frequency;

/// Changes with the documents, and with the rows they are made of.
const FORMAT: &str = "search-index-2 of search-rows-7";
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
        attributes: &Attributes,
        partition: &Partition,
        uid: &Uid,
        records: Option<&StudyRecords>,
    ) -> Result<(), Error> {
        let Self { writer, fields, fresh, .. } = self;
        guarded(|| {
            if !*fresh {
                let of_study = terms::study_term(partition, uid.as_str());
                writer.delete_term(Term::from_field_text(fields.term, &of_study));
            }
            let Some(records) = records else { return Ok(()) };
            for document in documents::documents(*fields, attributes, partition, records) {
                writer.add_document(document)?;
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

/// The newest `limit` records of `level` that may satisfy `filters`, newest first; fewer than `limit` only
/// if there are no more.
///
/// # Errors
/// The index is damaged.
pub(super) fn candidates(
    attributes: &Attributes,
    searcher: &Searcher,
    level: Level,
    partition: &Partition,
    filters: &[Filter],
    limit: usize,
) -> Result<Vec<Id>, Error> {
    let query = terms::query_of(attributes, level, partition, filters);
    guarded(|| {
        let all = usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX).max(1);
        let newest = TopDocs::with_limit(limit.clamp(1, all)).order_by_fast_field::<u64>(ID, Order::Desc);
        let found = searcher.search(&query, &newest)?;
        let id = |id: Option<u64>| id.ok_or_else(|| Error::Damaged("a document has no id".to_owned()));
        found.into_iter().map(|(found, _)| id(found)).collect()
    })
}
