//! Deleting: what goes, what stays, and that nothing is held up.

use std::time::{Duration, Instant};

use crate::{
    buckets,
    cluster::{
        Namespace, SOURCE, TARGET, await_service, await_some, condition, get, kubectl, secret_value,
        try_kubectl,
    },
    service::{Fixture, PATIENCE},
};

#[test]
fn b11_after_a_purge_nothing_is_left_under_the_prefix() {
    let space = Namespace::new("purge");
    let fixture = Fixture::synced(&space.0, TARGET, "dr-backups");
    let target = buckets::open(TARGET, "dr-backups");
    assert!(buckets::list(&target, &fixture.prefix).len() > 3, "copies and records lie there");
    kubectl(&["delete", "bss", "-n", &space.0, "copy", "--timeout=90s"]);
    assert_eq!(buckets::versions(&target, &fixture.prefix), 0);
    assert_eq!(buckets::uploads(&target, &fixture.prefix), 0);
    assert!(
        !buckets::list(&buckets::open(SOURCE, "backups"), &fixture.prefix).is_empty(),
        "the source is untouched"
    );
}

#[test]
fn b11_retained_backups_stay_and_are_adopted_by_the_next_service() {
    let space = Namespace::new("retain");
    let fixture = Fixture::synced(&space.0, TARGET, "dr-backups");
    let before = await_service(&space.0, "copy", "is synced", PATIENCE, |s| s["status"]["phase"] == "Synced");
    kubectl(&[
        "patch",
        "bss",
        "-n",
        &space.0,
        "copy",
        "--type=merge",
        "-p",
        r#"{"spec":{"deletionPolicy":"Retain"}}"#,
    ]);
    kubectl(&["delete", "bss", "-n", &space.0, "copy", "--timeout=60s"]);
    let target = buckets::open(TARGET, "dr-backups");
    let kept = buckets::list(&target, &fixture.prefix).len();
    assert!(kept > 3);
    fixture.create_service("Delete");
    let after =
        await_service(&space.0, "copy", "is synced again", PATIENCE, |s| s["status"]["phase"] == "Synced");
    assert_eq!(after["status"]["recoveryWindows"], before["status"]["recoveryWindows"]);
    assert_eq!(
        after["status"]["usage"]["transferredBytes"], before["status"]["usage"]["transferredBytes"],
        "adopted, not copied again"
    );
}

#[test]
fn b11_a_purge_without_its_secret_says_so_and_can_be_abandoned() {
    let space = Namespace::new("blocked");
    let fixture = Fixture::synced(&space.0, TARGET, "dr-backups");
    kubectl(&["delete", "secret", "-n", &space.0, "target"]);
    kubectl(&["delete", "bss", "-n", &space.0, "copy", "--wait=false"]);
    let blocked = await_service(&space.0, "copy", "shows PurgeBlocked", PATIENCE, |s| {
        condition(s, "PurgeBlocked").0 == "True"
    });
    assert!(
        condition(&blocked, "PurgeBlocked").2.contains("target"),
        "{:?}",
        condition(&blocked, "PurgeBlocked")
    );
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    kubectl(&["annotate", "bss", "-n", &space.0, "copy", &format!("farshore.dev/abandon-purge={now}")]);
    await_some(
        "the service goes",
        PATIENCE,
        || get("bss", &space.0, "copy").is_none().then_some(()),
        String::new,
    );
    assert!(
        buckets::list(&buckets::open(TARGET, "dr-backups"), &fixture.prefix).len() > 3,
        "the backups stay"
    );
}

fn namespace_goes_within_a_minute(space: &str) {
    let start = Instant::now();
    try_kubectl(&["delete", "namespace", space, "--timeout=60s"], None)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(start.elapsed() < Duration::from_mins(1));
}

#[test]
fn b11_a_namespace_goes_within_a_minute_and_its_backups_stay() {
    let space = Namespace::new("gone");
    let fixture = Fixture::synced(&space.0, TARGET, "dr-backups");
    namespace_goes_within_a_minute(&space.0);
    assert!(
        buckets::list(&buckets::open(TARGET, "dr-backups"), &fixture.prefix).len() > 3,
        "the backups stay"
    );
    let events = kubectl(&["get", "events", "-n", "default", "-o", "json"]);
    assert!(events.contains(&fixture.prefix), "an Event says where the backups are");
}

#[test]
fn b11_a_namespace_goes_within_a_minute_when_the_secret_went_first() {
    let space = Namespace::new("nosecret");
    let _fixture = Fixture::synced(&space.0, TARGET, "dr-backups");
    kubectl(&["delete", "secret", "-n", &space.0, "target"]);
    namespace_goes_within_a_minute(&space.0);
}

#[test]
fn b11_a_namespace_goes_within_a_minute_while_the_store_is_down() {
    let space = Namespace::new("storedown");
    let region = crate::service::region_of_its_own("down");
    let _fixture = Fixture::synced(&space.0, &region.0, "dr-backups");
    kubectl(&["scale", "deployment", "-n", &region.0, "minio", "--replicas=0"]);
    kubectl(&["wait", "pod", "-n", &region.0, "-l", "app=minio", "--for=delete", "--timeout=60s"]);
    namespace_goes_within_a_minute(&space.0);
    kubectl(&["delete", "region.farshore.dev", &region.0, "--wait=false"]);
    assert!(!secret_value(&region.0, "minio", "rootUser").is_empty());
}
