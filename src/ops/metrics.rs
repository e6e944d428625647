//! Metrics: every name with its kind, unit and meaning, and the text that is scraped.
//!
//! Rooms that may not use this one record by name through the `metrics` crate; the names are these.
//!
//! Invariant: a metric that is not in [`ALL`] does not exist; labels have few values (a route is its pattern,
//! never its path), so that no client can make their number grow.
//! Elsewhere: the route that hands the text out (`http`).

use std::sync::OnceLock;
use std::time::Duration;

use ::metrics::{Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Many values, counted in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Its unit, also the end of its name.
    pub unit: Unit,
    /// What it says, with its labels.
    pub description: &'static str,
}

/// Instances accepted; label `mode`: `create`, `upsert`.
pub const INSTANCES_STORED: &str = "kymo_instances_stored_total";
/// Instances of a store that were refused; label `reason`.
pub const INSTANCES_REFUSED: &str = "kymo_instances_refused_total";
/// Events appended by this node.
pub const LOG_APPENDS: &str = "kymo_log_appends_total";
/// Bytes of events appended by this node.
pub const LOG_APPENDED_BYTES: &str = "kymo_log_appended_bytes_total";
/// One fsync of the log.
pub const LOG_FSYNC_SECONDS: &str = "kymo_log_fsync_seconds";
/// The first position that is not yet durable.
pub const LOG_TAIL: &str = "kymo_log_tail_position";
/// Records in the log that are not ours.
pub const LOG_FOREIGN_RECORDS: &str = "kymo_log_foreign_records_total";
/// Time from sending an event to the brokers to their answer.
pub const LOG_ROUND_TRIP_SECONDS: &str = "kymo_log_round_trip_seconds";
/// Events sent to the brokers and not answered.
pub const LOG_QUEUE: &str = "kymo_log_queue_records";
/// Connections to brokers that were lost.
pub const LOG_DISCONNECTS: &str = "kymo_log_disconnects_total";
/// Records of the topic that are not copied yet, as of the last look.
pub const LOG_LAG: &str = "kymo_log_lag_records";
/// How far the clocks of node and broker differ.
pub const LOG_CLOCK_DIFFERENCE: &str = "kymo_log_clock_difference_milliseconds";
/// Events a view has not applied yet; label `view`.
pub const VIEW_LAG: &str = "kymo_view_lag_events";
/// The newest sequence of the change feed.
pub const FEED_HEAD: &str = "kymo_feed_head_sequence";
/// Bytes of request bodies.
pub const RECEIVED_BYTES: &str = "kymo_http_received_bytes_total";
/// Bytes of response bodies.
pub const SENT_BYTES: &str = "kymo_http_sent_bytes_total";
/// Requests answered; labels `method`, `route`, `status`.
pub const REQUESTS: &str = "kymo_http_requests_total";
/// Time to the head of the answer; labels `method`, `route`.
pub const REQUEST_SECONDS: &str = "kymo_http_request_seconds";
/// Requests under way.
pub const REQUESTS_RUNNING: &str = "kymo_http_requests_running";
/// Bytes received and not yet placed or dropped.
pub const STAGED_BYTES: &str = "kymo_blob_staged_bytes";
/// Files taken out of the blob store by the sweep.
pub const BLOBS_REMOVED: &str = "kymo_blob_removed_total";
/// Frames decoded or encoded by a codec's process; labels `codec`, `outcome`.
pub const CODEC_JOBS: &str = "kymo_codec_jobs_total";
/// Time from giving a frame to a codec's process until its answer is there; label `codec`.
pub const CODEC_SECONDS: &str = "kymo_codec_seconds";
/// Processor time of a codec alone; label `codec`.
pub const CODEC_CPU_SECONDS: &str = "kymo_codec_cpu_seconds";
/// Time a frame waits for a codec's process.
pub const CODEC_WAIT_SECONDS: &str = "kymo_codec_wait_seconds";
/// Codecs' processes at work.
pub const CODEC_BUSY: &str = "kymo_codec_busy";
/// Codecs' processes that broke down or were killed.
pub const CODEC_RESTARTS: &str = "kymo_codec_restarts_total";
/// Searches answered; label `plan`.
pub const SEARCH_QUERIES: &str = "kymo_search_queries_total";
/// Time of one search in the view; label `room`: `narrow`, `broad`.
pub const SEARCH_QUERY_SECONDS: &str = "kymo_search_query_seconds";
/// Searches given up because too much would have to be looked at.
pub const SEARCH_TOO_BROAD: &str = "kymo_search_too_broad_total";
/// Size of the search view's rows.
pub const SEARCH_ROWS_BYTES: &str = "kymo_search_rows_bytes";
/// Size of the search index.
pub const SEARCH_INDEX_BYTES: &str = "kymo_search_index_bytes";
/// Segments of the search index.
pub const SEARCH_SEGMENTS: &str = "kymo_search_segments";
/// Documents in it that are found.
pub const SEARCH_DOCUMENTS: &str = "kymo_search_documents";
/// Documents in it that a merge will leave out.
pub const SEARCH_DELETED_DOCUMENTS: &str = "kymo_search_deleted_documents";
/// Studies that have changed since the index was written.
pub const SEARCH_DIRTY_STUDIES: &str = "kymo_search_dirty_studies";
/// How long the first of them has been waiting.
pub const SEARCH_INDEX_LAG: &str = "kymo_search_index_lag_milliseconds";
/// One commit of the index.
pub const SEARCH_COMMIT_SECONDS: &str = "kymo_search_commit_seconds";
/// Merges of segments under way.
pub const SEARCH_MERGES_RUNNING: &str = "kymo_search_merges_running";
/// Merges of segments done.
pub const SEARCH_MERGES: &str = "kymo_search_merges_total";
/// One merge of segments.
pub const SEARCH_MERGE_SECONDS: &str = "kymo_search_merge_seconds";
/// Events that the view being made beside the live one has not applied yet.
pub const SEARCH_SUCCESSOR_LAG: &str = "kymo_search_successor_lag_events";
/// Whether the view that was replaced is kept.
pub const SEARCH_KEPT: &str = "kymo_search_kept_generation";
/// Memory in use, as the allocator counts it.
pub const MEMORY_ALLOCATED_BYTES: &str = "kymo_memory_allocated_bytes";
/// Memory the allocator holds of the system: what is in use, and what it keeps for the next to ask.
pub const MEMORY_RESIDENT_BYTES: &str = "kymo_memory_resident_bytes";
/// The result of a check; label `check`.
pub const HEALTH: &str = "kymo_health_status";

