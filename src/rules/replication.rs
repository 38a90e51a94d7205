//! Whether a replication rule is accepted (`C06`, `C07`, `C08`, `C12`).

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    Claim, Place,
    claim::{Turn, turn},
    objection::{Objection, refused, waiting},
    regions::{regions_fit, unknown_region},
};
use crate::api::{
    AcceptedBucket, AcceptedPair, BucketReplicationRule, MIRRORING_BUCKETS, Offer, Region, ReplicationEnd,
    SAME_STORE, Served, VersionsKept, condition,
};

/// What a ruling is made from.
pub struct RuleFacts<'a> {
    pub rule: &'a BucketReplicationRule,
    pub source_region: Option<&'a Region>,
    pub target_region: Option<&'a Region>,
    /// Claims of all other rules.
    pub others: &'a [PairClaim],
    /// Claims of the services that keep backups.
    pub services: &'a [Claim],
}

/// A rule's claim on two buckets.
#[derive(Clone, Debug)]
pub struct PairClaim {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// An accepted claim stays accepted until it is deleted or changed.
    pub accepted: bool,
    /// False where it can't be accepted whatever others do.
    pub viable: bool,
    pub created: Option<Timestamp>,
    pub source: Option<Place>,
    pub target: Option<Place>,
    /// Whether both buckets keep versions, as its worker found; `None`: it has not told yet.
    pub versioned: Option<bool>,
    /// Its worker takes nothing away that is newer at its target.
    pub mutual: bool,
}

/// What one claim is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Apart,
    /// The same source and the same target.
    Same,
    /// From its target to its source: together they are mutual.
    Opposite,
    /// One bucket in common.
    Crossing,
}

impl PairClaim {
    /// The claim of a rule, as far as what it refers to is known.
    #[must_use]
    pub fn new(
        rule: &BucketReplicationRule,
        source_region: Option<&Region>,
        target_region: Option<&Region>,
    ) -> Self {
        let accepted = accepted_pair(rule);
        let current = source_region.zip(target_region).map(|regions| pair(rule, regions));
        let regions_hold = source_region
            .zip(target_region)
            .is_some_and(|(source, target)| regions_fit(source, target, Offer::BucketReplication).is_ok());
        let viable = regions_hold && !current.as_ref().is_some_and(|pair| is_one_store(rule, pair));
        let claimed = accepted.or(current.as_ref());
        Self {
            uid: rule.uid().unwrap_or_default(),
            namespace: rule.namespace().unwrap_or_default(),
            name: rule.name_any(),
            accepted: accepted.is_some(),
            viable: accepted.is_some() || viable,
            created: rule.creation_timestamp().map(|time| time.0),
            source: claimed.map(|pair| Place::of_bucket(&pair.source)),
            target: claimed.map(|pair| Place::of_bucket(&pair.target)),
            versioned: versioned(rule),
            mutual: rule.observed().and_then(|seen| seen.cycle.as_ref()).is_some_and(|cycle| cycle.mutual),
        }
    }

    /// True when `self` goes before `other`: accepted first, then the earlier, then by name.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        self.turn() < other.turn()
    }

    fn turn(&self) -> Turn<'_> {
        turn(self.accepted, self.created, &self.namespace, &self.name)
    }

    fn relation(&self, other: &Self) -> Relation {
        let same = |a: &Option<Place>, b: &Option<Place>| a.is_some() && a == b;
        match (
            same(&self.source, &other.source),
            same(&self.target, &other.target),
            same(&self.source, &other.target),
            same(&self.target, &other.source),
        ) {
            (true, true, _, _) => Relation::Same,
            (_, _, true, true) => Relation::Opposite,
            (false, false, false, false) => Relation::Apart,
            _ => Relation::Crossing,
        }
    }
}

/// True if another of the rules goes the other way, between the same buckets, and both keep versions.
#[must_use]
pub fn has_opposite(uid: &str, all: &[PairClaim]) -> bool {
    let Some(me) = all.iter().find(|claim| claim.uid == uid) else { return false };
    all.iter().any(|other| {
        let versioned = other.versioned.or(me.versioned) == Some(true);
        other.uid != me.uid && other.viable && versioned && me.relation(other) == Relation::Opposite
    })
}

