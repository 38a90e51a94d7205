//! What a disaster recovery instance lays claim to: one of its master's copies, and the servers that it is kept on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    claim::{Turn, turn},
    objection::{Objection, refused},
};
use crate::api::{DatabaseInstance, DisasterRecoveryInstance, Served, condition};

/// Where MongoDB listens by itself.
const PORT: &str = "27017";
/// What a name within the cluster may end with.
const CLUSTER_ENDINGS: [&str; 3] = [".svc.cluster.local.", ".svc.cluster.local", ".svc"];

/// A disaster recovery instance, as far as others have to know of it.
#[derive(Clone, Debug)]
pub struct StandbyClaim {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// Name of the master, in the same namespace.
    pub master: String,
    /// An accepted claim stays accepted until it is deleted.
    pub accepted: bool,
    /// False where it can't be accepted whatever others do.
    pub viable: bool,
    /// It is an instance of its own, and follows nobody.
    pub active: bool,
    pub created: Option<Timestamp>,
    /// Servers of a target that was there before.
    pub hosts: BTreeSet<String>,
    /// The Secret with the target's account.
    pub secret: Option<String>,
}

impl StandbyClaim {
    /// The claim of an instance; `viable`: nothing but the claims of others can keep it out.
    #[must_use]
    pub fn new(standby: &DisasterRecoveryInstance, viable: bool) -> Self {
        let namespace = standby.namespace().unwrap_or_default();
        let existing = standby.spec.target.existing.as_ref();
        let accepted = condition::is_true(standby.conditions(), condition::ACCEPTED);
        Self {
            uid: standby.uid().unwrap_or_default(),
            name: standby.name_any(),
            master: standby.spec.master_ref.name.clone(),
            accepted,
            viable: accepted || viable,
            active: is_active(standby),
            created: standby.creation_timestamp().map(|time| time.0),
            hosts: existing.map(|existing| hosts_of(&existing.uri, &namespace)).unwrap_or_default(),
            secret: existing.and_then(|e| Some(e.credentials.as_ref()?.secret_ref.name.clone())),
            namespace,
        }
    }

    /// True when `self` goes before `other`: accepted first, then the earlier, then by name.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        self.turn() < other.turn()
    }

    fn turn(&self) -> Turn<'_> {
        turn(self.accepted, self.created, &self.namespace, &self.name)
    }

    /// `DisasterRecoveryInstance shop/sessions-dr`.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("DisasterRecoveryInstance {}/{}", self.namespace, self.name)
    }
}

/// True for one whose activation is done.
#[must_use]
pub fn is_active(standby: &DisasterRecoveryInstance) -> bool {
    let activation = standby.status.as_ref().and_then(|status| status.activation.as_ref());
    activation.is_some_and(|activation| activation.activated_at.is_some())
}

/// The servers that a URI names, as `host:port`; a name within the cluster is made whole.
#[must_use]
pub fn hosts_of(uri: &str, namespace: &str) -> BTreeSet<String> {
    let Some((_, rest)) = uri.split_once("://") else { return BTreeSet::new() };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let whole = |host: &str| {
        let host = host.to_lowercase();
        let (name, port) = host.rsplit_once(':').unwrap_or((&host, PORT));
        let name = CLUSTER_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let is_near = !name.contains('.') && name != "localhost";
        let place = if is_near { format!(".{namespace}") } else { String::new() };
        format!("{name}{place}:{port}")
    };
    authority.split(',').filter(|host| !host.is_empty()).map(whole).collect()
}

/// The copy that an instance is, or would be mixed up with, while that follows its master (`D04`): by its name, by the
/// servers of its endpoint, or by the Secret of a cluster that is restored into.
#[must_use]
pub fn follows<'a>(instance: &DatabaseInstance, standbys: &'a [StandbyClaim]) -> Option<&'a StandbyClaim> {
    let namespace = instance.namespace().unwrap_or_default();
    let endpoint = instance.spec.endpoint.as_ref();
    let hosts = endpoint.map(|endpoint| hosts_of(&endpoint.uri, &namespace)).unwrap_or_default();
    let bootstrap = instance.spec.bootstrap.as_ref();
    let secret = bootstrap.and_then(|bootstrap| Some(&bootstrap.existing.as_ref()?.uri_secret_ref.name));
    let is_made = bootstrap.is_some();
    standbys.iter().filter(|standby| !standby.active && standby.viable).find(|standby| {
        let here = standby.namespace == namespace;
        let same_name = here && is_made && standby.name == instance.name_any();
        let same_secret = here && secret.is_some() && standby.secret.as_ref() == secret;
        same_name || same_secret || !standby.hosts.is_disjoint(&hosts)
    })
}

/// Refuses what would write to a copy, or back it up, while it follows its master (`D04`). `what` is refused, like
/// `it takes no restore`.
///
/// # Errors
/// Names the copy and its master.
pub fn not_a_standby(
    instance: &DatabaseInstance,
    standbys: &[StandbyClaim],
    what: &str,
) -> Result<(), Objection> {
    let Some(standby) = follows(instance, standbys) else { return Ok(()) };
    Err(refused(
        "StandbyInstance",
        format!(
            "DatabaseInstance {} is the target of {}, which follows {} and is read-only: {what}; use {}, or activate the copy (spec.state: Active) first",
            instance.name_any(),
            standby.in_words(),
            standby.master,
            standby.master
        ),
    ))
}
