//! Lanes: what a feed tells is dealt with at once, key by key.
//!
//! Hints about one key are taken together, and no key is dealt with twice at a time, so that the latest
//! state wins. A key that fails is tried again while the others go on. All of it is only the fast way:
//! whatever a feed missed, and whatever found no room here, is asked for as a comparison.

mod waiting;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Result,
    feed::{Change, Feed, FeedError, FeedKind, Hint, Told},
    pace::jittered,
};
use waiting::{Added, Job, Waiting};

/// Hints read ahead. What stands there is neither lost nor dealt with.
const AHEAD: usize = 256;
/// Pauses before a feed that broke is tried again, doubling.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Deals with keys; given by who knows both buckets, budgets and rules.
#[async_trait]
pub trait Deal: Send + Sync + 'static {
    /// Brings the target in line with what the source has under the key now, whatever the hint says.
    /// Its kind tells two things that the source does not: that only attributes changed, and that it
    /// was the bucket's own lifecycle that deleted.
    ///
    /// # Errors
    /// Of either side; the key is tried again later.
    async fn deal(&self, change: &Change) -> Result<Dealt>;
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealt {
    /// An object of so many bytes is at the target.
    Copied { bytes: u64 },
    /// The target has it no more.
    Deleted,
    /// Nothing was to be done, or nothing now: held, expired, left out.
    Nothing,
}

/// Limits of the lanes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Keys dealt with at once.
    pub lanes: usize,
    /// Memory for keys that wait, in bytes, about; what finds no room is left to a comparison.
    pub memory: usize,
    /// Before the second try of a key; doubles from there.
    pub pause: Duration,
    /// Longest pause between tries.
    pub longest_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lanes: 16,
            memory: 8 << 20,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_mins(5),
        }
    }
}

/// How far the lanes are; see [`Lanes::state`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What the feed told of up to then is dealt with. An estimate, since feeds lose; by our clock, and
    /// never going back. `None` until the feed was connected.
    pub until: Option<Timestamp>,
    pub connected: bool,
    /// Keys that wait, those under way and those to be tried again included.
    pub waiting: u64,
    /// Of them, keys whose last try failed.
    pub failing: u64,
    pub copied: u64,
    pub copied_bytes: u64,
    pub deleted: u64,
}

/// What the owner of the lanes must know.
#[derive(Debug)]
pub enum Event {
    /// Something may have been missed before this moment: compare everything.
    Compare { why: String },
    /// The feed broke; it is tried again after a pause.
    Broken { error: FeedError },
    /// A key could not be dealt with; it is tried again after a pause.
    Failed { key: String, error: Error, pause: Duration },
}

/// Lanes under way.
#[derive(Debug)]
pub struct Lanes {
    /// How far they are; changes whenever something is dealt with, and with signs of life.
    pub state: watch::Receiver<State>,
    /// To be read: lanes wait for who doesn't.
    pub events: mpsc::Receiver<Event>,
}

/// Strings by which lanes hang on their owner.
struct Owner {
    state: watch::Sender<State>,
    events: mpsc::Sender<Event>,
}

/// Prepares lanes, and the future that works them until `stop`. What is under way then is given up; the
/// target's objects are as they were or as they should be.
///
/// # Errors
/// The future ends early only with the panic of a task.
pub fn lanes(
    feed: Box<dyn Feed>,
    deal: Arc<dyn Deal>,
    options: Options,
    stop: CancellationToken,
) -> (Lanes, impl Future<Output = Result<(), tokio::task::JoinError>> + Send) {
    let (state, states) = watch::channel(State::default());
    let (events, event) = mpsc::channel(AHEAD);
    let run = Run {
        kind: feed.kind(),
        waiting: Waiting::new(options),
        deal,
        tasks: JoinSet::new(),
        lanes: options.lanes.max(1),
        owner: Owner { state, events },
        state: State::default(),
        heard: None,
    };
    let work = async move {
        tokio::select! {
            ended = run.work(feed) => ended,
            () = stop.cancelled() => Ok(()),
        }
    };
    (Lanes { state: states, events: event }, work)
}

struct Run {
    kind: FeedKind,
    waiting: Waiting,
    deal: Arc<dyn Deal>,
    tasks: JoinSet<(String, Result<Dealt>)>,
    lanes: usize,
    owner: Owner,
    state: State,
    /// When the feed last said that, but for what waits here, nothing is left to tell.
    heard: Option<Timestamp>,
}

