//! The one budget of deletes: comparison and feed draw on it, and what is drawn is noted where the next run
//! finds it before anything is deleted.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Config, Memory, Spent, Update};
use crate::replicate::sweep::Allowance;

/// Deletes of the feed that are drawn at a time: each drawing waits until it is noted.
const HANDFUL: u64 = 100;

/// What may be deleted, by all that is known to a run.
pub(super) struct Purse {
    pub config: Config,
    pub memory: Arc<Mutex<Memory>>,
    /// When somebody released the deletes that were held then.
    pub released: watch::Receiver<Option<Timestamp>>,
    pub updates: mpsc::Sender<Update>,
    /// Objects at the target when they were counted last; none were counted yet: `u64::MAX`.
    pub target: AtomicU64,
    /// Drawn and noted, not used yet.
    pub handful: tokio::sync::Mutex<u64>,
}

impl Purse {
    /// Notes a drawing; the budget is as it was when that can't be done.
    async fn note(&self, drawn: u64, now: Timestamp) -> bool {
        if drawn == 0 {
            return true;
        }
        let spent = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            *memory = memory.drawing(drawn, now);
            memory.spent
        };
        let (written, noted) = oneshot::channel();
        let update = Update::Drawn { spent: spent.unwrap_or(Spent { since: now, objects: 0 }), written };
        self.updates.send(update).await.is_ok() && noted.await.is_ok()
    }

    fn affordable(
        &self,
        deletes: u64,
        target: u64,
        released: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<u64> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = memory.budget(&self.config, released, now);
        budget.allows(deletes, target).then(|| budget.drawn(deletes))
    }

    async fn draw_counted(&self, deletes: u64, target: u64) -> bool {
        self.target.store(target, Relaxed);
        let (released, now) = (*self.released.borrow(), Timestamp::now());
        match self.affordable(deletes, target, released, now) {
            Some(drawn) => self.note(drawn, now).await,
            None => false,
        }
    }

    /// What was released is for the comparison that held it.
    async fn draw_few(&self, deletes: u64) -> bool {
        let target = self.target.load(Relaxed);
        // Nothing was compared yet: nobody knows what a burst is here.
        if target == u64::MAX {
            return false;
        }
        let mut handful = self.handful.lock().await;
        if *handful < deletes {
            let now = Timestamp::now();
            let sizes = [deletes.max(HANDFUL), deletes];
            let Some(drawn) = sizes.into_iter().find_map(|size| self.affordable(size, target, None, now))
            else {
                return false;
            };
            if !self.note(drawn, now).await {
                return false;
            }
            *handful += drawn;
        }
        *handful -= deletes;
        true
    }
}

#[async_trait]
impl Allowance for Purse {
    async fn draw(&self, deletes: u64, target: Option<u64>) -> bool {
        match target {
            Some(target) => self.draw_counted(deletes, target).await,
            None => self.draw_few(deletes).await,
        }
    }
}
