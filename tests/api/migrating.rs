//! From a worker's plan to an Indexed Job, and from what its pods say last to the status.

use std::time::{Duration, Instant};

use farshore::{
    api::{BucketReplicationRule, Migration},
    task::{Task, Work},
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{PATIENCE, World};

const RANGES: u64 = 8;
const EACH: u64 = 5_000;

/// A rule whose pods find no node: nobody but the test says how they fare.
async fn rule(world: &World) {
    let end = |region: &str, bucket: &str| json!({"region": region, "bucket": bucket, "credentials": {"secretRef": {"name": "keys"}}});
    let spec = json!({
        "source": end(&world.north, "photos"), "target": end(&world.east, "photos"),
        "historicalMigration": {"parallelism": 2},
        "worker": {"nodeSelector": {"farshore.dev/nowhere": "true"}},
    });
    world.create::<BucketReplicationRule>("BucketReplicationRule", "photos", spec).await.unwrap();
}

/// What a worker does that has counted a large history: it fills its ConfigMap, and reports the plan.
async fn plan(world: &World, live: &Job) -> String {
    let maps = world.api::<ConfigMap>();
    let name = {
        let spec = live.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        let task = spec.volumes.iter().flatten().find_map(|volume| volume.config_map.clone()).unwrap();
        let text = maps.get(&task.name).await.unwrap().data.unwrap()["task.json"].clone();
        let task: Task = serde_json::from_str(&text).unwrap();
        let Work::Replicate(work) = task.work else { panic!("{text}") };
        work.plan.expect("a ConfigMap for the plan")
    };
    let blank = maps.get(&name).await.expect("the controller has made it");
    assert!(blank.immutable.is_none() && blank.owner_references()[0].name == "photos", "{blank:?}");
    let filled = json!({"immutable": true, "binaryData": {"plan.json.gz": "cGxhbg=="}});
    maps.patch(&name, &PatchParams::default(), &Patch::Merge(&filled)).await.unwrap();
    let observed = json!({
        "runID": live.annotations()["farshore.dev/run-id"], "generation": 1, "reportedAt": jiff::Timestamp::now(),
        "progress": {"pending": 0, "transferredBytes": 0, "plan": {
            "configMap": name, "hash": "0123456789abcdef", "ranges": RANGES,
            "objects": {"total": RANGES * EACH, "done": 0}, "bytes": {"total": RANGES * EACH * 10, "done": 0},
        }},
    });
    let body = json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "BucketReplicationRule",
        "metadata": {"name": "photos"}, "status": {"observed": observed},
    });
    let params = PatchParams::apply("farshore-worker");
    world.api::<BucketReplicationRule>().patch_status("photos", &params, &Patch::Apply(&body)).await.unwrap();
    name
}

pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(state) => assert!(start.elapsed() < PATIENCE, "it was to {what}; it is {state}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Jobs of this work, oldest first.
async fn jobs(world: &World, work: &str) -> Vec<Job> {
    let ours = ListParams::default().labels(&format!("farshore.dev/work={work}"));
    let mut jobs = world.api::<Job>().list(&ours).await.unwrap().items;
    jobs.retain(|job| job.metadata.deletion_timestamp.is_none());
    jobs.sort_by_key(|job| job.annotations().get("farshore.dev/run-id").cloned());
    jobs
}

pub async fn until_job(world: &World, work: &str, what: &str, holds: impl Fn(&Job) -> bool) -> Job {
    until(what, async || {
        let jobs = jobs(world, work).await;
        let found = jobs.iter().find(|job| holds(job)).cloned();
        found.ok_or_else(|| {
            format!("{:#?}", jobs.iter().map(|job| (&job.spec, &job.status)).collect::<Vec<_>>())
        })
    })
    .await
}

async fn until_migration(world: &World, what: &str, holds: impl Fn(&Migration) -> bool) -> Migration {
    until(what, async || {
        let rule = world.api::<BucketReplicationRule>().get("photos").await.unwrap();
        let migration = rule.status.clone().and_then(|status| status.migration);
        migration.filter(|migration| holds(migration)).ok_or_else(|| format!("{:#?}", rule.status))
    })
    .await
}

/// Ends the pod of an index of a Job, with what it says last.
async fn end_pod(world: &World, job: &Job, index: u64, code: i32, message: Value) {
    let pods = world.api::<Pod>();
    let wanted = format!(
        "batch.kubernetes.io/job-name={},batch.kubernetes.io/job-completion-index={index}",
        job.name_any()
    );
    let name = until("have a pod", async || {
        let all = pods.list(&ListParams::default().labels(&wanted)).await.unwrap().items;
        let alive = |pod: &&Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            pod.metadata.deletion_timestamp.is_none() && phase.as_deref() == Some("Pending")
        };
        all.iter().find(alive).map(ResourceExt::name_any).ok_or_else(|| format!("{index}: {all:#?}"))
    })
    .await;
    let now = jiff::Timestamp::now();
    let status = json!({"status": {
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{
            "name": "worker", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": "Test", "message": message.to_string(), "startedAt": now, "finishedAt": now}},
        }],
    }});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status)).await.unwrap();
}

