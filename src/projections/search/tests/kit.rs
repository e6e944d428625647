//! A small fold that makes commits, and the view driven by hand: no threads, no clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dicom_core::VR;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::base::{Partition, Position, Stamp};
use crate::dicom::uid::Uid;
use crate::event::codec::{self, Sections};
use crate::event::{
    Action, Actor, Change, Commit, Head, InstanceKey, Outcome, Payload, ReceivedInstance, Refusal, Scope,
    Section, StoreMode, StoredFile,
};
use crate::projections::search::attributes::{
    Attribute, AttributeId, Attributes, Level, Path as TagsOf, Role, Tag,
};
use crate::projections::search::budget::{BROAD, Budget};
use crate::projections::search::find::{Answer, FindError, Hit, find, find_by};
use crate::projections::search::overlay::Overlay;
use crate::projections::search::plan::{Plan, Shape};
use crate::projections::search::query::{Asking, QueryError, Resource, SearchQuery, Wants};
use crate::projections::search::rows::SearchRows;
use crate::projections::search::{Version, dump, index};
use crate::projections::{CommitSource, Projection};
use crate::tables::{Engine, Keeping, Table};

pub(super) fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

pub(super) fn partition(name: &str) -> Partition {
    Partition::parse(name).unwrap()
}

pub(super) fn key(study: &str, series: &str, instance: &str) -> InstanceKey {
    InstanceKey { study: uid(study), series: uid(series), instance: uid(instance) }
}

/// DICOM JSON of an instance with these elements besides its UIDs.
pub(super) fn metadata(key: &InstanceKey, elements: &Value) -> Value {
    let mut all = json!({
        "00080018": {"vr": "UI", "Value": [key.instance.as_str()]},
        "0020000D": {"vr": "UI", "Value": [key.study.as_str()]},
        "0020000E": {"vr": "UI", "Value": [key.series.as_str()]},
    });
    all.as_object_mut().unwrap().extend(elements.as_object().unwrap().clone());
    all
}

/// The first value of an element. The tests take the transfer syntax from (0008,3002).
fn first<'v>(elements: &'v Value, key: &str) -> Option<&'v str> {
    elements[key]["Value"][0].as_str()
}

/// What a fold makes of stores and deletes.
#[derive(Default)]
pub(super) struct Fold {
    pub(super) live: BTreeMap<(Partition, InstanceKey), u64>,
    pub(super) commits: Vec<Arc<Commit>>,
    sequence: u64,
}

impl Fold {
    pub(super) fn store(
        &mut self,
        partition: &Partition,
        key: &InstanceKey,
        mode: StoreMode,
        elements: &Value,
    ) -> Arc<Commit> {
        let there = self.live.contains_key(&(partition.clone(), key.clone()));
        let action = if there { Action::Update } else { Action::Create };
        let instance = ReceivedInstance {
            key: key.clone(),
            received: [None, None, None],
            sop_class: first(elements, "00080016").unwrap_or("1.2.840.10008.5.1.4.1.1.2").to_owned(),
            transfer_syntax: first(elements, "00083002").unwrap_or("1.2.840.10008.1.2.1").to_owned(),
            file: StoredFile { key: "file".to_owned(), length_bytes: 1, sha256: [0; 32] },
            dataset_offset: 0,
            warnings: Vec::new(),
            derived_by: 1,
            expires_after_ms: None,
        };
        let mut sections = Sections::default();
        let metadata = metadata(key, elements).to_string();
        sections.push(Section::Metadata, metadata.as_bytes()).unwrap();
        let outcome = if there && mode == StoreMode::Create {
            Outcome::Refused(Refusal::AlreadyStored)
        } else {
            self.sequence += 1;
            self.live.insert((partition.clone(), key.clone()), self.sequence);
            Outcome::Accepted(vec![self.change(partition, key, action, self.sequence)])
        };
        self.commit(partition, Payload::InstanceStored { instance, mode }, &sections, outcome)
    }

    pub(super) fn delete(&mut self, partition: &Partition, scope: Scope) -> Arc<Commit> {
        let covers = |(of, key): &&(Partition, InstanceKey)| {
            of == partition
                && key.study == scope.study
                && scope.series.as_ref().is_none_or(|series| *series == key.series)
                && scope.instance.as_ref().is_none_or(|instance| *instance == key.instance)
        };
        let going: Vec<_> = self.live.keys().filter(covers).cloned().collect();
        let changes: Vec<_> = going
            .iter()
            .map(|gone| {
                self.sequence += 1;
                let version = self.live.remove(gone).unwrap();
                self.change(partition, &gone.1, Action::Delete, version)
            })
            .collect();
        let outcome = match changes.is_empty() {
            true => Outcome::Refused(Refusal::NothingMatches),
            false => Outcome::Accepted(changes),
        };
        self.commit(partition, Payload::Deleted { scope }, &Sections::default(), outcome)
    }

