//! How a resource stands by its worker, and the conditions that say so, whatever its kind.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::trouble::{Trouble, Worker, worker};
use crate::{
    api::{
        FailureSide, Region,
        condition::{self, READY, RECONCILING, SOURCE_REACHABLE, STALLED, TARGET_REACHABLE, Verdict},
    },
    controller::{
        Timing,
        jobs::{JobView, Words},
        status::Said,
    },
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

/// How a resource stands, in one word and why.
#[derive(Debug, PartialEq, Eq)]
pub enum Health {
    /// All is as it should be.
    Well,
    /// The first copy is not complete: reason and message.
    First(String, String),
    /// Something is wrong.
    Troubled(Trouble),
}

/// Whether a worker is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    /// The resource is suspended, and pods of its worker still finish what they are at: things may be written yet.
    Ending,
    /// It is suspended, and nothing works.
    No,
}

impl Wanted {
    /// By the spec, and by what is left of the worker.
    #[must_use]
    pub fn of(suspend: bool, jobs: &[JobView], pods: usize) -> Self {
        let works = pods > 0 || jobs.iter().any(JobView::is_active);
        match (suspend, works) {
            (false, _) => Self::Yes,
            (true, true) => Self::Ending,
            (true, false) => Self::No,
        }
    }
}

/// What is seen of a resource's worker and regions.
pub struct Eye<'a> {
    /// What it is about, for messages: `service orders`.
    pub about: String,
    /// Conditions as they are.
    pub old: &'a [Condition],
    pub wanted: Wanted,
    pub jobs: &'a [JobView],
    pub words: Option<&'a Words>,
    /// Why the last attempt failed.
    pub failure: Option<Trouble>,
    pub blocked: Option<&'a Blocked>,
    pub source: Option<&'a Region>,
    pub target: Option<&'a Region>,
    pub timing: &'a Timing,
    pub now: Timestamp,
}

impl Eye<'_> {
    /// How it stands, and when that would change by itself. `progress` says how it stands while nothing is
    /// wrong, given whether a worker is serving.
    pub fn health(&self, progress: impl Fn(bool) -> Health) -> (Health, Option<Timestamp>) {
        let worker = worker(self.jobs, self.words);
        if let Worker::Starting { since, why } = &worker {
            let end = *since + self.timing.start_grace;
            if end <= self.now {
                return (Health::Troubled(self.not_starting(why.as_ref())), None);
            }
            let health = self.failure.clone().map_or_else(|| progress(false), Health::Troubled);
            return (health, Some(end));
        }
        if let Some(failure) = &self.failure {
            return (Health::Troubled(failure.clone()), None);
        }
        if let (Worker::Idle, Some(blocked)) = (&worker, self.blocked) {
            let Blocked { side, reason, message, permanent } = blocked.clone();
            return (Health::Troubled(Trouble { side, reason, message, permanent }), None);
        }
        (progress(worker == Worker::Serving), None)
    }

    fn not_starting(&self, why: Option<&Words>) -> Trouble {
        let (reason, message) = why.cloned().unwrap_or_else(|| {
            (
                "WorkerNotStarting".to_owned(),
                "no pod of it works, and nobody says why; see kubectl describe job".to_owned(),
            )
        });
        Trouble {
            side: None,
            message: format!("the worker of {} does not work: {message}", self.about),
            reason,
            permanent: false,
        }
    }

    /// `Ready`; `suspended` and `well` are what the kind itself says.
    pub fn ready(&self, health: &Health, suspended: String, well: impl FnOnce() -> (String, String)) -> Said {
        let (verdict, reason, message) = match health {
            _ if self.wanted == Wanted::No => (Verdict::True, "Suspended".to_owned(), suspended),
            _ if self.wanted == Wanted::Ending => (Verdict::True, "Suspending".to_owned(), self.suspending()),
            Health::Well => {
                let (reason, message) = well();
                (Verdict::True, reason, message)
            }
            Health::First(reason, message) => (Verdict::False, reason.clone(), message.clone()),
            Health::Troubled(trouble) => (Verdict::False, trouble.reason.clone(), self.steady(trouble)),
        };
        (READY, verdict, reason, message)
    }

    fn suspending(&self) -> String {
        format!("{} is being suspended: its worker finishes what it is at", self.about)
    }

    /// The kubelet alternates between two texts for one missing image: the first one stays.
    fn steady(&self, trouble: &Trouble) -> String {
        let old = condition::find(self.old, READY);
        let same = old.filter(|old| old.reason == trouble.reason && trouble.reason == "ImagePullBackOff");
        same.map_or_else(|| trouble.message.clone(), |old| old.message.clone())
    }

    /// `Reconciling` or `Stalled`, or neither.
    pub fn kstatus(&self, health: &Health) -> Option<Said> {
        match self.wanted {
            Wanted::No => return None,
            Wanted::Ending => {
                return Some((RECONCILING, Verdict::True, "Suspending".to_owned(), self.suspending()));
            }
            Wanted::Yes => {}
        }
        match health {
            Health::Well => None,
            Health::First(reason, message) => {
                Some((RECONCILING, Verdict::True, reason.clone(), message.clone()))
            }
            Health::Troubled(trouble) => {
                let type_ = if trouble.permanent { STALLED } else { RECONCILING };
                Some((type_, Verdict::True, trouble.reason.clone(), self.steady(trouble)))
            }
        }
    }

    /// `SourceReachable` and `TargetReachable`. `tried`: a cycle has succeeded.
    pub fn reachable(&self, health: &Health, tried: bool) -> [Said; 2] {
        let sides = [
            (SOURCE_REACHABLE, FailureSide::Source, self.source),
            (TARGET_REACHABLE, FailureSide::Target, self.target),
        ];
        sides.map(|(type_, side, region)| {
            let (verdict, reason, message) = reachable(health, tried, (side, region));
            (type_, verdict, reason, message)
        })
    }

    /// Region whose store a worker could not reach.
    pub fn nudge(&self, health: &Health) -> Option<String> {
        let Health::Troubled(trouble) = health else { return None };
        if trouble.reason != "StoreUnreachable" {
            return None;
        }
        let region = match trouble.side? {
            FailureSide::Source => self.source,
            FailureSide::Target => self.target,
        }?;
        Some(region.name_any())
    }
}

fn reachable(
    health: &Health,
    tried: bool,
    (side, region): (FailureSide, Option<&Region>),
) -> (Verdict, String, String) {
    if let Health::Troubled(trouble) = health
        && trouble.side == Some(side)
    {
        return (Verdict::False, trouble.reason.clone(), trouble.message.clone());
    }
    let Some(region) = region else {
        return (Verdict::Unknown, "UnknownRegion".to_owned(), "the Region is not there".to_owned());
    };
    // A worker that works is the better witness.
    let works = matches!(health, Health::Well);
    if let Some((reason, message)) = outage(region).filter(|_| !works) {
        return (Verdict::False, reason, message);
    }
    let name = region.name_any();
    if tried && works {
        let message = format!("region {name}: listed and read in the last cycle");
        (Verdict::True, "Works".to_owned(), message)
    } else {
        (Verdict::Unknown, "NotTried".to_owned(), format!("region {name}: no worker has told yet"))
    }
}

/// Reason and message of a region that is not ready.
#[must_use]
pub fn outage(region: &Region) -> Option<(String, String)> {
    let status = region.status.as_ref()?;
    let ready = condition::find(&status.conditions, READY)?;
    (ready.status == "False").then(|| (ready.reason.clone(), ready.message.clone()))
}
