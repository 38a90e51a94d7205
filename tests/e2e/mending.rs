//! What goes wrong is said in words, and heals once it is mended.

use std::time::{Duration, Instant};

use crate::{
    cluster::{
        Namespace, TARGET, await_event, await_service, condition, kubectl, secret_value, store_secret,
    },
    service::{Fixture, PATIENCE},
};

#[test]
fn p08_a_wrong_key_is_named_and_heals_within_90_s_once_mended() {
    let space = Namespace::new("wrongkey");
    let fixture = Fixture::new(&space.0, TARGET, "dr-backups");
    store_secret(&space.0, "target", "nobody", "wrong-wrong-wrong");
    fixture.create_service("Delete");
    let refused = await_service(&space.0, "copy", "says that its key is wrong", PATIENCE, |s| {
        condition(s, "TargetReachable").0 == "False"
    });
    assert_eq!(condition(&refused, "TargetReachable").1, "CredentialsRefused", "{:#}", refused["status"]);
    assert_eq!(condition(&refused, "Ready").0, "False");
    let note = await_event(&space.0, "copy", "CredentialsRefused", PATIENCE);
    assert!(note.contains("service copy") && note.contains("its keys are in Secret target"), "{note}");
    let mended = Instant::now();
    store_secret(
        &space.0,
        "target",
        &secret_value(TARGET, "minio", "rootUser"),
        &secret_value(TARGET, "minio", "rootPassword"),
    );
    await_service(&space.0, "copy", "heals", Duration::from_secs(90), |s| condition(s, "Ready").0 == "True");
    assert!(mended.elapsed() < Duration::from_secs(90));
    await_event(&space.0, "copy", "Synced", PATIENCE);
}

#[test]
fn b06_a_missing_bucket_is_named_with_the_next_step() {
    let space = Namespace::new("nobucket");
    let fixture = Fixture::new(&space.0, TARGET, "no-such-bucket");
    fixture.create_service("Delete");
    let object = await_service(&space.0, "copy", "names the bucket", PATIENCE, |s| {
        condition(s, "TargetReachable").0 == "False"
    });
    let (_, reason, message) = condition(&object, "TargetReachable");
    assert_eq!(reason, "BucketNotFound");
    let note = await_event(&space.0, "copy", "BucketNotFound", PATIENCE);
    for text in [message, note] {
        assert!(text.contains("no-such-bucket") && text.contains("create the bucket"), "{text}");
    }
    kubectl(&["annotate", "bss", "-n", &space.0, "copy", "farshore.dev/abandon-purge=2999-01-01T00:00:00Z"]);
}

#[test]
fn b06_a_source_without_a_full_backup_says_so() {
    let space = Namespace::new("empty");
    let fixture = Fixture::without_backups(&space.0, TARGET, "dr-backups");
    fixture.create_service("Delete");
    let object = await_service(&space.0, "copy", "says that there is nothing yet", PATIENCE, |s| {
        condition(s, "Ready").2.contains("no full backup yet")
    });
    assert_ne!(condition(&object, "Ready").0, "True");
    assert!(object["status"]["latestDataTimePoint"].is_null());
    let note = await_event(&space.0, "copy", "NoFullBackup", PATIENCE);
    assert!(note.contains("take one, or check bucket and prefix"), "{note}");
}

#[test]
fn p09_a_run_can_be_asked_for_and_a_service_suspended_and_resumed() {
    let space = Namespace::new("run");
    let fixture = Fixture::synced(&space.0, TARGET, "dr-backups");
    let before =
        await_service(&space.0, "copy", "is synced", PATIENCE, |s| s["status"]["lastSyncTime"].is_string());
    let request = "2026-01-01T00:00:00Z";
    kubectl(&["annotate", "bss", "-n", &space.0, "copy", &format!("farshore.dev/run-requested={request}")]);
    let ran = await_service(&space.0, "copy", "honours the request", PATIENCE, |s| {
        s["status"]["lastRunRequest"]["requestedAt"] == request
            && s["status"]["lastRunRequest"]["completedAt"].is_string()
    });
    assert!(ran["status"]["lastSyncTime"].as_str() >= before["status"]["lastSyncTime"].as_str());
    kubectl(&["patch", "bss", "-n", &space.0, "copy", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    let suspended =
        await_service(&space.0, "copy", "is suspended", PATIENCE, |s| s["status"]["phase"] == "Suspended");
    assert_eq!(
        (condition(&suspended, "Ready").0.as_str(), condition(&suspended, "Ready").1.as_str()),
        ("True", "Suspended")
    );
    crate::cluster::await_some(
        "the worker ends",
        PATIENCE,
        || kubectl(&["get", "pods", "-n", &space.0, "-o", "name"]).trim().is_empty().then_some(()),
        || kubectl(&["get", "pods", "-n", &space.0]),
    );
    kubectl(&["patch", "bss", "-n", &space.0, "copy", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]);
    await_service(&space.0, "copy", "is resumed", PATIENCE, |s| s["status"]["phase"] == "Synced");
    drop(fixture);
}
