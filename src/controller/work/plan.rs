//! Which Job is next, and when: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    controller::{
        Timing, backoff,
        jobs::{JobState, JobView},
        names,
    },
    task::{ExitCode, TaskMode},
};

/// The next shift starts this long before one ends.
const HAND_OVER: Duration = Duration::from_mins(1);
/// A shift that ends sooner than this did not serve.
const SHORT: SignedDuration = SignedDuration::from_secs(60);
/// Finished Jobs that are kept for people to look at.
const HISTORY: usize = 3;

/// What a plan is made from.
pub struct Wish<'a> {
    pub uid: &'a str,
    /// Hash of the work that shall be done.
    pub task: &'a str,
    pub mode: TaskMode,
    pub interval: Duration,
    /// Jobs of synchronization, oldest first.
    pub jobs: &'a [JobView],
    /// When the last cycle that succeeded began; Jobs go after an hour, this stays.
    pub last_cycle: Option<Timestamp>,
    /// A request that was not honoured yet.
    pub request: Option<&'a str>,
    /// When the last outage of one of both regions ended.
    pub healed: Option<Timestamp>,
    /// When the service was created.
    pub created: Timestamp,
}

/// A Job that shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Two controllers that see the same give the same slot, and so the same name.
    pub slot: String,
    pub attempt: u32,
    pub request: Option<String>,
}

/// What shall be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub start: Option<Start>,
    /// Names of Jobs that shall go.
    pub end: Vec<String>,
    /// When to look again.
    pub look: Option<Timestamp>,
}

/// Plans the next Job.
#[must_use]
pub fn plan(wish: &Wish<'_>, timing: &Timing, now: Timestamp) -> Plan {
    let (current, stale): (Vec<_>, Vec<_>) = wish.jobs.iter().partition(|job| job.task == wish.task);
    let mut end: Vec<_> = stale.iter().filter(|job| !job.deleting).map(|job| job.name.clone()).collect();
    let finished: Vec<_> = current.iter().filter(|job| job.ended().is_some() && !job.deleting).collect();
    let surplus = finished.len().saturating_sub(HISTORY);
    end.extend(finished.iter().take(surplus).map(|job| job.name.clone()));
    let due = due(wish, &current, timing, now);
    let mut plan = Plan { start: None, end, look: None };
    match due {
        Due::Never => {}
        Due::At(at, start) if at <= now => plan.start = Some(start),
        Due::At(at, _) => plan.look = Some(at),
    }
    plan
}

enum Due {
    /// Not before something changes.
    Never,
    At(Timestamp, Start),
}

fn due(wish: &Wish<'_>, current: &[&JobView], timing: &Timing, now: Timestamp) -> Due {
    let active = current.iter().rev().find(|job| job.is_active());
    let newest = current.last();
    match (wish.mode, active, newest) {
        (TaskMode::Shift { seconds }, Some(job), _) => {
            let lasts = Duration::from_secs(seconds);
            let at = job.started() + lasts.saturating_sub(HAND_OVER.min(lasts / 4));
            Due::At(at, after(job, 0, wish))
        }
        (TaskMode::Cycle, Some(_), _) => Due::Never,
        (TaskMode::Shift { .. }, None, None) => Due::At(
            caught_up(wish, timing, wish.created).unwrap_or(now),
            first(wish, format!("first:{}", wish.task)),
        ),
        (TaskMode::Cycle, None, None) => first_cycle(wish, timing, now),
        (mode, None, Some(job)) => next(mode, job, wish, timing, now),
    }
}

fn first(wish: &Wish<'_>, slot: String) -> Start {
    Start { slot, attempt: 0, request: wish.request.map(ToOwned::to_owned) }
}

fn after(job: &JobView, attempt: u32, wish: &Wish<'_>) -> Start {
    Start { slot: format!("after:{}", job.uid), attempt, request: wish.request.map(ToOwned::to_owned) }
}

/// Number of the interval that a moment lies in; services begin theirs at different moments.
fn cycle_of(wish: &Wish<'_>, at: Timestamp) -> (i64, Timestamp) {
    let interval = i64::try_from(wish.interval.as_secs()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(names::spread(wish.uid, wish.interval.as_secs())).unwrap_or(0);
    let number = (at.as_second() - offset).div_euclid(interval);
    let next = Timestamp::from_second((number + 1).saturating_mul(interval).saturating_add(offset));
    (number, next.unwrap_or(Timestamp::MAX))
}

fn first_cycle(wish: &Wish<'_>, timing: &Timing, now: Timestamp) -> Due {
    let (number, next) = cycle_of(wish, now);
    let start = first(wish, format!("cycle:{number}:{}", wish.task));
    let done = wish.last_cycle.is_some_and(|began| cycle_of(wish, began).0 >= number);
    if done && wish.request.is_none() {
        return Due::At(next, start);
    }
    if let Some(request) = wish.request {
        return Due::At(now, first(wish, format!("request:{request}:{}", wish.task)));
    }
    Due::At(caught_up(wish, timing, wish.created).unwrap_or(now), start)
}

/// What comes after a Job that ended, or is being deleted.
fn next(mode: TaskMode, job: &JobView, wish: &Wish<'_>, timing: &Timing, now: Timestamp) -> Due {
    let asked = wish.request.is_some() && job.run_request.as_deref() != wish.request;
    match &job.state {
        // Deleted by hand: its successor starts at once.
        JobState::Active => Due::At(now, after(job, job.attempt, wish)),
        _ if asked => Due::At(now, after(job, job.attempt, wish)),
        JobState::Failed { at, .. } => {
            let attempt = job.attempt.saturating_add(1);
            let start = after(job, attempt, wish);
            Due::At(caught_up(wish, timing, *at).unwrap_or(*at + retry(job, attempt)), start)
        }
        JobState::Succeeded { at } if mode == TaskMode::Cycle => {
            let (done, next) = cycle_of(wish, job.created.max(wish.last_cycle.unwrap_or(job.created)));
            let (number, _) = cycle_of(wish, now);
            let slot = first(wish, format!("cycle:{number}:{}", wish.task));
            let at = if number > done { now } else { next.max(*at) };
            Due::At(at, slot)
        }
        JobState::Succeeded { at } => {
            let short = job.created.duration_until(*at) < SHORT;
            let attempt = if short { job.attempt.saturating_add(1) } else { 0 };
            let pause = if short { backoff::pause(attempt) } else { Duration::ZERO };
            Due::At(*at + pause, after(job, attempt, wish))
        }
    }
}

/// After an outage that began before, or went on after, `since`: each service at its own moment.
fn caught_up(wish: &Wish<'_>, timing: &Timing, since: Timestamp) -> Option<Timestamp> {
    let healed = wish.healed.filter(|healed| *healed > since)?;
    let bound = u64::try_from(timing.catch_up.as_millis()).unwrap_or(u64::MAX);
    Some(healed + Duration::from_millis(names::spread(wish.uid, bound)))
}

/// Pause after a Job that failed.
fn retry(job: &JobView, attempt: u32) -> Duration {
    if job.failed_with(ExitCode::Denied) {
        // Whatever the attempt: a mended Secret heals within 90 s.
        return Duration::from_secs(35 + job.jitter(10));
    }
    if job.failed_with(ExitCode::Permanent) {
        // Only a person can help; one who did so without an edit is noticed in the end.
        return Duration::from_secs(300 + job.jitter(60));
    }
    backoff::pause(attempt) + Duration::from_millis(names::spread(&job.uid, 1000))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
