//! What fails in a story, how often, and for how long.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;

use super::{server::Fault, story::Side, worker::Worker};

/// What fails, in turn.
const FAULTS: [Failing; 10] = {
    use Failing::{SourceLink, SourceStore, TargetLink, TargetStore, Worker};
    [Worker, SourceLink, TargetStore, Worker, TargetLink, SourceStore, Worker, SourceLink, Worker, TargetLink]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Worker,
    SourceLink,
    TargetLink,
    SourceStore,
    TargetStore,
}

/// All that can fail.
pub struct Trouble<'a> {
    pub source: &'a Arc<Side>,
    pub target: &'a Arc<Side>,
    /// One of them fails at a time.
    pub workers: &'a [Worker],
}

impl Trouble<'_> {
    /// So many faults, spread over a load of so many writes; `made`: how many of them there were so far.
    pub async fn comes_often(&self, faults: u64, wanted: u64, made: impl Fn() -> u64, rng: &mut Rng) {
        for (n, failing) in (0..faults).zip(FAULTS.into_iter().cycle()) {
            let due = (wanted * n + rng.u64(..wanted)) / faults.max(1);
            while made() < due {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.comes(failing, rng).await;
        }
    }

    async fn comes(&self, failing: Failing, rng: &mut Rng) {
        let pause = Duration::from_millis(rng.u64(200..1_200));
        let faults =
            [Fault::Down, Fault::Reset, Fault::Stall, Fault::Late, Fault::Short(rng.usize(1_000..300_000))];
        match failing {
            Failing::Worker => {
                self.workers[rng.usize(..self.workers.len())].is_killed_for(pause / 2).await;
            }
            Failing::SourceLink => self.source.link.fails(faults[rng.usize(..faults.len())], pause).await,
            Failing::TargetLink => self.target.link.fails(faults[rng.usize(..faults.len())], pause).await,
            Failing::SourceStore => self.source.server.is_killed_for(pause).await,
            Failing::TargetStore => self.target.server.is_killed_for(pause).await,
        }
    }
}
