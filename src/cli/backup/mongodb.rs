//! `farshore backup restore-mongodb`: a MongoDB at a moment, without a cluster.

use std::{io::Write, process::ExitCode};

use clap::Args;

use super::{StoreFlags, moment, s3_url};
use crate::{
    backup::catalog::Format,
    cli::Error,
    restore::{Origin, Reporter, locate, look, mongodb},
};

/// Where the address of the new instance comes from: it holds a password.
const ADDRESS: &str = "FARSHORE_MONGODB_URI";

#[derive(Debug, Args)]
pub struct Restore {
    /// A copy, or what WAL-G wrote, like `s3://bucket/prefix`.
    #[arg(value_name = "S3-URL")]
    url: String,
    /// Moment to restore, in RFC 3339: 2026-11-21T02:14:06Z. Default: the latest that there is.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    store: StoreFlags,
}

pub async fn run(flags: Restore) -> Result<ExitCode, Error> {
    let at = flags.at.as_deref().map(moment).transpose()?;
    let (bucket, prefix) = s3_url("S3-URL", &flags.url)?;
    let missing = || {
        Error::Missing(format!(
            "{ADDRESS} is not set: export the new instance's address, like mongodb://host:27017"
        ))
    };
    let uri = std::env::var(ADDRESS).ok().filter(|uri| !uri.is_empty()).ok_or_else(missing)?;
    let store = flags.store.open(&bucket)?;
    let (_, mut plan) = look(&store, &prefix, &Format::WalGMongoDB, at).await?;
    locate(&store, &prefix, &mut plan).await?;
    write!(std::io::stdout().lock(), "{plan}")?;
    let origin = Origin { store, prefix, reporter: Reporter::new(plan.bytes) };
    let reached = mongodb::restore(&plan, &origin, &mongodb::Settings { uri }).await?;
    writeln!(
        std::io::stdout().lock(),
        "\nrestored to {}: {} transactions on top of the dump",
        reached.time_point,
        reached.transactions
    )?;
    Ok(ExitCode::SUCCESS)
}
