//! A database: a source of backups.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Bootstrap, Credentials, LocalReference, Observed, RecoveryProgress, RecoveryReport, RecoveryStatus,
    RunRequest, Served, WorkerSpec,
};

/// A database instance: one that exists already, and where its backup tool puts its backups; or one that is restored
/// from a copy of backups (`bootstrap`).
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
    doc = "A database instance: one that exists already, and where its backup tool puts its backups; or one that is restored from a copy of backups (bootstrap).",
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Restored To", type_ = "string", json_path = ".status.recovery.timePoint"),
    printcolumn(name = "Took", type_ = "string", json_path = ".status.recovery.duration", priority = 1),
    printcolumn(name = "Backup Sync", type_ = "string", json_path = ".status.backupSync.reason"),
    printcolumn(name = "Service", type_ = "string", json_path = ".status.backupSync.serviceRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.backups) || !has(self.backups.format) || self.backups.format == 'Files' || (self.engine + ' ' + self.backups.format) in ['MySQL MariaDBOperator', 'MySQL WALG', 'MySQL PXC', 'MongoDB WALG', 'MongoDB PBM', 'SQLServer SQLServer', 'SQLServer WALG', 'PostgreSQL Barman', 'PostgreSQL WALG', 'PostgreSQL PgBackRest']").message(
        "backups.format does not fit the engine: MySQL has MariaDBOperator, WALG and PXC; MongoDB has WALG and PBM; SQLServer has SQLServer and WALG; PostgreSQL has Barman, WALG and PgBackRest; Files fits all"
    ),
    validation = Rule::new("has(self.bootstrap) == has(oldSelf.bootstrap)").message(
        "bootstrap can't be added or taken away; create another instance"
    ),
    validation = Rule::new("!has(self.bootstrap) || !has(self.endpoint)").message(
        "endpoint is of an instance that exists already; with bootstrap, status.endpoint tells where the new one listens"
    ),
    validation = Rule::new("!has(self.endpoint) || (self.engine == 'MySQL' && self.endpoint.uri.startsWith('mysql://')) || (self.engine == 'MongoDB' && self.endpoint.uri.startsWith('mongodb://'))").message(
        "endpoint.uri does not fit the engine: MySQL has mysql://, MongoDB has mongodb://; for another engine leave endpoint out and set declaredState"
    ),
    validation = Rule::new("!has(self.bootstrap) || !has(self.bootstrap.instance) || (self.engine == 'SQLServer') == has(self.bootstrap.instance.sqlServer)").message(
        "bootstrap.instance.sqlServer is needed with engine SQLServer, and only with it: acceptEula: true says that you accept Microsoft's terms, edition which licence you have"
    ),
    validation = Rule::new("!has(self.bootstrap) || !has(self.bootstrap.existing) || self.engine == 'MongoDB'").message(
        "bootstrap.existing is for engine MongoDB only: a cluster with agents of Percona Backup"
    ),
    validation = Rule::new("!has(self.bootstrap) || !has(self.bootstrap.recovery.via) || (self.engine + ' ' + self.bootstrap.recovery.via.operator) in ['PostgreSQL CloudNativePG', 'MySQL MariaDBOperator', 'MySQL PerconaXtraDBCluster', 'MongoDB PerconaServerMongoDB']").message(
        "recovery.via.operator does not fit the engine: PostgreSQL has CloudNativePG; MySQL has MariaDBOperator and PerconaXtraDBCluster; MongoDB has PerconaServerMongoDB"
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
    /// Farshore makes this instance, from a copy of backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Box<Bootstrap>>,
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
    /// `mysql://host:port`, or `mongodb://host1:port,host2:port/?replicaSet=rs0&tls=true`, without user or password.
    #[schemars(length(max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^mysql://[A-Za-z0-9._-]+(:[0-9]{1,5})?/?$') || self.matches('^mongodb://[A-Za-z0-9._-]+(:[0-9]{1,5})?(,[A-Za-z0-9._-]+(:[0-9]{1,5})?)*(/([?][A-Za-z0-9=&._,:-]*)?)?$')").message(
            "must be like mysql://host:3306 or mongodb://host1:27017,host2:27017/?replicaSet=rs0, without user, password or database"
        ),
        validation = Rule::new("!self.matches('(?i)[?&]tls(insecure|allowinvalid|disable)')").message(
            "certificates are always checked; put the authority that signed them into the Secret of credentials as ca.crt"
        )
    )]
    pub uri: String,
    /// MySQL: a user that may ask for the log's position (`BINLOG MONITOR` or `REPLICATION CLIENT`); without
    /// it, only whether the instance answers is known. MongoDB: the account that a disaster recovery instance
    /// follows this one with; docs/standby.md lists its rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Where a backup tool puts its backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.format) && self.format == 'Files') == has(self.files)").message(
    "files is needed with format Files, and only with it"
))]
#[x_kube(validation = Rule::new("(has(self.format) && self.format == 'SQLServer') == has(self.sqlServer)").message(
    "sqlServer is needed with format SQLServer, and only with it: it states the server's utcOffset"
))]
pub struct BackupSource {
    /// Layout of the backups: the tool that writes them. Left out: told from the names in the bucket, among
    /// those of the engine; a finding says which it is taken to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<BackupFormat>,
    /// With format `Files`: which files are backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilePatterns>,
    /// With format `SQLServer`: how the names of its files are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_server: Option<SqlServerNames>,
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
    /// WAL-G: its layout for the instance's engine.
    WALG,
    /// Percona Backup for MongoDB.
    PBM,
    /// The operator of Percona `XtraDB` Cluster: `<cluster>-<time>-full/` and `binlog_<time>_…`.
    PXC,
    /// SQL Server's own files, in the folders and under the names that Ola Hallengren's scripts give them,
    /// or others.
    SQLServer,
    /// Barman in object stores, as CloudNativePG uses it: `<server>/base/…` and `<server>/wals/…`.
    Barman,
    /// pgBackRest: `backup/<stanza>/…` and `archive/<stanza>/…`.
    PgBackRest,
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

/// How names of SQL Server's backup files are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SqlServerNames {
    /// Offset from UTC of the times in names: the server's zone, as `+02:00`, `-05:30` or `Z`.
    #[schemars(length(min = 1, max = 6))]
    #[x_kube(validation = Rule::new("self.matches('^(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$')").message(
        "must be Z or like +02:00"
    ))]
    pub utc_offset: String,
    /// Regular expression that must fit the whole key below the prefix, with groups named `database`,
    /// `kind` (`FULL`, `DIFF` or `LOG`) and `time`, and if need be `server` and `stripe`. Default: the names
    /// of Ola Hallengren's scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub pattern: Option<String>,
    /// Databases that no moment waits for, such as one that was dropped. Their files are copied all the
    /// same, as those of `master`, `model` and `msdb` are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    pub ignore_databases: Vec<String>,
}

