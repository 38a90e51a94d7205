//! How far a restore is.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a restore is at, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Makes room, and looks for the tools that it needs.
    #[default]
    Begin,
    /// Brings the backups back, as their tool wrote them.
    Fetch,
    /// Makes a consistent database of them.
    Prepare,
    /// Brings the log up to the moment.
    Replay,
    /// Checks, makes the administrator's account, shuts the server down.
    Finish,
}

impl Step {
    /// The word for it in statuses and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Begin => "Begin",
            Self::Fetch => "Fetch",
            Self::Prepare => "Prepare",
            Self::Replay => "Replay",
            Self::Finish => "Finish",
        }
    }
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    /// Bytes of objects that were fetched.
    pub done: u64,
    /// Bytes that the plan holds.
    pub total: u64,
}

/// What a restore reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The instance is what the source was at this moment.
    pub time_point: Timestamp,
    /// Recorded commit time of the last transaction that was replayed; `None` when none was.
    pub last_commit: Option<Timestamp>,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// Bytes of objects that were fetched.
    pub bytes: u64,
    /// What the checks answered, in their order.
    pub answers: Vec<String>,
}

/// Where a restore says how far it is; cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    step: Mutex<Step>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Reporter {
    /// A restore of so many bytes.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let shared = Shared { total: AtomicU64::new(total), ..Shared::default() };
        Self(Arc::new(shared))
    }

    /// Goes on to a step.
    pub fn enter(&self, step: Step) {
        *self.0.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
        tracing::info!(step = step.word(), "restore");
    }

    /// So many bytes more were fetched.
    pub fn fetched(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            step: *self.0.step.lock().unwrap_or_else(PoisonError::into_inner),
            done: self.0.done.load(Ordering::Relaxed),
            total: self.0.total.load(Ordering::Relaxed),
        }
    }
}
