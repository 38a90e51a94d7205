//! What the master does, in its own order.

use async_trait::async_trait;
use jiff::Timestamp;
use mongodb::bson::Document;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::mongo::{Change, Place};

/// A place in the master's history from which a feed can be opened again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Cluster time: everything up to it is before this position.
    pub place: Place,
    /// The master's wall clock then, as far as an event told it.
    pub wall: Option<Timestamp>,
    /// The resume token of a change stream; `None` for a feed that goes by `place`.
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
