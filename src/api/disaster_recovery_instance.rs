//! A live copy of a database that takes its place.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ACCEPT_SPLIT_BRAIN, ActivationStep, ActivationWish, Billing, Credentials, Engine, HumanDuration,
    LocalReference, MemberReport, Moment, Observed, RunRequest, Served, Share, StandbyProgress,
    StandbyReport, StandbyTarget, WorkerSpec,
};

/// A live copy of a MongoDB replica set in another region. It follows its master, is read-only, and becomes an instance of its own within seconds when it is activated.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "farshore.dev",
    version = "v1alpha1",
    kind = "DisasterRecoveryInstance",
    namespaced,
    status = "DisasterRecoveryInstanceStatus",
    shortname = "dri",
    category = "farshore",
    derive = "PartialEq",
    doc = "A live copy of a MongoDB replica set in another region. It follows its master, is read-only, and becomes an instance of its own within seconds when it is activated.",
    printcolumn(name = "Master", type_ = "string", json_path = ".spec.masterRef.name"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
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
        name = "Applied",
        type_ = "date",
        json_path = ".status.lastAppliedTime",
        description = "Age of the moment up to which every change of the master is here, as it was told last."
    ),
    printcolumn(
        name = "Activated",
        type_ = "string",
        json_path = ".status.activation.duration",
        description = "How long the activation took."
    ),
    printcolumn(
        name = "Data Time Point",
        type_ = "string",
        json_path = ".status.activation.dataTimePoint",
        description = "Of an active instance: every change of the master up to this moment is here, and none after it."
    ),
    printcolumn(name = "Seeded", type_ = "integer", json_path = ".status.seed.percent", priority = "1"),
    printcolumn(name = "Oplog Window", type_ = "string", json_path = ".status.oplogWindow", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DisasterRecoveryInstanceSpec {
    /// The `DatabaseInstance` that is followed, in the same namespace. It has `endpoint`, and is of engine MongoDB.
    #[x_kube(validation = Rule::new("self == oldSelf").message("masterRef can't be changed; delete this instance and create another"))]
    pub master_ref: LocalReference,
    /// Name of the Region that the copy is in: not the master's.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region can't be changed; delete this instance and create another"))]
    pub region: String,
    /// Engine: the master's, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Version of the engine: the master's, which is also the default. What both servers say of themselves is compared as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// How the instance is paid for: in advance, as its master is.
    #[serde(default)]
    pub billing: Billing,
    /// `Active` makes the copy an instance of its own, for good: from then on, whatever is set here changes nothing.
    #[serde(default)]
    pub state: StandbyState,
    /// Longest time that an activation spends on the last changes of a master whose end can't be told. Up to `10m`.
    #[serde(default = "default_drain_timeout")]
    #[x_kube(validation = Rule::new("!self.contains('d') && duration(self) <= duration('10m')").message("must be 10m or less"))]
    pub drain_timeout: HumanDuration,
    /// The replica set that follows.
    pub target: StandbyTarget,
    /// How the worker's pods are run. Without `resources`, with at most 256Mi of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,
}

fn default_drain_timeout() -> HumanDuration {
    std::time::Duration::from_secs(5).into()
}

/// What a disaster recovery instance is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StandbyState {
    /// A copy that follows its master.
    #[default]
    Standby,
    /// An instance of its own.
    Active,
}

