//! What a rule's worker reports.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AcceptedPair, AttributesCompared, Convergence, FailureSide, HumanDuration, Incomplete, Measure,
    SkippedObjects, observed::told_anew,
};

/// Reason of a worker that found both ends of its rule to be one store (`C06`).
pub const SAME_STORE: &str = "SameStore";

/// A comparison of both buckets that was complete, with what was done about the differences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The buckets that were compared.
    pub pair: AcceptedPair,
    /// What was newer at the target was left to the rule that goes the other way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutual: bool,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub completed_at: Time,
    /// Time from the beginning of one comparison to that of the next: at least 10s, and so long that
    /// listing takes at most a tenth of the time.
    pub period: HumanDuration,
    /// Every change of the source up to this moment is at the target, as the last comparison proved
    /// whose differences are all settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_until: Option<Time>,
    /// The same, leaving aside objects that failed and deletes that are held.
    pub dealt_with_until: Time,
    /// When all that the source held before was at the target, and how much that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated: Option<Migrated>,
    /// Objects listed at the source.
    pub source_objects: u64,
    /// Objects listed at the target.
    pub target_objects: u64,
    /// Differences that were found.
    pub differences: u64,
    /// The same by kind, with examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
    /// Objects that could not be copied or deleted.
    pub failed: u64,
    /// Objects that one bucket's own lifecycle let go and the other one keeps.
    #[serde(default)]
    pub expired: u64,
    /// Lifecycle rules of the buckets, those too that were there once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub lifecycle: Vec<LifecycleSeen>,
    /// Differences repaired since the migration, by this run and those before it.
    pub repaired: u64,
    /// Objects written before the rule was created that were left as they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left: u64,
    /// Objects that stay at the source for the time being.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub skipped: Vec<SkippedObjects>,
    /// What copies lack, by this run and those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub incomplete: Vec<Incomplete>,
    /// When the attributes of all objects were compared last, and nothing failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributesCompared>,
    /// Changes at the target that gave way to one of the source that knew nothing of them, by this run and
    /// those before it.
    #[serde(default)]
    pub conflicts: u64,
    /// Deletes that are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldDeletes>,
    /// Objects deleted in the current hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<DeletedInHour>,
    /// How changes are heard of between comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedStatus>,
    /// Whether the source bucket keeps versions.
    pub source_versions: VersionsKept,
    /// Whether the target bucket keeps versions.
    pub target_versions: VersionsKept,
}

impl Measure for Comparison {
    fn completed_at(&self) -> Time {
        self.completed_at.clone()
    }

    fn dated_as(self, earlier: &Self) -> Self {
        let synced = |told: &Self| told.synced_until.as_ref().map(|time| time.0);
        let synced = told_anew(synced(earlier), synced(&self));
        let dealt = told_anew(Some(earlier.dealt_with_until.0), Some(self.dealt_with_until.0)).map(Time);
        Self {
            started_at: earlier.started_at.clone(),
            completed_at: earlier.completed_at.clone(),
            synced_until: synced.map(Time),
            dealt_with_until: dealt.unwrap_or(self.dealt_with_until),
            convergence: self
                .convergence
                .map(|found| Convergence { completed_at: earlier.completed_at.clone(), ..found }),
            ..self
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
pub(super) const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How a worker hears of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeedStatus {
    /// `Listen`, `Webhook`, `SQS` or `Poll`.
    pub kind: String,
    /// Why it is this one.
    pub why: String,
}

/// A feed at work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveProgress {
    /// What it told up to this moment is dealt with, but for what failed: an estimate, feeds lose things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Keys that it named and that are not dealt with yet.
    pub waiting: u64,
    /// Why nothing is heard at the moment; comparisons go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A lifecycle rule of a bucket: it explains why an object is there no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleSeen {
    /// Whose it is.
    pub bucket: FailureSide,
    /// Keys that it is about; all, if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Tags that an object must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub tags: BTreeMap<String, String>,
    /// Bytes that it must have more than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// Bytes that it must have less than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
    /// Days after its last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// The day from which on it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Time>,
    /// When the rule was found to be there no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A migration that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migrated {
    /// When it was over.
    pub at: Time,
    /// Objects of the source.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Deletes beyond the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldDeletes {
    /// Since when deletes are held.
    pub since: Time,
    /// Objects that would be deleted.
    pub objects: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// What was drawn on the budget of deletes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletedInHour {
    /// When the hour began.
    pub since: Time,
    /// Objects deleted in it, those not counted that somebody released.
    pub objects: u64,
}

/// Whether a bucket keeps versions. Not `Yes` and `No`: YAML takes these for truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersionsKept {
    /// Every overwritten or deleted object stays as a version.
    Kept,
    /// They are lost.
    Lost,
    /// The credentials don't let us see it.
    Unknown,
}

/// Movement in the current comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationProgress {
    /// Of what the source held when it was counted, until all of it is at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationProgress>,
    /// The plan of a large history, while pods of its own copy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<MigrationPlan>,
    /// The feed, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveProgress>,
    /// Differences found and not settled yet.
    pub pending: u64,
    /// Bytes sent to the target by this run.
    pub transferred_bytes: u64,
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationProgress {
    /// Objects of the source.
    pub objects: Share,
    /// Bytes of them.
    pub bytes: Share,
}

/// A plan by which many pods copy a large history, each one range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationPlan {
    /// The immutable `ConfigMap` that holds it.
    pub config_map: String,
    /// Hash of its file.
    pub hash: String,
    /// How many ranges it has.
    pub ranges: u32,
    /// Objects that the source held when it was planned, and those of them that the target had already.
    pub objects: Share,
    /// Bytes of them.
    pub bytes: Share,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// All of them.
    pub total: u64,
    /// Those that are at the target.
    pub done: u64,
}

impl Share {
    /// How much of it is done, rounded down: 100 means all.
    #[must_use]
    pub fn percent(self) -> u8 {
        let done = u128::from(self.done.min(self.total)) * 100;
        done.checked_div(u128::from(self.total)).and_then(|percent| u8::try_from(percent).ok()).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c04_a_hundred_percent_means_all() {
        for (total, done, percent) in
            [(0, 0, 100), (1000, 999, 99), (1000, 1000, 100), (3, 1, 33), (2, 5, 100)]
        {
            assert_eq!(Share { total, done }.percent(), percent, "{done} of {total}");
        }
        assert_eq!(Share { total: u64::MAX, done: u64::MAX - 1 }.percent(), 99);
    }
}
