//! Where the lake is: a folder, an S3 bucket or an Azure container, and how it is reached.
//!
//! Address and credentials of a store come from its provider's usual environment: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP` and web
//! identity or instance roles for S3; `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`,
//! `AZURE_STORAGE_SAS_KEY`, `AZURE_CLIENT_ID` and its like, workload and managed identities for Azure.
//!
//! Invariant: every wait for a store has a bound, and so has the number of connections to it.
//! Elsewhere: uploads (`remote`), folders (`local`).

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::limit::LimitStore;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::Error;

/// Longest wait for a connection to a store.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Retries of one request, with growing pauses and jitter between them.
const RETRIES: usize = 5;

/// The first pause and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Where the lake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of a local or shared file system.
    Folder(PathBuf),
    /// A bucket of S3 or of a store that speaks like it, and a prefix of all keys, maybe empty.
    S3 {
        /// Its name.
        bucket: String,
        /// What all keys begin with.
        prefix: String,
    },
    /// A container of Azure Blob or Data Lake storage, and a prefix of all keys, maybe empty.
    Azure {
        /// Its name.
        container: String,
        /// What all keys begin with.
        prefix: String,
    },
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let folder = PathBuf::from(text);
            return if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Self::Folder(folder)) };
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = Key::parse(prefix.trim_end_matches('/')).map_err(|error| error.to_string())?.to_string();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(legal) {
            return Err(format!("'{name}' is no name of a bucket or container"));
        }
        let name = name.to_owned();
        match scheme {
            "s3" => Ok(Self::S3 { bucket: name, prefix }),
            "az" => Ok(Self::Azure { container: name, prefix }),
            _ => Err(format!("'{scheme}' is neither s3 nor az, and a folder is named without '://'")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, name, prefix) = match self {
            Self::Folder(folder) => return write!(f, "{}", folder.display()),
            Self::S3 { bucket, prefix } => ("s3", bucket, prefix),
            Self::Azure { container, prefix } => ("az", container, prefix),
        };
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{name}{slash}{prefix}")
    }
}

/// How a store behind a network is reached.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Longest wait for one answer with its body, and for all retries of a request together.
    pub timeout: Duration,
    /// Requests under way at once.
    pub connections: usize,
}

impl Default for Reach {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), connections: 64 }
    }
}

/// Variables with their values: where addresses and credentials come from. It does not show them.
#[derive(Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self(std::env::vars_os().filter_map(text).collect())
    }

    fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Environment").finish_non_exhaustive()
    }
}

/// The variables of a provider that mean something to us.
fn named<'a, K: FromStr>(
    environment: &'a Environment,
    prefix: &'a str,
) -> impl Iterator<Item = (K, &'a String)> {
    let ours = environment.iter().filter(move |(name, _)| name.starts_with(prefix));
    ours.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
}

/// A store behind a network.
pub(super) struct Reached {
    /// With the prefix, and bounded.
    pub(super) store: Arc<dyn ObjectStore>,
    /// The same for uploads in parts, which know nothing of the prefix.
    pub(super) parts: Arc<dyn MultipartStore>,
    pub(super) prefix: Key,
    /// How long a request may be tried.
    pub(super) patience: Duration,
}

/// Makes ready to speak to a bucket. Nothing is sent yet.
pub(super) fn s3(
    bucket: &str,
    prefix: &str,
    environment: &Environment,
    reach: Reach,
) -> Result<Reached, Error> {
    let mut builder = AmazonS3Builder::new();
    for (key, value) in named::<AmazonS3ConfigKey>(environment, "AWS_") {
        builder = builder.with_config(key, value);
    }
    for (key, value) in waits(reach) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    let builder = builder.with_bucket_name(bucket).with_retry(retries(reach));
    let store = builder.build().map_err(|error| unreachable_store(&error))?;
    Ok(bounded(store, prefix, reach))
}

/// Makes ready to speak to a container. Nothing is sent yet.
pub(super) fn azure(
    container: &str,
    prefix: &str,
    environment: &Environment,
    reach: Reach,
) -> Result<Reached, Error> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in named::<AzureConfigKey>(environment, "AZURE_") {
        builder = builder.with_config(key, value);
    }
    for (key, value) in waits(reach) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    if let Some((_, endpoint)) = environment.iter().find(|(name, _)| name == "IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    let builder = builder.with_container_name(container).with_retry(retries(reach));
    let store = builder.build().map_err(|error| unreachable_store(&error))?;
    Ok(bounded(store, prefix, reach))
}

fn bounded<S: ObjectStore + MultipartStore + Clone>(store: S, prefix: &str, reach: Reach) -> Reached {
    let prefix = Key::from(prefix);
    let parts = Arc::new(store.clone());
    let store = LimitStore::new(store, reach.connections);
    let store = Arc::new(PrefixStore::new(store, prefix.clone()));
    Reached { store, parts, prefix, patience: reach.timeout }
}

/// Set key by key, since a whole set would replace what the environment says of the client.
fn waits(reach: Reach) -> [(ClientConfigKey, String); 2] {
    let text = |time: Duration| humantime::format_duration(time).to_string();
    [(ClientConfigKey::Timeout, text(reach.timeout)), (ClientConfigKey::ConnectTimeout, text(CONNECT_WITHIN))]
}

fn retries(reach: Reach) -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: PAUSES.0, max_backoff: PAUSES.1, base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: reach.timeout }
}

fn unreachable_store(error: &object_store::Error) -> Error {
    Error::Unavailable(format!("its settings in the environment do not do: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["/data/lake", "lake", "s3://bucket", "s3://bucket/a/b", "az://container/kymo"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        assert_eq!("s3://b/x/".parse(), Ok(Location::S3 { bucket: "b".into(), prefix: "x".into() }));
        for text in ["", "gs://bucket", "s3://", "s3:///x", "s3://b/../c", "az://a b/c"] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
