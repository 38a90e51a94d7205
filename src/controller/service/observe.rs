//! What there is: resources and children, from the caches where these can be believed.

use kube::ResourceExt;

use crate::{
    api::{BackupSyncService, DatabaseInstance, LastProved, Region},
    controller::{
        Context, Error,
        context::{uid_of, unless_gone},
        jobs::{JobView, Words},
        work::seen::{jobs, words},
    },
};

/// The instance that a service names.
pub enum Instance {
    There(Box<DatabaseInstance>),
    /// The API server has it, the cache does not (yet, or it can't be read).
    Unreadable,
    Gone,
}

impl Instance {
    /// The instance, when it can be read.
    #[must_use]
    pub fn get(&self) -> Option<&DatabaseInstance> {
        match self {
            Self::There(instance) => Some(instance),
            Self::Unreadable | Self::Gone => None,
        }
    }
}

/// What was found.
pub struct Observed {
    pub instance: Instance,
    pub source_region: Option<Region>,
    pub target_region: Option<Region>,
    /// Oldest first.
    pub syncs: Vec<JobView>,
    /// Oldest first.
    pub purges: Vec<JobView>,
    /// Pods of synchronization that still hold something, with or without their Job.
    pub sync_pods: usize,
    /// The kubelet's, scheduler's or Job controller's own words on why no pod works.
    pub words: Option<Words>,
    pub terminating: bool,
    /// The last proof that the copy can be restored.
    pub proved: Option<LastProved>,
    /// Instances that are being restored from the copy, and drills that run.
    pub restores: Vec<String>,
    /// Id of the last run that was started here.
    pub last_run: Option<String>,
}

/// Takes a look.
///
/// # Errors
/// What the API server says.
pub async fn observe(service: &BackupSyncService, context: &Context) -> Result<Observed, Error> {
    let namespace = service.namespace().unwrap_or_default();
    let instance = instance(service, &namespace, context).await?;
    let source_region = match &instance {
        Instance::There(instance) => context.region(&instance.spec.region),
        Instance::Unreadable | Instance::Gone => {
            let source = service.status.as_ref().and_then(|status| status.source.as_ref());
            source.and_then(|source| context.region(&source.region))
        }
    };
    let (syncs, sync_pods) = jobs(service, context, "sync");
    let (purges, _) = jobs(service, context, "purge");
    let active = syncs.iter().chain(&purges).rev().find(|job| job.is_active());
    let words = words(active, &namespace, context).await;
    Ok(Observed {
        instance,
        source_region,
        target_region: context.region(&service.spec.target.region),
        syncs,
        purges,
        sync_pods,
        words,
        terminating: context.is_terminating(&namespace),
        proved: context.last_proved(&namespace, &service.name_any()),
        restores: context.restores(&namespace, &service.name_any()),
        last_run: context.last_run(&uid_of(service)),
    })
}

/// Being gone has consequences: the cache alone is not believed.
async fn instance(
    service: &BackupSyncService,
    namespace: &str,
    context: &Context,
) -> Result<Instance, Error> {
    let name = &service.spec.instance_ref.name;
    if let Some(instance) = context.instance(namespace, name) {
        return Ok(Instance::There(Box::new(instance)));
    }
    let api = context.api::<DatabaseInstance>(namespace);
    let live = unless_gone(api.get_metadata(name).await)?;
    Ok(if live.is_some() { Instance::Unreadable } else { Instance::Gone })
}
