//! The command line: serve, rebuild, verify, log, import, codec; nothing else.

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kymo::codecs::worker;
use kymo::config::{self, Given};
use kymo::ops::tracing::{Format, init};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Kymo, a medical-image archive: DICOMweb over one immutable log.
///
/// Every store, replacement and deletion is an event in a log that is never rewritten; search, the change
/// feed and everything else that can be asked is made from it and can be made again at any time.
///
/// Settings come from flags, then KYMO_… variables (KYMO_MAX_BODY=1GiB), then the file of --config
/// (max-body = "1GiB"). A first try:
///
///   kymo serve
///   curl http://127.0.0.1:8080/v2/changefeed
#[derive(Parser)]
#[command(version, about, verbatim_doc_comment, max_term_width = 100)]
struct Line {
    /// File with settings (TOML); its keys are the names of the flags
    #[arg(long, global = true, value_name = "FILE", env = "KYMO_CONFIG")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves DICOMweb
    Serve {
        #[command(flatten)]
        settings: Box<Given>,
    },
    /// Makes views anew from the log: `archive`, `search`, or all when none is named
    ///
    /// Of a running archive, `search` can be rebuilt while it serves; otherwise the archive must be stopped. The
    /// view that was replaced then stays on disk, until the next rebuild or --drop.
    Rebuild {
        /// Views to rebuild
        views: Vec<String>,
        /// Only beside a running archive: the old view answers until the new one takes its place
        #[arg(long, conflicts_with_all = ["back", "drop"])]
        live: bool,
        /// Lets the view that was replaced answer again, in a running archive, once it has caught up
        #[arg(long, conflicts_with = "drop")]
        back: bool,
        /// Removes the view that was replaced, in a running archive
        #[arg(long)]
        drop: bool,
        #[command(flatten)]
        settings: Box<Given>,
    },
    /// Checks the log, every file and every view of a stopped archive; exit code 1 when something is wrong
    ///
    /// With --node and --against, compares two running nodes of one archive at one position: chain, change feed
    /// and a digest of each view.
    Verify {
        /// Admin address of a running node
        #[arg(long, value_name = "URL", requires = "against")]
        node: Option<String>,
        /// Admin address of the node it is compared with
        #[arg(long, value_name = "URL", requires = "node")]
        against: Option<String>,
        #[command(flatten)]
        settings: Box<Given>,
    },
    /// Prints the events of the log as JSON lines; takes no lock and runs beside a server
    #[command(args_conflicts_with_subcommands = true)]
    Log {
        #[command(subcommand)]
        about: Option<AboutLog>,
        /// First position to print
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Waits for more at the end
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        settings: Box<Given>,
    },
    /// Stores files and folders of files in a stopped archive; can be interrupted and run again
    Import {
        /// Files, and folders to be searched for files
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Data partition to store them in; made if it is not there [default: Microsoft.Default]
        #[arg(long, value_name = "NAME")]
        partition: Option<String>,
        #[command(flatten)]
        settings: Box<Given>,
    },
    /// Decodes and encodes frames for a running archive, which starts this itself
    #[command(hide = true)]
    Codec {
        /// Most bytes of memory
        #[arg(long)]
        memory: u64,
        /// Milliseconds for one frame
        #[arg(long)]
        time: u64,
    },
}

#[derive(Subcommand)]
enum AboutLog {
    /// Moves the log of a stopped archive to a Kafka topic, or back from there; can be interrupted and run again
    ///
    /// The log is sealed where it is and takes events where it goes. Files stay where they are (--blobs).
    Copy {
        /// Where the log goes: the topic, or the files of this data folder
        #[arg(long, value_name = "PLACE")]
        to: cli::log::Place,
        #[command(flatten)]
        settings: Box<Given>,
    },
    /// Makes the Kafka topic with the settings a log needs, unless it is there, and checks it
    Create {
        #[command(flatten)]
        settings: Box<Given>,
    },
}

fn main() -> ExitCode {
    let line = Line::parse();
    let settings = match &line.command {
        // Before anything else: it has no settings, no log, and no threads but its own.
        Command::Codec { memory, time } => return worker::run(*memory, Duration::from_millis(*time)),
        Command::Serve { settings }
        | Command::Rebuild { settings, .. }
        | Command::Verify { settings, .. }
        | Command::Log {
            about: Some(AboutLog::Create { settings } | AboutLog::Copy { settings, .. }), ..
        }
        | Command::Log { settings, .. }
        | Command::Import { settings, .. } => settings,
    };
    let outcome = config::read(line.config.as_deref(), settings).map_err(Into::into).and_then(|config| {
        init(&config.trace, if config.trace_json { Format::Json } else { Format::Text })?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match line.command {
                Command::Serve { .. } => cli::serve::run(config).await,
                Command::Rebuild { live, back, drop, views, .. } if live || back || drop => {
                    let order = if back {
                        "back"
                    } else if drop {
                        "drop"
                    } else {
                        "rebuild"
                    };
                    cli::rebuild::live(&config, &views, order).await
                }
                Command::Rebuild { views, .. } => cli::rebuild::run(&config, &views).await,
                Command::Verify { node: Some(node), against: Some(against), .. } => {
                    cli::compare::run(&node, &against).await
                }
                Command::Verify { .. } => cli::verify::run(&config).await,
                Command::Log { about: Some(AboutLog::Create { .. }), .. } => cli::log::create(&config).await,
                Command::Log { about: Some(AboutLog::Copy { to, .. }), .. } => {
                    cli::log::copy(&config, to).await
                }
                Command::Log { from, follow, .. } => cli::log::run(&config, from, follow).await,
                Command::Import { paths, partition, .. } => {
                    cli::import::run(&config, paths, partition.as_deref()).await
                }
                Command::Codec { .. } => unreachable!("it ran before there were settings"),
            }
        })
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kymo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
