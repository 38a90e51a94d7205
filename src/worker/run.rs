//! One run under way, whatever its engine: what it tells goes into the report, and what ends it is seen.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Start,
    draft::{Draft, Told},
    health::{self, Health},
    report::{self, Report, Reporter},
    wake::{self, News},
};
use crate::{
    api::{ActivationWish, PlanEnded, Served},
    task::Owner,
};

/// Updates under way: engines sample their progress, so that a few are enough.
const UPDATES: usize = 16;

/// Longest time in which a superseded run lets go of what it holds.
const LET_GO: Duration = Duration::from_secs(20);

/// What an engine is given to work with.
pub struct Strings<U> {
    /// Asks for a cycle now.
    pub run_now: mpsc::Receiver<()>,
    /// When somebody released the deletes that were held then.
    pub released: watch::Receiver<Option<Timestamp>>,
    /// The plan that others have carried out in our place, or given up.
    pub plan_ended: watch::Receiver<Option<PlanEnded>>,
    /// The standby shall take over, once somebody wants that.
    pub activate: watch::Receiver<Option<ActivationWish>>,
    /// Cancelled: stop at a safe point.
    pub hand_over: CancellationToken,
    /// What it tells.
    pub updates: mpsc::Sender<U>,
}

/// The other ends of an engine's strings.
struct Levers {
    wake: mpsc::Sender<()>,
    release: watch::Sender<Option<Timestamp>>,
    end_plan: watch::Sender<Option<PlanEnded>>,
    take_over: watch::Sender<Option<ActivationWish>>,
    hand_over: CancellationToken,
}

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Until its one cycle is over.
    Cycle,
    /// For this long; it ends at a safe point.
    Shift(Duration),
    /// The same, with a target that one run at a time holds: who is superseded lets go of it first.
    Held(Duration),
}

/// A run of a kind: its report, and who reads it.
pub struct Run<K: Served> {
    draft: Draft<K>,
    reports: watch::Sender<Report<K>>,
    /// Number of the report that was written last.
    written: watch::Receiver<u64>,
    /// Who waits for which report to be written.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    number: u64,
    health: Health,
    news: mpsc::Receiver<News>,
    reporter: JoinHandle<Result<(), Error>>,
}

/// Serves `owner` with an engine until it is over, and reports.
///
/// `engine` builds the engine's work; what it can't build is reported, too.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn serve<K, U, F>(
    start: &Start,
    (owner, known): (&Owner, Option<K::Cycle>),
    (health, lasting): (Health, Lasting),
    engine: impl FnOnce(Strings<U>) -> Result<F, Error> + Send,
) -> Result<(), Error>
where
    K: Served,
    U: Into<Told<K>> + Send + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let client = report::client().await?;
    let draft = Draft::<K>::new(&start.run_id, owner.generation, known, Timestamp::now());
    let (reports, newest_report) = watch::channel(Report { number: 0, observed: draft.observed().clone() });
    let (note_written, written) = watch::channel(0);
    let reporter = tokio::spawn(
        Reporter::<K>::new(client.clone(), owner.clone(), note_written, health.clone()).run(newest_report),
    );
    let (tell, news) = mpsc::channel(1);
    let watching = tokio::spawn(wake::watch::<K>(client, owner.clone(), start.run_id.clone(), tell));
    let (waiting, number, health_of_run) = (Vec::new(), 0, health.clone());
    let run = Run { draft, reports, written, waiting, number, health: health_of_run, news, reporter };
    let ended = tokio::select! {
        ended = run.until_over(lasting, engine) => ended,
        broken = health::serve(health, start.listen) => Err(broken),
    };
    watching.abort();
    ended
}

