//! What shall be: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    deletion,
    measured::{is_measured, measured},
    observe::{Instance, Observed},
    standing::Standing,
    status::View,
    task,
};
use crate::{
    api::{
        AcceptedSource, BackupSyncService, BackupSyncServiceStatus, DeletionPolicy, Served, ServicePhase,
        condition::{ACCEPTED, Verdict},
    },
    controller::{
        Error, Options,
        events::Announcement,
        status::{Said, conditions},
        work::{
            act, findings,
            health::Blocked,
            next::{Need, Next, all, bounded, earliest, next, regions_block},
            request, standing, words,
        },
    },
    rules::Objection,
};

/// What shall be done about a service.
pub type Decision = act::Decision<BackupSyncServiceStatus>;

/// Decides on a service.
///
/// # Errors
/// Never for tasks built here.
pub fn decide(
    service: &BackupSyncService,
    observed: &Observed,
    standing: Standing,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    let mut decision = match (&service.metadata.deletion_timestamp, standing) {
        // A namespace is never held up, whoever should have served it.
        (Some(deleted), _) if observed.terminating => {
            deletion::decide(service, observed, (options, deleted.0), now)?
        }
        // What goes with its namespace is deleted next; nothing can be created or told there.
        (None, _) if observed.terminating => Decision::default(),
        (_, Standing::OtherRegion { silent }) => other_region(service, silent, now),
        (Some(deleted), _) => deletion::decide(service, observed, (options, deleted.0), now)?,
        (None, Standing::Out(objection)) => out(service, observed, &objection, now),
        (None, Standing::Accepted { source }) => accepted(service, observed, (source, None), options, now)?,
        (None, Standing::Orphaned { source, gone }) => {
            orphaned(service, observed, (source, gone), options, now)?
        }
    };
    if let Some(status) = &decision.status {
        decision.announcements.extend(words::changes(service.conditions(), &status.conditions));
    }
    decision.next_look = bounded(decision.next_look, options);
    Ok(decision)
}

fn other_region(service: &BackupSyncService, silent: bool, now: Timestamp) -> Decision {
    if silent || service.metadata.deletion_timestamp.is_some() {
        return Decision::default();
    }
    let said = standing::other_region(&service.spec.target.region);
    Decision { status: Some(outside(service, said, now)), ..Decision::default() }
}

/// Status of a service that is not accepted; what was accepted before stays known for the purge.
fn outside(service: &BackupSyncService, said: Vec<Said>, now: Timestamp) -> BackupSyncServiceStatus {
    let old = service.status.clone().unwrap_or_default();
    let generation = service.metadata.generation;
    BackupSyncServiceStatus {
        observed_generation: generation,
        phase: Some(ServicePhase::Pending),
        conditions: conditions(&old.conditions, generation, now, said),
        source: old.source,
        last_run_request: old.last_run_request,
        ..BackupSyncServiceStatus::default()
    }
}

fn out(service: &BackupSyncService, observed: &Observed, objection: &Objection, now: Timestamp) -> Decision {
    let said = standing::out(objection);
    Decision {
        status: Some(outside(service, said, now)),
        // Accepted before, for another source: its worker must not go on.
        end: all(&observed.syncs),
        // What it waits for is watched; this is for what was missed.
        next_look: Duration::from_secs(15),
        ..Decision::default()
    }
}

fn accepted(
    service: &BackupSyncService,
    observed: &Observed,
    (source, orphan): (AcceptedSource, Option<(String, String)>),
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    let blocked = blocked(observed, options, orphan);
    let view = View::new(service, observed, blocked.as_ref(), (&options.timing, now));
    let message = format!(
        "service {} copies the backups of DatabaseInstance {} from region {} to region {}",
        service.name_any(),
        service.spec.instance_ref.name,
        source.region,
        service.spec.target.region
    );
    let told = view.accepted((ACCEPTED, Verdict::True, "Accepted".to_owned(), message));
    let mut decision = Decision {
        finalizer: Some(service.spec.deletion_policy == DeletionPolicy::Delete),
        announcements: adoption(service, &source),
        news: news(service),
        nudge: told.nudge,
        ..Decision::default()
    };
    let mut looks = vec![told.look];
    if service.spec.suspend {
        decision.end = all(&observed.syncs);
    } else if let Some(next) = next_job(service, observed, (options, blocked.is_some()), now)? {
        (decision.start, decision.end) = (next.start, next.end);
        looks.push(next.look);
    }
    decision.status = Some(BackupSyncServiceStatus { source: Some(source), ..told.status });
    decision.next_look = earliest(&looks, now);
    Ok(decision)
}

