//! Making the topic, with the settings a log needs.
//!
//! Invariant: a topic made here passes every check of `look`.
//! Elsewhere: the checks (`look`), the command (`kymo log create`).

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;

use super::look::{Fault, Looker};
use super::settings::{OVERHEAD_BYTES, Settings};

/// Replicas of a topic if enough brokers are there and none other is asked for.
const REPLICAS: usize = 3;
/// What brokers take by default.
const USUAL_MESSAGE_BYTES: usize = 1_048_588;

/// Makes the topic; one that is there already is left as it is. Blocking.
pub(super) fn create(looker: &Looker, settings: &Settings, runtime: &Handle) -> Result<Created, Fault> {
    let Some(admin) = looker.admin() else {
        let why =
            "a topic cannot be made by a node that logs in with a token; make it with the brokers' tools";
        return Err(Fault::Refused(why.to_owned()));
    };
    let replicas = match settings.replicas {
        Some(replicas) => replicas,
        None => i32::try_from(looker.brokers()?.clamp(1, REPLICAS)).unwrap_or(1),
    };
    let message_bytes = USUAL_MESSAGE_BYTES.max(settings.record_limit_bytes + OVERHEAD_BYTES).to_string();
    let topic = NewTopic::new(&settings.topic, 1, TopicReplication::Fixed(replicas))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("message.timestamp.type", "LogAppendTime")
        .set("max.message.bytes", &message_bytes)
        .set("min.insync.replicas", if replicas >= 3 { "2" } else { "1" })
        .set("unclean.leader.election.enable", "false");
    let wait = settings.ask_wait.max(Duration::from_secs(10));
    let options = AdminOptions::new().request_timeout(Some(wait)).operation_timeout(Some(wait));
    let answer = runtime.block_on(admin.create_topics([&topic], &options));
    match answer.map_err(|error| looker.fault(&error))?.pop() {
        Some(Ok(_)) => Ok(Created::Now { replicas }),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Created::Before),
        Some(Err((name, code))) => Err(Fault::Refused(format!("the topic '{name}' cannot be made: {code}"))),
        None => Err(Fault::Away("no broker said whether the topic was made".to_owned())),
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Now {
        /// With so many replicas.
        replicas: i32,
    },
    /// It was there, and nothing was changed.
    Before,
}
