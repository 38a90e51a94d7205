//! Beside each member of a managed replica set: makes the set, its first account, and keeps its list of members.
//!
//! The first account can only be made from the machine of a member itself, while there is no account at all (the
//! localhost exception, <https://www.mongodb.com/docs/manual/core/localhost-exception/>). Each step is found anew
//! from what the member says, so that an agent may die at any moment.

mod member;

use async_trait::async_trait;
pub use member::Member;
use mongodb::bson::{Bson, Document, doc};

/// The member has no configuration yet.
const NOT_YET_INITIALIZED: i32 = 94;
const ALREADY_INITIALIZED: i32 = 23;
/// The account is there already, or the role.
const THERE_ALREADY: [i32; 2] = [51_002, 51_003];
/// The role that lets the worker write to a server that refuses everybody else's writes.
const ROLE: &str = "farshoreStandby";

/// What the set shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the replica set.
    pub set: String,
    /// Hosts with ports, the first member first.
    pub members: Vec<String>,
    /// This member is the first one: it is the one that makes the set.
    pub first: bool,
    /// The account of workers.
    pub username: String,
}

/// A member that is asked.
#[async_trait]
pub trait Local: Send + Sync {
    /// Runs a command in `admin`: with the account of workers, or as nobody.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn run(&self, with: Login, command: Document) -> Result<Document, Refusal>;
    /// Makes the account of workers, as nobody.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn create_account(&self) -> Result<(), Refusal>;
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Nobody,
    Account,
}

/// A command that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The server's number of the error; `None`: it does not answer.
    pub code: Option<i32>,
    pub message: String,
}

/// What an agent did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It waits: why.
    Waits(String),
    Initiated,
    AccountMade,
    /// A member was added, or taken away.
    Changed(String),
    /// All is as it should be.
    Nothing,
}

/// One look at the member, and one step.
///
/// # Errors
/// What the member says against it: it is tried again.
pub async fn step(local: &dyn Local, wanted: &Wanted) -> Result<Done, Refusal> {
    match local.run(Login::Account, doc! {"replSetGetStatus": 1}).await {
        Ok(status) if is_primary(&status) => settle(local, wanted).await,
        Ok(_) => Ok(Done::Nothing),
        Err(refusal) if refusal.code.is_none() => Ok(Done::Waits(refusal.message)),
        // There is no such account: nobody may ask now.
        Err(_) => found(local, wanted).await,
    }
}

fn is_primary(status: &Document) -> bool {
    matches!(status.get("myState"), Some(Bson::Int32(1) | Bson::Int64(1)))
}

/// The set, and then its first account.
async fn found(local: &dyn Local, wanted: &Wanted) -> Result<Done, Refusal> {
    match local.run(Login::Nobody, doc! {"replSetGetStatus": 1}).await {
        Ok(status) if is_primary(&status) => {
            local.create_account().await.or_else(unless(&THERE_ALREADY))?;
            Ok(Done::AccountMade)
        }
        Ok(_) => Ok(Done::Waits("the set has no account yet, and another member is its primary".to_owned())),
        Err(refusal) if refusal.code == Some(NOT_YET_INITIALIZED) && wanted.first => {
            let command = doc! {"replSetInitiate": initial(wanted)};
            local.run(Login::Nobody, command).await.map(drop).or_else(unless(&[ALREADY_INITIALIZED]))?;
            Ok(Done::Initiated)
        }
        Err(refusal) if refusal.code == Some(NOT_YET_INITIALIZED) => {
            Ok(Done::Waits("the first member has not made the set yet".to_owned()))
        }
        Err(refusal) => Err(refusal),
    }
}

fn unless(codes: &[i32]) -> impl Fn(Refusal) -> Result<(), Refusal> {
    move |refusal| match refusal.code {
        Some(code) if codes.contains(&code) => Ok(()),
        _ => Err(refusal),
    }
}

fn initial(wanted: &Wanted) -> Document {
    let members = (0..).zip(&wanted.members).map(|(id, host): (i32, _)| member(id, host));
    doc! {"_id": &wanted.set, "members": members.collect::<Vec<_>>()}
}

fn member(id: i32, host: &str) -> Document {
    doc! {"_id": id, "host": host}
}

/// At the primary: what workers need, and the members that are wanted.
async fn settle(local: &dyn Local, wanted: &Wanted) -> Result<Done, Refusal> {
    if !has_role(local, wanted).await? {
        let actions = ["setUserWriteBlockMode", "bypassWriteBlockingMode"];
        let role = doc! {
            "createRole": ROLE,
            "privileges": [{"resource": {"cluster": true}, "actions": actions.to_vec()}],
            "roles": [],
        };
        local.run(Login::Account, role).await.map(drop).or_else(unless(&THERE_ALREADY))?;
        let grant = doc! {"grantRolesToUser": &wanted.username, "roles": [{"role": ROLE, "db": "admin"}]};
        local.run(Login::Account, grant).await?;
    }
    let configuration = local.run(Login::Account, doc! {"replSetGetConfig": 1}).await?;
    let Ok(configuration) = configuration.get_document("config") else {
        return Ok(Done::Waits("the member does not tell its configuration".to_owned()));
    };
    let Some((changed, what)) = changed(configuration, wanted) else { return Ok(Done::Nothing) };
    local.run(Login::Account, doc! {"replSetReconfig": changed}).await?;
    Ok(Done::Changed(what))
}

async fn has_role(local: &dyn Local, wanted: &Wanted) -> Result<bool, Refusal> {
    let question = doc! {"usersInfo": {"user": &wanted.username, "db": "admin"}};
    let reply = local.run(Login::Account, question).await?;
    let users = reply.get_array("users").ok();
    let roles = users.and_then(|users| users.first()?.as_document()?.get_array("roles").ok());
    let named = |role: &Bson| {
        role.as_document().is_some_and(|role| role.get_str("role").is_ok_and(|role| role == ROLE))
    };
    Ok(roles.is_some_and(|roles| roles.iter().any(named)))
}

/// The configuration with one member more or less, which is what a server takes at a time.
fn changed(configuration: &Document, wanted: &Wanted) -> Option<(Document, String)> {
    let members: Vec<&Document> =
        configuration.get_array("members").ok()?.iter().filter_map(Bson::as_document).collect();
    let host = |member: &Document| member.get_str("host").map(ToOwned::to_owned).unwrap_or_default();
    let missing = wanted.members.iter().find(|wanted| !members.iter().any(|member| host(member) == **wanted));
    let surplus = members.iter().position(|member| !wanted.members.contains(&host(member)));
    let mut all: Vec<Document> = members.iter().map(|member| (*member).clone()).collect();
    let what = if let Some(missing) = missing {
        let id = members.iter().filter_map(|member| member.get_i32("_id").ok()).max().unwrap_or(-1) + 1;
        all.push(member(id, missing));
        format!("{missing} was added")
    } else {
        let gone = all.remove(surplus?);
        format!("{} was taken away", host(&gone))
    };
    let mut changed = configuration.clone();
    changed.insert("version", next_version(configuration));
    changed.insert("members", all);
    // The server sets it itself.
    changed.remove("term");
    Some((changed, what))
}

fn next_version(configuration: &Document) -> i64 {
    match configuration.get("version") {
        Some(Bson::Int32(version)) => i64::from(*version) + 1,
        Some(Bson::Int64(version)) => version + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
