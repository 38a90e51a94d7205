//! Where a disaster recovery instance keeps its copy.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, LocalObjectReference, ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, recovery::default_user};

/// The replica set that follows the master: one that Farshore makes, or one that is there already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.managed) != has(self.existing)").message(
        "exactly one of managed (Farshore makes the replica set) and existing (it is there already) is needed"
    ),
    validation = Rule::new("has(self.managed) == has(oldSelf.managed)").message(
        "managed and existing can't be exchanged; delete this instance (an existing replica set stays as it is) and create another"
    )
)]
pub struct StandbyTarget {
    /// A replica set that Farshore makes and runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedReplicaSet>,
    /// A replica set that another operator, or somebody, runs. It must be empty at the beginning; Farshore keeps its own records in it, in the database `farshore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingReplicaSet>,
}

/// A replica set that Farshore makes and runs: a `StatefulSet`, its volumes and its Services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName can't be changed; delete this instance and create another"),
    validation = Rule::new("quantity(self.storage).compareTo(quantity(oldSelf.storage)) == 0")
        .message("storage can't be changed; where the volumes' class allows it, change the PersistentVolumeClaims themselves")
)]
pub struct ManagedReplicaSet {
    /// Members: one primary, all others secondaries. An odd number from 3 to 7. When it changes, the members are restarted, one after the other.
    #[serde(default = "default_members")]
    #[schemars(range(min = 3, max = 7))]
    #[x_kube(validation = Rule::new("self % 2 == 1").message("must be odd: 3, 5 or 7, so that a majority can always be told"))]
    pub members: i32,
    /// Image with `mongod`, of the master's version.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Size of each member's volume.
    #[x_kube(validation = Rule::new("quantity(self).isGreaterThan(quantity('0'))").message("must be a size like 100Gi"))]
    pub storage: Quantity,
    /// Class of the volumes; without it, the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// What each member's server may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// User and group that the server runs as, and that its files belong to.
    #[serde(default = "default_user")]
    #[schemars(range(min = 1, max = 65_535))]
    pub run_as_user: i64,
    /// Further arguments for `mongod`, like `--wiredTigerCacheSizeGB=2`. What Farshore sets itself (replica set, key file, port, addresses, data folder, `ttlMonitorEnabled`) is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    #[x_kube(validation = Rule::new("self.all(argument, !argument.matches('^--(replSet|keyFile|auth|noauth|port|bind_ip|bind_ip_all|dbpath|config|configsvr|shardsvr|fork|transitionToAuth)(=|$)') && !argument.contains('ttlMonitorEnabled'))").message(
        "replSet, keyFile, auth, port, bind_ip, dbpath, config, fork and ttlMonitorEnabled are set by Farshore; take them out"
    ))]
    pub arguments: Vec<String>,
    /// Nodes with all these labels may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Rules of where the members may run. Without it, no two of them share a node where that can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Secrets to pull images with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
}

const fn default_members() -> i32 {
    3
}

/// A replica set that is there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExistingReplicaSet {
    /// `mongodb://host1:port,host2:port/?replicaSet=rs0&tls=true`, without user or password. Where an authority of your own has signed the servers' certificates, the Secret of `credentials` holds it as `ca.crt`.
    #[schemars(length(max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^mongodb://[A-Za-z0-9._-]+(:[0-9]{1,5})?(,[A-Za-z0-9._-]+(:[0-9]{1,5})?)*(/([?][A-Za-z0-9=&._,:-]*)?)?$')").message(
            "must be like mongodb://host1:27017,host2:27017/?replicaSet=rs0&tls=true, without user, password or database"
        ),
        validation = Rule::new("!self.matches('(?i)[?&]tls(insecure|allowinvalid|disable)')").message(
            "certificates are always checked; put the authority that signed them into the Secret of credentials as ca.crt"
        )
    )]
    pub uri: String,
    /// An account there that may write what the master holds, keep users from writing, and let them in at the activation; docs/standby.md lists its rights. Without it, nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}
