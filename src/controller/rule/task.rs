//! What the worker is told.

use std::time::Duration;

use kube::ResourceExt;

use super::feed;
use crate::{
    api::{
        BucketReplicationRule, DeletePropagation, Feed, MigrationPlan, QueueFeed, Region, ReplicationEnd,
        VOID_CLAIM,
    },
    controller::{
        Options,
        context::uid_of,
        names,
        work::{
            children::{Keys, Paper, Parts, Work},
            task::{ceilings, location, shift, task},
        },
    },
    task::{
        self, ClaimTask, Indexes, MigrateTask, QUEUE_CREDENTIALS_DIR, QueueTask, RECEIVER_TOKEN_DIR,
        ReplicateTask, SHARES, SOURCE_CREDENTIALS_DIR, TARGET_CREDENTIALS_DIR, Task,
    },
};

/// The word for the worker's part.
pub const ROLE: &str = "replicate";
/// The word for the part of the pods that copy a large history.
pub const MIGRATE: &str = "migrate";

/// Volumes of what a feed needs.
const FEED_VOLUMES: [&str; 2] = ["receiver", "queue"];

/// Brings the target in line with the source, again and again.
#[must_use]
pub fn replicate(
    rule: &BucketReplicationRule,
    (source, target): (&Region, &Region),
    mutual: bool,
    (options, cluster): (&Options, Option<&str>),
) -> Task {
    let spec = &rule.spec;
    let (bytes_per_second, requests_per_second) = ceilings(spec.rate_limits.as_ref());
    let work = ReplicateTask {
        source: location(source, &spec.source.bucket, ""),
        target: location(target, &spec.target.bucket, ""),
        deletes: spec.deletes == DeletePropagation::Replicate,
        delete_count: spec.delete_budget.count.into(),
        delete_percent: spec.delete_budget.percent,
        feed: spec.feed,
        queue: queue(rule, source),
        attributes: spec.attributes.clone(),
        mutual,
        seconds: shift(rule, options).as_secs(),
        since: rule.creation_timestamp().map(|at| at.0).filter(|_| !spec.historical_migration.enabled),
        plan: spec.historical_migration.enabled.then(|| paper(rule)),
        bytes_per_second,
        requests_per_second,
        claim: cluster.map(|cluster| ClaimTask {
            cluster: cluster.to_owned(),
            void: rule.annotations().get(VOID_CLAIM).cloned(),
        }),
    };
    task(rule, task::Work::Replicate(Box::new(work)))
}

/// The queue that tells of changes, if one does.
fn queue(rule: &BucketReplicationRule, source: &Region) -> Option<QueueTask> {
    let QueueFeed { queue_url, region, endpoint, credentials: _ } = rule.spec.sqs.as_ref()?;
    let signing = || source.spec.object_store.signing_region.clone();
    Some(QueueTask {
        url: queue_url.clone(),
        region: region.clone().unwrap_or_else(signing),
        endpoint: endpoint.clone(),
    })
    .filter(|_| rule.spec.feed == Feed::Sqs)
}

/// Name of the `ConfigMap` that takes a rule's plan.
fn paper(rule: &BucketReplicationRule) -> String {
    names::cut("farshore-", &rule.name_any(), &names::hash_of(&[&uid_of(rule), "plan"]))
}

/// Copies these ranges of a plan.
#[must_use]
pub fn migrate(
    rule: &BucketReplicationRule,
    (source, target): (&Region, &Region),
    mutual: bool,
    (plan, ranges): (&MigrationPlan, &Indexes),
) -> Task {
    let spec = &rule.spec;
    let (bytes, requests) = ceilings(spec.rate_limits.as_ref());
    let pods = spec.historical_migration.parallelism.max(1);
    let work = MigrateTask {
        source: location(source, &spec.source.bucket, ""),
        target: location(target, &spec.target.bucket, ""),
        plan: plan.hash.clone(),
        ranges: ranges.clone(),
        attributes: spec.attributes.clone(),
        mutual,
        bytes_per_second: bytes.map(|bytes| part(bytes, pods)),
        requests_per_second: requests
            .map(|requests| u32::try_from(part(requests.into(), pods)).unwrap_or(requests)),
    };
    task(rule, task::Work::Migrate(Box::new(work)))
}

/// What one pod has of a ceiling: the live worker keeps a share.
fn part(ceiling: u64, pods: u32) -> u64 {
    (ceiling / u64::from(SHARES) * u64::from(SHARES - 1) / u64::from(pods)).max(1)
}

/// How the pods of a migration are run. `before`: objects and bytes that are at the target already.
#[must_use]
pub fn migration_work(
    rule: &BucketReplicationRule,
    plan: &MigrationPlan,
    (ranges, before): (Indexes, (u64, u64)),
) -> Work {
    let parts = Parts {
        config_map: plan.config_map.clone(),
        plan: plan.hash.clone(),
        ranges,
        before,
        parallelism: rule.spec.historical_migration.parallelism.max(1),
    };
    let live = work(rule, Duration::ZERO);
    // They hear of nothing.
    let keys = live.keys.iter().filter(|keys| !FEED_VOLUMES.contains(&keys.volume)).cloned().collect();
    Work { role: MIGRATE, shift: None, reports: false, keys, parts: Some(parts), ..live }
}

/// How it is run.
#[must_use]
pub fn work(rule: &BucketReplicationRule, shift: Duration) -> Work {
    let migration = rule.status.as_ref().and_then(|status| status.migration.as_ref());
    let migrated = migration.is_some_and(|migration| migration.completed_at.is_some());
    let keys = |volume, directory, end: &ReplicationEnd| Keys {
        volume,
        directory,
        secret: end.credentials.secret_ref.name.clone(),
        optional: false,
    };
    let of_feed = feed::secret(rule).map(|secret| {
        let (volume, directory) = match rule.spec.feed {
            Feed::Webhook => (FEED_VOLUMES[0], RECEIVER_TOKEN_DIR),
            _ => (FEED_VOLUMES[1], QUEUE_CREDENTIALS_DIR),
        };
        Keys { volume, directory, secret: secret.to_owned(), optional: false }
    });
    let of_stores = [
        keys("target", TARGET_CREDENTIALS_DIR, &rule.spec.target),
        keys("source", SOURCE_CREDENTIALS_DIR, &rule.spec.source),
    ];
    Work {
        role: ROLE,
        shift: Some(shift),
        reports: true,
        keys: of_stores.into_iter().chain(of_feed).collect(),
        paper: Some(Paper { name: paper(rule), wanted: rule.spec.historical_migration.enabled && !migrated }),
        parts: None,
        database: None,
        settings: None,
    }
}
