//! Logging, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::{Command, Log, LogFormat};

/// Starts logging as asked for; a filter that can't be read is `info`, and said so.
pub fn start(log: &Log, command: &Command) {
    let filter = EnvFilter::try_new(&log.log);
    let bad_filter = filter.as_ref().err().map(ToString::to_string);
    let in_cluster = matches!(command, Command::Controller(_) | Command::Worker(_) | Command::Agent(_));
    let format = log.log_format.unwrap_or(if in_cluster { LogFormat::Json } else { LogFormat::Text });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    if let (Ok(()), Some(error)) = (started, bad_filter) {
        tracing::warn!(filter = log.log, "the log filter can't be read, `info` is used: {error}");
    }
}
