//! A cluster that is there already, and is restored into by its own tools.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{LocalObjectReference, ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{DatabaseServer, LocalReference};

/// A cluster of MongoDB that is there already, with an agent of Percona Backup on every member. What it holds is
/// replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExistingCluster {
    /// Image with `pbm` and a shell, of the agents' version. It needs glibc.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Secret with `uri`: the cluster's address, with the account that the agents use, like
    /// `mongodb://pbm:password@rs0-0.sessions:27017/?authSource=admin&replicaSet=rs0`. Whoever writes this reference must
    /// be allowed to read the Secret.
    pub uri_secret_ref: LocalReference,
    /// Replica sets that are called otherwise than those of the backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub renamed: Vec<RenamedSet>,
    /// What the pod may use that asks the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// User and group of that pod.
    #[serde(default = "default_user")]
    #[schemars(range(min = 1, max = 65_535))]
    pub run_as_user: i64,
    /// Nodes with all these labels may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Secrets to pull images with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
}

/// What Percona's image has.
fn default_user() -> i64 {
    1001
}

/// A replica set with another name than in the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenamedSet {
    /// Its name in the backup.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9._-]+$')").message("must be a replica set's name"))]
    pub from: String,
    /// Its name in this cluster.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9._-]+$')").message("must be a replica set's name"))]
    pub to: String,
}

impl ExistingCluster {
    /// What its pod runs on, as of a database without a volume.
    #[must_use]
    pub fn pod(&self) -> DatabaseServer {
        DatabaseServer {
            image: self.image.clone(),
            storage: Quantity::default(),
            storage_class_name: None,
            resources: self.resources.clone(),
            run_as_user: self.run_as_user,
            arguments: Vec::new(),
            sql_server: None,
            node_selector: self.node_selector.clone(),
            tolerations: self.tolerations.clone(),
            affinity: None,
            image_pull_secrets: self.image_pull_secrets.clone(),
        }
    }
}
