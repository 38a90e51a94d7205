//! A store that is down: one probe, no storm, one catch-up (`P08`).

use std::time::Duration;

use farshore::api::{Region, condition as conditions};
use kube::Api;
use serde_json::json;

use crate::{
    cluster::{PATIENCE, Store, World, condition, reason, status},
    working::finish,
};

async fn until_region(world: &World, name: &str, reason: &str) -> Region {
    let api: Api<Region> = Api::all(world.client.clone());
    let start = std::time::Instant::now();
    loop {
        let region = api.get(name).await.unwrap();
        let found = region
            .status
            .as_ref()
            .and_then(|s| conditions::find(&s.conditions, "Ready"))
            .map(|c| c.reason.clone());
        if found.as_deref() == Some(reason) {
            return region;
        }
        assert!(start.elapsed() < PATIENCE, "{name} was to be {reason}; it is {:#?}", region.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_no_job_is_started_while_a_store_is_down_and_one_when_it_heals() {
    let mut world = World::new("outage").await;
    let (north, east) = (Store::new().await, Store::new().await);
    world.region(&world.north, &north.endpoint).await;
    world.region(&world.east, &east.endpoint).await;
    world.start_with(world.probing()).await;
    until_region(&world, &world.north, "Answers").await;
    until_region(&world, &world.east, "Answers").await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let first = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let address = east.go_down();
    let down = until_region(&world, &world.east, "StoreUnreachable").await;
    let outage = down.status.as_ref().unwrap().outage.as_ref().unwrap();
    assert!(outage.failures >= 2 && outage.next_probe.0 >= outage.since.0);
    // A running shift is left alone; when it ends, nothing follows.
    assert_eq!(world.jobs().await.len(), 1);
    finish(&world, &first, false, 12).await;
    let waiting = world.until("copy", "wait", |s| reason(s, "TargetReachable") == "StoreUnreachable").await;
    assert_eq!(
        (status(&waiting, "Ready").as_str(), status(&waiting, "Reconciling").as_str()),
        ("False", "True")
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.jobs().await.len(), 1, "no storm of Jobs");
    let east = Store::come_back(address).await;
    let healed = until_region(&world, &world.east, "Answers").await;
    assert!(healed.status.as_ref().unwrap().outage.is_none());
    world.until_jobs("be one more", |jobs| jobs.len() == 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.jobs().await.len(), 2, "one catch-up");
    drop(east);
    world.until_event_in("default", &world.east, "StoreUnreachable").await;
    world.until_event_in("default", &world.east, "StoreRecovered").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_refused_credentials_are_tried_again_within_a_minute_each_time() {
    let mut world = World::new("denied").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let first = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let failure = json!({"cycle": null, "failure": {"side": "Target", "reason": "CredentialsRefused", "message": "the key of Secret target is refused", "permanent": false, "since": jiff::Timestamp::now()}});
    world.report("copy", &first, failure).await;
    finish(&world, &first, false, 11).await;
    let refused =
        world.until("copy", "say so", |s| reason(s, "TargetReachable") == "CredentialsRefused").await;
    assert_eq!(reason(&refused, "Ready"), "CredentialsRefused");
    let note = world.until_event("copy", "CredentialsRefused").await;
    assert!(note.starts_with("service copy: ") && note.ends_with("its keys are in Secret target"), "{note}");
    let start = std::time::Instant::now();
    let jobs = world.until_jobs("be tried again", |jobs| jobs.len() == 2).await;
    assert!(start.elapsed() > Duration::from_secs(20), "not at once: {:?}", start.elapsed());
    // Still the same words while the next one starts, and gone with its first cycle.
    assert_eq!(status(&world.get("copy").await.unwrap(), "Ready"), "False");
    world.report("copy", &jobs[1], json!({})).await;
    world.until("copy", "heal", |s| reason(s, "Ready") == "Synced").await;
    world.until_event("copy", "Synced").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_p05_a_clock_that_is_20_min_off_stops_the_service_and_is_told_of_at_both() {
    let mut world = World::new("clock").await;
    let (north, east) = (Store::new().await, Store::ahead(jiff::SignedDuration::from_mins(20)).await);
    world.region(&world.north, &north.endpoint).await;
    world.region(&world.east, &east.endpoint).await;
    world.start_with(world.probing()).await;
    let off = until_region(&world, &world.east, "ClockSkew").await;
    let told = [world.until_event_in("default", &world.east, "ClockSkew").await];
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let stalled = world.until("copy", "be stalled", |s| status(s, "Stalled") == "True").await;
    assert_eq!(reason(&stalled, "Ready"), "ClockSkew");
    assert_eq!(condition(&stalled, "TargetReachable").0, "False");
    let told = told.into_iter().chain([world.until_event("copy", "ClockSkew").await]);
    for note in told.chain([condition(&stalled, "Ready").2]) {
        assert!(note.contains(&world.east) && note.ends_with("set the clocks"), "{note}");
    }
    assert!(world.jobs().await.is_empty());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = until_region(&world, &world.east, "ClockSkew").await;
    assert_eq!(
        later.metadata.resource_version, off.metadata.resource_version,
        "one write, however often asked"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_a_region_that_no_controller_serves_says_whether_it_answers() {
    let mut world = World::new("nobodys").await;
    let store = Store::new().await;
    let name = format!("{}-west", world.namespace);
    world.region(&name, &store.endpoint).await;
    world.start_with(world.probing()).await;
    let region = until_region(&world, &name, "Answers").await;
    // Not asked every second, as the others are, but after an edit.
    store.go_down();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let same = until_region(&world, &name, "Answers").await;
    assert_eq!(same.metadata.resource_version, region.metadata.resource_version);
    world.region(&name, "http://127.0.0.1:1").await;
    until_region(&world, &name, "StoreUnreachable").await;
    world.until_event_in("default", &name, "StoreUnreachable").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_what_only_a_person_can_help_is_stalled() {
    let mut world = World::new("permanent").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({})).await;
    let first = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    finish(&world, &first, false, 10).await;
    let stalled = world.until("copy", "be stalled", |s| status(s, "Stalled") == "True").await;
    assert_eq!(stalled.status.as_ref().unwrap().phase, Some(farshore::api::ServicePhase::Failed));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.jobs().await.len(), 1, "not tried again for a while");
    // An edit is tried at once.
    world.service("copy", "orders", json!({"retention": "5d"})).await;
    world
        .until_jobs("be another", |jobs| jobs.iter().any(|job| job.metadata.uid != first.metadata.uid))
        .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_metrics_are_computed_from_what_is_there() {
    let mut world = World::new("metrics").await;
    let mut options = world.options();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    options.listen = Some(address);
    world.start_with(options).await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({"interval": "1h", "deletionPolicy": "Retain"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    world.report("copy", &job, json!({})).await;
    world.until("copy", "be synced", |s| reason(s, "Ready") == "Synced").await;
    let scrape = || async { get(address, "/metrics").await };
    let text = scrape().await;
    for name in [
        "farshore_reconcile_total",
        "farshore_reconcile_seconds_count",
        "farshore_latest_data_timestamp_seconds",
        "farshore_rpo_objective_seconds",
        "farshore_pending_bytes",
        "farshore_stored_bytes",
        "farshore_transferred_bytes",
        "farshore_last_sync_timestamp_seconds",
        "farshore_condition",
        "farshore_resource_phase",
        "farshore_region_breaker_open",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    assert!(text.contains("name=\"copy\""));
    assert!(
        get(address, "/readyz").await.ends_with("ok\n") && get(address, "/healthz").await.ends_with("ok\n")
    );
    world
        .api::<farshore::api::BackupSyncService>()
        .delete("copy", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    world.until_gone("copy").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!scrape().await.contains("name=\"copy\""), "a series goes with its service");
    world.end().await;
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
