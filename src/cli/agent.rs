//! `farshore agent`

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Error;
use crate::{
    standby::agent::{self, Done, Member, Wanted},
    task,
};

/// Between two looks while something is to be done, and while nothing is.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(15);

/// Makes and keeps a replica set, beside one of its members.
#[derive(Debug, Args)]
pub struct Flags {
    /// Name of the replica set.
    #[arg(long, value_name = "NAME")]
    set: String,
    /// A member's host and port; the first one makes the set.
    #[arg(long = "member", value_name = "HOST:PORT", required = true)]
    members: Vec<String>,
    /// This member's host and port.
    #[arg(long, value_name = "HOST:PORT")]
    me: String,
    /// Port of this member on this machine.
    #[arg(long, value_name = "NUMBER", default_value_t = 27017)]
    port: u16,
    /// Directory with the account of workers: `username` and `password`.
    #[arg(long, value_name = "DIR", default_value = task::TARGET_CREDENTIALS_DIR)]
    credentials: PathBuf,
}

/// Looks again and again, until it is told to end.
pub async fn run(flags: Flags) -> Result<ExitCode, Error> {
    let member = Member::new(flags.port, &flags.credentials).await.map_err(Error::Missing)?;
    let wanted = Wanted {
        first: flags.members.first() == Some(&flags.me),
        username: member.username().to_owned(),
        set: flags.set,
        members: flags.members,
    };
    let mut terminated = signal(SignalKind::terminate())?;
    let mut told = None;
    loop {
        let done = agent::step(&member, &wanted).await;
        let pause = if done == Ok(Done::Nothing) { LATER } else { SOON };
        // What it waits for is said once.
        if told.as_ref() != Some(&done) {
            tell(&done);
            told = Some(done);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = terminated.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn tell(done: &Result<Done, agent::Refusal>) {
    match done {
        Ok(Done::Waits(why)) => tracing::info!("waits: {why}"),
        Ok(Done::Initiated) => tracing::info!("the replica set is made"),
        Ok(Done::AccountMade) => tracing::info!("the account of workers is made"),
        Ok(Done::Changed(what)) => tracing::info!("members: {what}"),
        Ok(Done::Nothing) => tracing::info!("all is as it should be"),
        Err(refusal) => tracing::warn!(code = refusal.code, "{refusal}"),
    }
}
