//! The role that copies one range of what a bucket held before. It reports to nobody: what it did is in its
//! last words.

use std::{sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Error, Start,
    health::{self, Health, Movement},
    kept, stores,
};
use crate::{
    replicate::{
        Common, Keep, Regions, follow,
        pace::{self, TICK},
        plan::{Plan, PlannedRange},
        sweep::{Action, Effort, Report, Sweep},
    },
    store::{
        ObjectStore, Side,
        limits::{Lane, Limited, Limits},
    },
    task::{MigrateTask, RangeDone, hash, shortened},
};

/// A run without any progress for this long ends itself.
const STUCK_AFTER: Duration = Duration::from_mins(10);
/// Longest example in the last words, of which there are four kilobytes.
const EXAMPLE: usize = 1024;

/// Copies what the target lacks in the range of this pod's index. What is there already, by an earlier pod
/// of the same index or by the live worker, is found alike and left.
///
/// # Errors
/// See [`Error`]. Single objects that can't be copied are no error: they are counted in what is returned.
pub async fn run(start: &Start, work: &MigrateTask) -> Result<RangeDone, Error> {
    let (range, planned) = planned(start, work)?;
    let limits = Limits::new(work.bytes_per_second, work.requests_per_second);
    let open = |location, directory, side| -> Result<Arc<dyn ObjectStore>, Error> {
        let store = stores::open(location, directory, side)?;
        Ok(Arc::new(Limited::new(store, &limits, Lane::Rest)))
    };
    let source = open(&work.source, &start.mounts.source, Side::Source)?;
    let target = open(&work.target, &start.mounts.target, Side::Target)?;
    let regions = work.mutual.then(|| [work.source.region.clone(), work.target.region.clone()]);
    let (keep, common) = (kept::keep(work.attributes.as_ref()), Arc::<Common>::default());
    let health = Health::every(STUCK_AFTER);
    let movement = || {
        let usage = limits.usage();
        usage.requests + usage.bytes_read + usage.bytes_written
    };
    // The first process of a container is not ended by the signal itself.
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| Error::Broken(e.to_string()))?;
    let report = tokio::select! {
        report = copy((&source, &target), (&planned, &keep), regions, &common) => report?,
        broken = health::serve(health.clone(), start.listen) => return Err(broken),
        _ = terminated.recv() => return Err(Error::Terminated),
        () = pace::until_stuck(STUCK_AFTER, || Some(movement())) => {
            return Err(follow::Error::Stuck(STUCK_AFTER).into());
        }
        () = follow_movement(&health, &limits) => return Err(Error::Broken("nothing was followed".to_owned())),
    };
    let incomplete = kept::incomplete(&common.take_lacks());
    let done = RangeDone { incomplete, ..done(range, &planned, &report, limits.usage().lists) };
    tracing::info!(?done, "copied");
    Ok(done)
}

/// The plan's range for this pod, with its number.
fn planned(start: &Start, work: &MigrateTask) -> Result<(u32, PlannedRange), Error> {
    let of_plan = |cause: String| Error::Plan { path: start.plan.clone(), cause };
    let file = std::fs::read(&start.plan).map_err(|error| of_plan(error.to_string()))?;
    if hash(&file) != work.plan {
        return Err(of_plan(format!("its hash is {}, but {} was asked for", hash(&file), work.plan)));
    }
    let plan = Plan::from_file(&file).map_err(|error| of_plan(error.to_string()))?;
    let place = start.index.ok_or_else(|| of_plan("this pod has no index".to_owned()))?;
    let range = work.ranges.at(place).ok_or_else(|| of_plan(format!("no range for index {place}")))?;
    let planned = usize::try_from(range).ok().and_then(|at| plan.ranges.into_iter().nth(at));
    Ok((range, planned.ok_or_else(|| of_plan(format!("it has no range {range}")))?))
}

/// Repeats what fails, with pauses: a store that is down for a moment costs no attempt of the pod.
async fn copy(
    (source, target): (&Arc<dyn ObjectStore>, &Arc<dyn ObjectStore>),
    (planned, keep): (&PlannedRange, &Keep),
    mutual: Option<Regions>,
    common: &Arc<Common>,
) -> Result<Report, Error> {
    let (mut copied, mut failures) = (0, 0);
    loop {
        let side = |store: &Arc<dyn ObjectStore>| (Arc::clone(store), String::new());
        let sweep = Sweep::new(side(source), side(target), Action::Copy, Effort::default())
            .keep(keep.clone())
            .within(planned.range.clone())
            .sharing(Arc::clone(common));
        let sweep = match mutual.clone() {
            Some(regions) => sweep.mutual(regions),
            None => sweep,
        };
        let swept = sweep.run().await;
        let pause = pace::pause(failures);
        failures += 1;
        match (swept, pause) {
            (Ok(mut report), pause) => {
                copied += report.counts.copied;
                let unreachable = report.examples.failed.iter().find(|failure| is_passing(failure.reason));
                match (unreachable, pause) {
                    (Some(_), Some(pause)) => tokio::time::sleep(pause).await,
                    (Some(failure), None) => return Err(Error::Unfinished(failure.message.clone())),
                    (None, _) => {
                        report.counts.copied = copied;
                        return Ok(report);
                    }
                }
            }
            (Err(error), Some(pause)) if !error.is_permanent() => {
                tracing::warn!(%error, "tried again in {pause:?}");
                tokio::time::sleep(pause).await;
            }
            (Err(error), _) => return Err(follow::Error::from(error).into()),
        }
    }
}

/// True for what another attempt may mend.
fn is_passing(reason: &str) -> bool {
    matches!(reason, "StoreUnreachable" | "SlowDown")
}

async fn follow_movement(health: &Health, limits: &Limits) {
    loop {
        let usage = limits.usage();
        health.follow(Movement {
            contact: usage.requests > 1,
            busy: true,
            count: usage.requests + usage.bytes_read + usage.bytes_written,
            transferred: usage.bytes_written,
        });
        tokio::time::sleep(TICK).await;
    }
}

fn done(range: u32, planned: &PlannedRange, report: &Report, lists: u64) -> RangeDone {
    let example = report.examples.failed.first();
    RangeDone {
        range,
        objects: planned.lacking.objects,
        bytes: planned.lacking.bytes,
        copied: report.counts.copied,
        lists,
        failed: report.counts.failed,
        example: example
            .map(|failure| shortened(&format!("{}: {}", failure.reason, failure.message), EXAMPLE)),
        incomplete: Vec::new(),
    }
}
