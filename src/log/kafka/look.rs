//! Looking at the topic: whether it can be a log, whether it is still the same, who named it.
//!
//! Invariant: what stands against a topic is told with the setting, the value found and the value needed.
//! Invariant: a broker that does not answer is never taken for a topic that changed.
//! Elsewhere: when it is looked at (`watch`), how it is made (`create`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::context::{Context, Role};
use super::record::{self, Found};
use super::settings::{Login, OVERHEAD_BYTES, Override, Settings};

/// The one partition.
pub(super) const PARTITION: i32 = 0;
/// From this number of replicas on the topic is taken to be meant to survive the loss of a broker.
const REPLICATED: usize = 3;

/// Why a look found no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer.
    #[error("{0}")]
    Away(String),
    /// There is no such topic.
    #[error(
        "there is no topic '{0}' ('kafka-topic'); make it with `kymo log create`, or let the server make it \
         with 'kafka-create-topic'"
    )]
    Missing(String),
    /// The topic cannot be the log.
    #[error("{0}")]
    Refused(String),
}

/// What a look found.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Offset behind the last record.
    pub(super) end: u64,
    /// What an operator should know, beginning with a semicolon, or nothing.
    pub(super) note: String,
}

/// See the module.
pub(super) struct Looker {
    settings: Settings,
    consumer: BaseConsumer<Context>,
    /// Not there when this node says who it is by a token, which librdkafka's client for this cannot.
    admin: Option<AdminClient<Context>>,
    runtime: Handle,
    /// When the topic's settings were asked for last, and what of them was not told.
    asked: Mutex<Option<(Instant, &'static str)>>,
}

impl Looker {
    pub(super) fn new(settings: &Settings, runtime: Handle) -> Result<Self, KafkaError> {
        let context = || Context::new(Role::Asking, settings);
        let mut config = settings.following("check");
        config.set("statistics.interval.ms", "0").set("queued.min.messages", "1");
        let consumer = BaseConsumer::from_config_and_context(&config, context())?;
        let admin = match settings.login {
            Login::TokenFile(_) => None,
            Login::Nobody | Login::Password { .. } => {
                let mut config = settings.asking();
                // Nobody listens to this client; what it would say piles up.
                config.set_log_level(RDKafkaLogLevel::Emerg);
                Some(AdminClient::from_config_and_context(&config, context())?)
            }
        };
        Ok(Self { settings: settings.clone(), consumer, admin, runtime, asked: Mutex::default() })
    }

    /// Whether the topic can be the log.
    pub(super) fn topic(&self) -> Result<Seen, Fault> {
        let (replicas, leader) = self.replicas()?;
        let mut note = self.settings_checked(replicas, leader)?.to_owned();
        let (low, end) = self.ends()?;
        if low != 0 {
            return Err(self.refused(&format!(
                "it begins at offset {low}, and must begin at offset 0: its beginning was deleted"
            )));
        }
        if replicas < REPLICATED {
            note.push_str(&format!(
                "; the topic has {replicas} of 3 replicas: the loss of a broker's disk or power can take \
                 acknowledged events"
            ));
        }
        Ok(Seen { end, note })
    }

    /// First offset, and offset behind the last.
    pub(super) fn ends(&self) -> Result<(u64, u64), Fault> {
        let ends = self.consumer.fetch_watermarks(&self.settings.topic, PARTITION, self.settings.ask_wait);
        let (low, end) = ends.map_err(|error| self.fault(&error))?;
        Ok((u64::try_from(low).unwrap_or(0), u64::try_from(end).unwrap_or(0)))
    }

    /// How many brokers there are.
    pub(super) fn brokers(&self) -> Result<usize, Fault> {
        let found = self.consumer.fetch_metadata(None, self.settings.ask_wait);
        Ok(found.map_err(|error| self.fault(&error))?.brokers().len())
    }

