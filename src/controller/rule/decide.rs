//! What shall be: pure.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::{
    feed,
    migration::{Adjust, Steps, steps},
    observe::Observed,
    standing::Standing,
    status::View,
    task,
};
use crate::{
    api::{
        AcceptedPair, BucketReplicationRule, BucketReplicationRuleStatus, Migration, RELEASE_DELETES,
        RulePhase, Served,
        condition::{ACCEPTED, Verdict},
    },
    controller::{
        Error, Options,
        events::Announcement,
        status::{Said, conditions},
        work::{
            act,
            children::children,
            findings,
            next::{Need, Next, all, bounded, earliest, next, regions_block, run_id},
            plan::Start,
            request,
            standing::{self, about},
            task::{shift, write},
            words,
        },
    },
    rules::Objection,
    task::{Indexes, TaskMode},
};

/// What shall be done about a rule.
pub type Decision = act::Decision<BucketReplicationRuleStatus>;

/// Decides on a rule.
///
/// # Errors
/// Never for tasks built here.
pub fn decide(
    rule: &BucketReplicationRule,
    observed: &Observed,
    standing: Standing,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    let mut decision = match standing {
        // What goes with its namespace is deleted next; nothing can be created or told there.
        _ if observed.terminating => Decision::default(),
        Standing::OtherRegion { silent: true } => Decision::default(),
        // Its worker ends; both buckets stay as they are.
        _ if rule.metadata.deletion_timestamp.is_some() => {
            Decision { end: everything(observed), ..Decision::default() }
        }
        Standing::OtherRegion { silent: false } => {
            let said = standing::other_region(&rule.spec.target.region);
            Decision { status: Some(outside(rule, said, now)), ..Decision::default() }
        }
        Standing::Out(objection) => out(rule, observed, &objection, now),
        Standing::Accepted(pair) => accepted(rule, observed, pair, options, now)?,
    };
    if let Some(status) = &decision.status {
        decision.announcements.extend(words::changes(rule.conditions(), &status.conditions));
    }
    decision.next_look = bounded(decision.next_look, options);
    Ok(decision)
}

/// Status of a rule that is not accepted. What was accepted before stays known: what a worker found is
/// about that.
fn outside(rule: &BucketReplicationRule, said: Vec<Said>, now: Timestamp) -> BucketReplicationRuleStatus {
    let old = rule.status.clone().unwrap_or_default();
    let generation = rule.metadata.generation;
    BucketReplicationRuleStatus {
        observed_generation: generation,
        phase: Some(RulePhase::Pending),
        conditions: conditions(&old.conditions, generation, now, said),
        pair: old.pair,
        mutual: old.mutual,
        last_run_request: old.last_run_request,
        ..BucketReplicationRuleStatus::default()
    }
}

fn out(rule: &BucketReplicationRule, observed: &Observed, objection: &Objection, now: Timestamp) -> Decision {
    Decision {
        status: Some(outside(rule, standing::out(objection), now)),
        // Accepted before, for other buckets: its worker must not go on.
        end: everything(observed),
        receiver: feed::closed(rule),
        // What it waits for is watched; this is for what was missed.
        next_look: Duration::from_secs(15),
        ..Decision::default()
    }
}

fn accepted(
    rule: &BucketReplicationRule,
    observed: &Observed,
    pair: AcceptedPair,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    let (source, target) = (observed.source_region.as_ref(), observed.target_region.as_ref());
    let blocked = regions_block(source, target, options);
    let message = format!(
        "{} replicates bucket {} in region {} to bucket {} in region {}",
        about(rule),
        pair.source.bucket,
        rule.spec.source.region,
        pair.target.bucket,
        rule.spec.target.region
    );
    let view = View::new(rule, observed, (pair, blocked.as_ref()), (&options.timing, now));
    let mutual = view.is_mutual();
    let told = view.accepted((ACCEPTED, Verdict::True, "Accepted".to_owned(), message));
    let malformed = request::malformed(rule).into_iter().chain(release_malformed(rule));
    let news = malformed.chain(findings::news(rule, view.is_measured())).collect();
    let migration = told.status.migration.clone();
    let mut decision = Decision {
        status: Some(told.status),
        news,
        nudge: told.nudge,
        receiver: feed::receiver(rule),
        ..Decision::default()
    };
    let mut looks = vec![told.look];
    if rule.spec.suspend {
        decision.end = all(&observed.jobs);
    } else if let Some(next) = next_job(rule, observed, (options, blocked.is_some(), mutual), now)? {
        (decision.start, decision.end) = (next.start, next.end);
        looks.push(next.look);
    }
    migrate(rule, observed, migration.as_ref(), (options, blocked.is_some(), mutual), now, &mut decision)?;
    decision.next_look = earliest(&looks, now);
    Ok(decision)
}

