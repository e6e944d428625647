//! `kymo rebuild`: throws views away and makes them anew from the log.
//!
//! Elsewhere: the rebuild of a damaged view at the start (`kymo::app`, `kymo::projections::runner`).

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use kymo::app::{Folders, Node, StartError};
use kymo::config::Config;

use super::ask::ask;
use super::{bar, rate};

const VIEWS: [&str; 2] = ["archive", "search"];

pub(crate) async fn run(config: &Config, views: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = views.iter().find(|view| !VIEWS.contains(&view.as_str())) {
        bail!("there is no view '{unknown}'; there are {}", VIEWS.join(" and "));
    }
    let chosen = |view: &str| views.is_empty() || views.iter().any(|chosen| chosen == view);
    let folders = Folders::of(&config.data);
    if !folders.log().is_dir() {
        bail!("there is no archive in {}", config.data.display());
    }
    match Node::open(config).await {
        Ok(node) => node.close().await,
        Err(StartError::InUse(_)) if views == ["search"] => return ask_running(&folders.admin()).await,
        Err(error) => return Err(error.into()),
    }
    if chosen("archive") {
        remove(&folders.state())?;
    }
    if chosen("search") {
        remove(&folders.views())?;
    }
    let began = Instant::now();
    let node = Node::open(config).await?;
    let shown = bar("rebuilding", node.archive.start_tail().0);
    node.caught_up(|reached, _| shown.set_position(reached.0)).await?;
    let search = node.search.clone();
    tokio::task::spawn_blocking(move || search.flush()).await?;
    shown.finish_and_clear();
    println!("rebuilt: {}", rate(node.archive.start_tail().0, "events", began));
    node.close().await;
    Ok(ExitCode::SUCCESS)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// The archive runs: it rebuilds the view itself while it serves.
async fn ask_running(admin: &Path) -> anyhow::Result<ExitCode> {
    let address =
        std::fs::read_to_string(admin).context("the running archive has no address for commands")?;
    let (status, why) = ask(&address, "POST", "/rebuild?view=search").await?;
    if status != 202 {
        bail!("the running archive answers: {why}");
    }
    println!("the running archive rebuilds the search view; /health/check tells when it is done");
    Ok(ExitCode::SUCCESS)
}
