//! `farshore wal-get`: PostgreSQL's `restore_command`, straight from a copy.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::restore::wal::{Archive, Got};

/// PostgreSQL takes this for the end of the log.
const NO_SUCH: u8 = 1;
/// PostgreSQL stops its recovery on anything above 125.
const FAILED: u8 = 200;

/// `restore_command = 'farshore wal-get --archive FILE %f "%p"'`
#[derive(Debug, Args)]
pub struct Flags {
    /// File that says where the copy lies and which files of the log it holds, as a restore writes it.
    #[arg(long, value_name = "FILE")]
    archive: PathBuf,
    /// Name of the file that the server asks for (%f).
    name: String,
    /// Where the server wants it (%p).
    path: PathBuf,
}

/// Brings one file. Exits with 0 when it is there, with 1 when the log has no such file, and above 125 when the
/// file can't be had: then the server stops instead of ending its recovery too early.
pub async fn run(flags: Flags) -> ExitCode {
    // A part that panics must not look like the end of the log, either.
    let got = tokio::spawn(async move { Archive::load(&flags.archive)?.get(&flags.name, &flags.path).await });
    match got.await {
        Ok(Ok(Got::Here)) => ExitCode::SUCCESS,
        Ok(Ok(Got::NoSuch)) => ExitCode::from(NO_SUCH),
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(FAILED)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(FAILED)
        }
    }
}
