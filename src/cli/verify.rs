//! `kymo verify`: the log to its last byte, every file's digest, every view against a fresh rebuild.
//!
//! Elsewhere: the checks of the log (`kymo::log::embedded::verify`), of files (`kymo::blob`).

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use kymo::app::{self, Commits, Folders, Node};
use kymo::base::Position;
use kymo::config::Config;
use kymo::event::Payload;
use kymo::log::embedded::disk::RealDisk;
use kymo::log::embedded::verify::{Finding, Kind, verify};
use kymo::projections::search::Search;

use super::bar;

const READ_BYTES: usize = 4 << 20;
const LONG: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let folders = Folders::of(&config.data);
    if !folders.log().is_dir() {
        bail!("there is no archive in {}", config.data.display());
    }
    let mut wrong = Vec::new();
    let counts = verify(&RealDisk, &folders.log(), &mut |finding| tell(finding, &mut wrong))?;
    println!(
        "log: {} segments, {} blocks, {} records, chain {}",
        counts.segments,
        counts.blocks,
        counts.records,
        hex::encode(counts.chain)
    );
    if wrong.is_empty() {
        let node = Node::open(config).await?;
        node.caught_up(|_, _| ()).await?;
        files(&node, &mut wrong).await?;
        views(&node, config, &mut wrong).await?;
        node.close().await;
    } else {
        println!("files and views are not looked at while the log is damaged");
    }
    for what in &wrong {
        println!("wrong: {what}");
    }
    println!("{} things are wrong", wrong.len());
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A torn tail and a wrong index are mended by the next start, and nothing acknowledged is lost by them.
fn tell(finding: Finding, wrong: &mut Vec<String>) {
    match finding {
        Finding::Segment { .. } => {}
        Finding::Problem { kind, file, offset, position, what } => {
            let what = format!("log: {file} at offset {offset}, position {position}: {what}");
            match kind {
                Kind::Damage => wrong.push(what),
                Kind::TornTail | Kind::Index => println!("mended at the next start: {what}"),
            }
        }
    }
}

/// Every file that an event names and that was not removed.
async fn files(node: &Node, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let tail = node.log.tail();
    let shown = bar("files", tail.0);
    let mut from = Position(0);
    let mut checked = 0u64;
    while from < tail {
        let records = node.log.read_batch(from, tail, READ_BYTES)?;
        let Some(last) = records.last() else { break };
        from = last.position.next();
        for record in records {
            let Ok(event) = node.archive.decode(record.bytes) else { continue };
            if let Err(what) = node.archive.verify_bodies(&event).await {
                wrong.push(format!("large sections of position {}: {what}", record.position));
                continue;
            }
            let Payload::InstanceStored { instance, .. } = &event.head.payload else { continue };
            if !node.archive.keeps_blob(&instance.file.key)? {
                continue;
            }
            let expected = kymo::archive::expected(&instance.file, &event)?;
            if let Err(error) = node.archive.blobs().verify(&expected).await {
                wrong.push(format!("file of position {}: {error}", record.position));
            }
            checked += 1;
        }
        shown.set_position(from.0);
    }
    shown.finish_and_clear();
    println!("files: {checked} checked");
    Ok(())
}

/// Each view against one made afresh, in memory, from the first record.
async fn views(node: &Node, config: &Config, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let log = Arc::clone(&node.log);
    let fresh = app::scratch(log, config)?;
    let last = node.log.tail().0.checked_sub(1).map(Position);
    if let Some(last) = last {
        fresh.reached(last, LONG).await?;
    }
    compare("archive", &node.archive.dump()?, &fresh.dump()?, wrong);
    let search = Search::in_memory(Arc::new(Commits(fresh.clone())))?;
    if let Some(last) = last {
        search.reached(last, LONG).await?;
    }
    let (live, again) = (node.search.clone(), search.clone());
    let dumps = tokio::task::spawn_blocking(move || (live.dump(), again.dump())).await?;
    match dumps {
        (Ok(live), Ok(again)) => compare("search", &lines(&live), &lines(&again), wrong),
        (Err(why), _) | (_, Err(why)) => wrong.push(format!("view search: {why}")),
    }
    Ok(())
}

fn lines(dump: &str) -> Vec<String> {
    dump.lines().map(ToOwned::to_owned).collect()
}

fn compare(view: &str, stored: &[String], fresh: &[String], wrong: &mut Vec<String>) {
    let differs = stored.iter().zip(fresh).find(|(stored, fresh)| stored != fresh);
    if let Some((stored, fresh)) = differs {
        wrong.push(format!("view {view}: holds {stored} where a rebuild gives {fresh}; run kymo rebuild"));
    } else if stored.len() != fresh.len() {
        let (has, needs) = (stored.len(), fresh.len());
        wrong.push(format!("view {view}: holds {has} rows where a rebuild gives {needs}; run kymo rebuild"));
    }
    println!("view {view}: {} rows compared with a rebuild", fresh.len());
}
