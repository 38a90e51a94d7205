//! What the restore of a MongoDB and its server must agree on.

/// The name under which the one member of a new instance's replica set is found, in the whole cluster: its Service's.
#[must_use]
pub fn member_host(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}.svc")
}
