//! How a disaster recovery instance stands with the rules between resources.

use super::observe::Observed;
use crate::{
    api::{AcceptedMaster, DisasterRecoveryInstance},
    controller::{
        Context,
        context::uid_of,
        work::standing::{is_accepted, is_spoken_for},
    },
    rules::{Objection, StandbyFacts, judge_standby, master_of},
};

/// How a disaster recovery instance stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Accepted, now or before, with its master as it is known.
    Accepted(AcceptedMaster),
    /// Not accepted.
    Out(Objection),
    /// Another controller's, or nobody's: `silent` when another speaks for it.
    OtherRegion { silent: bool },
}

/// Applies the rules, unless they were applied before. What was accepted stays so: in a disaster, the master's
/// `DatabaseInstance` or its Region may be the first to go, and the copy is needed then.
#[must_use]
pub fn standing(standby: &DisasterRecoveryInstance, observed: &Observed, context: &Context) -> Standing {
    if !context.options.serves(&standby.spec.region) {
        return Standing::OtherRegion { silent: is_spoken_for(standby) };
    }
    let before = standby.status.as_ref().and_then(|status| status.master.clone());
    if let Some(before) = before.filter(|_| is_accepted(standby)) {
        let now = observed.master.as_ref().and_then(master_of);
        return Standing::Accepted(now.unwrap_or(before));
    }
    let ruling = context.judged(&uid_of(standby), || {
        judge_standby(&StandbyFacts {
            standby,
            master: observed.master.as_ref(),
            master_region: observed.master_region.as_ref(),
            region: observed.region.as_ref(),
            namesake: observed.namesake.as_ref(),
            others: &context.standby_claims(),
        })
    });
    ruling.map_or_else(Standing::Out, Standing::Accepted)
}
