//! One run: probes, then compares until it is told to stop.

mod prepare;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Compared, Config, Error, Heard, Live, Memory, MigrationProgress, Mutual, Others, Progress, Session,
    Update,
    dealing::Dealing,
    memory::period,
    purse::Purse,
    settings::{Look, Settings},
};
use crate::{
    replicate::{
        Common, Looks,
        feed::{self, Choice, Chosen, Feed, FeedKind, Under, why_poll},
        live::{self, Event},
        pace::{self, TICK, jittered},
        same_place,
        sweep::{Action, Allowance, Counts, Effort, Sweep, Tally},
    },
    store::{
        self, ObjectStore, Side, Versioning,
        limits::{Lane, Limited, Limits},
    },
};

/// Least pause between two comparisons, however long the first took.
const BREATH: Duration = Duration::from_secs(1);
/// Objects of a side that are compared in one go.
const FEW: u64 = 20_000;
/// How often it is told that a feed has nothing to tell.
const A_WHILE: SignedDuration = SignedDuration::from_mins(1);

pub(super) struct Engine {
    pub(super) source: Arc<dyn ObjectStore>,
    pub(super) target: Arc<dyn ObjectStore>,
    settings: Settings,
    limits: Arc<Limits>,
    pub(super) config: Config,
    pub(super) common: Arc<Common>,
    purse: Arc<Purse>,
    pub(super) memory: Arc<Mutex<Memory>>,
    live: Mutex<Live>,
    /// How changes are heard of while the feed is connected.
    feed: Heard,
    /// Why they are only found by comparing meanwhile, where `Auto` has chosen.
    unheard: Mutex<Option<String>>,
    current: Mutex<Current>,
    busy: AtomicBool,
    /// A comparison was reported, by this run or an earlier one.
    reported: AtomicBool,
    others: Arc<dyn Others>,
    waiting: AtomicBool,
}

/// The comparison under way.
#[derive(Default)]
struct Current {
    tally: Arc<Tally>,
    /// What the source held when it was counted, while it is being migrated.
    counted: Option<Counts>,
}

impl Engine {
    /// Makes sure that these are two stores, and finds out what both can do.
    pub(super) async fn open(
        session: Session,
        released: watch::Receiver<Option<Timestamp>>,
        updates: mpsc::Sender<Update>,
    ) -> Result<(Self, Box<dyn Feed>), Error> {
        let Session { source, target, target_at_source, listens, config, claimant, memory, others } = session;
        let known = memory.is_some();
        for seen in [&source, &target_at_source] {
            if same_place(&**seen, &*target, &config.target_prefix).await? {
                return Err(Error::SameStore(format!("what is written to bucket {}", target.bucket())));
            }
        }
        let settings = Settings::open((&source, &target), &config, claimant).await?;
        // Before anything is compared: what changes from here on is heard of.
        let Chosen { feed, why } = feed::choose(config.feed.clone(), listens).await?;
        tracing::info!(feed = feed.kind().name(), "{why}");
        let memory = Arc::new(Mutex::new(memory.unwrap_or_default()));
        let purse = Purse {
            config: config.clone(),
            memory: Arc::clone(&memory),
            released,
            updates,
            target: AtomicU64::new(u64::MAX),
            handful: tokio::sync::Mutex::default(),
        };
        let limits = Limits::new(config.bytes_per_second, config.requests_per_second);
        let paced = |store| Arc::new(Limited::new(store, &limits, Lane::Rest)) as Arc<dyn ObjectStore>;
        let engine = Self {
            source: paced(source),
            target: paced(target),
            settings,
            limits,
            config,
            common: Arc::default(),
            purse: Arc::new(purse),
            memory,
            live: Mutex::default(),
            unheard: Mutex::default(),
            feed: Heard { kind: feed.kind(), why },
            current: Mutex::default(),
            busy: AtomicBool::new(true),
            reported: AtomicBool::new(known),
            others,
            waiting: AtomicBool::new(false),
        };
        let feed = Under::new(feed, engine.config.source_prefix.clone());
        Ok((engine, Box::new(feed)))
    }

    /// Follows the feed, as long as it is polled. Without a feed there is nothing to do.
    pub(super) async fn live(&self, feed: Box<dyn Feed>) {
        let deletes = self.config.deletes.then(|| Arc::clone(&self.purse) as Arc<dyn Allowance>);
        let dealing = Dealing { settler: self.sweep(Action::Copy).settler(), deletes };
        let stop = CancellationToken::new();
        let (lanes, work) = live::lanes(feed, Arc::new(dealing), live::Options::default(), stop);
        tokio::select! {
            ended = work => tracing::error!(?ended, "the feed is not followed any more; comparisons go on"),
            () = self.listen_to(lanes) => {}
        }
        std::future::pending::<()>().await;
    }

