//! What a server says of itself.

use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Bson, Document, doc, oid::ObjectId},
};

use super::{ANSWER, ask, code, code_of, hello, within};
use crate::{
    mongo::{Namespace, Place},
    standby::{Error, Member, Result, Server, Side},
};

/// A server, as it says itself. What it doesn't tell is `None`: not known, which isn't wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub version: String,
    pub compatibility: Option<String>,
    /// Its wire version.
    pub wire: i32,
    /// It is a router of a sharded cluster.
    pub router: bool,
    /// Name of the replica set.
    pub set: Option<String>,
    /// Made with the replica set, and kept for its life.
    pub set_id: Option<ObjectId>,
    pub members: Vec<Member>,
    pub oplog: Option<Window>,
    /// The newest moment that a majority has.
    pub majority: Option<Place>,
    /// The server's own newest moment, which after an election may be ahead of what it knows of the majority.
    pub newest: Option<Place>,
    /// The server's wall clock.
    pub now: Option<Timestamp>,
    /// Collections that can't be copied, and why.
    pub uncopied: Vec<(Namespace, &'static str)>,
    /// What it didn't let us ask, and the role that would.
    pub denied: Vec<(String, &'static str)>,
}

/// How far an oplog reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub first: Place,
    pub last: Place,
}

impl Window {
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.last.seconds.saturating_sub(self.first.seconds)))
    }
}

impl Facts {
    /// As a resource shows it.
    #[must_use]
    pub fn server(&self) -> Server {
        Server {
            version: self.version.clone(),
            compatibility: self.compatibility.clone(),
            set: self.set.clone().unwrap_or_default(),
        }
    }
}

/// The role that shows what a cluster consists of.
const MONITOR: &str = "clusterMonitor";
/// The role that lists and reads everything.
const READ: &str = "readAnyDatabase";
/// The role that reads the oplog.
const OPLOG: &str = r#"{role: "read", db: "local"}"#;

/// Asks a server about itself.
///
/// # Errors
/// [`Error::Server`] where it doesn't answer.
pub async fn facts(client: &Client, side: Side) -> Result<Facts> {
    let greeting = hello(client, side).await?;
    let build = ask(client, side, ("admin", doc! {"buildInfo": 1})).await?;
    let mut facts = Facts {
        version: build.get_str("version").unwrap_or_default().to_owned(),
        wire: greeting.get_i32("maxWireVersion").unwrap_or_default(),
        router: greeting.get_str("msg").is_ok_and(|says| says == "isdbgrid"),
        set: greeting.get_str("setName").ok().map(str::to_owned),
        majority: written(&greeting, "majorityOpTime"),
        newest: written(&greeting, "opTime"),
        now: greeting.get_datetime("localTime").ok().and_then(|now| wall(*now)),
        ..Facts::default()
    };
    let wanted = doc! {"getParameter": 1, "featureCompatibilityVersion": 1};
    if let Some(reply) = facts.tell(ask(client, side, ("admin", wanted)).await, MONITOR)? {
        facts.compatibility = compatibility(&reply);
    }
    let wanted = doc! {"replSetGetConfig": 1};
    if let Some(reply) = facts.tell(ask(client, side, ("admin", wanted)).await, MONITOR)? {
        let settings = reply.get_document("config").and_then(|config| config.get_document("settings"));
        facts.set_id = settings.ok().and_then(|settings| settings.get_object_id("replicaSetId").ok());
    }
    let wanted = doc! {"replSetGetStatus": 1};
    if let Some(reply) = facts.tell(ask(client, side, ("admin", wanted)).await, MONITOR)? {
        facts.members = members(&reply);
    }
    facts.oplog = facts.tell(window(client, side).await, OPLOG)?.flatten();
    if side == Side::Master {
        facts.uncopied = facts.tell(uncopied(client).await, READ)?.unwrap_or_default();
    }
    Ok(facts)
}

impl Facts {
    /// Notes what is denied; what a server doesn't know is not told.
    fn tell<T>(&mut self, answer: Result<T>, role: &'static str) -> Result<Option<T>> {
        let error = match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        match (code_of(&error), &error) {
            (Some(code::UNAUTHORIZED), Error::Server { what, .. }) => {
                self.denied.push((what.clone(), role));
                Ok(None)
            }
            (Some(code::UNKNOWN_COMMAND | code::NO_REPLICATION | code::NOT_YET_INITIALIZED), _) => Ok(None),
            _ => Err(error),
        }
    }
}

/// The master's newest moment that a majority has: what it holds won't be rolled back.
///
/// # Errors
/// [`Error::Server`]; [`Error::Refused`] with `NotAReplicaSet` for a server that has no such moment.
pub async fn majority_of(client: &Client, side: Side) -> Result<(Place, Option<Timestamp>)> {
    let greeting = hello(client, side).await?;
    let now = greeting.get_datetime("localTime").ok().and_then(|now| wall(*now));
    let place = written(&greeting, "majorityOpTime").ok_or_else(|| no_set(side))?;
    Ok((place, now))
}

