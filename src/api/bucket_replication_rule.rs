//! Replicates a bucket to another region.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Comparison, Convergence, Credentials, Feed, FeedInUse, Incomplete, KeptAttributes, MigrationPlan,
    Observed, PlanEnded, QueueFeed, RateLimits, ReplicationProgress, RunRequest, Served, Share,
    SkippedObjects, WebhookFeed, WorkerSpec, comparison,
};

/// Replicates a bucket's objects to a bucket in another region, in one direction. Objects of the same name at the target are overwritten.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "farshore.dev",
    version = "v1alpha1",
    kind = "BucketReplicationRule",
    namespaced,
    status = "BucketReplicationRuleStatus",
    shortname = "brr",
    category = "farshore",
    derive = "PartialEq",
    doc = "Replicates a bucket's objects to a bucket in another region, in one direction. Objects of the same name at the target are overwritten.",
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source.region"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.source.bucket"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.region"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Migrated",
        type_ = "integer",
        json_path = ".status.migration.percent",
        description = "Percentage of what the source held before that is at the target."
    ),
    printcolumn(
        name = "Last Sync",
        type_ = "date",
        json_path = ".status.lastSyncTimePoint",
        description = "Age of the moment up to which every change of the source is at the target."
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
    printcolumn(name = "Target Bucket", type_ = "string", json_path = ".spec.target.bucket", priority = "1"),
    printcolumn(
        name = "Time Point",
        type_ = "string",
        json_path = ".status.lastSyncTimePoint",
        priority = "1"
    ),
    printcolumn(
        name = "Period",
        type_ = "string",
        json_path = ".status.observed.cycle.period",
        priority = "1",
        description = "Time from one comparison of the buckets to the next."
    ),
    printcolumn(name = "Feed", type_ = "string", json_path = ".status.feed.kind", priority = "1"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.counts.failed", priority = "1"),
    printcolumn(name = "Held", type_ = "integer", json_path = ".status.counts.held", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source.region != self.target.region").message(
        "source and target must be in different regions; choose another spec.target.region"
    ),
    validation = Rule::new("self.feed != 'Webhook' || has(self.webhook)").message(
        "feed Webhook needs spec.webhook.tokenSecretRef: name a Secret whose key `token` every message must carry"
    ),
    validation = Rule::new("self.feed == 'Webhook' || !has(self.webhook)").message(
        "spec.webhook is for feed Webhook only; set spec.feed to Webhook, or take spec.webhook out"
    ),
    validation = Rule::new("self.feed != 'SQS' || has(self.sqs)").message(
        "feed SQS needs spec.sqs.queueURL: the URL of the queue that the source store fills"
    ),
    validation = Rule::new("self.feed == 'SQS' || !has(self.sqs)").message(
        "spec.sqs is for feed SQS only; set spec.feed to SQS, or take spec.sqs out"
    )
)]
pub struct BucketReplicationRuleSpec {
    /// Bucket that is replicated.
    pub source: ReplicationEnd,
    /// Bucket that receives the copies. It must exist; what it holds under a name that the source has is overwritten, and can't be brought back unless the bucket keeps versions.
    pub target: ReplicationEnd,
    /// Stops replication; both buckets stay as they are. When it goes on, it catches up with what happened between.
    #[serde(default)]
    pub suspend: bool,
    /// What becomes of what the source held before the rule was created.
    #[serde(default)]
    pub historical_migration: HistoricalMigration,
    /// What becomes of an object at the target that the source does not have.
    #[serde(default)]
    pub deletes: DeletePropagation,
    /// What of objects is kept on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<KeptAttributes>,
    /// How many objects an hour may be deleted at the target without being asked for.
    #[serde(default)]
    pub delete_budget: DeleteBudget,
    /// How changes are heard of between two comparisons.
    #[serde(default)]
    pub feed: Feed,
    /// Of the feed `Webhook`: what the store's messages are known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookFeed>,
    /// Of the feed `SQS`: the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqs: Option<QueueFeed>,
    /// Ceilings of what the worker may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// How the worker's pods are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,
}

/// What becomes of what the source held before the rule was created. A small history is copied by the rule's own worker; a large one is copied by many pods at once, those of an Indexed Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoricalMigration {
    /// False: an object that was written before the rule was created, and that the target lacks or has otherwise, stays as it is until it changes; `status.counts.left` says how many there are.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Pods that copy a large history at a time. It can be changed while they run. Where rateLimits are set, they share four fifths of them, and the rule's own worker keeps the rest.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 100))]
    pub parallelism: u32,
}

const fn yes() -> bool {
    true
}

const fn default_parallelism() -> u32 {
    4
}

impl Default for HistoricalMigration {
    fn default() -> Self {
        Self { enabled: yes(), parallelism: default_parallelism() }
    }
}

/// One end of a rule. Region and bucket can't be changed: another bucket is another rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.region == oldSelf.region && self.bucket == oldSelf.bucket").message(
    "region and bucket of a rule can't be changed; delete this rule (both buckets stay as they are) and create another"
))]
pub struct ReplicationEnd {
    /// Name of the Region.
    #[schemars(length(min = 1, max = 253))]
    pub region: String,
    /// Bucket in the region's object store.
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')").message(
        "must be a bucket's name: letters, digits, dots, dashes"
    ))]
    pub bucket: String,
    /// Credentials that may list and read the bucket; at the target also write and delete.
    pub credentials: Credentials,
}

/// What becomes of an object at the target that the source does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletePropagation {
    /// It is deleted, after the source itself has said that it has no such object.
    #[default]
    Replicate,
    /// It stays.
    Keep,
}

