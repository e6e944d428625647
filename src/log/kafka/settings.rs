//! What can be set of a log in Kafka, and what that makes of the clients that speak to it.
//!
//! Invariant: secrets are in no text that this type gives, `Debug` included.
//! Invariant: no option passed through can break a promise of the log: those that could are refused by name.
//! Elsewhere: where settings come from (`config`), what is asked of the topic (`checks`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;

/// What a batch, its headers and a record's own headers add to a record.
pub(super) const OVERHEAD_BYTES: usize = 64 << 10;
/// Most bytes of the topic read ahead.
const READ_AHEAD_KIB: usize = 32 << 10;

/// A text that no log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How this node says who it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Login {
    /// It does not.
    #[default]
    Nobody,
    /// By name and password.
    Password {
        /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        mechanism: String,
        /// Name.
        name: String,
        /// Password.
        password: Secret,
    },
    /// OAUTHBEARER with the token in this file, read again whenever it is about to expire.
    TokenFile(PathBuf),
}

/// TLS files; all in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Who vouches for the brokers; the system's list if none is given.
    pub ca: Option<PathBuf>,
    /// This node's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Password of the key.
    pub key_password: Option<Secret>,
}

/// A check of the topic that may be overridden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// `min.insync.replicas` below 2 with three replicas or more.
    MinInsyncReplicas,
    /// Unclean leader election with three replicas or more.
    UncleanLeaderElection,
}

/// A topic that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// Refuses the start.
    Never,
    /// Is made.
    IfMissing,
}

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of brokers to begin with, comma separated.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How the brokers name this node in their logs.
    pub client_id: String,
    /// Who this node is.
    pub login: Login,
    /// TLS, if the brokers speak it.
    pub tls: Option<Tls>,
    /// Options handed to librdkafka.
    pub options: BTreeMap<String, String>,
    /// What happens when there is no such topic.
    pub creation: Creation,
    /// Replicas of a topic that is made; three, or as many as there are brokers, if none is given.
    pub replicas: Option<i32>,
    /// Checks that may fail.
    pub overrides: Vec<Override>,
    /// The largest record taken.
    pub record_limit_bytes: usize,
    /// Bytes of appends that are not acknowledged yet; at most 1 GiB.
    pub queue_bytes: usize,
    /// How long an append waits for room in the queue before it is `Busy`.
    pub queue_wait: Duration,
    /// After how long a record that was not acknowledged is given up.
    pub delivery_wait: Duration,
    /// How long one question to the brokers may take.
    pub ask_wait: Duration,
    /// Between two checks of the topic while nothing happens.
    pub check_every: Duration,
    /// A local segment that would grow longer is sealed.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic: "kymo".to_owned(),
            client_id: "kymo".to_owned(),
            login: Login::Nobody,
            tls: None,
            options: BTreeMap::new(),
            creation: Creation::Never,
            replicas: None,
            overrides: Vec::new(),
            record_limit_bytes: crate::log::RECORD_BYTES,
            queue_bytes: 64 << 20,
            queue_wait: Duration::from_secs(5),
            delivery_wait: Duration::from_secs(30),
            ask_wait: Duration::from_secs(5),
            check_every: Duration::from_secs(10),
            segment_bytes: 256 << 20,
        }
    }
}

/// An option that cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum BadOption {
    /// It would break a promise of the log, or has a setting of its own.
    #[error("'{name}' cannot be set: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// librdkafka does not take it.
    #[error("{0}")]
    Unknown(String),
}

const ORDER: &str = "the order of the log and that nothing is sent twice rest on it";
const READING: &str = "what every node reads of the log rests on it";
const OWN: &str = "there is a setting of its own for it";
const TOPIC: &str = "the settings of the topic decide it";

/// Options that are not passed on.
const REFUSED: [(&str, &str); 44] = [
    ("acks", "what is acknowledged must be on all replicas in sync"),
    ("request.required.acks", "what is acknowledged must be on all replicas in sync"),
    ("enable.idempotence", ORDER),
    ("enable.gapless.guarantee", ORDER),
    ("max.in.flight", ORDER),
    ("max.in.flight.requests.per.connection", ORDER),
    ("retries", ORDER),
    ("message.send.max.retries", ORDER),
    ("transactional.id", "the log knows no transactions"),
    ("partitioner", "the log is one partition"),
    ("message.timeout.ms", OWN),
    ("delivery.timeout.ms", OWN),
    ("message.max.bytes", OWN),
    ("queue.buffering.max.messages", OWN),
    ("queue.buffering.max.kbytes", OWN),
    ("isolation.level", READING),
    ("auto.offset.reset", READING),
    ("check.crcs", READING),
    ("enable.partition.eof", READING),
    ("enable.auto.commit", READING),
    ("auto.commit.enable", READING),
    ("enable.auto.offset.store", READING),
    ("group.instance.id", READING),
    ("group.protocol", READING),
    ("allow.auto.create.topics", "a topic must be made with the settings of a log"),
    ("bootstrap.servers", OWN),
    ("metadata.broker.list", OWN),
    ("client.id", OWN),
    ("security.protocol", OWN),
    ("sasl.mechanism", OWN),
    ("sasl.mechanisms", OWN),
    ("sasl.username", OWN),
    ("sasl.password", OWN),
    ("ssl.ca.location", OWN),
    ("ssl.ca.pem", OWN),
    ("ssl.certificate.location", OWN),
    ("ssl.certificate.pem", OWN),
    ("ssl.key.location", OWN),
    ("ssl.key.pem", OWN),
    ("ssl.key.password", OWN),
    ("enable.ssl.certificate.verification", "whoever answers could take the brokers' place"),
    ("plugin.library.paths", "it loads programs"),
    ("test.mock.num.brokers", "a broker that is none keeps nothing"),
    ("message.timestamp.type", TOPIC),
];

