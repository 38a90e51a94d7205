//! What shall be: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    deletion, findings,
    measured::measured,
    objects::{self, Children, Work},
    observe::{Instance, Observed},
    plan::{Plan, Wish, plan},
    standing::Standing,
    status::{Blocked, View, outage},
    task, words,
};
use crate::{
    api::{
        AcceptedSource, BackupSyncService, BackupSyncServiceStatus, DeletionPolicy, FailureSide,
        RUN_REQUESTED, Region, ServicePhase,
        condition::{self, ACCEPTED, READY, RECONCILING, STALLED, Verdict},
    },
    controller::{
        Error, Options,
        events::Announcement,
        names,
        status::{Said, conditions},
    },
};

/// What shall be done, in this order.
#[derive(Default)]
pub struct Decision {
    /// True: the finalizer shall be there; false: it shall not.
    pub finalizer: Option<bool>,
    /// `None`: the service is on its way out, or another's.
    pub status: Option<BackupSyncServiceStatus>,
    /// Names of Jobs that shall go, with the `ConfigMaps` that go with them.
    pub end: Vec<(String, Option<String>)>,
    /// A Job that shall be, with all that it needs.
    pub start: Option<Box<Children>>,
    /// The service shall be deleted: its instance is gone.
    pub delete: bool,
    pub announcements: Vec<Announcement>,
    /// Told when the text is new.
    pub news: Vec<(String, Announcement)>,
    /// About the namespace, in `default`.
    pub obituary: Option<Announcement>,
    /// Region to be asked at once.
    pub nudge: Option<String>,
    pub next_look: Duration,
}

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
        (None, Standing::Out { waiting, reason, message }) => {
            out(service, observed, (waiting, reason, message), now)
        }
        (None, Standing::Accepted { source }) => accepted(service, observed, (source, None), options, now)?,
        (None, Standing::Orphaned { source, gone }) => {
            orphaned(service, observed, (source, gone), options, now)?
        }
    };
    if let Some(status) = &decision.status {
        let old = service.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        decision.announcements.extend(words::changes(old, &status.conditions));
    }
    let longest = options.timing.recheck.max(Duration::from_secs(1));
    if decision.next_look.is_zero() || decision.next_look > longest {
        decision.next_look = longest;
    }
    Ok(decision)
}

fn other_region(service: &BackupSyncService, silent: bool, now: Timestamp) -> Decision {
    if silent || service.metadata.deletion_timestamp.is_some() {
        return Decision::default();
    }
    let region = &service.spec.target.region;
    let message = format!(
        "no controller here serves region {region}; run one with --regions {region}, or choose another spec.target.region"
    );
    let said =
        [READY, ACCEPTED].map(|type_| (type_, Verdict::False, "OtherRegion".to_owned(), message.clone()));
    Decision { status: Some(outside(service, said.to_vec(), now)), ..Decision::default() }
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

fn out(
    service: &BackupSyncService,
    observed: &Observed,
    (waiting, reason, message): (bool, &str, String),
    now: Timestamp,
) -> Decision {
    let say = |type_, verdict| (type_, verdict, reason.to_owned(), message.clone());
    // Waiting heals by itself; what is refused needs a person.
    let kstatus = if waiting { RECONCILING } else { STALLED };
    let said = vec![say(READY, Verdict::False), say(ACCEPTED, Verdict::False), say(kstatus, Verdict::True)];
    Decision {
        status: Some(outside(service, said, now)),
        // Accepted before, for another source: its worker must not go on.
        end: observed
            .syncs
            .iter()
            .filter(|job| !job.deleting)
            .map(|job| (job.name.clone(), Some(job.config_map.clone())))
            .collect(),
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
    let view = View { service, observed, blocked: blocked.as_ref(), timing: &options.timing, now };
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
        decision.end = all(observed);
    } else if let Some((children, plan)) = next_job(service, observed, (options, blocked.is_some()), now)? {
        decision.end = with_tasks(observed, &plan.end, children.as_deref());
        decision.start = children;
        looks.push(plan.look);
    }
    decision.status = Some(BackupSyncServiceStatus { source: Some(source), ..told.status });
    decision.next_look = earliest(looks, now);
    Ok(decision)
}

/// Time until the earliest moment; zero for none.
fn earliest(moments: Vec<Option<Timestamp>>, now: Timestamp) -> Duration {
    let Some(at) = moments.into_iter().flatten().min() else { return Duration::ZERO };
    let wait = Duration::try_from(now.duration_until(at)).unwrap_or_default();
    wait + Duration::from_millis(100)
}

fn all(observed: &Observed) -> Vec<(String, Option<String>)> {
    let jobs = observed.syncs.iter().filter(|job| !job.deleting);
    jobs.map(|job| (job.name.clone(), Some(job.config_map.clone()))).collect()
}

/// A task goes with the last Job that has it.
fn with_tasks(
    observed: &Observed,
    end: &[String],
    start: Option<&Children>,
) -> Vec<(String, Option<String>)> {
    let kept = |map: &String| {
        let others = observed.syncs.iter().filter(|job| !end.contains(&job.name));
        others.map(|job| &job.config_map).any(|other| other == map)
            || start.is_some_and(|start| start.config_map.metadata.name.as_ref() == Some(map))
    };
    let ending = observed.syncs.iter().filter(|job| end.contains(&job.name));
    ending.map(|job| (job.name.clone(), Some(job.config_map.clone()).filter(|map| !kept(map)))).collect()
}

/// What keeps Jobs from being started.
fn blocked(observed: &Observed, options: &Options, orphan: Option<(String, String)>) -> Option<Blocked> {
    if let Some((reason, message)) = orphan {
        return Some(Blocked { side: None, reason, message, permanent: false });
    }
    let sides =
        [(FailureSide::Source, &observed.source_region), (FailureSide::Target, &observed.target_region)];
    sides.into_iter().find_map(|(side, region)| region_blocks(side, region.as_ref(), options))
}

fn region_blocks(side: FailureSide, region: Option<&Region>, options: &Options) -> Option<Blocked> {
    let Some(region) = region else {
        return Some(Blocked {
            side: Some(side),
            reason: "UnknownRegion".to_owned(),
            message: format!(
                "the Region of its {side:?} is not there any more; ask an administrator to create it again"
            ),
            permanent: false,
        });
    };
    options.timing.probes?;
    if let Some((reason, message)) = outage(region) {
        let permanent =
            region.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, STALLED));
        return Some(Blocked { side: Some(side), reason, message, permanent });
    }
    let asked =
        region.status.as_ref().is_some_and(|status| status.observed_generation == region.metadata.generation);
    (!asked).then(|| Blocked {
        side: None,
        reason: "RegionNotAsked".to_owned(),
        message: format!(
            "region {} has not been asked yet whether it answers; it will be within seconds",
            region.name_any()
        ),
        permanent: false,
    })
}

