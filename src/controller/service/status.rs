//! The status of an accepted service: from its worker's report, its Jobs, its regions.

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    findings,
    measured::{Measured, measured},
    observe::Observed,
    rpo::within_rpo,
    worker::{Trouble, Worker, failure, worker},
};
use crate::{
    api::{
        BackupSyncService, BackupSyncServiceStatus, Cycle, FailureSide, InstancePhase, Region, RunRequest,
        ServicePhase, TimePointBasis,
        condition::{
            self, READY, RECONCILING, SOURCE_REACHABLE, SOURCE_RUNNING, STALLED, TARGET_REACHABLE, Verdict,
            WINDOW_CONTIGUOUS,
        },
    },
    controller::{
        Timing,
        status::{Said, conditions, keep},
    },
    rules::instance_phase,
};

/// Something that keeps Jobs from being started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub side: Option<FailureSide>,
    pub reason: String,
    pub message: String,
    /// Only a person can help.
    pub permanent: bool,
}

/// What a status is made from, besides the service itself.
pub struct View<'a> {
    pub service: &'a BackupSyncService,
    pub observed: &'a Observed,
    pub blocked: Option<&'a Blocked>,
    pub timing: &'a Timing,
    pub now: Timestamp,
}

/// How a service stands, in one word and why.
#[derive(Debug)]
enum Health {
    /// All is as it should be.
    Synced,
    /// The first copy is not complete: reason and message.
    First(String, String),
    /// Something is wrong.
    Troubled(Trouble),
}

/// A status, and when it would change by itself.
pub struct Told {
    pub status: BackupSyncServiceStatus,
    pub look: Option<Timestamp>,
    /// Region whose store a worker could not reach.
    pub nudge: Option<String>,
}

