//! What an archive can stand on: its log in segments of its own or in a Kafka topic, its files in a folder or
//! in an object store.
//!
//! A test that takes a [`Ground`] is the same on each; [`on_every_ground`] makes one test of it for each.
//! Invariant: topic and bucket are the ground's own; nobody else writes there.
//! Elsewhere: brokers (`kafka`), object stores (`stores`), what is left out without them (there too).

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::kafka::{broker, new_topic};
use super::process::{Process, kymo};
use super::stores::{Far, Kind as Store};

/// Makes a test of its own for each ground of a function that takes one.
macro_rules! on_every_ground {
    ($($test:ident)*) => {$(
        mod $test {
            use crate::kit::ground::{Ground, Kind};

            #[test]
            fn embedded_and_folder() {
                super::$test(&Ground::own());
            }

            #[test]
            fn kafka_and_folder() {
                Ground::of(Kind::KafkaAndFolder).iter().for_each(super::$test);
            }

            #[test]
            fn kafka_and_s3() {
                Ground::of(Kind::KafkaAndS3).iter().for_each(super::$test);
            }

            #[test]
            fn embedded_and_azure() {
                Ground::of(Kind::EmbeddedAndAzure).iter().for_each(super::$test);
            }
        }
    )*};
}
pub(crate) use on_every_ground;

/// Where the log is, and where the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What needs no server.
    EmbeddedAndFolder,
    KafkaAndFolder,
    KafkaAndS3,
    EmbeddedAndAzure,
}

/// A place for one archive.
pub(crate) struct Ground {
    kind: Kind,
    /// Brokers and topic.
    topic: Option<(String, String)>,
    far: Option<Far>,
}

impl Ground {
    /// The one that needs no server.
    pub(crate) fn own() -> Self {
        Self { kind: Kind::EmbeddedAndFolder, topic: None, far: None }
    }

    /// An empty one; `None` where its servers are not there.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        let (in_topic, store) = match kind {
            Kind::EmbeddedAndFolder => (false, None),
            Kind::KafkaAndFolder => (true, None),
            Kind::KafkaAndS3 => (true, Some(Store::S3)),
            Kind::EmbeddedAndAzure => (false, Some(Store::Azure)),
        };
        let topic = match in_topic {
            true => Some((broker()?.address(), new_topic())),
            false => None,
        };
        let far = match store {
            Some(store) => Some(Far::of(store)?),
            None => None,
        };
        Some(Self { kind, topic, far })
    }

    /// An empty one of the same kind.
    pub(crate) fn another(&self) -> Self {
        Self::of(self.kind).expect("its servers are there")
    }

    /// Brokers and topic of the log, if it is not the node's own.
    pub(crate) fn topic(&self) -> Option<(&str, &str)> {
        self.topic.as_ref().map(|(brokers, topic)| (brokers.as_str(), topic.as_str()))
    }

    /// The store of the files, if they do not lie in a folder of the node.
    pub(crate) fn far(&self) -> Option<&Far> {
        self.far.as_ref()
    }

    /// `often` where nothing but this machine's disk is in the way, else `seldom`: what is played so often.
    pub(crate) fn times(&self, often: u32, seldom: u32) -> u32 {
        if self.kind == Kind::EmbeddedAndFolder { often } else { seldom }
    }

    /// What a program is told to stand here, and its environment.
    fn setting(&self) -> (Vec<String>, Vec<(String, String)>) {
        let mut flags = Vec::new();
        if let Some((brokers, topic)) = self.topic() {
            flags.extend(["--kafka-brokers", brokers, "--kafka-topic", topic, "--kafka-create-topic=true"]);
        }
        let mut flags: Vec<String> = flags.into_iter().map(ToOwned::to_owned).collect();
        let Some(far) = &self.far else { return (flags, Vec::new()) };
        flags.extend(["--blobs".to_owned(), far.place()]);
        (flags, far.environment())
    }

    /// A command of the program here, as in `command("verify", data)`.
    pub(crate) fn command(&self, name: &str, data: &Path) -> Command {
        let (flags, environment) = self.setting();
        let mut command = kymo();
        command.arg(name).arg("--data").arg(data).args(flags).envs(environment).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn ran(&self, name: &str, data: &Path, arguments: &[&str]) -> Output {
        self.command(name, data).args(arguments).output().expect("the program can be run")
    }

    /// A running `kymo serve` that answers.
    pub(crate) fn start(&self, data: &Path, flags: &[&str]) -> Process {
        let (mine, environment) = self.setting();
        let mine = mine.iter().map(String::as_str);
        Process::start_in(data, &mine.chain(flags.iter().copied()).collect::<Vec<_>>(), &environment)
    }
}
