//! The role that keeps a copy current.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Start,
    health::{self, Health},
    observed::Draft,
    position::ServerLog,
    report::{self, Reporter},
    stores,
    wake::{self, News},
};
use crate::{
    api::Observed,
    backup::{
        self,
        sync::{LogPosition, Mode, Session, SyncConfig, SystemClock, Update},
    },
    store::Side,
    task::{Owner, SyncTask, Task, TaskMode},
};

/// A run without any progress for this long ends itself.
const STUCK_AFTER: Duration = Duration::from_mins(10);
/// Updates under way: the engine samples its progress, so that a few are enough.
const UPDATES: usize = 16;

/// Copies until the task says that it is over.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn run(start: &Start, task: &Task, work: &SyncTask) -> Result<(), Error> {
    let health = Health::every(Duration::from_secs(work.interval_seconds));
    let client = report::client().await?;
    let draft = Draft::new(&start.run_id, task.owner.generation, Timestamp::now());
    let (reports, newest_report) = watch::channel(draft.observed().clone());
    let reporter = tokio::spawn(Reporter::new(client.clone(), task.owner.clone()).run(newest_report));
    let (tell, news) = mpsc::channel(1);
    let watching = tokio::spawn(wake::watch(client, task.owner.clone(), start.run_id.clone(), tell));
    let run = Run { draft, reports, health: health.clone(), news, reporter };
    let ended = tokio::select! {
        ended = run.until_over(start, &task.owner, work) => ended,
        broken = health::serve(health, start.listen) => Err(broken),
    };
    watching.abort();
    ended
}

/// One run under way.
struct Run {
    draft: Draft,
    reports: watch::Sender<Observed>,
    health: Health,
    news: mpsc::Receiver<News>,
    reporter: JoinHandle<Result<(), Error>>,
}

impl Run {
    async fn until_over(mut self, start: &Start, owner: &Owner, work: &SyncTask) -> Result<(), Error> {
        let copied = match session(start, owner, work) {
            Ok(session) => self.copy(session, work).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &copied {
            self.health.fail();
            if !matches!(error, Error::Superseded(_)) {
                self.draft.end(error, Timestamp::now());
            }
        }
        let superseded = matches!(copied, Err(Error::Superseded(_)));
        self.publish();
        drop(self.reports);
        if !superseded {
            join(&mut self.reporter).await?;
        }
        copied
    }

    async fn copy(&mut self, session: Session, work: &SyncTask) -> Result<(), Error> {
        let hand_over = CancellationToken::new();
        let (wake, woken) = mpsc::channel(1);
        let (updates, mut told) = mpsc::channel(UPDATES);
        let mut engine = tokio::spawn(backup::sync::run(session, mode(work, &hand_over), woken, updates));
        let mut terminated = signal(SignalKind::terminate()).map_err(|e| Error::Broken(e.to_string()))?;
        let shift_over = tokio::time::sleep(shift(work));
        tokio::pin!(shift_over);
        loop {
            tokio::select! {
                ended = &mut engine => {
                    while let Ok(update) = told.try_recv() {
                        self.take(update);
                    }
                    return ended.map_err(|e| Error::Broken(e.to_string()))?.map_err(Error::from);
                }
                Some(update) = told.recv() => self.take(update),
                news = self.news.recv() => match news {
                    Some(News::Requested(value)) => {
                        self.draft.request(&value, Timestamp::now());
                        if wake.try_send(()).is_err() {
                            tracing::debug!("the run is awake already");
                        }
                    }
                    Some(News::Superseded(why)) => {
                        engine.abort();
                        return Err(Error::Superseded(why));
                    }
                    None => {
                        engine.abort();
                        return Err(Error::Broken("the resource is not watched any more".to_owned()));
                    }
                },
                ended = &mut self.reporter => {
                    engine.abort();
                    return ended.map_err(|e| Error::Broken(e.to_string()))?;
                }
                _ = terminated.recv(), if !hand_over.is_cancelled() => {
                    hand_over.cancel();
                    if work.mode == TaskMode::Cycle {
                        engine.abort();
                        return Err(Error::Terminated);
                    }
                }
                () = &mut shift_over, if !hand_over.is_cancelled() => hand_over.cancel(),
            }
        }
    }

    fn take(&mut self, update: Update) {
        match &update {
            Update::Failed { reason, message, .. } => {
                tracing::warn!(reason, "{message}");
                self.health.fail();
            }
            Update::Cycle(report) => {
                tracing::info!(latest = ?report.latest, copied = report.copied_objects, "cycle");
                self.health.succeed();
            }
            Update::Progress(progress) => self.health.follow(progress),
        }
        self.draft.take(update, Timestamp::now());
        self.publish();
    }

    fn publish(&self) {
        // Without a receiver the reporter has ended, which the loop sees by itself.
        self.reports.send_replace(self.draft.observed().clone());
    }
}

async fn join(task: &mut JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    task.await.map_err(|error| Error::Broken(error.to_string()))?
}

fn mode(work: &SyncTask, hand_over: &CancellationToken) -> Mode {
    match work.mode {
        TaskMode::Cycle => Mode::Once,
        TaskMode::Shift { .. } => Mode::Shift { hand_over: hand_over.clone() },
    }
}

/// A Job for one cycle has its own deadline; a shift ends by itself.
fn shift(work: &SyncTask) -> Duration {
    match work.mode {
        TaskMode::Cycle => Duration::from_hours(7 * 24),
        TaskMode::Shift { seconds } => Duration::from_secs(seconds),
    }
}

fn session(start: &Start, owner: &Owner, work: &SyncTask) -> Result<Session, Error> {
    let log_position = work
        .instance_uri
        .as_deref()
        .and_then(|uri| ServerLog::open(uri, &start.mounts.instance))
        .map(|log| Arc::new(log) as Arc<dyn LogPosition>);
    Ok(Session {
        source: stores::open(&work.source, &start.mounts.source, Side::Source)?,
        target: stores::open(&work.target, &start.mounts.target, Side::Target)?,
        config: SyncConfig {
            format: stores::format(&work.format),
            source: stores::place(&work.source),
            target: stores::place(&work.target),
            engine: work.engine.clone(),
            owner: format!("{}/{}", owner.namespace, owner.name),
            retention: Duration::from_secs(work.retention_seconds),
            interval: Duration::from_secs(work.interval_seconds),
            bytes_per_second: work.bytes_per_second,
            requests_per_second: work.requests_per_second,
            stuck_after: STUCK_AFTER,
        },
        clock: Arc::new(SystemClock),
        log_position,
    })
}
