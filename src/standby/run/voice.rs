//! What a run tells, put together from what its parts know.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    mongo::Place,
    standby::{
        Activation, Counts, Error, Fence, Moment, Moved, SeedProgress, Servers, Stage, Standing, Update,
        feed::Position,
        state::{Phase, Record},
    },
};

/// Least time between two reports of a standby that only moves on.
const PAUSE: Duration = Duration::from_millis(500);

/// Tells, from everywhere in a run.
pub struct Voice {
    updates: mpsc::Sender<Update>,
    standing: Mutex<Standing>,
    newest: Mutex<Option<Moment>>,
    told: Mutex<Option<Instant>>,
    count: AtomicU64,
    contact: AtomicBool,
    hears: AtomicBool,
}

impl Voice {
    /// Of a target of which nothing is known yet.
    pub fn new(updates: mpsc::Sender<Update>) -> Self {
        let standing = Mutex::new(unknown());
        let (newest, told) = (Mutex::new(None), Mutex::new(None));
        let (count, contact, hears) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Self { updates, standing, newest, told, count, contact, hears }
    }

    /// Changes what will be told.
    pub fn change<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> T {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the target's record says.
    pub fn follow(&self, record: &Record) {
        let activation = record.activation.as_ref().map(|activating| Activation {
            step: activating.step,
            requested_at: activating.requested_at,
            started_at: activating.started_at,
            held: None,
            receipt: activating.receipt.clone(),
        });
        self.change(|standing| {
            standing.stage = stage(record.phase);
            standing.seeded_at = record.seeded_at;
            // Before the copy is there, a position says nothing of it.
            standing.applied =
                record.position.as_ref().filter(|_| record.phase >= Phase::CatchingUp).map(moment);
            standing.counts = record.counts;
            standing.activation = activation;
        });
    }

    /// Every change of the master up to here is there.
    pub fn applied(&self, position: &Position) {
        let moment = moment(position);
        self.change(|standing| standing.applied = Some(moment));
        self.count.fetch_add(1, Relaxed);
    }

    /// The master's newest moment; `None`: it doesn't answer.
    pub fn seen(&self, newest: Option<Moment>) {
        self.change(|standing| {
            standing.master = newest.map(|newest| newest_of(&newest, standing.applied.as_ref()));
            if newest.is_none() {
                standing.oplog_window = None;
            }
        });
        self.contact.fetch_or(newest.is_some(), Relaxed);
        let mut known = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.map(|newest| newest.place) > known.map(|known| known.place) {
            *known = newest;
        }
    }

    /// The newest moment of the master that was ever heard of.
    pub fn newest(&self) -> Option<Moment> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed is open: nothing between the target and the master is missing. Or this is not known (any more).
    pub fn set_hears(&self, hears: bool) {
        self.hears.store(hears, Relaxed);
    }

    /// Tells how it stands. A receiver that is gone is the end of the run, which comes by itself.
    pub async fn stands(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut standing = self.change(|standing| standing.clone());
        // What is applied was written: the master is no earlier than that.
        standing.master =
            standing.master.map(|master| standing.applied.map_or(master, |applied| master.max(applied.wall)));
        self.updates.send(Update::Standing(Box::new(standing))).await.ok();
        self.moved(false, None).await;
    }

    /// The same, unless it was told just before.
    pub async fn moves(&self) {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.stands().await;
        }
    }

    /// Tells how far the master is. Nothing before it is known that the master can be followed from where the target
    /// is, lest what an earlier run told be taken for how it stands: who opens the feed tells what comes of that.
    pub async fn looked(&self) {
        if self.hears.load(Relaxed) {
            self.moves().await;
        }
    }

    /// Tells that something moves, or has come to rest.
    pub async fn moved(&self, busy: bool, seed: Option<SeedProgress>) {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let moved = Moved { contact: self.contact.load(Relaxed), busy, count, seed };
        self.updates.send(Update::Moved(moved)).await.ok();
    }

    /// Tells that an attempt failed, or, of an error that only a person can mend, that none is made any more.
    pub async fn failed(&self, error: &Error) {
        let (side, reason, message) = (error.side(), error.reason(), error.to_string());
        let update = Update::Failed { side, reason, message, permanent: error.is_permanent() };
        self.updates.send(update).await.ok();
    }
}

/// A cluster time in seconds.
fn seconds(place: Place) -> Timestamp {
    Timestamp::from_second(place.seconds.into()).unwrap_or_default()
}

/// The moment of a cluster time, as exact as that is.
pub fn at(place: Place) -> Moment {
    Moment { place, wall: seconds(place) }
}

/// The moment of a position.
pub fn moment(position: &Position) -> Moment {
    Moment { place: position.place, wall: position.wall.unwrap_or_else(|| seconds(position.place)) }
}

/// Of a moment that both have, the wall clock is the more exact one: a target that has everything is not behind.
fn newest_of(newest: &Moment, applied: Option<&Moment>) -> Timestamp {
    match applied {
        Some(applied) if applied.place >= newest.place => applied.wall,
        Some(applied) => newest.wall.max(applied.wall),
        None => newest.wall,
    }
}

fn unknown() -> Standing {
    Standing {
        stage: Stage::Seeding,
        seeded_at: None,
        applied: None,
        master: None,
        oplog_window: None,
        fence: Fence::default(),
        servers: Servers::default(),
        counts: Counts::default(),
        activation: None,
        findings: Vec::new(),
    }
}

fn stage(phase: Phase) -> Stage {
    match phase {
        Phase::Emptying | Phase::Empty | Phase::Seeding => Stage::Seeding,
        Phase::CatchingUp => Stage::CatchingUp,
        Phase::Following => Stage::Following,
        Phase::Activating => Stage::Activating,
        Phase::Active => Stage::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_a_target_that_has_everything_is_not_behind_and_one_that_lacks_something_is_not_ahead() {
        let moment = |seconds, increment, milliseconds| Moment {
            place: Place { seconds, increment },
            wall: Timestamp::from_millisecond(milliseconds).unwrap(),
        };
        let cases = [
            (moment(10, 3, 10_000), Some(moment(10, 3, 10_900)), 10_900),
            (moment(10, 4, 10_000), Some(moment(10, 3, 10_900)), 10_900),
            (moment(12, 1, 12_000), Some(moment(10, 3, 10_900)), 12_000),
            (moment(12, 1, 12_000), None, 12_000),
        ];
        for (newest, applied, expected) in cases {
            let told = newest_of(&newest, applied.as_ref());
            assert_eq!(told.as_millisecond(), expected, "{newest:?} {applied:?}");
        }
    }
}
