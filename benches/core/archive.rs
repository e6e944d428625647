//! How fast events are encoded, decoded and folded, and a page of the change feed is read.
//!
//! Invariant: an event is that of an image with 150 elements, the same at every run; each stores another
//! instance, a hundred to a series, two series to a study.
//! Elsewhere: appending to a disk (`log`), reading files (`scan`).

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use kymo::archive::{Archive, Parts, Settings, fold, state};
use kymo::base::{Ids, Partition, Position, Stamp, SteppedClock};
use kymo::blob::{Blobs, Lake};
use kymo::dicom::uid::Uid;
use kymo::event::codec::{self, Sections};
use kymo::event::{
    Actor, Head, InstanceKey, Payload, ReceivedInstance, Section, StoreMode, StoredFile, VERSION,
};
use kymo::log::memory::MemoryLog;
use kymo::log::{Log, Record};
use kymo::tables::{Keeping, Table};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Folded in one write, as while catching up.
const RUN_RECORDS: u64 = 512;
/// Instances behind the change feed that is read.
const FEED_ROWS: u64 = 10_000;
/// The largest page of version 2.
const PAGE_ROWS: u64 = 200;
const NOON: Stamp = Stamp(17_000_000_000_000_000);

/// All of them.
pub(crate) fn bench(c: &mut Criterion) {
    events(c);
    folds(c);
    feed(c);
}

fn uid(text: &str) -> Uid {
    Uid::parse(text).expect("digits and dots")
}

fn head(number: u64) -> Head {
    let (series, study) = (number / 100, number / 200);
    let key = InstanceKey {
        study: uid(&format!("1.2.826.0.1.3680043.9.7.{study}")),
        series: uid(&format!("1.2.826.0.1.3680043.9.7.{study}.{series}")),
        instance: uid(&format!("1.2.826.0.1.3680043.9.7.{study}.{series}.{number}")),
    };
    let file = StoredFile {
        key: format!(
            "AHDS/kymo/dicom/archive/Microsoft.Default/{}/{}/{}_{number:032x}.dcm",
            key.study, key.series, key.instance
        ),
        length_bytes: 526_000,
        sha256: [number as u8; 32],
    };
    let instance = ReceivedInstance {
        key,
        received: [None, None, None],
        sop_class: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        file,
        dataset_offset: 340,
        warnings: Vec::new(),
        derived_by: 1,
        expires_after_ms: None,
    };
    Head {
        id: Uuid::from_u128(0x0195_f0a2_c4d3_7e1f_8000_0000_0000_0000 + u128::from(number)),
        node: Uuid::from_u128(7),
        valid_until: Stamp(NOON.0 + 3_000_000_000),
        request_id: "0195f0a2-c4d3-7e1f-8a6b-2c9d4e5f6071".to_owned(),
        trace_id: None,
        actor: Actor::Anonymous,
        cause: None,
        partition: Partition::default(),
        payload: Payload::InstanceStored { instance, mode: StoreMode::Create },
    }
}