impl<K: Served> Run<K> {
    async fn until_over<U, F>(
        mut self,
        lasting: Lasting,
        engine: impl FnOnce(Strings<U>) -> Result<F, Error>,
    ) -> Result<(), Error>
    where
        U: Into<Told<K>> + Send + 'static,
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let hand_over = CancellationToken::new();
        let (wake, run_now) = mpsc::channel(1);
        let (release, released) = watch::channel(None);
        let (end_plan, plan_ended) = watch::channel(None);
        let (take_over, activate) = watch::channel(None);
        let (updates, told) = mpsc::channel(UPDATES);
        let levers = Levers { wake, release, end_plan, take_over, hand_over: hand_over.clone() };
        let worked = match engine(Strings { run_now, released, plan_ended, activate, hand_over, updates }) {
            Ok(engine) => self.follow(tokio::spawn(engine), told, (lasting, levers)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &worked {
            self.health.fail(true);
            if !matches!(error, Error::Superseded(_)) {
                self.draft.end(error, Timestamp::now());
            }
        }
        let superseded = matches!(worked, Err(Error::Superseded(_)));
        self.publish();
        drop(self.reports);
        if !superseded {
            join(&mut self.reporter).await?;
        }
        worked
    }

    async fn follow<U: Into<Told<K>>>(
        &mut self,
        mut engine: JoinHandle<Result<(), Error>>,
        mut told: mpsc::Receiver<U>,
        (lasting, levers): (Lasting, Levers),
    ) -> Result<(), Error> {
        let Levers { wake, release, end_plan, take_over, hand_over } = levers;
        let mut terminated = signal(SignalKind::terminate()).map_err(|e| Error::Broken(e.to_string()))?;
        let shift_over = tokio::time::sleep(match lasting {
            // A Job for one cycle has its own deadline.
            Lasting::Cycle => Duration::from_hours(7 * 24),
            Lasting::Shift(length) | Lasting::Held(length) => length,
        });
        tokio::pin!(shift_over);
        loop {
            tokio::select! {
                ended = &mut engine => {
                    while let Ok(update) = told.try_recv() {
                        self.take(update.into());
                    }
                    return ended.map_err(|e| Error::Broken(e.to_string()))?;
                }
                Some(update) = told.recv() => self.take(update.into()),
                Ok(()) = self.written.changed() => self.answer(),
                news = self.news.recv() => match news {
                    Some(News::Requested(value)) => {
                        self.draft.request(&value, Timestamp::now());
                        if wake.try_send(()).is_err() {
                            tracing::debug!("the run is awake already");
                        }
                    }
                    Some(News::Released(at)) => {
                        release.send_replace(Some(at));
                    }
                    Some(News::PlanEnded(ended)) => {
                        end_plan.send_replace(Some(ended));
                    }
                    Some(News::Activate(wish)) => {
                        take_over.send_replace(Some(wish));
                    }
                    Some(News::Superseded(why)) => {
                        stop(&mut engine, told, (lasting, &hand_over)).await;
                        return Err(Error::Superseded(why));
                    }
                    None => {
                        engine.abort();
                        return Err(Error::Broken("the resource is not watched any more".to_owned()));
                    }
                },
                ended = &mut self.reporter => {
                    stop(&mut engine, told, (lasting, &hand_over)).await;
                    return ended.map_err(|e| Error::Broken(e.to_string()))?;
                }
                _ = terminated.recv(), if !hand_over.is_cancelled() => {
                    hand_over.cancel();
                    if lasting == Lasting::Cycle {
                        engine.abort();
                        return Err(Error::Terminated);
                    }
                }
                () = &mut shift_over, if !hand_over.is_cancelled() => hand_over.cancel(),
            }
        }
    }

    fn take(&mut self, told: Told<K>) {
        match &told {
            Told::Failed { reason, message, permanent, .. } => {
                tracing::warn!(reason, "{message}");
                self.health.fail(*permanent);
            }
            Told::Done { .. } => self.health.succeed(),
            Told::Moved { movement, .. } => self.health.follow(*movement),
            Told::Amended { .. } => {}
        }
        self.draft.take(told, Timestamp::now());
        self.publish();
    }

    fn publish(&mut self) {
        self.number += 1;
        self.waiting.extend(self.draft.take_unwritten().into_iter().map(|one| (self.number, one)));
        // Without a receiver the reporter has ended, which the loop sees by itself.
        self.reports.send_replace(Report { number: self.number, observed: self.draft.observed().clone() });
    }

    /// Answers those whose report was written.
    fn answer(&mut self) {
        let written = *self.written.borrow_and_update();
        for (_, one) in self.waiting.extract_if(.., |(number, _)| *number <= written) {
            // Whoever asked may have gone.
            one.send(()).ok();
        }
    }
}

/// Ends a run whose reports nobody wants any more. One that holds its target lets go of it first.
async fn stop<U>(
    engine: &mut JoinHandle<Result<(), Error>>,
    mut told: mpsc::Receiver<U>,
    (lasting, hand_over): (Lasting, &CancellationToken),
) {
    let patience = if matches!(lasting, Lasting::Held(_)) { LET_GO } else { Duration::ZERO };
    hand_over.cancel();
    let ended = async {
        loop {
            tokio::select! {
                _ = &mut *engine => return,
                Some(_) = told.recv() => {}
            }
        }
    };
    if tokio::time::timeout(patience, ended).await.is_err() {
        engine.abort();
    }
}

async fn join(task: &mut JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    task.await.map_err(|error| Error::Broken(error.to_string()))?
}