    fn next(&self) -> Position {
        Position(self.commits.len() as u64)
    }

    fn change(&self, partition: &Partition, key: &InstanceKey, action: Action, version: u64) -> Change {
        Change {
            sequence: self.sequence,
            action,
            partition: partition.clone(),
            key: key.clone(),
            version,
            time: Stamp(0),
            position: self.next(),
            file: None,
        }
    }

    fn commit(
        &mut self,
        partition: &Partition,
        payload: Payload,
        sections: &Sections,
        outcome: Outcome,
    ) -> Arc<Commit> {
        let head = Head {
            id: Uuid::nil(),
            node: Uuid::nil(),
            valid_until: Stamp(0),
            request_id: String::new(),
            trace_id: None,
            actor: Actor::System,
            cause: None,
            partition: partition.clone(),
            payload,
        };
        let event = codec::decode(codec::encode(&head, sections).unwrap()).unwrap();
        let (position, event) = (self.next(), Some(Arc::new(event)));
        let commit = Arc::new(Commit { position, time: Stamp(0), event, outcome });
        self.commits.push(Arc::clone(&commit));
        commit
    }
}

/// The view without its threads.
pub(super) struct Inline {
    pub(super) overlay: Overlay,
    pub(super) table: Arc<Table>,
}

impl Inline {
    pub(super) fn new() -> Self {
        Self::over(Table::memory(), Attributes::core())
    }

    pub(super) fn over(table: Table, attributes: Attributes) -> Self {
        Self::beside(table, index::Place::Memory, attributes)
    }

    /// With files, those there may be.
    pub(super) fn in_folder(folder: &Path, engine: Engine, attributes: Attributes) -> Self {
        let keeping = Keeping::by(engine);
        let (rows, begun) = (folder.join("rows"), Instant::now());
        let table = loop {
            // sled lets go of its files a moment after it was dropped.
            match Table::open(&rows, SearchRows::FORMAT, Uuid::nil(), keeping) {
                Ok(table) => break table,
                Err(error) => assert!(begun.elapsed().as_secs() < 10, "{error}"),
            }
            std::thread::yield_now();
        };
        let place = index::Place::Folder { path: folder.join("index"), log: Uuid::nil() };
        Self::beside(table, place, attributes)
    }

    fn beside(table: Table, place: index::Place, attributes: Attributes) -> Self {
        let overlay = Overlay::new(SearchRows::of(attributes), place);
        let inline = Self { overlay, table: Arc::new(table) };
        inline.overlay.opened(&inline.table).unwrap();
        inline
    }

    /// Applies what was not applied yet, all at once.
    pub(super) fn catch_up(&self, commits: &[Arc<Commit>]) {
        let from = usize::try_from(self.table.cursor().unwrap().0).unwrap();
        if from < commits.len() {
            self.apply(&commits[from..]);
        }
        // An index that cannot be used is made again by its thread; there is none.
        if !self.overlay.status().ready {
            self.overlay.flush();
        }
    }

    /// Closes the view, or leaves it as it lies.
    pub(super) fn close(self, orderly: bool) {
        if orderly {
            self.overlay.stopped();
            self.table.flush().unwrap();
        }
    }

    pub(super) fn apply(&self, commits: &[Arc<Commit>]) {
        let mut batch = self.table.batch();
        for commit in commits {
            self.overlay.apply(commit, &mut batch).unwrap();
        }
        self.overlay.about_to_show(commits);
        let next = commits.last().unwrap().position.next();
        self.table.apply(batch.into_changes(), next).unwrap();
    }

    pub(super) fn find(&self, query: &SearchQuery) -> Result<Vec<Hit>, FindError> {
        find(&self.overlay.moment(&self.table), query, &Budget::of(BROAD)).map(Answer::page)
    }

    /// The answer by the plan that `choose` takes.
    pub(super) fn answer(
        &self,
        query: &SearchQuery,
        choose: impl FnOnce(&Shape) -> Plan,
    ) -> Result<Answer, FindError> {
        find_by(&self.overlay.moment(&self.table), query, &Budget::of(BROAD), choose)
    }

    pub(super) fn dump(&self) -> String {
        self.overlay.flush();
        dump::dump(&self.overlay.moment(&self.table)).unwrap()
    }

    /// Stores the instances in this order, each with its elements.
    pub(super) fn with(instances: &[(InstanceKey, Value)]) -> Self {
        let (inline, mut fold) = (Self::new(), Fold::default());
        for (key, elements) in instances {
            inline.apply(&[fold.store(&Partition::default(), key, StoreMode::Upsert, elements)]);
        }
        inline
    }

