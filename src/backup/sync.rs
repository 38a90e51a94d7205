//! Keeps a second bucket current: logs first, every interval; bases beside them, as bandwidth allows.

mod bases;
mod cycle;
mod deletion;
mod engine;
mod findings;
mod hints;
mod plan;
mod shift;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Result,
    catalog::Format,
    window::{Basis, Gap, Window},
};
use crate::store::{ObjectStore, Side};
use bases::Orders;
use engine::Engine;

/// Where time comes from, so that a test can turn the clock.
pub trait Clock: Send + Sync {
    /// The moment that counts as now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Where a source engine's log stands, asked from the engine itself (`B09`): lets an idle source
/// be told from a source whose backups stopped.
#[async_trait]
pub trait LogPosition: Send + Sync {
    /// The engine's current position in its log, in the form that the catalog's segments use
    /// (a GTID set for MariaDB and MySQL), or why it could not be asked.
    async fn current(&self) -> Result<String, String>;
}

/// Everything that identifies and limits one copy.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    pub format: Format,
    /// Nobody named the format: what tells it.
    pub detected: Option<String>,
    /// Identity of what is stored, recorded at the target: endpoint, bucket and prefix of the source.
    pub source: Place,
    /// Identity of the copy.
    pub target: Place,
    /// Engine's name as the API spells it, recorded at the target.
    pub engine: String,
    /// Who owns the copy, for people: `<namespace>/<name>`, recorded at the target.
    pub owner: String,
    /// How long every moment stays restorable.
    pub retention: Duration,
    /// Time from one look at the source's logs to the next.
    pub interval: Duration,
    /// Ceiling over both lanes, in bytes a second; `None` = no ceiling.
    pub bytes_per_second: Option<u64>,
    /// Ceiling of requests a second over both stores; `None` = no ceiling.
    pub requests_per_second: Option<u32>,
    /// A run without any progress for this long ends itself with [`Error::Stuck`](super::Error::Stuck).
    pub stuck_after: Duration,
}

/// A prefix in a bucket on an endpoint: what a copy *is*, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub endpoint: String,
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
}

/// One copy, ready to run.
pub struct Session {
    pub source: Arc<dyn ObjectStore>,
    pub target: Arc<dyn ObjectStore>,
    pub config: SyncConfig,
    pub clock: Arc<dyn Clock>,
    /// `None`: the engine can't be asked.
    pub log_position: Option<Arc<dyn LogPosition>>,
}

/// How long a run goes on.
#[derive(Clone, Debug)]
pub enum Mode {
    /// One look at the logs; bases to the end, looking at the logs again every interval meanwhile.
    Once,
    /// Look every interval until `hand_over` is cancelled, then stop at a safe point.
    Shift { hand_over: CancellationToken },
}

/// What a run tells while it runs.
#[derive(Clone, Debug)]
pub enum Update {
    /// Bytes are moving; sent as often as it changes, receivers sample it.
    Progress(Progress),
    /// The logs were looked at, and everything below was measured at the target.
    Cycle(Box<Report>),
    /// A cycle failed; a shift tries again after a pause unless the error is permanent.
    Failed { side: Option<Side>, reason: &'static str, message: String, permanent: bool },
}

/// Movement in the current cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects and bytes that are known to be missing at the target.
    pub pending_objects: u64,
    pub pending_bytes: u64,
    /// Bytes written to the target by this run.
    pub transferred_bytes: u64,
    /// What is being copied now, for people.
    pub current: Option<String>,
    /// Requests and bytes of this run as one number: it stands still only when nothing moves.
    pub movement: u64,
    /// Something should be moving.
    pub busy: bool,
}

/// What one cycle measured. Every time point is about the target alone, except `source_latest`.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub started_at: Timestamp,
    pub completed_at: Timestamp,
    /// The newest moment that can be restored from the target alone.
    pub latest: Option<Timestamp>,
    pub basis: Basis,
    pub windows: Vec<Window>,
    /// Holes, newest last, with the missing piece named.
    pub gaps: Vec<Gap>,
    /// The newest moment that could be restored from the source's bucket now.
    pub source_latest: Option<Timestamp>,
    /// Set when the engine confirmed that its log stands where the target's ends: data is covered
    /// up to this moment although no newer log exists. `Err` = it could not be asked, and why.
    pub covered_until: Option<Result<Timestamp, String>>,
    pub full: u64,
    pub incremental: u64,
    pub logs: u64,
    /// Bytes of all copies at the target, records not counted.
    pub stored_bytes: u64,
    /// Bytes ever written to the target for this service, kept in its records.
    pub transferred_bytes: u64,
    pub pending_objects: u64,
    pub pending_bytes: u64,
    /// Objects copied in this cycle.
    pub copied_objects: u64,
    pub copied_bytes: u64,
    /// Objects deleted in this cycle for retention.
    pub pruned_objects: u64,
    /// What a person should know: a corrupt sentinel, a changed object, nothing to restore yet.
    pub findings: Vec<Finding>,
}

/// Something found in a cycle that does not stop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `CorruptMetadata`, `ChangedAtSource`, `NoFullBackup`, `BackupIncomplete`, …
    pub reason: &'static str,
    /// Names the object and the next step.
    pub message: String,
}

/// Runs a copy until `mode` says it is over.
///
/// Sends [`Update`]s as it goes; a closed channel ends the run. `run_now` wakes a waiting shift.
/// Killed at any moment, the next run repeats at most a page or a part.
///
/// # Errors
/// In [`Mode::Once`] the first failure; in a shift only permanent failures, failures to reach a
/// store that lasted longer than the internal pauses, and [`Error::Stuck`](super::Error::Stuck).
pub async fn run(
    session: Session,
    mode: Mode,
    run_now: mpsc::Receiver<()>,
    updates: mpsc::Sender<Update>,
) -> Result<()> {
    let position = session.log_position.clone();
    let engine = Engine::open(session, updates.clone()).await?;
    let (orders, ordered) = watch::channel(Orders::default());
    let (events, happened) = mpsc::channel(16);
    let shift = shift::Shift { engine: &engine, position, mode, run_now, orders, events: happened };
    tokio::select! {
        ended = shift.run() => ended,
        stuck = shift::watch(&engine) => Err(stuck),
        () = shift::tell(&engine) => Ok(()),
        () = async { bases::run(&engine, ordered, events).await; std::future::pending().await } => Ok(()),
    }
}
