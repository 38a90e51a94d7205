//! From an event of a change stream to what it changes.

use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc};

use super::is_followed;
use crate::{
    mongo::{
        Change, Error, Namespace, Place, Result,
        diff::{Update, described::Described},
        oplog,
    },
    standby::servers::facts,
};

/// An event, and what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Of events of one transaction the same.
    pub transaction: Option<Vec<u8>>,
    /// The cluster time.
    pub place: Place,
    pub wall: Option<Timestamp>,
    /// Where the stream can be opened again to go on after it.
    pub token: Document,
    /// None for an event that changes nothing that is followed.
    pub changes: Vec<Change>,
    /// The transaction ends with it.
    pub ends: bool,
}

/// Reads an event, put together where it came in parts.
///
/// # Errors
/// [`Error::Unsupported`] for one that is not known, [`Error::Damaged`] for one that lacks what it should have.
pub(super) fn read(mut event: Document) -> Result<Event> {
    let kind = event.get_str("operationType").unwrap_or_default().to_owned();
    let Some(Bson::Document(token)) = event.remove("_id") else { return Err(lacks(&kind, "_id")) };
    let place = event.get("clusterTime").and_then(facts::place).ok_or_else(|| lacks(&kind, "clusterTime"))?;
    let wall = event.get_datetime("wallTime").ok().and_then(|wall| facts::wall(*wall));
    let transaction = transaction(&event)?;
    let ends = kind == "endOfTransaction";
    let mut changes = changes(&kind, event)?;
    changes.retain(is_followed);
    Ok(Event { transaction, place, wall, token, changes, ends })
}

fn lacks(kind: &str, what: &str) -> Error {
    Error::Damaged(format!("an event {kind:?} of the change stream has no {what}"))
}

fn transaction(event: &Document) -> Result<Option<Vec<u8>>> {
    let (Some(lsid), Some(number)) = (event.get("lsid"), event.get("txnNumber")) else { return Ok(None) };
    let mut bytes = Vec::new();
    let written = doc! {"lsid": lsid, "n": number}.to_writer(&mut bytes);
    written.map_err(|error| Error::Damaged(error.to_string()))?;
    Ok(Some(bytes))
}

/// What an event changes.
fn changes(kind: &str, mut event: Document) -> Result<Vec<Change>> {
    // It stands for no change, and tells of no collection (8.1 and later).
    if kind == "endOfTransaction" {
        return Ok(Vec::new());
    }
    let ns = event.get_document("ns").map_err(|_| lacks(kind, "ns"))?;
    let database = ns.get_str("db").map_err(|_| lacks(kind, "ns.db"))?.to_owned();
    if kind == "dropDatabase" {
        return command(&database, doc! {"dropDatabase": 1});
    }
    let unknown = |why: &str| Error::Unsupported(format!("an event {kind:?} of {ns} {why}"));
    let collection = ns.get_str("coll").map_err(|_| unknown("is not known"))?;
    let namespace = Namespace::new(&database, collection);
    let described = match event.get("operationDescription") {
        Some(Bson::Document(described)) => described.clone(),
        _ => Document::new(),
    };
    match kind {
        "insert" | "replace" | "update" | "delete" => {
            return document(kind, namespace, &mut event).map(|change| vec![change]);
        }
        "drop" => return command(&database, doc! {"drop": collection}),
        "rename" => {
            let to = event.get_document("to").map_err(|_| lacks(kind, "to"))?;
            let to = to.get_str("db").and_then(|db| Ok(format!("{db}.{}", to.get_str("coll")?)));
            let to = to.map_err(|_| lacks(kind, "to"))?;
            return command(&database, doc! {"renameCollection": namespace.to_string(), "to": to});
        }
        "dropIndexes" => return drop_indexes(&namespace, &described),
        // The options of a view are all there, each time.
        "modify" if described.contains_key("viewOn") => {
            return command(&database, with("create", collection, described));
        }
        _ => {}
    }
    let as_in_the_oplog = match kind {
        "create" => "create",
        "createIndexes" => "createIndexes",
        "modify" => "collMod",
        // Sharding; and an end that a stream of a whole cluster doesn't have.
        "shardCollection"
        | "reshardCollection"
        | "refineCollectionShardKey"
        | "migrateLastChunkFromShard"
        | "migrateChunkToNewShard"
        | "reshardBegin"
        | "reshardDoneCatchUp" => {
            return Err(unknown("belongs to a sharded cluster: only replica sets are supported"));
        }
        _ => return Err(unknown("is not known")),
    };
    let lists = kind == "createIndexes" && !described.contains_key("indexes");
    // Without its options a collection, or a change of it, would be another one.
    if lists || (kind == "modify" && described.is_empty()) {
        return Err(lacks(kind, "operationDescription"));
    }
    command(&database, with(as_in_the_oplog, collection, described))
}

