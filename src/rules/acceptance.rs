//! Whether a service is accepted (`B03`, `B04`, `B05`).

use super::{Claim, Place, host_of, instance_phase};
use crate::api::{
    AcceptedSource, BackupSyncService, BillingStanding, DatabaseInstance, InstancePhase, Offer, Region,
};

/// What a ruling is made from.
pub struct Facts<'a> {
    pub service: &'a BackupSyncService,
    pub instance: Option<&'a DatabaseInstance>,
    pub source_region: Option<&'a Region>,
    pub target_region: Option<&'a Region>,
    /// Claims of all other services.
    pub others: &'a [Claim],
    /// True when the service was accepted before, for the source that it has now: what is checked once
    /// is not checked again.
    pub accepted_before: bool,
}

/// Answer of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// All rules hold.
    Accepted(AcceptedSource),
    /// Something is missing that may come by itself.
    Waiting { reason: &'static str, message: String },
    /// Somebody has to change something.
    Refused { reason: &'static str, message: String },
}

type Verdict<T> = Result<T, Ruling>;

/// Applies every rule, in the order in which a person would fix what they find.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Ruling {
    rule(facts).unwrap_or_else(|ruling| ruling)
}

fn rule(facts: &Facts<'_>) -> Verdict<Ruling> {
    let spec = &facts.service.spec;
    let instance = facts.instance.ok_or_else(|| unknown_instance(facts.service))?;
    let source_region =
        facts.source_region.ok_or_else(|| unknown_region(&instance.spec.region, "of the instance"))?;
    let target_region =
        facts.target_region.ok_or_else(|| unknown_region(&spec.target.region, "of the target"))?;
    regions_fit(source_region, target_region)?;
    let source = source_of(instance, source_region)?;
    alone(facts)?;
    if !facts.accepted_before {
        in_service(instance)?;
    }
    Ok(Ruling::Accepted(source))
}

fn waiting(reason: &'static str, message: String) -> Ruling {
    Ruling::Waiting { reason, message }
}

fn refused(reason: &'static str, message: String) -> Ruling {
    Ruling::Refused { reason, message }
}

fn name_of<K: kube::ResourceExt>(object: &K) -> String {
    object.name_any()
}

fn unknown_instance(service: &BackupSyncService) -> Ruling {
    let name = &service.spec.instance_ref.name;
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    waiting(
        "UnknownInstance",
        format!(
            "there is no DatabaseInstance {name} in namespace {namespace}; create it, or correct spec.instanceRef by creating the service anew"
        ),
    )
}

fn unknown_region(name: &str, whose: &str) -> Ruling {
    waiting(
        "UnknownRegion",
        format!(
            "there is no Region {name} (the region {whose}); ask an administrator to create it, or see kubectl get regions"
        ),
    )
}

/// The regions' own rule (`B04`): two different ones, of one kind of zone, both offering the service.
pub(super) fn regions_fit(source: &Region, target: &Region) -> Verdict<()> {
    let (from, to) = (name_of(source), name_of(target));
    if from == to {
        return Err(refused(
            "SameRegion",
            format!(
                "the target region {to} is the instance's own; choose another region for spec.target.region"
            ),
        ));
    }
    if host_of(&source.spec.object_store.endpoint) == host_of(&target.spec.object_store.endpoint) {
        return Err(refused(
            "SameRegion",
            format!(
                "regions {from} and {to} have one object store ({}); choose a region with a store of its own",
                target.spec.object_store.endpoint
            ),
        ));
    }
    if source.spec.zone != target.spec.zone {
        return Err(refused(
            "ZonesDiffer",
            format!(
                "region {from} is in zone {:?} and region {to} in zone {:?}; zones never mix, choose a region in zone {:?}",
                source.spec.zone, target.spec.zone, source.spec.zone
            ),
        ));
    }
    for region in [source, target] {
        if !region.spec.services.contains(&Offer::BackupSync) {
            return Err(refused(
                "RegionNotOffered",
                format!(
                    "region {} does not offer BackupSync; choose another region, or ask an administrator to add BackupSync to its spec.services",
                    name_of(region)
                ),
            ));
        }
    }
    Ok(())
}

fn source_of(instance: &DatabaseInstance, region: &Region) -> Verdict<AcceptedSource> {
    let Some(backups) = &instance.spec.backups else {
        return Err(waiting(
            "NoBackups",
            format!(
                "DatabaseInstance {} does not say where its backups are; set its spec.backups",
                name_of(instance)
            ),
        ));
    };
    Ok(AcceptedSource {
        region: name_of(region),
        endpoint: region.spec.object_store.endpoint.trim_end_matches('/').to_owned(),
        bucket: backups.bucket.clone(),
        prefix: backups.prefix.clone(),
        instance_uid: instance.metadata.uid.clone().unwrap_or_default(),
        gone_since: None,
    })
}

/// One service an instance, and one service a place at a target (`B03`).
fn alone(facts: &Facts<'_>) -> Verdict<()> {
    let mut me = Claim::new(facts.service, facts.instance, facts.source_region, facts.target_region);
    me.accepted = facts.accepted_before;
    // What the instance has now counts, not what it had when it was accepted.
    me.source = facts.instance.zip(facts.source_region).and_then(|(i, r)| Place::of_instance(i, r));
    // Of several, the one that all the others give way to is named.
    let first = |conflicts: fn(&Claim, &Claim) -> bool| {
        let rivals = facts.others.iter().filter(|other| other.uid != me.uid && other.viable);
        let rivals = rivals.filter(|other| other.precedes(&me) && conflicts(other, &me));
        rivals.reduce(|a, b| if b.precedes(a) { b } else { a })
    };
    if let Some(first) = first(Claim::same_source) {
        return Err(refused(
            "HasService",
            format!(
                "the backups of DatabaseInstance {} already have the service {}/{}; an instance has one service: delete that one or this one",
                me.instance, first.namespace, first.name
            ),
        ));
    }
    if let Some(first) = first(Claim::same_target) {
        let target = &facts.service.spec.target;
        return Err(refused(
            "TargetTaken",
            format!(
                "s3://{}/{} in region {} overlaps with the target of service {}/{}; create this service anew with another prefix",
                target.bucket, target.prefix, target.region, first.namespace, first.name
            ),
        ));
    }
    Ok(())
}

/// Checked once, at acceptance (`B05`).
fn in_service(instance: &DatabaseInstance) -> Verdict<()> {
    let name = name_of(instance);
    match instance_phase(instance) {
        Some(InstancePhase::Running) => {}
        None => {
            return Err(waiting(
                "InstanceUnknown",
                format!(
                    "DatabaseInstance {name} has not been asked yet whether it runs; it will be within seconds"
                ),
            ));
        }
        Some(phase @ (InstancePhase::Stopped | InstancePhase::Unreachable)) => {
            return Err(waiting(
                "InstanceNotRunning",
                format!(
                    "DatabaseInstance {name} is {phase:?}; start it (or correct its endpoint or declaredState), the service is accepted once it runs"
                ),
            ));
        }
    }
    if instance.spec.billing.standing == BillingStanding::Overdue {
        return Err(waiting(
            "InstanceOverdue",
            format!(
                "payment for DatabaseInstance {name} is overdue; settle it, the service is accepted once billing.standing is Normal"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "acceptance_tests.rs"]
mod tests;
