//! `kymo import`: stores files and folders through the same path as a store request.
//!
//! Invariant: every file ends as stored, already there, skipped (DICOMDIR) or refused with a reason.
//! Elsewhere: what a store does (`kymo::archive`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use bytes::BytesMut;
use futures_util::StreamExt;
use kymo::app::Node;
use kymo::archive::{Archive, Asking, PartOutcome, PartRefusal};
use kymo::base::Partition;
use kymo::config::Config;
use kymo::dicom::validate::Rules;
use kymo::event::{Actor, StoreMode};
use tokio::io::AsyncReadExt;

use super::{bar, rate};

/// Files under way at once: they share the fsync of the log.
const AT_ONCE: usize = 16;
const READ_BYTES: usize = 256 << 10;

#[derive(Default)]
struct Summary {
    stored: u64,
    duplicate: u64,
    directories: u64,
    refused: Vec<(PathBuf, String)>,
}

pub(crate) async fn run(
    config: &Config,
    paths: Vec<PathBuf>,
    partition: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let partition = partition.map_or_else(|| Ok(Partition::default()), Partition::parse)?;
    if partition != Partition::default() && !config.http.partitions {
        bail!("data partitions are off: switch on the setting 'partitions' to import into '{partition}'");
    }
    let mut files = Vec::new();
    for path in paths {
        collect(&path, &mut files)?;
    }
    files.sort();
    let node = Node::open(config).await?;
    node.caught_up(|_, _| ()).await?;
    let began = Instant::now();
    let shown = bar("importing", files.len() as u64);
    let mut summary = Summary::default();
    let (archive, asking) = (&node.archive, &asking(partition));
    archive.create_partition(asking).await?;
    let mut imports = futures_util::stream::iter(files)
        .map(|file| async move {
            let outcome = import(archive, asking, &file).await;
            (file, outcome)
        })
        .buffered(AT_ONCE);
    let mut interrupted = false;
    loop {
        tokio::select! {
            next = imports.next() => match next {
                Some((file, outcome)) => summary.count(file, outcome),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => {
                interrupted = true;
                break;
            }
        }
        shown.inc(1);
    }
    drop(imports);
    shown.finish_and_clear();
    node.close().await;
    if interrupted {
        println!("interrupted: run the same command again to go on");
    }
    Ok(summary.print(began))
}

impl Summary {
    fn count(&mut self, file: PathBuf, outcome: anyhow::Result<PartOutcome>) {
        match outcome {
            Ok(PartOutcome::Stored { .. }) => self.stored += 1,
            Ok(PartOutcome::Refused { why: PartRefusal::AlreadyStored, .. }) => self.duplicate += 1,
            Ok(PartOutcome::Refused { why: PartRefusal::Directory, .. }) => self.directories += 1,
            Ok(PartOutcome::Refused { why, .. }) => self.refused.push((file, reason(&why))),
            Err(error) => self.refused.push((file, format!("{error:#}"))),
        }
    }

    fn print(&self, began: Instant) -> ExitCode {
        for (file, why) in &self.refused {
            println!("refused: {}: {why}", file.display());
        }
        println!("stored {}", rate(self.stored, "instances", began));
        println!(
            "already there {}, DICOMDIR skipped {}, refused {}",
            self.duplicate,
            self.directories,
            self.refused.len()
        );
        if self.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn asking(partition: Partition) -> Asking {
    Asking { request_id: String::new(), trace_id: None, actor: Actor::System, partition }
}

fn reason(why: &PartRefusal) -> String {
    match why {
        PartRefusal::Unreadable(what) | PartRefusal::Failed(what) => what.clone(),
        PartRefusal::Invalid(invalid) => {
            invalid.findings.iter().map(|finding| finding.comment()).collect::<Vec<_>>().join("; ")
        }
        PartRefusal::AlreadyStored => "it is stored already".to_owned(),
        PartRefusal::Directory => "a DICOMDIR is not an instance".to_owned(),
    }
}

async fn import(archive: &Archive, asking: &Asking, path: &Path) -> anyhow::Result<PartOutcome> {
    if !tokio::fs::metadata(path).await?.is_file() {
        bail!("neither a file nor a link to one");
    }
    let mut file = tokio::fs::File::open(path).await?;
    let mut ingest = archive.ingest(asking.clone(), StoreMode::Create, Rules::V2, None);
    ingest.part().await?;
    loop {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        if file.read_buf(&mut bytes).await? == 0 {
            break;
        }
        ingest.write(bytes.freeze()).await?;
    }
    ingest.end_part().await?;
    let mut stored = ingest.commit().await?;
    stored.parts.pop().context("one part has one outcome")
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let kind = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if kind.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            // A link to a folder is not followed: it may lead round in a circle. What else is no file ends as
            // refused.
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(())
}
