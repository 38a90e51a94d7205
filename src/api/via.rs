//! A restore that another operator of databases carries out: what is asked for, and what was rendered.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Credentials, Engine, LocalReference};

/// A restore by the operator of a database that runs in this cluster: its own resource is made, and the instance is
/// managed by it from the start. Whoever writes this must be allowed to create that resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.operator == oldSelf.operator").message(
        "operator can't be changed; create another instance"
    ),
    validation = Rule::new("has(self.clusterRef) == (self.operator in ['PerconaServerMongoDB', 'PerconaXtraDBCluster'])").message(
        "clusterRef is needed with Percona's operators, which restore into a cluster that is there, and only with them"
    )
)]
pub struct Via {
    /// Whose resource is made. `CloudNativePG`: a Cluster. `MariaDBOperator`: a `MariaDB`, with the `PhysicalBackup` and
    /// the `PointInTimeRecovery` that it names. `PerconaServerMongoDB`: a `PerconaServerMongoDBRestore`.
    /// `PerconaXtraDBCluster`: a `PerconaXtraDBClusterRestore`.
    pub operator: DatabaseOperator,
    /// With Percona's operators: the cluster, in the same namespace, that is restored into. What it holds is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<LocalReference>,
    /// What the operator reads the copy with; one that may only read is enough. Default: what the service writes the
    /// copy with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Secret whose `ca.crt` has the authorities of the store's certificate. Needed where the Region has a
    /// `caBundle`: operators take it from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalReference>,
    /// More of the resource's `spec`, as that operator knows it, like `instances: 3`. What says which backups are
    /// restored, and to which moment, can't be changed here; lists are added to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub spec: Option<Map<String, Value>>,
}

/// What the API server keeps as it is: the other operator's definition says what it may be.
fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// An operator of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatabaseOperator {
    /// `CloudNativePG`, of `PostgreSQL`.
    CloudNativePG,
    /// mariadb-operator, of `MariaDB`.
    MariaDBOperator,
    /// Percona Operator for `MongoDB`.
    PerconaServerMongoDB,
    /// Percona Operator for `MySQL` based on `XtraDB` Cluster.
    PerconaXtraDBCluster,
}

impl DatabaseOperator {
    /// The engine of its databases.
    #[must_use]
    pub const fn engine(self) -> Engine {
        match self {
            Self::CloudNativePG => Engine::PostgreSQL,
            Self::MariaDBOperator | Self::PerconaXtraDBCluster => Engine::MySQL,
            Self::PerconaServerMongoDB => Engine::MongoDB,
        }
    }
}

/// A resource of another operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedResource {
    /// Like `postgresql.cnpg.io/v1`.
    pub api_version: String,
    /// Like `Cluster`.
    pub kind: String,
    /// In the instance's namespace.
    pub name: String,
}
