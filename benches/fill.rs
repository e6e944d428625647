//! Makes an archive of many small instances, through the archive itself, with all but the files.
//!
//! `dwload gen --profile note -n 2000000 --stream | cargo bench --bench fill -- --data DIR`. Each file comes after its
//! length (4 bytes, little endian). It is scanned, validated, appended, folded and made searchable as a store
//! is; the lake, of which nothing is asked in a search, is left out: two million files of 1 KB would take
//! 16 GB in blocks of 4 KB. `kymo serve --data DIR` then answers searches; a retrieval finds its file missing.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use kymo::app::{Commits, Folders};
use kymo::archive::{self, Archive, Asking, PartOutcome};
use kymo::base::{Clock, Ids, Partition, Position, SystemClock};
use kymo::blob::Blobs;
use kymo::config::{self, Config, Given};
use kymo::dicom::validate::Rules;
use kymo::event::{Actor, StoreMode};
use kymo::log::Log;
use kymo::log::embedded::EmbeddedLog;
use kymo::projections::search::Search;
use kymo::tables::Table;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tokio::sync::mpsc;

/// Files of one request.
const FILES_AT_ONCE: usize = 64;
/// Requests under way.
const REQUESTS_AT_ONCE: usize = 16;
/// Largest file that is believed.
const LARGEST: usize = 64 << 20;

/// Takes every file and keeps none.
#[derive(Debug)]
struct Nothing;

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

fn nothing_here(location: &Key) -> Error {
    Error::NotFound { path: location.to_string(), source: "no file is kept".into() }
}

#[async_trait]
impl ObjectStore for Nothing {
    async fn put_opts(&self, _: &Key, _: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        location: &Key,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(nothing_here(location))
    }

    async fn get_opts(&self, location: &Key, _: GetOptions) -> object_store::Result<GetResult> {
        Err(nothing_here(location))
    }

    async fn get_ranges(&self, location: &Key, _: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        Err(nothing_here(location))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Key>>,
    ) -> BoxStream<'static, object_store::Result<Key>> {
        locations
    }

    fn list(&self, _: Option<&Key>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::empty().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Key>) -> object_store::Result<ListResult> {
        Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() })
    }

    async fn copy_opts(&self, from: &Key, _: &Key, _: CopyOptions) -> object_store::Result<()> {
        Err(nothing_here(from))
    }
}

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Filled {
    archive: Archive,
    search: Search,
    log: Arc<dyn Log>,
}

/// A new archive in the folder of `config`: the log, the state and the search view as `serve` would have them.
async fn begin(config: &Config) -> Filled {
    let folders = Folders::of(&config.data);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Arc::new(Ids::from_os());
    let (node, name) = (ids.next(clock.now()), ids.next(clock.now()));
    let opened = EmbeddedLog::open(&folders.log(), config.log, Arc::clone(&clock), name, &[Position(0)]);
    let (log, _) = opened.expect("a log can be begun");
    let log: Arc<dyn Log> = Arc::new(log);
    let state = Table::open(&folders.state(), archive::state::FORMAT, name, config.tables);
    let bodies = Some(config.data.join("bodies"));
    let archive = Archive::open(archive::Parts {
        log: Arc::clone(&log),
        blobs: Blobs::over(Arc::new(Nothing)),
        lake: config.lake.clone(),
        clock,
        ids,
        node,
        state: state.expect("a table can be begun"),
        settings: archive::Settings { bodies, ..config.archive.clone() },
    })
    .expect("an empty archive opens");
    archive.begin_log(name).await.expect("the log begins");
    let source = Arc::new(Commits(archive.clone()));
    let search = Search::open(&folders.views(), name, config.tables, source).expect("the search view opens");
    Filled { archive, search, log }
}

async fn store(archive: Archive, files: Vec<Bytes>) -> u64 {
    let partition = Partition::default();
    let asking = Asking { request_id: String::new(), trace_id: None, actor: Actor::System, partition };
    let mut ingest = archive.ingest(asking, StoreMode::Create, Rules::V2, None);
    for file in files {
        ingest.part().await.expect("a part begins");
        ingest.write(file).await.expect("it is taken");
        ingest.end_part().await.expect("it ends");
    }
    let stored = ingest.commit().await.expect("the log takes it").parts;
    for part in &stored {
        assert!(matches!(part, PartOutcome::Stored { .. }), "refused: {part:?}");
    }
    stored.len() as u64
}

/// The files of standard input, as many together as one request has.
fn read(given: &mpsc::Sender<Vec<Bytes>>) {
    let mut input = std::io::stdin().lock();
    let mut files = Vec::new();
    let mut length = [0; 4];
    loop {
        let more = input.read_exact(&mut length).is_ok();
        if more {
            let length = u32::from_le_bytes(length) as usize;
            assert!(length <= LARGEST, "a file of {length} bytes: this is no stream of files");
            let mut file = vec![0; length];
            input.read_exact(&mut file).expect("a file is as long as it says");
            files.push(Bytes::from(file));
        }
        if files.len() == FILES_AT_ONCE || (!more && !files.is_empty()) {
            if given.blocking_send(std::mem::take(&mut files)).is_err() {
                return;
            }
        }
        if !more {
            return;
        }
    }
}

async fn fill(data: &Path) {
    let mut config = config::read(None, &Given::default()).expect("no setting is needed");
    config.data = data.to_owned();
    assert!(!Folders::of(data).log().exists(), "{} holds an archive already", data.display());
    let filled = begin(&config).await;
    let (given, mut taken) = mpsc::channel(REQUESTS_AT_ONCE);
    let reader = std::thread::spawn(move || read(&given));
    let began = Instant::now();
    let archive = filled.archive.clone();
    let requests = stream::poll_fn(move |context| taken.poll_recv(context));
    let stored: u64 = requests
        .map(|files| tokio::spawn(store(archive.clone(), files)))
        .buffer_unordered(REQUESTS_AT_ONCE)
        .fold(0, |all, stored| async move { all + stored.expect("a store does not panic") })
        .await;
    reader.join().expect("the reader does not panic");
    let seconds = began.elapsed().as_secs_f64();
    println!("{stored} instances in {seconds:.1} s, {:.0} a second", stored as f64 / seconds);
    let last = Position(filled.archive.progress().next.0 - 1);
    filled.search.reached(last, Duration::from_secs(3600)).await.expect("the search view follows");
    filled.log.close().await;
    let search = filled.search.clone();
    let closed = tokio::task::spawn_blocking(move || {
        search.flush();
        search.close();
    });
    closed.await.expect("it closes");
    filled.archive.flush().expect("the state is kept");
    println!("searchable and closed after {:.1} s", began.elapsed().as_secs_f64());
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some("--data"), Some(data)) = (arguments.next().as_deref(), arguments.next()) else {
        println!("fill: no folder was named (--data DIR); see benches/search");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(fill(&PathBuf::from(data)));
}
