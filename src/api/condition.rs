//! Condition types, reasons, and how conditions change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// All is as it should be; what `kubectl wait` waits for.
pub const READY: &str = "Ready";
/// kstatus: an unobserved generation, a first sync, or an outage that heals itself.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: only a person can fix it.
pub const STALLED: &str = "Stalled";
/// The rules between resources hold (`B03`, `B04`, `B05`).
pub const ACCEPTED: &str = "Accepted";
/// The source region's store answers and lets us read.
pub const SOURCE_REACHABLE: &str = "SourceReachable";
/// The target region's store answers and lets us write.
pub const TARGET_REACHABLE: &str = "TargetReachable";
/// The source instance runs, as far as it can be asked.
pub const SOURCE_RUNNING: &str = "SourceRunning";
/// The newest restorable moment is within the promised distance (`B09`).
pub const WITHIN_RPO: &str = "WithinRPO";
/// The logs at the target have no hole within the retention.
pub const WINDOW_CONTIGUOUS: &str = "WindowContiguous";
/// There is something that a person should know, and that stops nothing.
pub const FINDINGS: &str = "Findings";
/// A purge can't go on (`B11`).
pub const PURGE_BLOCKED: &str = "PurgeBlocked";

/// All that the source held before is at the target (`C04`).
pub const MIGRATED: &str = "Migrated";
/// Every difference that the last comparison found is settled (`C05`).
pub const IN_SYNC: &str = "InSync";
/// Deletes beyond the budget wait for a person (`C18`).
pub const DELETION_HELD: &str = "DeletionHeld";

/// A disaster recovery instance has a complete and consistent copy (`D01`).
pub const SEEDED: &str = "Seeded";
/// Users can't write to a copy that follows its master (`D04`).
pub const FENCED: &str = "Fenced";
/// A copy could be made an instance of its own now (`D03`).
pub const READY_TO_ACTIVATE: &str = "ReadyToActivate";
/// The master's oplog reaches back to where the copy is (`D09`).
pub const OPLOG_CONTIGUOUS: &str = "OplogContiguous";
/// The master answers.
pub const MASTER_REACHABLE: &str = "MasterReachable";

/// Value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    True,
    False,
    Unknown,
}

impl Verdict {
    /// The word that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Verdict {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Sets one condition; the transition time moves only with the value.
pub fn set(
    conditions: &mut Vec<Condition>,
    observed_generation: Option<i64>,
    now: Timestamp,
    (type_, verdict, reason, message): (&str, Verdict, &str, String),
) {
    let status = verdict.as_str().to_owned();
    let earlier = conditions.iter().find(|c| c.type_ == type_ && c.status == status);
    let next = Condition {
        last_transition_time: earlier.map_or(Time(now), |c| c.last_transition_time.clone()),
        message,
        observed_generation,
        reason: reason.to_owned(),
        status,
        type_: type_.to_owned(),
    };
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(slot) => *slot = next,
        None => conditions.push(next),
    }
}

/// Finds a condition by type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// True when the condition is there and `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}