/// DICOM JSON of 150 elements, about 8 KB.
fn metadata(number: u64) -> Vec<u8> {
    let mut json = format!(r#"{{"00080018":{{"vr":"UI","Value":["1.2.826.0.1.3680043.9.7.{number}"]}}"#);
    for at in 0..149_u64 {
        let value = (number * 31 + at * 17) % 4096;
        write!(json, r#","0018{:04X}":{{"vr":"DS","Value":[{value}.5,-{at}.25]}}"#, 0x1000 + at)
            .expect("a text takes all that is written");
    }
    json.push('}');
    json.into_bytes()
}

fn sections(metadata: &[u8]) -> Sections {
    let mut sections = Sections::default();
    for (kind, plain) in
        [(Section::Metadata, metadata), (Section::Frames, &[0; 24]), (Section::Chunks, &[7; 20])]
    {
        sections.push(kind, plain).expect("a section of a few kilobytes is within the limits");
    }
    sections
}

fn event(number: u64) -> Bytes {
    codec::encode(&head(number), &sections(&metadata(number))).expect("the head is small")
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("event");
    group.throughput(Throughput::Elements(1));
    let (head, json) = (head(1), metadata(1));
    group.bench_function("encode", |b| {
        b.iter(|| codec::encode(black_box(&head), &sections(black_box(&json))).expect("the head is small"));
    });
    let record = event(1);
    group.bench_function("decode, head only", |b| {
        b.iter(|| codec::decode(black_box(&record).clone()).expect("it was just encoded"));
    });
    group.bench_function("decode, with metadata", |b| {
        b.iter(|| {
            let event = codec::decode(black_box(&record).clone()).expect("it was just encoded");
            event.section(Section::Metadata).expect("its codec is known").expect("it is there")
        });
    });
    group.finish();
}

fn folds(c: &mut Criterion) {
    let records: Vec<Record> = (0..RUN_RECORDS)
        .map(|number| Record {
            position: Position(number),
            stamp: NOON,
            chain: [0; 32],
            bytes: event(number),
        })
        .collect();
    let mut group = c.benchmark_group("fold");
    group.throughput(Throughput::Elements(RUN_RECORDS)).sample_size(20);
    group.bench_function("in memory", |b| {
        b.iter_batched(
            Table::memory,
            |table| {
                drop(fold::fold(&table, &records, None).expect("the records are in order"));
                table
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("on disk", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("there is room");
                let table = Table::open(
                    &folder.path().join("state"),
                    state::FORMAT,
                    Uuid::from_u128(1),
                    Keeping::default(),
                );
                (table.expect("a new folder can be opened"), folder)
            },
            |(table, folder)| {
                drop(fold::fold(&table, &records, None).expect("the records are in order"));
                (table, folder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// An archive whose feed has [`FEED_ROWS`] rows behind the two events every log begins with.
async fn archive() -> Archive {
    let clock = Arc::new(SteppedClock::at(NOON));
    let log = Arc::new(MemoryLog::new(clock.clone()));
    let begin =
        [Payload::LogCreated { log: Uuid::from_u128(3) }, Payload::FormatEnabled { version: VERSION }];
    let begin = begin.into_iter().zip(FEED_ROWS..).map(|(payload, id)| {
        let head = Head { payload, ..head(id) };
        codec::encode(&head, &Sections::default()).expect("the head is small")
    });
    for record in begin.chain((0..FEED_ROWS).map(event)) {
        log.append(record).await.expect("memory takes it").await.expect("and keeps it");
    }
    let last = Position(log.tail().0 - 1);
    let archive = Archive::open(Parts {
        log,
        blobs: Blobs::in_memory(),
        lake: Lake { workspace: "kymo".to_owned(), service: "archive".to_owned() },
        clock,
        ids: Arc::new(Ids::seeded(1)),
        node: Uuid::from_u128(7),
        state: Table::memory(),
        settings: Settings::default(),
    })
    .expect("an empty state can be opened");
    archive.reached(last, std::time::Duration::from_secs(600)).await.expect("the fold gets to the end");
    archive
}

fn feed(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be made");
    let archive = runtime.block_on(archive());
    let mut group = c.benchmark_group("change feed");
    group.throughput(Throughput::Elements(PAGE_ROWS));
    group.bench_function("page of 200", |b| {
        b.iter(|| archive.feed_window(black_box(FEED_ROWS / 2), PAGE_ROWS).expect("the state is whole"));
    });
    group.bench_function("page of 200 with metadata", |b| {
        b.iter(|| runtime.block_on(page_with_metadata(&archive)));
    });
    group.finish();
}

async fn page_with_metadata(archive: &Archive) -> usize {
    let rows = archive.feed_window(FEED_ROWS / 2, PAGE_ROWS).expect("the state is whole");
    let mut bytes = 0;
    for row in rows {
        let live = row.live.expect("nothing was deleted");
        bytes += archive.metadata(live.position).await.expect("the log is whole").len();
    }
    bytes
}
