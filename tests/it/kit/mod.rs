//! What the tests are made with.

pub(crate) mod archive;
pub(crate) mod dicom;
pub(crate) mod folder;
pub(crate) mod ground;
pub(crate) mod history;
pub(crate) mod kafka;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod served;
pub(crate) mod stores;
pub(crate) mod toxiproxy;

/// How many random histories a test plays: `usual`, or more if `KYMO_TEST_SEEDS` says so.
pub(crate) fn seeds(usual: u32) -> u32 {
    let asked = std::env::var("KYMO_TEST_SEEDS").ok().and_then(|asked| asked.parse().ok());
    asked.unwrap_or(usual).max(usual)
}
