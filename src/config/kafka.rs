//! The settings of a log in Kafka.
//!
//! Invariant: an option that could break a promise, or that librdkafka does not know, stops the start by name.
//! Elsewhere: what they mean (`log::kafka::settings`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{BadSetting, impossible, list, nonzero};
use crate::log::kafka::Settings;
use crate::log::kafka::settings::{Creation, Login, Override, Secret, Tls};

/// The table of a settings file with options for librdkafka.
pub(super) const TABLE: &str = "kafka";

/// The settings as given, each of them optional.
#[derive(Args, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Log in Kafka")]
pub(super) struct KafkaGiven {
    /// Brokers to begin with, as host:port, comma separated: the log is in Kafka [default: none]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none")]
    kafka_brokers: Option<Vec<String>>,

    /// Topic that is the log [default: kymo]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_topic: Option<String>,

    /// How brokers name this node in their logs [default: kymo]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_client_id: Option<String>,

    /// Make the topic if it is not there
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_create_topic: Option<bool>,

    /// Replicas of a topic that is made [default: 3, or as many as there are brokers]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_replicas: Option<i32>,

    /// Checks of the topic that may fail: min-insync-replicas, unclean-leader-election [default: none]
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    #[serde(deserialize_with = "list", skip_serializing_if = "Option::is_none")]
    kafka_allow: Option<Vec<String>>,

    /// How long an event may wait for the brokers' answer before it is given up [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    kafka_delivery_wait: Option<Duration>,

    /// Between two looks at a topic with which nothing is wrong, at most 10s [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    kafka_check_every: Option<Duration>,

    /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER [default: no login]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_sasl: Option<String>,

    /// Name to log in with
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_user: Option<String>,

    /// File with the password to log in with; KYMO_KAFKA_PASSWORD has the password itself
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_password_file: Option<PathBuf>,

    /// The password itself: in a file of settings or a variable, where no list of processes shows it
    #[arg(long, hide = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_password: Option<String>,

    /// File with the token of OAUTHBEARER, a JSON web token; read again whenever it is about to expire
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_token_file: Option<PathBuf>,

    /// Speak TLS to the brokers [default: if a file for TLS is given]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_tls: Option<bool>,

    /// Certificates of those who vouch for the brokers, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_tls_ca: Option<PathBuf>,

    /// This node's certificate, PEM
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_tls_certificate: Option<PathBuf>,

    /// Key of this node's certificate, PEM
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_tls_key: Option<PathBuf>,

    /// File with the password of that key
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_tls_key_password_file: Option<PathBuf>,

    /// An option of librdkafka as NAME=VALUE, several times; in a file of settings the table [kafka.options]
    #[arg(long, value_name = "OPTION")]
    #[serde(skip)]
    kafka_option: Vec<String>,

    #[arg(skip)]
    #[serde(skip_serializing)]
    kafka: Table,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    options: BTreeMap<String, Plain>,
}

/// A value as a file of settings may have it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Plain {
    Text(String),
    Flag(bool),
    Whole(i64),
    Real(f64),
}

