//! An archive in memory behind its router, without a socket.
//!
//! Elsewhere: files (`kit::dicom`), the socket (`http::server`).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use kymo::archive::{self, Archive};
use kymo::base::{Ids, Position, Stamp, SteppedClock};
use kymo::blob::{Blobs, Lake};
use kymo::codecs::{self, Codecs};
use kymo::event::Commit;
use kymo::http::{self, App};
use kymo::log::memory::MemoryLog;
use kymo::ops::health::Health;
use kymo::projections::CommitSource;
use kymo::projections::search::Search;
use kymo::tables::Table;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;
use uuid::Uuid;

/// 2025-02-11T08:15:30.1234567Z.
pub(crate) const START: Stamp = Stamp(17_392_617_301_234_567);

/// What the views follow.
struct Commits(Archive);

impl CommitSource for Commits {
    fn commits(&self, from: Position) -> Result<Vec<Arc<Commit>>, String> {
        self.0.commits(from).map_err(|error| error.to_string())
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.0.head_position()
    }
}

/// How pixels are worked on: by the program that was built with these tests.
pub(crate) fn codecs() -> codecs::Settings {
    codecs::Settings {
        program: env!("CARGO_BIN_EXE_kymo").into(),
        children: 2,
        memory_bytes: 2 << 30,
        time: Duration::from_secs(30),
        queue: 256,
        queue_wait: Duration::from_secs(20),
        frame_bytes: 128 << 20,
        in_flight_bytes: 512 << 20,
        threads: 2,
    }
}

/// A running archive.
pub(crate) struct Served {
    pub(crate) archive: Archive,
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) health: Health,
    store: Arc<InMemory>,
    router: Router,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::with(http::Settings::default()).await
    }

    pub(crate) async fn with(settings: http::Settings) -> Self {
        Self::storing(settings, archive::Settings::default()).await
    }

    /// With these settings of the archive, too.
    pub(crate) async fn storing(settings: http::Settings, stores: archive::Settings) -> Self {
        Self::decoding(settings, stores, codecs()).await
    }

    /// With these settings of the codecs, too.
    pub(crate) async fn decoding(
        settings: http::Settings,
        stores: archive::Settings,
        pixels: codecs::Settings,
    ) -> Self {
        let clock = Arc::new(SteppedClock::at(START));
        let store = Arc::new(InMemory::new());
        let ids = Arc::new(Ids::seeded(7));
        let archive = Archive::open(archive::Parts {
            log: Arc::new(MemoryLog::new(clock.clone())),
            blobs: Blobs::over(store.clone()),
            lake: Lake { workspace: "ws".to_owned(), service: "svc".to_owned() },
            clock: clock.clone(),
            node: ids.next(START),
            ids,
            state: Table::memory(),
            settings: stores,
        });
        let archive = archive.expect("an empty archive opens");
        archive.begin_log(Uuid::from_u128(1)).await.expect("the log begins");
        let health = Health::new(clock.clone());
        let search = Search::in_memory(Arc::new(Commits(archive.clone()))).expect("there are threads");
        // Else the first writes are answered before search is there to be waited for.
        search.reached(Position(1), Duration::from_secs(60)).await.expect("search follows");
        let app = App::new(archive.clone(), search, Codecs::new(pixels), health.clone(), None, settings);
        Self { archive, clock, health, store, router: http::router(app) }
    }

    /// A request to this archive.
    pub(crate) fn request(&self, method: Method, path: &str) -> Ask<'_> {
        let request = Request::builder().method(method).uri(path).header("host", "archive.example:8080");
        Ask { served: self, request: request.body(Body::empty()).expect("the test's path is legal") }
    }

    pub(crate) fn get(&self, path: &str) -> Ask<'_> {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Ask<'_> {
        self.request(Method::POST, path).header("accept", "application/dicom+json")
    }

    pub(crate) fn put(&self, path: &str) -> Ask<'_> {
        self.request(Method::PUT, path).header("accept", "application/dicom+json")
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path).send().await
    }

    /// Stores one file, which must succeed.
    pub(crate) async fn stored(&self, file: &[u8]) -> Answer {
        let answer = self.post("/v2/studies").dicom(file).send().await;
        assert!([200, 202].contains(&answer.status), "{answer:?}");
        answer
    }

    /// The whole change feed.
    pub(crate) async fn feed(&self) -> Vec<Value> {
        let answer = self.get("/v2/changefeed?limit=200").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().as_array().expect("the feed is an array").clone()
    }

    /// Alters the file stored under `path` behind the archive's back.
    pub(crate) async fn tamper(&self, path: &str) {
        let path = Path::from(path);
        let mut bytes =
            self.store.get(&path).await.expect("it is stored").bytes().await.expect("read").to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        self.store.put(&path, Bytes::from(bytes).into()).await.expect("written");
    }

    /// Removes the file stored under `path` behind the archive's back.
    pub(crate) async fn steal(&self, path: &str) {
        self.store.delete(&Path::from(path)).await.expect("it is stored");
    }

    /// Keys of all files.
    pub(crate) async fn files(&self) -> Vec<String> {
        use futures_util::TryStreamExt;
        let all: Vec<_> = self.store.list(None).try_collect().await.expect("listed");
        all.into_iter().map(|meta| meta.location.to_string()).collect()
    }
}

/// A request under construction.
pub(crate) struct Ask<'a> {
    served: &'a Served,
    request: Request<Body>,
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("the test's header is legal");
        self.request.headers_mut().insert(HeaderName::from_static(name), value);
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub(crate) fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self.header("content-type", content_type)
    }

    /// One instance as the whole body.
    pub(crate) fn dicom(self, file: &[u8]) -> Self {
        self.body("application/dicom", file.to_vec())
    }

    /// Instances as `multipart/related`.
    pub(crate) fn multipart(self, files: &[&[u8]]) -> Self {
        let mut body = Vec::new();
        for file in files {
            body.extend_from_slice(b"--b0undary\r\nContent-Type: application/dicom\r\n\r\n");
            body.extend_from_slice(file);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b0undary--\r\n");
        self.body("multipart/related; type=\"application/dicom\"; boundary=b0undary", body)
    }

    pub(crate) async fn send(self) -> Answer {
        let response =
            self.served.router.clone().oneshot(self.request).await.expect("a router always answers");
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| error.to_string());
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// An answer, its body whole or broken off.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Result<Bytes, String>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.body.as_ref().expect("the body is whole")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("a text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.bytes()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Content type and bytes of each part of a multipart answer.
    pub(crate) fn parts(&self) -> Vec<(String, Vec<u8>)> {
        let kind = self.header("content-type").expect("a content type");
        let (_, boundary) = kind.split_once("boundary=").expect("a boundary");
        let delimiter = format!("--{boundary}");
        let mut rest = self.bytes().strip_prefix(delimiter.as_bytes()).expect("it begins with the boundary");
        let next = format!("\r\n{delimiter}");
        let mut parts = Vec::new();
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let find =
                |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
            let head = find(part, b"\r\n\r\n").expect("headers end");
            let end = find(&part[head..], next.as_bytes()).expect("a part ends") + head;
            let kind = std::str::from_utf8(&part[..head]).expect("a text");
            let kind = kind.strip_prefix("Content-Type: ").expect("the only header of a part");
            parts.push((kind.to_owned(), part[head + 4..end].to_vec()));
            rest = &part[end + next.len()..];
        }
        assert_eq!(rest, b"--\r\n", "it ends with the closing boundary");
        parts
    }
}
