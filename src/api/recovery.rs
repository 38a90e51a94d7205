//! A new instance from a copy of backups: what is asked for, and what became of it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, LocalObjectReference, ResourceRequirements, Toleration},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    Decryption, ExistingCluster, LocalReference, Measure, Moment, RecoveryWindow, RenderedResource,
    SqlServer, TimePointBasis, Via,
};

/// How an instance comes to be that Farshore makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.instance) || has(self.existing) || (has(self.recovery.planOnly) && self.recovery.planOnly) || (has(self.recovery.via) && has(self.recovery.via.clusterRef))").message(
        "instance is needed unless recovery.planOnly is true, recovery.via names a cluster that is there, or existing is one"
    ),
    validation = Rule::new("!has(self.existing) || (!has(self.instance) && !has(self.recovery.via) && !has(self.recovery.decryption))").message(
        "existing is a cluster that is there already: it goes with neither instance nor recovery.via, nor recovery.decryption"
    )
)]
pub struct Bootstrap {
    /// Which backups, and which moment.
    pub recovery: Recovery,
    /// What the new instance is made of. Not needed for a plan alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<NewInstance>,
    /// Instead of a new instance, for a set of Percona Backup for MongoDB: a cluster that is there already, whose agents
    /// restore the set into it. What it holds is replaced. Deleting this resource leaves it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingCluster>,
}

/// Which backups a new instance is restored from, and to which moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.serviceRef == oldSelf.serviceRef").message(
        "serviceRef can't be changed; create another instance"
    ),
    validation = Rule::new("has(self.timePoint) == has(oldSelf.timePoint) && (!has(self.timePoint) || self.timePoint == oldSelf.timePoint) || (has(oldSelf.planOnly) && oldSelf.planOnly)").message(
        "timePoint can't be changed once it is more than a plan; create another instance"
    ),
    validation = Rule::new("!has(self.via) || !has(self.decryption)").message(
        "decryption can't be given with via: the other operator is given the key of encrypted backups in its own way"
    ),
    validation = Rule::new("has(self.via) == has(oldSelf.via) || (has(oldSelf.planOnly) && oldSelf.planOnly)").message(
        "via can't be added or taken away once it is more than a plan; create another instance"
    )
)]
pub struct Recovery {
    /// The `BackupSyncService`, in the same namespace, whose copy is restored. The region of the new instance is its
    /// target's. Whoever writes this must be allowed to read the service.
    pub service_ref: LocalReference,
    /// The moment that the instance shall show, within one of the service's `recoveryWindows`. Without it: the
    /// latest when the restore is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_point: Option<Moment>,
    /// Opens encrypted backups. Copying them needs no key, restoring them does. Only repositories of pgBackRest can be
    /// opened so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,
    /// Only plan: nothing is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plan_only: bool,
    /// Leave the restore to an operator of databases that runs in this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// What a new instance is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewInstance {
    /// Its server.
    #[serde(flatten)]
    pub server: DatabaseServer,
    /// Secret with `username` and `password` of an account with all rights. It is made, or given this
    /// password, at the end of the restore. Whoever writes this reference must be allowed to read the Secret.
    pub admin_secret_ref: LocalReference,
}

/// A database server, and what it runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseServer {
    /// Image with the database's server and its tools (MariaDB: `mariadbd`, `mariadb`, `mariadb-binlog`,
    /// `mariadb-backup`; MongoDB: `mongod`), of the version that wrote the backups or a later one that can read them. It needs glibc.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Size of the volume.
    #[x_kube(validation = Rule::new("quantity(self).isGreaterThan(quantity('0'))").message("must be a size like 10Gi"))]
    pub storage: Quantity,
    /// Class of the volume; without it, the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// What the server may use; the restore has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// User and group that server and restore run as, and that the files belong to. Microsoft's images have 10001.
    #[serde(default = "default_user")]
    #[schemars(range(min = 1, max = 65_535))]
    pub run_as_user: i64,
    /// Arguments for the server, at the restore and ever after, like `--lower-case-table-names=1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub arguments: Vec<String>,
    /// Engine `SQLServer` needs it, and no other takes it: licence and setup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_server: Option<SqlServer>,
    /// Nodes with all these labels may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Rules of where the pod may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Secrets to pull images with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
}

/// What the official images of most databases use.
pub(super) fn default_user() -> i64 {
    999
}

/// What became of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryStatus {
    /// What a restore reads: made before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RecoveryPlan>,
    /// Step that is under way: `Begin`, `Fetch`, `Prepare`, `Replay`, `Finish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Percent of the plan's bytes that were fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// The moment that the instance shows: set when it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_point: Option<Moment>,
    /// Recorded commit time of the last transaction that was replayed from the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<Moment>,
    /// Transactions that were replayed from the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
    /// When this attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the instance was ready for its users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// From the attempt's begin until the instance was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Number of the attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Value of the annotation `farshore.dev/run-requested` that this attempt was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// With `via`: the other operator's resource whose state is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<RenderedResource>,
    /// Why the attempt failed, and at which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RecoveryFailure>,
}

/// Why an attempt to restore failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryFailure {
    /// One word, the same in conditions and Events.
    pub reason: String,
    /// What happened, at which step, and what to do.
    pub message: String,
    /// When.
    pub at: Time,
}

/// What a restore reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPlan {
    /// The moment that will be reached.
    pub time_point: Moment,
    /// It was the latest when the plan was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latest: bool,
    /// How far it can be believed.
    pub basis: TimePointBasis,
    /// Backups, root first; at most 16 are listed.
    #[schemars(length(max = 16))]
    pub bases: Vec<PlannedBackup>,
    /// First and last log, and how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<PlannedLogs>,
    /// Bytes to be read.
    pub bytes: u64,
    /// Time that fetching alone takes at 100 MiB a second; what the store and the network really give, and the replay
    /// of logs, are not known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_duration: Option<String>,
    /// When the plan was made.
    pub made_at: Time,
}

/// A backup in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBackup {
    /// Its tool's name for it.
    pub name: String,
    /// The moment that it holds.
    pub time: Moment,
    /// Bytes.
    pub bytes: u64,
    /// Its first object, or the folder that it is, below the copy's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The logs of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLogs {
    /// Name of the first.
    pub first: String,
    /// Name of the last that is needed.
    pub last: String,
    /// How many.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
    /// The first one's object, below the copy's prefix. Left out where some of them are kept under other names than
    /// their tool gave them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a worker tells of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryReport {
    /// When it was told.
    pub completed_at: Time,
    /// The plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RecoveryPlan>,
    /// What was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<RecoveryReached>,
    /// Why the moment can't be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RecoveryRefusal>,
}

impl Measure for RecoveryReport {
    fn completed_at(&self) -> Time {
        self.completed_at.clone()
    }

    fn dated_as(self, earlier: &Self) -> Self {
        Self { completed_at: earlier.completed_at.clone(), ..self }
    }
}

/// What a restore reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryReached {
    /// The moment.
    pub time_point: Moment,
    /// Recorded commit time of the last transaction that was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<Moment>,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// What the checks answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub answers: Vec<String>,
}

/// Why a moment can't be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRefusal {
    /// In words, with the nearest moments.
    pub message: String,
    /// Windows at that time, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub windows: Vec<RecoveryWindow>,
}

/// Movement of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryProgress {
    /// Step that is under way.
    pub step: String,
    /// Bytes that were fetched.
    pub done_bytes: u64,
    /// Bytes of the plan.
    pub total_bytes: u64,
}