impl View<'_> {
    /// The status of an accepted service, but for `source` and the condition `Accepted`.
    #[must_use]
    pub fn accepted(&self, accepted: Said) -> Told {
        let Self { service, observed, blocked: _, timing: _, now } = self;
        let old = service.status.clone().unwrap_or_default();
        let (health, look_at_start) = self.health();
        let measured = measured(service);
        let suspended = service.spec.suspend;
        let current = matches!(health, Health::Synced | Health::First(..)) && !suspended;
        let (rpo, rpo_breaks) =
            within_rpo(service, observed.instance.get(), (measured.as_ref(), current), *now);
        let phase = if suspended { ServicePhase::Suspended } else { self.phase(&health, &old) };
        let mut said = vec![self.ready(&health), accepted];
        said.extend(self.kstatus(&health));
        said.extend([
            self.reachable(SOURCE_REACHABLE, FailureSide::Source, &health),
            self.reachable(TARGET_REACHABLE, FailureSide::Target, &health),
            self.running(),
            rpo,
            contiguous(measured.as_ref(), &old),
        ]);
        said.extend(findings::condition(service));
        let generation = service.metadata.generation;
        let status = BackupSyncServiceStatus {
            observed_generation: generation,
            phase: Some(phase),
            conditions: conditions(&old.conditions, generation, *now, said),
            source: old.source.clone(),
            last_run_request: self.run_request(&old),
            ..figures(measured.map(|measured| measured.cycle), current)
        };
        let look = [look_at_start, rpo_breaks].into_iter().flatten().min();
        Told { status, look, nudge: self.nudge(&health) }
    }

    fn health(&self) -> (Health, Option<Timestamp>) {
        let (observed, blocked) = (self.observed, self.blocked);
        let worker = worker(&observed.syncs, observed.words.as_ref());
        let failure = failure(self.service, observed);
        let known = measured(self.service);
        if let Worker::Starting { since, why } = &worker {
            let end = *since + self.timing.start_grace;
            if end <= self.now {
                return (Health::Troubled(not_starting(self.service, why.as_ref())), None);
            }
            let health = failure.map_or_else(|| self.progress(known.as_ref(), false), Health::Troubled);
            return (health, Some(end));
        }
        if let Some(failure) = failure {
            return (Health::Troubled(failure), None);
        }
        if let (Worker::Idle, Some(blocked)) = (&worker, blocked) {
            let Blocked { side, reason, message, permanent } = blocked.clone();
            return (Health::Troubled(Trouble { side, reason, message, permanent }), None);
        }
        (self.progress(known.as_ref(), worker == Worker::Serving), None)
    }

    /// Whether the first copy is complete.
    fn progress(&self, measured: Option<&Measured>, serving: bool) -> Health {
        let name = self.service.name_any();
        let status = self.service.status.as_ref();
        let Some(Measured { cycle, fresh }) = measured else {
            let message = if serving {
                format!("the first copy of service {name} is under way")
            } else {
                format!("the first worker of service {name} is being started")
            };
            return Health::First("FirstSync".to_owned(), message);
        };
        if cycle.latest_data_time_point.is_none() {
            let findings =
                status.and_then(|status| status.observed.as_ref()).map(|report| report.findings.as_slice());
            let found = findings.unwrap_or_default().iter().find(|finding| finding.reason == "NoFullBackup");
            let message = found.map_or_else(
                || format!("no full backup yet: nothing can be restored from the target of service {name}"),
                |finding| finding.message.clone(),
            );
            return Health::First("NoFullBackup".to_owned(), message);
        }
        let first = status
            .and_then(|status| status.phase)
            .is_none_or(|phase| matches!(phase, ServicePhase::Pending | ServicePhase::Syncing));
        if !fresh && status.and_then(|status| status.phase) == Some(ServicePhase::Syncing) {
            return Health::First(
                "FirstSync".to_owned(),
                format!("the first copy of service {name} is under way"),
            );
        }
        if first && cycle.pending.objects > 0 {
            let message = format!(
                "service {name}: {} objects of the first copy are still to come",
                cycle.pending.objects
            );
            return Health::First("FirstSync".to_owned(), message);
        }
        Health::Synced
    }

    fn phase(&self, health: &Health, old: &BackupSyncServiceStatus) -> ServicePhase {
        let started = self.observed.syncs.iter().any(|job| job.ready_pod().is_some())
            || measured(self.service).is_some();
        match health {
            Health::Synced => ServicePhase::Synced,
            Health::First(..) if started => ServicePhase::Syncing,
            Health::Troubled(trouble) if trouble.permanent => ServicePhase::Failed,
            Health::Troubled(_) if old.last_sync_time.is_some() || measured(self.service).is_some() => {
                ServicePhase::Stale
            }
            Health::First(..) | Health::Troubled(_) => ServicePhase::Pending,
        }
    }

    fn ready(&self, health: &Health) -> Said {
        let name = self.service.name_any();
        let (verdict, reason, message) = match health {
            _ if self.service.spec.suspend => (
                Verdict::True,
                "Suspended".to_owned(),
                format!(
                    "service {name} is suspended: nothing new is copied, what is at the target stays; set spec.suspend: false to go on"
                ),
            ),
            Health::Synced => (Verdict::True, "Synced".to_owned(), self.synced()),
            Health::First(reason, message) => (Verdict::False, reason.clone(), message.clone()),
            Health::Troubled(trouble) => (Verdict::False, trouble.reason.clone(), self.steady(trouble)),
        };
        (READY, verdict, reason, message)
    }

    fn synced(&self) -> String {
        let report = self.service.status.as_ref().and_then(|status| status.observed.as_ref());
        let findings = report.map(|report| report.findings.as_slice()).unwrap_or_default();
        let estimated =
            measured(self.service).is_some_and(|measured| measured.cycle.basis == TimePointBasis::Estimated);
        let basis = if estimated { "; time points are estimated, the format can't prove them" } else { "" };
        match findings.first() {
            None => format!("the target holds what the source had at the last look{basis}"),
            Some(first) => format!(
                "the target holds what the source had at the last look{basis}; {} finding(s), first {}: {}",
                findings.len(),
                first.reason,
                first.message
            ),
        }
    }

    /// The kubelet alternates between two texts for one missing image: the first one stays.
    fn steady(&self, trouble: &Trouble) -> String {
        let old = self.service.status.as_ref().and_then(|status| condition::find(&status.conditions, READY));
        let same = old.filter(|old| old.reason == trouble.reason && trouble.reason == "ImagePullBackOff");
        same.map_or_else(|| trouble.message.clone(), |old| old.message.clone())
    }

    fn kstatus(&self, health: &Health) -> Option<Said> {
        if self.service.spec.suspend {
            return None;
        }
        match health {
            Health::Synced => None,
            Health::First(reason, message) => {
                Some((RECONCILING, Verdict::True, reason.clone(), message.clone()))
            }
            Health::Troubled(trouble) => {
                let type_ = if trouble.permanent { STALLED } else { RECONCILING };
                Some((type_, Verdict::True, trouble.reason.clone(), self.steady(trouble)))
            }
        }
    }

    fn reachable(&self, type_: &'static str, side: FailureSide, health: &Health) -> Said {
        let region = match side {
            FailureSide::Source => self.observed.source_region.as_ref(),
            FailureSide::Target => self.observed.target_region.as_ref(),
        };
        let said = |verdict, reason: &str, message: String| (type_, verdict, reason.to_owned(), message);
        if let Health::Troubled(trouble) = health
            && trouble.side == Some(side)
        {
            return said(Verdict::False, &trouble.reason, trouble.message.clone());
        }
        let Some(region) = region else {
            return said(Verdict::Unknown, "UnknownRegion", "the Region is not there".to_owned());
        };
        // A worker that works is the better witness.
        let works = matches!(health, Health::Synced);
        if let Some(down) = outage(region).filter(|_| !works) {
            return said(Verdict::False, &down.0, down.1);
        }
        match measured(self.service) {
            Some(_) if works => said(
                Verdict::True,
                "Works",
                format!("region {}: listed and read in the last cycle", region.name_any()),
            ),
            _ => said(
                Verdict::Unknown,
                "NotTried",
                format!("region {}: no worker has told yet", region.name_any()),
            ),
        }
    }

    fn running(&self) -> Said {
        let name = &self.service.spec.instance_ref.name;
        let Some(instance) = self.observed.instance.get() else {
            return (
                SOURCE_RUNNING,
                Verdict::Unknown,
                "InstanceGone".to_owned(),
                format!("DatabaseInstance {name} is not there"),
            );
        };
        match instance_phase(instance) {
            Some(InstancePhase::Running) => {
                (SOURCE_RUNNING, Verdict::True, "Running".to_owned(), format!("DatabaseInstance {name} runs"))
            }
            Some(phase) => (
                SOURCE_RUNNING,
                Verdict::False,
                format!("{phase:?}"),
                format!("DatabaseInstance {name} is {phase:?}; what its store holds is still copied"),
            ),
            None => (
                SOURCE_RUNNING,
                Verdict::Unknown,
                "NotAsked".to_owned(),
                format!("DatabaseInstance {name} has not been asked yet"),
            ),
        }
    }

    /// The request that was honoured last: told by the worker, or by the Job that was made for it.
    fn run_request(&self, old: &BackupSyncServiceStatus) -> Option<RunRequest> {
        let report = self.service.status.as_ref()?.observed.as_ref();
        let told = report.and_then(|report| {
            let completed_at = report.cycle.as_ref().map(|cycle| cycle.completed_at.clone());
            Some(RunRequest { requested_at: report.run_request.clone()?, completed_at })
        });
        let told = told.filter(|told| {
            old.last_run_request.as_ref().is_none_or(|last| last.requested_at != told.requested_at)
        });
        let by_job = || {
            self.observed.syncs.iter().rev().find_map(|job| {
                let requested_at = job.run_request.clone()?;
                let at = job
                    .ended()
                    .filter(|_| matches!(job.state, crate::controller::jobs::JobState::Succeeded { .. }))?;
                Some(RunRequest {
                    requested_at,
                    completed_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at)),
                })
            })
        };
        let by_job = by_job().filter(|job| {
            old.last_run_request.as_ref().is_none_or(|last| last.requested_at < job.requested_at)
        });
        told.or(by_job).or_else(|| old.last_run_request.clone())
    }

    fn nudge(&self, health: &Health) -> Option<String> {
        let Health::Troubled(trouble) = health else { return None };
        if trouble.reason != "StoreUnreachable" {
            return None;
        }
        let region = match trouble.side? {
            FailureSide::Source => self.observed.source_region.as_ref(),
            FailureSide::Target => self.observed.target_region.as_ref(),
        }?;
        Some(region.name_any())
    }
}

