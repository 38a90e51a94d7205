//! MongoDB without a server: dumps, the oplog, and what its entries do to documents.
//!
//! [`archive`] reads what mongodump writes; [`oplog`] reads entries and makes of them, transaction by
//! transaction, [`Change`]s that may be applied again and again; [`diff`] says what an update does to a
//! document; [`batch`] what many do, and how that is written; [`schema`] keeps collections and their indexes, which are built when all data is there.
//!
//! The oplog is MongoDB's own business: an entry that is not known here is an error, never left out.

pub mod archive;
pub mod batch;
pub mod diff;
pub mod oplog;
pub mod schema;
pub mod slice;

use std::{fmt, io};

use mongodb::bson::{Bson, Document};
use serde::{Deserialize, Serialize};

/// A collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Namespace {
    pub database: String,
    pub collection: String,
}

impl Namespace {
    #[must_use]
    pub fn new(database: &str, collection: &str) -> Self {
        Self { database: database.to_owned(), collection: collection.to_owned() }
    }

    /// Splits `shop.orders.2026`; `None` when it names no collection.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (database, collection) = text.split_once('.')?;
        (!database.is_empty() && !collection.is_empty()).then(|| Self::new(database, collection))
    }

    /// The server's own: made by the new one itself, and never restored.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self.database.as_str(), "admin" | "config" | "local" | "")
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// A place in the oplog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Since 1970.
    pub seconds: u32,
    /// Within the second.
    pub increment: u32,
}

/// One change, which may be applied again to what it was applied to before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The document is this, whatever was there.
    Put { namespace: Namespace, id: Bson, document: Document },
    /// The document, if there is one, changes so.
    Update { namespace: Namespace, id: Bson, update: diff::Update },
    /// There is no such document.
    Remove { namespace: Namespace, id: Bson },
    /// Everything before it must be done first, and nothing after it begun.
    Define(Define),
}

/// A change of collections rather than documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Define {
    Create {
        namespace: Namespace,
        options: Document,
    },
    Drop {
        namespace: Namespace,
    },
    DropDatabase {
        database: String,
    },
    Rename {
        from: Namespace,
        to: Namespace,
    },
    /// Another command on a collection, as the server would be given it.
    Command {
        database: String,
        command: Document,
    },
    /// Every document of a collection goes.
    Empty {
        namespace: Namespace,
    },
    /// Indexes are only noted: they are built at the end.
    CreateIndexes {
        namespace: Namespace,
        indexes: Vec<Document>,
    },
    DropIndexes {
        namespace: Namespace,
        index: Bson,
    },
    ModifyIndex {
        namespace: Namespace,
        change: Document,
    },
}

/// Why a dump or an oplog can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not an archive of mongodump")]
    NotAnArchive,
    #[error("damaged: {0}")]
    Damaged(String),
    /// It can be read, and this program doesn't know how to apply it.
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// Result of reading.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// About as many bytes as a document has as BSON; cheaper than to write it.
#[must_use]
pub fn size_of(document: &Document) -> usize {
    document.iter().map(|(name, value)| name.len() + 2 + size_of_value(value)).sum()
}

/// As [`size_of`], of a value.
#[must_use]
pub fn size_of_value(value: &Bson) -> usize {
    match value {
        Bson::String(text) | Bson::Symbol(text) | Bson::JavaScriptCode(text) => text.len() + 5,
        Bson::Array(values) => values.iter().map(|value| 4 + size_of_value(value)).sum(),
        Bson::Document(document) => 5 + size_of(document),
        Bson::Binary(binary) => binary.bytes.len() + 5,
        _ => 8,
    }
}
