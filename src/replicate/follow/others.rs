//! Who brings over a large history in a run's place: it is given out as a plan, and waited for.

use async_trait::async_trait;

use crate::replicate::plan::Encoded;

/// Workers beside this one.
#[async_trait]
pub trait Others: Send + Sync + 'static {
    /// What a plan must be about to be theirs.
    fn about(&self) -> &str;

    /// How many shares the ceilings are divided into while they work, one of them ours.
    fn shares(&self) -> u32;

    /// True while a plan is out that was given them, by this run or an earlier one.
    fn are_at_it(&self) -> bool;

    /// True if somebody would take a plan.
    fn take_plans(&self) -> bool;

    /// Gives them a plan. False: they can't be reached, and what it holds is to be brought over here.
    async fn take(&self, plan: Encoded) -> bool;

    /// Waits until they have ended. False: they gave up on some of it.
    async fn ended(&self) -> bool;
}

/// There is nobody: every history is brought over by the run itself.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

#[async_trait]
impl Others for Nobody {
    fn about(&self) -> &'static str {
        ""
    }

    fn shares(&self) -> u32 {
        1
    }

    fn are_at_it(&self) -> bool {
        false
    }

    fn take_plans(&self) -> bool {
        false
    }

    async fn take(&self, _: Encoded) -> bool {
        false
    }

    async fn ended(&self) -> bool {
        true
    }
}
