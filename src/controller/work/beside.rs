//! A pod with a database's image, into which our program is brought.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, HostAlias, PersistentVolumeClaimSpec, PodSecurityContext, SeccompProfile, SecurityContext,
    Volume, VolumeResourceRequirements,
};

use crate::{
    api::{DatabaseServer, Engine},
    controller::names,
    task::{SQL_SERVER_DIR, VOLUME_DIR},
};

/// Name of the volume with the database's files, in pods and in the names of claims.
pub const VOLUME: &str = "data";

/// What a restore runs beside.
#[derive(Clone, Debug)]
pub struct Beside {
    pub engine: Engine,
    pub server: DatabaseServer,
    /// The volume that is filled.
    pub volume: Volume,
    /// One pod, whatever becomes of it: what it does must not be done twice.
    pub once: bool,
    /// Names that mean the pod itself.
    pub itself: Option<Vec<HostAlias>>,
}

impl Beside {
    /// With a volume that `place` says the kind of.
    #[must_use]
    pub fn new(engine: Engine, server: &DatabaseServer, place: Volume) -> Self {
        Self {
            engine,
            server: server.clone(),
            volume: Volume { name: VOLUME.to_owned(), ..place },
            once: false,
            itself: None,
        }
    }
}

/// Where the volume of a database is mounted. Where SQL Server keeps its files is built into its images.
#[must_use]
pub fn places(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::SQLServer => &[VOLUME_DIR, SQL_SERVER_DIR],
        Engine::MongoDB | Engine::MySQL | Engine::PostgreSQL => &[VOLUME_DIR],
    }
}

/// A name for the pod itself. A member of a replica set looks for itself under its address when it starts: asked of
/// a DNS, that would have to know the name by then.
#[must_use]
pub fn alias(host: String) -> Vec<HostAlias> {
    vec![HostAlias { ip: "127.0.0.1".to_owned(), hostnames: Some(vec![host]) }]
}

/// A claim for the volume of a database.
#[must_use]
pub fn claim_spec(server: &DatabaseServer) -> PersistentVolumeClaimSpec {
    PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some(BTreeMap::from([("storage".to_owned(), server.storage.clone())])),
            ..VolumeResourceRequirements::default()
        }),
        storage_class_name: server.storage_class_name.clone(),
        ..PersistentVolumeClaimSpec::default()
    }
}

/// A number that no other server of a replication has, but by accident.
#[must_use]
pub fn server_id(uid: &str) -> u32 {
    u32::try_from(1 + names::spread(uid, u64::from(u32::MAX - 1))).unwrap_or(1)
}

/// As restricted as Pod Security's profile `restricted` asks for; the files of a database belong to its user.
#[must_use]
pub fn database_security(user: i64) -> PodSecurityContext {
    PodSecurityContext {
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        run_as_group: Some(user),
        ..pod_security(user)
    }
}

/// As restricted as Pod Security's profile `restricted` asks for.
#[must_use]
pub fn pod_security(user: i64) -> PodSecurityContext {
    PodSecurityContext {
        fs_group: Some(user),
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// The same of a container.
#[must_use]
pub fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

/// The same of a container that runs a database. The file of SQL Server's program asks for one right, which the profile
/// allows: a process that could never have it may not run the file, whatever its port.
#[must_use]
pub fn confined_for(engine: Engine) -> SecurityContext {
    let mut security = confined();
    if let (Engine::SQLServer, Some(capabilities)) = (engine, &mut security.capabilities) {
        capabilities.add = Some(vec!["NET_BIND_SERVICE".to_owned()]);
    }
    security
}
