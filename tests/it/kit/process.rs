//! The real program as a process of its own, and a client that speaks to it over a socket.
//!
//! Invariant: no setting of the surroundings reaches the process; it ends with the test.
//! Elsewhere: the archive without a process (`kit::served`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::served::Answer;

/// Longest wait for an answer of any kind; whoever waits longer has found a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program, without any setting or credential of the surroundings.
pub(crate) fn kymo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kymo"));
    for (name, _) in std::env::vars_os() {
        if ["KYMO_", "AWS_", "AZURE_"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end, as in `ran(&["verify", "--data", "folder"])`.
pub(crate) fn ran(arguments: &[&str]) -> Output {
    kymo().args(arguments).stdin(Stdio::null()).output().expect("the program can be run")
}

/// A running `kymo serve`.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
    /// What it says on standard error, beside the data.
    errors: PathBuf,
}

impl Process {
    /// Starts it on a free port with its data in `data`, and waits until it answers.
    pub(crate) fn start(data: &Path, flags: &[&str]) -> Self {
        Self::start_in(data, flags, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn start_in(data: &Path, flags: &[&str], environment: &[(String, String)]) -> Self {
        let process = Self::start_unready(data, flags, environment);
        process.wait_until_ready();
        process
    }

    /// The same, but it need not be able to answer yet.
    pub(crate) fn start_unready(data: &Path, flags: &[&str], environment: &[(String, String)]) -> Self {
        let errors = data.with_extension("stderr");
        let said = std::fs::OpenOptions::new().create(true).append(true).open(&errors);
        let mut child = kymo()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said.expect("a file for its errors"))
            .spawn()
            .expect("the program can be run");
        let mut greeting = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        output.read_line(&mut greeting).expect("a readable greeting");
        let address = greeting.split("http://").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let Some(address) = address else {
            drop((child.kill(), child.wait()));
            let errors = std::fs::read_to_string(&errors).unwrap_or_default();
            panic!("it did not start; it said {greeting:?} and {errors}");
        };
        // Read on, or it would be stopped by its next word.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { child, address, data: data.to_owned(), errors }
    }

    /// Views may still be catching up.
    pub(crate) fn wait_until_ready(&self) {
        let began = Instant::now();
        loop {
            let accept = [("accept", "application/dicom+json")];
            let answer = self.ask("GET", "/v2/studies?limit=1", &accept, b"");
            if matches!(answer.status, 200 | 204) {
                return;
            }
            if answer.status == 400 {
                // Studies lie in partitions.
                let answer =
                    self.ask("GET", "/v2/partitions/Microsoft.Default/studies?limit=1", &accept, b"");
                if matches!(answer.status, 200 | 204) {
                    return;
                }
            }
            assert!(began.elapsed() < PATIENCE, "still not ready: {answer:?}");
            sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// All it has said on standard error since the folder is in use.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).expect("its errors are kept")
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address).expect("it takes connections")
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.connect().ask(method, path, headers, body).expect("it answers")
    }

    /// A GET that takes any type.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("accept", "*/*")], b"")
    }

    /// Memory in KiB: held now, and at most so far.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.expect("the system counts memory")
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked").is_none()
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, as in `signal("STOP")`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// SIGTERM, then the end it comes to by itself.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

/// A kept HTTP/1.1 connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// A request with its length counted, and its answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: archive.example\r\n").into_bytes();
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        if !body.is_empty() || method == "POST" || method == "PUT" {
            write!(request, "content-length: {}\r\n", body.len())?;
        }
        request.extend(b"\r\n");
        request.extend(body);
        self.write(&request)?;
        self.answer_to(method)
    }

    /// Bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Waits no longer than this from now on.
    pub(crate) fn give_up_after(&mut self, time: Duration) {
        self.stream.get_ref().set_write_timeout(Some(time)).expect("a time that is none");
        self.stream.get_ref().set_read_timeout(Some(time)).expect("a time that is none");
    }

    /// Nothing more will be written.
    pub(crate) fn end(&mut self) -> std::io::Result<()> {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// The next answer. Its body ends as the headers say or, if they say nothing, with the connection.
    pub(crate) fn answer_to(&mut self, method: &str) -> std::io::Result<Answer> {
        let status = loop {
            let line = self.line()?;
            let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status: u16 = status.ok_or_else(|| wrong(format!("no status line: {line:?}")))?;
            if status != 100 {
                break status;
            }
            while !self.line()?.is_empty() {}
        };
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let name: HeaderName = name.parse().map_err(|_| wrong(format!("no header: {line:?}")))?;
            headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| wrong(line))?);
        }
        let bodyless = method == "HEAD" || matches!(status, 204 | 304);
        let body = if bodyless { Ok(Vec::new()) } else { self.body(&headers) };
        Ok(Answer { status, headers, body: body.map(Bytes::from).map_err(|error| error.to_string()) })
    }

    /// How many bytes still come until the connection ends.
    pub(crate) fn count_to_end(&mut self) -> std::io::Result<u64> {
        std::io::copy(&mut self.stream, &mut std::io::sink())
    }

    fn body(&mut self, headers: &HeaderMap) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if headers.contains_key("transfer-encoding") {
            loop {
                let size = self.line()?;
                let size = usize::from_str_radix(&size, 16).map_err(|_| wrong(format!("no size: {size}")))?;
                self.exactly(size, &mut body)?;
                if !self.line()?.is_empty() {
                    return Err(wrong("a chunk is longer than it says".to_owned()));
                }
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        let length = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        match length {
            Some(length) => self.exactly(length, &mut body)?,
            None => drop(self.stream.read_to_end(&mut body)?),
        }
        Ok(body)
    }

    fn exactly(&mut self, length: usize, into: &mut Vec<u8>) -> std::io::Result<()> {
        let read = Read::take(&mut self.stream, length as u64).read_to_end(into)?;
        if read < length { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// A line without its end.
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn wrong(what: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}