impl SqlServerNames {
    /// The offset as a number; `None` for what admission refuses.
    #[must_use]
    pub fn utc_offset_seconds(&self) -> Option<i32> {
        utc_offset_seconds(&self.utc_offset)
    }
}

/// Seconds east of UTC that `+02:00` or `Z` stands for.
#[must_use]
pub fn utc_offset_seconds(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u16>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
    let seconds = i32::from(seconds) * 60;
    match text.as_bytes().first()? {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
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
    /// With `bootstrap`: what became of the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryStatus>,
    /// With `bootstrap`: where the instance listens, like `mysql://orders.shop:3306`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The worker's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed<RecoveryReport, RecoveryProgress>>,
    /// The last request of `farshore.dev/run-requested` that was honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_request: Option<RunRequest>,
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
    /// To be restored: it waits for its service or region.
    Pending,
    /// What the restore reads is being worked out.
    Planning,
    /// The plan is made, and nothing else was asked for.
    Planned,
    /// The restore is under way.
    Restoring,
    /// The restore is done, the server starts.
    Starting,
    /// The attempt to restore failed; `status.recovery.failure` says why.
    Failed,
}

impl Served for DatabaseInstance {
    const NOUN: &'static str = "instance";
    const PLURAL: &'static str = "databaseinstances";
    type Cycle = RecoveryReport;
    type Progress = RecoveryProgress;

    fn observed(&self) -> Option<&Observed<Self::Cycle, Self::Progress>> {
        self.status.as_ref()?.observed.as_ref()
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }

    fn last_run_request(&self) -> Option<&RunRequest> {
        self.status.as_ref()?.last_run_request.as_ref()
    }

    fn worker(&self) -> Option<&WorkerSpec> {
        // Its pods run like those of the service whose copy they read.
        None
    }
}

/// Whether a backup synchronization service can be created for an instance (`B12`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSyncEligibility {
    /// True where a service would be accepted, but for its target.
    pub eligible: bool,
    /// Why, in a word: `Eligible`, `HasService`, `NotRunning`, `Overdue`, `NoBackups`, `RegionNotOffered`, `UnknownRegion`, `StandbyInstance`.
    pub reason: String,
    /// The service that this instance has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<LocalReference>,
}
