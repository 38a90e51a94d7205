//! Jobs and pods of a worker, and the words of those who watch over pods.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::{ResourceExt, api::ListParams};

use crate::{
    api::Served,
    controller::{
        Context,
        context::uid_of,
        jobs::{JobView, PodView, WORK, Words, uid_key},
    },
};

/// A pod that starts within this time needs no explanation.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// Jobs of one role, oldest first, and how many of its pods still hold something, with or without a Job.
#[must_use]
pub fn jobs<K: Served>(owner: &K, context: &Context, role: &str) -> (Vec<JobView>, usize) {
    let uid = uid_of(owner);
    let key = uid_key::<K>();
    let ours = |labels: &BTreeMap<String, String>| {
        labels.get(&key) == Some(&uid) && labels.get(WORK).is_some_and(|found| found == role)
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

/// Why an active Job has no pod that works, in the kubelet's, scheduler's or Job controller's own words;
/// asked for only while that is so.
pub async fn words(job: Option<&JobView>, namespace: &str, context: &Context) -> Option<Words> {
    let job = job?;
    if job.ready_pod().is_some() || job.created + PATIENCE > Timestamp::now() {
        return None;
    }
    let pod = job.pods.iter().rev().find(|pod| pod.alive);
    if let Some(trouble) = pod.and_then(|pod| pod.trouble.clone()) {
        return Some(trouble);
    }
    let about = pod.map_or(&job.uid, |pod| &pod.uid);
    let params = ListParams::default().fields(&format!("involvedObject.uid={about},type=Warning")).limit(50);
    // Words are for people: a controller that may not read them still does its work.
    let events = match context.api::<Event>(namespace).list(&params).await {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!(namespace, %error, "events can't be read, so nobody's words on a pod that does not start are known");
            return None;
        }
    };
    let newest = events.items.into_iter().max_by_key(|event| {
        let seen = event.last_timestamp.as_ref().map(|time| time.0);
        seen.or_else(|| event.event_time.as_ref().map(|time| time.0))
            .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
    });
    newest.map(|event| {
        let reason = event.reason.unwrap_or_else(|| "WorkerNotStarting".to_owned());
        (reason, event.message.unwrap_or_default())
    })
}
