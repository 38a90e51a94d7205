//! What a backup of SQL Server says of itself: `RESTORE HEADERONLY`, as JSON beside the backup.

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// Ending of the file beside a backup that holds its header.
pub const SIDECAR: &str = ".header.json";

/// Kinds of backups, by their numbers.
pub mod kind {
    pub const FULL: u8 = 1;
    pub const LOG: u8 = 2;
    pub const DIFFERENTIAL: u8 = 5;
}

/// One backup set. Times are in the zone of its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "PascalCase", serialize = "PascalCase"))]
pub struct Header {
    #[serde(deserialize_with = "number")]
    pub backup_type: u8,
    #[serde(rename = "FirstLSN")]
    pub first: Lsn,
    #[serde(rename = "LastLSN")]
    pub last: Lsn,
    #[serde(rename = "CheckpointLSN", default)]
    pub checkpoint: Option<Lsn>,
    /// Of a differential backup: the checkpoint of the full one that it goes on top of.
    #[serde(rename = "DatabaseBackupLSN", default)]
    pub base: Option<Lsn>,
    pub backup_start_date: String,
    pub backup_finish_date: String,
    #[serde(default)]
    pub database_creation_date: Option<String>,
    /// The line of recoveries that its last number counts in.
    #[serde(rename = "RecoveryForkID", default)]
    pub fork: String,
    #[serde(rename = "FirstRecoveryForkID", default)]
    pub first_fork: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    pub is_copy_only: bool,
    /// No moment inside of such a log can be restored.
    #[serde(default, deserialize_with = "flag")]
    pub has_bulk_logged_data: bool,
    /// Files that the backup was striped over (from `RESTORE LABELONLY`).
    #[serde(default)]
    pub family_count: Option<u32>,
}

/// A log sequence number: up to 25 digits. As a text, since JSON's numbers don't hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u128);

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let lsn = match Value::deserialize(from)? {
            Value::String(text) => text.trim().parse().ok(),
            // A larger one would have lost its last digits already.
            Value::Number(number) => number.as_u64().map(u128::from),
            _ => None,
        };
        lsn.map(Lsn).ok_or_else(|| D::Error::custom("a log sequence number must be a text of digits"))
    }
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    let number = match Value::deserialize(from)? {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|number| u8::try_from(number).ok()),
        _ => None,
    };
    number.ok_or_else(|| D::Error::custom("must be a small number"))
}

/// `true`, `1`, `"1"`: as whatever wrote the JSON took the column to be.
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(false),
        Value::Bool(set) => Ok(set),
        Value::Number(number) => Ok(number.as_u64() != Some(0)),
        Value::String(text) => Ok(matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "true")),
        _ => Err(D::Error::custom("must be true or false")),
    }
}

/// Reads a sidecar: one row of `RESTORE HEADERONLY`, or a list of one.
///
/// # Errors
/// In words: it is no such file, or the backup file holds several backups.
pub fn read_header(bytes: &[u8]) -> Result<Header, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let row = match value {
        Value::Array(mut rows) if rows.len() == 1 => rows.remove(0),
        Value::Array(rows) => {
            return Err(format!("the file holds {} backups; write each to a file of its own", rows.len()));
        }
        row => row,
    };
    serde_json::from_value(row).map_err(|error| error.to_string())
}

/// A server's local time, as it writes it, with its offset from UTC.
#[must_use]
pub fn local_time(text: &str, offset: Offset) -> Option<Timestamp> {
    let time: DateTime = text.trim().trim_end_matches('Z').parse().ok()?;
    offset.to_timestamp(time).ok()
}

/// What the index of one of WAL-G's blobs says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// Every block that was uploaded was committed.
    pub committed: bool,
    pub blocks: u64,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "cr", default)]
    committed: u64,
    #[serde(rename = "ur", default)]
    uploaded: u64,
}

/// Reads a `__blob_index.json`.
///
/// # Errors
/// In words: it is no such file.
pub fn read_blob(bytes: &[u8]) -> Result<Blob, String> {
    let index: Index = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let committed = index.blocks.iter().all(|block| block.committed > 0 && block.uploaded == 0);
    Ok(Blob { committed: committed && !index.blocks.is_empty(), blocks: index.blocks.len() as u64 })
}
