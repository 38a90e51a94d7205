//! `farshore backup extract`: the bases of a plan in a folder, without a cluster and without a database.

use std::{fmt, io::Write as _, path::PathBuf, process::ExitCode, time::Instant};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Asked, Inspect, asked, print};
use crate::{
    backup::inspect::bytes,
    cli::Error,
    restore::{self, Origin, Plan, Reporter, locate, look},
};

#[derive(Debug, Args)]
pub struct Extract {
    #[command(flatten)]
    set: Inspect,
    /// An empty folder, or one that is still to be made: bases go to `full`, `increment-1` and so on in it.
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
}

/// What was unpacked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unpacked {
    /// The last base holds this moment; logs bring it further.
    time: Option<Timestamp>,
    bases: Vec<Base>,
    /// Of the objects that were fetched.
    bytes: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Base {
    id: String,
    folder: PathBuf,
}

pub async fn run(flags: Extract) -> Result<ExitCode, Error> {
    let Asked { store, prefix, format, at } = asked(&flags.set).await?;
    let (_, mut plan) = look(&store, &prefix, &format, at).await?;
    locate(&store, &prefix, &mut plan).await?;
    let origin = Origin { store, prefix, reporter: Reporter::new(plan.bytes) };
    let began = Instant::now();
    let folders = restore::extract(&plan, &origin, &format, &flags.into).await?;
    let seconds = began.elapsed().as_secs_f64();
    print(flags.set.output, &Unpacked::of(&plan, folders, (origin.reporter.progress().done, seconds)))?;
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

impl Unpacked {
    fn of(plan: &Plan, folders: Vec<PathBuf>, (bytes, seconds): (u64, f64)) -> Self {
        let bases = plan.bases.iter().zip(folders);
        let bases = bases.map(|(base, folder)| Base { id: base.id.clone(), folder }).collect();
        Self { time: plan.bases.last().map(|base| base.time), bases, bytes, seconds }
    }
}

impl fmt::Display for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Base { id, folder } in &self.bases {
            writeln!(f, "{id} is in {}", folder.display())?;
        }
        writeln!(f, "fetched and unpacked {} in {:.1} s", bytes(self.bytes), self.seconds)?;
        match self.time {
            Some(time) => writeln!(f, "They hold {time}, once their tool has made a database of them."),
            None => Ok(()),
        }
    }
}
