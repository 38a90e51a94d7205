//! Rules between resources: pure functions of what is there. The controller's answer binds.

mod acceptance;
mod claim;
mod eligibility;
mod objection;
mod place;
mod recovery;
mod regions;
mod replication;
mod standby;
mod standby_claim;

pub use acceptance::{Facts, judge};
pub use claim::Claim;
pub use eligibility::eligibility;
pub use objection::Objection;
pub use place::{Place, host_of};
pub use recovery::{judge_recovery, wrong_terms};
pub use replication::{PairClaim, RuleFacts, has_opposite, judge_rule, stays};
pub use standby::{StandbyFacts, is_viable, judge_standby, master_of};
pub use standby_claim::{StandbyClaim, follows, is_active, not_a_standby};

use crate::api::{DatabaseInstance, DeclaredState, InstancePhase};

/// State of an instance as far as it is known: asked at its endpoint, else as declared.
/// `None`: it has an endpoint that was not asked yet.
#[must_use]
pub fn instance_phase(instance: &DatabaseInstance) -> Option<InstancePhase> {
    if instance.spec.bootstrap.is_some() {
        return instance.status.as_ref()?.phase;
    }
    if instance.spec.endpoint.is_none() {
        return Some(match instance.spec.declared_state {
            DeclaredState::Running => InstancePhase::Running,
            DeclaredState::Stopped => InstancePhase::Stopped,
        });
    }
    let status = instance.status.as_ref()?;
    (status.observed_generation == instance.metadata.generation).then_some(status.phase).flatten()
}

#[cfg(test)]
mod fixtures;
