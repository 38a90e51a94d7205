//! A change stream of the whole master (6.0 and later).
//!
//! What it tells has been written by a majority, and doesn't roll back. Transactions come unpacked, after they
//! were committed; [`groups`](super::groups) puts them together again.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use mongodb::{
    Client,
    bson::{Document, Timestamp, doc},
};

use super::{
    Feed, Heard, Position,
    cursor::{Batch, Cursor},
    event::{self, Parts},
    foreign, gap,
    groups::Groups,
    token,
};
use crate::{
    mongo::{Error as Unsupported, Place},
    standby::{
        Error, Result, Side,
        servers::{code, code_of, facts, lacking},
    },
};

/// An idle position is told so often.
const WAIT: Duration = Duration::from_millis(500);
/// Something is held back, and wants to be proved whole.
const PROOF: Duration = Duration::from_millis(10);

/// A change stream of the master.
pub struct ChangeStream {
    client: Client,
    cursor: Cursor,
    parts: Parts,
    groups: Groups,
    heard: VecDeque<Heard>,
    /// The place that the stream was opened at: its first tokens may say no more than that.
    opened: Place,
    /// Tokens say the time that they stand for.
    told: bool,
}

impl ChangeStream {
    /// Opens a stream of what comes after a position.
    ///
    /// # Errors
    /// [`Error::Gap`] where the oplog doesn't reach back so far, [`Error::Refused`] where the account may not,
    /// [`Error::Server`].
    pub async fn open(client: &Client, from: &Position) -> Result<Self> {
        gap::went_back(client, from.place).await?;
        let (cursor, first) = match open(client, from, true).await {
            // Before 6.0.9.
            Err(error) if code_of(&error) == Some(code::UNKNOWN_STAGE) => open(client, from, false).await?,
            opened => opened?,
        };
        // Not every server says so itself. A stream that was opened before is not outrun any more.
        gap::check(client, from.place).await?;
        let told = first.token.as_ref().is_some_and(|token| token::place(token).is_some());
        let opened = from.place;
        let groups = Groups::new(opened);
        let (client, heard) = (client.clone(), VecDeque::new());
        let mut stream = Self { client, cursor, parts: Parts::default(), groups, heard, opened, told };
        let first = stream.completed(first).await?;
        stream.take(first, None)?;
        Ok(stream)
    }

    /// Reads on.
    async fn read(&mut self) -> Result<()> {
        // What a majority has before a batch that comes empty is all given out then.
        let majority =
            if self.told { None } else { Some(facts::majority_of(&self.client, Side::Master).await?.0) };
        let wait = if self.groups.holds() { PROOF } else { WAIT };
        let batch = self.cursor.more(wait).await.map_err(|error| explain(error, self.groups.before()))?;
        let batch = self.completed(batch).await?;
        self.take(batch, majority)
    }

    /// What mongod tells in its events, others keep to their oplog.
    async fn completed(&self, mut batch: Batch) -> Result<Batch> {
        if !self.told {
            for event in &mut batch.documents {
                foreign::complete(&self.client, event).await?;
            }
        }
        Ok(batch)
    }

    fn take(&mut self, batch: Batch, majority: Option<Place>) -> Result<()> {
        let empty = batch.documents.is_empty();
        for document in batch.documents {
            if let Some(whole) = self.parts.take(document)? {
                self.heard.extend(self.groups.take(event::read(whole)?)?);
            }
        }
        let stands_for = batch.token.as_ref().and_then(token::place);
        if empty {
            self.heard.extend(self.groups.settle());
            // A token of the opening says nothing of what is there.
            let proved = stands_for.filter(|place| after(self.opened) < *place).or(majority);
            if let Some(token) = batch.token {
                let idle = self.groups.idle(proved, Some(token));
                self.heard.push_back(idle);
            }
        } else if let Some(place) = stands_for {
            self.heard.extend(self.groups.settle_before(place));
        }
        Ok(())
    }
}

#[async_trait]
impl Feed for ChangeStream {
    async fn next(&mut self) -> Result<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            self.read().await?;
        }
    }
}

async fn open(client: &Client, from: &Position, split: bool) -> Result<(Cursor, Batch)> {
    let mut stream = doc! {"allChangesForCluster": true, "showExpandedEvents": true};
    if let Some(token) = &from.token {
        stream.insert("resumeAfter", token.clone());
    } else {
        let Place { seconds: time, increment } = after(from.place);
        stream.insert("startAtOperationTime", Timestamp { time, increment });
    }
    let mut pipeline: Vec<Document> = vec![doc! {"$changeStream": stream}];
    if split {
        pipeline.push(doc! {"$changeStreamSplitLargeEvent": {}});
    }
    let command = doc! {
        "aggregate": 1, "pipeline": pipeline, "cursor": {}, "readConcern": {"level": "majority"},
    };
    Cursor::open(client, "admin", command).await.map_err(|error| explain(error, from.place))
}

/// The first place after one.
fn after(place: Place) -> Place {
    match place.increment.checked_add(1) {
        Some(increment) => Place { increment, ..place },
        None => Place { seconds: place.seconds.saturating_add(1), increment: 0 },
    }
}

/// What an error of a stream means.
fn explain(error: Error, place: Place) -> Error {
    match code_of(&error) {
        Some(
            code::HISTORY_LOST
            | code::CAPPED_POSITION_LOST
            | code::CHANGE_STREAM_FATAL
            | code::INVALID_RESUME_TOKEN,
        ) => gap::error(place, &error.to_string()),
        Some(code::TOO_LARGE) => {
            let message = format!(
                "a change is larger than an event of this server can be: upgrade the master to 6.0.9 or later ({error})"
            );
            Unsupported::Unsupported(message).into()
        }
        _ => lacking(error, Side::Master, "readAnyDatabase"),
    }
}
