//! What a backup tool left in a bucket, read without I/O.
//!
//! An [`Adapter`] is shown the listing object by object, in key order, and keeps what it must know of
//! each base and each log: memory is O(bases + logs), however many objects a base has. Asked to
//! [`Adapter::scan`], it answers with what it still needs to look at, until it can answer with the
//! [`Catalog`]. It parses, names the test of continuity and the order; what can be restored is worked
//! out in [`window`](super::window), once for all formats.

pub mod binlog;
pub mod decode;
pub mod dump;
pub mod gtid;
pub mod mssql;
pub mod wal;
pub mod xbstream;

mod archive;
mod barman;
mod basebackups;
mod files;
mod logs;
mod mariadb;
mod model;
mod oplog;
mod pbm;
mod pgbackrest;
mod pxc;
pub mod sqlserver;
mod walg;
pub mod walg_mongo;
mod walg_postgres;
mod walg_sqlserver;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::store::ETag;
use binlog::{Head, Tail};
use gtid::Gtids;
pub use model::*;
use wal::Commits;
use xbstream::BackupInfo;

/// A backup tool's layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// mariadb-operator's layout (and our archiver's): `physicalbackup-*.xb*`, `server-<id>/<binlog>`.
    MariaDBOperator,
    /// WAL-G for MySQL and MariaDB.
    WalGMySQL,
    /// WAL-G for MongoDB.
    WalGMongoDB,
    /// Percona Backup for MongoDB.
    PerconaMongoDB,
    /// WAL-G for SQL Server.
    WalGSQLServer,
    /// SQL Server's own files, as a script names them.
    SqlServer(sqlserver::Names),
    /// The operator of Percona `XtraDB` Cluster.
    PerconaXtraDB,
    /// Barman's cloud layout, as CloudNativePG writes it too.
    Barman,
    /// WAL-G for PostgreSQL.
    WalGPostgres,
    /// pgBackRest.
    PgBackRest,
    /// Any tool: files matching a pattern are full or incremental backups; nothing is proved.
    Files { full: String, incremental: Option<String> },
}

impl Format {
    /// An adapter that has seen nothing yet.
    ///
    /// # Errors
    /// [`BadPattern`](super::Error::BadPattern) when a pattern is not a regular expression, or lacks a group.
    pub fn adapter(&self) -> Result<Box<dyn Adapter>> {
        Ok(match self {
            Self::MariaDBOperator => Box::new(mariadb::MariaDbOperator::default()),
            Self::WalGMySQL => Box::new(walg::WalG::default()),
            Self::WalGMongoDB => Box::new(walg_mongo::WalGMongo::default()),
            Self::PerconaMongoDB => Box::new(pbm::Pbm::default()),
            Self::WalGSQLServer => Box::new(walg_sqlserver::WalGSqlServer::default()),
            Self::SqlServer(names) => Box::new(sqlserver::SqlServer::new(names)?),
            Self::PerconaXtraDB => Box::new(pxc::Pxc::default()),
            Self::Barman => Box::new(barman::Barman::default()),
            Self::WalGPostgres => Box::new(walg_postgres::WalGPostgres::default()),
            Self::PgBackRest => Box::new(pgbackrest::PgBackRest::default()),
            Self::Files { full, incremental } => Box::new(files::Files::new(full, incremental.as_deref())?),
        })
    }

    /// Its name, as the API spells it; WAL-G's with the engine.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MariaDBOperator => "MariaDBOperator",
            Self::WalGMySQL => "WALG (MySQL)",
            Self::WalGMongoDB => "WALG (MongoDB)",
            Self::WalGSQLServer => "WALG (SQLServer)",
            Self::WalGPostgres => "WALG (PostgreSQL)",
            Self::PerconaMongoDB => "PBM",
            Self::Barman => "Barman",
            Self::PgBackRest => "PgBackRest",
            Self::PerconaXtraDB => "PXC",
            Self::SqlServer(_) => "SQLServer",
            Self::Files { .. } => "Files",
        }
    }

    /// True where a copy begun in one format can be gone on with in the other: how names are read may change,
    /// and which databases count.
    #[must_use]
    pub fn goes_on_as(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::SqlServer(_), Self::SqlServer(_)))
    }

    /// True where the tool's own restore goes by the time of a log's last write, so that logs must be
    /// written one after another, oldest first.
    #[must_use]
    pub fn logs_in_order(&self) -> bool {
        matches!(self, Self::WalGMySQL)
    }

    /// False where only the tool itself may delete: its index would name what is gone.
    #[must_use]
    pub fn prunable(&self) -> bool {
        !matches!(self, Self::PgBackRest)
    }
}

/// What a key is, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of the base with this id.
    Base {
        id: String,
        part: Part,
    },
    Log,
    /// Rewritten in place by its tool: a hint, never the only truth.
    Rewritten,
    Unknown,
}

/// Parts of a base, in the order in which they are copied; they are deleted the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    Payload,
    Metadata,
    /// Its presence says that the base is whole.
    Commit,
}