/// What keeps Jobs from being started.
fn blocked(observed: &Observed, options: &Options, orphan: Option<(String, String)>) -> Option<Blocked> {
    if let Some((reason, message)) = orphan {
        return Some(Blocked { side: None, reason, message, permanent: false });
    }
    regions_block(observed.source_region.as_ref(), observed.target_region.as_ref(), options)
}

fn next_job(
    service: &BackupSyncService,
    observed: &Observed,
    (options, blocked): (&Options, bool),
    now: Timestamp,
) -> Result<Option<Next>, Error> {
    let regions = observed.source_region.as_ref().zip(observed.target_region.as_ref());
    let Some((regions, instance)) = regions.zip(observed.instance.get()) else { return Ok(None) };
    let Some(task) = task::sync(service, instance, regions, options) else { return Ok(None) };
    let crate::task::Work::Sync(sync) = &task.work else { return Ok(None) };
    let need = Need {
        task: &task,
        work: &task::sync_work(service, instance, sync.mode),
        mode: sync.mode,
        interval: service.spec.interval.get(),
        jobs: &observed.syncs,
        last_cycle: last_cycle(service),
        last_run: observed.last_run.as_deref(),
        regions: Some(regions),
        urgent: None,
        blocked,
    };
    next(service, &need, options, now).map(Some)
}

/// When the last cycle began that needs no repeating.
fn last_cycle(service: &BackupSyncService) -> Option<Timestamp> {
    let report = service.status.as_ref()?.observed.as_ref()?;
    measured(service).filter(|_| report.failure.is_none()).map(|measured| measured.cycle.started_at.0)
}

fn news(service: &BackupSyncService) -> Vec<(String, Announcement)> {
    request::malformed(service).into_iter().chain(findings::news(service, is_measured(service))).collect()
}

fn adoption(service: &BackupSyncService, source: &AcceptedSource) -> Vec<Announcement> {
    let old = service.status.as_ref().and_then(|status| status.source.as_ref());
    let Some(old) = old.filter(|old| old.instance_uid != source.instance_uid) else { return Vec::new() };
    let name = &service.spec.instance_ref.name;
    let note = format!(
        "DatabaseInstance {name} is there again with a new UID ({} before); service {} goes on with it",
        old.instance_uid,
        service.name_any()
    );
    vec![Announcement::normal("InstanceAdopted", note)]
}

/// The instance is gone, or can't be read: what runs goes on (`B10`).
fn orphaned(
    service: &BackupSyncService,
    observed: &Observed,
    (source, gone): (AcceptedSource, bool),
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    debug_assert!(!matches!(observed.instance, Instance::There(_)), "an orphan has no instance");
    let instance = &service.spec.instance_ref.name;
    let name = service.name_any();
    if !gone {
        let message = format!("DatabaseInstance {instance} can't be read; correct it and apply it again");
        return accepted(
            service,
            observed,
            (source, Some(("InstanceUnreadable".to_owned(), message))),
            options,
            now,
        );
    }
    let since = source.gone_since.clone().unwrap_or(Time(now));
    let end = since.0 + options.timing.instance_grace;
    let end_text = end.round(jiff::Unit::Second).unwrap_or(end);
    let message = format!(
        "DatabaseInstance {instance} is gone; service {name} is deleted at {end_text} unless an instance of that name is there again"
    );
    let source = AcceptedSource { gone_since: Some(since), ..source };
    let mut decision = accepted(
        service,
        observed,
        (source, Some(("InstanceGone".to_owned(), message.clone()))),
        options,
        now,
    )?;
    decision.news.push(("gone".to_owned(), Announcement::warning("InstanceGone", message)));
    if end + SignedDuration::from_millis(1) <= now {
        decision.delete = true;
        let note = format!(
            "DatabaseInstance {instance} has been gone for {:?}; service {name} is deleted, its backups go by deletionPolicy {:?}",
            options.timing.instance_grace, service.spec.deletion_policy
        );
        decision.news.push(("deleted".to_owned(), Announcement::warning("InstanceDeleted", note)));
    }
    let wait = earliest(&[Some(end)], now);
    decision.next_look = if decision.next_look.is_zero() { wait } else { decision.next_look.min(wait) };
    Ok(decision)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