/// The newest moment that the master itself has.
///
/// # Errors
/// As [`majority_of`].
pub(in crate::standby) async fn newest_of(client: &Client) -> Result<Place> {
    let greeting = hello(client, Side::Master).await?;
    written(&greeting, "opTime").ok_or_else(|| no_set(Side::Master))
}

fn no_set(side: Side) -> Error {
    let message = format!(
        "the {} is no member of a replica set, or doesn't say how far it is: follow a replica set",
        side.word()
    );
    Error::Refused { side: Some(side), reason: "NotAReplicaSet", message }
}

fn written(greeting: &Document, what: &str) -> Option<Place> {
    let written = greeting.get_document("lastWrite").ok()?;
    place(written.get_document(what).ok()?.get("ts")?)
}

pub(in crate::standby) fn place(value: &Bson) -> Option<Place> {
    value.as_timestamp().map(|at| Place { seconds: at.time, increment: at.increment })
}

pub(in crate::standby) fn wall(time: mongodb::bson::DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.timestamp_millis()).ok()
}

fn compatibility(reply: &Document) -> Option<String> {
    match reply.get("featureCompatibilityVersion")? {
        Bson::Document(of) => of.get_str("version").ok().map(str::to_owned),
        Bson::String(version) => Some(version.clone()),
        _ => None,
    }
}

fn members(status: &Document) -> Vec<Member> {
    let members = status.get_array("members").map(Vec::as_slice).unwrap_or_default();
    let member = |member: &Document| Member {
        name: member.get_str("name").unwrap_or_default().to_owned(),
        role: capitalized(member.get_str("stateStr").unwrap_or_default()),
        healthy: member.get("health").is_some_and(|health| matches!(health, Bson::Double(up) if *up > 0.0))
            || member.get_i32("health").is_ok_and(|up| up > 0),
    };
    members.iter().filter_map(Bson::as_document).map(member).collect()
}

fn capitalized(word: &str) -> String {
    let lower = word.to_lowercase();
    let mut letters = lower.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How far the oplog reaches; `None` where there is none, or it is empty.
///
/// # Errors
/// [`Error::Server`]
pub async fn window(client: &Client, side: Side) -> Result<Option<Window>> {
    let (first, last) = (end(client, side, 1).await?, end(client, side, -1).await?);
    Ok(first.zip(last).map(|(first, last)| Window { first, last }))
}

/// The oldest entry of the oplog.
pub(in crate::standby) async fn oldest(client: &Client) -> Result<Option<Place>> {
    end(client, Side::Master, 1).await
}

async fn end(client: &Client, side: Side, direction: i32) -> Result<Option<Place>> {
    let find = doc! {
        "find": "oplog.rs", "sort": {"$natural": direction}, "limit": 1, "projection": {"ts": 1},
        "singleBatch": true,
    };
    let local = client.database("local");
    let asked = local.run_command(find);
    let reply = within(ANSWER, side, "reading the ends of local.oplog.rs", asked.into_future()).await?;
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    Ok(batch.ok().and_then(|batch| place(batch.first()?.as_document()?.get("ts")?)))
}

/// Collections that can't be copied.
async fn uncopied(client: &Client) -> Result<Vec<(Namespace, &'static str)>> {
    let names = client.list_database_names();
    let names = within(ANSWER, Side::Master, "listDatabases", names.into_future()).await?;
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| !Namespace::new(name, "").is_internal()) {
        let database = client.database(&name);
        let listed =
            async { database.run_cursor_command(doc! {"listCollections": 1}).await?.try_collect().await };
        let collections: Vec<Document> = within(ANSWER, Side::Master, "listCollections", listed).await?;
        for collection in collections {
            let why = why_uncopied(&collection);
            if let (Some(why), Ok(of)) = (why, collection.get_str("name")) {
                found.push((Namespace::new(&name, of), why));
            }
        }
    }
    Ok(found)
}

/// Why a collection of a list can't be copied.
pub(in crate::standby) fn why_uncopied(collection: &Document) -> Option<&'static str> {
    let options = collection.get_document("options").ok();
    let has = |option: &str| options.is_some_and(|options| options.contains_key(option));
    let name = collection.get_str("name").unwrap_or_default();
    let kind = collection.get_str("type").unwrap_or_default();
    if kind == "timeseries" || has("timeseries") || name.starts_with("system.buckets.") {
        return Some("a time series");
    }
    (has("encryptedFields") || name.starts_with("enxcol_.")).then_some("of queryable encryption")
}

#[cfg(test)]
mod tests;