/// Every metric there is.
pub const ALL: &[Metric] = &[
    count(INSTANCES_STORED, Unit::Count, "Instances accepted, by mode of the store."),
    count(INSTANCES_REFUSED, Unit::Count, "Instances refused, by reason."),
    count(LOG_APPENDS, Unit::Count, "Events appended by this node."),
    count(LOG_APPENDED_BYTES, Unit::Bytes, "Bytes of events appended by this node."),
    times(LOG_FSYNC_SECONDS, "Time of one fsync of the log."),
    state(LOG_TAIL, Unit::Count, "First position of the log that is not yet durable here."),
    count(LOG_FOREIGN_RECORDS, Unit::Count, "Records in the log that are not of this archive, passed over."),
    times(LOG_ROUND_TRIP_SECONDS, "Time from sending an event to the brokers to their answer."),
    state(LOG_QUEUE, Unit::Count, "Events sent to the brokers and not answered yet."),
    count(LOG_DISCONNECTS, Unit::Count, "Connections to brokers that were lost."),
    state(LOG_LAG, Unit::Count, "Records of the topic that this node has not copied, as of its last look."),
    state(LOG_CLOCK_DIFFERENCE, Unit::Milliseconds, "How far the clocks of this node and the broker differ."),
    state(VIEW_LAG, Unit::Count, "Events a view has not applied yet, by view."),
    state(FEED_HEAD, Unit::Count, "Newest sequence of the change feed."),
    count(RECEIVED_BYTES, Unit::Bytes, "Bytes of request bodies received."),
    count(SENT_BYTES, Unit::Bytes, "Bytes of response bodies sent."),
    count(REQUESTS, Unit::Count, "Requests answered, by method, route and status."),
    times(REQUEST_SECONDS, "Time from a request's head to its answer's head, by method and route."),
    state(REQUESTS_RUNNING, Unit::Count, "Requests under way."),
    state(STAGED_BYTES, Unit::Bytes, "Bytes of files received that are neither stored nor dropped yet."),
    count(BLOBS_REMOVED, Unit::Count, "Files removed from the blob store after their retention."),
    count(CODEC_JOBS, Unit::Count, "Frames decoded or encoded by codecs' processes, by codec and outcome."),
    times(CODEC_SECONDS, "Time from giving a frame to a codec's process until its answer, by codec."),
    times(CODEC_CPU_SECONDS, "Processor time of a codec alone for one frame, by codec."),
    times(CODEC_WAIT_SECONDS, "Time a frame waits for a codec's process."),
    state(CODEC_BUSY, Unit::Count, "Codecs' processes at work."),
    count(CODEC_RESTARTS, Unit::Count, "Codecs' processes that broke down or were killed."),
    count(SEARCH_QUERIES, Unit::Count, "Searches answered, by the way they were answered."),
    times(SEARCH_QUERY_SECONDS, "Time of one search in the view, by room."),
    count(SEARCH_TOO_BROAD, Unit::Count, "Searches given up because too much would have to be looked at."),
    state(SEARCH_ROWS_BYTES, Unit::Bytes, "Size of the search view's rows."),
    state(SEARCH_INDEX_BYTES, Unit::Bytes, "Size of the search index."),
    state(SEARCH_SEGMENTS, Unit::Count, "Segments of the search index."),
    state(SEARCH_DOCUMENTS, Unit::Count, "Documents of the search index."),
    state(
        SEARCH_DELETED_DOCUMENTS,
        Unit::Count,
        "Documents of the search index that the next merges leave out.",
    ),
    state(SEARCH_DIRTY_STUDIES, Unit::Count, "Studies that have changed since the search index was written."),
    state(SEARCH_INDEX_LAG, Unit::Milliseconds, "How long the first of them has been waiting."),
    times(SEARCH_COMMIT_SECONDS, "Time of one commit of the search index."),
    state(SEARCH_MERGES_RUNNING, Unit::Count, "Merges of the search index under way."),
    count(SEARCH_MERGES, Unit::Count, "Merges of the search index done."),
    times(SEARCH_MERGE_SECONDS, "Time of one merge of the search index."),
    state(
        SEARCH_SUCCESSOR_LAG,
        Unit::Count,
        "Events that the search view being made beside the live one lacks.",
    ),
    state(SEARCH_KEPT, Unit::Count, "Whether the search view that was replaced is kept: 1 or 0."),
    state(MEMORY_ALLOCATED_BYTES, Unit::Bytes, "Memory in use."),
    state(MEMORY_RESIDENT_BYTES, Unit::Bytes, "Memory in use or kept by the allocator for what comes next."),
    state(HEALTH, Unit::Count, "Result of a health check: 0 healthy, 1 degraded, 2 unhealthy."),
];

