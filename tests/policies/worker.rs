//! A stolen worker is worth one report about one resource.

use std::time::{Duration, Instant};

use farshore::api::BackupSyncService;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{Room, acting_as, allowed, refused};

const PATIENCE: Duration = Duration::from_secs(30);
const CRD: &str = include_str!("../../crds/farshore.dev_backupsyncservices.yaml");
const RULE_CRD: &str = include_str!("../../crds/farshore.dev_bucketreplicationrules.yaml");
const POLICY: &str = include_str!("../../charts/farshore/templates/policies/farshore.yaml");
const SECRETS: &str = include_str!("../../charts/farshore/templates/policies/secrets.yaml");

fn schema(definition: &str) -> Value {
    let definition: Value = serde_yaml_ng::from_str(definition).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clone()
}

/// Fields of the status, but for the worker's own.
fn judged() -> Vec<String> {
    judged_of(CRD)
}

fn judged_of(definition: &str) -> Vec<String> {
    let status = schema(definition)["status"]["properties"].as_object().unwrap().clone();
    status.into_iter().map(|(name, _)| name).filter(|name| name != "observed").collect()
}

#[test]
fn p07_the_worker_policy_names_every_field_of_the_status_but_observed() {
    for (plural, definition) in [("backupsyncservices", CRD), ("bucketreplicationrules", RULE_CRD)] {
        let begin = format!("\"{plural}\" \"fields\" (list ");
        let list = POLICY.split(&begin).nth(1).and_then(|rest| rest.split("))").next()).unwrap();
        let mut listed: Vec<_> =
            list.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
        listed.sort();
        assert_eq!(
            listed,
            judged_of(definition),
            "mend the list in charts/farshore/templates/policies/farshore.yaml, then run `make chart`"
        );
    }
}

#[test]
fn p07_the_secrets_policy_asks_for_as_many_pull_secrets_as_there_may_be() {
    let most = &schema(CRD)["spec"]["properties"]["worker"]["properties"]["imagePullSecrets"]["maxItems"];
    let range = SECRETS.split("range $n := until ").nth(1);
    let asked = range.and_then(|rest| rest.split_whitespace().next());
    assert_eq!(asked, Some(most.to_string().as_str()), "charts/farshore/templates/policies/secrets.yaml");
}

/// A service, and a worker of it with the rights that the controller gives.
async fn service_with_worker(stem: &str) -> (Room, String, Client) {
    let room = Room::new(stem).await;
    for name in ["copy", "other"] {
        let service: BackupSyncService = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"instanceRef": {"name": name}, "target": {
                "region": "east", "bucket": "dr-backups", "prefix": "orders/",
                "credentials": {"secretRef": {"name": "target"}},
            }},
        }))
        .unwrap();
        let api = Api::<BackupSyncService>::namespaced(room.client.clone(), &room.namespace);
        api.create(&PostParams::default(), &service).await.unwrap();
    }
    let rules = json!([
        {"apiGroups": ["farshore.dev"], "resources": ["backupsyncservices"], "resourceNames": ["copy"],
         "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["farshore.dev"], "resources": ["backupsyncservices/status"], "resourceNames": ["copy"],
         "verbs": ["patch"]},
    ]);
    let account = json!({"kind": "ServiceAccount", "name": "farshore-copy", "namespace": room.namespace});
    room.grant("farshore-copy", account, rules).await;
    let user = format!("system:serviceaccount:{}:farshore-copy", room.namespace);
    let granted = json!({"namespace": room.namespace, "verb": "get", "group": "farshore.dev",
                         "resource": "backupsyncservices", "name": "copy"});
    // What is granted takes a moment to be known.
    let begin = Instant::now();
    while !room.can(&user, granted.clone()).await {
        assert!(begin.elapsed() < PATIENCE, "the worker's rights are not known");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let client = acting_as(&user).await;
    (room, user, client)
}

fn observed(run: &str) -> Value {
    json!({"runID": run, "generation": 1, "reportedAt": "2026-01-01T00:00:00Z"})
}

async fn patch(
    client: &Client,
    room: &Room,
    status: Value,
    dry_run: bool,
) -> kube::Result<BackupSyncService> {
    let api = Api::<BackupSyncService>::namespaced(client.clone(), &room.namespace);
    let params = PatchParams { dry_run, ..PatchParams::default() };
    api.patch_status("copy", &params, &Patch::Merge(json!({"status": status}))).await
}

