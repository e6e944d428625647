//! Ingest: the parts of one store request become staged files and encoded events, then outcomes.
//!
//! Each part streams through the bounded scanner into staging; what is known of it is encoded at once and
//! kept outside of memory. Only when the body is complete are files made durable and events appended.
//! Invariant: nothing of a request takes effect before its body is complete; dropped, it leaves nothing.
//! Invariant: every part ends as stored, duplicate or refused with a reason, in the order of the parts.
//! Invariant: a file is durable before the event that names it is appended.
//! Elsewhere: the form of requests and answers (`http::studies::store`), the decision (`fold`).

use bytes::Bytes;

use super::derive::{DERIVED_BY, derive, validated};
use super::fold::decide_instance;
use super::headers::{Full, Places};
use super::spool::{Spool, SpoolRange};
use super::submit::{Submitted, finished};
use super::{Archive, Asking, SubmitError};
use crate::base::Position;
use crate::blob::{self, Staged, Staging};
use crate::dicom::scan::{Reason, ScanError, Scanner};
use crate::dicom::uid::Uid;
use crate::dicom::validate::{Accepted, Finding, Identity, Invalid, Rules};
use crate::event::codec::Sections;
use crate::event::{
    Change, Head, InstanceKey, Outcome, Payload, ReceivedInstance, Refusal, Section, StoreMode, StoredFile,
};

/// Files made durable, and events appended, together.
const WINDOW_PARTS: usize = 64;
/// (0008,1196): the dataset does not match its SOP class; used for Implicit VR (`studies.md` §2.5.6).
const WARNING_IMPLICIT: u16 = 45063;
/// (0008,1196): there are validation warnings.
const WARNING_VALIDATION: u16 = 1;
/// Most findings told of all instances of one request; of an instance that is refused, the first always is.
const FINDINGS_OF_REQUEST: usize = 100_000;

/// What became of one part of a store request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartOutcome {
    /// It is stored.
    Stored {
        /// The UIDs.
        key: InstanceKey,
        /// (0008,0016).
        sop_class: String,
        /// (0008,0018) as received.
        sop_instance: String,
        /// The row of the feed.
        change: Change,
        /// Code for (0008,1196).
        warning: Option<u16>,
        /// What was found and did not stop the store.
        findings: Vec<Finding>,
    },
    /// It is not.
    Refused {
        /// (0008,0016) as far as readable.
        sop_class: Option<String>,
        /// (0008,0018) as far as readable.
        sop_instance: Option<String>,
        /// Why.
        why: PartRefusal,
    },
}

/// Why one part was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartRefusal {
    /// No dataset could be read; says what and at which offset.
    Unreadable(String),
    /// A DICOMDIR, which is no instance.
    Directory,
    /// Attributes are not acceptable.
    Invalid(Invalid),
    /// A create of an instance that is there.
    AlreadyStored,
    /// Something failed before the event was appended.
    Failed(String),
}

/// The outcome of a whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// One outcome for each part, in their order.
    pub parts: Vec<PartOutcome>,
    /// The last position appended; `None` when nothing was.
    pub position: Option<Position>,
    /// Whether a part, stored or not, has several values in an attribute that is looked up by its first
    /// ([`Accepted::several_values`]).
    pub several_values: bool,
}

/// One store request being received. Dropped without `commit`, everything staged goes.
pub struct Ingest {
    archive: Archive,
    asking: Asking,
    mode: StoreMode,
    rules: Rules,
    study: Option<Uid>,
    expires_after_ms: Option<u64>,
    parts: Vec<Part>,
    current: Option<Current>,
    spool: Spool,
    several_values: bool,
    /// How many more findings are told.
    findings_left: usize,
    /// Where the header of the current part is held.
    places: Places,
}

struct Current {
    scan: Result<Scanner, ScanError>,
    staging: Option<Staging>,
    bytes: u64,
}

enum Part {
    Refused(Box<PartOutcome>),
    Staged(Box<StagedPart>),
}

struct StagedPart {
    identity: Identity,
    findings: Vec<Finding>,
    transfer_syntax: String,
    dataset_offset: u64,
    warning: Option<u16>,
    file: Staged,
    sections: SpoolRange,
}

