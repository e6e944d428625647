//! The tantivy index: finds the studies and series that may satisfy filters, and values in their order.
//!
//! One document for each study and each series, with the field `term` (whole texts: `documents`) and two
//! columns: `id`, the number of the record, and `weight`, its instances. Nothing is stored. An attribute is
//! a kind of terms, so one more changes nothing here. How a question is answered: filters become conditions
//! on terms (`conditions`), those are walked segment by segment (`terms`), and what they lead to is the
//! newest records, their number, or their values in order (`values`, `ranks`).
//! Invariant: the payload of a commit names the format, the log and the position up to which the documents
//! say what the rows said; an index with another name is not used.
//! Invariant: what is found is a superset of what matches, and the same where a condition is exact.
//! Elsewhere: which studies the documents are behind on (`overlay`), judging what is found (`matching`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tantivy::directory::MmapDirectory;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::schema::{FAST, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, Term};
use uuid::Uuid;

use self::documents::Fields;
use self::merging::Merging;
use self::ranks::Ranks;
use self::values::Opened;
use super::attributes::Attributes;
use super::budget::{Budget, Spent};
use super::rows::{Id, SearchRows, StudyRecords};
use crate::base::{Partition, Position};
use crate::dicom::uid::Uid;
use crate::projections::Projection;

mod conditions;
mod documents;
mod dump;
mod merging;
mod ranks;
mod terms;
mod values;

pub(super) use conditions::{dirty, of_level, order_prefix, sought};
pub(super) use dump::dump;
pub(super) use merging::Pace;
pub(super) use ranks::{Loose, Question, Ranked, rank, select};
pub(super) use terms::{Condition, Conditions};
pub(super) use values::{Counted, Group, Span};

/// Changes with the documents.
const FORMAT: &str = "search-index-3";
/// Memory of the writer's one thread; tantivy takes no less.
const WRITER_BYTES: usize = 15_000_000;
const TERM: &str = "term";
const ID: &str = "id";
const WEIGHT: &str = "weight";

/// The documents follow from the rows: other rows, other documents.
fn format() -> String {
    format!("{FORMAT} of {}", SearchRows::FORMAT)
}

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
    /// Nothing is wrong with the index.
    #[error(transparent)]
    Spent(#[from] Spent),
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

/// The documents of one commit. Clones are cheap.
#[derive(Clone)]
pub(super) struct Searcher {
    documents: tantivy::Searcher,
    ranks: Arc<Ranks>,
    columns: Arc<Opened>,
}

impl Searcher {
    /// How much of it there is.
    pub(super) fn sizes(&self) -> IndexSizes {
        let segments = self.documents.segment_readers();
        let deleted = segments.iter().map(|segment| u64::from(segment.num_deleted_docs())).sum();
        IndexSizes { segments: segments.len() as u64, documents: self.documents.num_docs(), deleted }
    }

    /// Ranks by this question, without the documents that `changed` says.
    ///
    /// # Errors
    /// The budget is spent, or the index damaged.
    pub(super) fn ranks(
        &self,
        question: &Question,
        changed: &Condition,
        budget: &Budget,
    ) -> Result<Vec<Box<dyn Ranked + '_>>, Error> {
        guarded(|| self.ranks.of(self, question, changed, budget))
    }
}

/// How much of an index there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexSizes {
    /// Segments.
    pub segments: u64,
    /// Documents that are found.
    pub documents: u64,
    /// Documents that are not any more, until their segments are merged.
    pub deleted: u64,
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
    merging: Merging,
    ranks: Arc<Ranks>,
    columns: Arc<Opened>,
}

fn schema() -> (Schema, Fields) {
    let whole = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let mut schema = Schema::builder();
    let term = schema.add_text_field(TERM, TextOptions::default().set_indexing_options(whole));
    let id = schema.add_u64_field(ID, FAST);
    let weight = schema.add_u64_field(WEIGHT, FAST);
    (schema.build(), Fields { term, id, weight })
}

