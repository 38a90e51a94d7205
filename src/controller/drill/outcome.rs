//! What came of a drill: pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::judge::wrong;
use crate::{
    api::{DrillOutcome, DrillResult, RecoveryDrill, RecoveryDrillStatus, RecoveryReached, Served},
    controller::{
        jobs::{JobState, JobView},
        work::trouble::job_trouble,
    },
};

/// The last report of a worker is seen by then.
const REPORT: SignedDuration = SignedDuration::from_secs(30);

/// What came of the drill under way, once that is known.
#[must_use]
pub fn outcome(
    drill: &RecoveryDrill,
    status: &RecoveryDrillStatus,
    (number, job): (u32, Option<&JobView>),
    now: Timestamp,
) -> Option<DrillResult> {
    let job = job?;
    let started = status.begun_at.as_ref().map_or(job.created, |time| time.0);
    let report = drill.observed().filter(|report| report.run_id == job.run_id);
    let reached = report.and_then(|report| report.cycle.as_ref()).and_then(|cycle| cycle.reached.as_ref());
    if let Some(reached) = reached {
        let message = wrong(&drill.spec, reached, &status.history);
        return Some(of(number, (started, now), Some(reached), message));
    }
    let limit = started + drill.spec.time_limit.get();
    let failed = |message: String| Some(of(number, (started, now), None, Some(message)));
    match &job.state {
        JobState::Failed { .. } => {
            let trouble = job_trouble(job);
            failed(
                trouble.map_or_else(
                    || "the worker failed".to_owned(),
                    |t| format!("{}: {}", t.reason, t.message),
                ),
            )
        }
        JobState::Succeeded { at } if *at + REPORT < now => {
            failed("the worker ended well, and told nothing".to_owned())
        }
        _ if limit < now => failed(format!(
            "it was not done after {}; raise spec.timeLimit, or look why",
            drill.spec.time_limit
        )),
        _ => None,
    }
}

fn of(
    number: u32,
    (started, ended): (Timestamp, Timestamp),
    reached: Option<&RecoveryReached>,
    message: Option<String>,
) -> DrillResult {
    DrillResult {
        number,
        result: if message.is_none() { DrillOutcome::Passed } else { DrillOutcome::Failed },
        started_at: Time(started),
        completed_at: Time(ended),
        duration: format!("{}s", ended.duration_since(started).as_secs().max(0)),
        time_point: reached.map(|reached| reached.time_point),
        transactions: reached.map(|reached| reached.transactions),
        bytes: reached.map(|reached| reached.bytes),
        answers: reached.map(|reached| reached.answers.clone()).unwrap_or_default(),
        message,
    }
}