#[tokio::test]
async fn p07_a_worker_sees_and_reports_on_its_own_resource_and_nothing_else() {
    let (room, user, _) = service_with_worker("policy-canwork").await;
    let ask = |verb: &str, resource: &str, name: &str| {
        json!({"namespace": room.namespace, "verb": verb, "group": "farshore.dev",
               "resource": resource.split('/').next(), "subresource": resource.split('/').nth(1).unwrap_or(""),
               "name": name})
    };
    for (verb, resource) in [
        ("get", "backupsyncservices"),
        ("list", "backupsyncservices"),
        ("watch", "backupsyncservices"),
        ("patch", "backupsyncservices/status"),
    ] {
        assert!(room.can(&user, ask(verb, resource, "copy")).await, "{verb} {resource}");
        assert!(!room.can(&user, ask(verb, resource, "other")).await, "{verb} {resource} of another");
        assert!(!room.can(&user, ask(verb, resource, "")).await, "{verb} {resource} of all");
    }
    for verb in ["create", "update", "patch", "delete", "deletecollection"] {
        assert!(!room.can(&user, ask(verb, "backupsyncservices", "copy")).await, "{verb}");
    }
    for (verb, group, resource) in [
        ("get", "", "secrets"),
        ("list", "", "secrets"),
        ("get", "", "configmaps"),
        ("get", "", "pods"),
        ("create", "", "pods"),
        ("create", "batch", "jobs"),
        ("get", "farshore.dev", "databaseinstances"),
        ("get", "farshore.dev", "regions"),
        ("use", "farshore.dev", "databaseinstances"),
        ("create", "", "serviceaccounts/token"),
        ("create", "events.k8s.io", "events"),
    ] {
        for namespace in [room.namespace.as_str(), "farshore-system", ""] {
            let asked = json!({"namespace": namespace, "verb": verb, "group": group,
                               "resource": resource.split('/').next(),
                               "subresource": resource.split('/').nth(1).unwrap_or("")});
            assert!(!room.can(&user, asked.clone()).await, "{asked}");
        }
    }
}

#[tokio::test]
async fn p07_a_worker_changes_observed_and_nothing_else_of_the_status() {
    let (room, _, worker) = service_with_worker("policy-report").await;
    let now = "2026-01-01T00:00:00Z";
    // A controller may run in this cluster: these are not its words.
    let samples = json!({
        "observedGeneration": 99,
        "phase": "Deleting",
        "latestDataTimePoint": now,
        "timePointBasis": "Proved",
        "coveredUntil": now,
        "recoveryWindows": [{"from": now, "to": now}],
        "sourceLatestTime": now,
        "backups": {"full": 1, "incremental": 0, "logs": 1, "bytes": 1},
        "usage": {"storedBytes": 1, "transferredBytes": 1},
        "lastSyncTime": now,
        "lastProved": {"at": now, "duration": "9s", "drill": "nightly"},
        "lastRunRequest": {"requestedAt": now},
        "source": {"region": "north", "endpoint": "http://north", "bucket": "backups", "prefix": "", "instanceUid": "1"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": now}],
    });
    let mut given: Vec<_> = samples.as_object().unwrap().keys().cloned().collect();
    given.sort();
    assert_eq!(given, judged(), "add a sample of the new field to this test");
    let words = ["a worker changes status.observed of its service and nothing else"];

    // Neither what is not there yet…
    for (field, value) in samples.as_object().unwrap() {
        let status = json!({field: value, "observed": observed("run-1")});
        refused(field, &words, async || patch(&worker, &room, status.clone(), true).await).await;
    }
    let reported = allowed("its report", async || {
        patch(&worker, &room, json!({"observed": observed("run-1")}), false).await
    })
    .await;
    assert_eq!(reported.status.unwrap().observed.unwrap().run_id, "run-1");

    // …nor what is.
    patch(&room.client, &room, samples.clone(), false).await.unwrap();
    for field in judged() {
        let status = json!({&field: null});
        refused(&field, &words, async || patch(&worker, &room, status.clone(), true).await).await;
    }
    allowed("its next report", async || {
        patch(&worker, &room, json!({"observed": observed("run-2")}), true).await
    })
    .await;
    allowed("what is there already", async || {
        let api = Api::<BackupSyncService>::namespaced(worker.clone(), &room.namespace);
        let there = json!(api.get("copy").await?.status);
        patch(&worker, &room, there, true).await
    })
    .await;
}

#[tokio::test]
async fn p07_a_worker_can_not_reach_the_spec_through_the_status() {
    let (room, _, worker) = service_with_worker("policy-spec").await;
    let api = Api::<BackupSyncService>::namespaced(worker, &room.namespace);
    let all = json!({
        "metadata": {"finalizers": ["farshore.dev/purge"], "annotations": {"a": "b"}, "labels": {"a": "b"}},
        "spec": {"suspend": true},
        "status": {"observed": observed("run-1")},
    });
    let answer = allowed("its report", async || {
        api.patch_status("copy", &PatchParams::default(), &Patch::Merge(&all)).await
    })
    .await;
    assert!(!answer.spec.suspend);
    let metadata = answer.metadata;
    assert_eq!((metadata.finalizers, metadata.annotations, metadata.labels), (None, None, None));
}
