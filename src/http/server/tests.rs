//! The socket against a client that writes HTTP by hand.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;

async fn started(
    router: Router,
    settings: Settings,
) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = bind("127.0.0.1:0".parse().unwrap(), AllowRemote::No).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        serve(listener, router, &settings, stopped).await;
    });
    (address, stop, serving)
}

async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The server may reset a connection it refused while more was being sent.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn only_loopback_is_bound_without_leave() {
    for remote in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let bound = bind(remote.parse().unwrap(), AllowRemote::No).await;
        assert!(matches!(bound, Err(BindError::Remote(_))), "{remote}");
    }
    assert!(bind("0.0.0.0:0".parse().unwrap(), AllowRemote::Yes).await.is_ok());
}

#[tokio::test]
async fn a_running_request_finishes_after_the_stop() {
    let (entered, wait) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (began, go) = (entered.clone(), wait.clone());
    let router = Router::new().route(
        "/",
        get(move || async move {
            began.notify_one();
            go.notified().await;
            "done"
        }),
    );
    let (address, stop, serving) = started(router, Settings::default()).await;
    let client = tokio::spawn(async move { exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await });
    entered.notified().await;
    stop.send(()).unwrap();
    wait.notify_one();
    assert!(client.await.unwrap().ends_with("done"));
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let router = Router::new().route("/", get(|| async { "ok" }));
    let settings = Settings { head_bytes: 8 << 10, ..Settings::default() };
    let (address, _stop, _serving) = started(router, settings).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let answer = exchange(address, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_fails_half_way_breaks_the_connection() {
    let taken = Arc::new(tokio::sync::Notify::new());
    let fail = taken.clone();
    let router = Router::new().route(
        "/",
        get(move || async move {
            let pieces = stream::once(async { Ok("half") });
            Body::from_stream(pieces.chain(stream::once(async move {
                fail.notified().await;
                Err(io::Error::other("gone"))
            })))
        }),
    );
    let (address, _stop, _serving) = started(router, Settings::default()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"half\r\n") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "the answer begins");
    }
    taken.notify_one();
    let _ = client.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("half\r\n"), "not complete: {answer}");
}

#[tokio::test]
async fn the_answer_to_a_head_says_nothing_of_an_unknown_length() {
    let router = Router::new().route("/", get(|| async { crate::http::left_out() }));
    let (address, _stop, _serving) = started(router, Settings::default()).await;
    let answer = exchange(address, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.to_lowercase().contains("content-length"), "{answer}");
}

/// A router whose answer never ends, and what tells by an error that the answer's body was dropped.
fn endless() -> (Router, oneshot::Receiver<()>) {
    let (sent, gone) = oneshot::channel::<()>();
    let sent = Arc::new(parking_lot::Mutex::new(Some(sent)));
    let answer = move || async move {
        let guard = sent.lock().take();
        let endless = futures_util::stream::repeat_with(move || {
            let _held = &guard;
            Ok::<_, io::Error>(vec![0u8; 64 << 10])
        });
        Body::from_stream(endless)
    };
    (Router::new().route("/", get(answer)), gone)
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let (router, gone) = endless();
    let settings = Settings { write_window: Duration::from_millis(50), ..Settings::default() };
    let (address, _stop, _serving) = started(router, settings).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(gone.await.is_err(), "the body was dropped without an answer being sent on the channel");
    let cut = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(cut.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset), "it learns of it");
}

