//! What shall be of an instance that is restored: pure.
//!
//! First a plan, then the restore into a new volume, then server and Service. What was reached once is never
//! repeated; an attempt that failed stays failed until somebody asks for another.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

mod delegate;
mod stand;
mod steps;

use self::stand::Stand;
use super::{database::endpoint, observe::Observed, via};
use crate::{
    api::{
        DatabaseInstance, DatabaseInstanceStatus, ExistingCluster, NewInstance, RecoveryReport,
        RecoveryStatus, RunRequest, Served,
    },
    controller::{
        Error, Options,
        jobs::JobView,
        status::conditions,
        work::{
            act,
            children::{self, children},
            health::outage,
            next::{all, run_id},
            plan::Start,
            request,
            task::Written,
            trouble::{Worker, worker},
            words,
        },
    },
    rules::judge_recovery,
    task::Task,
};

/// What shall be done about an instance.
pub type Decision = act::Decision<DatabaseInstanceStatus>;

/// A pod that does not work by then is told of.
const START: SignedDuration = SignedDuration::from_secs(15);
/// A plan for the latest moment that is older is made anew.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// What it waits for is watched; this is for what was missed.
const AGAIN: Duration = Duration::from_secs(15);

struct Case<'a> {
    instance: &'a DatabaseInstance,
    observed: &'a Observed,
    options: &'a Options,
    now: Timestamp,
    old: RecoveryStatus,
    /// The request for another attempt.
    request: Option<String>,
}

