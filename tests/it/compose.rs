//! docker-compose.yml: whether it is tight, and its very commands, environments and health checks as plain
//! processes, each service on a loopback address of its own in place of its host name.
//!
//! What only a container engine does is not tried: images, users, read-only roots. They are read, not run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_yaml_ng::Value;

use crate::kit::dicom::{STUDY, blue_circle, green_square, red_triangle};
use crate::kit::kafka;
use crate::kit::process::{Connection, PATIENCE, kymo};
use crate::kit::served::Answer;

const THREE: [(&str, &str); 3] = [
    ("KYMO_VOTERS", "1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093"),
    ("KYMO_REPLICAS", "3"),
    ("KYMO_BROKERS", "kafka-1:9092,kafka-2:9092,kafka-3:9092"),
];

fn at(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it is there")
}

/// The file as an engine reads it, with these variables set.
fn compose(variables: &[(&str, &str)]) -> Value {
    let mut text = String::new();
    let whole = at("docker-compose.yml");
    let mut rest = whole.as_str();
    while let Some((before, variable)) = rest.split_once("${") {
        let (variable, after) = variable.split_once('}').expect("it ends");
        let (name, default) = variable.split_once(":-").expect("every variable has a default");
        let set = variables.iter().find(|(known, _)| *known == name);
        text = text + before + set.map_or(default, |(_, value)| value);
        rest = after;
    }
    let mut read: Value = serde_yaml_ng::from_str(&(text + rest)).expect("YAML");
    // What is merged may itself merge.
    loop {
        let before = read.clone();
        read.apply_merge().expect("its anchors can be merged");
        if read == before {
            return read;
        }
    }
}

fn names(value: &Value) -> Vec<&str> {
    value.as_mapping().expect("a mapping").keys().map(|key| key.as_str().expect("a name")).collect()
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_sequence().expect("a list");
    list.iter().map(|text| text.as_str().expect("a text").replace("$$", "$")).collect()
}

