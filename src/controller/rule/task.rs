//! What the worker is told.

use std::time::Duration;

use crate::{
    api::{BucketReplicationRule, DeletePropagation, Region, ReplicationEnd},
    controller::{
        Options,
        work::{
            children::{Keys, Work},
            task::{ceilings, location, shift, task},
        },
    },
    task::{self, ReplicateTask, SOURCE_CREDENTIALS_DIR, TARGET_CREDENTIALS_DIR, Task},
};

/// The word for the worker's part.
pub const ROLE: &str = "replicate";

/// Brings the target in line with the source, again and again.
#[must_use]
pub fn replicate(
    rule: &BucketReplicationRule,
    (source, target): (&Region, &Region),
    options: &Options,
) -> Task {
    let spec = &rule.spec;
    let (bytes_per_second, requests_per_second) = ceilings(spec.rate_limits.as_ref());
    let work = ReplicateTask {
        source: location(source, &spec.source.bucket, ""),
        target: location(target, &spec.target.bucket, ""),
        deletes: spec.deletes == DeletePropagation::Replicate,
        delete_count: spec.delete_budget.count.into(),
        delete_percent: spec.delete_budget.percent,
        seconds: shift(rule, options).as_secs(),
        bytes_per_second,
        requests_per_second,
    };
    task(rule, task::Work::Replicate(Box::new(work)))
}

/// How it is run.
#[must_use]
pub fn work(rule: &BucketReplicationRule, shift: Duration) -> Work {
    let keys = |volume, directory, end: &ReplicationEnd| Keys {
        volume,
        directory,
        secret: end.credentials.secret_ref.name.clone(),
        optional: false,
    };
    Work {
        role: ROLE,
        shift: Some(shift),
        reports: true,
        keys: vec![
            keys("target", TARGET_CREDENTIALS_DIR, &rule.spec.target),
            keys("source", SOURCE_CREDENTIALS_DIR, &rule.spec.source),
        ],
    }
}
