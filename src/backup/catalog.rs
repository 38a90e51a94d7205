//! What a backup tool left in a bucket, read without I/O.

use serde::{Deserialize, Serialize};

/// A backup tool's layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// mariadb-operator's layout (and our archiver's): `physicalbackup-*.xb*`, `server-<id>/<binlog>`.
    MariaDBOperator,
    /// WAL-G for MySQL and MariaDB.
    WalGMySQL,
    /// Percona Backup for MongoDB.
    PerconaMongoDB,
    /// Any tool: files matching a pattern are full or incremental backups; nothing is proved.
    Files { full: String, incremental: Option<String> },
}
