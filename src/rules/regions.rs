//! What must hold between two regions, whatever is moved between them (`B04`, `C06`, `C12`).

use kube::ResourceExt;

use super::{
    host_of,
    objection::{Objection, refused, waiting},
};
use crate::api::{Offer, Region};

pub(super) fn unknown_region(name: &str, whose: &str) -> Objection {
    waiting(
        "UnknownRegion",
        format!(
            "there is no Region {name} (the region {whose}); ask an administrator to create it, or see kubectl get regions"
        ),
    )
}

/// Two different ones, of one kind of zone, both offering the service.
pub(super) fn regions_fit(source: &Region, target: &Region, offer: Offer) -> Result<(), Objection> {
    let (from, to) = (source.name_any(), target.name_any());
    if from == to {
        return Err(refused(
            "SameRegion",
            format!(
                "source and target are both in region {to}; choose another region for spec.target.region"
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
    zones_fit(source, target)?;
    offered([source, target], offer)
}

/// Two different ones, of one kind of zone, both offering disaster recovery. An object store says nothing of where
/// a region's databases run: two regions may have one.
pub(super) fn regions_of_databases_fit(master: &Region, standby: &Region) -> Result<(), Objection> {
    let (from, to) = (master.name_any(), standby.name_any());
    if from == to {
        return Err(refused(
            "SameRegion",
            format!(
                "the master is in region {to} as well, and a copy there goes with it; create this instance anew with another spec.region"
            ),
        ));
    }
    zones_fit(master, standby)?;
    offered([master, standby], Offer::DisasterRecovery)
}

fn zones_fit(source: &Region, target: &Region) -> Result<(), Objection> {
    let (from, to) = (source.name_any(), target.name_any());
    if source.spec.zone != target.spec.zone {
        return Err(refused(
            "ZonesDiffer",
            format!(
                "region {from} is in zone {:?} and region {to} in zone {:?}; zones never mix, choose a region in zone {:?}",
                source.spec.zone, target.spec.zone, source.spec.zone
            ),
        ));
    }
    Ok(())
}

fn offered(regions: [&Region; 2], offer: Offer) -> Result<(), Objection> {
    for region in regions {
        if !region.spec.services.contains(&offer) {
            return Err(refused(
                "RegionNotOffered",
                format!(
                    "region {} does not offer {offer:?}; choose another region, or ask an administrator to add {offer:?} to its spec.services",
                    region.name_any()
                ),
            ));
        }
    }
    Ok(())
}
