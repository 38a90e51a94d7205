//! Accounts that may only read.
//!
//! What an account is to have once the target is a server of its own is kept in `farshore.accounts`, written before
//! the account is reduced. The master's accounts are there too, with the passwords that it keeps of them. Our own and
//! those that administer the target are left alone.

use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use super::{
    Layer,
    directory::{Account, Directory, User, directory},
    roles::{Role, is_exempt, reduced, roles_of},
};
use crate::standby::{
    Error, Result, Side,
    error::failed,
    lease::COMMAND,
    servers::{code, code_of},
    target::{RECORDS, Target, within},
};

const COLLECTION: &str = "accounts";
/// Where accounts with their passwords are put for the server to take them over, as mongorestore does.
const ARRIVING: &str = "farshore_arriving";
/// It was brought from the master, or is there too.
const OF_MASTER: &str = "ofMaster";
/// Beside the accounts, which have a dot in their ids.
const RAISED: &str = "raised";
const USER_NOT_FOUND: i32 = 11;
const ROLE_EXISTS: i32 = 51_002;

/// The accounts of a target.
pub(super) struct Accounts<'a> {
    pub target: &'a Target,
    pub master: Option<&'a Client>,
    pub own: Vec<Account>,
}

impl Accounts<'_> {
    /// Reduces every account, those of the master included.
    pub(super) async fn reduce(&self) -> Result<Layer> {
        let mut layer = Layer::default();
        let Some(here) = refused(directory(self.target.client(), Side::Target).await, &mut layer)? else {
            return Ok(layer);
        };
        let of_master = self.of_master(&mut layer).await;
        let known = self.known().await?;
        if let Some(there) = &of_master {
            self.keep_roles(there).await?;
            self.follow(&here, there, &known, &mut layer).await?;
        }
        let there = of_master.unwrap_or_default();
        let mut custom = [here.custom.clone(), there.custom.clone()].concat();
        custom.extend(known.iter().filter(|of| of.contains_key("role")).cloned());
        for user in &here.users {
            self.reduce_one(user, (&there, &custom), &known, &mut layer).await?;
        }
        Ok(layer)
    }

    /// Brings the master's accounts, with the passwords that they have now, and drops those that it no longer has.
    async fn follow(
        &self,
        here: &Directory,
        there: &Directory,
        known: &[Document],
        layer: &mut Layer,
    ) -> Result<()> {
        for user in there.users.iter().filter(|user| !self.own.contains(&user.account)) {
            let has = here.user(&user.account);
            if record_of(known, &user.account).is_none() && has.is_some_and(|has| is_exempt(&has.roles)) {
                continue;
            }
            self.keep(user, true).await?;
            if has.is_none_or(|has| has.credentials != user.credentials) {
                let may = reduced(&user.roles, &there.custom);
                self.bring(user, &may, by_hand(user, has.is_some()), layer).await?;
            }
        }
        let gone =
            known.iter().filter(|of| of.get_bool(OF_MASTER).is_ok_and(|is| is)).filter_map(Account::read);
        for account in gone.filter(|account| there.user(account).is_none()) {
            let what = format!("dropping account {}, which the master no longer has", account.id());
            match self.target.write(&account.database, doc! {"dropUser": &account.name}, &what).await {
                Err(error) if code_of(&error) == Some(USER_NOT_FOUND) => {}
                dropped => drop(refused(dropped, layer)?),
            }
            let forget = doc! {"delete": COLLECTION, "deletes": [{"q": {"_id": account.id()}, "limit": 1}]};
            self.target.write(RECORDS, forget, &what).await?;
        }
        Ok(())
    }

    async fn reduce_one(
        &self,
        user: &User,
        (there, custom): (&Directory, &[Document]),
        known: &[Document],
        layer: &mut Layer,
    ) -> Result<()> {
        let record = record_of(known, &user.account);
        let of_master = there.user(&user.account);
        let is_known = record.is_some() || of_master.is_some();
        if self.own.contains(&user.account) || (record.is_none() && is_exempt(&user.roles)) {
            return Ok(());
        }
        if !is_known {
            self.keep(user, false).await?;
        }
        let wanted = of_master
            .map_or_else(|| record.map_or_else(|| user.roles.clone(), roles_of), |of| of.roles.clone());
        let may = reduced(&wanted, custom);
        if same(&may, &user.roles) {
            return Ok(());
        }
        if record.is_some() && reduced(&user.roles, custom).len() < user.roles.len() {
            layer.mended.push(format!("account {} had been given more than reading", user.account.id()));
        }
        let done = self.grant(&user.account, &may).await;
        refused(done, layer).map(drop)
    }

    /// The fence was there before.
    pub(super) async fn was_raised(&self) -> Result<bool> {
        Ok(self.known().await?.iter().any(|of| of.get_str("_id").is_ok_and(|id| id == RAISED)))
    }

    /// The fence is there from now on.
    pub(super) async fn remember(&self) -> Result<()> {
        self.record(RAISED.to_owned(), doc! {"raised": true}, true).await
    }

    /// Gives every account what it is to have.
    pub(super) async fn restore(&self) -> Result<Layer> {
        let mut layer = Layer::default();
        let known = self.known().await?;
        for role in known.iter().filter(|of| of.contains_key("role")) {
            let made = self.make_role(role).await;
            refused(made, &mut layer)?;
        }
        for user in known.iter().filter(|of| of.contains_key("user")) {
            if let Some(account) = Account::read(user) {
                let done = self.grant(&account, &roles_of(user)).await;
                refused(done, &mut layer)?;
            }
        }
        Ok(layer)
    }

    /// The master's, as far as it tells them; while it doesn't answer, those that are known stay as they are.
    async fn of_master(&self, layer: &mut Layer) -> Option<Directory> {
        match directory(self.master?, Side::Master).await {
            Ok(directory) => Some(directory),
            Err(error) if code_of(&error) == Some(code::UNAUTHORIZED) => {
                layer.missing.push(
                    "the accounts of the master are not at the target: Farshore's account on the master may not see them; grant it the role backup on admin"
                        .to_owned(),
                );
                None
            }
            Err(error) => {
                tracing::info!(%error, "the master's accounts are not known now");
                None
            }
        }
    }

    async fn known(&self) -> Result<Vec<Document>> {
        let of = self.target.client().database(RECORDS).collection::<Document>(COLLECTION);
        let found = async { of.find(doc! {}).await?.try_collect().await };
        within(COMMAND, found).await.map_err(failed(Side::Target, format!("reading {RECORDS}.{COLLECTION}")))
    }

    /// Writes down what an account is to have; what it has at the master is what counts.
    async fn keep(&self, user: &User, of_master: bool) -> Result<()> {
        let roles: Vec<Document> = user.roles.iter().map(Role::written).collect();
        let record = doc! {"user": &user.account.name, "db": &user.account.database, "roles": roles, OF_MASTER: of_master};
        self.record(user.account.id(), record, of_master).await
    }

    async fn keep_roles(&self, there: &Directory) -> Result<()> {
        for role in &there.custom {
            let Some(of) = Role::read(role) else { continue };
            let mut record = of.written();
            record.insert("privileges", role.get("privileges").cloned().unwrap_or(Bson::Array(Vec::new())));
            record.insert("roles", roles_of(role).iter().map(Role::written).collect::<Vec<_>>());
            self.record(format!("role {}.{}", of.database, of.name), record, true).await?;
        }
        Ok(())
    }

    async fn record(&self, id: String, record: Document, anew: bool) -> Result<()> {
        let change = if anew {
            doc! {"$set": record}
        } else {
            doc! {"$setOnInsert": record}
        };
        let update = doc! {"q": {"_id": id}, "u": change, "upsert": true};
        let what = format!("writing to {RECORDS}.{COLLECTION}");
        let answer =
            self.target.write(RECORDS, doc! {"update": COLLECTION, "updates": [update]}, &what).await?;
        match answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(error) => Err(Error::Broken(format!("the target: {what}: {error}"))),
            None => Ok(()),
        }
    }

    async fn grant(&self, account: &Account, roles: &[Role]) -> Result<()> {
        let roles: Vec<Document> = roles.iter().map(Role::written).collect();
        let command = doc! {"updateUser": &account.name, "roles": roles};
        let what = format!("changing the roles of account {}", account.id());
        self.target.write(&account.database, command, &what).await.map(drop)
    }

    async fn make_role(&self, role: &Document) -> Result<()> {
        let (Some(of), Some(privileges)) = (Role::read(role), role.get("privileges")) else { return Ok(()) };
        let roles: Vec<Document> = roles_of(role).iter().map(Role::written).collect();
        let what = format!("making role {} of {}", of.name, of.database);
        let command =
            |name: &str| doc! {name: &of.name, "privileges": privileges.clone(), "roles": roles.clone()};
        match self.target.write(&of.database, command("createRole"), &what).await {
            Err(error) if code_of(&error) == Some(ROLE_EXISTS) => {
                self.target.write(&of.database, command("updateRole"), &what).await.map(drop)
            }
            made => made.map(drop),
        }
    }

    /// Makes an account of the master with the password that the master keeps of it, or gives it the new one.
    async fn bring(&self, user: &User, may: &[Role], by_hand: String, layer: &mut Layer) -> Result<()> {
        let Some(credentials) = &user.credentials else {
            layer.missing.push(by_hand);
            return Ok(());
        };
        let mut arriving = doc! {
            "_id": user.account.id(), "user": &user.account.name, "db": &user.account.database,
            "credentials": credentials.clone(), "roles": may.iter().map(Role::written).collect::<Vec<_>>(),
        };
        for field in ["userId", "customData", "authenticationRestrictions", "mechanisms"] {
            if let Some(value) = user.whole.get(field) {
                arriving.insert(field, value.clone());
            }
        }
        let put = doc! {"q": {"_id": user.account.id()}, "u": arriving, "upsert": true};
        let merge = doc! {
            "_mergeAuthzCollections": 1, "tempUsersCollection": format!("admin.{ARRIVING}"), "tempRolesCollection": "",
            "drop": false, "db": "",
        };
        let what = format!("bringing account {}", user.account.id());
        self.target.write("admin", doc! {"update": ARRIVING, "updates": [put]}, &what).await?;
        let merged = self.target.write("admin", merge, &what).await;
        // Passwords are not left lying about, whatever became of it.
        let dropped = self.target.write("admin", doc! {"drop": ARRIVING}, &what).await;
        if let Err(error) = merged {
            return match code_of(&error) {
                Some(code::UNKNOWN_COMMAND | code::UNAUTHORIZED) => {
                    layer.missing.push(format!(
                        "{by_hand} (or grant Farshore's account on the target the role restore)"
                    ));
                    Ok(())
                }
                _ => Err(error),
            };
        }
        dropped.map(drop)
    }
}

/// What a person has to do where an account can't be brought.
fn by_hand(user: &User, is_there: bool) -> String {
    let id = user.account.id();
    if is_there {
        format!(
            "account {id} may have another password at the target than at the master: set it there by hand"
        )
    } else {
        format!(
            "account {id} of the master is not at the target: make it there by hand, with its password and the role read; it gets its other roles when the target is activated"
        )
    }
}

/// What is written of an account.
fn record_of<'a>(known: &'a [Document], account: &Account) -> Option<&'a Document> {
    known.iter().find(|of| of.get_str("_id").is_ok_and(|id| id == account.id()))
}

/// What was refused is missing, and told; other errors remain errors.
fn refused<T>(done: Result<T>, layer: &mut Layer) -> Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if code_of(&error).is_some() => {
            layer.is_open = true;
            layer.missing.push(format!(
                "accounts may do more than read: {error}; grant Farshore's account on the target the roles userAdminAnyDatabase and restore on admin"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn same(one: &[Role], other: &[Role]) -> bool {
    let set = |roles: &[Role]| roles.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    set(one) == set(other)
}