    /// Whether the topic has the settings of a log, unless that was found a moment ago. Once they were right, a
    /// broker that does not tell them holds nothing up: whether the topic is the same is told by its records.
    fn settings_checked(&self, replicas: usize, leader: i32) -> Result<&'static str, Fault> {
        let before = *self.asked.lock();
        if let Some((_, note)) = before.filter(|(at, _)| at.elapsed() < self.settings.check_every) {
            return Ok(note);
        }
        let note = match self.configuration(replicas, leader) {
            Ok(note) => note,
            Err(Fault::Away(why)) if before.is_some() => {
                tracing::warn!(why, "the settings of the topic are not told now");
                "; the settings of the topic were not told when last asked for"
            }
            Err(fault) => return Err(fault),
        };
        *self.asked.lock() = Some((Instant::now(), note));
        Ok(note)
    }

    /// Number of replicas, and the broker that leads.
    fn replicas(&self) -> Result<(usize, i32), Fault> {
        let name = &self.settings.topic;
        let found = self.consumer.fetch_metadata(Some(name), self.settings.ask_wait);
        let found = found.map_err(|error| self.fault(&error))?;
        let topic = found.topics().iter().find(|topic| topic.name() == name);
        let topic = topic.ok_or_else(|| Fault::Missing(name.clone()))?;
        if let Some(error) = topic.error() {
            let code: RDKafkaErrorCode = error.into();
            return Err(self.fault(&KafkaError::MetadataFetch(code)));
        }
        match topic.partitions() {
            [] => Err(Fault::Missing(name.clone())),
            [one] if one.leader() < 0 => Err(Fault::Away("the topic has no leader".to_owned())),
            [one] => Ok((one.replicas().len(), one.leader())),
            more => Err(self.refused(&format!("it has {} partitions, and must have 1", more.len()))),
        }
    }

    fn configuration(&self, replicas: usize, leader: i32) -> Result<&'static str, Fault> {
        let Some(admin) = &self.admin else {
            return Ok("; the settings of the topic cannot be checked with a token");
        };
        // The broker that leads is there. The controller, who is asked otherwise, may be one that is long gone.
        let options = AdminOptions::new().request_timeout(Some(self.settings.ask_wait)).broker_id(leader);
        let asked = [ResourceSpecifier::Topic(&self.settings.topic)];
        let answer = self.runtime.block_on(admin.describe_configs(&asked, &options));
        let mut answer = answer.map_err(|error| self.fault(&error))?;
        let found = match answer.pop() {
            // A broker that has not heard of the topic yet tells nothing of it.
            Some(Ok(found)) if !found.entries.is_empty() => found,
            Some(Err(code)) => return Err(self.fault(&KafkaError::AdminOp(code))),
            Some(Ok(_)) | None => {
                return Err(Fault::Away("the settings of the topic were not told".to_owned()));
            }
        };
        let found: HashMap<&str, &str> = found
            .entries
            .iter()
            .filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)))
            .collect();
        against(&found, replicas, &self.settings).map_or(Ok(""), |what| Err(self.refused(&what)))
    }

    /// The record at `offset`, as this log stores it; `None` if none lies there.
    pub(super) fn record_at(&self, offset: u64, log: Uuid) -> Result<Option<Found>, Fault> {
        let mut found = None;
        self.walk(offset, offset + 1, &mut |message| {
            found = Some(record::read(message, log).map_err(|error| self.refused(&error.to_string()))?);
            Ok(true)
        })?;
        Ok(found)
    }

    /// The log that the first record with our headers names, among those before `end`.
    pub(super) fn first_name(&self, end: u64) -> Result<Option<Uuid>, Fault> {
        let mut name = None;
        self.walk(0, end, &mut |message| {
            name = record::log_of(message);
            Ok(name.is_some())
        })?;
        Ok(name)
    }

    /// Shows the records from `from` to before `end`, until told that it is enough.
    pub(super) fn walk(
        &self,
        from: u64,
        end: u64,
        show: &mut dyn FnMut(&rdkafka::message::BorrowedMessage<'_>) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        if from >= end {
            return Ok(());
        }
        assign(&self.consumer, &self.settings.topic, from).map_err(|error| self.fault(&error))?;
        let mut last = Instant::now();
        let walked = loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    last = Instant::now();
                    if u64::try_from(message.offset()).unwrap_or(0) >= end {
                        break Ok(());
                    }
                    match show(&message) {
                        Ok(false) => {}
                        Ok(true) => break Ok(()),
                        Err(fault) => break Err(fault),
                    }
                }
                // What lies before the end known may be a gap.
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(()),
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                ))) => break Ok(()),
                Some(Err(error)) => tracing::debug!(%error, "a look at the topic goes on after an error"),
                None => {}
            }
            if last.elapsed() > self.settings.ask_wait {
                break Err(Fault::Away(self.why("the topic cannot be read")));
            }
        };
        drop(self.consumer.unassign()); // The next look assigns anew in any case.
        walked
    }

    fn refused(&self, what: &str) -> Fault {
        Fault::Refused(format!("the topic '{}' cannot be the log: {what}", self.settings.topic))
    }

    /// What an error of librdkafka means.
    pub(super) fn fault(&self, error: &KafkaError) -> Fault {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Fault::Missing(self.settings.topic.clone())
            }
            Some(code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => {
                self.refused(&format!("the brokers do not let this node use it: {code}"))
            }
            Some(Code::InvalidTopic) => self.refused("this is no name of a topic"),
            Some(_) | None => Fault::Away(self.why(&error.to_string())),
        }
    }

    /// The reason that librdkafka gave meanwhile, which says more than that time is over.
    fn why(&self, otherwise: &str) -> String {
        while self.consumer.poll(Duration::ZERO).is_some() {}
        let reason = self.consumer.context().take_error();
        reason.unwrap_or_else(|| otherwise.to_owned())
    }

    pub(super) fn admin(&self) -> Option<&AdminClient<Context>> {
        self.admin.as_ref()
    }
}

