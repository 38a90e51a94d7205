//! What shall be of a drill: pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    outcome::outcome,
    schedule::{next_time, random},
    task,
};
use crate::{
    api::{
        BackupSyncService, DatabaseInstance, DrillMoment, DrillOutcome, DrillPhase, DrillResult, Moment,
        RecoveryDrill, RecoveryDrillStatus, RecoveryWindow, Region, RunRequest, Served,
        condition::{ACCEPTED, READY, RECONCILING, STALLED, Verdict, is_true},
    },
    controller::{
        Error, Options,
        context::uid_of,
        events::Announcement,
        jobs::{JobView, Words},
        names,
        status::{Said, conditions},
        work::{
            act::{self, Own},
            children::children,
            health::outage,
            next::{all, bounded, earliest, run_id},
            plan::Start,
            request,
            task::write,
        },
    },
    rules::wrong_terms,
};

/// What shall be done about a drill.
pub type Decision = act::Decision<RecoveryDrillStatus>;

/// What was found.
pub struct Observed {
    pub service: Option<BackupSyncService>,
    pub source: Option<DatabaseInstance>,
    pub region: Option<Region>,
    /// Oldest first.
    pub jobs: Vec<JobView>,
    pub words: Option<Words>,
    pub terminating: bool,
    /// Id of the last run that was started here.
    pub last_run: Option<String>,
}

/// Decides on a drill.
///
/// # Errors
/// Never for tasks built here.
pub fn decide(
    drill: &RecoveryDrill,
    observed: &Observed,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    if observed.terminating || drill.metadata.deletion_timestamp.is_some() {
        return Ok(Decision::default());
    }
    let mut decision = Decision::default();
    let mut status = drill.status.clone().unwrap_or_default();
    status.observed = None;
    let name = drill.name_any();
    let copy = match copy(drill, observed, runs(&status)) {
        Ok(copy) => copy,
        Err((reason, message)) => {
            decision.end = all(&observed.jobs);
            status.phase = Some(DrillPhase::Pending);
            status.next_time = None;
            let said = both(Verdict::False, reason, &format!("drill {name}: {message}"), RECONCILING);
            return Ok(finish(drill, decision, (status, said), now));
        }
    };
    let next = match next_time(drill, &status, now) {
        Ok(next) => next,
        Err(message) => {
            status.phase = Some(DrillPhase::Pending);
            let said = both(Verdict::False, "InvalidSchedule", &format!("drill {name}: {message}"), STALLED);
            return Ok(finish(drill, decision, (status, said), now));
        }
    };
    if let Some(number) = status.number.filter(|_| runs(&status)) {
        go_on(drill, (copy, observed), (&mut status, number), &mut decision, (options, now))?;
    } else {
        let wanted = request::pending(drill);
        let due = !drill.spec.suspend && next <= now || wanted.is_some();
        let closed = options.timing.probes.is_some() && outage(copy.2).is_some();
        if due && !closed {
            begin(&mut status, drill, copy.0, (wanted, now));
            // The number is in the status before its Job is: what runs is told from what has run.
            decision.next_look = Duration::from_millis(100);
        }
    }
    let runs = runs(&status);
    status.phase = Some(match (runs, drill.spec.suspend) {
        (true, _) => DrillPhase::Running,
        (false, true) => DrillPhase::Suspended,
        (false, false) => DrillPhase::Scheduled,
    });
    let next = next_time(drill, &status, now).unwrap_or(next);
    status.next_time = (!drill.spec.suspend).then_some(Time(next));
    if decision.next_look.is_zero() {
        let look = if runs {
            Duration::from_secs(15)
        } else {
            earliest(&[status.next_time.as_ref().map(|t| t.0)], now)
        };
        decision.next_look = bounded(look, options);
    }
    let said = said(drill, &status, observed.words.as_ref());
    Ok(finish(drill, decision, (status, said), now))
}

/// The drill under way: its Job, and what came of it.
fn go_on(
    drill: &RecoveryDrill,
    (copy, observed): (Copy<'_>, &Observed),
    (status, number): (&mut RecoveryDrillStatus, u32),
    decision: &mut Decision,
    (options, now): (&Options, Timestamp),
) -> Result<(), Error> {
    let task = task::restore(drill, copy, (number, status.asked.as_ref().map(|asked| asked.0)));
    let work = task::work(drill, copy.0, copy.1.spec.engine);
    let written = write(drill, &task, &work)?;
    let job = observed.jobs.iter().rev().find(|job| job.task == written.work);
    if let Some(result) = outcome(drill, status, (number, job), now) {
        decision.end = all(&observed.jobs);
        decision.announcements.push(told(drill, &result));
        remember(status, drill, result);
    } else if job.is_none() {
        // Of a drill that was edited while it ran, only the new one goes on.
        decision.end = all(&observed.jobs);
        decision.own.push(Own::Closed(Box::new(task::closed(drill))));
        let start = Start { slot: format!("drill:{}", written.work), attempt: 0, request: None };
        let run_id = run_id(drill, &observed.jobs, observed.last_run.as_deref(), now);
        decision.start = Some(Box::new(children(drill, (&written, &work), (&start, run_id), options)));
    }
    Ok(())
}

type Copy<'a> = (&'a BackupSyncService, &'a DatabaseInstance, &'a Region);

/// A drill was begun, and nothing came of it yet.
fn runs(status: &RecoveryDrillStatus) -> bool {
    status.number > status.last.as_ref().map(|last| last.number)
}