fn done(range: u64) -> Value {
    json!({"range": range, "objects": EACH, "bytes": EACH * 10, "copied": EACH, "lists": 2, "failed": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_c11_a_plan_is_carried_out_by_an_indexed_job_that_loses_nothing_on_the_way() {
    let mut world = World::new("migrate").await;
    world.start().await;
    rule(&world).await;
    let live = until_job(&world, "replicate", "have a live worker", |_| true).await;
    let map = plan(&world, &live).await;

    let job = until_job(&world, "migrate", "have a Job for the history", |_| true).await;
    let spec = job.spec.as_ref().unwrap();
    assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
    assert_eq!((spec.completions, spec.parallelism, spec.suspend), (Some(8), Some(2), Some(false)));
    let pod = spec.template.spec.as_ref().unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false), "it reports to nobody");
    assert!(
        pod.volumes
            .iter()
            .flatten()
            .any(|volume| { volume.config_map.as_ref().is_some_and(|source| source.name == map) })
    );

    // Its pods tell how far it is.
    end_pod(&world, &job, 0, 0, done(0)).await;
    let one = until_migration(&world, "count the first range", |migration| migration.percent == 12).await;
    assert_eq!((one.objects.done, one.bytes.done), (EACH, EACH * 10));
    // The Job's own word comes a moment later.
    until_migration(&world, "have it done", |migration| migration.ranges.as_ref().unwrap().done == "0").await;
    // A pod that is stopped, or meets an outage, is replaced, and costs the index nothing.
    end_pod(&world, &job, 1, 15, json!({"reason": "Terminated", "message": "stopped"})).await;
    end_pod(&world, &job, 1, 0, done(1)).await;
    until_migration(&world, "count the second", |migration| migration.percent == 25).await;

    // More pods at a time: the same Job.
    world
        .edit::<BucketReplicationRule>("photos", json!({"spec": {"historicalMigration": {"parallelism": 3}}}))
        .await;
    let same = until_job(&world, "migrate", "have three pods", |job| {
        job.spec.as_ref().unwrap().parallelism == Some(3)
    })
    .await;
    assert_eq!(same.uid(), job.uid());
    end_pod(&world, &job, 4, 0, done(4)).await;
    until_migration(&world, "count the fifth", |migration| migration.percent == 37).await;

    // Suspended, it rests, and keeps what is done.
    world.edit::<BucketReplicationRule>("photos", json!({"spec": {"suspend": true}})).await;
    let resting = until_job(&world, "migrate", "rest", |job| {
        job.spec.as_ref().unwrap().suspend == Some(true)
            && job.status.as_ref().and_then(|status| status.active).unwrap_or(0) == 0
    })
    .await;
    assert_eq!(resting.status.unwrap().completed_indexes.as_deref(), Some("0,1,4"));
    world.edit::<BucketReplicationRule>("photos", json!({"spec": {"suspend": false}})).await;
    until_job(&world, "migrate", "go on", |job| {
        job.status.as_ref().and_then(|status| status.active) == Some(3)
    })
    .await;

    // Other limits: another Job, for what is left.
    world
        .edit::<BucketReplicationRule>("photos", json!({"spec": {"rateLimits": {"bytesPerSecond": "30Mi"}}}))
        .await;
    let next = until_job(&world, "migrate", "have another Job", |found| found.uid() != job.uid()).await;
    assert_eq!(next.annotations()["farshore.dev/ranges"], "2-3,5-7");
    assert_eq!(next.spec.as_ref().unwrap().completions, Some(5));
    // Deleted by hand, it is made again.
    end_pod(&world, &next, 1, 0, done(3)).await;
    until_migration(&world, "count the fourth", |migration| migration.percent == 50).await;
    world.api::<Job>().delete(&next.name_any(), &DeleteParams::background()).await.unwrap();
    let last = until_job(&world, "migrate", "be made again", |found| {
        found.annotations()["farshore.dev/ranges"] == "2,5-7"
    })
    .await;
    // One object fails, the rest is copied; then what only a person can help ends the Job.
    let mut with_failure = done(5);
    with_failure["failed"] = json!(1);
    with_failure["example"] = json!("AccessDenied: s3://photos/a");
    end_pod(&world, &last, 1, 0, with_failure).await;
    end_pod(&world, &last, 2, 0, done(6)).await;
    end_pod(&world, &last, 3, 0, done(7)).await;
    end_pod(&world, &last, 0, 10, json!({"reason": "BucketNotFound", "message": "no such bucket"})).await;
    let over = until_migration(&world, "be over", |migration| {
        migration.ranges.as_ref().is_some_and(|ranges| ranges.ended_at.is_some())
    })
    .await;
    let ranges = over.ranges.unwrap();
    assert_eq!((ranges.done.as_str(), ranges.failed.as_str(), over.percent), ("0-1,3-7", "2", 87));
    assert_eq!(ranges.failure.as_deref(), Some("BucketNotFound: no such bucket"));
    assert_eq!((ranges.objects_failed, ranges.example.as_deref()), (1, Some("AccessDenied: s3://photos/a")));
    let told = world.api::<BucketReplicationRule>().get("photos").await.unwrap().status.unwrap();
    let migrated = farshore::api::condition::find(&told.conditions, "Migrated").unwrap();
    assert_eq!(
        (migrated.status.as_str(), migrated.reason.as_str()),
        ("False", "RangesFailed"),
        "{migrated:?}"
    );

    // With the rule everything goes.
    world.api::<BucketReplicationRule>().delete("photos", &DeleteParams::default()).await.unwrap();
    until("take its Jobs along", async || {
        let left = world.api::<Job>().list(&ListParams::default()).await.unwrap().items;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{:?}", left.iter().map(ResourceExt::name_any).collect::<Vec<_>>()))
        }
    })
    .await;
    world.end().await;
}