/// Makes `consumer` read from `offset` on.
pub(super) fn assign(consumer: &BaseConsumer<Context>, topic: &str, offset: u64) -> Result<(), KafkaError> {
    let mut place = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
    place.add_partition_offset(topic, PARTITION, offset)?;
    consumer.assign(&place)
}

/// What stands against a topic with these settings, if anything does.
fn against(found: &HashMap<&str, &str>, replicas: usize, settings: &Settings) -> Option<String> {
    let value = |name: &str| found.get(name).copied().unwrap_or("not told");
    for (name, needed) in [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "LogAppendTime"),
    ] {
        if value(name) != needed {
            return Some(format!("'{name}' is '{}', and must be '{needed}'", value(name)));
        }
    }
    let needed_bytes = settings.record_limit_bytes + OVERHEAD_BYTES;
    let (name, limit) = ("max.message.bytes", value("max.message.bytes"));
    if limit.parse::<usize>().is_ok_and(|limit| limit < needed_bytes) {
        return Some(format!(
            "'{name}' is '{limit}', and must be at least {needed_bytes}, for events of up to {} bytes \
             ('max-record')",
            settings.record_limit_bytes
        ));
    }
    if replicas < REPLICATED {
        return None;
    }
    let allowed = |kind| settings.overrides.contains(&kind);
    let in_sync = value("min.insync.replicas");
    if in_sync.parse::<u32>().is_ok_and(|count| count < 2) && !allowed(Override::MinInsyncReplicas) {
        return Some(format!(
            "'min.insync.replicas' is '{in_sync}' with {replicas} replicas, and must be at least 2, unless \
             'kafka-allow' has 'min-insync-replicas'"
        ));
    }
    let unclean = value("unclean.leader.election.enable");
    if unclean == "true" && !allowed(Override::UncleanLeaderElection) {
        return Some(
            "'unclean.leader.election.enable' is 'true', and must be 'false', unless 'kafka-allow' has \
             'unclean-leader-election'"
                .to_owned(),
        );
    }
    None
}
