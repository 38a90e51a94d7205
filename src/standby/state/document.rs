//! The document in the target: how it is read, and changed.

use std::time::Instant;

use mongodb::{
    Client,
    bson::{self, Bson, DateTime, Document, doc},
};

use super::record::Record;
use crate::{
    mongo::Namespace,
    standby::{
        Error, Result, Session, Side,
        error::failed,
        lease::COMMAND,
        servers::code_of_answer,
        target::{RECORDS, limits, within},
    },
};

const COLLECTION: &str = "state";
pub(super) const ID: &str = "standby";
const DUPLICATE: i32 = 11_000;

/// What is written of a target, and its clock.
pub(super) async fn look(client: &Client) -> Result<(Option<Record>, DateTime)> {
    let what = "reading farshore.state";
    let records = client.database(RECORDS);
    let find =
        doc! {"find": COLLECTION, "filter": {"_id": ID}, "limit": 1, "readConcern": {"level": "majority"}};
    let found = within(COMMAND, records.run_command(find)).await.map_err(failed(Side::Target, what))?;
    let hello = client.database("admin");
    let hello = within(COMMAND, hello.run_command(doc! {"hello": 1})).await;
    let hello = hello.map_err(failed(Side::Target, "asking for its time"))?;
    let now = hello.get_datetime("localTime").copied();
    let now = now.map_err(|_| Error::Broken("the target tells no time".to_owned()))?;
    let cursor = found.get_document("cursor").ok();
    let first = cursor.and_then(|cursor| cursor.get_array("firstBatch").ok()?.first()?.as_document());
    Ok((first.cloned().map(parse).transpose()?, now))
}

pub(super) fn parse(document: Document) -> Result<Record> {
    bson::deserialize_from_document(document).map_err(|error| Error::Refused {
        side: Some(Side::Target),
        reason: "TargetTaken",
        message: format!(
            "farshore.state of the target can't be read ({error}): a later version wrote it, or something else did; run that version, or name another replica set"
        ),
    })
}

/// Databases that are neither the server's own nor ours.
pub(super) async fn databases(client: &Client) -> Result<Vec<String>> {
    let names = within(COMMAND, client.list_database_names()).await;
    let mut names = names.map_err(failed(Side::Target, "listing its databases"))?;
    names.retain(|name| name != RECORDS && !Namespace::new(name, "").is_internal());
    Ok(names)
}

/// A value as it is, within a pipeline.
pub(super) fn literal(value: impl Into<Bson>) -> Document {
    doc! {"$literal": value.into()}
}

/// The document just as it was seen.
pub(super) fn seen(record: Option<&Record>) -> Document {
    let (epoch, revision) = record.map_or((0, 0), |record| (record.epoch, record.revision));
    doc! {"_id": ID, "epoch": epoch, "revision": revision}
}

/// Changes the document where it is as `query` says. `None`: it isn't.
pub(super) async fn modify(
    client: &Client,
    query: Document,
    mut set: Document,
    upsert: bool,
) -> Result<Option<Record>> {
    if !upsert {
        set.insert("revision", doc! {"$add": ["$revision", 1_i64]});
    }
    let mut command = doc! {
        "findAndModify": COLLECTION, "query": query, "update": [{"$set": set}], "upsert": upsert, "new": true,
    };
    command.extend(limits());
    let records = client.database(RECORDS);
    let answer = match within(COMMAND, records.run_command(command)).await {
        Err(error) if upsert && code_of_answer(&error) == Some(DUPLICATE) => return Ok(None),
        answer => answer.map_err(failed(Side::Target, "writing farshore.state"))?,
    };
    if let Ok(error) = answer.get_document("writeConcernError") {
        return Err(Error::Broken(format!(
            "farshore.state of the target is not confirmed by most members: {error}"
        )));
    }
    answer.get_document("value").ok().cloned().map(parse).transpose()
}

pub(super) type Taken = Option<(Record, Instant)>;

pub(super) async fn take_new(client: &Client, session: &Session, now: DateTime) -> Result<Taken> {
    let asked = Instant::now();
    let record = Record::new(&session.owner, &session.run, now);
    let document = bson::serialize_to_document(&record);
    let document = document.map_err(|error| Error::Broken(format!("a record of the target: {error}")))?;
    let mut set: Document =
        document.into_iter().map(|(field, value)| (field, Bson::Document(literal(value)))).collect();
    set.insert("renewed_at", "$$NOW");
    // Whoever was first has an epoch: then this finds nothing, and can't be inserted either.
    let taken = modify(client, doc! {"_id": ID, "epoch": {"$exists": false}}, set, true).await?;
    Ok(taken.map(|record| (record, asked)))
}

pub(super) async fn take(client: &Client, session: &Session, record: Option<&Record>) -> Result<Taken> {
    let asked = Instant::now();
    let set = doc! {
        "epoch": {"$add": ["$epoch", 1_i64]},
        "run": literal(&session.run),
        "held": true,
        "renewed_at": "$$NOW",
        "successor": literal(Bson::Null),
    };
    let taken = modify(client, seen(record), set, false).await?;
    Ok(taken.map(|record| (record, asked)))
}

pub(super) fn noted_value(noted: Option<Vec<u8>>) -> Document {
    let binary = |bytes| bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes };
    literal(noted.map(binary))
}

/// Something of ours as a value within a pipeline.
pub(super) fn value<T: serde::Serialize>(of: &T) -> Result<Document> {
    let value = bson::serialize_to_bson(of);
    Ok(literal(value.map_err(|error| Error::Broken(format!("a record of the target: {error}")))?))
}
