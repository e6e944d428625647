//! Moving an archive's log: from this node's own files to a Kafka topic, and back.
//!
//! Positions, stamps, bytes, chain and name stay, so that feeds and views stay what they are.
//! Invariant: the log is sealed where it was before it is opened where it goes: no event has effect at both.
//! Invariant: each step finds out whether it was done, so that whatever was interrupted is simply run again.
//! Elsewhere: records on their way to the topic (`log::kafka`), sealing (`archive`).

use std::sync::Arc;

use super::{Folders, Node, StartError};
use crate::archive::ReadError;
use crate::config::Config;
use crate::event::Payload;
use crate::event::codec;
use crate::log::kafka::{self, Moved, Source};

/// Moves the log in this node's files to the topic of `config`; this node then has a copy of the topic. `tell`
/// hears how many records are there, and of how many.
///
/// # Errors
/// [`StartError`]; it can be run again.
pub async fn to_kafka(
    config: &Config,
    tell: impl Fn(u64, u64) + Send + 'static,
) -> Result<Moved, StartError> {
    let folder = Folders::of(&config.data).log();
    let settings = config.kafka.as_ref().ok_or(StartError::NoBrokers)?;
    let moved = if kafka::is_copy(&folder) {
        Moved::Before
    } else {
        let node = Node::open(&Config { kafka: None, ..config.clone() }).await?;
        node.caught_up(|_, _| ()).await?;
        node.archive.seal_log().await?;
        let archive = node.archive.clone();
        let source = Source {
            log: Arc::clone(&node.log),
            name: node.report.log,
            opening: Box::new(move || archive.opening().map_err(|error| error.to_string())),
            opens: |record| {
                codec::decode(record.clone()).is_ok_and(|event| event.head.payload == Payload::LogOpened)
            },
        };
        let moved = kafka::copy(settings, source, tell).await;
        node.close().await;
        let moved = moved?;
        kafka::become_copy(&folder).map_err(|error| StartError::Io { path: folder, error })?;
        moved
    };
    open(config).await?;
    Ok(moved)
}

/// Makes this node's copy of a topic the log, in its own files; nodes on the topic can only read from then on.
///
/// # Errors
/// [`StartError`]; it can be run again.
pub async fn to_folder(config: &Config) -> Result<Moved, StartError> {
    let folder = Folders::of(&config.data).log();
    let mut moved = Moved::Before;
    if kafka::is_copy(&folder) {
        if config.kafka.is_none() {
            return Err(StartError::NoBrokers);
        }
        let node = Node::open(config).await?;
        node.caught_up(|_, _| ()).await?;
        node.archive.seal_log().await?;
        node.close().await;
        kafka::become_own(&folder).map_err(|error| StartError::Io { path: folder, error })?;
        moved = Moved::Now { sent: 0 };
    }
    open(&Config { kafka: None, ..config.clone() }).await?;
    Ok(moved)
}

/// Sees to it that the log takes events where it is now.
async fn open(config: &Config) -> Result<(), StartError> {
    let node = Node::open(config).await?;
    node.caught_up(|_, _| ()).await?;
    node.archive.open_log().await?;
    let sealed = node.archive.progress().sealed;
    node.close().await;
    match sealed {
        false => Ok(()),
        true => Err(ReadError::Stopped("the log could not be opened; run it again".to_owned()).into()),
    }
}
