//! The status of an accepted disaster recovery instance: from its worker's report and its Jobs.

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    activation::activation,
    conditions::{Scene, versions_differ},
    observe::Observed,
    target::target,
};
use crate::{
    api::{
        AcceptedMaster, ActivationStatus, DisasterRecoveryInstance, DisasterRecoveryInstanceStatus,
        FailureSide, FenceLevel, RunRequest, SeedStatus, Served, Share, StandbyPhase, StandbyProgress,
        StandbyReport, StandbyState,
    },
    controller::{
        Timing,
        context::uid_of,
        names,
        status::{Said, conditions},
        work::{
            findings,
            health::{Eye, Health, Wanted},
            request::honoured,
            standing::about,
            trouble::{Trouble, Worker, failure, named, worker},
        },
    },
};

/// What the requests begin with that the controller makes of an activation.
pub const URGENT: &str = "activation:";

/// What a status is made from.
pub struct View<'a> {
    standby: &'a DisasterRecoveryInstance,
    observed: &'a Observed,
    master: AcceptedMaster,
    old: DisasterRecoveryInstanceStatus,
    /// What the worker told last.
    known: Option<&'a StandbyReport>,
    activation: Option<ActivationStatus>,
    seeded: bool,
    worker: Worker,
    eye: Eye<'a>,
}

/// A status, and when it would change by itself.
pub struct Told {
    pub status: DisasterRecoveryInstanceStatus,
    pub look: Option<Timestamp>,
}

impl<'a> View<'a> {
    /// A look at a disaster recovery instance, at a moment.
    #[must_use]
    pub fn new(
        standby: &'a DisasterRecoveryInstance,
        observed: &'a Observed,
        master: AcceptedMaster,
        (timing, now): (&'a Timing, Timestamp),
    ) -> Self {
        let report = standby.observed().filter(|report| names::is_run_of(&uid_of(standby), &report.run_id));
        let known = report.and_then(|report| report.cycle.as_ref());
        let old = standby.status.clone().unwrap_or_default();
        let told = report.and_then(|report| report.failure.as_ref());
        let completed = known.map(|known| known.completed_at.0);
        let of_target =
            standby.spec.target.existing.as_ref().and_then(|existing| existing.credentials.as_ref());
        let keys = [master.credentials.as_ref(), of_target];
        let failure = failure(told, &observed.jobs, completed)
            .map(|trouble| named(&about(standby), keys, trouble))
            .or_else(|| versions_differ(&about(standby), known?));
        let completed_before = old.seed.as_ref().is_some_and(|seed| seed.completed_at.is_some());
        let seeded = known.map_or(completed_before, |known| known.seeded_at.is_some());
        let activation = activation(standby, observed, (known, seeded), now);
        let eye = Eye {
            about: about(standby),
            old: standby.conditions(),
            wanted: Wanted::Yes,
            jobs: &observed.jobs,
            words: observed.words.as_ref(),
            failure,
            blocked: None,
            source: None,
            target: None,
            timing,
            now,
        };
        let worker = worker(&observed.jobs, observed.words.as_ref());
        Self { standby, observed, master, old, known, activation, seeded, worker, eye }
    }

    /// The activation, as far as it is known.
    #[must_use]
    pub fn activation(&self) -> Option<&ActivationStatus> {
        self.activation.as_ref()
    }

    /// The version that the target tells, or else the master's.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let told = self.known.map(|known| known.target.version.clone()).filter(|told| !told.is_empty());
        self.standby.spec.version.clone().or_else(|| self.master.version.clone()).or(told)
    }