#[test]
fn every_service_is_confined_pinned_and_watched() {
    let file = compose(&[]);
    let dockerfile = at("Dockerfile");
    for name in names(&file["services"]) {
        let service = &file["services"][name];
        assert_eq!(service["read_only"], Value::Bool(true), "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let user = service["user"].as_str().expect("a user");
        assert!(!user.starts_with("0") && user != "root", "{name}");
        assert!(service["healthcheck"]["test"].is_sequence(), "{name}");
        assert_eq!(service["hostname"].as_str(), Some(name));
        let image = service["image"].as_str().expect("an image");
        if service["build"].is_null() {
            let (_, tag) = image.split_once(':').expect("a tag");
            assert!(tag != "latest" && tag.starts_with(|first: char| first.is_ascii_digit()), "{image}");
        } else {
            let target = service["build"]["target"].as_str().expect("a target");
            assert!(dockerfile.contains(&format!(" AS {target}\n")), "{name}: {target}");
        }
        if let Some(ports) = service["ports"].as_sequence() {
            assert!(
                ports.iter().all(|port| port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")))
            );
        }
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let (volume, _) = volume.as_str().and_then(|volume| volume.split_once(':')).expect("a volume");
            assert!(names(&file["volumes"]).contains(&volume), "{name}: {volume}");
        }
        for needed in service["depends_on"].as_mapping().into_iter().flatten() {
            assert!(names(&file["services"]).contains(&needed.0.as_str().expect("a name")), "{name}");
        }
    }
    assert!(!dockerfile.contains(":latest"));
    let store = at("tests/real/stores");
    let version = store.lines().find_map(|line| line.strip_prefix("VERSITYGW=")).expect("a version");
    assert!(dockerfile.contains(&format!("versitygw@{version}\n")), "the store is the one that is tested");
}

/// A service that runs, and ends with this process.
enum Running {
    Plain { shell: Child, process: String },
    Broker(kafka::Node),
}

impl Running {
    fn plain(mut command: Command, said: &Path) -> Self {
        let said = std::fs::File::create(said).expect("a file");
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command = Command::new("sh");
        // The end of its input ends the service, whatever ends this process.
        command.args([
            "-c",
            r#""$@" < /dev/null 1>&2 & echo $!; cat > /dev/null; kill -9 $! 2> /dev/null"#,
            "sh",
        ]);
        command.arg(program).args(arguments);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .expect("there is a shell");
        let mut process = String::new();
        let mut output = BufReader::new(shell.stdout.take().expect("its output is piped"));
        output.read_line(&mut process).expect("it says the process id");
        Self::Plain { shell, process: process.trim().to_owned() }
    }

    /// kill -9.
    fn kill(&mut self) {
        match self {
            Self::Broker(broker) => broker.kill(),
            Self::Plain { shell, process } => {
                drop(shell.stdin.take());
                shell.wait().expect("the shell ends");
                while Path::new(&format!("/proc/{process}")).exists() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The services of the file, running.
struct Stack {
    file: Value,
    /// Loopback address of each service.
    hosts: BTreeMap<String, String>,
    folder: tempfile::TempDir,
    running: BTreeMap<String, Running>,
}

impl Stack {
    /// Starts services one behind the other, each when those it depends on are healthy; `None` where this
    /// machine lacks a program.
    fn up(variables: &[(&str, &str)], services: &[&str]) -> Option<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let here = Command::new("haproxy").arg("-v").stdout(Stdio::null()).status();
        if !here.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "haproxy must be there in CI");
            eprintln!("left out: this machine lacks haproxy");
            return None;
        }
        kafka::jars()?;
        std::env::var_os("KYMO_TEST_VERSITYGW")?;
        // No other run of the tests on this machine has the same addresses.
        let (run, number) = (std::process::id() % 200 + 20, NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = compose(variables);
        let all = names(&file["services"]).into_iter().enumerate();
        let hosts = all.map(|(n, name)| (name.to_owned(), format!("127.{run}.{number}.{}", n + 1))).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let mut stack = Self { file, hosts, folder, running: BTreeMap::new() };
        for name in services {
            for (needed, how) in
                stack.file["services"][*name]["depends_on"].as_mapping().into_iter().flatten()
            {
                let needed = needed.as_str().expect("a name");
                if stack.running.contains_key(needed) {
                    stack.wait_until_healthy(needed);
                } else {
                    assert_eq!(how["required"], Value::Bool(false), "{name} needs {needed} before");
                }
            }
            stack.start(name);
        }
        services.iter().for_each(|name| stack.wait_until_healthy(name));
        Some(stack)
    }

    fn address(&self, name: &str) -> SocketAddr {
        format!("{}:8080", self.hosts[name]).parse().expect("an address")
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A text of service `own` with addresses for names of hosts, and folders for volumes.
    fn here(&self, own: &str, text: &str) -> String {
        let mut text = text.replace("0.0.0.0:", &format!("{own}:"));
        for (name, address) in &self.hosts {
            // Only where a port follows.
            let mut pieces = text.split(&format!("{name}:")).map(ToOwned::to_owned).collect::<Vec<_>>();
            let first = pieces.remove(0);
            text = pieces.into_iter().fold(first, |done, piece| {
                let host = if piece.starts_with(|next: char| next.is_ascii_digit()) { address } else { name };
                format!("{done}{host}:{piece}")
            });
        }
        let data = self.data(own).display().to_string();
        match text.as_str() {
            "/data" | "/var/lib/kafka/data" => data,
            "/etc/kymo/haproxy.cfg" => data + "/haproxy.cfg",
            _ => text,
        }
    }

    fn environment(&self, name: &str) -> Vec<(String, String)> {
        let variables = self.file["services"][name]["environment"].as_mapping();
        let text = |value: &Value| {
            value
                .as_str()
                .map(ToOwned::to_owned)
                .unwrap_or_else(|| format!("{}", value.as_u64().expect("a number")))
        };
        let pairs = variables.into_iter().flatten();
        pairs.map(|(key, value)| (text(key), self.here(name, &text(value)))).collect()
    }

    fn start(&mut self, name: &str) {
        if let Some(Running::Broker(broker)) = self.running.get_mut(name) {
            return broker.restart();
        }
        let data = self.data(name);
        std::fs::create_dir_all(&data).expect("a folder");
        let environment = self.environment(name);
        if name.starts_with("kafka") {
            // As the image does: KAFKA_NODE_ID is node.id.
            let settings = environment.iter().filter_map(|(name, value)| {
                let name = name.strip_prefix("KAFKA_").filter(|name| *name != "HEAP_OPTS")?;
                Some(format!("{}={value}\n", name.to_lowercase().replace('_', ".")))
            });
            let jars = kafka::jars().expect("they were there");
            let settings: String = settings.collect();
            let node = kafka::Node::with_settings(&jars, &data.with_extension("broker"), settings);
            self.running.insert(name.to_owned(), Running::Broker(node));
            return;
        }
        let told = texts(&self.file["services"][name]["command"]);
        let mut command = match name {
            "proxy" => {
                let config = self.file["configs"]["proxy"]["content"].as_str().expect("a text");
                std::fs::write(data.join("haproxy.cfg"), self.here(name, config)).expect("a file");
                Command::new(&told[0])
            }
            "store" => {
                // The image has the bucket's folder.
                assert!(at("Dockerfile").contains("/data /data/kymo\n"));
                std::fs::create_dir_all(data.join("kymo")).expect("a folder");
                assert_eq!(told[0], "versitygw");
                Command::new(std::env::var_os("KYMO_TEST_VERSITYGW").expect("it was there"))
            }
            _ => {
                let mut command = kymo();
                command.arg(&told[0]);
                command
            }
        };
        command.args(told[1..].iter().map(|argument| self.here(name, argument))).envs(environment);
        let running = Running::plain(command, &data.with_extension("said"));
        self.running.insert(name.to_owned(), running);
    }

    /// By the service's own check.
    fn wait_until_healthy(&self, name: &str) {
        let check = texts(&self.file["services"][name]["healthcheck"]["test"]);
        assert_eq!(check[0], "CMD", "{name}");
        let began = Instant::now();
        loop {
            let mut command = Command::new(&check[1]);
            command.args(&check[2..]).env("HOSTNAME", &self.hosts[name]);
            let done = command.stdin(Stdio::null()).output().expect("it can be run");
            if done.status.success() {
                return;
            }
            let said = self.data(name).with_extension("said");
            let said = || std::fs::read_to_string(&said).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "{name}: {done:?} {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ask(&self, name: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let connection = Connection::to(self.address(name));
        connection.and_then(|mut to| to.ask(method, path, headers, body)).expect("it answers")
    }

    /// Stores through the proxy, again and again while that is refused for a time; gives the position.
    fn store(&self, file: &[u8]) -> String {
        let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
        let began = Instant::now();
        loop {
            let answer = self.ask("proxy", "PUT", "/v2/studies", &headers, file);
            if answer.status == 200 {
                return answer.header("kymo-position").expect("its position").to_owned();
            }
            assert!(answer.status == 503 && began.elapsed() < PATIENCE, "{answer:?}");
        }
    }

    fn feed(&self, name: &str, at_least: &str) -> serde_json::Value {
        let began = Instant::now();
        loop {
            let answer = self.ask(name, "GET", "/v2/changefeed", &[("kymo-min-position", at_least)], b"");
            if answer.status == 200 {
                return answer.json();
            }
            // A node that is still behind says when to ask again.
            assert!(answer.status == 503 && began.elapsed() < PATIENCE, "{name}: {answer:?}");
        }
    }
}

#[test]
fn its_commands_make_one_archive_of_two_nodes() {
    let Some(mut stack) = Stack::up(&[], &["store", "kafka-1", "node-1", "node-2", "proxy"]) else { return };
    stack.store(&red_triangle().part10());
    let position = stack.store(&green_square().part10());
    let feed = stack.feed("node-1", &position);
    assert_eq!(feed.as_array().map(Vec::len), Some(2));
    assert_eq!(feed, stack.feed("node-2", &position));
    let lake = stack.data("store").join("kymo/AHDS");
    assert!(lake.is_dir(), "files are in the bucket");
    assert!(!stack.data("node-1").join("lake").exists());
    // A node is lost: what it was asked is asked of the other.
    stack.running.get_mut("node-1").expect("it runs").kill();
    let path = format!("/v2/studies/{STUDY}/metadata");
    for _ in 0..20 {
        let accept = [("accept", "application/dicom+json")];
        assert_eq!(stack.ask("proxy", "GET", &path, &accept, b"").status, 200);
    }
    let position = stack.store(&blue_circle().part10());
    stack.start("node-1");
    stack.wait_until_healthy("node-1");
    assert_eq!(stack.feed("node-1", &position), stack.feed("node-2", &position));
}

#[test]
fn with_three_brokers_any_one_may_be_lost() {
    let services = ["store", "kafka-1", "kafka-2", "kafka-3", "node-1", "node-2", "proxy"];
    let Some(mut stack) = Stack::up(&THREE, &services) else { return };
    stack.store(&red_triangle().part10());
    for broker in ["kafka-1", "kafka-2", "kafka-3"] {
        stack.running.get_mut(broker).expect("it runs").kill();
        let position = stack.store(&red_triangle().patient("KYMO-0006", broker).part10());
        assert_eq!(stack.feed("node-1", &position), stack.feed("node-2", &position));
        stack.start(broker);
        stack.wait_until_healthy(broker);
    }
    let rows = stack.feed("node-1", "0");
    assert!(rows.as_array().is_some_and(|rows| rows.len() >= 4), "{rows}");
}
