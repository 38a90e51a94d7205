//! The new instance itself: volume, server, and the address under which it is found.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            Container, ContainerPort, EmptyDirVolumeSource, HostAlias, PersistentVolumeClaim, PodSpec,
            PodTemplateSpec, Probe, Service, ServicePort, ServiceSpec, TCPSocketAction, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::ResourceExt;

use crate::{
    api::{DatabaseInstance, DatabaseServer, Engine, NewInstance},
    controller::{
        context::uid_of,
        jobs::{name_key, uid_key},
        work::beside::{VOLUME, alias, claim_spec, confined_for, database_security, places, server_id},
    },
    task::{VOLUME_DIR, WORK_DIR, member_host},
};

const COMPONENT: &str = "app.kubernetes.io/component";
const DATABASE: &str = "database";

/// What the new instance consists of.
pub struct Database {
    pub service: Service,
    pub server: StatefulSet,
}

/// The claim that the restore fills, named as the `StatefulSet` will look for it.
#[must_use]
pub fn claim_name(instance: &DatabaseInstance) -> String {
    format!("{VOLUME}-{}-0", instance.name_any())
}

/// The volume that is restored into. It has no owner: data outlives what served it.
#[must_use]
pub fn claim(instance: &DatabaseInstance, new: &NewInstance) -> PersistentVolumeClaim {
    let metadata = ObjectMeta { owner_references: None, ..metadata(instance, claim_name(instance)) };
    PersistentVolumeClaim {
        metadata,
        spec: Some(claim_spec(&new.server)),
        ..PersistentVolumeClaim::default()
    }
}

/// Server and Service.
#[must_use]
pub fn database(instance: &DatabaseInstance, new: &NewInstance) -> Database {
    let name = instance.name_any();
    let port = port(instance.spec.engine);
    Database {
        service: Service {
            metadata: metadata(instance, name.clone()),
            spec: Some(ServiceSpec {
                // Members of a replica set look for one another before they are ready.
                publish_not_ready_addresses: (instance.spec.engine == Engine::MongoDB).then_some(true),
                selector: Some(selector(instance)),
                ports: Some(vec![ServicePort {
                    name: Some(scheme(instance.spec.engine).to_owned()),
                    port,
                    target_port: Some(IntOrString::Int(port)),
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        },
        server: StatefulSet {
            metadata: metadata(instance, name.clone()),
            spec: Some(StatefulSetSpec {
                replicas: Some(1),
                service_name: Some(name),
                selector: LabelSelector {
                    match_labels: Some(selector(instance)),
                    ..LabelSelector::default()
                },
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels(instance)),
                        annotations: Some(notes(instance)),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod(instance, new)),
                },
                volume_claim_templates: Some(vec![PersistentVolumeClaim {
                    metadata: ObjectMeta { name: Some(VOLUME.to_owned()), ..ObjectMeta::default() },
                    spec: Some(claim_spec(&new.server)),
                    ..PersistentVolumeClaim::default()
                }]),
                ..StatefulSetSpec::default()
            }),
            ..StatefulSet::default()
        },
    }
}

/// Where it listens.
#[must_use]
pub fn endpoint(instance: &DatabaseInstance) -> String {
    let engine = instance.spec.engine;
    let namespace = instance.namespace().unwrap_or_default();
    format!("{}://{}.{namespace}:{}", scheme(engine), instance.name_any(), port(engine))
}

/// The name under which a server finds itself.
#[must_use]
pub fn itself(instance: &DatabaseInstance) -> Option<Vec<HostAlias>> {
    let host = || member_host(&instance.namespace().unwrap_or_default(), &instance.name_any());
    (instance.spec.engine == Engine::MongoDB).then(|| alias(host()))
}

/// True for a pod of the server of this instance.
#[must_use]
pub fn is_server(labels: &BTreeMap<String, String>, instance: &DatabaseInstance) -> bool {
    selector(instance).iter().all(|(key, value)| labels.get(key) == Some(value))
}

pub(super) fn scheme(engine: Engine) -> &'static str {
    match engine {
        Engine::MySQL => "mysql",
        Engine::MongoDB => "mongodb",
        Engine::SQLServer => "sqlserver",
        Engine::PostgreSQL => "postgresql",
    }
}

pub(super) fn port(engine: Engine) -> i32 {
    match engine {
        Engine::MySQL => 3306,
        Engine::MongoDB => 27_017,
        Engine::SQLServer => 1433,
        Engine::PostgreSQL => 5432,
    }
}

fn selector(instance: &DatabaseInstance) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "farshore".to_owned()),
        (COMPONENT.to_owned(), DATABASE.to_owned()),
        (uid_key::<DatabaseInstance>(), uid_of(instance)),
    ])
}

