//! What the worker is told.

use std::time::Duration;

use crate::{
    api::{AcceptedSource, BackupFormat, BackupSyncService, DatabaseInstance, Region},
    controller::{
        Options,
        work::{
            children::{self, Keys},
            task::{ceilings, location, shift, task},
        },
    },
    task::{
        INSTANCE_CREDENTIALS_DIR, PurgeTask, SOURCE_CREDENTIALS_DIR, SyncTask, TARGET_CREDENTIALS_DIR, Task,
        TaskFormat, TaskMode, Work,
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
    let format = match (backups.format, &backups.files) {
        (BackupFormat::MariaDBOperator, _) => TaskFormat::MariaDBOperator,
        (BackupFormat::WALG, _) => TaskFormat::WalGMySQL,
        (BackupFormat::PBM, _) => TaskFormat::PerconaMongoDB,
        (BackupFormat::Files, Some(files)) => {
            TaskFormat::Files { full: files.full.clone(), incremental: files.incremental.clone() }
        }
        (BackupFormat::Files, None) => return None,
    };
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
    children::Work { role: "sync", shift, reports: true, keys, paper: None, parts: None }
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
    }
}

fn target_keys(service: &BackupSyncService) -> Keys {
    Keys {
        volume: "target",
        directory: TARGET_CREDENTIALS_DIR,
        secret: service.spec.target.credentials.secret_ref.name.clone(),
        optional: false,
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
