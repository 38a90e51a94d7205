//! The replica set that follows: where it listens, and whose account writes to it.

use kube::ResourceExt;

use crate::{
    api::DisasterRecoveryInstance,
    controller::{context::uid_of, names},
};

/// Name of the replica set that we make.
pub const SET: &str = "rs0";
/// Where its members listen.
pub const PORT: i32 = 27_017;
/// Members that a URI names: they tell of the others, and a change of their number changes no URI.
const NAMED: i32 = 3;

/// A replica set, as a worker is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub uri: String,
    /// The Secret with `username` and `password`; `None`: nobody logs in.
    pub secret: Option<String>,
    /// We have made it.
    pub managed: bool,
}

/// The target of a disaster recovery instance.
#[must_use]
pub fn target(standby: &DisasterRecoveryInstance) -> Target {
    if let Some(existing) = &standby.spec.target.existing {
        let credentials = existing.credentials.as_ref();
        return Target {
            uri: existing.uri.clone(),
            secret: credentials.map(|credentials| credentials.secret_ref.name.clone()),
            managed: false,
        };
    }
    let hosts: Vec<_> = (0..NAMED).map(|index| member(standby, index)).collect();
    Target {
        uri: format!("mongodb://{}/?replicaSet={SET}", hosts.join(",")),
        secret: Some(account(standby)),
        managed: true,
    }
}

/// Host and port of a member that we make.
#[must_use]
pub fn member(standby: &DisasterRecoveryInstance, index: i32) -> String {
    let (name, namespace) = (standby.name_any(), standby.namespace().unwrap_or_default());
    format!("{name}-{index}.{}.{namespace}:{PORT}", members(standby))
}

/// Name of the Service that gives members their names.
#[must_use]
pub fn members(standby: &DisasterRecoveryInstance) -> String {
    format!("{}-members", standby.name_any())
}

/// Name of the Secret with the account that a managed target is written with.
#[must_use]
pub fn account(standby: &DisasterRecoveryInstance) -> String {
    secret(standby, "account")
}

/// Name of the Secret with the key that its members know one another by.
#[must_use]
pub fn key(standby: &DisasterRecoveryInstance) -> String {
    secret(standby, "key")
}

/// Nobody can have another's Secret mounted by a name that he gives his instance: the UID is not known before.
fn secret(standby: &DisasterRecoveryInstance, what: &str) -> String {
    names::cut("", &standby.name_any(), &names::hash_of(&[&uid_of(standby), what]))
}
