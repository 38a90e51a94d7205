//! What a target says of itself: the one document of `farshore.state`.

use jiff::Timestamp;
use mongodb::bson::{Binary, DateTime};
use serde::{Deserialize, Serialize};

use crate::{
    mongo::Place,
    standby::{Activate, Counts, Moment, Receipt, Step, feed::Position},
};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub owner: String,
    /// Goes up by one with each run that takes over.
    pub epoch: i64,
    /// Goes up by one with each change of this document.
    pub revision: i64,
    /// The run that holds the target.
    pub run: String,
    /// The run has not let go of it.
    pub held: bool,
    /// By the target's clock.
    pub renewed_at: DateTime,
    /// A later run that waits for it.
    pub successor: Option<String>,
    pub phase: Phase,
    /// When this copy was begun.
    pub began_at: Timestamp,
    /// Where the feed was when the first copy began.
    pub start: Option<Start>,
    /// The copy is consistent once every change up to here is applied.
    pub consistent_at: Option<Place>,
    /// When it was.
    pub seeded_at: Option<Timestamp>,
    /// Everything of the master up to it is applied, and nothing after it but for the parts of a window that is in
    /// the journal.
    pub position: Option<Position>,
    /// Number of the window that ends there.
    pub window: i64,
    /// Parts of the next window that are applied as well.
    pub parts: i64,
    pub counts: Counts,
    /// What the applying keeps for a later run.
    pub noted: Option<Binary>,
    pub activation: Option<Activating>,
}

/// How far a target is. Only ever forward, but for a copy that is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// What was copied is being removed.
    Emptying,
    Empty,
    Seeding,
    CatchingUp,
    Following,
    Activating,
    /// A server of its own: sealed against every run.
    Active,
}

/// Where a copy began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub position: Position,
    /// Id of the master's replica set, where it tells it.
    pub replica_set_id: Option<String>,
}

/// An activation, as far as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activating {
    pub step: Step,
    pub requested_at: Timestamp,
    pub started_at: Timestamp,
    pub accept_split_brain: bool,
    /// How the master was left.
    pub drained: Option<Drained>,
    /// When nothing more of it was waited for.
    pub drained_at: Option<Timestamp>,
    pub receipt: Option<Receipt>,
}

/// How the master was left by an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// It was kept from writing, and its last change is at the target.
    pub proved: bool,
    /// It could be asked at the end.
    pub answered: bool,
    /// The newest moment of it that is known of.
    pub master: Option<Moment>,
}

impl Activating {
    /// One that begins now.
    #[must_use]
    pub fn begin(wish: &Activate, now: Timestamp) -> Self {
        Self {
            step: Step::Draining,
            requested_at: wish.requested_at,
            started_at: now,
            accept_split_brain: wish.accept_split_brain,
            drained: None,
            drained_at: None,
            receipt: None,
        }
    }
}

impl Record {
    /// Of a target that nobody had before.
    #[must_use]
    pub fn new(owner: &str, run: &str, now: DateTime) -> Self {
        Self {
            owner: owner.to_owned(),
            epoch: 1,
            revision: 1,
            run: run.to_owned(),
            held: true,
            renewed_at: now,
            successor: None,
            phase: Phase::Empty,
            began_at: time(now),
            start: None,
            consistent_at: None,
            seeded_at: None,
            position: None,
            window: 0,
            parts: 0,
            counts: Counts::default(),
            noted: None,
            activation: None,
        }
    }

    /// All changes up to where it is are there, and none after it: users may read it.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.phase >= Phase::Following
    }
}

/// A server's time as ours.
#[must_use]
pub fn time(at: DateTime) -> Timestamp {
    Timestamp::from_millisecond(at.timestamp_millis()).unwrap_or_default()
}
