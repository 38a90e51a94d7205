//! What there is: resources and children from the caches, and the words of those who watch over pods.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::{ResourceExt, api::ListParams};

use crate::{
    api::{BackupSyncService, DatabaseInstance, Region},
    controller::{
        Context, Error,
        context::{uid_of, unless_gone},
        jobs::{JobView, PodView, SERVICE_UID, WORK, Words},
    },
};

/// A pod that starts within this time needs no explanation.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

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
    let words = match active {
        Some(job) => words(job, &namespace, context).await?,
        None => None,
    };
    Ok(Observed {
        instance,
        source_region,
        target_region: context.region(&service.spec.target.region),
        syncs,
        purges,
        sync_pods,
        words,
        terminating: context.is_terminating(&namespace),
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

fn jobs(service: &BackupSyncService, context: &Context, work: &str) -> (Vec<JobView>, usize) {
    let uid = uid_of(service);
    let ours = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get(SERVICE_UID) == Some(&uid) && labels.get(WORK).is_some_and(|found| found == work)
    };
    let pods = context.caches.pods.state_filter(|pod| ours(pod.labels()));
    let views: Vec<_> = pods
        .iter()
        .map(|pod| {
            let owner = pod.owner_references().first().map(|owner| owner.uid.clone()).unwrap_or_default();
            (owner, PodView::new(pod))
        })
        .collect();
    let mut jobs: Vec<_> = context
        .caches
        .jobs
        .state_filter(|job| ours(job.labels()))
        .iter()
        // A label can be written by anyone; the owner's UID is ours.
        .filter(|job| {
            job.owner_references().iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
        })
        .map(|job| {
            let job_uid = uid_of(job.as_ref());
            let its: Vec<_> =
                views.iter().filter(|(owner, _)| *owner == job_uid).map(|(_, pod)| pod.clone()).collect();
            JobView::new(job, &its)
        })
        .collect();
    jobs.sort_by(|a, b| (&a.run_id, &a.name).cmp(&(&b.run_id, &b.name)));
    (jobs, views.iter().filter(|(_, pod)| pod.alive).count())
}

/// Why an active Job has no pod that works; asked for only while that is so.
async fn words(job: &JobView, namespace: &str, context: &Context) -> Result<Option<Words>, Error> {
    if job.ready_pod().is_some() || job.created + PATIENCE > Timestamp::now() {
        return Ok(None);
    }
    let pod = job.pods.iter().rev().find(|pod| pod.alive);
    if let Some(trouble) = pod.and_then(|pod| pod.trouble.clone()) {
        return Ok(Some(trouble));
    }
    let about = pod.map_or(&job.uid, |pod| &pod.uid);
    let params = ListParams::default().fields(&format!("involvedObject.uid={about},type=Warning")).limit(50);
    // Words are for people: a controller that may not read them still does its work.
    let events = match context.api::<Event>(namespace).list(&params).await {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!(namespace, %error, "events can't be read, so nobody's words on a pod that does not start are known");
            return Ok(None);
        }
    };
    let newest = events.items.into_iter().max_by_key(|event| {
        let seen = event.last_timestamp.as_ref().map(|time| time.0);
        seen.or_else(|| event.event_time.as_ref().map(|time| time.0))
            .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
    });
    Ok(newest.map(|event| {
        let reason = event.reason.unwrap_or_else(|| "WorkerNotStarting".to_owned());
        (reason, event.message.unwrap_or_default())
    }))
}
