//! What the master does, in its own order.
//!
//! [`stream`] hears it by a change stream, [`oplog`] from the oplog itself. Both begin [`here`], or go on from a
//! [`Position`] that was given out.

mod cursor;
mod event;
mod foreign;
mod gap;
mod groups;
pub mod oplog;
pub mod stream;
mod token;

use async_trait::async_trait;
use jiff::Timestamp;
use mongodb::{Client, bson::Document};
use serde::{Deserialize, Serialize};

use super::{Result, Side, servers::facts};
use crate::mongo::{Change, Define, Namespace, Place};

/// The database with our own records, on a target; nothing of it is followed.
pub const OURS: &str = "farshore";

/// A place in the master's history from which a feed can be opened again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Cluster time: everything up to it is before this position.
    pub place: Place,
    /// The master's wall clock then, as far as an event told it.
    pub wall: Option<Timestamp>,
    /// The resume token of a change stream; of the oplog, where its oldest open transaction began. `None`: `place` is
    /// all that is needed.
    pub token: Option<Document>,
}

/// What belongs together: one change, or a transaction as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// In the master's order.
    pub changes: Vec<Change>,
    /// After it.
    pub position: Position,
}

/// What a feed tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Group(Group),
    /// Nothing more happened up to here.
    Idle(Position),
}

/// A feed. It never skips: what it can't read, or can't prove to be whole, is an error.
#[async_trait]
pub trait Feed: Send {
    /// What comes next; within about a second, as [`Heard::Idle`] where nothing happens.
    ///
    /// # Errors
    /// [`Error::Gap`](super::Error::Gap) where the master's oplog doesn't reach back to where the feed was opened;
    /// [`Error::Server`](super::Error::Server) where the master doesn't answer: open another one then.
    async fn next(&mut self) -> Result<Heard>;
}

/// How a feed hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ChangeStream,
    /// The oplog itself, on servers whose change streams don't tell of collections.
    Oplog,
}

/// The wire version of 6.0, whose change streams tell of collections and indexes.
const EXPANDED: i32 = 17;

impl Kind {
    /// How a server of a wire version is heard.
    #[must_use]
    pub fn of(wire: i32) -> Self {
        if wire >= EXPANDED { Self::ChangeStream } else { Self::Oplog }
    }
}

/// The master's newest moment: a feed that is opened with it tells of everything that comes after.
///
/// # Errors
/// [`Error::Server`](super::Error::Server); [`Error::Refused`](super::Error::Refused) with `NotAReplicaSet`.
pub async fn here(client: &Client, kind: Kind) -> Result<Position> {
    match kind {
        Kind::ChangeStream => {
            let (place, wall) = facts::majority_of(client, Side::Master).await?;
            Ok(Position { place, wall, token: None })
        }
        Kind::Oplog => oplog::here(client).await,
    }
}

/// Opens a feed of what comes after a position.
///
/// # Errors
/// [`Error::Gap`](super::Error::Gap) where the master's oplog doesn't reach back so far;
/// [`Error::Refused`](super::Error::Refused) where the account may not read it, or the master is another one or went
/// back; [`Error::Server`](super::Error::Server).
pub async fn open(client: &Client, from: &Position, kind: Kind) -> Result<Box<dyn Feed>> {
    match kind {
        Kind::ChangeStream => Ok(Box::new(stream::ChangeStream::open(client, from).await?)),
        Kind::Oplog => Ok(Box::new(oplog::OplogTail::open(client, from).await?)),
    }
}

/// Whether a change is to be made at the target as well: not what servers keep for themselves, and not our records.
fn is_followed(change: &Change) -> bool {
    let database = match change {
        Change::Put { namespace, .. }
        | Change::Update { namespace, .. }
        | Change::Remove { namespace, .. } => {
            let Namespace { database, collection } = namespace;
            let own = collection.starts_with("system.") && collection != "system.views";
            return is_copied(database) && !own;
        }
        Change::Define(define) => match define {
            Define::Create { namespace, .. }
            | Define::Drop { namespace }
            | Define::Empty { namespace }
            | Define::CreateIndexes { namespace, .. }
            | Define::DropIndexes { namespace, .. }
            | Define::ModifyIndex { namespace, .. }
            | Define::Rename { from: namespace, .. } => &namespace.database,
            Define::DropDatabase { database } | Define::Command { database, .. } => database,
        },
    };
    is_copied(database)
}

/// Whether a database is copied.
pub(super) fn is_copied(database: &str) -> bool {
    !matches!(database, "admin" | "config" | "local" | "" | OURS)
}