impl Archive {
    /// Begins a store request. `study` is the study of the URL, if it names one.
    #[must_use]
    pub fn ingest(&self, asking: Asking, mode: StoreMode, rules: Rules, study: Option<Uid>) -> Ingest {
        let spool = Spool::new(self.0.parts.settings.spool_bytes);
        Ingest {
            archive: self.clone(),
            asking,
            mode,
            rules,
            study,
            expires_after_ms: None,
            parts: Vec::new(),
            current: None,
            spool,
            several_values: false,
            findings_left: FINDINGS_OF_REQUEST,
            places: Places::default(),
        }
    }
}

impl Ingest {
    /// The same request, the studies in which expire so many milliseconds after it.
    #[must_use]
    pub fn expiring(self, expires_after_ms: Option<u64>) -> Self {
        Self { expires_after_ms, ..self }
    }

    /// Begins the next part; the one before must have been ended.
    ///
    /// # Errors
    /// [`SubmitError`]; the request has to be given up.
    pub async fn part(&mut self) -> Result<(), SubmitError> {
        let limit = self.archive.0.parts.settings.parts;
        if self.parts.len() >= limit {
            return Err(SubmitError::TooManyParts { limit });
        }
        let scan = Ok(Scanner::new(self.archive.0.parts.settings.scan.clone()));
        let staging = Some(self.archive.blobs().stage().await?);
        self.current = Some(Current { scan, staging, bytes: 0 });
        Ok(())
    }

