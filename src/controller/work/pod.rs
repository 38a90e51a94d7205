//! The worker's pod: restricted, small, credentials as files.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, Container, EmptyDirVolumeSource, HTTPGetAction, PodSpec, Probe,
        ResourceRequirements, SecretVolumeSource, Toleration, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{
    beside::{Beside, confined, confined_for, database_security, places, pod_security},
    children::{Keys, Run, Work},
};
use crate::{
    api::{DatabaseServer, Served, WorkerSpec},
    controller::Options,
    task::{PLAN_DIR, PROGRAM_DIR, TASK_DIR, TASK_KEY, WORK_DIR, WORKER_PORT},
};

/// Name of the volume with our program.
const PROGRAM: &str = "program";

/// User and group of the image.
const USER: i64 = 65532;
/// A node that is gone is left after this time.
const NODE_PATIENCE: i64 = 30;
/// Readable by the group that the files are given to.
const FILE_MODE: i32 = 0o440;

/// The pod of a run.
#[must_use]
pub fn pod_spec<K: Served>(owner: &K, work: &Work, run: &Run<'_>, options: &Options) -> PodSpec {
    let worker = owner.worker().or(work.settings.as_ref()).cloned().unwrap_or_default();
    let worker =
        work.database.as_ref().map_or(worker.clone(), |database| as_database(worker, &database.server));
    let mounts = mounts(work, run.config_map);
    let mut tolerations = worker.tolerations.unwrap_or_default();
    tolerations.extend(["not-ready", "unreachable"].map(short_patience));
    PodSpec {
        affinity: worker.affinity,
        automount_service_account_token: Some(work.reports),
        containers: vec![container(work, run, &mounts, (worker.resources, options))],
        enable_service_links: Some(false),
        host_aliases: work.database.as_ref().and_then(|database| database.itself.clone()),
        init_containers: work.database.as_ref().map(|_| vec![program(options)]),
        image_pull_secrets: worker.image_pull_secrets,
        node_selector: worker.node_selector,
        priority_class_name: worker.priority_class_name,
        restart_policy: Some("Never".to_owned()),
        security_context: Some(
            work.database.as_ref().map_or_else(
                || pod_security(USER),
                |database| database_security(database.server.run_as_user),
            ),
        ),
        service_account_name: Some(run.service_account.to_owned()),
        // A worker hands over at a safe point; what it leaves behind is taken up by the next one.
        termination_grace_period_seconds: Some(30),
        tolerations: Some(tolerations),
        volumes: Some(mounts.into_iter().map(|(volume, _)| volume).collect()),
        ..PodSpec::default()
    }
}

/// A restore runs where the instance will, with what that may use.
fn as_database(worker: WorkerSpec, database: &DatabaseServer) -> WorkerSpec {
    let database = database.clone();
    WorkerSpec {
        resources: database.resources.or(worker.resources),
        node_selector: database.node_selector.or(worker.node_selector),
        tolerations: database.tolerations.or(worker.tolerations),
        affinity: database.affinity.or(worker.affinity),
        image_pull_secrets: database.image_pull_secrets.or(worker.image_pull_secrets),
        ..worker
    }
}