type Next = (Option<Box<Children>>, Plan);

fn next_job(
    service: &BackupSyncService,
    observed: &Observed,
    (options, blocked): (&Options, bool),
    now: Timestamp,
) -> Result<Option<Next>, Error> {
    let regions = observed.source_region.as_ref().zip(observed.target_region.as_ref());
    let Some(((source, target), instance)) = regions.zip(observed.instance.get()) else { return Ok(None) };
    let Some(task) = task::sync(service, instance, (source, target), options) else { return Ok(None) };
    let written = task::write(&task)?;
    let crate::task::Work::Sync(sync) = &task.work else { return Ok(None) };
    let uid = service.uid().unwrap_or_default();
    let request = pending_request(service);
    let wish = Wish {
        uid: &uid,
        task: &written.work,
        mode: sync.mode,
        interval: service.spec.interval.get(),
        jobs: &observed.syncs,
        last_cycle: last_cycle(service),
        request: request.as_deref(),
        healed: healed(source).max(healed(target)),
        created: service.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0),
    };
    let mut plan = plan(&wish, &options.timing, now);
    // A shift that goes on for another task ends at once, whether its successor can start or not.
    let start = plan.start.take().filter(|_| !blocked);
    let children = start.map(|start| {
        let earlier = service
            .status
            .as_ref()
            .and_then(|status| status.observed.as_ref())
            .map(|report| report.run_id.clone());
        let newest = observed.syncs.iter().map(|job| job.run_id.clone()).max();
        let run_id = names::run_id(&uid, now, earlier.max(newest).max(observed.last_run.clone()).as_deref());
        let work = Work::Sync { mode: sync.mode, instance };
        Box::new(objects::children(service, (&written, work), (&start, run_id), options))
    });
    Ok(Some((children, plan)))
}

fn healed(region: &Region) -> Option<Timestamp> {
    region.status.as_ref()?.last_outage.as_ref().map(|outage| outage.until.0)
}

/// When the last cycle began that needs no repeating.
fn last_cycle(service: &BackupSyncService) -> Option<Timestamp> {
    let report = service.status.as_ref()?.observed.as_ref()?;
    measured(service).filter(|_| report.failure.is_none()).map(|measured| measured.cycle.started_at.0)
}

/// The annotation's value, when it is a time and was not honoured yet.
fn pending_request(service: &BackupSyncService) -> Option<String> {
    let value = service.annotations().get(RUN_REQUESTED)?;
    value.parse::<Timestamp>().ok()?;
    let honoured = service.status.as_ref().and_then(|status| status.last_run_request.as_ref());
    (honoured.is_none_or(|honoured| honoured.requested_at != *value)).then(|| value.clone())
}

fn news(service: &BackupSyncService) -> Vec<(String, Announcement)> {
    let mut news = Vec::new();
    let name = service.name_any();
    if let Some(value) = service.annotations().get(RUN_REQUESTED)
        && value.parse::<Timestamp>().is_err()
    {
        let note = format!(
            "service {name}: {RUN_REQUESTED} is {value:?}, which is no RFC 3339 time like 2026-11-21T08:00:00Z; nothing is run for it"
        );
        news.push(("request".to_owned(), Announcement::warning("MalformedRunRequest", note)));
    }
    news.extend(findings::news(service));
    news
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
    let wait = earliest(vec![Some(end)], now);
    decision.next_look = if decision.next_look.is_zero() { wait } else { decision.next_look.min(wait) };
    Ok(decision)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