/// What is restored into.
#[derive(Clone, Copy)]
enum Goal<'a> {
    New(&'a NewInstance),
    /// A cluster that is there already.
    Existing(&'a ExistingCluster),
}

/// Decides on an instance with `spec.bootstrap`.
///
/// # Errors
/// Never for tasks built here.
pub fn decide(
    instance: &DatabaseInstance,
    observed: &Observed,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    if observed.terminating || instance.metadata.deletion_timestamp.is_some() {
        return Ok(Decision::default());
    }
    let old = instance.status.as_ref().and_then(|status| status.recovery.clone()).unwrap_or_default();
    let case = Case { instance, observed, options, now, old, request: request::pending(instance) };
    let mut decision = Decision { next_look: AGAIN, ..Decision::default() };
    let stand = case.stand(&mut decision)?;
    let last = instance.status.as_ref().and_then(|status| status.last_run_request.clone());
    let honoured = stand.recovery.request.clone();
    let last_run_request = honoured
        .map(|requested_at| RunRequest { requested_at, completed_at: stand.recovery.completed_at.clone() });
    let generation = instance.metadata.generation;
    let status = DatabaseInstanceStatus {
        observed_generation: generation,
        phase: Some(stand.phase),
        backup_sync: None,
        endpoint: stand.recovery.time_point.is_some().then(|| case.endpoint()).flatten(),
        recovery: Some(stand.recovery),
        last_run_request: last_run_request.or(last),
        conditions: conditions(instance.conditions(), generation, now, stand.said),
        observed: None,
    };
    decision.announcements.extend(words::changes(instance.conditions(), &status.conditions));
    decision.status = Some(status);
    Ok(decision)
}

impl Case<'_> {
    fn name(&self) -> String {
        self.instance.name_any()
    }

    /// Where it listens, if that is known.
    fn endpoint(&self) -> Option<String> {
        if let Some(Goal::Existing(_)) = self.goal() {
            return None;
        }
        let Some(via) = self.via() else { return Some(endpoint(self.instance)) };
        let cluster = self.observed.delegate.as_ref().and_then(|delegate| delegate.cluster.as_ref());
        let known = self.instance.status.as_ref().and_then(|status| status.endpoint.clone());
        via::endpoint(self.instance, via, cluster).or(known)
    }

    fn stand(&self, decision: &mut Decision) -> Result<Stand, Error> {
        if let (Some(_), Some(via)) = (&self.old.time_point, self.via()) {
            return Ok(self.followed(via, decision));
        }
        let goal = self.goal();
        if let (Some(_), Some(goal)) = (&self.old.time_point, goal) {
            return Ok(match goal {
                Goal::New(new) => self.serving(new, decision),
                Goal::Existing(_) => self.handed_over(),
            });
        }
        let rests = self.old.failure.is_some() || (self.old.plan.is_some() && self.plan_only());
        let again = self.request.is_some() && rests;
        if let Some(failure) = self.old.failure.as_ref().filter(|_| !again) {
            decision.end = self.active();
            return Ok(self.failed(failure.clone()));
        }
        let service = self.observed.service.as_ref();
        // Checked before it begins. A service that is deleted meanwhile waits for what is restored from its copy.
        let judged =
            judge_recovery(self.instance, service, self.observed.source.as_ref(), &self.observed.standbys);
        if let Some(objection) = judged.err().filter(|_| !self.is_restoring()) {
            decision.end = self.active();
            return Ok(self.kept_out(&objection));
        }
        if let Some(objection) = self.not_delegable() {
            return Ok(self.kept_out(&objection));
        }
        let Some((service, region)) = service.zip(self.observed.region.as_ref()) else {
            return Ok(self.waiting(
                "UnknownRegion",
                "its service's target Region is not there; create it again".to_owned(),
            ));
        };
        let recovery = if again || self.old.attempt.is_none() { self.begin() } else { self.old.clone() };
        let asked = self.options.timing.probes.is_some() && !self.is_restoring();
        if let Some((reason, message)) = outage(region).filter(|_| asked) {
            return Ok(Stand { recovery, ..self.waiting(&reason, message) });
        }
        if self.is_planned(&recovery) {
            if let Some(via) = self.via().filter(|_| !self.plan_only()) {
                return self.delegating(recovery, (service, region), via, decision);
            }
            match goal.filter(|_| !self.plan_only()) {
                None => Ok(self.planned(recovery)),
                Some(goal) => self.restoring(recovery, (service, region), goal, decision),
            }
        } else {
            self.planning(recovery, (service, region), decision)
        }
    }

    fn goal(&self) -> Option<Goal<'_>> {
        let bootstrap = self.instance.spec.bootstrap.as_ref()?;
        let new = bootstrap.instance.as_ref().map(Goal::New);
        new.or_else(|| bootstrap.existing.as_ref().map(Goal::Existing))
    }

    fn is_restoring(&self) -> bool {
        let is_delegated = self.old.rendered.is_some() && self.old.failure.is_none();
        is_delegated || self.observed.restores.iter().any(JobView::is_active)
    }

    fn plan_only(&self) -> bool {
        self.instance.spec.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.recovery.plan_only)
    }

    /// Another attempt, from nothing.
    fn begin(&self) -> RecoveryStatus {
        RecoveryStatus {
            attempt: Some(self.old.attempt.unwrap_or(0) + 1),
            started_at: Some(Time(self.now)),
            request: self.request.clone().or_else(|| self.old.request.clone()),
            ..RecoveryStatus::default()
        }
    }

    /// The plan is there, for what is asked now.
    fn is_planned(&self, recovery: &RecoveryStatus) -> bool {
        let Some(plan) = &recovery.plan else { return false };
        let asked = self.instance.spec.bootstrap.as_ref().and_then(|b| b.recovery.time_point);
        match asked {
            Some(asked) => asked == plan.time_point,
            // Once a restore runs, its plan stays.
            None => {
                self.is_restoring()
                    || self.plan_only()
                    || recovery.step.is_some()
                    || plan.made_at.0 + FRESH > self.now
            }
        }
    }

    /// The worker's report, when it is this Job's.
    fn report_of(&self, job: &JobView) -> Option<&RecoveryReport> {
        let report = self.instance.observed().filter(|report| report.run_id == job.run_id)?;
        report.cycle.as_ref()
    }

    /// Why no pod works, once that takes long.
    fn troubled(&self, jobs: &[JobView]) -> Option<(String, String)> {
        match worker(jobs, self.observed.words.as_ref()) {
            Worker::Starting { since, why } if since + START <= self.now => why,
            _ => None,
        }
    }

    /// Jobs that still run, and shall not.
    fn active(&self) -> Vec<(String, Option<String>)> {
        let jobs = self.observed.plans.iter().chain(&self.observed.restores);
        all(&jobs.filter(|job| job.is_active()).cloned().collect::<Vec<_>>())
    }

    fn start(
        &self,
        decision: &mut Decision,
        (written, _, work): (&Written, &Task, &children::Work),
        start: &Start,
    ) {
        let jobs = self.observed.plans.iter().chain(&self.observed.restores);
        let run_id = run_id(self.instance, jobs, self.observed.last_run.as_deref(), self.now);
        let children = children(self.instance, (written, work), (start, run_id), self.options);
        decision.start = Some(Box::new(children));
    }
}
