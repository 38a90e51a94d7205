//! Jobs as they are: what a Job and its pods tell.

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt;

use super::names;
use crate::{
    api::{GROUP, Served},
    task::{ExitCode, Indexes, LastWords, RangeDone},
};

/// Label of Jobs and pods: `sync`, `purge`, `replicate` or `migrate`.
pub const WORK: &str = "farshore.dev/work";
/// Annotation of Jobs: id of the run.
pub const RUN_ID: &str = "farshore.dev/run-id";
/// Annotation of Jobs: hash of the task but for its generation.
pub const TASK: &str = "farshore.dev/task";
/// Annotation of Jobs: name of the ConfigMap with the task.
pub const CONFIG_MAP: &str = "farshore.dev/config-map";
/// Annotation of Jobs: how many Jobs before it failed in a row.
pub const ATTEMPT: &str = "farshore.dev/attempt";
/// Annotation of Jobs: the request that it was made for.
pub const RUN_REQUEST: &str = crate::api::RUN_REQUESTED;

/// Annotation of Indexed Jobs: hash of the plan.
pub const PLAN: &str = "farshore.dev/plan";
/// Annotation of Indexed Jobs: numbers of the plan's ranges, in the order of the Job's indexes.
pub const RANGES: &str = "farshore.dev/ranges";
/// Annotation of Indexed Jobs: objects and bytes that were at the target before, like `7/4096`.
pub const BEFORE: &str = "farshore.dev/before";
/// The Job controller's own annotation of pods: their index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Annotation of Jobs and pods: name of what the worker serves, as `farshore.dev/service`. A label of the
/// same name, for people, has as much of it as a label can hold.
#[must_use]
pub fn name_key<K: Served>() -> String {
    format!("{GROUP}/{}", K::NOUN)
}

/// Label of Jobs and pods: UID of what the worker serves, as `farshore.dev/service-uid`.
#[must_use]
pub fn uid_key<K: Served>() -> String {
    format!("{GROUP}/{}-uid", K::NOUN)
}

/// Two words of the kubelet for one thing that it alternates between.
const IMAGE: &str = "ImagePullBackOff";

/// A reason and a message.
pub type Words = (String, String);

/// One Job of ours.
#[derive(Clone, Debug)]
pub struct JobView {
    pub name: String,
    pub uid: String,
    pub created: Timestamp,
    pub run_id: String,
    pub task: String,
    pub config_map: String,
    pub attempt: u32,
    pub run_request: Option<String>,
    pub deleting: bool,
    pub state: JobState,
    pub pods: Vec<PodView>,
    /// Of a Job whose pods each have a part of the work.
    pub indexed: Option<Indexed>,
}

/// What an Indexed Job has to do, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Hash of the plan.
    pub plan: String,
    /// The plan's ranges that it is for; index *i* is the *i*-th of them.
    pub ranges: Indexes,
    /// Objects and bytes that were at the target before.
    pub before: (u64, u64),
    /// Indexes that are done.
    pub completed: Indexes,
    pub parallelism: u32,
    pub suspended: bool,
}

/// How a Job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    Active,
    Succeeded { at: Timestamp },
    Failed { at: Timestamp, code: Option<i32>, words: Option<LastWords>, message: String },
}

/// One pod of a Job.
#[derive(Clone, Debug)]
pub struct PodView {
    pub uid: String,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    /// Still counts as running something.
    pub alive: bool,
    pub ready: bool,
    /// Since when it is ready, or not.
    pub ready_changed: Option<Timestamp>,
    /// How its container ended.
    pub ended: Option<(i32, Option<LastWords>, String)>,
    /// Its part of an Indexed Job, and what it told of it when it was done.
    pub index: Option<u32>,
    pub done: Option<RangeDone>,
    /// What keeps it from starting, in the kubelet's or the scheduler's words.
    pub trouble: Option<Words>,
}

