//! The rules between resources, told as conditions and Events.

use std::time::Duration;

use farshore::{
    api::{BackupSyncService, DatabaseInstance},
    controller::Error,
};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;

use crate::cluster::{World, condition, reason, status};

#[tokio::test(flavor = "multi_thread")]
async fn b03_a_second_service_is_refused_with_the_name_of_the_first_until_that_is_gone() {
    let mut world = World::new("second").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("first", "orders", json!({})).await;
    world.until("first", "be accepted", |s| status(s, "Accepted") == "True").await;
    world.service("another", "orders", json!({"target": {"prefix": "elsewhere/"}})).await;
    // The same backups under another name are the same instance.
    world.instance("alias", json!({"backups": {"prefix": "orders/"}})).await;
    world.service("third", "alias", json!({})).await;
    for name in ["another", "third"] {
        let refused = world.until(name, "be refused", |s| reason(s, "Accepted") == "HasService").await;
        assert!(
            condition(&refused, "Accepted").2.contains("/first"),
            "{:?}",
            condition(&refused, "Accepted")
        );
        assert_eq!(
            (status(&refused, "Ready").as_str(), status(&refused, "Stalled").as_str()),
            ("False", "True")
        );
        assert!(refused.finalizers().is_empty(), "nothing to purge");
        world.until_event(name, "HasService").await;
    }
    assert_eq!(world.jobs().await.len(), 1);
    world.edit::<BackupSyncService>("first", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    world.api::<BackupSyncService>().delete("first", &DeleteParams::default()).await.unwrap();
    world.until("another", "be accepted now", |s| status(s, "Accepted") == "True").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_of_many_services_applied_at_once_exactly_one_is_accepted() {
    let mut world = World::new("atonce").await;
    world.start().await;
    for i in 0..6 {
        let prefix = format!("p{i}/");
        world.service(&format!("s{i}"), "orders", json!({"target": {"prefix": prefix}})).await;
    }
    world.instance("orders", json!({})).await;
    let mut accepted = 0;
    for i in 0..6 {
        let service = world
            .until(&format!("s{i}"), "be judged", |s| {
                matches!(reason(s, "Accepted").as_str(), "Accepted" | "HasService")
            })
            .await;
        accepted += usize::from(status(&service, "Accepted") == "True");
    }
    assert_eq!(accepted, 1);
    assert_eq!(world.jobs().await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_regions_must_differ_exist_offer_the_service_and_be_of_one_zone() {
    let mut world = World::new("regions").await;
    world.instance("orders", json!({})).await;
    let namespace = world.namespace.clone();
    let extra = |suffix: &str| format!("{namespace}-{suffix}");
    world.region(&extra("alias"), &format!("http://{}:9000/", world.north.to_uppercase())).await;
    world.region_with(&extra("finance"), "http://finance:9000", json!({"zone": "Finance"})).await;
    world.region_with(&extra("without"), "http://without:9000", json!({"services": []})).await;
    let mut options = world.options();
    options.regions.extend(["alias", "finance", "without", "unknown"].map(extra));
    world.start_with(options).await;
    let cases = [
        (world.north.clone(), "SameRegion"),
        (extra("alias"), "SameRegion"),
        (extra("finance"), "ZonesDiffer"),
        (extra("without"), "RegionNotOffered"),
        (extra("unknown"), "UnknownRegion"),
    ];
    for (i, (region, expected)) in cases.into_iter().enumerate() {
        let name = format!("s{i}");
        world
            .service(&name, "orders", json!({"target": {"region": region, "prefix": format!("{i}/")}}))
            .await;
        let service = world.until(&name, expected, |s| reason(s, "Accepted") == expected).await;
        assert!(
            condition(&service, "Ready").2.contains(&world.namespace),
            "names the region: {:?}",
            condition(&service, "Ready")
        );
        assert_eq!(status(&service, "Ready"), "False");
        world.until_event(&name, expected).await;
    }
    assert!(world.jobs().await.is_empty());
    // Those in nobody's way: a service that can be is accepted.
    world.service("good", "orders", json!({})).await;
    world.until("good", "be accepted", |s| status(s, "Accepted") == "True").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_a_service_waits_for_its_instance_and_then_stays_accepted() {
    let mut world = World::new("waits").await;
    world.start().await;
    world.service("copy", "orders", json!({})).await;
    let waiting = world.until("copy", "wait", |s| reason(s, "Accepted") == "UnknownInstance").await;
    assert_eq!(
        (status(&waiting, "Reconciling").as_str(), status(&waiting, "Stalled").as_str()),
        ("True", "")
    );
    assert!(condition(&waiting, "Ready").2.contains("orders"));
    let note = world.until_event("copy", "UnknownInstance").await;
    assert!(note.contains("DatabaseInstance orders") && note.contains("create it"), "{note}");
    world.instance("orders", json!({"declaredState": "Stopped"})).await;
    world.until("copy", "wait until it runs", |s| reason(s, "Accepted") == "InstanceNotRunning").await;
    let note = world.until_event("copy", "InstanceNotRunning").await;
    assert!(note.contains("DatabaseInstance orders is Stopped; start it"), "{note}");
    world.until_event("orders", "Stopped").await;
    world.instance("orders", json!({"billing": {"standing": "Overdue"}})).await;
    world.until("copy", "wait until it is paid", |s| reason(s, "Accepted") == "InstanceOverdue").await;
    let note = world.until_event("copy", "InstanceOverdue").await;
    assert!(note.contains("DatabaseInstance orders") && note.contains("settle it"), "{note}");
    world.instance("orders", json!({})).await;
    world.until("copy", "be accepted", |s| status(s, "Accepted") == "True").await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    // Afterwards neither stops the copying.
    world.instance("orders", json!({"declaredState": "Stopped", "billing": {"standing": "Overdue"}})).await;
    let stopped = world.until("copy", "show it", |s| status(s, "SourceRunning") == "False").await;
    assert_eq!(status(&stopped, "Accepted"), "True");
    assert_eq!(world.jobs().await[0].uid(), job.uid());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_an_instance_with_an_endpoint_is_asked_whether_it_runs() {
    let mut world = World::new("asked").await;
    world.start().await;
    world.instance("orders", json!({"endpoint": {"uri": "mysql://127.0.0.1:1"}})).await;
    world.service("copy", "orders", json!({})).await;
    let waiting = world.until("copy", "wait", |s| reason(s, "Accepted") == "InstanceNotRunning").await;
    assert!(condition(&waiting, "Accepted").2.contains("Unreachable"));
    let found = world.api::<DatabaseInstance>().get("orders").await.unwrap().status.unwrap();
    assert!(found.conditions[0].message.contains("127.0.0.1:1"), "{:?}", found.conditions);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_service_goes_with_its_instance_after_the_grace_and_a_namesake_is_adopted() {
    let mut world = World::new("gone").await;
    let mut options = world.options();
    options.timing.instance_grace = Duration::from_secs(8);
    world.start_with(options).await;
    let first = world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let delete = || async {
        world.api::<DatabaseInstance>().delete("orders", &DeleteParams::default()).await.unwrap()
    };
    delete().await;
    let gone = |s: &BackupSyncService| {
        s.status.as_ref().and_then(|s| s.source.as_ref()).is_some_and(|s| s.gone_since.is_some())
    };
    world.until("copy", "know that it is gone", gone).await;
    world.until_event("copy", "InstanceGone").await;
    let second = world.instance("orders", json!({})).await;
    assert_ne!(first.uid(), second.uid());
    world.until("copy", "adopt its namesake", |s| !gone(s)).await;
    world.until_event("copy", "InstanceAdopted").await;
    assert_eq!(world.jobs().await[0].uid(), job.uid(), "nothing was lost");
    world.edit::<BackupSyncService>("copy", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    delete().await;
    world.until_gone("copy").await;
    world.until_event("copy", "InstanceDeleted").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_another_regions_service_is_left_alone() {
    let mut world = World::new("other").await;
    let mut options = world.options();
    options.regions.remove(&world.east);
    world.start_with(options).await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    world.until("copy", "be told", |s| reason(s, "Accepted") == "OtherRegion").await;
    assert!(world.jobs().await.is_empty());
    // The controller that serves it takes over, and the first one keeps quiet.
    world.start().await;
    world.until("copy", "be accepted", |s| status(s, "Accepted") == "True").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(status(&world.get("copy").await.unwrap(), "Accepted"), "True");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_one_leads_and_the_other_waits_and_losing_the_lease_ends_the_process() {
    let world = World::new("lease").await;
    let options = |me: &str| {
        let mut options = world.options();
        options.leader_election = true;
        options.identity = me.to_owned();
        options
    };
    let first = world.controller(options("first")).await;
    let leases = world.api::<k8s_openapi::api::coordination::v1::Lease>();
    let holder = || async {
        let lease = leases.get_opt(&world.namespace).await.unwrap();
        lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity)
    };
    let until_held = |by: &'static str| async move {
        for _ in 0..300 {
            if holder().await.as_deref() == Some(by) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{by} never led; {:?} does", holder().await);
    };
    until_held("first").await;
    let second = world.controller(options("second")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(holder().await.as_deref(), Some("first"));
    // Given back on the way out, so the other takes over without waiting for the lease to run out.
    first.stop().await.unwrap();
    let start = std::time::Instant::now();
    until_held("second").await;
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let patch = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}});
    leases
        .patch(&world.namespace, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&patch))
        .await
        .unwrap();
    assert!(matches!(second.end().await, Err(Error::LeadershipLost { .. })));
    world.end().await;
}
