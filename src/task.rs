//! What the controller hands to a worker, and the few words they share.
//!
//! A task is one JSON file in an immutable ConfigMap; its hash is an argument of the worker, so that a
//! changed task is another Job. It names no credential: Secrets are mounted beside it.

mod indexes;
mod member;
mod restore;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::{Addressing, Feed, Incomplete, KeptAttributes, ObjectStoreSpec};

pub use indexes::Indexes;
pub use member::member_host;
pub use restore::{ExistingTask, RestoreTask};

/// Version of the task file; a worker refuses one that it does not know.
pub const TASK_VERSION: u32 = 1;
/// Key of the task in its ConfigMap, and its file name.
pub const TASK_KEY: &str = "task.json";
/// Where the ConfigMap is mounted.
pub const TASK_DIR: &str = "/etc/farshore/task";
/// Where the plan of a migration is mounted.
pub const PLAN_DIR: &str = "/etc/farshore/plan";
/// Key of the plan in its ConfigMap, and its file name.
pub const PLAN_KEY: &str = "plan.json.gz";
/// Where the source store's credentials are mounted.
pub const SOURCE_CREDENTIALS_DIR: &str = "/var/run/farshore/source";
/// Where the target store's credentials are mounted.
pub const TARGET_CREDENTIALS_DIR: &str = "/var/run/farshore/target";
/// Where the source instance's own credentials are mounted, when it has an endpoint with some; for a restore, those of
/// a cluster that is there already.
pub const INSTANCE_CREDENTIALS_DIR: &str = "/var/run/farshore/instance";
/// Where the token of the receiver's messages is mounted, and its file name.
pub const RECEIVER_TOKEN_DIR: &str = "/var/run/farshore/receiver";
/// Key of the token in its Secret.
pub const RECEIVER_TOKEN_KEY: &str = "token";
/// Where the credentials for the queue are mounted.
pub const QUEUE_CREDENTIALS_DIR: &str = "/var/run/farshore/queue";
/// Where the Secret with the new instance's account is mounted.
pub const ADMIN_CREDENTIALS_DIR: &str = "/var/run/farshore/admin";
/// Where the Secret that opens encrypted backups is mounted.
pub const DECRYPTION_DIR: &str = "/var/run/farshore/decryption";
/// Where the new instance's volume is mounted.
pub const VOLUME_DIR: &str = "/var/lib/farshore";
/// The same where SQL Server looks for it: its images have this place built in.
pub const SQL_SERVER_DIR: &str = "/var/opt/mssql";
/// Where a pod with the database's image finds our program.
pub const PROGRAM_DIR: &str = "/var/run/farshore/bin";
/// A folder of the pod alone.
pub const WORK_DIR: &str = "/tmp";
/// Port at which the worker receives what the source store tells.
pub const RECEIVER_PORT: u16 = 8082;
/// Port of the worker's `/healthz` and `/readyz`.
pub const WORKER_PORT: u16 = 8081;

/// While pods of their own copy a large history, a rule's ceilings are divided into so many shares: the live
/// worker keeps one, since what changes meanwhile needs it, and the pods share the others.
pub const SHARES: u32 = 5;

/// How a worker ends. The controller and the Job's `podFailurePolicy` read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The task is done, or the shift handed over.
    Done = 0,
    /// Something unforeseen; a new pod may fare better.
    Failed = 1,
    /// Only a person can help: no new pod (`FailJob`).
    Permanent = 10,
    /// Credentials were refused, also after they were read anew: a new pod sees the Secret as it is then.
    Denied = 11,
    /// A store could not be reached: the region's breaker decides when to try again.
    Unreachable = 12,
    /// A later run has taken over.
    Superseded = 13,
    /// No progress for too long.
    Stuck = 14,
    /// Asked to stop in the middle of its work: no failure.
    Stopped = 15,
}

