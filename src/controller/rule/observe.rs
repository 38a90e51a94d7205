//! What there is, from the caches.

use kube::ResourceExt;

use crate::{
    api::{BucketReplicationRule, Region},
    controller::{
        Context,
        context::uid_of,
        jobs::{JobView, Words},
        work::{
            health::Wanted,
            seen::{jobs, words},
        },
    },
    rules::has_opposite,
};

/// What was found.
pub struct Observed {
    pub source_region: Option<Region>,
    pub target_region: Option<Region>,
    /// Another rule goes the other way, between buckets that keep versions.
    pub opposite: bool,
    /// Oldest first.
    pub jobs: Vec<JobView>,
    /// Those that copy a large history, oldest first.
    pub migrations: Vec<JobView>,
    /// Pods of either, with or without a Job, that still work.
    pub pods: usize,
    /// The kubelet's, scheduler's or Job controller's own words on why no pod works.
    pub words: Option<Words>,
    pub terminating: bool,
    /// What tells this cluster from others.
    pub cluster: Option<String>,
    /// Id of the last run that was started here.
    pub last_run: Option<String>,
}

impl Observed {
    /// Whether a worker is wanted. A Job of the migration stays while it is suspended: its pods count.
    pub fn wanted(&self, suspend: bool) -> Wanted {
        Wanted::of(suspend, &self.jobs, self.pods)
    }
}

/// Takes a look.
pub async fn observe(rule: &BucketReplicationRule, context: &Context) -> Observed {
    let namespace = rule.namespace().unwrap_or_default();
    let (jobs, workers) = jobs(rule, context, super::task::ROLE);
    let (migrations, others) = self::jobs(rule, context, super::task::MIGRATE);
    let active = jobs.iter().rev().find(|job| job.is_active());
    Observed {
        source_region: context.region(&rule.spec.source.region),
        target_region: context.region(&rule.spec.target.region),
        opposite: has_opposite(&uid_of(rule), &context.pair_claims()),
        words: words(active, &namespace, context).await,
        jobs,
        migrations,
        pods: workers + others,
        terminating: context.is_terminating(&namespace),
        cluster: context.cluster(),
        last_run: context.last_run(&uid_of(rule)),
    }
}
