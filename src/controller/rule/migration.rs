//! A large history that pods of their own copy: how far they are, and what is to be done about their Job. Pure.
//!
//! What is done is kept in the status, by numbers of ranges: a Job that is deleted, or made anew for another
//! task, repeats none of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::incomplete::told_by_pods;
use crate::{
    api::{Migration, MigrationPlan, MigrationRanges, Share},
    controller::jobs::{Indexed, JobState, JobView, PodView},
    task::{ExitCode, Indexes, shortened},
};

/// Failures of one range after which it is given up.
const STRIKES: usize = 3;
/// Longest text of a failure in the status.
const TEXT: usize = 1024;

/// How far a history is by its Jobs, given what was known of it; `None` without a plan. `reported` is the plan
/// that the live worker tells of.
#[must_use]
pub fn by_ranges(
    old: Option<&Migration>,
    reported: Option<&MigrationPlan>,
    jobs: &[JobView],
    now: Timestamp,
) -> Option<Migration> {
    let known = old.and_then(|old| old.ranges.as_ref().map(|ranges| (old, ranges)));
    // Another plan is about what the source holds now.
    let known = known.filter(|(_, ranges)| reported.is_none_or(|plan| plan.hash == ranges.plan.hash));
    let plan = known.map(|(_, ranges)| &ranges.plan).or(reported)?;
    let mut ranges = known.map_or_else(|| first(plan), |(_, ranges)| ranges.clone());
    let (mut objects, mut bytes) =
        known.map_or((plan.objects, plan.bytes), |(old, _)| (old.objects, old.bytes));
    let mut incomplete = known.map(|(old, _)| old.incomplete.clone()).unwrap_or_default();
    let (mut done, mut failed) = (listed(&ranges.done), listed(&ranges.failed));
    let mut hopeless = false;
    for (job, its) in of_plan(plan, jobs) {
        // What a pod says is known a moment before the Job says the same.
        done = done.with(&its.ranges.at_all(&its.completed.with(&told_by(job))));
        let struck = struck(job);
        failed = failed.with(&its.ranges.at_all(&struck));
        let (more_objects, more_bytes) = moved(plan, job, its);
        objects.done = objects.done.max(more_objects).min(objects.total);
        bytes.done = bytes.done.max(more_bytes).min(bytes.total);
        let told = job.pods.iter().filter_map(|pod| pod.done.as_ref());
        ranges.objects_failed = ranges.objects_failed.max(told.clone().map(|done| done.failed).sum());
        ranges.example = ranges.example.or_else(|| told.clone().find_map(|done| done.example.clone()));
        ranges.failure = ranges.failure.or_else(|| failure(job));
        incomplete = told_by_pods(&incomplete, told.flat_map(|done| &done.incomplete));
        // Another Job would fare no better.
        let nothing_done = its.completed.is_empty() && struck.is_empty();
        hopeless |= has_failed(job) && (job.failed_with(ExitCode::Permanent) || nothing_done);
    }
    let left = Indexes::below(plan.ranges).without(&done);
    if hopeless {
        failed = left.clone();
    }
    failed = failed.without(&done);
    if left.without(&failed).is_empty() && ranges.ended_at.is_none() {
        ranges.ended_at = Some(Time(now));
    }
    (ranges.done, ranges.failed) = (done.to_string(), failed.to_string());
    // All is known to be there only when both buckets were compared.
    let percent = objects.percent().min(bytes.percent()).min(99);
    let percent = percent.max(old.map_or(0, |old| old.percent));
    Some(Migration { percent, objects, bytes, ranges: Some(ranges), incomplete, completed_at: None })
}

fn first(plan: &MigrationPlan) -> MigrationRanges {
    MigrationRanges {
        plan: plan.clone(),
        done: String::new(),
        failed: String::new(),
        failure: None,
        objects_failed: 0,
        example: None,
        ended_at: None,
    }
}

/// What was written by ourselves reads back.
fn listed(text: &str) -> Indexes {
    text.parse().unwrap_or_default()
}

fn of_plan<'a>(
    plan: &MigrationPlan,
    jobs: &'a [JobView],
) -> impl Iterator<Item = (&'a JobView, &'a Indexed)> + use<'a> {
    let hash = plan.hash.clone();
    jobs.iter()
        .filter_map(move |job| job.indexed.as_ref().filter(|its| its.plan == hash).map(|its| (job, its)))
}

/// Indexes whose pods said that they are done.
fn told_by(job: &JobView) -> Indexes {
    let done = job.pods.iter().filter(|pod| pod.done.is_some()).filter_map(|pod| pod.index);
    done.fold(Indexes::default(), |all, index| all.with(&Indexes::one(index)))
}

