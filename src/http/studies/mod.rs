//! The studies service: one file per action (`studies.md` §2–§5).
//!
//! Invariant: whatever reaches over many instances does so page by page; no answer holds a study.
//! Elsewhere: what is accepted (`http::accept`), how it is framed (`http::multipart`).

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use super::blocking;
use super::error::Error;
use crate::archive::{Archive, LiveInstance, ReadError};
use crate::base::Partition;
use crate::event::{InstanceKey, Scope};

pub(super) mod bulkdata;
pub(super) mod count;
pub(super) mod delete;
mod expiry;
pub(super) mod frames;
pub(super) mod metadata;
mod one_frame;
mod reencoded;
pub(super) mod rendered;
pub(super) mod retrieve;
pub(super) mod search;
pub(super) mod store;
mod transcoded;
mod values;

/// Instances looked up at once.
const PAGE: usize = 128;

/// The live instances of a scope, in key order, a page at a time.
#[derive(Clone)]
struct Pages {
    archive: Archive,
    partition: Partition,
    scope: Scope,
    after: Option<InstanceKey>,
    ended: bool,
}

impl Pages {
    fn of(archive: &Archive, partition: Partition, scope: Scope) -> Self {
        Self { archive: archive.clone(), partition, scope, after: None, ended: false }
    }

    /// The next page; empty behind the last.
    async fn next(&mut self) -> Result<Vec<LiveInstance>, ReadError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let look = self.clone();
        let page =
            if self.scope.instance.is_some() { look.read() } else { blocking(move || look.read()).await }?;
        self.after = page.last().map(|live| live.key.clone());
        self.ended = page.len() < PAGE;
        Ok(page)
    }

    fn read(&self) -> Result<Vec<LiveInstance>, ReadError> {
        self.archive.instances(&self.partition, &self.scope, self.after.as_ref(), PAGE)
    }

    /// The first page; 404 when there is nothing.
    async fn first(&mut self) -> Result<Vec<LiveInstance>, Error> {
        let page = self.next().await?;
        if page.is_empty() { Err(not_found(&self.scope)) } else { Ok(page) }
    }

    /// The instances behind the pages taken so far, looked up as they are asked for.
    fn rest(self) -> impl Stream<Item = Result<LiveInstance, ReadError>> + Send + 'static {
        let pages = stream::try_unfold(self, |mut pages| async move {
            let page = pages.next().await?;
            Ok::<_, ReadError>(if page.is_empty() { None } else { Some((page, pages)) })
        });
        pages.map_ok(|page| stream::iter(page).map(Ok)).try_flatten()
    }
}

fn not_found(scope: &Scope) -> Error {
    Error::NotFound(match (&scope.series, &scope.instance) {
        (_, Some(_)) => "The instance",
        (Some(_), None) => "The series",
        (None, None) => "The study",
    })
}

/// One line in the log where an answer that has begun breaks off.
fn broken<E: std::fmt::Display>(error: E) -> E {
    tracing::error!(error = %error, "an answer breaks off");
    error
}
