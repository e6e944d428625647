//! `kymo serve`: opens the archive, serves until told to stop, and closes it.
//!
//! Elsewhere: routes (`kymo::http`), wiring (`kymo::app`).

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use kymo::app::agree::{self, Untold};
use kymo::app::{Folders, Node};
use kymo::archive::Archive;
use kymo::base::{Position, SystemClock};
use kymo::config::Config;
use kymo::http::admin::{Admin, AdminError, Order};
use kymo::http::server::{self, AllowRemote};
use kymo::http::{self};
use kymo::ops::health::{Health, Status};
use kymo::ops::metrics::Metrics;
use kymo::projections::search::Search;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let remote = if config.allow_remote { AllowRemote::Yes } else { AllowRemote::No };
    let listener = server::bind(config.listen, remote).await?;
    let admin = server::bind(config.admin, AllowRemote::No).await?;
    let metrics = Metrics::install()?;
    let (listener, node) = open(&config, listener).await?;
    if let Err(misfit) = node.partitions_fit(&config.http) {
        node.close().await;
        return Err(misfit.into());
    }
    let stop = CancellationToken::new();
    node.start_workers(&config, metrics.clone(), &stop);
    let operator = Arc::new(Operator { archive: node.archive.clone(), search: node.search.clone() });
    let folders = Folders::of(&config.data);
    std::fs::write(folders.admin(), admin.local_addr()?.to_string())
        .with_context(|| folders.admin().display().to_string())?;

    let app = node.http(config.http.clone(), metrics);
    let address = listener.local_addr()?;
    greet(&config, address);
    let ending = stop.clone();
    tokio::spawn(async move {
        told_to_stop().await;
        ending.cancel();
    });
    let settings = config.http.clone();
    let serving = server::serve(listener, http::router(app), &settings, stop.clone().cancelled_owned());
    let commanding =
        server::serve(admin, http::admin::router(operator), &settings, stop.clone().cancelled_owned());
    let fitting = async {
        let fits = tokio::select! {
            fits = node.partitions_fit_at_last(&config.http) => fits,
            () = stop.cancelled() => Ok(()),
        };
        if fits.is_err() {
            stop.cancel();
        }
        fits
    };
    let (_, _, fits) = tokio::join!(serving, commanding, fitting);
    drop(std::fs::remove_file(folders.admin()));
    node.close().await;
    fits?;
    eprintln!("kymo has stopped; everything acknowledged is on disk");
    Ok(ExitCode::SUCCESS)
}

/// Opens the archive; meanwhile whoever asks for its health is told why that takes long.
async fn open(config: &Config, listener: TcpListener) -> anyhow::Result<(TcpListener, Node)> {
    if config.kafka.is_none() {
        return Ok((listener, Node::open(config).await?));
    }
    let listener = listener.into_std()?;
    let health = Health::new(Arc::new(SystemClock));
    health.set("log", Status::Unhealthy, "the log is being opened");
    let (done, settings) = (CancellationToken::new(), config.http.clone());
    let (ending, router) = (done.clone(), http::starting(health.clone(), config.http.clone()));
    let first = TcpListener::from_std(listener.try_clone()?)?;
    let answering = tokio::spawn(async move {
        server::serve(first, router, &settings, ending.cancelled_owned()).await;
    });
    let waiting =
        move |why: &str| health.set("log", Status::Unhealthy, format!("no broker can be asked: {why}"));
    let opened = Node::open_telling(config, Arc::new(waiting)).await;
    done.cancel();
    answering.await?;
    Ok((TcpListener::from_std(listener)?, opened?))
}

fn greet(config: &Config, address: std::net::SocketAddr) {
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    println!("Kymo listens on http://{address} and keeps its data in {}", data.display());
    println!("Try:  curl http://{address}/v2/changefeed");
}

async fn told_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be received; only kill -9 stops this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// What commands may ask of the running archive.
struct Operator {
    archive: Archive,
    search: Search,
}

#[async_trait]
impl Admin for Operator {
    async fn order(&self, order: Order, view: &str) -> Result<(), AdminError> {
        match view {
            "search" => {
                let search = self.search.clone();
                let begun = tokio::task::spawn_blocking(move || match order {
                    Order::Rebuild => search.rebuild(),
                    Order::Back => search.back(),
                    Order::Drop => search.drop_kept(),
                });
                begun.await.map_err(|error| error.to_string()).flatten().map_err(AdminError::NotNow)
            }
            "archive" => Err(AdminError::NotNow(
                "the archive's state is rebuilt while the archive is stopped".to_owned(),
            )),
            _ => Err(AdminError::UnknownView(view.to_owned())),
        }
    }

    async fn digests(&self, at: Position) -> Result<serde_json::Value, AdminError> {
        let digests =
            agree::digests(&self.archive, &self.search, at).await.map_err(|untold| match untold {
                Untold::Passed(next) => AdminError::Passed(next),
                Untold::NotNow(why) => AdminError::NotNow(why),
            })?;
        serde_json::to_value(digests).map_err(|error| AdminError::NotNow(error.to_string()))
    }

    async fn status(&self) -> serde_json::Value {
        let progress = self.archive.progress();
        let search = self.search.status();
        let view = search.rows;
        serde_json::json!({
            "feed": progress.sequence,
            "partitions": self.archive.partition_count().ok(),
            "expiry": self.archive.expiry().ok().map(|(studies, first)| serde_json::json!({
                "studies": studies, "first": first.map(|first| first.due.to_string()),
            })),
            "archive": { "next": progress.next.0, "stopped": self.archive.stopped() },
            "search": { "next": view.next.0, "state": format!("{:?}", view.state),
                "successor": search.successor.map(|rows| rows.next.0),
                "answers": search.generations.answers, "keeps": search.generations.keeps },
        })
    }
}
