//! Disaster recovery instances: who is accepted, what is refused on apply, and what becomes of one that takes over.

use std::time::{Duration, Instant};

use farshore::api::{DatabaseInstance, DisasterRecoveryInstance, condition::find};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{PATIENCE, World, merge};

const KIND: &str = "DisasterRecoveryInstance";

async fn try_standby(world: &World, name: &str, more: Value) -> kube::Result<DisasterRecoveryInstance> {
    let mut spec = json!({
        "masterRef": {"name": "sessions"}, "region": world.east,
        "target": {"existing": {
            "uri": format!("mongodb://{name}-0.{}:27017/?replicaSet=dr", world.namespace),
            "credentials": {"secretRef": {"name": "copy"}},
        }},
        // Nobody but the test says how its worker fares.
        "worker": {"nodeSelector": {"farshore.dev/nowhere": "true"}},
    });
    if more["target"]["managed"].is_object() {
        spec["target"] = json!({});
    }
    merge(&mut spec, more);
    world.create(KIND, name, spec).await
}

async fn standby(world: &World, name: &str, more: Value) -> DisasterRecoveryInstance {
    try_standby(world, name, more).await.unwrap()
}

/// A master that is declared to run.
async fn master(world: &World, name: &str, more: Value) {
    let mut spec = json!({
        "engine": "MongoDB", "version": "7.0", "region": world.north,
        "endpoint": {"uri": format!("mongodb://{name}-0.north:27017"), "credentials": {"secretRef": {"name": "master"}}},
    });
    merge(&mut spec, more);
    world.create::<DatabaseInstance>("DatabaseInstance", name, spec).await.unwrap();
}

fn told(standby: &DisasterRecoveryInstance, type_: &str) -> (String, String) {
    let conditions = standby.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, type_).map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
}

fn phase(standby: &DisasterRecoveryInstance) -> String {
    let phase = standby.status.as_ref().and_then(|status| status.phase);
    phase.map(|phase| format!("{phase:?}")).unwrap_or_default()
}