/// Objects and bytes at the target by what the pods told. Of an index whose pod is gone the average is counted:
/// ranges hold about the same work.
fn moved(plan: &MigrationPlan, job: &JobView, its: &Indexed) -> (u64, u64) {
    let mut told = Indexes::default();
    let (mut objects, mut bytes) = its.before;
    for pod in &job.pods {
        let Some((index, done)) = pod.index.zip(pod.done.as_ref()) else { continue };
        // An index may have run twice.
        if !told.contains(index) {
            (objects, bytes) = (objects + done.objects, bytes + done.bytes);
            told = told.with(&Indexes::one(index));
        }
    }
    let untold = u64::from(its.completed.without(&told).len());
    let average = |share: Share| (share.total - share.done.min(share.total)) / u64::from(plan.ranges.max(1));
    (objects + untold * average(plan.objects), bytes + untold * average(plan.bytes))
}

fn has_failed(job: &JobView) -> bool {
    matches!(job.state, JobState::Failed { .. }) && !job.deleting
}

/// Exit codes of pods that count: others were stopped, or met an outage.
fn failures(job: &JobView) -> impl Iterator<Item = &PodView> {
    const NO_FAILURE: [ExitCode; 4] =
        [ExitCode::Done, ExitCode::Denied, ExitCode::Unreachable, ExitCode::Stopped];
    job.pods.iter().filter(|pod| {
        pod.ended.as_ref().is_some_and(|(code, ..)| NO_FAILURE.iter().all(|fine| *fine as i32 != *code))
    })
}

/// Indexes that failed too often, of a Job that has failed.
fn struck(job: &JobView) -> Indexes {
    let mut strikes: BTreeMap<u32, usize> = BTreeMap::new();
    for index in failures(job).filter(|_| has_failed(job)).filter_map(|pod| pod.index) {
        *strikes.entry(index).or_default() += 1;
    }
    let out = strikes.into_iter().filter(|(_, count)| *count >= STRIKES);
    out.fold(Indexes::default(), |all, (index, _)| all.with(&Indexes::one(index)))
}

/// Why a Job has failed: what a pod of the worst index said.
fn failure(job: &JobView) -> Option<String> {
    let worst = struck(job);
    let is_worst = |pod: &&PodView| pod.index.is_some_and(|index| worst.contains(index));
    let pod = failures(job).find(is_worst).or_else(|| failures(job).last())?;
    let (_, words, message) = pod.ended.as_ref().filter(|_| has_failed(job))?;
    let words = words.as_ref().map(|words| format!("{}: {}", words.reason, words.message));
    Some(shortened(words.as_ref().unwrap_or(message), TEXT))
}

/// What is to be done about the Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// A Job for these ranges shall be.
    pub start: Option<Indexes>,
    /// Names of Jobs that shall go.
    pub end: Vec<String>,
    /// This Job shall have so many pods at a time, and be suspended or not.
    pub adjust: Option<Adjust>,
}

/// A change of a Job that loses nothing: what is done stays done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjust {
    pub job: String,
    pub parallelism: u32,
    pub suspend: bool,
}

/// What is to be done. `task` gives the hash of the task for some ranges; `halted`: nothing shall run now.
#[must_use]
pub fn steps(
    ranges: &MigrationRanges,
    jobs: &[JobView],
    task: impl Fn(&Indexes) -> String,
    (parallelism, halted): (u32, bool),
) -> Steps {
    let active: Vec<_> = jobs.iter().filter(|job| job.is_active()).collect();
    let is_current = |job: &&&JobView| {
        let its = job.indexed.as_ref().filter(|its| its.plan == ranges.plan.hash);
        its.is_some_and(|its| job.task == task(&its.ranges))
    };
    let over = ranges.ended_at.is_some();
    let current = active.iter().rev().find(is_current).filter(|_| !over);
    // One whose work is done ends by itself.
    let ends = |job: &&&JobView| {
        let of_plan = job.indexed.as_ref().is_some_and(|its| its.plan == ranges.plan.hash);
        current.map_or(!over || !of_plan, |current| current.name != job.name)
    };
    let end = active.iter().filter(ends);
    let mut steps = Steps { end: end.map(|job| job.name.clone()).collect(), ..Steps::default() };
    match current.and_then(|job| job.indexed.as_ref().map(|its| (job, its))) {
        Some((job, its)) if (its.parallelism, its.suspended) != (parallelism, halted) => {
            steps.adjust = Some(Adjust { job: job.name.clone(), parallelism, suspend: halted });
        }
        Some(_) => {}
        None if over || halted => {}
        None => {
            let done = listed(&ranges.done).with(&listed(&ranges.failed));
            steps.start = Some(Indexes::below(ranges.plan.ranges).without(&done));
        }
    }
    steps
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
