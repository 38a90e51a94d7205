//! Whether a service is accepted (`B03`, `B04`, `B05`).

use kube::ResourceExt;

use super::{
    Claim, Place, StandbyClaim, instance_phase, not_a_standby,
    objection::{Objection, refused, waiting},
    regions::{regions_fit, unknown_region},
};
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
    /// Copies that follow a master, which take no backups (`D04`).
    pub standbys: &'a [StandbyClaim],
    /// True when the service was accepted before, for the source that it has now: what is checked once
    /// is not checked again.
    pub accepted_before: bool,
}

/// Applies every rule, in the order in which a person would fix what they find.
///
/// # Errors
/// What keeps the service out.
pub fn judge(facts: &Facts<'_>) -> Result<AcceptedSource, Objection> {
    let spec = &facts.service.spec;
    let instance = facts.instance.ok_or_else(|| unknown_instance(facts))?;
    let source_region =
        facts.source_region.ok_or_else(|| unknown_region(&instance.spec.region, "of the instance"))?;
    let target_region =
        facts.target_region.ok_or_else(|| unknown_region(&spec.target.region, "of the target"))?;
    regions_fit(source_region, target_region, Offer::BackupSync)?;
    not_a_standby(instance, facts.standbys, "it takes no backups")?;
    let source = source_of(instance, source_region)?;
    alone(facts)?;
    if !facts.accepted_before {
        in_service(instance)?;
    }
    Ok(source)
}

fn unknown_instance(facts: &Facts<'_>) -> Objection {
    let name = &facts.service.spec.instance_ref.name;
    let namespace = facts.service.metadata.namespace.as_deref().unwrap_or_default();
    let copy = facts.standbys.iter().find(|copy| copy.namespace == namespace && copy.name == *name);
    if let Some(copy) = copy.filter(|copy| !copy.active) {
        return waiting(
            "StandbyInstance",
            format!(
                "{} follows {} and takes no backups; back up {}, or activate the copy (spec.state: Active) first",
                copy.in_words(),
                copy.master,
                copy.master
            ),
        );
    }
    waiting(
        "UnknownInstance",
        format!(
            "there is no DatabaseInstance {name} in namespace {namespace}; create it, or correct spec.instanceRef by creating the service anew"
        ),
    )
}

fn source_of(instance: &DatabaseInstance, region: &Region) -> Result<AcceptedSource, Objection> {
    let Some(backups) = &instance.spec.backups else {
        return Err(waiting(
            "NoBackups",
            format!(
                "DatabaseInstance {} does not say where its backups are; set its spec.backups",
                instance.name_any()
            ),
        ));
    };
    Ok(AcceptedSource {
        region: region.name_any(),
        endpoint: region.spec.object_store.endpoint.trim_end_matches('/').to_owned(),
        bucket: backups.bucket.clone(),
        prefix: backups.prefix.clone(),
        instance_uid: instance.metadata.uid.clone().unwrap_or_default(),
        gone_since: None,
    })
}

/// One service an instance, and one service a place at a target (`B03`).
fn alone(facts: &Facts<'_>) -> Result<(), Objection> {
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
fn in_service(instance: &DatabaseInstance) -> Result<(), Objection> {
    let name = instance.name_any();
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
        Some(phase) => {
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
