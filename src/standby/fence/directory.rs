//! Users and roles, as a server tells them.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use super::roles::{Role, roles_of};
use crate::standby::{
    Result, Side,
    error::failed,
    lease::COMMAND,
    servers::{ask, code, code_of},
    target::within,
};

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account {
    pub name: String,
    pub database: String,
}

impl Account {
    pub(super) fn read(user: &Document) -> Option<Self> {
        Some(Self {
            name: user.get_str("user").ok()?.to_owned(),
            database: user.get_str("db").ok()?.to_owned(),
        })
    }

    pub(super) fn id(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// A user as a server has it.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub account: Account,
    pub roles: Vec<Role>,
    /// What the server keeps of the password, where that may be seen.
    pub credentials: Option<Bson>,
    pub whole: Document,
}

/// Users and roles of a server.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub users: Vec<User>,
    /// Roles that users made.
    pub custom: Vec<Document>,
}

impl Directory {
    pub(super) fn user(&self, account: &Account) -> Option<&User> {
        self.users.iter().find(|user| user.account == *account)
    }
}

/// Who there is, with what is kept of passwords where that may be seen.
pub(super) async fn directory(client: &Client, side: Side) -> Result<Directory> {
    let admin = client.database("admin");
    let list = async {
        let users = admin.collection::<Document>("system.users");
        let found = users.find(doc! {}).projection(doc! {"user": 1, "db": 1, "roles": 1}).await?;
        found.try_collect::<Vec<Document>>().await
    };
    let list = within(COMMAND, list).await.map_err(failed(side, "listing accounts"))?;
    let names: Vec<Document> =
        list.iter().filter_map(Account::read).map(|of| doc! {"user": of.name, "db": of.database}).collect();
    let info = doc! {"usersInfo": names, "showCredentials": true};
    let users = match ask(client, side, ("admin", info)).await {
        Ok(answer) => documents(&answer, "users"),
        Err(error) if code_of(&error) == Some(code::UNAUTHORIZED) => list,
        Err(error) => return Err(error),
    };
    let databases: BTreeSet<String> = users
        .iter()
        .flat_map(roles_of)
        .map(|role| role.database)
        .chain(users.iter().filter_map(Account::read).map(|of| of.database))
        .collect();
    let mut custom = Vec::new();
    for database in databases.iter().filter(|database| *database != "$external") {
        let info = doc! {"rolesInfo": 1, "showPrivileges": true, "showBuiltinRoles": false};
        custom.extend(documents(&ask(client, side, (database, info)).await?, "roles"));
    }
    let users = users.into_iter().filter_map(|whole| {
        let (account, roles) = (Account::read(&whole)?, roles_of(&whole));
        Some(User { account, roles, credentials: whole.get("credentials").cloned(), whole })
    });
    Ok(Directory { users: users.collect(), custom })
}

fn documents(answer: &Document, field: &str) -> Vec<Document> {
    let of = answer.get_array(field).ok().into_iter().flatten();
    of.filter_map(|document| document.as_document().cloned()).collect()
}
