//! From what was heard to windows that are applied: written down, applied, and past the checkpoint, in this order.
//!
//! While a window is applied, the next one is written down. What is written down will be applied, by this run or
//! by a later one; so the target always comes to a moment of the master at which whole transactions are there.

use std::{sync::Arc, time::Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::{pump::Ration, voice::Voice};
use crate::standby::{
    Result,
    apply::Applier,
    feed::{Heard, Position},
    journal::Journal,
    state::State,
    window::{Gathering, Window},
};

/// Windows that are applied and not forgotten: each removal costs a write.
const KEPT: i64 = 16;

/// Writes to a target that is held.
pub struct Writer {
    state: Arc<State>,
    journal: Journal,
    applier: Applier,
    voice: Arc<Voice>,
    gathering: Gathering,
    shares: Vec<OwnedSemaphorePermit>,
    /// Written down, and not applied yet.
    pending: Option<(Window, Vec<OwnedSemaphorePermit>)>,
    forgotten: i64,
    /// The last moment that was heard of and nothing was written at.
    idle: Option<Position>,
    /// A window could not be applied: what comes after it must not be applied without it.
    has_failed: bool,
}

impl Writer {
    /// A writer that goes on where the target is.
    pub fn new(state: Arc<State>, applier: Applier, voice: Arc<Voice>) -> Self {
        Self {
            journal: Journal::new(state.target().clone()),
            applier,
            voice,
            gathering: Gathering::default(),
            shares: Vec::new(),
            pending: None,
            forgotten: 0,
            idle: None,
            has_failed: false,
            state,
        }
    }

    /// What knows of indexes and collections.
    pub fn applier(&mut self) -> &mut Applier {
        &mut self.applier
    }

    /// Applies what an earlier run has written down: the master is not needed.
    ///
    /// # Errors
    /// See [`Error`](crate::standby::Error).
    pub async fn redo(&mut self) -> Result<()> {
        for number in self.journal.windows(self.applied()).await? {
            let window = self.journal.read(number).await?;
            tracing::info!(number, changes = window.changes(), "is applied once more");
            self.applier.write(window, true).await?;
        }
        self.forget().await
    }

    /// Takes in what was heard.
    pub fn take(&mut self, ration: Ration) {
        match ration.heard {
            Heard::Group(group) => {
                self.idle = None;
                self.gathering.add(group);
                self.shares.extend(ration.share);
            }
            Heard::Idle(position) => self.idle = Some(position),
        }
    }

    /// No more should be taken in before the next step.
    pub fn is_full(&self) -> bool {
        self.gathering.is_full()
    }

    /// Nothing is left to be written down or applied.
    pub fn is_done(&self) -> bool {
        self.gathering.is_empty() && self.pending.is_none()
    }

    /// All that was taken in is there, or will be.
    pub fn is_sound(&self) -> bool {
        !self.has_failed
    }

    /// Applies what is written down, and writes down what was gathered.
    ///
    /// # Errors
    /// See [`Error`](crate::standby::Error): the run is over then, and the next one goes on.
    pub async fn step(&mut self) -> Result<()> {
        let stepped = self.advance().await;
        self.has_failed |= stepped.is_err();
        stepped
    }

    async fn advance(&mut self) -> Result<()> {
        let before = self.pending.take();
        let next = (!self.gathering.is_empty()).then(|| {
            let number = before.as_ref().map_or(self.applied(), |(window, _)| window.number) + 1;
            (self.gathering.take(number), std::mem::take(&mut self.shares))
        });
        let journal = self.journal.clone();
        let written = async {
            match &next {
                Some((window, _)) => journal.write(window).await,
                None => Ok(()),
            }
        };
        let applied = async {
            match before {
                // Its share of the memory is held until it is applied.
                Some((window, _share)) => {
                    let (begun, changes) = (Instant::now(), window.changes());
                    let written = self.applier.write(window, false).await;
                    written.map(|()| Some((changes, begun.elapsed())))
                }
                None => Ok(None),
            }
        };
        let (applied, written) = tokio::join!(applied, written);
        written?;
        if let Some((changes, took)) = applied? {
            self.gathering.pace(changes, took);
            self.tell().await;
        }
        self.pending = next;
        if self.applied() >= self.forgotten + KEPT {
            self.forget().await?;
        }
        Ok(())
    }

    /// The window that was applied last.
    fn applied(&self) -> i64 {
        self.state.record().window
    }

    async fn forget(&mut self) -> Result<()> {
        let applied = self.applied();
        self.journal.forget(applied).await?;
        self.forgotten = applied;
        Ok(())
    }

    async fn tell(&self) {
        let record = self.state.record();
        self.voice.change(|standing| standing.counts = record.counts);
        if let Some(position) = &record.position {
            self.voice.applied(position);
        }
        self.voice.moves().await;
    }

    /// Moves the checkpoint to where nothing happened since.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub async fn rest(&mut self) -> Result<()> {
        let Some(position) = self.idle.take().filter(|_| self.is_done()) else { return Ok(()) };
        self.state.idle(&position).await?;
        self.voice.applied(&position);
        Ok(())
    }

    /// Applies all that was heard.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub async fn flush(&mut self) -> Result<()> {
        while !self.is_done() {
            self.step().await?;
        }
        self.rest().await
    }
}