/// Bucket bounds of every time, in seconds: from a page in memory to the longest wait.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

const fn count(name: &'static str, unit: Unit, description: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit, description }
}

const fn state(name: &'static str, unit: Unit, description: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, description }
}

const fn times(name: &'static str, description: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: Unit::Seconds, description }
}

/// Metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct Unrecorded(#[from] BuildError);

/// The recorder of this process. Clones are the same.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Begins to record. There is one recorder in a process: a second call answers the same.
    ///
    /// # Errors
    /// [`Unrecorded`] when something else records already.
    pub fn install() -> Result<Self, Unrecorded> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        static INSTALLING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _one_at_a_time = INSTALLING.lock();
        if let Some(metrics) = INSTALLED.get() {
            return Ok(metrics.clone());
        }
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(INSTALLED.get_or_init(|| Self(handle)).clone())
    }

    /// Everything recorded so far, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Files away what was recorded since the last call. Call it every few seconds, so that what nobody
    /// scrapes does not pile up.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

fn describe() {
    for &Metric { name, kind, unit, description } in ALL {
        match kind {
            Kind::Counter => ::metrics::describe_counter!(name, unit, description),
            Kind::Gauge => ::metrics::describe_gauge!(name, unit, description),
            Kind::Histogram => ::metrics::describe_histogram!(name, unit, description),
        }
    }
}

/// An instance was accepted; `mode` is `create` or `upsert`.
pub fn instance_stored(mode: &'static str) {
    counter!(INSTANCES_STORED, "mode" => mode).increment(1);
}

