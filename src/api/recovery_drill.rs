//! A drill: on a schedule, the proof that a copy of backups can be restored (`B15`).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DatabaseServer, Decryption, HumanDuration, LocalReference, Moment, Observed, RecoveryProgress,
    RecoveryReport, RunRequest, Served, WorkerSpec,
};

/// Restores a throw-away instance from a service's copy, again and again, and says what came of it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "farshore.dev",
    version = "v1alpha1",
    kind = "RecoveryDrill",
    namespaced,
    status = "RecoveryDrillStatus",
    shortname = "rdr",
    category = "farshore",
    derive = "PartialEq",
    doc = "Restores a throw-away instance from a service's copy, again and again, and says what came of it.",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.serviceRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Last Result", type_ = "string", json_path = ".status.last.result"),
    printcolumn(name = "Restored To", type_ = "string", json_path = ".status.last.timePoint"),
    printcolumn(name = "Took", type_ = "string", json_path = ".status.last.duration"),
    printcolumn(name = "Ended", type_ = "date", json_path = ".status.last.completedAt"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextTime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryDrillSpec {
    /// The `BackupSyncService`, in the same namespace, whose copy is restored. Whoever writes this must be allowed to
    /// read the Secret that the service reads its copy with.
    #[x_kube(validation = Rule::new("self == oldSelf").message("serviceRef can't be changed; create another drill"))]
    pub service_ref: LocalReference,
    /// When, as five fields of cron in UTC: minute, hour, day of the month, month, day of the week.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// Each drill begins up to this much later, by an amount that is always the same for this drill: not all at once.
    #[serde(default = "default_jitter")]
    pub jitter: HumanDuration,
    /// Which moment is restored.
    #[serde(default)]
    pub moment: DrillMoment,
    /// What the throw-away instance is made of.
    pub instance: DatabaseServer,
    /// Opens encrypted backups. Copying them needs no key, restoring them does. Only repositories of pgBackRest can be
    /// opened so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,
    /// What is asked of it. Without any, being restored is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub checks: Vec<DrillCheck>,
    /// The database's own check of all its tables, too.
    #[serde(default)]
    pub check_tables: bool,
    /// A drill that takes longer has failed.
    #[serde(default = "default_time_limit")]
    pub time_limit: HumanDuration,
    /// Results that are kept in the status.
    #[serde(default = "default_history")]
    #[schemars(range(min = 1, max = 50))]
    pub history_limit: u32,
    /// No drill begins while this is set.
    #[serde(default)]
    pub suspend: bool,
}

fn default_jitter() -> HumanDuration {
    Duration::from_mins(10).into()
}

fn default_time_limit() -> HumanDuration {
    Duration::from_hours(4).into()
}

fn default_history() -> u32 {
    10
}

/// Which moment a drill restores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillMoment {
    /// The latest that there is.
    #[default]
    Latest,
    /// Any of the service's recovery windows.
    Random,
}

/// One question to a restored instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.expect) && has(self.grows) && self.grows)").message(
    "expect and grows can't be asked for at once"
))]
pub struct DrillCheck {
    /// What it is called in results.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The query, or MongoDB's command as JSON with its database, like `{"count": "orders", "$db": "shop"}`.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// What it must answer: columns split by tabs, rows by line ends. Without it, any answer will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub expect: Option<String>,
    /// The answer is a number that never falls as the moment moves on: a count of rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grows: bool,
}

/// What is known of a drill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryDrillStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// In a word, how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DrillPhase>,
    /// When the next drill begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_time: Option<Time>,
    /// When the drill under way, or the last one, was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Time>,
    /// Number of the drill under way, or of the last one, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Moment that is being restored; without one, the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Moment>,
    /// The last result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DrillResult>,
    /// The last result that was good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_passed: Option<DrillResult>,
    /// Results, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub history: Vec<DrillResult>,
    /// The worker's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed<RecoveryReport, RecoveryProgress>>,
    /// The last request of `farshore.dev/run-requested` that was honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_request: Option<RunRequest>,
    /// `Ready`, `Reconciling`, `Stalled`, `Accepted`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How a drill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillPhase {
    /// It waits for its service.
    Pending,
    /// It waits for its time.
    Scheduled,
    /// An instance is being restored.
    Running,
    /// No drill begins.
    Suspended,
}

/// What came of one drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillResult {
    /// Number of the drill, from 1.
    pub number: u32,
    /// `Passed` or `Failed`.
    pub result: DrillOutcome,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub completed_at: Time,
    /// From begin to end.
    pub duration: String,
    /// The moment that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_point: Option<Moment>,
    /// Transactions that were replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
    /// Bytes that were fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What the checks answered, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 17))]
    pub answers: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a drill passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillOutcome {
    /// Restored, and every check answered as it should.
    Passed,
    /// Not restored, or a check answered otherwise.
    Failed,
}

impl Served for RecoveryDrill {
    const NOUN: &'static str = "drill";
    const PLURAL: &'static str = "recoverydrills";
    type Cycle = RecoveryReport;
    type Progress = RecoveryProgress;

    fn observed(&self) -> Option<&Observed<Self::Cycle, Self::Progress>> {
        self.status.as_ref()?.observed.as_ref()
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }

    fn last_run_request(&self) -> Option<&RunRequest> {
        self.status.as_ref()?.last_run_request.as_ref()
    }

    fn worker(&self) -> Option<&WorkerSpec> {
        // Its pods run like those of the service whose copy they read.
        None
    }
}
