//! All that is made of an instance whose server could not be had here, as written down in `tests/golden/instance`.

use std::path::Path;

use serde::Serialize;

use super::{
    database::{claim, database},
    task,
};
use crate::{
    api::{BackupSyncService, DatabaseInstance, Region},
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
    let moment = "2026-11-21T08:00:00Z".parse().unwrap();
    let task = task::restore(instance, (&service, &region), (1, moment));
    let work = task::restore_work(instance, &service, bootstrap.instance.as_ref().unwrap());
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