/// A worker's last words, as JSON in its container's termination message: what the controller knows of
/// a worker that can't report, or whose resource is on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastWords {
    /// One word, the same in conditions, Events and metrics.
    pub reason: String,
    /// What happened to which object, and what to do.
    pub message: String,
    /// `Source` or `Target`, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<crate::api::FailureSide>,
}

/// A text of at most so many bytes. What is too much goes from the middle: a message begins with the
/// object and ends with the next step.
#[must_use]
pub fn shortened(text: &str, longest: usize) -> String {
    const CUT: &str = " … ";
    if text.len() <= longest {
        return text.to_owned();
    }
    let half = longest.saturating_sub(CUT.len()) / 2;
    let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    format!("{}{CUT}{}", &text[..head], &text[tail..])
}

/// One task, as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    pub version: u32,
    /// Resource that the task is for, and to which the worker reports.
    pub owner: Owner,
    pub work: Work,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Generation that the task was made from.
    pub generation: i64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    /// Keep a copy of a backup set current.
    Sync(Box<SyncTask>),
    /// Take a copy away.
    Purge(Box<PurgeTask>),
    /// Bring a bucket in line with another, again and again.
    Replicate(Box<ReplicateTask>),
    /// Copy one range of what a bucket held before.
    Migrate(Box<MigrateTask>),
    /// Work out what a restore reads.
    Plan(Box<RestoreTask>),
    /// Restore an instance.
    Restore(Box<RestoreTask>),
    /// Have a replica set follow another one.
    Standby(Box<StandbyTask>),
}

/// Keep a copy of a backup set current.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncTask {
    pub source: StoreLocation,
    pub target: StoreLocation,
    pub format: TaskFormat,
    pub engine: String,
    /// Seconds.
    pub retention_seconds: u64,
    /// Seconds between two looks at the logs.
    pub interval_seconds: u64,
    pub mode: TaskMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Where the source instance listens, when it can be asked where its log stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_uri: Option<String>,
}

/// Layout of the backups, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub enum TaskFormat {
    /// Whichever one can be told of the engine's.
    Detected,
    MariaDBOperator,
    WalGMySQL,
    WalGMongoDB,
    PerconaMongoDB,
    WalGSQLServer,
    SqlServer {
        pattern: Option<String>,
        utc_offset_seconds: i32,
        ignore: Vec<String>,
    },
    PerconaXtraDB,
    Barman,
    WalGPostgres,
    PgBackRest,
    Files {
        full: String,
        incremental: Option<String>,
    },
}

/// A Job a cycle, or a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskMode {
    /// One cycle.
    Cycle,
    /// Stay in service for this long.
    Shift { seconds: u64 },
}

/// Take a copy away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PurgeTask {
    /// Identity of the source whose copy it is: endpoint, bucket, prefix.
    pub source_endpoint: String,
    pub source_bucket: String,
    pub source_prefix: String,
    pub target: StoreLocation,
}

/// Bring a bucket in line with another, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicateTask {
    pub source: StoreLocation,
    pub target: StoreLocation,
    /// What the source does not have is deleted at the target.
    pub deletes: bool,
    /// Objects, and percentage of the target's, that may be deleted in an hour; beyond both they are held.
    pub delete_count: u64,
    pub delete_percent: u8,
    /// How changes are heard of.
    pub feed: Feed,
    /// The queue of the feed `SQS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueTask>,
    /// What of objects is kept on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<KeptAttributes>,
    /// The opposite direction is kept in line as well: what is newer at the target stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutual: bool,
    /// Length of the shift.
    pub seconds: u64,
    /// What the source holds unchanged since before this moment is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The ConfigMap that takes the plan of a large history, for pods of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// What is put on the buckets, so that rules of other clusters leave them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimTask>,
}

/// Have a replica set follow another one. Whether it is to become active is no part of it: the worker sees that at its
/// resource, and a changed task would end it in the middle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StandbyTask {
    pub master_uri: String,
    /// The master's account is mounted at [`INSTANCE_CREDENTIALS_DIR`].
    pub master_credentials: bool,
    pub target_uri: String,
    /// The target's account is mounted at [`TARGET_CREDENTIALS_DIR`].
    pub target_credentials: bool,
    /// Length of the shift.
    pub seconds: u64,
    /// The copy is made anew, as somebody asked at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync: Option<Timestamp>,
    /// Farshore has made the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
}