    /// Notes how far the lanes are. What a feed may have missed the next comparison finds, in its own time: it is as
    /// frequent as listing may cost.
    async fn listen_to(&self, lanes: live::Lanes) {
        let live::Lanes { mut state, mut events } = lanes;
        loop {
            let mut trouble = None;
            tokio::select! {
                Ok(()) = state.changed() => {}
                Some(event) = events.recv() => match event {
                    Event::Compare { why } => tracing::debug!("something may have been missed: {why}"),
                    Event::Broken { error } => {
                        tracing::warn!("{error}");
                        let why = why_poll(&error).filter(|_| matches!(self.config.feed, Choice::Auto));
                        *self.unheard.lock().unwrap_or_else(PoisonError::into_inner) = why;
                        trouble = Some(error.to_string());
                    }
                    Event::Failed { key, error, pause } => {
                        tracing::warn!(key, ?pause, "tried again: {error}");
                    }
                },
                else => return,
            }
            let now = *state.borrow_and_update();
            if now.connected {
                *self.unheard.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            let trouble = if now.connected { None } else { trouble.or_else(|| live.trouble.take()) };
            *live =
                Live { until: now.until, waiting: now.waiting, handled: now.copied + now.deleted, trouble };
        }
    }

    fn heard(&self) -> Heard {
        let unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        unheard.map_or_else(|| self.feed.clone(), |why| Heard { kind: FeedKind::Poll, why })
    }

    /// Compares again and again. Ends only with an error.
    pub(super) async fn shift(
        &self,
        mut run_now: mpsc::Receiver<()>,
        mut released: watch::Receiver<Option<Timestamp>>,
        updates: &mpsc::Sender<Update>,
    ) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            self.busy.store(true, Relaxed);
            let release = *released.borrow_and_update();
            let rest = match self.compare(release).await {
                Ok(compared) => {
                    failures = 0;
                    let left_out =
                        self.config.deletes && !self.reported.load(Relaxed) && compared.counts.extra > 0;
                    let period = if left_out { Duration::ZERO } else { jittered(compared.period) };
                    let rest = period.saturating_sub(began.elapsed()).max(BREATH);
                    self.report(updates, compared).await;
                    self.reported.store(true, Relaxed);
                    rest
                }
                Err(error) => {
                    send(updates, failed(&error)).await;
                    let pause = pace::pause(failures).filter(|_| !error.is_permanent());
                    let Some(pause) = pause else { return Err(error) };
                    failures += 1;
                    pause
                }
            };
            self.busy.store(false, Relaxed);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // A channel that is closed asks for nothing more.
                Some(()) = run_now.recv() => {}
                Ok(()) = released.changed() => {}
            }
        }
    }

    /// Tells of a comparison with what is drawn on the budget by now: the feed draws while one ends, and a report
    /// must not take back what was noted.
    async fn report(&self, updates: &mpsc::Sender<Update>, mut compared: Compared) {
        // Nobody listens any more: the run is about to end.
        let Ok(permit) = updates.reserve().await else { return };
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        compared.memory.spent = memory.spent;
        permit.send(Update::Compared(Box::new(compared)));
    }

    async fn compare(&self, released: Option<Timestamp>) -> Result<Compared, Error> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if memory.migrated.is_none() && self.config.since.is_none() {
            self.prepare().await?;
        }
        let versionings @ [source_versioning, target_versioning] = self.versionings().await?;
        let Look { expiry, lifecycles, notices } = self.settings.look(&memory, versionings.into()).await?;
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).lifecycles = lifecycles;
        let started_at = Timestamp::now();
        let under_way = self.common.begin();
        // Deletes are noted in the report of a comparison: the first one makes none.
        let action =
            if self.config.deletes && self.reported.load(Relaxed) { Action::Mirror } else { Action::Copy };
        let looks = self.begin_looks(started_at);
        let all = looks == Looks::All;
        let sweep = self.sweep(action).expiring(expiry).looking_at(looks);
        let sweep = sweep.deletes_within(Arc::clone(&self.purse) as Arc<dyn Allowance>);
        let counted = self.current.lock().unwrap_or_else(PoisonError::into_inner).counted;
        self.set_current(Current { tally: sweep.tally(), counted });
        let report = sweep.run().await?;
        self.purse.target.store(report.counts.target, Relaxed);
        let offset = self.source.clock_offset().unwrap_or(SignedDuration::ZERO);
        // By whichever of both clocks a change is dated, it was made before.
        let dealt_with_until = started_at - under_way - offset.abs();
        let seen = (&report.counts, &report.examples);
        // At one go: deletes are drawn meanwhile.
        let memory = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            *memory = memory.after(seen, released, (started_at, dealt_with_until), &self.config);
            memory.conflicts += self.common.take_conflicts();
            self.end_looks(&mut memory, started_at, all);
            self.remembered(&memory)
        };
        if memory.migrated.is_some() {
            self.set_current(Current { tally: sweep.tally(), counted: None });
        }
        Ok(Compared {
            started_at,
            completed_at: Timestamp::now(),
            period: period(report.counts.listing, &self.config),
            counts: report.counts,
            examples: report.examples,
            dealt_with_until,
            memory,
            source_versioning,
            target_versioning,
            feed: self.heard(),
            mutual: self.config.mutual.is_some(),
            notices,
        })
    }

    /// Asked each time: people turn it on and off.
    async fn versionings(&self) -> Result<[Option<Versioning>; 2], Error> {
        let both =
            [versioning(&*self.source, Side::Source).await?, versioning(&*self.target, Side::Target).await?];
        for (store, side, found) in
            [(&self.source, Side::Source, both[0]), (&self.target, Side::Target, both[1])]
        {
            if self.config.mutual.is_some() && found != Some(Versioning::Enabled) {
                return Err(Error::NotVersioned(store.bucket().to_owned(), side));
            }
        }
        Ok(both)
    }

    /// A few pages are listed one after the other: to find where they could be parted would cost more than listing them.
    fn effort(&self) -> Effort {
        let objects = self.memory.lock().unwrap_or_else(PoisonError::into_inner).objects;
        let few = objects.is_some_and(|objects| objects <= FEW);
        Effort { ranges: if few { 1 } else { Effort::default().ranges }, ..Effort::default() }
    }

    fn sweep(&self, action: Action) -> Sweep {
        let Config { source_prefix, target_prefix, .. } = &self.config;
        let source = (Arc::clone(&self.source), source_prefix.clone());
        let target = (Arc::clone(&self.target), target_prefix.clone());
        let sweep = Sweep::new(source, target, action, self.effort());
        let sweep = sweep
            .keep(self.config.attributes.keep.clone())
            .sharing(Arc::clone(&self.common))
            .leaves_before(self.config.since);
        match self.config.mutual.clone() {
            Some(Mutual { source_region, target_region }) => sweep.mutual([source_region, target_region]),
            None => sweep,
        }
    }

    fn set_current(&self, current: Current) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    fn movement(&self) -> u64 {
        let usage = self.limits.usage();
        usage.requests + usage.bytes_read + usage.bytes_written
    }

    fn progress(&self) -> Progress {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = current.tally.counts();
        let settled = now.copied + now.overtaken + now.failed;
        Progress {
            migration: current.counted.map(|counted| migration(&counted, &now)),
            pending: (now.missing + now.unlike).saturating_sub(settled),
            transferred_bytes: self.limits.usage().bytes_written,
            movement: self.movement(),
            busy: self.busy.load(Relaxed),
            contact: now.source + now.target > 0 || self.waiting.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            live: (self.heard().kind != FeedKind::Poll)
                .then(|| self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// Ends when nothing has moved for too long while something should.
    pub(super) async fn until_stuck(&self, limit: Duration) {
        pace::until_stuck(limit, || self.busy.load(Relaxed).then(|| self.movement())).await;
    }

    /// Tells of progress while there is any; ends when nobody listens.
    pub(super) async fn tell(&self, updates: &mpsc::Sender<Update>) {
        let mut last = None;
        loop {
            tokio::select! {
                () = updates.closed() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let mut progress = self.progress();
            if let Some(last) = &last {
                progress.live = rested(progress.live, last);
            }
            // A full channel means that somebody is busy: the next one will tell.
            if last.as_ref() != Some(&progress)
                && updates.try_send(Update::Progress(progress.clone())).is_ok()
            {
                last = Some(progress);
            }
        }
    }
}

/// A feed over which nothing came is told of once a minute: that another second has passed is no news.
fn rested(live: Option<Live>, last: &Progress) -> Option<Live> {
    let Some(told) = &last.live else { return live };
    live.map(|live| {
        let same = Live { until: told.until, ..live.clone() } == *told;
        let passed = live.until.zip(told.until).map(|(now, told)| now.duration_since(told));
        if same && passed.is_some_and(|passed| passed < A_WHILE) { told.clone() } else { live }
    })
}

/// What was alike when it was counted, and what was settled since.
fn migration(counted: &Counts, now: &Counts) -> MigrationProgress {
    // What was expired before needs no copy, and what turned out to be needs none either.
    let expired = counted.expired_at_target.max(now.expired_at_target);
    let settled = counted.alike + expired + now.copied + now.overtaken;
    let bytes = counted.source_bytes.saturating_sub(counted.bytes) + now.copied_bytes;
    MigrationProgress {
        objects: counted.source,
        objects_done: settled.min(counted.source),
        bytes: counted.source_bytes,
        bytes_done: bytes.min(counted.source_bytes),
    }
}

/// Not being allowed to see it is no reason not to copy.
async fn versioning(store: &dyn ObjectStore, side: Side) -> Result<Option<Versioning>, Error> {
    match store.versioning().await {
        Ok(versioning) => Ok(Some(versioning)),
        Err(store::Error::AccessDenied(_)) => Ok(None),
        Err(source) => Err(crate::replicate::Error::Store { side, source }.into()),
    }
}

fn failed(error: &Error) -> Update {
    Update::Failed {
        side: error.side(),
        reason: error.reason(),
        message: error.to_string(),
        permanent: error.is_permanent(),
    }
}

/// Nobody listens any more: the run is about to end.
async fn send(updates: &mpsc::Sender<Update>, update: Update) {
    updates.send(update).await.ok();
}
