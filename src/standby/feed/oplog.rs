//! The oplog itself, as its members read it: for servers whose change streams don't tell of collections (before
//! 6.0).
//!
//! It is a server's own format, which changes with its versions: an entry that is not known is an error. Only what a
//! majority has is read. A transaction is held until it is committed; a position remembers where the oldest that is
//! not committed began, and a feed that is opened there reads from that entry on.
//!
//! `SecantusDB`, which tests run, keeps another format for updates and transactions: with it inserts, removals and
//! changes of collections can be followed from end to end, and everything else is tested on entries that mongod wrote.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Document, Timestamp, doc},
};

use super::{Feed, Group, Heard, Position, cursor::Cursor, gap, groups::TRANSACTION, is_followed};
use crate::{
    mongo::{
        Error as Unknown, Place,
        oplog::{Replay, place_of},
    },
    standby::{
        Error, Result, Side,
        error::NEW_COPY,
        servers::{ANSWER, code, code_of, facts, hello, lacking, within},
    },
};

/// An idle position is told so often.
const WAIT: Duration = Duration::from_millis(500);
/// The wire version of 4.4, which finds its way in the oplog without being told that it is one.
const FINDS_ITSELF: i32 = 9;
/// In the token of a position: where the oldest open transaction began.
const OPEN: &str = "open";
/// Roles that show which transactions are open.
const ROLE: &str = r#"{role: "read", db: "local"} and {role: "read", db: "config"}"#;

/// The end of the master's oplog.
pub struct OplogTail {
    cursor: Cursor,
    entries: Entries,
    heard: VecDeque<Heard>,
}

impl OplogTail {
    /// Opens the oplog after a position.
    ///
    /// # Errors
    /// [`Error::Gap`] where it doesn't reach back so far, [`Error::Refused`] where the account may not,
    /// [`Error::Server`].
    pub async fn open(client: &Client, from: &Position) -> Result<Self> {
        gap::went_back(client, from.place).await?;
        let begin = from.token.as_ref().and_then(|token| facts::place(token.get(OPEN)?));
        let begin = begin.map_or(from.place, |open| open.min(from.place));
        let ts = Timestamp { time: begin.seconds, increment: begin.increment };
        let mut find = doc! {
            "find": "oplog.rs", "filter": {"ts": {"$gte": ts}}, "tailable": true, "awaitData": true,
            "readConcern": {"level": "majority"},
        };
        let wire = hello(client, Side::Master).await?.get_i32("maxWireVersion").unwrap_or_default();
        if wire < FINDS_ITSELF {
            find.insert("oplogReplay", true);
        }
        let opened = Cursor::open(client, "local", find).await;
        let (cursor, first) = opened.map_err(|error| explain(error, begin))?;
        gap::check(client, begin).await?;
        let mut entries = Entries::new(from.place);
        let heard = entries.take(first.documents)?.into();
        Ok(Self { cursor, entries, heard })
    }
}

#[async_trait]
impl Feed for OplogTail {
    async fn next(&mut self) -> Result<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let batch = self.cursor.more(WAIT).await;
            let batch = batch.map_err(|error| explain(error, self.entries.replay.seen()))?;
            self.heard.extend(self.entries.take(batch.documents)?);
        }
    }
}

fn explain(error: Error, place: Place) -> Error {
    match code_of(&error) {
        Some(code::CAPPED_POSITION_LOST) => gap::error(place, &error.to_string()),
        _ => lacking(error, Side::Master, ROLE),
    }
}

/// The master's newest moment, with where the oldest transaction began that is open then.
///
/// # Errors
/// As [`feed::here`](super::here).
pub(super) async fn here(client: &Client) -> Result<Position> {
    // One that begins after this look-up begins after this place.
    let (before, _) = facts::majority_of(client, Side::Master).await?;
    let open = oldest_open(client).await?.map_or(before, |open| open.min(before));
    let (place, wall) = facts::majority_of(client, Side::Master).await?;
    Ok(Position { place, wall, token: token(Some(open)) })
}

async fn oldest_open(client: &Client) -> Result<Option<Place>> {
    let of = client.database("config").collection::<Document>("transactions");
    let open = doc! {"state": {"$in": ["prepared", "inProgress"]}};
    let read =
        async { of.find(open).projection(doc! {"startOpTime": 1}).await?.try_collect::<Vec<_>>().await };
    let found = within(ANSWER, Side::Master, "reading config.transactions", read).await;
    let found = found.map_err(|error| lacking(error, Side::Master, ROLE))?;
    let began =
        |transaction: &Document| facts::place(transaction.get_document("startOpTime").ok()?.get("ts")?);
    Ok(found.iter().filter_map(began).min())
}

fn token(open: Option<Place>) -> Option<Document> {
    open.map(|open| doc! {OPEN: Timestamp { time: open.seconds, increment: open.increment }})
}

/// From entries to what is heard.
#[derive(Debug)]
struct Entries {
    replay: Replay,
    from: Place,
}

impl Entries {
    fn new(from: Place) -> Self {
        Self { replay: Replay::following(from), from }
    }

    /// Takes the next entries. What changes nothing moves the position alone, once.
    fn take(&mut self, entries: Vec<Document>) -> Result<Vec<Heard>> {
        let mut heard = Vec::new();
        for entry in entries {
            let wall = entry.get_datetime("wall").ok().and_then(|wall| facts::wall(*wall));
            let place = place_of(&entry)?;
            let mut changes = self.replay.take(entry)?;
            if self.replay.held() > TRANSACTION {
                return Err(too_large(place).into());
            }
            changes.retain(is_followed);
            if !changes.is_empty() {
                heard.push(Heard::Group(Group { changes, position: Position { wall, ..self.position() } }));
            }
        }
        if !matches!(heard.last(), Some(Heard::Group(group)) if group.position.place == self.position().place)
        {
            heard.push(Heard::Idle(self.position()));
        }
        Ok(heard)
    }

    fn position(&self) -> Position {
        let place = self.replay.seen().max(self.from);
        Position { place, wall: None, token: token(self.replay.oldest_open()) }
    }
}

fn too_large(place: Place) -> Unknown {
    Unknown::Unsupported(format!(
        "the transactions that are open at {}.{} are larger than {} MiB: transactions of that size are not supported; {NEW_COPY}",
        place.seconds,
        place.increment,
        TRANSACTION >> 20
    ))
}

#[cfg(test)]
mod tests;
