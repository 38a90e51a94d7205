//! Two rules that go both ways: the second is let in once the first one's worker knows of it.

use farshore::{
    api::BucketReplicationRule,
    task::{Task, Work},
};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::World,
    migrating::{until, until_job},
};

async fn rule(world: &World, name: &str, [from, to]: [&str; 2]) {
    let end = |region: &str| json!({"region": region, "bucket": "docs", "credentials": {"secretRef": {"name": "keys"}}});
    let spec = json!({
        "source": end(from), "target": end(to),
        "worker": {"nodeSelector": {"farshore.dev/nowhere": "true"}},
    });
    world.create::<BucketReplicationRule>("BucketReplicationRule", name, spec).await.unwrap();
}

pub async fn until_rule(
    world: &World,
    name: &str,
    what: &str,
    holds: impl Fn(&BucketReplicationRule) -> bool,
) -> BucketReplicationRule {
    until(what, async || {
        let rule = world.api::<BucketReplicationRule>().get(name).await.unwrap();
        if holds(&rule) { Ok(rule) } else { Err(format!("{:#?}", rule.status)) }
    })
    .await
}

fn condition<'a>(rule: &'a BucketReplicationRule, type_: &str) -> Option<&'a Condition> {
    rule.status.iter().flat_map(|status| &status.conditions).find(|found| found.type_ == type_)
}

pub fn reason(rule: &BucketReplicationRule, type_: &str) -> String {
    condition(rule, type_).map(|found| found.reason.clone()).unwrap_or_default()
}

pub fn message(rule: &BucketReplicationRule, type_: &str) -> String {
    condition(rule, type_).map(|found| found.message.clone()).unwrap_or_default()
}

fn is_of(job: &Job, name: &str) -> bool {
    job.owner_references().iter().any(|owner| owner.name == name)
}

async fn is_told_mutual(world: &World, job: &Job) -> bool {
    let spec = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let task = spec.volumes.iter().flatten().find_map(|volume| volume.config_map.clone()).unwrap();
    let text = world.api::<ConfigMap>().get(&task.name).await.unwrap().data.unwrap()["task.json"].clone();
    let task: Task = serde_json::from_str(&text).unwrap();
    let Work::Replicate(work) = task.work else { panic!("{text}") };
    work.mutual
}

/// What its worker says after a comparison.
async fn report(world: &World, name: &str, job: &Job, versions: &str, mutual: bool) {
    let rule = world.api::<BucketReplicationRule>().get(name).await.unwrap();
    let (now, pair) = (jiff::Timestamp::now(), rule.status.as_ref().unwrap().pair.clone().unwrap());
    let mut cycle = json!({
        "pair": pair, "startedAt": now, "completedAt": now, "period": "10s", "dealtWithUntil": now,
        "sourceObjects": 0, "targetObjects": 0, "differences": 0, "failed": 0, "repaired": 0,
        "sourceVersions": versions, "targetVersions": versions,
    });
    if mutual {
        cycle["mutual"] = Value::Bool(true);
    }
    let body = json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "BucketReplicationRule", "metadata": {"name": name},
        "status": {"observed": {
            "runID": job.annotations()["farshore.dev/run-id"], "generation": 1, "reportedAt": now, "cycle": cycle,
        }},
    });
    let params = PatchParams::apply("farshore-worker");
    world.api::<BucketReplicationRule>().patch_status(name, &params, &Patch::Apply(&body)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn c08_the_way_back_is_let_in_once_the_other_worker_knows_of_it() {
    let mut world = World::new("mutual").await;
    world.start().await;
    let (north, east) = (world.north.clone(), world.east.clone());
    rule(&world, "there", [&north, &east]).await;
    let one_way = until_job(&world, "replicate", "have a worker", |job| is_of(job, "there")).await;
    assert!(!is_told_mutual(&world, &one_way).await);

    rule(&world, "back", [&east, &north]).await;
    until_rule(&world, "back", "wait for the probe", |rule| reason(rule, "Accepted") == "PairNotProbed")
        .await;
    report(&world, "there", &one_way, "Lost", false).await;
    let refused =
        until_rule(&world, "back", "be refused", |rule| reason(rule, "Accepted") == "NotVersioned").await;
    assert_eq!(reason(&refused, "Stalled"), "NotVersioned");

    report(&world, "there", &one_way, "Kept", false).await;
    until_rule(&world, "back", "wait for the first", |rule| reason(rule, "Accepted") == "PairNotMutual")
        .await;
    let first = until_rule(&world, "there", "be mutual", |rule| {
        rule.status.as_ref().is_some_and(|status| status.mutual)
    })
    .await;
    assert_eq!(reason(&first, "Accepted"), "Accepted");
    let both_ways = until_job(&world, "replicate", "have another worker", |job| {
        is_of(job, "there") && job.name_any() != one_way.name_any()
    })
    .await;
    assert!(is_told_mutual(&world, &both_ways).await);

    report(&world, "there", &both_ways, "Kept", true).await;
    until_rule(&world, "back", "be accepted", |rule| reason(rule, "Accepted") == "Accepted").await;
    let back = until_job(&world, "replicate", "have a worker of its own", |job| is_of(job, "back")).await;
    assert!(is_told_mutual(&world, &back).await);

    // Whoever writes one of them anew loses nothing by it.
    world.api::<BucketReplicationRule>().delete("back", &kube::api::DeleteParams::default()).await.unwrap();
    until("be gone", async || {
        let gone = world.api::<BucketReplicationRule>().get_opt("back").await.unwrap().is_none();
        if gone { Ok(()) } else { Err("there".to_owned()) }
    })
    .await;
    let alone = until_rule(&world, "there", "stay mutual", |rule| rule.status.is_some()).await;
    assert!(alone.status.unwrap().mutual);
    world.end().await;
}
