//! What a worker reports.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BackupCounts, Measure, Moment, RecoveryWindow, TimePointBasis, Usage};

/// What the id of a run begins with, up to a `-`: when it was started.
pub const RUN_STAMP: &str = "%Y%m%dT%H%M%SZ";

/// How far a moment that ages on its own moves before it is told.
const NEWS: SignedDuration = SignedDuration::from_mins(1);

/// The moment to tell: the earlier one while the later one is no news.
#[must_use]
pub(super) fn told_anew(earlier: Option<Timestamp>, now: Option<Timestamp>) -> Option<Timestamp> {
    match (earlier, now) {
        (Some(before), Some(now)) if now.duration_since(before) < NEWS => Some(before),
        (_, now) => now,
    }
}

/// A worker's whole report: of a kind's own cycles `C`, with their own progress `P`. Written by workers
/// only, each time as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
// The fields are optional: what they hold needs no default.
#[serde(rename_all = "camelCase", bound(deserialize = "C: Deserialize<'de>, P: Deserialize<'de>"))]
pub struct Observed<C = Cycle, P = CycleProgress> {
    /// Run that reports; a later run takes over by a greater id, and the earlier one stops.
    #[serde(rename = "runID")]
    pub run_id: String,
    /// Generation of the resource that the run's task was made from.
    pub generation: i64,
    /// When this report was written.
    pub reported_at: Time,
    /// The last cycle that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<C>,
    /// Movement in the current cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<P>,
    /// Value of the annotation `farshore.dev/run-requested` that `cycle` began after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_request: Option<String>,
    /// Why the last attempt failed, if it did; gone with the next success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What a person should know, newest cycle only. At most 32 are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub findings: Vec<Finding>,
}

impl<C, P> Observed<C, P> {
    /// When the run was started, by the clock of the controller that named it: its id begins with that.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        let (stamp, _) = self.run_id.split_once('-')?;
        let time = jiff::civil::DateTime::strptime(RUN_STAMP, stamp).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }
}

/// A cycle that succeeded, measured at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cycle {
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub completed_at: Time,
    /// Newest moment restorable from the target alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_data_time_point: Option<Moment>,
    /// How far it can be believed.
    pub basis: TimePointBasis,
    /// Windows, oldest first, the newest 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub windows: Vec<RecoveryWindow>,
    /// Holes within the retention, with the missing piece named; the newest 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub gaps: Vec<String>,
    /// Newest moment restorable from the source's own bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_latest_time: Option<Moment>,
    /// Moment up to which the engine confirmed that nothing more was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_until: Option<Moment>,
    /// Why the engine could not be asked, where it should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_unasked: Option<String>,
    /// What lies at the target.
    pub backups: BackupCounts,
    /// What can be charged for.
    pub usage: Usage,
    /// Known to be missing at the target still (bases under way).
    pub pending: Pending,
}

impl Measure for Cycle {
    fn completed_at(&self) -> Time {
        self.completed_at.clone()
    }

    fn dated_as(self, earlier: &Self) -> Self {
        Self {
            started_at: earlier.started_at.clone(),
            completed_at: earlier.completed_at.clone(),
            // The RPO is measured by it.
            covered_until: told_anew(
                earlier.covered_until.map(|moment| moment.0),
                self.covered_until.map(|moment| moment.0),
            )
            .map(Moment),
            ..self
        }
    }
}

/// What is known to be missing at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Movement in the current cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CycleProgress {
    /// Known to be missing at the target.
    pub pending: Pending,
    /// Bytes written by this run.
    pub transferred_bytes: u64,
    /// Object under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// `Source` or `Target`, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<FailureSide>,
    /// One word, the same in conditions, Events and metrics.
    pub reason: String,
    /// What happened to which object, and what to do.
    pub message: String,
    /// True where only a person can help.
    pub permanent: bool,
    /// Since when attempts have failed like this.
    pub since: Time,
}

/// The store that a failure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureSide {
    /// The source region's.
    Source,
    /// The target region's.
    Target,
}

/// Something found in a cycle that does not stop it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// One word, the same in Events and metrics.
    pub reason: String,
    /// Names the object and the next step.
    pub message: String,
}
