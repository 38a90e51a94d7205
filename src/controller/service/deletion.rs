//! A service that is deleted: its worker ends, its backups are purged, then it goes (`B11`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{decide::Decision, observe::Observed, task};
use crate::{
    api::{
        ABANDON_PURGE, AcceptedSource, BackupSyncService, BackupSyncServiceStatus, DeletionPolicy,
        PURGE_FINALIZER, ServicePhase,
        condition::{PURGE_BLOCKED, READY, RECONCILING, Verdict},
    },
    controller::{
        Error, Options, backoff,
        events::Announcement,
        jobs::{JobState, JobView},
        status::conditions,
        work::{
            children::children,
            health::outage,
            next::{all, earliest, run_id},
            plan::Start,
            task::write,
            trouble::{Worker, job_trouble, worker},
        },
    },
};

/// How often something that holds up a purge is looked at again.
const AGAIN: Duration = Duration::from_secs(10);
/// A purge is tried at least once in this time.
const LONGEST: Duration = Duration::from_mins(1);
/// A purge that has no working pod by then says so.
const START: SignedDuration = SignedDuration::from_secs(15);

/// Decides on a service that is on its way out.
///
/// # Errors
/// Never for tasks built here.
pub fn decide(
    service: &BackupSyncService,
    observed: &Observed,
    (options, deleted): (&Options, Timestamp),
    now: Timestamp,
) -> Result<Decision, Error> {
    if !service.finalizers().iter().any(|finalizer| finalizer == PURGE_FINALIZER) {
        return Ok(Decision::default());
    }
    let name = service.name_any();
    let place = place(service);
    let Some(source) = service.status.as_ref().and_then(|status| status.source.as_ref()) else {
        // Never accepted: no worker ever wrote.
        return Ok(let_go(observed, Vec::new()));
    };
    if observed.terminating {
        return Ok(Decision { obituary: Some(obituary(service, &place)), ..let_go(observed, Vec::new()) });
    }
    if service.spec.deletion_policy == DeletionPolicy::Retain {
        let note =
            format!("service {name} is deleted and its backups stay at {place} (deletionPolicy: Retain)");
        return Ok(let_go(observed, vec![Announcement::normal("Retained", note)]));
    }
    if let Some(at) = abandoned(service, deleted) {
        let note = format!(
            "the purge of service {name} is abandoned by {ABANDON_PURGE}: {at}; what it has not deleted stays at {place}"
        );
        return Ok(let_go(observed, vec![Announcement::warning("PurgeAbandoned", note)]));
    }
    if observed.sync_pods > 0 || observed.syncs.iter().any(JobView::is_active) {
        let message = format!("the worker of service {name} ends before its backups are deleted");
        let mut decision = waiting(service, ("Deleting", message), None, now);
        decision.end = all(&observed.syncs);
        return Ok(decision);
    }
    if !observed.restores.is_empty() {
        let message = format!(
            "the backups of service {name} at {place} are deleted once nothing is restored from them any more; now {} is",
            observed.restores.join(", ")
        );
        return Ok(waiting(service, ("RestoreUnderWay", message), None, now));
    }
    let due = deleted + service.spec.purge_delay.get();
    if now < due {
        let message = format!(
            "the backups of service {name} at {place} are deleted from {due} on (purgeDelay {}); deletionPolicy: Retain still keeps them",
            service.spec.purge_delay
        );
        let wait = earliest(&[Some(due)], now);
        return Ok(Decision { next_look: wait, ..waiting(service, ("PurgeDelayed", message), None, now) });
    }
    purging(service, observed, (source, &place, options), now)
}

fn place(service: &BackupSyncService) -> String {
    let target = &service.spec.target;
    format!("s3://{}/{} in region {}", target.bucket, target.prefix, target.region)
}

/// Nothing holds it any more; what still runs goes with it.
fn let_go(observed: &Observed, announcements: Vec<Announcement>) -> Decision {
    let mut end = all(&observed.syncs);
    end.extend(all(&observed.purges));
    Decision { finalizer: Some(false), end, announcements, ..Decision::default() }
}

fn obituary(service: &BackupSyncService, place: &str) -> Announcement {
    let namespace = service.namespace().unwrap_or_default();
    let name = service.name_any();
    let note = if service.spec.deletion_policy == DeletionPolicy::Retain {
        format!("namespace {namespace} is deleted; the backups of service {name} stay at {place}")
    } else {
        format!(
            "namespace {namespace} is deleted before the backups of service {name} could be: they stay at {place}; delete them there, or create a service for the same source and target to adopt them"
        )
    };
    Announcement::warning("PurgeSkipped", note)
}

/// The annotation's value, when it was meant for this deletion.
fn abandoned(service: &BackupSyncService, deleted: Timestamp) -> Option<Timestamp> {
    let at = service.annotations().get(ABANDON_PURGE)?.parse::<Timestamp>().ok()?;
    // Whole seconds on both sides.
    (at.as_second() >= deleted.as_second()).then_some(at)
}

