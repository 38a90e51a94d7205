//! A member of a replica set that we make: the server, and our agent beside it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector,
        PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity, PodSpec, Probe,
        ResourceRequirements, SecretVolumeSource, TCPSocketAction, TopologySpreadConstraint, Volume,
        VolumeMount, VolumeResourceRequirements, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::ResourceExt;

use super::{
    managed::{Set, selector},
    target::{PORT, SET, account, key, member, members},
};
use crate::{
    api::ManagedReplicaSet,
    controller::work::beside::{VOLUME, confined, database_security},
    task::{TARGET_CREDENTIALS_DIR, VOLUME_DIR, WORK_DIR},
};

/// Where the key of the members is mounted, and its file name.
const KEY_DIR: &str = "/var/run/farshore/key";
/// Key of the members' key in its Secret.
pub const KEY_FILE: &str = "mongod.key";

/// The volume of a member.
#[must_use]
pub fn claim(spec: &ManagedReplicaSet) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(VOLUME.to_owned()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), spec.storage.clone())])),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: spec.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

/// A member's pod.
#[must_use]
pub fn pod(set: &Set<'_>) -> PodSpec {
    let spec = set.spec;
    let selector = LabelSelector { match_labels: Some(selector(set.standby)), ..LabelSelector::default() };
    PodSpec {
        affinity: Some(spec.affinity.clone().unwrap_or_else(|| apart(&selector))),
        automount_service_account_token: Some(false),
        containers: vec![server(set), agent(set)],
        enable_service_links: Some(false),
        image_pull_secrets: spec.image_pull_secrets.clone(),
        node_selector: spec.node_selector.clone(),
        security_context: Some(database_security(spec.run_as_user)),
        // A database flushes what it holds, and hands over.
        termination_grace_period_seconds: Some(120),
        tolerations: spec.tolerations.clone(),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            label_selector: Some(selector),
            max_skew: 1,
            topology_key: "topology.kubernetes.io/zone".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            ..TopologySpreadConstraint::default()
        }]),
        volumes: Some(vec![
            Volume {
                name: "tmp".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
            secret("key", key(set.standby)),
            secret("account", account(set.standby)),
        ]),
        ..PodSpec::default()
    }
}

/// Where that can be had, no two members share a node.
fn apart(selector: &LabelSelector) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: PodAffinityTerm {
                    label_selector: Some(selector.clone()),
                    topology_key: "kubernetes.io/hostname".to_owned(),
                    ..PodAffinityTerm::default()
                },
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn secret(volume: &str, name: String) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn server(set: &Set<'_>) -> Container {
    // A key that others may read is refused, and the files of a mounted Secret are given to the pod's group.
    let script = format!(
        "mkdir -p {VOLUME_DIR}/db && (umask 077; cat {KEY_DIR}/{KEY_FILE} >{WORK_DIR}/{KEY_FILE}) && exec mongod \"$@\""
    );
    let mut arguments = vec![
        format!("--dbpath={VOLUME_DIR}/db"),
        format!("--replSet={SET}"),
        format!("--keyFile={WORK_DIR}/{KEY_FILE}"),
        "--auth".to_owned(),
        "--bind_ip_all".to_owned(),
        format!("--port={PORT}"),
        format!("--unixSocketPrefix={WORK_DIR}"),
    ];
    if !set.active {
        // What expires at the master is deleted there, and here by its oplog only.
        arguments.extend(["--setParameter".to_owned(), "ttlMonitorEnabled=false".to_owned()]);
    }
    arguments.extend(set.spec.arguments.iter().cloned());
    Container {
        name: "database".to_owned(),
        image: Some(set.spec.image.clone()),
        command: Some(["/bin/sh", "-c", &script, "server"].map(ToOwned::to_owned).to_vec()),
        args: Some(arguments),
        ports: Some(vec![ContainerPort {
            container_port: PORT,
            name: Some("mongodb".to_owned()),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(PORT), ..TCPSocketAction::default() }),
            period_seconds: Some(5),
            ..Probe::default()
        }),
        resources: set.spec.resources.clone(),
        security_context: Some(confined()),
        volume_mounts: Some(vec![
            mount(VOLUME, VOLUME_DIR, false),
            mount("tmp", WORK_DIR, false),
            mount("key", KEY_DIR, true),
        ]),
        ..Container::default()
    }
}

/// Our program beside each server: the first account can be made from its own machine only.
fn agent(set: &Set<'_>) -> Container {
    let standby = set.standby;
    let place = format!("{}.{}:{PORT}", members(standby), standby.namespace().unwrap_or_default());
    let mut arguments = vec!["agent".to_owned(), format!("--set={SET}"), format!("--me=$(POD_NAME).{place}")];
    arguments.extend((0..set.spec.members).map(|index| format!("--member={}", member(standby, index))));
    let amounts = |cpu: &str, memory: &str| {
        let amount = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
        BTreeMap::from([amount("cpu", cpu), amount("memory", memory)])
    };
    Container {
        name: "agent".to_owned(),
        image: Some(set.options.worker_image.clone()),
        image_pull_policy: set.options.worker_image_pull_policy.clone(),
        args: Some(arguments),
        env: Some(vec![EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        resources: Some(ResourceRequirements {
            requests: Some(amounts("10m", "32Mi")),
            limits: Some(BTreeMap::from([("memory".to_owned(), Quantity("64Mi".to_owned()))])),
            ..ResourceRequirements::default()
        }),
        security_context: Some(confined()),
        volume_mounts: Some(vec![mount("account", TARGET_CREDENTIALS_DIR, true)]),
        ..Container::default()
    }
}
