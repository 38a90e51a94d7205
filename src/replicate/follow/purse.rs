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
    /// Draws the first of some numbers of deletes that the budget allows, and waits until that is noted. Drawn and not
    /// noted is drawn all the same, and makes no delete.
    async fn draw_first(&self, sizes: &[u64], target: u64, released: Option<Timestamp>) -> Option<u64> {
        let permit = self.updates.reserve().await.ok()?;
        let (written, noted) = oneshot::channel();
        let drawn = {
            // One look at the budget for all who draw, and notes in the order of their drawings.
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Timestamp::now();
            let budget = memory.budget(&self.config, released, now);
            let size = sizes.iter().copied().find(|size| budget.allows(*size, target))?;
            let drawn = budget.drawn(size);
            if drawn == 0 {
                return Some(size);
            }
            *memory = memory.drawing(drawn, now);
            let spent = memory.spent.unwrap_or(Spent { since: now, objects: 0 });
            permit.send(Update::Drawn { spent, written });
            size
        };
        noted.await.is_ok().then_some(drawn)
    }

    async fn draw_counted(&self, deletes: u64, target: u64) -> bool {
        self.target.store(target, Relaxed);
        let released = *self.released.borrow();
        self.draw_first(&[deletes], target, released).await.is_some()
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
            let sizes = [deletes.max(HANDFUL), deletes];
            let Some(drawn) = self.draw_first(&sizes, target, None).await else {
                return false;
            };
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
