//! `farshore controller`

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::controller::{self, Options};

#[derive(Debug, Args)]
pub struct Flags {
    /// Target regions that this controller serves, separated by commas. Default: all.
    #[arg(long, value_name = "REGION", value_delimiter = ',', env = "FARSHORE_REGIONS")]
    regions: Vec<String>,
    /// Namespaces whose resources are served, separated by commas. Default: all.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', env = "FARSHORE_WATCH_NAMESPACES")]
    watch_namespaces: Vec<String>,
    /// Image that workers are run from: the same version as this controller.
    #[arg(long, value_name = "IMAGE", env = "FARSHORE_WORKER_IMAGE")]
    worker_image: String,
    /// When the workers' image is pulled: `Always`, `IfNotPresent` or `Never`. Default: as Kubernetes has it.
    #[arg(long, value_name = "POLICY", env = "FARSHORE_WORKER_IMAGE_PULL_POLICY")]
    worker_image_pull_policy: Option<String>,
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// Starts at once, without a Lease: for a controller that is alone.
    #[arg(long)]
    no_leader_election: bool,
    /// Name of the Lease: one for each set of served regions.
    #[arg(long, value_name = "NAME", default_value = "farshore-controller")]
    lease_name: String,
    /// The controller's own namespace, where its Lease is kept.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "farshore-system")]
    namespace: String,
    /// Who this controller is, in its Lease and in Events. Default: the host's name.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
}

/// Runs until SIGTERM, or until something goes wrong that a restart may mend.
pub async fn run(flags: Flags) -> Result<ExitCode, Error> {
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let running = controller::run(options(flags), stop.clone());
    tokio::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => {
                ended?;
                return Ok(ExitCode::SUCCESS);
            }
            _ = terminated.recv() => stop.cancel(),
            _ = interrupted.recv() => stop.cancel(),
        }
    }
}

fn options(flags: Flags) -> Options {
    Options {
        regions: flags.regions.into_iter().collect(),
        watch_namespaces: flags.watch_namespaces.into_iter().collect(),
        worker_image: flags.worker_image,
        worker_image_pull_policy: flags.worker_image_pull_policy,
        listen: Some(flags.listen),
        leader_election: !flags.no_leader_election,
        lease_name: flags.lease_name,
        namespace: flags.namespace,
        identity: flags.identity.unwrap_or_else(host_name),
        ..Options::default()
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| format!("farshore-{}", std::process::id()), |name| name.trim().to_owned())
}
