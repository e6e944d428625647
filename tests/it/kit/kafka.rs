//! Real Kafka brokers, each a Java process of its own with its data in a temporary folder.
//!
//! `KYMO_TEST_KAFKA` names the folder with the jars; `tests/run` sets it up. A broker ends with the tests, even
//! if they are killed: a shell beside it waits for the end of its own input.
//!
//! Elsewhere: the archive over a broker (`kit::process` with [`Broker::flags`]).

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::process::PATIENCE;

/// The name and password that the brokers know.
pub(crate) const LOGIN: (&str, &str) = ("kymo", "correct horse");
/// Brokers that miss each other soon, and so are soon back.
pub(crate) const NERVOUS: &str = "broker.session.timeout.ms=2500\nbroker.heartbeat.interval.ms=500\n\
                                  replica.lag.time.max.ms=2500";
const CLUSTER: &str = "S3ltby10ZXN0LWNsdXN0ZQ";

/// The jars, or why there are none.
pub(crate) fn jars() -> Option<PathBuf> {
    let jars = std::env::var_os("KYMO_TEST_KAFKA").map(PathBuf::from);
    if jars.is_none() {
        eprintln!("skipped: KYMO_TEST_KAFKA names no folder with Kafka's jars; tests/run sets it up");
    }
    jars
}

/// The broker that all tests share which do it no harm; `None` without Kafka.
pub(crate) fn broker() -> Option<&'static Broker> {
    static SHARED: LazyLock<Option<Broker>> = LazyLock::new(|| Some(Broker::start(&jars()?)));
    SHARED.as_ref()
}

/// A port that was free a moment ago, and that no connection is given by the system meanwhile: those have
/// higher ones.
pub(crate) fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 15_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(397);
    let mut ports = PORTS.map(|_| {
        let number = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        u16::try_from(port).expect("ports are below 65536")
    });
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).expect("loopback has ports")
}

/// A running broker of a cluster.
pub(crate) struct Broker {
    node: Node,
    _folder: tempfile::TempDir,
}

/// What a broker is told.
#[derive(Clone)]
struct Plan {
    jars: PathBuf,
    folder: PathBuf,
    id: usize,
    /// Broker and controller port of each node.
    ports: Vec<(u16, u16)>,
    /// More listeners: name, protocol, port.
    listeners: Vec<(&'static str, &'static str, u16)>,
    /// Ports of listeners, each with the one by which clients are told to come there.
    advertised: Vec<(u16, u16)>,
    /// More lines of its settings.
    more: String,
    /// All of its settings, if they were written elsewhere.
    whole: Option<String>,
}

/// One process of a cluster, running or not.
pub(crate) struct Node {
    plan: Plan,
    shell: Option<Child>,
    java: u32,
}

impl Plan {
    fn settings(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let (port, control) = self.ports[self.id];
        let voters = self.ports.iter().enumerate();
        let voters: Vec<_> =
            voters.map(|(id, (_, control))| format!("{}@127.0.0.1:{control}", id + 1)).collect();
        let (mut listeners, mut protocols) =
            (format!("PLAIN://127.0.0.1:{port}"), "PLAIN:PLAINTEXT,CONTROL:PLAINTEXT".to_owned());
        for (name, protocol, port) in &self.listeners {
            listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
            protocols.push_str(&format!(",{name}:{protocol}"));
        }
        let advertised = self.advertised.iter().fold(listeners.clone(), |listeners, (own, other)| {
            listeners.replace(&format!(":{own}"), &format!(":{other}"))
        });
        let replicas = self.ports.len().min(3);
        format!(
            "process.roles=broker,controller\nnode.id={}\ncontroller.quorum.voters={}\n\
             listeners={listeners},CONTROL://127.0.0.1:{control}\nadvertised.listeners={advertised}\n\
             listener.security.protocol.map={protocols}\ninter.broker.listener.name=PLAIN\n\
             controller.listener.names=CONTROL\nlog.dirs={}\nauto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\noffsets.topic.replication.factor={replicas}\n\
             transaction.state.log.num.partitions=1\ntransaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\nnum.network.threads=2\n\
             num.io.threads=4\nlog.cleaner.dedupe.buffer.size=4194304\nbroker.session.timeout.ms=6000\n\
             replica.lag.time.max.ms=6000\n{}\n",
            self.id + 1,
            voters.join(","),
            self.folder.join("data").display(),
            self.more
        )
    }

    fn file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn java(&self) -> String {
        let jars = self.jars.join("*");
        format!(
            "java -Xms64m -Xmx320m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
             -cp '{}'",
            jars.display()
        )
    }

