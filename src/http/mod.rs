//! Requests into events or questions, results into answers (DICOMweb, PS3.18; `studies.md`, `change-feed.md`).
//!
//! A request passes [`envelope`] (ids, common headers), CORS, [`envelope::dispatch`] (guard, version,
//! readiness, `Kymo-Min-Position`) and then one of two routers: below a version, or outside any. Both are made
//! from the tables of [`routes`], and so is their description.
//! A handler's arguments are the contract's order of checks.
//!
//! Invariant: only `error` chooses a status for what went wrong.
//! Invariant: bodies stream both ways; no handler holds a file.
//! Elsewhere: what is true (`archive`), what is found (`projections::search`), the socket (`server`).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::middleware::from_fn_with_state;
use futures_util::stream;
use tower_http::catch_panic::CatchPanicLayer;

use crate::archive::{Archive, ReadError};
use crate::base::Position;
use crate::codecs::Codecs;
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::projections::runner::State;
use crate::projections::search::Search;

mod accept;
pub mod admin;
mod body;
mod change_feed;
mod counted;
mod envelope;
mod error;
mod etag;
mod health;
mod media;
mod multipart;
mod openapi;
mod partitions;
mod peers;
mod range;
mod routes;
mod routing;
pub mod server;
mod settings;
mod studies;
mod urls;

pub use health::starting;
pub use peers::Network;
pub use settings::{BadCors, Cors, Deprecated, Settings};

use error::Error;
use studies::rendered::Pictures;

/// Media type of instances.
const DICOM: &str = "application/dicom";
/// Media type of metadata and search answers.
const DICOM_JSON: &str = "application/dicom+json";

/// Stands for the log's end at the start, which a node may come to know only later.
const BEFORE_THE_START: u64 = u64::MAX;

/// What the handlers use. Clones are the same archive.
#[derive(Clone)]
pub struct App {
    archive: Archive,
    search: Search,
    codecs: Codecs,
    health: Health,
    metrics: Option<Metrics>,
    settings: Arc<Settings>,
    pictures: Arc<Pictures>,
    /// The first position behind all writes that were answered while search was not to be asked, those before
    /// this start among them ([`BEFORE_THE_START`]); 0 when search is known to show them all.
    unshown: Arc<AtomicU64>,
}

impl App {
    /// What is true, what is found, what works on pixels, where health is reported, what `/metrics` shows (`None` records
    /// nothing), and how requests are met.
    #[must_use]
    pub fn new(
        archive: Archive,
        search: Search,
        codecs: Codecs,
        health: Health,
        metrics: Option<Metrics>,
        settings: Settings,
    ) -> Self {
        let unshown = Arc::new(AtomicU64::new(BEFORE_THE_START));
        let pictures = Arc::new(Pictures::new(codecs.limits()));
        Self { archive, search, codecs, health, metrics, settings: Arc::new(settings), pictures, unshown }
    }

    /// Whether this node has read its log to the end it had at the start.
    fn ready(&self) -> Result<(), Error> {
        self.archive.ready().map_err(|error| match error {
            ReadError::Behind { .. } | ReadError::EndUnknown => Error::CatchingUp(error.to_string()),
            other => Error::Read(other),
        })
    }

    /// Waits, within the bound of the settings, until this node has passed `position`: the fold, and
    /// behind it the views.
    async fn passed(&self, position: Position) -> Result<(), Error> {
        let passed = self.search.reached(position, self.settings.position_time).await;
        passed.map_err(|behind| ReadError::Behind { wanted: behind.wanted, reached: behind.next }.into())
    }

    /// Waits until what was written at `position`, which the fold has passed, shows in every view that can
    /// be asked. A search that answers nothing hides nothing: nobody waits for it, but it waits for this
    /// position before it answers again ([`Self::searchable`]).
    async fn shown(&self, position: Position) -> Result<(), Error> {
        if self.search.status().rows.state != State::Live {
            // Search that answers nothing now waits for the start first, and this lies behind it.
            let later = |behind: u64| {
                let known = if behind == BEFORE_THE_START { self.archive.start_tail().0 } else { behind };
                Some(known.max(position.next().0))
            };
            let _ = self.unshown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
            return Ok(());
        }
        self.passed(position).await.map_err(|_| Error::NotVisibleYet(position))
    }

    /// Waits until search shows every write that was answered.
    async fn searchable(&self) -> Result<(), Error> {
        let behind = self.unshown.load(Ordering::SeqCst);
        if behind == BEFORE_THE_START && self.archive.up_to_date().is_err() {
            // Asked all the same only where stale answers are allowed.
            return Ok(());
        }
        let wanted = if behind == BEFORE_THE_START { self.archive.start_tail().0 } else { behind };
        let Some(last) = wanted.checked_sub(1) else { return Ok(()) };
        self.passed(Position(last)).await?;
        // Unless there are more of them by now.
        let _ = self.unshown.compare_exchange(behind, 0, Ordering::SeqCst, Ordering::SeqCst);
        Ok(())
    }
}

/// Runs a look-up that may take more than half a millisecond where it stops nobody else.
async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(look).await {
        Ok(found) => found,
        // Passed on to the layer that answers for panics. A running look-up is never cancelled.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Stands for the body in the answer to a HEAD: its length is not known, and must not be taken for 0.
fn left_out() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
}

/// Everything the archive answers.
pub fn router(app: App) -> Router {
    let versioned = routes::router(routes::versioned(), app.clone());
    let plain = routes::router(routes::plain(), app.clone());
    let doors = envelope::Doors { versioned, plain, app: app.clone() };
    let mut router = Router::new().fallback(envelope::dispatch).with_state(doors);
    if let Some(cors) = &app.settings.cors {
        router = router.layer(cors.layer());
    }
    router.layer(CatchPanicLayer::custom(error::panicked)).layer(from_fn_with_state(app, envelope::envelope))
}
