//! Keeps an instance's backups in a second region.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, LocalObjectReference, ResourceRequirements, Toleration},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ByteRate, Credentials, Cycle, CycleProgress, HumanDuration, LocalReference, Moment, Observed, Served,
};

/// Keeps full and incremental backups of an instance in a second region, and says which moments can be restored from there alone.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "farshore.dev",
    version = "v1alpha1",
    kind = "BackupSyncService",
    namespaced,
    status = "BackupSyncServiceStatus",
    shortname = "bss",
    category = "farshore",
    derive = "PartialEq",
    doc = "Keeps full and incremental backups of an instance in a second region, and says which moments can be restored from there alone.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceRef.name"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source.region"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.region"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Latest Data",
        type_ = "date",
        json_path = ".status.latestDataTimePoint",
        description = "Age of the newest moment that can be restored from the target alone."
    ),
    printcolumn(
        name = "Within RPO",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="WithinRPO")].status"#
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Time Point",
        type_ = "string",
        json_path = ".status.latestDataTimePoint",
        priority = "1"
    ),
    printcolumn(name = "Basis", type_ = "string", json_path = ".status.timePointBasis", priority = "1"),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.lastSyncTime", priority = "1"),
    printcolumn(name = "Stored", type_ = "integer", json_path = ".status.usage.storedBytes", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupSyncServiceSpec {
    /// Instance whose backups are copied, in the same namespace. It has at most one service.
    #[x_kube(validation = Rule::new("self == oldSelf").message("instanceRef can't be changed; delete this service and create another"))]
    pub instance_ref: LocalReference,
    /// Where the copies go.
    pub target: BackupTarget,
    /// Time between two looks at the source's logs. From `30m` on, each look is a Job of its own;
    /// below, a worker stays in service.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new("duration(self.replace('d', 'h')) >= duration('5s')").message("must be at least 5s"))]
    pub interval: HumanDuration,
    /// How long every moment stays restorable at the target. What the oldest moment needs is kept with
    /// it, however old, and what the source loses is never lost here.
    #[serde(default = "default_retention")]
    pub retention: HumanDuration,
    /// How far behind now the newest restorable moment may be before `WithinRPO` turns `False`.
    #[serde(default = "default_rpo")]
    #[x_kube(validation = Rule::new("!self.contains('d') && duration(self) <= duration('12h')").message("must be 12h or less"))]
    pub rpo: HumanDuration,
    /// What becomes of the target's backups when this service is deleted. May still be changed then.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Time between the deletion of this service and that of its backups. May still be changed then.
    #[serde(default = "default_purge_delay")]
    pub purge_delay: HumanDuration,
    /// Stops copying; what is at the target stays and keeps being true.
    #[serde(default)]
    pub suspend: bool,
    /// Ceilings of what the worker may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// How the worker's pods are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,
}

fn duration(text: &str) -> HumanDuration {
    // The texts are this file's own constants; a test reads each of them.
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a duration"))
}

fn default_interval() -> HumanDuration {
    duration("10m")
}

fn default_retention() -> HumanDuration {
    duration("7d")
}

fn default_rpo() -> HumanDuration {
    duration("12h")
}

fn default_purge_delay() -> HumanDuration {
    duration("0s")
}

/// Where copies go. Can't be changed: a copy elsewhere is another service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.region == oldSelf.region && self.bucket == oldSelf.bucket && self.prefix == oldSelf.prefix").message(
    "region, bucket and prefix of a target can't be changed; delete this service (deletionPolicy: Retain keeps its backups) and create another"
))]
pub struct BackupTarget {
    /// Name of the target Region; not the instance's own.
    #[schemars(length(min = 1, max = 253))]
    pub region: String,
    /// Bucket in the target region's object store. It must exist.
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')").message(
        "must be a bucket's name: letters, digits, dots, dashes"
    ))]
    pub bucket: String,
    /// Folder within the bucket, ending in `/`. It must be empty, or hold an earlier copy of the same source.
    #[serde(default)]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self == '' || (self.endsWith('/') && !self.startsWith('/'))").message(
        "must end in / and not begin with /, like orders/"
    ))]
    pub prefix: String,
    /// Credentials that may list, read, write and delete in the bucket.
    pub credentials: Credentials,
}

/// What becomes of the target's backups with the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted: all that this service copied, in all versions, and nothing else.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

/// Ceilings of what a worker may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    /// Bytes a second copied, like `50Mi`. Logs go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteRate>,
    /// Requests a second, over both stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: Option<u32>,
}

