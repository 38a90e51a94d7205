//! What is looked at beside the work: how far the master is, and whether the fence holds.

use std::{sync::Arc, time::Duration};

use mongodb::Client;

use super::{Run, voice};
use crate::standby::{
    Result, Side,
    fence::{Fence, Raised},
    servers::{self, facts},
    state::Phase,
};

/// Between two looks at how far the master is.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the fence.
const GUARD: Duration = Duration::from_secs(30);
/// The reason of a finding: something had undone a part of the fence.
const MENDED: &str = "FenceMended";
/// Looks at the master between two at the reach of its oplog, and at the members of the target.
const WIDE: u32 = 10;

impl Run {
    /// Looks again and again how far the master is.
    pub(super) async fn look(&self, master: &Client) -> ! {
        for number in 1_u32.. {
            match facts::majority_of(master, Side::Master).await {
                Ok((newest, _)) => {
                    self.voice.seen(Some(voice::at(newest)));
                    if number % WIDE == 0 {
                        self.look_around(master).await;
                    }
                    self.voice.looked().await;
                }
                Err(error) => {
                    self.voice.seen(None);
                    self.voice.failed(&error).await;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        std::future::pending().await
    }

    /// What is not known stays as it was told.
    async fn look_around(&self, master: &Client) {
        if let Ok(Some(window)) = facts::window(master, Side::Master).await {
            self.voice.change(|standing| standing.oplog_window = Some(window.length()));
        }
        if let Ok(target) = facts::facts(&self.target, Side::Target).await {
            self.voice.change(|standing| standing.servers.members = target.members);
        }
    }

    /// The fence around the target; the master's users are those who will be let in.
    pub(super) async fn fence(&self) -> Result<Fence> {
        let master = servers::connect(&self.session.master, Side::Master).await?;
        Ok(Fence::new(Arc::clone(&self.state), self.session.target.clone(), Some(master)))
    }

    /// Looks after the fence again and again, until users are to be let in.
    pub(super) async fn guard(&self) -> ! {
        loop {
            tokio::time::sleep(GUARD).await;
            self.raise().await;
        }
    }

    /// Raises the fence, unless users are to be let in. Who can't be asked for it is told of elsewhere.
    pub(super) async fn raise(&self) {
        let _turn = self.fencing.lock().await;
        if self.phase() >= Phase::Activating {
            return;
        }
        match async { self.fence().await?.raise().await }.await {
            Ok(Raised { fence, mended }) => self.voice.change(|standing| {
                standing.fence = fence;
                standing.findings.retain(|(reason, _)| *reason != MENDED);
                standing.findings.extend(mended.into_iter().map(|mended| (MENDED, mended)));
            }),
            Err(error) => tracing::warn!(%error, "the fence could not be looked at"),
        }
    }
}
