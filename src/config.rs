//! Every setting, where it may come from, and its default.
//!
//! One list, [`Given`], is the command-line flags, the keys of the settings file and the `KYMO_…` variables
//! at once; flags win over variables, variables over the file, the file over the defaults.
//! Invariant: an unknown or impossible setting stops the start with its name.
//! Elsewhere: what the settings mean inside a room (each room's own `Settings`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use self::codecs::CodecsGiven;
use self::kafka::KafkaGiven;
use crate::blob::Lake;
use crate::tables::{Engine, Keeping};
use crate::{archive, codecs as pixels, http, log};

mod blobs;
mod codecs;
mod kafka;
mod rooms;
mod values;

pub use blobs::Blobs;
pub use values::Keep;

use self::values::{impossible, list, nonzero, path_part, positive};

/// What is logged unless told otherwise: fjall tells at `info` what it does all the time.
const TRACE: &str = "info,fjall=warn,lsm_tree=warn";

/// The settings as given, each of them optional.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Given {
    /// Address and port to serve on [default: 127.0.0.1:8080]. Beyond loopback only with --allow-remote.
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,

    /// Folder of all data [default: ./kymo-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,

    /// Where files are kept: a folder, s3://bucket/prefix or az://container/prefix [default: DATA/lake]
    ///
    /// Address and credentials of a store are taken from its provider's environment (AWS_…, AZURE_…).
    #[arg(long, value_name = "PLACE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    blobs: Option<String>,

    /// Longest wait for one answer of such a store, and for all retries of a request [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    blob_timeout: Option<Duration>,

    /// Most requests to such a store under way at once [default: 64]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_connections: Option<usize>,

    /// Folder of a cache in front of such a store; it may be emptied at any time [default: none]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_cache: Option<PathBuf>,

    /// Most bytes in the cache [default: 10GiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_cache_size: Option<ByteSize>,

    /// How long the store's word that a file is there is trusted before the cache asks again [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    blob_cache_trust: Option<Duration>,

    /// `strict`: a file whose ETag is another one counts as changed; `lenient`: its bytes decide [default: lenient]
    #[arg(long, value_name = "RULE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,

    /// Loopback address that answers what commands ask of a running archive [default: any free port]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<SocketAddr>,

    /// Serve beyond loopback although nobody is asked who they are
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_remote: Option<bool>,

    /// URL that generated URLs begin with [default: as the request says]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,

    /// Proxies whose X-Forwarded-Host, -Prefix and -Proto are believed: addresses or ranges, comma separated [default: none]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none", default)]
    trusted_proxies: Option<Vec<String>>,

    /// API versions to call deprecated in answers, comma separated [default: none]
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none", default)]
    deprecate_version: Option<Vec<String>>,
    /// Studies lie in data partitions, named in the path; cannot be taken back once there is a second one
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<bool>,

    /// Workspace name in the paths of the lake [default: kymo]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,

    /// Service name in the paths of the lake [default: archive]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,

    /// How long files of deleted and replaced instances are kept, or `forever` [default: 3days]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_released: Option<Keep>,

    /// How often the sweep looks for files that may go [default: 3min]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    sweep_every: Option<Duration>,

    /// Largest body of one request [default: 8GiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_body: Option<ByteSize>,

    /// Time of waiting for a body within which at least 8 KiB of it must come [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    body_window: Option<Duration>,

    /// Time that an answer waits for its client within which at least 8 KiB of it must be taken [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    write_window: Option<Duration>,

    /// How long a connection may take to send the headers of its next request [default: 1min]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    head_time: Option<Duration>,

    /// The 128 bytes before DICM: `keep`, `zero`, or `refuse-executable` [default: keep]
    #[arg(long, value_name = "RULE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    preamble: Option<String>,

    /// Most parts of one store request [default: 20000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_parts: Option<usize>,

    /// Most connections served at once [default: 2048]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<usize>,

    /// Deepest nesting of sequences in a file, at most 40 [default: 40]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_depth: Option<usize>,

    /// Most elements in a file [default: 10000000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_elements: Option<u64>,

    /// Most bytes of a file beside its bulk data; as many of all files received at once [default: 128MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_header: Option<ByteSize>,

    /// Longest value beside bulk data [default: 64MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_value: Option<ByteSize>,

    /// Most bytes a deflated dataset may inflate to [default: 4GiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_inflated: Option<ByteSize>,

    /// How long after its request an event may still take effect [default: 5min]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    validity: Option<Duration>,

    /// How long a write waits for its outcome before it answers 503 [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    outcome_wait: Option<Duration>,

    /// How long running requests may take to finish after the order to stop [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    stop_wait: Option<Duration>,

    /// How long one search may take, or else it is answered 413 [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    search_time: Option<Duration>,

    /// What keeps the rows of state and views; with another they are made anew from the log [default: fjall]
    #[arg(long, value_name = "ENGINE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<Engine>,

    /// Cache of blocks of the state and of each view [default: 8MiB; with --tables sled 64MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<ByteSize>,

    /// Size at which a segment of the log is sealed [default: 256MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_segment: Option<ByteSize>,

    /// Largest record of the log, 16KiB to 64MiB; what does not fit is kept with the files [default: 900KiB]
    ///
    /// A Kafka topic must take 64 KiB more.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_record: Option<ByteSize>,

    /// Metadata say where the values left out of them are, as viewers need for palettes, overlays and documents
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_data_uri: Option<bool>,

    /// Largest file that is transcoded as a whole; larger ones are served only as stored [default: 100MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    transcode_limit: Option<ByteSize>,

    /// Origins whose pages may call, comma separated, or `*`; none switches CORS off [default: none]
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none", default)]
    cors_allow_origin: Option<Vec<String>>,

    /// Request headers such pages may send [default: those DICOMweb needs]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none", default)]
    cors_allow_header: Option<Vec<String>>,

    /// Methods such pages may use [default: GET,HEAD,POST,PUT,DELETE]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none", default)]
    cors_allow_method: Option<Vec<String>>,

    /// How long browsers may keep the answer to a pre-flight request [default: 10min]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none", default)]
    cors_max_age: Option<Duration>,

    /// Whether such pages may send cookies and credentials; not together with the origin `*`
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cors_allow_credentials: Option<bool>,

    /// What is logged to standard error, as `level` or `room=level,…` [default: info,fjall=warn,lsm_tree=warn]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,

    /// Answer reads while this node has not caught up with the log, or no broker can be asked
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_stale_reads: Option<bool>,

    #[command(flatten)]
    #[serde(skip)]
    kafka: KafkaGiven,

    #[command(flatten)]
    #[serde(skip)]
    codecs: CodecsGiven,

    /// Log lines as JSON
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_json: Option<bool>,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    /// Not of its form.
    #[error("{0}")]
    Form(Box<figment::Error>),
    /// There is none of this name.
    #[error("there is no setting '{0}'")]
    Unknown(String),
    /// Of the right form, and yet impossible.
    #[error("the setting '{name}' is impossible: {what}")]
    Impossible {
        /// Its name.
        name: &'static str,
        /// Why.
        what: String,
    },
}

