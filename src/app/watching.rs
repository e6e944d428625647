//! Health and gauges, kept as things are.
//!
//! Invariant: what is told is of this moment: nothing is remembered here.
//! Elsewhere: how each part finds out how it is (`log`, `archive`, `projections`, `workers`).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::archive::{Archive, ReadError};
use crate::codecs;
use crate::log::{Condition, Log};
use crate::ops::health::{Health, Status};
use crate::ops::metrics;
use crate::projections::runner::State;
use crate::projections::search::Search;
use crate::workers;

/// Between two looks at how much disk the views take.
const SIZE_EVERY: Duration = Duration::from_secs(10);

/// Keeps them, once a second, until `stop`.
pub(super) async fn observe(
    archive: Archive,
    search: Search,
    codecs: codecs::Codecs,
    log: Arc<dyn Log>,
    health: Health,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut sized: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if sized.is_none_or(|at| at.elapsed() >= SIZE_EVERY) {
            sized = Some(tokio::time::Instant::now());
            let search = search.clone();
            if let Ok([rows, index]) = tokio::task::spawn_blocking(move || search.bytes()).await {
                metrics::set(metrics::SEARCH_ROWS_BYTES, rows);
                metrics::set(metrics::SEARCH_INDEX_BYTES, index);
            }
        }
        let (progress, tail) = (archive.progress(), log.tail());
        metrics::set(metrics::LOG_TAIL, tail.0);
        metrics::set(metrics::FEED_HEAD, progress.sequence);
        metrics::set(metrics::STAGED_BYTES, archive.blobs().staged_bytes());
        of_memory();
        metrics::view_lag("archive", tail.0.saturating_sub(progress.next.0));
        let (status, what) = match log.condition() {
            Condition::Well(how) => (Status::Healthy, how),
            Condition::Troubled(why) => (Status::Degraded, why),
            Condition::Broken(why) => (Status::Unhealthy, why),
        };
        health.set("log", status, what);
        let (status, what) = of_archive(&archive);
        health.set("archive", status, what);
        let (status, what) = of_codecs(&codecs.status());
        health.set("codecs", status, what);
        if let Some((status, what)) = of_search(&search) {
            health.set("search", status, what);
        }
    }
}

/// Keeps the memory of what is measured from growing with it, until `stop`.
pub(super) async fn file_away(metrics: metrics::Metrics, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        metrics.upkeep();
    }
}

fn of_archive(archive: &Archive) -> (Status, String) {
    let progress = archive.progress();
    match archive.ready().and_then(|()| archive.up_to_date()) {
        Ok(()) => match archive.awaited() {
            Some(why) => (Status::Degraded, why),
            None if progress.sealed => (
                Status::Degraded,
                "nothing can be written: the log is sealed, and goes on elsewhere".to_owned(),
            ),
            None => (Status::Healthy, format!("feed at {}", progress.sequence)),
        },
        Err(ReadError::Behind { wanted, reached }) => {
            (Status::Degraded, format!("catching up: {reached} of {wanted}"))
        }
        Err(error @ ReadError::EndUnknown) => (Status::Degraded, error.to_string()),
        Err(error) => (Status::Unhealthy, error.to_string()),
    }
}

/// The allocator counts when it is told to.
fn of_memory() {
    use tikv_jemalloc_ctl::{epoch, stats};
    let counted = epoch::advance().and_then(|_| Ok((stats::allocated::read()?, stats::resident::read()?)));
    if let Ok((allocated, resident)) = counted {
        metrics::set(metrics::MEMORY_ALLOCATED_BYTES, allocated as u64);
        metrics::set(metrics::MEMORY_RESIDENT_BYTES, resident as u64);
    }
}

/// Without codecs everything is still served as stored.
fn of_codecs(status: &codecs::Status) -> (Status, String) {
    match &status.trouble {
        Some(why) => (Status::Degraded, why.clone()),
        None => {
            let codecs::Status { processes, busy, waiting, restarts, .. } = status;
            let count = processes.len();
            let what = format!("{busy} of {count} at work, {waiting} frames waiting, {restarts} replaced");
            (Status::Healthy, what)
        }
    }
}

fn of_search(search: &Search) -> Option<(Status, String)> {
    let found = search.status();
    let index = found.index;
    metrics::set(metrics::SEARCH_DIRTY_STUDIES, index.dirty_studies as u64);
    metrics::set(metrics::SEARCH_INDEX_LAG, u64::try_from(index.behind_for.as_millis()).unwrap_or(u64::MAX));
    metrics::set(metrics::SEARCH_SEGMENTS, index.sizes.segments);
    metrics::set(metrics::SEARCH_DOCUMENTS, index.sizes.documents);
    metrics::set(metrics::SEARCH_DELETED_DOCUMENTS, index.sizes.deleted);
    metrics::set(metrics::SEARCH_SUCCESSOR_LAG, found.successor.as_ref().map_or(0, |made| made.lag()));
    metrics::set(metrics::SEARCH_KEPT, u64::from(found.generations.keeps.is_some()));
    let view = found.rows;
    metrics::view_lag("search", view.lag());
    let (next, head) = (view.next, view.head);
    match view.state {
        State::Live => {
            let mut what = format!("at {next}");
            if let Some(made) = found.successor {
                what.push_str(&format!("; made again beside it: {} of {}", made.next, made.head));
            }
            if let Some(kept) = found.generations.keeps {
                what.push_str(&format!("; keeps generation {kept}"));
            }
            Some((Status::Healthy, what))
        }
        State::CatchingUp => Some((Status::Degraded, format!("catching up: {next} of {head}"))),
        State::Rebuilding { why } => {
            Some((Status::Degraded, format!("rebuilding ({why}): {next} of {head}")))
        }
        State::Failed { why } => Some((Status::Unhealthy, why)),
        State::Closed => None,
    }
}

/// Tells what the last health file said of the blob store.
pub(super) fn report_blobs(health: &Health, found: workers::health::Found) {
    use workers::health::Found;
    let (status, what) = match found {
        Found::Healthy => (Status::Healthy, "files can be written, read and removed".to_owned()),
        Found::Degraded(why) => (Status::Degraded, format!("ConnectedStoreDegraded: {why}")),
        Found::Unhealthy(why) => (Status::Unhealthy, why),
    };
    health.set_for("blobs", status, what, 3 * workers::health::PROBE_EVERY);
}
