//! A service that is deleted (`B11`).

use std::time::{Duration, Instant};

use farshore::api::{BackupSyncService, ServicePhase};
use k8s_openapi::api::{batch::v1::Job, core::v1::Namespace};
use kube::{Api, ResourceExt, api::DeleteParams};
use serde_json::json;

use crate::{
    cluster::{World, condition, reason, status},
    working::finish,
};

const ABANDON: &str = "farshore.dev/abandon-purge";

async fn accepted(stem: &str) -> World {
    let mut world = World::new(stem).await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    world.until_jobs("be there", |jobs| jobs.len() == 1).await;
    world
}

async fn delete(world: &World) {
    world.api::<BackupSyncService>().delete("copy", &DeleteParams::default()).await.unwrap();
}

fn is_purge(job: &Job) -> bool {
    job.labels().get("farshore.dev/work").is_some_and(|work| work == "purge")
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_deleted_service_is_purged_and_then_goes() {
    let world = accepted("purge").await;
    delete(&world).await;
    let jobs = world.until_jobs("be the purge alone", |jobs| jobs.len() == 1 && is_purge(&jobs[0])).await;
    let deleting = world.get("copy").await.unwrap();
    assert_eq!(deleting.status.as_ref().unwrap().phase, Some(ServicePhase::Deleting));
    let args =
        jobs[0].spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].args.clone().unwrap();
    assert_eq!(args[1], "purge");
    finish(&world, &jobs[0], false, 10).await;
    // It goes on trying.
    let jobs =
        world.until_jobs("be tried again", |jobs| jobs.iter().filter(|job| is_purge(job)).count() == 2).await;
    finish(&world, &jobs[1], true, 0).await;
    world.until_gone("copy").await;
    world.until_event("copy", "PurgeStarted").await;
    world.until_event("copy", "Purged").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_retain_may_still_be_set_and_keeps_the_backups() {
    let world = accepted("retain").await;
    world.edit::<BackupSyncService>("copy", json!({"spec": {"purgeDelay": "1h"}})).await;
    delete(&world).await;
    let delayed = world.until("copy", "wait", |s| reason(s, "Ready") == "PurgeDelayed").await;
    assert!(condition(&delayed, "Ready").2.contains("Retain"), "it says how to keep them");
    world.edit::<BackupSyncService>("copy", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    world.until_gone("copy").await;
    assert!(world.until_event("copy", "Retained").await.contains("s3://dr-backups/orders/"));
    assert!(!world.events(&world.namespace, "copy").await.iter().any(|(reason, _)| reason == "PurgeStarted"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_purge_without_its_secret_says_so_and_can_be_let_go() {
    let world = accepted("blocked").await;
    delete(&world).await;
    let start = Instant::now();
    let blocked = world.until("copy", "be blocked", |s| status(s, "PurgeBlocked") == "True").await;
    assert!(start.elapsed() < Duration::from_mins(1));
    let message = condition(&blocked, "PurgeBlocked").2;
    assert!(message.contains("kubectl annotate"), "{message}");
    world.until_event("copy", "PurgeBlocked").await;
    // What was meant for another deletion does not count.
    let annotate = |at: String| json!({"metadata": {"annotations": {ABANDON: at}}});
    world.edit::<BackupSyncService>("copy", annotate("2020-01-01T00:00:00Z".to_owned())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.get("copy").await.is_some());
    let now = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap();
    world.edit::<BackupSyncService>("copy", annotate(now.to_string())).await;
    world.until_gone("copy").await;
    world.until_event("copy", "PurgeAbandoned").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_service_that_was_never_accepted_goes_at_once() {
    let mut world = World::new("never").await;
    world.start().await;
    world.service("copy", "orders", json!({})).await;
    world.until("copy", "wait", |s| reason(s, "Accepted") == "UnknownInstance").await;
    delete(&world).await;
    world.until_gone("copy").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_namespace_goes_within_a_minute_and_an_event_says_where_the_backups_are() {
    let world = accepted("space").await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let start = Instant::now();
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    while namespaces.get_opt(&world.namespace).await.unwrap().is_some() {
        assert!(start.elapsed() < Duration::from_mins(1), "the namespace is held up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let note = world.until_event_in("default", &world.namespace, "PurgeSkipped").await;
    assert!(note.contains("s3://dr-backups/orders/") && note.contains(&world.east), "{note}");
    world.end().await;
}
