//! The socket: connections in, HTTP/1.1 and HTTP/2 without TLS, a stop that lets running requests finish.
//!
//! Invariant: without leave no address but a loopback one is bound: there is no authentication.
//! Invariant: connections, header bytes, header time and streams are bounded, and so is the time in which a
//! client must take a share of what is there for it.
//! Elsewhere: what is answered (`http::router`), answers that an HTTP/2 client does not fetch (`progress`).

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Version};
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower::{Service, ServiceExt};

use super::Settings;
use super::peers::Ends;

mod progress;

use progress::{Answering, Progress};

/// Whether others than this machine may reach the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowRemote {
    /// They may: something in front of it authenticates, or nobody needs to.
    Yes,
    /// They may not.
    No,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Refused by rule.
    #[error(
        "{0} can be reached from other machines and no authentication is configured; listen on 127.0.0.1 or \
         [::1], or allow remote callers explicitly"
    )]
    Remote(SocketAddr),
    /// Refused by the system.
    #[error("cannot listen on {address}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Takes the address.
///
/// # Errors
/// [`BindError`]
pub async fn bind(address: SocketAddr, remote: AllowRemote) -> Result<TcpListener, BindError> {
    match remote {
        AllowRemote::No if !address.ip().to_canonical().is_loopback() => Err(BindError::Remote(address)),
        AllowRemote::No | AllowRemote::Yes => {
            TcpListener::bind(address).await.map_err(|source| BindError::Io { address, source })
        }
    }
}

/// How long to wait after the system refused a connection, as when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves, then lets running requests finish within the bound of the settings. What
/// still runs after it is dropped.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &Settings,
    stop: impl Future<Output = ()>,
) {
    let builder = Arc::new(builder(settings));
    let places = Arc::new(Semaphore::new(settings.connections));
    let graceful = GracefulShutdown::new();
    let mut running = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = tokio::select! {
            () = &mut stop => break,
            place = places.clone().acquire_owned() => place.expect("the places are never closed"),
        };
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        while running.try_join_next().is_some() {}
        let (stream, peer) = match stream {
            Ok((stream, peer)) => (stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers go out at once; a socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream);
        // A socket without an address of its own is gone already; the connection will end by itself.
        let local = stream.local_addr().unwrap_or(peer);
        let ends = Ends { peer: peer.ip(), local };
        let progress = Arc::new(Progress::default());
        let service = TowerToHyperService::new(answers(router.clone(), ends, Arc::clone(&progress)));
        let io = TokioIo::new(Patient::new(stream, Arc::clone(&progress), settings));
        let connection = graceful.watch(builder.serve_connection(io, service).into_owned());
        let (window, bytes) = (settings.write_window, settings.write_bytes_per_window);
        running.spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                },
                () = progress.stalled(window, bytes) => {
                    tracing::debug!("a client that fetches none of its answers is let go");
                }
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(settings.stop_time, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = running.len(), "requests still running are dropped");
    }
    running.shutdown().await;
}

/// Bytes of answers that the system takes for a connection before they can be sent. It would take megabytes for
/// each, and what it has for all connections is used up by some hundred slow clients: all others then wait.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 256 << 10;

/// Bounds what the system keeps for a client that does not take it.
fn bound_unsent(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "the system keeps for a client as much as it likes");
    }
}

/// What answers the requests of one connection.
fn answers(
    router: Router,
    ends: Ends,
    progress: Arc<Progress>,
) -> impl Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Future<Output = Result<Response, Infallible>> + Send,
> + Clone {
    tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        let answering = (request.version() == Version::HTTP_2).then(|| Answering::begin(&progress));
        let answer = router.clone().oneshot(request);
        async move {
            let answer = answer.await?;
            Ok(match answering {
                Some(answering) => answer.map(|body| answering.body(body)),
                None => answer,
            })
        }
    })
}

fn builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let header_list = u32::try_from(settings.head_bytes).unwrap_or(u32::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_time)
        .max_buf_size(settings.head_bytes.max(MIN_BUFFER_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(header_list)
        .max_concurrent_streams(settings.streams_per_connection)
        .keep_alive_interval(settings.head_time)
        .keep_alive_timeout(settings.head_time);
    builder
}

/// The least that hyper takes as a buffer.
const MIN_BUFFER_BYTES: usize = 8 << 10;

/// As many bytes are looked at before it is known whether HTTP/1 or HTTP/2 is spoken. Only from then on does
/// hyper's own time for the head of a request run.
const PREFACE_BYTES: usize = 24;

/// A connection whose client must say something, and then keep taking what is written to it.
struct Patient {
    stream: TcpStream,
    /// Bytes of the preface not come yet, and the time left for them.
    silent: Option<(usize, Pin<Box<Sleep>>)>,
    pace: Pace,
    progress: Arc<Progress>,
}

/// How fast a client must take what is written to it. Only the time counts in which a write waits.
struct Pace {
    window: Duration,
    bytes_per_window: usize,
    /// Waiting time left, and bytes still to be taken, in this window.
    left: Duration,
    wanted: usize,
    /// Since when a write waits, and until when it may.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patient {
    fn new(stream: TcpStream, progress: Arc<Progress>, settings: &Settings) -> Self {
        let silent = Some((PREFACE_BYTES, Box::pin(sleep(settings.head_time))));
        let (window, bytes_per_window) = (settings.write_window, settings.write_bytes_per_window);
        let pace = Pace { window, bytes_per_window, left: window, wanted: bytes_per_window, waiting: None };
        Self { stream, silent, pace, progress }
    }

    /// Passes on what a read came to, `come` bytes with it. A client that is silent for too long is an error.
    fn hear(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        come: usize,
    ) -> Poll<io::Result<()>> {
        let Some((missing, time)) = &mut self.silent else { return read };
        *missing = missing.saturating_sub(come);
        if *missing == 0 {
            self.silent = None;
        } else if read.is_pending() && time.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }

    /// Passes on what a write came to. Of a client that is cut, the system forgets at once what it did not take:
    /// it would keep that for minutes, and the client would not learn of it.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let written = self.pace.watch(cx, written);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.progress.took(*bytes);
        }
        if let Poll::Ready(Err(error)) = &written
            && error.kind() == io::ErrorKind::TimedOut
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "what a client did not take stays until the system forgets it");
        }
        written
    }
}

impl Pace {
    /// Passes on what a write came to. When too little was taken in too long a wait, that is an error.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(ended) = written else {
            let left = self.left;
            let (_, end) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
            return match end.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            };
        };
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.wanted = self.wanted.saturating_sub(*ended.as_ref().unwrap_or(&0));
        if self.wanted == 0 {
            (self.left, self.wanted) = (self.window, self.bytes_per_window);
        }
        Poll::Ready(ended)
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let come = buf.filled().len() - before;
        self.hear(cx, read, come)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, closed.map_ok(|()| 0)).map_ok(|_| ())
    }
}

#[cfg(test)]
mod tests;
