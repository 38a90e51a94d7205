//! When to look again, when to give up, when to stop.

use std::sync::{Arc, atomic::Ordering};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    LogPosition, Mode, Update,
    bases::{Event, Orders},
    cycle::{self, Memory},
    engine::Engine,
};
use crate::{
    backup::{Error, Result},
    replicate::pace::{self, TICK, jittered},
};

/// One run's loop.
pub(super) struct Shift<'a> {
    pub engine: &'a Engine,
    pub position: Option<Arc<dyn LogPosition>>,
    pub mode: Mode,
    pub run_now: mpsc::Receiver<()>,
    pub orders: watch::Sender<Orders>,
    pub events: mpsc::Receiver<Event>,
}

/// Why the loop woke.
enum Woken {
    Look,
    Stop,
}

impl Shift<'_> {
    pub(super) async fn run(mut self) -> Result<()> {
        let hand_over = match &self.mode {
            Mode::Once => CancellationToken::new(),
            Mode::Shift { hand_over } => hand_over.clone(),
        };
        let once = matches!(self.mode, Mode::Once);
        let mut memory = Memory::default();
        let mut failures = 0;
        loop {
            self.engine.counts.busy.store(true, Ordering::Relaxed);
            let position = self.position.as_deref();
            let cycle = cycle::run(self.engine, &mut memory, &self.orders, position, &hand_over).await;
            let failed = match cycle {
                Ok(report) => {
                    failures = 0;
                    self.send(Update::Cycle(Box::new(report))).await?;
                    None
                }
                Err(error) => Some(error),
            };
            let woken = match failed {
                Some(error) => self.pause(error, &mut failures, once, &hand_over).await?,
                None => self.wait(&mut memory, &mut failures, once, &hand_over).await?,
            };
            if matches!(woken, Woken::Stop) {
                return Ok(());
            }
        }
    }

    /// After a cycle: until the next is due, a base has landed, or somebody asks.
    async fn wait(
        &mut self,
        memory: &mut Memory,
        failures: &mut usize,
        once: bool,
        hand_over: &CancellationToken,
    ) -> Result<Woken> {
        let due = Instant::now() + jittered(self.engine.config.interval);
        let version = self.orders.borrow().version;
        loop {
            tokio::select! {
                biased;
                () = hand_over.cancelled() => return Ok(Woken::Stop),
                asked = self.run_now.recv(), if !once && !self.run_now.is_closed() => {
                    if asked.is_some() {
                        return Ok(Woken::Look);
                    }
                }
                event = self.events.recv() => match event {
                    Some(Event::Copied { objects, bytes }) => {
                        memory.base_objects += objects;
                        memory.base_bytes += bytes;
                        return Ok(Woken::Look);
                    }
                    Some(Event::Refused { id, cause }) => memory.refused.push((id, cause)),
                    Some(Event::Idle { version: done }) if done == version => {
                        self.engine.counts.busy.store(false, Ordering::Relaxed);
                        if once {
                            return Ok(if memory.base_objects > 0 { Woken::Look } else { Woken::Stop });
                        }
                    }
                    Some(Event::Idle { .. }) => {}
                    Some(Event::Failed(error)) => return self.pause(error, failures, once, hand_over).await,
                    None => return Ok(Woken::Stop),
                },
                () = tokio::time::sleep_until(due) => return Ok(Woken::Look),
            }
        }
    }

    /// After a failure. Permanent ones, and those that lasted too long, end the run.
    async fn pause(
        &mut self,
        error: Error,
        failures: &mut usize,
        once: bool,
        hand_over: &CancellationToken,
    ) -> Result<Woken> {
        let update = Update::Failed {
            side: error.side(),
            reason: error.reason(),
            message: error.to_string(),
            permanent: error.is_permanent(),
        };
        self.send(update).await?;
        let Some(pause) = pace::pause(*failures).filter(|_| !once && !error.is_permanent()) else {
            return Err(error);
        };
        *failures += 1;
        self.engine.counts.busy.store(false, Ordering::Relaxed);
        tokio::select! {
            () = hand_over.cancelled() => Ok(Woken::Stop),
            () = tokio::time::sleep(pause) => Ok(Woken::Look),
        }
    }

    /// Nobody listens any more: the ticker ends the run.
    async fn send(&self, update: Update) -> Result<()> {
        if self.engine.updates.send(update).await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Ends when nothing moved for too long while something should.
pub(super) async fn watch(engine: &Engine) -> Error {
    let limit = engine.config.stuck_after;
    let movement = || engine.counts.busy.load(Ordering::Relaxed).then(|| engine.movement());
    pace::until_stuck(limit, movement).await;
    Error::Stuck(limit)
}

/// Tells of progress while there is any; ends when nobody listens.
pub(super) async fn tell(engine: &Engine) {
    let mut last = engine.progress();
    loop {
        tokio::select! {
            () = engine.updates.closed() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let progress = engine.progress();
        if progress != last {
            // A full channel means that somebody is busy: the next one will tell.
            if engine.updates.try_send(Update::Progress(progress.clone())).is_ok() {
                last = progress;
            }
        }
    }
}
