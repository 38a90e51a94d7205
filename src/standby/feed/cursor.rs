//! A cursor that stays open, batch by batch.
//!
//! The driver's own cursors keep to themselves where a batch ends and what token came with it, and open
//! themselves anew after an error. Both matter here: a batch that came empty proves that there is nothing more.

use std::time::Duration;

use mongodb::{
    Client, ClientSession,
    bson::{Bson, Document, doc},
    error::Error as ServerError,
};

use crate::standby::{
    Error, Result, Side,
    error::failed,
    servers::{ANSWER, within},
};

/// Longest time for the next batch, beyond the time that it may wait: it may be long, and the line slow.
const BATCH: Duration = Duration::from_secs(20);
/// Documents of a batch. A batch is at most 16 MiB, whatever they are.
const DOCUMENTS: i32 = 2000;

/// An open cursor of the master.
#[derive(Debug)]
pub(super) struct Cursor {
    client: Client,
    /// A cursor belongs to the session that it was opened in.
    session: ClientSession,
    database: String,
    collection: String,
    id: i64,
}

/// What came at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub documents: Vec<Document>,
    /// Where the stream can be opened again to go on after this batch.
    pub token: Option<Document>,
}

impl Cursor {
    /// Opens a cursor by a command.
    ///
    /// # Errors
    /// [`Error::Server`], also for a cursor that is over at once.
    pub async fn open(client: &Client, database: &str, mut command: Document) -> Result<(Self, Batch)> {
        let what = command.keys().next().cloned().unwrap_or_default();
        if command.contains_key("cursor") {
            command.insert("cursor", doc! {"batchSize": DOCUMENTS});
        } else {
            command.insert("batchSize", DOCUMENTS);
        }
        // Nobody else's writes are to be seen through it.
        let session = client.start_session().causal_consistency(false);
        let mut session = within(ANSWER, Side::Master, &what, session.into_future()).await?;
        let of = client.database(database);
        let asked = of.run_command(command).session(&mut session);
        let reply = within(BATCH, Side::Master, &what, asked.into_future()).await?;
        let (id, collection, batch) = read(reply, "firstBatch", &what)?;
        let cursor = Self { client: client.clone(), session, database: database.to_owned(), collection, id };
        Ok((cursor, batch))
    }

    /// The next batch; an empty one when nothing came for so long.
    ///
    /// # Errors
    /// [`Error::Server`], also where the cursor is over.
    pub async fn more(&mut self, wait: Duration) -> Result<Batch> {
        let milliseconds = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let command = doc! {
            "getMore": self.id, "collection": &self.collection, "batchSize": DOCUMENTS, "maxTimeMS": milliseconds,
        };
        let what = "reading on";
        let of = self.client.database(&self.database);
        let asked = of.run_command(command).session(&mut self.session);
        let reply = within(BATCH + wait, Side::Master, what, asked.into_future()).await?;
        let (id, _, batch) = read(reply, "nextBatch", what)?;
        self.id = id;
        Ok(batch)
    }
}

fn read(mut reply: Document, list: &str, what: &str) -> Result<(i64, String, Batch)> {
    let odd = |says: &str| -> Error { failed(Side::Master, what)(ServerError::custom(says.to_owned())) };
    let Some(Bson::Document(mut cursor)) = reply.remove("cursor") else {
        return Err(odd("an answer without a cursor"));
    };
    let id = cursor.get_i64("id").unwrap_or_default();
    let Some(Bson::Array(documents)) = cursor.remove(list) else {
        return Err(odd("an answer without a batch"));
    };
    // What it held is given out first, then it is opened again.
    if id == 0 && documents.is_empty() {
        return Err(odd("the cursor is over"));
    }
    let documents = documents.into_iter().filter_map(|document| match document {
        Bson::Document(document) => Some(document),
        _ => None,
    });
    let documents = documents.collect();
    let token = match cursor.remove("postBatchResumeToken") {
        Some(Bson::Document(token)) => Some(token),
        _ => None,
    };
    let namespace = cursor.get_str("ns").unwrap_or_default();
    let collection = namespace.split_once('.').map(|(_, collection)| collection.to_owned());
    Ok((id, collection.unwrap_or_default(), Batch { documents, token }))
}
