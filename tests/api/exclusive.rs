//! Which buckets a rule may join, told as conditions and Events.

use farshore::api::{BucketReplicationRule, Region};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::World,
    migrating::until,
    mutual::{message, reason, until_rule},
};

type End<'a> = (&'a str, &'a str);

async fn rule(world: &World, name: &str, [source, target]: [End<'_>; 2], suspend: bool) {
    let end = |(region, bucket): End| json!({"region": region, "bucket": bucket, "credentials": {"secretRef": {"name": "keys"}}});
    let spec = json!({
        "source": end(source), "target": end(target), "suspend": suspend,
        "worker": {"nodeSelector": {"farshore.dev/nowhere": "true"}},
    });
    world.create::<BucketReplicationRule>("BucketReplicationRule", name, spec).await.unwrap();
}

async fn says(world: &World, name: &str, expected: &str, names: &str) {
    let what = format!("say {expected} and name {names}");
    let holds = |rule: &BucketReplicationRule| {
        reason(rule, "Accepted") == expected && message(rule, "Accepted").contains(names)
    };
    let refused = until_rule(world, name, &what, holds).await;
    assert_eq!(reason(&refused, "Ready"), expected);
}

async fn is_refused(world: &World, name: &str, expected: &str, names: &str) {
    says(world, name, expected, names).await;
    until("be told in an Event", async || {
        let events = world.events(&world.namespace, name).await;
        let told = events.iter().any(|(reason, note)| reason == expected && note.contains(names));
        told.then_some(()).ok_or_else(|| format!("{name}: {events:#?}"))
    })
    .await;
}

async fn is_accepted(world: &World, name: &str) {
    until_rule(world, name, "be accepted", |rule| reason(rule, "Accepted") == "Accepted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_a_bucket_is_in_one_pair_suspended_or_not_until_that_rule_is_gone() {
    let mut world = World::new("pairs").await;
    world.start().await;
    let (north, east) = (world.north.clone(), world.east.clone());
    let (photos, copy) = ((north.as_str(), "photos"), (east.as_str(), "photos-copy"));
    rule(&world, "first", [photos, copy], true).await;
    is_accepted(&world, "first").await;

    rule(&world, "again", [photos, copy], false).await;
    is_refused(&world, "again", "PairTaken", "/first").await;
    let thirds = [
        ("elsewhere", [photos, (east.as_str(), "third")]),
        ("from-elsewhere", [(north.as_str(), "third"), copy]),
        ("onwards", [copy, (north.as_str(), "third")]),
        ("before", [(east.as_str(), "third"), photos]),
    ];
    for (name, ends) in thirds {
        rule(&world, name, ends, false).await;
        is_refused(&world, name, "BucketTaken", "/first").await;
    }
    // Buckets of the same names elsewhere are others.
    rule(&world, "others", [(east.as_str(), "photos"), (north.as_str(), "photos-copy")], true).await;
    is_accepted(&world, "others").await;

    world.api::<BucketReplicationRule>().delete("first", &DeleteParams::default()).await.unwrap();
    is_accepted(&world, "again").await;
    says(&world, "elsewhere", "BucketTaken", "/again").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_c12_regions_differ_and_both_offer_replication() {
    let mut world = World::new("ruled").await;
    let (namespace, north) = (world.namespace.clone(), world.north.clone());
    let extra = |suffix: &str| format!("{namespace}-{suffix}");
    world.region(&extra("alias"), &format!("http://{}:9000/", north.to_uppercase())).await;
    let offers = json!({"services": ["BackupSync"]});
    world.region_with(&extra("without"), "http://without:9000", offers).await;
    let mut options = world.options();
    options.regions.extend(["alias", "without", "unknown"].map(extra));
    world.start_with(options).await;
    let body = |end: Value| json!({"source": end, "target": end});
    let itself =
        body(json!({"region": north, "bucket": "photos", "credentials": {"secretRef": {"name": "keys"}}}));
    let refused = world.create::<BucketReplicationRule>("BucketReplicationRule", "itself", itself).await;
    assert!(refused.unwrap_err().to_string().contains("must be in different regions"), "before it is stored");
    let cases = [
        ("alias", extra("alias"), "SameRegion"),
        ("without", extra("without"), "RegionNotOffered"),
        ("unknown", extra("unknown"), "UnknownRegion"),
    ];
    for (name, region, expected) in cases {
        rule(&world, name, [(&north, name), (&region, "copy")], false).await;
        is_refused(&world, name, expected, &region).await;
    }
    let east = world.east.clone();
    // One name for both is as good as two.
    rule(&world, "good", [(&north, "photos"), (&east, "photos")], true).await;
    is_accepted(&world, "good").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_a_bucket_that_serves_misses_from_elsewhere_is_not_replicated_until_it_no_longer_does() {
    let mut world = World::new("mirrors").await;
    let (north, east) = (world.north.clone(), world.east.clone());
    annotate(&world, &east, json!("logs, photos-copy")).await;
    world.start().await;
    rule(&world, "photos", [(&north, "photos"), (&east, "photos-copy")], true).await;
    is_refused(&world, "photos", "MirrorBackToSource", "photos-copy").await;
    annotate(&world, &east, Value::Null).await;
    is_accepted(&world, "photos").await;
    // The other way round it stops a rule that was accepted.
    annotate(&world, &north, json!("photos")).await;
    is_refused(&world, "photos", "MirrorBackToSource", &north).await;
    world.end().await;
}

async fn annotate(world: &World, region: &str, buckets: Value) {
    let body = json!({"metadata": {"annotations": {farshore::api::MIRRORING_BUCKETS: buckets}}});
    let api: Api<Region> = Api::all(world.client.clone());
    api.patch(region, &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
}