/// The pair of a rule that was accepted, while nothing has changed that it was accepted for. A Region that
/// is gone changes nothing.
#[must_use]
pub fn stays(
    rule: &BucketReplicationRule,
    source: Option<&Region>,
    target: Option<&Region>,
) -> Option<AcceptedPair> {
    let accepted = accepted_pair(rule)?;
    let current = source.zip(target).map(|regions| pair(rule, regions));
    let unchanged = current.is_none_or(|current| current == *accepted);
    let mirrors = mirroring(rule, [source, target]).is_some();
    (unchanged && !mirrors && !is_one_store(rule, accepted)).then(|| accepted.clone())
}

/// Applies every rule, in the order in which a person would fix what they find.
///
/// # Errors
/// What keeps the rule out.
pub fn judge_rule(facts: &RuleFacts<'_>) -> Result<AcceptedPair, Objection> {
    let spec = &facts.rule.spec;
    let source = facts.source_region.ok_or_else(|| unknown_region(&spec.source.region, "of the source"))?;
    let target = facts.target_region.ok_or_else(|| unknown_region(&spec.target.region, "of the target"))?;
    regions_fit(source, target, Offer::BucketReplication)?;
    let pair = pair(facts.rule, (source, target));
    if is_one_store(facts.rule, &pair) {
        return Err(refused(
            "SameStore",
            format!(
                "regions {} and {} reach one store, as a probe found: what is written through one is seen through the other; ask an administrator to correct the endpoint of one of them, or choose other regions by creating this rule anew",
                spec.source.region, spec.target.region
            ),
        ));
    }
    if let Some((region, bucket)) = mirroring(facts.rule, [Some(source), Some(target)]) {
        return Err(refused(
            "MirrorBackToSource",
            format!(
                "bucket {bucket} of region {region} fetches what it lacks from elsewhere, as the Region's annotation {MIRRORING_BUCKETS} says, which excludes replication; switch that off at the bucket and have an administrator take it out of the annotation, or create this rule anew with another bucket"
            ),
        ));
    }
    let mut me = PairClaim::new(facts.rule, Some(source), Some(target));
    // What it refers to now counts, not what it was accepted for.
    me.source = Some(Place::of_bucket(&pair.source));
    me.target = Some(Place::of_bucket(&pair.target));
    exclusive(&me, &pair, facts)?;
    Ok(pair)
}

/// A bucket of the rule that serves misses from elsewhere, by what an administrator has written at its Region
/// (`C09`); with the Region's name.
fn mirroring(rule: &BucketReplicationRule, regions: [Option<&Region>; 2]) -> Option<(String, String)> {
    let ends = [&rule.spec.source, &rule.spec.target].into_iter().zip(regions);
    let mirrors = |(end, region): (&ReplicationEnd, Option<&Region>)| {
        let buckets = region?.annotations().get(MIRRORING_BUCKETS)?;
        let named = buckets.split(',').any(|bucket| bucket.trim() == end.bucket);
        named.then(|| (end.region.clone(), end.bucket.clone()))
    };
    ends.into_iter().find_map(mirrors)
}

/// A bucket replicates with one other bucket only, in each direction once (`C07`, `C08`).
fn exclusive(me: &PairClaim, pair: &AcceptedPair, facts: &RuleFacts<'_>) -> Result<(), Objection> {
    let rivals = || {
        let viable = facts.others.iter().filter(|other| other.uid != me.uid && other.viable);
        viable.filter(|other| other.precedes(me))
    };
    // Of several, the one that all the others give way to is named.
    let first = |wanted: Relation| {
        let related = rivals().filter(|other| me.relation(other) == wanted);
        related.reduce(|a, b| if b.precedes(a) { b } else { a })
    };
    let (from, to) = (&pair.source.bucket, &pair.target.bucket);
    if let Some(first) = first(Relation::Same) {
        return Err(refused(
            "PairTaken",
            format!(
                "rule {}/{} replicates bucket {from} to bucket {to} already; delete that rule or this one",
                first.namespace, first.name
            ),
        ));
    }
    if let Some(first) = first(Relation::Crossing) {
        return Err(refused(
            "BucketTaken",
            format!(
                "bucket {from} or bucket {to} replicates with a third bucket, by rule {}/{}, suspended or not; a bucket replicates with one other only: delete that rule or this one",
                first.namespace, first.name
            ),
        ));
    }
    let holds_backups = |claim: &&Claim| {
        let target = claim.target.as_ref().filter(|_| claim.accepted);
        target.zip(me.target.as_ref()).is_some_and(|(kept, written)| kept.overlaps(written))
    };
    if let Some(service) = facts.services.iter().find(holds_backups) {
        return Err(refused(
            "TargetHoldsBackups",
            format!(
                "bucket {to} holds the backups of service {}/{}, which this rule would overwrite or delete; create this rule anew with another bucket",
                service.namespace, service.name
            ),
        ));
    }
    first(Relation::Opposite).map_or(Ok(()), |other| mutual(other, pair))
}