fn labels(instance: &DatabaseInstance) -> BTreeMap<String, String> {
    let mut all = selector(instance);
    all.insert("app.kubernetes.io/name".to_owned(), "farshore".to_owned());
    all
}

fn notes(instance: &DatabaseInstance) -> BTreeMap<String, String> {
    BTreeMap::from([(name_key::<DatabaseInstance>(), instance.name_any())])
}

pub(super) fn metadata(instance: &DatabaseInstance, name: String) -> ObjectMeta {
    use kube::Resource as _;
    ObjectMeta {
        name: Some(name),
        namespace: instance.namespace(),
        labels: Some(labels(instance)),
        annotations: Some(notes(instance)),
        owner_references: instance.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn pod(instance: &DatabaseInstance, new: &NewInstance) -> PodSpec {
    let new = &new.server;
    PodSpec {
        affinity: new.affinity.clone(),
        automount_service_account_token: Some(false),
        containers: vec![container(instance, new)],
        enable_service_links: Some(false),
        host_aliases: itself(instance),
        image_pull_secrets: new.image_pull_secrets.clone(),
        node_selector: new.node_selector.clone(),
        security_context: Some(database_security(new.run_as_user)),
        // A database flushes what it holds.
        termination_grace_period_seconds: Some(120),
        tolerations: new.tolerations.clone(),
        volumes: Some(vec![Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(instance: &DatabaseInstance, new: &DatabaseServer) -> Container {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    let engine = instance.spec.engine;
    let port = port(engine);
    let volume = places(engine).iter().map(|place| mount(VOLUME, place));
    Container {
        name: DATABASE.to_owned(),
        image: Some(new.image.clone()),
        command: Some(command(engine)),
        args: Some(arguments(instance, new)),
        ports: Some(vec![ContainerPort {
            container_port: port,
            name: Some(scheme(engine).to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(port), ..TCPSocketAction::default() }),
            period_seconds: Some(2),
            ..Probe::default()
        }),
        resources: new.resources.clone(),
        security_context: Some(confined_for(engine)),
        volume_mounts: Some(volume.chain([mount("tmp", WORK_DIR)]).collect()),
        ..Container::default()
    }
}

/// Images have the server under one of two names; what follows are its arguments.
fn command(engine: Engine) -> Vec<String> {
    let script = match engine {
        Engine::MySQL => "exec \"$(command -v mariadbd || command -v mysqld)\" \"$@\"",
        Engine::PostgreSQL => {
            "exec \"$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres | tail -n 1)\" \"$@\""
        }
        // A key that others may read is refused, and the volume's files may be given to the pod's group.
        Engine::MongoDB => {
            "(umask 077; cat /var/lib/farshore/mongod.key >/tmp/mongod.key) && exec mongod \"$@\""
        }
        // Licence and edition are asked for at every start.
        Engine::SQLServer => {
            "export ACCEPT_EULA=Y MSSQL_PID=\"$1\"; shift; exec /opt/mssql/bin/sqlservr \"$@\""
        }
    };
    ["/bin/sh", "-c", script, "server"].map(ToOwned::to_owned).to_vec()
}

fn arguments(instance: &DatabaseInstance, new: &DatabaseServer) -> Vec<String> {
    let ours = match instance.spec.engine {
        Engine::MySQL => vec![
            format!("--defaults-file={VOLUME_DIR}/server.cnf"),
            format!("--datadir={VOLUME_DIR}/db"),
            format!("--socket={WORK_DIR}/server.sock"),
            format!("--pid-file={WORK_DIR}/server.pid"),
            format!("--server-id={}", server_id(&uid_of(instance))),
            "--bind-address=*".to_owned(),
            // The kubelet looks whether the port is open, and says no more: after a hundred of these, its node
            // would be locked out.
            "--max-connect-errors=4294967295".to_owned(),
            // A new instance has to be backed up as well.
            "--log-bin=mysql-bin".to_owned(),
        ],
        Engine::PostgreSQL => vec![
            "-D".to_owned(),
            format!("{VOLUME_DIR}/db"),
            format!("--unix_socket_directories={WORK_DIR}"),
            "--listen_addresses=*".to_owned(),
        ],
        Engine::SQLServer => new.sql_server.iter().map(|terms| terms.edition.word().to_owned()).collect(),
        Engine::MongoDB => vec![
            format!("--dbpath={VOLUME_DIR}/db"),
            "--replSet=rs0".to_owned(),
            format!("--keyFile={WORK_DIR}/mongod.key"),
            "--auth".to_owned(),
            "--bind_ip_all".to_owned(),
            format!("--unixSocketPrefix={WORK_DIR}"),
        ],
    };
    ours.into_iter().chain(new.arguments.iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
