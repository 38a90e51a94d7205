//! From a service to its Jobs, and from a worker's report to the status.

use std::{collections::BTreeSet, time::Duration};

use farshore::api::{BackupSyncService, ServicePhase};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Secret},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::cluster::{World, condition, reason, status};

#[tokio::test(flavor = "multi_thread")]
async fn b01_a_service_leads_to_a_job_with_its_task_and_rights() {
    let mut world = World::new("job").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let service = world.until("copy", "be accepted", |s| status(s, "Accepted") == "True").await;
    let jobs = world.until_jobs("be there", |jobs| jobs.len() == 1).await;
    assert!(service.finalizers().iter().any(|f| f == "farshore.dev/purge"));
    assert_eq!(service.status.as_ref().unwrap().source.as_ref().unwrap().bucket, "backups");
    let pod = jobs[0].spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let args = pod.containers[0].args.as_ref().unwrap();
    assert_eq!(&args[..3], ["worker", "sync", "--task"]);
    let map = pod.volumes.as_ref().unwrap().iter().find_map(|v| v.config_map.as_ref()).unwrap();
    let map = world.api::<ConfigMap>().get(&map.name).await.unwrap();
    let text = &map.data.as_ref().unwrap()["task.json"];
    farshore::task::Task::from_text(text, &args[5]).expect("the task is the one that the hash names");
    assert_eq!(map.immutable, Some(true));
    assert!(!text.contains("secret"), "no credential is named in a task");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_p01_the_status_follows_the_workers_report_and_the_transition_times_the_values() {
    let mut world = World::new("report").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({"interval": "1h"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let first = world.until("copy", "be told", |s| reason(s, "Ready") == "FirstSync").await;
    assert_eq!(status(&first, "Reconciling"), "True");
    assert_eq!(first.status.as_ref().unwrap().observed_generation, Some(1));
    assert_eq!(status(&first, "WithinRPO"), "Unknown");
    // The first copy brings its bases in the background: Syncing until they are there.
    world.report("copy", &job, json!({"cycle": {"pending": {"objects": 3, "bytes": 99}}})).await;
    let syncing = world
        .until("copy", "have figures", |s| s.status.as_ref().unwrap().latest_data_time_point.is_some())
        .await;
    assert_eq!(syncing.status.as_ref().unwrap().phase, Some(ServicePhase::Syncing));
    world.report("copy", &job, json!({})).await;
    finish(&world, &job, true, 0).await;
    let synced = world.until("copy", "be synced", |s| reason(s, "Ready") == "Synced").await;
    let found = synced.status.as_ref().unwrap();
    assert_eq!(found.phase, Some(ServicePhase::Synced));
    assert_eq!(found.recovery_windows.len(), 1);
    assert_eq!(found.usage.as_ref().unwrap().transferred_bytes, 2345);
    assert_eq!(
        (status(&synced, "WithinRPO").as_str(), status(&synced, "WindowContiguous").as_str()),
        ("True", "True")
    );
    assert_eq!(status(&synced, "Reconciling"), "", "abnormal conditions are there only while they hold");
    world.until_event("copy", "Synced").await;
    let written = synced.resource_version();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        world.get("copy").await.unwrap().resource_version(),
        written,
        "nothing changes, nothing is written"
    );
    world.report("copy", &job, json!({"cycle": {"gaps": ["mariadb-bin.000007 is missing"]}})).await;
    let split = world.until("copy", "tell of the gap", |s| status(s, "WindowContiguous") == "False").await;
    assert!(condition(&split, "WindowContiguous").2.contains("mariadb-bin.000007"));
    world.until_event("copy", "WindowSplit").await;
    // The next run begins with an empty report: a routine cycle takes nothing back.
    world.report("copy", &job, json!({"cycle": null})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let next = world.get("copy").await.unwrap();
    assert_eq!((status(&next, "Ready").as_str(), status(&next, "Reconciling").as_str()), ("True", ""));
    assert_eq!(status(&next, "WindowContiguous"), "False");
    assert_eq!(next.status.unwrap().recovery_windows.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_a_breach_of_the_rpo_shows_at_the_moment_and_names_whose_fault_it_is() {
    let mut world = World::new("rpo").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({"interval": "1h", "rpo": "12s"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let latest = jiff::Timestamp::now();
    world.report("copy", &job, json!({"cycle": {"latestDataTimePoint": latest, "sourceLatestTime": latest + Duration::from_hours(1)}})).await;
    finish(&world, &job, true, 0).await;
    world.until("copy", "be within its rpo", |s| status(s, "WithinRPO") == "True").await;
    let breached = world.until("copy", "breach its rpo", |s| status(s, "WithinRPO") == "False").await;
    let late = latest.duration_until(jiff::Timestamp::now());
    assert!(late.as_secs() >= 12 && late.as_secs() < 20, "decided again when it breaks: {late}");
    assert_eq!(reason(&breached, "WithinRPO"), "CopyBehind");
    world.until_event("copy", "RPOBreached").await;
    world
        .report("copy", &job, json!({"cycle": {"latestDataTimePoint": latest, "sourceLatestTime": latest}}))
        .await;
    let unknown = world.until("copy", "be unknown", |s| status(s, "WithinRPO") == "Unknown").await;
    assert!(condition(&unknown, "WithinRPO").2.contains("spec.endpoint"), "it names the setting that helps");
    world
        .report(
            "copy",
            &job,
            json!({"cycle": {"latestDataTimePoint": latest, "coveredUntil": jiff::Timestamp::now()}}),
        )
        .await;
    world
        .until("copy", "be within again: the engine's log stands still", |s| status(s, "WithinRPO") == "True")
        .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_suspend_ends_the_worker_and_resume_starts_one_at_once() {
    let mut world = World::new("suspend").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    world.until_jobs("be there", |jobs| jobs.len() == 1).await;
    world.edit::<BackupSyncService>("copy", json!({"spec": {"suspend": true}})).await;
    world.until_jobs("be gone", <[Job]>::is_empty).await;
    let suspended = world.until("copy", "be suspended", |s| reason(s, "Ready") == "Suspended").await;
    assert_eq!(status(&suspended, "Ready"), "True");
    assert_eq!(suspended.status.as_ref().unwrap().phase, Some(ServicePhase::Suspended));
    world.edit::<BackupSyncService>("copy", json!({"spec": {"suspend": false}})).await;
    world.until_jobs("be there again", |jobs| jobs.len() == 1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_run_is_asked_for_by_a_time_and_the_same_time_asks_no_more() {
    let mut world = World::new("runnow").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({"interval": "6h"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    world.report("copy", &job, json!({})).await;
    finish(&world, &job, true, 0).await;
    world.until("copy", "be synced", |s| reason(s, "Ready") == "Synced").await;
    let request = "2026-11-21T08:00:00Z";
    let ask = |value: &str| json!({"metadata": {"annotations": {"farshore.dev/run-requested": value}}});
    world.edit::<BackupSyncService>("copy", ask(request)).await;
    let jobs = world.until_jobs("be two", |jobs| jobs.len() == 2).await;
    world.report("copy", &jobs[1], json!({"runRequest": request})).await;
    finish(&world, &jobs[1], true, 0).await;
    let ran =
        world.until("copy", "have run", |s| s.status.as_ref().unwrap().last_run_request.is_some()).await;
    let ran = ran.status.unwrap().last_run_request.unwrap();
    assert_eq!(ran.requested_at, request);
    assert!(ran.completed_at.is_some());
    world.edit::<BackupSyncService>("copy", json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.jobs().await.len(), 2, "the same value again is no request");
    world.edit::<BackupSyncService>("copy", ask("tomorrow")).await;
    assert!(world.until_event("copy", "MalformedRunRequest").await.contains("RFC 3339"));
    assert_eq!(world.jobs().await.len(), 2);
    world.end().await;
}

/// Ends a Job as its controller would.
pub async fn finish(world: &World, job: &Job, success: bool, code: i32) {
    let now = jiff::Timestamp::now();
    let (type_, before) =
        if success { ("Complete", "SuccessCriteriaMet") } else { ("Failed", "FailureTarget") };
    let message =
        format!("Container worker for pod x/y failed with exit code {code} matching FailJob rule at index 1");
    let said = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now, "lastProbeTime": now, "reason": "Test", "message": message});
    let api = world.api::<Job>();
    for attempt in 0.. {
        // The Job's own controller writes as well; what it has begun can't be taken back.
        let live = api.get(&job.name_any()).await.unwrap();
        let started = live.status.and_then(|status| status.start_time).map_or(now, |time| time.0);
        let mut state = json!({
            "startTime": started, "active": 0, "ready": 0, "terminating": 0,
            "uncountedTerminatedPods": {}, "conditions": [said(before), said(type_)],
        });
        let counts = if success {
            json!({"succeeded": 1, "completionTime": now.max(started)})
        } else {
            json!({"failed": 1})
        };
        for (key, value) in counts.as_object().unwrap() {
            state[key] = value.clone();
        }
        let patch = json!({"status": state});
        match api.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return,
            Err(error) => assert!(attempt < 20, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_job_deleted_by_hand_is_made_again_at_once() {
    let mut world = World::new("byhand").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let first = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let run = first.annotations()["farshore.dev/run-id"].clone();
    world.api::<Job>().delete(&first.name_any(), &DeleteParams::background()).await.unwrap();
    let again =
        world.until_jobs("be there again", |jobs| jobs.len() == 1 && jobs[0].uid() != first.uid()).await;
    assert!(again[0].annotations()["farshore.dev/run-id"] > run, "later runs have greater ids");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_a_changed_task_ends_the_shift_and_an_edit_that_changes_nothing_for_the_worker_does_not() {
    let mut world = World::new("edit").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let first = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    world.edit::<BackupSyncService>("copy", json!({"spec": {"rpo": "6h"}})).await;
    world
        .until("copy", "be seen", |s| s.status.as_ref().and_then(|s| s.observed_generation) == Some(2))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.jobs().await[0].uid(), first.uid());
    world.edit::<BackupSyncService>("copy", json!({"spec": {"retention": "3d"}})).await;
    let next = world.until_jobs("be another", |jobs| jobs.len() == 1 && jobs[0].uid() != first.uid()).await;
    assert_ne!(next[0].annotations()["farshore.dev/task"], first.annotations()["farshore.dev/task"]);
    // Other keys, or other means, are no other task, but a worker has them from its start only.
    let edits = [
        json!({"spec": {"target": {"credentials": {"secretRef": {"name": "other-keys"}}}}}),
        json!({"spec": {"worker": {"resources": {"limits": {"memory": "96Mi"}}}}}),
    ];
    let mut last = next[0].uid();
    for edit in edits {
        world.edit::<BackupSyncService>("copy", edit).await;
        let jobs = world.until_jobs("be one more", |jobs| jobs.len() == 1 && jobs[0].uid() != last).await;
        last = jobs[0].uid();
    }
    let maps = world
        .api::<ConfigMap>()
        .list(&ListParams::default().labels("app.kubernetes.io/managed-by=farshore"))
        .await
        .unwrap();
    assert_eq!(maps.items.len(), 1, "the old task goes with its Job");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_two_controllers_that_both_lead_make_one_job_a_slot() {
    let mut world = World::new("twolead").await;
    for _ in 0..2 {
        world.start().await;
    }
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let mut seen = BTreeSet::new();
    for round in 0..4 {
        let job = world.until_jobs("have an active one", |jobs| {
            jobs.iter()
                .any(|job| job.status.as_ref().and_then(|s| s.conditions.as_ref()).is_none_or(Vec::is_empty))
        });
        let jobs = job.await;
        seen.extend(jobs.iter().map(ResourceExt::name_any));
        assert_eq!(seen.len(), round + 1, "one Job a slot: {seen:?}");
        finish(&world, jobs.last().unwrap(), false, 1).await;
        world.api::<BackupSyncService>().get("copy").await.unwrap();
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_a_name_of_253_characters_works() {
    let mut world = World::new("long").await;
    world.start().await;
    let name = format!("{}.{}", "n".repeat(200), "m".repeat(52));
    assert_eq!(name.len(), 253);
    world.instance(&name, json!({"backups": {"prefix": "orders/"}})).await;
    world.service(&name, &name, json!({"target": {"prefix": "orders/"}})).await;
    world.until(&name, "be accepted", |s| status(s, "Accepted") == "True").await;
    let jobs = world.until_jobs("be there", |jobs| jobs.len() == 1).await;
    assert!(jobs[0].name_any().len() < 63);
    world.until_event(&name, "Accepted").await;
    world.until_jobs("have a pod", |jobs| jobs[0].status.as_ref().is_some_and(|s| s.active == Some(1))).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b12_an_instance_says_whether_it_has_a_service() {
    let mut world = World::new("eligible").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    let eligible = |reason: &'static str| {
        let api = world.api::<farshore::api::DatabaseInstance>();
        async move {
            for _ in 0..300 {
                let found = api.get("orders").await.unwrap().status.and_then(|s| s.backup_sync);
                if found.as_ref().is_some_and(|f| f.reason == reason) {
                    return found.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("orders never was {reason}")
        }
    };
    assert!(eligible("Eligible").await.eligible);
    world.service("copy", "orders", json!({})).await;
    assert_eq!(eligible("HasService").await.service_ref.unwrap().name, "copy");
    world.end().await;
}

pub async fn secrets(world: &World) {
    for name in ["source", "target"] {
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {"name": name}, "stringData": {"AWS_ACCESS_KEY_ID": "a"}}),
        )
        .unwrap();
        world.api::<Secret>().create(&kube::api::PostParams::default(), &secret).await.unwrap();
    }
}