/// The second of two rules that are mutual (`C08`): without versions nobody could tell a delete from a
/// copy that has not been made yet.
fn mutual(other: &PairClaim, pair: &AcceptedPair) -> Result<(), Objection> {
    let (namespace, name) = (&other.namespace, &other.name);
    match other.versioned {
        Some(true) if other.mutual => Ok(()),
        // Until then it would delete what is new at its target.
        Some(true) => Err(waiting(
            "PairNotMutual",
            format!(
                "the worker of rule {namespace}/{name} is being told that both buckets are written from now on; resume that rule if it is suspended"
            ),
        )),
        Some(false) => {
            let commands = [&pair.source, &pair.target].map(|AcceptedBucket { endpoint, bucket }| {
                format!("aws --endpoint-url {endpoint} s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled")
            });
            Err(refused(
                "NotVersioned",
                format!(
                    "together with rule {namespace}/{name} this would be mutual, which needs versions in both buckets; turn them on: {}",
                    commands.join("; ")
                ),
            ))
        }
        None => Err(waiting(
            "PairNotProbed",
            format!(
                "together with rule {namespace}/{name} this would be mutual; that rule's worker has not told yet whether both buckets keep versions"
            ),
        )),
    }
}

fn pair(rule: &BucketReplicationRule, (source, target): (&Region, &Region)) -> AcceptedPair {
    let bucket = |end: &ReplicationEnd, region: &Region| {
        let endpoint = region.spec.object_store.endpoint.trim_end_matches('/').to_owned();
        AcceptedBucket { endpoint, bucket: end.bucket.clone() }
    };
    AcceptedPair { source: bucket(&rule.spec.source, source), target: bucket(&rule.spec.target, target) }
}

/// The pair of a rule that was accepted and still is.
fn accepted_pair(rule: &BucketReplicationRule) -> Option<&AcceptedPair> {
    let pair = rule.status.as_ref()?.pair.as_ref()?;
    condition::is_true(rule.conditions(), condition::ACCEPTED).then_some(pair)
}

/// What a worker found by a probe: both ends are one store. It holds for the pair that the worker was
/// started for: a Region that is corrected makes another.
fn is_one_store(rule: &BucketReplicationRule, pair: &AcceptedPair) -> bool {
    let probed = rule.status.as_ref().and_then(|status| status.pair.as_ref());
    let Some(accepted) = condition::find(rule.conditions(), condition::ACCEPTED) else { return false };
    if probed != Some(pair) {
        return false;
    }
    if accepted.status == "False" {
        return accepted.reason == SAME_STORE;
    }
    // Not a run of before the rule was accepted as it is: whole seconds, by one clock.
    rule.observed().is_some_and(|report| {
        let started = report.started().map(jiff::Timestamp::as_second);
        let failed = report.failure.as_ref().is_some_and(|failure| failure.reason == SAME_STORE);
        failed && started >= Some(accepted.last_transition_time.0.as_second())
    })
}

fn versioned(rule: &BucketReplicationRule) -> Option<bool> {
    let cycle = rule.observed()?.cycle.as_ref()?;
    let both = [cycle.source_versions, cycle.target_versions];
    (!both.contains(&VersionsKept::Unknown)).then(|| both == [VersionsKept::Kept; 2])
}

#[cfg(test)]
#[path = "replication_tests.rs"]
mod tests;
