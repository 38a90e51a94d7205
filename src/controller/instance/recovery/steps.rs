//! The steps on the way: a plan, the restore, the server.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    super::{
        database::{claim, database, endpoint},
        task,
    },
    Case, Decision, Goal,
    stand::{Stand, accepted},
};
use crate::{
    api::{
        BackupSyncService, InstancePhase, NewInstance, RecoveryStatus, Region, Served,
        condition::{READY, Verdict},
    },
    controller::{
        Error, backoff,
        jobs::{JobState, JobView},
        work::{act::Own, plan::Start, task::write, trouble::job_trouble},
    },
};

/// The last report of a worker is seen by then.
const REPORT: SignedDuration = SignedDuration::from_secs(30);
/// Longest pause between two attempts at a plan.
const LONGEST: Duration = Duration::from_mins(1);

impl Case<'_> {
    pub(super) fn planning(
        &self,
        mut recovery: RecoveryStatus,
        copy: (&BackupSyncService, &Region),
        decision: &mut Decision,
    ) -> Result<Stand, Error> {
        let task = task::plan(self.instance, copy, recovery.attempt.unwrap_or(1));
        let work = task::plan_work(copy.0);
        let written = write(self.instance, &task, &work)?;
        let newest = self.observed.plans.iter().rev().find(|job| job.task == written.work);
        recovery.plan = None;
        let report = newest.and_then(|job| self.report_of(job));
        if let Some(refusal) = report.and_then(|report| report.refusal.as_ref()) {
            let message =
                format!("instance {}: {}; create it anew with a moment within", self.name(), refusal.message);
            return Ok(self.fail(recovery, "OutsideWindow", message));
        }
        if let Some(plan) = report.and_then(|report| report.plan.clone()) {
            recovery.plan = Some(plan);
            // What comes next is decided with the plan in the status, where everybody can read it.
            decision.next_look = Duration::from_millis(100);
            return Ok(self.underway(
                InstancePhase::Planning,
                recovery,
                ("Planning", "the plan is made".to_owned()),
            ));
        }
        let trouble = newest.and_then(job_trouble);
        if let Some(trouble) = trouble.as_ref().filter(|trouble| trouble.permanent) {
            return Ok(self.fail(
                recovery,
                &trouble.reason,
                format!("instance {}: {}", self.name(), trouble.message),
            ));
        }
        if !newest.is_some_and(JobView::is_active) {
            let start = match newest {
                None => Start { slot: format!("plan:{}", written.work), attempt: 0, request: None },
                Some(job) => {
                    let attempt = job.attempt.saturating_add(1);
                    let at = job.ended().unwrap_or(self.now) + backoff::pause(attempt).min(LONGEST);
                    if at > self.now {
                        let (reason, message) = trouble
                            .map_or(("Planning".to_owned(), "the plan is made again".to_owned()), |t| {
                                (t.reason, t.message)
                            });
                        return Ok(Stand { recovery, ..self.waiting(&reason, message) });
                    }
                    Start { slot: format!("plan-after:{}", job.uid), attempt, request: None }
                }
            };
            self.start(decision, (&written, &task, &work), &start);
        }
        let words = self.troubled(&self.observed.plans).or_else(|| trouble.map(|t| (t.reason, t.message)));
        let (reason, message) = words.unwrap_or_else(|| {
            ("Planning".to_owned(), "what the restore reads is being worked out".to_owned())
        });
        Ok(self.underway(InstancePhase::Planning, recovery, (&reason, message)))
    }

    pub(super) fn restoring(
        &self,
        mut recovery: RecoveryStatus,
        copy: (&BackupSyncService, &Region),
        goal: Goal<'_>,
        decision: &mut Decision,
    ) -> Result<Stand, Error> {
        if let Some(taken) = &self.observed.taken {
            let message = format!(
                "instance {}: {taken} is there already and belongs to something else: nothing is overwritten; delete it, or create this instance under another name",
                self.name()
            );
            return Ok(self.fail(recovery, "NameTaken", message));
        }
        let Some(moment) = recovery.plan.as_ref().map(|plan| plan.time_point.0) else {
            return Ok(self.waiting("Planning", "there is no plan yet".to_owned()));
        };
        let task = task::restore(self.instance, copy, (recovery.attempt.unwrap_or(1), moment));
        let work = match goal {
            Goal::New(new) => task::restore_work(self.instance, copy.0, new),
            Goal::Existing(cluster) => task::existing_work(copy.0, cluster),
        };
        let written = write(self.instance, &task, &work)?;
        let newest = self.observed.restores.iter().rev().find(|job| job.task == written.work);
        let report = newest.and_then(|job| self.report_of(job));
        if let Some(reached) = report.and_then(|report| report.reached.as_ref()) {
            recovery.time_point = Some(reached.time_point);
            recovery.last_commit = reached.last_commit;
            recovery.transactions = Some(reached.transactions);
            (recovery.step, recovery.percent) = (None, Some(100));
            decision.next_look = Duration::from_millis(100);
            return Ok(self.underway(
                InstancePhase::Starting,
                recovery,
                ("Starting", "the server starts".to_owned()),
            ));
        }
        let progress = newest.and_then(|job| {
            self.instance.observed().filter(|report| report.run_id == job.run_id)?.progress.clone()
        });
        match newest.map(|job| &job.state) {
            // Two of them on one volume would undo each other's work: the earlier one ends first.
            None if self.observed.restore_pods > 0 || self.is_restoring() => {
                decision.end = self.active();
                decision.next_look = Duration::from_secs(1);
                let message = "an earlier restore into the same volume ends first".to_owned();
                return Ok(self.underway(InstancePhase::Restoring, recovery, ("Restoring", message)));
            }
            None => {
                if let Goal::New(new) = goal {
                    decision.own.push(Own::Claim(Box::new(claim(self.instance, new))));
                }
                let start = Start { slot: format!("restore:{}", written.work), attempt: 0, request: None };
                self.start(decision, (&written, &task, &work), &start);
            }
            Some(JobState::Active) => {}
            Some(JobState::Failed { .. }) => {
                let trouble = newest.and_then(job_trouble);
                let (reason, message) = trouble.map_or_else(
                    || ("WorkerFailed".to_owned(), "the restore failed".to_owned()),
                    |trouble| (trouble.reason, trouble.message),
                );
                let message = format!(
                    "instance {}: the restore failed: {message}; mend that, then: kubectl annotate databaseinstance {} -n {} --overwrite {}=$(date -u +%FT%TZ)",
                    self.name(),
                    self.name(),
                    self.instance.namespace().unwrap_or_default(),
                    crate::api::RUN_REQUESTED
                );
                return Ok(self.fail(recovery, &reason, message));
            }
            Some(JobState::Succeeded { at }) if *at + REPORT < self.now => {
                let message = format!(
                    "instance {}: the worker ended well, and told nothing; see kubectl logs job/{}",
                    self.name(),
                    newest.map(|job| job.name.clone()).unwrap_or_default()
                );
                return Ok(self.fail(recovery, "NoReport", message));
            }
            Some(JobState::Succeeded { .. }) => decision.next_look = Duration::from_secs(1),
        }
        let mut words = format!("the restore to {moment} is under way");
        if let Some(progress) = progress {
            let percent =
                (progress.done_bytes * 100).checked_div(progress.total_bytes).unwrap_or(100).min(100);
            recovery.percent = u8::try_from(percent).ok();
            words = format!("{words}: {}, {percent} % fetched", progress.step);
            recovery.step = Some(progress.step);
        }
        let (reason, message) =
            self.troubled(&self.observed.restores).unwrap_or(("Restoring".to_owned(), words));
        Ok(self.underway(InstancePhase::Restoring, recovery, (&reason, message)))
    }

    /// The restore is done: server and Service shall be.
    pub(super) fn serving(&self, new: &NewInstance, decision: &mut Decision) -> Stand {
        let mut recovery = self.old.clone();
        // A server never shares its volume with who restored it.
        if recovery.completed_at.is_none() && (self.observed.restore_pods > 0 || self.is_restoring()) {
            decision.end = self.active();
            decision.next_look = Duration::from_secs(1);
            let message = "the restore is done, its pod ends".to_owned();
            return self.underway(InstancePhase::Starting, recovery, ("Starting", message));
        }
        let made = database(self.instance, new);
        decision.own = vec![Own::Service(Box::new(made.service)), Own::Server(Box::new(made.server))];
        let address = endpoint(self.instance);
        let ready = self.observed.server.as_ref().is_some_and(|pod| pod.alive && pod.ready);
        if !ready {
            let trouble = self.observed.server.as_ref().and_then(|pod| pod.trouble.clone());
            let (reason, message) =
                trouble.unwrap_or_else(|| ("Starting".to_owned(), "the server starts".to_owned()));
            let phase = if recovery.completed_at.is_some() {
                InstancePhase::Unreachable
            } else {
                InstancePhase::Starting
            };
            return self.underway(phase, recovery, (&reason, message));
        }
        self.complete(&mut recovery);
        let moment = recovery.time_point.as_ref().map(|moment| moment.0.to_string()).unwrap_or_default();
        Self::restored(recovery, format!("instance {} shows {moment} and listens at {address}", self.name()))
    }

    /// A cluster that was there already has been restored: it is its owner's.
    pub(super) fn handed_over(&self) -> Stand {
        let mut recovery = self.old.clone();
        self.complete(&mut recovery);
        let moment = recovery.time_point.as_ref().map(|moment| moment.0.to_string()).unwrap_or_default();
        let message = format!(
            "instance {}: its agents restored the cluster of spec.bootstrap.existing to {moment}",
            self.name()
        );
        Self::restored(recovery, message)
    }

    fn complete(&self, recovery: &mut RecoveryStatus) {
        if recovery.completed_at.is_none() {
            recovery.completed_at = Some(Time(self.now));
            let took = recovery.started_at.as_ref().map(|began| self.now.duration_since(began.0));
            recovery.duration = took.map(|took| format!("{}s", took.as_secs().max(0)));
        }
    }

    fn restored(recovery: RecoveryStatus, message: String) -> Stand {
        Stand {
            phase: InstancePhase::Running,
            recovery,
            said: vec![(READY, Verdict::True, "Restored".to_owned(), message), accepted()],
        }
    }
}
