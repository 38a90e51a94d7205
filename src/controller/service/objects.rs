//! Desired objects: the Job, its task, its identity and rights.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
            PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
        },
        core::v1::{ConfigMap, PodTemplateSpec, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};

use super::{plan::Start, pod::pod_spec, task::Written};
use crate::{
    api::{BackupSyncService, DatabaseInstance, GROUP},
    controller::{
        Options,
        jobs::{ATTEMPT, CONFIG_MAP, RUN_ID, RUN_REQUEST, SERVICE, SERVICE_UID, TASK, WORK},
        names,
    },
    task::{ExitCode, TASK_KEY, TaskMode},
};

/// Finished Jobs go after this time; what they told is in the status.
const TTL: i32 = 3600;
/// A shift that is not over by then is ended.
const OVERTIME: i64 = 900;

/// A Job and all that it needs.
pub struct Children {
    pub config_map: ConfigMap,
    pub service_account: ServiceAccount,
    pub role: Role,
    pub role_binding: RoleBinding,
    pub job: Job,
}

/// What the Job is for.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    Sync { mode: TaskMode, instance: &'a DatabaseInstance },
    Purge,
}

impl Work<'_> {
    /// The word that labels and arguments use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sync { .. } => "sync",
            Self::Purge => "purge",
        }
    }
}

/// A Job for a slot, with all that it needs.
#[must_use]
pub fn children(
    service: &BackupSyncService,
    (task, work): (&Written, Work<'_>),
    (start, run_id): (&Start, String),
    options: &Options,
) -> Children {
    let name = service.name_any();
    let uid = service.uid().unwrap_or_default();
    let identity = names::cut("farshore-", &name, &names::hash_of(&[&uid]));
    let config_map = names::cut("farshore-", &name, &names::hash_of(&[&uid, &task.hash]));
    let meta = |child: String| metadata(service, child, work);
    let job_name = names::cut("", &name, &names::hash_of(&[&uid, &start.slot]));
    let annotations = annotations(service, (task, &config_map), (start, &run_id));
    let run = Run { task: &task.hash, id: &run_id, config_map: &config_map, service_account: &identity };
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(service, work)),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(service, work, &run, options)),
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
        role: role(meta(identity.clone()), &name),
        role_binding: role_binding(meta(identity.clone()), identity, service),
    }
}

/// What names a run inside its pod.
pub struct Run<'a> {
    pub task: &'a str,
    pub id: &'a str,
    pub config_map: &'a str,
    pub service_account: &'a str,
}

fn labels(service: &BackupSyncService, work: Work<'_>) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    BTreeMap::from([
        label("app.kubernetes.io/name", "farshore"),
        label("app.kubernetes.io/managed-by", "farshore"),
        label("app.kubernetes.io/component", "worker"),
        label(SERVICE, label_value(&service.name_any())),
        label(SERVICE_UID, &service.uid().unwrap_or_default()),
        label(WORK, work.name()),
    ])
}

/// A name may have 253 characters, a label 63; it must end in a letter or digit.
fn label_value(name: &str) -> &str {
    let end = name.len().min(63);
    name[..end].trim_end_matches(['-', '.'])
}

fn pod_labels(service: &BackupSyncService, work: Work<'_>) -> BTreeMap<String, String> {
    let own = service.spec.worker.as_ref().and_then(|worker| worker.pod_labels.clone());
    let mut all = own.unwrap_or_default();
    all.extend(labels(service, work));
    all
}

fn annotations(
    service: &BackupSyncService,
    (task, config_map): (&Written, &str),
    (start, run_id): (&Start, &str),
) -> BTreeMap<String, String> {
    let note = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut notes = BTreeMap::from([
        note(SERVICE, &service.name_any()),
        note(RUN_ID, run_id),
        note(TASK, &task.work),
        note(CONFIG_MAP, config_map),
        note(ATTEMPT, &start.attempt.to_string()),
    ]);
    notes.extend(start.request.as_deref().map(|request| note(RUN_REQUEST, request)));
    notes
}

fn metadata(service: &BackupSyncService, name: String, work: Work<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: service.namespace(),
        labels: Some(labels(service, work)),
        annotations: Some(BTreeMap::from([(SERVICE.to_owned(), service.name_any())])),
        owner_references: owner(service).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn owner(service: &BackupSyncService) -> Option<OwnerReference> {
    service.controller_owner_ref(&())
}

fn job_spec(work: Work<'_>, template: PodTemplateSpec) -> JobSpec {
    let deadline = match work {
        Work::Sync { mode: TaskMode::Shift { seconds }, .. } => {
            i64::try_from(seconds).ok().map(|s| s + OVERTIME)
        }
        Work::Sync { mode: TaskMode::Cycle, .. } | Work::Purge => None,
    };
    JobSpec {
        active_deadline_seconds: deadline,
        backoff_limit: Some(2),
        pod_failure_policy: Some(failure_policy()),
        // A pod that still ends is not overtaken by its successor.
        pod_replacement_policy: Some("Failed".to_owned()),
        ttl_seconds_after_finished: Some(TTL),
        template,
        ..JobSpec::default()
    }
}

/// A drained node is no failure; what only a person, a mended Secret or a healed store can help is not
/// tried again by the Job.
fn failure_policy() -> PodFailurePolicy {
    let final_codes = [ExitCode::Permanent, ExitCode::Denied, ExitCode::Unreachable, ExitCode::Superseded];
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                }]),
                ..PodFailurePolicyRule::default()
            },
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

/// A worker reads its own resource and reports to it, and nothing else.
fn role(metadata: ObjectMeta, name: &str) -> Role {
    let rule = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![GROUP.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(vec![name.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    let rules = vec![
        rule("backupsyncservices", &["get", "list", "watch"]),
        rule("backupsyncservices/status", &["patch"]),
    ];
    Role { metadata, rules: Some(rules) }
}

fn role_binding(metadata: ObjectMeta, name: String, service: &BackupSyncService) -> RoleBinding {
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
            namespace: service.namespace(),
            ..Subject::default()
        }]),
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