/// An instance of a store was refused.
pub fn instance_refused(reason: &'static str) {
    counter!(INSTANCES_REFUSED, "reason" => reason).increment(1);
}

/// `bytes` of a request body came in.
pub fn received(bytes: u64) {
    counter!(RECEIVED_BYTES).increment(bytes);
}

/// `bytes` of a response body went out.
pub fn sent(bytes: u64) {
    counter!(SENT_BYTES).increment(bytes);
}

/// A request was answered; `route` is the pattern it matched.
pub fn request_ended(method: &'static str, route: &str, status: u16, took: Duration) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    histogram!(REQUEST_SECONDS, &labels[..2]).record(took.as_secs_f64());
    counter!(REQUESTS, &labels[..]).increment(1);
}

/// A request under way; counted until this is dropped.
#[derive(Debug)]
pub struct Running(());

impl Running {
    /// One more request.
    #[must_use]
    pub fn begin() -> Self {
        gauge!(REQUESTS_RUNNING).increment(1.0);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(REQUESTS_RUNNING).decrement(1.0);
    }
}

/// Sets one of the gauges without labels, [`LOG_TAIL`] for instance.
pub fn set(name: &'static str, value: u64) {
    gauge!(name).set(rounded(value));
}

/// How many events `view` has not applied yet.
pub fn view_lag(view: &'static str, events: u64) {
    gauge!(VIEW_LAG, "view" => view).set(rounded(events));
}

/// The result of a health check.
pub fn health(check: &str, status: super::health::Status) {
    gauge!(HEALTH, "check" => check.to_owned()).set(f64::from(status as u8));
}

/// `count` files were taken out of the blob store.
pub fn blobs_removed(count: u64) {
    counter!(BLOBS_REMOVED).increment(count);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge beyond 2^53 need not be exact")]
fn rounded(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::health::Status;

    #[test]
    fn names_are_unique_and_end_in_their_kind_and_unit() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Metric { name, kind, unit, description } in ALL {
            assert!(name.starts_with("kymo_") && description.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *kind == Kind::Histogram, "{name}");
            assert_eq!(name.contains("_bytes"), *unit == Unit::Bytes, "{name}");
        }
    }

    #[test]
    fn what_is_recorded_is_rendered_with_its_meaning() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());
        ::metrics::with_local_recorder(&recorder, || {
            describe();
            instance_stored("create");
            instance_refused("AlreadyStored");
            received(5);
            received(6);
            sent(7);
            request_ended("GET", "/v2/studies/{study}", 200, Duration::from_millis(3));
            let running = Running::begin();
            drop(Running::begin());
            set(FEED_HEAD, 42);
            view_lag("search", 3);
            health("BlobStore", Status::Unhealthy);
            blobs_removed(2);
            metrics.upkeep();
            let text = metrics.render();
            for line in [
                "# HELP kymo_feed_head_sequence Newest sequence of the change feed.",
                "# TYPE kymo_http_request_seconds histogram",
                "kymo_instances_stored_total{mode=\"create\"} 1",
                "kymo_instances_refused_total{reason=\"AlreadyStored\"} 1",
                "kymo_http_received_bytes_total 11",
                "kymo_http_sent_bytes_total 7",
                "kymo_http_requests_total{method=\"GET\",route=\"/v2/studies/{study}\",status=\"200\"} 1",
                "kymo_http_request_seconds_bucket{method=\"GET\",route=\"/v2/studies/{study}\",le=\"0.002\"} 0",
                "kymo_http_request_seconds_bucket{method=\"GET\",route=\"/v2/studies/{study}\",le=\"0.005\"} 1",
                "kymo_http_requests_running 1",
                "kymo_feed_head_sequence 42",
                "kymo_view_lag_events{view=\"search\"} 3",
                "kymo_health_status{check=\"BlobStore\"} 2",
                "kymo_blob_removed_total 2",
            ] {
                assert!(text.lines().any(|found| found == line), "{line}\n\n{text}");
            }
            drop(running);
            assert!(metrics.render().contains("kymo_http_requests_running 0"));
        });
    }

    #[test]
    fn a_second_install_is_the_first() {
        Metrics::install().unwrap();
        Metrics::install().unwrap();
    }
}
