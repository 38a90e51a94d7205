//! A second replica set that follows a first one, the master, and takes its place.
//!
//! [`run`] does it all, for one shift: [`feed`] hears what the master does; [`seed`] copies what it held
//! before; [`state`] keeps, in the target, how far it is and who may write; [`apply`] writes; [`fence`]
//! keeps everybody else from writing; [`activation`] makes the target a server of its own.
//!
//! The target is the truth: what is not written there, by a majority, has not happened. A run that is killed
//! at any moment leaves a target from which the next one goes on; two runs never write at a time.

pub mod activation;
pub mod agent;
pub mod apply;
pub mod error;
pub mod feed;
pub mod fence;
pub mod journal;
pub mod lease;
mod run;
pub mod seed;
pub mod servers;
pub mod state;
pub mod target;
pub mod window;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::{
    error::{Error, Result, Side},
    run::run,
};
use crate::mongo::Place;

/// A replica set, and how it is reached.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `mongodb://…`, without user and password.
    pub uri: String,
    /// Folder with `username` and `password`, and, where the server's certificate is signed by an authority of one's
    /// own, `ca.crt`. `None`: nobody logs in.
    pub credentials: Option<PathBuf>,
}

/// What is to be kept in line with what.
#[derive(Clone, Debug)]
pub struct Session {
    pub master: Endpoint,
    pub target: Endpoint,
    /// Who owns the target: another owner's target is refused.
    pub owner: String,
    /// Sortable id of this run: a greater one takes over.
    pub run: String,
    /// The copy is made anew, as somebody asked at this moment: a request that is older than the last beginning is
    /// honoured already.
    pub resync: Option<Timestamp>,
}

/// Wanted: the target as a server of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activate {
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Longest time that is spent on the master's last changes, once it can't be proved that they are all there.
    pub drain_timeout: Duration,
    /// Somebody takes it on them that the master goes on writing.
    pub accept_split_brain: bool,
}

/// What a run is given to work with.
pub struct Strings {
    /// Activation, once it is wanted. It is never taken back.
    pub activate: watch::Receiver<Option<Activate>>,
    /// Cancelled: stop at a safe point, and let go of the target.
    pub hand_over: CancellationToken,
    pub updates: mpsc::Sender<Update>,
}

/// What a run tells.
#[derive(Clone, Debug)]
pub enum Update {
    Moved(Moved),
    /// How it stands, as a whole, each time.
    Standing(Box<Standing>),
    /// An attempt failed, and is repeated unless only a person can help.
    Failed {
        side: Option<Side>,
        reason: &'static str,
        message: String,
        permanent: bool,
    },
}

/// Movement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Both servers have answered.
    pub contact: bool,
    /// Something should be moving.
    pub busy: bool,
    /// Requests and changes as one number.
    pub count: u64,
    /// While the first copy is made.
    pub seed: Option<SeedProgress>,
}

/// How far the first copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedProgress {
    pub collections_done: u64,
    pub collections: u64,
    pub documents_done: u64,
    /// By the master's own count, which is an estimate.
    pub documents: u64,
    pub bytes_done: u64,
    /// The collection that is being copied.
    pub current: Option<String>,
}

/// A moment of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Its cluster time.
    pub place: Place,
    /// Its wall clock, as far as known; else the seconds of the cluster time.
    pub wall: Timestamp,
}

/// How the target stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub stage: Stage,
    /// When the first copy was complete and consistent.
    pub seeded_at: Option<Timestamp>,
    /// Every change of the master up to it is at the target.
    pub applied: Option<Moment>,
    /// The master's newest moment, while it answers.
    pub master: Option<Timestamp>,
    /// How far back the master's oplog reaches, while it answers.
    pub oplog_window: Option<Duration>,
    pub fence: Fence,
    pub servers: Servers,
    pub counts: Counts,
    pub activation: Option<Activation>,
    /// What a person should know: reason and message.
    pub findings: Vec<(&'static str, String)>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What the master held before is copied.
    Seeding,
    /// It is copied, and changes since then are applied: not consistent yet.
    CatchingUp,
    /// Consistent, and following.
    Following,
    Activating,
    Active,
}

/// What keeps users from writing to the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    pub level: Level,
    /// What is missing, in words, with the next step.
    pub missing: Vec<String>,
}

/// How strong a fence is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nobody is kept from writing.
    #[default]
    None,
    /// Accounts may only read.
    Roles,
    /// The server refuses writes as well (`setUserWriteBlockMode`).
    WriteBlock,
}

/// What both servers say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    pub master: Server,
    pub target: Server,
    pub members: Vec<Member>,
}

/// A replica set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    /// Its feature compatibility version.
    pub compatibility: Option<String>,
    /// Name of the replica set.
    pub set: String,
}

/// A member of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// `Primary`, `Secondary`, or what else it says.
    pub role: String,
    pub healthy: bool,
}

/// What was done since the first copy began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Changes that were applied.
    pub changes: u64,
    /// Transactions of more than one change.
    pub transactions: u64,
    /// Changes that were applied once more, after a run broke off.
    pub repeated: u64,
    /// Documents that were fetched from the master anew.
    pub refetched: u64,
}

/// An activation, under way or done.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    pub step: Step,
    pub requested_at: Timestamp,
    /// When the first step was begun.
    pub started_at: Timestamp,
    /// Why it doesn't go on, and what to do.
    pub held: Option<String>,
    pub receipt: Option<Receipt>,
}

/// The steps of an activation, in their order. Each may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// The master is kept from writing, and its last changes are applied.
    Draining,
    /// What is applied is made final: nothing of the master comes after it.
    Sealing,
    /// Users are let in: expiry, accounts, writes.
    Unfencing,
    /// The target is a server of its own.
    Active,
}

/// What an activation cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub activated_at: Timestamp,
    /// From the first step to the last one.
    pub took: Duration,
    /// Of this, what was spent on the master's last changes.
    pub draining: Duration,
    /// Every change of the master up to it is there, and none after it.
    pub data: Moment,
    /// The newest moment of the master that is known of.
    pub master: Option<Moment>,
    /// Nothing was lost: the master was kept from writing, and its last change is there.
    pub proved: bool,
    /// The master could be asked at the end.
    pub master_answered: bool,
}
