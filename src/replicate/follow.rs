//! Keeps a bucket in line with another: compares both again and again, as often as listing them may cost.

mod attributes;
mod claim;
mod dealing;
mod engine;
mod looking;
mod memory;
mod others;
mod purse;
mod settings;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    feed::{self, FeedError},
    sweep::{Counts, Examples},
};
use crate::store::{Listens, ObjectStore, Side, Versioning};
pub use attributes::{AllLooked, Attributes};
pub use claim::Claimant;
pub use memory::{Held, Lifecycles, Memory, Migrated, Spent};
pub use others::{Nobody, Others};
pub use settings::Notice;

/// Two buckets, ready to be brought in line.
pub struct Session {
    pub source: Arc<dyn ObjectStore>,
    pub target: Arc<dyn ObjectStore>,
    /// The target's bucket as the source's endpoint has it, if it has one: to find out that both are one store.
    pub target_at_source: Arc<dyn ObjectStore>,
    /// The source, where its store may tell of changes.
    pub listens: Arc<dyn Listens>,
    pub config: Config,
    /// Who claims the buckets, so that rules of other clusters leave them alone; `None`: nobody does.
    pub claimant: Option<Claimant>,
    /// What earlier runs knew after their last comparison; `None`: there was none.
    pub memory: Option<Memory>,
    /// Who brings over a large history in our place.
    pub others: Arc<dyn Others>,
}

/// What identifies and limits a run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Only keys under this prefix of the source are followed; `""`: all of the bucket.
    pub source_prefix: String,
    /// What stands in its place at the target; nothing else there is written or deleted.
    pub target_prefix: String,
    /// What the source does not have is deleted at the target.
    pub deletes: bool,
    /// Objects, and percentage of the target's, that may be deleted in an hour.
    pub delete_count: u64,
    pub delete_percent: u8,
    /// What the source holds unchanged since before this moment is left as it is; `None`: nothing is.
    pub since: Option<Timestamp>,
    /// Ceiling in bytes a second; `None` = no ceiling.
    pub bytes_per_second: Option<u64>,
    /// Ceiling of requests a second over both stores; `None` = no ceiling.
    pub requests_per_second: Option<u32>,
    /// What is kept of objects.
    pub attributes: Attributes,
    /// How changes are heard of.
    pub feed: feed::Choice,
    /// The opposite direction is kept in line as well. Both buckets must keep versions.
    pub mutual: Option<Mutual>,
    /// Least time from one comparison to the next.
    pub least_period: Duration,
    /// A run without any progress for this long ends itself with [`Error::Stuck`].
    pub stuck_after: Duration,
}

/// As a rule has it of which nothing is said.
impl Default for Config {
    fn default() -> Self {
        Self {
            source_prefix: String::new(),
            target_prefix: String::new(),
            deletes: true,
            delete_count: 1000,
            delete_percent: 10,
            since: None,
            bytes_per_second: None,
            requests_per_second: None,
            attributes: Attributes::default(),
            feed: feed::Choice::Auto,
            mutual: None,
            least_period: Duration::from_secs(10),
            stuck_after: Duration::from_mins(10),
        }
    }
}

/// Names of two regions: of two changes of one moment, that of the region wins whose name comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutual {
    pub source_region: String,
    pub target_region: String,
}

/// What a run is given to work with.
pub struct Strings {
    /// Asks for a comparison now.
    pub run_now: mpsc::Receiver<()>,
    /// When somebody released the deletes that were held then.
    pub released: watch::Receiver<Option<Timestamp>>,
    /// Cancelled: stop. Whatever is under way is taken up by the next run.
    pub hand_over: CancellationToken,
    pub updates: mpsc::Sender<Update>,
}

/// What a run tells while it runs.
#[derive(Debug)]
pub enum Update {
    /// Something moves; sampled.
    Progress(Progress),
    /// Everything was compared once.
    Compared(Box<Compared>),
    /// Deletes were drawn on the budget. `written` is to be answered when that is noted where the next run
    /// finds it; dropped, nothing is deleted.
    Drawn { spent: Spent, written: oneshot::Sender<()> },
    /// A comparison failed; it is tried again after a pause unless the error is permanent.
    Failed { side: Option<Side>, reason: &'static str, message: String, permanent: bool },
}

/// Movement in the current comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of what the source held when it was counted, while that is not all at the target.
    pub migration: Option<MigrationProgress>,
    /// Differences that are not settled yet.
    pub pending: u64,
    /// Bytes written to the target by this run.
    pub transferred_bytes: u64,
    /// Requests and bytes of this run as one number: it stands still only when nothing moves.
    pub movement: u64,
    /// Something should be moving.
    pub busy: bool,
    /// Both stores have answered with what they hold.
    pub contact: bool,
    /// Others bring over what the source held; it is compared once they have ended.
    pub waiting: bool,
    /// The feed, if there is one.
    pub live: Option<Live>,
}

