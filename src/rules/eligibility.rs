//! Whether an instance can be given a service (`B12`).

use kube::ResourceExt;

use super::{Claim, Place, StandbyClaim, follows, instance_phase};
use crate::api::{
    BackupSyncEligibility, BillingStanding, DatabaseInstance, InstancePhase, LocalReference, Offer, Region,
};

/// Whether a service for this instance would be accepted, but for its target.
#[must_use]
pub fn eligibility(
    instance: &DatabaseInstance,
    region: Option<&Region>,
    claims: &[Claim],
    standbys: &[StandbyClaim],
) -> BackupSyncEligibility {
    let no = |reason: &str, service_ref| BackupSyncEligibility {
        eligible: false,
        reason: reason.to_owned(),
        service_ref,
    };
    let place = region.and_then(|region| Place::of_instance(instance, region));
    let namespace = instance.namespace().unwrap_or_default();
    let about_this = |claim: &&Claim| {
        (claim.namespace == namespace && claim.instance == instance.name_any())
            || (claim.viable && place.is_some() && claim.source == place)
    };
    let first = claims.iter().filter(about_this).reduce(|a, b| if b.precedes(a) { b } else { a });
    if let Some(claim) = first {
        // A reference can't leave its namespace; a service elsewhere is told by the reason alone.
        let here = claim.namespace == namespace;
        return no("HasService", here.then(|| LocalReference { name: claim.name.clone() }));
    }
    if follows(instance, standbys).is_some() {
        return no("StandbyInstance", None);
    }
    let Some(region) = region else { return no("UnknownRegion", None) };
    if !region.spec.services.contains(&Offer::BackupSync) {
        return no("RegionNotOffered", None);
    }
    if instance.spec.backups.is_none() {
        return no("NoBackups", None);
    }
    if instance_phase(instance) != Some(InstancePhase::Running) {
        return no("NotRunning", None);
    }
    if instance.spec.billing.standing == BillingStanding::Overdue {
        return no("Overdue", None);
    }
    BackupSyncEligibility { eligible: true, reason: "Eligible".to_owned(), service_ref: None }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn b12_an_instance_says_whether_it_can_have_a_service() {
        let north = region("north", "");
        let cases = [
            (instance("orders", ""), Some(north.clone()), "Eligible"),
            (instance("orders", "declaredState: Stopped"), Some(north.clone()), "NotRunning"),
            (instance("orders", "billing: {standing: Overdue}"), Some(north.clone()), "Overdue"),
            (instance("orders", ""), Some(region("north", "services: []")), "RegionNotOffered"),
            (instance("orders", ""), None, "UnknownRegion"),
            (without_backups(instance("orders", "")), Some(north), "NoBackups"),
        ];
        for (instance, region, reason) in cases {
            let found = eligibility(&instance, region.as_ref(), &[], &[]);
            assert_eq!((found.reason.as_str(), found.eligible), (reason, reason == "Eligible"));
        }
    }

    #[test]
    fn b12_an_instance_with_a_service_names_it() {
        let (north, east) = (region("north", ""), region("east", ""));
        let orders = instance("orders", "");
        let claim = Claim::new(&service("copy", "orders", "east"), Some(&orders), Some(&north), Some(&east));
        let found = eligibility(&orders, Some(&north), std::slice::from_ref(&claim), &[]);
        assert_eq!((found.reason.as_str(), found.service_ref.unwrap().name.as_str()), ("HasService", "copy"));
        // The same backups under another name are not offered either.
        let twin = instance("orders-again", "");
        assert_eq!(eligibility(&twin, Some(&north), &[claim], &[]).reason, "HasService");
    }
}