/// Runs calls of tantivy; a panic in it means damage as an error does.
fn guarded<T, E: From<Error>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Error::Damaged(text.unwrap_or_else(|| "tantivy panicked".to_owned())).into())
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
            if found.format != format() || found.log != place.log() || index.schema() != schema {
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
        // One merge at a time, chosen by `merging`: tantivy's own would take four threads, and never look at
        // what is deleted.
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .memory_budget_per_thread(WRITER_BYTES)
            .num_merge_threads(1)
            .build();
        let writer: IndexWriter = index.writer_with_options(options)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        Ok(Self {
            writer,
            reader,
            fields,
            log,
            cursor,
            fresh: false,
            merging: Merging::default(),
            ranks: Arc::default(),
            columns: Arc::default(),
        })
    }

    /// The documents say what the rows said when they were the view up to here, but for studies touched since.
    pub(super) fn cursor(&self) -> Position {
        self.cursor
    }

    pub(super) fn searcher(&self) -> Searcher {
        let documents = self.reader.searcher();
        self.columns.keep(documents.segment_readers());
        Searcher { documents, ranks: Arc::clone(&self.ranks), columns: Arc::clone(&self.columns) }
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
                let of_study = documents::study_term(partition, uid.as_str());
                writer.delete_term(Term::from_field_text(fields.term, &of_study));
            }
            let Some(records) = records else { return Ok(()) };
            for document in documents::documents(*fields, attributes, partition, records) {
                writer.add_document(document)?;
            }
            Ok::<_, Error>(())
        })
    }

    /// Makes the documents so far findable, and durable with `cursor`.
    ///
    /// # Errors
    /// The index cannot be written.
    pub(super) fn commit(&mut self, cursor: Position) -> Result<Searcher, Error> {
        let payload = Payload { format: format(), log: self.log, cursor };
        let payload = serde_json::to_string(&payload).map_err(|error| Error::Damaged(error.to_string()))?;
        let Self { writer, reader, .. } = self;
        let began = Instant::now();
        guarded(|| {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&payload);
            prepared.commit()?;
            reader.reload()?;
            Ok::<_, Error>(())
        })?;
        metrics::histogram!("kymo_search_commit_seconds").record(began.elapsed().as_secs_f64());
        self.cursor = cursor;
        self.fresh = false;
        Ok(self.searcher())
    }

    /// Ends the merge that is through, and starts the next one that is due. A searcher that knows the merged
    /// segments, if there are any new ones.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub(super) fn merge(&mut self, pace: Pace) -> Result<Option<Searcher>, Error> {
        let Self { writer, reader, merging, .. } = self;
        let ended = guarded(|| {
            let ended = merging.ended()?;
            if ended {
                reader.reload()?;
            }
            merging.start(writer, &reader.searcher(), pace);
            Ok::<_, Error>(ended)
        })?;
        Ok(ended.then(|| self.searcher()))
    }

    /// Merges that were made and whether one is being made.
    pub(super) fn merges(&self) -> (u64, bool) {
        self.merging.made()
    }
}

/// The newest `most` records that satisfy the conditions, newest first.
///
/// # Errors
/// The budget is spent, or the index damaged.
pub(super) fn newest(
    searcher: &Searcher,
    conditions: &Conditions,
    most: usize,
    budget: &Budget,
) -> Result<Vec<Id>, Error> {
    guarded(|| values::Found::of(searcher, conditions, budget)?.newest(most, budget))
}

/// How many records satisfy the conditions.
///
/// # Errors
/// The budget is spent, or the index damaged.
pub(super) fn count(searcher: &Searcher, conditions: &Conditions, budget: &Budget) -> Result<Counted, Error> {
    guarded(|| values::Found::of(searcher, conditions, budget)?.count(budget))
}

/// Gives the values of a span, each with the records that have it and satisfy the conditions, to `visit`.
///
/// # Errors
/// The budget is spent, or the index damaged, or what `visit` says.
pub(super) fn in_order<E: From<Error>>(
    searcher: &Searcher,
    conditions: &Conditions,
    span: &Span,
    budget: &Budget,
    visit: impl FnMut(&str, &Group<'_, '_>) -> Result<std::ops::ControlFlow<()>, E>,
) -> Result<(), E> {
    guarded(|| values::Found::of(searcher, conditions, budget)?.in_order(span, budget, visit))
}

/// How many documents satisfy a condition, those of all partitions and deleted ones counted, too; at most
/// the first `most` terms of each segment are looked at. The flag says whether those were all.
///
/// # Errors
/// The budget is spent, or the index damaged.
pub(super) fn frequency(
    searcher: &Searcher,
    condition: &Condition,
    most: u64,
    budget: &Budget,
) -> Result<(u64, bool), Error> {
    guarded(|| {
        let (mut documents, mut all) = (0, true);
        for reader in searcher.documents.segment_readers() {
            let segment = terms::Segment::of(reader)?;
            let (found, whole) = condition.frequency(&segment.inverted, most, budget)?;
            documents += found;
            all &= whole;
        }
        Ok((documents, all))
    })
}