async fn until(
    world: &World,
    name: &str,
    what: &str,
    holds: impl Fn(&DisasterRecoveryInstance) -> bool,
) -> DisasterRecoveryInstance {
    let start = Instant::now();
    loop {
        let found = world.api::<DisasterRecoveryInstance>().get(name).await.unwrap();
        if holds(&found) {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{name} was to: {what}; it is {:#?}", found.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a worker would report for its run.
async fn report(world: &World, name: &str, job: &Job, change: Value) {
    let now = jiff::Timestamp::now();
    let mut cycle = json!({
        "completedAt": now, "stage": "Following", "seededAt": now, "appliedTime": now, "masterTime": now,
        "oplogWindow": "26h", "fence": {"level": "WriteBlock"},
        "master": {"version": "7.0.14", "replicaSet": "rs0"}, "target": {"version": "7.0.14", "replicaSet": "dr"},
        "counts": {"changes": 5, "transactions": 1, "repeated": 0, "refetched": 0},
    });
    merge(&mut cycle, change);
    let observed = json!({
        "runID": job.annotations()["farshore.dev/run-id"], "generation": 1, "reportedAt": now, "cycle": cycle,
    });
    let body = json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": KIND, "metadata": {"name": name},
        "status": {"observed": observed},
    });
    let params = PatchParams::apply("farshore-worker");
    world.api::<DisasterRecoveryInstance>().patch_status(name, &params, &Patch::Apply(&body)).await.unwrap();
}

fn receipt() -> Value {
    let now = jiff::Timestamp::now();
    json!({"stage": "Active", "activation": {"step": "Active", "requestedAt": now, "startedAt": now, "receipt": {
        "activatedAt": now, "tookMilliseconds": 1400, "dataTimePoint": now, "masterTime": now,
        "proved": true, "masterAnswered": true,
    }}})
}

#[tokio::test(flavor = "multi_thread")]
async fn d05_of_five_copies_applied_at_once_exactly_three_are_accepted() {
    let mut world = World::new("standbys").await;
    world.start().await;
    for i in 0..5 {
        standby(&world, &format!("s{i}"), json!({})).await;
    }
    master(&world, "sessions", json!({})).await;
    let mut accepted = Vec::new();
    for i in 0..5 {
        let name = format!("s{i}");
        let judged = until(&world, &name, "be judged", |s| {
            matches!(told(s, "Accepted").1.as_str(), "Accepted" | "QuotaExceeded")
        })
        .await;
        if told(&judged, "Accepted").0 == "True" {
            accepted.push(name);
        }
    }
    assert_eq!(accepted.len(), 3, "{accepted:?}");
    let refused = (0..5).map(|i| format!("s{i}")).find(|name| !accepted.contains(name)).unwrap();
    let note = world.until_event(&refused, "QuotaExceeded").await;
    assert!(note.contains("allows 3") && note.contains(&world.north), "{note}");
    world.until_jobs("be one an accepted copy", |jobs| jobs.len() == 3).await;
    // One that goes makes room; an administrator can make more.
    world.api::<DisasterRecoveryInstance>().delete(&accepted[0], &DeleteParams::default()).await.unwrap();
    until(&world, &refused, "be accepted now", |s| told(s, "Accepted").0 == "True").await;
    let name = world.north.clone();
    world.region_with(&name, &format!("http://{name}:9000"), json!({"disasterRecoveryQuota": 4})).await;
    let last =
        (0..5).map(|i| format!("s{i}")).find(|name| !accepted.contains(name) && *name != refused).unwrap();
    until(&world, &last, "be accepted as well", |s| told(s, "Accepted").0 == "True").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d02_d07_what_can_not_be_is_refused_on_apply() {
    let world = World::new("badstandby").await;
    let managed = |more: Value| {
        let mut spec = json!({"managed": {"image": "mongo:7", "storage": "1Gi"}});
        merge(&mut spec["managed"], more);
        json!({"target": spec})
    };
    let uri = |uri: &str| json!({"target": {"existing": {"uri": uri}}});
    let cases = [
        (
            json!({"target": {"managed": {"image": "m", "storage": "1Gi"}, "existing": {"uri": "mongodb://a"}}}),
            "exactly one",
        ),
        (managed(json!({"members": 1})), "members"),
        (managed(json!({"members": 4})), "must be odd"),
        (managed(json!({"members": 9})), "members"),
        (managed(json!({"storage": "0"})), "must be a size"),
        (managed(json!({"arguments": ["--replSet=mine"]})), "set by Farshore"),
        (managed(json!({"arguments": ["--setParameter", "ttlMonitorEnabled=true"]})), "set by Farshore"),
        (uri("mongodb://user:word@a:27017"), "without user, password"),
        (uri("mongodb://a/shop"), "without user, password"),
        (uri("mysql://a"), "must be like mongodb://"),
        (uri("mongodb://a/?tls=true&tlsInsecure=true"), "always checked"),
        (json!({"drainTimeout": "11m"}), "10m or less"),
        (json!({"drainTimeout": "1d"}), "10m or less"),
        (json!({"state": "Paused"}), "Unsupported value"),
        (json!({"engine": "Redis"}), "Unsupported value"),
    ];
    for (more, words) in cases {
        match try_standby(&world, "copy", more.clone()).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(words), "{more}: {}", status.message);
            }
            other => panic!("{more} was to be refused with {words:?}; it was {other:?}"),
        }
    }
    for good in ["mongodb://a", "mongodb://a:1,b.c:2/", "mongodb://a,b/?replicaSet=rs0&tls=true"] {
        try_standby(&world, "good", uri(good)).await.unwrap();
    }
    for (more, words) in [
        (json!({"masterRef": {"name": "other"}}), "masterRef can't be changed"),
        (json!({"region": world.north}), "region can't be changed"),
        (managed(json!({})), "can't be exchanged"),
    ] {
        match try_standby(&world, "good", more.clone()).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(words), "{more}: {}", status.message);
            }
            other => panic!("{more} was to be refused with {words:?}; it was {other:?}"),
        }
    }
    let endpoint =
        |engine: &str, uri: &str| json!({"engine": engine, "region": world.north, "endpoint": {"uri": uri}});
    for (engine, uri, good) in [
        ("MongoDB", "mongodb://a:27017,b/?replicaSet=rs0", true),
        ("MySQL", "mysql://a:3306", true),
        ("MySQL", "mongodb://a", false),
        ("MongoDB", "mysql://a", false),
        ("PostgreSQL", "mysql://a", false),
    ] {
        let name = format!("{}-{good}", engine.to_lowercase());
        let made = world.create::<DatabaseInstance>("DatabaseInstance", &name, endpoint(engine, uri)).await;
        assert_eq!(made.is_ok(), good, "{engine} {uri}: {made:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d03_d11_d12_a_copy_takes_over_once_and_for_all() {
    let mut world = World::new("takeover").await;
    world.start().await;
    master(&world, "sessions", json!({})).await;
    standby(&world, "copy", json!({})).await;
    let job = world.until_jobs("be one", |jobs| jobs.len() == 1).await.remove(0);
    // A backup of what follows is refused, by whatever name it goes.
    let own = json!({"engine": "MongoDB", "region": world.east, "endpoint": {"uri": format!("mongodb://copy-0.{}.svc:27017", world.namespace)}});
    world.create::<DatabaseInstance>("DatabaseInstance", "alias", own).await.unwrap();
    world.service("backup", "alias", json!({"target": {"region": world.north}})).await;
    world.until("backup", "be refused", |s| crate::cluster::reason(s, "Accepted") == "StandbyInstance").await;

    report(&world, "copy", &job, json!({})).await;
    let told_of = until(&world, "copy", "follow", |s| phase(s) == "Standby").await;
    assert_eq!(told(&told_of, "Fenced").0, "True");
    // Its pod finds no node: the worker is silent, and nothing is left of what it told.
    let silent = until(&world, "copy", "be found silent", |s| told(s, "Ready").1 != "Follows").await;
    let status = until(&world, "copy", "show no figure", |s| {
        s.status
            .as_ref()
            .is_some_and(|status| status.last_applied_time.is_none() && status.members.is_empty())
    })
    .await;
    assert_eq!(told(&status, "Ready").0, "False", "{silent:?}");

    world.edit::<DisasterRecoveryInstance>("copy", json!({"spec": {"state": "Active"}})).await;
    let asked = until(&world, "copy", "be asked", |s| phase(s) == "Activating").await;
    let at =
        |s: &DisasterRecoveryInstance| s.status.as_ref().unwrap().activation.as_ref().unwrap().requested_at;
    // Git says Standby a second later, by server-side apply.
    standby(&world, "copy", json!({"state": "Standby"})).await;
    let job = world.until_jobs("be there still", |jobs| !jobs.is_empty()).await.pop().unwrap();
    report(&world, "copy", &job, receipt()).await;
    let active = until(&world, "copy", "be active", |s| phase(s) == "Active").await;
    assert_eq!(at(&active), at(&asked));
    let activation = active.status.as_ref().unwrap().activation.as_ref().unwrap();
    assert_eq!(activation.duration.as_deref(), Some("1.4s"));
    assert!(world.until_event("copy", "Activated").await.contains("nothing was lost"));
    until(&world, "copy", "explain", |s| {
        let conditions = &s.status.as_ref().unwrap().conditions;
        find(conditions, "Ready").is_some_and(|ready| ready.message.contains("never taken back"))
    })
    .await;
    world.until_jobs("be ended", <[Job]>::is_empty).await;

    let made_at = |s: &DisasterRecoveryInstance| {
        s.status.as_ref().unwrap().activation.as_ref().unwrap().instance_ref.is_some()
    };
    until(&world, "copy", "have an instance", made_at).await;
    let instances = world.api::<DatabaseInstance>();
    let made = instances.get("copy").await.unwrap();
    assert!(made.owner_references().is_empty(), "it is the users'");
    assert_eq!((made.spec.region.as_str(), made.spec.version.as_deref()), (world.east.as_str(), Some("7.0")));
    world
        .until("backup", "be judged anew", |s| crate::cluster::reason(s, "Accepted") != "StandbyInstance")
        .await;

    // Failback: what took over is a master, and the old region may follow it.
    let back = json!({"masterRef": {"name": "copy"}, "region": world.north});
    standby(&world, "back", back).await;
    until(&world, "back", "be accepted", |s| told(s, "Accepted").0 == "True").await;

    world.api::<DisasterRecoveryInstance>().delete("copy", &DeleteParams::default()).await.unwrap();
    let master = instances.get("sessions").await.unwrap();
    assert!(master.metadata.deletion_timestamp.is_none() && instances.get("copy").await.is_ok());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d01_a_copy_goes_on_when_its_masters_resource_is_the_first_to_go() {
    let mut world = World::new("orphan").await;
    world.start().await;
    master(&world, "sessions", json!({})).await;
    standby(&world, "copy", json!({})).await;
    let job = world.until_jobs("be one", |jobs| jobs.len() == 1).await.remove(0);
    report(&world, "copy", &job, json!({})).await;
    until(&world, "copy", "follow", |s| phase(s) == "Standby").await;
    world.api::<DatabaseInstance>().delete("sessions", &DeleteParams::default()).await.unwrap();
    world.edit::<DisasterRecoveryInstance>("copy", json!({"spec": {"state": "Active"}})).await;
    let asked = until(&world, "copy", "be asked", |s| phase(s) == "Activating").await;
    assert_eq!(told(&asked, "Accepted").0, "True");
    world.until_jobs("go on", |jobs| !jobs.is_empty()).await;
    world.api::<DisasterRecoveryInstance>().delete("copy", &DeleteParams::default()).await.unwrap();
    let told = world.until_event("copy", "TargetLeft").await;
    assert!(told.contains("setUserWriteBlockMode"), "{told}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d02_a_managed_target_is_made_changed_and_left_to_its_users() {
    let mut world = World::new("managed").await;
    world.start().await;
    master(&world, "sessions", json!({})).await;
    let set = |image: &str, members: i32| {
        json!({"target": {"managed": {
            "image": image, "storage": "1Gi", "members": members, "nodeSelector": {"farshore.dev/nowhere": "true"},
        }}})
    };
    standby(&world, "copy", set("mongo:7.0.1", 3)).await;
    let job = world.until_jobs("be one", |jobs| jobs.len() == 1).await.remove(0);
    let servers = world.api::<StatefulSet>();
    let wait_for = async |what: &str, holds: &dyn Fn(&StatefulSet) -> bool| {
        let start = Instant::now();
        loop {
            let found = servers.get_opt("copy").await.unwrap();
            match found {
                Some(found) if holds(&found) => return found,
                other => {
                    assert!(start.elapsed() < PATIENCE, "the StatefulSet was to: {what}; it is {other:#?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let replicas = |server: &StatefulSet| server.spec.as_ref().unwrap().replicas;
    let made = wait_for("be made", &|_| true).await;
    assert_eq!((replicas(&made), made.owner_references()[0].name.as_str()), (Some(3), "copy"));
    let services = world.api::<Service>();
    services.get("copy-members").await.unwrap();
    services.get("copy-ro").await.unwrap();
    assert!(services.get_opt("copy").await.unwrap().is_none(), "nothing leads writers to it");
    world.api::<NetworkPolicy>().get("copy").await.unwrap();
    let budget = world.api::<PodDisruptionBudget>().get("copy").await.unwrap();
    assert_eq!(serde_json::to_value(budget.spec.unwrap().min_available).unwrap(), json!(2));
    let secrets = async || {
        let all = world.api::<Secret>().list(&ListParams::default()).await.unwrap().items;
        let mut ours: Vec<_> =
            all.into_iter().filter(|secret| secret.name_any().starts_with("copy-")).collect();
        ours.sort_by_key(ResourceExt::name_any);
        ours
    };
    let start = Instant::now();
    while secrets().await.len() < 2 {
        assert!(start.elapsed() < PATIENCE, "key and account were to be made");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = secrets().await;
    assert!(
        before.iter().all(
            |secret| secret.immutable == Some(true) && secret.owner_references()[0].kind == "StatefulSet"
        )
    );

    standby(&world, "copy", set("mongo:7.0.2", 5)).await;
    let changed = wait_for("be changed", &|server| replicas(server) == Some(5)).await;
    let text = serde_json::to_string(&changed.spec).unwrap();
    assert!(text.contains("mongo:7.0.2") && !text.contains("mongo:7.0.1"), "{text}");
    assert_eq!(secrets().await, before, "what members know one another by stays");

    report(&world, "copy", &job, json!({})).await;
    world.edit::<DisasterRecoveryInstance>("copy", json!({"spec": {"state": "Active"}})).await;
    until(&world, "copy", "be asked", |s| phase(s) == "Activating").await;
    let job = world.jobs().await.pop().unwrap();
    report(&world, "copy", &job, receipt()).await;
    until(&world, "copy", "be active", |s| phase(s) == "Active").await;
    wait_for("belong to its users", &|server| server.owner_references().is_empty()).await;
    let start = Instant::now();
    while services.get_opt("copy").await.unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "a Service was to lead writers to it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.api::<DisasterRecoveryInstance>().delete("copy", &DeleteParams::default()).await.unwrap();
    let instance = world.api::<DatabaseInstance>().get("copy").await.unwrap();
    let account = &instance.spec.endpoint.unwrap().credentials.unwrap().secret_ref.name;
    assert!(before.iter().any(|secret| secret.name_any() == *account));
    assert!(servers.get("copy").await.unwrap().metadata.deletion_timestamp.is_none());
    world.end().await;
}