    fn format(&self) {
        std::fs::create_dir_all(&self.folder).expect("a folder");
        std::fs::write(self.file(), self.settings()).expect("a file");
        let (name, password) = LOGIN;
        let format = format!(
            "{} kafka.tools.StorageTool format -t {CLUSTER} -c '{}' --add-scram 'SCRAM-SHA-256=[name={name},password={password}]' \
             --add-scram 'SCRAM-SHA-512=[name={name},password={password}]'",
            self.java(),
            self.file().display()
        );
        let made = Command::new("sh").arg("-c").arg(format).output().expect("there is a shell");
        assert!(made.status.success(), "{made:?}");
    }
}

impl Node {
    fn start(plan: Plan) -> Self {
        let mut node = Self { plan, shell: None, java: 0 };
        node.restart();
        node
    }

    /// With settings that were written elsewhere.
    pub(crate) fn with_settings(jars: &Path, folder: &Path, settings: String) -> Self {
        let (ports, listeners, more) = (Vec::new(), Vec::new(), String::new());
        let (jars, folder, whole) = (jars.to_owned(), folder.to_owned(), Some(settings));
        let plan = Plan { jars, folder, id: 0, ports, listeners, advertised: Vec::new(), more, whole };
        plan.format();
        Self::start(plan)
    }

    /// All it has said so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.plan.folder.join("said")).unwrap_or_default()
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        assert!(self.shell.is_none(), "it runs");
        let log = self.plan.folder.join("said");
        let script = format!(
            "{} kafka.Kafka '{}' >> '{}' 2>&1 < /dev/null & echo $!; cat > /dev/null; kill -9 $! 2> /dev/null",
            self.plan.java(),
            self.plan.file().display(),
            log.display()
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut id = String::new();
        let mut output = BufReader::new(shell.stdout.take().expect("its output is piped"));
        output.read_line(&mut id).expect("it says the process id");
        self.java = id.trim().parse().expect("a process id");
        self.shell = Some(shell);
    }

    /// Sends a signal, as in `signal("STOP")`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.java.to_string()).status();
        assert!(sent.expect("kill is there").success());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        // The end of its input makes the shell kill the broker and end.
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            shell.wait().expect("the shell ends");
        }
        while Path::new(&format!("/proc/{}", self.java)).exists() {
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Broker {
    pub(crate) fn start(jars: &Path) -> Self {
        Self::with(jars, Vec::new(), |_| String::new())
    }

    /// With more listeners, and more settings that are told its folder.
    pub(crate) fn with(
        jars: &Path,
        listeners: Vec<(&'static str, &'static str, u16)>,
        more: impl Fn(&Path) -> String,
    ) -> Self {
        Self::started(jars, listeners, Vec::new(), more)
    }

    /// With a listener for each pair of ports: its own, and the one to which its clients are told to come;
    /// and with more settings.
    pub(crate) fn proxied(jars: &Path, ways: &[(u16, u16)], more: &str) -> Self {
        const NAMES: [&str; 3] = ["PROXIED", "PROXIED2", "PROXIED3"];
        assert!(ways.len() <= NAMES.len());
        let listeners = NAMES.into_iter().zip(ways).map(|(name, (own, _))| (name, "PLAINTEXT", *own));
        Self::started(jars, listeners.collect(), ways.to_vec(), |_| more.to_owned())
    }

    fn started(
        jars: &Path,
        listeners: Vec<(&'static str, &'static str, u16)>,
        advertised: Vec<(u16, u16)>,
        more: impl Fn(&Path) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            jars: jars.to_owned(),
            folder: folder.path().join("1"),
            id: 0,
            ports: vec![(free_port(), free_port())],
            listeners,
            advertised,
            more: more(folder.path()),
            whole: None,
        };
        plan.format();
        let broker = Self { node: Node::start(plan), _folder: folder };
        broker.ready();
        broker
    }

    /// `host:port` without login and TLS.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.node.plan.ports[0].0)
    }

    pub(crate) fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Waits until it answers.
    pub(crate) fn ready(&self) {
        ready(&self.address(), std::slice::from_ref(&self.node));
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address())
    }
}

/// Three brokers that replicate.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    address: String,
    _folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start(jars: &Path) -> Self {
        Self::with(jars, "")
    }

    /// With more settings.
    pub(crate) fn with(jars: &Path, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
        let address: Vec<_> = ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        let plans: Vec<_> = (0..3)
            .map(|id| Plan {
                jars: jars.to_owned(),
                folder: folder.path().join(id.to_string()),
                id,
                ports: ports.clone(),
                listeners: Vec::new(),
                advertised: Vec::new(),
                more: more.to_owned(),
                whole: None,
            })
            .collect();
        plans.iter().for_each(Plan::format);
        let nodes = plans.into_iter().map(Node::start).collect();
        let cluster = Self { nodes, address: address.join(","), _folder: folder };
        ready(&cluster.address, &cluster.nodes);
        cluster
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until every replica of `topic` is in sync again.
    pub(crate) fn settled(&self, topic: &str) {
        let client = Client::new(&self.address);
        let (consumer, began) = (client.consumer(), Instant::now());
        loop {
            let found = consumer.fetch_metadata(Some(topic), Duration::from_secs(5));
            if found.is_ok_and(|found| found.topics()[0].partitions()[0].isr().len() == self.nodes.len()) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the replicas do not come into sync");
            sleep(Duration::from_millis(50));
        }
    }
}

