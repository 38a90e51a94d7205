//! What the API server itself refuses, on apply, with words that help (`P02`).

use farshore::api::{BackupSyncService, DatabaseInstance, Region};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::World;

fn refused(result: kube::Result<impl std::fmt::Debug>, words: &str) {
    match result {
        Err(kube::Error::Api(status)) => {
            assert!(status.message.contains(words), "{words:?} was to be in: {}", status.message);
        }
        other => panic!("{words:?} was to be refused; it was {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_a_service_that_can_not_be_is_refused_on_apply() {
    let world = World::new("badservice").await;
    let cases: [(Value, &str); 14] = [
        (json!({"interval": "soon"}), "spec.interval"),
        (json!({"interval": "1s"}), "at least 5s"),
        (json!({"retention": "7"}), "spec.retention"),
        (json!({"rpo": "13h"}), "12h or less"),
        (json!({"rpo": "1d"}), "12h or less"),
        (json!({"target": {"bucket": "no/bucket"}}), "must be a bucket's name"),
        (json!({"target": {"prefix": "orders"}}), "must end in /"),
        (json!({"target": {"prefix": "/orders/"}}), "must end in /"),
        (json!({"target": {"region": ""}}), "spec.target.region"),
        (json!({"deletionPolicy": "Keep"}), "Unsupported value"),
        (json!({"rateLimits": {"bytesPerSecond": "fast"}}), "bytesPerSecond"),
        (json!({"rateLimits": {"requestsPerSecond": 0}}), "requestsPerSecond"),
        (json!({"worker": {"podLabels": {"farshore.dev/service-uid": "x"}}}), "set by Farshore"),
        (json!({"instanceRef": {"name": ""}}), "instanceRef.name"),
    ];
    for (more, words) in cases {
        refused(world.try_service("copy", "orders", more).await, words);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_what_can_not_be_changed_says_so_and_what_can_is_accepted() {
    let world = World::new("immutable").await;
    world.service("copy", "orders", json!({})).await;
    for more in [
        json!({"target": {"bucket": "other"}}),
        json!({"target": {"prefix": "other/"}}),
        json!({"target": {"region": world.north}}),
    ] {
        refused(world.try_service("copy", "orders", more).await, "can't be changed; delete this service");
    }
    let other = json!({"instanceRef": {"name": "other"}, "target": {"prefix": "orders/"}});
    refused(world.try_service("copy", "other", other).await, "instanceRef can't be changed");
    for more in [
        json!({"interval": "5s"}),
        json!({"interval": "1d"}),
        json!({"rpo": "30m"}),
        json!({"deletionPolicy": "Retain"}),
        json!({"target": {"credentials": {"secretRef": {"name": "new"}}}}),
        json!({"suspend": true}),
    ] {
        world.service("copy", "orders", more).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_an_instance_that_can_not_be_is_refused_on_apply() {
    let world = World::new("badinstance").await;
    let backups = |more: Value| {
        let mut backups = json!({"format": "MariaDBOperator", "bucket": "backups", "prefix": "o/", "credentials": {"secretRef": {"name": "s"}}});
        for (key, value) in more.as_object().unwrap() {
            backups[key] = value.clone();
        }
        backups
    };
    let recovery = json!({"serviceRef": {"name": "copy"}});
    let cluster = json!({"image": "i", "uriSecretRef": {"name": "agents"}});
    let terms = json!({"acceptEula": true, "edition": "Developer"});
    let bootstrap = |engine: &str, more: Value| {
        let mut instance = json!({"image": "i", "storage": "1Gi", "adminSecretRef": {"name": "admin"}});
        for (key, value) in more.as_object().unwrap() {
            instance[key] = value.clone();
        }
        json!({"engine": engine, "bootstrap": {"recovery": {"serviceRef": {"name": "copy"}}, "instance": instance}})
    };
    let cases = [
        (json!({"engine": "Oracle"}), "Unsupported value"),
        (json!({"engine": "MongoDB", "backups": backups(json!({}))}), "does not fit the engine"),
        (json!({"engine": "MySQL", "backups": backups(json!({"format": "PBM"}))}), "does not fit the engine"),
        (
            json!({"engine": "PostgreSQL", "backups": backups(json!({"format": "PBM"}))}),
            "does not fit the engine",
        ),
        (
            json!({"engine": "SQLServer", "backups": backups(json!({"format": "SQLServer"}))}),
            "states the server's utcOffset",
        ),
        (
            json!({"engine": "SQLServer", "backups": backups(json!({"format": "SQLServer", "sqlServer": {"utcOffset": "2h"}}))}),
            "must be Z or like",
        ),
        (json!({"engine": "SQLServer", "endpoint": {"uri": "mysql://x:3306"}}), "does not fit the engine"),
        (json!({"engine": "MySQL", "endpoint": {"uri": "mysql://root:secret@x:3306"}}), "without user"),
        (json!({"engine": "MySQL", "backups": backups(json!({"format": "Files"}))}), "files is needed"),
        (json!({"engine": "MySQL", "backups": backups(json!({"files": {"full": "x"}}))}), "files is needed"),
        (json!({"engine": "MySQL", "backups": backups(json!({"prefix": "o"}))}), "must end in /"),
        (
            json!({"engine": "MySQL", "bootstrap": {"recovery": recovery, "existing": cluster}}),
            "existing is for engine MongoDB",
        ),
        (
            json!({"engine": "MongoDB", "bootstrap": {"recovery": recovery, "existing": cluster, "instance": bootstrap("MongoDB", json!({}))["bootstrap"]["instance"]}}),
            "it goes with neither instance",
        ),
        (
            json!({"engine": "MongoDB", "bootstrap": {"existing": cluster, "recovery": {"serviceRef": {"name": "copy"}, "via": {"operator": "PerconaServerMongoDB", "clusterRef": {"name": "sessions"}}}}}),
            "it goes with neither instance",
        ),
        (json!({"engine": "MongoDB", "bootstrap": {"recovery": recovery}}), "or existing is one"),
        (
            json!({"engine": "MongoDB", "bootstrap": {"recovery": recovery, "existing": {"image": "i", "uriSecretRef": {"name": "agents"}, "renamed": [{"from": "rs0", "to": "a,b"}]}}}),
            "must be a replica set's name",
        ),
        (bootstrap("SQLServer", json!({})), "sqlServer is needed with engine SQLServer, and only with it"),
        (
            bootstrap("MySQL", json!({"sqlServer": terms})),
            "sqlServer is needed with engine SQLServer, and only with it",
        ),
        (
            bootstrap("SQLServer", json!({"sqlServer": {"acceptEula": false, "edition": "Developer"}})),
            "acceptEula must be true",
        ),
        (bootstrap("SQLServer", json!({"sqlServer": {"acceptEula": true}})), "edition"),
        (
            bootstrap("SQLServer", json!({"sqlServer": {"acceptEula": true, "edition": "Free"}})),
            "Unsupported value",
        ),
        (
            bootstrap(
                "SQLServer",
                json!({"sqlServer": {"acceptEula": true, "edition": "Express", "collation": "a b"}}),
            ),
            "must be a collation's name",
        ),
    ];
    for (mut spec, words) in cases {
        spec["region"] = json!(world.north);
        refused(world.create::<DatabaseInstance>("DatabaseInstance", "orders", spec).await, words);
    }
    let mut good = bootstrap("SQLServer", json!({"sqlServer": terms}));
    good["region"] = json!(world.north);
    world.create::<DatabaseInstance>("DatabaseInstance", "good", good).await.unwrap();
    let there = json!({"engine": "MongoDB", "region": world.north, "bootstrap": {"recovery": recovery, "existing": cluster}});
    world.create::<DatabaseInstance>("DatabaseInstance", "there", there).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_a_region_that_can_not_be_is_refused_on_apply() {
    let world = World::new("badregion").await;
    let api: Api<Region> = Api::all(world.client.clone());
    let cases = [
        (json!({"endpoint": "s3.example"}), "must be a URL"),
        (json!({"endpoint": "https://key:secret@s3.example"}), "must be a URL"),
        (json!({"endpoint": "https://s3.example/path"}), "must be a URL"),
        (json!({"endpoint": "https://s3.example", "caBundle": "nothing"}), "PEM"),
        (json!({"endpoint": "https://s3.example", "addressing": "Other"}), "Unsupported value"),
    ];
    for (store, words) in cases {
        let body = json!({"apiVersion": "farshore.dev/v1alpha1", "kind": "Region", "metadata": {"name": format!("{}-bad", world.namespace)},
            "spec": {"objectStore": store}});
        let name = format!("{}-bad", world.namespace);
        refused(api.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(&body)).await, words);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_defaults_are_those_of_the_manual() {
    let world = World::new("defaults").await;
    let service = world.service("copy", "orders", json!({})).await;
    let BackupSyncService { spec, .. } = service;
    let texts =
        [spec.interval, spec.retention, spec.rpo, spec.purge_delay].map(|duration| duration.to_string());
    assert_eq!(texts, ["10m", "7d", "12h", "0s"]);
    assert_eq!(spec.deletion_policy, farshore::api::DeletionPolicy::Delete);
    assert!(!spec.suspend);
    world.end().await;
}
