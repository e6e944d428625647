//! How fast the embedded log appends, one caller alone and many sharing an fsync, and how fast it is read in bulk.
//!
//! Invariant: records are 3 KB, as an event of 150 elements about is; every append waits for its fsync.
//! Elsewhere: the whole way of a store (`benches/dwload`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use kymo::base::{Position, SystemClock};
use kymo::log::Log;
use kymo::log::embedded::{EmbeddedLog, Settings};
use uuid::Uuid;

const RECORD_BYTES: usize = 3 << 10;

/// All of them.
pub(crate) fn bench(c: &mut Criterion) {
    append(c);
    read(c);
}

fn open(folder: &Path) -> Arc<EmbeddedLog> {
    let clock = Arc::new(SystemClock);
    let opened = EmbeddedLog::open(folder, Settings::default(), clock, Uuid::from_u128(1), &[]);
    Arc::new(opened.expect("a new folder can be opened").0)
}

fn record() -> Bytes {
    (0..RECORD_BYTES).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into()
}

fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let mut group = c.benchmark_group("log/append");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(5)).sample_size(10);
    for writers in [1u64, 8, 64] {
        let folder = tempfile::tempdir().expect("there is room");
        let log = open(folder.path());
        group.bench_function(BenchmarkId::from_parameter(writers), |bencher| {
            bencher.iter_custom(|appends| {
                let started = std::time::Instant::now();
                runtime.block_on(append_from(&log, writers, appends));
                started.elapsed()
            });
        });
    }
    group.finish();
}

async fn append_from(log: &Arc<EmbeddedLog>, writers: u64, appends: u64) {
    let record = record();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (log, record) = (log.clone(), record.clone());
            let share = appends / writers + u64::from(writer < appends % writers);
            tokio::spawn(async move {
                for _ in 0..share {
                    let appending = log.append(record.clone()).await.expect("there is room");
                    appending.await.expect("it becomes durable");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no writer panics");
    }
}

fn read(c: &mut Criterion) {
    const RECORDS: u64 = 20_000;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let folder = tempfile::tempdir().expect("there is room");
    let log = open(folder.path());
    runtime.block_on(append_from(&log, 64, RECORDS));

    let mut group = c.benchmark_group("log/read");
    group.throughput(Throughput::Bytes(RECORDS * RECORD_BYTES as u64)).sample_size(10);
    group.bench_function("batch", |bencher| {
        bencher.iter(|| {
            let mut next = Position(0);
            while next < log.tail() {
                let records = log.read_batch(next, log.tail(), 4 << 20).expect("it is readable");
                next = records.last().expect("there are more").position.next();
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut at = 0;
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            at = (at + 7919) % RECORDS;
            runtime.block_on(log.get(Position(at))).expect("it is readable")
        });
    });
    group.bench_function("one, blocking", |bencher| {
        bencher.iter(|| {
            at = (at + 7919) % RECORDS;
            log.read_batch(Position(at), Position(at + 1), 0).expect("it is readable")
        });
    });
    group.finish();
}