impl JobView {
    /// What a Job and its pods tell; `pods` may hold those of others.
    #[must_use]
    pub fn new(job: &Job, pods: &[PodView]) -> Self {
        let note = |key: &str| job.annotations().get(key).cloned().unwrap_or_default();
        let mut pods = pods.to_vec();
        pods.sort_by_key(|pod| pod.created);
        Self {
            name: job.name_any(),
            uid: job.uid().unwrap_or_default(),
            created: created(job),
            run_id: note(RUN_ID),
            task: note(TASK),
            config_map: note(CONFIG_MAP),
            attempt: note(ATTEMPT).parse().unwrap_or(0),
            run_request: job.annotations().get(RUN_REQUEST).cloned(),
            deleting: job.metadata.deletion_timestamp.is_some(),
            state: state(job, &pods),
            pods,
            indexed: indexed(job),
        }
    }

    /// True while it may have a pod that works.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == JobState::Active && !self.deleting
    }

    /// A pod of it has done the task: the Job controller is about to say so.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.pods.iter().any(|pod| pod.ended.as_ref().is_some_and(|(code, ..)| *code == 0))
    }

    /// The pod that is ready.
    #[must_use]
    pub fn ready_pod(&self) -> Option<&PodView> {
        self.pods.iter().find(|pod| pod.alive && pod.ready)
    }

    /// When work began: the first pod's start, else the Job's own.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.pods.iter().filter_map(|pod| pod.started).min().unwrap_or(self.created)
    }

    /// When it ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        match &self.state {
            JobState::Active => None,
            JobState::Succeeded { at } | JobState::Failed { at, .. } => Some(*at),
        }
    }

    /// Exit code of a Job that failed.
    #[must_use]
    pub fn failed_with(&self, code: ExitCode) -> bool {
        matches!(&self.state, JobState::Failed { code: Some(found), .. } if *found == code as i32)
    }

    /// Stable jitter of this Job, in seconds below `bound`.
    #[must_use]
    pub fn jitter(&self, bound: u64) -> u64 {
        names::spread(&self.uid, bound)
    }
}

fn indexed(job: &Job) -> Option<Indexed> {
    let note = |key: &str| job.annotations().get(key).map(String::as_str);
    let before = note(BEFORE).and_then(|text| text.split_once('/'));
    let number = |text: &str| text.parse().unwrap_or(0);
    let spec = job.spec.as_ref()?;
    let status = job.status.as_ref();
    let listed = |text: Option<&String>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
    Some(Indexed {
        plan: note(PLAN)?.to_owned(),
        ranges: note(RANGES)?.parse().ok()?,
        before: before.map(|(objects, bytes)| (number(objects), number(bytes))).unwrap_or_default(),
        completed: listed(status.and_then(|status| status.completed_indexes.as_ref())),
        parallelism: spec.parallelism.and_then(|pods| u32::try_from(pods).ok()).unwrap_or(1),
        suspended: spec.suspend == Some(true),
    })
}

fn created<K: ResourceExt>(object: &K) -> Timestamp {
    object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

fn state(job: &Job, pods: &[PodView]) -> JobState {
    let Some(status) = &job.status else { return JobState::Active };
    // FailureTarget comes before Failed, while pods still end: what is decided already is not waited for.
    let holds = |type_: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let at = |condition: &k8s_openapi::api::batch::v1::JobCondition| {
        condition.last_transition_time.as_ref().map_or_else(|| created(job), |time| time.0)
    };
    if let Some(condition) = holds("Complete") {
        return JobState::Succeeded { at: at(condition) };
    }
    let Some(condition) = holds("Failed") else { return JobState::Active };
    let last = pods.iter().rev().find_map(|pod| pod.ended.as_ref().filter(|(code, ..)| *code != 0));
    let message = last.map(|(_, _, reason)| reason.clone()).filter(|reason| !reason.is_empty());
    JobState::Failed {
        at: at(condition),
        code: last.map(|(code, ..)| *code).or_else(|| code_in(condition.message.as_deref()?)),
        words: last.and_then(|(_, words, _)| words.clone()),
        message: message.or_else(|| condition.message.clone()).unwrap_or_default(),
    }
}

/// The exit code in a Job's message, for when its pods are gone:
/// `Container worker for pod shop/x failed with exit code 11 matching FailJob rule at index 1`.
fn code_in(message: &str) -> Option<i32> {
    let rest = message.split("exit code ").nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl PodView {
    /// What a pod tells.
    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let condition = |type_: &str| status.conditions.iter().flatten().find(|c| c.type_ == type_);
        let container = status.container_statuses.iter().flatten().next();
        let ready = condition("Ready");
        Self {
            uid: pod.uid().unwrap_or_default(),
            created: created(pod),
            started: status.start_time.as_ref().map(|time| time.0),
            alive: !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready: ready.is_some_and(|c| c.status == "True") && pod.metadata.deletion_timestamp.is_none(),
            ready_changed: ready.and_then(|c| c.last_transition_time.as_ref()).map(|time| time.0),
            ended: container.and_then(ended),
            index: pod.annotations().get(INDEX).and_then(|index| index.parse().ok()),
            done: container.and_then(done),
            trouble: unscheduled(condition("PodScheduled")).or_else(|| container.and_then(waiting)),
        }
    }
}

fn unscheduled(condition: Option<&k8s_openapi::api::core::v1::PodCondition>) -> Option<Words> {
    let condition = condition.filter(|condition| condition.status == "False")?;
    let reason = condition.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned());
    Some((reason, condition.message.clone().unwrap_or_default()))
}

