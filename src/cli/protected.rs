//! `farshore protected`: what an uninstall would leave without its keeper.

use std::{io::Write, process::ExitCode};

use clap::Args;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::Error;
use crate::api::BackupSyncService;

#[derive(Debug, Args)]
pub struct Flags {
    /// Succeeds although there are services.
    #[arg(long)]
    force: bool,
}

/// Lists the services of the cluster; fails when there are some.
pub async fn run(flags: Flags) -> Result<ExitCode, Error> {
    let unreachable = |error: kube::Error| Error::Missing(format!("the services can't be listed: {error}"));
    let client = Client::try_default().await.map_err(unreachable)?;
    let services =
        Api::<BackupSyncService>::all(client).list(&ListParams::default()).await.map_err(unreachable)?;
    let mut out = std::io::stdout().lock();
    for service in &services {
        let target = &service.spec.target;
        writeln!(
            out,
            "{}/{}: backups in s3://{}/{} of region {}",
            service.namespace().unwrap_or_default(),
            service.name_any(),
            target.bucket,
            target.prefix,
            target.region
        )?;
    }
    if services.items.is_empty() || flags.force {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Missing(format!(
        "{} services are protected by Farshore: delete them first (deletionPolicy: Retain keeps their backups), \
         or uninstall with uninstall.force=true and delete their backups yourself",
        services.items.len()
    )))
}