/// A queue that is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueTask {
    pub url: String,
    /// In signatures.
    pub region: String,
    /// Where requests go, if not to the host of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A claim on the buckets of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimTask {
    /// What tells this cluster from others.
    pub cluster: String,
    /// UID of a rule of another cluster whose claim is void, as somebody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
}

/// Copy one range of what a bucket held before: the pod with index *i* takes the *i*-th of `ranges`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MigrateTask {
    pub source: StoreLocation,
    pub target: StoreLocation,
    /// Hash of the plan's file.
    pub plan: String,
    /// Numbers of the plan's ranges that are to be copied.
    pub ranges: Indexes,
    /// What of objects is kept on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<KeptAttributes>,
    /// The opposite direction is kept in line as well: what is newer at the target stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutual: bool,
    /// Ceilings of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

/// What became of a range, as JSON in the termination message of the pod that copied it. A pod that repeats
/// what another began tells the same of `objects` and `bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeDone {
    /// Number of the range.
    pub range: u32,
    /// Objects that the target lacked there when it was planned.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Objects that this pod copied.
    pub copied: u64,
    /// Listings that it asked for.
    pub lists: u64,
    /// Objects that could not be copied.
    pub failed: u64,
    /// One of those, and what happened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// What its copies lack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
}

/// A prefix in a bucket of a region's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreLocation {
    /// Name of the Region, for messages.
    pub region: String,
    pub endpoint: String,
    pub signing_region: String,
    pub addressing: Addressing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    pub bucket: String,
    pub prefix: String,
}

impl StoreLocation {
    /// A prefix in the store of a region.
    #[must_use]
    pub fn new(region: &str, store: &ObjectStoreSpec, bucket: &str, prefix: &str) -> Self {
        Self {
            region: region.to_owned(),
            endpoint: store.endpoint.trim_end_matches('/').to_owned(),
            signing_region: store.signing_region.clone(),
            addressing: store.addressing,
            ca_bundle: store.ca_bundle.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }
}

/// A task that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no task.
    #[error("task can't be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The file is not the one that this worker was started for.
    #[error("task has hash {found}, but {expected} was asked for")]
    WrongHash { expected: String, found: String },
    /// The controller is newer than this worker.
    #[error("task has version {0}, but this worker knows {TASK_VERSION}; use the same image for both")]
    UnknownVersion(u32),
}

impl Task {
    /// The file's text: the same task gives the same text.
    ///
    /// # Errors
    /// Never for tasks built in this program; the type is serde's.
    pub fn to_text(&self) -> Result<String, Error> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads a task, and makes sure that it is the one that was meant.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn from_text(text: &str, expected_hash: &str) -> Result<Self, Error> {
        let found = hash(text);
        if found != expected_hash {
            return Err(Error::WrongHash { expected: expected_hash.to_owned(), found });
        }
        let version: VersionOnly = serde_json::from_str(text)?;
        if version.version != TASK_VERSION {
            return Err(Error::UnknownVersion(version.version));
        }
        Ok(serde_json::from_str(text)?)
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// First 16 hex digits of a file's SHA-256: names the ConfigMap and is the worker's argument.
#[must_use]
pub fn hash(file: impl AsRef<[u8]>) -> String {
    hex::encode(&Sha256::digest(file.as_ref())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_a_long_text_keeps_the_object_and_the_next_step() {
        assert_eq!(shortened("all of it", 9), "all of it");
        for longest in 40..60 {
            let text = shortened(&format!("s3://b/{}; make room", "ä€".repeat(500)), longest);
            assert!(text.len() <= longest, "{text}");
            assert!(text.starts_with("s3://b/") && text.ends_with("; make room"), "{text}");
        }
    }
}
