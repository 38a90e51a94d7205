//! What every worker is told.

use std::time::Duration;

use kube::ResourceExt;

use super::children::{self, Keys};
use crate::{
    api::{BackupSyncService, Decryption, RateLimits, Region, Served},
    controller::{Error, Options, context::uid_of, names},
    task::{DECRYPTION_DIR, Owner, StoreLocation, TARGET_CREDENTIALS_DIR, TASK_VERSION, Task, Work, hash},
};

/// A task, as text and by its hashes.
pub struct Written {
    pub text: String,
    /// Of the text: the worker's argument.
    pub hash: String,
    /// Of the task but for its generation, the Secrets, the worker's settings and the database that it runs beside:
    /// an edit that changes none of them doesn't end its shift, and one that does ends it at once.
    pub work: String,
}

/// A bucket, or a prefix in it, of a region's store.
#[must_use]
pub fn location(region: &Region, bucket: &str, prefix: &str) -> StoreLocation {
    StoreLocation::new(&region.name_any(), &region.spec.object_store, bucket, prefix)
}

/// The Secret with which a service's target is read and written.
#[must_use]
pub fn target_keys(service: &BackupSyncService) -> Keys {
    Keys {
        volume: "target",
        directory: TARGET_CREDENTIALS_DIR,
        secret: service.spec.target.credentials.secret_ref.name.clone(),
        optional: false,
    }
}

/// The Secret that opens encrypted backups.
#[must_use]
pub fn decryption_keys(decryption: Option<&Decryption>) -> Option<Keys> {
    decryption.map(|decryption| Keys {
        volume: "decryption",
        directory: DECRYPTION_DIR,
        secret: decryption.secret_ref.name.clone(),
        optional: false,
    })
}

/// Bytes and requests a second.
#[must_use]
pub fn ceilings(limits: Option<&RateLimits>) -> (Option<u64>, Option<u32>) {
    let bytes = limits.and_then(|limits| limits.bytes_per_second.as_ref()).map(crate::api::ByteRate::get);
    (bytes, limits.and_then(|limits| limits.requests_per_second))
}

/// Length of a shift, in seconds: it differs by resource, so that they don't all change at once.
#[must_use]
pub fn shift<K: Served>(owner: &K, options: &Options) -> Duration {
    let shift = options.timing.shift.as_secs();
    Duration::from_secs(shift - shift / 10 + names::spread(&uid_of(owner), (shift / 5).max(1)))
}

/// The task of a resource's worker.
#[must_use]
pub fn task<K: Served>(resource: &K, work: Work) -> Task {
    let owner = Owner {
        kind: K::kind(&()).into_owned(),
        namespace: resource.namespace().unwrap_or_default(),
        name: resource.name_any(),
        uid: uid_of(resource),
        generation: resource.meta().generation.unwrap_or(0),
    };
    Task { version: TASK_VERSION, owner, work }
}

/// Writes a task down, for a worker that is run like this.
///
/// # Errors
/// Never for tasks built here; the type is serde's.
pub fn write<K: Served>(owner: &K, task: &Task, how: &children::Work) -> Result<Written, Error> {
    let text = task.to_text()?;
    let mut ageless = task.clone();
    ageless.owner.generation = 0;
    let secrets: Vec<_> = how.keys.iter().map(|keys| (keys.directory, &keys.secret)).collect();
    let mut run_as = serde_json::to_string(&(secrets, owner.worker()))?;
    if let Some(database) = &how.database {
        run_as += &serde_json::to_string(&database.server)?;
    }
    Ok(Written { hash: hash(&text), work: hash(format!("{}{run_as}", ageless.to_text()?)), text })
}