/// Reads one format.
pub trait Adapter: Send + Sync {
    /// What a key is.
    fn role(&self, key: &str) -> Role;

    /// Takes the next object of the listing.
    fn see(&mut self, object: &Object);

    /// Takes a key that the records name and the listing lacks: a base without it is not whole.
    fn lost(&mut self, key: &str) {
        let _ = key;
    }

    /// Answers with the catalog, or with what must be looked at first. Asked again with the answers to
    /// everything it needed, it gets on; it needs a bounded number of rounds.
    fn scan(&mut self, answers: &Answers) -> Scan;
}

/// An adapter's answer.
#[derive(Debug)]
pub enum Scan {
    Need(Vec<Want>),
    Done(Catalog),
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub object: Object,
    pub what: What,
}

/// How to look at it, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The bytes of a small file (at most [`MAX_FILE`]).
    Whole,
    /// A binlog's head: its first KiB.
    BinlogHead,
    /// A binlog's tail: all of it, unpacked once.
    BinlogTail,
    /// The header of SQL Server's backup, in a small file beside it.
    BackupHeader,
    /// The index of one of WAL-G's blobs.
    BlobIndex,
    /// A file that holds a set of GTIDs.
    GtidSet,
    /// What a base says about itself: all of it, unpacked once.
    BackupInfo,
    /// Whether a base is a dump, and what its head says: its first bytes.
    DumpHead,
    /// The first bytes of a file (at most [`START`]).
    Start,
    /// When transactions in a segment of PostgreSQL's log were committed: all of it, unpacked once.
    WalCommits,
}

/// A larger file is not one of a tool's small ones.
pub const MAX_FILE: u64 = 4 << 20;
/// What is read of a file whose beginning says enough.
pub const START: u64 = 32 << 10;

/// What looking showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    #[serde(skip)]
    Whole(Bytes),
    Head(Head),
    Tail(Tail),
    Info(BackupInfo),
    /// `None`: the base is no dump.
    Dump(Option<dump::Head>),
    BackupHeader(Box<mssql::Header>),
    Blob(mssql::Blob),
    Gtids(Gtids),
    Commits(Commits),
    /// It is not what its name says; kept, since it will not change.
    Unreadable(String),
    /// It went away meanwhile.
    #[serde(skip)]
    Gone,
    /// Too dear to look at here; a careful answer is wanted instead.
    #[serde(skip)]
    Withheld,
}

/// Answers so far, by key and tag.
#[derive(Debug, Default)]
pub struct Answers {
    known: HashMap<(String, ETag), Vec<(What, Answer)>>,
    /// Learned, not recalled.
    fresh: HashSet<(String, ETag)>,
}

impl Answers {
    /// What is known about an object.
    #[must_use]
    pub fn get(&self, object: &Object, what: What) -> Option<&Answer> {
        let known = self.known.get(&(object.key.clone(), object.etag.clone()))?;
        known.iter().find(|(of, _)| *of == what).map(|(_, answer)| answer)
    }

    /// Notes what looking at an object showed.
    pub fn put(&mut self, key: &str, etag: &ETag, what: What, answer: Answer) {
        if answer.lasts() {
            self.fresh.insert((key.to_owned(), etag.clone()));
        }
        self.recall(key, etag, what, answer);
    }

    /// Notes what is on record already.
    pub fn recall(&mut self, key: &str, etag: &ETag, what: What, answer: Answer) {
        let known = self.known.entry((key.to_owned(), etag.clone())).or_default();
        known.retain(|(of, _)| *of != what);
        known.push((what, answer));
    }

    /// Objects about which something was learned since the last call.
    pub fn take_fresh(&mut self) -> Vec<(String, ETag)> {
        self.fresh.drain().collect()
    }

    /// What is worth recording about an object.
    #[must_use]
    pub fn lasting(&self, key: &str, etag: &ETag) -> Vec<(What, Answer)> {
        let known = self.known.get(&(key.to_owned(), etag.clone()));
        known.into_iter().flatten().filter(|(_, answer)| answer.lasts()).cloned().collect()
    }

    /// Forgets answers that were withheld, or that may differ next time.
    pub fn forget_withheld(&mut self) {
        for known in self.known.values_mut() {
            known.retain(|(_, answer)| !matches!(answer, Answer::Withheld | Answer::Gone));
        }
        self.known.retain(|_, known| !known.is_empty());
    }

    /// Keeps only what `keep` says, and no bytes.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &ETag) -> bool) {
        self.known.retain(|(key, etag), known| {
            known.retain(|(_, answer)| answer.lasts());
            !known.is_empty() && keep(key, etag)
        });
    }
}

impl Answer {
    /// True when the same bytes give the same answer, whoever looks.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::Whole(_) | Self::Gone | Self::Withheld)
    }
}

/// A log that ends in second S holds every transaction up to the second before: another one may have been
/// committed in S, in the next file.
pub(crate) fn before(closed: Timestamp) -> Timestamp {
    closed.checked_sub(SignedDuration::from_secs(1)).unwrap_or(closed)
}