fn waiting(container: &ContainerStatus) -> Option<Words> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if matches!(reason, "ContainerCreating" | "PodInitializing") {
        return None;
    }
    let reason = if matches!(reason, "ErrImagePull" | IMAGE) { IMAGE } else { reason };
    let message = waiting.message.clone().unwrap_or_else(|| format!("the container waits: {reason}"));
    Some((reason.to_owned(), format!("image {}: {message}", container.image)))
}

fn ended(container: &ContainerStatus) -> Option<(i32, Option<LastWords>, String)> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    let words = ended.message.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let said = ended.message.as_deref().filter(|_| words.is_none()).unwrap_or_default();
    let reason = ended.reason.as_deref().unwrap_or("Error");
    let message = format!("the worker ended with exit code {} ({reason}) {said}", ended.exit_code);
    Some((ended.exit_code, words, message.trim_end().to_owned()))
}

/// What a container that succeeded said last, if that is about a range.
fn done(container: &ContainerStatus) -> Option<RangeDone> {
    let ended = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code == 0)?;
    serde_json::from_str(ended.message.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> PodView {
        PodView::new(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn p11_a_pod_tells_why_it_does_not_start() {
        let unschedulable = pod(
            "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0/1 nodes are available}]}",
        );
        assert_eq!(
            unschedulable.trouble.unwrap(),
            ("Unschedulable".to_owned(), "0/1 nodes are available".to_owned())
        );
        for reason in ["ErrImagePull", "ImagePullBackOff"] {
            let image = pod(&format!(
                "status: {{phase: Pending, containerStatuses: [{{name: worker, image: nowhere, imageID: '', ready: false, restartCount: 0, state: {{waiting: {{reason: {reason}, message: not found}}}}}}]}}"
            ));
            assert_eq!(image.trouble.unwrap().0, "ImagePullBackOff");
        }
        assert!(pod("status: {phase: Pending, containerStatuses: [{name: worker, image: x, imageID: '', ready: false, restartCount: 0, state: {waiting: {reason: ContainerCreating}}}]}").trouble.is_none());
    }

    #[test]
    fn a_failed_job_tells_its_exit_code_with_or_without_its_pods() {
        let job: Job = serde_yaml_ng::from_str(
            "metadata: {name: copy-1, uid: u}
status:
  conditions:
  - {type: Failed, status: 'True', reason: PodFailurePolicy, lastTransitionTime: '2026-11-21T08:00:00Z', message: Container worker for pod shop/copy-1-x failed with exit code 11 matching FailJob rule at index 1}
",
        )
        .unwrap();
        assert!(JobView::new(&job, &[]).failed_with(ExitCode::Denied));
        let told = pod(
            "status: {phase: Failed, containerStatuses: [{name: worker, image: x, imageID: '', ready: false, restartCount: 0, state: {terminated: {exitCode: 10, message: '{\"reason\":\"BucketNotFound\",\"message\":\"bucket x is missing\",\"side\":\"Target\"}'}}}]}",
        );
        let JobState::Failed { code, words, .. } = JobView::new(&job, &[told]).state else {
            panic!("failed")
        };
        assert_eq!((code, words.unwrap().reason.as_str()), (Some(10), "BucketNotFound"));
    }
}
