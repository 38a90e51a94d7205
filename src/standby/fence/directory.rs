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

/// Who there is, with what is kept of passwords where that may be seen: as backup tools read it, or else as the server
/// tells it.
pub(super) async fn directory(client: &Client, side: Side) -> Result<Directory> {
    let listed = kept(client, side, "system.users").await?;
    let users = if listed.iter().any(|user| user.contains_key("credentials")) {
        listed
    } else {
        told_users(client, side, listed).await?
    };
    let mut custom = kept(client, side, "system.roles").await?;
    if custom.is_empty() {
        custom = told_roles(client, side, &users).await?;
    }
    let users = users.into_iter().filter_map(|whole| {
        let (account, roles) = (Account::read(&whole)?, roles_of(&whole));
        Some(User { account, roles, credentials: whole.get("credentials").cloned(), whole })
    });
    Ok(Directory { users: users.collect(), custom })
}

/// A collection in which servers keep accounts.
async fn kept(client: &Client, side: Side, collection: &str) -> Result<Vec<Document>> {
    let of = client.database("admin").collection::<Document>(collection);
    let found = async { of.find(doc! {}).await?.try_collect().await };
    within(COMMAND, found).await.map_err(failed(side, "listing accounts"))
}

async fn told_users(client: &Client, side: Side, listed: Vec<Document>) -> Result<Vec<Document>> {
    let names = listed.iter().filter_map(Account::read);
    let names: Vec<Document> = names.map(|of| doc! {"user": of.name, "db": of.database}).collect();
    let info = doc! {"usersInfo": names, "showCredentials": true};
    match ask(client, side, ("admin", info)).await {
        Ok(answer) => Ok(documents(&answer, "users")),
        Err(error) if code_of(&error) == Some(code::UNAUTHORIZED) => Ok(listed),
        Err(error) => Err(error),
    }
}

async fn told_roles(client: &Client, side: Side, users: &[Document]) -> Result<Vec<Document>> {
    let bound = users.iter().flat_map(roles_of).map(|role| role.database);
    let own = users.iter().filter_map(Account::read).map(|of| of.database);
    let databases: BTreeSet<String> = bound.chain(own).filter(|database| database != "$external").collect();
    let mut roles = Vec::new();
    for database in databases {
        let info = doc! {"rolesInfo": 1, "showPrivileges": true, "showBuiltinRoles": false};
        match ask(client, side, (&database, info)).await {
            Ok(answer) => roles.extend(documents(&answer, "roles")),
            // There are none, as far as may be seen.
            Err(error) if code_of(&error) == Some(code::UNAUTHORIZED) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(roles)
}

fn documents(answer: &Document, field: &str) -> Vec<Document> {
    let of = answer.get_array(field).ok().into_iter().flatten();
    of.filter_map(|document| document.as_document().cloned()).collect()
}