impl Run {
    async fn work(mut self, feed: Box<dyn Feed>) -> Result<(), tokio::task::JoinError> {
        let (teller, mut told) = mpsc::channel(AHEAD);
        let mut reader = JoinSet::new();
        reader.spawn(read(feed, teller));
        loop {
            self.begin();
            let due = self.waiting.next_due();
            let free = self.tasks.len() < self.lanes;
            // A feed that keeps what it tells is left waiting; another one would lose it unseen.
            let room = self.kind == FeedKind::Listen || !self.waiting.is_full();
            tokio::select! {
                Some(done) = self.tasks.join_next() => {
                    let (key, outcome) = done?;
                    self.finish(&key, outcome).await;
                }
                Some(told) = told.recv(), if room => self.hear(told).await,
                () = until(due), if free => {}
                Some(ended) = reader.join_next() => ended?,
            }
            self.show();
        }
    }

    /// Fills the lanes.
    fn begin(&mut self) {
        while self.tasks.len() < self.lanes {
            let Some(Job { key, change }) = self.waiting.take(Instant::now()) else { return };
            let deal = Arc::clone(&self.deal);
            self.tasks.spawn(async move {
                let outcome = deal.deal(&change).await;
                (key, outcome)
            });
        }
    }

    async fn finish(&mut self, key: &str, outcome: Result<Dealt>) {
        match outcome {
            Ok(dealt) => {
                self.waiting.done(key);
                match dealt {
                    Dealt::Copied { bytes } => {
                        self.state.copied += 1;
                        self.state.copied_bytes += bytes;
                    }
                    Dealt::Deleted => self.state.deleted += 1,
                    Dealt::Nothing => {}
                }
            }
            Err(error) => {
                let pause = self.waiting.failed(key, Instant::now());
                self.tell(Event::Failed { key: key.to_owned(), error, pause }).await;
            }
        }
    }

    async fn hear(&mut self, told: Result<Told, FeedError>) {
        let Told { hint, receipt } = match told {
            Ok(told) => told,
            Err(error) => {
                self.state.connected = false;
                self.heard = None;
                // Whoever hears of it is to see that it is so.
                self.show();
                return self.tell(Event::Broken { error }).await;
            }
        };
        let now = Timestamp::now();
        self.state.connected = true;
        let missed = match hint {
            Hint::Changed(change) => {
                let at = change.at.map_or(now, |at| at.min(now));
                match self.waiting.add(change, receipt, now) {
                    Added::Waits => {
                        // A receiver gives no signs of life: what it tells is all that is known.
                        self.heard = self.heard.max((self.kind == FeedKind::Webhook).then_some(at));
                        None
                    }
                    Added::NoRoom => Some("more keys changed at once than there is room for".to_owned()),
                }
            }
            Hint::Connected => {
                // Who only compares hears nothing.
                self.heard = (self.kind != FeedKind::Poll).then_some(now);
                receipt.hand_in();
                Some("the feed was connected".to_owned())
            }
            Hint::Alive => {
                self.heard = Some(now);
                receipt.hand_in();
                None
            }
            Hint::Lost { why } => {
                receipt.hand_in();
                Some(why)
            }
        };
        if let Some(why) = missed {
            self.tell(Event::Compare { why }).await;
        }
    }

    /// Waits for an owner who is busy; one who is gone needs to know nothing.
    async fn tell(&self, event: Event) {
        self.owner.events.send(event).await.ok();
    }

    fn show(&mut self) {
        // What waits was told, and so was all before it.
        let until = self.heard.map(|heard| self.waiting.oldest().unwrap_or(heard));
        self.state.until = self.state.until.max(until);
        self.state.waiting = self.waiting.len() as u64;
        self.state.failing = self.waiting.failing() as u64;
        self.owner.state.send_if_modified(|shown| std::mem::replace(shown, self.state) != self.state);
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Reads the feed, so that nothing that happens to the lanes interrupts it while it connects.
async fn read(mut feed: Box<dyn Feed>, teller: mpsc::Sender<Result<Told, FeedError>>) {
    let mut pause = RECONNECT.0;
    loop {
        let told = feed.next().await;
        let failed = told.is_err();
        if teller.send(told).await.is_err() {
            return;
        }
        if failed {
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(RECONNECT.1);
        } else {
            pause = RECONNECT.0;
        }
    }
}

#[cfg(test)]
mod tests;