impl Settings {
    /// Whether every client takes the options.
    ///
    /// # Errors
    /// [`BadOption`] with its name.
    pub fn check_options(&self) -> Result<(), BadOption> {
        for name in self.options.keys() {
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused == name) {
                return Err(BadOption::Refused { name: name.clone(), why });
            }
        }
        for config in [self.producing(), self.following("check"), self.asking()] {
            config.create_native_config().map_err(|error| BadOption::Unknown(error.to_string()))?;
        }
        Ok(())
    }

    /// The producer: idempotent, all replicas in sync, everything of one partition in the order of its calls.
    pub(super) fn producing(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", self.delivery_wait.as_millis().to_string())
            .set("message.max.bytes", (self.record_limit_bytes + OVERHEAD_BYTES).to_string())
            // Our own queue has the bound: librdkafka's is never reached before it.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2097151")
            .set("statistics.interval.ms", "5000");
        // What waits for a round trip goes together with the next; longer waits would only add to each append.
        self.or_given(&mut config, "linger.ms", "0");
        self.with_options(&mut config);
        config
    }

    /// A consumer that is told where to read and remembers nothing on the broker.
    pub(super) fn following(&self, purpose: &str) -> ClientConfig {
        let mut config = self.client();
        let queued_kib = READ_AHEAD_KIB.max((self.record_limit_bytes + OVERHEAD_BYTES) / 1024);
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            // Not only what is committed: an open transaction of a stranger could hold the log up for ever.
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", queued_kib.to_string())
            .set("statistics.interval.ms", "5000");
        self.or_given(&mut config, "group.id", &format!("kymo-{}-{purpose}", self.topic));
        self.or_given(&mut config, "fetch.error.backoff.ms", "100");
        self.or_given(&mut config, "fetch.queue.backoff.ms", "20");
        self.with_options(&mut config);
        config
    }

    /// A client that only asks.
    pub(super) fn asking(&self) -> ClientConfig {
        let mut config = self.client();
        self.with_options(&mut config);
        config
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", &self.client_id);
        // A small record must not wait for the answer to the one before.
        self.or_given(&mut config, "socket.nagle.disable", "true");
        let sasl = self.login != Login::Nobody;
        config.set(
            "security.protocol",
            match (self.tls.is_some(), sasl) {
                (false, false) => "plaintext",
                (true, false) => "ssl",
                (false, true) => "sasl_plaintext",
                (true, true) => "sasl_ssl",
            },
        );
        match &self.login {
            Login::Nobody => {}
            Login::Password { mechanism, name, password } => {
                config
                    .set("sasl.mechanisms", mechanism)
                    .set("sasl.username", name)
                    .set("sasl.password", &password.0);
            }
            Login::TokenFile(_) => {
                config.set("sasl.mechanisms", "OAUTHBEARER");
            }
        }
        if let Some(tls) = &self.tls {
            if let Some(ca) = &tls.ca {
                config.set("ssl.ca.location", ca.to_string_lossy());
            }
            if let Some((certificate, key)) = &tls.identity {
                config.set("ssl.certificate.location", certificate.to_string_lossy());
                config.set("ssl.key.location", key.to_string_lossy());
            }
            if let Some(password) = &tls.key_password {
                config.set("ssl.key.password", &password.0);
            }
        }
        self.or_given(&mut config, "socket.keepalive.enable", "true");
        self.or_given(&mut config, "reconnect.backoff.ms", "100");
        self.or_given(&mut config, "reconnect.backoff.max.ms", "2000");
        self.or_given(&mut config, "socket.connection.setup.timeout.ms", "5000");
        // A broker that went silent is noticed within this, and what it was sent is asked about again.
        self.or_given(&mut config, "socket.timeout.ms", "10000");
        config
    }

    fn or_given(&self, config: &mut ClientConfig, name: &str, default: &str) {
        if !self.options.contains_key(name) {
            config.set(name, default);
        }
    }

    fn with_options(&self, config: &mut ClientConfig) {
        for (name, value) in &self.options {
            config.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Settings {
        let options = [(name.to_owned(), value.to_owned())].into();
        Settings { brokers: "localhost:9092".to_owned(), options, ..Settings::default() }
    }

    #[test]
    fn options_that_break_a_promise_and_unknown_ones_are_named() {
        for (name, _) in REFUSED {
            let error = with(name, "1").check_options().unwrap_err().to_string();
            assert!(error.contains(&format!("'{name}'")), "{error}");
        }
        let error = with("linger.mss", "1").check_options().unwrap_err().to_string();
        assert!(error.contains("linger.mss"), "{error}");
        let error = with("linger.ms", "soon").check_options().unwrap_err().to_string();
        assert!(error.contains("linger.ms"), "{error}");
        with("linger.ms", "5").check_options().unwrap();
    }

    #[test]
    fn secrets_are_not_shown() {
        let password = Secret::new("hunter2".to_owned());
        let (mechanism, name) = ("PLAIN".to_owned(), "kymo".to_owned());
        let login = Login::Password { mechanism, name, password: password.clone() };
        let tls = Some(Tls { key_password: Some(password), ..Tls::default() });
        let settings = Settings { login, tls, ..Settings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
        settings.check_options().unwrap();
    }
}
