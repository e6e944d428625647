//! A real toxiproxy between an archive and its broker: cuts, silence and resets on a connection.
//!
//! `KYMO_TEST_TOXIPROXY` names the program; `tests/run` sets it up.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::kafka::free_port;
use super::process::{Connection, PATIENCE};

/// A proxy of its own process, with one way through it.
pub(crate) struct Proxy {
    child: Child,
    control: u16,
    port: u16,
}

impl Proxy {
    /// A proxy that leads from the port it is given to `upstream`; `None` without toxiproxy.
    pub(crate) fn start(port: u16, upstream: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("KYMO_TEST_TOXIPROXY") else {
            eprintln!("skipped: KYMO_TEST_TOXIPROXY names no toxiproxy; tests/run sets it up");
            return None;
        };
        let control = free_port();
        let child = Command::new(program)
            .args(["-host", "127.0.0.1", "-port", &control.to_string()])
            .env("LOG_LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("KYMO_TEST_TOXIPROXY can be run");
        let proxy = Self { child, control, port };
        let began = Instant::now();
        while Connection::to(([127, 0, 0, 1], control).into()).is_err() {
            assert!(began.elapsed() < PATIENCE, "toxiproxy does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        let way =
            format!(r#"{{"name":"way","listen":"127.0.0.1:{port}","upstream":"{upstream}","enabled":true}}"#);
        proxy.tell("POST", "/proxies", &way);
        Some(proxy)
    }

    /// Where the way begins.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds a toxic as toxiproxy names it, `downstream` towards the archive or `upstream` towards the broker.
    pub(crate) fn poison(&self, kind: &str, stream: &str, attributes: &str) {
        let toxic = format!(
            r#"{{"name":"{kind}-{stream}","type":"{kind}","stream":"{stream}","attributes":{attributes}}}"#
        );
        self.tell("POST", "/proxies/way/toxics", &toxic);
    }

    /// Takes all toxics away, and opens the way again.
    pub(crate) fn heal(&self) {
        self.tell("POST", "/reset", "");
    }

    fn tell(&self, method: &str, path: &str, body: &str) {
        let mut connection = Connection::to(([127, 0, 0, 1], self.control).into()).expect("it listens");
        let answer = connection.ask(method, path, &[("content-type", "application/json")], body.as_bytes());
        let answer = answer.expect("it answers");
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}