/// Brings our program into a pod that has another image.
fn program(options: &Options) -> Container {
    Container {
        name: "program".to_owned(),
        image: Some(options.worker_image.clone()),
        image_pull_policy: options.worker_image_pull_policy.clone(),
        args: Some(["worker", "install", PROGRAM_DIR].map(ToOwned::to_owned).to_vec()),
        resources: Some(default_resources("128Mi")),
        security_context: Some(confined()),
        volume_mounts: Some(vec![VolumeMount {
            name: PROGRAM.to_owned(),
            mount_path: PROGRAM_DIR.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn short_patience(state: &str) -> Toleration {
    Toleration {
        effect: Some("NoExecute".to_owned()),
        key: Some(format!("node.kubernetes.io/{state}")),
        operator: Some("Exists".to_owned()),
        toleration_seconds: Some(NODE_PATIENCE),
        ..Toleration::default()
    }
}

fn container(
    work: &Work,
    run: &Run<'_>,
    mounts: &[(Volume, VolumeMount)],
    (resources, options): (Option<ResourceRequirements>, &Options),
) -> Container {
    let task = format!("{TASK_DIR}/{TASK_KEY}");
    let database = work.database.as_ref();
    let args = ["worker", work.role, "--task", &task, "--task-hash", run.task, "--run-id", run.id];
    Container {
        name: "worker".to_owned(),
        image: Some(database.map_or(&options.worker_image, |database| &database.server.image).clone()),
        image_pull_policy: options.worker_image_pull_policy.clone().filter(|_| database.is_none()),
        command: database.map(|_| vec![format!("{PROGRAM_DIR}/farshore")]),
        args: Some(args.map(ToOwned::to_owned).to_vec()),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(Probe { initial_delay_seconds: head_start(work), ..probe("/readyz", 5, 3) }),
        resources: resources.or_else(|| database.is_none().then(|| default_resources(most_memory(work)))),
        security_context: Some(database.map_or_else(confined, |database| confined_for(database.engine))),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(
            mounts
                .iter()
                .map(|(_, mount)| mount.clone())
                .chain(database.into_iter().flat_map(again))
                .collect(),
        ),
        ..Container::default()
    }
}

/// Most cycles are over within seconds: asked before, each would leave an Event that it is not ready yet.
fn head_start(work: &Work) -> Option<i32> {
    (work.reports && work.shift.is_none()).then_some(5)
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(WORKER_PORT)),
            ..HTTPGetAction::default()
        }),
        failure_threshold: Some(failures),
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

/// One that follows a master holds what it applies next, and what it has written down of it.
fn most_memory(work: &Work) -> &'static str {
    if work.role == "standby" { "256Mi" } else { "128Mi" }
}

fn default_resources(most: &str) -> ResourceRequirements {
    let quantity = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    ResourceRequirements {
        limits: Some(BTreeMap::from([quantity("memory", most)])),
        requests: Some(BTreeMap::from([quantity("cpu", "50m"), quantity("memory", "64Mi")])),
        ..ResourceRequirements::default()
    }
}

fn mounts(work: &Work, config_map: &str) -> Vec<(Volume, VolumeMount)> {
    let task = mounted("task", TASK_DIR, |volume| {
        volume.config_map =
            Some(ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() });
    });
    let plan = work.parts.as_ref().map(|parts| {
        mounted("plan", PLAN_DIR, |volume| {
            let name = parts.config_map.clone();
            volume.config_map = Some(ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() });
        })
    });
    let database = work.database.iter().flat_map(beside);
    std::iter::once(task).chain(plan).chain(work.keys.iter().map(secret)).chain(database).collect()
}

/// The program, the volume that is filled, and a folder for sockets.
fn beside(database: &Beside) -> [(Volume, VolumeMount); 3] {
    let empty = |volume: &mut Volume| volume.empty_dir = Some(EmptyDirVolumeSource::default());
    let writable =
        |(volume, mount): (Volume, VolumeMount)| (volume, VolumeMount { read_only: None, ..mount });
    let volume = database.volume.clone();
    [
        mounted(PROGRAM, PROGRAM_DIR, empty),
        writable(mounted("work", WORK_DIR, empty)),
        writable(mounted(&volume.name.clone(), places(database.engine)[0], |there| *there = volume)),
    ]
}

/// The volume, where else it is looked for.
fn again(database: &Beside) -> impl Iterator<Item = VolumeMount> {
    places(database.engine).iter().skip(1).map(|place| VolumeMount {
        name: database.volume.name.clone(),
        mount_path: (*place).to_owned(),
        ..VolumeMount::default()
    })
}

fn secret(keys: &Keys) -> (Volume, VolumeMount) {
    mounted(keys.volume, keys.directory, |volume| {
        volume.secret = Some(SecretVolumeSource {
            default_mode: Some(FILE_MODE),
            optional: keys.optional.then_some(true),
            secret_name: Some(keys.secret.clone()),
            ..SecretVolumeSource::default()
        });
    })
}

fn mounted(name: &str, path: &str, fill: impl FnOnce(&mut Volume)) -> (Volume, VolumeMount) {
    let mut volume = Volume { name: name.to_owned(), ..Volume::default() };
    fill(&mut volume);
    let mount = VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (volume, mount)
}