/// What the system holds for all connections together is little: it must not lie with a few that are slow.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_keeps_little_for_a_client_that_takes_nothing() {
    let given = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let answer = move || async move {
        Body::from_stream(stream::repeat_with(move || {
            count.fetch_add(64 << 10, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, io::Error>(vec![0u8; 64 << 10])
        }))
    };
    let settings = Settings::default();
    let held_here = settings.head_bytes.max(MIN_BUFFER_BYTES) + (128 << 10);
    let (address, _stop, _serving) = started(Router::new().route("/", get(answer)), settings).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut before = usize::MAX;
    while before != given.load(std::sync::atomic::Ordering::Relaxed) {
        before = given.load(std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let taken = before - held_here;
    assert!((64 << 10..768 << 10).contains(&taken), "the system took {taken} bytes");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let router = Router::new().route("/", get(|| async { "ok" }));
    let settings = Settings { head_time: Duration::from_millis(50), ..Settings::default() };
    let (address, _stop, _serving) = started(router, settings).await;
    // The last of them could still become HTTP/2.
    for said in ["", "G", "GET / HTTP/1.1\r\nHost:", "PRI * HTTP/2.0\r\n\r\n"] {
        let answer = exchange(address, said.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{said}: {answer}");
    }
}

/// Keeps the connection alive for ever by a byte now and then, were it only asked whether anything moves.
#[tokio::test]
async fn a_client_that_takes_too_little_is_let_go() {
    let (router, gone) = endless();
    // More than the client takes in the window, however the system cuts it into pieces.
    let settings = Settings {
        write_window: Duration::from_millis(300),
        write_bytes_per_window: 1 << 30,
        ..Settings::default()
    };
    let (address, _stop, _serving) = started(router, settings).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut taken = vec![0; 256 << 10];
    let taking = async {
        loop {
            if stream.read(&mut taken).await.unwrap_or(0) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = taking => {}
        ended = gone => assert!(ended.is_err(), "the body was dropped"),
    }
}

const WINDOW: Duration = Duration::from_millis(100);

/// Asks over HTTP/2 with so large a window for each answer, and waits until the connection ends.
async fn over_http2(address: SocketAddr, path: &str, window: u32) -> (Vec<u8>, Result<(), h2::Error>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) =
        builder.initial_window_size(window).handshake::<_, Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://a{path}")).body(()).unwrap();
    let (answer, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let mut taken = Vec::new();
    let mut body = match answer.await {
        Ok(answer) => answer.into_body(),
        Err(error) => return (taken, Err(error)),
    };
    loop {
        match body.data().await {
            Some(Ok(bytes)) => {
                taken.extend_from_slice(&bytes);
                if window > 0 {
                    body.flow_control().release_capacity(bytes.len()).unwrap();
                }
            }
            Some(Err(error)) => return (taken, Err(error)),
            None => break,
        }
    }
    drop(body);
    connection.abort();
    (taken, Ok(()))
}

#[tokio::test]
async fn a_client_of_http2_that_opens_no_window_is_let_go() {
    let (router, gone) = endless();
    let router = router.route("/small", get(|| async { "small" }));
    let settings = Settings { write_window: WINDOW, ..Settings::default() };
    let (address, _stop, _serving) = started(router, settings).await;
    for path in ["/", "/small"] {
        let (taken, ended) = over_http2(address, path, 0).await;
        assert!(taken.is_empty() && ended.is_err(), "{path}: {ended:?}");
    }
    assert!(gone.await.is_err(), "what was to be sent is dropped");
}

#[tokio::test]
async fn a_client_of_http2_that_waits_for_us_or_takes_its_answers_is_kept() {
    let late = || async {
        tokio::time::sleep(4 * WINDOW).await;
        let (first, second) = (Ok::<_, io::Error>("a"), async { tokio::time::sleep(4 * WINDOW).await });
        Body::from_stream(stream::once(async { first }).chain(stream::once(async {
            second.await;
            Ok("b")
        })))
    };
    let router =
        Router::new().route("/late", get(late)).route("/large", get(|| async { vec![7_u8; 3 << 20] }));
    let settings = Settings { write_window: WINDOW, ..Settings::default() };
    let (address, _stop, _serving) = started(router, settings).await;
    let (taken, ended) = over_http2(address, "/late", 1000).await;
    assert_eq!((taken.as_slice(), ended.is_ok()), (&b"ab"[..], true), "{ended:?}");
    let (taken, ended) = over_http2(address, "/large", 20_000).await;
    assert_eq!((taken.len(), ended.is_ok()), (3 << 20, true), "{ended:?}");
    let (taken, ended) = over_http2(address, "/large", 3 << 20).await;
    assert_eq!((taken.len(), ended.is_ok()), (3 << 20, true), "its window is just as large: {ended:?}");
}