/// What is known of a disaster recovery instance. `observed` is the worker's own report; all the rest is the controller's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisasterRecoveryInstanceStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// In a word, how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<StandbyPhase>,
    /// The master, as it was when it was accepted or looked at last: the copy goes on, and can be activated, without the `DatabaseInstance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<AcceptedMaster>,
    /// Every change of the master up to this moment is here. Gone while nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_time: Option<Moment>,
    /// The master's newest moment, told together with `lastAppliedTime`. Gone while the master does not answer, or nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_time: Option<Moment>,
    /// How far back the master's oplog reaches: a copy that falls behind by more must be made anew. Gone while the master does not answer, or nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oplog_window: Option<HumanDuration>,
    /// Members of the copy. Gone while nobody can tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub members: Vec<MemberReport>,
    /// How far the first copy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedStatus>,
    /// Where the copy listens: it can be written to only when it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The activation, once it was asked for: it is never taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationStatus>,
    /// The last request of `farshore.dev/run-requested` that was honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_request: Option<RunRequest>,
    /// The worker's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed<StandbyReport, StandbyProgress>>,
    /// `Ready`, `Reconciling`, `Stalled`, `Accepted`, `Seeded`, `Fenced`, `ReadyToActivate`, `OplogContiguous`,
    /// `MasterReachable`, `TargetReachable`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The master that a disaster recovery instance was accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedMaster {
    /// UID of the `DatabaseInstance`.
    #[serde(rename = "instanceUID")]
    pub instance_uid: String,
    /// Its region.
    pub region: String,
    /// Its version, as its spec has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it listens.
    pub uri: String,
    /// The account that it is followed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// How a disaster recovery instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StandbyPhase {
    /// Not accepted yet, or its first worker has not started; the conditions say why.
    Pending,
    /// What the master held before is being copied.
    Seeding,
    /// It follows its master.
    Standby,
    /// It becomes an instance of its own.
    Activating,
    /// It is an instance of its own.
    Active,
    /// Only a person can help; `Stalled` says how.
    Failed,
    /// It is being deleted.
    Deleting,
}

/// How far the first copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedStatus {
    /// At least this much of the documents, by the master's own count. 100 only when the copy was complete and consistent.
    pub percent: u8,
    /// Collections.
    pub collections: Share,
    /// Documents, by the master's own count, which is an estimate.
    pub documents: Share,
    /// Bytes that were copied.
    pub bytes: u64,
    /// When the copy was complete and consistent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Moment>,
}

/// The activation: what was asked for, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationStatus {
    /// When `state: Active` was seen first of a copy that was complete. From then on it is decided.
    pub requested_at: Moment,
    /// The step that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<ActivationStep>,
    /// Why it doesn't go on, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// When reads and writes were served here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Moment>,
    /// From the first step to the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Of this, what was spent on the master's last changes: up to `drainTimeout`, where it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// Every change of the master up to this moment is here, and none after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_time_point: Option<Moment>,
    /// The newest moment of the master that was known of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_time: Option<Moment>,
    /// What was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss: Option<DataLoss>,
    /// The `DatabaseInstance` that was made of it. It belongs to the users: it is neither changed nor made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_ref: Option<LocalReference>,
}

/// What an activation lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLoss {
    /// Changes of at least this much time: from the last one that is here to the last one that is known of. Left out where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// True: the master was kept from writing, and its last change is here, so that nothing was lost.
    pub proved: bool,
}

impl Served for DisasterRecoveryInstance {
    const NOUN: &'static str = "standby";
    const PLURAL: &'static str = "disasterrecoveryinstances";
    type Cycle = StandbyReport;
    type Progress = StandbyProgress;

    fn observed(&self) -> Option<&Observed<StandbyReport, StandbyProgress>> {
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

    /// What was asked for once stays so, whatever the spec says now (`D03`). Of a copy that was never complete nothing is
    /// asked: it would take over some day, when nobody thinks of it any more.
    fn activation(&self) -> Option<ActivationWish> {
        let latched = self.status.as_ref().and_then(|status| status.activation.as_ref());
        let known = self.observed().and_then(|report| report.cycle.as_ref());
        let seeded = known.is_some_and(|known| known.seeded_at.is_some());
        let wanted = (self.spec.state == StandbyState::Active && seeded) || latched.is_some();
        let accepted = self.annotations().get(ACCEPT_SPLIT_BRAIN);
        wanted.then(|| ActivationWish {
            requested_at: latched.map(|activation| activation.requested_at.0),
            drain_timeout: self.spec.drain_timeout.get(),
            accept_split_brain: accepted.and_then(|at| at.parse().ok()),
        })
    }
}
