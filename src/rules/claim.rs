//! What a service lays claim to.

use jiff::Timestamp;

use super::{Place, regions::regions_fit};
use crate::api::{BackupSyncService, DatabaseInstance, Offer, Region, condition};

/// A service's claim on an instance's backups and on a place for their copies.
#[derive(Clone, Debug)]
pub struct Claim {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// Name of the instance, in the same namespace.
    pub instance: String,
    /// An accepted claim stays accepted until it is deleted or changed.
    pub accepted: bool,
    /// False where it can't be accepted whatever others do.
    pub viable: bool,
    pub created: Option<Timestamp>,
    pub source: Option<Place>,
    pub target: Option<Place>,
}

impl Claim {
    /// The claim of a service, as far as what it refers to is known.
    #[must_use]
    pub fn new(
        service: &BackupSyncService,
        instance: Option<&DatabaseInstance>,
        source_region: Option<&Region>,
        target_region: Option<&Region>,
    ) -> Self {
        let accepted_source = accepted_source(service);
        let current = instance.zip(source_region).and_then(|(i, r)| Place::of_instance(i, r));
        let target = target_region.map(|region| Place::of_target(service, region));
        let regions_hold = source_region
            .zip(target_region)
            .is_some_and(|(source, target)| regions_fit(source, target, Offer::BackupSync).is_ok());
        Self {
            uid: service.metadata.uid.clone().unwrap_or_default(),
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            name: service.metadata.name.clone().unwrap_or_default(),
            instance: service.spec.instance_ref.name.clone(),
            accepted: accepted_source.is_some(),
            viable: accepted_source.is_some() || (current.is_some() && regions_hold),
            created: service.metadata.creation_timestamp.as_ref().map(|time| time.0),
            source: accepted_source.or(current),
            target,
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

    /// True when both are about one instance: by name, or by what is stored.
    #[must_use]
    pub fn same_source(&self, other: &Self) -> bool {
        (self.namespace == other.namespace && self.instance == other.instance)
            || (self.source.is_some() && self.source == other.source)
    }

    /// True when copies of one could land among those of the other.
    #[must_use]
    pub fn same_target(&self, other: &Self) -> bool {
        self.target.as_ref().zip(other.target.as_ref()).is_some_and(|(a, b)| a.overlaps(b))
    }
}

/// Place in the order of claims.
pub(super) type Turn<'a> = (bool, bool, Option<Timestamp>, &'a str, &'a str);

/// What was accepted stays accepted; among the others the earlier goes first, then comes the name.
pub(super) fn turn<'a>(
    accepted: bool,
    created: Option<Timestamp>,
    namespace: &'a str,
    name: &'a str,
) -> Turn<'a> {
    (!accepted, created.is_none(), created, namespace, name)
}

/// Source of a service that was accepted and still is.
fn accepted_source(service: &BackupSyncService) -> Option<Place> {
    let status = service.status.as_ref()?;
    let source = status.source.as_ref()?;
    condition::is_true(&status.conditions, condition::ACCEPTED).then(|| Place::of_accepted(source))
}
