//! Desired objects: the Job, its task, its identity and rights.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
            PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
        },
        core::v1::{ConfigMap, PodTemplateSpec, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;

use super::{beside::Beside, plan::Start, pod::pod_spec, task::Written};
use crate::{
    api::{GROUP, Served, WorkerSpec},
    controller::{
        Options,
        context::uid_of,
        jobs::{
            ATTEMPT, BEFORE, CONFIG_MAP, PLAN, RANGES, RUN_ID, RUN_REQUEST, TASK, WORK, name_key, uid_key,
        },
        names,
    },
    task::{ExitCode, Indexes, TASK_KEY},
};

/// Finished Jobs go after this time; what they told is in the status.
const TTL: i32 = 3600;
/// Pods of a migration that may fail before the Job does; the controller makes another one without the ranges
/// that were at fault.
const ATTEMPTS: i32 = 6;
/// A shift that is not over by then is ended.
const OVERTIME: i64 = 900;

/// A Job and all that it needs.
pub struct Children {
    pub config_map: ConfigMap,
    pub service_account: ServiceAccount,
    pub role: Role,
    pub role_binding: RoleBinding,
    /// Takes a plan for pods of their own.
    pub paper: Option<ConfigMap>,
    pub job: Job,
}

/// What the Job is for.
#[derive(Clone, Debug)]
pub struct Work {
    /// The word that labels and arguments use.
    pub role: &'static str,
    /// Length of a shift; `None`: it ends with its work.
    pub shift: Option<Duration>,
    /// Only who reports needs to know the API server.
    pub reports: bool,
    pub keys: Vec<Keys>,
    /// The `ConfigMap` that the worker may write a plan into.
    pub paper: Option<Paper>,
    /// Each pod has a part of the work.
    pub parts: Option<Parts>,
    /// It runs beside a database's own tools.
    pub database: Option<Beside>,
    /// How its pods are run, where its owner doesn't say.
    pub settings: Option<WorkerSpec>,
}

/// A `ConfigMap` for a plan.
#[derive(Clone, Debug)]
pub struct Paper {
    pub name: String,
    /// It is made, blank, unless it is there.
    pub wanted: bool,
}

/// What the pods of an Indexed Job share out among them.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The `ConfigMap` with the plan, and the plan's hash.
    pub config_map: String,
    pub plan: String,
    /// Numbers of the plan's ranges that are to be done.
    pub ranges: Indexes,
    /// Objects and bytes that were at the target before.
    pub before: (u64, u64),
    /// Pods at a time.
    pub parallelism: u32,
}

/// A Secret that is mounted.
#[derive(Clone, Debug)]
pub struct Keys {
    pub volume: &'static str,
    pub directory: &'static str,
    pub secret: String,
    /// Work goes on without it.
    pub optional: bool,
}

/// A Job for a slot, with all that it needs.
#[must_use]
pub fn children<K: Served>(
    owner: &K,
    (task, work): (&Written, &Work),
    (start, run_id): (&Start, String),
    options: &Options,
) -> Children {
    let name = owner.name_any();
    let uid = uid_of(owner);
    let identity = names::cut("farshore-", &name, &names::hash_of(&[&uid]));
    let config_map = names::cut("farshore-", &name, &names::hash_of(&[&uid, &task.hash]));
    let meta = |child: String| metadata(owner, child, work.role);
    let job_name = names::cut("", &name, &names::hash_of(&[&uid, &start.slot]));
    let mut annotations = annotations(owner, (task, &config_map), (start, &run_id));
    annotations.extend(work.parts.iter().flat_map(notes_on_parts));
    let run = Run { task: &task.hash, id: &run_id, config_map: &config_map, service_account: &identity };
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(owner, work)),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(owner, work, &run, options)),
    };
    let metadata = ObjectMeta { annotations: Some(annotations), ..meta(job_name) };
    Children {
        job: Job { metadata, spec: Some(job_spec(work, template)), ..Job::default() },
        config_map: ConfigMap {
            metadata: meta(config_map),
            immutable: Some(true),
            data: Some(BTreeMap::from([(TASK_KEY.to_owned(), task.text.clone())])),
            ..ConfigMap::default()
        },
        service_account: ServiceAccount {
            metadata: meta(identity.clone()),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        role: role::<K>(meta(identity.clone()), &name, work.paper.as_ref()),
        paper: work
            .paper
            .as_ref()
            .filter(|paper| paper.wanted)
            .map(|paper| ConfigMap { metadata: meta(paper.name.clone()), ..ConfigMap::default() }),
        role_binding: role_binding(meta(identity.clone()), identity),
    }
}

/// What names a run inside its pod.
pub struct Run<'a> {
    pub task: &'a str,
    pub id: &'a str,
    pub config_map: &'a str,
    pub service_account: &'a str,
}

/// What the pods of a role are found by.
pub fn selector<K: Served>(owner: &K, role: &str) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    BTreeMap::from([
        label("app.kubernetes.io/managed-by", "farshore"),
        label("app.kubernetes.io/component", "worker"),
        label(&uid_key::<K>(), &uid_of(owner)),
        label(WORK, role),
    ])
}

fn labels<K: Served>(owner: &K, role: &str) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut all = selector(owner, role);
    all.extend([
        label("app.kubernetes.io/name", "farshore"),
        label(&name_key::<K>(), label_value(&owner.name_any())),
    ]);
    all
}

/// A name may have 253 characters, a label 63; it must end in a letter or digit.
fn label_value(name: &str) -> &str {
    let end = name.len().min(63);
    name[..end].trim_end_matches(['-', '.'])
}

