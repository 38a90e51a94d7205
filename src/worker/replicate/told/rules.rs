//! Lifecycle rules, as the API spells them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{FailureSide, LifecycleSeen},
    replicate::{
        follow::Lifecycles,
        lifecycle::{Lifecycle, Seen},
    },
    store::{Expires, LifecycleFilter, LifecycleRule},
};

/// Of each bucket: a status has its limits. Those that are there come first.
const MOST: usize = 32;
/// Tags of a rule that are noted. No store gives an object more: a rule that asks for more lets nothing go.
const MOST_TAGS: usize = 64;

/// What is noted for the next run.
#[must_use]
pub fn told(lifecycles: &Lifecycles) -> Vec<LifecycleSeen> {
    let Lifecycles { source, target } = lifecycles;
    let of = |bucket, lifecycle: &Lifecycle| -> Vec<_> {
        let meant = lifecycle.seen().iter().filter(|seen| seen.rule.filter.tags.len() <= MOST_TAGS);
        meant.take(MOST).map(|seen| spelt(bucket, seen)).collect()
    };
    [of(FailureSide::Source, source), of(FailureSide::Target, target)].concat()
}

/// What an earlier run has noted.
#[must_use]
pub fn known(noted: &[LifecycleSeen]) -> Lifecycles {
    let of = |bucket| {
        let own = noted.iter().filter(|noted| noted.bucket == bucket);
        Lifecycle::new(own.filter_map(meant).collect())
    };
    Lifecycles { source: of(FailureSide::Source), target: of(FailureSide::Target) }
}

fn spelt(bucket: FailureSide, seen: &Seen) -> LifecycleSeen {
    let LifecycleFilter { prefix, tags, larger_than, smaller_than } = seen.rule.filter.clone();
    let (days, date) = match seen.rule.expires {
        Expires::After { days } => (Some(days), None),
        Expires::On(day) => (None, Some(Time(day))),
    };
    LifecycleSeen { bucket, prefix, tags, larger_than, smaller_than, days, date, until: seen.until.map(Time) }
}

fn meant(noted: &LifecycleSeen) -> Option<Seen> {
    let LifecycleSeen { bucket: _, prefix, tags, larger_than, smaller_than, days, date, until } =
        noted.clone();
    let expires = date.map(|day| Expires::On(day.0)).or(days.map(|days| Expires::After { days }))?;
    let filter = LifecycleFilter { prefix, tags, larger_than, smaller_than };
    // Names are for people; nothing depends on them.
    let rule = LifecycleRule { id: String::new(), filter, expires };
    Some(Seen { rule, until: until.map(|time| time.0) })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn c10_the_next_run_knows_the_rules_that_were_there() {
        let second = Timestamp::from_second(1_800_000_000).unwrap();
        let tags = [("a".to_owned(), "1".to_owned())].into();
        let filter = LifecycleFilter { prefix: "p/".into(), tags, larger_than: Some(1), smaller_than: None };
        let rule = |expires| LifecycleRule { id: String::new(), filter: filter.clone(), expires };
        let gone = Seen { rule: rule(Expires::After { days: 3 }), until: Some(second) };
        let there = Seen { rule: rule(Expires::On(second)), until: None };
        let lifecycles = Lifecycles {
            source: Lifecycle::new(vec![there.clone(), gone.clone()]),
            target: Lifecycle::new(vec![gone]),
        };
        let noted = serde_json::to_value(told(&lifecycles)).unwrap();
        assert_eq!(known(&serde_json::from_value::<Vec<_>>(noted).unwrap()), lifecycles);
    }
}
