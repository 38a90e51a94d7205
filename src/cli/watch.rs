//! `farshore copy --watch`: goes on copying what changes, until it is stopped.

use std::{io::Write, process::ExitCode, sync::Arc};

use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::{Error, backup::s3_url, copy::Sides};
use crate::{
    replicate::follow::{self, Compared, Config, Nobody, Session, Strings, Update},
    store::Listens,
};

/// Follows the source until SIGINT or SIGTERM. The exit code is 0 only if the last comparison left nothing to do.
pub async fn run(sides: &Sides, delete: bool, bytes_per_second: Option<u64>) -> Result<ExitCode, Error> {
    let session = session(sides, delete, bytes_per_second).await?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let (updates, told) = mpsc::channel(16);
    // Nobody asks for a comparison or releases deletes: that is what a rule is for.
    let ((_ask, run_now), (_release, released)) = (mpsc::channel(1), watch::channel(None));
    let hand_over = CancellationToken::new();
    let strings = Strings { run_now, released, hand_over: hand_over.clone(), updates };
    let stop = async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        hand_over.cancel();
        std::future::pending::<()>().await;
    };
    let follow = async { tokio::join!(follow::run(session, strings), tell(told, delete, sides.is_json())) };
    let (ended, agrees) = tokio::select! {
        both = follow => both,
        () = stop => return Ok(ExitCode::FAILURE),
    };
    ended.map_err(Error::Follow)?;
    Ok(if agrees? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn session(sides: &Sides, delete: bool, bytes_per_second: Option<u64>) -> Result<Session, Error> {
    let (source, from) = s3_url("SOURCE", sides.source())?;
    let (target, to) = s3_url("TARGET", sides.target())?;
    let config = Config {
        source_prefix: from,
        target_prefix: to,
        deletes: delete,
        bytes_per_second,
        attributes: sides.attributes()?,
        ..Config::default()
    };
    let source = Arc::new(sides.open("SOURCE", &source).await?);
    Ok(Session {
        listens: Arc::clone(&source) as Arc<dyn Listens>,
        source,
        target: Arc::new(sides.open("TARGET", &target).await?),
        target_at_source: Arc::new(sides.open("SOURCE", &target).await?),
        config,
        claimant: None,
        memory: None,
        others: Arc::new(Nobody),
    })
}

/// Says what each comparison found; true if the last one left nothing to do.
async fn tell(mut told: mpsc::Receiver<Update>, delete: bool, json: bool) -> Result<bool, Error> {
    let mut agrees = false;
    let mut last = None;
    while let Some(update) = told.recv().await {
        match update {
            Update::Compared(compared) => {
                agrees = compared.counts.is_settled(delete) && compared.counts.held == 0;
                let news = (compared.counts.source, compared.counts.target, compared.counts.held, agrees);
                let moved = compared.counts.copied + compared.counts.deleted + compared.counts.failed > 0;
                if json || moved || last != Some(news) {
                    say(&compared, agrees, json)?;
                }
                last = Some(news);
            }
            // Nothing outlives this process.
            Update::Drawn { written, .. } => drop(written.send(())),
            Update::Failed { message, permanent: false, .. } => tracing::warn!("tried again: {message}"),
            // A permanent failure is what the run ends with.
            Update::Failed { .. } | Update::Progress(_) => {}
        }
    }
    Ok(agrees)
}

fn say(compared: &Compared, agrees: bool, json: bool) -> Result<(), Error> {
    let Compared { counts, examples, dealt_with_until, memory, feed, .. } = compared;
    let mut out = std::io::stdout().lock();
    let failed: Vec<_> = examples.failed.iter().map(|failure| &failure.message).collect();
    if json {
        let line = json!({
            "agree": agrees, "at": compared.completed_at, "syncedUntil": memory.synced_until,
            "dealtWithUntil": dealt_with_until, "feed": feed.kind.name(),
            "source": counts.source, "target": counts.target, "copied": counts.copied,
            "deleted": counts.deleted, "held": counts.held, "failed": failed,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:.0}  {} objects at the source, {} at the target; {} copied, {} deleted, {} held, {} failed; {}",
        compared.completed_at,
        counts.source,
        counts.target,
        counts.copied,
        counts.deleted,
        counts.held,
        counts.failed,
        if agrees { "nothing is left to do" } else { "some is left to do" },
    )?;
    for message in failed {
        writeln!(out, "failed: {message}")?;
    }
    Ok(())
}
