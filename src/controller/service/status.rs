//! The status of an accepted service: from its worker's report, its Jobs, its regions.

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    measured::{Measured, is_measured, measured},
    observe::Observed,
    rpo::within_rpo,
};
use crate::{
    api::{
        BackupSyncService, BackupSyncServiceStatus, Cycle, InstancePhase, Served, ServicePhase,
        TimePointBasis,
        condition::{SOURCE_RUNNING, Verdict, WINDOW_CONTIGUOUS},
    },
    controller::{
        Timing,
        status::{Said, conditions, keep},
        work::{
            findings,
            health::{Blocked, Eye, Health, Wanted},
            request::honoured,
            standing::about,
            trouble::{failure, named},
        },
    },
    rules::instance_phase,
};

/// What a status is made from, besides the service itself.
pub struct View<'a> {
    service: &'a BackupSyncService,
    observed: &'a Observed,
    measured: Option<Measured>,
    eye: Eye<'a>,
}

/// A status, and when it would change by itself.
pub struct Told {
    pub status: BackupSyncServiceStatus,
    pub look: Option<Timestamp>,
    /// Region whose store a worker could not reach.
    pub nudge: Option<String>,
}

impl<'a> View<'a> {
    /// A look at a service, at a moment.
    #[must_use]
    pub fn new(
        service: &'a BackupSyncService,
        observed: &'a Observed,
        blocked: Option<&'a Blocked>,
        (timing, now): (&'a Timing, Timestamp),
    ) -> Self {
        let measured = measured(service);
        let told = service.observed().and_then(|report| report.failure.as_ref());
        let cycle = measured.as_ref().map(|measured| measured.cycle.completed_at.0);
        let backups = observed.instance.get().and_then(|instance| instance.spec.backups.as_ref());
        let keys = [backups.map(|backups| &backups.credentials), Some(&service.spec.target.credentials)];
        let eye = Eye {
            about: about(service),
            old: service.conditions(),
            wanted: Wanted::of(service.spec.suspend, &observed.syncs, observed.sync_pods),
            jobs: &observed.syncs,
            words: observed.words.as_ref(),
            failure: failure(told, &observed.syncs, cycle)
                .map(|trouble| named(&about(service), keys, trouble)),
            blocked,
            source: observed.source_region.as_ref(),
            target: observed.target_region.as_ref(),
            timing,
            now,
        };
        Self { service, observed, measured, eye }
    }

    /// The status of an accepted service, but for `source` and the condition `Accepted`.
    #[must_use]
    pub fn accepted(&self, accepted: Said) -> Told {
        let Self { service, observed, measured, eye } = self;
        let old = service.status.clone().unwrap_or_default();
        let (health, look_at_start) = eye.health(|serving| self.progress(serving));
        let current = !matches!(health, Health::Troubled(_)) && eye.wanted == Wanted::Yes;
        let (rpo, rpo_breaks) =
            within_rpo(service, observed.instance.get(), (measured.as_ref(), current), eye.now);
        let phase =
            if eye.wanted == Wanted::No { ServicePhase::Suspended } else { self.phase(&health, &old) };
        let mut said = vec![self.ready(&health), accepted];
        said.extend(eye.kstatus(&health));
        said.extend(eye.reachable(&health, measured.is_some()));
        said.extend([self.running(), rpo, contiguous(measured.as_ref(), &old)]);
        said.extend(findings::condition(*service, is_measured(service)));
        let generation = service.metadata.generation;
        let status = BackupSyncServiceStatus {
            observed_generation: generation,
            phase: Some(phase),
            conditions: conditions(&old.conditions, generation, eye.now, said),
            source: old.source.clone(),
            last_proved: observed.proved.clone().or(old.last_proved),
            last_run_request: honoured(*service, &observed.syncs),
            ..figures(measured.as_ref().map(|measured| measured.cycle.clone()), current)
        };
        let look = [look_at_start, rpo_breaks].into_iter().flatten().min();
        Told { status, look, nudge: eye.nudge(&health) }
    }

    /// Whether the first copy is complete.
    fn progress(&self, serving: bool) -> Health {
        let name = self.service.name_any();
        let status = self.service.status.as_ref();
        let Some(Measured { cycle, fresh }) = &self.measured else {
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
        Health::Well
    }

    fn phase(&self, health: &Health, old: &BackupSyncServiceStatus) -> ServicePhase {
        let known = self.measured.is_some();
        let started = known || self.observed.syncs.iter().any(|job| job.ready_pod().is_some());
        match health {
            Health::Well => ServicePhase::Synced,
            Health::First(..) if started => ServicePhase::Syncing,
            Health::Troubled(trouble) if trouble.permanent => ServicePhase::Failed,
            Health::Troubled(_) if old.last_sync_time.is_some() || known => ServicePhase::Stale,
            Health::First(..) | Health::Troubled(_) => ServicePhase::Pending,
        }
    }

    fn ready(&self, health: &Health) -> Said {
        let suspended = format!(
            "{} is suspended: nothing new is copied, what is at the target stays; set spec.suspend: false to go on",
            self.eye.about
        );
        self.eye.ready(health, suspended, || ("Synced".to_owned(), self.synced()))
    }

    fn synced(&self) -> String {
        let report = self.service.status.as_ref().and_then(|status| status.observed.as_ref());
        let findings = report.map(|report| report.findings.as_slice()).unwrap_or_default();
        let estimated =
            self.measured.as_ref().is_some_and(|measured| measured.cycle.basis == TimePointBasis::Estimated);
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