/// How many objects may be deleted at the target in an hour. Deletes beyond both limits are held until somebody releases them; everything else goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteBudget {
    /// Objects.
    #[serde(default = "default_count")]
    pub count: u32,
    /// Percentage of the objects at the target.
    #[serde(default = "default_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}

const fn default_count() -> u32 {
    1000
}

const fn default_percent() -> u8 {
    10
}

impl Default for DeleteBudget {
    fn default() -> Self {
        Self { count: default_count(), percent: default_percent() }
    }
}

/// What is known of a rule. `observed` is the worker's own report; all the rest is the controller's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketReplicationRuleStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// In a word, how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RulePhase>,
    /// The buckets that the rule was accepted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<AcceptedPair>,
    /// True once another rule replicates the other way, and ever after: nothing that is newer at the target is
    /// overwritten or deleted. Create the rule anew to make the target a plain copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutual: bool,
    /// How far what the source held before is at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// Every change of the source up to this moment is at the target: proved by a comparison of all objects. It never goes back, and stops before an object that failed or a delete that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time_point: Option<Time>,
    /// How far changes have been dealt with, leaving aside objects that failed and deletes that are held: an estimate. Gone while nothing is replicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_time_point: Option<Time>,
    /// How changes are heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedInUse>,
    /// What the comparisons found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<ReplicationCounts>,
    /// What the last comparison found: the proof that both buckets converge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Convergence>,
    /// Objects that stay at the source for the time being, as the last comparison found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub skipped: Vec<SkippedObjects>,
    /// What copies lack of their originals, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub incomplete: Vec<Incomplete>,
    /// The last request of `farshore.dev/run-requested` that was honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_request: Option<RunRequest>,
    /// The worker's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed<Comparison, ReplicationProgress>>,
    /// `Ready`, `Reconciling`, `Stalled`, `Accepted`, `SourceReachable`, `TargetReachable`, `Migrated`,
    /// `InSync`, `DeletionHeld`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RulePhase {
    /// Not accepted yet, or its first worker has not started; the conditions say why.
    Pending,
    /// What the source held before is being copied.
    Migrating,
    /// Changes are replicated as they are found.
    Replicating,
    /// It replicated, and does not now: the figures that could mislead are removed.
    Stale,
    /// Suspended by its owner.
    Suspended,
    /// Only a person can help; `Stalled` says how.
    Failed,
}

/// The buckets that a rule was accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedPair {
    /// The source.
    pub source: AcceptedBucket,
    /// The target.
    pub target: AcceptedBucket,
}

/// A bucket, by what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedBucket {
    /// Endpoint of the region's object store.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
}

/// How far what the source held before is at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// At least this much, of objects and of bytes. It never goes back, and is 100 only at the end.
    pub percent: u8,
    /// Objects that the source held when they were counted last, and those of them at the target.
    pub objects: Share,
    /// Bytes of them.
    pub bytes: Share,
    /// The ranges of a large history, each copied by a pod of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<MigrationRanges>,
    /// What the copies lack that the ranges' pods made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub incomplete: Vec<Incomplete>,
    /// When all were at the target, as a comparison of both buckets proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}

/// How far the ranges of a large history are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationRanges {
    /// The plan that they are part of.
    pub plan: MigrationPlan,
    /// Numbers of those that are done, like `0-12,15`.
    pub done: String,
    /// Numbers of those that were given up after several attempts. The comparison that follows deals with what is in them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failed: String,
    /// Why the first of those failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Objects in them that could not be copied. The comparison that follows tries them again.
    pub objects_failed: u64,
    /// One of those objects, and what happened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// When the last one was done or given up: from then on both buckets are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

/// What the comparisons found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationCounts {
    /// Differences that comparisons have found and repaired since the migration.
    pub repaired: u64,
    /// Of two rules that go both ways: changes at the target that gave way to one of the source, since neither
    /// side knew of the other's and the source's was newer. What gave way is the object's version before.
    #[serde(default)]
    pub conflicts: u64,
    /// Objects that could not be copied or deleted in the last comparison.
    pub failed: u64,
    /// Deletes that are held.
    pub held: u64,
    /// Objects written before the rule was created that the target lacks or has otherwise, left so by `spec.historicalMigration.enabled: false`.
    #[serde(default, skip_serializing_if = "comparison::is_zero")]
    pub left: u64,
    /// Objects that one bucket's own lifecycle let go: the other one keeps its copy, and it is not written back until it changes there.
    #[serde(default)]
    pub expired: u64,
}

impl Served for BucketReplicationRule {
    const NOUN: &'static str = "rule";
    const PLURAL: &'static str = "bucketreplicationrules";
    type Cycle = Comparison;
    type Progress = ReplicationProgress;

    fn observed(&self) -> Option<&Observed<Comparison, ReplicationProgress>> {
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

    fn plan_ended(&self) -> Option<PlanEnded> {
        let ranges = self.status.as_ref()?.migration.as_ref()?.ranges.as_ref()?;
        ranges.ended_at.as_ref()?;
        Some(PlanEnded { plan: ranges.plan.hash.clone(), all: ranges.failed.is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c01_what_is_left_out_is_as_the_manual_says() {
        let end = |region: &str| serde_json::json!({"region": region, "bucket": "photos", "credentials": {"secretRef": {"name": "s"}}});
        let spec = serde_json::json!({"source": end("north"), "target": end("east")});
        let spec: BucketReplicationRuleSpec = serde_json::from_value(spec).unwrap();
        assert_eq!((spec.suspend, spec.deletes), (false, DeletePropagation::Replicate));
        assert_eq!((spec.delete_budget.count, spec.delete_budget.percent), (1000, 10));
        assert_eq!(spec.historical_migration, HistoricalMigration { enabled: true, parallelism: 4 });
    }
}
