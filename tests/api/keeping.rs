//! What a rule keeps of objects on request (`C02`): what can't be is refused, the worker is told, and so is the user.

use farshore::{
    api::{AttributeName, BucketReplicationRule},
    task::{Task, Work},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::World,
    migrating::{until, until_job},
};

fn spec(world: &World, attributes: &Value) -> Value {
    let end = |region: &str, bucket: &str| json!({"region": region, "bucket": bucket, "credentials": {"secretRef": {"name": "keys"}}});
    json!({
        "source": end(&world.north, "photos"), "target": end(&world.east, "photos"), "attributes": attributes,
        "worker": {"nodeSelector": {"farshore.dev/nowhere": "true"}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_p02_a_wish_that_can_not_be_is_refused_on_apply_with_words_that_help() {
    let world = World::new("badwish").await;
    let accounts = |accounts: Value| json!({"accessControl": {"accounts": accounts}});
    let cases = [
        (
            accounts(json!([{"source": "a", "target": "b\", uri=\"x"}])),
            "canonical id, without spaces and quotes",
        ),
        (accounts(json!([{"source": "a b", "target": "c"}])), "canonical id, without spaces and quotes"),
        (accounts(json!([{"source": "", "target": "c"}])), "source"),
        (
            accounts(json!([{"source": "a", "target": "b"}, {"source": "a", "target": "c"}])),
            "duplicate entries",
        ),
        (json!({"storageClass": "GLACIER"}), "Unsupported value"),
        (json!({"creationTime": {"keep": "InMetadata"}}), "metadataName is needed"),
        (json!({"creationTime": {"keep": "AsReplica", "metadataName": "x"}}), "and with no other"),
        (
            json!({"creationTime": {"keep": "InMetadata", "metadataName": "A time"}}),
            "small letters, digits and dashes",
        ),
        (json!({"compareEvery": "5m"}), "at least 10m"),
        (json!({"compareEvery": "daily"}), "compareEvery"),
    ];
    for (attributes, words) in cases {
        let refused = world
            .create::<BucketReplicationRule>("BucketReplicationRule", "photos", spec(&world, &attributes))
            .await;
        match refused {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(words), "{words:?} was to be in: {}", status.message);
            }
            other => panic!("{attributes} was to be refused; it was {other:?}"),
        }
    }
    world.end().await;
}

/// What a worker reports that could not give the target all.
fn report(run: &str, pair: &Value) -> Value {
    let now = jiff::Timestamp::now();
    json!({
        "runID": run, "generation": 1, "reportedAt": now,
        "cycle": {
            "pair": pair, "startedAt": now, "completedAt": now, "dealtWithUntil": now, "syncedUntil": now,
            "period": "10s", "sourceObjects": 5, "targetObjects": 2, "differences": 3, "failed": 0, "repaired": 0,
            "sourceVersions": "Lost", "targetVersions": "Lost",
            "skipped": [{"reason": "Archived", "count": 3, "example": "a/b"}],
            "incomplete": [{"attribute": "AccessControl", "why": "the bucket keeps no access control list", "count": 2, "example": "a/c"}],
            "attributes": {"at": now, "asked": "x"},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_the_worker_is_told_what_to_keep_and_the_user_what_could_not_be() {
    let mut world = World::new("keep").await;
    world.start().await;
    let attributes = json!({
        "accessControl": {"accounts": [{"source": "a", "target": "b"}]},
        "creationTime": {"keep": "InMetadata", "metadataName": "written"},
        "compareEvery": "1d",
    });
    let wish = spec(&world, &attributes);
    world.create::<BucketReplicationRule>("BucketReplicationRule", "photos", wish).await.unwrap();
    let job = until_job(&world, "replicate", "have a worker", |_| true).await;
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let map = pod.volumes.iter().flatten().find_map(|volume| volume.config_map.clone()).unwrap();
    let text = world.api::<ConfigMap>().get(&map.name).await.unwrap().data.unwrap()["task.json"].clone();
    let Work::Replicate(work) = serde_json::from_str::<Task>(&text).unwrap().work else { panic!("{text}") };
    let rules = world.api::<BucketReplicationRule>();
    let rule = rules.get("photos").await.unwrap();
    assert_eq!(work.attributes, rule.spec.attributes);

    let pair = serde_json::to_value(rule.status.unwrap().pair).unwrap();
    let body = json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "BucketReplicationRule", "metadata": {"name": "photos"},
        "status": {"observed": report(&job.annotations()["farshore.dev/run-id"], &pair)},
    });
    let worker = PatchParams::apply("farshore-worker");
    rules.patch_status("photos", &worker, &Patch::Apply(&body)).await.unwrap();
    let status = until("tell what copies lack", async || {
        let status = rules.get("photos").await.unwrap().status.unwrap();
        if status.skipped.is_empty() { Err(format!("{status:#?}")) } else { Ok(status) }
    })
    .await;
    assert_eq!((status.skipped[0].reason.as_str(), status.skipped[0].count), ("Archived", 3));
    let lacks: Vec<_> = status.incomplete.iter().map(|lacks| (lacks.attribute, lacks.count)).collect();
    assert_eq!(lacks, [(AttributeName::AccessControl, Some(2)), (AttributeName::Owner, None)]);
    assert_eq!(status.incomplete[0].example.as_deref(), Some("a/c"));
    world.end().await;
}