fn with(name: &str, collection: &str, described: Document) -> Document {
    let mut command = doc! {name: collection};
    command.extend(described);
    command
}

fn command(database: &str, command: Document) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    oplog::command(database, command, &mut changes)?;
    Ok(changes)
}

fn drop_indexes(namespace: &Namespace, described: &Document) -> Result<Vec<Change>> {
    let indexes = described.get_array("indexes").map_err(|_| lacks("dropIndexes", "operationDescription"))?;
    let mut changes = Vec::new();
    for index in indexes {
        let name = index.as_document().and_then(|index| index.get_str("name").ok());
        let name = name.ok_or_else(|| lacks("dropIndexes", "name of an index"))?;
        let command = doc! {"dropIndexes": &namespace.collection, "index": name};
        oplog::command(&namespace.database, command, &mut changes)?;
    }
    Ok(changes)
}

/// A change of a document.
fn document(kind: &str, namespace: Namespace, event: &mut Document) -> Result<Change> {
    let Some(id) = event.get_document("documentKey").ok().and_then(|key| key.get("_id")).cloned() else {
        return Err(lacks(kind, "documentKey"));
    };
    if namespace.collection.starts_with("system.buckets.") {
        let message = format!("{namespace} belongs to a time series: these are not supported yet");
        return Err(Error::Unsupported(message));
    }
    match (kind, event.remove("fullDocument"), event.remove("updateDescription")) {
        ("delete", ..) => Ok(Change::Remove { namespace, id }),
        ("update", _, Some(Bson::Document(description))) => {
            let update = Update::Described(Described::read(description)?);
            Ok(Change::Update { namespace, id, update })
        }
        ("update", ..) => Err(lacks(kind, "updateDescription")),
        (_, Some(Bson::Document(document)), _) => Ok(Change::Put { namespace, id, document }),
        _ => Err(lacks(kind, "fullDocument")),
    }
}

/// Puts together an event that came in parts (`$changeStreamSplitLargeEvent`).
#[derive(Debug, Default)]
pub(super) struct Parts {
    held: Option<Document>,
    /// Number of the last part.
    last: i32,
}

impl Parts {
    /// Takes the next event or part; answers once an event is whole.
    ///
    /// # Errors
    /// [`Error::Damaged`] for parts that are out of order.
    pub fn take(&mut self, mut event: Document) -> Result<Option<Document>> {
        let torn = || Error::Damaged("parts of a large event are missing".to_owned());
        let Some(Bson::Document(split)) = event.remove("splitEvent") else {
            return if self.held.is_some() { Err(torn()) } else { Ok(Some(event)) };
        };
        let number = |name: &str| split.get_i32(name).map_err(|_| torn());
        let (part, of) = (number("fragment")?, number("of")?);
        if part != self.last + 1 || part > of {
            return Err(torn());
        }
        let mut held = self.held.take().unwrap_or_default();
        // The token of the last part is the one after the event.
        held.extend(event);
        if part == of {
            self.last = 0;
            return Ok(Some(held));
        }
        (self.held, self.last) = (Some(held), part);
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
