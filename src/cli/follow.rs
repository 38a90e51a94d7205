//! `farshore follow`: a live copy of a replica set, without a cluster.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::{
    api::{Finding, HumanDuration, RUN_STAMP, StandbyReport, StandbyStage},
    standby::{self, Activate, Endpoint, Session, Strings, Update},
    worker::reported,
};

/// Copies what a replica set holds to another one, and goes on applying what changes.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Flags {
    /// The replica set that is followed: `mongodb://host:port,…`, without user and password.
    #[arg(value_name = "MASTER")]
    master: String,
    /// The replica set that follows. It must be empty at the beginning.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Directory with the files `username`, `password` and, if need be, `ca.crt` for the master.
    #[arg(long, value_name = "DIR")]
    master_credentials: Option<PathBuf>,
    /// The same for the target.
    #[arg(long, value_name = "DIR")]
    target_credentials: Option<PathBuf>,
    /// Whose copy it is: a target of somebody else is refused.
    #[arg(long, value_name = "NAME", default_value = "farshore-follow")]
    owner: String,
    /// Makes the target an instance of its own, for good, and ends then. A run that follows does so at SIGUSR1.
    #[arg(long)]
    activate: bool,
    /// Longest time that an activation spends on the last changes of a master whose end can't be told.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    drain_timeout: HumanDuration,
    /// You take it on you that the master goes on writing.
    #[arg(long)]
    accept_split_brain: bool,
    /// Makes the copy anew.
    #[arg(long)]
    resync: bool,
    /// Prints reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Follows until SIGINT or SIGTERM, or until the target has taken over.
pub async fn run(flags: Flags) -> Result<ExitCode, Error> {
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut asked = signal(SignalKind::user_defined1())?;
    let now = Timestamp::now();
    let wanted = Activate {
        requested_at: now,
        drain_timeout: flags.drain_timeout.get(),
        accept_split_brain: flags.accept_split_brain,
    };
    let (wish, activate) = watch::channel(flags.activate.then(|| wanted.clone()));
    let hand_over = CancellationToken::new();
    let (updates, told) = mpsc::channel(16);
    let strings = Strings { activate, hand_over: hand_over.clone(), updates };
    let stop = async {
        loop {
            tokio::select! {
                _ = interrupted.recv() => hand_over.cancel(),
                _ = terminated.recv() => hand_over.cancel(),
                _ = asked.recv() => {
                    wish.send_if_modified(|wish| ask(wish, &wanted));
                }
            }
        }
    };
    let json = flags.json;
    let follow = async { tokio::join!(standby::run(session(flags, now), strings), tell(told, json)) };
    let (ended, told) = tokio::select! {
        both = follow => both,
        never = stop => never,
    };
    told?;
    ended.map_err(Error::Standby)?;
    Ok(ExitCode::SUCCESS)
}

/// The first wish counts.
fn ask(wish: &mut Option<Activate>, wanted: &Activate) -> bool {
    let first = wish.is_none();
    if first {
        *wish = Some(Activate { requested_at: Timestamp::now(), ..wanted.clone() });
    }
    first
}

fn session(flags: Flags, now: Timestamp) -> Session {
    Session {
        master: Endpoint { uri: flags.master, credentials: flags.master_credentials },
        target: Endpoint { uri: flags.target, credentials: flags.target_credentials },
        owner: flags.owner,
        // Later runs take over from earlier ones; within a second, the process decides.
        run: format!("{}-{:010}", now.strftime(RUN_STAMP), std::process::id()),
        resync: flags.resync.then_some(now),
    }
}

async fn tell(mut told: mpsc::Receiver<Update>, json: bool) -> Result<(), Error> {
    let mut out = std::io::stdout();
    let (mut last, mut found) = (None, Vec::<Finding>::new());
    while let Some(update) = told.recv().await {
        match update {
            Update::Standing(standing) => {
                let (report, findings) = reported(*standing, Timestamp::now());
                if json {
                    writeln!(out, "{}", serde_json::to_string(&report)?)?;
                } else if last.as_ref() != Some(&line(&report)) {
                    last = Some(line(&report));
                    writeln!(out, "{}", line(&report))?;
                }
                for finding in findings.iter().filter(|finding| !found.contains(finding)) {
                    tracing::info!(reason = finding.reason, "{}", finding.message);
                }
                found = findings;
            }
            Update::Failed { reason, message, side: _, permanent: _ } => tracing::warn!(reason, "{message}"),
            Update::Moved(moved) => {
                if let Some(seed) = moved.seed.filter(|_| !json) {
                    writeln!(out, "seeding: {} of {} documents", seed.documents_done, seed.documents)?;
                }
            }
        }
    }
    Ok(())
}

fn line(report: &StandbyReport) -> String {
    let moment =
        |at: Option<crate::api::Moment>| at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
    let receipt = report.activation.as_ref().and_then(|activation| activation.receipt.as_ref());
    if let (StandbyStage::Active, Some(receipt)) = (report.stage, receipt) {
        let took = Duration::from_millis(receipt.took_milliseconds);
        let lost = if receipt.proved { "nothing was lost" } else { "what the master wrote after it is lost" };
        return format!("active after {took:?}, with all data up to {}: {lost}", receipt.data_time_point);
    }
    let held = report.activation.as_ref().and_then(|activation| activation.held.as_deref());
    format!(
        "{:?}: applied up to {}, the master is at {}{}",
        report.stage,
        moment(report.applied_time),
        moment(report.master_time),
        held.map(|held| format!("; held: {held}")).unwrap_or_default()
    )
}
