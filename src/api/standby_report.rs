//! What the worker of a disaster recovery instance reports.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Measure, Moment};

/// Least time between two reports that tell only of what always moves.
const BEAT: SignedDuration = SignedDuration::from_secs(10);

/// How master and copy stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandbyReport {
    /// When this was found.
    pub completed_at: Time,
    /// What is being done.
    pub stage: StandbyStage,
    /// When the first copy was complete and consistent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeded_at: Option<Moment>,
    /// Every change of the master up to this moment is at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_time: Option<Moment>,
    /// The master's newest moment; none while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_time: Option<Moment>,
    /// How far back the master's oplog reaches; none while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oplog_window: Option<HumanDuration>,
    /// What keeps users from writing to the target.
    pub fence: FenceReport,
    /// What the master says of itself.
    pub master: ServerReport,
    /// What the target says of itself.
    pub target: ServerReport,
    /// Members of the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub members: Vec<MemberReport>,
    /// What was done since the first copy began.
    pub counts: StandbyCounts,
    /// An activation, under way or done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationReport>,
}

impl Measure for StandbyReport {
    fn completed_at(&self) -> Time {
        self.completed_at.clone()
    }

    /// While nothing but moments and counts moves, it is news every ten seconds.
    fn dated_as(self, earlier: &Self) -> Self {
        let quiet = Self {
            completed_at: earlier.completed_at.clone(),
            applied_time: told(earlier.applied_time, self.applied_time),
            master_time: told(earlier.master_time, self.master_time),
            oplog_window: told(earlier.oplog_window.clone(), self.oplog_window.clone()),
            counts: earlier.counts,
            ..self.clone()
        };
        let moves = self != Self { completed_at: self.completed_at.clone(), ..earlier.clone() };
        let is_due = self.completed_at.0.duration_since(earlier.completed_at.0) >= BEAT;
        if quiet == *earlier && !(moves && is_due) { quiet } else { self }
    }
}

/// The earlier one, where there is one and it is known still.
fn told<T>(earlier: Option<T>, now: Option<T>) -> Option<T> {
    match (earlier, now) {
        (Some(earlier), Some(_)) => Some(earlier),
        (_, now) => now,
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StandbyStage {
    /// What the master held before is copied.
    Seeding,
    /// It is copied, and changes since then are applied: not consistent yet.
    CatchingUp,
    /// Consistent, and following.
    Following,
    /// It becomes an instance of its own.
    Activating,
    /// It is an instance of its own.
    Active,
}

/// What keeps users from writing to the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FenceReport {
    /// How strong it is.
    #[serde(default)]
    pub level: FenceLevel,
    /// What is missing, in words, with the next step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub missing: Vec<String>,
}

/// How strong a fence is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum FenceLevel {
    /// Nobody is kept from writing.
    #[default]
    None,
    /// Accounts may only read.
    Roles,
    /// The server refuses writes as well (`setUserWriteBlockMode`).
    WriteBlock,
}

/// What a replica set says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerReport {
    /// Version of the server.
    pub version: String,
    /// Its feature compatibility version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<String>,
    /// Name of the replica set.
    pub replica_set: String,
}

/// A member of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Host and port.
    pub name: String,
    /// `Primary`, `Secondary`, or what else it says.
    pub role: String,
    /// The others hear from it.
    pub healthy: bool,
}

/// What was done since the first copy began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandbyCounts {
    /// Changes that were applied.
    pub changes: u64,
    /// Transactions of more than one change.
    pub transactions: u64,
    /// Changes that were applied once more, after a worker broke off.
    pub repeated: u64,
    /// Documents that were fetched from the master anew.
    pub refetched: u64,
}

/// An activation, as the worker tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationReport {
    /// The step that is under way, or the last one.
    pub step: ActivationStep,
    /// When it was asked for.
    pub requested_at: Moment,
    /// When the first step was begun.
    pub started_at: Moment,
    /// Why it doesn't go on, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Once it is done: what it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ActivationReceipt>,
}

/// The steps of an activation, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ActivationStep {
    /// The master is kept from writing, and its last changes are applied.
    Draining,
    /// What is applied is made final: nothing of the master comes after it.
    Sealing,
    /// Users are let in.
    Unfencing,
    /// It is an instance of its own.
    Active,
}

/// What an activation cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationReceipt {
    /// When the last step was done.
    pub activated_at: Moment,
    /// From the first step to the last one.
    pub took_milliseconds: u64,
    /// Of this, what was spent on the master's last changes.
    #[serde(default)]
    pub drain_milliseconds: u64,
    /// Every change of the master up to it is there, and none after it.
    pub data_time_point: Moment,
    /// The newest moment of the master that is known of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_time: Option<Moment>,
    /// Nothing was lost: the master was kept from writing, and its last change is there.
    pub proved: bool,
    /// The master could be asked at the end.
    pub master_answered: bool,
}

/// How far the first copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandbyProgress {
    /// Collections that are copied.
    pub collections_done: u64,
    /// All of them.
    pub collections: u64,
    /// Documents that are copied.
    pub documents_done: u64,
    /// All of them, by the master's own count, which is an estimate.
    pub documents: u64,
    /// Bytes that are copied.
    pub bytes_done: u64,
    /// The collection that is being copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

/// How far back an oplog reaches, in hours, minutes or seconds, rounded down: it moves all the time.
#[must_use]
pub fn oplog_reach(window: Duration) -> HumanDuration {
    let seconds = window.as_secs();
    let unit = match seconds {
        0..120 => 1,
        120..7_200 => 60,
        _ => 3_600,
    };
    let text = match unit {
        1 => format!("{seconds}s"),
        60 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    };
    text.parse().unwrap_or_else(|_| Duration::from_secs(seconds / unit * unit).into())
}

#[cfg(test)]
#[path = "standby_report_tests.rs"]
mod tests;
