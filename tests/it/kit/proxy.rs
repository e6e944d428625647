//! A proxy in front of a real store, which does to single requests what networks and stores do.
//!
//! Each request goes over a connection of its own to the store behind, and so does its answer.
//! Invariant: without a fault that fits, every byte passes as it is, but for one header that ends the connection.
//! Elsewhere: the stores (`kit::stores`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with a status and a code, and does not reach the store.
    Answer(u16, &'static str),
    /// It is read, and nothing comes back.
    Silence,
    /// The connection ends before it is read.
    Reset,
    /// It takes effect, and its answer is lost.
    LostAnswer,
    /// So many bytes of its answer come, head included.
    CutAfter(usize),
}

struct Plan {
    fault: Fault,
    /// What the request line must contain; all of several parts with `*` between them.
    fits: &'static str,
    times: u32,
}

#[derive(Default)]
struct State {
    plans: Vec<Plan>,
    lines: Vec<String>,
    open: Vec<TcpStream>,
}

/// A running proxy; it ends with the test.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Passes requests on to `store`.
    pub(crate) fn before(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, ended): (Arc<Mutex<State>>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let (told, stop) = (state.clone(), ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), state) = (client, told.clone()) else { continue };
                // A client that goes away ends its thread, which is all that can happen to it.
                std::thread::spawn(move || drop(pass(&client, store, &state)));
            }
        });
        Self { address, state, ended }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next `times` requests with `fits` in their first line meet a fault.
    pub(crate) fn plan(&self, fault: Fault, fits: &'static str, times: u32) {
        self.state.lock().plans.push(Plan { fault, fits, times });
    }

    /// All requests meet it.
    pub(crate) fn always(&self, fault: Fault) {
        self.heal();
        self.plan(fault, "", u32::MAX);
    }

    /// No more faults; what hangs is let go.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        state.plans.clear();
        for open in state.open.drain(..) {
            // It may have ended already.
            drop(open.shutdown(Shutdown::Both));
        }
    }

    /// First lines of the requests that came since the last call.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().lines)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.heal();
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn pass(client: &TcpStream, store: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut request = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if request.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let (line, headers) = head.split_once("\r\n").expect("a head has lines");
    let fault = {
        let mut state = state.lock();
        state.lines.push(line.to_owned());
        let plan = state
            .plans
            .iter_mut()
            .find(|plan| plan.times > 0 && plan.fits.split('*').all(|part| line.contains(part)));
        plan.map(|plan| {
            plan.times -= 1;
            plan.fault
        })
    };
    if fault == Some(Fault::Reset) {
        return client.shutdown(Shutdown::Both);
    }
    let length = headers.lines().find_map(|header| {
        let (name, value) = header.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = request.take(length.unwrap_or(0));
    match fault {
        Some(Fault::Silence) => {
            std::io::copy(&mut body, &mut std::io::sink())?;
            state.lock().open.push(client.try_clone()?);
            // Until the client or the test has had enough.
            std::io::copy(&mut &*client, &mut std::io::sink()).map(drop)
        }
        Some(Fault::Answer(status, code)) => {
            std::io::copy(&mut body, &mut std::io::sink())?;
            let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
            let length = text.len();
            let shown = if line.starts_with("HEAD") { "" } else { &text };
            write!(
                &*client,
                "HTTP/1.1 {status} As planned\r\nContent-Type: application/xml\r\nConnection: close\r\n\
                 x-ms-error-code: {code}\r\nContent-Length: {length}\r\n\r\n{shown}"
            )
        }
        _ => {
            let mut behind = TcpStream::connect(store)?;
            write!(behind, "{line}\r\nConnection: close\r\n{headers}")?;
            std::io::copy(&mut body, &mut behind)?;
            answer(&behind, client, fault)
        }
    }
}

fn answer(mut behind: &TcpStream, mut client: &TcpStream, fault: Option<Fault>) -> std::io::Result<()> {
    let passed = match fault {
        Some(Fault::LostAnswer) => std::io::copy(&mut behind, &mut std::io::sink()),
        Some(Fault::CutAfter(bytes)) => std::io::copy(&mut behind.take(bytes as u64), &mut client),
        _ => std::io::copy(&mut behind, &mut client),
    };
    passed?;
    client.shutdown(Shutdown::Both)
}
