//! What the worker is told.

use kube::ResourceExt;

use crate::{
    api::{AcceptedSource, BackupFormat, BackupSyncService, DatabaseInstance, Region},
    controller::{Error, Options, names},
    task::{Owner, PurgeTask, StoreLocation, SyncTask, TASK_VERSION, Task, TaskFormat, TaskMode, Work, hash},
};

/// A task, as text and by its hashes.
pub struct Written {
    pub text: String,
    /// Of the text: the worker's argument.
    pub hash: String,
    /// Of the task but for its generation: an edit that changes nothing for the worker doesn't end its shift.
    pub work: String,
}

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
    let limits = spec.rate_limits.as_ref();
    let endpoint = instance.spec.endpoint.as_ref().filter(|endpoint| endpoint.credentials.is_some());
    let work = SyncTask {
        source: location(source, &backups.bucket, &backups.prefix),
        target: location(target, &spec.target.bucket, &spec.target.prefix),
        format,
        engine: format!("{:?}", instance.spec.engine),
        retention_seconds: spec.retention.get().as_secs(),
        interval_seconds: spec.interval.get().as_secs(),
        mode: mode(service, options),
        bytes_per_second: limits
            .and_then(|limits| limits.bytes_per_second.as_ref())
            .map(crate::api::ByteRate::get),
        requests_per_second: limits.and_then(|limits| limits.requests_per_second),
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

fn location(region: &Region, bucket: &str, prefix: &str) -> StoreLocation {
    StoreLocation::new(&region.name_any(), &region.spec.object_store, bucket, prefix)
}

/// A Job a cycle for long intervals; else shifts, of lengths that differ by service.
fn mode(service: &BackupSyncService, options: &Options) -> TaskMode {
    if service.spec.interval.get() >= options.timing.cycle_from {
        return TaskMode::Cycle;
    }
    let shift = options.timing.shift.as_secs();
    let uid = service.uid().unwrap_or_default();
    TaskMode::Shift { seconds: shift - shift / 10 + names::spread(&uid, (shift / 5).max(1)) }
}

fn task(service: &BackupSyncService, work: Work) -> Task {
    let owner = Owner {
        kind: "BackupSyncService".to_owned(),
        namespace: service.namespace().unwrap_or_default(),
        name: service.name_any(),
        uid: service.uid().unwrap_or_default(),
        generation: service.metadata.generation.unwrap_or(0),
    };
    Task { version: TASK_VERSION, owner, work }
}

/// Writes a task down.
///
/// # Errors
/// Never for tasks built here; the type is serde's.
pub fn write(task: &Task) -> Result<Written, Error> {
    let text = task.to_text()?;
    let mut ageless = task.clone();
    ageless.owner.generation = 0;
    Ok(Written { hash: hash(&text), work: hash(&ageless.to_text()?), text })
}