/// How far a feed is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// What it told up to then is dealt with: an estimate. `None`: it has told nothing yet.
    pub until: Option<Timestamp>,
    /// Keys that it named and that are not dealt with yet.
    pub waiting: u64,
    /// Keys of this run that were copied or deleted since it named them.
    pub handled: u64,
    /// Why nothing is heard at the moment.
    pub trouble: Option<String>,
}

/// How much of what the source held is at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MigrationProgress {
    pub objects: u64,
    pub objects_done: u64,
    pub bytes: u64,
    pub bytes_done: u64,
}

/// A comparison that was complete, and what is known after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub started_at: Timestamp,
    pub completed_at: Timestamp,
    /// Time from the beginning of this comparison to that of the next.
    pub period: Duration,
    pub counts: Counts,
    pub examples: Examples,
    /// Every change of the source up to it is dealt with, but for objects that failed and deletes that are held.
    pub dealt_with_until: Timestamp,
    pub memory: Memory,
    /// Whether the buckets keep versions; `None`: the credentials don't let us see it.
    pub source_versioning: Option<Versioning>,
    pub target_versioning: Option<Versioning>,
    pub feed: Heard,
    /// What was newer at the target was left to the opposite direction.
    pub mutual: bool,
    /// What a person should know.
    pub notices: Vec<Notice>,
}

/// How changes are heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub kind: feed::FeedKind,
    /// A sentence for the user on why it is this one.
    pub why: String,
}

/// A run ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Replicate(#[from] super::Error),
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// What is written through one end is seen through the other.
    #[error(
        "{0} is seen through the source's endpoint as well: both ends are one store; correct the endpoint of one Region"
    )]
    SameStore(String),
    /// Another cluster's rule has a claim that excludes this one.
    #[error("{message}")]
    Claimed { side: Side, message: String },
    /// What the bucket lacks it fetches from elsewhere: readers would see what was never replicated.
    #[error(
        "the website of bucket {bucket} sends readers of what it does not have to {host} (mirror-back-to-source), which excludes replication; remove that routing rule from the bucket's website, or choose another bucket"
    )]
    MirrorsBack { side: Side, bucket: String, host: String },
    /// A delete could not be told from what was not copied yet.
    #[error(
        "bucket {0} does not keep versions, or we may not ask it: two buckets that are both written need them; turn them on: aws s3api put-bucket-versioning --bucket {0} --versioning-configuration Status=Enabled"
    )]
    NotVersioned(String, Side),
    #[error("nothing has moved for {0:?}; the next run goes on where this one was")]
    Stuck(Duration),
}

impl Error {
    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Replicate(error) => error.reason(),
            Self::Feed(error) => error.reason(),
            Self::SameStore(_) => "SameStore",
            Self::Claimed { .. } => "BucketClaimed",
            Self::MirrorsBack { .. } => "MirrorBackToSource",
            Self::NotVersioned(..) => "NotVersioned",
            Self::Stuck(_) => "Stuck",
        }
    }

    /// True where only a person can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Replicate(error) => error.is_permanent(),
            Self::Feed(error) => error.is_permanent(),
            Self::SameStore(_) | Self::Claimed { .. } | Self::MirrorsBack { .. } | Self::NotVersioned(..) => {
                true
            }
            Self::Stuck(_) => false,
        }
    }

    /// The side to look at, where one is to blame.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Replicate(error) => Some(error.side()),
            Self::Feed(FeedError::Store { .. } | FeedError::CantListen(_) | FeedError::MayNotListen(_)) => {
                Some(Side::Source)
            }
            Self::Claimed { side, .. } | Self::MirrorsBack { side, .. } | Self::NotVersioned(_, side) => {
                Some(*side)
            }
            // A token, a port or a queue is no store's.
            Self::Feed(_) | Self::SameStore(_) | Self::Stuck(_) => None,
        }
    }
}

/// Brings the target in line until `hand_over`.
///
/// Sends [`Update`]s as it goes; a closed channel ends the run. Killed at any moment, the next run repeats
/// a listing and at most a part of each object that was under way.
///
/// # Errors
/// Permanent failures, failures to reach a store that lasted longer than the internal pauses, both ends
/// being one store, and [`Error::Stuck`].
pub async fn run(session: Session, strings: Strings) -> Result<(), Error> {
    let stuck_after = session.config.stuck_after;
    let Strings { run_now, released, hand_over, updates } = strings;
    let engine = tokio::select! {
        opened = engine::Engine::open(session, released.clone(), updates.clone()) => opened?,
        () = hand_over.cancelled() => return Ok(()),
    };
    let (engine, feed) = engine;
    tokio::select! {
        ended = engine.shift(run_now, released, &updates) => ended,
        () = hand_over.cancelled() => Ok(()),
        () = engine.until_stuck(stuck_after) => Err(Error::Stuck(stuck_after)),
        () = engine.live(feed) => Ok(()),
        () = engine.tell(&updates) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
