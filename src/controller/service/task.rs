//! What the worker is told.

use std::time::Duration;

use crate::{
    api::{AcceptedSource, BackupFormat, BackupSource, BackupSyncService, DatabaseInstance, Engine, Region},
    controller::{
        Options,
        work::{
            children::{self, Keys},
            task::{ceilings, location, shift, target_keys, task},
        },
    },
    task::{
        INSTANCE_CREDENTIALS_DIR, PurgeTask, SOURCE_CREDENTIALS_DIR, SyncTask, Task, TaskFormat, TaskMode,
        Work,
    },
};

/// Keeps a copy current; `None` when the instance names no backups.
#[must_use]
pub fn sync(
    service: &BackupSyncService,
    instance: &DatabaseInstance,
    (source, target): (&Region, &Region),
    options: &Options,
) -> Option<Task> {
    let backups = instance.spec.backups.as_ref()?;
    let spec = &service.spec;
    let format = format(backups, instance.spec.engine)?;
    let (bytes_per_second, requests_per_second) = ceilings(spec.rate_limits.as_ref());
    let endpoint = instance.spec.endpoint.as_ref().filter(|endpoint| endpoint.credentials.is_some());
    let work = SyncTask {
        source: location(source, &backups.bucket, &backups.prefix),
        target: location(target, &spec.target.bucket, &spec.target.prefix),
        format,
        engine: format!("{:?}", instance.spec.engine),
        retention_seconds: spec.retention.get().as_secs(),
        interval_seconds: spec.interval.get().as_secs(),
        mode: mode(service, options),
        bytes_per_second,
        requests_per_second,
        instance_uri: endpoint.map(|endpoint| endpoint.uri.clone()),
    };
    Some(task(service, Work::Sync(Box::new(work))))
}

/// The layout, with what it needs; `None` for what admission refuses.
fn format(backups: &BackupSource, engine: Engine) -> Option<TaskFormat> {
    let Some(format) = backups.format else { return Some(TaskFormat::Detected) };
    Some(match format {
        BackupFormat::MariaDBOperator => TaskFormat::MariaDBOperator,
        BackupFormat::WALG => walg(engine),
        BackupFormat::PBM => TaskFormat::PerconaMongoDB,
        BackupFormat::Barman => TaskFormat::Barman,
        BackupFormat::PgBackRest => TaskFormat::PgBackRest,
        BackupFormat::PXC => TaskFormat::PerconaXtraDB,
        BackupFormat::SQLServer => {
            let names = backups.sql_server.as_ref()?;
            TaskFormat::SqlServer {
                pattern: names.pattern.clone(),
                utc_offset_seconds: names.utc_offset_seconds()?,
                ignore: names.ignore_databases.clone(),
            }
        }
        BackupFormat::Files => {
            let files = backups.files.as_ref()?;
            TaskFormat::Files { full: files.full.clone(), incremental: files.incremental.clone() }
        }
    })
}

/// WAL-G lays out each engine's backups in its own way.
fn walg(engine: Engine) -> TaskFormat {
    match engine {
        Engine::MySQL => TaskFormat::WalGMySQL,
        Engine::MongoDB => TaskFormat::WalGMongoDB,
        Engine::SQLServer => TaskFormat::WalGSQLServer,
        Engine::PostgreSQL => TaskFormat::WalGPostgres,
    }
}

/// Takes a copy away.
#[must_use]
pub fn purge(service: &BackupSyncService, source: &AcceptedSource, target: &Region) -> Task {
    let work = PurgeTask {
        source_endpoint: source.endpoint.clone(),
        source_bucket: source.bucket.clone(),
        source_prefix: source.prefix.clone(),
        target: location(target, &service.spec.target.bucket, &service.spec.target.prefix),
    };
    task(service, Work::Purge(Box::new(work)))
}

/// A Job a cycle for long intervals; else shifts, of lengths that differ by service.
fn mode(service: &BackupSyncService, options: &Options) -> TaskMode {
    if service.spec.interval.get() >= options.timing.cycle_from {
        return TaskMode::Cycle;
    }
    TaskMode::Shift { seconds: shift(service, options).as_secs() }
}

/// How a synchronization is run.
#[must_use]
pub fn sync_work(service: &BackupSyncService, instance: &DatabaseInstance, mode: TaskMode) -> children::Work {
    let mut keys = vec![target_keys(service)];
    keys.extend(instance.spec.backups.as_ref().map(|backups| Keys {
        volume: "source",
        directory: SOURCE_CREDENTIALS_DIR,
        secret: backups.credentials.secret_ref.name.clone(),
        optional: false,
    }));
    let endpoint = instance.spec.endpoint.as_ref();
    keys.extend(endpoint.and_then(|endpoint| endpoint.credentials.as_ref()).map(|credentials| Keys {
        volume: "instance",
        directory: INSTANCE_CREDENTIALS_DIR,
        secret: credentials.secret_ref.name.clone(),
        // Not being able to ask the engine is no reason not to copy.
        optional: true,
    }));
    let shift = match mode {
        TaskMode::Shift { seconds } => Some(Duration::from_secs(seconds)),
        TaskMode::Cycle => None,
    };
    children::Work {
        role: "sync",
        shift,
        reports: true,
        keys,
        paper: None,
        parts: None,
        database: None,
        settings: None,
    }
}

/// How a purge is run.
#[must_use]
pub fn purge_work(service: &BackupSyncService) -> children::Work {
    children::Work {
        role: "purge",
        shift: None,
        reports: false,
        keys: vec![target_keys(service)],
        paper: None,
        parts: None,
        database: None,
        settings: None,
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
