//! What the engine of buckets tells, as the API spells it, and what an earlier run told, for the engine. Pure.

mod rules;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        AcceptedBucket, AcceptedPair, AttributesCompared, BucketReplicationRule, Comparison, Convergence,
        DeletedInHour, FeedStatus, Finding, HeldDeletes, HumanDuration, KeysFound, LiveProgress, Migrated,
        MigrationPlan, MigrationProgress, ReplicationProgress, Share, SkippedObjects, VersionsKept,
    },
    replicate::{
        follow::{self, Claimant, Compared, Memory, Progress, Update},
        sweep::{Counts, Examples},
    },
    store::Versioning,
    task::{Owner, ReplicateTask, StoreLocation, shortened},
    worker::{
        draft::{TEXT, Told},
        health::Movement,
        kept,
        outcome::failure_side,
    },
};

/// The buckets of a task, by what identifies them.
#[must_use]
pub fn pair(work: &ReplicateTask) -> AcceptedPair {
    let bucket = |location: &StoreLocation| AcceptedBucket {
        endpoint: location.endpoint.clone(),
        bucket: location.bucket.clone(),
    };
    AcceptedPair { source: bucket(&work.source), target: bucket(&work.target) }
}

/// Who claims the buckets.
#[must_use]
pub fn claimant(owner: &Owner, work: &ReplicateTask) -> Option<Claimant> {
    let claim = work.claim.clone()?;
    let end = |location: &StoreLocation| format!("{}/{}", location.region, location.bucket);
    Some(Claimant {
        cluster: claim.cluster,
        uid: owner.uid.clone(),
        name: format!("{}/{}", owner.namespace, owner.name),
        source: end(&work.source),
        target: end(&work.target),
        void: claim.void,
    })
}

/// What an earlier run knew after its last comparison.
#[must_use]
pub fn memory(known: &Comparison) -> Memory {
    Memory {
        synced_until: known.synced_until.as_ref().map(|time| time.0),
        objects: Some(known.source_objects.max(known.target_objects)),
        migrated: known.migrated.as_ref().map(|migrated| follow::Migrated {
            at: migrated.at.0,
            objects: migrated.objects,
            bytes: migrated.bytes,
        }),
        repaired: known.repaired,
        conflicts: known.conflicts,
        held: known.held.as_ref().map(|held| follow::Held {
            since: held.since.0,
            objects: held.objects,
            example: held.example.clone(),
        }),
        spent: known
            .deleted
            .as_ref()
            .map(|deleted| follow::Spent { since: deleted.since.0, objects: deleted.objects }),
        lifecycles: rules::known(&known.lifecycle),
        lacks: kept::lacks(&known.incomplete),
        looked: known
            .attributes
            .as_ref()
            .map(|all| follow::AllLooked { at: all.at.0, asked: all.asked.clone() }),
    }
}

impl From<(Update, AcceptedPair, Option<MigrationPlan>)> for Told<BucketReplicationRule> {
    fn from((update, pair, plan): (Update, AcceptedPair, Option<MigrationPlan>)) -> Self {
        match update {
            Update::Progress(progress) => {
                Self::Moved { movement: movement(&progress), progress: moving(&progress, plan) }
            }
            Update::Compared(compared) => {
                let counts = &compared.counts;
                tracing::info!(
                    source = counts.source,
                    target = counts.target,
                    copied = counts.copied,
                    deleted = counts.deleted,
                    failed = counts.failed,
                    held = counts.held,
                    "compared"
                );
                Self::Done {
                    began: compared.started_at,
                    findings: findings(&compared),
                    cycle: Box::new(comparison(*compared, pair)),
                }
            }
            Update::Drawn { spent, written } => {
                let note = move |comparison: &mut Comparison| comparison.deleted = Some(deleted(spent));
                Self::Amended { change: Box::new(note), written }
            }
            Update::Failed { side, reason, message, permanent } => {
                Self::Failed { side: side.map(failure_side), reason, message, permanent }
            }
        }
    }
}

fn movement(progress: &Progress) -> Movement {
    Movement {
        contact: progress.contact,
        busy: progress.busy,
        count: progress.movement,
        transferred: progress.transferred_bytes,
    }
}