    /// Takes bytes of the current part. What is wrong with the file is kept for its outcome.
    ///
    /// # Errors
    /// [`SubmitError`]; the request has to be given up.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), SubmitError> {
        let current = self.current.as_mut().expect("bytes come between the begin and the end of a part");
        let bytes = self.archive.0.parts.settings.preambles.pass(bytes, current.bytes);
        current.bytes += bytes.len() as u64;
        let Ok(scanner) = &mut current.scan else { return Ok(()) };
        if let Err(error) = scanner.feed(&bytes) {
            current.scan = Err(error);
            current.staging = None;
            return Ok(());
        }
        let header_bytes = scanner.held_bytes();
        if let Some(staging) = &mut current.staging {
            staging.write(bytes).await?;
        }
        let held = self.archive.0.headers.hold(&mut self.places, header_bytes).await;
        held.map_err(|Full| SubmitError::Busy)
    }

    /// Ends the current part.
    ///
    /// # Errors
    /// [`SubmitError`]; the request has to be given up.
    pub async fn end_part(&mut self) -> Result<(), SubmitError> {
        let current = self.current.take().expect("a part ends after it began");
        let part = self.part_of(current).await?;
        self.parts.push(part);
        self.places = Places::default();
        Ok(())
    }

    async fn part_of(&mut self, current: Current) -> Result<Part, SubmitError> {
        let refused = |why| {
            Ok(Part::Refused(Box::new(PartOutcome::Refused { sop_class: None, sop_instance: None, why })))
        };
        let unreadable = |what: String| refused(PartRefusal::Unreadable(what));
        if current.bytes == 0 {
            return unreadable("the part is empty".to_owned());
        }
        let scanned = match current.scan.and_then(Scanner::finish) {
            Ok(scanned) if self.archive.0.parts.settings.preambles.refuses(scanned.preamble) => {
                return unreadable("the preamble begins as a program does".to_owned());
            }
            Ok(scanned) => scanned,
            Err(error) if error.kind == Reason::Directory => return refused(PartRefusal::Directory),
            Err(error) => return unreadable(error.to_string()),
        };
        let (scanned, verdict) = validated(scanned, self.study.clone(), self.rules).await?;
        let Accepted { identity, mut findings, left_out, several_values } = match verdict {
            Ok(accepted) => accepted,
            Err(mut invalid) => {
                self.several_values |= invalid.several_values;
                invalid.findings.truncate(self.findings_left.max(1));
                self.findings_left = self.findings_left.saturating_sub(invalid.findings.len());
                let (sop_class, sop_instance) = (invalid.sop_class.clone(), invalid.instance.clone());
                let why = PartRefusal::Invalid(invalid);
                let outcome = PartOutcome::Refused { sop_class, sop_instance, why };
                return Ok(Part::Refused(Box::new(outcome)));
            }
        };
        self.several_values |= several_values;
        let warning = match (scanned.implicit, findings.is_empty()) {
            (true, _) => Some(WARNING_IMPLICIT),
            (false, false) => Some(WARNING_VALIDATION),
            (false, true) => None,
        };
        findings.truncate(self.findings_left);
        self.findings_left -= findings.len();
        let staging = current.staging.expect("staging is given up only with the scan");
        let file = staging.finish().await?;
        let (transfer_syntax, dataset_offset) = (scanned.transfer_syntax.clone(), scanned.dataset_offset);
        let sections = match derive(scanned, left_out, file.chunks.clone()).await? {
            Ok(sections) => sections,
            Err(what) => return unreadable(what),
        };
        let sections = self.spool.push(&sections.freeze()).map_err(|error| spool_failed(&error))?;
        Ok(Part::Staged(Box::new(StagedPart {
            identity,
            findings,
            transfer_syntax,
            dataset_offset,
            warning,
            file,
            sections,
        })))
    }

    /// The body is complete: files are made durable, events appended, outcomes awaited. Goes on to the end
    /// even if nobody waits for it any more.
    ///
    /// # Errors
    /// [`SubmitError`]; what was accepted by then stays.
    pub async fn commit(self) -> Result<Stored, SubmitError> {
        finished(tokio::spawn(self.store_all())).await?
    }

    async fn store_all(mut self) -> Result<Stored, SubmitError> {
        if let Some(why) = self.archive.stopped() {
            return Err(SubmitError::Unavailable(why));
        }
        let mut stored = Stored {
            parts: Vec::with_capacity(self.parts.len()),
            position: None,
            several_values: self.several_values,
        };
        let mut parts = std::mem::take(&mut self.parts).into_iter();
        loop {
            let window: Vec<Part> = parts.by_ref().take(WINDOW_PARTS).collect();
            if window.is_empty() {
                return Ok(stored);
            }
            self.store_window(window, &mut stored).await?;
        }
    }

    async fn store_window(&mut self, window: Vec<Part>, stored: &mut Stored) -> Result<(), SubmitError> {
        let mut slots = Vec::with_capacity(window.len());
        let mut passed_the_end = None;
        let (mut files, mut events) = (Vec::new(), Vec::new());
        for part in window {
            match part {
                Part::Refused(outcome) => slots.push(Slot::Done(*outcome)),
                Part::Staged(part) if self.is_stored(&part, &mut passed_the_end).await? => {
                    slots.push(Slot::Done(part.identity.refused(PartRefusal::AlreadyStored)));
                }
                Part::Staged(part) => {
                    let (head, file, told, sections) = self.event(*part);
                    let Payload::InstanceStored { instance, .. } = &head.payload else { continue };
                    files.push((file, instance.file.key.clone()));
                    events.push((head, sections));
                    slots.push(Slot::Waiting(told));
                }
            }
        }
        let placed = self.archive.blobs().place_all(files).await;
        let mut submitted = Vec::with_capacity(events.len());
        for ((head, sections), placed) in events.into_iter().zip(placed) {
            submitted.push(match placed {
                Ok(etag) => self.append(&head, sections, etag).await,
                Err(error) => Err(SubmitError::Blob(error)),
            });
        }
        let appended = stored.position.is_some() || submitted.iter().any(Result::is_ok);
        let mut submitted = submitted.into_iter();
        for slot in slots {
            let outcome = match slot {
                Slot::Done(outcome) => outcome,
                Slot::Waiting(told) => {
                    let submitted = submitted.next().expect("one was submitted for each that waits");
                    outcome_of(submitted, appended, told, stored).await?
                }
            };
            stored.parts.push(outcome);
        }
        Ok(())
    }

    /// Whether the fold would refuse the part for sure: it has seen the log to its end, and says so. The log is
    /// asked for its end only for the first part of a window that looks refused.
    async fn is_stored(
        &self,
        part: &StagedPart,
        passed_the_end: &mut Option<bool>,
    ) -> Result<bool, SubmitError> {
        let refused = || -> Result<bool, SubmitError> {
            let live = self.archive.live(&self.asking.partition, &part.identity.key())?;
            Ok(decide_instance(live.as_ref(), self.mode).is_err())
        };
        if !refused()? {
            return Ok(false);
        }
        let passed = match *passed_the_end {
            Some(passed) => passed,
            None => *passed_the_end.insert(self.archive.has_passed_the_end().await),
        };
        Ok(passed && refused()?)
    }

    fn event(&self, part: StagedPart) -> (Head, Staged, Told, SpoolRange) {
        let StagedPart { identity, findings, transfer_syntax, dataset_offset, warning, file, sections } =
            part;
        let key = identity.key();
        let version = self.archive.new_id();
        let lake = self.archive.lake();
        let file_key =
            lake.instance_key(&self.asking.partition, &key.study, &key.series, &key.instance, version);
        let canonical = [&key.study, &key.series, &key.instance];
        let received = std::array::from_fn(|n| {
            let received = &identity.received[n];
            (received != canonical[n].as_str()).then(|| received.clone())
        });
        let instance = ReceivedInstance {
            key,
            received,
            sop_class: identity.sop_class.clone(),
            transfer_syntax,
            file: StoredFile { key: file_key, length_bytes: file.length_bytes, sha256: file.sha256 },
            dataset_offset,
            warnings: warning.into_iter().collect(),
            derived_by: DERIVED_BY,
            expires_after_ms: self.expires_after_ms,
        };
        let payload = Payload::InstanceStored { instance, mode: self.mode };
        let told = Told { identity, warning, findings };
        (self.archive.head(&self.asking, payload), file, told, sections)
    }

    async fn append(
        &mut self,
        head: &Head,
        sections: SpoolRange,
        etag: Option<String>,
    ) -> Result<Submitted, SubmitError> {
        let frozen = self.spool.get(sections).map_err(|error| spool_failed(&error))?;
        let mut sections =
            Sections::thaw(&frozen).map_err(|error| SubmitError::Unavailable(error.to_string()))?;
        if let Some(etag) = etag {
            let pushed = sections.push(Section::Etag, etag.as_bytes());
            pushed.map_err(|error| SubmitError::Unavailable(error.to_string()))?;
        }
        self.archive.submit(head, &sections).await
    }
}

