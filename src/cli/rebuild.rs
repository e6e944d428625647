//! `kymo rebuild`: throws views away and makes them anew from the log, or has a running archive do so beside them.
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

/// Gives a running archive an order for its search view: `rebuild`, `back` or `drop`.
pub(crate) async fn live(config: &Config, views: &[String], order: &str) -> anyhow::Result<ExitCode> {
    known(views)?;
    if views.iter().any(|view| view != "search") {
        bail!("only the search view is rebuilt while the archive serves");
    }
    let admin = Folders::of(&config.data).admin();
    if !admin.is_file() {
        bail!("no archive runs in {}; without --live it is rebuilt stopped", config.data.display());
    }
    ask_running(&admin, order).await
}

fn known(views: &[String]) -> anyhow::Result<()> {
    match views.iter().find(|view| !VIEWS.contains(&view.as_str())) {
        Some(unknown) => bail!("there is no view '{unknown}'; there are {}", VIEWS.join(" and ")),
        None => Ok(()),
    }
}

pub(crate) async fn run(config: &Config, views: &[String]) -> anyhow::Result<ExitCode> {
    known(views)?;
    let chosen = |view: &str| views.is_empty() || views.iter().any(|chosen| chosen == view);
    let folders = Folders::of(&config.data);
    if !folders.log().is_dir() {
        bail!("there is no archive in {}", config.data.display());
    }
    match Node::open(config).await {
        Ok(node) => node.close().await,
        Err(StartError::InUse(_)) if views == ["search"] => {
            return ask_running(&folders.admin(), "rebuild").await;
        }
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

/// The archive runs: it replaces the view itself while it serves.
async fn ask_running(admin: &Path, order: &str) -> anyhow::Result<ExitCode> {
    let address =
        std::fs::read_to_string(admin).context("the running archive has no address for commands")?;
    let (status, why) = ask(&address, "POST", &format!("/{order}?view=search")).await?;
    if status != 202 {
        bail!("the running archive answers: {why}");
    }
    println!(
        "{}",
        match order {
            "drop" => "the search view that was replaced is removed",
            "back" => "the search view that was replaced catches up; /health/check tells when it answers",
            _ => "the running archive rebuilds the search view; /health/check tells when it is done",
        }
    );
    Ok(ExitCode::SUCCESS)
}