/// Every Job, with its task.
fn everything(observed: &Observed) -> Vec<(String, Option<String>)> {
    [all(&observed.jobs), all(&observed.migrations)].concat()
}

/// What is to be done about the pods that copy a large history.
fn migrate(
    rule: &BucketReplicationRule,
    observed: &Observed,
    migration: Option<&Migration>,
    (options, blocked, mutual): (&Options, bool, bool),
    now: Timestamp,
    decision: &mut Decision,
) -> Result<(), Error> {
    let unfinished =
        migration.and_then(|migration| migration.ranges.as_ref().map(|ranges| (migration, ranges)));
    let Some((migration, ranges)) = unfinished else {
        let active = observed.migrations.iter().filter(|job| job.is_active()).cloned().collect::<Vec<_>>();
        decision.end.extend(all(&active));
        decision.drop.extend(leftovers(rule, observed));
        return Ok(());
    };
    let Some(regions) = observed.source_region.as_ref().zip(observed.target_region.as_ref()) else {
        return Ok(());
    };
    let before = (migration.objects.done, migration.bytes.done);
    let work = |todo: &Indexes| task::migration_work(rule, &ranges.plan, (todo.clone(), before));
    let task = |todo: &Indexes| {
        let migrate = task::migrate(rule, regions, mutual, (&ranges.plan, todo));
        write(rule, &migrate, &work(todo))
    };
    let wanted = (rule.spec.historical_migration.parallelism.max(1), rule.spec.suspend || blocked);
    let hash = |ranges_of: &Indexes| task(ranges_of).map(|written| written.work).unwrap_or_default();
    let Steps { start, end, adjust } = steps(ranges, &observed.migrations, hash, wanted);
    let ending =
        observed.migrations.iter().filter(|job| end.contains(&job.name)).cloned().collect::<Vec<_>>();
    decision.end.extend(all(&ending));
    decision.adjust.extend(adjust.map(|Adjust { job, parallelism, suspend }| {
        (job, json!({"spec": {"parallelism": parallelism, "suspend": suspend}}))
    }));
    let Some(start) = start else { return Ok(()) };
    let written = task(&start)?;
    let slot = format!("migrate:{}:{start}:{}", ranges.plan.hash, written.work);
    let run_id = run_id(rule, &observed.migrations, observed.last_run.as_deref(), now);
    let work = work(&start);
    let slot = Start { slot, attempt: 0, request: None };
    decision.beside = Some(Box::new(children(rule, (&written, &work), (&slot, run_id), options)));
    Ok(())
}

/// The plan, and the tasks of the Jobs that carried it out, once the migration is over. The Jobs themselves stay
/// for a while, for people to look at.
fn leftovers(rule: &BucketReplicationRule, observed: &Observed) -> Vec<String> {
    let old = rule.status.as_ref().and_then(|status| status.migration.as_ref());
    let Some(ranges) = old.and_then(|old| old.ranges.as_ref()) else { return Vec::new() };
    let tasks = observed.migrations.iter().map(|job| job.config_map.clone());
    std::iter::once(ranges.plan.config_map.clone()).chain(tasks).collect()
}

/// A release of deletes that is no time releases nothing: told once (`C18`).
fn release_malformed(rule: &BucketReplicationRule) -> Option<(String, Announcement)> {
    let value = rule.annotations().get(RELEASE_DELETES)?;
    if value.parse::<Timestamp>().is_ok() {
        return None;
    }
    let note = format!(
        "{}: {RELEASE_DELETES} is {value:?}, which is no RFC 3339 time like 2026-11-21T08:00:00Z; no delete is released by it",
        about(rule)
    );
    Some(("release".to_owned(), Announcement::warning("MalformedRelease", note)))
}

fn next_job(
    rule: &BucketReplicationRule,
    observed: &Observed,
    (options, blocked, mutual): (&Options, bool, bool),
    now: Timestamp,
) -> Result<Option<Next>, Error> {
    let Some(regions) = observed.source_region.as_ref().zip(observed.target_region.as_ref()) else {
        return Ok(None);
    };
    let length = shift(rule, options);
    let need = Need {
        task: &task::replicate(rule, regions, mutual, (options, observed.cluster.as_deref())),
        work: &task::work(rule, length),
        mode: TaskMode::Shift { seconds: length.as_secs() },
        // Of cycles that are Jobs of their own only.
        interval: length,
        jobs: &observed.jobs,
        last_cycle: None,
        last_run: observed.last_run.as_deref(),
        regions: Some(regions),
        urgent: None,
        blocked,
    };
    next(rule, &need, options, now).map(Some)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
