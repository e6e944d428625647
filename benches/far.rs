//! What Kymo adds to an object store: files put and read through it, and the same bytes through the bare client.
//!
//! `cargo bench --bench far -- s3://bucket/prefix`, the store reached by its provider's environment;
//! `benches/blobs` starts stores and does so. Both sides take turns, and put only where nothing lies yet. Kymo
//! stages, hashes and syncs each file on local disk before, and checks each chunk that it reads.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use kymo::blob::{Blobs, CHUNK_BYTES, Environment, EtagRule, Expected, Location, Reach, Settings};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use sha2::{Digest, Sha256};

/// A CT image.
const FILE_BYTES: usize = 526_000;
/// Time of one side in one round.
const RUN: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

struct Both {
    kymo: Blobs,
    bare: Arc<dyn ObjectStore>,
    file: Bytes,
    expected: Expected,
    /// No name is used twice, not even by two runs.
    run: uuid::Uuid,
    next: AtomicU64,
}

impl Both {
    fn name(&self, side: &str) -> String {
        format!("bench/{}/{side}/{}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn put_kymo(&self) {
        let mut staging = self.kymo.stage().await.expect("staging");
        staging.write(self.file.clone()).await.expect("it is written");
        let staged = staging.finish().await.expect("it is staged");
        self.kymo.place(staged, &self.name("kymo")).await.expect("it is put");
    }

    async fn put_bare(&self) {
        let name = Path::from(self.name("bare"));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.bare.put_opts(&name, self.file.clone().into(), options).await.expect("it is put");
    }

    async fn get_kymo(&self) {
        let read = self.kymo.read(&self.expected, 0..FILE_BYTES as u64).await.expect("it is there");
        let read: Vec<Bytes> = read.try_collect().await.expect("it can be read");
        assert_eq!(read.iter().map(Bytes::len).sum::<usize>(), FILE_BYTES);
    }

    async fn get_bare(&self) {
        let read = self.bare.get_range(&Path::from(self.expected.key.as_str()), 0..FILE_BYTES as u64).await;
        assert_eq!(read.expect("it can be read").len(), FILE_BYTES);
    }
}

/// How often a second `clients` at once do it.
async fn rate<F: Future<Output = ()>>(clients: usize, work: impl Fn() -> F) -> f64 {
    let began = Instant::now();
    let done = stream::repeat_with(work)
        .take_while(|_| std::future::ready(began.elapsed() < RUN))
        .buffer_unordered(clients)
        .count()
        .await;
    f64::from(u32::try_from(done).expect("not so many")) / began.elapsed().as_secs_f64()
}

fn open(place: &str, staging: &std::path::Path) -> (Blobs, Arc<dyn ObjectStore>) {
    let location: Location = place.parse().expect("s3://bucket/prefix or az://container/prefix");
    let reach = Reach::default();
    let bare: Arc<dyn ObjectStore> = match &location {
        Location::S3 { bucket, .. } => {
            Arc::new(AmazonS3Builder::from_env().with_bucket_name(bucket).build().expect("a client"))
        }
        Location::Azure { container, .. } => Arc::new(
            MicrosoftAzureBuilder::from_env().with_container_name(container).build().expect("a client"),
        ),
        Location::Folder(_) => panic!("a folder has no bare client"),
    };
    let (environment, etag, staging) = (Environment::of_process(), EtagRule::Lenient, staging.to_owned());
    let settings = Settings { location, staging, reach, environment, etag, cache: None };
    (Blobs::open(&settings).expect("a store"), bare)
}

#[tokio::main]
async fn main() {
    let Some(place) = std::env::args().skip(1).find(|argument| argument.contains("://")) else {
        println!("far: no place was named, as in s3://bucket; see benches/blobs");
        return;
    };
    let staging = tempfile::tempdir().expect("a folder");
    let (kymo, bare) = open(&place, staging.path());
    let mut state = 1u32;
    let file: Bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(FILE_BYTES)
    .collect();
    let run = uuid::Uuid::now_v7();
    // Without a prefix both sides see the same file under the same name.
    let expected = Expected {
        key: format!("bench/{run}/read"),
        length_bytes: FILE_BYTES as u64,
        sha256: Sha256::digest(&file).into(),
        chunks: file.chunks(usize::try_from(CHUNK_BYTES).expect("small")).map(crc32c::crc32c).collect(),
        etag: None,
    };
    bare.put(&Path::from(expected.key.as_str()), file.clone().into()).await.expect("it is put");
    let both = Both { kymo, bare, file, expected, run, next: AtomicU64::new(0) };
    println!("| {place}, files of {FILE_BYTES} bytes | clients | Kymo a second | bare client | ratio |");
    println!("|---|---|---|---|---|");
    for clients in [1, 8, 32] {
        let mut put = Vec::new();
        let mut get = Vec::new();
        for _ in 0..ROUNDS {
            put.push((rate(clients, || both.put_kymo()).await, rate(clients, || both.put_bare()).await));
            get.push((rate(clients, || both.get_kymo()).await, rate(clients, || both.get_bare()).await));
        }
        for (what, mut rounds) in [("put", put), ("get", get)] {
            rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
            let (ours, theirs) = rounds[ROUNDS / 2];
            println!("| {what} | {clients} | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
        }
    }
}
