//! Drives an activation: reads the master to its end where that can be done, and completes it.

use std::time::Duration;

use jiff::Timestamp;
use mongodb::Client;
use tokio::time::Instant;

use super::{PAUSE, Run, pump::Pump, voice::moment, writer::Writer};
use crate::standby::{
    Activate, Error, Result, Side,
    activation::{self, Action, Facts, Master},
    servers,
    state::{Activating, Drained},
};

/// Between two looks at what was heard.
const LOOK: Duration = Duration::from_millis(50);
/// Between two questions to a master that is silent, or may not be kept from writing.
const ASK: Duration = Duration::from_millis(500);
/// Of a run that has not heard the wish itself.
const DRAIN: Duration = Duration::from_secs(5);

impl Run {
    /// Makes the target a server of its own, or goes on with that.
    ///
    /// # Errors
    /// See [`Error`]; the next run goes on.
    pub(super) async fn take_over(&self, writer: &mut Writer, mut pump: Option<Pump>) -> Result<()> {
        let begun = self.state.record().activation;
        let wish = self.activate.borrow().clone().or(begun.as_ref().map(wish_of));
        let wish = wish.ok_or_else(|| Error::Broken("nobody has asked for an activation".to_owned()))?;
        let activating = activation::begin(&self.state, &wish).await?;
        self.tell().await;
        let drained = self.drain(writer, &mut pump, activating).await?;
        // What is written down is whole transactions; nothing of the master comes after it.
        drop(pump);
        let _turn = self.fencing.lock().await;
        let fence = self.fence().await?;
        writer.flush().await?;
        loop {
            match activation::complete(&self.state, &fence, drained).await {
                Err(error @ Error::Server { .. }) => {
                    tracing::warn!(%error, "the activation is not complete yet");
                    self.hold(Some(format!("{error}; it is tried again"))).await;
                }
                completed => {
                    let receipt = completed?;
                    tracing::warn!(took = ?receipt.took, proved = receipt.proved, "the target has taken over");
                    self.tell().await;
                    return Ok(());
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tells what is written of the target.
    async fn tell(&self) {
        self.voice.follow(&self.state.record());
        self.voice.stands().await;
    }

    /// Tells why the activation doesn't go on; `None`: it does.
    async fn hold(&self, why: Option<String>) {
        let changed = self.voice.change(|standing| {
            let activation = standing.activation.as_mut()?;
            let changed = activation.held != why;
            activation.held = why;
            changed.then_some(())
        });
        if changed.is_some() {
            self.voice.stands().await;
        }
    }

    /// Applies the master's last changes, as far as they can be had.
    async fn drain(
        &self,
        writer: &mut Writer,
        pump: &mut Option<Pump>,
        mut activating: Activating,
    ) -> Result<Drained> {
        let client = servers::connect(&self.session.master, Side::Master).await?;
        // Each run has the whole of the drain: an earlier one may have been held for long.
        activating.started_at = Timestamp::now();
        let (mut master, mut asked, mut held) = (Master::NotAsked, Instant::now(), false);
        loop {
            self.catch_up(writer, pump).await?;
            match activation::next(&activating, &self.facts(&activating, &master)) {
                Action::Complete(drained) => {
                    self.hold(None).await;
                    return Ok(drained);
                }
                Action::Ask => (master, asked) = (self.ask(&client).await, Instant::now()),
                Action::Hold(why) => {
                    held = true;
                    // The clock starts when somebody decides, or the master falls silent: one missed answer of a
                    // living master must not be the end of its time.
                    activating.started_at = Timestamp::now();
                    self.hold(Some(why)).await;
                }
                Action::ReadOn if held => {
                    held = false;
                    self.state.activate(&activating).await?;
                    self.hold(None).await;
                }
                Action::ReadOn => {}
            }
            let may_change = !matches!(master, Master::Blocked { .. });
            if may_change && asked.elapsed() >= ASK {
                (master, asked) = (self.ask(&client).await, Instant::now());
            }
            if pump.is_none() && !matches!(master, Master::Unreachable | Master::NotAsked) {
                *pump = self.pump().await.ok();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks the master, with all the patience that a server has: one that is slow is not gone.
    async fn ask(&self, client: &Client) -> Master {
        let master = activation::ask(client).await;
        if let Master::Blocked { last } | Master::Open { last, .. } = &master {
            self.voice.seen(Some(*last));
        }
        master
    }

    fn facts(&self, activating: &Activating, master: &Master) -> Facts {
        let applied = self.state.record().position.as_ref().map(moment);
        let mut wish = self.activate.borrow().clone().unwrap_or_else(|| wish_of(activating));
        wish.accept_split_brain |= activating.accept_split_brain;
        Facts { now: Timestamp::now(), wish, master: master.clone(), applied, known: self.voice.newest() }
    }

    /// Applies what was heard so far. A feed that can't go on is no more: the master may be gone.
    async fn catch_up(&self, writer: &mut Writer, pump: &mut Option<Pump>) -> Result<()> {
        loop {
            while !writer.is_full()
                && let Some(open) = pump
            {
                match open.heard() {
                    Ok(Some(ration)) => writer.take(ration),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "nothing more is heard of the master");
                        *pump = None;
                    }
                }
            }
            if writer.is_done() {
                return writer.rest().await;
            }
            writer.step().await?;
        }
    }
}

/// What an earlier run was asked for.
fn wish_of(activating: &Activating) -> Activate {
    Activate {
        requested_at: activating.requested_at,
        drain_timeout: DRAIN,
        accept_split_brain: activating.accept_split_brain,
    }
}
