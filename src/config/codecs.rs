//! The settings of the codecs.
//!
//! Elsewhere: what they mean (`codecs`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{BadSetting, impossible, nonzero, positive};
use crate::codecs::Settings;

/// The running program, also when its file was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The program itself takes a part of it.
const LEAST_MEMORY_BYTES: u64 = 256 << 20;

/// The settings as given, each of them optional.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Pixels")]
pub(super) struct CodecsGiven {
    /// Most processes that decode and encode compressed pixels; 0 serves them only as stored [default: processors]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    codecs: Option<usize>,

    /// Most memory of one such process, at least 256MiB [default: 2GiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    codec_memory: Option<ByteSize>,

    /// Longest time for one frame, after which its process is ended [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    codec_time: Option<Duration>,

    /// Most frames that wait for such a process; further ones answer 503 [default: 256]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    codec_queue: Option<usize>,

    /// Longest wait for such a process, after which the answer is 503 [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    codec_wait: Option<Duration>,

    /// Largest frame that is decoded, by its decoded bytes [default: 128MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_limit: Option<ByteSize>,

    /// Most bytes of all frames that are decoded or encoded at once [default: 512MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pixel_memory: Option<ByteSize>,
}

impl CodecsGiven {
    pub(super) fn checked(&self) -> Result<Settings, BadSetting> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_bytes = positive("codec-memory", self.codec_memory, 2 << 30)?;
        if memory_bytes < LEAST_MEMORY_BYTES {
            return Err(impossible("codec-memory", "at least 256MiB".to_owned()));
        }
        Ok(Settings {
            program: program(),
            children: self.codecs.unwrap_or(processors),
            memory_bytes,
            time: nonzero("codec-time", self.codec_time, Duration::from_secs(30))?,
            queue: self.codec_queue.unwrap_or(256),
            queue_wait: nonzero("codec-wait", self.codec_wait, Duration::from_secs(20))?,
            frame_bytes: positive("frame-limit", self.frame_limit, 128 << 20)?,
            in_flight_bytes: positive("pixel-memory", self.pixel_memory, 512 << 20)?,
            threads: processors,
        })
    }
}

fn program() -> PathBuf {
    let this = Path::new(THIS_PROGRAM);
    if this.exists() {
        return this.to_owned();
    }
    // A program that cannot be found fails at the first frame, with its name.
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("kymo"))
}