enum Slot {
    Done(PartOutcome),
    Waiting(Told),
}

/// What the answer tells of an instance once it is stored.
struct Told {
    identity: Identity,
    warning: Option<u16>,
    findings: Vec<Finding>,
}

impl Identity {
    fn key(&self) -> InstanceKey {
        InstanceKey {
            study: self.study.clone(),
            series: self.series.clone(),
            instance: self.instance.clone(),
        }
    }

    fn refused(self, why: PartRefusal) -> PartOutcome {
        let [_, _, sop_instance] = self.received;
        PartOutcome::Refused { sop_class: Some(self.sop_class), sop_instance: Some(sop_instance), why }
    }
}

/// Waits for one outcome. A failing store fails the request if nothing of it was appended; else only the
/// part, since what was appended takes effect.
async fn outcome_of(
    submitted: Result<Submitted, SubmitError>,
    appended: bool,
    Told { identity, warning, findings }: Told,
    stored: &mut Stored,
) -> Result<PartOutcome, SubmitError> {
    let decided = match submitted {
        Ok(submitted) => submitted.decided().await?,
        Err(error @ SubmitError::TooLarge { .. }) => {
            return Ok(identity.refused(PartRefusal::Failed(error.to_string())));
        }
        Err(error) if !appended => return Err(error),
        Err(error) => return Ok(identity.refused(PartRefusal::Failed(error.to_string()))),
    };
    stored.position = stored.position.max(Some(decided.position));
    Ok(match decided.outcome {
        Outcome::Accepted(changes) => {
            let key = identity.key();
            let [_, _, sop_instance] = identity.received;
            let change = changes.into_iter().next().expect("an accepted store has exactly one change");
            let sop_class = identity.sop_class;
            PartOutcome::Stored { key, sop_class, sop_instance, change, warning, findings }
        }
        Outcome::Refused(Refusal::AlreadyStored) => identity.refused(PartRefusal::AlreadyStored),
        Outcome::Refused(refusal) => identity.refused(PartRefusal::Failed(refusal.to_string())),
    })
}

fn spool_failed(error: &std::io::Error) -> SubmitError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => SubmitError::Blob(blob::Error::Full(error.to_string())),
        _ => SubmitError::Blob(blob::Error::Unavailable(error.to_string())),
    }
}
