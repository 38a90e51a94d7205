//! Workers that don't start, on the real kubelet and scheduler (`P11`).

use std::time::{Duration, Instant};

use farshore::api::{BackupSyncService, ServicePhase};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::{ResourceExt, api::PostParams};
use serde_json::{Value, json};

use crate::{
    cluster::{World, condition, reason, status},
    working::secrets,
};

async fn told(world: &World, words: &[&str]) -> BackupSyncService {
    let start = Instant::now();
    let service = world
        .until("copy", &format!("say {words:?}"), |s| {
            let (status, reason, message) = condition(s, "Ready");
            status == "False" && words.iter().all(|word| reason.contains(word) || message.contains(word))
        })
        .await;
    assert!(start.elapsed() < Duration::from_mins(1));
    service
}

async fn starting(stem: &str, more: Value, prepare: impl AsyncFnOnce(&World)) -> World {
    let mut world = World::new(stem).await;
    prepare(&world).await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", more).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_missing_secret_is_named_in_the_kubelets_words_and_healed_by_making_it() {
    let world = starting("secret", json!({}), async |_| {}).await;
    let service = told(&world, &["FailedMount", "secret"]).await;
    assert_eq!(service.status.as_ref().unwrap().phase, Some(ServicePhase::Pending));
    world.until_event("copy", "FailedMount").await;
    secrets(&world).await;
    // The next word is about the image, so the Secret was found.
    told(&world, &["ImagePullBackOff"]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_wrong_image_is_named() {
    let world = starting("image", json!({}), secrets_of).await;
    told(&world, &["ImagePullBackOff", "registry.invalid/farshore:none"]).await;
    let before = world.get("copy").await.unwrap().resource_version();
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(
        world.get("copy").await.unwrap().resource_version(),
        before,
        "what does not change is not written"
    );
    world.end().await;
}

async fn secrets_of(world: &World) {
    secrets(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_an_unschedulable_worker_is_told_in_the_schedulers_words() {
    let more = json!({"worker": {"nodeSelector": {"no-such": "node"}}});
    let world = starting("unschedulable", more, secrets_of).await;
    told(&world, &["Unschedulable", "nodes are available"]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_quota_of_nothing_is_named() {
    let world = starting("quota", json!({}), async |world: &World| {
        let quota: ResourceQuota =
            serde_json::from_value(json!({"metadata": {"name": "nothing"}, "spec": {"hard": {"pods": "0"}}}))
                .unwrap();
        world.api::<ResourceQuota>().create(&PostParams::default(), &quota).await.unwrap();
        // Until the quota is counted, pods are let in.
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
    told(&world, &["FailedCreate", "exceeded quota"]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_silent_worker_takes_the_live_figures_with_it_and_what_the_target_holds_stays() {
    let mut world = World::new("silent").await;
    let mut options = world.options();
    options.timing.start_grace = Duration::from_secs(10);
    world.start_with(options).await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    world.report("copy", &job, json!({})).await;
    let synced = world.until("copy", "be synced", |s| reason(s, "Ready") == "Synced").await;
    assert!(synced.status.as_ref().unwrap().source_latest_time.is_some());
    // No Secret, no pod that works: after the grace the good figures are not repeated.
    let stale = told(&world, &["FailedMount"]).await.status.unwrap();
    assert_eq!(stale.phase, Some(ServicePhase::Stale));
    assert!(stale.source_latest_time.is_none() && stale.covered_until.is_none());
    assert!(stale.latest_data_time_point.is_some() && !stale.recovery_windows.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_the_pod_is_restricted_and_honours_the_spec() {
    let more = json!({"worker": {"podLabels": {"team": "shop"}, "priorityClassName": "system-node-critical",
        "resources": {"requests": {"cpu": "10m"}}, "tolerations": [{"operator": "Exists"}]}});
    // The namespace enforces the restricted Pod Security Standard: a pod at all is the proof.
    let world = starting("restricted", more, secrets_of).await;
    let jobs = world
        .until_jobs("have a pod", |jobs| {
            jobs.first().is_some_and(|job| job.status.as_ref().is_some_and(|s| s.active == Some(1)))
        })
        .await;
    let template = &jobs[0].spec.as_ref().unwrap().template;
    assert_eq!(template.metadata.as_ref().unwrap().labels.as_ref().unwrap()["team"], "shop");
    let spec = template.spec.as_ref().unwrap();
    assert_eq!(spec.priority_class_name.as_deref(), Some("system-node-critical"));
    assert_eq!(status(&world.get("copy").await.unwrap(), "Accepted"), "True");
    assert!(jobs[0].name_any().starts_with("copy-"));
    world.end().await;
}