/// Waits until all brokers are there, and can be asked.
fn ready(address: &str, nodes: &[Node]) {
    let began = Instant::now();
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer = config.set("bootstrap.servers", address).create().expect("a client");
    loop {
        let found = consumer.fetch_metadata(None, Duration::from_secs(1));
        if found.is_ok_and(|found| found.brokers().len() >= nodes.len()) {
            return;
        }
        let said = || nodes.iter().map(Node::said).collect::<String>();
        assert!(began.elapsed() < PATIENCE, "the brokers do not come up: {}", said());
        sleep(Duration::from_millis(50));
    }
}

/// An operator with the brokers' own tools.
pub(crate) struct Client {
    config: ClientConfig,
    runtime: tokio::runtime::Runtime,
    admin: AdminClient<DefaultClientContext>,
}

/// Settings of a topic that can be a log.
pub(crate) const GOOD: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("message.timestamp.type", "LogAppendTime"),
];

/// A name nobody has had.
pub(crate) fn new_topic() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("kymo-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("group.id", "tests").set("auto.offset.reset", "error");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let admin = config.create().expect("a client");
        Self { config, runtime, admin }
    }

    fn consumer(&self) -> BaseConsumer {
        self.config.create().expect("a client")
    }

    /// Makes a topic with these settings and partitions.
    pub(crate) fn create(&self, topic: &str, partitions: i32, replicas: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let began = Instant::now();
        loop {
            let made = self.runtime.block_on(self.admin.create_topics([&new], &AdminOptions::new()));
            match made.map(|mut made| made.pop()) {
                Ok(Some(Ok(_))) => break,
                // A topic of this name is still being deleted.
                other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
            }
            sleep(Duration::from_millis(50));
        }
        self.wait_for(topic, true);
    }

    /// Deletes a topic and waits until it is gone.
    pub(crate) fn delete(&self, topic: &str) {
        let gone = self.runtime.block_on(self.admin.delete_topics(&[topic], &AdminOptions::new()));
        gone.expect("it can be asked").pop().expect("an answer").expect("it is deleted");
        self.wait_for(topic, false);
    }

    fn wait_for(&self, topic: &str, there: bool) {
        let (consumer, began) = (self.consumer(), Instant::now());
        loop {
            let found = consumer.fetch_metadata(None, Duration::from_secs(5)).expect("it answers");
            let here = found.topics().iter().any(|found| {
                found.name() == topic && found.partitions().iter().all(|partition| partition.leader() > 0)
            });
            if here == there {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{topic} is there: {here}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Alters a setting of a topic.
    pub(crate) fn alter(&self, topic: &str, settings: &[(&str, &str)]) {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in settings {
            change = change.set(name, value);
        }
        let done = self.runtime.block_on(self.admin.alter_configs(&[change], &AdminOptions::new()));
        done.expect("it can be asked").pop().expect("an answer").expect("it is altered");
    }

    /// Deletes the records before `offset`.
    pub(crate) fn delete_before(&self, topic: &str, offset: i64) {
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("a place");
        let done = self.runtime.block_on(self.admin.delete_records(&place, &AdminOptions::new()));
        done.expect("the records are deleted");
    }

    /// Puts a record there that is no archive's; `None` is a tombstone.
    pub(crate) fn produce(&self, topic: &str, headers: OwnedHeaders, value: Option<&[u8]>) {
        let producer: BaseProducer = self.config.create().expect("a client");
        let mut record = BaseRecord::<str, [u8]>::to(topic).partition(0).headers(headers);
        if let Some(value) = value {
            record = record.payload(value);
        } else {
            record = record.key("key");
        }
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
        producer.flush(PATIENCE).expect("the broker takes it");
    }

    /// Puts records there in a transaction, which leaves gaps between the offsets.
    pub(crate) fn produce_in_transaction(&self, topic: &str, values: &[&[u8]]) {
        let mut config = self.config.clone();
        let producer: BaseProducer = config.set("transactional.id", "stranger").create().expect("a client");
        producer.init_transactions(PATIENCE).expect("transactions");
        for value in values {
            producer.begin_transaction().expect("a transaction");
            let record = BaseRecord::<str, [u8]>::to(topic).partition(0).payload(*value);
            producer.send(record).map_err(|(error, _)| error).expect("there is room");
            producer.commit_transaction(PATIENCE).expect("it is committed");
        }
    }

    /// First offset, and offset behind the last.
    pub(crate) fn ends(&self, topic: &str) -> (i64, i64) {
        self.consumer().fetch_watermarks(topic, 0, PATIENCE).expect("it answers")
    }
}
