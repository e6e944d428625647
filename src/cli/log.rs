//! `kymo log`: the events as JSON lines. Takes no lock and shows only what durable marks cover.
//! `kymo log create`: makes the topic of a log in Kafka. `kymo log copy`: moves a log there, and back.
//!
//! Elsewhere: the reader (`kymo::log::embedded::SegmentReader`).

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use kymo::app::{Folders, moving};
use kymo::base::Position;
use kymo::config::Config;
use kymo::event::codec::{self, DecodeError};
use kymo::log::Record;
use kymo::log::embedded::follow::SegmentReader;
use kymo::log::kafka::{self, Created, Moved};
use serde_json::json;

use super::bar;

const READ_BYTES: usize = 4 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn run(config: &Config, from: u64, follow: bool) -> anyhow::Result<ExitCode> {
    let folder = Folders::of(&config.data).log();
    if !folder.is_dir() {
        bail!("there is no archive in {}", config.data.display());
    }
    let mut reader = SegmentReader::new(&folder, Position(from));
    let mut out = std::io::stdout().lock();
    loop {
        let records = reader.read(READ_BYTES)?;
        for record in &records {
            if writeln!(out, "{}", line(record)).is_err() {
                return Ok(ExitCode::SUCCESS); // Whoever read has gone.
            }
        }
        if records.is_empty() {
            if !follow {
                return Ok(ExitCode::SUCCESS);
            }
            out.flush()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

pub(crate) async fn create(config: &Config) -> anyhow::Result<ExitCode> {
    let Some(settings) = &config.kafka else { bail!("name the brokers with --kafka-brokers") };
    match kafka::create_topic(settings).await? {
        Created::Now { replicas } => {
            println!("the topic '{}' is made, with {replicas} replicas", settings.topic)
        }
        Created::Before => println!("the topic '{}' was there already, and can be a log", settings.topic),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a log can be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Place {
    /// In a Kafka topic, which nodes share.
    Kafka,
    /// In the files of one node.
    Folder,
}

pub(crate) async fn copy(config: &Config, to: Place) -> anyhow::Result<ExitCode> {
    if !Folders::of(&config.data).log().is_dir() {
        bail!("there is no archive in {}", config.data.display());
    }
    let moved = match to {
        Place::Kafka => {
            let shown = bar("records", 0);
            moving::to_kafka(config, move |done, all| {
                shown.set_length(all);
                shown.set_position(done);
            })
            .await?
        }
        Place::Folder => moving::to_folder(config).await?,
    };
    match (moved, to) {
        (Moved::Before, _) => println!("the log was there already"),
        (Moved::Now { sent }, Place::Kafka) => {
            println!(
                "the log is in the topic now ({sent} records sent); start every node with --kafka-brokers"
            );
        }
        (Moved::Now { .. }, Place::Folder) => {
            println!(
                "the log is in this node's files now; start it without --kafka-brokers, and stop the others"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(record: &Record) -> serde_json::Value {
    let mut line = json!({
        "position": record.position.0,
        "stamp": record.stamp.to_string(),
        "bytes": record.bytes.len(),
        "chain": hex::encode(record.chain),
    });
    match codec::decode(record.bytes.clone()) {
        Ok(event) => line["event"] = serde_json::to_value(&event.head).unwrap_or_default(),
        Err(DecodeError::Foreign) => line["foreign"] = true.into(),
        Err(error) => line["unreadable"] = error.to_string().into(),
    }
    line
}
