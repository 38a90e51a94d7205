//! Resources as users write them.

use crate::api::{
    BackupSyncService, BucketReplicationRule, DatabaseInstance, DisasterRecoveryInstance, Region,
};

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

/// A rule from `source` to `target`, each a region and a bucket like `north/photos`.
pub fn rule(name: &str, source: &str, target: &str) -> BucketReplicationRule {
    let end = |place: &str| {
        let (region, bucket) = place.split_once('/').unwrap();
        format!("{{region: {region}, bucket: {bucket}, credentials: {{secretRef: {{name: keys}}}}}}")
    };
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: BucketReplicationRule
metadata: {{name: {name}, namespace: shop, uid: uid-of-{name}, generation: 1, creationTimestamp: \"2026-11-20T08:00:00Z\"}}
spec:
  source: {}
  target: {}
",
        end(source),
        end(target)
    ))
}

/// A copy of a master, on servers that are there already.
pub fn standby(name: &str, master: &str, more: &str) -> DisasterRecoveryInstance {
    let region = if more.contains("region:") { "" } else { "region: east" };
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DisasterRecoveryInstance
metadata: {{name: {name}, namespace: shop, uid: uid-of-{name}, generation: 1, creationTimestamp: \"2026-11-20T08:00:00Z\"}}
spec:
  masterRef: {{name: {master}}}
  target: {{existing: {{uri: \"mongodb://dr-0.east:27017/?replicaSet=dr\", credentials: {{secretRef: {{name: copy-account}}}}}}}}
  {region}
  {more}
"
    ))
}

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}
