//! How a service stands with the rules.

use kube::ResourceExt;

use super::observe::{Instance, Observed};
use crate::{
    api::{AcceptedSource, BackupSyncService},
    controller::{
        Context,
        context::uid_of,
        work::standing::{is_accepted, is_spoken_for},
    },
    rules::{Facts, Objection, Place, judge},
};

/// How a service stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Accepted, now or before.
    Accepted { source: AcceptedSource },
    /// Accepted before, and its instance is gone or can't be read.
    Orphaned { source: AcceptedSource, gone: bool },
    /// Not accepted.
    Out(Objection),
    /// Another controller's, or nobody's: `silent` when another speaks for it.
    OtherRegion { silent: bool },
}

/// Applies the rules, unless they were applied before and nothing has changed.
#[must_use]
pub fn standing(service: &BackupSyncService, observed: &Observed, context: &Context) -> Standing {
    if !context.options.serves(&service.spec.target.region) {
        return Standing::OtherRegion { silent: is_spoken_for(service) };
    }
    let accepted =
        service.status.as_ref().and_then(|status| status.source.clone()).filter(|_| is_accepted(service));
    if let Some(source) = accepted.clone() {
        match &observed.instance {
            Instance::There(instance) => {
                let place =
                    observed.source_region.as_ref().map(|region| Place::of_instance(instance, region));
                // A region that is gone changes nothing about what was accepted.
                if place.is_none_or(|place| place == Some(Place::of_accepted(&source))) {
                    let instance_uid = instance.uid().unwrap_or_default();
                    return Standing::Accepted {
                        source: AcceptedSource { instance_uid, gone_since: None, ..source },
                    };
                }
            }
            Instance::Unreadable => return Standing::Orphaned { source, gone: false },
            Instance::Gone => return Standing::Orphaned { source, gone: true },
        }
    }
    let ruling = context.judged(&uid_of(service), || {
        judge(&Facts {
            service,
            instance: observed.instance.get(),
            source_region: observed.source_region.as_ref(),
            target_region: observed.target_region.as_ref(),
            others: &context.claims(),
            standbys: &context.standby_claims(),
            accepted_before: false,
        })
    });
    ruling.map_or_else(Standing::Out, |source| Standing::Accepted { source })
}
