//! A restore, as a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreLocation;
use crate::api::{Engine, RenamedSet, SqlServer};

/// Plan a restore from a copy of backups, or carry it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreTask {
    /// The copy; what its layout is stands in its own records.
    pub target: StoreLocation,
    /// Number of the attempt: another one is another task.
    pub attempt: u32,
    pub engine: Engine,
    /// `None`: the latest that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_point: Option<Timestamp>,
    /// What the moment needs is held from pruning: what follows is a restore, not only a plan.
    pub hold: bool,
    /// For the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    pub server_id: u32,
    /// Queries that are asked of the restored instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The database checks all its tables; the answer comes last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_tables: bool,
    /// Name of the Secret that opens encrypted backups, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<String>,
    /// Licence and setup of a SQL Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_server: Option<SqlServer>,
    /// A cluster that is there already is restored into; where it lies stands in its Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingTask>,
}

/// How a cluster that is there already differs from the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingTask {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<RenamedSet>,
}
