//! What of an account's roles is reading.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document, doc};

/// A role, and the database that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    pub name: String,
    pub database: String,
}

impl Role {
    #[must_use]
    pub fn new(name: &str, database: &str) -> Self {
        Self { name: name.to_owned(), database: database.to_owned() }
    }

    /// As servers tell it.
    #[must_use]
    pub fn read(role: &Document) -> Option<Self> {
        Some(Self::new(role.get_str("role").ok()?, role.get_str("db").ok()?))
    }

    /// As servers take it.
    #[must_use]
    pub fn written(&self) -> Document {
        doc! {"role": &self.name, "db": &self.database}
    }
}

/// The roles that are named in a field of a user or a role.
#[must_use]
pub fn roles_of(of: &Document) -> Vec<Role> {
    let roles = of.get_array("roles").ok().into_iter().flatten();
    roles.filter_map(|role| Role::read(role.as_document()?)).collect()
}

/// Who has one of these administers the replica set, and could lift any fence: such an account of the target's
/// own is left as it is, as whoever operates the target needs it.
const ADMINISTERS: [&str; 7] =
    ["root", "__system", "clusterAdmin", "clusterManager", "hostManager", "backup", "restore"];

/// Whether an account that the target has itself is left as it is.
#[must_use]
pub fn is_exempt(roles: &[Role]) -> bool {
    roles.iter().any(|role| role.database == "admin" && ADMINISTERS.contains(&role.name.as_str()))
}

/// What remains of roles so that nothing can be written and no account changed; `custom`: roles that users
/// made, as `rolesInfo` with `showPrivileges` tells them.
#[must_use]
pub fn reduced(roles: &[Role], custom: &[Document]) -> Vec<Role> {
    let mut kept = BTreeSet::new();
    for role in roles {
        match (role.name.as_str(), role.database.as_str()) {
            ("readAnyDatabase" | "readWriteAnyDatabase", "admin") => {
                kept.insert(Role::new("readAnyDatabase", "admin"));
            }
            ("root" | "backup" | "restore" | "__system", "admin") => {
                kept.insert(Role::new("readAnyDatabase", "admin"));
                kept.insert(Role::new("clusterMonitor", "admin"));
            }
            ("clusterMonitor" | "clusterAdmin" | "clusterManager" | "hostManager", "admin") => {
                kept.insert(Role::new("clusterMonitor", "admin"));
            }
            ("read" | "readWrite" | "dbOwner", database) => {
                kept.insert(Role::new("read", database));
            }
            (
                "dbAdmin" | "userAdmin" | "dbAdminAnyDatabase" | "userAdminAnyDatabase" | "enableSharding",
                _,
            ) => {}
            _ => kept.extend(read_by(role, custom)),
        }
    }
    kept.into_iter().collect()
}

/// What a role that users made lets read: whole databases only.
fn read_by(role: &Role, custom: &[Document]) -> BTreeSet<Role> {
    let (mut kept, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![role.clone()]);
    while let Some(role) = open.pop() {
        let known = custom.iter().find(|of| Role::read(of).as_ref() == Some(&role));
        let Some(known) = known.filter(|_| seen.insert(role.clone())) else { continue };
        for privilege in
            known.get_array("privileges").ok().into_iter().flatten().filter_map(Bson::as_document)
        {
            kept.extend(read_privilege(privilege));
        }
        let inherited = roles_of(known);
        let (made, built_in): (Vec<_>, Vec<_>) = inherited
            .into_iter()
            .partition(|role| custom.iter().any(|of| Role::read(of).as_ref() == Some(role)));
        kept.extend(reduced(&built_in, &[]));
        open.extend(made);
    }
    kept
}

fn read_privilege(privilege: &Document) -> Option<Role> {
    let actions = privilege.get_array("actions").ok()?;
    if !actions.iter().any(|action| action.as_str() == Some("find")) {
        return None;
    }
    let resource = privilege.get_document("resource").ok()?;
    match (resource.get_str("db").ok()?, resource.get_str("collection").ok()?) {
        ("", "") => Some(Role::new("readAnyDatabase", "admin")),
        ("" | "admin" | "config" | "local", _) => None,
        (database, "") => Some(Role::new("read", database)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(text: &str) -> Role {
        let (name, database) = text.split_once('@').unwrap();
        Role::new(name, database)
    }

    fn names(roles: &[Role]) -> Vec<String> {
        roles.iter().map(|role| format!("{}@{}", role.name, role.database)).collect()
    }

    #[test]
    fn d04_of_an_accounts_roles_only_reading_remains() {
        let cases: [(&[&str], &[&str]); 8] = [
            (&["read@shop"], &["read@shop"]),
            (&["readWrite@shop", "userAdmin@shop"], &["read@shop"]),
            (&["dbOwner@shop", "read@shop", "dbAdmin@bank"], &["read@shop"]),
            (&["readWriteAnyDatabase@admin", "userAdminAnyDatabase@admin"], &["readAnyDatabase@admin"]),
            (&["root@admin"], &["clusterMonitor@admin", "readAnyDatabase@admin"]),
            (&["clusterAdmin@admin"], &["clusterMonitor@admin"]),
            (&["userAdminAnyDatabase@admin"], &[]),
            // Bound to another database it grants nothing at the server either.
            (&["root@shop", "unknown@shop"], &[]),
        ];
        for (has, expected) in cases {
            let has: Vec<Role> = has.iter().map(|text| role(text)).collect();
            let kept = reduced(&has, &[]);
            assert_eq!(names(&kept), expected, "{has:?}");
            assert_eq!(reduced(&kept, &[]), kept, "reduced once more");
        }
    }

    #[test]
    fn d04_roles_that_users_made_are_reduced_to_the_databases_that_they_read() {
        let custom = [
            doc! {
                "role": "clerk", "db": "shop",
                "privileges": [
                    {"resource": {"db": "shop", "collection": ""}, "actions": ["find", "insert"]},
                    {"resource": {"db": "bank", "collection": "one"}, "actions": ["find"]},
                    {"resource": {"cluster": true}, "actions": ["bypassWriteBlockingMode"]},
                ],
                "roles": [{"role": "chief", "db": "shop"}, {"role": "dbOwner", "db": "depot"}],
            },
            // They inherit from one another.
            doc! {
                "role": "chief", "db": "shop",
                "privileges": [{"resource": {"db": "", "collection": ""}, "actions": ["find", "remove"]}],
                "roles": [{"role": "clerk", "db": "shop"}],
            },
        ];
        let kept = reduced(&[role("clerk@shop")], &custom);
        assert_eq!(names(&kept), ["read@depot", "read@shop", "readAnyDatabase@admin"]);
    }

    #[test]
    fn d04_accounts_that_administer_the_target_itself_are_left_as_they_are() {
        assert!(is_exempt(&[role("read@shop"), role("clusterAdmin@admin")]));
        for tenant in
            ["root@shop", "userAdminAnyDatabase@admin", "readWriteAnyDatabase@admin", "dbOwner@admin"]
        {
            assert!(!is_exempt(&[role(tenant)]), "{tenant}");
        }
    }
}
