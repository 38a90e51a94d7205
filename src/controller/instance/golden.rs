//! All that is made of an instance whose server could not be had here, as written down in `tests/golden/instance`.

use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::json;

use super::{
    database::{claim, database},
    observe::Observed,
    recovery, task,
};
use crate::{
    api::{BackupSyncService, DatabaseInstance, InstancePhase, Region},
    controller::{
        Options,
        work::{children::children, plan::Start, task::write},
    },
};

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_yaml_ng::from_str(text).unwrap()
}

fn copy() -> (BackupSyncService, Region) {
    (
        yaml(
            "apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata: {name: orders, namespace: shop}
spec:
  instanceRef: {name: orders}
  target: {region: east, bucket: dr-backups, prefix: orders/, credentials: {secretRef: {name: copy}}}
",
        ),
        yaml(
            "apiVersion: farshore.dev/v1alpha1
kind: Region
metadata: {name: east}
spec: {objectStore: {endpoint: \"https://store.east:9000\", signingRegion: us-east-1}}
",
        ),
    )
}

fn instance(spec: &str) -> DatabaseInstance {
    yaml(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: orders-2, namespace: shop, uid: 4711, generation: 1}}
spec:
  region: east
{spec}
"
    ))
}

/// The Job of the restore, and its task.
fn restore(instance: &DatabaseInstance) -> Vec<String> {
    let (service, region) = copy();
    let bootstrap = instance.spec.bootstrap.as_ref().unwrap();
    let work = match (&bootstrap.instance, &bootstrap.existing) {
        (Some(new), _) => task::restore_work(instance, &service, new),
        (None, cluster) => task::existing_work(&service, cluster.as_ref().unwrap()),
    };
    let moment = "2026-11-21T08:00:00Z".parse().unwrap();
    let task = task::restore(instance, (&service, &region), (1, moment));
    let written = write(instance, &task, &work).unwrap();
    let start = Start { slot: format!("restore:{}", written.work), attempt: 0, request: None };
    let options = Options { worker_image: "registry.example/farshore:1".into(), ..Options::default() };
    let children = children(instance, (&written, &work), (&start, "run".into()), &options);
    vec![text(&children.config_map), text(&children.job)]
}

fn text(object: &impl Serialize) -> String {
    serde_yaml_ng::to_string(object).unwrap()
}

fn golden(name: &str, objects: &[String]) {
    let text = objects.iter().fold(String::new(), |text, object| text + "---\n" + object);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/instance/{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "tests/golden/instance/{name}.yaml differs; UPDATE_GOLDEN=1 writes it");
}

#[test]
fn b08_what_is_made_of_sql_server_is_as_written_down() {
    let instance = instance(
        "  engine: SQLServer
  bootstrap:
    recovery: {serviceRef: {name: orders}, timePoint: \"2026-11-21T08:00:00Z\"}
    instance:
      image: registry.example/mssql:2022
      storage: 20Gi
      runAsUser: 10001
      arguments: [-T1222]
      adminSecretRef: {name: orders-admin}
      sqlServer: {acceptEula: true, edition: Standard, collation: Latin1_General_CI_AS}",
    );
    let new = instance.spec.bootstrap.as_ref().unwrap().instance.as_ref().unwrap();
    let made = database(&instance, new);
    let mut objects = restore(&instance);
    objects.extend([text(&claim(&instance, new)), text(&made.server), text(&made.service)]);
    golden("sqlserver", &objects);
}

/// A cluster that is there already.
fn existing() -> DatabaseInstance {
    instance(
        "  engine: MongoDB
  bootstrap:
    recovery: {serviceRef: {name: orders}, timePoint: \"2026-11-21T08:00:00Z\"}
    existing:
      image: registry.example/percona-backup-mongodb:2
      uriSecretRef: {name: sessions-agents}
      renamed: [{from: rs0, to: new0}]
      imagePullSecrets: [{name: registry}]",
    )
}

#[test]
fn b08_what_asks_percona_agents_is_as_written_down() {
    golden("pbm", &restore(&existing()));
}

#[test]
fn b08_a_cluster_that_was_there_already_is_its_owners_once_it_is_restored() {
    let mut instance = existing();
    let observed = || Observed {
        service: None,
        source: None,
        region: None,
        plans: Vec::new(),
        restores: Vec::new(),
        restore_pods: 0,
        server: None,
        taken: None,
        delegate: None,
        words: None,
        terminating: false,
        standbys: Vec::new(),
        last_run: None,
    };
    let recovery =
        json!({"timePoint": "2026-11-21T08:00:00Z", "startedAt": "2026-11-21T09:00:00Z", "attempt": 1});
    instance.status = Some(serde_json::from_value(json!({"recovery": recovery})).unwrap());
    let now = "2026-11-21T09:01:00Z".parse().unwrap();
    let decision = recovery::decide(&instance, &observed(), &Options::default(), now).unwrap();
    assert!(decision.own.is_empty() && decision.start.is_none() && decision.end.is_empty());
    let status = decision.status.unwrap();
    assert_eq!((status.phase, status.endpoint), (Some(InstancePhase::Running), None));
    assert_eq!(status.recovery.unwrap().duration.as_deref(), Some("60s"));
    // And if something of the spec changes, or its service goes, it stays so.
    instance.status.as_mut().unwrap().recovery.as_mut().unwrap().completed_at = Some(Time(now));
    let later = recovery::decide(&instance, &observed(), &Options::default(), now).unwrap();
    assert!(later.start.is_none() && later.status.unwrap().phase == Some(InstancePhase::Running));
}
