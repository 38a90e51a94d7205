//! A large history is given to others.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{Current, Engine, Error};
use crate::{
    replicate::{
        plan::{Chunk, Plan, Volume},
        sweep::{Action, Counts},
    },
    store::{ListRequest, Side},
};

/// How often both stores are asked whether they still answer, while others use them in our place.
const ASK: Duration = Duration::from_mins(2);

impl Engine {
    /// Counts what is to be migrated. A large history is given to others, and waited for.
    pub(super) async fn prepare(&self) -> Result<(), Error> {
        if self.others.are_at_it() && self.wait().await? {
            self.set_current(Current::default());
            return Ok(());
        }
        let count = self.sweep(Action::Compare).sampled();
        self.set_current(Current { tally: count.tally(), counted: None });
        let counted = count.run().await?.counts;
        if self.give_out(&counted, &count.chunks()).await && self.wait().await? {
            self.set_current(Current::default());
            return Ok(());
        }
        self.set_current(Current { counted: Some(counted), ..Current::default() });
        Ok(())
    }

    async fn give_out(&self, counted: &Counts, chunks: &[Chunk]) -> bool {
        let lacking = Volume { objects: counted.missing + counted.unlike, bytes: counted.bytes };
        if lacking.is_small() || !self.others.take_plans() {
            return false;
        }
        match Plan::encoded(self.others.about(), chunks) {
            // One range is no faster elsewhere.
            Ok(plan) if plan.plan.ranges.len() > 1 => self.others.take(plan).await,
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "no plan could be made");
                false
            }
        }
    }

    /// Waits for the others; false: they gave up on some of it.
    async fn wait(&self) -> Result<bool, Error> {
        let _waiting = Waiting::begin(self);
        loop {
            tokio::select! {
                all = self.others.ended() => return Ok(all),
                () = tokio::time::sleep(ASK) => self.ask().await?,
            }
        }
    }

    /// Credentials that are refused and stores that are down are told of, although others meet them first.
    async fn ask(&self) -> Result<(), Error> {
        for (store, side) in [(&self.source, Side::Source), (&self.target, Side::Target)] {
            let one = ListRequest { max_keys: Some(1), ..ListRequest::default() };
            store.list(&one).await.map_err(|source| crate::replicate::Error::Store { side, source })?;
        }
        Ok(())
    }
}

/// Others are at work, however the wait for them ends.
struct Waiting<'a>(&'a Engine);

impl<'a> Waiting<'a> {
    fn begin(engine: &'a Engine) -> Self {
        engine.limits.divide(engine.others.shares());
        engine.waiting.store(true, Relaxed);
        engine.busy.store(false, Relaxed);
        Self(engine)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.busy.store(true, Relaxed);
        self.0.waiting.store(false, Relaxed);
        self.0.limits.divide(1);
    }
}
