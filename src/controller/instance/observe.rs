//! What there is of an instance that is restored.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Service},
};
use kube::{Resource, ResourceExt, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use super::{
    database::{claim_name, is_server},
    via::{self, Delegate},
};
use crate::{
    api::{BackupSyncService, DatabaseInstance, Region},
    controller::{
        Context, Error,
        context::{uid_of, unless_gone},
        jobs::{JobView, PodView, Words, uid_key},
        work::seen::{jobs, words},
    },
    rules::StandbyClaim,
};

/// What was found.
pub struct Observed {
    pub service: Option<BackupSyncService>,
    /// The instance whose backups the service copies.
    pub source: Option<DatabaseInstance>,
    pub region: Option<Region>,
    /// Oldest first.
    pub plans: Vec<JobView>,
    /// Oldest first.
    pub restores: Vec<JobView>,
    /// Pods of restores that still hold the volume, with or without their Job.
    pub restore_pods: usize,
    /// The server's pod.
    pub server: Option<PodView>,
    /// An object of somebody else's under a name that the new instance needs, as `Service orders`.
    pub taken: Option<String>,
    /// With `via`: what there is of the other operator.
    pub delegate: Option<Delegate>,
    /// The kubelet's, scheduler's or Job controller's own words on why no pod works.
    pub words: Option<Words>,
    pub terminating: bool,
    /// Copies that follow a master, which nothing is restored into.
    pub standbys: Vec<StandbyClaim>,
    /// Id of the last run that was started here.
    pub last_run: Option<String>,
}

/// Takes a look.
///
/// # Errors
/// What the API server says.
pub async fn observe(instance: &DatabaseInstance, context: &Context) -> Result<Observed, Error> {
    let namespace = instance.namespace().unwrap_or_default();
    let recovery = instance.spec.bootstrap.as_ref().map(|bootstrap| &bootstrap.recovery);
    let service = recovery.and_then(|recovery| context.service(&namespace, &recovery.service_ref.name));
    let source =
        service.as_ref().and_then(|service| context.instance(&namespace, &service.spec.instance_ref.name));
    let (plans, _) = jobs(instance, context, "plan");
    let (restores, restore_pods) = jobs(instance, context, "restore");
    let active = plans.iter().chain(&restores).rev().find(|job| job.is_active());
    let words = words(active, &namespace, context).await;
    let delegate = match recovery.and_then(|recovery| recovery.via.as_ref()) {
        Some(via) => Some(via::look(instance, via, context).await?),
        None => None,
    };
    let is_existing = instance.spec.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.existing.is_some());
    let server = context.caches.pods.state_filter(|pod| is_server(pod.labels(), instance));
    Ok(Observed {
        source,
        region: service.as_ref().and_then(|service| context.region(&service.spec.target.region)),
        service,
        plans,
        restores,
        restore_pods,
        server: server.first().map(|pod| PodView::new(pod)),
        taken: if delegate.is_some() || is_existing {
            None
        } else {
            taken(instance, context, &namespace).await?
        },
        delegate,
        words,
        terminating: context.is_terminating(&namespace),
        standbys: context.standby_claims(),
        last_run: context.last_run(&uid_of(instance)),
    })
}

/// Asked for until the instance is there: a volume that holds another's data must not be emptied.
async fn taken(
    instance: &DatabaseInstance,
    context: &Context,
    namespace: &str,
) -> Result<Option<String>, Error> {
    let recovery = instance.status.as_ref().and_then(|status| status.recovery.as_ref());
    let begun = recovery.is_some_and(|recovery| recovery.plan.is_some() && recovery.time_point.is_none());
    if !begun {
        return Ok(None);
    }
    let name = instance.name_any();
    let uid = uid_of(instance);
    if is_others::<PersistentVolumeClaim>(context, namespace, &claim_name(instance), &uid).await? {
        return Ok(Some(format!("PersistentVolumeClaim {}", claim_name(instance))));
    }
    if is_others::<StatefulSet>(context, namespace, &name, &uid).await? {
        return Ok(Some(format!("StatefulSet {name}")));
    }
    Ok(is_others::<Service>(context, namespace, &name, &uid).await?.then(|| format!("Service {name}")))
}

async fn is_others<K>(context: &Context, namespace: &str, name: &str, uid: &str) -> Result<bool, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let found = unless_gone(context.api::<K>(namespace).get_metadata(name).await)?;
    Ok(found.is_some_and(|found| {
        found.labels().get(&uid_key::<DatabaseInstance>()).is_none_or(|owner| owner != uid)
    }))
}