/// Names and values of some settings are secrets.
impl fmt::Debug for KafkaGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGiven").field("kafka_brokers", &self.kafka_brokers).finish_non_exhaustive()
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl KafkaGiven {
    /// What was read, with the flags that only a command line has.
    pub(super) fn with_flags(self, flags: &Self) -> Self {
        Self { kafka_option: flags.kafka_option.clone(), ..self }
    }

    /// The settings of the log, if it is in Kafka.
    pub(super) fn checked(
        &self,
        segment_bytes: u64,
        record_limit_bytes: usize,
    ) -> Result<Option<Settings>, BadSetting> {
        let Some(brokers) = self.kafka_brokers.as_ref().filter(|brokers| !brokers.is_empty()) else {
            return Ok(None);
        };
        let default = Settings::default();
        let check_every = nonzero("kafka-check-every", self.kafka_check_every, default.check_every)?;
        if check_every > default.check_every {
            return Err(impossible("kafka-check-every", "at most 10s".to_owned()));
        }
        let settings = Settings {
            brokers: brokers.join(","),
            topic: self.kafka_topic.clone().unwrap_or(default.topic),
            client_id: self.kafka_client_id.clone().unwrap_or(default.client_id),
            login: self.login()?,
            tls: self.tls()?,
            options: self.options()?,
            creation: match self.kafka_create_topic {
                Some(true) => Creation::IfMissing,
                Some(false) | None => Creation::Never,
            },
            replicas: match self.kafka_replicas {
                Some(..=0) => return Err(impossible("kafka-replicas", "at least 1".to_owned())),
                given => given,
            },
            overrides: self.overrides()?,
            record_limit_bytes,
            delivery_wait: nonzero("kafka-delivery-wait", self.kafka_delivery_wait, default.delivery_wait)?,
            check_every,
            segment_bytes,
            ..Settings::default()
        };
        settings.check_options().map_err(|bad| impossible("kafka.options", bad.to_string()))?;
        Ok(Some(settings))
    }

    fn login(&self) -> Result<Login, BadSetting> {
        let Some(mechanism) = self.kafka_sasl.as_deref() else {
            if self.kafka_user.is_some() {
                return Err(impossible("kafka-user", "it needs 'kafka-sasl'".to_owned()));
            }
            return Ok(Login::Nobody);
        };
        match mechanism {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {}
            "OAUTHBEARER" => {
                let file = self.kafka_token_file.clone();
                let missing = || impossible("kafka-token-file", "OAUTHBEARER needs it".to_owned());
                return Ok(Login::TokenFile(file.ok_or_else(missing)?));
            }
            other => {
                let what = format!("'{other}' is not PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER");
                return Err(impossible("kafka-sasl", what));
            }
        }
        let missing = |name| impossible(name, format!("{mechanism} needs it"));
        let name = self.kafka_user.clone().ok_or_else(|| missing("kafka-user"))?;
        let password = match (&self.kafka_password, &self.kafka_password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(file)) => secret("kafka-password-file", file)?,
            (None, None) => return Err(missing("kafka-password-file")),
        };
        Ok(Login::Password { mechanism: mechanism.to_owned(), name, password: Secret::new(password) })
    }

    fn tls(&self) -> Result<Option<Tls>, BadSetting> {
        let identity = match (&self.kafka_tls_certificate, &self.kafka_tls_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(impossible("kafka-tls-key", "the certificate needs it".to_owned()));
            }
            (None, Some(_)) => {
                return Err(impossible("kafka-tls-certificate", "the key needs it".to_owned()));
            }
        };
        let key_password = self.kafka_tls_key_password_file.as_ref();
        let tls = Tls {
            ca: self.kafka_tls_ca.clone(),
            identity,
            key_password: key_password
                .map(|file| secret("kafka-tls-key-password-file", file).map(Secret::new))
                .transpose()?,
        };
        match self.kafka_tls {
            Some(false) if tls != Tls::default() => {
                Err(impossible("kafka-tls", "it is off, and files for it are given".to_owned()))
            }
            Some(false) => Ok(None),
            None if tls == Tls::default() => Ok(None),
            Some(true) | None => Ok(Some(tls)),
        }
    }

    fn options(&self) -> Result<BTreeMap<String, String>, BadSetting> {
        let table = self.kafka.options.iter().map(|(name, value)| (name.clone(), value.to_string()));
        let mut options: BTreeMap<_, _> = table.collect();
        for given in &self.kafka_option {
            let (name, value) = given
                .split_once('=')
                .ok_or_else(|| impossible("kafka-option", format!("'{given}' is not NAME=VALUE")))?;
            options.insert(name.to_owned(), value.to_owned());
        }
        Ok(options)
    }

    fn overrides(&self) -> Result<Vec<Override>, BadSetting> {
        let given = self.kafka_allow.iter().flatten();
        given
            .map(|name| match name.as_str() {
                "min-insync-replicas" => Ok(Override::MinInsyncReplicas),
                "unclean-leader-election" => Ok(Override::UncleanLeaderElection),
                other => {
                    let what = format!("'{other}' is not min-insync-replicas or unclean-leader-election");
                    Err(impossible("kafka-allow", what))
                }
            })
            .collect()
    }
}

/// The first line of a file that holds a secret.
fn secret(name: &'static str, file: &Path) -> Result<String, BadSetting> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| impossible(name, format!("{}: {error}", file.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Given, read};
    use super::*;

    fn flags(arguments: &[&str]) -> Given {
        super::super::tests::flags(&[&["--kafka-brokers", "a:1,b:2"], arguments].concat())
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (arguments, named) in [
            (&["--kafka-sasl", "GSSAPI"][..], "'kafka-sasl'"),
            (&["--kafka-user", "me"], "'kafka-user'"),
            (&["--kafka-sasl", "PLAIN"], "'kafka-user'"),
            (&["--kafka-sasl", "PLAIN", "--kafka-user", "me"], "'kafka-password-file'"),
            (&["--kafka-sasl", "OAUTHBEARER"], "'kafka-token-file'"),
            (&["--kafka-allow", "everything"], "'kafka-allow'"),
            (&["--kafka-replicas", "0"], "'kafka-replicas'"),
            (&["--kafka-check-every", "1min"], "'kafka-check-every'"),
            (&["--kafka-tls-key", "key.pem"], "'kafka-tls-certificate'"),
            (&["--kafka-option", "acks=1"], "'acks'"),
            (&["--kafka-option", "no.such.option=1"], "no.such.option"),
        ] {
            let error = read(None, &flags(arguments)).map(drop).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_file_has_a_table_of_options_and_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kymo.toml");
        let text = "kafka-sasl = \"SCRAM-SHA-512\"\nkafka-user = \"kymo\"\nkafka-password = \"hunter2\"\n\
                    kafka-brokers = \"c:3\"\n[kafka.options]\n\"linger.ms\" = 5\n\"client.rack\" = \"r1\"\n";
        std::fs::write(&file, text).unwrap();
        let given = flags(&["--kafka-option", "linger.ms=7", "--max-record", "2MiB"]);
        let config = read(Some(&file), &given).unwrap();
        assert!(!format!("{config:?} {given:?}").contains("hunter2"));
        let kafka = config.kafka.unwrap();
        assert_eq!((kafka.brokers.as_str(), kafka.record_limit_bytes), ("a:1,b:2", 2 << 20));
        assert_eq!(kafka.options["linger.ms"], "7");
        assert_eq!(kafka.options["client.rack"], "r1");
        assert!(matches!(kafka.login, Login::Password { .. }));
        std::fs::write(&file, "[kafka]\noptoins = 1\n").unwrap();
        let error = read(Some(&file), &flags(&[])).map(drop).unwrap_err().to_string();
        assert!(error.contains("optoins"), "{error}");
    }
}
