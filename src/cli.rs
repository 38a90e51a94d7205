//! The command line: reads what was typed, starts what was meant, says how it ended.

mod agent;
mod backup;
mod controller;
mod copy;
mod crds;
mod follow;
mod protected;
mod telemetry;
mod wal_get;
mod watch;
mod worker;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tokio::runtime::Builder;

/// Commit and version, as `--version` prints them.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("FARSHORE_COMMIT"), ")");
/// What clap itself uses for wrong usage.
const USAGE: u8 = 2;
/// The same to a server in recovery, which would take a small number for the end of its log.
const USAGE_IN_RECOVERY: u8 = 202;

/// Keeps a second region ready: database backups, copied and proved restorable, as Kubernetes resources.
#[derive(Debug, Parser)]
#[command(name = "farshore", version = VERSION, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: Log,
    #[command(subcommand)]
    command: Command,
}

/// What is written to standard error while the program runs.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// What to log: a level, or a filter like `info,farshore::store=debug`.
    #[arg(long, global = true, env = "FARSHORE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// How to log. Default: JSON in the controller and workers, text elsewhere.
    #[arg(long, global = true, env = "FARSHORE_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the controller: decides and starts workers, moves no data itself.
    Controller(Box<controller::Flags>),
    /// Runs one task of a worker's pod; the controller starts these.
    #[command(subcommand)]
    Worker(worker::Role),
    /// Makes and keeps a replica set, beside one of its members; the controller puts it there.
    Agent(agent::Flags),
    /// Looks at a backup set in a bucket, or takes a copy away, without a cluster.
    #[command(subcommand)]
    Backup(backup::Command),
    /// Copies objects from one bucket to another, exactly, and says whether the two sides then agree.
    Copy(Box<copy::Copy>),
    /// Compares two buckets: how many objects are equal, differ, or are on one side only.
    Compare(Box<copy::Compare>),
    /// Keeps a replica set of MongoDB in line with another one, and makes it take over.
    Follow(Box<follow::Flags>),
    /// Prints the custom resource definitions as YAML.
    Crds(crds::Flags),
    /// Lists what an uninstall would leave without its keeper, and fails if that is anything.
    Protected(protected::Flags),
    /// Brings a file of PostgreSQL's log to a recovering server: its `restore_command`.
    WalGet(wal_get::Flags),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// A command that failed: what went wrong, with the object's name and the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Backup(#[from] crate::backup::Error),
    #[error(transparent)]
    Restore(#[from] crate::restore::Error),
    #[error(transparent)]
    Replicate(#[from] crate::replicate::Error),
    #[error(transparent)]
    Follow(crate::replicate::follow::Error),
    #[error(transparent)]
    Standby(crate::standby::Error),
    #[error(transparent)]
    AtStep(#[from] crate::restore::AtStep),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error(transparent)]
    Controller(#[from] crate::controller::Error),
    #[error("{argument} is {value:?}: {expected}")]
    BadArgument { argument: &'static str, value: String, expected: &'static str },
    #[error("{0}")]
    Missing(String),
    #[error("{path}: {source}")]
    File {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the output can't be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("the output can't be made: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    #[error("the output can't be made: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way, too. A closed pipe is no reason to complain.
            let printed = error.print();
            return ExitCode::from(if error.use_stderr() || printed.is_err() { usage() } else { 0 });
        }
    };
    telemetry::start(&cli.log, &cli.command);
    // One provider for all of TLS; a second call, in a test, changes nothing.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code for wrong usage.
fn usage() -> u8 {
    let recovery = std::env::args().any(|argument| argument == "wal-get");
    if recovery { USAGE_IN_RECOVERY } else { USAGE }
}

fn dispatch(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Controller(flags) => block_on(controller::run(*flags)),
        Command::Worker(role) => block_on(worker::run(role)),
        Command::Agent(flags) => block_on(agent::run(flags)),
        Command::Backup(command) => block_on(backup::run(command)),
        Command::Copy(flags) => block_on(copy::copy(*flags)),
        Command::Compare(flags) => block_on(copy::compare(*flags)),
        Command::Follow(flags) => block_on(follow::run(*flags)),
        Command::Crds(flags) => crds::run(&flags),
        Command::WalGet(flags) => block_on(async { Ok(wal_get::run(flags).await) }),
        Command::Protected(flags) => block_on(protected::run(flags)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "farshore", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Two threads: a worker is bound by the network, and each thread costs memory. One where there is but one core to
/// be had: a second would only make each request wait for a switch, which costs a third of all its CPU.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let alone = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut runtime = if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if !alone {
        runtime.worker_threads(2);
    }
    runtime.max_blocking_threads(8).enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
