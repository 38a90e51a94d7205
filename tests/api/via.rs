//! Restores that are left to another operator of databases. None of these operators runs here: the test stands in for
//! them with the least definition that the API server takes, and writes the status that they would.

use std::time::{Duration, Instant};

use farshore::api::{DatabaseInstance, InstancePhase, condition::find};
use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::Job, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{PATIENCE, World};

/// A stand-in of another operator's kind.
struct Foreign {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

const CLUSTER: Foreign = kind("postgresql.cnpg.io", "v1", "Cluster", "clusters");
const MARIADB: Foreign = kind("k8s.mariadb.com", "v1alpha1", "MariaDB", "mariadbs");
const BASE: Foreign = kind("k8s.mariadb.com", "v1alpha1", "PhysicalBackup", "physicalbackups");
const LOG: Foreign = kind("k8s.mariadb.com", "v1alpha1", "PointInTimeRecovery", "pointintimerecoveries");
const RESTORE: Foreign =
    kind("pxc.percona.com", "v1", "PerconaXtraDBClusterRestore", "perconaxtradbclusterrestores");
const XTRADB: Foreign = kind("pxc.percona.com", "v1", "PerconaXtraDBCluster", "perconaxtradbclusters");

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Foreign {
    Foreign { group, version, kind, plural }
}

impl Foreign {
    fn api(&self, world: &World) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: format!("{}/{}", self.group, self.version),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        };
        Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
    }

    /// Has the API server know the kind; like the real one, it does not take just any number of replicas.
    async fn define(&self, world: &World) {
        let name = format!("{}.{}", self.plural, self.group);
        let body = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": self.group, "scope": "Namespaced",
                "names": {"kind": self.kind, "plural": self.plural, "singular": self.kind.to_lowercase()},
                "versions": [{
                    "name": self.version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"spec": {
                            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                            "properties": {"replicas": {"type": "integer", "maximum": 5}},
                        }},
                    }},
                }],
            },
        });
        let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
        api.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&body)).await.unwrap();
        let start = Instant::now();
        while self.api(world).list(&kube::api::ListParams::default()).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "{name} is known soon");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn create(&self, world: &World, name: &str, labels: Value) -> DynamicObject {
        let body = json!({
            "apiVersion": format!("{}/{}", self.group, self.version), "kind": self.kind,
            "metadata": {"name": name, "labels": labels}, "spec": {},
        });
        let object = serde_json::from_value(body).unwrap();
        self.api(world).create(&PostParams::default(), &object).await.unwrap()
    }

    /// Waits until the controller has made it.
    async fn made(&self, world: &World, name: &str) -> DynamicObject {
        let start = Instant::now();
        loop {
            if let Some(found) = self.api(world).get_opt(name).await.unwrap() {
                return found;
            }
            let all = world.api::<DatabaseInstance>().list(&kube::api::ListParams::default()).await.unwrap();
            let statuses: Vec<_> = all.items.into_iter().map(|instance| instance.status).collect();
            assert!(start.elapsed() < PATIENCE, "{} {name} was to be made: {statuses:#?}", self.kind);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the operator would say.
    async fn says(&self, world: &World, name: &str, status: Value) {
        let patch = json!({ "status": status });
        self.api(world).patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

/// A copy of backups that has been made, of a day until now.
async fn copy(world: &mut World, engine: &str, format: &str) {
    world.start().await;
    world.instance("orders", json!({"engine": engine, "backups": {"format": format}})).await;
    world.service("copy", "orders", json!({"interval": "1h"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    world.report("copy", &job, json!({})).await;
    let windows = |status: &farshore::api::BackupSyncServiceStatus| !status.recovery_windows.is_empty();
    world.until("copy", "have a window", |copy| copy.status.as_ref().is_some_and(windows)).await;
}

/// A whole second within the window.
fn moment() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() - 3600).unwrap()
}

async fn restore(world: &World, name: &str, engine: &str, at: Timestamp, via: Value) -> DatabaseInstance {
    let mut bootstrap = json!({"recovery": {"serviceRef": {"name": "copy"}, "timePoint": at, "via": via}});
    if via.get("clusterRef").is_none() {
        bootstrap["instance"] = json!({
            "image": "registry.invalid/database:1", "storage": "1Gi", "adminSecretRef": {"name": "admin"},
        });
    }
    let spec = json!({"engine": engine, "region": world.east, "bootstrap": bootstrap});
    world.create("DatabaseInstance", name, spec).await.unwrap()
}

async fn until(
    world: &World,
    name: &str,
    what: &str,
    holds: impl Fn(&DatabaseInstance) -> bool,
) -> DatabaseInstance {
    let start = Instant::now();
    loop {
        let instance = world.api::<DatabaseInstance>().get(name).await.unwrap();
        if holds(&instance) {
            return instance;
        }
        assert!(start.elapsed() < PATIENCE, "{name} was to: {what}; it is {:#?}", instance.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn phase(instance: &DatabaseInstance) -> Option<InstancePhase> {
    instance.status.as_ref()?.phase
}

/// Reason and message of a condition.
fn said(instance: &DatabaseInstance, type_: &str) -> (String, String) {
    let found = instance.status.as_ref().and_then(|status| find(&status.conditions, type_));
    found.map(|found| (found.reason.clone(), found.message.clone())).unwrap_or_default()
}

/// The worker of the newest plan tells it.
async fn plan(world: &World, instance: &DatabaseInstance, base: Value, log: &str) {
    let uid = instance.metadata.uid.clone().unwrap();
    let observed = instance.status.as_ref().and_then(|status| status.observed.as_ref());
    let earlier = observed.map(|observed| observed.run_id.clone());
    let ours = |job: &&Job| {
        job.labels().get("farshore.dev/instance-uid") == Some(&uid)
            && job.labels().get("farshore.dev/work").is_some_and(|work| work == "plan")
            && job.annotations().get("farshore.dev/run-id") != earlier.as_ref()
    };
    let jobs = world.until_jobs("plan", |jobs| jobs.iter().any(|job| ours(&job))).await;
    let job = jobs.iter().rfind(ours).unwrap();
    let at = &instance.spec.bootstrap.as_ref().unwrap().recovery.time_point;
    let now = Timestamp::now();
    let observed = json!({
        "runID": job.annotations()["farshore.dev/run-id"], "generation": 1, "reportedAt": now,
        "cycle": {"completedAt": now, "plan": {
            "timePoint": at, "basis": "Proved", "bytes": 100, "madeAt": now, "bases": [base],
            "logs": {"first": "a", "last": "b", "count": 2, "bytes": 10, "key": log},
        }},
    });
    let body = json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "DatabaseInstance",
        "metadata": {"name": instance.name_any()}, "status": {"observed": observed},
    });
    let params = PatchParams::apply("farshore-worker").force();
    let api = world.api::<DatabaseInstance>();
    api.patch_status(&instance.name_any(), &params, &Patch::Apply(&body)).await.unwrap();
}

fn base(name: &str, key: &str) -> Value {
    json!({"name": name, "time": "2026-11-20T00:00:00Z", "bytes": 90, "key": key})
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_restore_is_left_to_cloudnativepg_and_is_done_when_its_cluster_says_so() {
    let mut world = World::new("via").await;
    CLUSTER.define(&world).await;
    copy(&mut world, "PostgreSQL", "Barman").await;
    let at = moment();
    let via = json!({"operator": "CloudNativePG", "spec": {"instances": 3}});
    let instance = restore(&world, "restored", "PostgreSQL", at, via).await;
    let from = base("src/20261120T000000", "src/base/20261120T000000/data.tar");
    plan(&world, &instance, from, "src/wals/0000000100000000/000000010000000000000005").await;

    let made = CLUSTER.made(&world, "restored").await;
    assert_eq!(made.metadata.owner_references, None, "data outlives the instance");
    let spec = &made.data["spec"];
    assert_eq!(spec["instances"], 3, "the user's own words are kept");
    assert_eq!(spec["bootstrap"]["recovery"]["recoveryTarget"]["targetTime"], json!(at));
    let store = &spec["externalClusters"][0]["barmanObjectStore"];
    assert_eq!(store["destinationPath"], "s3://dr-backups/orders");
    assert_eq!(
        (&store["serverName"], &store["endpointURL"]),
        (&json!("src"), &json!(format!("http://{}:9000", world.east)))
    );
    assert_eq!(store["s3Credentials"]["accessKeyId"], json!({"name": "target", "key": "AWS_ACCESS_KEY_ID"}));

    CLUSTER.says(&world, "restored", json!({"phase": "Setting up primary"})).await;
    let under_way = until(&world, "restored", "say what the operator does", |instance| {
        said(instance, "Ready").1.contains("Cluster restored: Setting up primary")
    })
    .await;
    assert_eq!(phase(&under_way), Some(InstancePhase::Restoring));
    let recovery = under_way.status.unwrap().recovery.unwrap();
    assert_eq!(recovery.time_point, None, "nobody said that it was reached");
    assert_eq!(recovery.rendered.unwrap().kind, "Cluster");

    let ready =
        json!({"phase": "Cluster in healthy state", "conditions": [{"type": "Ready", "status": "True"}]});
    CLUSTER.says(&world, "restored", ready).await;
    let done =
        until(&world, "restored", "run", |instance| phase(instance) == Some(InstancePhase::Running)).await;
    let status = done.status.unwrap();
    assert_eq!(status.recovery.unwrap().time_point.unwrap().0, at);
    assert_eq!(status.endpoint, Some(format!("postgresql://restored-rw.{}:5432", world.namespace)));

    let unready = json!({"phase": "Failing over", "conditions": [{"type": "Ready", "status": "False"}]});
    CLUSTER.says(&world, "restored", unready).await;
    until(&world, "restored", "follow its Cluster", |instance| {
        phase(instance) == Some(InstancePhase::Unreachable)
    })
    .await;
    let api = world.api::<DatabaseInstance>();
    api.delete("restored", &DeleteParams::default()).await.unwrap();
    assert!(CLUSTER.api(&world).get_opt("restored").await.unwrap().is_some(), "what serves is left alone");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_p05_an_operator_that_is_not_there_is_named() {
    let mut world = World::new("viaabsent").await;
    copy(&mut world, "MongoDB", "PBM").await;
    let via = json!({"operator": "PerconaServerMongoDB", "clusterRef": {"name": "sessions"}});
    restore(&world, "restored", "MongoDB", moment(), via).await;
    let told =
        until(&world, "restored", "be refused", |instance| said(instance, "Accepted").0 == "OperatorMissing")
            .await;
    let (_, message) = said(&told, "Accepted");
    for words in [
        "instance restored",
        "perconaservermongodbrestores.psmdb.percona.com",
        "install Percona Operator for MongoDB",
    ] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(phase(&told), Some(InstancePhase::Pending));
    let plans = world.jobs().await;
    assert!(plans.iter().all(|job| job.labels()["farshore.dev/work"] != "plan"), "nothing was begun");

    // What fits no engine is not taken at all.
    let spec = json!({"engine": "MongoDB", "region": world.east, "bootstrap": {"recovery": {
        "serviceRef": {"name": "copy"}, "via": {"operator": "CloudNativePG"}, "planOnly": true,
    }}});
    let refused = world.create::<DatabaseInstance>("DatabaseInstance", "wrong", spec).await.unwrap_err();
    assert!(refused.to_string().contains("MongoDB has PerconaServerMongoDB"), "{refused}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_restore_into_a_cluster_waits_for_it_fails_with_it_and_is_another_one_each_time() {
    let mut world = World::new("viapxc").await;
    RESTORE.define(&world).await;
    XTRADB.define(&world).await;
    copy(&mut world, "MySQL", "PXC").await;
    let via = json!({"operator": "PerconaXtraDBCluster", "clusterRef": {"name": "shop"}});
    let instance = restore(&world, "restored", "MySQL", moment(), via).await;
    let from = || base("shop-2026-11-20-00:00:00-full", "shop-2026-11-20-00:00:00-full/");
    let log = "binlog_1763596800_1_0123456789abcdef0123456789abcdef";
    plan(&world, &instance, from(), log).await;
    let told = until(&world, "restored", "miss its cluster", |instance| {
        said(instance, "Ready").0 == "UnknownCluster"
    })
    .await;
    assert!(said(&told, "Ready").1.contains("no PerconaXtraDBCluster shop"), "{:?}", said(&told, "Ready"));

    XTRADB.create(&world, "shop", json!({})).await;
    let made = RESTORE.made(&world, "restored-1").await;
    assert_eq!(made.data["spec"]["pxcCluster"], "shop");
    RESTORE.says(&world, "restored-1", json!({"state": "Failed", "comments": "no such backup"})).await;
    let failed =
        until(&world, "restored", "fail", |instance| phase(instance) == Some(InstancePhase::Failed)).await;
    let failure = failed.status.unwrap().recovery.unwrap().failure.unwrap();
    assert_eq!(failure.reason, "RestoreFailed");
    assert!(failure.message.contains("restored-1 failed: no such backup"), "{}", failure.message);

    let again = json!({"metadata": {"annotations": {"farshore.dev/run-requested": Timestamp::now()}}});
    let instance: DatabaseInstance = world.edit("restored", again).await;
    plan(&world, &instance, from(), log).await;
    RESTORE.made(&world, "restored-2").await;
    RESTORE.says(&world, "restored-2", json!({"state": "Succeeded"})).await;
    XTRADB.says(&world, "shop", json!({"state": "ready", "host": "shop-haproxy.here"})).await;
    let done =
        until(&world, "restored", "run", |instance| phase(instance) == Some(InstancePhase::Running)).await;
    assert_eq!(done.status.unwrap().endpoint.as_deref(), Some("mysql://shop-haproxy.here:3306"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_what_the_api_server_does_not_take_is_told_and_what_is_anothers_is_left_alone() {
    let mut world = World::new("viamaria").await;
    for kind in [MARIADB, BASE, LOG] {
        kind.define(&world).await;
    }
    copy(&mut world, "MySQL", "MariaDBOperator").await;
    let from = || base("physicalbackup-20261120000000", "physicalbackup-20261120000000.xb.gz");
    let log = "server-10/mariadb-bin.000007.gz";

    let many = json!({"operator": "MariaDBOperator", "spec": {"replicas": 9}});
    let instance = restore(&world, "many", "MySQL", moment(), many).await;
    plan(&world, &instance, from(), log).await;
    let told = until(&world, "many", "be refused", |instance| said(instance, "Ready").0 == "Refused").await;
    let (_, message) = said(&told, "Ready");
    assert!(message.contains("MariaDB many") && message.contains("spec.replicas"), "{message}");

    LOG.create(&world, "taken", json!({"team": "another"})).await;
    let instance = restore(&world, "taken", "MySQL", moment(), json!({"operator": "MariaDBOperator"})).await;
    plan(&world, &instance, from(), log).await;
    let failed =
        until(&world, "taken", "fail", |instance| phase(instance) == Some(InstancePhase::Failed)).await;
    let failure = failed.status.unwrap().recovery.unwrap().failure.unwrap();
    assert_eq!(failure.reason, "NameTaken");
    assert!(failure.message.contains("PointInTimeRecovery taken is there already"), "{}", failure.message);
    assert!(MARIADB.api(&world).get_opt("taken").await.unwrap().is_none(), "nothing was made");
    world.end().await;
}
