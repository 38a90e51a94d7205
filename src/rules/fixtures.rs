//! Resources as users write them.

use crate::api::{BackupSyncService, DatabaseInstance, Region};

pub fn region(name: &str, more: &str) -> Region {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: Region
metadata: {{name: {name}}}
spec:
  objectStore: {{endpoint: \"http://minio.{name}:9000\"}}
  {more}
"
    ))
}

pub fn instance(name: &str, more: &str) -> DatabaseInstance {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: {name}, namespace: shop, uid: uid-of-{name}, generation: 1}}
spec:
  engine: MySQL
  region: north
  backups: {{format: MariaDBOperator, bucket: backups, prefix: orders/, credentials: {{secretRef: {{name: source}}}}}}
  {more}
"
    ))
}

pub fn without_backups(mut instance: DatabaseInstance) -> DatabaseInstance {
    instance.spec.backups = None;
    instance
}

pub fn service(name: &str, instance: &str, target_region: &str) -> BackupSyncService {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata: {{name: {name}, namespace: shop, uid: uid-of-{name}, generation: 1, creationTimestamp: \"2026-11-20T08:00:00Z\"}}
spec:
  instanceRef: {{name: {instance}}}
  target: {{region: {target_region}, bucket: dr-backups, prefix: {name}/, credentials: {{secretRef: {{name: target}}}}}}
"
    ))
}

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}
