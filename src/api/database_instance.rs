//! A database: a source of backups.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, LocalReference};

/// A database instance that exists already, and where its backup tool puts its backups.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "farshore.dev",
    version = "v1alpha1",
    kind = "DatabaseInstance",
    namespaced,
    status = "DatabaseInstanceStatus",
    shortname = "dbi",
    category = "farshore",
    derive = "PartialEq",
    doc = "A database instance that exists already, and where its backup tool puts its backups.",
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Backup Sync", type_ = "string", json_path = ".status.backupSync.reason"),
    printcolumn(name = "Service", type_ = "string", json_path = ".status.backupSync.serviceRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.backups) || self.backups.format == 'Files' || (self.backups.format == 'PBM' ? self.engine == 'MongoDB' : self.engine == 'MySQL')").message(
        "backups.format does not fit the engine: MariaDBOperator and WALG need engine MySQL, PBM needs engine MongoDB, Files fits all"
    ),
    validation = Rule::new("!has(self.endpoint) || self.engine == 'MySQL'").message(
        "endpoint can be asked for engine MySQL only; leave it out and set declaredState"
    )
)]
pub struct DatabaseInstanceSpec {
    /// Database engine. `MySQL` stands for MariaDB as well.
    #[x_kube(validation = Rule::new("self == oldSelf").message("engine can't be changed; create another instance"))]
    pub engine: Engine,
    /// Version of the engine, such as `10.11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// Name of the Region that the instance and its backups are in.
    #[schemars(length(min = 1, max = 253))]
    pub region: String,
    /// State that is believed when there is no `endpoint` to ask.
    #[serde(default)]
    pub declared_state: DeclaredState,
    /// How the instance is paid for.
    #[serde(default)]
    pub billing: Billing,
    /// Where the instance listens. With it, Farshore sees whether the instance runs and whether its
    /// log stands still, so that an idle database is no breach of the RPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<InstanceEndpoint>,
    /// Where the instance's backup tool puts its backups, in the region's object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupSource>,
}

/// Database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// MongoDB.
    MongoDB,
    /// MySQL and MariaDB.
    MySQL,
    /// Microsoft SQL Server.
    SQLServer,
    /// PostgreSQL.
    PostgreSQL,
}

/// State of an instance as its owner declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeclaredState {
    /// In service.
    #[default]
    Running,
    /// Out of service.
    Stopped,
}

/// How an instance is paid for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Billing {
    /// Paid before or after use.
    #[serde(default)]
    pub mode: BillingMode,
    /// `Overdue` keeps a new service from being accepted; an accepted one goes on.
    #[serde(default)]
    pub standing: BillingStanding,
}

/// When an instance is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BillingMode {
    /// Paid in advance.
    #[default]
    Prepaid,
    /// Paid by use.
    Postpaid,
}

/// Whether an instance is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BillingStanding {
    /// In good standing.
    #[default]
    Normal,
    /// Payment is overdue.
    Overdue,
}

/// Where an instance listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceEndpoint {
    /// `mysql://host:port`, without user or password.
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^mysql://[A-Za-z0-9._-]+(:[0-9]{1,5})?/?$')").message(
        "must be like mysql://host:3306, without user, password or database"
    ))]
    pub uri: String,
    /// A user that may ask for the log's position (`BINLOG MONITOR` or `REPLICATION CLIENT`). Without
    /// it, only whether the instance answers is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Where a backup tool puts its backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.format == 'Files') == has(self.files)").message(
    "files is needed with format Files, and only with it"
))]
pub struct BackupSource {
    /// Layout of the backups: the tool that writes them.
    pub format: BackupFormat,
    /// With format `Files`: which files are backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilePatterns>,
    /// Bucket in the region's object store.
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')").message(
        "must be a bucket's name: letters, digits, dots, dashes"
    ))]
    pub bucket: String,
    /// Folder within the bucket, ending in `/`. Empty: the whole bucket.
    #[serde(default)]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self == '' || (self.endsWith('/') && !self.startsWith('/'))").message(
        "must end in / and not begin with /, like orders/"
    ))]
    pub prefix: String,
    /// Credentials that may list and read the bucket.
    pub credentials: Credentials,
}

/// A backup tool's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupFormat {
    /// mariadb-operator: `physicalbackup-<time>.xb[.gz|.bz2]` and `server-<id>/<binlog>`.
    MariaDBOperator,
    /// WAL-G.
    WALG,
    /// Percona Backup for MongoDB.
    PBM,
    /// Any tool: a file is a backup if its name fits a pattern. Nothing can be proved then:
    /// `timePointBasis` is `Estimated`.
    Files,
}

/// Which files are backups. Regular expressions that must fit the whole key below the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilePatterns {
    /// Full backups, like `.*_FULL_.*\.bak`.
    #[schemars(length(min = 1, max = 256))]
    pub full: String,
    /// Incremental backups or logs, like `.*_LOG_.*\.trn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub incremental: Option<String>,
}

/// What the controller found out about an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseInstanceStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// State of the instance: asked at its endpoint, else as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<InstancePhase>,
    /// Whether a backup synchronization service can be created for this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_sync: Option<BackupSyncEligibility>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// State of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstancePhase {
    /// It answers at its endpoint, or is declared to run.
    Running,
    /// Declared to be stopped.
    Stopped,
    /// It has an endpoint and does not answer there.
    Unreachable,
}

/// Whether a backup synchronization service can be created for an instance (`B12`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSyncEligibility {
    /// True where a service would be accepted, but for its target.
    pub eligible: bool,
    /// Why, in a word: `Eligible`, `HasService`, `NotRunning`, `Overdue`, `NoBackups`, `RegionNotOffered`, `UnknownRegion`.
    pub reason: String,
    /// The service that this instance has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<LocalReference>,
}