/// Everything as it is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Public address.
    pub listen: SocketAddr,
    /// Address for commands, always loopback.
    pub admin: SocketAddr,
    /// Whether `listen` may be beyond loopback.
    pub allow_remote: bool,
    /// Folder of all data.
    pub data: PathBuf,
    /// Where files are kept.
    pub blobs: Blobs,
    /// Names of files.
    pub lake: Lake,
    /// How long released files stay.
    pub keep_released: Keep,
    /// How often the sweep runs.
    pub sweep_every: Duration,
    /// How the rows of state and views are kept.
    pub tables: Keeping,
    /// How long one search may take.
    pub search_time: Duration,
    /// Of the archive room.
    pub archive: archive::Settings,
    /// Of the log room.
    pub log: log::embedded::Settings,
    /// Where the log is, if not in this node's own files.
    pub kafka: Option<log::kafka::Settings>,
    /// Of the codecs.
    pub codecs: pixels::Settings,
    /// Of the http room.
    pub http: http::Settings,
    /// What is logged.
    pub trace: String,
    /// Whether log lines are JSON.
    pub trace_json: bool,
}

/// Reads the settings: `file` if given, then `KYMO_…` variables, then `flags`.
///
/// # Errors
/// [`BadSetting`] with the name of the setting.
pub fn read(file: Option<&std::path::Path>, flags: &Given) -> Result<Config, BadSetting> {
    let mut figment = Figment::new();
    if let Some(file) = file {
        if !file.is_file() {
            let what = format!("{} is no file", file.display());
            return Err(BadSetting::Impossible { name: "config", what });
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    // KYMO_CONFIG names the file itself; KYMO_TEST_… tell the project's own tests what they need.
    let variables = Env::prefixed("KYMO_")
        .filter(|key| !key.starts_with("TEST_") && key != "CONFIG")
        .map(|key| key.as_str().to_ascii_lowercase().replace('_', "-").into());
    let figment = figment.merge(variables).merge(Serialized::defaults(flags));
    let figment =
        figment.merge(Serialized::defaults(&flags.kafka)).merge(Serialized::defaults(&flags.codecs));
    let form = |error| BadSetting::Form(Box::new(error));
    let names: figment::value::Dict = figment.extract().map_err(form)?;
    if let Some(unknown) = names.keys().find(|name| !is_setting(name)) {
        return Err(BadSetting::Unknown(unknown.clone()));
    }
    let kafka = figment.extract::<KafkaGiven>().map_err(form)?.with_flags(&flags.kafka);
    let codecs = figment.extract().map_err(form)?;
    Given { kafka, codecs, ..figment.extract().map_err(form)? }.checked()
}

/// Whether a flag has this name, which is the name in files and variables too; or a table that is none.
fn is_setting(name: &str) -> bool {
    let flags = Given::augment_args(clap::Command::new("kymo"));
    name == kafka::TABLE || flags.get_arguments().any(|flag| flag.get_long() == Some(name))
}

impl Given {
    fn checked(self) -> Result<Config, BadSetting> {
        let listen = self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let admin = self.admin.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let allow_remote = self.allow_remote.unwrap_or(false);
        if !listen.ip().is_loopback() && !allow_remote {
            let what = format!(
                "{listen} is not a loopback address, and callers are not authenticated; \
                 set 'allow-remote' if that is meant"
            );
            return Err(impossible("listen", what));
        }
        if !admin.ip().is_loopback() {
            return Err(impossible("admin", format!("{admin} is not a loopback address")));
        }
        let lake = Lake {
            workspace: path_part("workspace", self.workspace.clone(), "kymo")?,
            service: path_part("service", self.service.clone(), "archive")?,
        };
        let tables = Keeping::by(self.tables.unwrap_or_default());
        let cache_bytes = positive("cache", self.cache, tables.cache_bytes)?;
        let tables = Keeping { cache_bytes, ..tables };
        Ok(Config {
            listen,
            admin,
            allow_remote,
            blobs: self.blobs()?,
            lake,
            data: self.data.clone().unwrap_or_else(|| PathBuf::from("kymo-data")),
            keep_released: self.keep_released.unwrap_or(Keep::For(Duration::from_secs(3 * 24 * 3600))),
            sweep_every: nonzero("sweep-every", self.sweep_every, Duration::from_secs(180))?,
            tables,
            search_time: nonzero("search-time", self.search_time, Duration::from_secs(2))?,
            kafka: self.kafka.checked(self.log()?.segment_bytes, self.archive()?.record_bytes)?,
            archive: self.archive()?,
            log: self.log()?,
            codecs: self.codecs.checked()?,
            trace_json: self.trace_json.unwrap_or(false),
            trace: self.trace.clone().unwrap_or_else(|| TRACE.to_owned()),
            http: self.http()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn flags(arguments: &[&str]) -> Given {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            given: Given,
        }
        <Line as clap::Parser>::parse_from([&["kymo"], arguments].concat()).given
    }

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        for (arguments, named) in [
            (&["--listen", "0.0.0.0:8080"][..], "'listen'"),
            (&["--admin", "192.0.2.1:9"], "'admin'"),
            (&["--workspace", "../up"], "'workspace'"),
            (&["--max-parts", "0"], "'max-parts'"),
            (&["--max-depth", "64"], "'max-depth'"),
            (&["--cache", "0B"], "'cache'"),
            (&["--search-time", "0s"], "'search-time'"),
            (&["--max-record", "1KiB"], "'max-record'"),
            (&["--blobs", "gs://bucket"], "'blobs'"),
            (&["--etag", "strict"], "'etag'"),
            (&["--preamble", "drop"], "'preamble'"),
            (&["--trusted-proxies", "10.0.0.1,proxy"], "'trusted-proxies'"),
            (&["--deprecate-version", "v7"], "'deprecate-version'"),
            (&["--write-window", "0s"], "'write-window'"),
            (&["--blobs", "lake", "--blob-cache", "cache"], "'blob-cache'"),
            (&["--blobs", "s3://bucket", "--blob-connections", "0"], "'blob-connections'"),
            (&["--codec-memory", "64MiB"], "'codec-memory'"),
            (&["--codec-time", "0s"], "'codec-time'"),
            (&["--frame-limit", "0B"], "'frame-limit'"),
        ] {
            let error = read(None, &flags(arguments)).map(drop).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(read(None, &flags(&["--listen", "0.0.0.0:8080", "--allow-remote"])).is_ok());
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kymo.toml");
        std::fs::write(&file, "max-body = \"1MiB\"\nkeep-released = \"forever\"\nmax-parts = 5\n").unwrap();
        let config = read(Some(&file), &flags(&["--max-parts", "7"])).unwrap();
        assert_eq!((config.http.body_bytes, config.archive.parts), (1 << 20, 7));
        assert_eq!(config.keep_released, Keep::Forever);
        assert_eq!((config.http.bulk_data_uri, config.http.transcode_bytes), (false, 100 << 20));
        let config = read(None, &flags(&["--bulk-data-uri", "--transcode-limit", "1MiB"])).unwrap();
        assert_eq!((config.http.bulk_data_uri, config.http.transcode_bytes), (true, 1 << 20));
        std::fs::write(&file, "codecs = 3\ncodec-wait = \"5s\"\nframe-limit = \"1MiB\"\n").unwrap();
        let config = read(Some(&file), &flags(&["--codecs", "0", "--pixel-memory", "2MiB"])).unwrap().codecs;
        assert_eq!((config.children, config.queue_wait.as_secs()), (0, 5));
        assert_eq!((config.frame_bytes, config.in_flight_bytes), (1 << 20, 2 << 20));
        std::fs::write(&file, "max-bodies = 1\n").unwrap();
        let error = read(Some(&file), &flags(&[])).map(drop).unwrap_err().to_string();
        assert!(error.contains("max-bodies"), "{error}");
    }
}