fn moving(progress: &Progress, plan: Option<MigrationPlan>) -> Option<ReplicationProgress> {
    let share = |total, done| Share { total, done };
    let migration = progress.migration.map(|now| MigrationProgress {
        objects: share(now.objects, now.objects_done),
        bytes: share(now.bytes, now.bytes_done),
    });
    let live = progress.live.as_ref().map(|live| LiveProgress {
        until: live.until.map(whole_second),
        waiting: live.waiting,
        trouble: live.trouble.as_ref().map(|trouble| shortened(trouble, TEXT)),
    });
    let plan = plan.filter(|_| progress.waiting);
    if migration.is_none() && plan.is_none() && progress.pending == 0 && live.is_none() {
        return None;
    }
    let (pending, transferred_bytes) = (progress.pending, progress.transferred_bytes);
    Some(ReplicationProgress { migration, plan, live, pending, transferred_bytes })
}

/// Failed objects that a status names; the others are counted.
const MOST_FINDINGS: usize = 10;

fn findings(compared: &Compared) -> Vec<Finding> {
    let finding =
        |reason: &str, message: &str| Finding { reason: reason.to_owned(), message: message.to_owned() };
    let failed = compared.examples.failed.iter().take(MOST_FINDINGS);
    let failed = failed.map(|failure| finding(failure.reason, &failure.message));
    let notices = compared.notices.iter().map(|notice| finding(notice.reason, &notice.message));
    failed.chain(notices).collect()
}

fn comparison(compared: Compared, pair: AcceptedPair) -> Comparison {
    let Compared {
        started_at,
        completed_at,
        period,
        counts,
        examples,
        dealt_with_until,
        memory,
        source_versioning,
        target_versioning,
        feed,
        mutual,
        notices: _,
    } = compared;
    // How many objects there are is told by the counts.
    let Memory {
        objects: _,
        synced_until,
        migrated,
        repaired,
        conflicts,
        held,
        spent,
        lacks,
        looked,
        lifecycles,
    } = memory;
    Comparison {
        pair,
        mutual,
        started_at: Time(started_at),
        completed_at: Time(completed_at),
        period: HumanDuration::from(period),
        synced_until: synced_until.map(whole_second),
        dealt_with_until: whole_second(dealt_with_until),
        migrated: migrated.map(|follow::Migrated { at, objects, bytes }| Migrated {
            at: Time(at),
            objects,
            bytes,
        }),
        source_objects: counts.source,
        target_objects: counts.target,
        differences: counts.missing + counts.unlike + counts.extra,
        convergence: Some(convergence(&counts, &examples, completed_at)),
        failed: counts.failed,
        left: counts.left,
        expired: counts.expired_at_source + counts.expired_at_target,
        lifecycle: rules::told(&lifecycles),
        repaired,
        conflicts,
        held: held.map(|follow::Held { since, objects, example }| HeldDeletes {
            since: Time(since),
            objects,
            example: example.map(|key| shortened(&key, TEXT)),
        }),
        deleted: spent.map(deleted),
        skipped: skipped(&counts, &examples),
        incomplete: kept::incomplete(&lacks),
        attributes: looked
            .map(|follow::AllLooked { at, asked }| AttributesCompared { at: whole_second(at), asked }),
        feed: Some(FeedStatus { kind: feed.kind.name().to_owned(), why: shortened(&feed.why, TEXT) }),
        source_versions: versions(source_versioning),
        target_versions: versions(target_versioning),
    }
}

/// Keys of a kind that a status names.
const NAMED: usize = 3;

fn convergence(counts: &Counts, examples: &Examples, completed_at: Timestamp) -> Convergence {
    let found = |count, keys: &[String]| KeysFound {
        count,
        examples: keys.iter().take(NAMED).map(|key| shortened(key, TEXT)).collect(),
    };
    Convergence {
        completed_at: whole_second(completed_at),
        equal: counts.alike,
        differing: found(counts.unlike, &examples.unlike),
        only_at_source: found(counts.missing, &examples.missing),
        only_at_target: found(counts.extra, &examples.extra),
    }
}

/// Archived objects are the only ones yet.
fn skipped(counts: &Counts, examples: &Examples) -> Vec<SkippedObjects> {
    let archived = (counts.skipped > 0).then(|| SkippedObjects {
        reason: "Archived".to_owned(),
        count: counts.skipped,
        example: examples.skipped.first().map(|key| shortened(key, TEXT)),
    });
    archived.into_iter().collect()
}

fn deleted(follow::Spent { since, objects }: follow::Spent) -> DeletedInHour {
    DeletedInHour { since: Time(since), objects }
}

/// A time point is never later than the truth, so it is cut, not rounded.
fn whole_second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn versions(versioning: Option<Versioning>) -> VersionsKept {
    match versioning {
        Some(Versioning::Enabled) => VersionsKept::Kept,
        Some(_) => VersionsKept::Lost,
        None => VersionsKept::Unknown,
    }
}
