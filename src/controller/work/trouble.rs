//! How the worker stands, by its Jobs and pods.

use jiff::Timestamp;

use crate::{
    api::{self, Credentials, FailureSide},
    controller::jobs::{JobState, JobView, Words},
    task::ExitCode,
};

/// What keeps a worker from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub side: Option<FailureSide>,
    pub reason: String,
    pub message: String,
    /// Only a person can help.
    pub permanent: bool,
}

/// How the worker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worker {
    /// There is none, and none is needed now.
    Idle,
    /// A Job is there, and no pod of it works; `why` is what its keepers say.
    Starting { since: Timestamp, why: Option<Words> },
    /// A pod works.
    Serving,
}

/// How the worker stands.
#[must_use]
pub fn worker(jobs: &[JobView], words: Option<&Words>) -> Worker {
    let active: Vec<_> = jobs.iter().filter(|job| job.is_active() && !job.is_done()).collect();
    if active.iter().any(|job| job.ready_pod().is_some()) {
        return Worker::Serving;
    }
    let Some(job) = active.last() else { return Worker::Idle };
    let pod = job.pods.iter().rev().find(|pod| pod.alive);
    // A pod that was ready and is no more counts from then on.
    let since = pod.and_then(|pod| pod.ready_changed).unwrap_or(job.created).max(job.created);
    let last = job.pods.iter().rev().find_map(|pod| pod.ended.as_ref());
    let ended = last.map(|(_, words, message)| match words {
        Some(words) => (words.reason.clone(), words.message.clone()),
        None => ("WorkerFailed".to_owned(), message.clone()),
    });
    Worker::Starting { since, why: words.cloned().or(ended) }
}

/// With the name of the resource, and of the Secret where its keys are at fault: the source's, the target's.
#[must_use]
pub fn named(about: &str, [source, target]: [Option<&Credentials>; 2], trouble: Trouble) -> Trouble {
    let keys =
        matches!(trouble.reason.as_str(), "AccessDenied" | "CredentialsRefused" | "CredentialsMissing");
    let secret = match trouble.side.filter(|_| keys) {
        None => None,
        Some(FailureSide::Source) => source,
        Some(FailureSide::Target) => target,
    };
    let secret = secret.map(|keys| format!("; its keys are in Secret {}", keys.secret_ref.name));
    let message = format!("{about}: {}{}", trouble.message, secret.unwrap_or_default());
    Trouble { message, ..trouble }
}

/// Why the last attempt failed, while no cycle has succeeded since: `told` are the worker's own words,
/// gone with its next success; `cycle` is when the last one succeeded.
#[must_use]
pub fn failure(told: Option<&api::Failure>, jobs: &[JobView], cycle: Option<Timestamp>) -> Option<Trouble> {
    if let Some(failure) = told {
        let permanent = failure.permanent;
        let api::Failure { side, reason, message, .. } = failure.clone();
        return Some(Trouble { side, reason, message, permanent });
    }
    let failed = jobs.iter().rev().find(|job| matches!(job.state, JobState::Failed { .. }));
    let job = failed.filter(|job| job.ended().is_some_and(|at| cycle.is_none_or(|cycle| cycle < at)))?;
    if job.failed_with(ExitCode::Superseded) {
        return None;
    }
    job_trouble(job)
}

/// What a Job that failed has to say.
#[must_use]
pub fn job_trouble(job: &JobView) -> Option<Trouble> {
    let JobState::Failed { code, words, message, .. } = &job.state else { return None };
    let permanent = *code == Some(ExitCode::Permanent as i32);
    if let Some(words) = words {
        return Some(Trouble {
            side: words.side,
            reason: words.reason.clone(),
            message: words.message.clone(),
            permanent,
        });
    }
    let reason = match code {
        Some(code) if *code == ExitCode::Denied as i32 => "CredentialsRefused",
        Some(code) if *code == ExitCode::Unreachable as i32 => "StoreUnreachable",
        Some(code) if *code == ExitCode::Stuck as i32 => "Stuck",
        _ => "WorkerFailed",
    };
    let message = format!("Job {}: {message}; see kubectl logs job/{}", job.name, job.name);
    Some(Trouble { side: None, reason: reason.to_owned(), message, permanent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::jobs::PodView;

    fn job(ended: Option<i32>) -> JobView {
        let pod = PodView {
            uid: "pod".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            started: Some(Timestamp::UNIX_EPOCH),
            alive: ended.is_none(),
            ready: false,
            ready_changed: None,
            ended: ended.map(|code| (code, None, format!("the worker ended with exit code {code}"))),
            index: None,
            done: None,
            trouble: None,
        };
        JobView {
            name: "copy-1".to_owned(),
            uid: "job".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            run_id: "run".to_owned(),
            task: "task".to_owned(),
            config_map: "map".to_owned(),
            attempt: 0,
            run_request: None,
            deleting: false,
            state: JobState::Active,
            pods: vec![pod],
            indexed: None,
        }
    }

    /// On a busy cluster minutes pass between a pod's end and its Job's.
    #[test]
    fn p11_a_pod_that_has_done_its_task_is_no_failure_while_its_job_is_not_told_complete() {
        assert_eq!(worker(&[job(Some(0))], None), Worker::Idle);
        let failed = worker(&[job(Some(1))], None);
        assert!(
            matches!(failed, Worker::Starting { why: Some((reason, _)), .. } if reason == "WorkerFailed")
        );
        assert!(matches!(worker(&[job(None)], None), Worker::Starting { why: None, .. }));
    }
}