    /// True once the run that reports has told how it stands.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.known.is_some()
    }

    fn is_active(&self) -> bool {
        self.activation.as_ref().is_some_and(|activation| activation.activated_at.is_some())
    }

    /// Until when what the worker told counts while no pod of it works. What is not shown any more does not come back
    /// because a pod is being started: somebody has to tell it anew.
    fn counts_until(&self) -> Option<Timestamp> {
        let Worker::Starting { since, .. } = &self.worker else { return None };
        let (told, grace) = (self.known?.completed_at.0, self.eye.timing.start_grace);
        let is_anew = told >= *since;
        if is_anew { Some(*since + grace) } else { self.old.master_time.map(|_| told + grace) }
    }

    /// The worker works, or was heard a moment ago: what it told counts.
    fn is_live(&self) -> bool {
        match &self.worker {
            _ if self.is_active() => false,
            Worker::Serving => true,
            Worker::Starting { .. } => self.counts_until().is_some_and(|until| until > self.eye.now),
            Worker::Idle => false,
        }
    }

    /// What the worker told last, while it counts.
    fn live(&self) -> Option<&StandbyReport> {
        self.known.filter(|_| self.is_live())
    }

    pub(super) fn scene<'b>(&'b self, trouble: Option<&'b Trouble>) -> Scene<'b> {
        Scene {
            about: &self.eye.about,
            known: self.known,
            trouble,
            live: self.is_live(),
            seeded: self.seeded,
            active: self.is_active(),
        }
    }

    /// The status of an accepted one.
    #[must_use]
    pub fn accepted(&self, accepted: Said) -> Told {
        let Self { standby, old, eye, .. } = self;
        let (health, look) =
            if self.is_active() { (Health::Well, None) } else { eye.health(|_| self.progress()) };
        let mut said = vec![eye.ready(&health, String::new(), || self.well()), accepted];
        said.extend(eye.kstatus(&health));
        said.extend(self.said(&health));
        said.extend(findings::condition(*standby, self.is_measured()));
        let generation = standby.metadata.generation;
        let reached = |side| !matches!(&health, Health::Troubled(trouble) if trouble.side == Some(side));
        let of_target = self.live().filter(|_| reached(FailureSide::Target));
        let of_master = of_target.filter(|_| reached(FailureSide::Source));
        let status = DisasterRecoveryInstanceStatus {
            observed_generation: generation,
            phase: Some(self.phase(&health)),
            master: Some(self.master.clone()),
            last_applied_time: of_target.and_then(|known| known.applied_time),
            master_time: of_master.and_then(|known| known.master_time),
            oplog_window: of_master.and_then(|known| known.oplog_window.clone()),
            members: of_target.map(|known| known.members.clone()).unwrap_or_default(),
            seed: self.seed(),
            endpoint: Some(target(standby).uri),
            activation: self.activation.clone(),
            last_run_request: self.honoured(),
            observed: None,
            conditions: conditions(&old.conditions, generation, eye.now, said),
        };
        let until = self.counts_until().filter(|until| *until > eye.now);
        Told { status, look: look.into_iter().chain(until).min() }
    }

    /// Those of people only.
    fn honoured(&self) -> Option<RunRequest> {
        let ours = |request: &RunRequest| request.requested_at.starts_with(URGENT);
        honoured(self.standby, &self.observed.jobs)
            .filter(|request| !ours(request))
            .or_else(|| self.old.last_run_request.clone())
    }

    fn phase(&self, health: &Health) -> StandbyPhase {
        let permanent = matches!(health, Health::Troubled(trouble) if trouble.permanent);
        match (&self.activation, permanent) {
            _ if self.is_active() => StandbyPhase::Active,
            (Some(_), _) => StandbyPhase::Activating,
            (None, true) => StandbyPhase::Failed,
            (None, false) if self.seeded => StandbyPhase::Standby,
            (None, false) if self.known.is_some() || self.old.seed.is_some() => StandbyPhase::Seeding,
            (None, false) => StandbyPhase::Pending,
        }
    }

    /// How it stands while nothing is wrong.
    fn progress(&self) -> Health {
        let about = &self.eye.about;
        if let Some(held) = self.activation.as_ref().and_then(|activation| activation.held.as_ref()) {
            return Health::Troubled(Trouble {
                side: None,
                reason: "ActivationHeld".to_owned(),
                message: format!("{about}: its activation is held: {held}"),
                permanent: true,
            });
        }
        if let Some(activation) = &self.activation {
            let step = activation.step.map_or("not begun".to_owned(), |step| format!("{step:?}"));
            let message = format!("{about} becomes an instance of its own: {step}; see status.activation");
            return Health::First("Activating".to_owned(), message);
        }
        if !self.seeded {
            let wish = if self.standby.spec.state == StandbyState::Active {
                "; it can't be activated before that, and spec.state: Active is heard only then"
            } else {
                ""
            };
            let message = format!("{about}: what the master holds is being copied; see status.seed{wish}");
            return Health::First("Seeding".to_owned(), message);
        }
        // Of a worker that has only just begun, the last one's word is known, and nothing of the master yet.
        let Some(known) = self.live().filter(|known| known.master_time.is_some()) else {
            let message =
                format!("{about}: its worker is not heard, or is being started; nothing is applied now");
            return Health::First("Starting".to_owned(), message);
        };
        if known.fence.level == FenceLevel::None {
            return Health::Troubled(Trouble {
                side: None,
                reason: "NotFenced".to_owned(),
                message: format!("{about}: users can write to the copy: {}", known.fence.missing.join("; ")),
                permanent: false,
            });
        }
        Health::Well
    }

    fn well(&self) -> (String, String) {
        let about = &self.eye.about;
        let master = &self.standby.spec.master_ref.name;
        let Some(at) = self.activation.as_ref().and_then(|activation| activation.activated_at) else {
            let message = format!("{about} follows {master}; status.lastAppliedTime says up to when");
            return ("Follows".to_owned(), message);
        };
        let again = if self.standby.spec.state == StandbyState::Standby {
            "; spec.state is Standby, which changes nothing: an activation is never taken back. To follow again, create another instance"
        } else {
            ""
        };
        let taken =
            self.observed.namesake.as_ref().filter(|_| {
                self.activation.as_ref().is_some_and(|activation| activation.instance_ref.is_none())
            });
        let taken = taken.map_or(String::new(), |namesake| {
            format!("; DatabaseInstance {} is not of this copy, so none was made of it", namesake.name_any())
        });
        ("Active".to_owned(), format!("{about} is an instance of its own since {at}{again}{taken}"))
    }

    /// How far the first copy is; what was complete stays so.
    fn seed(&self) -> Option<SeedStatus> {
        let old = self.old.seed.clone();
        if let Some(completed_at) = self.known.and_then(|known| known.seeded_at) {
            let seed = old.unwrap_or_default();
            return Some(SeedStatus { percent: 100, completed_at: Some(completed_at), ..seed });
        }
        let progress = self.standby.observed().and_then(|report| report.progress.as_ref());
        match self.known {
            // It is made anew.
            Some(_) => self.counted(progress).or(old.filter(|old| old.completed_at.is_none())),
            None => self.counted(progress).or(old),
        }
    }

    fn counted(&self, progress: Option<&StandbyProgress>) -> Option<SeedStatus> {
        let progress = progress?;
        let documents = Share { total: progress.documents, done: progress.documents_done };
        let collections = Share { total: progress.collections, done: progress.collections_done };
        let earlier = self.old.seed.as_ref().filter(|old| old.completed_at.is_none());
        let percent = documents.percent().min(99);
        Some(SeedStatus {
            percent: percent.max(earlier.map_or(0, |earlier| earlier.percent)),
            collections,
            documents,
            bytes: progress.bytes_done,
            completed_at: None,
        })
    }
}