/// How a worker's pods are run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// Requests and limits of the worker's container. Default: 50m CPU and 64Mi requested, 128Mi memory at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Nodes that the worker may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that the worker tolerates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Where the worker would rather run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Priority class of the worker's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// Labels put on the worker's pods besides Farshore's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new("self.all(key, !key.contains('farshore.dev/') && !key.contains('kubernetes.io/') && key != 'job-name' && key != 'controller-uid')").message(
        "labels of farshore.dev and kubernetes.io are set by Farshore and Kubernetes"
    ))]
    pub pod_labels: Option<BTreeMap<String, String>>,
    /// Secrets in the same namespace that hold credentials for the image's registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
}

/// What is known of a service. `observed` is the worker's own report; all the rest is the controller's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSyncServiceStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// In a word, how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ServicePhase>,
    /// Newest moment that can be restored from the target alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_data_time_point: Option<Moment>,
    /// `Proved` by an unbroken chain of logs, or `Estimated` where the format can't prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_point_basis: Option<TimePointBasis>,
    /// Later than `latestDataTimePoint` while the source's engine confirms that its log stands still:
    /// nothing was written up to this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_until: Option<Moment>,
    /// Every moment within one of these can be restored, both ends included, oldest first. A hole in
    /// the logs splits a window. At most the newest 32 are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub recovery_windows: Vec<RecoveryWindow>,
    /// Newest moment that could be restored from the source's own bucket: tells a late source from a late copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_latest_time: Option<Moment>,
    /// What lies at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupCounts>,
    /// What can be charged for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// When the last cycle that succeeded ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// When a drill last restored an instance from this copy, and all its checks were good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_proved: Option<LastProved>,
    /// The last request of `farshore.dev/run-requested` that was honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_request: Option<RunRequest>,
    /// Source that was accepted: it stays known when the instance is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<AcceptedSource>,
    /// The worker's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// `Ready`, `Reconciling`, `Stalled`, `Accepted`, `SourceReachable`, `TargetReachable`,
    /// `SourceRunning`, `WithinRPO`, `WindowContiguous`, `Findings` while there are any, and `PurgeBlocked`
    /// while a deletion waits.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServicePhase {
    /// Not accepted yet, or its first worker has not started; the conditions say why.
    Pending,
    /// The first copy is under way.
    Syncing,
    /// The target holds what the source had at the last look.
    Synced,
    /// It was synced, and is not kept current now: the figures that could mislead are removed.
    Stale,
    /// Suspended by its owner.
    Suspended,
    /// Only a person can help; `Stalled` says how.
    Failed,
    /// Its backups are being deleted.
    Deleting,
}

/// How far a time point can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimePointBasis {
    /// An unbroken chain of logs proves it.
    Proved,
    /// The format can't prove it.
    Estimated,
}

/// A stretch of time of which every moment can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryWindow {
    /// First moment.
    pub from: Moment,
    /// Last moment.
    pub to: Moment,
}

/// What lies at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupCounts {
    /// Complete full backups.
    pub full: u64,
    /// Complete incremental backups.
    pub incremental: u64,
    /// Log files.
    pub logs: u64,
    /// Bytes of them all.
    pub bytes: u64,
}

/// What can be charged for (`B13`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Bytes stored at the target now.
    pub stored_bytes: u64,
    /// Bytes ever written to the target for this service.
    pub transferred_bytes: u64,
}

/// A request for a cycle now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    /// The annotation's value.
    pub requested_at: String,
    /// When a cycle that began after the request ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}

/// The last proof that a copy can be restored (`B15`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastProved {
    /// When the drill ended.
    pub at: Time,
    /// The moment that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_point: Option<Moment>,
    /// How long it took.
    pub duration: String,
    /// Name of the `RecoveryDrill`.
    pub drill: String,
}

/// The source that a service was accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedSource {
    /// Region of the instance.
    pub region: String,
    /// Endpoint of the region's object store.
    pub endpoint: String,
    /// Bucket of the backups.
    pub bucket: String,
    /// Folder of the backups.
    pub prefix: String,
    /// UID of the instance; a new one under the same name is adopted.
    pub instance_uid: String,
    /// Since when the instance has been gone, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Time>,
}

impl Served for BackupSyncService {
    const NOUN: &'static str = "service";
    const PLURAL: &'static str = "backupsyncservices";
    type Cycle = Cycle;
    type Progress = CycleProgress;

    fn observed(&self) -> Option<&Observed> {
        self.status.as_ref()?.observed.as_ref()
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }

    fn last_run_request(&self) -> Option<&RunRequest> {
        self.status.as_ref()?.last_run_request.as_ref()
    }

    fn worker(&self) -> Option<&WorkerSpec> {
        self.spec.worker.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_durations() {
        for (value, text) in [
            (default_interval(), "10m"),
            (default_retention(), "7d"),
            (default_rpo(), "12h"),
            (default_purge_delay(), "0s"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }
}