/// What is restored from. A drill that runs is not kept from its end by what keeps others from their begin.
fn copy<'a>(
    drill: &RecoveryDrill,
    observed: &'a Observed,
    runs: bool,
) -> Result<Copy<'a>, (&'static str, String)> {
    let wanted = &drill.spec.service_ref.name;
    let Some(service) = &observed.service else {
        return Err((
            "UnknownService",
            format!("there is no BackupSyncService {wanted} in its namespace; create it"),
        ));
    };
    let accepted = service.status.as_ref().is_some_and(|status| is_true(&status.conditions, ACCEPTED));
    if !accepted && !runs {
        return Err((
            "ServiceNotAccepted",
            format!("BackupSyncService {wanted} is not accepted; see its condition Accepted"),
        ));
    }
    if windows(service).is_empty() && !runs {
        return Err((
            "NothingRestorable",
            format!("the copy of service {wanted} holds nothing that can be restored yet"),
        ));
    }
    let engine = observed.source.as_ref().map(|source| source.spec.engine);
    if let Some(wrong) = engine.and_then(|engine| wrong_terms(engine, &drill.spec.instance)).filter(|_| !runs)
    {
        return Err(("TermsNotAccepted", format!("spec.instance.{wrong}")));
    }
    match (&observed.source, &observed.region) {
        (Some(source), Some(region)) => Ok((service, source, region)),
        (None, _) => Err((
            "UnknownInstance",
            format!("there is no DatabaseInstance {}", service.spec.instance_ref.name),
        )),
        (_, None) => Err(("UnknownRegion", format!("there is no Region {}", service.spec.target.region))),
    }
}

fn windows(service: &BackupSyncService) -> &[RecoveryWindow] {
    service.status.as_ref().map(|status| status.recovery_windows.as_slice()).unwrap_or_default()
}

fn begin(
    status: &mut RecoveryDrillStatus,
    drill: &RecoveryDrill,
    service: &BackupSyncService,
    (wanted, now): (Option<String>, Timestamp),
) {
    let number = status.number.unwrap_or(0) + 1;
    status.number = Some(number);
    status.begun_at = Some(Time(now));
    status.asked = match drill.spec.moment {
        DrillMoment::Latest => None,
        DrillMoment::Random => {
            let seed = names::hash_of(&[&uid_of(drill), &number.to_string(), &now.to_string()]);
            random(windows(service), &seed).map(Moment)
        }
    };
    if let Some(requested_at) = wanted {
        status.last_run_request = Some(RunRequest { requested_at, completed_at: None });
    }
}

fn remember(status: &mut RecoveryDrillStatus, drill: &RecoveryDrill, result: DrillResult) {
    if let Some(request) = &mut status.last_run_request {
        request.completed_at.get_or_insert(result.completed_at.clone());
    }
    status.asked = None;
    if result.result == DrillOutcome::Passed {
        status.last_passed = Some(result.clone());
    }
    status.last = Some(result.clone());
    status.history.insert(0, result);
    status.history.truncate(usize::try_from(drill.spec.history_limit).unwrap_or(10));
}

fn told(drill: &RecoveryDrill, result: &DrillResult) -> Announcement {
    let (name, number) = (drill.name_any(), result.number);
    let moment = result.time_point.as_ref().map(|moment| format!(" to {}", moment.0)).unwrap_or_default();
    match &result.message {
        None => Announcement::normal(
            "DrillPassed",
            format!("drill {name}: number {number} restored{moment} in {}", result.duration),
        ),
        Some(why) => Announcement::warning(
            "DrillFailed",
            format!("drill {name}: number {number}{moment} failed: {why}"),
        ),
    }
}

fn said(drill: &RecoveryDrill, status: &RecoveryDrillStatus, words: Option<&Words>) -> Vec<Said> {
    let name = drill.name_any();
    let accepted = || {
        (
            ACCEPTED,
            Verdict::True,
            "Accepted".to_owned(),
            "the copy that it names can be restored from".to_owned(),
        )
    };
    if let (Some(DrillPhase::Running), Some((reason, message))) = (status.phase, words) {
        let message = format!("drill {name}: {message}");
        return vec![
            (READY, Verdict::False, reason.clone(), message.clone()),
            accepted(),
            (RECONCILING, Verdict::True, reason.clone(), message),
        ];
    }
    let (verdict, reason, message) = match &status.last {
        None => (Verdict::Unknown, "NotRunYet", format!("drill {name} has not run yet")),
        Some(DrillResult { message: None, number, time_point, .. }) => {
            let moment = time_point.as_ref().map(|moment| moment.0.to_string()).unwrap_or_default();
            (Verdict::True, "Passed", format!("drill {name}: number {number} restored {moment}"))
        }
        Some(DrillResult { message: Some(why), number, .. }) => {
            (Verdict::False, "Failed", format!("drill {name}: number {number} failed: {why}"))
        }
    };
    vec![(READY, verdict, reason.to_owned(), message), accepted()]
}

fn both(verdict: Verdict, reason: &str, message: &str, kstatus: &'static str) -> Vec<Said> {
    let say = |type_, verdict| (type_, verdict, reason.to_owned(), message.to_owned());
    vec![say(READY, verdict), say(ACCEPTED, verdict), say(kstatus, Verdict::True)]
}

fn finish(
    drill: &RecoveryDrill,
    mut decision: Decision,
    (status, said): (RecoveryDrillStatus, Vec<Said>),
    now: Timestamp,
) -> Decision {
    let generation = drill.metadata.generation;
    let conditions = conditions(drill.conditions(), generation, now, said);
    decision.status = Some(RecoveryDrillStatus { observed_generation: generation, conditions, ..status });
    if decision.next_look.is_zero() {
        decision.next_look = Duration::from_secs(30);
    }
    decision
}
