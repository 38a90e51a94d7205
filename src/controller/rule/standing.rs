//! How a rule stands with the rules between resources.

use super::observe::Observed;
use crate::{
    api::{AcceptedPair, BucketReplicationRule},
    controller::{Context, context::uid_of, work::standing::is_spoken_for},
    rules::{Objection, RuleFacts, judge_rule, stays},
};

/// How a rule stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Accepted, now or before.
    Accepted(AcceptedPair),
    /// Not accepted.
    Out(Objection),
    /// Another controller's, or nobody's: `silent` when another speaks for it.
    OtherRegion { silent: bool },
}

/// Applies the rules, unless they were applied before and nothing has changed.
#[must_use]
pub fn standing(rule: &BucketReplicationRule, observed: &Observed, context: &Context) -> Standing {
    if !context.options.serves(&rule.spec.target.region) {
        return Standing::OtherRegion { silent: is_spoken_for(rule) };
    }
    let (source_region, target_region) = (observed.source_region.as_ref(), observed.target_region.as_ref());
    if let Some(pair) = stays(rule, source_region, target_region) {
        return Standing::Accepted(pair);
    }
    let ruling = context.judged(&uid_of(rule), || {
        judge_rule(&RuleFacts {
            rule,
            source_region,
            target_region,
            others: &context.pair_claims(),
            services: &context.claims(),
        })
    });
    ruling.map_or_else(Standing::Out, Standing::Accepted)
}