fn waiting(
    service: &BackupSyncService,
    (reason, message): (&str, String),
    blocked: Option<(String, String)>,
    now: Timestamp,
) -> Decision {
    let old = service.status.clone().unwrap_or_default();
    let generation = service.metadata.generation;
    let say = |type_, verdict| (type_, verdict, reason.to_owned(), message.clone());
    let mut said = vec![say(READY, Verdict::False), say(RECONCILING, Verdict::True)];
    said.extend(blocked.map(|(reason, message)| (PURGE_BLOCKED, Verdict::True, reason, message)));
    let status = BackupSyncServiceStatus {
        observed_generation: generation,
        phase: Some(ServicePhase::Deleting),
        conditions: conditions(&old.conditions, generation, now, said),
        observed: None,
        source_latest_time: None,
        covered_until: None,
        ..old
    };
    Decision { status: Some(status), next_look: AGAIN, ..Decision::default() }
}

fn purging(
    service: &BackupSyncService,
    observed: &Observed,
    (source, place, options): (&AcceptedSource, &str, &Options),
    now: Timestamp,
) -> Result<Decision, Error> {
    let name = service.name_any();
    let newest = observed.purges.last();
    if newest.is_some_and(|job| matches!(job.state, JobState::Succeeded { .. })) {
        let note = format!("the backups of service {name} at {place} are deleted");
        return Ok(let_go(observed, vec![Announcement::normal("Purged", note)]));
    }
    let blocked = blocked(observed, now);
    let words = blocked.clone().map(|(reason, message)| (reason, hint(service, &message)));
    let message = words.as_ref().map_or_else(
        || format!("the backups of service {name} at {place} are being deleted"),
        |(_, message)| message.clone(),
    );
    let reason = if words.is_some() { "PurgeBlocked" } else { "Deleting" };
    let mut decision = waiting(service, (reason, message), words, now);
    let Some(target) = observed.target_region.as_ref() else { return Ok(decision) };
    let closed = options.timing.probes.is_some() && outage(target).is_some();
    if closed || observed.purges.iter().any(JobView::is_active) {
        return Ok(decision);
    }
    let start = match newest {
        None => Start { slot: "purge".to_owned(), attempt: 0, request: None },
        Some(job) => {
            let attempt = job.attempt.saturating_add(1);
            let at = job.ended().unwrap_or(now) + backoff::pause(attempt).min(LONGEST);
            if at > now {
                decision.next_look = earliest(&[Some(at)], now);
                return Ok(decision);
            }
            Start { slot: format!("purge-after:{}", job.uid), attempt, request: None }
        }
    };
    if start.attempt == 0 {
        let note = format!(
            "the backups of service {name} at {place} are being deleted; deletionPolicy: Retain, or {ABANDON_PURGE}: <RFC 3339 time>, stops it"
        );
        decision.announcements.push(Announcement::normal("PurgeStarted", note));
    }
    let work = task::purge_work(service);
    let written = write(service, &task::purge(service, source, target), &work)?;
    let run_id = run_id(service, &observed.purges, None, now);
    // Old ones go; one is enough to look at.
    decision.end = all(&observed.purges[..observed.purges.len().saturating_sub(1)])
        .into_iter()
        .map(|(job, _)| (job, None))
        .collect();
    decision.start = Some(Box::new(children(service, (&written, &work), (&start, run_id), options)));
    Ok(decision)
}

fn hint(service: &BackupSyncService, cause: &str) -> String {
    format!(
        "the backups of service {} can't be deleted yet: {cause}; it goes on trying. To keep what is left and let the service go: kubectl annotate backupsyncservice {} -n {} {ABANDON_PURGE}=$(date -u +%FT%TZ)",
        service.name_any(),
        service.name_any(),
        service.namespace().unwrap_or_default()
    )
}

/// Why the purge does not go on.
fn blocked(observed: &Observed, now: Timestamp) -> Option<(String, String)> {
    let Some(region) = observed.target_region.as_ref() else {
        return Some((
            "UnknownRegion".to_owned(),
            "the target's Region is not there any more; create it again".to_owned(),
        ));
    };
    if let Some(down) = outage(region) {
        return Some(down);
    }
    let failed =
        observed.purges.iter().rev().find_map(job_trouble).map(|trouble| (trouble.reason, trouble.message));
    match worker(&observed.purges, observed.words.as_ref()) {
        Worker::Serving => None,
        Worker::Starting { since, why } if since + START <= now => Some(
            why.or(failed)
                .unwrap_or_else(|| ("WorkerNotStarting".to_owned(), "no pod of it works".to_owned())),
        ),
        Worker::Starting { .. } | Worker::Idle => failed,
    }
}
