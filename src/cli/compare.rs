//! `kymo verify --node A --against B`: whether two running nodes have folded the same log to the same end.
//!
//! Elsewhere: what a node tells, and how it stands still meanwhile (`kymo::app::agree`).

use std::process::ExitCode;

use anyhow::{Context, bail};
use kymo::app::agree::Digests;
use serde_json::Value;

use super::ask::ask;

/// How far ahead of both nodes the position lies that they are asked to stop at, try by try: none while nothing
/// is written, more while they move.
const AHEAD: [u64; 9] = [0, 0, 2, 8, 32, 128, 512, 2048, 8192];

pub(crate) async fn run(node: &str, against: &str) -> anyhow::Result<ExitCode> {
    let mut last = String::new();
    for ahead in AHEAD {
        let at = next(node).await?.max(next(against).await?) + ahead;
        let path = format!("/digests?at={at}");
        let (mine, theirs) = tokio::try_join!(ask(node, "GET", &path), ask(against, "GET", &path))?;
        match (mine, theirs) {
            ((200, mine), (200, theirs)) => {
                return compare(&serde_json::from_str(&mine)?, &serde_json::from_str(&theirs)?);
            }
            ((200, _), (_, why)) | ((_, why), _) => last = why,
        }
    }
    bail!("the nodes could not be read at one position; the last try: {last}");
}

async fn next(node: &str) -> anyhow::Result<u64> {
    let (_, status) = ask(node, "GET", "/status").await?;
    let status: Value = serde_json::from_str(&status).with_context(|| format!("{node} tells no status"))?;
    status["archive"]["next"].as_u64().with_context(|| format!("{node} tells no position"))
}

fn compare(node: &Digests, against: &Digests) -> anyhow::Result<ExitCode> {
    let Digests { position, log, chain, sequence, feed, archive, search } = node;
    println!("position {position}, {sequence} rows of the change feed, chain {chain}");
    if log != &against.log {
        let name =
            |log: &Option<uuid::Uuid>| log.map_or("a log without a name".to_owned(), |log| log.to_string());
        bail!("these are nodes of two archives: {} and {}", name(log), name(&against.log));
    }
    let mut equal = true;
    for (what, mine, theirs) in [
        ("chain", chain, &against.chain),
        ("change feed", feed, &against.feed),
        ("view archive", archive, &against.archive),
        ("view search", search, &against.search),
    ] {
        if mine == theirs {
            println!("{what}: equal");
        } else {
            println!("wrong: {what}: {mine} here, {theirs} there");
            equal = false;
        }
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