fn pod_labels<K: Served>(owner: &K, work: &Work) -> BTreeMap<String, String> {
    let own = owner.worker().and_then(|worker| worker.pod_labels.clone());
    let mut all = own.unwrap_or_default();
    all.extend(labels(owner, work.role));
    all
}

fn annotations<K: Served>(
    owner: &K,
    (task, config_map): (&Written, &str),
    (start, run_id): (&Start, &str),
) -> BTreeMap<String, String> {
    let note = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut notes = BTreeMap::from([
        note(&name_key::<K>(), &owner.name_any()),
        note(RUN_ID, run_id),
        note(TASK, &task.work),
        note(CONFIG_MAP, config_map),
        note(ATTEMPT, &start.attempt.to_string()),
    ]);
    notes.extend(start.request.as_deref().map(|request| note(RUN_REQUEST, request)));
    notes
}

fn notes_on_parts(parts: &Parts) -> [(String, String); 3] {
    let (objects, bytes) = parts.before;
    [(PLAN, parts.plan.clone()), (RANGES, parts.ranges.to_string()), (BEFORE, format!("{objects}/{bytes}"))]
        .map(|(key, value)| (key.to_owned(), value))
}

/// Of an object that goes with its owner.
pub fn metadata<K: Served>(owner: &K, name: String, role: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: owner.namespace(),
        labels: Some(labels(owner, role)),
        annotations: Some(BTreeMap::from([(name_key::<K>(), owner.name_any())])),
        owner_references: owner.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn job_spec(work: &Work, template: PodTemplateSpec) -> JobSpec {
    let deadline = work.shift.and_then(|shift| i64::try_from(shift.as_secs()).ok());
    if let Some(parts) = &work.parts {
        return indexed_spec(parts, template);
    }
    if work.database.as_ref().is_some_and(|database| database.once) {
        return JobSpec {
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(TTL),
            template,
            ..JobSpec::default()
        };
    }
    JobSpec {
        active_deadline_seconds: deadline.map(|seconds| seconds + OVERTIME),
        backoff_limit: Some(2),
        pod_failure_policy: Some(failure_policy()),
        // A pod that still ends is not overtaken by its successor.
        pod_replacement_policy: Some("Failed".to_owned()),
        ttl_seconds_after_finished: Some(TTL),
        template,
        ..JobSpec::default()
    }
}

/// Index *i* is the *i*-th of the ranges.
///
/// There is no `backoffLimitPerIndex`: with one, the Job controller keeps the finalizer of a failed pod until its
/// successor is there, and a namespace that is deleted takes its pods first and lets no successor in, so that it
/// would never go (seen with 1.34). Which range failed too often is found from the pods, when the Job has failed.
fn indexed_spec(parts: &Parts, template: PodTemplateSpec) -> JobSpec {
    let ranges = i32::try_from(parts.ranges.len()).unwrap_or(i32::MAX);
    JobSpec {
        completion_mode: Some("Indexed".to_owned()),
        completions: Some(ranges),
        parallelism: i32::try_from(parts.parallelism).ok(),
        backoff_limit: Some(ATTEMPTS),
        pod_failure_policy: Some(failure_policy_of_parts()),
        // A pod that still ends is not overtaken by its successor.
        pod_replacement_policy: Some("Failed".to_owned()),
        ttl_seconds_after_finished: Some(TTL),
        template,
        ..JobSpec::default()
    }
}

/// What a drained node, an outage, a Secret that is being changed or a suspension ends is no failure: such a pod
/// is replaced, after pauses that grow to some minutes. What only a person can help is not tried again.
fn failure_policy_of_parts() -> PodFailurePolicy {
    let on_codes = |action: &str, codes: &[ExitCode]| PodFailurePolicyRule {
        action: action.to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some("worker".to_owned()),
            operator: "In".to_owned(),
            values: codes.iter().map(|code| *code as i32).collect(),
        }),
        ..PodFailurePolicyRule::default()
    };
    PodFailurePolicy {
        rules: vec![
            disruption(),
            on_codes("Ignore", &[ExitCode::Denied, ExitCode::Unreachable, ExitCode::Stopped]),
            on_codes("FailJob", &[ExitCode::Permanent]),
        ],
    }
}

fn disruption() -> PodFailurePolicyRule {
    PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
        }]),
        ..PodFailurePolicyRule::default()
    }
}

/// A drained node is no failure; what only a person, a mended Secret or a healed store can help is not
/// tried again by the Job.
fn failure_policy() -> PodFailurePolicy {
    let final_codes = [ExitCode::Permanent, ExitCode::Denied, ExitCode::Unreachable, ExitCode::Superseded];
    PodFailurePolicy {
        rules: vec![
            disruption(),
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    container_name: Some("worker".to_owned()),
                    operator: "In".to_owned(),
                    values: final_codes.map(|code| code as i32).to_vec(),
                }),
                ..PodFailurePolicyRule::default()
            },
        ],
    }
}

/// A worker reads its own resource and reports to it, writes its plan, and nothing else.
fn role<K: Served>(metadata: ObjectMeta, name: &str, paper: Option<&Paper>) -> Role {
    let rule = |group: &str, resource: String, name: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource]),
        resource_names: Some(vec![name.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    let mut rules = vec![
        rule(GROUP, K::PLURAL.to_owned(), name, &["get", "list", "watch"]),
        rule(GROUP, format!("{}/status", K::PLURAL), name, &["patch"]),
    ];
    rules.extend(paper.map(|paper| rule("", "configmaps".to_owned(), &paper.name, &["get", "patch"])));
    Role { metadata, rules: Some(rules) }
}

fn role_binding(metadata: ObjectMeta, name: String) -> RoleBinding {
    let namespace = metadata.namespace.clone();
    RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace,
            ..Subject::default()
        }]),
    }
}
