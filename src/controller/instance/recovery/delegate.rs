//! A restore that another operator carries out: its resource is made once the plan is, and followed.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    AGAIN, Case, Decision,
    stand::{Stand, accepted},
};
use crate::{
    api::{
        BackupSyncService, InstancePhase, RecoveryStatus, Region, Via,
        condition::{READY, Verdict},
    },
    controller::{
        Error,
        instance::{
            task,
            via::{self, Delegate, Order, Standing, State},
        },
        jobs::JobView,
        work::{act::Own, plan::Start, task::write},
    },
    rules::Objection,
};

/// While the other operator is at work: its resources are not watched.
const SOON: Duration = Duration::from_secs(5);
/// Between two renewals of the hold, which lasts twice as long.
const RENEW: SignedDuration = SignedDuration::from_hours(1);

impl Case<'_> {
    /// Who carries the restore out, if not we.
    pub(super) fn via(&self) -> Option<&Via> {
        self.instance.spec.bootstrap.as_ref()?.recovery.via.as_ref()
    }

    /// Why the other operator can't be asked.
    pub(super) fn not_delegable(&self) -> Option<Objection> {
        let via = self.via()?;
        let profile = via::profile(via.operator);
        let name = self.name();
        let (reason, message) = match self.observed.delegate.as_ref()?.standing {
            Standing::Ready => return None,
            Standing::Missing(kind) => (
                "OperatorMissing",
                format!(
                    "instance {name}: this cluster does not know {}.{} ({}): install {}, in a version that has it, or create the instance anew without spec.bootstrap.recovery.via",
                    kind.plural, kind.group, kind.version, profile.name
                ),
            ),
            Standing::Forbidden => (
                "OperatorForbidden",
                format!(
                    "instance {name}: Farshore's controller may not make a {} of {}; ask an administrator to set {}: true in the values of Farshore's chart",
                    profile.main.kind, profile.name, profile.value
                ),
            ),
        };
        Some(Objection { waiting: true, reason, message })
    }

    /// The plan is made: the other operator's resource shall be.
    pub(super) fn delegating(
        &self,
        mut recovery: RecoveryStatus,
        copy: (&BackupSyncService, &Region),
        via: &Via,
        decision: &mut Decision,
    ) -> Result<Stand, Error> {
        decision.next_look = SOON;
        let Some(delegate) = &self.observed.delegate else {
            return Ok(self.waiting("Restoring", "nothing is known of the other operator".to_owned()));
        };
        if let Some(taken) = &delegate.taken {
            let message = format!(
                "instance {}: {taken}: nothing is overwritten; delete it and ask for another attempt, or create this instance under another name",
                self.name()
            );
            return Ok(self.fail(recovery, "NameTaken", message));
        }
        let attempt = recovery.attempt.unwrap_or(1);
        let name = via::main_name(self.instance, via.operator, attempt);
        let called = via::called(via.operator, &name);
        let Some(main) = &delegate.main else {
            if recovery.rendered.is_some() {
                let message = format!("instance {}: {called} was deleted before it was ready", self.name());
                return Ok(self.fail(recovery, "Deleted", message));
            }
            return Ok(self.rendering(recovery, copy, (via, delegate, &called), decision));
        };
        recovery.rendered = Some(via::reference(via.operator, &name));
        match via::state(via.operator, main) {
            State::Ready => {
                recovery.time_point = recovery.plan.as_ref().map(|plan| plan.time_point);
                recovery.percent = None;
                decision.next_look = Duration::from_millis(100);
                let said = format!("{called} is ready");
                Ok(self.underway(InstancePhase::Starting, recovery, ("Starting", said)))
            }
            State::Failed(said) => {
                let message = format!(
                    "instance {}: {called} failed: {said}; mend that, then: kubectl annotate databaseinstance {} -n {} --overwrite {}=$(date -u +%FT%TZ)",
                    self.name(),
                    self.name(),
                    self.instance.namespace().unwrap_or_default(),
                    crate::api::RUN_REQUESTED
                );
                Ok(self.fail(recovery, "RestoreFailed", message))
            }
            State::Working(said) => {
                self.hold(&recovery, copy, decision)?;
                let said = format!("{called}: {said}");
                Ok(self.underway(InstancePhase::Restoring, recovery, ("Restoring", said)))
            }
        }
    }

    fn rendering(
        &self,
        recovery: RecoveryStatus,
        (service, region): (&BackupSyncService, &Region),
        (via, delegate, called): (&Via, &Delegate, &str),
        decision: &mut Decision,
    ) -> Stand {
        if let (Some(kind), None, Some(cluster)) =
            (via::profile(via.operator).cluster, &delegate.cluster, &via.cluster_ref)
        {
            let message = format!("there is no {} {} in its namespace; create it", kind.kind, cluster.name);
            return self.underway(InstancePhase::Pending, recovery, ("UnknownCluster", message));
        }
        let bootstrap = self.instance.spec.bootstrap.as_ref();
        let Some(plan) = &recovery.plan else {
            return self.waiting("Planning", "there is no plan yet".to_owned());
        };
        let order = Order {
            instance: self.instance,
            via,
            new: bootstrap.and_then(|bootstrap| bootstrap.instance.as_ref()),
            service,
            region,
            plan,
            attempt: recovery.attempt.unwrap_or(1),
            plugin: delegate.plugin,
        };
        match via::render(&order) {
            Err((reason, message)) => self.fail(recovery, reason, message),
            Ok(objects) => {
                decision.own.extend(objects.into_iter().map(|made| Own::Foreign(Box::new(made))));
                decision.next_look = Duration::from_secs(1);
                if let Some(refused) = &delegate.refused {
                    decision.next_look = AGAIN;
                    let said = format!("{called} is not taken by the API server: {refused}");
                    return self.underway(InstancePhase::Restoring, recovery, ("Refused", said));
                }
                let said = format!("{called} is made");
                self.underway(InstancePhase::Restoring, recovery, ("Restoring", said))
            }
        }
    }

    /// No worker of ours holds what the other operator reads: a plan of the same moment does, again and again.
    fn hold(
        &self,
        recovery: &RecoveryStatus,
        copy: (&BackupSyncService, &Region),
        decision: &mut Decision,
    ) -> Result<(), Error> {
        let Some(plan) = &recovery.plan else { return Ok(()) };
        let hours = self.now.duration_since(plan.made_at.0).as_secs() / RENEW.as_secs();
        let due = plan.made_at.0 + SignedDuration::from_secs(hours * RENEW.as_secs());
        let is_held = |job: &JobView| job.is_active() || job.created >= due;
        if hours < 1 || self.observed.plans.iter().any(is_held) {
            return Ok(());
        }
        let task = task::hold(self.instance, copy, (recovery.attempt.unwrap_or(1), plan.time_point.0));
        let work = task::plan_work(copy.0);
        let written = write(self.instance, &task, &work)?;
        let start = Start { slot: format!("hold:{}:{hours}", written.work), attempt: 0, request: None };
        self.start(decision, (&written, &task, &work), &start);
        Ok(())
    }

    /// The moment was reached: what is there is the other operator's.
    pub(super) fn followed(&self, via: &Via, decision: &mut Decision) -> Stand {
        decision.next_look = AGAIN;
        let mut recovery = self.old.clone();
        let delegate = self.observed.delegate.as_ref();
        let (called, said) = served(via, &self.name(), delegate);
        if let Some(said) = said {
            let phase = if recovery.completed_at.is_some() {
                InstancePhase::Unreachable
            } else {
                InstancePhase::Starting
            };
            return self.underway(phase, recovery, ("NotReady", format!("{called}: {said}")));
        }
        if recovery.completed_at.is_none() {
            recovery.completed_at = Some(Time(self.now));
            let took = recovery.started_at.as_ref().map(|began| self.now.duration_since(began.0));
            recovery.duration = took.map(|took| format!("{}s", took.as_secs().max(0)));
        }
        let moment = recovery.time_point.as_ref().map(|moment| moment.0.to_string()).unwrap_or_default();
        let message = format!("instance {}: {called} shows {moment}", self.name());
        Stand {
            phase: InstancePhase::Running,
            recovery,
            said: vec![(READY, Verdict::True, "Restored".to_owned(), message), accepted()],
        }
    }
}

/// What serves, and why it does not. A restore into a cluster is over: the cluster serves.
fn served(via: &Via, name: &str, delegate: Option<&Delegate>) -> (String, Option<String>) {
    let gone = || Some("it is gone".to_owned());
    if let (Some(kind), Some(cluster)) = (via::profile(via.operator).cluster, &via.cluster_ref) {
        let called = format!("{} {}", kind.kind, cluster.name);
        let Some(cluster) = delegate.and_then(|delegate| delegate.cluster.as_ref()) else {
            return (called, gone());
        };
        let state = cluster.data["status"]["state"].as_str().unwrap_or("unknown");
        return (called, (state != "ready").then(|| state.to_owned()));
    }
    let called = via::called(via.operator, name);
    let Some(main) = delegate.and_then(|delegate| delegate.main.as_ref()) else { return (called, gone()) };
    match via::state(via.operator, main) {
        State::Ready => (called, None),
        State::Working(said) | State::Failed(said) => (called, Some(said)),
    }
}