    /// The hits of a query in the default partition, as `study/series/instance`.
    pub(super) fn search(&self, resource: Resource, parameters: &[(&str, &str)]) -> Vec<String> {
        let query = query(resource, parameters);
        self.find(&query).unwrap().iter().map(path).collect()
    }
}

pub(super) fn path(hit: &Hit) -> String {
    let parts = [Some(hit.study()), hit.series(), hit.instance()];
    parts.into_iter().flatten().map(Uid::as_str).collect::<Vec<_>>().join("/")
}

pub(super) fn raw(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
    parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "callers make it where they name it")]
pub(super) fn query(resource: Resource, parameters: &[(&str, &str)]) -> SearchQuery {
    query_of(&resource, Version::V2, parameters).unwrap()
}

pub(super) fn query_of(
    resource: &Resource,
    version: Version,
    parameters: &[(&str, &str)],
) -> Result<SearchQuery, QueryError> {
    parse(&Attributes::core(), resource, version, parameters)
}

pub(super) fn parse(
    attributes: &Attributes,
    resource: &Resource,
    version: Version,
    parameters: &[(&str, &str)],
) -> Result<SearchQuery, QueryError> {
    let (partition, wants) = (&Partition::default(), Wants::Page);
    let asking = Asking { resource, partition, version, wants, attributes };
    SearchQuery::parse(asking, &raw(parameters))
}

pub(super) fn all_resources() -> [Resource; 6] {
    let (study, series) = (uid("1.1"), uid("2.1"));
    [
        Resource::AllStudies,
        Resource::AllSeries,
        Resource::AllInstances,
        Resource::StudySeries(study.clone()),
        Resource::StudyInstances(study.clone()),
        Resource::StudySeriesInstances(study, series),
    ]
}

/// Every VR whose values can be searched.
pub(super) const VRS: [VR; 25] = [
    VR::AE,
    VR::AS,
    VR::CS,
    VR::DA,
    VR::DS,
    VR::DT,
    VR::FD,
    VR::FL,
    VR::IS,
    VR::LO,
    VR::LT,
    VR::PN,
    VR::SH,
    VR::SL,
    VR::SS,
    VR::ST,
    VR::SV,
    VR::TM,
    VR::UC,
    VR::UI,
    VR::UL,
    VR::UR,
    VR::US,
    VR::UT,
    VR::UV,
];
pub(super) const LEVELS: [Level; 3] = [Level::Study, Level::Series, Level::Instance];
const CREATOR: &str = "ACME";

/// The tag of the attribute that [`extended`] adds for a VR and level.
pub(super) fn extended_tag(vr: VR, level: Level, private: bool) -> Tag {
    let vr = u32::try_from(VRS.iter().position(|other| *other == vr).unwrap()).unwrap();
    let level = u32::try_from(LEVELS.iter().position(|other| *other == level).unwrap()).unwrap();
    if private { ((0x0011 + 2 * level) << 16) | 0x1000 | vr } else { 0x0018_E000 | (level << 8) | vr }
}

/// The core attributes and one of each VR and level, by a standard and by a private tag.
pub(super) fn extended() -> Attributes {
    let mut added = Vec::new();
    for level in LEVELS {
        for vr in VRS {
            for private in [false, true] {
                added.push(Attribute {
                    id: AttributeId(256 + u16::try_from(added.len()).unwrap()),
                    path: TagsOf::One(extended_tag(vr, level, private)),
                    creator: private.then(|| CREATOR.into()),
                    vr,
                    level,
                    role: Role::Extended { errors: false, enabled: true },
                });
            }
        }
    }
    Attributes::core().with(added)
}

/// An element that [`extended`] finds, with its private creator.
pub(super) fn extended_element(vr: VR, level: Level, private: bool, value: &Value) -> Value {
    let tag = extended_tag(vr, level, private);
    let mut elements = json!({});
    if private {
        let creator = json!({"vr": "LO", "Value": [CREATOR]});
        elements[format!("{:08X}", (tag & 0xFFFF_0000) | 0x10)] = creator;
    }
    elements[format!("{tag:08X}")] = json!({"vr": vr.to_string(), "Value": [value]});
    elements
}

/// Commits that are all there, and more when they come.
pub(super) struct Commits {
    commits: Mutex<Vec<Arc<Commit>>>,
    head: watch::Sender<Position>,
}

impl Commits {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { commits: Mutex::default(), head: watch::Sender::new(Position(0)) })
    }

    pub(super) fn push(&self, commit: Arc<Commit>) -> Position {
        let position = commit.position;
        self.commits.lock().push(commit);
        self.head.send_replace(position.next());
        position
    }
}

impl CommitSource for Commits {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        let from = usize::try_from(from.0).unwrap();
        Ok(self.commits.lock().iter().skip(from).take(64).cloned().collect())
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
}

/// Every file below a folder.
pub(super) fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
