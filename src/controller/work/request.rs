//! Requests to run now: the annotation's value, and whether it was honoured (`P09`).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::{
    api::{Measure, RUN_REQUESTED, RunRequest, Served},
    controller::{
        events::Announcement,
        jobs::{JobState, JobView},
    },
};

/// The annotation's value, when it is a time and was not honoured yet.
#[must_use]
pub fn pending<K: Served>(object: &K) -> Option<String> {
    let value = object.annotations().get(RUN_REQUESTED)?;
    value.parse::<Timestamp>().ok()?;
    let honoured = object.last_run_request();
    (honoured.is_none_or(|honoured| honoured.requested_at != *value)).then(|| value.clone())
}

/// The request that was honoured last: told by the worker, or by the Job that was made for it.
#[must_use]
pub fn honoured<K: Served>(object: &K, jobs: &[JobView]) -> Option<RunRequest> {
    let last = object.last_run_request();
    let told = object.observed().and_then(|report| {
        let requested_at = report.run_request.clone()?;
        Some(RunRequest { requested_at, completed_at: report.cycle.as_ref().map(Measure::completed_at) })
    });
    let told = told.filter(|told| last.is_none_or(|last| last.requested_at != told.requested_at));
    let by_job = || {
        jobs.iter().rev().find_map(|job| {
            let JobState::Succeeded { at } = job.state else { return None };
            Some(RunRequest { requested_at: job.run_request.clone()?, completed_at: Some(Time(at)) })
        })
    };
    let by_job = by_job().filter(|job| last.is_none_or(|last| last.requested_at < job.requested_at));
    told.or(by_job).or_else(|| last.cloned())
}

/// A value that is no time, told once.
#[must_use]
pub fn malformed<K: Served>(object: &K) -> Option<(String, Announcement)> {
    let value = object.annotations().get(RUN_REQUESTED)?;
    if value.parse::<Timestamp>().is_ok() {
        return None;
    }
    let note = format!(
        "{} {}: {RUN_REQUESTED} is {value:?}, which is no RFC 3339 time like 2026-11-21T08:00:00Z; nothing is run for it",
        K::NOUN,
        object.name_any()
    );
    Some(("request".to_owned(), Announcement::warning("MalformedRunRequest", note)))
}
