//! The next Job of a worker, and what ends for it: pure.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    children::{self, Children, Work},
    plan::{Plan, Wish, plan},
    request,
    task::write,
};
use crate::{
    api::{
        FailureSide, Region, Served,
        condition::{self, STALLED},
    },
    controller::{
        Error, Options,
        context::uid_of,
        jobs::JobView,
        names,
        work::health::{Blocked, outage},
    },
    task::{Task, TaskMode},
};

/// What a worker is needed for.
pub struct Need<'a> {
    pub task: &'a Task,
    pub work: &'a Work,
    pub mode: TaskMode,
    /// Between two cycles that are Jobs of their own.
    pub interval: Duration,
    /// Jobs of this role, oldest first.
    pub jobs: &'a [JobView],
    /// When the last cycle began that needs no repeating.
    pub last_cycle: Option<Timestamp>,
    /// Id of the last run that was started here.
    pub last_run: Option<&'a str>,
    /// Those whose outages it waits out.
    pub regions: Option<(&'a Region, &'a Region)>,
    /// Something that can't wait for a back-off to end: each text starts one Job at once.
    pub urgent: Option<&'a str>,
    /// No Job shall be started now.
    pub blocked: bool,
}

/// A Job that shall be, Jobs that shall not, and when to look again.
pub struct Next {
    pub start: Option<Box<Children>>,
    pub end: Vec<(String, Option<String>)>,
    pub look: Option<Timestamp>,
}

/// Plans the next Job of a resource's worker.
///
/// # Errors
/// Never for tasks built here.
pub fn next<K: Served>(owner: &K, need: &Need<'_>, options: &Options, now: Timestamp) -> Result<Next, Error> {
    let written = write(owner, need.task, need.work)?;
    let uid = uid_of(owner);
    let request = need.urgent.map(ToOwned::to_owned).or_else(|| request::pending(owner));
    let healed = need.regions.and_then(|(source, target)| healed(source).max(healed(target)));
    let wish = Wish {
        uid: &uid,
        task: &written.work,
        mode: need.mode,
        interval: need.interval,
        jobs: need.jobs,
        last_cycle: need.last_cycle,
        request: request.as_deref(),
        healed,
        created: owner.creation_timestamp().map_or(now, |time| time.0),
    };
    let Plan { start, end, look } = plan(&wish, &options.timing, now);
    // A shift that goes on for another task ends at once, whether its successor can start or not.
    let start = start.filter(|_| !need.blocked).map(|start| {
        let run_id = run_id(owner, need.jobs, need.last_run, now);
        Box::new(children::children(owner, (&written, need.work), (&start, run_id), options))
    });
    let end = with_tasks(need.jobs, &end, start.as_deref());
    Ok(Next { start, end, look })
}

/// An id for the next run: later than what has reported, what runs, and what was started last.
#[must_use]
pub fn run_id<'a, K: Served>(
    owner: &K,
    jobs: impl IntoIterator<Item = &'a JobView>,
    last: Option<&str>,
    now: Timestamp,
) -> String {
    let reported = owner.observed().map(|report| report.run_id.as_str());
    let jobs = jobs.into_iter().map(|job| job.run_id.as_str());
    names::run_id(&uid_of(owner), now, jobs.chain(reported).chain(last))
}

fn healed(region: &Region) -> Option<Timestamp> {
    region.status.as_ref()?.last_outage.as_ref().map(|outage| outage.until.0)
}

/// All Jobs, with their tasks.
#[must_use]
pub fn all(jobs: &[JobView]) -> Vec<(String, Option<String>)> {
    let jobs = jobs.iter().filter(|job| !job.deleting);
    jobs.map(|job| (job.name.clone(), Some(job.config_map.clone()))).collect()
}

/// A task goes with the last Job that has it.
fn with_tasks(jobs: &[JobView], end: &[String], start: Option<&Children>) -> Vec<(String, Option<String>)> {
    let kept = |map: &String| {
        let others = jobs.iter().filter(|job| !end.contains(&job.name));
        others.map(|job| &job.config_map).any(|other| other == map)
            || start.is_some_and(|start| start.config_map.metadata.name.as_ref() == Some(map))
    };
    let ending = jobs.iter().filter(|job| end.contains(&job.name));
    ending.map(|job| (job.name.clone(), Some(job.config_map.clone()).filter(|map| !kept(map)))).collect()
}

/// Time until the earliest moment; zero for none.
#[must_use]
pub fn earliest(moments: &[Option<Timestamp>], now: Timestamp) -> Duration {
    let Some(at) = moments.iter().flatten().min() else { return Duration::ZERO };
    let wait = Duration::try_from(now.duration_until(*at)).unwrap_or_default();
    wait + Duration::from_millis(100)
}

/// The look that comes next: never later than everything is looked at again.
#[must_use]
pub fn bounded(look: Duration, options: &Options) -> Duration {
    let longest = options.timing.recheck.max(Duration::from_secs(1));
    if look.is_zero() || look > longest { longest } else { look }
}

/// What of both regions keeps Jobs from being started.
#[must_use]
pub fn regions_block(source: Option<&Region>, target: Option<&Region>, options: &Options) -> Option<Blocked> {
    let sides = [(FailureSide::Source, source), (FailureSide::Target, target)];
    sides.into_iter().find_map(|(side, region)| region_blocks(side, region, options))
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
