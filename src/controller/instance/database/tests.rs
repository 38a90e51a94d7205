//! What a new instance consists of, as written down in `tests/golden/instance`.

use std::path::Path;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use super::{super::task, *};
use crate::{
    api::{BackupSyncService, Region},
    controller::{
        Options,
        work::{children::children, plan::Start, task::write},
    },
};

fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_yaml_ng::from_str(text).unwrap()
}

fn instance(engine: &str, argument: &str) -> DatabaseInstance {
    yaml(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: orders-2, namespace: shop, uid: 0d4711}}
spec:
  engine: {engine}
  region: east
  bootstrap:
    recovery: {{serviceRef: {{name: orders}}}}
    instance:
      image: registry.example/database:1
      storage: 20Gi
      storageClassName: fast
      adminSecretRef: {{name: orders-admin}}
      arguments: [{argument}]
      resources: {{limits: {{memory: 1Gi}}}}
"
    ))
}

/// Everything, in the order in which it is made.
fn rendered(engine: &str, argument: &str) -> String {
    let instance = instance(engine, argument);
    let new = instance.spec.bootstrap.as_ref().and_then(|bootstrap| bootstrap.instance.clone()).unwrap();
    let service: BackupSyncService = yaml(
        "apiVersion: farshore.dev/v1alpha1\nkind: BackupSyncService\nmetadata: {name: orders, namespace: shop}\nspec:\n  instanceRef: {name: orders}\n  target: {region: east, bucket: dr-backups, prefix: orders/, credentials: {secretRef: {name: copy}}}\n",
    );
    let region: Region = yaml(
        "apiVersion: farshore.dev/v1alpha1\nkind: Region\nmetadata: {name: east}\nspec: {objectStore: {endpoint: 'https://store.east:9000'}}\n",
    );
    let moment = Timestamp::from_second(1_795_132_800).unwrap();
    let task = task::restore(&instance, (&service, &region), (1, moment));
    let work = task::restore_work(&instance, &service, &new);
    let written = write(&instance, &task, &work).unwrap();
    let start = Start { slot: "restore".to_owned(), attempt: 0, request: None };
    let options = Options { worker_image: "registry.example/farshore:1".to_owned(), ..Options::default() };
    let made = children(&instance, (&written, &work), (&start, "run".to_owned()), &options);
    let Database { service, server } = database(&instance, &new);
    [text(&claim(&instance, &new)), text(&made.job), text(&server), text(&service)].join("---\n")
}

fn text(object: &impl Serialize) -> String {
    serde_yaml_ng::to_string(object).unwrap()
}

#[test]
fn b08_a_new_instance_is_made_of_these_objects() {
    for (engine, argument) in [
        ("MongoDB", "--wiredTigerCacheSizeGB=0.25"),
        ("MySQL", "--lower-case-table-names=1"),
        ("PostgreSQL", "--shared_buffers=256MB"),
    ] {
        let text = rendered(engine, argument);
        let name = format!("tests/golden/instance/{}.yaml", engine.to_lowercase());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "{name} differs; UPDATE_GOLDEN=1 writes it");
    }
}

#[test]
fn b08_a_mongodb_finds_itself_under_the_name_that_its_users_know_without_asking_a_dns() {
    let instance = instance("MongoDB", "--ipv6");
    assert!(endpoint(&instance).starts_with("mongodb://orders-2.shop:"));
    let [alias] = &itself(&instance).unwrap()[..] else { panic!("one address") };
    assert_eq!(alias.hostnames.as_deref(), Some(&["orders-2.shop.svc".to_owned()][..]));
    let new = instance.spec.bootstrap.as_ref().and_then(|bootstrap| bootstrap.instance.clone()).unwrap();
    let pod = database(&instance, &new).server.spec.and_then(|spec| spec.template.spec).unwrap();
    assert_eq!(pod.host_aliases, itself(&instance));
    for other in ["MySQL", "PostgreSQL", "SQLServer"] {
        assert_eq!(itself(&self::instance(other, "")), None);
    }
}