/// Reason and message of a region that is not ready.
#[must_use]
pub fn outage(region: &Region) -> Option<(String, String)> {
    let status = region.status.as_ref()?;
    let ready = condition::find(&status.conditions, READY)?;
    (ready.status == "False").then(|| (ready.reason.clone(), ready.message.clone()))
}

fn not_starting(service: &BackupSyncService, why: Option<&(String, String)>) -> Trouble {
    let name = service.name_any();
    let (reason, message) = why.cloned().unwrap_or_else(|| {
        (
            "WorkerNotStarting".to_owned(),
            "no pod of it works, and nobody says why; see kubectl describe job".to_owned(),
        )
    });
    Trouble {
        side: None,
        message: format!("the worker of service {name} does not work: {message}"),
        reason,
        permanent: false,
    }
}

fn contiguous(measured: Option<&Measured>, old: &BackupSyncServiceStatus) -> Said {
    let said =
        |verdict, reason: &str, message: String| (WINDOW_CONTIGUOUS, verdict, reason.to_owned(), message);
    if let Some(kept) =
        measured.filter(|measured| !measured.fresh).and_then(|_| keep(&old.conditions, WINDOW_CONTIGUOUS))
    {
        return kept;
    }
    match measured.map(|measured| &measured.cycle) {
        None => said(Verdict::Unknown, "NotMeasured", "no cycle has ended yet".to_owned()),
        Some(cycle) if cycle.gaps.is_empty() => said(
            Verdict::True,
            "NoGap",
            "the logs at the target have no hole within the retention".to_owned(),
        ),
        Some(cycle) => said(
            Verdict::False,
            "Gap",
            format!(
                "not every moment can be restored: {}; take a full backup to begin a new window",
                cycle.gaps.join("; ")
            ),
        ),
    }
}

/// What the target holds stays true whatever becomes of the worker; what is about now does not.
fn figures(cycle: Option<Cycle>, current: bool) -> BackupSyncServiceStatus {
    let Some(cycle) = cycle else { return BackupSyncServiceStatus::default() };
    let Cycle {
        started_at: _,
        completed_at,
        latest_data_time_point,
        basis,
        windows,
        gaps: _,
        source_latest_time,
        covered_until,
        engine_unasked: _,
        backups,
        usage,
        pending: _,
    } = cycle;
    BackupSyncServiceStatus {
        time_point_basis: latest_data_time_point.is_some().then_some(basis),
        latest_data_time_point,
        recovery_windows: windows,
        source_latest_time: source_latest_time.filter(|_| current),
        covered_until: covered_until.filter(|_| current),
        backups: Some(backups),
        usage: Some(usage),
        last_sync_time: Some(completed_at),
        ..BackupSyncServiceStatus::default()
    }
}
